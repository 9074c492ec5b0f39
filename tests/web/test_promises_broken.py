"""Breaking a thing turns exactly its promises, and no others; mending turns them back.

One world for all of the table: five tenants, one under each pack, so that whatever is broken under
one pack shows that no other pack's tenants are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from restore.states import DrillState
from strongroom.db import Role
from strongroom.people import record
from strongroom.runtime import Runtime
from tenants.promise_rows import State
from tests.cast import ADA, FakeClock
from tests.web import promising
from tests.web.promising import NEVER_KEPT, PAPER, World, drilled
from web.promises import attesting, house

RISK, BROKEN, UNPROVEN = State.AT_RISK, State.BROKEN, State.CANNOT_BE_PROVEN
B = "(select id from regions where name = 'region-b')"
OLDEST = "(select min(number) from points where tenant_id = :tenant)"
NEWEST = "(select max(number) from points where tenant_id = :tenant)"


@dataclass(frozen=True)
class Break:
    """Something made wrong in rows, what that turns, and how it is mended."""

    name: str
    pack: str
    wrong: str
    right: str
    turns: Mapping[str, State]
    role: Role = Role.OPERATOR


def copies(condition: str, state: str, more: str = "") -> str:
    return (
        f"update copies set state = '{state}'{more} where tenant_id = :tenant and point_id in "
        f"(select id from points where tenant_id = :tenant and {condition})"
    )


def removal(number: str, state: str, code: str) -> str:
    return f"""insert into removals (id, tenant_id, copy_id, repository_id, policy_id, code, params,
        state, due_at) select uuidv7(), c.tenant_id, c.id, c.repository_id, p.policy_id, '{code}',
        '{{"days": 5}}', '{state}', :now from copies c join points p on p.id = c.point_id
        where c.tenant_id = :tenant and p.number = {number} and c.region_id = {B}"""


def points(condition: str, change: str) -> str:
    return f"update points set {change} where tenant_id = :tenant and {condition}"


def proof(state: str, ended: str) -> str:
    return f"""insert into proofs (id, tenant_id, copy_id, level, state, due_at, ended_at)
        select uuidv7(), :tenant, c.id, 'data', '{state}', :now, :now - interval '{ended}'
        from copies c join points p on p.id = c.point_id
        where c.tenant_id = :tenant and p.number = {NEWEST} and c.region_id = {B}"""


def planned(days: int) -> str:
    return f"""insert into steps (id, tenant_id, of, row_id, old, new, code, params, by, at)
        select uuidv7(), :tenant, 'removals', r.id, '', 'planned', 'x', '{{}}', 'x',
        :now - interval '{days} days' from removals r where r.tenant_id = :tenant
        and r.state = 'planned'"""


SCHEDULES_ON = "update schedules set next_at = :now + interval '10 hours' where tenant_id = :tenant"
SECOND_REGION_BACK = copies("true", "stored")
TABLE = [
    Break(
        "nobody plans any more",
        "datacore",
        "update schedules set next_at = :now - interval '1 hour' where tenant_id = :tenant",
        SCHEDULES_ON,
        {"datacore-daily-weekly": BROKEN},
    ),
    Break(
        "a schedule was moved out of sight",
        "datacore",
        "update schedules set next_at = :now + interval '30 days' where tenant_id = :tenant",
        SCHEDULES_ON,
        {"datacore-daily-weekly": BROKEN},
    ),
    Break(
        "one day of the week made no whole point",
        "datacore",
        points(f"number = {NEWEST} - 3", "outcome = 'partial'"),
        points("true", "outcome = 'complete'"),
        {"datacore-daily-weekly": RISK},
    ),
    Break(
        "for three days nothing came of the backups",
        "datacore",
        points(f"number > {NEWEST} - 3", "outcome = 'failed'"),
        points("true", "outcome = 'complete'"),
        {"datacore-daily-weekly": BROKEN},
    ),
    Break(
        "the second region has been away for three days",
        "datacore",
        copies(f"number > {NEWEST} - 3", "waiting") + f" and region_id = {B}",
        SECOND_REGION_BACK,
        {"datacore-regions": BROKEN},
    ),
    Break(
        "the newest copy cannot be brought",
        "datacore",
        copies(f"number = {NEWEST}", "waiting", ', failure = \'{"code": "x"}\'')
        + f" and region_id = {B}",
        copies("true", "stored", ", failure = null"),
        {"datacore-regions": RISK},
    ),
    Break(
        "two regions in one town",
        "datacore",
        f"update regions set latitude = 25.21, longitude = 55.27 where id = {B}",
        f"update regions set latitude = 24.7136, longitude = 46.6753 where id = {B}",
        {"datacore-regions": BROKEN},
    ),
    Break(
        "nobody says where a region lies",
        "datacore",
        f"update regions set latitude = null, longitude = null where id = {B}",
        f"update regions set latitude = 24.7136, longitude = 46.6753 where id = {B}",
        {"datacore-regions": UNPROVEN},
    ),
    Break(
        "a proof failed",
        "datacore",
        proof("failed", "2 hours"),
        proof("passed", "1 hour"),
        {"datacore-integrity": BROKEN},
    ),
    Break(
        "the structure was not checked in its time",
        "datacore",
        "update rotas set passed_at = :now - interval '3 days' where tenant_id = :tenant "
        "and level = 'structure'",
        "update rotas set passed_at = :now where tenant_id = :tenant",
        {"datacore-integrity": RISK},
    ),
    Break(
        "the structure was not checked for long",
        "datacore",
        "update rotas set passed_at = :now - interval '9 days' where tenant_id = :tenant "
        "and level = 'structure'",
        "update rotas set passed_at = :now where tenant_id = :tenant",
        {"datacore-integrity": BROKEN},
    ),
    Break(
        "no restore was ever rehearsed, and what there was first is gone",
        "datacore",
        "with d as (update drills set state = 'waiting', ended_at = null where tenant_id = :tenant) "
        + points(f"number = {OLDEST}", "first_seen_at = :now - interval '40 days'"),
        "with d as (update drills set state = 'passed', ended_at = :now where tenant_id = :tenant) "
        + points(f"number = {OLDEST}", "first_seen_at = :now - interval '10 days'"),
        {"datacore-integrity": BROKEN},
    ),
    Break(
        "a snapshot is missing in one region",
        "datacore",
        "update snapshots set lost_at = :now where origin_id is not null and tenant_id = :tenant",
        "update snapshots set lost_at = null where tenant_id = :tenant",
        {"datacore-integrity": BROKEN},
    ),
    Break(
        "nothing was read back",
        "datacore",
        "update snapshots set verified_at = null where tenant_id = :tenant",
        "update snapshots set verified_at = :now where tenant_id = :tenant",
        {"datacore-latest-verified": BROKEN},
    ),
    Break(
        "the chosen times are not in force",
        "datacore",
        'update tenants set own_schedule = \'{"daily_at": "05:55"}\' where id = :tenant',
        'update tenants set own_schedule = \'{"daily_at": "03:30"}\' where id = :tenant',
        {"datacore-custom-schedule": BROKEN},
    ),
    Break(
        "a copy is gone, and no rule of retention let it go",
        "datacore",
        copies(f"number = {OLDEST}", "removed") + f" and region_id = {B}",
        SECOND_REGION_BACK,
        {"datacore-plan-retention": BROKEN},
    ),
    Break(
        "something went for a reason that is none",
        "datacore",
        removal(f"{OLDEST} + 1", "gone", "because"),
        "update removals set code = 'not-in-plan' where tenant_id = :tenant",
        {"datacore-plan-retention": BROKEN},
    ),
    Break(
        "something went by age before that age",
        "datacore",
        removal(f"{NEWEST} - 1", "gone", "max-age"),
        "update removals set code = 'not-in-plan' where tenant_id = :tenant",
        {"datacore-plan-retention": BROKEN},
    ),
    Break(
        "what is to go has not gone for days",
        "jhb",
        removal(OLDEST, "planned", "not-in-plan"),
        "select 1",
        {},
    ),
    Break(
        "what is to go has not gone for nine days",
        "jhb",
        planned(9),
        "update removals set state = 'spared' where tenant_id = :tenant",
        {"jhb-necessary": BROKEN},
    ),
    Break(
        "an engineer is a member of a tenant",
        "datacore",
        "insert into memberships (id, tenant_id, account_id, role, since, added_by) "
        "select uuidv7(), :tenant, id, 'viewer', :now, 'x' from accounts where staff = 'support'",
        "delete from memberships where tenant_id = :tenant and role = 'viewer'",
        {"datacore-support-access": BROKEN},
        Role.PEOPLE,
    ),
    Break(
        "an owner has no second factor",
        "datacore",
        "update totp_factors set confirmed_at = null where account_id in "
        "(select account_id from memberships where tenant_id = :tenant)",
        "update totp_factors set confirmed_at = :now",
        {"datacore-roles-mfa": RISK},
        Role.PEOPLE,
    ),
    Break(
        "an owner is signed in with a password alone",
        "datacore",
        "with f as (update totp_factors set confirmed_at = null where account_id in "
        "(select account_id from memberships where tenant_id = :tenant) returning account_id) "
        "insert into web_sessions (id, account_id, kind, stage, hashed, proofs, agent, address, "
        "made_at, seen_at, ends_at) select uuidv7(), account_id, 'browser', 'whole', "
        "sha256('x'), '[\"pwd\"]', '', '', :now, :now, :now + interval '1 day' from f",
        "with f as (delete from web_sessions) update totp_factors set confirmed_at = :now",
        {"datacore-roles-mfa": BROKEN},
        Role.PEOPLE,
    ),
    Break(
        "a region is reached without encryption",
        "datacore",
        f"update regions set endpoint = 'http://storage.example.org' where id = {B}",
        f"update regions set endpoint = 'https://storage.example.org' where id = {B}",
        {"datacore-tls-audits": BROKEN},
    ),
    Break(
        "nothing of a tenant lies anywhere",
        "daftra",
        copies("true", "waiting"),
        SECOND_REGION_BACK,
        {"daftra-subscription": BROKEN},
    ),
    Break(
        "data is lost in every region",
        "mittal",
        "update snapshots set lost_at = :now where tenant_id = :tenant",
        "update snapshots set lost_at = null where tenant_id = :tenant",
        {"mittal-active": BROKEN},
    ),
    Break(
        "there is room for birthdays",
        "daftra",
        "alter table second_contacts add column birthday date",
        "alter table second_contacts drop column birthday",
        {"daftra-minimum": BROKEN},
        Role.MIGRATOR,
    ),
    Break(
        "messages are older than they may be",
        "comfile",
        points(f"number = {OLDEST}", "first_seen_at = :now - interval '40 days'"),
        points(f"number = {OLDEST}", "first_seen_at = :now - interval '10 days'"),
        {"comfile-message-age": BROKEN},
    ),
    Break(
        "the limit on messages is not in force",
        "comfile",
        "insert into policies (id, tenant_id, version, body, zone, cites, made_at) select uuidv7(), "
        "tenant_id, 98, body - 'source_max_age_days', zone, cites, made_at from policies "
        "where tenant_id = :tenant order by version desc limit 1",
        "insert into policies (id, tenant_id, version, body, zone, cites, made_at) select uuidv7(), "
        "tenant_id, 99, body, zone, cites, made_at from policies "
        "where tenant_id = :tenant and version = 2",
        {"comfile-message-age": BROKEN},
    ),
    Break(
        "a repository has no wrapped password",
        "comfile",
        "update secrets set pending = true where tenant_id = :tenant",
        "update secrets set pending = false where tenant_id = :tenant",
        {"comfile-encrypted": BROKEN},
    ),
    Break(
        "the same under another pack",
        "jhb",
        "update secrets set pending = true where tenant_id = :tenant",
        "update secrets set pending = false where tenant_id = :tenant",
        {"jhb-encryption": BROKEN},
    ),
    Break(
        "a hold says no reason",
        "mittal",
        "update holds set reason = ' ' where tenant_id = :tenant",
        "update holds set reason = 'a court asked' where tenant_id = :tenant",
        {"mittal-legal": BROKEN},
    ),
    Break(
        "nobody of a tenant has a second factor",
        "jhb",
        "update totp_factors set confirmed_at = null where account_id in "
        "(select account_id from memberships where tenant_id = :tenant)",
        "update totp_factors set confirmed_at = :now",
        {"jhb-2fa": RISK},
        Role.PEOPLE,
    ),
    Break(
        "a session is kept as more than a hash",
        "jhb",
        "insert into web_sessions (id, account_id, kind, stage, hashed, proofs, agent, address, "
        "made_at, seen_at, ends_at) select uuidv7(), id, 'browser', 'whole', 'a token', "
        "'[\"otp\"]', '', '', :now, :now, :now + interval '1 day' from accounts limit 1",
        "delete from web_sessions",
        {"jhb-cookies": BROKEN},
        Role.PEOPLE,
    ),
]


@pytest.fixture
def world(runtime: Runtime, clock: FakeClock) -> World:
    return promising.make(runtime, clock)


def changed(before: Mapping[str, State], after: Mapping[str, State]) -> dict[str, State]:
    assert before.keys() == after.keys()
    return {name: state for name, state in after.items() if state is not before[name]}


def test_breaking_a_thing_turns_exactly_its_promises_and_mending_turns_them_back(
    world: World,
) -> None:
    """Whatever is measured is kept at first: else nothing would show that it can be broken."""
    sound = world.states()
    rows = {state: {n for n, each in sound.items() if each is state} for state in State}
    assert not rows[BROKEN] | rows[RISK]
    assert rows[UNPROVEN] >= NEVER_KEPT
    for each in TABLE:
        world.run(each.pack, each.wrong, each.role)
        broken = changed(sound, world.states())
        world.run(each.pack, each.right, each.role)
        assert broken == each.turns, each.name
        assert changed(sound, world.states()) == {}, each.name


def test_every_measured_promise_is_broken_by_something(world: World) -> None:
    """Those of this module's other tests, too: a promise that nothing breaks shows nothing."""
    elsewhere = {
        *("datacore-own-copy", "daftra-caller", "comfile-sign-in", "mittal-bilingual"),
        *("datacore-revision", "mittal-absolute"),
    }
    kept = {name for name, state in world.states().items() if state is State.KEPT}
    turned = {name for each in TABLE for name in each.turns}
    assert kept <= turned | elsewhere


def test_a_rehearsed_restore_that_failed_breaks_integrity_until_one_passes(world: World) -> None:
    sound = world.states()
    drilled(world, "datacore", DrillState.FAILED, world.now - timedelta(hours=2))
    assert changed(sound, world.states()) == {"datacore-integrity": BROKEN}
    drilled(world, "datacore", DrillState.PASSED, world.now - timedelta(hours=1))
    assert changed(sound, world.states()) == {}


def test_what_staff_look_at_without_a_grant_breaks_the_promise_for_good(world: World) -> None:
    sound = world.states()
    seen = """insert into record_entries (id, tenant_id, at, code, by, channel, ending, reason, of,
        about_id, commitment) values (uuidv7(), :tenant, :at, 'grants.used', :by, 'page', 'done', '',
        'tenants', :who, 'x')"""
    who = world.support.account.id
    by = {"by": f"person:{who}", "who": who}
    world.run("datacore", seen, at=world.now - timedelta(hours=2), **by)  # while it had a grant
    world.run("datacore", "delete from record_pending")
    assert changed(sound, world.states()) == {}
    world.run("daftra", seen, at=world.now, **by)  # another pack's tenant
    assert changed(sound, world.states()) == {}
    world.run("datacore", seen, at=world.now, **by)  # the grant was over
    world.run("datacore", "delete from record_pending")
    assert changed(sound, world.states()) == {"datacore-support-access": BROKEN}


def test_whoever_looks_from_the_command_line_without_a_name_is_a_risk(world: World) -> None:
    sound = world.states()
    world.run(
        "datacore",
        """insert into record_entries (id, tenant_id, at, code, by, channel, ending, reason, of,
        commitment) values (uuidv7(), :tenant, :now, 'contents.browsed', 'operator', 'command', 'done',
        '', 'tenants', 'x')""",
    )
    world.run("datacore", "delete from record_pending")
    assert changed(sound, world.states()) == {"datacore-support-access": RISK}


def test_a_copy_that_failed_breaks_the_promise_until_one_was_taken(world: World) -> None:
    sound = world.states()
    promising.delivered(world, "datacore", "failed", minutes=20)
    assert changed(sound, world.states()) == {"datacore-own-copy": BROKEN}
    promising.delivered(world, "datacore", "complete", minutes=10)
    assert changed(sound, world.states()) == {}


def test_whoever_guesses_a_pin_puts_the_promise_at_risk_for_a_day(
    world: World, clock: FakeClock
) -> None:
    sound, tenant = world.states(), world.tenants["daftra"].id
    with world.runtime.database.session(Role.PEOPLE, tenant=tenant) as session:
        account = world.support.account.id
        for _ in range(5):
            record.note(session, "pin-wrong", account, by=ADA, at=world.now, about=tenant)
    world.run("daftra", "delete from record_pending")
    assert changed(sound, world.states()) == {"daftra-caller": RISK}
    clock.forward(hours=24, minutes=1)
    assert world.states()["daftra-caller"] is State.KEPT


def test_without_a_provider_nobody_signs_in_with_one(world: World) -> None:
    sound = world.states()
    bare = replace(world.runtime, settings=replace(world.runtime.settings, openid=()))
    assert changed(sound, promising.states(bare)) == {"comfile-sign-in": BROKEN}


def test_a_message_without_its_arabic_breaks_what_is_promised_in_both(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound = world.states()
    file = tmp_path_factory.mktemp("words") / "messages.po"
    file.write_text(house.CATALOGUE.read_text() + '\nmsgid "Nobody said this"\nmsgstr ""\n')
    monkeypatch.setattr(house, "CATALOGUE", file)
    assert changed(sound, world.states()) == {"mittal-bilingual": BROKEN}


def test_a_word_that_ran_out_is_a_risk_until_it_is_given_again(
    world: World, clock: FakeClock
) -> None:
    promise = "comfile-processors"
    sound = world.states()
    attesting.confirm(world.runtime, promise, PAPER, "M. Saleh", by=ADA)
    world.run("comfile", "delete from record_pending")
    assert changed(sound, world.states()) == {promise: State.KEPT}
    clock.forward(days=365)
    assert world.states()[promise] is RISK
    attesting.confirm(world.runtime, promise, PAPER, "M. Saleh", by=ADA)
    assert world.states()[promise] is State.KEPT


def test_nothing_is_kept_of_a_pack_without_tenants(runtime: Runtime) -> None:
    attesting.confirm(runtime, "comfile-processors", PAPER, "M. Saleh", by=ADA)
    found = promising.states(runtime)
    assert set(found.values()) == {State.CANNOT_BE_PROVEN, State.NOT_BUILT}
