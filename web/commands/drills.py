"""`strongroom drill`: a rehearsed restore now; `strongroom verify --level drill` is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from backup.models import Copy, Point, Repository
from backup.states import CopyState
from restore.models import Drill
from restore.rehearsed import drills
from restore.states import DrillState
from strongroom.db import Role
from strongroom.errors import Incomplete, NotFound
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.models import Tenant
from web import following, readings
from web.output import Screen, size, when
from web.session import common, connect, me


@click.command()
@click.argument("slug", metavar="TENANT")
@click.option("--point", "number", help="Number or id of a point; the newest if not given.")
@click.option("--region", help="Only from this region; from each that has the point if not given.")
@click.option("--wait", is_flag=True, help="Until it has ended, and say what differed.")
@click.option("--timeout", type=float, default=24 * 3600, help="Of --wait, seconds.")
@common
def drill(
    slug: str,
    number: str | None,
    region: str | None,
    wait: bool,
    timeout: float,
    home: Path | None,
    as_json: bool,
) -> None:
    """Rehearse a restore now: into a throw-away place, compared, timed, thrown away.

    Live data are not touched. With --wait exit 0 if all came back as it was, 1 if not, and 3 if
    it could not be done now.

    Example: strongroom drill acme --region region-b --wait
    """
    screen, platform = Screen(as_json), connect(home)
    tenant = onboarding.named(platform, slug)
    point = readings.find_point(platform, tenant, number or "newest")
    rows = ask(platform, tenant, point, region=region)
    if wait:
        tell(platform, tenant, rows, screen=screen, seconds=timeout)
        return
    screen.give(
        [document(row, name) for row, name in rows],
        text=f"Queued for point {point.number}. `strongroom points {slug}` shows when a point "
        "last came back whole.",
    )


def ask(
    platform: Runtime, tenant: Tenant, point: Point, *, region: str | None
) -> list[tuple[Drill, str]]:
    """A drill of each stored copy of the point, with its region. Raises NotFound without any."""
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        copies = session.execute(
            select(Repository.id, Region.name)
            .join(Copy, Copy.repository_id == Repository.id)
            .join(Region, Region.id == Repository.region_id)
            .where(Copy.point_id == point.id, Copy.state == CopyState.STORED)
            .order_by(Region.rank, Region.name)
        ).all()
        wanted = [each for each in copies if region in (None, each.name)]
        if not wanted:
            raise NotFound(
                f"Point {point.number} has no stored copy{f' in {region}' if region else ''}.",
                code="no-copy",
            )
        of, now = (tenant.id, point.id), platform.now()
        return [
            (drills.add(session, of, each.id, by=str(me()), actor=me(), at=now), each.name)
            for each in wanted
        ]


def tell(
    platform: Runtime,
    tenant: Tenant,
    rows: list[tuple[Drill, str]],
    *,
    screen: Screen,
    seconds: float,
) -> None:
    """Wait for the drills, say what each found, and end with the exit code that fits."""
    names = {row.id: name for row, name in rows}
    found = following.drilled(platform, tenant, names, screen=screen, seconds=seconds)
    ended = sorted(found, key=lambda row: list(names).index(row.id))
    screen.table(
        [document(row, names[row.id]) for row in ended],
        ["region", "is", "seconds", "of it restoring", "restored", "source", "compared", "differs"],
        [line for row in ended for line in _lines(row, names[row.id])],
    )
    states = {row.state for row in ended}
    if states & {DrillState.FAILED, DrillState.QUARANTINED}:
        click.get_current_context().exit(1)
    if states != {DrillState.PASSED}:
        click.get_current_context().exit(Incomplete.exit_code)


def document(row: Drill, region: str) -> dict[str, Any]:
    return {
        "drill": str(row.id),
        "region": region,
        "level": "drill",
        "state": str(row.state),
        "asked_at": when(row.asked_at),
        "ended_at": when(row.ended_at),
        "seconds": row.seconds,
        "restore_seconds": row.restore_seconds,
        "bytes": row.bytes,
        "report": row.report,
        "failure": row.failure,
    }


def _lines(row: Drill, region: str) -> list[list[Any]]:
    """One for each difference; one for each source that has none."""
    head = [region, str(row.state), row.seconds, row.restore_seconds, size(row.bytes)]
    sources = (row.report or {}).get("sources") or [{}]
    lines = []
    for each in sources:
        compared = ", ".join(f"{count} {what}" for what, count in each.get("compared", {}).items())
        wrong = [*([each["said"]] if each.get("said") else []), *each.get("differences", [])]
        if not each:
            wrong = [(row.failure or {}).get("message", "not carried out yet")]
        for differs in wrong or [None]:
            lines.append([*head, each.get("source"), compared, differs])
    return lines


COMMANDS = (drill,)
