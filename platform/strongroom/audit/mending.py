"""After the control database was put back to an older state: the log from a region, so that it goes on.

Beside each checkpoint lie the leaves that came with it. What the database lost comes back as entries
without details (those are lost), at the places that they had; then the log grows from where it was
signed last. Everything is checked against the signatures before a row is written, and may be
repeated.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from strongroom import records
from strongroom.actors import Actor
from strongroom.audit import entries, keys, sequencing
from strongroom.audit.entries import Deed, Entry, LogKey, Pending, Placed, Signed
from strongroom.audit.errors import Changed, Forked, Malformed, NoRegion
from strongroom.audit.leaves import Leaf
from strongroom.audit.merkle import Range
from strongroom.audit.places import Place
from strongroom.audit.sequencing import Log
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime


@dataclass(frozen=True)
class Mended:
    """What came back."""

    region: str
    before: int  # entries that had a place here
    after: int
    lost: int  # of them came back without details


@dataclass(frozen=True)
class _Found:
    """A stretch of the log, as one region has it."""

    head: Signed
    leaves: Sequence[Leaf]


def mend(runtime: Runtime, *, by: Actor) -> Mended | None:
    """None if nothing is missing. Raises RecordRefused for what cannot be the same log, NoRegion."""
    place, size = _farthest(runtime)
    known = _keys(runtime, place)
    with runtime.database.session(Role.OPERATOR) as session:
        last = sequencing.newest(session)
    before = 0 if last is None else last.size
    if size <= before:
        return None
    _require_same(place, known, last)
    _require_nothing_behind(runtime, before)
    found = _read(place, known, last, size)
    leaves = [leaf for each in found for leaf in each.leaves]
    lost = _put_entries(runtime, leaves)
    with runtime.database.session(Role.OPERATOR) as session:
        _put_places(session, before, leaves, found)
        details = {"region": place.name, "before": before, "after": size, "lost": lost}
        deed = Deed("record.mended", details=details)
        entries.note(session, deed, by=by, at=runtime.now())
    return Mended(place.name, before, size, lost)


def _farthest(runtime: Runtime) -> tuple[Place, int]:
    """The region with the checkpoint over most entries."""
    best: tuple[Place, int] | None = None
    for place in sequencing.all_places(runtime):
        try:
            found = place.newest()
        except StrongroomError:
            continue
        size = 0 if found is None else found[0]
        if best is None or size > best[1]:
            best = place, size
    if best is None:
        raise NoRegion("No region answers.")
    return best


def _keys(runtime: Runtime, place: Place) -> Log | None:
    """The log's keys; those that the database lost come back out of the region."""
    with runtime.database.session(Role.OPERATOR) as session:
        rows = list(keys.in_use(session))
    while (there := place.key(len(rows) + 1)) is not None:
        number, statement = len(rows) + 1, there[0]
        keys.trusted([*(row.statement for row in rows), statement], record_keys=_ours(runtime))
        row = LogKey(
            number=number,
            public=keys.public_of(statement),
            statement=statement,
            made_at=runtime.now(),
        )
        with runtime.database.session(Role.OPERATOR) as session:
            session.add(row)
        rows.append(row)
    if not rows:
        return None
    trusted = sequencing.trusted(runtime, rows)
    return Log(trusted[0].name, trusted, None)


def _ours(runtime: Runtime) -> set[str]:
    return {records.Signer.from_text(runtime.settings.record_key).public}


def _require_same(place: Place, known: Log | None, last: Signed | None) -> None:
    """What the database has must be the beginning of what the region has."""
    if last is None or known is None:
        return
    note = place.checkpoint(last.size)
    said = None if note is None else sequencing.read(place, note, last.size, known)
    if said is None or said.root != last.root:
        raise Forked(
            f"Region {place.name} has not the checkpoint over {last.size} entries that this database "
            "has: it is another log, and nothing can be taken back from it.",
            region=place.name,
            size=last.size,
        )


def _require_nothing_behind(runtime: Runtime, size: int) -> None:
    with runtime.database.session(Role.OPERATOR) as session:
        if session.execute(select(Placed.index).where(Placed.index >= size).limit(1)).first():
            raise Changed(
                f"There are entries behind the last checkpoint, over {size}: rows were removed. "
                "Restore the database from its newest dump first."
            )


def _read(place: Place, known: Log | None, last: Signed | None, size: int) -> list[_Found]:
    grown = Range() if last is None else sequencing.require_peaks(last)
    found: list[_Found] = []
    for each in place.sizes():
        if not grown.size < each <= size or known is None:
            continue
        note, batch = place.checkpoint(each), place.batch(each)
        if note is None or batch is None or batch.first != grown.size:
            raise Malformed(f"Region {place.name} lacks the leaves from {grown.size} to {each}.")
        said = sequencing.read(place, note, each, known)
        try:
            leaves = [Leaf.decoded(leaf) for leaf in batch.leaves]
        except ValueError as error:
            raise Malformed(f"Leaves in region {place.name} cannot be read: {error}.") from None
        grown = grown.extended(leaf.hash for leaf in leaves)
        if (grown.size, grown.root()) != (said.size, said.root):
            raise Forked(f"The leaves up to {each} in region {place.name} were changed.", size=each)
        head = Signed(
            size=each,
            root=said.root,
            peaks=grown.encoded(),
            note=note,
            at=leaves[-1].at,
        )
        found.append(_Found(head, leaves))
    return found


def _put_entries(runtime: Runtime, leaves: Sequence[Leaf]) -> int:
    """Those that are not here any more; gives how many. A row of ours that differs is refused."""
    lost = 0
    tenants: set[uuid.UUID | None] = {leaf.tenant for leaf in leaves}
    for tenant in sorted(tenants, key=str):
        theirs = {leaf.id: leaf for leaf in leaves if leaf.tenant == tenant}
        with runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            there = session.execute(select(Entry).where(Entry.id.in_(theirs))).scalars()
            for row in there:
                if theirs.pop(row.id).hash != row.leaf().hash:
                    raise Forked(f"Entry {row.id} is not here as it was signed.")
            lost += len(theirs)
            if theirs:
                session.execute(insert(Entry), [_bare(leaf) for leaf in theirs.values()])
    return lost


def _bare(leaf: Leaf) -> dict[str, object]:
    return {
        "id": leaf.id,
        "tenant_id": leaf.tenant,
        "at": leaf.at,
        "code": leaf.code,
        "by": leaf.by,
        "channel": leaf.channel,
        "ending": leaf.ending,
        "reason": leaf.reason,
        "of": leaf.of,
        "subject_id": leaf.subject,
        "about_id": leaf.about,
        "commitment": leaf.commitment,
    }


def _put_places(
    session: Session, first: int, leaves: Sequence[Leaf], found: Sequence[_Found]
) -> None:
    session.execute(
        insert(Placed),
        [
            {"index": first + n, "entry_id": leaf.id, "hash": leaf.hash}
            for n, leaf in enumerate(leaves)
        ],
    )
    session.add_all(each.head for each in found)
    session.execute(delete(Pending).where(Pending.entry_id.in_([leaf.id for leaf in leaves])))
