"""One source of a point, restored into a throw-away place out of one region, and compared.

Nothing here knows where the source lives: no connection to its server, no folder of its own is
ever opened. A database is loaded into a cluster that cannot reach anything (`scratch`), a folder
into a private one below the platform's work folder, and both are gone afterwards.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from backup import contents
from backup.making import PROCESSORS_OF_LARGE, SMALL_BYTES
from backup.models import Point, PointSource, Snapshot, Source
from backup.restic import commands
from backup.restic.flags import RestoreOrder
from backup.sources import manifest, postgres
from backup.sources.manifest import Difference, Manifest, What
from restore import fetching, kept, room, scratch
from restore.errors import TooBig, WillNotLoad
from restore.fetching import Coming, Origin
from restore.rehearsed import likeness
from restore.scratch import MIB, Budget, Scratch
from strongroom.db import Role
from strongroom.errors import BadValue, StrongroomError
from strongroom.runtime import Runtime

FOLDER_SECONDS = 24 * 3600.0
FOLDERS = "drills"  # below the work folder
# A database takes more room while it is loaded than it took where it lived; not many times more.
GROWTH, LEAST_DISK = 3, 1024 * MIB
TELLING = frozenset({What.MISSING, What.ROWS, What.CONTENT})  # of a dump that broke off


class NotCatalogued(StrongroomError):
    """There is no list yet of what the point has."""

    code = "not-catalogued"


class NotCompared(StrongroomError):
    """The throw-away database could not be read."""

    code = "not-compared"


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    runtime: Runtime
    origin: Origin
    point: Point
    part: PointSource
    source: Source
    snapshot: Snapshot  # of the origin's region


@dataclass(frozen=True)
class Tried:
    """What came of it; without a code all is as it was."""

    source: str
    kind: str
    code: str | None = None
    said: str = ""  # what went wrong, when it is not differences
    differences: tuple[str, ...] = ()  # the first of them: tables, or paths
    differing: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    restore_seconds: float = 0.0  # what a real restore would have taken
    bytes: int = 0
    damage: bool = False  # what is stored there cannot be read, whatever it should be
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.code is None

    @property
    def held_something(self) -> bool:
        return any(self.compared.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "kind": self.kind,
            "passed": self.passed,
            "code": self.code,
            "said": self.said,
            "differences": list(self.differences),
            "differing": self.differing,
            "compared": self.compared,
            "seconds": round(self.seconds, 3),
            "restore_seconds": round(self.restore_seconds, 3),
            "bytes": self.bytes,
            "notes": list(self.notes),
        }


def rehearse(trial: Trial) -> Tried:
    """Raises what restic, the region or this machine have against it; data that differ are told."""
    began = time.monotonic()
    found = _database(trial) if trial.source.kind == postgres.KIND else _folder(trial)
    return replace(found, seconds=time.monotonic() - began)


def sweep(runtime: Runtime) -> None:
    """Remove what rehearsals left whose process was killed."""
    scratch.sweep(fetching.place(runtime))
    kept.sweep(runtime.folder(FOLDERS), "drill-*", kept.remove)


def _database(trial: Trial) -> Tried:
    if trial.part.manifest is None:
        return _failed(trial, "manifest-missing", "The point has no manifest to compare with.")
    try:
        expected = manifest.from_json(json.dumps(trial.part.manifest))
    except (BadValue, KeyError, TypeError) as error:
        return _failed(trial, "manifest-unreadable", str(error))
    wanted = max(expected.database_bytes, trial.snapshot.bytes)
    room.require(trial.runtime, wanted * 2)
    budget = Budget(disk_bytes=max(LEAST_DISK, GROWTH * wanted))
    place = fetching.place(trial.runtime)
    with fetching.begun(trial.origin) as dump, scratch.cluster(place, budget, expected) as cluster:
        return _loaded(trial, dump, cluster, expected)


def _loaded(trial: Trial, dump: Coming, cluster: Scratch, expected: Manifest) -> Tried:
    try:
        seconds = dump.into(cluster)
    except (WillNotLoad, TooBig) as error:
        dump.close()
        room.require_some_left(trial.runtime)
        differences = _how_far(trial, cluster, expected) if isinstance(error, WillNotLoad) else []
        return replace(_failed(trial, error.code, error.message), **_told(differences))
    differences = manifest.compare(expected, _manifest(cluster, expected))
    found = Tried(
        source=trial.source.name,
        kind=trial.source.kind,
        compared={
            "tables": len(expected.tables),
            "rows": expected.rows,
            "sequences": len(expected.sequences),
            "objects": len(expected.objects),
        },
        restore_seconds=seconds,
        bytes=trial.snapshot.bytes,
        notes=tuple(cluster.notes),
    )
    if differences:
        return replace(found, code="drill-differs", **_told(differences))
    return found


def _manifest(cluster: Scratch, expected: Manifest) -> Manifest:
    try:
        return cluster.manifest(schema=expected.schema)
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise NotCompared(f"What was loaded cannot be read back: {said}", said=said) from error


def _how_far(trial: Trial, cluster: Scratch, expected: Manifest) -> list[Difference]:
    """Which tables a dump that does not load leaves short: loaded again, as far as it goes."""
    with suppress(StrongroomError):
        fetching.load(trial.origin, cluster, piecemeal=True)
    try:
        found = _manifest(cluster, expected)
    except StrongroomError:
        return []
    differences = manifest.compare(expected, found)
    telling = [
        each for each in differences if each.thing.startswith("table ") and each.what in TELLING
    ]
    return telling or differences


def _told(differences: list[Difference]) -> dict[str, Any]:
    named = tuple(str(each) for each in differences[: likeness.SHOWN])
    return {"differences": named, "differing": len(differences)}


def _folder(trial: Trial) -> Tried:
    _require_catalogue(trial)
    room.require(trial.runtime, trial.snapshot.bytes)
    private = trial.runtime.folder(FOLDERS) / f"drill-{secrets.token_hex(8)}"  # of this attempt
    with kept.folder(private):
        data = private / "data"
        data.mkdir(mode=0o700)
        here = trial.origin.here(seconds=FOLDER_SECONDS)
        if trial.snapshot.bytes > SMALL_BYTES:
            here = replace(here, processors=PROCESSORS_OF_LARGE)
        # Without any cache each folder would be a request; this one is empty, and thrown away.
        opened = replace(trial.origin.opened(), cache=private / "cache")
        began = time.monotonic()  # restic tells of whole seconds only
        commands.restore(opened, here, RestoreOrder(trial.origin.restic_id, data))
        seconds = time.monotonic() - began
        with trial.runtime.database.session(Role.WORKER, tenant=trial.part.tenant_id) as session:
            seen = likeness.compare(session, trial.source.id, trial.point.number, data)
    found = Tried(
        source=trial.source.name,
        kind=trial.source.kind,
        compared={"paths": seen.paths, "files": seen.files, "bytes": seen.bytes},
        differences=seen.differences,
        differing=seen.differing,
        restore_seconds=seconds,
        bytes=seen.bytes,
    )
    if seen.differing:
        return replace(found, code="drill-differs")
    if not seen.recorded and trial.snapshot.files:
        return replace(found, code="catalogue-missing", said="No path of it is on record.")
    return found


def _require_catalogue(trial: Trial) -> None:
    """Raises NotCatalogued while no region could be listed."""
    if trial.part.catalogued_at is None:
        contents.record(trial.runtime, trial.part.tenant_id)
        with trial.runtime.database.session(Role.WORKER, tenant=trial.part.tenant_id) as session:
            if session.get_one(PointSource, trial.part.id).catalogued_at is None:
                raise NotCatalogued(
                    f"What {trial.source.name} held could not be listed yet, so a rehearsed "
                    "restore has nothing to compare with. It is tried again."
                )


def _failed(trial: Trial, code: str, said: str) -> Tried:
    return Tried(source=trial.source.name, kind=trial.source.kind, code=code, said=said)
