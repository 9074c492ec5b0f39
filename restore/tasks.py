"""Thin tasks: restores on a queue of their own, rehearsed ones on that of the proofs."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from backup import tasks as backup_tasks
from restore import approvals, restoring
from restore.delivery import ending, making
from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState
from restore.models import Drill, Restore
from restore.rehearsed import drills, turns
from restore.states import DrillState, RestoreState
from strongroom import runtime
from strongroom.dispatch import Due, Planner
from strongroom.worker import Queue


@shared_task(name="restore.carry_out")
def carry_out(tenant: str, restore_id: str) -> None:
    """Bring back what was asked for; then its safety point can be browsed too."""
    restoring.carry_out(runtime.current(), UUID(tenant), UUID(restore_id))
    backup_tasks.catalogue(runtime.current(), UUID(tenant))


@shared_task(name="restore.drill")
def drill(tenant: str, drill_id: str) -> None:
    """Rehearse a restore."""
    drills.carry_out(runtime.current(), UUID(tenant), UUID(drill_id))


@shared_task(name="restore.deliver")
def deliver(tenant: str, delivery_id: str) -> None:
    """Make a preview or a download."""
    making.carry_out(runtime.current(), UUID(tenant), UUID(delivery_id))


@shared_task(name="restore.end_delivery")
def end_delivery(tenant: str, delivery_id: str) -> None:
    """End what has expired, and remove what has ended."""
    making.sweep(runtime.current())
    ending.carry_out(runtime.current(), UUID(tenant), UUID(delivery_id))


# In these a delivery falls due because its time is over, or something of it is to be removed.
PASSING = (
    *(DeliveryState.PROPOSED, DeliveryState.READY, DeliveryState.REDEEMED),
    *(DeliveryState.ENDING, DeliveryState.QUARANTINED),
)
DUES = (
    Due(Restore, (RestoreState.WAITING,), "restore.carry_out", Queue.RESTORE),
    Due(Delivery, (DeliveryState.WAITING,), "restore.deliver", Queue.RESTORE),
    Due(Delivery, PASSING, "restore.end_delivery", Queue.RESTORE, leased=False),
    Due(Drill, (DrillState.WAITING,), "restore.drill", Queue.VERIFY),
)
PLANNERS: tuple[Planner, ...] = (turns.plan_drills, approvals.lapse)
