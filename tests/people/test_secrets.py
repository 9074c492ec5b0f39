"""Cookies and logs: nothing in them that anybody could use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from strongroom.db import Role
from strongroom.people import models
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tests.people.cast import PASSWORD, Browser, People, browser, form_token
from web.app import create_app


def test_the_cookie_is_random_and_closed_to_scripts_and_other_sites(runtime: Runtime) -> None:
    ada, visitor = People(runtime).staff(StaffRole.OPERATOR), browser(runtime)

    header = visitor.sign_in(ada).headers["Set-Cookie"]

    assert header.startswith("strongroom=")
    for wanted in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert wanted in header
    assert len(visitor.cookie) == 43
    assert ada.email not in header
    assert str(ada.account.id) not in header


def test_with_https_the_cookie_is_bound_to_the_host(runtime: Runtime) -> None:
    public = replace(runtime.settings, web="https://backup.example.org")
    client = create_app(replace(runtime, settings=public)).test_client()
    at = {"base_url": "https://backup.example.org"}

    answer = client.get("/sign-in", **at)  # type: ignore[arg-type]

    header = answer.headers["Set-Cookie"]
    assert header.startswith("__Host-strongroom=")
    assert "Secure" in header
    assert "Domain" not in header
    for elsewhere in ("https://evil.example", "https://localhost"):
        assert client.get("/sign-in", base_url=elsewhere).status_code == 403
    assert client.get("/healthz", base_url="http://10.0.0.7").status_code == 200


def test_plain_http_to_the_network_serves_no_sign_in(runtime: Runtime) -> None:
    bare = replace(runtime.settings, web="http://backup.example.org")
    client = create_app(replace(runtime, settings=bare)).test_client()

    assert client.get("/sign-in", base_url="http://backup.example.org").status_code == 403


def test_logs_tables_and_pages_hold_no_secret_of_a_sign_in(
    runtime: Runtime, capfd: pytest.CaptureFixture[str]
) -> None:
    people = People(runtime)
    with capture_logs() as logs:
        ada = people.staff(StaffRole.OPERATOR)
        visitor = browser(runtime)
        visitor.sign_in(ada, f"{PASSWORD} wrong")
        visitor.sign_in(ada)
        code = ada.code(runtime.now())
        visitor.second("000000")
        visitor.second(code)
        page = visitor.get("/account/").text
    said = str(logs) + str(capfd.readouterr())

    for secret in (PASSWORD, visitor.cookie, ada.secret, ada.codes[0]):
        assert secret not in said
        assert secret not in page
        assert secret not in every_row(runtime)


def every_row(runtime: Runtime) -> str:
    """All that is stored of people, as text."""
    tables = [each.__table__ for each in vars(models).values() if hasattr(each, "__table__")]
    with runtime.database.session(Role.PEOPLE) as db:
        rows = [db.execute(text(f"select * from {table}")).all() for table in tables]
    return str(rows)


def test_a_form_of_another_sites_page_is_refused_though_it_has_our_token(runtime: Runtime) -> None:
    visitor: Browser = browser(runtime)
    token = form_token(visitor.get("/sign-in").text)

    for site, code in (("cross-site", 403), ("same-site", 403), ("same-origin", 401)):
        answer = visitor.client.post(
            "/sign-in", data={"csrf": token}, headers={"Sec-Fetch-Site": site}
        )
        assert answer.status_code == code
