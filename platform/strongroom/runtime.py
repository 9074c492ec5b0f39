"""What a process of ours works with, put together once when it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from celery import Celery

from strongroom import clock
from strongroom.db import Database
from strongroom.errors import StrongroomError
from strongroom.keeper import Keeper
from strongroom.key_stores.choosing import choose
from strongroom.program import no_core_dumps, share_heaps
from strongroom.secrets_at_rest import Vault
from strongroom.settings import Settings
from strongroom.worker import make_app


@dataclass(frozen=True)
class Runtime:
    """The settings, and what was made from them."""

    settings: Settings
    database: Database
    vault: Vault
    keeper: Keeper
    app: Celery
    clock: Callable[[], datetime]  # business time

    def now(self) -> datetime:
        """Business time."""
        return self.clock()

    def folder(self, *parts: str) -> Path:
        """A private folder below the work folder, made if it is not there."""
        path = self.settings.work.joinpath(*parts)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


def make(settings: Settings, *, include: tuple[str, ...] = ()) -> Runtime:
    """Put a runtime together; nothing is connected before it is used."""
    no_core_dumps()
    share_heaps()
    database = Database(settings.databases)
    now = partial(clock.now, shift=settings.shift)
    return Runtime(
        settings=settings,
        database=database,
        vault=Vault(choose(settings.key_service, settings.keys, now)),
        keeper=Keeper(database),
        app=make_app(settings.broker, include=include),
        clock=now,
    )


class NotStarted(StrongroomError):
    """A task was called in a process that has no runtime."""

    code = "not-started"


_lock = threading.Lock()
_current: Runtime | None = None


def use(runtime: Runtime | None) -> None:
    """Make this the runtime of the process's tasks."""
    global _current
    with _lock:
        _current = runtime


def current() -> Runtime:
    """The runtime of this process; raises NotStarted."""
    if _current is None:
        raise NotStarted("This process has no runtime; start it with `strongroom serve`.")
    return _current
