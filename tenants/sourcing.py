"""Sources of a tenant: looked at before they are stored, and only what the tenant may name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backup import places
from backup.models import AllowedPlace, Source
from backup.sources import allowance, directory, kinds
from backup.sources.directory import Directory
from backup.states import PlaceKind
from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound, Refused
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants import pack_changes
from tenants.models import Tenant

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class NewSource:
    """What is said of a source when it comes."""

    kind: str
    name: str
    options: Mapping[str, object]
    password: bytes | None = None
    transit: bool = False  # held only to be sent on: a pack may limit its age


def add(runtime: Runtime, tenant: Tenant, new: NewSource, *, by: Actor) -> Source:
    """Raises before anything is stored when the source cannot be reached or may not be named.

    What an operator adds is thereby on the allow-list.
    """
    if not NAME.fullmatch(new.name):
        raise BadValue(
            f"{new.name!r} is no name of a source: up to 63 small letters, digits, dots, hyphens "
            "and underscores.",
            code="bad-name",
        )
    source = kinds.parse(new.kind, new.options)
    if new.password is not None and isinstance(source, Directory):
        raise BadValue(f"A source of kind {new.kind} has no password. Leave it out.")
    listed = kinds.listing(source)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        _require_new_name(session, tenant, new.name)
        _require_nobody_elses(session, tenant, listed)
        access = kinds.admit(source, listed, password=new.password)
        if access.folder is not None:
            directory.require_elsewhere(access.folder, places.own_folders(runtime))
        kinds.check(source, access, home=runtime.settings.home or places.NO_HOME)
        row = Source(
            id=new_id(),
            tenant_id=tenant.id,
            kind=source.kind,
            name=new.name,
            options=source.options(),
            transit=new.transit,
            added_at=runtime.now(),
        )
        session.add(row)
        session.flush()
        _list(session, tenant, listed, by=by, runtime=runtime)
        if new.password is not None:
            context = places.password_context(tenant.id, row.id)
            runtime.vault.seal(session, new.password, context, now=runtime.now())
        if new.transit:
            pack_changes.refresh(session, runtime, tenant, by=by)
        said = {"name": new.name} | ({"transit": "yes"} if new.transit else {})
        deed = Deed("sources.added", "sources", row.id, details=said)
        entries.note(session, deed, by=by, at=runtime.now())
    return row


def check(runtime: Runtime, tenant: Tenant, name: str) -> kinds.Found:
    """Look at a source now; raises what is wrong with it."""
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = named(session, tenant, name)
        source, access = places.reach(runtime, session, row)
    return kinds.check(source, access, home=runtime.settings.home or places.NO_HOME)


def remove(runtime: Runtime, tenant: Tenant, name: str, *, by: Actor) -> Source:
    """Back it up no more; its points stay as long as the policy says."""
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        row = named(session, tenant, name)
        session.execute(update(Source).where(Source.id == row.id).values(removed_at=runtime.now()))
        deed = Deed("sources.removed", "sources", row.id, details={"name": name})
        entries.note(session, deed, by=by, at=runtime.now())
        return row


def named(session: Session, tenant: Tenant, name: str) -> Source:
    """The tenant's source with this name. Raises NotFound that lists what there is."""
    rows = session.execute(
        select(Source).where(Source.tenant_id == tenant.id, Source.removed_at.is_(None))
    ).scalars()
    known = {row.name: row for row in rows}
    if name not in known:
        raise NotFound(
            f"{tenant.slug} has no source {name!r}. Sources: {', '.join(known) or 'none'}.",
            code="unknown-source",
        )
    return known[name]


def _require_new_name(session: Session, tenant: Tenant, name: str) -> None:
    taken = session.execute(
        select(Source.id).where(Source.tenant_id == tenant.id, Source.name == name)
    ).first()
    if taken is not None:
        raise BadValue(
            f"{tenant.slug} has, or had, a source {name!r}. Choose another name.",
            code="source-taken",
        )


def _require_nobody_elses(session: Session, tenant: Tenant, listed: allowance.Allowance) -> None:
    """No folder of one tenant may hold, or lie in, a folder of another."""
    rows = session.execute(
        select(AllowedPlace).where(AllowedPlace.kind == PlaceKind.ROOT)
    ).scalars()
    roots: dict[UUID, list[Path]] = {}
    for row in rows:
        if row.tenant_id != tenant.id:
            roots.setdefault(row.tenant_id, []).append(Path(row.value))
    for folder in listed.roots:
        others = {**roots, tenant.id: [folder]}
        if allowance.overlaps(others):
            raise Refused(
                f"{folder} overlaps with a folder of another tenant. Give each tenant folders of "
                "its own.",
                code="folder-of-another-tenant",
                folder=str(folder),
            )


def _list(
    session: Session,
    tenant: Tenant,
    listed: allowance.Allowance,
    *,
    by: Actor,
    runtime: Runtime,
) -> None:
    entries = [(PlaceKind.ROOT, str(root)) for root in listed.roots]
    entries += [(PlaceKind.HOST, str(rule)) for rule in listed.hosts]
    for kind, value in entries:
        session.execute(
            insert(AllowedPlace)
            .values(
                id=new_id(),
                tenant_id=tenant.id,
                kind=kind,
                value=value,
                added_by=str(by),
                added_at=runtime.now(),
            )
            .on_conflict_do_nothing(index_elements=["tenant_id", "kind", "value"])
        )
