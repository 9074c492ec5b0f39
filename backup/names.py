"""The index of names: which paths of a source have three letters in a row.

    "Rapport é.PDF" ─ folded ─▶ "rapport e.pdf" ─ grams ─▶ " r", " ra", "rap", "app", ..., "pdf"

PostgreSQL's own index of trigrams does not serve tables under row-level security: its operators
may tell what they see, so no condition of a search is tried before the tenant's own, and every name
would be read. And one index of all tenants makes a search as slow as the largest of them. So each
source has lists of its own: for a gram and a segment of 16,384 places, the places whose names have
it. They are found by equality, which leaks nothing, and are written when a path is new, not when
it changes.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import uuid
from array import array
from collections.abc import Iterable, Mapping

from sqlalchemy import String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from strongroom.db import Base, OfTenant, refers

LONGEST = 255  # signs of a folded name; no file system has longer ones
SEGMENT = 1 << 14  # places in a list; an offset within it takes two bytes
BATCH = 8 * SEGMENT  # names that are taken in at once
GRAM = 3
WORDS = re.compile(r"[^\W_]+")
# What people do not tell apart when they type: forms of alef, ya and ta marbuta, Persian letters.
ALIKE = {"ٱ": "ا", "ى": "ي", "ة": "ه", "ک": "ك", "ی": "ي", "ہ": "ه", "ـ": ""}
DROPPED = frozenset({"Mn", "Me", "Cf"})  # accents, vowel signs; directions, joiners


class CatalogueGram(OfTenant, Base):
    """The places of one segment of a source whose names have a gram."""

    __tablename__ = "catalogue_grams"
    __constraints__ = (
        refers("source_id", "sources"),
        UniqueConstraint("tenant_id", "source_id", "gram", "segment"),
    )

    source_id: Mapped[uuid.UUID]
    gram: Mapped[str] = mapped_column(String(collation="C"))
    segment: Mapped[int]  # place // SEGMENT
    count: Mapped[int]
    places: Mapped[bytes]  # place % SEGMENT, ascending, two bytes each, the lower first


def folded(name: str) -> str:
    """A name as it is sorted and searched: small letters, no accents, vowel signs or tatweel, one
    form for letters that are typed alike, digits 0-9; at most LONGEST signs."""
    if name.isascii():
        return name.lower()[:LONGEST]
    return name.translate(_FOLDS)[:LONGEST]


class _Folds(dict[int, str]):
    """What each sign becomes, found out when it first comes."""

    def __missing__(self, code: int) -> str:
        kept = [_plain(sign) for sign in unicodedata.normalize("NFKD", chr(code).casefold())]
        self[code] = "".join(kept).casefold()
        return self[code]


_FOLDS = _Folds()


def _plain(sign: str) -> str:
    if unicodedata.category(sign) in DROPPED:
        return ""
    value = unicodedata.decimal(sign, None)
    return ALIKE.get(sign, sign) if value is None else str(value)


def grams(name: str) -> set[str]:
    """All that a folded name is found by: its trigrams, and how its words begin."""
    found = {name[at : at + GRAM] for at in range(len(name) - GRAM + 1)}
    for word in WORDS.findall(name):
        found.add(" " + word[:1])
        found.add(" " + word[:2])
    return found


def terms(wanted: str) -> list[str]:
    """The parts of a query, folded; a name has to have each of them. `*` parts like a space.

    Of a part of one or two signs only letters and digits count.
    """
    found: list[str] = []
    for part in folded(wanted.replace("*", " ").replace("?", " ")).split():
        found += [part] if len(part) >= GRAM else WORDS.findall(part)
    return list(dict.fromkeys(found))


def needed(term: str) -> set[str]:
    """The grams that every name with this folded term has; one of one or two signs begins a word."""
    if len(term) < GRAM:
        return {" " + term}
    return {term[at : at + GRAM] for at in range(len(term) - GRAM + 1)}


def has(name: str, term: str) -> bool:
    """Whether a folded name has the term, or a word that begins with it if it is that short."""
    if len(term) >= GRAM:
        return term in name
    return any(word.startswith(term) for word in WORDS.findall(name))


_NEW = """
select place, folded from catalogue_paths
where tenant_id = :tenant and source_id = :source and place > :after
order by place limit :batch
"""
_DRAFT = """
create temporary table catalogue_gram_draft (
    gram text collate "C" not null, segment int not null, count int not null, places bytea not null
) on commit drop
"""
_ADD = """
insert into catalogue_grams (id, tenant_id, source_id, gram, segment, count, places)
select uuidv7(), :tenant, :source, d.gram, d.segment, d.count, d.places
from catalogue_gram_draft d
order by d.gram, d.segment
on conflict (tenant_id, source_id, gram, segment)
do update set count = catalogue_grams.count + excluded.count,
              places = catalogue_grams.places || excluded.places
"""
_MINE = """g.tenant_id = :tenant and g.source_id = :source
  and g.gram = d.gram and g.segment = d.segment"""
_HELD = f"""
select g.gram, g.segment, g.places from catalogue_gram_draft d join catalogue_grams g on {_MINE}
"""  # noqa: S608 - a constant
_SHORTEN = f"""
update catalogue_grams g set count = d.count, places = d.places
from catalogue_gram_draft d where {_MINE} and d.count > 0
"""  # noqa: S608
_EMPTY = f"""
delete from catalogue_grams g using catalogue_gram_draft d where {_MINE} and d.count = 0
"""  # noqa: S608


def note(session: Session, source: uuid.UUID, *, after: int) -> None:
    """Take in the names of the source's paths whose places come after that one."""
    about = {"tenant": session.info["tenant"], "source": source}
    while True:
        batch = session.execute(text(_NEW), {**about, "after": after, "batch": BATCH}).all()
        if not batch:
            return
        _add(session, about, _lists((row.place, row.folded) for row in batch))
        after = batch[-1].place


def _lists(named: Iterable[tuple[int, str]]) -> Mapping[tuple[str, int], array[int]]:
    """By gram and segment, the offsets; the places have to come in order."""
    found: dict[tuple[str, int], array[int]] = {}
    for place, name in named:
        segment, offset = divmod(place, SEGMENT)
        for gram in grams(name):
            held = found.get((gram, segment))
            if held is None:
                held = found[gram, segment] = array("H")
            held.append(offset)
    return found


def _add(
    session: Session, about: Mapping[str, object], lists: Mapping[tuple[str, int], array[int]]
) -> None:
    _draft(session, lists)
    session.execute(text(_ADD), about)
    session.execute(text("drop table catalogue_gram_draft"))


def _draft(session: Session, lists: Mapping[tuple[str, int], array[int]]) -> None:
    session.execute(text("drop table if exists catalogue_gram_draft"))
    session.execute(text(_DRAFT))
    driver = session.connection().connection.driver_connection
    assert driver is not None
    with driver.cursor().copy(
        "copy catalogue_gram_draft (gram, segment, count, places) from stdin"
    ) as copy:
        for (gram, segment), offsets in lists.items():
            copy.write_row((gram, segment, len(offsets), packed(offsets)))
    session.execute(text("analyze catalogue_gram_draft"))


def forget(session: Session, source: uuid.UUID, named: Iterable[tuple[int, str]]) -> None:
    """Take paths out again, by their places, which come in order, and folded names."""
    about = {"tenant": session.info["tenant"], "source": source}
    gone = _lists(named)
    if not gone:
        return
    _draft(session, gone)
    rows = session.execute(text(_HELD), about).all()
    left: dict[tuple[str, int], array[int]] = {}
    for row in rows:
        mine = set(gone[row.gram, row.segment])
        left[row.gram, row.segment] = array("H", [o for o in unpacked(row.places) if o not in mine])
    _draft(session, left)
    session.execute(text(_SHORTEN), about)
    session.execute(text(_EMPTY), about)
    session.execute(text("drop table catalogue_gram_draft"))


def packed(offsets: array[int]) -> bytes:
    if sys.byteorder == "big":
        offsets = array("H", offsets)
        offsets.byteswap()
    return offsets.tobytes()


def unpacked(places: bytes) -> array[int]:
    offsets = array("H")
    offsets.frombytes(places)
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets
