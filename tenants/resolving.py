"""What is in force for a tenant, and where each value of it comes from.

    plan + what the tenant says of itself + its policy pack ─▶ resolve ─▶ a policy, explained

The plan has a value for everything. The tenant's countries narrow where copies lie; its own schedule
takes the place of the plan's times where the plan allows one. The pack binds: it can only make a
rule stricter, whatever the plan says. Pure, but for `of_tenant`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backup import placement
from backup import policy as policies
from backup.models import Source
from backup.policy import BadPolicy, EffectivePolicy
from strongroom.errors import BadValue
from tenants.models import PlanVersion, Tenant
from tenants.packs import Pack

SCHEDULE = ("daily_at", "weekly_on", "weekly_at")  # what a tenant may choose for itself
CEILINGS = "source_max_age_days"


class BadSchedule(BadValue):
    """A schedule of a tenant's own cannot be used."""

    code = "bad-schedule"


class Origin(StrEnum):
    """What a value comes from."""

    PLAN = "plan"
    PACK = "pack"
    TENANT = "tenant"  # what it says of itself: countries, its own times
    SOURCE = "source"  # what was said of one source


@dataclass(frozen=True)
class Explained:
    """One value that is in force."""

    key: str  # as the policy has it, with dots: "placement.least_km"
    value: Any  # plain JSON
    origin: Origin
    named: str  # "business v3", "comfile", …
    instead_of: Any = None  # what the plan says, where something else holds

    def to_json(self) -> dict[str, Any]:
        said = {"key": self.key, "value": self.value, "from": str(self.origin), "named": self.named}
        return said if self.origin is Origin.PLAN else said | {"instead_of": self.instead_of}


@dataclass(frozen=True)
class Resolved:
    """What is in force, as the backup part wants it, and why."""

    policy: EffectivePolicy
    values: tuple[Explained, ...]
    cites: str  # "plan business v3, pack comfile, own schedule"


def resolve(
    plan: PlanVersion, tenant: Tenant, sources: Sequence[Source], packs: Mapping[str, Pack]
) -> Resolved:
    """Raises BadValue where plan, tenant and pack leave no country.

    A tenant under a pack that is not there any more gets what plan and tenant say.
    """
    base = policies.from_json(plan.body)
    pack = packs.get(tenant.pack or "")
    why: dict[str, tuple[Origin, str]] = {}
    policy = _timed(base, tenant, why)
    policy = _placed(policy, tenant, pack, why)
    policy = _capped(policy, sources, pack, why)
    cites = [f"plan {plan.code} v{plan.version}"]
    cites += [] if pack is None else [f"pack {pack.name}"]
    cites += ["own schedule"] if any(key in why for key in SCHEDULE) else []
    return Resolved(policy, _explained(plan, base, policy, why), ", ".join(cites))


def of_tenant(session: Session, tenant: Tenant, packs: Mapping[str, Pack]) -> Resolved:
    """As it would be resolved now: the policy in force is of the day it was made."""
    plan = session.get_one(PlanVersion, tenant.plan_version_id)
    return resolve(plan, tenant, sources_of(session, tenant.id), packs)


def sources_of(session: Session, tenant: UUID) -> Sequence[Source]:
    """All there ever were: what they left in points has an age, too."""
    mine = select(Source).where(Source.tenant_id == tenant).order_by(Source.id)
    return session.execute(mine).scalars().all()


def own_schedule(said: Mapping[str, str]) -> dict[str, str]:
    """What a tenant chooses, checked as a plan's times are. Raises BadSchedule."""
    probe: dict[str, object] = {
        "jitter_minutes": 0,
        "daily_at": "00:00",
        "weekly_on": "monday",
        "weekly_at": "00:00",
        **said,
        "retention": {"last": 1},
        "verification": dict.fromkeys(_PROOFS, 1),
        **dict.fromkeys(("regions", "floor", "rpo_hours"), 1),
    }
    try:
        policies.from_json(probe)
    except BadPolicy as error:
        wanted, found = error.params["wanted"], error.params["found"]
        message = f"{error.params['field']}: wanted {wanted}, found {found}."
        raise BadSchedule(message, field=error.params["field"]) from None
    return dict(said)


_PROOFS = ("structure_every_days", "data_every_days", "drill_every_days")


def _timed(
    policy: EffectivePolicy, tenant: Tenant, why: dict[str, tuple[Origin, str]]
) -> EffectivePolicy:
    """The tenant's own times, where the plan allows them."""
    own = tenant.own_schedule or {}
    if not own or not policy.own_schedule:
        return policy
    why.update(dict.fromkeys(own, (Origin.TENANT, "own schedule")))
    return policies.from_json({**policy.to_json(), **own})


def _placed(
    policy: EffectivePolicy, tenant: Tenant, pack: Pack | None, why: dict[str, tuple[Origin, str]]
) -> EffectivePolicy:
    """How many copies, how far apart, in which countries."""
    where = placement.narrowed(policy.placement, tenant.keep_in)
    if where.countries != policy.placement.countries:
        why["placement.countries"] = (Origin.TENANT, "keep-in")
    regions, apart = policy.regions, where.least_km
    if pack is not None:
        regions = max(regions, pack.parameters.regions_least or 0)
        apart = max(apart, pack.parameters.least_km or 0)
        if regions != policy.regions:
            why["regions"] = (Origin.PACK, pack.name)
        if apart != where.least_km:
            why["placement.least_km"] = (Origin.PACK, pack.name)
    return replace(policy, regions=regions, placement=replace(where, least_km=apart))


def _capped(
    policy: EffectivePolicy,
    sources: Sequence[Source],
    pack: Pack | None,
    why: dict[str, tuple[Origin, str]],
) -> EffectivePolicy:
    """The age that a source's data may reach: its own, the pack's for what is only held to be sent."""
    ceilings = {}
    for source in sources:
        said = [(source.ceiling_days, (Origin.SOURCE, source.name))]
        if pack is not None and source.transit:
            said.append((pack.parameters.message_age_days, (Origin.PACK, pack.name)))
        given = [(days, origin) for days, origin in said if days is not None]
        if given:
            days, origin = min(given, key=lambda each: each[0])
            ceilings[source.id] = days
            why[f"{CEILINGS}.{source.id}"] = origin
    return replace(policy, source_max_age_days=ceilings)


def _explained(
    plan: PlanVersion,
    base: EffectivePolicy,
    policy: EffectivePolicy,
    why: Mapping[str, tuple[Origin, str]],
) -> tuple[Explained, ...]:
    before, after = dict(_flat("", base.to_json())), dict(_flat("", policy.to_json()))
    named = f"{plan.code} v{plan.version}"
    found = []
    for key, value in after.items():
        origin, name = why.get(key, (Origin.PLAN, named))
        found.append(Explained(key, value, origin, name, before.get(key)))
    return tuple(found)


def _flat(prefix: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, each in value.items():
        if isinstance(each, Mapping):
            found += _flat(f"{prefix}{key}.", each)
        else:
            found.append((f"{prefix}{key}", each))
    return found
