"""A new tenant: its key, its policy, its repositories and its schedules, in one commit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import babel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backup import planning, repositories
from backup.models import Policy
from backup.schedule import zone_named
from strongroom import countries
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants import pack_changes, packs, plans, resolving
from tenants.models import Tenant

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
NAME_MOST = 200


@dataclass(frozen=True)
class NewTenant:
    """What is said of a tenant when it comes."""

    slug: str
    name: str
    plan: str  # a plan's code
    zone: str  # IANA
    country: str  # ISO 3166-1 alpha-2
    locale: str  # BCP 47
    pack: str | None = None
    keep_in: tuple[str, ...] | None = None  # the only countries its data may lie in; None: any


def add(runtime: Runtime, new: NewTenant, *, by: Actor) -> Tenant:
    """Raises BadValue, naming the field, before anything is made."""
    check(new)
    known = packs.known(runtime.settings.packs)
    if new.pack is not None:
        packs.named(known, new.pack)
    now = runtime.now()
    tenant_id = new_id()
    with runtime.database.session(Role.OPERATOR, tenant=tenant_id) as session:
        if session.execute(select(Tenant.id).where(Tenant.slug == new.slug)).first() is not None:
            raise _taken(new.slug)
        plan = plans.named(session, new.plan)
        tenant = Tenant(
            id=tenant_id,
            slug=new.slug,
            name=new.name,
            country=new.country,
            zone=new.zone,
            locale=new.locale,
            pack=new.pack,
            keep_in=None if new.keep_in is None else sorted(set(new.keep_in)),
            plan_version_id=plan.id,
            created_at=now,
        )
        session.add(tenant)
        _flush_or_taken(session, new.slug)
        resolved = resolving.resolve(plan, tenant, (), known)
        policy = Policy(
            id=new_id(),
            tenant_id=tenant_id,
            version=1,
            body=resolved.policy.to_json(),
            zone=new.zone,
            cites=resolved.cites,
            made_at=now,
        )
        session.add(policy)
        session.flush()
        repositories.assign(session, tenant_id, count=resolved.policy.regions, by=by, now=now)
        planning.begin_schedules(session, policy, now=now)
        if new.pack is not None:
            pack_changes.note_version(session, known[new.pack], now=now)
        # A key without a tenant does no harm; a tenant without a key could never be backed up.
        runtime.vault.provider.create(tenant_id)
        deed = Deed("tenants.added", "tenants", tenant_id, details=_said(new))
        entries.note(session, deed, by=by, at=now)
    return tenant


def _said(new: NewTenant) -> dict[str, str]:
    return {"plan": new.plan} | ({} if new.pack is None else {"pack": new.pack})


def _flush_or_taken(session: Session, slug: str) -> None:
    """Two may come with one slug at the same time; the database lets one of them in."""
    try:
        session.flush()
    except IntegrityError as error:
        raise _taken(slug) from error


def _taken(slug: str) -> BadValue:
    return BadValue(f"There is a tenant {slug!r} already. Choose another slug.", code="slug-taken")


def check(new: NewTenant) -> None:
    """Raises BadValue for the first field that cannot be used. Pure."""
    if not SLUG.fullmatch(new.slug):
        raise BadValue(
            f"{new.slug!r} is no slug: 1 to 63 small letters, digits and hyphens, the first and "
            "last not a hyphen.",
            code="bad-slug",
        )
    if not new.name.strip() or len(new.name) > NAME_MOST or not new.name.isprintable():
        raise BadValue(f"A name has 1 to {NAME_MOST} printable characters.", code="bad-name")
    zone_named(new.zone)
    countries.check(new.country)
    for code in new.keep_in or ():
        countries.check(code)
    if new.keep_in is not None and not new.keep_in:
        raise BadValue("Name at least one country with --keep-in, or leave it out.", code="keep-in")
    try:
        babel.Locale.parse(new.locale, sep="-")
    except (ValueError, babel.UnknownLocaleError):
        raise BadValue(
            f"{new.locale!r} is no locale of BCP 47. Write one like ar-AE or en.",
            code="bad-locale",
        ) from None


def named(runtime: Runtime, slug: str) -> Tenant:
    """The tenant with this slug. Raises NotFound."""
    with runtime.database.session(Role.OPERATOR) as session:
        tenant = session.execute(select(Tenant).where(Tenant.slug == slug)).scalar_one_or_none()
    if tenant is None:
        raise NotFound(
            f"There is no tenant {slug!r}. `strongroom tenant list` shows all.",
            code="unknown-tenant",
        )
    return tenant
