"""Support grants, the PIN, and the second contact."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from strongroom.audit import entries
from strongroom.audit.leaves import Channel
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.lifecycle import WrongTurn
from strongroom.people import grants, pins
from strongroom.people.errors import NotAllowed
from strongroom.people.grants import Decider, Wish
from strongroom.people.models import GrantState, SupportGrant
from strongroom.people.rules import GrantScope, StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock
from tests.people.cast import People, Somebody, signed_in

REASON = "طلب 4711: فاتورة مفقودة"


def asked(runtime: Runtime, tenant: Tenant, who: Somebody, **more: float) -> uuid.UUID:
    now = runtime.now()
    wish = Wish(GrantScope.READ, REASON, now + timedelta(**(more or {"hours": 4})))
    with runtime.database.session(Role.PEOPLE, tenant=tenant.id) as db:
        return grants.ask(db, tenant.id, who.account, wish, now=now).id


def standing(runtime: Runtime, tenant: Tenant, who: Somebody) -> GrantScope | None:
    with runtime.database.session(Role.PEOPLE) as db:
        return grants.standing(db, tenant.id, who.account.id, now=runtime.now())


def test_support_sees_a_tenant_only_while_a_grant_stands(
    runtime: Runtime, acme: Tenant, bolt: Tenant, clock: FakeClock
) -> None:
    people = People(runtime)
    sami, owner = people.staff(StaffRole.SUPPORT), people.member(acme, TenantRole.OWNER)
    support, tenant = signed_in(runtime, sami), signed_in(runtime, owner)
    assert support.get("/t/acme/").status_code == 403

    fields = {"tenant": "acme", "scope": "read", "hours": "1", "reason": REASON}
    assert support.post("/support/grants", on="/support/", **fields).status_code == 303
    assert support.get("/t/acme/").status_code == 403
    page = tenant.get("/t/acme/access").text
    assert REASON in page
    decide = re.search(r"/t/acme/access/grants/[\w-]+/decide", page)
    assert decide is not None
    assert tenant.post(decide[0], on="/t/acme/access", answer="yes").status_code == 303

    assert support.get("/t/acme/").status_code == 200
    assert support.get("/t/bolt/").status_code == 403
    assert "<li>has access" in tenant.get("/t/acme/access").text
    clock.forward(hours=1, minutes=1)
    assert signed_in(runtime, sami).get("/t/acme/").status_code == 403
    assert "<li>has access" not in signed_in(runtime, owner).get("/t/acme/access").text


def test_what_support_looks_at_by_a_grant_is_on_record(runtime: Runtime, acme: Tenant) -> None:
    people = People(runtime)
    sami, owner = people.staff(StaffRole.SUPPORT), people.member(acme, TenantRole.OWNER)
    grant, now = asked(runtime, acme, sami), runtime.now()
    with runtime.database.session(Role.PEOPLE, tenant=acme.id) as db:
        row = db.get_one(SupportGrant, grant)
        grants.decide(db, row, Decider(owner.account, True), yes=True, now=now)
    support, tenant = signed_in(runtime, sami), signed_in(runtime, owner)
    for page in ("/t/acme/", "/t/acme/", "/t/acme/points"):
        support.get(page)
        tenant.get(page)
    with runtime.database.session(Role.OPERATOR) as session:
        looked = [row for row in entries.on_subject(session, "tenants", acme.id) if row.about_id]
        moves = [row.code for row in entries.on_subject(session, "support_grants", grant)]
    used = [row for row in looked if row.code == "grants.used"]
    assert {row.by for row in used} == {f"person:{sami.account.id}"}
    assert [row.channel for row in used] == [Channel.PAGE] * len(used)
    views = [(row.details or {})["view"] for row in used]
    assert views
    assert len(views) == len(set(views))  # however often a page renews itself
    assert all((row.details or {})["address"] == "127.0.0.1" for row in used)
    assert sorted(moves) == ["support-grants.asked", "support-grants.open"]


def test_who_asked_never_decides_and_the_database_says_so_too(
    runtime: Runtime, acme: Tenant
) -> None:
    ada = People(runtime).staff(StaffRole.OPERATOR)
    grant = asked(runtime, acme, ada)
    page = signed_in(runtime, ada)

    assert (
        page.post(f"/support/grants/{grant}/decide", on="/support/", answer="yes").status_code
        == 403
    )
    with runtime.database.session(Role.PEOPLE, tenant=acme.id) as db, pytest.raises(NotAllowed):
        row = db.get_one(SupportGrant, grant)
        grants.decide(db, row, Decider(ada.account, False), yes=True, now=runtime.now())
    forced = "update support_grants set state = 'open', decided_by = account_id"
    with pytest.raises(IntegrityError), runtime.database.session(Role.PEOPLE, tenant=acme.id) as db:
        db.execute(text(forced))
    assert standing(runtime, acme, ada) is None


def test_a_second_operator_decides_and_the_tenant_sees_who_did(
    runtime: Runtime, acme: Tenant
) -> None:
    people = People(runtime)
    sami, ada = people.staff(StaffRole.SUPPORT), people.staff(StaffRole.OPERATOR)
    grant = asked(runtime, acme, sami)

    done = signed_in(runtime, ada).post(
        f"/support/grants/{grant}/decide", on="/support/", answer="yes"
    )

    assert done.status_code == 303
    assert standing(runtime, acme, sami) is GrantScope.READ
    viewer = signed_in(runtime, people.member(acme, TenantRole.VIEWER, app=False), proofs=("pwd",))
    assert "decided by a second operator" in viewer.get("/t/acme/access").text


def test_deciding_takes_a_step_up_and_no_other_role(runtime: Runtime, acme: Tenant) -> None:
    people = People(runtime)
    grant = asked(runtime, acme, people.staff(StaffRole.SUPPORT))
    owner = people.member(acme, TenantRole.OWNER)
    theirs = f"/t/acme/access/grants/{grant}/decide"

    stale = signed_in(runtime, owner, stepped_up=False)
    sent = stale.post(theirs, on="/t/acme/access", answer="yes")
    assert sent.headers["Location"] == "/step-up?next=/t/acme/access&for=decide-grant"
    viewer = people.member(acme, TenantRole.VIEWER)
    assert signed_in(runtime, viewer).post(theirs, on="/account/", answer="yes").status_code == 403
    for role in (StaffRole.READER, StaffRole.SUPPORT, StaffRole.AUDITOR):
        page = signed_in(runtime, people.staff(role))
        ours = f"/support/grants/{grant}/decide"
        assert page.post(ours, on="/support/", answer="yes").status_code == 403


def test_a_grant_is_decided_once_and_ends_when_the_tenant_says_so(
    runtime: Runtime, acme: Tenant
) -> None:
    people = People(runtime)
    sami, owner = people.staff(StaffRole.SUPPORT), people.member(acme, TenantRole.OWNER)
    grant, page = asked(runtime, acme, sami), signed_in(runtime, owner)
    where = f"/t/acme/access/grants/{grant}"
    page.post(f"{where}/decide", on="/t/acme/access", answer="yes")

    assert page.post(f"{where}/decide", on="/t/acme/access", answer="no").status_code == 409
    assert standing(runtime, acme, sami) is GrantScope.READ
    assert page.post(f"{where}/end", on="/t/acme/access").status_code == 303
    assert standing(runtime, acme, sami) is None
    with runtime.database.session(Role.PEOPLE, tenant=acme.id) as db:
        steps = db.execute(
            text("select old, new from steps where row_id = :id order by id"), {"id": grant}
        ).all()
        row = db.get_one(SupportGrant, grant)
        with pytest.raises(WrongTurn):
            grants.end(db, row, by=people_actor(owner), now=runtime.now())
    assert [tuple(step) for step in steps] == [
        ("none", "asked"),
        ("asked", "open"),
        ("open", "ended"),
    ]


def people_actor(who: Somebody) -> grants.Actor:
    return grants.Actor.of_person(who.account.id)


def test_an_ended_wish_cannot_be_allowed_and_odd_wishes_are_refused(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    people = People(runtime)
    sami, owner = people.staff(StaffRole.SUPPORT), people.member(acme, TenantRole.OWNER)
    grant = asked(runtime, acme, sami)
    clock.forward(hours=5)

    with runtime.database.session(Role.PEOPLE, tenant=acme.id) as db, pytest.raises(BadValue):
        row = db.get_one(SupportGrant, grant)
        grants.decide(db, row, Decider(owner.account, True), yes=True, now=runtime.now())
    for odd in ({"hours": 0}, {"days": 8}):
        with pytest.raises(BadValue):
            asked(runtime, acme, sami, **odd)


def test_no_state_of_a_grant_but_open_stands() -> None:
    for state in GrantState:
        row = SupportGrant(state=state, until=pins.datetime.max.replace(tzinfo=pins.UTC))
        now = pins.datetime(2026, 1, 1, tzinfo=pins.UTC)
        assert grants.stands(row, now=now) is (state is GrantState.OPEN)


def digits(runtime: Runtime, tenant: Tenant) -> str:
    with runtime.database.session(Role.PEOPLE, tenant=tenant.id) as db:
        return pins.shown(db, runtime.vault.provider, tenant.id, now=runtime.now()).digits


def test_the_tenants_admins_see_the_pin_and_staff_can_only_check_it(
    runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    people = People(runtime)
    pin = digits(runtime, acme)
    shown = f"{pin[:3]} {pin[3:]}"
    for role in TenantRole:
        page = signed_in(runtime, people.member(acme, role)).get("/t/acme/access").text
        assert (shown in page) is (role is not TenantRole.VIEWER), role
    sami = signed_in(runtime, people.staff(StaffRole.SUPPORT))
    assert shown not in sami.get("/t/acme/access").text
    assert pin not in sami.get("/support/").text

    right = sami.post("/support/pin", on="/support/", tenant="acme", pin=shown)
    elsewhere = sami.post("/support/pin", on="/support/", tenant="bolt", pin=shown)

    assert (right.status_code, elsewhere.status_code) == (200, 422)


def test_a_pin_changes_and_the_one_before_is_taken_for_half_an_hour(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(clock().replace(minute=5))
    sami, pin = People(runtime).staff(StaffRole.SUPPORT), digits(runtime, acme)

    def taken() -> bool:
        with runtime.database.session(Role.PEOPLE, tenant=acme.id) as db:
            return pins.check(
                db, runtime.vault.provider, acme.id, pin, by=sami.account, now=runtime.now()
            )

    assert taken()
    clock.forward(minutes=30)
    assert digits(runtime, acme) != pin
    assert taken()
    clock.forward(minutes=30)
    assert not taken()


def test_a_pin_cannot_be_guessed(runtime: Runtime, acme: Tenant, clock: FakeClock) -> None:
    clock.stop_at(clock().replace(minute=5))
    people = People(runtime)
    pin = digits(runtime, acme)
    wrong = f"{(int(pin) + 500_000) % 1_000_000:06d}"
    one = signed_in(runtime, people.staff(StaffRole.SUPPORT))
    other = signed_in(runtime, people.staff(StaffRole.OPERATOR))

    def tried(typed: str, by: object) -> int:
        page = one if by == "one" else other
        fields = {"tenant": "acme", "pin": typed}
        return page.post("/support/pin", on="/support/", **fields).status_code

    assert [tried(wrong, "one") for _ in range(3)] == [422] * 3
    assert [tried(wrong, "other") for _ in range(3)] == [422, 422, 429]
    assert tried(pin, "one") == 429  # also the right one has to wait
    clock.forward(minutes=16)
    assert tried(pin, "one") == 200


def test_the_second_contact_is_set_by_an_admin_after_a_step_up(
    runtime: Runtime, acme: Tenant
) -> None:
    people = People(runtime)
    admin = signed_in(runtime, people.member(acme, TenantRole.ADMIN))
    fields = {"name": "Dina", "email": "Dina@Example.org", "phone": "+971 4 000"}

    done = admin.post("/t/acme/access/contact", on="/t/acme/access", **fields)

    assert done.status_code == 303
    page = admin.get("/t/acme/access").text
    assert "dina@example.org" in page
    odd = admin.post("/t/acme/access/contact", on="/t/acme/access", name="", email="x")
    assert odd.status_code == 422


def test_an_owner_lets_somebody_in_and_the_last_owner_stays(runtime: Runtime, acme: Tenant) -> None:
    people = People(runtime)
    who = people.member(acme, TenantRole.OWNER)
    owner = signed_in(runtime, who)
    fields = {"name": "Dina", "email": "dina@example.org", "role": "viewer"}

    page = owner.post("/t/acme/access/members", on="/t/acme/access", **fields).text
    staff = people.staff(StaffRole.SUPPORT)
    refused = owner.post(
        "/t/acme/access/members", on="/t/acme/access", **(fields | {"email": staff.email})
    )
    last = owner.post(f"/t/acme/access/members/{who.account.id}/remove", on="/t/acme/access")

    assert re.search(r"http://localhost/link/[\w-]{43}", page)
    assert refused.status_code == 422
    assert last.status_code == 409
