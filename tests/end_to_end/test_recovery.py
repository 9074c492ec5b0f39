"""The machine is lost, the buckets are not: from them, and what opens them, back to work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select, update

from backup import cleaning, findings, leases, planning
from backup.models import BackupRun, Point, Repository, Source
from backup.states import Outcome, RunState
from restore.models import Restore
from restore.states import Destination, RestoreState
from strongroom import tombstones
from strongroom.actors import WORKER
from strongroom.audit import inspecting
from strongroom.audit.entries import Entry
from strongroom.audit.sequencing import Sequencer
from strongroom.db import Role
from strongroom.lifecycle import Move, take
from strongroom.runtime import Runtime
from tenants import onboarding, records
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tests.backup.vaults import digest, restored, vault, vaults
from tests.cast import (
    ACME,
    BOLT,
    SourceDatabase,
    add_database,
    add_folder,
    add_tenant,
    back_up,
    carry_out,
    fill,
    queue,
    rows_of,
)
from tests.end_to_end.losses import Company, company, given, upkeep
from tests.restore import asking

CLIO = NewTenant("clio", "Clio", "starter", "Asia/Riyadh", "SA", "ar-SA")
DORA = NewTenant("dora", "Dora", "starter", "Asia/Amman", "JO", "ar-JO")
COUNT = "select count(*), sum(amount) from orders"


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path / "company") as made:
        yield made


@pytest.fixture
def database(
    new_database: Callable[..., SourceDatabase], superuser: psycopg.Connection[Any]
) -> Iterator[SourceDatabase]:
    """Of a tenant: it outlives the machine, and is restored into."""
    made = new_database()
    superuser.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(made.user)))
    yield made
    names = superuser.execute(
        "SELECT datname FROM pg_database JOIN pg_roles r ON r.oid = datdba "
        "WHERE rolname = %s AND datname <> %s",
        [made.user, made.name],
    ).fetchall()
    for (name,) in names:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def tenants_of(runtime: Runtime) -> dict[str, Tenant]:
    with runtime.database.session(Role.OPERATOR) as session:
        return {row.slug: row for row in session.execute(select(Tenant)).scalars()}


def newest(runtime: Runtime, tenant: Tenant) -> Point:
    return rows_of(runtime, tenant, Point, Point.outcome == Outcome.COMPLETE)[-1]


def source_of(runtime: Runtime, tenant: Tenant) -> Source:
    [row] = rows_of(runtime, tenant, Source)
    return row


def the_folder_is_whole(runtime: Runtime, tenant: Tenant, folder: Path, to: Path) -> None:
    for held in vaults(runtime, tenant):
        assert restored(held, newest(runtime, tenant), to) == [digest(folder)]
        assert held.is_clean()


def schedule(runtime: Runtime) -> int:
    """What a dispatcher plans now."""
    with runtime.database.session(Role.DISPATCHER) as session:
        return planning.enqueue_due(session, runtime.now())


def waiting_run(runtime: Runtime, tenant: Tenant) -> UUID:
    [row] = rows_of(runtime, tenant, BackupRun, BackupRun.state == RunState.QUEUED)
    return row.id


def test_two_tenants_come_back_whole_from_buckets_and_shares_alone(
    lost: Company,
    database: SourceDatabase,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    files = tmp_path / "files"
    with lost.platform("home") as before:
        acme, bolt, clio = (add_tenant(before, new) for new in (ACME, BOLT, CLIO))
        add_folder(before, acme, files)
        orders = add_database(before, bolt, database)
        add_folder(before, clio, tmp_path / "clio")
        for tenant in (acme, bolt, clio):
            back_up(before, tenant)
        shares = lost.ceremony(before)
        Sequencer(before).round()
        upkeep(before)  # the dump
        fill(files, files=9, words="written since")
        database.run("insert into orders select n, 1, 2.5 from generate_series(501, 900) n")
        back_up(before, acme)
        back_up(before, acme)  # nothing changed: no snapshot says so
        back_up(before, bolt)
        dora = add_tenant(before, DORA)
        add_folder(before, dora, tmp_path / "dora")
        back_up(before, dora)
        records.refresh(before, dora.id)
        tombstones.bury(before, clio.id, at=before.now())
        counted = database.rows(COUNT)
        assert Sequencer(before).round() > 0  # more than the dump has
        signed = inspecting.standing(before).size
    lost.lose("home")

    said = lost.recover("home", *given(shares[1:4]))

    report = said.document
    assert said.code == 0, said
    record_property("seconds", report["seconds"])
    assert (report["tenants"], report["buried"]) == (3, [str(clio.id)])
    assert report["rebuilt"] == ["dora"]
    assert (report["points_adopted"], report["points_known"]) == (4, 6)
    assert report["dump"].startswith("control/")
    assert report["opened_by_escrow"] > 0
    assert (report["closed"], report["strangers"], report["odd"]) == ([], [], [])
    again = lost.recover("home", *given(shares[1:4]))
    assert again.code == 0
    assert again.document == {**report, "already": True}

    with lost.platform("home") as after:
        there = tenants_of(after)
        assert set(there) == {"acme", "bolt", "dora"}
        assert [(p.number, p.outcome) for p in rows_of(after, there["acme"], Point)] == [
            (number, Outcome.COMPLETE) for number in (1, 2, 3)
        ]
        assert not list(after.settings.keys.glob(f"{clio.id}*"))
        the_folder_is_whole(after, there["acme"], files, tmp_path / "back")
        the_folder_is_whole(after, there["dora"], tmp_path / "dora", tmp_path / "back")
        database.run("truncate orders")
        point = newest(after, there["bolt"])
        asking.give_back(after, point, orders, Destination.IN_PLACE)
        assert database.rows(COUNT) == counted
        nothing_is_removed_until_a_person_has_looked(after, there["acme"])
        nothing_that_was_found_is_taken_for_leavings(after, there["acme"])
        the_next_slot_works_and_none_before_it(after, lost, there["acme"], there["bolt"])
        the_record_goes_on(after, signed, clio)


def the_record_goes_on(runtime: Runtime, signed: int, buried: Tenant) -> None:
    assert inspecting.standing(runtime).size == signed
    assert Sequencer(runtime).round() > 0
    report = inspecting.inspect(runtime)
    assert (report.problems, report.open) == ([], [])
    with runtime.database.session(Role.OPERATOR) as session:
        wanted = select(Entry).where(Entry.tenant_id == buried.id)
        theirs = session.execute(wanted).scalars().all()
        codes = set(session.execute(select(Entry.code)).scalars())
    assert theirs
    assert all(row.details is None and row.salt is None for row in theirs)
    assert {"platform.recovered", "record.mended"} <= codes


def nothing_is_removed_until_a_person_has_looked(runtime: Runtime, tenant: Tenant) -> None:
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        [finding] = findings.open_of(session, tenant.id, freezing=True)
        assert (finding.code, finding.params["adopted"]) == ("recovered", 2)


def nothing_that_was_found_is_taken_for_leavings(runtime: Runtime, tenant: Tenant) -> None:
    for held in vaults(runtime, tenant):
        listed = held.snapshot_ids()
        with leases.leased(runtime, tenant.id, held.site.row.id) as leased:
            assert cleaning.forget_orphans(leased) == 0
        assert held.snapshot_ids() == listed
        assert {row.restic_id for row in held.rows()} == listed


def the_next_slot_works_and_none_before_it(
    runtime: Runtime, lost: Company, *tenants: Tenant
) -> None:
    assert schedule(runtime) == 0
    lost.clock.forward(days=1)
    assert schedule(runtime) == 3
    for tenant in tenants:
        point = carry_out(runtime, tenant, waiting_run(runtime, tenant))
        assert point is not None
        assert point.outcome is Outcome.COMPLETE


@pytest.mark.long
def test_what_was_going_on_when_the_dump_was_taken_is_not_done_twice(
    lost: Company, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    with lost.platform("home") as before:
        acme = add_tenant(before, ACME)
        source = add_folder(before, acme, files)
        point = back_up(before, acme)
        shares = lost.ceremony(before)
        fill(files, files=5, words="later")
        going_on, never_done = queue(before, acme), queue(before, acme)
        asked = asking.ask(before, point, source, tmp_path / "restored")
        held = vault(before, acme)
        with before.database.session(Role.WORKER, tenant=acme.id) as session:
            run = session.get_one(BackupRun, going_on)
            take(session, run, owner="gone:boot:1:1", move=Move(by=WORKER, at=before.now()))
            session.execute(
                update(Repository)
                .where(Repository.id == held.site.row.id)
                .values(owner="gone:boot:1:1", fence=Repository.fence + 1)
            )
        upkeep(before)  # the dump, with a worker's leases in it
        with before.database.session(Role.WORKER, tenant=acme.id) as session:
            session.execute(
                update(BackupRun)
                .where(BackupRun.id == going_on)
                .values(state=RunState.QUEUED, owner=None, lease_until=None)
            )
            session.execute(update(Repository).values(owner=None, lease_until=None))
        assert carry_out(before, acme, going_on) is not None
    lost.lose("home")

    said = lost.recover("home", *given(shares[:3]))
    assert said.code == 0, said

    with lost.platform("home") as after:
        acme = tenants_of(after)["acme"]
        runs = {row.id: row for row in rows_of(after, acme, BackupRun)}
        assert runs[going_on].state is RunState.STORED
        assert runs[never_done].state is RunState.FAILED
        assert runs[never_done].failure is not None
        assert runs[never_done].failure["code"] == "recovered"
        [restore] = rows_of(after, acme, Restore)
        assert (restore.id, restore.state) == (asked.id, RestoreState.CANCELLED)
        assert not (tmp_path / "restored").exists()
        assert [row.owner for row in rows_of(after, acme, Repository)] == [None, None]
        the_folder_is_whole(after, acme, files, tmp_path / "back")
        assert back_up(after, acme).outcome is Outcome.COMPLETE


def test_without_any_dump_all_is_built_from_records_and_snapshots(
    lost: Company, database: SourceDatabase, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    with lost.platform("home") as before:
        acme, bolt = add_tenant(before, ACME), add_tenant(before, BOLT)
        add_folder(before, acme, files)
        add_database(before, bolt, database)
        back_up(before, acme)
        fill(files, files=7, words="second")
        back_up(before, acme)
        back_up(before, bolt)
        shutil.copytree(before.settings.keys, tmp_path / "keys")
        upkeep(before)
        shares = lost.ceremony(before)
        for held in vaults(before, acme):
            for each in list(held.store.list("control/")):
                if each.key.endswith(".sealed"):
                    held.store.put(each.key, b"damaged")
    lost.lose("home")

    said = lost.recover("home", *given(shares[:3]))

    assert said.code == 0, said
    report = said.document
    assert (report["dump"], sorted(report["rebuilt"])) == (None, ["acme", "bolt"])
    assert report["points_known"] == report["points_adopted"] == 3
    assert len(report["odd"]) == 2  # the damaged dump, in both regions
    with lost.platform("home") as after:
        there = tenants_of(after)
        assert (there["bolt"].name, there["bolt"].zone) == (BOLT.name, BOLT.zone)
        the_folder_is_whole(after, there["acme"], files, tmp_path / "back")
        assert [point.number for point in rows_of(after, there["acme"], Point)] == [1, 2]
        assert back_up(after, there["bolt"]).outcome is Outcome.COMPLETE


@pytest.mark.long
def test_a_backup_of_the_key_store_opens_it_all_without_shares(
    lost: Company, tmp_path: Path
) -> None:
    with lost.platform("home") as before:
        acme = add_tenant(before, ACME)
        add_folder(before, acme, tmp_path / "files")
        back_up(before, acme)
        upkeep(before)
        shutil.copytree(before.settings.keys, tmp_path / "keys")
    lost.lose("home")

    looked = lost.recover("home", "--key-store", tmp_path / "keys", "--dry-run")
    assert (looked.code, looked.document["dry_run"]) == (0, True)
    assert not (lost.place / "home").exists()
    said = lost.recover("home", "--key-store", tmp_path / "keys")

    assert said.code == 0, said
    assert said.document["opened_by_escrow"] == 0
    with lost.platform("home") as after:
        acme = tenants_of(after)["acme"]
        the_folder_is_whole(after, acme, tmp_path / "files", tmp_path / "back")
        assert onboarding.named(after, "acme").id == acme.id
