"""A folder brought back: into staging beside the target, vetted, then landed in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backup import repositories
from backup.restic import commands
from backup.restic.flags import RestoreOrder
from backup.restic.outputs import RestoreReport
from backup.sources.directory import Directory
from restore import folders
from restore.choosing import Chosen
from restore.errors import Unsafe
from restore.folders import Landed, Staging
from restore.going import Going
from restore.states import Destination
from strongroom.storage import Act

SECONDS = 24 * 3600.0


def land(going: Going, source: Directory, chosen: Chosen) -> dict[str, Any]:
    """Bring it where it is wanted; with dry_run only say what would change."""
    target = _target(going, source)
    if going.row.dry_run:
        return _preview(going, source, chosen)
    going.note(phase="fetching")
    staging = folders.prepare(target, token=going.token)
    try:
        report = _fetch(going, chosen, staging)
        in_place = going.row.destination is Destination.IN_PLACE
        vetted = folders.vet(staging, keep_known_links=in_place)
        going.note(phase="swapping")
        landed = _land(going, staging)
    except BaseException:
        folders.discard(staging)
        raise
    return _report(landed) | {
        "files": report.files,
        "bytes": report.bytes,
        "left_out": [str(each) for each in vetted.left_out[:100]],
    }


def recover(going: Going, source: Directory) -> dict[str, Any] | None:
    """After a crash: an exchange that had happened is finished; anything less is cleared away."""
    if going.row.dry_run or going.row.attempt < 2:
        return None
    landed = folders.recover(_target(going, source), token=going.token)
    return None if landed is None else _report(landed)


def _target(going: Going, source: Directory) -> Path:
    if going.row.destination is Destination.FOLDER:
        assert going.row.target is not None  # as it was asked
        return Path(going.row.target)
    return source.path


def _fetch(going: Going, chosen: Chosen, staging: Staging) -> RestoreReport:
    here = repositories.surroundings(
        going.runtime, chosen.site.row.id, seconds=SECONDS, stop=going.held.lost
    )
    order = RestoreOrder(
        snapshot=chosen.restic_id, target=staging.data, include=tuple(going.row.paths)
    )
    return commands.restore(chosen.site.restic(Act.READ), here, order)


def _land(going: Going, staging: Staging) -> Landed:
    at = going.runtime.now()
    match going.row.destination:
        case Destination.ASIDE:
            return folders.aside(staging, at=at)
        case Destination.IN_PLACE:
            if going.row.paths:
                folders.choose(staging, going.row.paths)
            return folders.in_place(staging, at=at)
        case Destination.FOLDER:
            _require_nothing_there(staging.target)
            return folders.in_place(staging, at=at)


def _require_nothing_there(target: Path) -> None:
    """An empty folder is taken away so that ours can have its name; anything else stays."""
    if not target.exists():
        return
    try:
        target.rmdir()
    except OSError as error:
        raise Unsafe(
            f"{target} is not an empty folder. Name one that is empty, or is not there yet.",
            folder=str(target),
        ) from error


def _preview(going: Going, source: Directory, chosen: Chosen) -> dict[str, Any]:
    here = repositories.surroundings(
        going.runtime, chosen.site.row.id, seconds=SECONDS, stop=going.held.lost
    )
    in_place = going.row.destination is Destination.IN_PLACE
    target = source.path if in_place else going.runtime.folder("scratch", going.token)
    order = RestoreOrder(
        snapshot=chosen.restic_id,
        target=target,
        include=tuple(going.row.paths),
        delete=in_place and not going.row.paths,
        dry_run=True,
    )
    report = commands.restore(chosen.site.restic(Act.READ), here, order)
    return {
        "dry_run": True,
        "would_restore": report.restored,
        "unchanged": report.skipped,
        "would_delete": report.deleted,
        "bytes": report.bytes_restored,
    }


def _report(landed: Landed) -> dict[str, Any]:
    before = None if landed.before is None else str(landed.before)
    return {"where": str(landed.path), "before": before}
