"""The sequencer: gives entries their place in the log, and signs what the log has become.

One at a time, by an advisory lock; and should two believe that they are alone, the primary key of the
places lets only one commit. A round:

1. read the newest checkpoint of every region that answers. What is signed next has to grow out of
   *that*: a database that was put back to an older state is told, and nothing is signed
2. bring regions what they lack, after showing that it grows out of what they have
3. in one transaction: places, leaf hashes, and the signed checkpoint over them
4. into the regions, locked

Killed between 3 and 4, the next round finds at 2 what is missing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping, delete, exists, func, insert, select
from sqlalchemy.orm import Session

from strongroom import records
from strongroom.actors import Actor, ActorKind
from strongroom.audit import entries, keys, notes
from strongroom.audit.entries import Deed, Ending, Entry, LogKey, Pending, Placed, Signed
from strongroom.audit.errors import Behind, Changed, Forked, NoRegion, RecordRefused
from strongroom.audit.leaves import Leaf
from strongroom.audit.merkle import Range, leaf_hash
from strongroom.audit.notes import Checkpoint, PublicKey, SigningKey
from strongroom.audit.places import Batch, Place
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime

SEQUENCER = Actor(ActorKind.SYSTEM, "sequencer")
ADVISORY_LOCK = 7_215_501_884
BATCH = 5000  # entries in one checkpoint
ROUND_SECONDS = 10.0
REFUSED = "record.checkpoint-refused"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Log:
    """The log as it was signed last."""

    origin: str
    trusted: Sequence[PublicKey]
    key: SigningKey | None  # None: to look only


class Sequencer:
    """The rounds of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._keys: dict[int, SigningKey] = {}  # by number; unsealed once
        self._told = ""  # the refusal that is on record already

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What fails is logged and tried again: entries wait, none is lost."""
        while not stop.is_set():
            try:
                self.round()
            except RecordRefused as error:
                log.error("the record is not signed", code=error.code, error=error.message)
                self._tell(error)
            except Exception:  # an edge: the next round tries again
                log.exception("the sequencer failed")
            stop.wait(ROUND_SECONDS)

    def round(self) -> int:
        """Everything that waits gets its place; gives how many. Raises RecordRefused, NoRegion."""
        runtime, placed = self._runtime, 0
        with runtime.database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
            places = all_places(runtime)
            if not alone or not places:
                return 0
            known = self._log(places)
            there = _answering(places, known)
            last = self._compare(known, there)
            while True:
                grown = _sequence(runtime, known, last)
                if grown is None:
                    return placed
                signed, batch = grown
                placed, last = placed + len(batch.leaves), signed
                _keep([place for place, _ in there], signed, batch, now=runtime.now())

    def _log(self, places: Sequence[Place]) -> Log:
        """With its first key made, where there is none here nor in any region."""
        runtime = self._runtime
        with runtime.database.session(Role.OPERATOR) as session:
            rows = keys.in_use(session)
        if not rows:
            _require_untouched(places)
            made = keys.make(runtime, places, None, by=SEQUENCER)
            return Log(made.name, [made.public], made)
        newest = rows[-1]
        if newest.number not in self._keys:
            self._keys[newest.number] = keys.signing(runtime, places, newest)
        key = self._keys[newest.number]
        return Log(key.name, trusted(runtime, rows), key)

    def _compare(
        self, known: Log, there: Sequence[tuple[Place, Checkpoint | None]]
    ) -> Signed | None:
        """The newest checkpoint, which every region that answers now has. Raises RecordRefused."""
        runtime = self._runtime
        with runtime.database.session(Role.OPERATOR) as session:
            _drop_placed(session)
            last = newest(session)
            size = 0 if last is None else last.size
            ours = [_ours(session, place, found, size) for place, found in there]
        for (place, found), row in zip(there, ours, strict=True):
            if size > (found.size if found else 0):
                _bring(runtime, known, place, row)
        if last is not None:
            require_peaks(last)
        return last

    def _tell(self, error: RecordRefused) -> None:
        """On record too, once: it waits there like everything else."""
        if self._told == error.code:
            return
        runtime = self._runtime
        deed = Deed(REFUSED, reason=error.code, ending=Ending.REFUSED)
        with runtime.database.session(Role.OPERATOR) as session:
            entries.note(session, deed, by=SEQUENCER, at=runtime.now())
        self._told = error.code


def all_places(runtime: Runtime) -> list[Place]:
    """Of every region that is in use."""
    with runtime.database.session(Role.OPERATOR) as session:
        wanted = select(Region).where(Region.state == RegionState.OPEN)
        rows = session.execute(wanted.order_by(Region.rank, Region.name)).scalars().all()
    return [Place(runtime.settings, row) for row in rows]


def trusted(runtime: Runtime, rows: Sequence[LogKey]) -> list[PublicKey]:
    """The log's keys, as the platform's own record key vouches for them. Raises Changed."""
    ours = records.Signer.from_text(runtime.settings.record_key).public
    try:
        found = keys.trusted([row.statement for row in rows], record_keys={ours})
    except (notes.NoteRefused, records.RecordRefused) as error:
        raise Changed(
            f"The keys of the record were changed in the database: {error.message}"
        ) from None
    if [str(key) for key in found] != [row.public for row in rows]:
        raise Changed("The keys of the record in the database are not those that are vouched for.")
    return found


def is_placed(session: Session, entry: uuid.UUID) -> bool:
    """Whether an entry has its place in the log: a destruction waits for that of its intent."""
    wanted = select(exists().where(Placed.entry_id == entry))
    return bool(session.execute(wanted).scalar_one())


def newest(session: Session) -> Signed | None:
    return session.execute(select(Signed).order_by(Signed.size.desc()).limit(1)).scalar()


def require_peaks(row: Signed) -> Range:
    """What the log grows from, if it has the root that was signed. Raises Changed."""
    try:
        grown = Range.decoded(row.size, row.peaks)
    except ValueError:
        grown = None
    if grown is None or grown.root() != row.root:
        raise Changed(
            f"The checkpoint over {row.size} entries was changed in the database: what the log grows "
            "from has not the root that was signed. See `strongroom audit verify`.",
            size=row.size,
        )
    return grown


def rotate(runtime: Runtime, *, by: Actor) -> PublicKey:
    """A new key signs from now on; the one before vouches for it. Raises what `make` raises."""
    going = Sequencer(runtime)
    with runtime.database.alone(Role.OPERATOR, ADVISORY_LOCK) as alone:
        places = all_places(runtime)
        if not alone:
            raise NoRegion("The record is being signed at this moment. Try again in a while.")
        known = going._log(places)
        return keys.make(runtime, places, known.key, by=by).public


def _require_untouched(places: Sequence[Place]) -> None:
    """A database without a log, where a region has one, was put back to before there was one."""
    for place in places:
        try:
            found = place.key(1)
        except StrongroomError as error:
            raise NoRegion(
                f"Region {place.name} does not say whether it has a record: {error.message}"
            ) from None
        if found is not None:
            raise Behind(
                f"Region {place.name} has a record, and this database has none: it was put back to "
                "before there was one. Take it back with `strongroom audit mend`.",
                region=place.name,
            )


def _answering(places: Sequence[Place], known: Log) -> list[tuple[Place, Checkpoint | None]]:
    """The regions that answer, each with its newest checkpoint. Raises NoRegion or RecordRefused."""
    there: list[tuple[Place, Checkpoint | None]] = []
    for place in places:
        try:
            found = place.newest()
        except StrongroomError as error:
            log.warning("a region does not answer", region=place.name, error=error.message)
            continue
        there.append((place, None if found is None else read(place, found[1], found[0], known)))
    if not there:
        raise NoRegion("No region answers, so nothing is signed; entries wait.")
    return there


def read(place: Place, note: bytes, size: int, known: Log) -> Checkpoint:
    """What a region's checkpoint says. Raises Forked for one that we did not sign so."""
    try:
        found = notes.checkpoint(note, origin=known.origin, trusted=known.trusted)
    except notes.NoteRefused as error:
        raise Forked(
            f"The checkpoint over {size} entries in region {place.name} is not one of this log: "
            f"{error.message}",
            region=place.name,
            size=size,
        ) from None
    if found.size != size:
        raise Forked(f"Region {place.name} has a checkpoint over {found.size} entries as {size}.")
    return found


def _ours(session: Session, place: Place, found: Checkpoint | None, size: int) -> Signed | None:
    """Our row of a region's newest checkpoint. Raises Behind or Forked."""
    if found is None:
        return None
    if found.size > size:
        raise Behind(
            f"Region {place.name} has a checkpoint over {found.size} entries of the record, this "
            f"database has {size}: it was put back to an older state. Nothing is signed, and what is "
            "done waits. Take back what is missing with `strongroom audit mend`.",
            region=place.name,
            there=found.size,
            here=size,
        )
    row = session.get(Signed, found.size)
    if row is None or row.root != found.root:
        raise Forked(
            f"Region {place.name} has a checkpoint over {found.size} entries that this database does "
            "not have so. One of them was changed: see `strongroom audit verify`.",
            region=place.name,
            size=found.size,
        )
    return row


def _bring(runtime: Runtime, known: Log, place: Place, have: Signed | None) -> None:
    """What a region lacks, each shown to grow out of what lies there. Raises Changed."""
    grown = Range() if have is None else require_peaks(have)
    with runtime.database.session(Role.OPERATOR) as session:
        wanted = select(Signed).where(Signed.size > grown.size).order_by(Signed.size)
        lacking = session.execute(wanted).scalars().all()
    for row in lacking:
        with runtime.database.session(Role.OPERATOR) as session:
            batch = Batch(grown.size, _leaves(session, grown.size, row.size))
        grown = grown.extended(leaf_hash(each) for each in batch.leaves)
        if grown.size != row.size or grown.root() != row.root:
            raise Changed(
                f"The entries up to {row.size} are not those that were signed. "
                "See `strongroom audit verify`.",
                size=row.size,
            )
        _keep([place], row, batch, now=runtime.now())


def _leaves(session: Session, first: int, end: int) -> list[bytes]:
    """Made again from the entries themselves, not from what is written of them."""
    wanted = (
        select(Entry)
        .join(Placed, Placed.entry_id == Entry.id)
        .where(Placed.index >= first, Placed.index < end)
        .order_by(Placed.index)
    )
    return [row.leaf().encoded() for row in session.execute(wanted).scalars()]


def _sequence(runtime: Runtime, known: Log, last: Signed | None) -> tuple[Signed, Batch] | None:
    """One batch, in one transaction; None when nothing waits."""
    grown = Range() if last is None else require_peaks(last)
    with runtime.database.session(Role.OPERATOR) as session:
        taken = _waiting(session)
        if not taken:
            return None
        made = [leaf.encoded() for leaf in taken]
        hashes = [leaf_hash(each) for each in made]
        after = grown.extended(hashes)
        batch = Batch(grown.size, made)
        row = _signed(known, after, at=runtime.now())
        session.execute(
            insert(Placed),
            [
                {"index": grown.size + n, "entry_id": leaf.id, "hash": each}
                for n, (leaf, each) in enumerate(zip(taken, hashes, strict=True))
            ],
        )
        session.add(row)
        session.execute(delete(Pending).where(Pending.entry_id.in_([leaf.id for leaf in taken])))
    return row, batch


def _signed(known: Log, tree: Range, *, at: datetime) -> Signed:
    said = Checkpoint(known.origin, tree.size, tree.root())
    if known.key is None:
        raise ValueError("a log without its key is only looked at")
    note = notes.sign(said.text, [known.key])
    return Signed(size=tree.size, root=said.root, peaks=tree.encoded(), note=note, at=at)


def _waiting(session: Session) -> list[Leaf]:
    chosen = select(Pending.entry_id).order_by(Pending.entry_id).limit(BATCH).subquery()
    columns = [
        column for column in Entry.__table__.columns if column.key not in ("salt", "details")
    ]
    wanted = select(*columns).join(chosen, chosen.c.entry_id == Entry.id).order_by(Entry.id)
    return [_leaf(row) for row in session.execute(wanted).mappings()]


def _leaf(row: RowMapping) -> Leaf:
    said: dict[str, Any] = {str(name): value for name, value in row.items()}
    for ours, theirs in (("tenant", "tenant_id"), ("subject", "subject_id"), ("about", "about_id")):
        said[ours] = said.pop(theirs)
    return Leaf(**said)


def _drop_placed(session: Session) -> None:
    """After a database was put back, what has its place may seem to wait again."""
    session.execute(delete(Pending).where(exists().where(Placed.entry_id == Pending.entry_id)))


def _keep(places: Sequence[Place], row: Signed, batch: Batch, *, now: datetime) -> None:
    """A region that does not answer is brought it later."""
    for place in places:
        try:
            place.keep(row.size, row.note, batch, now=now)
        except StrongroomError as error:
            log.error("a region lacks a checkpoint", region=place.name, error=error.message)


def waiting(session: Session) -> tuple[int, datetime | None]:
    """How many entries have no place yet, and since when the oldest waits."""
    row = session.execute(
        select(func.count(), func.min(Entry.at)).join(Pending, Pending.entry_id == Entry.id)
    ).one()
    return row[0], row[1]
