"""A folder brought back: into staging beside the target, vetted, then landed in one step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backup import places, watching
from backup.restic import commands
from backup.restic.calls import Surroundings
from backup.restic.flags import RestoreOrder
from backup.restic.outputs import Entry, RestoreReport
from backup.sources import walk
from backup.sources.allowance import overlap, resolved
from restore import folders, tree
from restore.choosing import Chosen
from restore.errors import Unsafe
from restore.folders import Landed, Staging
from restore.foreseen import Foreseen
from restore.going import FINAL, Going, Phase
from restore.states import Destination
from restore.targets import require_no_link
from restore.tree import Cursor, Step, shown
from strongroom.errors import NotFound
from strongroom.storage import Act

SECONDS = 24 * 3600.0


def require(going: Going, folder: Path, chosen: Chosen) -> None:
    """Raises what stands in the way, before anything is done.

    `folder` is the source's as it was checked against the allow-list.
    """
    target = _target(going, folder)
    if going.row.destination is Destination.FOLDER:
        require_outside_home(going, target)
        require_no_link(target)
        _require_nothing_there(target)
    if going.row.paths:
        _require_in_point(going, chosen)


def require_outside_home(going: Going, target: Path) -> None:
    """Nothing of a tenant lands among the platform's own keys and data."""
    place, own = resolved(target), places.own_folders(going.runtime)
    if any(overlap(place, resolved(each)) for each in own):
        raise Unsafe(
            f"{target} overlaps with the platform's own folders. Name one outside of them.",
            code="target-in-home",
            folder=str(target),
        )


def _require_in_point(going: Going, chosen: Chosen) -> None:
    """Each path, and not just one of them: what was asked for and is not there is an error."""
    lacking = {"/" + path.strip("/"): path for path in going.row.paths}

    def strike(entry: Entry) -> None:
        lacking.pop(entry.path, None)

    commands.ls(chosen.site.restic(Act.READ), _here(going, chosen), chosen.restic_id, strike)
    if lacking:
        raise NotFound(
            f"The point has nothing at {', '.join(map(shown, lacking.values()))}. Nothing was "
            "restored; `strongroom browse` shows what it has.",
            code="path-not-in-point",
            paths=sorted(lacking.values()),
        )


def land(going: Going, folder: Path, chosen: Chosen) -> dict[str, Any]:
    """Bring it where it is wanted; with dry_run only say what would change."""
    target = _target(going, folder)
    if going.row.dry_run:
        return _preview(going, folder, chosen)
    going.enter(Phase.FETCHING)
    staging = folders.prepare(target, token=going.token)
    try:
        report = _fetch(going, chosen, staging)
        vetted = folders.vet(staging, keep_known_links=going.in_place)
        going.past_return()
        landed = _land(going, staging)
    except BaseException:
        folders.discard(staging)
        raise
    finally:
        staging.close()
    return _report(landed) | {
        "files": report.files,
        "bytes": report.bytes,
        "entries": vetted.entries,
        "left_out_count": len(vetted.left_out),
        "left_out": [f"{each.path}: {each.why}" for each in vetted.left_out[:100]],
    }


def recover(going: Going, folder: Path) -> dict[str, Any] | None:
    """After a crash: what had landed is not landed again; anything less is cleared away."""
    target = _target(going, folder)
    landed = _landed(going, target)
    staged = target.with_name(f".strongroom-restore-{going.token}") / folders.DATA
    whole = not os.path.lexists(staged)
    finished = folders.recover(target, token=going.token)
    if finished is not None:
        is_folder = going.row.destination is Destination.FOLDER
        return _report(_without_empty(finished) if is_folder else finished)
    return _report(landed) if landed is not None and whole else None


def _landed(going: Going, target: Path) -> Landed | None:
    """By the names that this restore gives."""
    if going.row.phase not in FINAL:
        return None
    stamp = f"{going.moment():%Y%m%d_%H%M%S}"
    match going.row.destination:
        case Destination.ASIDE:
            beside = target.with_name(f"{target.name}.restored-{stamp}")
            return Landed(beside, None) if beside.is_dir() else None
        case Destination.IN_PLACE:
            before = target.with_name(f"{target.name}.before-{stamp}")
            return Landed(target, before) if before.is_dir() else None
        case Destination.FOLDER:
            return Landed(target, None) if target.is_dir() and any(target.iterdir()) else None


def _target(going: Going, folder: Path) -> Path:
    if going.row.destination is Destination.FOLDER:
        assert going.row.target is not None  # as it was asked
        return Path(going.row.target)
    return folder


def _fetch(going: Going, chosen: Chosen, staging: Staging) -> RestoreReport:
    order = RestoreOrder(
        snapshot=chosen.restic_id,
        target=staging.data,
        include=tuple(going.row.paths),
        descriptors=(staging.descriptor,),
    )
    tell = going.teller(None)
    return commands.restore(
        chosen.site.restic(Act.READ),
        _here(going, chosen),
        order,
        progress=lambda seen: tell(seen.bytes, seen.total_bytes),
    )


def _land(going: Going, staging: Staging) -> Landed:
    at = going.moment()
    match going.row.destination:
        case Destination.ASIDE:
            return folders.aside(staging, at=at)
        case Destination.IN_PLACE:
            if going.row.paths:
                folders.choose(staging, [path.removeprefix("/") for path in going.row.paths])
            return folders.in_place(staging, at=at)
        case Destination.FOLDER:
            _require_nothing_there(staging.target)
            return _without_empty(folders.in_place(staging, at=at))


def _require_nothing_there(target: Path) -> None:
    """Raises Unsafe unless there is nothing, or an empty folder."""
    try:
        empty = not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir()))
    except OSError as error:
        raise Unsafe(f"{target} cannot be looked at: {error.strerror}.") from error
    if not empty:
        raise Unsafe(
            f"{target} is not an empty folder. Name one that is empty, or is not there yet.",
            code="target-not-empty",
            folder=str(target),
        )


def _without_empty(landed: Landed) -> Landed:
    """The empty folder that was there gave its owner and mode; if it was filled since, it stays."""
    if landed.before is None:
        return landed
    try:
        landed.before.rmdir()
    except OSError:
        return landed
    return Landed(landed.path, None)


def _preview(going: Going, folder: Path, chosen: Chosen) -> dict[str, Any]:
    seen = Foreseen()
    with _live(folder if going.in_place else None) as live:
        nowhere = going.runtime.folder("scratch") / f"preview-{going.token}"  # and never made
        order = RestoreOrder(
            snapshot=chosen.restic_id,
            target=nowhere if live is None else walk.by_descriptor(live),
            include=tuple(going.row.paths),
            dry_run=True,
            listed=True,
            descriptors=() if live is None else (live,),
        )
        here = _here(going, chosen)
        report = commands.restore(chosen.site.restic(Act.READ), here, order, each=seen.item)
        if live is not None:
            _see_live(going, live, seen)
    return {
        "dry_run": True,
        "would_restore": seen.counts["new"] + seen.counts["changed"],
        "would_appear": seen.counts["new"],
        "would_change": seen.counts["changed"],
        "unchanged": seen.items - seen.counts["new"] - seen.counts["changed"],
        "would_delete": seen.counts["deleted"],
        "bytes": report.bytes_restored,
        "total_bytes": seen.bytes,
        "items": seen.items,
        "named": seen.named,
    }


@contextmanager
def _live(folder: Path | None) -> Iterator[int | None]:
    """The live folder, opened as it was checked; None when there is none."""
    try:
        descriptor = None if folder is None else walk.open_folder(folder)
    except FileNotFoundError:
        descriptor = None
    except OSError as error:
        raise Unsafe(
            f"{folder} cannot be entered at {error.filename!r}: {error.strerror}.",
            folder=str(folder),
        ) from error
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _see_live(going: Going, live: int, seen: Foreseen) -> None:
    """What is there now. restic says what would be deleted by a path only, not by an open folder."""
    within = [path.rstrip("/") for path in going.row.paths]
    cursor = Cursor(live)
    try:
        for entry in tree.walk(cursor):
            if entry.step is Step.LEAVE:
                continue
            path = _as_listed(entry.path)
            goes = not within or any(path.startswith(f"{each}/") for each in within)
            seen.live(path, goes=goes)
    finally:
        cursor.close()


def _as_listed(path: str) -> str:
    """As restic lists it: each byte that is not UTF-8 becomes U+FFFD."""
    return "/" + re.sub("[\udc80-\udcff]", "\ufffd", path)


def _here(going: Going, chosen: Chosen) -> Surroundings:
    return watching.surroundings(chosen.site, seconds=SECONDS, stop=going.stop)


def _report(landed: Landed) -> dict[str, Any]:
    before = None if landed.before is None else str(landed.before)
    return {"where": str(landed.path), "before": before}
