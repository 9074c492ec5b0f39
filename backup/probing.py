"""Whether a region gives back what was stored there, asked briefly before anything rests on it.

restic alone tries for a quarter of an hour before it gives a region up, and believes a listing.
We read two small objects whose names are the SHA-256 of what is in them: the key file, and the
snapshot that is wanted. A region that is down, refuses us, serves pages of something else or other
bytes is found out by that, within PATIENCE.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

from backup.repositories import Site
from strongroom.storage import Act, Missing, StorageError, Store, Unreachable, Untrue

PATIENCE = 60.0  # seconds; each request has its own, shorter one, but bytes may come one by one


def reach(site: Site, *, snapshot: str | None = None) -> None:
    """Raises a StorageError when the repository, or this snapshot in it, cannot be read now."""
    _within(PATIENCE, site, lambda: read(site, site.store(Act.READ), snapshot=snapshot))


def require(site: Site, store: Store) -> None:
    """As `reach`, with rights that are there already; nothing is asked of a new repository."""
    _within(PATIENCE, site, lambda: read(site, store))


def read(site: Site, store: Store, *, snapshot: str | None = None) -> None:
    names = [] if site.row.key_hint is None else [f"keys/{site.row.key_hint}"]
    names += [] if snapshot is None else [f"snapshots/{snapshot}"]
    for name in names:
        found = store.get(site.prefix + name)
        if hashlib.sha256(found).hexdigest() != name.rpartition("/")[2]:
            raise Untrue(
                f"Wanted {name} of repository {site.row.id} from region {site.region.name}, found "
                f"{len(found)} other bytes. The region is not used; look at what lies there.",
                region=site.region.name,
                key=name,
            )


def _within(seconds: float, site: Site, act: Callable[[], None]) -> None:
    """In a thread of its own, which is left behind if it does not end."""
    ended: list[Exception | None] = []

    def carry_out() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=carry_out, name="probe", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise Unreachable(
            f"Region {site.region.name} did not answer within {seconds:.0f} seconds. It is tried "
            "again later; check that the region is up.",
            region=site.region.name,
        )
    if ended[0] is not None:
        raise ended[0]


def confirm(site: Site, store: Store, missing: list[str]) -> None:
    """Ask for objects that a listing did not name. Raises Untrue when one of them is there."""
    for name in missing:
        try:
            there: Any = store.get(f"{site.prefix}{name}")
        except Missing:
            continue
        except StorageError as error:
            raise Untrue(
                f"Region {site.region.name} does not list {name}, and does not say that it is "
                f"gone: {error.message} Nothing is concluded from that listing.",
                region=site.region.name,
                key=name,
            ) from error
        raise Untrue(
            f"Region {site.region.name} does not list {name}, but has it ({len(there)} bytes): its "
            "listings are stale. Nothing is concluded from them; tried again later.",
            region=site.region.name,
            key=name,
        )
