"""What needs a person, and the last rehearsed restore, where the tenant's points are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from backup import findings
from backup.findings import Sight
from backup.models import Point
from restore.models import Drill
from restore.states import DrillState
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import B, vault
from tests.cast import FakeClock, add_folder, back_up, rows_of
from tests.people.cast import People, signed_in
from tests.web.test_pages import LATIN_WORD, visible
from web import rehearsed
from web.pages import formats
from web.pages.findings import FINDINGS

ARABIC = {"Accept-Language": "ar"}


@dataclass(frozen=True)
class Ended:
    """A drill of the newest point, in region B."""

    state: DrillState
    seconds: float


@pytest.fixture
def browser(runtime: Runtime) -> FlaskClient:
    return signed_in(runtime, People(runtime).staff(StaffRole.OPERATOR)).client


@pytest.fixture
def kept(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Tenant:
    add_folder(runtime, acme, tmp_path / "acme")
    back_up(runtime, acme)
    return acme


def see(runtime: Runtime, tenant: Tenant, *sights: Sight) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        for sight in sights:
            findings.see(session, tenant.id, sight, now=runtime.now())


def rehearse(runtime: Runtime, tenant: Tenant, ended: Ended) -> None:
    held = vault(runtime, tenant, B)
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        session.add(
            Drill(
                id=new_id(),
                tenant_id=tenant.id,
                point_id=rows_of(runtime, tenant, Point)[-1].id,
                repository_id=held.row.id,
                state=ended.state,
                asked_by="rota",
                asked_at=runtime.now(),
                due_at=runtime.now(),
                ended_at=runtime.now(),
                seconds=ended.seconds * 2,
                restore_seconds=ended.seconds,
            )
        )


def sight(code: str) -> Sight:
    return Sight(code, f"region-a/{code}", {"region": "region-a", "snapshot": str(new_id())})


def said(words: str) -> str:
    """As one word that no line breaks."""
    return words.replace(" ", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize("language", ["en", "ar"])
def test_every_finding_is_said_with_what_to_do_and_the_command(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, language: str
) -> None:
    see(
        runtime,
        acme,
        *map(sight, FINDINGS),
    )

    page = browser.get("/tenants/acme", headers={"Accept-Language": language}).text

    assert page.count('<li id="finding-') == len(FINDINGS)
    with runtime.database.session(Role.OPERATOR, tenant=acme.id) as session:
        for row in findings.open_of(session, acme.id):
            assert f"strongroom finding accept {row.id}" in page
    if language == "en":
        assert all(means in page.replace("&#39;", "'") for means, _ in FINDINGS.values())
    else:
        section = page[page.index('<h2 id="findings"') : page.index('<h2 id="points"')]
        assert not LATIN_WORD.search(visible("<body>" + section))


def test_what_freezes_comes_first_and_says_so_and_what_is_settled_is_gone(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    assert "To be looked at" not in browser.get("/tenants/acme").text
    see(runtime, acme, Sight("copy-lags", "region-b"))
    clock.forward(minutes=1)
    see(runtime, acme, Sight("drill-differs", "files", freezes=True))

    page = browser.get("/tenants/acme").text

    assert page.index(FINDINGS["drill-differs"][0]) < page.index(FINDINGS["copy-lags"][0])
    assert page.count("nothing is removed meanwhile") == 1


def test_another_tenants_finding_is_not_shown(
    browser: FlaskClient, runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    see(runtime, bolt, Sight("copy-lags", "region-b"))

    assert FINDINGS["copy-lags"][0] not in browser.get("/tenants/acme").text


def test_the_last_rehearsal_is_shown_with_its_day_and_time(
    browser: FlaskClient, runtime: Runtime, kept: Tenant, clock: FakeClock
) -> None:
    for address in ("/tenants", "/tenants/acme"):
        assert "not yet" in browser.get(address).text
    rehearse(runtime, kept, Ended(DrillState.PASSED, 200))
    for address in ("/tenants", "/tenants/acme"):
        page = browser.get(address).text
        assert "came back whole" in page
        assert said("3 min") in page
        assert B in page
        assert "not yet" not in page
    clock.forward(minutes=1)
    rehearse(runtime, kept, Ended(DrillState.FAILED, 4))
    for address in ("/tenants", "/tenants/acme"):
        page = browser.get(address).text
        assert "did not come back as it was" in page
        assert said("4.0 s") in page
    assert "لم تعد كما كانت" in browser.get("/tenants", headers=ARABIC).text


def test_the_rehearsals_of_all_tenants_are_one_query(
    runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    asked = []
    engine = runtime.database.engine(Role.OPERATOR)
    with runtime.database.session(Role.OPERATOR) as session:
        event.listen(engine, "before_cursor_execute", lambda *_: asked.append(1))
        assert rehearsed.last_of(session, [acme.id, bolt.id]) == {}

    assert len(asked) == 1


@pytest.mark.parametrize(
    ("spent", "words"),
    [(0.26, "0.3 s"), (59.4, "59 s"), (61, "1 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_a_time_is_said_as_people_do(spent: float, words: str) -> None:
    assert said(words) in formats.lasting(timedelta(seconds=spent).total_seconds())
