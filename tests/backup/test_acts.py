"""Which object versions a recorded act of ours made noncurrent: those, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup import acts
from strongroom.storage import Version

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=10)


def version(
    key: str, name: str, *, at: datetime = NOON, marker: bool = False, latest: bool = False
) -> Version:
    return Version(key, name, latest, marker, at, 0 if marker else 10)


def marker(key: str, name: str, *, at: datetime = NOON, latest: bool = True) -> Version:
    return version(key, name, at=at, marker=True, latest=latest)


def test_a_delete_leaves_its_marker_and_the_version_beneath() -> None:
    seen = [version("a", "1"), marker("a", "2")]

    assert set(acts.made_by(seen, since=NOON, until=LATER)) == {("a", "1"), ("a", "2")}


def test_a_delete_that_was_sent_twice_leaves_two_markers_of_ours() -> None:
    seen = [version("a", "1"), marker("a", "2", latest=False), marker("a", "3")]

    assert {name for _, name in acts.made_by(seen, since=NOON, until=LATER)} == {"1", "2", "3"}


def test_an_overwritten_object_is_never_ours() -> None:
    seen = [version("a", "1"), version("a", "2", latest=True)]

    assert acts.made_by(seen, since=NOON, until=LATER) == []


def test_of_an_object_that_was_overwritten_and_then_deleted_the_first_version_stays_a_stranger() -> (
    None
):
    first = version("a", "1", at=NOON - timedelta(days=1))
    seen = [first, version("a", "2"), marker("a", "3")]

    ours = set(acts.made_by(seen, since=NOON, until=LATER))

    assert acts.split(seen, ours).strangers == (first,)


def test_deletes_before_and_after_the_act_are_not_its_own() -> None:
    early = marker("a", "1", at=NOON - timedelta(seconds=1))
    late = marker("b", "1", at=LATER + timedelta(seconds=1))

    assert acts.made_by([early, late], since=NOON, until=LATER) == []


def test_only_what_is_recorded_is_swept_and_markers_are_told_apart() -> None:
    seen = [version("a", "1"), marker("a", "2"), version("b", "1"), version("c", "1", latest=True)]

    split = acts.split(seen, {("a", "1"), ("a", "2"), ("c", "1")})

    assert set(split.ours) == {("a", "1"), ("a", "2")}
    assert split.markers == {("a", "2")}
    assert [each.key for each in split.strangers] == ["b"]
