"""The pages as a browser gets them."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from backup.models import BackupRun
from backup.states import RunState
from strongroom.db import Database, Role
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import FakeClock, add_folder, alive, back_up, queue
from tests.people.cast import People, signed_in
from web.app import create_app
from web.pages import probes

ASKED_BY_PAGE = {"HX-Request": "true"}
LATIN_WORD = re.compile(r"[A-Za-z]{3,}")


@pytest.fixture
def browser(runtime: Runtime) -> FlaskClient:
    """An operator's, signed in."""
    return signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client


def visible(page: str) -> str:
    """What a reader of the page sees that is not an identifier, a command or a recorded message."""
    body = page[page.index("<body") :]
    body = re.sub(r'<(bdi|code|time)[^>]*dir="(?:ltr|auto)".*?</\1>', "", body, flags=re.DOTALL)
    body = re.sub(r'<(\w+)[^>]*lang="en".*?</\1>', "", body, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", body)


def test_an_empty_platform_says_how_to_begin(browser: FlaskClient) -> None:
    page = browser.get("/tenants").text

    assert "There are no tenants yet." in page
    assert "strongroom tenant add" in page


def test_a_tenant_without_sources_is_never_called_protected(
    browser: FlaskClient, acme: Tenant
) -> None:
    page = browser.get("/tenants").text

    assert "1 of 1 tenants needs attention." in page
    assert "strongroom source add acme" in page


def test_a_backed_up_tenant_is_protected(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    back_up(runtime, acme)
    alive(runtime)

    assert "The one tenant is protected." in browser.get("/tenants").text


def test_silence_becomes_overdue_by_itself(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, tmp_path: Path, clock: FakeClock
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    back_up(runtime, acme)
    clock.forward(hours=31)
    later = signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR))

    page = later.get("/tenants").text

    assert "no complete point for more than 30 hours" in page
    assert "strongroom backup acme --wait" in page


def test_a_tenants_page_shows_points_sources_and_why_a_backup_is_partial(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    add_folder(runtime, acme, tmp_path / "gone", name="gone")
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    back_up(runtime, acme)

    page = browser.get("/tenants/acme").text

    assert "last point is partial" in page
    assert "The folder is not there." in page
    assert str(tmp_path / "acme") in page
    assert page.count("verified") >= 2  # a copy in each region


def test_a_running_backup_shows_percent_and_renews_the_page_soon(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    run_id = queue(runtime, acme)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        session.get_one(BackupRun, run_id).state = RunState.MAKING
        session.get_one(BackupRun, run_id).progress = {"percent": 42, "bytes": 4200, "total": 9000}

    page = browser.get("/tenants/acme").text

    assert 'value="42"' in page
    assert "4.1 KiB" in page
    assert 'data-seconds="2"' in page


def test_the_page_comes_in_arabic_from_right_to_left(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, bolt, tmp_path / "bolt")
    back_up(runtime, bolt)
    browser.get("/tenants?lang=ar")

    for address in ("/tenants", "/tenants/bolt", "/tenants/nobody"):
        page = browser.get(address).text
        assert '<html lang="ar" dir="rtl">' in page
        assert "bootstrap.rtl.min.css" in page
        words = set(LATIN_WORD.findall(visible(page))) - {"English", "Acme", "Trading", "Person"}
        assert not words, words


def test_the_language_comes_from_the_address_then_the_cookie_then_the_browser(
    browser: FlaskClient,
) -> None:
    arabic = {"Accept-Language": "ar-EG,ar;q=0.9,en;q=0.5"}

    assert '<html lang="ar"' in browser.get("/tenants", headers=arabic).text
    assert '<html lang="en"' in browser.get("/tenants?lang=en", headers=arabic).text
    assert '<html lang="en"' in browser.get("/tenants", headers=arabic).text
    assert '<html lang="en"' in browser.get("/tenants?lang=klingon", headers=arabic).text


def test_an_unknown_tenant_is_not_found_in_the_right_language(browser: FlaskClient) -> None:
    answer = browser.get("/tenants/nobody?lang=ar")

    assert answer.status_code == 404
    assert "لا شيء هنا." in answer.text


def test_a_part_that_has_not_changed_is_not_sent_again(
    browser: FlaskClient, acme: Tenant, clock: FakeClock
) -> None:
    clock.stop_at(clock().replace(second=5))
    first = browser.get("/tenants", headers=ASKED_BY_PAGE)
    found = re.search(r'data-version="(\w+)"', first.text)
    assert found is not None

    clock.forward(seconds=20)
    again = browser.get("/tenants", headers={**ASKED_BY_PAGE, "If-None-Match": f'"{found[1]}"'})
    clock.forward(minutes=2)
    later = browser.get("/tenants", headers={**ASKED_BY_PAGE, "If-None-Match": f'"{found[1]}"'})

    assert "<html" not in first.text
    assert (again.status_code, again.data) == (304, b"")
    assert later.status_code == 200


def test_nothing_on_a_page_is_inline_or_from_elsewhere(browser: FlaskClient, acme: Tenant) -> None:
    for address in ("/tenants", "/tenants/acme", "/nothing"):
        answer = browser.get(address)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=|hx-on", answer.text)
        assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
        assert answer.headers["Cache-Control"] == "no-store"


def test_files_have_a_hash_in_their_address_and_are_kept_for_ever(browser: FlaskClient) -> None:
    addresses = re.findall(r'"(/static/[^"]+)"', browser.get("/tenants").text)

    assert len(addresses) == 5
    for address in addresses:
        assert "?v=" in address
        with browser.get(address) as answer:
            assert answer.status_code == 200
            assert "immutable" in answer.headers["Cache-Control"]
            whole = answer.data
        with browser.get(address, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Vary"]
            squeezed = answer.headers.get("Content-Encoding") == "gzip"
            assert (gzip.decompress(answer.data) if squeezed else answer.data) == whole
            assert squeezed or "plex" in address


def test_a_page_is_never_compressed_for_it_holds_a_form_token(browser: FlaskClient) -> None:
    answer = browser.get("/tenants", headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.7:8080"])
def test_a_name_that_is_not_this_machine_is_refused(
    browser: FlaskClient, acme: Tenant, host: str
) -> None:
    answer = browser.get("/tenants/acme", headers={"Host": host})

    assert answer.status_code == 403
    assert "Acme" not in answer.text


def test_a_page_served_to_the_network_without_https_shows_nothing(
    browser: FlaskClient, acme: Tenant
) -> None:
    answer = browser.get("/tenants", environ_overrides={"SERVER_NAME": "0.0.0.0"})

    assert answer.status_code == 403
    assert "acme" not in answer.text.lower()


def test_ready_tells_the_truth_and_which_part(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "SECONDS", 60)
    whole = create_app(runtime).test_client()
    lost = replace(runtime.settings, broker="redis://127.0.0.1:1/0")
    broken = create_app(replace(runtime, settings=lost)).test_client()

    assert whole.get("/readyz").json == {
        "ok": True,
        "parts": {"database": "ok", "schema": "ok", "broker": "ok"},
    }
    answer = broken.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {
        "ok": False,
        "parts": {"database": "ok", "schema": "ok", "broker": "unreachable"},
    }
    assert broken.get("/healthz").status_code == 200


def test_a_lost_database_is_said_and_not_an_internal_error(runtime: Runtime) -> None:
    nowhere = "postgresql+psycopg://operator@127.0.0.1:1/strongroom"
    gone = Database({Role.OPERATOR: nowhere, Role.PEOPLE: nowhere})
    browser = create_app(replace(runtime, database=gone)).test_client()

    browser.set_cookie("strongroom", "of somebody")
    page = browser.get("/tenants?lang=ar")

    assert page.status_code == 503
    assert "قاعدة البيانات لا تستجيب." in page.text
    assert browser.get("/readyz").status_code == 503


def test_the_number_of_queries_does_not_grow_with_tenants(
    runtime: Runtime, browser: FlaskClient, acme: Tenant, request: pytest.FixtureRequest
) -> None:
    asked: list[str] = []
    engine = runtime.database.engine(Role.OPERATOR)
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    browser.get("/tenants")
    with_one = len(asked)
    request.getfixturevalue("bolt")
    asked.clear()

    browser.get("/tenants")

    assert len(asked) == with_one


def test_times_are_where_the_tenant_is_in_latin_digits(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "acme")
    point = back_up(runtime, acme)
    in_dubai = (point.taken_at + timedelta(hours=4)).strftime("%Y-%m-%d %H:%M")

    page = browser.get("/tenants/acme?lang=ar").text

    assert f'<bdi dir="ltr">{in_dubai}</bdi>' in page
    assert "Asia/Dubai" in page
    assert not re.search("[٠-٩]", page)
