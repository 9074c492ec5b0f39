"""The whole record, looked at: the database's rows, and what every region has of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from strongroom.audit import exporting, keys, sequencing
from strongroom.audit.entries import Entry, Pending, Placed, Signed
from strongroom.audit.errors import Changed, Malformed
from strongroom.audit.notes import PublicKey
from strongroom.audit.places import Place
from strongroom.audit.verifying import Problem, Row, Verification
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime

LATE = timedelta(hours=1)  # an entry that waits for longer needs a person
MOST_TOLD = 20


@dataclass
class Report:
    """What was found. With nothing on record there is nothing to find."""

    origin: str = ""
    entries: int = 0
    checkpoints: int = 0
    signed: int = 0  # the size of the last checkpoint that holds
    waiting: int = 0
    regions: list[str] = field(default_factory=list)  # that were looked at
    problems: list[Problem] = field(default_factory=list)
    open: list[str] = field(default_factory=list)  # in words: what could not be looked at


@dataclass(frozen=True)
class Standing:
    """In short, for `status` and pages."""

    size: int  # entries under the last checkpoint
    signed_at: datetime | None
    waiting: int
    oldest: datetime | None  # of those that wait
    refusal: str | None  # the code of why nothing is signed

    def attention(self, now: datetime) -> tuple[str, ...]:
        """Codes of what needs a person. Pure."""
        if self.refusal is not None:
            return (self.refusal,)
        late = self.oldest is not None and now - self.oldest > LATE
        return ("record-late",) if late else ()


def inspect(runtime: Runtime) -> Report:
    """Everything, from the first entry on."""
    report = Report()
    with runtime.database.session(Role.OPERATOR) as session:
        rows = keys.in_use(session)
        report.waiting = sequencing.waiting(session)[0]
        report.problems += _strangers(session)
    places = _reachable(runtime, report)
    if not rows:
        _require_none(places, report)
        return report
    try:
        trusted = sequencing.trusted(runtime, rows)
    except Changed as error:
        report.problems.append(Problem("keys-changed", error.message))
        return report
    report.origin = trusted[0].name
    log = Verification(report.origin, trusted, witness=lambda size: _witness(places, size))
    with runtime.database.session(Role.OPERATOR) as session:
        for each in exporting.walk(session):
            if isinstance(each, Row):
                log.row(each)
            else:
                log.head(each)
        heads = {row.size: row.root for row in session.execute(select(Signed)).scalars()}
    report.problems += log.end()
    report.entries, report.checkpoints, report.signed = log.rows, log.heads, log.signed
    for place in places:
        _compare(place, heads, report, trusted)
    return report


def standing(runtime: Runtime) -> Standing:
    with runtime.database.session(Role.OPERATOR) as session:
        last = sequencing.newest(session)
        count, oldest = sequencing.waiting(session)
        refusal = session.execute(
            select(Entry.reason)
            .join(Pending, Pending.entry_id == Entry.id)
            .where(Entry.code == sequencing.REFUSED)
            .order_by(Entry.at.desc())
            .limit(1)
        ).scalar()
    size, at = (0, None) if last is None else (last.size, last.at)
    return Standing(size, at, count, oldest, refusal)


def _strangers(session: Session) -> list[Problem]:
    """Entries that neither have a place nor wait for one: nobody gave them in as an act does."""
    wanted = (
        select(Entry.id)
        .where(
            ~exists().where(Placed.entry_id == Entry.id),
            ~exists().where(Pending.entry_id == Entry.id),
        )
        .order_by(Entry.id)
        .limit(MOST_TOLD)
    )
    return [
        Problem("inserted", f"Entry {entry} has no place and does not wait for one.", None, entry)
        for entry in session.execute(wanted).scalars()
    ]


def _reachable(runtime: Runtime, report: Report) -> list[Place]:
    there = []
    for place in sequencing.all_places(runtime):
        try:
            place.newest()
        except StrongroomError as error:
            report.open.append(f"Region {place.name} does not answer: {error.message}")
        else:
            there.append(place)
            report.regions.append(place.name)
    return there


def _require_none(places: Sequence[Place], report: Report) -> None:
    for place in places:
        if place.newest() is not None:
            words = f"Region {place.name} has a record, and this database has none."
            report.problems.append(Problem("record-behind", words))


def _witness(places: Sequence[Place], size: int) -> Sequence[bytes] | None:
    for place in places:
        try:
            batch = place.batch(size)
        except (StrongroomError, Malformed):
            continue
        if batch is not None:
            return batch.leaves
    return None


def _compare(
    place: Place, heads: dict[int, bytes], report: Report, trusted: Sequence[PublicKey]
) -> None:
    """Each checkpoint of a region against ours."""
    known = sequencing.Log(report.origin, trusted, None)
    there = place.sizes()
    for size in there:
        try:
            said = sequencing.read(place, place.checkpoint(size) or b"", size, known)
        except StrongroomError as error:
            report.problems.append(Problem("record-forked", error.message))
            continue
        if size not in heads and size > max(heads, default=0):
            words = f"Region {place.name} has a checkpoint over {size} entries, the database less."
            report.problems.append(Problem("record-behind", words))
        elif heads.get(size) != said.root:
            words = f"Region {place.name} has another checkpoint over {size} entries: a fork."
            report.problems.append(Problem("record-forked", words))
    if lacking := sorted(set(heads) - set(there)):
        report.open.append(f"Region {place.name} lacks {len(lacking)} checkpoints yet.")


def last_of(
    session: Session, *, tenant: UUID | None, most: int
) -> Sequence[tuple[Entry, int | None]]:
    """The newest entries, each with its place; of one tenant where it is named."""
    wanted = select(Entry, Placed.index).outerjoin(Placed, Placed.entry_id == Entry.id)
    if tenant is not None:
        wanted = wanted.where(Entry.tenant_id == tenant)
    rows = session.execute(wanted.order_by(Entry.id.desc()).limit(most))
    return [(entry, index) for entry, index in rows]  # pyright: ignore
