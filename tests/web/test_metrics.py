"""What Prometheus is told: the truth, nothing about whom, and to nobody else."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text, update

from backup.models import BackupRun, Copy, Finding, Proof, Removal
from backup.states import CopyState, ProofState, RemovalState, RunState
from strongroom import schema_versions
from strongroom.db import Database, Role
from strongroom.ids import first_id, made_at, new_id
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.backup.vaults import A, B
from tests.cast import FakeClock, add_folder, back_up, queue
from web.app import create_app
from web.metrics.catalogue import METRICS, PREFIX
from web.metrics.collecting import Collector
from web.metrics.readings import READINGS, quantile

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"
TOKEN = "a-token-that-nobody-guesses"
# Where another part has not made them yet, as it makes them.
LATER = """
CREATE TABLE IF NOT EXISTS heartbeats (
    part text, process text, at timestamptz NOT NULL, PRIMARY KEY (part, process));
CREATE TABLE IF NOT EXISTS alerts (severe boolean, closed_at timestamptz);
GRANT SELECT ON heartbeats, alerts TO operator;
"""
Found = Mapping[tuple[str, ...], float]


@pytest.fixture
def beats(runtime: Runtime) -> None:
    """The dispatcher was heard of ten minutes ago, a worker just now."""
    migrate(runtime, LATER)
    migrate(
        runtime,
        "INSERT INTO heartbeats VALUES"
        " ('dispatcher', 'a', clock_timestamp() - interval '10 minutes'),"
        " ('worker:backup', 'b', clock_timestamp()), ('worker:backup', 'c', clock_timestamp())",
    )


def migrate(runtime: Runtime, script: str) -> None:
    with runtime.database.engine(Role.MIGRATOR).begin() as line:
        line.execute(text(script))


def told(runtime: Runtime) -> Found:
    """By short name and the values of labels."""
    return parsed(Collector(runtime).page().decode())


def parsed(page: str) -> Found:
    words = {each.short: each.labels for each in METRICS}
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            short = sample.name.removeprefix(PREFIX)
            assert set(sample.labels) == set(words[short]), sample
            found[(short, *(sample.labels[name] for name in words[short]))] = sample.value
    return found


def test_the_page_has_every_metric_there_is_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(strongroom_\w+)`(?:\{(.*?)\})? \| (.*?) \|", PAGE.read_text(), re.MULTILINE
    )

    assert [(name, labels, words) for name, labels, words in rows] == [
        (each.name, ", ".join(each.labels), each.words) for each in METRICS
    ]


def test_everything_that_the_page_names_is_exported(
    runtime: Runtime, acme: Tenant, beats: None, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    something_of_everything(runtime, acme, point.id)

    named = replace(runtime.settings, metrics_tenants=1)
    found = told(replace(runtime, settings=named))

    assert {key[0] for key in found} == {each.short for each in METRICS}
    assert {key[1] for key in found if key[0] == "reading_failed"} == {r.name for r in READINGS}
    assert not any(value for key, value in found.items() if key[0] == "reading_failed")


def something_of_everything(runtime: Runtime, tenant: Tenant, point: Any) -> None:
    """A copy that fails, a removal that is held back, a finding."""
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        copies = session.query(Copy).order_by(Copy.id).all()
        waits = {"state": CopyState.WAITING, "failure": {"code": "storage-unreachable"}}
        session.execute(update(Copy).where(Copy.id == copies[-1].id).values(**waits))
        now = runtime.now()
        session.add(
            Finding(
                id=new_id(),
                tenant_id=tenant.id,
                code="sources-shrank",
                subject="files",
                params={},
                freezes=True,
                first_seen_at=now,
                last_seen_at=now,
            )
        )
        run = session.get_one(BackupRun, point)
        session.add(
            Removal(
                id=new_id(),
                tenant_id=tenant.id,
                copy_id=copies[0].id,
                repository_id=copies[0].repository_id,
                policy_id=run.policy_id,
                code="plan",
                params={},
                due_at=now,
                blocked={"code": "held"},
            )
        )


def test_an_empty_platform_says_0_and_not_nothing(runtime: Runtime, beats: None) -> None:
    found = told(runtime)

    for key in (
        *(("tenants",), ("tenants_attention", "overdue"), ("backup_runs_last_day", "failed")),
        *(("copies_waiting", A), ("copies_waiting", B), ("removals_waiting",)),
        *(("queue_depth", "backup", "backup_runs"), ("record_waiting_entries",)),
        *(("proofs_last_day", "data", "failed"), ("alerts_open", "true"), ("record_refused",)),
    ):
        assert found[key] == 0, key


def test_what_waits_and_how_long_is_told_by_queue_and_region(
    runtime: Runtime, acme: Tenant, clock: FakeClock, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    point = back_up(runtime, acme)
    something_of_everything(runtime, acme, point.id)
    queue(runtime, acme)
    clock.forward(hours=30)

    found = told(runtime)

    assert found["queue_depth", "backup", "backup_runs"] == 1
    assert 30 * 3600 <= found["queue_oldest_waiting_seconds", "backup", "backup_runs"] < 31 * 3600
    assert sum(found["copies_waiting", region] for region in (A, B)) == 1
    assert sum(v for k, v in found.items() if k[0] == "copies_failing") == 1
    assert max(found["oldest_copy_waiting_seconds", region] for region in (A, B)) > 30 * 3600
    assert 30 * 3600 < found["last_complete_point_age_seconds", "1"] < 31 * 3600
    assert found["removals_blocked", "held"] == 1
    assert found["findings_open", "sources-shrank"] == 1
    assert found["tenants_attention", "overdue"] == 1
    assert found["oldest_drill_age_seconds",] > 30 * 3600


def test_what_is_not_due_settled_or_over_is_not_counted(
    runtime: Runtime, acme: Tenant, beats: None, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    something_of_everything(runtime, acme, back_up(runtime, acme).id)
    run_id = queue(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        later = runtime.now() + timedelta(hours=1)
        session.execute(update(BackupRun).where(BackupRun.id == run_id).values(due_at=later))
        session.execute(update(Finding).values(settled_at=later))
        session.execute(update(Removal).values(state=RemovalState.SPARED))
        session.execute(update(Copy).values(state=CopyState.STORED))

    found = told(runtime)

    assert found["queue_depth", "backup", "backup_runs"] == 0
    assert found["queue_oldest_waiting_seconds", "backup", "backup_runs"] == 0
    assert found["removals_waiting",] == 0
    assert not {key[0] for key in found} & {"findings_open", "removals_blocked", "copies_failing"}
    assert found["copies_waiting", A] == found["copies_waiting", B] == 0


def test_how_runs_and_proofs_ended_is_told(runtime: Runtime, acme: Tenant, tmp_path: Path) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    run_id = queue(runtime, acme)
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        ended = {"state": RunState.FAILED, "ended_at": runtime.now()}
        session.execute(update(BackupRun).where(BackupRun.id == run_id).values(**ended))
        proof = session.query(Proof).first()
        assert proof is not None
        failed = update(Proof).where(Proof.id == proof.id).values(state=ProofState.FAILED)
        session.execute(failed)

    found = told(runtime)

    assert found["backup_runs_last_day", "complete"] == 1
    assert found["backup_runs_last_day", "failed"] == 1
    assert found["proofs_last_day", proof.level, "failed"] == 1
    assert sum(found["stored_bytes", region] for region in (A, B)) > 0


def test_a_silent_dispatcher_and_workers_that_live_are_told(runtime: Runtime, beats: None) -> None:
    found = told(runtime)

    assert 600 <= found["heartbeat_age_seconds", "dispatcher"] < 1200
    assert found["processes_alive", "dispatcher"] == 0
    assert found["processes_alive", "worker:backup"] == 2


def test_no_tenant_is_named_above_the_limit(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    for most, named in ((0, False), (1, False), (2, True)):
        some = replace(runtime.settings, metrics_tenants=most)
        page = Collector(replace(runtime, settings=some)).page().decode()
        assert ("acme" in page.lower()) is named
        assert "bolt" not in page.lower()  # it has no point
        assert str(acme.id) not in page


def test_however_often_it_is_asked_the_database_is_asked_seldom(
    runtime: Runtime, acme: Tenant
) -> None:
    collector = Collector(runtime)
    collector.page()
    asked: list[str] = []
    engine = runtime.database.engine(Role.OPERATOR)
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    def kept_since(seconds: float) -> None:
        for name, kept in collector._kept.items():
            collector._kept[name] = replace(kept, at=time.monotonic() - seconds)

    kept_since(-3600)  # however slow this machine is
    for _ in range(20):
        collector.page()
    assert asked == []

    kept_since(16)
    collector.page()
    assert asked
    assert not [each for each in asked if "added_bytes" in each]  # every five minutes


def test_the_questions_do_not_grow_with_tenants(
    runtime: Runtime, acme: Tenant, request: pytest.FixtureRequest
) -> None:
    asked: list[str] = []
    engine = runtime.database.engine(Role.OPERATOR)
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    told(runtime)
    with_one = len(asked)
    request.getfixturevalue("bolt")
    asked.clear()

    told(runtime)

    assert len(asked) == with_one


def test_a_group_that_fails_says_so_and_the_others_go_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(runtime, "REVOKE SELECT ON findings FROM operator")

    found = told(runtime)

    assert found["reading_failed", "findings"] == 1
    assert found["reading_failed", "queues"] == 0
    assert found["database_up",] == 1
    assert ("queue_depth", "backup", "backup_runs") in found


def test_a_database_that_is_away_is_told_and_nothing_old_is(runtime: Runtime) -> None:
    nowhere = Database({Role.OPERATOR: "postgresql+psycopg://operator@127.0.0.1:1/strongroom"})

    found = told(replace(runtime, database=nowhere))

    assert {key[0] for key in found} == {"build_info", "database_up"}
    assert found["database_up",] == 0


# To whom


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": "Bearer فاتورة"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
def test_with_a_token_only_who_has_it(runtime: Runtime, headers: dict[str, str], code: int) -> None:
    client = of(runtime, metrics_token=TOKEN)
    raw = {name: value.encode().decode("latin-1") for name, value in headers.items()}

    answer = client.get("/metrics", headers=raw)

    assert answer.status_code == code
    assert ("strongroom_database_up" in answer.text) is (code == 200)


@pytest.mark.parametrize(
    ("address", "headers", "code"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.9", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 403),  # a proxy on this machine
        ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}, 403),
    ],
)
def test_without_a_token_only_this_machine(
    runtime: Runtime, address: str, headers: dict[str, str], code: int
) -> None:
    client = of(runtime, web="http://127.0.0.1:8080")

    answer = client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address})

    assert answer.status_code == code
    assert ("strongroom_database_up" in answer.text) is (code == 200)


@pytest.mark.parametrize("settings", [{"web": "https://backup.example"}, {"proxies": 1}])
def test_where_others_reach_the_pages_nothing_is_shown_without_a_token(
    runtime: Runtime, settings: dict[str, Any]
) -> None:
    """A proxy on this machine may say nothing of whom it asks for."""
    client = of(runtime, **({"web": "http://127.0.0.1:8080"} | settings))

    assert client.get("/metrics").status_code == 403


def of(runtime: Runtime, **settings: Any) -> FlaskClient:
    changed = replace(runtime, settings=replace(runtime.settings, **settings))
    return create_app(changed).test_client()


# Probes


def test_ready_fails_while_the_schema_is_older_than_the_code_and_alive_does_not(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = of(runtime)
    assert client.get("/readyz").json["parts"]["schema"] == "ok"  # type: ignore[index]

    monkeypatch.setattr(schema_versions, "history", lambda: ("0001", "0002"))
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["parts"]["schema"]) == (503, "old")  # type: ignore[index]
    assert client.get("/healthz").status_code == 200


def test_a_schema_that_is_newer_is_served(runtime: Runtime) -> None:
    """While a release is rolled out, pods of the last one serve beside it."""
    migrate(runtime, "UPDATE alembic_version SET version_num = '9999'")

    assert of(runtime).get("/readyz").json["parts"]["schema"] == "ok"  # type: ignore[index]


def test_a_database_without_a_version_is_old(runtime: Runtime) -> None:
    migrate(runtime, "DELETE FROM alembic_version")

    assert of(runtime).get("/readyz").status_code == 503


def test_the_versions_are_as_the_migrations_have_them() -> None:
    from alembic.script import ScriptDirectory

    history = ScriptDirectory(str(schema_versions.HISTORY.parent)).walk_revisions()

    assert [each.revision for each in history][::-1] == list(schema_versions.history())


# Pure


def test_a_quantile_is_a_value_that_is_there() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 2, 3, 3]
    assert quantile([7.0], 0.5) == 7


def test_the_first_id_of_a_moment_is_between_before_and_after() -> None:
    made = new_id()
    moment = made_at(made)

    assert first_id(moment) <= made < first_id(moment + timedelta(milliseconds=2))
