"""The log as one file of lines, to be verified by who has neither our database nor our regions.

    {"strongroom_record": 1, "origin": …, "made_at": …}
    {"key": 1, "statement": "…"}                       each key that ever signed
    {"place": 0, "leaf": "…", "hash": "…"}             with "salt" and "details" where asked for
    {"checkpoint": 42, "note": "…", "peaks": "…"}      behind the entries that it is over

Without details there is nothing in it that names anybody.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.audit import keys, merkle, notes
from strongroom.audit.entries import Entry, Placed, Signed
from strongroom.audit.leaves import Leaf
from strongroom.audit.notes import PublicKey
from strongroom.audit.verifying import Head, Problem, Row, Verification
from strongroom.errors import BadValue

FORMAT = 1
PAGE = 5000


def walk(session: Session) -> Iterator[Row | Head]:
    """All that has a place, each checkpoint behind what it is over; read as an operator."""
    at = 0
    wanted = select(Signed).order_by(Signed.size)
    for head in session.execute(wanted).scalars().all():
        yield from _rows(session, at, head.size)
        at = head.size
        yield Head(head.size, head.note, head.peaks)
    yield from _rows(session, at, None)


def _rows(session: Session, first: int, end: int | None) -> Iterator[Row]:
    wanted = (
        select(Placed, Entry)
        .outerjoin(Entry, Entry.id == Placed.entry_id)
        .order_by(Placed.index)
        .execution_options(yield_per=PAGE)
    )
    wanted = wanted.where(Placed.index >= first)
    if end is not None:
        wanted = wanted.where(Placed.index < end)
    for placed, entry in session.execute(wanted):  # pyright: ignore
        leaf = None if entry is None else entry.leaf().encoded()
        salt, details = (None, None) if entry is None else (entry.salt, entry.details)
        yield Row(placed.index, placed.entry_id, placed.hash, leaf, salt, details)


def lines(session: Session, *, details: bool, now: datetime) -> Iterator[str]:
    """The file, line by line, up to the last checkpoint."""
    rows = keys.in_use(session)
    if not rows:
        raise BadValue("Nothing is on record yet.", code="record-empty")
    origin = PublicKey.from_text(rows[0].public).name
    yield _line({"strongroom_record": FORMAT, "origin": origin, "made_at": now.isoformat()})
    for key in rows:
        yield _line({"key": key.number, "statement": key.statement.decode()})
    behind: list[str] = []
    for each in walk(session):
        if isinstance(each, Row):
            behind.append(_line(_row(each, details=details)))
        else:
            yield from behind
            behind = []
            peaks = base64.b64encode(each.peaks).decode()
            yield _line({"checkpoint": each.size, "note": each.note.decode(), "peaks": peaks})


def _row(row: Row, *, details: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"place": row.index, "entry": str(row.entry), "hash": row.hash.hex()}
    said["leaf"] = None if row.leaf is None else row.leaf.decode()
    if details and row.salt is not None:
        said |= {"salt": row.salt.hex(), "details": row.details}
    return said


def _line(said: dict[str, Any]) -> str:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Verdict:
    """What came of looking at a file."""

    origin: str
    entries: int
    checkpoints: int
    size: int  # of the last checkpoint that holds
    pinned: bool  # a key that was known from elsewhere vouches for it
    problems: list[Problem]
    keys: list[str]


@dataclass
class _File:
    """What its first lines say."""

    origin: str = ""
    statements: list[bytes] = field(default_factory=list)


def verify(said: Iterable[str], *, pinned: str | None) -> Verdict:
    """Whether the file is one log that was signed. Raises BadValue for what is no such file.

    `pinned` is a key that is known from elsewhere: the record key (64 hexadecimal digits) or one of
    the log's own (NAME+ID+BASE64). Without one the file only agrees with itself.
    """
    head, going = _File(), iter(said)
    log: Verification | None = None
    trusted: Sequence[PublicKey] = []
    for number, text in enumerate(going, 1):
        try:
            line = json.loads(text)
            if "strongroom_record" in line:
                head.origin = line["origin"]
            elif "key" in line:
                head.statements.append(line["statement"].encode())
            else:
                if log is None:
                    trusted = _trusted(head.statements, pinned)
                    log = Verification(head.origin, trusted)
                _feed(log, line)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadValue(f"Line {number} is none of an export of the record.") from None
    if log is None:
        raise BadValue("This is no export of the record, or an empty one.", code="record-empty")
    problems = log.end()
    if not log.heads:
        problems.append(Problem("unsigned", "There is no checkpoint in it."))
    names = [str(key) for key in trusted]
    return Verdict(
        head.origin, log.rows, log.heads, log.signed, pinned is not None, problems, names
    )


def _trusted(statements: Sequence[bytes], pinned: str | None) -> list[PublicKey]:
    if pinned is None:
        return keys.unpinned(statements)
    if "+" in pinned:
        return keys.trusted_from(statements, PublicKey.from_text(pinned))
    return keys.trusted(statements, record_keys={pinned.strip().lower()})


def _feed(log: Verification, line: dict[str, Any]) -> None:
    if "checkpoint" in line:
        peaks = base64.b64decode(line["peaks"], validate=True)
        log.head(Head(int(line["checkpoint"]), line["note"].encode(), peaks))
        return
    leaf = None if line["leaf"] is None else line["leaf"].encode()
    salt = bytes.fromhex(line["salt"]) if "salt" in line else None
    entry = uuid.UUID(line["entry"])
    hash_ = bytes.fromhex(line["hash"])
    log.row(Row(int(line["place"]), entry, hash_, leaf, salt, line.get("details")))


def prove(session: Session, entry: uuid.UUID) -> tuple[Leaf, bytes]:
    """An entry's leaf, and the proof that the newest checkpoint is over it. Raises BadValue."""
    from_row = session.execute(select(Placed).where(Placed.entry_id == entry)).scalar()
    row = session.get(Entry, entry)
    head = session.execute(select(Signed).order_by(Signed.size.desc()).limit(1)).scalar()
    if row is None or from_row is None or head is None:
        raise BadValue(
            f"Entry {entry} is not in the log (yet). See `strongroom audit show`.",
            code="record-no-entry",
        )
    wanted = select(Placed.hash).where(Placed.index < head.size).order_by(Placed.index)
    hashes = session.execute(wanted).scalars().all()
    path = merkle.inclusion(from_row.index, head.size, merkle.over(hashes))
    return row.leaf(), notes.proof(from_row.index, path, head.note)


def is_proven(leaf: bytes, proof: bytes, *, origin: str, trusted: Sequence[PublicKey]) -> bool:
    """Whether a proof shows that a leaf is in the log. Raises NoteRefused."""
    index, path, note = notes.read_proof(proof)
    said = notes.checkpoint(note, origin=origin, trusted=trusted)
    return merkle.is_included(merkle.leaf_hash(leaf), index, said.size, path, said.root)
