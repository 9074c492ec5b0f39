"""`strongroom backup`, `points`, `verify`, `browse`, `find`, `diff`, `retention`, `hold`."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from backup import policy as policies
from backup.planning import Order
from backup.states import Level, Trigger
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete
from strongroom.people.rules import Action
from tenants import onboarding, plans
from tenants.models import Tenant
from web import following, holding, looking, readings
from web.acting import acting
from web.commands import drills
from web.output import Screen, size, when
from web.session import common, connect, me


@click.command()
@click.argument("slug", metavar="TENANT")
@click.option("--wait", is_flag=True, help="Until every region has a verified copy, else exit 3.")
@click.option("--full", is_flag=True, help="Read every file again.")
@click.option("--timeout", type=float, default=3600, show_default=True, help="Of --wait, seconds.")
@common
def backup(
    slug: str, wait: bool, full: bool, timeout: float, home: Path | None, as_json: bool
) -> None:
    """Make a restore point now.

    Example: strongroom backup acme --wait
    """
    screen, platform = Screen(as_json), connect(home)
    tenant = onboarding.named(platform, slug)
    order = Order(Trigger.MANUAL, me(), platform.now(), full=full)
    run = following.request(platform, tenant, order)
    if not wait:
        screen.give(
            {"run": str(run)}, text=f"Queued. `strongroom points {slug}` shows it when it is there."
        )
        return
    point = following.point_of(platform, tenant, run, screen=screen, seconds=timeout)
    whole = following.copies_of(platform, tenant, run, screen=screen, seconds=timeout)
    document = readings.point(platform, tenant, run)
    document["whole"] = whole
    screen.give(
        document,
        text=f"Point {point.number} is {document['outcome']}: {size(point.bytes)}, of which "
        f"{size(point.added_bytes)} were new; in {len(document['copies'])} regions.",
    )
    if not whole or document["outcome"] != "complete":
        click.get_current_context().exit(Incomplete.exit_code)


@click.command()
@click.argument("slug", metavar="TENANT")
@click.option("--all", "everything", is_flag=True, help="Those that have gone, too.")
@common
def points(slug: str, everything: bool, home: Path | None, as_json: bool) -> None:
    """Restore points, the newest first, with copies, proofs and expiry.

    A point is marked when it looks wrong, until somebody accepts it (`strongroom finding list`).

    Example: strongroom points acme
    """
    platform = connect(home)
    found = readings.points(platform, onboarding.named(platform, slug), everything=everything)
    Screen(as_json).table(
        found,
        [
            *("point", "taken (UTC)", "is", "why", "size", "new", "copies", "restored", "expires"),
            "marked",
        ],
        [
            [
                f["number"],
                f["taken_at"][:19].replace("T", " "),
                f["outcome"],
                ",".join(f["cadences"]) or f["kind"],
                size(f["bytes"]),
                size(f["added_bytes"]),
                ", ".join(_copy(copy) for copy in f["copies"]),
                max((when(copy["restored_at"])[:10] for copy in f["copies"]), default=""),
                f["expires"] or f["kept_by"],
                ", ".join(f["marked"]),
            ]
            for f in found
        ],
    )


def _copy(copy: dict[str, Any]) -> str:
    proof = "verified" if copy["verified_at"] else "checked" if copy["checked_at"] else "unproven"
    return f"{copy['region']} {copy['state']}" + (f" {proof}" if copy["state"] == "stored" else "")


@click.command()
@click.argument("slug", metavar="TENANT")
@click.option("--point", "number", help="Number or id of a point; the newest if not given.")
@click.option(
    "--level",
    type=click.Choice([Level.STRUCTURE.value, Level.DATA.value, Level.DRILL.value]),
    default=Level.DATA.value,
    show_default=True,
)
@click.option("--region", help="Only the copy in this region.")
@click.option("--timeout", type=float, default=3600, show_default=True)
@common
def verify(
    slug: str,
    number: str | None,
    level: str,
    region: str | None,
    timeout: float,
    home: Path | None,
    as_json: bool,
) -> None:
    """Prove copies of a point now, reading all of its region's data. Exit 1 if a proof fails.

    Example: strongroom verify acme --region region-b
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    point = readings.find_point(platform, tenant, number or "newest")
    Screen(as_json).say(f"Proving point {point.number} …")
    if level == Level.DRILL:
        rows = drills.ask(platform, tenant, point, region=region)
        drills.tell(platform, tenant, rows, screen=Screen(as_json), seconds=timeout)
        return
    proofs = following.prove(platform, tenant, point, level=Level(level), region=region)
    found = following.proofs(platform, tenant, proofs, seconds=timeout)
    Screen(as_json).table(
        found,
        ["region", "level", "is", "seconds", "read", "found"],
        [
            [f["region"], f["level"], f["state"], f["seconds"], size(f["bytes"]), _found(f)]
            for f in found
        ],
    )
    if any(each["state"] == "failed" for each in found):
        click.get_current_context().exit(1)
    if any(each["state"] != "passed" for each in found):
        click.get_current_context().exit(Incomplete.exit_code)


def _found(proof: dict[str, Any]) -> str:
    """What a proof saw, in words."""
    seen = proof["found"] or {}
    if "packs_read" not in seen:  # it could not be carried out yet
        return str(seen.get("message", ""))
    said = [f"{len(seen['damaged'])} packs damaged or gone"] if seen["damaged"] else []
    said += seen["errors"][:3]
    if not said and seen["packs_read"]:
        said.append(f"{seen['packs_read']} packs read, all whole")
    return "; ".join(said)


@click.command()
@click.argument("slug", metavar="TENANT")
@click.argument("number", metavar="POINT")
@click.argument("path", default="/")
@click.option("--source", help="Needed when the tenant has several.")
@common
def browse(
    slug: str, number: str, path: str, source: str | None, home: Path | None, as_json: bool
) -> None:
    """What lies in a folder of a point.

    Example: strongroom browse acme 12 /invoices
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    point = readings.find_point(platform, tenant, number)
    found = looking.browse(platform, point, path, source=source)
    looking.note(platform, tenant.id, "browsed", path, by=me())
    Screen(as_json).table(
        found,
        ["path", "kind", "size", "changed (UTC)"],
        [[f["path"], f["kind"], f["size"], f["changed_at"]] for f in found],
    )


@click.command()
@click.argument("slug", metavar="TENANT")
@click.argument("pattern")
@common
def find(slug: str, pattern: str, home: Path | None, as_json: bool) -> None:
    """Files, folders and tables by name, over all points; * and ? stand for anything.

    However it is spelled: capitals, accents and Arabic vowel signs make no difference. With * or ?
    the pattern is of the whole path.

    Example: strongroom find acme "*invoice*"
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    found = looking.find(platform, tenant, pattern)
    looking.note(platform, tenant.id, "searched", pattern, by=me())
    Screen(as_json).table(
        found,
        ["source", "path", "kind", "size", "from point", "gone in point"],
        [[f["source"], f["path"], f["kind"], f["size"], f["since"], f["until"]] for f in found],
    )


@click.command()
@click.argument("slug", metavar="TENANT")
@click.argument("first", metavar="POINT")
@click.argument("second", metavar="POINT")
@common
def diff(slug: str, first: str, second: str, home: Path | None, as_json: bool) -> None:
    """How one point differs from another, source by source.

    Example: strongroom diff acme 11 12
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    one = readings.find_point(platform, tenant, first)
    other = readings.find_point(platform, tenant, second)
    found = looking.diff(platform, tenant, (one.number, other.number))
    looking.note(platform, tenant.id, "compared", f"{one.number} {other.number}", by=me())
    screen = Screen(as_json)
    for name in found.left_out:
        screen.say(f"Only one of the two points has something of {name}: it is not compared.")
    screen.table(
        found.rows,
        ["source", "path", "change", "size before", "size after"],
        [[f["source"], f["path"], f["change"], f["before"], f["after"]] for f in found.rows],
    )


@click.group()
def retention() -> None:
    """Retention: what is kept, what goes, why, when."""


@retention.command("preview")
@click.argument("slug", metavar="TENANT")
@click.option("--plan", "code", help="As if the tenant were on this plan.")
@common
def preview(slug: str, code: str | None, home: Path | None, as_json: bool) -> None:
    """What is kept and what goes today, with the reason; changes nothing.

    Example: strongroom retention preview acme --plan starter
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    policy = None
    if code is not None:
        with platform.database.session(Role.OPERATOR) as session:
            policy = policies.from_json(plans.named(session, code).body)
    found = readings.retention(platform, tenant, policy)
    Screen(as_json).table(
        found,
        ["point", "date", "is", "goes", "reasons", "expires"],
        [
            [
                f["number"],
                f["date"],
                f["outcome"],
                "GOES" if f["goes"] else "kept",
                ", ".join(f["reasons"]),
                f["expires"],
            ]
            for f in found
        ],
    )


@click.group()
def hold() -> None:
    """Holds: while one stands, nothing of the tenant is removed."""


@hold.command()
@click.argument("slug", metavar="TENANT")
@click.option("--reason", required=True)
@click.option("--until", help="A date, YYYY-MM-DD, in the tenant's time zone; open if not given.")
@common
def place(slug: str, reason: str, until: str | None, home: Path | None, as_json: bool) -> None:
    """Keep everything of a tenant.

    Example: strongroom hold place acme --reason "dispute 2026/17" --until 2027-01-31
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    row = holding.place(platform, tenant, reason, until=_end_of(tenant, until), by=me())
    Screen(as_json).give(
        {"hold": str(row.id), "until": row.until},
        text=f"Hold {row.id} stands" + (f" until {when(row.until)} UTC." if row.until else "."),
    )


@hold.command()
@click.argument("hold_id", metavar="HOLD", type=click.UUID)
@common
def release(hold_id: UUID, home: Path | None, as_json: bool) -> None:
    """End a hold; what it kept goes when retention next lets it.

    Example: strongroom hold release 0199…
    """
    platform = connect(home)
    row = holding.release(platform, hold_id, by=acting(platform, Action.RELEASE_HOLD))
    Screen(as_json).give({"hold": str(row.id)}, text=f"Hold {row.id} was released.")


@hold.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """All holds that stand.

    Example: strongroom hold list
    """
    found = holding.standing(connect(home))
    Screen(as_json).table(
        found,
        ["hold", "tenant", "reason", "until", "by"],
        [[f["hold"], f["tenant"], f["reason"], f["until"], f["by"]] for f in found],
    )


def _end_of(tenant: Tenant, text: str | None) -> datetime | None:
    """The end of that day, where the tenant is."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadValue(f"{text!r} is no date. Write it like 2027-01-31.") from None
    return datetime.combine(day, time.max, ZoneInfo(tenant.zone))


COMMANDS = (backup, points, verify, browse, find, diff, retention, hold)
