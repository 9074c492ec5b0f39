"""`strongroom account` and `strongroom grant`: who there is, and who of us may look at what.

The first account is made by whoever has the local socket, while nobody can sign in; from then on a
person with STRONGROOM_TOKEN does it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.people import accounts, grants, links
from strongroom.people.accounts import NewAccount
from strongroom.people.errors import NotAllowed
from strongroom.people.grants import Decider, Wish
from strongroom.people.models import Account, LinkPurpose, Membership, SupportGrant
from strongroom.people.rules import Action, GrantScope, StaffRole, TenantRole, Verdict
from strongroom.runtime import Runtime
from tenants import onboarding
from tenants.models import Tenant
from web.acting import acting, allowed, operating, somebody
from web.output import Screen, when
from web.session import common, connect

EMAIL = click.argument("email")


@click.group()
def account() -> None:
    """Accounts: the people who sign in."""


@account.command()
@EMAIL
@click.option("--name", required=True)
@click.option("--staff", type=click.Choice([role.value for role in StaffRole]))
@click.option("--tenant", "slug", help="Whose member; with --role.")
@click.option("--role", type=click.Choice([role.value for role in TenantRole]))
@common
def create(
    email: str,
    name: str,
    staff: str | None,
    slug: str | None,
    role: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Make an account, and a one-time link to its first password; the link is shown this once.

    Example: strongroom account create ada@example.org --name "Ada" --staff operator
    """
    if (slug is None) != (role is None) or (staff is None) == (slug is None):
        raise BadValue("Say --staff ROLE, or --tenant TENANT and --role ROLE.", code="which-role")
    platform = connect(home)
    tenant = None if slug is None else onboarding.named(platform, slug)
    by, now = acting(platform, Action.MANAGE_STAFF), platform.now()
    new = NewAccount(email, name, None if staff is None else StaffRole(staff))
    tenant_id = None if tenant is None else tenant.id
    with platform.database.session(Role.PEOPLE, tenant=tenant_id) as session:
        row = accounts.add(session, new, by=by, now=now)
        if tenant_id is not None and role is not None:
            accounts.join(session, tenant_id, row, TenantRole(role), by=by, now=now)
        token = links.make(session, row, LinkPurpose.INVITE, by=by, now=now)
    _give_link(platform, row, token, Screen(as_json))


@account.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """Everybody who has an account, and what they are.

    Example: strongroom account list
    """
    platform = connect(home)
    with platform.database.session(Role.PEOPLE) as session:
        rows = session.execute(select(Account).order_by(Account.email)).scalars().all()
        roles = _roles(session)
    found = [_account(row, roles.get(row.id, [])) for row in rows]
    Screen(as_json).table(
        found,
        ["address", "name", "staff", "tenants", "disabled (UTC)"],
        [
            [*(f["email"], f["name"], f["staff"]), ", ".join(f["tenants"]), when(f["disabled_at"])]
            for f in found
        ],
    )


@account.command()
@EMAIL
@common
def disable(email: str, home: Path | None, as_json: bool) -> None:
    """No sign-in any more; every session, token and link of theirs is over.

    Example: strongroom account disable ada@example.org
    """
    platform = connect(home)
    by = acting(platform, Action.MANAGE_STAFF)
    with platform.database.session(Role.PEOPLE) as session:
        row = accounts.named(session, email)
        accounts.disable(session, row, by=by, now=platform.now())
    Screen(as_json).give(_account(row, []), text=f"{row.email} is disabled.")


@account.command()
@EMAIL
@common
def link(email: str, home: Path | None, as_json: bool) -> None:
    """A new one-time link: to a new password, or in a demo home straight in.

    Example: strongroom account link ada@example.org
    """
    platform = connect(home)
    demo = platform.settings.demo
    by = acting(platform, Action.MANAGE_STAFF)
    purpose = LinkPurpose.SIGN_IN if demo else LinkPurpose.INVITE
    with platform.database.session(Role.PEOPLE) as session:
        row = accounts.named(session, email)
        token = links.make(session, row, purpose, by=by, now=platform.now())
    _give_link(platform, row, token, Screen(as_json))


@account.command("reset-factor")
@EMAIL
@common
def reset_factor(email: str, home: Path | None, as_json: bool) -> None:
    """Their second factors are gone and their sessions over: they set up new ones when they sign in.

    Make sure on another way that it is they who ask.

    Example: strongroom account reset-factor ada@example.org
    """
    platform = connect(home)
    by = acting(platform, Action.MANAGE_STAFF)
    with platform.database.session(Role.PEOPLE) as session:
        row = accounts.named(session, email)
        accounts.reset_factors(session, row, by=by, now=platform.now())
    Screen(as_json).give(_account(row, []), text=f"{row.email} enrols anew at the next sign-in.")


@click.group()
def grant() -> None:
    """Support grants: leave for one of us to look at a tenant's data, for a while."""


@grant.command("open")
@click.argument("slug", metavar="TENANT")
@click.option("--scope", required=True, type=click.Choice([scope.value for scope in GrantScope]))
@click.option("--reason", required=True, help="The tenant reads it.")
@click.option("--hours", type=click.FloatRange(0, 168, min_open=True), default=4.0)
@common
def open_(
    slug: str, scope: str, reason: str, hours: float, home: Path | None, as_json: bool
) -> None:
    """Ask for one, for whom the token is; the tenant or a second operator decides.

    Example: strongroom grant open acme --scope read --reason "ticket 4711: invoice is missing"
    """
    platform = connect(home)
    tenant, now = onboarding.named(platform, slug), platform.now()
    with platform.database.session(Role.PEOPLE, tenant=tenant.id) as session:
        known = somebody(platform, session)
        _require(allowed(platform, session, known, Action.ASK_GRANT, None), Action.ASK_GRANT)
        wish = Wish(GrantScope(scope), reason, now + timedelta(hours=hours))
        row = grants.ask(session, tenant.id, known.account, wish, now=now)
    Screen(as_json).give(
        _grant(row, known.account, slug), text=f"Grant {row.id} is asked for; nobody may look yet."
    )


@grant.command("list")
@common
def list_grants(home: Path | None, as_json: bool) -> None:
    """Those asked for or open, the oldest first.

    Example: strongroom grant list
    """
    platform = connect(home)
    with platform.database.session(Role.PEOPLE) as session:
        slugs = {row.id: row.slug for row in session.execute(select(Tenant.id, Tenant.slug))}
        found = [_grant(row, who, slugs[row.tenant_id]) for row, who in grants.of_all(session)]
    Screen(as_json).table(
        found,
        ["grant", "tenant", "who", "scope", "state", "until (UTC)", "reason"],
        [
            [
                *(f["grant"], f["tenant"], f["who"], f["scope"], f["state"]),
                *(when(f["until"]), f["reason"]),
            ]
            for f in found
        ],
    )


@grant.command()
@click.argument("grant_id", metavar="GRANT", type=click.UUID)
@click.option("--no", "refused", is_flag=True, help="Refuse it.")
@common
def decide(grant_id: UUID, refused: bool, home: Path | None, as_json: bool) -> None:
    """Allow or refuse one: as the tenant's admin, or as an operator who did not ask for it.

    Example: strongroom grant decide 0199…
    """
    platform = connect(home)
    with _bound(platform, grant_id) as session:
        known, row = somebody(platform, session), grants.found(session, grant_id)
        theirs = allowed(platform, session, known, Action.DECIDE_GRANT, row.tenant_id)
        if theirs is Verdict.NO:
            second = allowed(platform, session, known, Action.SECOND_GRANT, None)
            _require(second, Action.SECOND_GRANT)
        else:
            _require(theirs, Action.DECIDE_GRANT)
        decider = Decider(known.account, for_tenant=theirs is Verdict.YES)
        grants.decide(session, row, decider, yes=not refused, now=platform.now())
    said = "refused" if refused else f"open until {when(row.until)} UTC"
    Screen(as_json).give({"grant": str(row.id), "state": row.state}, text=f"The grant is {said}.")


@grant.command()
@click.argument("grant_id", metavar="GRANT", type=click.UUID)
@common
def end(grant_id: UUID, home: Path | None, as_json: bool) -> None:
    """End one before its time. Needs no token: closing is always safe.

    Example: strongroom grant end 0199…
    """
    platform = connect(home)
    with _bound(platform, grant_id) as session:
        row = grants.found(session, grant_id)
        grants.end(session, row, by=operating(platform), now=platform.now())
    Screen(as_json).give({"grant": str(row.id), "state": row.state}, text="The grant has ended.")


def _bound(platform: Runtime, grant_id: UUID) -> Any:
    """A session for the tenant that this grant is of. Raises NotFound."""
    with platform.database.session(Role.PEOPLE) as session:
        tenant = grants.found(session, grant_id).tenant_id
    return platform.database.session(Role.PEOPLE, tenant=tenant)


def _require(verdict: Verdict, action: Action) -> None:
    if verdict is not Verdict.YES:
        raise NotAllowed(
            f"This ({action}) is not for this person, or their token is too old for it.",
            action=str(action),
            verdict=str(verdict),
        )


def _give_link(platform: Runtime, row: Account, token: str, screen: Screen) -> None:
    address = f"{platform.settings.web or 'http://localhost'}/link/{token}"
    screen.give(
        _account(row, []) | {"link": address},
        text=f"For {row.email} alone, good once, shown this once:\n{address}",
    )


def _roles(session: Session) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    wanted = select(Membership.account_id, Membership.role, Tenant.slug)
    for row in session.execute(wanted.join(Tenant, Tenant.id == Membership.tenant_id)):
        found.setdefault(row.account_id, []).append(f"{row.slug}: {row.role}")
    return found


def _account(row: Account, tenants: list[str]) -> dict[str, Any]:
    return {
        "account": str(row.id),
        "email": row.email,
        "name": row.name,
        "staff": row.staff,
        "tenants": sorted(tenants),
        "disabled_at": row.disabled_at,
    }


def _grant(row: SupportGrant, who: Account, slug: str) -> dict[str, Any]:
    return {
        "grant": str(row.id),
        "tenant": slug,
        "who": who.email,
        "scope": row.scope,
        "state": row.state,
        "until": row.until,
        "reason": row.reason,
    }


COMMANDS = (account, grant)
