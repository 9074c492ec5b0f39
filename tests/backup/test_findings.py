"""Findings: opened once, dated while seen, settled by a person or by not being there any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from backup import findings, ledger
from backup.facts import Why
from backup.findings import Sight
from backup.models import Finding
from backup.states import Decision
from strongroom.actors import Actor, ActorKind
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock

CODE = "key-foreign"
ODD = Sight(CODE, "keys/odd")
OTHER = Sight(CODE, "keys/other", freezes=True)
PERSON = Actor(ActorKind.OPERATOR, "test")


def report(runtime: Runtime, tenant: Tenant, *sights: Sight) -> list[Finding]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return findings.report(
            session, tenant.id, sights, codes=[CODE], repository=None, now=runtime.now()
        )


def open_now(runtime: Runtime, tenant: Tenant) -> list[tuple[str, datetime]]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return [(row.subject, row.last_seen_at) for row in findings.open_of(session, tenant.id)]


def settle(runtime: Runtime, tenant: Tenant, finding: UUID, note: str = "seen") -> Finding:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        return findings.settle(
            session,
            (tenant.id, finding),
            Decision.ACCEPTED,
            by=PERSON,
            note=note,
            now=runtime.now(),
        )


def test_what_is_seen_twice_is_one_finding_and_says_when_it_was_last_seen(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    [first] = report(runtime, acme, ODD)
    clock.stop_at(runtime.now() + timedelta(days=1))
    [again] = report(runtime, acme, ODD)
    assert again.id == first.id
    assert open_now(runtime, acme) == [("keys/odd", runtime.now())]


def test_what_is_no_longer_seen_settles_by_itself_and_opens_anew_when_it_is_back(
    runtime: Runtime, acme: Tenant
) -> None:
    [first] = report(runtime, acme, ODD, OTHER)[:1]
    report(runtime, acme, OTHER)
    assert [subject for subject, _ in open_now(runtime, acme)] == ["keys/other"]
    [again, _] = report(runtime, acme, ODD, OTHER)
    assert again.id != first.id


def test_one_that_freezes_keeps_every_point_until_a_person_has_settled_it(
    runtime: Runtime, acme: Tenant
) -> None:
    def holds() -> list[Why]:
        with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
            return [each.why for each in ledger.holds_of(session, acme.id, now=runtime.now())]

    report(runtime, acme, ODD)
    assert holds() == []
    [_, freezing] = report(runtime, acme, ODD, OTHER)
    assert holds() == [Why.UNSETTLED]
    settle(runtime, acme, freezing.id)
    assert holds() == []


def test_it_is_settled_once_and_with_a_reason(runtime: Runtime, acme: Tenant) -> None:
    [row] = report(runtime, acme, ODD)
    with pytest.raises(BadValue):
        settle(runtime, acme, row.id, note=" ")
    settled = settle(runtime, acme, row.id)
    assert (settled.decision, settled.settled_by) == (Decision.ACCEPTED, str(PERSON))
    for unknown in (row.id, uuid4()):
        with pytest.raises(NotFound):
            settle(runtime, acme, unknown)


def test_another_tenants_finding_is_not_found(runtime: Runtime, acme: Tenant, bolt: Tenant) -> None:
    [row] = report(runtime, acme, ODD)
    with pytest.raises(NotFound):
        settle(runtime, bolt, row.id)
