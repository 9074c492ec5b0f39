"""One worker at a time holds a repository, and rights to delete end before anyone takes it over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from backup import leases, repositories
from backup.models import Act as RecordedAct
from backup.models import Repository
from backup.repositories import RepositoryBusy
from backup.states import RepositoryState
from strongroom import storage
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.runtime import Runtime
from strongroom.storage import Act, Unreachable
from tenants.models import Tenant
from tests.backup.vaults import A, Vault, in_front_of, vault
from tests.cast import add_folder, back_up, rows_of
from tests.faults import Refuse

ELSEWHERE = "another-host:boot:1:1"  # nobody can tell whether that process has ended


def set_row(held: Vault, **values: object) -> None:
    with held.runtime.database.session(Role.WORKER, tenant=held.site.row.tenant_id) as session:
        session.execute(
            update(Repository).where(Repository.id == held.site.row.id).values(**values)
        )


def hold(held: Vault) -> None:
    with leases.leased(held.runtime, held.site.row.tenant_id, held.site.row.id):
        return


def test_a_second_holder_is_refused_at_once(runtime: Runtime, acme: Tenant) -> None:
    held = vault(runtime, acme)
    with (
        leases.leased(runtime, acme.id, held.site.row.id),
        pytest.raises(RepositoryBusy),
        leases.leased(runtime, acme.id, held.site.row.id),
    ):
        pass


@pytest.mark.parametrize(
    ("lease", "rights", "free"),
    [(-1, None, True), (1, None, False), (-1, 1, False), (-1, -1, True), (1, -1, False)],
)
def test_a_holder_elsewhere_is_waited_for_until_lease_and_rights_have_ended(
    runtime: Runtime, acme: Tenant, lease: int, rights: int | None, free: bool
) -> None:
    held, now = vault(runtime, acme), datetime.now(UTC)
    until = None if rights is None else now + timedelta(minutes=rights)
    set_row(
        held,
        owner=ELSEWHERE,
        lease_until=now + timedelta(minutes=lease),
        credentials_until=until,
    )

    if free:
        hold(held)
        assert held.row.owner is None
    else:
        with pytest.raises(RepositoryBusy):
            hold(held)
        assert held.row.owner == ELSEWHERE


def test_rights_to_delete_are_on_record_for_at_least_as_long_as_they_live(
    runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if we are held up between getting them and writing that down."""
    found = vault(runtime, acme)
    assume = storage.assume

    def slowly(*arguments: Any, **options: Any) -> storage.Credentials:
        made = assume(*arguments, **options)
        time.sleep(1.5)
        return made

    with leases.leased(runtime, acme.id, found.site.row.id) as held:
        monkeypatch.setattr(storage, "assume", slowly)
        rights = repositories.deleting(held.site, held.held, Act.PRUNE)

        until = found.row.credentials_until
        assert until is not None
        assert rights.expires is not None
        assert rights.expires <= until


@pytest.mark.parametrize(
    "change", [{"fence": 99}, {"lease_until": datetime(2026, 1, 1, tzinfo=UTC)}]
)
def test_who_has_lost_the_lease_gets_no_rights_to_delete(
    runtime: Runtime, acme: Tenant, change: dict[str, object]
) -> None:
    found = vault(runtime, acme)
    with leases.leased(runtime, acme.id, found.site.row.id) as held:
        set_row(found, **change)

        with pytest.raises(RepositoryBusy):
            repositories.deleting(held.site, held.held, Act.PRUNE)
        assert repositories.Lost(held.held).is_set()


def test_a_refusal_of_ours_leaves_the_repository_clean_and_a_failure_does_not(
    runtime: Runtime, acme: Tenant
) -> None:
    held = vault(runtime, acme)
    for error, unclean in ((Refused("no"), False), (StrongroomError("oh"), True)):
        with (
            pytest.raises(StrongroomError),
            leases.leased(runtime, acme.id, held.site.row.id),
        ):
            raise error
        assert held.row.unclean is unclean
        assert held.row.owner is None


def test_a_region_that_is_away_leaves_no_lease_no_act_and_nothing_to_tidy(
    runtime: Runtime, acme: Tenant
) -> None:
    held = vault(runtime, acme)
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        with pytest.raises(Unreachable):
            hold(held)

    assert held.row.owner is None
    assert held.row.unclean is False
    assert held.row.state is RepositoryState.NEW
    assert rows_of(runtime, acme, RecordedAct) == []


def test_released_locks_are_recorded_also_when_the_region_left_before_they_could_be(
    runtime: Runtime, acme: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme)
    with in_front_of(runtime, A) as proxy, leases.leased(runtime, acme.id, held.site.row.id):
        proxy.fault = Refuse()
    assert held.row.unclean is True

    hold(held)

    assert held.row.unclean is False
    assert {act.ended_at is None for act in rows_of(runtime, acme, RecordedAct)} == {False}
