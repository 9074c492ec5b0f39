"""Plans: files in, immutable versions out. Applying a file moves no tenant."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from backup import policy as policies
from strongroom import countries
from strongroom.errors import BadValue, NotFound
from strongroom.ids import new_id
from tenants.models import PlanVersion

SHIPPED = Path(__file__).parent / "shipped_plans.toml"
CODE = re.compile(r"[a-z][a-z0-9-]{0,39}")


class BadPlan(BadValue):
    """A plan file cannot be used; the message names file, plan and field."""

    code = "bad-plan"


@dataclass(frozen=True)
class Plan:
    """One plan of a file."""

    code: str
    name: dict[str, Any]  # by language
    policy: policies.EffectivePolicy


@dataclass(frozen=True)
class Applied:
    """What applying one plan did."""

    code: str
    version: int
    changed: bool


def read(path: Path) -> list[Plan]:
    """The plans of a TOML file: a table each, as `shipped_plans.toml` shows. Raises BadPlan."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPlan(f"The plan file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadPlan(f"The plan file {path} is not TOML: {error}.") from error
    if not data:
        raise BadPlan(f"The plan file {path} holds no plan. Write a table for each, like [basic].")
    return [_plan(path, code, body) for code, body in data.items()]


def apply(session: Session, plans: Sequence[Plan], *, now: datetime) -> list[Applied]:
    """Make a new version of each plan that differs from its newest one; moves nobody."""
    return [_apply(session, plan, now) for plan in plans]


def newest(session: Session) -> Sequence[PlanVersion]:
    """The newest version of every plan, by code."""
    return (
        session.execute(
            select(PlanVersion)
            .ext(distinct_on(PlanVersion.code))
            .order_by(PlanVersion.code, PlanVersion.version.desc())
        )
        .scalars()
        .all()
    )


def named(session: Session, code: str) -> PlanVersion:
    """The newest version of a plan. Raises NotFound that lists what there is."""
    known = {version.code: version for version in newest(session)}
    if code not in known:
        raise NotFound(
            f"There is no plan {code!r}. Plans: {', '.join(known) or 'none'}. "
            "Add one with `strongroom plan apply FILE`.",
            code="unknown-plan",
        )
    return known[code]


def _plan(path: Path, code: str, body: object) -> Plan:
    if not CODE.fullmatch(code):
        raise BadPlan(f"{path}: plan {code!r} needs a code of small letters, digits and hyphens.")
    if not isinstance(body, dict):
        raise BadPlan(f"{path}: {code} is not a table. Write [{code}] above its values.")
    values = dict(body)
    name = values.pop("name", {"en": code})
    if not isinstance(name, dict) or not all(isinstance(each, str) for each in name.values()):
        raise BadPlan(f'{path}: the name of {code} is to be like {{ en = "Basic", ar = "…" }}.')
    try:
        policy = policies.from_json(values)
        for country in policy.placement.countries or ():
            countries.check(country)
        return Plan(code, name, policy)
    except BadValue as error:
        raise BadPlan(f"{path}: plan {code}: {error.message}") from error


def _apply(session: Session, plan: Plan, now: datetime) -> Applied:
    newest_one = session.execute(
        select(PlanVersion)
        .where(PlanVersion.code == plan.code)
        .order_by(PlanVersion.version.desc())
        .limit(1)
    ).scalar_one_or_none()
    body = plan.policy.to_json()
    if newest_one is not None and (newest_one.body, newest_one.name) == (body, plan.name):
        return Applied(plan.code, newest_one.version, changed=False)
    version = 1 if newest_one is None else newest_one.version + 1
    session.add(
        PlanVersion(
            id=new_id(),
            code=plan.code,
            version=version,
            name=plan.name,
            body=body,
            made_at=now,
        )
    )
    session.flush()
    return Applied(plan.code, version, changed=True)
