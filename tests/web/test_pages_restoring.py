"""Seeing what a restore would do, confirming it, watching it, and undoing it, as a browser does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from backup.models import BackupRun, Point, Source
from restore import foreseen, restoring
from restore.conflicts import Code
from restore.estimates import Basis
from restore.going import Phase
from restore.models import Restore
from restore.preview import Change
from restore.states import Destination, RestoreState
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people import grants
from strongroom.people.grants import Decider, Wish
from strongroom.people.rules import GrantScope, StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import set_policy
from tests.cast import back_up, rows_of
from tests.people.cast import Browser, People, Somebody, Statements, signed_in
from tests.restore.asking import stored
from web.pages import restore_words, words

SECRET = "salaries-2026.txt"  # a name that not everybody may see


@dataclass
class Office:
    """A folder of Acme with a point of it, and somebody before the page."""

    runtime: Runtime
    tenant: Tenant
    source: Source
    folder: Path
    point: Point
    owner: Somebody
    browser: Browser

    def choose(self, *paths: str, browser: Browser | None = None) -> TestResponse:
        fields = {"point": str(self.point.number), "source": str(self.source.id)}
        return self.post("choose", browser=browser, path=list(paths), **fields)

    def post(
        self, what: str | UUID, deed: str = "", *, browser: Browser | None = None, **fields: Any
    ) -> TestResponse:
        who = browser or self.browser
        on = "/t/acme/restores" if what == "choose" else f"/t/acme/restores/{what}"
        address = f"/t/acme/restores/{what}" + (f"/{deed}" if deed else "")
        data = {"csrf": who.token_of("/account/"), "page": on, **fields}
        return who.client.post(address, data=data)

    def plan(self, *paths: str, to: str = "aside") -> UUID:
        """Made, and carried out."""
        made = id_of(self.choose(*paths))
        if to != "aside":
            made = id_of(self.post(made, "to", destination=to))
        return self.work(made)

    def work(self, restore_id: UUID) -> UUID:
        restoring.carry_out(self.runtime, self.tenant.id, restore_id)
        return restore_id

    def confirm(self, plan: UUID, **fields: Any) -> TestResponse:
        row = self.row(plan)
        in_place = row.destination is Destination.IN_PLACE
        deed = "confirm-undo" if row.undoes_id else "confirm-in-place" if in_place else "confirm"
        return self.post(plan, deed, **({"typed": "acme"} if in_place else {}) | fields)

    def page(self, restore_id: UUID, browser: Browser | None = None) -> str:
        answer = (browser or self.browser).get(f"/t/acme/restores/{restore_id}")
        assert answer.status_code == 200, answer.status_code
        return answer.text

    def row(self, restore_id: UUID) -> Restore:
        [row] = rows_of(self.runtime, self.tenant, Restore, Restore.id == restore_id)
        assert isinstance(row, Restore)
        return row

    def restores(self) -> Sequence[Restore]:
        return rows_of(self.runtime, self.tenant, Restore, Restore.dry_run.is_(False))

    def as_(self, who: Somebody) -> Browser:
        return signed_in(self.runtime, who)


def id_of(answer: TestResponse) -> UUID:
    """Of the restore to whose page we are sent."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    return UUID(answer.headers["Location"].rpartition("/")[2])


@pytest.fixture
def office(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Office:
    folder = tmp_path / "srv" / "office"
    cast.fill(folder)
    (folder / SECRET).write_text("1000")
    source = cast.add_folder(runtime, acme, folder)
    owner = People(runtime).member(acme, TenantRole.OWNER)
    return Office(
        *(runtime, acme, source, folder, stored(runtime, acme), owner),
        browser=signed_in(runtime, owner),
    )


def damage(office: Office) -> None:
    (office.folder / SECRET).write_text("1")
    (office.folder / "letters" / "0.txt").unlink()
    (office.folder / "letters" / "since.txt").write_text("written since")


def test_what_was_chosen_becomes_a_plan_that_says_what_would_happen(office: Office) -> None:
    damage(office)
    chosen = id_of(office.choose())
    assert "Looking what would change" in office.page(chosen)
    assert 'data-seconds="2"' in office.page(chosen)

    plan = office.work(id_of(office.post(chosen, "to", destination="in-place")))
    page = office.page(plan)

    said = office.row(plan).report or {}
    assert (said["would_change"], said["would_delete"], said["unchanged"] > 0) == (1, 1, True)
    assert said["named"]["deleted"] == ["/letters/since.txt"]
    assert f"/{SECRET}" in said["named"]["changed"]
    assert f"/{SECRET}" in page
    assert "letters/since.txt" in page
    assert "a guess: nothing was measured yet" in page
    assert 'id="moving"' not in page
    assert office.restores() == []
    assert (office.folder / SECRET).read_text() == "1"


def test_in_place_and_back_again_from_the_page(office: Office) -> None:
    damage(office)
    plan = office.plan(to="in-place")
    done = office.work(id_of(office.confirm(plan, reason="somebody deleted a letter")))
    page = office.page(done)

    assert (office.folder / SECRET).read_text() == "1000"
    assert "What came back" in page
    assert "somebody deleted a letter" in page
    assert office.owner.account.name in page
    undoing = office.work(id_of(office.post(done, "undo")))
    assert office.row(undoing).dry_run
    assert "What undoing would do" in office.page(undoing)
    undone = office.work(id_of(office.confirm(undoing)))

    assert (office.folder / SECRET).read_text() == "1"
    assert (office.folder / "letters" / "since.txt").exists()
    assert "This was undone" in office.page(done)
    assert office.row(undone).undoes_id == done


def test_a_plan_that_is_confirmed_twice_makes_one_restore(office: Office) -> None:
    plan = office.plan()

    first, second = office.confirm(plan), office.confirm(plan)

    assert id_of(first) == id_of(second)
    assert [row.plan_id for row in office.restores()] == [plan]


def test_what_is_restored_comes_from_the_plan_and_not_from_a_form(office: Office) -> None:
    plan = office.plan(f"/{SECRET}")

    made = id_of(office.confirm(plan, path="/letters", point="99", destination="in-place"))

    row = office.row(made)
    assert (row.paths, row.destination, row.point_id) == (
        [f"/{SECRET}"],
        Destination.ASIDE,
        office.point.id,
    )


def test_in_place_without_the_account_id_is_an_ordinary_mistake(office: Office) -> None:
    plan = office.plan(to="in-place")

    for typed in ("", "acm", "bolt", "acme x", office.tenant.name):
        answer = office.confirm(plan, typed=typed)
        assert answer.status_code == 422, typed
        assert "What you typed is not the account id." in answer.text
        assert 'aria-invalid="true"' in answer.text
    assert office.restores() == []


def test_the_account_id_may_be_typed_in_any_case(office: Office) -> None:
    plan = office.plan(to="in-place")

    assert "type the account id exactly as it stands here:" in office.page(plan)
    assert office.confirm(plan, typed=" ACME ").status_code == 303


def test_in_place_asks_for_a_fresh_proof_and_comes_back_to_the_plan(office: Office) -> None:
    plan = office.plan(to="in-place")
    stale = signed_in(office.runtime, office.owner, stepped_up=False)

    answer = office.post(plan, "confirm-in-place", browser=stale, typed="acme")

    assert answer.status_code == 303
    assert answer.headers["Location"].endswith(f"next=/t/acme/restores/{plan}&for=restore-in-place")
    assert "Prove that it is you" in office.page(plan, stale)
    assert office.restores() == []


def test_a_plan_for_in_place_is_not_confirmed_by_the_way_without_a_proof(office: Office) -> None:
    plan = office.plan(to="in-place")

    answer = office.post(plan, "confirm", typed="acme")

    assert answer.status_code == 404
    assert office.restores() == []


def test_a_plan_holds_for_an_hour(office: Office) -> None:
    plan = office.plan()
    office.runtime.clock.forward(minutes=61)  # type: ignore[attr-defined]  # the tests' clock
    office.browser = signed_in(office.runtime, office.owner)

    answer = office.confirm(plan)

    assert answer.status_code == 409
    assert "This preview no longer holds" in answer.text
    assert office.restores() == []
    again = office.work(id_of(office.post(plan, "to")))
    assert office.confirm(again).status_code == 303


def test_a_plan_no_longer_holds_once_another_restore_changed_what_it_saw(office: Office) -> None:
    early, late = office.plan(to="in-place"), office.plan(to="in-place")
    office.work(id_of(office.confirm(late)))

    assert office.confirm(early).status_code == 409
    assert len(office.restores()) == 1


def test_a_viewer_restores_nothing_and_sees_no_path(office: Office) -> None:
    plan = office.plan()
    done = office.work(id_of(office.confirm(plan)))
    viewer = office.as_(People(office.runtime).member(office.tenant, TenantRole.VIEWER))
    before = len(rows_of(office.runtime, office.tenant, Restore))

    answers = [office.choose(browser=viewer)]
    for row in (plan, done):
        answers += [
            office.post(row, deed, browser=viewer, typed="acme")
            for deed in ("to", "undo", "confirm", "cancel", "approve", "decline")
        ]
        answers += [
            office.post(row, deed, browser=viewer, typed="acme")
            for deed in ("confirm-in-place", "confirm-undo")
        ]
        answers += [viewer.get(f"/t/acme/restores/{row}{more}") for more in ("", "/evidence.json")]
    answers.append(viewer.get("/t/acme/restores"))

    assert {answer.status_code for answer in answers} == {403}
    assert all(SECRET not in answer.text for answer in answers)
    assert len(rows_of(office.runtime, office.tenant, Restore)) == before


def test_staff_see_what_was_done_and_no_name_of_the_tenants(office: Office) -> None:
    damage(office)
    plan = office.plan(f"/{SECRET}", to="in-place")
    done = office.work(id_of(office.confirm(plan)))

    for role in (StaffRole.OPERATOR, StaffRole.AUDITOR, StaffRole.PRIVACY):
        staff = office.as_(People(office.runtime).staff(role))
        for row in (plan, done):
            page = office.page(row, staff) + staff.get(f"/t/acme/restores/{row}/evidence.json").text
            assert SECRET not in page
            assert str(office.folder) not in page
    assert SECRET in office.browser.get(f"/t/acme/restores/{plan}/evidence.json").text


def granted(office: Office, scope: GrantScope) -> Browser:
    support = People(office.runtime).staff(StaffRole.SUPPORT)
    now = office.runtime.now()
    with office.runtime.database.session(Role.PEOPLE, tenant=office.tenant.id) as db:
        wish = Wish(scope, "ticket 12: a letter is missing", now + timedelta(hours=1))
        row = grants.ask(db, office.tenant.id, support.account, wish, now=now)
        decider = Decider(office.owner.account, for_tenant=True)
        grants.decide(db, row, decider, yes=True, now=now)
    return office.as_(support)


def test_support_restores_with_a_grant_for_that_and_is_named(office: Office) -> None:
    reading = granted(office, GrantScope.READ)
    plan = office.plan()
    assert office.post(plan, "confirm", browser=reading).status_code == 403
    assert office.choose(browser=reading).status_code == 303

    restoring_one = granted(office, GrantScope.RESTORE)
    made = office.row(id_of(office.post(plan, "confirm", browser=restoring_one)))

    assert made.asked_by.startswith("person:")
    assert made.asked_by != office.row(plan).asked_by
    assert "our staff" in office.page(made.id)


def test_another_tenants_restores_are_as_good_as_none(office: Office, bolt: Tenant) -> None:
    plan = office.plan()
    done = office.work(id_of(office.confirm(plan)))
    other = signed_in(office.runtime, People(office.runtime).member(bolt, TenantRole.OWNER))
    token = other.token_of("/account/")
    deeds = ("to", "undo", "confirm", "confirm-in-place", "confirm-undo", "cancel", "approve")

    for deed in ("", "/evidence.json", *(f"/{each}" for each in (*deeds, "decline"))):
        answers = set()
        for row in (plan, done, new_id()):
            address = f"/t/bolt/restores/{row}{deed}"
            with Statements(office.runtime) as statements:
                if deed in ("", "/evidence.json"):
                    answer = other.client.get(address)
                else:
                    answer = other.client.post(address, data={"csrf": token, "typed": "bolt"})
            text = answer.text.replace(str(row), "")
            answers.add((answer.status_code, text, len(statements.sent)))
        assert len(answers) == 1, deed
        assert answers.pop()[0] == 404, deed


def test_a_point_of_another_tenant_makes_no_plan(office: Office, bolt: Tenant) -> None:
    other = signed_in(office.runtime, People(office.runtime).member(bolt, TenantRole.OWNER))
    data = {
        "csrf": other.token_of("/account/"),
        "point": str(office.point.number),
        "source": str(office.source.id),
    }

    assert other.client.post("/t/bolt/restores/choose", data=data).status_code == 404
    assert rows_of(office.runtime, bolt, Restore) == []


def test_a_large_restore_in_place_waits_for_somebody_else(office: Office) -> None:
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=10)
    plan = office.plan(to="in-place")
    assert "another owner or admin has to allow it" in office.page(plan)
    asked = id_of(office.confirm(plan))
    office.work(asked)
    assert office.row(asked).state is RestoreState.ASKED

    own = office.post(asked, "approve")
    assert own.status_code == 409
    assert "You asked for this restore yourself." in own.text
    assert "Allow it" not in office.page(asked)
    admin = office.as_(People(office.runtime).member(office.tenant, TenantRole.ADMIN))
    assert "Allow it" in office.page(asked, admin)
    assert "waits for a second person" in office.browser.get("/t/acme/restores").text
    assert office.post(asked, "approve", browser=admin).status_code == 303
    office.work(asked)

    assert office.row(asked).state is RestoreState.DONE
    assert office.row(asked).decided_by not in (None, office.row(asked).asked_by)


def test_a_small_point_in_place_of_much_more_waits_for_somebody_else(office: Office) -> None:
    (office.folder / "large.bin").write_bytes(bytes(range(256)) * 400)
    back_up(office.runtime, office.tenant)
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=50_000)
    plan = office.plan(to="in-place")

    assert "another owner or admin has to allow it" in office.page(plan)
    assert office.row(id_of(office.confirm(plan))).state is RestoreState.ASKED


def test_what_the_second_person_refuses_is_not_done(office: Office) -> None:
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=10)
    damage(office)
    asked = id_of(office.confirm(office.plan(to="in-place")))
    admin = office.as_(People(office.runtime).member(office.tenant, TenantRole.ADMIN))

    office.post(asked, "decline", browser=admin)
    office.work(asked)

    assert office.row(asked).state is RestoreState.DECLINED
    assert (office.folder / SECRET).read_text() == "1"
    assert office.post(asked, "approve", browser=admin).status_code == 409


def test_a_small_restore_and_one_aside_ask_nobody_else(office: Office) -> None:
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=10)
    aside = office.row(id_of(office.confirm(office.plan())))
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=10**9)
    small = office.row(id_of(office.confirm(office.plan(to="in-place"))))

    assert {aside.state, small.state} == {RestoreState.WAITING}


def test_undoing_a_small_part_of_a_large_source_waits_for_somebody_else(office: Office) -> None:
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=10)
    (office.folder / SECRET).write_text("1")
    done = office.work(id_of(office.confirm(office.plan(f"/{SECRET}", to="in-place"))))
    assert office.row(done).state is RestoreState.DONE

    undoing = office.work(id_of(office.post(done, "undo")))
    assert "another owner or admin has to allow it" in office.page(undoing)
    undone = id_of(office.confirm(undoing))

    assert office.row(undone).state is RestoreState.ASKED


def test_a_restore_that_waits_is_cancelled_from_its_page(office: Office) -> None:
    made = id_of(office.confirm(office.plan()))
    assert "Cancel" in office.page(made)

    office.post(made, "cancel")
    office.work(made)

    assert office.row(made).state is RestoreState.CANCELLED
    assert office.post(made, "cancel").status_code == 409


def test_a_restore_cannot_be_undone_after_seven_days(office: Office) -> None:
    done = office.work(id_of(office.confirm(office.plan(to="in-place"))))
    office.runtime.clock.forward(days=7, minutes=1)  # type: ignore[attr-defined]
    office.browser = signed_in(office.runtime, office.owner)

    assert "seven days, and they are over" in office.page(done)
    answer = office.post(done, "undo")

    assert answer.status_code == 409
    assert len(rows_of(office.runtime, office.tenant, Restore)) == 3  # two plans, one restore


def test_progress_is_shown_and_the_page_comes_anew_at_the_end(office: Office) -> None:
    made = id_of(office.confirm(office.plan()))
    with office.runtime.database.session(Role.WORKER, tenant=office.tenant.id) as session:
        row = session.get_one(Restore, made)
        row.phase = "fetching"
        row.progress = {"percent": 42, "bytes": 4200, "total": 9000, "rate": 100.0, "left": 48.0}

    page = office.page(made)
    assert 'value="42"' in page
    assert "4.1 KiB" in page
    assert 'aria-live="polite">fetching 25%' in page.replace("\n", "")
    with office.runtime.database.session(Role.WORKER, tenant=office.tenant.id) as session:
        row, run = session.get_one(Restore, made), session.get_one(BackupRun, office.point.id)
        row.phase, row.safety_run_id = "safety-point", run.id
        run.progress = {"percent": 77, "bytes": 7700, "total": 10_000}
    assert 'value="77"' in office.page(made)
    with office.runtime.database.session(Role.WORKER, tenant=office.tenant.id) as session:
        row = session.get_one(Restore, made)
        row.phase = row.safety_run_id = None
    office.work(made)

    part = office.browser.get(f"/t/acme/restores/{made}", headers={"HX-Request": "true"})
    assert part.headers["HX-Refresh"] == "true"


def test_the_evidence_says_who_what_why_and_how_it_is_known(office: Office) -> None:
    plan = office.plan(to="in-place")
    done = office.work(id_of(office.confirm(plan, reason="month end")))

    answer = office.browser.get(f"/t/acme/restores/{done}/evidence.json")
    document = json.loads(answer.text)

    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert document["reason"] == "month end"
    assert document["asked_by"] == f"person:{office.owner.account.id}"
    assert document["plan"]["plan"] == str(plan)
    assert document["report"]["proof"]["by"] == "content-hashes"
    assert document["safety_point"]
    assert [step["because"] for step in document["steps"]] == ["restore-asked", "taken", "restored"]


HOSTILE = ("<script>alert(1)", "\u202egnp.exe", "two\nlines", "=1+1", "x" * 240)


def test_hostile_names_harm_no_page(office: Office) -> None:
    for name in HOSTILE:
        (office.folder / name).write_text("hostile")
    office.point = stored(office.runtime, office.tenant)
    for name in HOSTILE:
        (office.folder / name).unlink()
    paths = [f"/{name}".replace("\n", "%0A") for name in HOSTILE]
    plan = office.plan(*paths, to="in-place")
    made = office.work(id_of(office.confirm(plan)))

    for row in (plan, made):
        page = office.page(row)
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "two\\nlines" in page
    assert all((office.folder / name).exists() for name in HOSTILE)


def test_a_path_that_no_browser_sends_is_refused(office: Office) -> None:
    for path in ("/../etc/passwd", "letters", "/a%00b"):
        assert office.choose(path).status_code in (404, 409, 422)
    assert rows_of(office.runtime, office.tenant, Restore) == []


def test_every_code_of_a_restore_is_said() -> None:
    assert set(restore_words.STATES) == set(restore_words.MARKS) == set(RestoreState)
    assert set(restore_words.DESTINATIONS) == set(Destination)
    assert set(restore_words.CONFLICTS) == set(Code)
    assert set(restore_words.BASES) == set(Basis)
    assert set(Phase) <= set(words.PHASES)
    assert set(Change) | set(foreseen.KINDS) == set(restore_words.CHANGES)


def test_in_arabic_from_right_to_left(office: Office) -> None:
    plan = office.plan(to="in-place")
    done = office.work(id_of(office.confirm(plan)))

    for address in (f"/{plan}", f"/{done}", ""):
        page = office.browser.get(f"/t/acme/restores{address}?lang=ar").text
        assert 'dir="rtl"' in page
        assert len(page) < 60_000
