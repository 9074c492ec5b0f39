"""`strongroom region undelete`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select

from backup import copies, followers, repositories
from backup.models import Copy, Proof, Repository
from backup.states import CopyState, ProofState
from backup.undelete import Undeleted, preview, undelete
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, NotFound
from strongroom.regions import Region
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import following
from web.commands.regions import region
from web.output import Screen
from web.session import common, connect, me

PATIENCE = 6 * 3600.0
UNPROVEN = (ProofState.WAITING, ProofState.PROVING)

Rows = Sequence[tuple[Repository, Tenant]]


@region.command("undelete")
@click.argument("name", metavar="REGION")
@click.option("--tenant", "slug", metavar="SLUG", help="This tenant only.")
@click.option("--since", metavar="TIME", help="Only what was deleted since; ISO 8601, UTC.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--wait", is_flag=True, help="Until the data are proven too.")
@common
def undelete_(
    name: str,
    slug: str | None,
    since: str | None,
    dry_run: bool,
    wait: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Bring back what somebody deleted or overwrote in a region, for every tenant.

    What our own retention let go stays gone. Exit 3 if something is missing, or not proven yet.

    Example: strongroom region undelete region-a --since 2026-11-20T08:00 --wait
    """
    platform, screen = connect(home), Screen(as_json)
    moment = None if since is None else _moment(since)
    rows = _repositories(platform, name, slug)
    done = []
    for number, (row, tenant) in enumerate(rows, 1):
        screen.say(f"{number} of {len(rows)}: {tenant.slug}")
        done.append(_one(platform, row, since=moment, dry_run=dry_run, screen=screen))
    if wait and not dry_run:
        _wait_for_proofs(platform, [row for row, _ in rows])
    told = [
        {"tenant": tenant.slug, **each.to_json(), "proven": _proven(platform, row)}
        for (row, tenant), each in zip(rows, done, strict=True)
    ]
    screen.table(
        {"region": name, "dry_run": dry_run, "tenants": told},
        ["tenant", "brought back", "structure", "data proven", "what is missing"],
        [_line(each, dry_run=dry_run) for each in told],
    )
    whole = all(each.is_whole for each in done) and all(each["proven"] for each in told)
    if not dry_run and not whole:
        click.get_current_context().exit(Incomplete.exit_code)


def _one(
    platform: Runtime, row: Repository, *, since: datetime | None, dry_run: bool, screen: Screen
) -> Undeleted:
    if dry_run:
        return preview(repositories.site(platform, row.tenant_id, row.id), since=since)
    done = undelete(
        platform,
        row.tenant_id,
        row.id,
        since=since,
        by=me(),
        say=lambda words: screen.say(f"  {words}"),
    )
    for copy_id in _there_again(platform, row):
        copies.bring(platform, row.tenant_id, copy_id)
    return done


def _there_again(platform: Runtime, row: Repository) -> list[UUID]:
    """Copies that were to be brought again, and whose snapshots are all back."""
    with platform.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        waiting = session.execute(
            select(Copy).where(Copy.repository_id == row.id, Copy.state == CopyState.WAITING)
        ).scalars()
        return [each.id for each in waiting if followers.is_whole(session, each.point_id, row.id)]


def _wait_for_proofs(platform: Runtime, rows: Sequence[Repository]) -> None:
    def look() -> bool | None:
        # Where the repository was busy with a proof, a worker brings the copy when it is due.
        busy = any(_there_again(platform, row) or _open_proofs(platform, row) for row in rows)
        return None if busy else True

    following.wait(look, seconds=PATIENCE, what="the proofs")


def _open_proofs(platform: Runtime, row: Repository) -> list[Proof]:
    with platform.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        return list(
            session.execute(
                select(Proof)
                .join(Copy, Copy.id == Proof.copy_id)
                .where(Copy.repository_id == row.id, Proof.state.in_(UNPROVEN))
            ).scalars()
        )


def _proven(platform: Runtime, row: Repository) -> bool:
    """Whether every copy in the repository is there, and proven."""
    with platform.database.session(Role.WORKER, tenant=row.tenant_id) as session:
        stored = session.execute(
            select(Copy).where(Copy.repository_id == row.id, Copy.state != CopyState.REMOVED)
        ).scalars()
        return all(
            each.state is CopyState.STORED
            and followers.is_whole(session, each.point_id, row.id)
            and all(
                one.verified_at is not None
                for one in followers.snapshots_of(session, each.point_id, row.id)
            )
            for each in stored
        )


def _repositories(platform: Runtime, name: str, slug: str | None) -> Rows:
    with platform.database.session(Role.OPERATOR) as session:
        if session.execute(select(Region.id).where(Region.name == name)).first() is None:
            raise NotFound(f"There is no region {name!r}. See `strongroom region list`.")
        wanted = (
            select(Repository, Tenant)
            .join(Region, Region.id == Repository.region_id)
            .join(Tenant, Tenant.id == Repository.tenant_id)
            .where(Region.name == name, Repository.key_hint.is_not(None), Repository.counts())
            .order_by(Tenant.slug)
        )
        if slug is not None:
            wanted = wanted.where(Tenant.slug == slug)
        found = [(row.Repository, row.Tenant) for row in session.execute(wanted)]
    if slug is not None and not found:
        raise NotFound(
            f"Tenant {slug!r} has no repository in {name}. See `strongroom tenant list`."
        )
    return found


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(f"--since {text!r} is no time; write it like 2026-11-20T08:00.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _line(each: dict[str, Any], *, dry_run: bool) -> list[Any]:
    if dry_run:
        return [each["tenant"], each["back"], "", "", ""]
    missing = [*([each["problem"]] if each["problem"] else []), *each["missing"], *each["kept"]]
    return [
        each["tenant"],
        each["back"],
        "whole" if each["clean"] else "NOT WHOLE",
        "yes" if each["proven"] else "not yet",
        "; ".join(missing[:3]),
    ]


COMMANDS = (region,)
