"""`strongroom key`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backup import rotation
from backup.models import Repository, Rotation
from backup.rotation import Asked
from backup.states import RepositoryState, RotationKind, RotationState
from strongroom.buried import Tombstone
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, NotFound
from strongroom.keys import KeyProvider, KeyState, KeyStatus, KeyUnreachable, NotOffered
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret, versions
from strongroom.worker import Queue
from tenants import onboarding
from tenants.models import Tenant
from web import following
from web.output import Screen, when
from web.session import common, connect, me

UNREACHABLE = "unreachable"
# What is well, or was meant; anything else needs somebody.
QUIET = (KeyState.ENABLED, KeyState.DESTROYED)
OPEN = (RotationState.WAITING, RotationState.ROTATING)
KITS = {
    RotationKind.PASSWORD: "Exit kits that were exported before open nothing any more once the "
    "password is new: export new ones with `strongroom kit export`. Whoever copied a repository's "
    "master key keeps it.",
    RotationKind.EPOCH: "Exit kits that were exported before open nothing any more once the new "
    "epoch counts: export new ones with `strongroom kit export`. So does a master key that "
    "somebody copied.",
}


@click.group()
def key() -> None:
    """Keys: what wraps each tenant's secrets."""


@key.command()
@click.argument("tenant", required=False)
@click.option(
    "--what",
    type=click.Choice([kind.value for kind in RotationKind]),
    default=RotationKind.KEK.value,
    show_default=True,
    help="The tenant's key; or of each of its repositories the password; or the repository itself, "
    "by copy into a new one.",
)
@click.option("--region", help="Only there; with --what password or epoch.")
@click.option(
    "--destroy-unreadable",
    is_flag=True,
    help="With --what epoch: destroy the old repository also where it does not open. Without, it "
    "is kept, since nobody can look whether it holds more than the other regions.",
)
@click.option("--wait", "waits", is_flag=True, help="Wait until all is done.")
@click.option("--seconds", default=600.0, show_default=True, help="The longest to wait.")
@common
def rotate(
    tenant: str | None,
    what: str,
    region: str | None,
    destroy_unreadable: bool,
    waits: bool,
    seconds: float,
    home: Path | None,
    as_json: bool,
) -> None:
    """Make a tenant's key, passwords or repositories new; without TENANT those of all. Exit 3 if
    not all is done.

    An old repository goes when holds, restores that read it and object locks allow; the new one
    counts before that.

    Example: strongroom key rotate acme --what password --wait
    """
    platform, screen = connect(home), Screen(as_json)
    kind = RotationKind(what)
    order = Asked(kind, destroy_unreadable=destroy_unreadable, only_in=region)
    _require_offered(platform, order)
    if tenant is None and kind is RotationKind.EPOCH:
        raise BadValue("A new epoch copies all that a tenant has: name one tenant at a time.")
    wanted = _tenants(platform, tenant)
    asked = [
        row for each in wanted for row in _ask(platform, each, order, alone=tenant is not None)
    ]
    for row in asked:
        following.ring_for(platform, "backup.rotate", Queue.REMOVAL, row)
    if kind in KITS:
        screen.say(KITS[kind])
    if waits:
        _follow(platform, asked, screen, seconds)
    slugs = {each.id: each.slug for each in wanted}
    found = _documents(platform, [row.id for row in asked], slugs)
    document = {
        "rotations": found,
        "kits_stop_opening": kind in KITS,
    }
    screen.table(
        document,
        ["tenant", "what", "region", "state", "how far", "problem"],
        [
            [e["tenant"], e["what"], e["region"], e["state"], e["stage"], e["problem"]]
            for e in found
        ],
    )
    if waits and any(each["state"] != RotationState.DONE for each in found):
        click.get_current_context().exit(Incomplete.exit_code)


def _require_offered(platform: Runtime, order: Asked) -> None:
    if order.kind is RotationKind.KEK and order.only_in:
        raise BadValue("A tenant's key is the same in all regions: leave --region out.")
    if order.destroy_unreadable and order.kind is not RotationKind.EPOCH:
        raise BadValue("--destroy-unreadable is about old repositories: use it with --what epoch.")
    if order.only_in is not None:
        _require_region(platform, order.only_in)
    if order.kind is RotationKind.KEK and not platform.vault.provider.claims.rotates:
        raise NotOffered(
            "One key serves all tenants here, so none can have a new version of its own. Rotate "
            "it in the key service; see docs/operations/keys.md."
        )


def _require_region(platform: Runtime, name: str) -> None:
    with platform.database.session(Role.OPERATOR) as session:
        if session.execute(select(Region.id).where(Region.name == name)).first() is None:
            raise NotFound(f"There is no region {name!r}. See `strongroom region list`.")


def _ask(platform: Runtime, tenant: Tenant, order: Asked, *, alone: bool) -> Sequence[Rotation]:
    """A tenant without a repository is no reason to leave the others."""
    try:
        with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            return rotation.ask(session, tenant.id, order, by=me(), now=platform.now())
    except NotFound:
        if alone:
            raise
        return []


def _follow(platform: Runtime, asked: Sequence[Rotation], screen: Screen, seconds: float) -> None:
    told: set[tuple[UUID, str | None]] = set()

    def look() -> bool | None:
        rows = _rows(platform, [row.id for row in asked])
        for row in rows:
            if row.stage and (row.id, row.stage) not in told:
                told.add((row.id, row.stage))
                screen.say(f"  {row.kind}: {row.stage}")
        stuck = [row for row in rows if row.state is RotationState.WAITING and _trouble(row)]
        return True if stuck or all(row.state not in OPEN for row in rows) else None

    try:
        following.wait(look, seconds=seconds, what="the rotation")
    except Incomplete as error:
        screen.say(error.message)


def _trouble(row: Rotation) -> str | None:
    """Why it waits, unless it only waits for its turn."""
    failure = row.failure or {}
    code = failure.get("code")
    return None if code in (None, "repository-busy") else str(failure.get("message", code))


@key.command()
@click.argument("tenant", required=False)
@common
def status(tenant: str | None, home: Path | None, as_json: bool) -> None:
    """Where keys are and how they stand. Exit 3 if one is lost, closed, going, or not to be asked.

    Example: strongroom key status
    """
    platform = connect(home)
    provider = platform.vault.provider
    away: KeyUnreachable | None = None
    found: list[dict[str, Any]] = []
    for each in _tenants(platform, tenant):
        state = None
        if away is None:
            try:
                state = provider.status(each.id)
            except KeyUnreachable as error:
                away = error  # who asks for all the others would wait for each
        found.append(_standing(platform, each, state, away))
    document = {**_provider(provider), "tenants": found}
    Screen(as_json).table(
        document,
        [
            "tenant",
            "key",
            "version",
            "secrets by version",
            "epochs",
            "last rotation",
            "under way",
            "until",
        ],
        [
            [
                e["tenant"],
                e["state"],
                e["version"],
                ", ".join(f"v{n}: {count}" for n, count in e["secrets"].items()),
                ", ".join(map(_epoch_line, e["epochs"])),
                e["last_rotation"],
                ", ".join(e["under_way"]),
                e["until"],
            ]
            for e in found
        ],
    )
    if away is not None:
        Screen(as_json).say(away.message)
    if any(each["state"] not in QUIET for each in found):
        click.get_current_context().exit(Incomplete.exit_code)


def _provider(provider: KeyProvider) -> dict[str, Any]:
    claims = provider.claims
    return {
        "provider": provider.name,
        "after_destruction": claims.method,  # what may be claimed
        "copyable": claims.copyable,
        "key_per_tenant": claims.per_tenant,
    }


def _standing(
    platform: Runtime, tenant: Tenant, state: KeyStatus | None, away: KeyUnreachable | None
) -> dict[str, Any]:
    with platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        counts = versions(session, tenant.id)
        pending = session.execute(
            select(func.count()).where(Secret.tenant_id == tenant.id, Secret.pending)
        ).scalar_one()
        buried = session.get(Tombstone, tenant.id) is not None
        ended = select(func.max(Rotation.ended_at)).where(
            Rotation.tenant_id == tenant.id, Rotation.state == RotationState.DONE
        )
        last = session.execute(ended).scalar_one()
        under_way = _under_way(session, tenant.id)
        epochs = _epochs(session, tenant.id)
    word = UNREACHABLE if state is None else str(state.state)
    if state is not None and state.state is KeyState.MISSING and buried:
        word = str(KeyState.DESTROYED)
    return {
        "tenant": tenant.slug,
        "state": word,
        "version": None if state is None else state.version,
        "oldest_version": None if state is None else state.oldest,
        "until": when(None if state is None else state.until),
        "secrets": {str(version): count for version, count in counts.items()},
        "pending_secrets": pending,
        "last_rotation": when(last),
        "under_way": under_way,
        "epochs": epochs,
        "problem": away.code if state is None and away is not None else None,
    }


def _under_way(session: Session, tenant: UUID) -> list[str]:
    rows = session.execute(
        select(Rotation, Region.name)
        .outerjoin(Repository, Repository.id == Rotation.repository_id)
        .outerjoin(Region, Region.id == Repository.region_id)
        .where(Rotation.tenant_id == tenant, Rotation.state.in_(OPEN))
        .order_by(Rotation.asked_at, Region.name, Rotation.id)
    )
    return [_progress(row.Rotation, row.name) for row in rows]


def _progress(row: Rotation, region: str | None) -> str:
    where = "" if region is None else f" of {region}"
    trouble = row.failure or {}
    why = f": {trouble['code']}" if trouble.get("code") else ""
    until = (row.report or {}).get("locked_until")
    until = f" until {until[:16]}" if until and row.stage == "closed" else ""
    return f"{row.kind}{where} ({row.stage or row.state}{why}{until})"


def _epochs(session: Session, tenant: UUID) -> list[dict[str, Any]]:
    """By region: the one that counts, and what there still is of others."""
    rows = session.execute(
        select(Repository.epoch, Repository.state, Region.name)
        .join(Region, Region.id == Repository.region_id)
        .where(
            Repository.tenant_id == tenant,
            Repository.state.not_in([RepositoryState.NEW, RepositoryState.DESTROYED]),
        )
        .order_by(Region.name, Repository.epoch)
    )
    return [{"region": r.name, "epoch": r.epoch, "state": str(r.state)} for r in rows]


def _epoch_line(each: dict[str, Any]) -> str:
    aside = "" if each["state"] == RepositoryState.READY else f" ({each['state']})"
    return f"{each['region']}: {each['epoch']}{aside}"


def _tenants(platform: Runtime, slug: str | None) -> list[Tenant]:
    if slug is not None:
        return [onboarding.named(platform, slug)]
    with platform.database.session(Role.OPERATOR) as session:
        return list(session.execute(select(Tenant).order_by(Tenant.slug)).scalars())


def _rows(platform: Runtime, ids: Sequence[UUID]) -> list[Rotation]:
    with platform.database.session(Role.OPERATOR) as session:
        wanted = select(Rotation).where(Rotation.id.in_(ids)).order_by(Rotation.id)
        return list(session.execute(wanted).scalars())


def _documents(
    platform: Runtime, ids: Sequence[UUID], slugs: dict[UUID, str]
) -> list[dict[str, Any]]:
    with platform.database.session(Role.OPERATOR) as session:
        names = {
            row.id: row.name
            for row in session.execute(
                select(Repository.id, Region.name).join(Region, Region.id == Repository.region_id)
            )
        }
    rows = _rows(platform, ids)
    found = [
        {
            "rotation": str(row.id),
            "tenant": slugs[row.tenant_id],
            "what": str(row.kind),
            "region": names.get(row.repository_id) if row.repository_id else None,
            "state": str(row.state),
            "stage": row.stage,
            "report": row.report,
            "problem": (row.failure or {}).get("code"),
        }
        for row in rows
    ]
    return sorted(found, key=lambda each: (each["tenant"], each["region"] or ""))


COMMANDS = (key,)
