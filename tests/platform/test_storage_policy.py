"""Session policies as data: who may do what, below which prefix."""

from __future__ import annotations

import fnmatch

import pytest

from strongroom.errors import BadValue
from strongroom.session_policy import LONGEST, Act, as_text, session_policy

PREFIX = "t/01890000-0000-7000-8000-000000000001/r/01890000-0000-7000-8000-000000000002/"
LONG_BUCKET = "b" * 63


def allows(act: Act, action: str, key: str) -> bool:
    """Whether the policy of an act lets `action` touch PREFIX + key."""
    target = f"arn:aws:s3:::vault/{PREFIX}{key}"
    return any(
        action in statement["Action"]
        and any(fnmatch.fnmatch(target, r) for r in statement["Resource"])
        for statement in session_policy("vault", PREFIX, act)["Statement"]
    )


@pytest.mark.parametrize("act", Act)
def test_every_policy_fits_what_sts_takes(act: Act) -> None:
    assert len(as_text(session_policy(LONG_BUCKET, PREFIX, act))) <= LONGEST


@pytest.mark.parametrize("act", Act)
def test_listing_is_bound_to_the_prefix_and_its_slash(act: Act) -> None:
    listing = session_policy("vault", PREFIX, act)["Statement"][0]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": [PREFIX + "*"]}}
    assert listing["Resource"] == ["arn:aws:s3:::vault"]


@pytest.mark.parametrize("act", Act)
def test_every_object_statement_lies_below_the_prefix(act: Act) -> None:
    for statement in session_policy("vault", PREFIX, act)["Statement"][1:]:
        assert all(r.startswith(f"arn:aws:s3:::vault/{PREFIX}") for r in statement["Resource"])


@pytest.mark.parametrize(
    "prefix", ["", "/", "t/1", "t/1*/", "t/../", "t//x/", "/t/1/", "t/${aws:username}/", "t/1/\n"]
)
def test_a_prefix_that_could_reach_further_is_refused(prefix: str) -> None:
    with pytest.raises(BadValue):
        session_policy("vault", prefix, Act.READ)


@pytest.mark.parametrize("part", ["data/ab/x", "index/x", "snapshots/x", "keys/x", "config"])
def test_a_backup_deletes_only_locks(part: str) -> None:
    assert not allows(Act.BACKUP, "s3:DeleteObject", part)
    assert allows(Act.BACKUP, "s3:DeleteObject", "locks/x")


@pytest.mark.parametrize("act", [act for act in Act if act is not Act.SWEEP])
def test_only_a_sweep_removes_versions_outside_locks(act: Act) -> None:
    parts = ["data/ab/x", "index/x", "snapshots/x", "keys/x", "config"]
    assert not any(allows(act, "s3:DeleteObjectVersion", part) for part in parts)
    assert all(allows(Act.SWEEP, "s3:DeleteObjectVersion", part) for part in parts)


@pytest.mark.parametrize("act", [act for act in Act if act is not Act.LOCK])
def test_only_the_act_of_locking_sets_a_retention(act: Act) -> None:
    assert not allows(act, "s3:PutObjectRetention", "data/ab/x")


def test_only_creation_writes_keys() -> None:
    assert [act for act in Act if allows(act, "s3:PutObject", "keys/x")] == [Act.CREATE]


def test_healing_deletes_only_the_packs_that_are_named() -> None:
    pack = "ab" * 32
    policy = session_policy("vault", PREFIX, Act.HEAL, packs=[pack])
    named = policy["Statement"][-1]
    assert named["Action"] == ["s3:DeleteObject"]
    assert named["Resource"] == [f"arn:aws:s3:::vault/{PREFIX}data/ab/{pack}"]
    assert not allows(Act.HEAL, "s3:DeleteObject", "data/ab/x")


def test_packs_are_refused_for_another_act_by_another_name_or_in_heaps() -> None:
    for act, packs in [
        (Act.PRUNE, ["ab" * 32]),
        (Act.HEAL, ["*"]),
        (Act.HEAL, [f"{number:064x}" for number in range(9)]),
    ]:
        with pytest.raises(BadValue):
            session_policy("vault", PREFIX, act, packs=packs)
