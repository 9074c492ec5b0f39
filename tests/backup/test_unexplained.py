"""What nobody can explain freezes a repository; a person's word and a proof let it go on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup import removal, unexplained
from backup.models import Copy, Finding, Point, Proof
from backup.states import Decision, ProofState, RemovalState, RepositoryState
from backup.verify import prove
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.storage import Version
from tenants.models import Tenant
from tests.backup.harming import flip
from tests.backup.test_removal import let_go, two_points
from tests.backup.vaults import Vault, digest, removals, restored, set_policy, vault
from tests.cast import FakeClock, rows_of
from tests.web.command_line import Desk, Said, sit_down

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def version(key: str, name: str, *, marker: bool = False) -> Version:
    return Version(f"t/{key}", name, marker, marker, NOON, 0 if marker else 9)


def test_a_word_is_for_exactly_the_versions_that_were_shown() -> None:
    one, two = version("data/ab/1", "v1"), version("data/ab/1", "v2", marker=True)

    assert unexplained.digest([one, two]) == unexplained.digest([two, one])
    assert unexplained.digest([one]) != unexplained.digest([one, two])
    assert unexplained.digest([version("x", "ab")]) != unexplained.digest([version("xa", "b")])


def test_a_finding_says_where_how_many_and_what_became_of_them() -> None:
    seen = [
        version("data/ab/1", "v2", marker=True),
        version("data/ab/1", "v1"),
        version("index/2", "v3"),
    ]

    said = unexplained.told(seen, "t/")

    assert (said["count"], said["deleted"]) == (3, {"data": 1})
    assert said["beneath"] == {"data": 1, "index": 1}
    assert said["keys"] == ["data/ab/1", "index/2"]
    assert said["first"] == said["last"] == NOON.isoformat()


@pytest.fixture
def frozen(runtime: Runtime, acme: Tenant, tmp_path: Path) -> tuple[Vault, Point]:
    """A repository in which everything is whole, and something lies beneath that nobody explains."""
    _, second = two_points(runtime, acme, tmp_path)
    held = vault(runtime, acme)
    stray(held, "data/00/" + "0" * 64)
    set_policy(runtime, acme)
    let_go(runtime, acme)
    assert held.row.state is RepositoryState.FROZEN
    return held, second


def stray(held: Vault, path: str) -> None:
    """Something that came and went, and that no row knows of; as a prune of a lost platform."""
    held.store.put(held.prefix + path, b"of old")
    held.store.delete(held.prefix + path)


def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


def open_ones(runtime: Runtime, tenant: Tenant) -> list[Finding]:
    return list(
        rows_of(
            runtime,
            tenant,
            Finding,
            Finding.settled_at.is_(None),
            Finding.code == unexplained.CODE,
        )
    )


def settle(at: Desk, runtime: Runtime, tenant: Tenant, word: str) -> Said:
    [finding] = open_ones(runtime, tenant)
    return at("finding", word, str(finding.id), "--note", "our prune of last week", "--json")


def prove_all(runtime: Runtime, tenant: Tenant, held: Vault) -> list[Proof]:
    """What a worker does that the dispatcher rings for."""
    here = {row.id for row in rows_of(runtime, tenant, Copy, Copy.repository_id == held.row.id)}
    waiting = rows_of(runtime, tenant, Proof, Proof.state == ProofState.WAITING)
    done = [prove(runtime, tenant.id, row.id) for row in waiting if row.copy_id in here]
    return [row for row in done if row is not None]


def apply(held: Vault) -> None:
    removal.apply(held.runtime, held.row.tenant_id, held.row.id)


def of(runtime: Runtime, tenant: Tenant, held: Vault) -> set[RemovalState]:
    return {row.state for row in removals(runtime, tenant) if row.repository_id == held.row.id}


def test_what_was_accepted_and_proven_goes_with_the_next_removal(
    runtime: Runtime,
    stack: Embedded,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    frozen: tuple[Vault, Point],
) -> None:
    held, point = frozen
    at = desk(stack, runtime, tmp_path)
    [finding] = open_ones(runtime, acme)
    assert finding.params["deleted"] == {"data": 1}
    clock.forward(minutes=1)

    said = settle(at, runtime, acme, "accept")

    assert said.code == 0
    apply(held)  # not before it is proven
    assert held.row.state is RepositoryState.FROZEN
    assert of(runtime, acme, held) == {RemovalState.PLANNED}
    assert open_ones(runtime, acme) == []
    clock.forward(minutes=1)
    assert len(prove_all(runtime, acme, held)) == 1
    [passed] = rows_of(runtime, acme, Proof, Proof.asked_by != "worker")
    assert passed.state is ProofState.PASSED
    waking = [row.due_at for row in removals(runtime, acme) if row.repository_id == held.row.id]
    assert all(each <= runtime.now() for each in waking)  # not in an hour
    apply(held)
    assert held.row.state is RepositoryState.READY
    assert of(runtime, acme, held) == {RemovalState.GONE}
    assert held.left_over() == []
    assert held.is_clean()
    assert restored(held, point, tmp_path / "back") == [digest(tmp_path / "files")]


@pytest.mark.long
def test_one_more_version_is_not_covered_by_the_word(
    runtime: Runtime,
    stack: Embedded,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    frozen: tuple[Vault, Point],
) -> None:
    held, _ = frozen
    settle(desk(stack, runtime, tmp_path), runtime, acme, "accept")
    clock.forward(minutes=1)
    prove_all(runtime, acme, held)
    stray(held, "data/11/" + "1" * 64)
    before = {each for each in held.left_over() if "/locks/" not in each.key}

    apply(held)

    assert held.row.state is RepositoryState.FROZEN
    [again] = open_ones(runtime, acme)
    assert again.params["deleted"] == {"data": 2}
    assert before <= set(held.left_over())


def test_a_word_does_not_outweigh_damage(
    runtime: Runtime,
    stack: Embedded,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    frozen: tuple[Vault, Point],
) -> None:
    """Somebody overwrote a pack, and what lies beneath is the only good one."""
    held, _ = frozen
    [key] = held.packs()[:1]
    held.store.put(key, flip(held.store.get(key)))
    apply(held)
    settle(desk(stack, runtime, tmp_path), runtime, acme, "accept")
    clock.forward(minutes=1)

    prove_all(runtime, acme, held)
    apply(held)

    assert held.row.state is RepositoryState.FROZEN
    assert key in {each.key for each in held.left_over()}
    assert of(runtime, acme, held) == {RemovalState.PLANNED}


@pytest.mark.long
def test_what_was_rejected_stays_and_is_asked_again_after_a_week(
    runtime: Runtime,
    stack: Embedded,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    frozen: tuple[Vault, Point],
) -> None:
    held, _ = frozen
    settle(desk(stack, runtime, tmp_path), runtime, acme, "reject")
    prove_all(runtime, acme, held)

    apply(held)
    assert (held.row.state, open_ones(runtime, acme)) == (RepositoryState.FROZEN, [])
    clock.forward(days=8)
    apply(held)

    assert held.row.state is RepositoryState.FROZEN
    assert len(open_ones(runtime, acme)) == 1
    words = {row.decision for row in rows_of(runtime, acme, Finding)}
    assert words == {None, Decision.REJECTED}
