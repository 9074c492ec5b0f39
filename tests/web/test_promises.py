"""The register on the command line and on its page, and what a month came to."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from backup.models import Schedule
from strongroom import records
from strongroom.audit.entries import Entry
from strongroom.db import Database, Role
from strongroom.people.rules import StaffRole, TenantRole
from strongroom.runtime import Runtime
from strongroom.stack import files
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import RECORD_KEY
from tenants import pack_changes, packs
from tenants.models import Tenant
from tenants.promise_rows import Reading, State
from tests.cast import ADA, FakeClock
from tests.people.cast import People, signed_in
from tests.tenants.test_packs import PROMISED
from tests.web import command_line, promising
from tests.web.command_line import Desk
from tests.web.promising import World
from tests.web.test_pages import LATIN_WORD, visible
from web.pages import promise_words
from web.promises import measuring, register, statements
from web.promises.measuring import MEASURES, Seen, judged


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    made = command_line.sit_down(stack, runtime, tmp_path)
    files.make_private(tmp_path / "secrets")
    files.write(tmp_path / "secrets" / RECORD_KEY, runtime.settings.record_key.encode())
    return made


def world_of(runtime: Runtime, clock: FakeClock) -> World:
    return promising.make(runtime, clock)


# Decisions


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Seen(), State.CANNOT_BE_PROVEN),
        (Seen(early=3), State.CANNOT_BE_PROVEN),
        (Seen(good=1), State.KEPT),
        (Seen(good=1, early=5), State.KEPT),
        (Seen(good=1, blind=1), State.CANNOT_BE_PROVEN),
        (Seen(good=9, at_risk=1, blind=1), State.AT_RISK),
        (Seen(good=9, at_risk=1, broken=1), State.BROKEN),
        (Seen(good=1, at_best=State.CANNOT_BE_PROVEN), State.CANNOT_BE_PROVEN),
    ],
)
def test_nothing_is_kept_of_which_nothing_was_seen(seen: Seen, state: State) -> None:
    assert judged(seen) is state


def test_of_several_states_the_worst_counts() -> None:
    assert register.together(State.KEPT, State.AT_RISK) is State.AT_RISK
    assert register.together(State.KEPT, State.CANNOT_BE_PROVEN) is State.CANNOT_BE_PROVEN
    assert set(register.WORST) == set(State)


def test_every_measure_that_a_pack_names_is_there_and_has_words() -> None:
    named = {each.measure for pack in packs.known(None).values() for each in pack.promises}
    named -= {"", measuring.NOT_BUILT}
    assert named == set(MEASURES)
    for table in (promise_words.HOW, promise_words.FAILS):
        assert named | {promise_words.NOT_BUILT, promise_words.ATTESTED} == set(table)
    assert named - {"absolute"} == set(promise_words.THINGS)
    assert set(promise_words.STATES) == set(State)


def test_a_measure_that_cannot_look_shows_nothing_and_stops_no_other(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(look: measuring.Look) -> Seen:
        return measuring.tally(look, "select nonsense from nowhere")

    world = world_of(runtime, clock)
    before = world.states()
    monkeypatch.setitem(MEASURES, "regions", broken)
    after = world.states()
    assert after.pop("datacore-regions") is State.CANNOT_BE_PROVEN
    assert after == {k: v for k, v in before.items() if k != "datacore-regions"}


def test_a_process_without_the_right_to_look_at_accounts_says_so(
    runtime: Runtime, clock: FakeClock
) -> None:
    world = world_of(runtime, clock)
    urls = {r: u for r, u in runtime.settings.databases.items() if r is not Role.PEOPLE}
    blind = replace(world.runtime, database=Database(urls))
    found = {row.promise.id: row for row in register.read(blind)}
    blind.database.close()
    for name in ("datacore-roles-mfa", "datacore-support-access", "jhb-2fa", "jhb-cookies"):
        assert found[name].state is State.CANNOT_BE_PROVEN
        assert found[name].evidence["note"] == "no-right-to-look"
    assert found["datacore-regions"].state is State.KEPT


def test_many_tenants_cost_no_more_statements_than_few(runtime: Runtime, clock: FakeClock) -> None:
    world = world_of(runtime, clock)
    asked: list[str] = []
    engine = runtime.database.engine(Role.OPERATOR)
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    register.read(world.runtime, pack="datacore")
    few = len(asked)
    with runtime.database.session(Role.OPERATOR) as session:
        others = [t for t in session.execute(select(Tenant)).scalars() if t.pack != "datacore"]
    for tenant in others:
        pack_changes.put_under(world.runtime, tenant, "datacore", by=ADA, let_go=True)
    asked.clear()
    rows = register.read(world.runtime, pack="datacore")
    assert rows[0].tenants == 5
    assert len(asked) == few


def test_with_many_tenants_a_page_shows_what_was_kept_while_it_is_fresh(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "LIVE_MOST", 1)
    world = world_of(runtime, clock)
    statements.keep(world.runtime)
    before = register.read(world.runtime)
    world.run("comfile", "update secrets set pending = true where tenant_id = :tenant")
    clock.forward(minutes=20)
    kept = register.shown(world.runtime)
    assert kept.at == world.now
    assert [row.to_json() for row in kept.rows] == [row.to_json() for row in before]
    clock.forward(minutes=20)
    live = {row.promise.id: row.state for row in register.shown(world.runtime).rows}
    assert live["comfile-encrypted"] is State.BROKEN


# The command line


def test_the_list_has_each_promise_of_the_document_with_state_and_evidence(desk: Desk) -> None:
    said = desk("promises", "--json")
    assert said.code == 0, said
    wanted = {f"{pack}-{name}" for pack, names in PROMISED.items() for name in names.split()}
    assert all(set(each) == {"pack", "id", "state", "evidence"} for each in said.document)
    assert wanted <= {each["id"] for each in said.document}
    assert {each["state"] for each in said.document} == {"cannot-be-proven", "not-built"}
    mittal = desk.json("promises", "--pack", "mittal")
    assert {each["pack"] for each in mittal} == {"mittal"}
    absolute = next(each for each in mittal if each["id"] == "mittal-absolute")
    assert absolute["evidence"]["note"] == "versions-disagree"
    assert "disagree" in desk("promises", "--pack", "mittal").out


def test_exit_three_when_something_is_broken(
    desk: Desk, runtime: Runtime, clock: FakeClock
) -> None:
    world = world_of(runtime, clock)
    clock.stop_at(world.now)
    # commands have a clock of their own: what stands still here is a few hours old there
    world.run("datacore", "update schedules set next_at = now() - interval '1 day'"
              " where tenant_id = :tenant")  # fmt: skip
    said = desk("promises", "--pack", "datacore", "--json")
    assert said.code == 3
    states = {each["id"]: each["state"] for each in said.document}
    assert states["datacore-daily-weekly"] == "broken"
    one = desk("promises", "show", "datacore-daily-weekly", "--json")
    assert (one.code, one.document["state"]) == (3, "broken")
    assert one.document["evidence"]["worst"] == ["datacore"]
    assert one.document["says"]["ar"]
    assert one.document["enforced_by"] and one.document["fails_when"]


def test_what_is_not_there_is_refused(desk: Desk, tmp_path: Path) -> None:
    assert desk("promises", "--pack", "nobody").code == 2
    assert desk("promises", "show", "nobody-knows").code == 2
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(b"%PDF")
    confirm = ("--document", paper, "--by", "M. Saleh")
    assert desk("promises", "attest", "datacore-regions", *confirm).code == 2  # it is measured
    assert desk("promises", "attest", "nobody-knows", *confirm).code == 2
    paper.write_bytes(b"")
    assert desk("promises", "attest", "comfile-processors", *confirm).code == 2
    assert desk.refused("promises", "show", "nobody-knows") == (2, "unknown-promise")


def test_a_word_is_given_with_a_document_and_on_record(
    desk: Desk, runtime: Runtime, tmp_path: Path
) -> None:
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(b"%PDF bound")
    words = ("comfile-processors", "--document", paper, "--by", "M. Saleh")
    found = desk.json("promises", "attest", *words)["evidence"]["confirmed"]
    assert (found["owner"], found["document"]) == ("M. Saleh", "paper.pdf")
    assert found["sha256"] == hashlib.sha256(b"%PDF bound").hexdigest()
    with runtime.database.session(Role.OPERATOR) as session:
        entry = session.execute(select(Entry).where(Entry.code == "promises.attested")).scalar_one()
    assert entry.details is not None
    assert entry.details["sha256"] == found["sha256"]


def test_once_people_sign_in_only_the_privacy_officer_gives_a_word(
    desk: Desk, runtime: Runtime, tmp_path: Path
) -> None:
    People(runtime).staff(StaffRole.PRIVACY)
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(b"%PDF")
    words = ("comfile-processors", "--document", paper, "--by", "M. Saleh")
    assert desk.refused("promises", "attest", *words) == (4, "token-needed")


def test_a_pack_and_times_are_chosen_on_the_command_line(desk: Desk, acme: Tenant) -> None:
    assert desk.json("tenant", "pack", "acme", "datacore")["pack"] == "datacore"
    shown = desk.json("tenant", "show", "acme")
    assert shown["pack"] == "datacore"
    found = {each["key"]: each for each in shown["values"]}
    assert found["placement.least_km"]["from"] == "pack"
    assert "datacore" in desk("tenant", "show", "acme").out
    assert desk.refused("schedule", "acme", "set", "--daily-at", "04:00") == (4, "no-own-schedule")
    assert desk("schedule", "acme", "set").code == 2
    assert desk("schedule", "acme", "show", "--clear").code == 2
    assert desk.json("tenant", "pack", "acme", "none")["pack"] is None
    assert "no pack" in desk("tenant", "show", "acme").out


def test_chosen_times_move_the_schedule(desk: Desk, runtime: Runtime, acme: Tenant) -> None:
    desk.json("tenant", "plan", "acme", "enterprise")
    said = desk.json("schedule", "acme", "set", "--daily-at", "04:00", "--weekly-on", "monday")
    daily = next(each for each in said["next"] if each["cadence"] == "daily")
    assert re.search(r" 04:[0-5][0-9] ", daily["local"])
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        rows = session.execute(select(Schedule).where(Schedule.tenant_id == acme.id)).scalars()
        assert daily["at"] in {row.next_at.isoformat() for row in rows if row.cadence == "daily"}
    assert desk("schedule", "acme", "set", "--clear").code == 0


# A month


def reading(runtime: Runtime, day: date, promise: str, state: State) -> Reading:
    return Reading(
        day=day, pack=promise.split("-")[0], promise=promise, state=state, evidence={},
        at=datetime(day.year, day.month, day.day, 3, tzinfo=UTC),
    )  # fmt: skip


def test_a_day_on_which_nobody_looked_is_named_and_never_counted_as_kept(runtime: Runtime) -> None:
    first = date(2026, 10, 1)
    rows = [
        reading(runtime, first, "mittal-active", State.KEPT),
        reading(runtime, first + timedelta(days=2), "mittal-active", State.BROKEN),
    ]
    (found,) = statements.stated(rows, first, first + timedelta(days=3))
    assert found["days"] == {"kept": 1, "broken": 1}
    assert found["not_looked_at"] == ["2026-10-02", "2026-10-04"]
    assert (found["last"], found["worst"]) == ("broken", "broken")
    assert found["not_kept"] == [{"day": "2026-10-03", "state": "broken"}]


def test_how_promises_stand_is_kept_once_a_day(runtime: Runtime, clock: FakeClock) -> None:
    clock.stop_at(datetime.now(UTC).replace(hour=10))
    count = sum(len(pack.promises) for pack in packs.known(None).values())
    assert statements.keep(runtime) == count
    assert statements.keep(runtime) == 0
    clock.forward(days=1)
    assert statements.keep(runtime) == count


def test_of_a_day_the_worst_is_kept(runtime: Runtime, clock: FakeClock) -> None:
    world = world_of(runtime, clock)
    states = []
    for pending in ("false", "true", "false"):
        world.run("comfile", f"update secrets set pending = {pending} where tenant_id = :tenant")
        statements.keep(world.runtime)
        with runtime.database.session(Role.OPERATOR) as session:
            row = session.query(Reading).filter_by(promise="comfile-encrypted").one()
            states.append(row.state)
    assert states == [State.KEPT, State.BROKEN, State.BROKEN]


def test_a_statement_is_signed_and_verified_without_the_platform(
    desk: Desk, runtime: Runtime, tmp_path: Path, clock: FakeClock
) -> None:
    now = clock.stop_at(datetime.now(UTC))  # as the command, which has a clock of its own
    month = f"{now:%Y-%m}"
    target = tmp_path / "statement.json"
    statement = ("promises", "statement", "--month", month, "--to", target)
    assert desk.refused(*statement) == (2, "nothing-read")
    statements.keep(runtime)
    said = desk.json(*statement)
    signer = records.Signer.from_text(runtime.settings.record_key)
    assert said["key"] == signer.public
    # From here on nothing but the file and a key.
    good = command_line.run("promises", "verify", target, "--key", said["key"], "--json")
    assert (good.code, good.document["state"]) == (0, "kept")
    assert {each["id"] for each in good.document["promises"]} >= {"mittal-absolute"}
    assert command_line.run("promises", "verify", target).code == 3
    assert command_line.run("promises", "verify", target, "--key", "00" * 32).code == 1
    other = records.Signer(b"x" * 32)
    assert command_line.run("promises", "verify", target, "--key", other.public).code == 1
    document: dict[str, Any] = json.loads(target.read_text())
    document["record"]["promises"][0]["last"] = "kept"
    target.write_text(json.dumps(document))
    told = command_line.run("promises", "verify", target, "--key", said["key"], "--json")
    assert (told.code, told.document["state"]) == (1, "wrong")
    assert desk(*statement).code == 2  # a file that is there is not written over


@pytest.mark.parametrize("month", ["2026", "2026-13", "soon", "9998-12"])
def test_a_month_that_is_none_or_still_to_come_is_refused(
    desk: Desk, tmp_path: Path, month: str
) -> None:
    words = ("promises", "statement", "--month", month, "--to", tmp_path / "x")
    assert desk(*words).code == 2
    assert not (tmp_path / "x").exists()


# Changes of a policy


def test_a_policy_that_was_changed_and_not_its_dates_breaks_its_promise(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "packs"
    folder.mkdir()
    text = (packs.SHIPPED / "datacore.toml").read_text(encoding="utf-8")
    text = text.replace('effective = "not-entered"', "effective = 2026-01-01")
    text = text.replace('revised = "not-entered"', "revised = 2026-02-01")
    file = folder / "datacore.toml"
    file.write_text(text, encoding="utf-8")
    own = replace(runtime, settings=replace(runtime.settings, packs=folder))
    pack_changes.put_under(own, acme, "datacore", by=ADA)
    assert promising.states(own)["datacore-revision"] is State.KEPT
    changed = text.replace("every day and every week.", "now and then.")
    file.write_text(changed, encoding="utf-8")
    assert promising.states(own)["datacore-revision"] is State.BROKEN
    file.write_text(changed.replace("2026-02-01", "2026-03-01"), encoding="utf-8")
    assert promising.states(own)["datacore-revision"] is State.KEPT


# The page


def test_the_page_shows_every_promise_with_its_state_in_words(
    runtime: Runtime, clock: FakeClock
) -> None:
    world = world_of(runtime, clock)
    browser = signed_in(world.runtime, People(runtime).staff(StaffRole.PRIVACY)).client
    page = browser.get("/promises").text
    for pack, names in PROMISED.items():
        for name in names.split():
            assert f'id="{pack}-{name}"' in page
    assert "Whatever can be shown is kept." in page
    assert "not built yet" in page
    only = browser.get("/promises?pack=mittal").text
    assert 'id="mittal-absolute"' in only
    assert "disagree" in only
    assert 'id="jhb-2fa"' not in only
    assert browser.get("/promises?pack=nobody").status_code == 200


def test_a_broken_promise_stands_on_top_and_its_evidence_is_one_click_away(
    runtime: Runtime, clock: FakeClock
) -> None:
    world = world_of(runtime, clock)
    world.run("datacore", "update secrets set pending = true where tenant_id = :tenant")
    world.run("comfile", "update secrets set pending = true where tenant_id = :tenant")
    browser = signed_in(world.runtime, People(runtime).staff(StaffRole.OPERATOR)).client
    page = browser.get("/promises?pack=comfile").text
    assert "1 promise is broken." in page
    rows = re.findall(r'<tr role="row" id="([^"]+)"', page)
    assert rows[0] == "comfile-encrypted"
    evidence = browser.get("/promises/comfile-encrypted").text
    assert "Broken: a repository has no password" in evidence
    assert "comfile" in evidence
    assert browser.get("/promises/nobody-knows").status_code == 404


def test_the_page_is_arabic_in_arabic(runtime: Runtime, clock: FakeClock) -> None:
    world = world_of(runtime, clock)
    browser = signed_in(world.runtime, People(runtime).staff(StaffRole.AUDITOR)).client
    for address in ("/promises?lang=ar", "/promises/datacore-integrity?lang=ar"):
        page = browser.get(address).text
        assert 'dir="rtl"' in page
        # the other language's sentence, and the codes of laws and promises, are as they are
        page = re.sub(r'<(p|bdi)[^>]* dir="ltr">.*?</\1>', "", page, flags=re.DOTALL)
        page = re.sub(r'<bdi dir="ltr">.*?</bdi>', "", page, flags=re.DOTALL)
        allowed = {"English", "Person", "TLS", "PIN", "restic", "OpenID", "Connect", "SHA", "Saleh"}
        assert set(LATIN_WORD.findall(visible(page))) <= allowed, address


@pytest.mark.parametrize("role", [StaffRole.SUPPORT, TenantRole.OWNER])
def test_the_register_is_for_staff_who_watch(
    runtime: Runtime, acme: Tenant, role: StaffRole | TenantRole
) -> None:
    people = People(runtime)
    who = people.member(acme, role) if isinstance(role, TenantRole) else people.staff(role)
    browser = signed_in(runtime, who).client
    assert browser.get("/promises").status_code == 403
