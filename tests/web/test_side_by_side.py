"""A few at a time: results in their order, the first failure at the end, an interrupt at once."""

from __future__ import annotations

import threading

import pytest

from web.side_by_side import carry_out


def quiet(_done: int) -> None:
    pass


def test_results_come_in_the_order_of_the_things() -> None:
    first_may_end = threading.Event()

    def act(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(60)
        elif number == 3:
            first_may_end.set()
        return number * 10

    assert carry_out(act, range(4), at_once=2, watch=quiet, every=60) == [0, 10, 20, 30]


def test_one_that_fails_stops_no_other_and_is_told_at_the_end() -> None:
    seen: list[int] = []

    def act(number: int) -> None:
        seen.append(number)
        if number == 0:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        carry_out(act, range(3), at_once=1, watch=quiet, every=60)
    assert seen == [0, 1, 2]


def test_who_watches_hears_how_far_it_is_and_an_interrupt_ends_the_waiting() -> None:
    go_on = threading.Event()
    told: list[int] = []

    def watch(done: int) -> None:
        told.append(done)
        if done == 1:
            raise KeyboardInterrupt

    def act(number: int) -> None:
        if number:
            go_on.wait(60)

    with pytest.raises(KeyboardInterrupt):
        carry_out(act, range(2), at_once=2, watch=watch, every=0.01)
    go_on.set()
    assert told[-1] == 1


def test_nothing_to_do_is_done_at_once() -> None:
    assert carry_out(str, [], at_once=4, watch=quiet, every=60) == []
