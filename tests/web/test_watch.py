"""The watch: what is wrong with tenants and with the platform becomes alerts that arrive."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from backup.models import Source
from strongroom import heartbeats
from strongroom.alerts import keeping
from strongroom.alerts.deciding import Manner
from strongroom.db import Role
from strongroom.heartbeats import Heartbeat
from strongroom.lifecycle import database_now
from strongroom.looks import Look
from strongroom.notices import people
from strongroom.notices.courier import Courier
from strongroom.notices.states import MessageState
from strongroom.people.models import Membership, NoticeRefusal
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from strongroom.worker import Queue
from tenants.models import Tenant
from tests import cast
from tests.cast import ADA, FakeClock
from tests.people.cast import People
from tests.platform.notices.post_office import PostOffice
from tests.receivers import MailSink, mail_server
from web import health
from web.health import Attention, Health, Trouble
from web.notices import canary, overdue, troubles, words, writing
from web.notices.watch import Watch

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def standing(slug: str, *found: Trouble, newest: datetime | None = AT) -> Health:
    return Health(
        id=uuid.uuid4(),
        slug=slug,
        name=slug.title(),
        zone="Asia/Dubai",
        plan="starter",
        plan_names={},
        newest=newest,
        stored=newest,
        troubles=found,
    )


def groups(runtime: Runtime) -> set[str]:
    with runtime.database.session(Role.OPERATOR) as session:
        return {row.group for row in keeping.still_open(session)}


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with mail_server() as found:
        yield found


@pytest.fixture
def watch(runtime: Runtime) -> Watch:
    return Watch(runtime)


# Grouping


def test_500_overdue_tenants_are_one_trouble_that_names_the_worst() -> None:
    late = Trouble(Attention.OVERDUE, hours=26)
    tenants = [standing(f"t{n:03}", late, newest=AT - n * MINUTE) for n in range(500)]
    (found,) = troubles.grouped(tenants)
    assert (found.group, found.count, found.worst) == ("tenants.overdue", 500, "t499")
    assert found.severe
    tenants.append(standing("never", late, newest=None))
    assert troubles.grouped(tenants)[0].worst == "never"


def test_failures_are_grouped_by_cause() -> None:
    def failed(code: str) -> Trouble:
        return Trouble(Attention.LAST_RUN_FAILED, failure={"code": code, "message": "…"})

    found = troubles.grouped(
        [standing("a", failed("disk-full")), standing("b", failed("disk-full"))]
        + [standing("c", failed("source-unreachable"))]
    )
    assert {each.group: each.count for each in found} == {
        "tenants.last-run-failed:disk-full": 2,
        "tenants.last-run-failed:source-unreachable": 1,
    }


def test_every_attention_of_tenants_has_words() -> None:
    assert {f"tenants.{each}" for each in Attention} <= set(words.ALERTS)


def test_silence_is_missed_part_by_part_and_not_before_anything_was_heard() -> None:
    assert troubles.silent({}) == []
    ages = dict.fromkeys(troubles.PARTS, timedelta(seconds=5))
    assert troubles.silent(ages) == []
    ages["dispatcher"] = timedelta(minutes=4)
    del ages[f"worker:{Queue.COPY}"]
    found = {each.group: each.worst for each in troubles.silent(ages)}
    copying = f"worker:{Queue.COPY}"
    assert found == {"part.silent:dispatcher": "dispatcher", "part.silent:worker": copying}
    gone = {each.group: each.count for each in troubles.silent({"dispatcher": MINUTE})}
    assert gone == {"part.silent:worker": len(Queue)}  # one alert, not one a queue


# The whole way


def test_a_tenant_without_sources_is_told_by_mail_and_its_end_too(
    runtime: Runtime, acme: Tenant, watch: Watch, sink: MailSink, clock: FakeClock
) -> None:
    office = PostOffice(runtime)
    office.mailbox(sink, language="ar")
    courier = Courier(runtime, writing.writer("https://backup.example"))
    for _ in range(3):  # it is no matter of minutes
        clock.forward(minutes=8)
        watch.round()
    courier.round()
    (letter,) = (each for each in sink.letters if "لا يوجد ما يُنسخ" in each["Subject"])
    body: Any = letter.get_body(("plain",))
    assert "acme" in body.get_content()
    assert "https://backup.example/alerts/" in body.get_content()
    assert 'dir="rtl"' in letter.get_body(("html",)).get_content()  # type: ignore[union-attr]
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.add(_source(acme))
    for _ in range(2):
        clock.forward(minutes=8)
        watch.round()
    courier.round()
    last = [each["Subject"] for each in sink.letters if "لا يوجد ما يُنسخ" in each["Subject"]][-1]
    assert "انتهى" in last


def _source(tenant: Tenant) -> Any:
    return Source(tenant_id=tenant.id, kind="directory", name="files", options={}, added_at=AT)


def test_a_part_that_cannot_be_looked_at_is_told_and_closes_nothing(
    runtime: Runtime, acme: Tenant, watch: Watch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.round()
    assert "tenants.no-sources" in groups(runtime)
    clock.forward(hours=2)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault that was injected")

    monkeypatch.setattr(health, "read", broken)
    watch.round()
    assert {"tenants.no-sources", "watch.blind:tenants."} <= groups(runtime)


def test_silent_parts_stuck_queues_and_regions_that_are_away_are_told(
    runtime: Runtime, acme: Tenant, watch: Watch, clock: FakeClock
) -> None:
    for role, part in ((Role.DISPATCHER, "dispatcher"), (Role.WORKER, "worker:backup")):
        with runtime.database.session(role) as session:
            heartbeats.beat(session, part)
    with runtime.database.session(Role.OPERATOR) as session:
        old = heartbeats.func.clock_timestamp() - timedelta(minutes=10)
        session.execute(update(Heartbeat).where(Heartbeat.part == "dispatcher").values(at=old))
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.add(_source(acme))
    cast.queue(runtime, acme)
    clock.forward(minutes=31)
    looked_at(runtime, {"region-a": None, "region-b": 2 * MINUTE})
    blind = Watch(runtime)
    blind.round()
    assert not any(group.startswith("part.") for group in groups(runtime))  # we just started
    blind.began = float("-inf")
    blind.round()
    found = groups(runtime)
    assert {"part.silent:dispatcher", "part.silent:worker"} <= found
    assert {"queue.stuck", "region.silent:region-b", "notices.no-channel"} <= found
    assert "region.silent:region-a" not in found


def test_who_has_just_started_closes_nothing_that_it_has_not_looked_at(
    runtime: Runtime, clock: FakeClock
) -> None:
    looked_at(runtime, {"region-b": 2 * MINUTE})
    blind = Watch(runtime, began=float("-inf"))
    with runtime.database.session(Role.DISPATCHER) as session:
        heartbeats.beat(session, "dispatcher")
    for _ in range(2):
        blind.round()
    both = {"part.silent:worker", "region.silent:region-b"}
    assert both <= groups(runtime)
    clock.forward(hours=2)  # nobody watched meanwhile
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(delete(Look))  # nor looked at the regions
    again = Watch(runtime)
    again.round()
    assert both <= groups(runtime)


def looked_at(runtime: Runtime, bad: Mapping[str, timedelta | None], apart: float = 0.0) -> None:
    """Just now: each region, and for how long it has been bad."""
    with runtime.database.session(Role.OPERATOR) as session:
        now = database_now(session)
        for name, since in bad.items():
            row = Look(
                what=f"region {name}", at=now, seconds=0.1, apart=apart if not since else None
            )
            row.bad_since = None if since is None else now - since
            row.failure = None if since is None else {"code": "storage-unreachable"}
            session.merge(row)


def test_a_region_that_was_slow_once_is_told_to_nobody_and_closes_nothing(
    runtime: Runtime, watch: Watch, clock: FakeClock
) -> None:
    looked_at(runtime, {"region-a": timedelta(seconds=5)})
    watch.round()
    assert "region.silent:region-a" not in groups(runtime)
    looked_at(runtime, {"region-a": 2 * MINUTE})
    watch.round()
    assert "region.silent:region-a" in groups(runtime)
    clock.forward(hours=2)
    looked_at(runtime, {"region-a": timedelta(seconds=5)})  # it came back, and went again
    watch.round()
    assert "region.silent:region-a" in groups(runtime)
    for _ in range(2):
        clock.forward(hours=2)
        looked_at(runtime, {"region-a": None})
        watch.round()
    assert "region.silent:region-a" not in groups(runtime)


def test_a_regions_clock_that_is_off_is_told(runtime: Runtime, watch: Watch) -> None:
    looked_at(runtime, {"region-a": None}, apart=-400.0)
    watch.round()
    assert "region.clock:region-a" in groups(runtime)


def test_messages_that_nobody_takes_are_a_trouble_told_by_another_channel(
    runtime: Runtime, watch: Watch, sink: MailSink, clock: FakeClock
) -> None:
    office = PostOffice(runtime)
    broken = office.mailbox(sink, "broken")
    sink.refused.add("broken@ops.example")
    other = office.mailbox(sink, "other", level=2)
    office.put(broken)
    office.courier().round()
    watch.round()
    assert "notices.stuck:broken" in groups(runtime)
    told = [each.reader_id for each in office.messages() if each.params.get("code")]
    assert other.id in told
    assert broken.id not in [
        each.reader_id for each in office.messages() if each.params.get("code") == "notices.stuck"
    ]


# The canary


def test_the_canary_sings_once_for_each_run_and_its_song_is_proven_by_a_receipt(
    runtime: Runtime, watch: Watch, sink: MailSink, clock: FakeClock
) -> None:
    office = PostOffice(runtime)
    office.mailbox(sink)
    made = canary.set_up(runtime, plan="starter", zone="UTC", country="AE", by=ADA)
    assert canary.set_up(runtime, plan="starter", zone="UTC", country="AE", by=ADA).id == made.id
    cast.carry_out(runtime, made, cast.queue(runtime, made))
    courier = Courier(runtime, writing.writer("https://backup.example"))
    for _ in range(5):
        watch.round()
        courier.round()
        clock.forward(minutes=9)
    (letter,) = (each for each in sink.letters if "canary" in each["Subject"])
    assert "canary sings" in letter["Subject"]
    with runtime.database.session(Role.OPERATOR) as session:
        found = canary.standing(session, now=runtime.now())
    assert found is not None
    assert found.failed
    assert [each.last is not None for each in found.arrivals] == [True]
    assert not any(group.startswith("tenants.") for group in groups(runtime))


def test_a_canary_that_is_not_heard_is_the_loudest_alert(
    runtime: Runtime, watch: Watch, sink: MailSink, clock: FakeClock
) -> None:
    office = PostOffice(runtime)
    first = office.mailbox(sink, "first")
    second = office.mailbox(sink, "second", level=2)
    canary.set_up(runtime, plan="starter", zone="UTC", country="AE", by=ADA)
    clock.forward(hours=25)
    watch.round()
    assert "canary.silent:first" not in groups(runtime)
    clock.forward(hours=2)
    watch.round()
    told = [
        each.reader_id for each in office.messages() if each.params.get("code") == canary.SILENT
    ]
    assert set(told) == {first.id, second.id}


def test_a_run_of_the_canary_that_does_not_fail_is_no_song() -> None:
    found = canary.Standing(uuid.uuid4(), AT, failed=False, arrivals=())
    assert canary.judged(found, now=AT + MINUTE) == []
    (song,) = canary.judged(
        canary.Standing(uuid.uuid4(), AT, failed=True, arrivals=()), now=AT + MINUTE
    )
    assert (song.code, song.manner) == (canary.CODE, Manner.CANARY)


def test_a_customer_called_canary_is_left_alone(runtime: Runtime) -> None:
    row = cast.add_tenant(runtime, replace(cast.ACME, slug="canary"))
    with runtime.database.session(Role.OPERATOR, tenant=row.id) as session:
        session.add(_source(row))
    with pytest.raises(Exception, match="customer"):
        canary.set_up(runtime, plan="starter", zone="UTC", country="AE", by=ADA)


# To tenants


def test_only_who_is_in_a_tenant_is_told_of_it(
    runtime: Runtime, acme: Tenant, bolt: Tenant, sink: MailSink, clock: FakeClock
) -> None:
    office, made = PostOffice(runtime), People(runtime)
    office.mailbox(sink)
    made.member(acme, TenantRole.OWNER, email="owner@acme.example")
    made.member(acme, TenantRole.VIEWER, email="viewer@acme.example")
    made.member(bolt, TenantRole.OWNER, email="owner@bolt.example")
    left = made.member(acme, TenantRole.ADMIN, email="left@acme.example")
    late = Trouble(Attention.OVERDUE, hours=26)
    health_of_acme = Health(
        acme.id, acme.slug, acme.name, acme.zone, "starter", {}, AT, AT, troubles=(late,)
    )
    clock.stop_at(AT + timedelta(hours=40))
    for _ in range(3):
        assert overdue.tell(runtime, [health_of_acme]) == 1
    with runtime.database.session(Role.PEOPLE, tenant=acme.id) as session:
        session.query(Membership).filter(Membership.account_id == left.account.id).delete()
    Courier(runtime, writing.writer("https://backup.example")).round()
    assert [each["To"] for each in sink.letters] == ["owner@acme.example"]
    states = sorted(each.state for each in office.messages())
    assert states == [MessageState.DELIVERED, MessageState.WITHHELD]


def test_who_wants_no_more_of_a_kind_gets_none(
    runtime: Runtime, acme: Tenant, sink: MailSink
) -> None:
    office, made = PostOffice(runtime), People(runtime)
    office.mailbox(sink)
    owner = made.member(acme, TenantRole.OWNER)
    with runtime.database.session(Role.PEOPLE) as session:
        session.add(NoticeRefusal(account_id=owner.account.id, kind="backup.overdue", since=AT))
    for kind, refusable in (("backup.overdue", True), ("grant.open", False)):
        with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
            params = {"hours": 26, "until": AT.isoformat(), "reason": "ticket 12"}
            people.tell_admins(
                session, acme.id, kind, "1", params, refusable=refusable, now=runtime.now()
            )
    Courier(runtime, writing.writer("https://backup.example")).round()
    (letter,) = sink.letters
    assert letter["List-Unsubscribe"] is None
    assert {each.kind: each.state for each in office.messages()} == {
        "backup.overdue": MessageState.WITHHELD,
        "grant.open": MessageState.DELIVERED,
    }


def test_lateness_is_told_when_it_lasts_and_not_before_a_first_point() -> None:
    late = Trouble(Attention.OVERDUE, hours=26)
    row = standing("acme", late)
    assert overdue.lateness(row, now=AT + timedelta(hours=37)) is None
    assert overdue.lateness(row, now=AT + timedelta(hours=39)) == 26
    assert overdue.lateness(standing("a", late, newest=None), now=AT + timedelta(days=9)) is None
    assert overdue.lateness(standing("a"), now=AT + timedelta(days=9)) is None
