"""`strongroom tenant` and `strongroom source`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from backup import planning
from backup.models import Source
from strongroom.db import Role
from strongroom.errors import BadValue
from tenants import onboarding, pack_changes, packs, plan_changes, resolving, sourcing
from tenants.models import PlanVersion, Tenant
from tenants.onboarding import NewTenant
from tenants.sourcing import NewSource
from web.output import Screen, when
from web.session import common, connect, me

LISTED = ("slug", "name", "plan", "pack", "country", "zone", "locale")


@click.group()
def tenant() -> None:
    """Tenants: the customers whose data is kept safe."""


@tenant.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """All tenants.

    Example: strongroom tenant list
    """
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        rows = session.execute(
            select(Tenant, PlanVersion)
            .join(PlanVersion, PlanVersion.id == Tenant.plan_version_id)
            .order_by(Tenant.slug)
        ).all()
        found = [_document(row.Tenant, row.PlanVersion) for row in rows]
    Screen(as_json).table(
        found,
        ["slug", "name", "plan", "pack", "country", "time zone", "locale"],
        [[f[key] or "no pack" for key in LISTED] for f in found],
    )


@tenant.command()
@click.argument("slug")
@click.option("--name", required=True)
@click.option("--plan", required=True, help="Code of a plan: starter, business, enterprise, …")
@click.option("--timezone", "zone", required=True, help="IANA, like Africa/Cairo.")
@click.option("--country", required=True, help="ISO 3166, like EG.")
@click.option("--locale", required=True, help="BCP 47, like ar-EG.")
@click.option("--pack", help="The policy pack it is under: datacore, daftra, …; none by default.")
@click.option("--keep-in", help="The only countries its data may lie in, like AE,SA.")
@common
def add(home: Path | None, as_json: bool, keep_in: str | None, **values: Any) -> None:
    """Add a tenant: key, repositories and schedules are made.

    With --keep-in no copy is ever written to a region of another country.

    Example: strongroom tenant add acme --name "Acme" --plan business --timezone Asia/Dubai
    --country AE --locale ar-AE
    """
    platform = connect(home)
    countries = None if keep_in is None else tuple(map(str.strip, keep_in.split(",")))
    row = onboarding.add(platform, NewTenant(**values, keep_in=countries), by=me())
    Screen(as_json).give(
        {"id": str(row.id), "slug": row.slug, "plan": values["plan"]},
        text=f"Tenant {row.slug} was added. Next: strongroom source add {row.slug} KIND NAME …",
    )


@tenant.command()
@click.argument("slug")
@common
def show(slug: str, home: Path | None, as_json: bool) -> None:
    """One tenant: plan, schedule, sources.

    Example: strongroom tenant show acme
    """
    platform = connect(home)
    row = onboarding.named(platform, slug)
    with platform.database.session(Role.OPERATOR, tenant=row.id) as session:
        plan = session.get_one(PlanVersion, row.plan_version_id)
        policy = planning.current_policy(session, row.id)
        known = packs.known(platform.settings.packs)
        document = _document(row, plan) | {
            "policy": {"version": policy.version, "cites": policy.cites, **policy.body},
            "values": [each.to_json() for each in resolving.of_tenant(session, row, known).values],
            "sources": [_source(each) for each in _sources(session, row)],
        }
    Screen(as_json).table(document, ["value", "is"], list(_told(document)))


def _told(document: dict[str, Any]) -> Iterator[list[Any]]:
    """A line a value; what is in force, with where it comes from."""
    for key, value in document.items():
        if key == "values":
            for each in value:
                over = f", not {each['instead_of']}" if each["from"] != "plan" else ""
                shown = f"{each['value']} ({each['from']}: {each['named']}{over})"
                yield [each["key"], shown]
        elif key != "policy":
            yield [key, "no pack" if key == "pack" and value is None else value]


@tenant.command()
@click.argument("slug")
@click.argument("name")
@click.option("--let-go", is_flag=True, help="Points that the pack lets nobody keep shall go.")
@common
def pack(slug: str, name: str, let_go: bool, home: Path | None, as_json: bool) -> None:
    """Put a tenant under a policy pack; `none` takes it out. Refused (exit 4) while points would go.

    What the pack binds is in force at once: `strongroom tenant show` says what, and why.

    Example: strongroom tenant pack acme datacore
    """
    platform = connect(home)
    row = onboarding.named(platform, slug)
    wanted = None if name == "none" else name
    resolved = pack_changes.put_under(platform, row, wanted, by=me(), let_go=let_go)
    bound = [each.to_json() for each in resolved.values if each.origin is resolving.Origin.PACK]
    told = ", ".join(f"{each['key']} {each['value']}" for each in bound)
    where = "under no pack" if wanted is None else f"under the pack {name}"
    text = f"{slug} is now {where}." + (f" It sets {told}." if told else "")
    Screen(as_json).give({"tenant": slug, "pack": wanted, "values": bound}, text=text)


@tenant.command()
@click.argument("slug")
@click.argument("code")
@click.option("--preview", is_flag=True, help="Only say what would go.")
@common
def plan(slug: str, code: str, preview: bool, home: Path | None, as_json: bool) -> None:
    """Move a tenant to a plan. Refused (exit 4) while any existing point would be removed.

    Example: strongroom tenant plan acme enterprise --preview
    """
    platform = connect(home)
    row = onboarding.named(platform, slug)
    if preview:
        seen = plan_changes.preview(platform, row, code)
    else:
        seen = plan_changes.change(platform, row, code, by=me())
    losing = [
        {"point": v.point.number, "date": str(v.point.local_date), "reason": v.reasons[0].code}
        for v in seen.losing
    ]
    document = {"tenant": slug, "plan": code, "version": seen.plan.version, "losing": losing}
    if preview and losing and not as_json:
        Screen(as_json).table(
            document, ["point", "date", "would go"], [[*e.values()] for e in losing]
        )
        return
    done = "would move" if preview else "is now"
    Screen(as_json).give(
        document, text=f"{slug} {done} on plan {code} version {seen.plan.version}; no point goes."
    )


@click.group()
def source() -> None:
    """Sources: what of a tenant is backed up."""


@source.command("list")
@click.argument("slug", metavar="TENANT")
@common
def list_sources(slug: str, home: Path | None, as_json: bool) -> None:
    """The sources of a tenant.

    Example: strongroom source list acme
    """
    platform = connect(home)
    row = onboarding.named(platform, slug)
    with platform.database.session(Role.OPERATOR, tenant=row.id) as session:
        found = [_source(each) for each in _sources(session, row)]
    Screen(as_json).table(
        found,
        ["name", "kind", "options", "since"],
        [[f["name"], f["kind"], _options(f["options"]), f["added_at"]] for f in found],
    )


@source.command("add")
@click.argument("slug", metavar="TENANT")
@click.argument("kind")
@click.argument("name")
@click.option("--path", help="directory: the folder, from / on.")
@click.option("--exclude", multiple=True, help="directory: a pattern; may be given again.")
@click.option("--dsn", help="postgres: postgresql://USER@HOST:PORT/DATABASE, without password.")
@click.option("--schema", help="postgres: only this schema.")
@click.option("--transit", is_flag=True, help="Held only to be sent on: a pack may limit its age.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="File with the password; - is stdin."
)
@common
def add_source(
    slug: str, kind: str, name: str, home: Path | None, as_json: bool, **given: Any
) -> None:
    """Add a source. It is looked at first; what cannot be read is not added.

    Example: strongroom source add acme postgres erp --dsn postgresql://backup@db:5432/erp
    --password-file /run/secrets/erp
    """
    password = _password(given.pop("password_file"))
    transit = bool(given.pop("transit"))
    options = {key: value for key, value in given.items() if value not in (None, ())}
    if "exclude" in options:
        options["exclude"] = list(options["exclude"])
    platform = connect(home)
    row = onboarding.named(platform, slug)
    made = sourcing.add(platform, row, NewSource(kind, name, options, password, transit), by=me())
    Screen(as_json).give(
        _source(made), text=f"Source {name} was added. Next: strongroom backup {slug} --wait"
    )


@source.command("test")
@click.argument("slug", metavar="TENANT")
@click.argument("name")
@common
def test_source(slug: str, name: str, home: Path | None, as_json: bool) -> None:
    """Look at a source now, and say what is wrong with it.

    Example: strongroom source test acme erp
    """
    platform = connect(home)
    found = sourcing.check(platform, onboarding.named(platform, slug), name)
    Screen(as_json).give({"ok": True, "found": vars(found)}, text=f"{name} can be read: {found}")


@source.command("remove")
@click.argument("slug", metavar="TENANT")
@click.argument("name")
@common
def remove_source(slug: str, name: str, home: Path | None, as_json: bool) -> None:
    """Back a source up no more. Its points stay as long as the policy says.

    Example: strongroom source remove acme old-files
    """
    platform = connect(home)
    sourcing.remove(platform, onboarding.named(platform, slug), name, by=me())
    Screen(as_json).give(
        {"removed": name}, text=f"{name} is backed up no more; its points stay as the policy says."
    )


def _password(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"The password file {file} cannot be read: {error}.") from None
    return text.rstrip("\r\n").encode()


def _sources(session: Any, row: Tenant) -> list[Source]:
    return list(
        session.execute(
            select(Source)
            .where(Source.tenant_id == row.id, Source.removed_at.is_(None))
            .order_by(Source.name)
        ).scalars()
    )


def _source(row: Source) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "kind": row.kind,
        "options": row.options,
        "transit": row.transit,
        "added_at": when(row.added_at),
    }


def _options(options: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items() if value)


def _document(row: Tenant, plan: PlanVersion) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "slug": row.slug,
        "name": row.name,
        "plan": plan.code,
        "plan_version": plan.version,
        "country": row.country,
        "zone": row.zone,
        "locale": row.locale,
        "pack": row.pack,
        "keep_in": row.keep_in,
    }


COMMANDS = (tenant, source)
