"""Asking for a preview or a download; what cannot be done is refused here, in the tenant's rows.

A download is *proposed* first: shown with its size and what will be in it. Only `confirm`, for
which its person has just proven themselves, puts it in the queue. A preview goes there at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from uuid import UUID

from sqlalchemy import Float, cast, func, select, true
from sqlalchemy.orm import Session

from backup import wanted
from backup.catalogue import FOLDER, TABLE, CataloguePath, CatalogueVersion, key_of
from backup.models import PointSource, Snapshot
from backup.sources import directory, manifest
from backup.sources.manifest import Manifest
from restore import counting
from restore.browsing import errors, parts
from restore.browsing.parts import Part
from restore.delivery import ending, names
from restore.delivery.models import Delivery
from restore.delivery.states import GOING, SERVED, DeliveryState, End, Kind
from strongroom.actors import Actor
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.ids import new_id
from strongroom.lifecycle import Move, Reason, WrongTurn, advance, record

PROPOSED_LIFE = timedelta(hours=1)
WANTED = timedelta(days=1)  # for so long its point is kept from being removed
MOST_AT_ONCE = 10  # downloads of one person that are made or lie ready
MOST_PROPOSED = 50  # downloads of one person that nobody has said yes to
MOST_LOOKS = 30  # previews of one person
OF_TENANT = 4  # times as many of all its people together
FORMATS = (Kind.DUMP, Kind.SET_CSV, Kind.SET_JSON)
TABLE_FORMATS = (Kind.TABLE, Kind.SET_CSV, Kind.SET_JSON)
SECONDS_ALONE = 4.0  # to begin with: opening the repository, laying the artefact into the region
BYTES_A_SECOND = 15_000_000  # where nothing was measured yet
MOST_SUMMED = 100_000  # files and folders whose sizes are added while somebody waits
REPLACED = "\ufffd"  # in a path of the catalogue: the name is not UTF-8, and cannot be asked for


class TooManyAtOnce(Refused):
    """Enough is under way or lies ready."""

    code = "too-many-deliveries"


class NotChosen(BadValue):
    """What was chosen cannot be delivered so."""

    code = "delivery-not-chosen"


@dataclass(frozen=True)
class Asker:
    """Who asks, in which session, from where."""

    account: UUID
    web_session: UUID
    actor: Actor
    address: str


@dataclass(frozen=True)
class Wish:
    """What of which point; without names, all of the source."""

    number: int
    source: UUID
    paths: Sequence[str] = ()
    tables: Sequence[str] = ()


@dataclass(frozen=True)
class Entry:
    """A path as the catalogue has it."""

    path: str
    kind: str
    size: int


def propose(session: Session, tenant: UUID, wish: Wish, asker: Asker, *, at: datetime) -> Delivery:
    """A download to be looked at. Raises NotFound, NotListedYet, NotChosen, TooManyAtOnce, and as
    `wanted.want`."""
    part = parts.part(session, wish.source, wish.number)
    if not _has_room(session, tenant, asker, [DeliveryState.PROPOSED], MOST_PROPOSED, looks=False):
        raise TooManyAtOnce(
            "Many were chosen and not confirmed. Confirm or drop some of them first."
        )
    if part.source_kind == directory.KIND:
        kind, name, size, paths = _files(session, part, wish)
        row = _row(tenant, part, kind, asker, at, name=name, paths=paths, expected_bytes=size)
    else:
        found, name, size = _tables(session, part, wish)
        row = _row(
            *(tenant, part, found, asker, at),
            name=name,
            tables=list(wish.tables),
            expected_bytes=size,
        )
    row.due_at = at + PROPOSED_LIFE
    wanted.want(session, _held(session, row), until=row.due_at)
    return _added(session, row, asker, at, Reason("download-proposed", {"from": asker.address}))


def look(session: Session, tenant: UUID, wish: Wish, asker: Asker, *, at: datetime) -> Delivery:
    """A preview of one file or table: the one that is there, if this person has looked before."""
    part = parts.part(session, wish.source, wish.number)
    if len(wish.paths) + len(wish.tables) != 1:
        raise NotChosen("A preview is of one file or one table.")
    if part.source_kind == directory.KIND:
        if not wish.paths:
            raise NotChosen("A folder has no tables.")
        entry = _one(session, part, wish.paths[0])
        kind, paths, tables, size = Kind.LOOK_FILE, [entry.path], list[str](), entry.size
    else:
        if not wish.tables:
            raise NotChosen("A database has no files.")
        _require_tables(_manifest(session, part), wish.tables)
        kind, paths, tables, size = Kind.LOOK_TABLE, list[str](), list(wish.tables), 0
    name = names.safe(PurePosixPath((paths or tables)[0]).name)
    known = _looked(session, part, asker, paths, tables, at=at)
    if known is not None:
        return known
    _require_room(session, tenant, asker, looks=True)
    row = _row(
        *(tenant, part, kind, asker, at),
        name=name,
        paths=paths,
        tables=tables,
        expected_bytes=size,
        state=DeliveryState.WAITING,
    )
    wanted.want(session, _held(session, row), until=at + PROPOSED_LIFE)
    return _added(session, row, asker, at, Reason("preview-asked", {"from": asker.address}))


def formats(row: Delivery) -> Sequence[Kind]:
    """What it may be made as; the first is what was proposed."""
    if row.kind in FORMATS and not row.tables:
        return FORMATS
    if row.tables:
        return TABLE_FORMATS if len(row.tables) == 1 else TABLE_FORMATS[1:]
    return (row.kind,)


def confirm(session: Session, row: Delivery, kind: Kind, asker: Asker, *, at: datetime) -> None:
    """Put it in the queue, as this kind; its point stays until it is made.

    Raises NotChosen, TooManyAtOnce, PointGone, PointGoing, Overtaken or WrongTurn.
    """
    if row.state is not DeliveryState.PROPOSED:  # a worker may put what it makes back there as well
        raise WrongTurn(f"{row!r} was confirmed before, or has ended.")
    if kind not in formats(row):
        raise NotChosen("It cannot be made as that.")
    _require_room(session, row.tenant_id, asker, looks=False)
    wanted.want(session, _held(session, row), until=at + WANTED)
    name = _renamed(row, kind)
    values = {
        "kind": kind,
        "name": name,
        "web_session_id": asker.web_session,
        "due_at": at,
        "nudged_at": None,
    }
    reason = Reason("download-confirmed", {"from": asker.address, "kind": kind})
    advance(session, row, DeliveryState.WAITING, Move(asker.actor, at, reason, values=values))


def _held(session: Session, row: Delivery) -> PointSource:
    mine = select(PointSource).where(
        PointSource.point_id == row.point_id, PointSource.source_id == row.source_id
    )
    return session.execute(mine).scalar_one()


def take_back(session: Session, row: Delivery, asker: Asker, *, at: datetime) -> None:
    """Cancel what is being made, revoke what is ready. Raises Overtaken or WrongTurn."""
    as_ = End.REVOKED if row.state in SERVED else End.CANCELLED
    reason = Reason(f"delivery-{as_}", {"from": asker.address})
    ending.end(session, row, as_, reason, by=asker.actor, at=at)


def seconds_for(session: Session, size: int) -> float:
    """About how long it will take, by how fast the last ones were; in tens, rounded up."""
    taken = func.extract("epoch", Delivery.made_at - Delivery.asked_at)
    last = (
        select(Delivery.size, cast(taken, Float).label("seconds"))
        .where(Delivery.made_at.is_not(None), Delivery.size > 1_000_000)
        .order_by(Delivery.made_at.desc())
        .limit(10)
        .subquery()
    )
    speed = session.execute(
        select(func.sum(last.c.size) / func.nullif(func.sum(last.c.seconds), 0))
    ).scalar_one()
    seconds = SECONDS_ALONE + size / max(float(speed or BYTES_A_SECOND), 100_000.0)
    return math.ceil(seconds / 10) * 10.0


def _files(session: Session, part: Part, wish: Wish) -> tuple[Kind, str, int, list[str]]:
    """Kind, name, bytes and paths of what was chosen of a folder."""
    if wish.tables:
        raise NotChosen("A folder has no tables.")
    source = names.safe(part.source_name)
    if not wish.paths or "/" in wish.paths:
        return Kind.FOLDER, f"{source}-{part.point.number}.zip", _snapshot_bytes(session, part), []
    entries = _entries(session, part, wish.paths)
    if len(entries) == 1 and entries[0].kind == "file":
        _require_utf8(entries[0].path)
        name = names.safe(PurePosixPath(entries[0].path).name)
        return Kind.FILE, name, entries[0].size, [entries[0].path]
    for each in entries:
        _require_utf8(each.path)
    folders = [each.path for each in entries if each.kind == FOLDER]
    size = sum(each.size for each in entries if each.kind != FOLDER)
    size += _size_below(session, part, folders) if folders else 0
    title = names.safe(PurePosixPath(entries[0].path).name) if len(entries) == 1 else source
    return Kind.FOLDER, f"{title}-{part.point.number}.zip", size, [each.path for each in entries]


def _tables(session: Session, part: Part, wish: Wish) -> tuple[Kind, str, int]:
    if wish.paths:
        raise NotChosen("A database has no files.")
    known = _manifest(session, part)
    size = _snapshot_bytes(session, part)
    if not wish.tables:
        return Kind.DUMP, f"{names.safe(part.source_name)}-{part.point.number}.dump", size
    _require_tables(known, wish.tables)
    kind = Kind.TABLE if len(wish.tables) == 1 else Kind.SET_CSV
    ending_ = "csv" if kind is Kind.TABLE else "csv.zip"
    title = wish.tables[0] if kind is Kind.TABLE else part.source_name
    rows = sum(each.rows for each in known.tables)
    share = sum(each.rows for each in known.tables if each.title in set(wish.tables))
    return kind, f"{names.safe(title)}-{part.point.number}.{ending_}", size * share // max(rows, 1)


def _renamed(row: Delivery, kind: Kind) -> str:
    """The same name with the ending of the kind."""
    if kind is row.kind or kind in (Kind.FILE, Kind.FOLDER):
        return row.name
    stem = row.name
    for each in (".csv.zip", ".json.zip", ".dump", ".csv"):
        stem = stem.removesuffix(each)
    endings = {
        Kind.DUMP: ".dump",
        Kind.TABLE: ".csv",
        Kind.SET_CSV: ".csv.zip",
        Kind.SET_JSON: ".json.zip",
    }
    return stem + endings[kind]


def _row(
    tenant: UUID, part: Part, kind: Kind, asker: Asker, at: datetime, **more: object
) -> Delivery:
    values = {"paths": [], "tables": [], "state": DeliveryState.PROPOSED} | more
    return Delivery(
        id=new_id(),
        tenant_id=tenant,
        point_id=part.point.id,
        source_id=part.source,
        kind=kind,
        asker_id=asker.account,
        web_session_id=asker.web_session,
        asked_by=str(asker.actor),
        asked_at=at,
        due_at=at,
        regions=[],
        **values,
    )


def _added(session: Session, row: Delivery, asker: Asker, at: datetime, reason: Reason) -> Delivery:
    session.add(row)
    record(session, row, old="", move=Move(by=asker.actor, at=at, reason=reason))
    return row


def _looked(
    session: Session,
    part: Part,
    asker: Asker,
    paths: list[str],
    tables: list[str],
    *,
    at: datetime,
) -> Delivery | None:
    wanted = (
        select(Delivery)
        .where(
            Delivery.asker_id == asker.account,
            Delivery.point_id == part.point.id,
            Delivery.source_id == part.source,
            Delivery.kind.in_([Kind.LOOK_FILE, Kind.LOOK_TABLE]),
            Delivery.state.in_([*GOING, DeliveryState.READY]),
            Delivery.asked_at > at - timedelta(hours=1),
        )
        .order_by(Delivery.asked_at.desc())
    )
    for row in session.execute(wanted).scalars():
        fresh = row.expires_at is None or row.expires_at > at
        if fresh and row.paths == paths and row.tables == tables:
            return row
    return None


def _require_room(session: Session, tenant: UUID, asker: Asker, *, looks: bool) -> None:
    most = MOST_LOOKS if looks else MOST_AT_ONCE
    if not _has_room(session, tenant, asker, [*GOING, *SERVED], most, looks=looks):
        raise TooManyAtOnce("Many are under way or lie ready. Fetch or revoke some of them first.")


def _has_room(
    session: Session,
    tenant: UUID,
    asker: Asker,
    states: Sequence[DeliveryState],
    most: int,
    *,
    looks: bool,
) -> bool:
    """For one more preview or download in these states: of this person, and of the whole tenant."""
    counting.lock(session, tenant)
    mine = func.count().filter(Delivery.asker_id == asker.account)
    wanted = select(mine, func.count()).where(
        Delivery.tenant_id == tenant,
        Delivery.kind.in_([each for each in Kind if each.is_preview is looks]),
        Delivery.state.in_(states),
    )
    own, all_ = session.execute(wanted).one()
    return bool(own < most and all_ < most * OF_TENANT)


def _entries(session: Session, part: Part, paths: Sequence[str]) -> list[Entry]:
    """Each of the paths as this point has it. Raises NotFound when one is not there."""
    number = part.point.number
    keys = {key_of(part.source, path): path for path in paths}
    rows = session.execute(
        select(CataloguePath.path, CatalogueVersion.kind, CatalogueVersion.size)
        .join(CatalogueVersion, CatalogueVersion.path_id == CataloguePath.id)
        .where(
            CataloguePath.path_key.in_(keys),
            CataloguePath.since <= number,
            CataloguePath.ends > number,
            CatalogueVersion.since <= number,
            CatalogueVersion.ends > number,
        )
        .order_by(CataloguePath.path)
    )
    found = [Entry(row.path, row.kind, row.size) for row in rows]
    if {each.path for each in found} != set(paths):
        raise errors.no_path()
    return found


def _one(session: Session, part: Part, path: str) -> Entry:
    [entry] = _entries(session, part, [path])
    if entry.kind != "file":
        raise NotChosen("Only a file can be looked at.")
    _require_utf8(entry.path)
    return entry


def _require_utf8(path: str) -> None:
    if REPLACED in path:
        raise NotChosen(
            "This name is not written in UTF-8 and cannot be asked for by itself. Take the folder "
            "that it lies in.",
            code="name-not-utf-8",
        )


def _size_below(session: Session, part: Part, folders: Sequence[str]) -> int:
    """Bytes of all files below, each once; of a great many: of the whole source.

    One statement that goes down from folder to folder, and no further than it may count: whoever
    chose a thousand folders does not have all names of the source read a thousand times.
    """
    number = part.point.number
    columns = (CataloguePath.id, CataloguePath.path_key, CataloguePath.folder)
    there = select(*columns).where(CataloguePath.since <= number, CataloguePath.ends > number)
    keys = [key_of(part.source, path) for path in folders]
    below = there.where(CataloguePath.parent_key.in_(keys)).cte(recursive=True)
    # With limits of their own these are asked for each folder and each path, by their indexes.
    children = (
        there.where(CataloguePath.parent_key == below.c.path_key).limit(MOST_SUMMED).lateral()
    )
    below = below.union(select(*children.c).join_from(below, children, below.c.folder))
    some = select(below.c.id).limit(MOST_SUMMED).subquery()
    state = (
        select(CatalogueVersion.size)
        .where(CatalogueVersion.path_id == some.c.id, CatalogueVersion.kind.not_in([FOLDER, TABLE]))
        .where(CatalogueVersion.since <= number, CatalogueVersion.ends > number)
        .limit(1)
        .lateral()
    )
    found = select(func.count(), func.coalesce(func.sum(state.c.size), 0))
    count, size = session.execute(found.select_from(some).outerjoin(state, true())).one()
    return int(size) if count < MOST_SUMMED else _snapshot_bytes(session, part)


def _snapshot_bytes(session: Session, part: Part) -> int:
    wanted = (
        select(Snapshot.bytes)
        .join(PointSource, PointSource.snapshot_id == Snapshot.id)
        .where(PointSource.point_id == part.point.id, PointSource.source_id == part.source)
    )
    return int(session.execute(wanted).scalar_one())


def _manifest(session: Session, part: Part) -> Manifest:
    stored = session.execute(
        select(PointSource.manifest).where(
            PointSource.point_id == part.point.id, PointSource.source_id == part.source
        )
    ).scalar_one()
    if stored is None:
        raise errors.no_part()
    return manifest.from_json(json.dumps(stored))


def _require_tables(known: Manifest, wanted: Sequence[str]) -> None:
    if not set(wanted) <= {each.title for each in known.tables}:
        raise NotFound("The point has no such table.", code="table-not-in-point")
