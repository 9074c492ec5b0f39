"""What a page says of a restore in figures: speed, time left, how long it will take. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup.restic.outputs import Restored
from restore import approvals, conflicts, estimates
from restore.conflicts import Code
from restore.estimates import Sample
from restore.foreseen import MOST_NAMED, Foreseen
from restore.going import stamp
from restore.progress import LEAST_SECONDS, Meter, Teller, Told

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
MIB = 1024 * 1024


def told(*seen: tuple[float, int], total: int | None = 100 * MIB) -> Told:
    """After these, as (second, bytes)."""
    meter = Meter()
    found = [meter.seen(done, total, at=at) for at, done in seen]
    return found[-1]


def test_a_steady_stream_has_its_speed_and_the_time_that_is_left() -> None:
    seen = told(*((float(second), second * MIB) for second in range(21)))

    assert (seen.percent, seen.bytes, seen.total) == (20, 20 * MIB, 100 * MIB)
    assert seen.rate == pytest.approx(MIB)
    assert seen.left == pytest.approx(80)


def test_a_gust_moves_the_speed_but_little() -> None:
    steady = [(float(second), second * MIB) for second in range(21)]

    seen = told(*steady, (21.0, 40 * MIB))

    assert seen.rate is not None
    assert MIB < seen.rate < 4 * MIB


def test_nothing_is_told_before_it_can_be_known() -> None:
    early = told((0.0, 0), (LEAST_SECONDS / 2, MIB))
    endless = told((0.0, 0), (10.0, MIB), total=None)
    stuck = told((0.0, 0), (10.0, 0))

    assert (early.rate, early.left) == (None, None)
    assert (endless.percent, endless.total, endless.left) == (None, None, None)
    assert (stuck.percent, stuck.left) == (0, None)


def test_it_is_never_done_before_it_is() -> None:
    assert told((0.0, 0), (10.0, 100 * MIB - 1)).percent == 99
    assert told((0.0, 0), (10.0, 100 * MIB)).percent == 100
    assert told((0.0, 0), (10.0, 120 * MIB)).percent == 100  # compressed otherwise than before
    assert told((0.0, 0), (10.0, 120 * MIB)).left in (None, 0)


def test_it_is_written_down_once_a_second_at_most() -> None:
    written: list[dict[str, object]] = []
    tell = Teller(written.append, total=1000)

    for done in range(500):
        tell(done)

    assert len(written) == 1


def test_an_estimate_follows_what_was_measured() -> None:
    measured = [Sample(100 * MIB, 50.0), Sample(300 * MIB, 150.0)]

    assert estimates.estimate(600 * MIB, measured) == pytest.approx(300)
    assert estimates.estimate(1, measured) == 50.0  # the quickest: there is more to it than bytes
    assert estimates.estimate(MIB, []) is None
    assert estimates.estimate(MIB, [Sample(0, 3.0)]) == 3.0


def test_a_second_person_is_asked_above_the_size_and_not_at_it() -> None:
    assert not approvals.exceeds(10**15, None)
    assert not approvals.exceeds(100, 100)
    assert approvals.exceeds(101, 100)
    assert approvals.exceeds(1, 0)


def test_each_restore_has_a_second_of_its_own() -> None:
    second = timedelta(seconds=1)
    asked = [AT, AT + second / 2, AT + second / 2, AT + second, AT + 10 * second]

    stamps = [stamp(asked[: number + 1]) for number in range(len(asked))]

    assert stamps == [AT, AT + second, AT + 2 * second, AT + 3 * second, AT + 10 * second]


def test_what_would_change_is_counted_in_full_and_named_up_to_a_bound() -> None:
    seen = Foreseen()
    for number in range(MOST_NAMED + 5):
        seen.item(Restored(f"/{number}", "updated", 2))
    seen.item(Restored("/new", "restored", 1))
    seen.item(Restored("/same", "unchanged", 1))
    seen.item(Restored("/folder", "restored", 0))
    seen.live("/folder", goes=True)
    seen.live("/same", goes=True)
    seen.live("/elsewhere", goes=False)
    seen.live("/x" * 5000, goes=True)

    assert seen.counts == {"new": 1, "changed": MOST_NAMED + 5, "deleted": 1}
    assert len(seen.named["changed"]) == MOST_NAMED
    assert len(seen.named["deleted"][0]) == 1000
    assert seen.named["new"] == ["/new"]
    assert (seen.items, seen.bytes) == (MOST_NAMED + 8, 2 * (MOST_NAMED + 5) + 2)


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([], None),
        ([(9, False), (8, True), (7, True)], (Code.NEWER_VERIFIED, 8)),
        ([(9, False), (8, False)], (Code.NEWER_UNVERIFIED, 9)),
    ],
)
def test_a_newer_point_is_named_the_verified_one_first(
    points: list[tuple[int, bool]], found: tuple[Code, int] | None
) -> None:
    said = [(each.code, each.params["number"]) for each in conflicts.newer(points)]

    assert said == ([] if found is None else [found])
