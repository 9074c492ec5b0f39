"""The sample people of a demo home: an operator, one of support, and an owner for each tenant.

None has a password: `strongroom up` prints a one-time link for each, which signs in at once. Such
links are made in demo homes only.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.people import accounts, links
from strongroom.people.accounts import NewAccount
from strongroom.people.models import Account, LinkPurpose
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web.demo.samples import SAMPLES

STAFF = (
    NewAccount("ada@strongroom.example", "Ada", StaffRole.OPERATOR),
    NewAccount("sami@strongroom.example", "Sami", StaffRole.SUPPORT),
)


@dataclass(frozen=True)
class Way:
    """One way in."""

    who: str
    address: str


def settle(platform: Runtime, *, by: Actor) -> None:
    """The sample people are there; made where they are not."""
    with platform.database.session(Role.PEOPLE) as session:
        for new in STAFF:
            _there(platform, session, new, by=by)
    for sample in SAMPLES:
        with platform.database.session(Role.PEOPLE) as session:
            tenant = session.execute(
                select(Tenant.id).where(Tenant.slug == sample.slug)
            ).scalar_one_or_none()
        if tenant is None:
            continue
        with platform.database.session(Role.PEOPLE, tenant=tenant) as session:
            owner = NewAccount(f"owner@{sample.slug}.example", f"Owner of {sample.name.english}")
            row = _there(platform, session, owner, by=by)
            if accounts.membership(session, tenant, row.id) is None:
                role, now = TenantRole.OWNER, platform.now()
                accounts.join(session, tenant, row, role, by=by, now=now)


def ways_in(platform: Runtime, web: str, *, by: Actor) -> list[Way]:
    """A fresh one-time link for each of them."""
    emails = [new.email for new in STAFF] + [f"owner@{sample.slug}.example" for sample in SAMPLES]
    found = []
    with platform.database.session(Role.PEOPLE) as session:
        for email in emails:
            row = accounts.with_email(session, email)
            if row is None or row.disabled_at is not None:
                continue
            now = platform.now()
            token = links.make(session, row, LinkPurpose.SIGN_IN, by=by, now=now)
            found.append(Way(f"{row.name} <{row.email}>", f"{web}/link/{token}"))
    return found


def _there(platform: Runtime, session: Session, new: NewAccount, *, by: Actor) -> Account:
    known = accounts.with_email(session, new.email)
    return known or accounts.add(session, new, by=by, now=platform.now())
