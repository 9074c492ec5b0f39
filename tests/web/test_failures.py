"""Why backups fail: what has one cause is shown as one, and tried again at once."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from sqlalchemy import update

from backup.models import BackupRun, Source
from backup.planning import Order
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import ADA, add_folder, carry_out, queue, rows_of
from tests.people.cast import Browser, People, signed_in
from tests.web.test_pages import LATIN_WORD, visible
from web import failures, following, picture
from web.failures import CAUSE_OF, CAUSES, Cause
from web.pages.failures import WORDS
from web.pages.words import FAILURES
from web.picture import Failing, Photographer

GONE = "folder-missing"


@pytest.fixture
def failed(runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path) -> str:
    """Both tenants' folders are gone; gives the code that says so."""
    for tenant in (acme, bolt):
        add_folder(runtime, tenant, tmp_path / tenant.slug)
        (tmp_path / tenant.slug).rename(tmp_path / f"{tenant.slug}-away")
        carry_out(runtime, tenant, queue(runtime, tenant))
    [row] = rows_of(runtime, acme, BackupRun)
    assert row.failure is not None
    return str(row.failure["code"])


def operator(runtime: Runtime, role: StaffRole = StaffRole.OPERATOR) -> Browser:
    return signed_in(runtime, People(runtime).staff(role))


def few(count: int) -> Failing:
    return Failing(count, ["a"], [])


def test_what_stops_most_tenants_comes_first() -> None:
    groups = failures.grouped(
        {
            "pg-dump-failed": few(3),
            "source-unreachable": few(1),
            "never-heard-of": few(4),
            "host-unknown": few(4),
        }
    )

    assert [(group.cause, group.tenants) for group in groups] == [
        *((Cause.SOURCE, 5), (Cause.OTHER, 4), (Cause.DUMP, 3)),
    ]
    assert list(groups[0].codes) == ["host-unknown", "source-unreachable"]


def test_every_cause_has_words_and_every_code_one_cause() -> None:
    assert set(WORDS) == set(CAUSES) == set(Cause)
    assert len(CAUSE_OF) == sum(len(codes) for codes in CAUSES.values())
    assert set(CAUSE_OF) <= set(FAILURES)


@pytest.mark.parametrize("many", [False, True])
def test_tenants_that_fail_for_one_reason_are_one_line(
    runtime: Runtime, failed: str, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if many:
        monkeypatch.setattr(picture, "FEW", 1)
        assert Photographer(runtime).round()

    [group], _ = failures.read(runtime)

    assert group.cause is Cause.SOURCE
    assert {code: each.slugs for code, each in group.codes.items()} == {failed: ["acme", "bolt"]}
    assert group.tenants == 2


def test_all_of_them_are_tried_again_and_none_twice(
    runtime: Runtime, failed: str, acme: Tenant, bolt: Tenant
) -> None:
    browser = operator(runtime)
    page = browser.get("/failures").text
    asked = browser.post("/failures/again", on="/failures", code=failed)
    answer = browser.get(asked.location)
    again = failures.again(runtime, failed, by=ADA)

    assert "Back up all 2 again" in page
    assert "2 tenants are being backed up again." in answer.text
    assert [len(rows_of(runtime, tenant, BackupRun)) for tenant in (acme, bolt)] == [2, 2]
    assert again == []


def test_a_tenant_that_cannot_be_tried_keeps_no_other_from_it(
    runtime: Runtime, failed: str, acme: Tenant, bolt: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = following.request

    def request(platform: Runtime, tenant: Tenant, order: Order) -> uuid.UUID:
        if tenant.slug == "acme":
            raise BadValue("It was changed meanwhile.")
        return real(platform, tenant, order)

    monkeypatch.setattr(following, "request", request)
    assert failures.again(runtime, failed, by=ADA) == ["bolt"]


def test_one_without_sources_by_now_is_left_out(
    runtime: Runtime, failed: str, acme: Tenant
) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.execute(update(Source).values(removed_at=runtime.now()))

    assert failures.again(runtime, failed, by=ADA) == ["bolt"]


def test_what_was_mended_meanwhile_is_left_alone(
    runtime: Runtime, failed: str, bolt: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is of a moment ago; what is asked for rests on what is so now."""
    monkeypatch.setattr(picture, "FEW", 1)
    assert Photographer(runtime).round()
    (tmp_path / "bolt-away").rename(tmp_path / "bolt")
    carry_out(runtime, bolt, queue(runtime, bolt))

    assert failures.again(runtime, failed, by=ADA) == ["acme"]


def test_who_may_only_look_is_offered_nothing_and_refused(runtime: Runtime, failed: str) -> None:
    browser = operator(runtime, StaffRole.READER)
    page = browser.get("/failures")

    assert (page.status_code, "<button" in _main(page.text)) == (200, False)
    refused = browser.post("/failures/again", on="/account/", code=failed)
    assert refused.status_code == 403


def test_a_reason_that_nobody_has_does_nothing(runtime: Runtime, acme: Tenant) -> None:
    assert failures.again(runtime, "x' or true --", by=ADA) == []
    assert "No tenant's last backup failed." in operator(runtime).get("/failures").text


def test_it_is_arabic_in_arabic(runtime: Runtime, failed: str) -> None:
    page = operator(runtime).get("/failures?lang=ar").text

    assert set(LATIN_WORD.findall(visible(page))) <= {"English", "Person"}


def _main(page: str) -> str:
    found = re.search(r"<main.*</main>", page, re.DOTALL)
    assert found is not None
    return found[0]
