"""`strongroom restore`, `undo`, `restores`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import Point, Source
from backup.states import Outcome
from restore import approvals, requests
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, NotFound, StrongroomError
from strongroom.people import standing
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.models import Tenant
from web import following, readings
from web.acting import acting
from web.output import Screen, when
from web.session import common, connect, me


@click.command()
@click.argument("slug", metavar="TENANT")
@click.option("--point", "number", required=True, help="A number, an id, or latest.")
@click.option("--source", required=True)
@click.option("--path", "paths", multiple=True, help="Only this; may be given again.")
@click.option("--table", "tables", multiple=True, help="Only SCHEMA.TABLE; may be given again.")
@click.option("--to", required=True, help="aside, in-place, or a folder (from / on).")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--reason", help="Why; it goes on record.")
@click.option("--timeout", type=float, default=24 * 3600, help="Seconds to wait for the end.")
@common
def restore(slug: str, home: Path | None, as_json: bool, **given: Any) -> None:
    """Bring a source back: beside the live data, in its place, or into a folder.

    In place takes a safety point first; `strongroom undo` brings back the state before. Where the
    plan wants a second person for so large a restore, it waits for `strongroom restores approve`.

    Example: strongroom restore acme --point latest --source erp --table public.invoices --to aside
    """
    screen, platform = Screen(as_json), connect(home)
    tenant = onboarding.named(platform, slug)
    point = readings.find_point(platform, tenant, given["number"])
    if given["number"] == "latest":
        _say_what_latest_passes(platform, point, screen)
    destination, target = _destination(given["to"])
    out = destination is Destination.FOLDER  # the tenant's data leave the platform
    by = acting(platform, Action.DOWNLOAD, tenant=tenant.id) if out else me()
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        wish = Wish(
            point=point.id,
            source=_source_of(session, tenant, given["source"]).id,
            destination=destination,
            target=target,
            paths=given["paths"],
            tables=given["tables"],
            dry_run=given["dry_run"],
            reason=given["reason"],
        )
        row = requests.ask(session, tenant.id, wish, by=by, at=platform.now())
    screen.say(f"Restoring {given['source']} of {slug} from point {point.number} …")
    _show(following.restored(platform, row, screen=screen, seconds=given["timeout"]), screen)


@click.command()
@click.argument("restore_id", metavar="RESTORE", type=click.UUID)
@click.option("--timeout", type=float, default=24 * 3600, help="Seconds to wait for the end.")
@common
def undo(restore_id: UUID, timeout: float, home: Path | None, as_json: bool) -> None:
    """Bring back exactly the state before a restore in place.

    Example: strongroom undo 0199…
    """
    screen, platform = Screen(as_json), connect(home)
    tenant_id = _restore_of(platform, restore_id).tenant_id
    with platform.database.session(Role.OPERATOR, tenant=tenant_id) as session:
        row = requests.undo(session, restore_id, by=me(), at=platform.now())
    screen.say("Bringing back the state before …")
    _show(following.restored(platform, row, screen=screen, seconds=timeout), screen)


@click.group()
def restores() -> None:
    """Restores: what was brought back, and what is on its way."""


@restores.command("list")
@click.argument("slug", metavar="TENANT", required=False)
@common
def list_(slug: str | None, home: Path | None, as_json: bool) -> None:
    """Restores, the newest first.

    Example: strongroom restores list acme
    """
    platform = connect(home)
    if slug is not None:
        onboarding.named(platform, slug)  # a slip of the pen is no empty list
    with platform.database.session(Role.OPERATOR) as session:
        wanted = (
            select(Restore, Tenant.slug, Source.name, Point.number)
            .join(Tenant, Tenant.id == Restore.tenant_id)
            .join(Source, Source.id == Restore.source_id)
            .join(Point, Point.id == Restore.point_id)
            .order_by(Restore.asked_at.desc())
            .limit(200)
        )
        if slug is not None:
            wanted = wanted.where(Tenant.slug == slug)
        rows = session.execute(wanted).all()
    found = [
        _document(row.Restore) | {"tenant": row.slug, "source": row.name, "point": row.number}
        for row in rows
    ]
    Screen(as_json).table(
        found,
        ["restore", "tenant", "source", "point", "to", "is", "asked (UTC)", "where"],
        [
            [
                f["restore"],
                f["tenant"],
                f["source"],
                f["point"],
                f["to"],
                f["phase"] or f["state"],
                f["asked_at"],
                (f["report"] or {}).get("where"),
            ]
            for f in found
        ],
    )


@restores.command()
@click.argument("restore_id", metavar="RESTORE", type=click.UUID)
@common
def cancel(restore_id: UUID, home: Path | None, as_json: bool) -> None:
    """Take back a restore; one that runs ends within seconds, and clears away what it brought.

    Example: strongroom restores cancel 0199…
    """
    platform = connect(home)
    tenant_id = _restore_of(platform, restore_id).tenant_id
    with platform.database.session(Role.OPERATOR, tenant=tenant_id) as session:
        row = requests.cancel(session, restore_id, by=me(), at=platform.now())
    ended = row.state is RestoreState.CANCELLED
    said = "was cancelled" if ended else "is being cancelled"
    Screen(as_json).give(_document(row), text=f"Restore {row.id} {said}.")


@restores.command()
@click.argument("restore_id", metavar="RESTORE", type=click.UUID)
@common
def approve(restore_id: UUID, home: Path | None, as_json: bool) -> None:
    """Allow a large restore in place that somebody else asked for.

    Example: strongroom restores approve 0199…
    """
    _decide(_approve, restore_id, home, as_json)


@restores.command()
@click.argument("restore_id", metavar="RESTORE", type=click.UUID)
@common
def decline(restore_id: UUID, home: Path | None, as_json: bool) -> None:
    """Refuse a large restore in place that somebody else asked for.

    Example: strongroom restores decline 0199…
    """
    _decide(_decline, restore_id, home, as_json)


def _decide(how: Any, restore_id: UUID, home: Path | None, as_json: bool) -> None:
    """People allow, and never who merely has the local socket (decision 21)."""
    platform = connect(home)
    tenant_id = _restore_of(platform, restore_id).tenant_id
    by = acting(platform, Action.APPROVE_RESTORE, tenant=tenant_id)
    with platform.database.session(Role.OPERATOR, tenant=tenant_id) as session:
        row = how(platform, session, restore_id, by)
    said = "was refused" if row.state is RestoreState.DECLINED else "was allowed, and begins"
    Screen(as_json).give(_document(row), text=f"Restore {row.id} {said}.")


def _approve(platform: Runtime, session: Session, restore_id: UUID, by: Actor) -> Restore:
    def asker_may(row: Restore) -> bool:
        with platform.database.session(Role.PEOPLE, tenant=row.tenant_id) as people:
            action, now = approvals.action_of(row), platform.now()
            return standing.may_still(people, row.asked_by, row.tenant_id, action, now=now)

    now = platform.now()
    return approvals.approve(session, restore_id, by=by, at=now, asker_may=asker_may)


def _decline(platform: Runtime, session: Session, restore_id: UUID, by: Actor) -> Restore:
    return approvals.decline(session, restore_id, by=by, at=platform.now())


def _destination(text: str) -> tuple[Destination, Path | None]:
    if text in (Destination.ASIDE.value, Destination.IN_PLACE.value):
        return Destination(text), None
    if "://" in text:
        raise BadValue(
            "A restore to a URL is not built yet; restore aside or into a folder.", code="not-built"
        )
    if not text.startswith("/"):
        raise BadValue(f"--to {text!r} is aside, in-place, or a folder written from / on.")
    return Destination.FOLDER, Path(text)


def _say_what_latest_passes(platform: Runtime, point: Point, screen: Screen) -> None:
    """Newer points that nobody has read back yet are not chosen, and not passed over in silence."""
    with platform.database.session(Role.OPERATOR, tenant=point.tenant_id) as session:
        newer = list(
            session.execute(
                select(Point.number)
                .where(
                    Point.tenant_id == point.tenant_id,
                    Point.number > point.number,
                    Point.outcome != Outcome.FAILED,
                )
                .order_by(Point.number)
            ).scalars()
        )
    if newer:
        screen.say(
            f"The newest verified point is {point.number}. Newer, but not verified or not "
            f"complete: {', '.join(map(str, newer))}."
        )


def _source_of(session: Any, tenant: Tenant, name: str) -> Source:
    """Also one that is backed up no more: its points are still there."""
    row = session.execute(
        select(Source).where(Source.tenant_id == tenant.id, Source.name == name)
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"{tenant.slug} has no source {name!r}.", code="unknown-source")
    found: Source = row
    return found


def _restore_of(platform: Runtime, restore_id: UUID) -> Restore:
    with platform.database.session(Role.OPERATOR) as session:
        row = session.get(Restore, restore_id)
    if row is None:
        raise NotFound(f"There is no restore {restore_id}. `strongroom restores list` shows all.")
    return row


def _show(row: Restore, screen: Screen) -> None:
    document = _document(row)
    report = row.report or {}
    if row.state is RestoreState.DONE:
        screen.give(document, text=_words(report))
        if row.destination is Destination.IN_PLACE and row.safety_run_id and not row.dry_run:
            screen.say(f"To bring back the state before: strongroom undo {row.id}")
        return
    if row.state is RestoreState.ASKED:
        raise Incomplete(
            "So large a restore in place waits until somebody else has allowed it, on its page or with "
            f"`strongroom restores approve {row.id}`. Nothing has been changed.",
            code="second-person-wanted",
            restore=str(row.id),
        )
    raise _failed(row)


def _failed(row: Restore) -> RestoreFailed:
    failure = row.failure or {}
    error = RestoreFailed(
        failure.get("message") or f"The restore is {row.state}.",
        code=failure.get("code"),
        **{**failure.get("params", {}), "restore": str(row.id), "state": str(row.state)},
    )
    error.exit_code = failure.get("exit_code", RestoreFailed.exit_code)
    return error


class RestoreFailed(StrongroomError):
    """A restore did not end well; code and exit code are those of what stopped it."""

    code = "restore-failed"


def _words(report: dict[str, Any]) -> str:
    parts = [f"{key.replace('_', ' ')}: {value}" for key, value in report.items() if value]
    return "Done. " + "; ".join(parts)


def _document(row: Restore) -> dict[str, Any]:
    return {
        "restore": str(row.id),
        "state": str(row.state),
        "phase": row.phase,
        "to": row.target or str(row.destination),
        "dry_run": row.dry_run,
        "asked_by": row.asked_by,
        "asked_at": when(row.asked_at),
        "decided_by": row.decided_by,
        "reason": row.reason,
        "progress": row.progress,
        "region": row.region,
        "report": row.report,
        "failure": row.failure,
        "safety_point": str(row.safety_run_id) if row.safety_run_id else None,
    }


COMMANDS = (restore, undo, restores)
