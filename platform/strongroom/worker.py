"""The Celery app: messages are doorbells that carry ids; the rows are the truth.

Acknowledged early, no results, no ETAs, no beat: a lost, late or double message changes nothing,
because a task first *takes* its row (`lifecycle.take`) and the dispatcher rings again for what
nobody took.
"""

from __future__ import annotations

import enum
from typing import Any

from celery import Celery


class Queue(enum.StrEnum):
    """Queues, each with workers of its own in production."""

    BACKUP = "backup"  # runs, and for small tenants all that follows
    COPY = "copy"
    VERIFY = "verify"
    REMOVAL = "removal"
    RESTORE = "restore"  # never waits behind the others


def make_app(broker: str, *, include: tuple[str, ...] = ()) -> Celery:
    """An app for the broker at this URL; `include` names the modules with tasks."""
    app = Celery("strongroom", broker=broker, include=include)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_create_missing_queues=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30.0,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": 30,
            "health_check_interval": 10,
            "socket_keepalive": True,
        },
    )
    return app


def ring(app: Celery, *, task: str, queue: Queue, tenant: object, subject: object) -> None:
    """Send one doorbell; losing it costs a round of the dispatcher, nothing else."""
    app.send_task(task, args=(str(tenant), str(subject)), queue=queue.value, ignore_result=True)


def ring_all(app: Celery, bells: list[dict[str, Any]]) -> None:
    """Send many doorbells over one connection."""
    if not bells:
        return  # without asking for a connection: the broker may be away
    with app.producer_pool.acquire(block=True, timeout=10) as producer:
        for bell in bells:
            app.send_task(
                bell["task"],
                args=(str(bell["tenant"]), str(bell["subject"])),
                queue=bell["queue"].value,
                producer=producer,
                ignore_result=True,
            )
