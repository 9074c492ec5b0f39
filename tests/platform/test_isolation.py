"""No tenant sees, changes or refers to what is another's: by the database, whatever we forget."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from strongroom.db import AnotherTenant, Database, Role, bind_tenant
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.platform import every_table
from tests.platform.every_table import Ids

TABLES = every_table.tables()
PERSONAL = {
    "accounts",
    "identities",
    "notice_refusals",
    "one_time_links",
    "openid_visits",
    "passkeys",
    "recovery_codes",
    "tallies",
    "totp_factors",
    "web_sessions",
}
OF_ALL = PERSONAL | {
    "alembic_version",
    "alerts",
    "control_dumps",
    "escrow_keys",
    "heartbeats",
    "looks",
    "mail_servers",
    "notice_channels",
    "pack_versions",
    "pictures",
    "plan_versions",
    "promise_attestations",
    "promise_readings",
    "promise_standing",
    "record_checkpoints",
    "record_keys",
    "record_leaves",
    "record_pending",
    "regions",
    "standings",
    "tenants",
    "tombstones",
}
KEYS = {"escrow_wraps", "key_records", "secrets"}
ASKED_FOR = {"deliveries", "record_entries", "record_pending", "restores", "steps"}
OURS = (Role.WEB, Role.WORKER, Role.DISPATCHER, Role.OPERATOR, Role.PEOPLE)


@dataclass(frozen=True)
class Two:
    """Acme and Bolt with a row each in every table."""

    database: Database
    acme: uuid.UUID
    bolt: uuid.UUID
    of_acme: Ids
    of_bolt: Ids


@pytest.fixture
def two(runtime: Runtime, acme: Tenant, bolt: Tenant) -> Two:
    of_acme, of_bolt = (_filled(runtime.database, tenant.id) for tenant in (acme, bolt))
    return Two(runtime.database, acme.id, bolt.id, of_acme, of_bolt)


def _filled(database: Database, tenant: uuid.UUID) -> Ids:
    with database.session(Role.OPERATOR, tenant=tenant) as session:
        ids = every_table.fill(session, tenant, peoples=False)
    with database.session(Role.PEOPLE, tenant=tenant) as session:
        return ids | every_table.fill(session, tenant, peoples=True)


@pytest.fixture
def catalogue(runtime: Runtime) -> Iterator[Session]:
    """The system catalogue of a migrated database, as its owner."""
    with runtime.database.session(Role.MIGRATOR) as session:
        yield session


def rows(session: Session, query: str, **values: Any) -> list[Any]:
    return list(session.execute(text(query), values).all())


def count(session: Session, table: Table) -> int:
    return session.execute(select(func.count()).select_from(table)).scalar_one()


def refused(session: Session, statement: Any, *, why: type[Exception]) -> None:
    """The statement fails for that reason, and the transaction can go on."""
    with pytest.raises(DBAPIError) as caught, session.begin_nested():
        session.execute(statement)
    assert isinstance(caught.value.orig, why), (str(statement), caught.value.orig)


# What the catalogue says


def test_every_table_belongs_to_a_tenant_or_is_known_to_belong_to_none(catalogue: Session) -> None:
    found = rows(
        catalogue,
        "select relname from pg_class where relkind in ('r', 'p') and "
        "relnamespace = 'public'::regnamespace",
    )
    assert {row.relname for row in found} == {table.name for table in TABLES} | OF_ALL


def test_every_table_of_tenants_has_row_level_security_enabled_and_forced(
    catalogue: Session,
) -> None:
    found = rows(
        catalogue,
        "select c.relname, c.relrowsecurity, c.relforcerowsecurity "
        "from pg_class c where c.relkind in ('r', 'p') and "
        "c.relnamespace = 'public'::regnamespace",
    )
    secured = {row.relname for row in found if row.relrowsecurity and row.relforcerowsecurity}
    assert secured == {table.name for table in TABLES} | {"tenants"}


def test_every_policy_for_web_and_worker_asks_for_the_tenant_on_the_way_in_and_out(
    catalogue: Session,
) -> None:
    found = rows(
        catalogue,
        "select tablename, policyname, roles::text[], cmd, qual, with_check "
        "from pg_policies where schemaname = 'public'",
    )
    theirs = [row for row in found if {"web", "worker", "public"} & set(row.roles)]
    for row in theirs:
        only = {"SELECT": [row.qual], "INSERT": [row.with_check]}
        asked = only.get(row.cmd, [row.qual, row.with_check])
        assert all(each and "app.tenant" in each for each in asked), row
    covered = {row.tablename for row in theirs if row.cmd in ("ALL", "SELECT")}
    assert covered - {"tenants"} == {table.name for table in TABLES}


def test_nothing_goes_around_row_level_security(catalogue: Session) -> None:
    views = rows(
        catalogue,
        "select relname, relkind, reloptions from pg_class where relnamespace "
        "= 'public'::regnamespace and relkind in ('v', 'm')",
    )
    definers = rows(
        catalogue,
        "select proname from pg_proc where prosecdef and pronamespace = 'public'::regnamespace",
    )
    assert [view.relname for view in views if view.relkind == "m"] == []
    assert all("security_invoker=true" in (view.reloptions or []) for view in views)
    assert definers == []


def test_no_role_of_ours_is_more_than_a_role_that_may_log_in(catalogue: Session) -> None:
    found = rows(
        catalogue,
        "select rolname, rolsuper or rolbypassrls or rolcreatedb or rolcreaterole or "
        "rolreplication as mighty, exists (select from pg_auth_members where member = r.oid) "
        "as member from pg_roles r where rolname = any(:names)",
        names=[str(role) for role in Role],
    )
    assert [(row.rolname, row.mighty, row.member) for row in sorted(found)] == [
        (str(role), role is Role.DUMPER, False) for role in sorted(Role)
    ]


def test_only_the_migrator_owns_anything(catalogue: Session) -> None:
    found = rows(
        catalogue,
        "select distinct rolname from pg_shdepend join pg_roles on pg_roles.oid = refobjid "
        "where deptype = 'o' and dbid in (0, (select oid from pg_database "
        "where datname = current_database())) and rolname = any(:names)",
        names=[str(role) for role in Role],
    )
    assert [row.rolname for row in found] == ["migrator"]


def rights(session: Session, role: Role) -> dict[str, set[str]]:
    """Whole-table rights by table."""
    found = rows(
        session,
        "select table_name, privilege_type from information_schema.table_privileges "
        "where table_schema = 'public' and grantee = :role",
        role=str(role),
    )
    granted: dict[str, set[str]] = {}
    for row in found:
        granted.setdefault(row.table_name, set()).add(row.privilege_type)
    return granted


def test_the_pages_only_read_and_ask(runtime: Runtime) -> None:
    with runtime.database.session(Role.WEB) as session:
        granted = rights(session, Role.WEB)
    writes = {table: may - {"SELECT"} for table, may in granted.items() if may - {"SELECT"}}
    assert set(writes) == ASKED_FOR
    assert set().union(*writes.values()) == {"INSERT", "UPDATE"}
    assert writes["steps"] == {"INSERT"}


def test_what_is_a_record_can_only_be_added_to(runtime: Runtime) -> None:
    for role in OURS:
        with runtime.database.session(role) as session:
            granted = rights(session, role)
        for table in ("steps", "policies", "slots", "record_entries", "record_leaves"):
            if table not in granted:
                continue
            allowed = {"SELECT", "INSERT"} | ({"UPDATE"} if table == "slots" else set())
            assert granted[table] <= allowed, (role, table)


def test_nobody_but_the_owner_can_empty_a_table_or_hang_triggers_on_it(runtime: Runtime) -> None:
    for role in OURS:
        with runtime.database.session(role) as session:
            granted = rights(session, role)
        assert not {"TRUNCATE", "TRIGGER", "REFERENCES"} & set().union(*granted.values()), role


def test_nobody_but_the_worker_makes_temporary_tables_and_nobody_makes_others(
    catalogue: Session,
) -> None:
    found = rows(
        catalogue,
        "select rolname, has_schema_privilege(rolname, 'public', 'create') as tables, "
        "has_database_privilege(rolname, current_database(), 'temporary') as drafts "
        "from pg_roles where rolname = any(:names)",
        names=[str(role) for role in OURS],
    )
    assert [row.rolname for row in found if row.tables] == []
    assert [row.rolname for row in found if row.drafts] == ["worker"]


def test_nobody_but_the_role_of_people_reads_or_writes_what_is_a_persons_own(
    runtime: Runtime,
) -> None:
    for role in OURS:
        with runtime.database.session(role) as session:
            granted = rights(session, role)
        assert (PERSONAL & set(granted) == set()) is (role is not Role.PEOPLE), role
        if role is not Role.PEOPLE:
            changed = {"INSERT", "UPDATE", "DELETE"}
            assert not any(changed & granted.get(name, set()) for name in every_table.PEOPLES), role


def test_the_role_of_people_reads_no_data_of_tenants_and_of_themselves_only_names(two: Two) -> None:
    with two.database.session(Role.PEOPLE) as session:
        for table in TABLES:
            if table.name in every_table.PEOPLES:
                assert count(session, table) >= 2, table.name
                row = every_table.values(session, table, two.acme, two.of_acme)
                refused(session, insert(table).values(**row), why=errors.InsufficientPrivilege)
            elif table.name not in ("steps", "record_entries"):  # there only its own
                refused(session, select(table), why=errors.InsufficientPrivilege)
        assert len(rows(session, "select id, slug, name, zone, locale from tenants")) == 2
        refused(
            session, text("select plan_version_id from tenants"), why=errors.InsufficientPrivilege
        )
        assert rows(session, "select id from steps") == []
        assert rows(session, "select id from record_entries where of <> 'accounts'") == []


def test_the_pages_read_no_key_of_any_backup(two: Two) -> None:
    """Whoever takes over what faces the world has not even the wraps."""
    with two.database.session(Role.WEB, tenant=two.acme) as session:
        for name in KEYS:
            refused(session, text(f"select * from {name}"), why=errors.InsufficientPrivilege)


# What a session sees


def readable(role: Role) -> list[Table]:
    return [table for table in TABLES if role is not Role.WEB or table.name not in KEYS]


@pytest.mark.parametrize("role", [Role.WEB, Role.WORKER])
def test_without_a_tenant_every_table_of_tenants_is_empty(two: Two, role: Role) -> None:
    with two.database.session(role) as session:
        tables = readable(role)
        seen = {table.name: count(session, table) for table in tables}
        tenants = session.execute(select(func.count()).select_from(Tenant)).scalar_one()
    assert seen == {table.name: 0 for table in tables}
    assert tenants == 0


@pytest.mark.parametrize("role", [Role.WEB, Role.WORKER])
def test_a_tenant_sees_its_own_rows_and_no_others(two: Two, role: Role) -> None:
    with two.database.session(role, tenant=two.acme) as session:
        for table in readable(role):
            owners = set(session.execute(select(table.c.tenant_id)).scalars())
            assert owners == {two.acme}, table.name
            theirs = select(table.c.id).where(table.c.id == two.of_bolt[table.name])
            assert session.execute(theirs).first() is None, table.name
        assert session.execute(select(Tenant.id)).scalars().all() == [two.acme]


@pytest.mark.parametrize("role", [Role.WORKER, Role.OPERATOR])
def test_no_row_can_be_inserted_for_another_tenant(two: Two, role: Role) -> None:
    with two.database.session(role, tenant=two.acme) as session:
        for table in TABLES:
            row = every_table.values(session, table, two.bolt, two.of_bolt)
            refused(session, insert(table).values(**row), why=errors.InsufficientPrivilege)


def updatable(session: Session) -> list[Table]:
    granted = rights(session, Role.WORKER)
    return [table for table in TABLES if "UPDATE" in granted.get(table.name, set())]


def test_no_row_of_another_tenant_can_be_updated(two: Two) -> None:
    with two.database.session(Role.WORKER, tenant=two.acme) as session:
        tables = updatable(session)
        assert len(tables) > 15
        for table in tables:
            theirs = table.c.id == two.of_bolt[table.name]
            changed = session.execute(update(table).where(theirs).values(id=uuid.uuid4()))
            assert changed.rowcount == 0, table.name


def test_no_row_of_another_tenant_can_be_deleted(two: Two) -> None:
    with two.database.session(Role.OPERATOR, tenant=two.acme) as session:
        granted = rights(session, Role.OPERATOR)
        tables = [table for table in TABLES if "DELETE" in granted[table.name]]
        assert tables
        for table in tables:
            gone = session.execute(table.delete().where(table.c.tenant_id == two.bolt))
            assert gone.rowcount == 0, table.name


def test_no_row_can_be_given_to_another_tenant(two: Two) -> None:
    with two.database.session(Role.WORKER, tenant=two.acme) as session:
        for table in updatable(session):
            given = update(table).where(table.c.id == two.of_acme[table.name])
            refused(session, given.values(tenant_id=two.bolt), why=errors.InsufficientPrivilege)


def test_no_row_can_refer_to_a_row_of_another_tenant_whoever_writes_it(
    two: Two, stack: Embedded
) -> None:
    assert stack.postgres.cluster is not None
    name = two.database.engine(Role.MIGRATOR).url.database
    with stack.postgres.cluster.connect(str(name)) as line:  # a superuser, past every policy
        for each in every_table.references():
            statement = f"update {each.table.name} set {each.column} = %s where id = %s"
            values = [two.of_bolt[each.target], two.of_acme[each.table.name]]
            with pytest.raises(errors.ForeignKeyViolation):
                line.execute(statement.encode(), values)
                pytest.fail(f"{each} took a row of another tenant")


def test_the_operator_reads_all_and_writes_only_for_the_tenant_it_is_bound_to(two: Two) -> None:
    with two.database.session(Role.OPERATOR) as session:
        for table in TABLES:
            owners = set(session.execute(select(table.c.tenant_id)).scalars())
            assert owners == {two.acme, two.bolt}, table.name
            row = every_table.values(session, table, two.acme, two.of_acme)
            refused(session, insert(table).values(**row), why=errors.InsufficientPrivilege)
        changed = session.execute(update(Tenant).values(name="ours now"))
        assert changed.rowcount == 0


READABLE = {
    "backup_runs",
    "copies",
    "deliveries",
    "drills",
    "healings",
    "points",
    "policies",
    "proofs",
    "removals",
    "repositories",
    "restores",
    "rotas",
    "rotations",
    "schedules",
    "slots",
    "steps",
}


def test_the_dispatcher_reads_what_falls_due_and_nothing_that_opens_or_describes_data(
    two: Two,
) -> None:
    with two.database.session(Role.DISPATCHER) as session:
        for table in TABLES:
            if table.name in READABLE:
                assert count(session, table) >= 2, table.name
            else:
                refused(session, select(table), why=errors.InsufficientPrivilege)


def test_of_a_source_the_dispatcher_only_learns_that_it_is_there(two: Two) -> None:
    with two.database.session(Role.DISPATCHER) as session:
        assert rows(session, "select id, tenant_id, removed_at from sources")
        for column in ("options", "name", "kind"):
            refused(
                session, text(f"select {column} from sources"), why=errors.InsufficientPrivilege
            )


# How a session comes to its tenant


def test_a_session_bound_to_one_tenant_is_not_bound_to_another(two: Two) -> None:
    with two.database.session(Role.WORKER, tenant=two.acme) as session:
        with pytest.raises(AnotherTenant):
            bind_tenant(session, two.bolt)
        with pytest.raises(AnotherTenant):
            bind_tenant(session, None)
        bind_tenant(session, two.acme)
    with two.database.session(Role.WORKER) as session, pytest.raises(AnotherTenant):
        bind_tenant(session, two.acme)


def test_a_savepoint_keeps_the_tenant(two: Two) -> None:
    with two.database.session(Role.WORKER, tenant=two.acme) as session:
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            raise ZeroDivisionError
        with session.begin_nested():
            session.execute(text("select 1"))
        assert session.execute(select(Tenant.id)).scalars().all() == [two.acme]


def test_a_pooled_connection_forgets_its_tenant(two: Two) -> None:
    with two.database.session(Role.WORKER, tenant=two.acme) as session:
        first = session.execute(text("select pg_backend_pid()")).scalar_one()
    with two.database.session(Role.WORKER) as session:
        again = session.execute(text("select pg_backend_pid()")).scalar_one()
        assert again == first  # or this test shows nothing
        assert session.execute(select(Tenant.id)).scalars().all() == []


def test_threads_that_share_few_connections_never_see_each_others_tenant(
    runtime: Runtime, two: Two
) -> None:
    shared = Database(runtime.settings.databases, pool=2)
    wrong: list[object] = []
    threads = [
        threading.Thread(target=_come_and_go, args=(shared, two, seed, wrong)) for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    assert wrong == []


def _come_and_go(shared: Database, two: Two, seed: int, wrong: list[object]) -> None:
    """Sessions of one tenant, the other or none; some end badly."""
    chance = random.Random(seed)
    for _ in range(25):
        tenant = chance.choice([two.acme, two.bolt, None])
        try:
            with shared.session(chance.choice([Role.WEB, Role.WORKER]), tenant=tenant) as session:
                seen = list(session.execute(select(Tenant.id)).scalars())
                if seen != ([] if tenant is None else [tenant]):
                    wrong.append((tenant, seen))
                if chance.random() < 0.3:
                    raise KeyError(seed)
        except KeyError:
            continue
