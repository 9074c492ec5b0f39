"""Reading packs back: a pack's name is the SHA-256 of its bytes, so this needs no password.

Packs are fetched side by side, hashed piece by piece as they come (hashing leaves other threads
running), and what was found is noted every few seconds: a scrub that breaks off has lost little.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert

from backup.models import Pack
from backup.repositories import Site
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.keeper import Held
from strongroom.program import Stopped
from strongroom.storage import Act, Missing, Store

READERS = 4  # requests under way at once; the hash of one runs beside the others' transfer
PIECE = 256 * 1024  # bytes of one pack in memory at a time, in each reader
NOTE_SECONDS = 5.0
NOTE_MOST = 200  # packs noted in one statement


@dataclass
class Read:
    """What a scrub found."""

    packs: int = 0
    bytes: int = 0
    at: dict[str, datetime] = field(default_factory=dict)  # when each whole one was read
    damaged: list[str] = field(default_factory=list)  # they do not hash to their names
    vanished: list[str] = field(default_factory=list)  # no longer there when their turn came


def read(site: Site, packs: Mapping[str, int], *, held: Held | None = None) -> Read:
    """Read these packs (name to bytes listed) and note each. Raises Stopped without the lease.

    An error of the region is raised as it came, after what was read until then was noted.
    """
    found, notes = Read(), _Notes(site)
    try:
        for name, whole, size in _results(site, packs, held):
            if whole is None:
                found.vanished.append(name)
                continue
            found.packs += 1
            found.bytes += size
            found.at[name] = notes.add(name, size, whole=whole)
            if not whole:
                found.damaged.append(name)
                del found.at[name]
    finally:
        notes.write()
    return found


def pack_key(prefix: str, name: str) -> str:
    """Where restic puts a pack."""
    return f"{prefix}data/{name[:2]}/{name}"


def _results(
    site: Site, packs: Iterable[str], held: Held | None
) -> Iterator[tuple[str, bool | None, int]]:
    """Name, whether it hashes to it (None: not there), and bytes; at most READERS under way."""
    store, prefix, names = site.store(Act.READ), site.prefix, iter(packs)
    with ThreadPoolExecutor(READERS, thread_name_prefix="scrub") as pool:

        def start(name: str) -> tuple[str, Future[tuple[bool | None, int]]]:
            return name, pool.submit(_read, store, pack_key(prefix, name), name)

        going = deque(start(name) for name in itertools.islice(names, READERS + 1))
        try:
            while going:
                if held is not None and held.is_lost:
                    raise Stopped("The proof's lease was lost; it is tried again.")
                name, future = going.popleft()
                whole, size = future.result()
                going.extend(start(each) for each in itertools.islice(names, 1))
                yield name, whole, size
        finally:
            for _, future in going:
                future.cancel()


def _read(store: Store, key: str, name: str) -> tuple[bool | None, int]:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in store.stream(key, chunk=PIECE):
            digest.update(piece)
            size += len(piece)
    except Missing:
        return None, 0
    return digest.hexdigest() == name, size


class _Notes:
    """Rows of packs, written some at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rows: list[dict[str, object]] = []
        self._written = time.monotonic()

    def add(self, name: str, size: int, *, whole: bool) -> datetime:
        now = self._site.runtime.now()
        row = self._site.row
        self._rows.append(
            {
                "id": new_id(),
                "tenant_id": row.tenant_id,
                "repository_id": row.id,
                "name": name,
                "bytes": size,
                "read_at": now,
                "whole": whole,
            }
        )
        if len(self._rows) >= NOTE_MOST or time.monotonic() - self._written > NOTE_SECONDS:
            self.write()
        return now

    def write(self) -> None:
        rows, self._rows, self._written = self._rows, [], time.monotonic()
        if not rows:
            return
        statement = insert(Pack)
        news = {name: statement.excluded[name] for name in ("bytes", "read_at", "whole")}
        # In one order everywhere: two that read the same packs wait for each other, no more.
        rows.sort(key=lambda each: str(each["name"]))
        with self._site.runtime.database.session(
            Role.WORKER, tenant=self._site.row.tenant_id
        ) as session:
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["tenant_id", "repository_id", "name"], set_=news
                ),
                rows,
            )
