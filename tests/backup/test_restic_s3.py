"""restic against two regions, each with credentials of its own that are cut to one act."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from backup.keyfile import MachinePassword
from backup.restic import calls, commands, creation, errors, streams
from backup.restic.calls import Call, Repository, Surroundings
from backup.restic.flags import CheckExtent, FolderBackup, PruneBounds, RestoreOrder, Stream
from strongroom import program, storage
from strongroom.stack import ports
from strongroom.stack.seaweed import Ports, Seaweed
from strongroom.storage import Act
from tests.backup.restic_stage import STAMP, surroundings


@dataclass(frozen=True)
class Objects:
    """The objects of one repository in a region."""

    store: storage.Store
    prefix: str

    def get(self, key: str) -> bytes:
        return self.store.get(self.prefix + key)

    def part(self, key: str, first: int, last: int | None) -> tuple[int, Iterable[bytes]]:
        return self.store.part(self.prefix + key, first, last)

    def put(self, key: str, data: bytes) -> None:
        self.store.put(self.prefix + key, data)

    def list(self, prefix: str) -> list[str]:
        return [key for key, _ in self.sizes(prefix)]

    def sizes(self, prefix: str) -> list[tuple[str, int]]:
        listed = self.store.list(self.prefix + prefix)
        return [(one.key.removeprefix(self.prefix), one.size) for one in listed]

    def delete(self, key: str) -> None:
        self.store.delete(self.prefix + key)


@dataclass(frozen=True)
class Place:
    """A tenant's repository in one region."""

    server: Seaweed
    prefix: str
    password: MachinePassword
    cache: Path
    made: creation.Created | None = None

    def objects(self, act: Act) -> Objects:
        return Objects(storage.Store(self.server.region, self.credentials(act)), self.prefix)

    def credentials(self, act: Act) -> storage.Credentials:
        region = self.server.region
        return storage.assume(region, self.server.root, prefix=self.prefix, act=act, seconds=900)

    def repository(self, act: Act) -> Repository:
        region = self.server.region
        return Repository(
            address=f"s3:{region.endpoint}/{region.bucket}/{self.prefix.rstrip('/')}",
            password=self.password.text,
            key_hint=self.made.key_id if self.made else None,
            cache=self.cache,
            credentials=self.credentials(act),
            location=region.location,
        )

    def created(self, *, polynomial: int | None = None) -> Place:
        store = self.objects(Act.CREATE)
        made = creation.create(store, self.password, STAMP, polynomial=polynomial)
        return replace(self, made=made)


@pytest.fixture(scope="module")
def regions() -> Iterator[list[Seaweed]]:
    with tempfile.TemporaryDirectory(prefix="restic-s3-") as folder:
        numbers = ports.choose(8, with_grpc=True)
        servers = [
            Seaweed(Path(folder) / n, name=n, bucket=f"bucket-{n}", ports=Ports(*part))
            for n, part in (("a", numbers[:4]), ("b", numbers[4:]))
        ]
        try:
            for server in servers:
                server.launch()
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.stop()


NUMBERS = count(1)


@pytest.fixture
def places(regions: list[Seaweed], tmp_path: Path) -> list[Place]:
    prefix = f"t/{next(NUMBERS)}/r/1/"
    one, other = (
        Place(server, prefix, MachinePassword.make(), tmp_path / f"cache-{server.name}")
        for server in regions
    )
    first = one.created()
    assert first.made
    return [first, other.created(polynomial=first.made.config.polynomial)]


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return surroundings(tmp_path)


def saved(place: Place, here: Surroundings, source: Path, content: bytes) -> str:
    source.mkdir(exist_ok=True)
    (source / "file").write_bytes(content)
    wanted = FolderBackup(folder=source, host="acme")
    report = commands.backup_folder(place.repository(Act.BACKUP), here, wanted)
    assert report.snapshot
    return report.snapshot


def test_a_folder_goes_to_both_regions_and_comes_back_from_each(
    places: list[Place], here: Surroundings, tmp_path: Path
) -> None:
    one, other = places
    content = os.urandom(3_000_000)
    snapshot = saved(one, here, tmp_path / "source", content)
    source, target = one.repository(Act.READ), other.repository(Act.BACKUP)
    through = one.objects(Act.READ)
    [copied] = commands.copy(source, target, here, [snapshot], through=through)
    for place, name in ((one, snapshot), (other, copied.snapshot.id)):
        back, repository = tmp_path / f"back-{place.server.name}", place.repository(Act.READ)
        assert commands.check(repository, here, CheckExtent(everything=True)).ok
        commands.restore(repository, here, RestoreOrder(name, back))
        assert (back / "file").read_bytes() == content


def test_both_regions_cut_files_at_the_same_places(
    places: list[Place], here: Surroundings, tmp_path: Path
) -> None:
    one, other = places
    source = tmp_path / "source"
    snapshot = saved(one, here, source, os.urandom(5_000_000))
    target = other.repository(Act.BACKUP)
    through = one.objects(Act.READ)
    commands.copy(one.repository(Act.READ), target, here, [snapshot], through=through)
    wanted = FolderBackup(folder=source, host="another")
    assert commands.backup_folder(target, here, wanted).added < 100_000


@pytest.mark.parametrize("content", [b"", b"a dump"])
def test_the_rights_of_a_backup_are_enough_for_a_stream_and_to_refuse_an_empty_one(
    places: list[Place], here: Surroundings, content: bytes
) -> None:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    repository = places[0].repository(Act.BACKUP)
    with pytest.raises(errors.StreamEmpty) if not content else nullcontext():
        streams.backup_stream(
            repository, here, Stream("x.dump", "acme"), source=reading, verdict=lambda: True
        )
    assert len(commands.snapshots(repository, here)) == bool(content)


def test_rights_of_each_act_are_enough_and_a_reader_cannot_write(
    places: list[Place], here: Surroundings, tmp_path: Path
) -> None:
    place, source = places[0], tmp_path / "source"
    first = saved(place, here, source, b"one" * 100_000)
    saved(place, here, source, os.urandom(300_000))
    with pytest.raises(errors.ResticError):
        wanted = FolderBackup(folder=source, host="acme", force=True)
        commands.backup_folder(place.repository(Act.READ), here, wanted)
    with pytest.raises(errors.SomeUnread):
        commands.forget(place.repository(Act.BACKUP), here, [first])
    commands.forget(place.repository(Act.FORGET), here, [first])
    commands.prune(place.repository(Act.PRUNE), here, PruneBounds(max_unused="0"))
    commands.unlock_all(place.repository(Act.BACKUP), here)
    commands.repair_index(place.repository(Act.HEAL), here)
    assert commands.check(place.repository(Act.READ), here, CheckExtent(everything=True)).ok


def test_a_hostile_key_that_is_tried_first_stops_stock_restic_but_not_us(
    places: list[Place], here: Surroundings
) -> None:
    place = places[0]
    text = next(
        text
        for text in (b'{"kdf":"scrypt","N":3,"r":1,"p":%d}' % n for n in count())
        if hashlib.sha256(text).hexdigest().startswith("000")
    )
    place.objects(Act.CREATE).put(f"keys/{hashlib.sha256(text).hexdigest()}", text)
    repository = place.repository(Act.READ)
    with pytest.raises(errors.ResticError):
        commands.open_check(replace(repository, key_hint=None), here)
    commands.open_check(repository, here)


def test_the_low_cost_key_is_first_even_without_a_hint(
    places: list[Place], here: Surroundings
) -> None:
    repository = replace(places[0].repository(Act.READ), key_hint=None)
    assert places[0].made
    assert commands.open_check(repository, here) == places[0].made.config.id


def test_secrets_are_not_seen_while_restic_works(places: list[Place], here: Surroundings) -> None:
    # Nobody listens there: it goes on asking until we have looked.
    repository = replace(places[0].repository(Act.READ), address="s3:http://127.0.0.1:9/b/p")
    call = Call("check", ["check", "--no-lock"], repository)
    with calls.prepared(call, here) as command:
        child = program.start(command)
        folder = Path(f"/proc/{child.pid}")
        while b"restic" not in (folder / "cmdline").read_bytes().split(b"\0")[0]:
            assert child.process.poll() is None
            threading.Event().wait(0.002)
        seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        child.end()
    assert b"AWS_SHARED_CREDENTIALS_FILE" in seen
    for secret in calls.secrets_of(repository):
        assert secret not in seen


def test_a_region_that_is_down_costs_no_more_than_the_deadline(
    places: list[Place], here: Surroundings
) -> None:
    gone = replace(places[0].repository(Act.READ), address="s3:http://127.0.0.1:9/b/p")
    with pytest.raises(program.TimedOut):
        commands.snapshots(gone, here.within(2))
