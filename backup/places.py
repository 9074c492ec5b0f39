"""What sources of a tenant may name, as rows and as what the sources part understands."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup.models import AllowedPlace, Source
from backup.sources import directory, kinds
from backup.sources.allowance import Allowance
from backup.sources.connection import Access
from backup.states import PlaceKind
from strongroom import hosts
from strongroom.keys import Context
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import vault_has

NO_HOME = Path("/nonexistent/strongroom")  # of a platform without an embedded stack
PASSWORD = "source-password"  # noqa: S105 - the name of a purpose


def allowance_of(session: Session, tenant: UUID) -> Allowance:
    """The tenant's allow-list; empty when nothing was ever allowed."""
    rows = session.execute(select(AllowedPlace).where(AllowedPlace.tenant_id == tenant)).scalars()
    roots: list[Path] = []
    rules: list[hosts.HostRule] = []
    for row in rows:
        if row.kind is PlaceKind.ROOT:
            roots.append(Path(row.value))
        else:
            rules.append(hosts.parse_rule(row.value))
    return Allowance(tuple(roots), tuple(rules))


def reach(runtime: Runtime, session: Session, row: Source) -> tuple[kinds.Source, Access]:
    """The source as its own words, and how to reach it now; raises Refused for what is not listed.

    To be asked before every look and every run: names and links change. What then is used is
    what the access says, and never again what the source's own words lead to.
    """
    source = kinds.parse(row.kind, row.options)
    context = password_context(row.tenant_id, row.id)
    password = runtime.vault.open(session, context) if vault_has(session, context) else None
    access = kinds.admit(source, allowance_of(session, row.tenant_id), password=password)
    if access.folder is not None:
        directory.require_elsewhere(access.folder, own_folders(runtime))
    return source, access


def own_folders(runtime: Runtime) -> list[Path]:
    """Of the platform: no source may hold or lie in one, and nothing is restored there."""
    own = runtime.settings
    return [own.keys, own.work, *([own.home] if own.home else [])]


def password_context(tenant: UUID, source: UUID) -> Context:
    """What a source's password is bound to."""
    return Context(tenant=tenant, subject=source, purpose=PASSWORD)
