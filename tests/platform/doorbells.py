"""What lies in the broker: the doorbells that were rung and nobody has answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from strongroom.dispatch import Dispatcher
from strongroom.runtime import Runtime
from strongroom.worker import Queue
from web import duties


@dataclass(frozen=True)
class Bell:
    """One message."""

    task: str
    tenant: UUID
    subject: UUID
    queue: str


@contextmanager
def broker(runtime: Runtime) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(runtime.settings.broker)
    try:
        yield client
    finally:
        client.close()


def waiting(runtime: Runtime) -> list[Bell]:
    """Every doorbell in every queue, the oldest of each queue first; takes them away."""
    with broker(runtime) as client:
        found = []
        for queue in Queue:
            while (raw := client.rpop(queue.value)) is not None:
                found.append(_bell(json.loads(raw), queue.value))  # type: ignore[arg-type]
        return found


def forget(runtime: Runtime) -> None:
    """The broker loses everything it knew."""
    with broker(runtime) as client:
        client.flushall()


def dispatcher(runtime: Runtime, **different: Any) -> Dispatcher:
    """A dispatcher that has just started, with all that the parts register."""
    usual = {
        "database": runtime.database,
        "app": runtime.app,
        "dues": duties.DUES,
        "planners": duties.PLANNERS,
        "started": runtime.now(),
    }
    return Dispatcher(**(usual | different))


def _bell(message: dict[str, Any], queue: str) -> Bell:
    (tenant, subject), _, _ = json.loads(base64.b64decode(message["body"]))
    return Bell(message["headers"]["task"], UUID(tenant), UUID(subject), queue)
