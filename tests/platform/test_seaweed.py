"""The server of a region: what it keeps, what it shuts out, how it starts and ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.errors import BadValue
from strongroom.stack import seaweed
from strongroom.stack.seaweed import Ports, RegionServer, Seaweed
from strongroom.storage import Act, Store, assume
from tests.platform.regions import free_ports, listening, running_region


@pytest.fixture(scope="module")
def server() -> Iterator[RegionServer]:
    with running_region() as started:
        yield started


def again(server: RegionServer) -> RegionServer:
    folder = server.server.folder
    return seaweed.start(
        folder, name=server.region.name, bucket=server.region.bucket, ports=server.server.ports
    )


def test_kill_9_loses_no_object_no_version_and_no_lock() -> None:
    with running_region() as first:
        store = Store(first.region, first.root)
        old = str(store.put("t/1/config", b"one"))
        store.put("t/1/config", b"two" * 1_000_000)
        store.put("t/1/gone", b"x")
        store.delete("t/1/gone")
        store.retain_until("t/1/config", old, datetime.now(UTC) + timedelta(days=1))
        before = sorted(store.versions("t/"), key=lambda version: version.version_id)
        os.kill(first.running.pid, signal.SIGKILL)
        first.running.process.wait()
        second = again(first)
        try:
            assert second.root == first.root
            assert store.get("t/1/config") == b"two" * 1_000_000
            assert store.get_version("t/1/config", old) == b"one"
            after = sorted(store.versions("t/"), key=lambda version: version.version_id)
            assert after == before
            assert [kept.code for kept in store.delete_versions([("t/1/config", old)])] == [
                "locked"
            ]
        finally:
            second.stop()


def test_a_session_outlives_a_restart_of_the_server() -> None:
    with running_region() as first:
        given = assume(first.region, first.root, prefix="t/1/", act=Act.BACKUP, seconds=900)
        first.stop()
        second = again(first)
        try:
            Store(second.region, given).put("t/1/data/x", b"x")
        finally:
            second.stop()


def test_everything_listens_on_loopback_only(server: RegionServer) -> None:
    found = listening(server.running.pid)
    assert len(found) == 8
    assert {address for address, _ in found} == {"0100007F"}


def test_secrets_are_private_and_in_no_argument_or_environment(server: RegionServer) -> None:
    settings = server.server.folder / "settings"
    for file in settings.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    for folder in (settings, server.server.folder, server.server.folder / "data"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    process = Path(f"/proc/{server.running.pid}")
    seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    seen += (server.server.folder / "server.log").read_bytes()
    for secret in vars(seaweed._secrets(server.server.folder)).values():
        assert secret.encode() not in seen
    assert server.root.secret_key not in repr(server)


def test_a_stopped_server_leaves_nothing_behind_outside_its_folder() -> None:
    with running_region() as started:
        ports = vars(started.server.ports).values()
        started.stop()
        started.stop()
        assert not started.server.alive()
        assert not [p for p in ports if list(Path("/tmp").glob(f"seaweedfs*{p}.sock"))]
        assert not [path for path in started.server._sockets() if path.exists()]


def test_a_server_that_died_is_started_again_in_its_place(tmp_path: Path) -> None:
    region = Seaweed(tmp_path / "a", name="region-a", bucket="vault", ports=free_ports())
    try:
        region.start()
        os.kill(region.running.pid, signal.SIGKILL)  # type: ignore[union-attr]
        region.running.process.wait()  # type: ignore[union-attr]
        assert not region.alive()
        region.start()
        assert region.alive()
    finally:
        region.stop()


def test_two_regions_start_side_by_side(tmp_path: Path) -> None:
    regions = [
        Seaweed(tmp_path / name, name=name, bucket=f"vault-{name}", ports=free_ports())
        for name in ("region-a", "region-b")
    ]
    try:
        for region in regions:
            region.launch()
        for region in regions:
            region.start()
            Store(region.region, region.root).put("a", region.name.encode())
        assert [Store(r.region, r.root).get("a") for r in regions] == [b"region-a", b"region-b"]
    finally:
        for region in regions:
            region.stop()


def test_a_taken_port_is_said_and_leaves_nothing_running(tmp_path: Path) -> None:
    ports = free_ports()
    with socket.create_server(("127.0.0.1", ports.s3)):
        region = Seaweed(tmp_path / "a", name="region-a", bucket="vault", ports=ports)
        with pytest.raises(seaweed.SeaweedError) as caught:
            region.start(timeout=120)
    assert not region.alive()
    assert str(ports.s3) in caught.value.message


@pytest.mark.parametrize(
    ("bucket", "ports"),
    [
        ("ab", Ports(12000, 12001, 12002, 12003)),
        ("vault", Ports(12000, 12000, 12002, 12003)),
        ("vault", Ports(12000, 22000, 12002, 12003)),
        ("vault", Ports(12000, 12001, 12002, 60000)),
    ],
)
def test_names_and_ports_that_cannot_work_are_refused(
    tmp_path: Path, bucket: str, ports: Ports
) -> None:
    with pytest.raises(BadValue):
        Seaweed(tmp_path, name="region-a", bucket=bucket, ports=ports)
