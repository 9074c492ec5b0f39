"""A second person allows what could be asked for now as well: what has changed meanwhile counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from backup.models import Copy, Snapshot, Source
from backup.states import CopyState
from restore.states import RestoreState
from strongroom.db import Role
from strongroom.people import accounts, grants
from strongroom.people.grants import Decider, Wish
from strongroom.people.models import Account, SupportGrant
from strongroom.people.rules import GrantScope, StaffRole, TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.backup.vaults import set_policy
from tests.people.cast import SOMEBODY, People, Somebody, signed_in
from tests.restore.asking import carry_out, current, stored
from tests.web.test_pages_restoring import Office, id_of

NO_RIGHT = "The person who asked for this restore is no longer allowed to restore"


@pytest.fixture
def office(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Office:
    """Where any restore in place waits for somebody else."""
    folder = tmp_path / "srv" / "office"
    cast.fill(folder)
    source = cast.add_folder(runtime, acme, folder)
    people = People(runtime)
    people.member(acme, TenantRole.OWNER)  # a tenant keeps one
    owner = people.member(acme, TenantRole.OWNER)
    set_policy(runtime, acme, last=5, approve_restore_bytes=1)
    point = stored(runtime, acme)
    return Office(runtime, acme, source, folder, point, owner, signed_in(runtime, owner))


def asked(office: Office) -> UUID:
    made = id_of(office.confirm(office.plan(to="in-place")))
    assert office.row(made).state is RestoreState.ASKED
    return made


def allowing(office: Office, made: UUID) -> tuple[int, str]:
    """What another admin gets who allows it."""
    admin = office.as_(People(office.runtime).member(office.tenant, TenantRole.ADMIN))
    answer = office.post(made, "approve", browser=admin)
    return answer.status_code, answer.text


def leave(office: Office) -> None:
    with office.runtime.database.session(Role.PEOPLE, tenant=office.tenant.id) as db:
        row = accounts.membership(db, office.tenant.id, office.owner.account.id)
        assert row is not None
        assert accounts.leave(db, row, by=SOMEBODY, now=office.runtime.now())


def become_viewer(office: Office) -> None:
    People(office.runtime).join(office.owner, office.tenant, TenantRole.VIEWER)


def disable(office: Office) -> None:
    with office.runtime.database.session(Role.PEOPLE) as db:
        account = db.get_one(Account, office.owner.account.id)
        accounts.disable(db, account, by=SOMEBODY, now=office.runtime.now())


@pytest.mark.parametrize("lose", [leave, become_viewer, disable])
def test_what_somebody_asked_for_is_not_allowed_once_they_may_not(
    office: Office, lose: Callable[[Office], None]
) -> None:
    made = asked(office)
    lose(office)

    status, page = allowing(office, made)

    assert (status, NO_RIGHT in page) == (409, True)
    assert office.row(made).state is RestoreState.ASKED  # to be refused


def test_what_a_supporter_asked_for_is_not_allowed_after_their_grant(office: Office) -> None:
    office.browser = signed_in(office.runtime, supporter(office))
    made = asked(office)
    with office.runtime.database.session(Role.PEOPLE, tenant=office.tenant.id) as db:
        grants.end(db, db.query(SupportGrant).one(), by=SOMEBODY, now=office.runtime.now())

    status, page = allowing(office, made)

    assert (status, NO_RIGHT in page) == (409, True)


def supporter(office: Office) -> Somebody:
    support, now = People(office.runtime).staff(StaffRole.SUPPORT), office.runtime.now()
    wish = Wish(GrantScope.RESTORE, "they cannot find a letter", now + grants.LONGEST)
    with office.runtime.database.session(Role.PEOPLE, tenant=office.tenant.id) as db:
        row = grants.ask(db, office.tenant.id, support.account, wish, now=now)
        decider = Decider(office.owner.account, for_tenant=True)
        grants.decide(db, row, decider, yes=True, now=now)
    return support


def test_what_another_restore_has_overtaken_is_not_allowed(office: Office) -> None:
    early, late = office.plan(to="in-place"), office.plan(to="in-place")
    early, late = id_of(office.confirm(early)), id_of(office.confirm(late))
    assert allowing(office, late)[0] == 303
    assert carry_out(office.runtime, office.row(late)).state is RestoreState.DONE

    status, page = allowing(office, early)

    assert (status, "Another restore has replaced these data" in page) == (409, True)


def test_a_restore_of_a_point_that_went_is_not_allowed(office: Office) -> None:
    made = asked(office)
    with office.runtime.database.session(Role.WORKER, tenant=office.tenant.id) as db:
        db.execute(update(Copy).values(state=CopyState.REMOVED))
        db.execute(update(Snapshot).values(forgotten_at=office.runtime.now()))

    status, page = allowing(office, made)

    assert (status, "This point no longer has the data" in page) == (409, True)


def test_a_restore_over_a_source_that_was_taken_out_is_not_allowed(office: Office) -> None:
    made = asked(office)
    office.runtime.clock.forward(minutes=1)  # type: ignore[attr-defined]  # the tests' clock
    with office.runtime.database.session(Role.OPERATOR, tenant=office.tenant.id) as db:
        db.execute(update(Source).values(removed_at=office.runtime.now()))

    status, page = allowing(office, made)

    assert (status, "taken out of the backups" in page) == (409, True)


def test_an_undo_is_not_allowed_after_its_seven_days(office: Office) -> None:
    """It was asked for in the last hour of them, and somebody looked at it only after."""
    done = done_alone(office)
    office.runtime.clock.forward(days=6, hours=23)  # type: ignore[attr-defined]
    office.browser = signed_in(office.runtime, office.owner)
    limit(office, 1)
    undo = office.confirm(office.work(id_of(office.post(done, "undo"))))
    office.runtime.clock.forward(hours=2)  # type: ignore[attr-defined]

    status, page = allowing(office, id_of(undo))

    assert (status, "The state before was kept for seven days" in page) == (409, True)


def test_an_undo_that_still_holds_is_allowed(office: Office) -> None:
    done = done_alone(office)
    limit(office, 1)
    undo = asked_undo(office, done)

    assert allowing(office, undo)[0] == 303
    assert current(office.runtime, office.row(undo)).state is RestoreState.WAITING


def limit(office: Office, size: int | None) -> None:
    """Of what one person restores alone, from now on."""
    set_policy(office.runtime, office.tenant, last=5, approve_restore_bytes=size)


def done_alone(office: Office) -> UUID:
    limit(office, None)
    done = office.work(id_of(office.confirm(office.plan("/letters/0.txt", to="in-place"))))
    assert office.row(done).state is RestoreState.DONE
    return done


def asked_undo(office: Office, done: UUID) -> UUID:
    made = id_of(office.confirm(office.work(id_of(office.post(done, "undo")))))
    assert office.row(made).state is RestoreState.ASKED
    return made
