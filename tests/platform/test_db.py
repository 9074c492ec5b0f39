"""Column types, sessions and engines."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from strongroom import clock, ids
from strongroom.db import Database, NoDatabaseUrl, Role
from strongroom.lifecycle import Step, database_now
from strongroom.runtime import Runtime
from tenants.models import Tenant


def step(tenant: Tenant, *, at: datetime) -> Step:
    return Step(
        tenant_id=tenant.id,
        of="tests",
        row_id=uuid.uuid4(),
        old="a",
        new="b",
        code="ok",
        params={"words": "مرحبا"},
        by="operator:ada",
        at=at,
    )


def steps(runtime: Runtime, tenant: Tenant) -> list[Step]:
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        return list(session.execute(select(Step).where(Step.of == "tests")).scalars())


def test_a_moment_comes_back_in_utc_whatever_its_zone_was(runtime: Runtime, acme: Tenant) -> None:
    dubai = datetime(2026, 1, 5, 14, 0, tzinfo=timezone(timedelta(hours=4)))
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        session.add(step(acme, at=dubai))
    (found,) = steps(runtime, acme)
    assert (found.at, found.at.tzinfo) == (dubai, UTC)
    assert found.params == {"words": "مرحبا"}


def test_a_moment_without_a_zone_is_refused_before_it_is_stored(
    runtime: Runtime, acme: Tenant
) -> None:
    naive = datetime(2026, 1, 5, 14, 0)  # noqa: DTZ001 - that is the point
    with (
        pytest.raises(StatementError, match="no time zone"),
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
    ):
        session.add(step(acme, at=naive))
    assert steps(runtime, acme) == []


def test_an_exception_undoes_the_whole_unit_of_work(runtime: Runtime, acme: Tenant) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
    ):
        session.add(step(acme, at=clock.now()))
        session.flush()
        raise ZeroDivisionError
    assert steps(runtime, acme) == []


def test_an_error_of_the_database_repeats_no_values(runtime: Runtime, acme: Tenant) -> None:
    canary = step(acme, at=clock.now())
    canary.code = "canary-of-a-secret"
    canary.by = None  # type: ignore[assignment] - so that the row is refused
    with (
        pytest.raises(IntegrityError) as caught,
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
    ):
        session.add(canary)
    assert "canary" not in str(caught.value)
    assert "canary" not in str(caught.value.orig)


def test_a_state_that_the_code_does_not_know_is_refused_by_the_database(
    runtime: Runtime, acme: Tenant
) -> None:
    with (
        pytest.raises(IntegrityError, match="repositorystate"),
        runtime.database.session(Role.WORKER, tenant=acme.id) as session,
    ):
        session.execute(text("update repositories set state = 'melted'"))


def test_a_role_without_a_url_is_named_with_its_setting() -> None:
    with pytest.raises(NoDatabaseUrl, match="STRONGROOM_DATABASE_URL_WEB"):
        Database({}).engine(Role.WEB)


def test_threads_that_come_at_once_share_one_engine(runtime: Runtime) -> None:
    database = Database(runtime.settings.databases)
    together = threading.Barrier(8)

    def ask(_: int) -> Engine:
        together.wait()
        return database.engine(Role.WEB)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    database.close()


def test_no_statement_of_a_page_holds_a_thread_for_long(runtime: Runtime) -> None:
    with runtime.database.session(Role.WEB) as session:
        assert session.execute(text("show statement_timeout")).scalar_one() == "20s"
    with runtime.database.session(Role.WORKER) as session:
        assert session.execute(text("show statement_timeout")).scalar_one() == "0"


def test_the_server_speaks_utc_and_its_clock_is_aware(runtime: Runtime) -> None:
    with runtime.database.session(Role.WEB) as session:
        assert session.execute(text("show timezone")).scalar_one() == "UTC"
        apart = abs(database_now(session) - clock.now())
    assert apart < timedelta(minutes=1)  # an hour if it were a time zone


def test_a_session_without_a_tenant_after_one_with_it_reads_an_empty_setting_as_none(
    runtime: Runtime, acme: Tenant
) -> None:
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        assert session.execute(select(func.count()).select_from(Tenant)).scalar_one() == 1
    with runtime.database.session(Role.WORKER) as session:  # '' is no UUID: it must not raise
        assert session.execute(text("select current_setting('app.tenant', true)")).scalar() == ""
        assert session.execute(select(func.count()).select_from(Tenant)).scalar_one() == 0


def test_a_wrong_password_is_not_in_the_error(runtime: Runtime) -> None:
    url = runtime.settings.databases[Role.WEB]
    head, _, tail = url.partition("@")
    spoilt = f"{head}canary@{tail}"
    with pytest.raises(DBAPIError) as caught, Database({Role.WEB: spoilt}).session(Role.WEB) as s:
        s.execute(text("select 1"))
    assert "canary" not in str(caught.value)


def test_ids_sort_by_the_time_they_were_made_and_never_come_twice() -> None:
    early = [ids.new_id() for _ in range(500)]
    time.sleep(0.002)  # into the next millisecond
    late = ids.new_id()
    assert {each.version for each in early} == {7}
    assert {each.variant for each in early} == {uuid.RFC_4122}
    assert max(early) < late
    assert len(set(early)) == 500


def test_a_naive_moment_is_refused_at_the_border() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        clock.aware(datetime(2026, 1, 5))  # noqa: DTZ001 - that is the point
    assert clock.now(shift=timedelta(days=2)) - clock.now() > timedelta(days=1)
