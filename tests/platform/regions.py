"""Regions for tests: a real server on loopback, or moto's for what is the same everywhere."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moto.server import ThreadedMotoServer

from strongroom.stack import ports, seaweed
from strongroom.storage import Act, Credentials, Region, Store, assume


@contextmanager
def running_region(
    name: str = "region-a", *, bucket: str = "vault"
) -> Iterator[seaweed.RegionServer]:
    """A SeaweedFS server with an empty bucket, gone with its data afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="storage-test-"))
    try:
        server = seaweed.start(folder / name, name=name, bucket=bucket, ports=free_ports())
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def free_ports() -> seaweed.Ports:
    return seaweed.Ports(*ports.choose(4, with_grpc=True))


def listening(pid: int) -> set[tuple[str, int]]:
    """Address, as /proc writes it, and port of every TCP socket where this process listens."""
    ours = sockets_of(pid)
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    places = [line[1].split(":") for line in lines if line[3] == "0A" and line[9] in ours]
    return {(address, int(port, 16)) for address, port in places}


def sockets_of(pid: int) -> set[str]:
    """Inodes of its open sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


@contextmanager
def moto_region(*, bucket: str = "vault") -> Iterator[tuple[Region, Credentials]]:
    """moto keeps no rights: whoever asks may do everything."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        region = Region(
            "moto",
            f"http://127.0.0.1:{port}",
            bucket,
            "us-east-1",
            "arn:aws:iam::123456789012:role/x",
        )
        root = Credentials("root", "not-a-secret")
        Store(region, root).create_bucket()
        yield region, root
    finally:
        server.stop()


def new_prefix() -> str:
    """As a repository has it."""
    return f"t/{uuid.uuid4()}/r/{uuid.uuid4()}/"


def store_for(server: seaweed.RegionServer, prefix: str, act: Act) -> Store:
    """A store whose credentials are cut to that act below that prefix."""
    credentials = assume(server.region, server.root, prefix=prefix, act=act, seconds=900)
    return Store(server.region, credentials)
