"""Whether a tenant's data may be written to a region, asked right before it is.

The policy of the moment, the tenant's own row and the region's own row are read each time: a
region may have been moved to another country, or the policy changed, since the copy was planned.
What is refused here has written nothing, and stands as a finding until it is right again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlalchemy import column, select, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backup import findings, placement, planning
from backup import policy as policies
from backup.findings import Sight
from backup.models import Repository
from backup.placement import Place, TooFewRegions
from backup.policy import EffectivePolicy, Placement
from strongroom.db import Role
from strongroom.errors import BadValue, Refused
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime

NOT_ALLOWED = "region-not-allowed"
TOO_NEAR = "copies-too-near"
# The one fact of a tenant that is read past its policy: nobody may widen it by changing a plan.
TENANTS = table("tenants", column("id"), column("keep_in", JSONB))


class RegionNotAllowed(Refused):
    """The tenant's data may not lie there; nothing was written."""

    code = NOT_ALLOWED


def rule_of(session: Session, tenant: UUID) -> Placement:
    """What plan, law and contract say of where the tenant's copies may lie."""
    return placement.narrowed(_policy(session, tenant).placement, _keep_in(session, tenant))


def place_of(region: Region) -> Place:
    return Place(
        id=region.id,
        name=region.name,
        rank=region.rank,
        open=region.state is RegionState.OPEN,
        country=region.country,
        position=region.position,
    )


def require(runtime: Runtime, tenant: UUID, repository_id: UUID) -> None:
    """Raises RegionNotAllowed, leaving a finding, when nothing may be written there."""
    with runtime.database.session(Role.WORKER, tenant=tenant) as session:
        policy = _policy(session, tenant)
        keep_in = _keep_in(session, tenant)
        unruled = keep_in is None and policy.placement == Placement()
        if unruled and not findings.is_open(session, tenant, (NOT_ALLOWED, TOO_NEAR)):
            return  # anywhere: nothing to ask, nothing to settle
        region = _region(session, repository_id)
        refusal = _refusal(region, policy.placement, keep_in)
        seen = [] if refusal is None else [_sight(refusal, repository_id)]
        now = runtime.now()
        findings.report(
            session, tenant, seen, codes=[NOT_ALLOWED], repository=repository_id, now=now
        )
        near = _nearness(session, tenant, policy)
        findings.report(session, tenant, near, codes=[TOO_NEAR], repository=None, now=now)
    if refusal is not None:
        raise refusal


def targets(
    session: Session, tenant: UUID, held: Sequence[tuple[Repository, Region]]
) -> Sequence[tuple[Repository, Region]]:
    """The repositories that get a copy of a new point.

    Those in regions that a narrower plan has left behind get none, provided that enough others do.
    Where there are too few, their copies wait, and are refused with the reason.
    """
    policy, keep_in = _policy(session, tenant), _keep_in(session, tenant)
    allowed = [each for each in held if _refusal(each[1], policy.placement, keep_in) is None]
    return allowed if len(allowed) >= policy.regions else held


def _refusal(
    region: Region, plan: Placement, keep_in: Sequence[str] | None
) -> RegionNotAllowed | None:
    try:
        rule = placement.narrowed(plan, keep_in)
        excluded = placement.may_lie(place_of(region), rule)
    except BadValue as error:  # plan and contract leave no country
        return _refused(region, error.code, error.message)
    if excluded is None:
        return None
    allowed = ", ".join(rule.countries or ())
    return _refused(region, excluded.code, f"its data may lie in {allowed} only, and {excluded}.")


def _refused(region: Region, why: str, said: str) -> RegionNotAllowed:
    return RegionNotAllowed(
        f"Wanted to write data of the tenant to region {region.name}, but {said} Nothing was "
        "written. Set the region right with `strongroom region place`, or choose another plan.",
        region=region.name,
        country=region.country,
        why=why,
    )


def _sight(refusal: RegionNotAllowed, repository_id: UUID) -> Sight:
    subject = str(refusal.params["region"])
    return Sight(NOT_ALLOWED, subject, params=refusal.params, repository=repository_id)


def _policy(session: Session, tenant: UUID) -> EffectivePolicy:
    return policies.from_json(planning.current_policy(session, tenant).body)


def _keep_in(session: Session, tenant: UUID) -> Sequence[str] | None:
    found: Sequence[str] | None = session.execute(
        select(TENANTS.c.keep_in).where(TENANTS.c.id == tenant)
    ).scalar_one_or_none()
    return found


def _region(session: Session, repository_id: UUID) -> Region:
    return session.execute(
        select(Region)
        .join(Repository, Repository.region_id == Region.id)
        .where(Repository.id == repository_id)
    ).scalar_one()


def _nearness(session: Session, tenant: UUID, policy: EffectivePolicy) -> Iterator[Sight]:
    """A plan that asks for distance, and copies that are not so far apart (any more)."""
    least_km = policy.placement.least_km
    if not least_km:
        return
    regions = session.execute(
        select(Region)
        .join(Repository, Repository.region_id == Region.id)
        .where(Repository.tenant_id == tenant)
    ).scalars()
    places = {place.id: place for place in map(place_of, regions)}
    try:
        apart = Placement(least_km)
        placement.choose(places.values(), count=policy.regions, rule=apart, have=places)
    except TooFewRegions as error:
        params = {"least_km": least_km, "excluded": error.params["excluded"]}
        yield Sight(code=TOO_NEAR, subject="regions", params=params)
