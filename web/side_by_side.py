"""The same for many things, a few at a time, while somebody watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LOOK_SECONDS = 0.1


def carry_out(
    act: Callable[[T], R],
    things: Sequence[T],
    *,
    at_once: int,
    watch: Callable[[int], None],
    every: float,
) -> list[R]:
    """Results in the order of the things; `watch` hears every few seconds how many are done.

    The first exception is raised once all have ended. An interrupt is raised at once: what is under
    way ends with the process, so each act has to bear being killed.
    """
    done: dict[int, R | BaseException] = {}
    left = deque(enumerate(things))
    threads = [
        threading.Thread(target=_work, args=(act, left, done), daemon=True)
        for _ in range(min(at_once, len(things)))
    ]
    for thread in threads:
        thread.start()
    told = time.monotonic()
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(LOOK_SECONDS)
        if time.monotonic() - told >= every:
            watch(len(done))
            told = time.monotonic()
    results: list[R] = []
    for number in range(len(things)):
        result = done[number]
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


def _work(
    act: Callable[[T], R], left: deque[tuple[int, T]], done: dict[int, R | BaseException]
) -> None:
    while True:
        try:
            number, thing = left.popleft()
        except IndexError:
            return
        try:
            done[number] = act(thing)
        except BaseException as error:  # noqa: BLE001 - raised again by who asked
            done[number] = error
