"""Thin tasks of the restore queue."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from restore import restoring
from restore.models import Restore
from restore.states import RestoreState
from strongroom import runtime
from strongroom.dispatch import Due
from strongroom.worker import Queue


@shared_task(name="restore.carry_out")
def carry_out(tenant: str, restore_id: str) -> None:
    """Bring back what was asked for."""
    restoring.carry_out(runtime.current(), UUID(tenant), UUID(restore_id))


DUES = (Due(Restore, (RestoreState.WAITING,), "restore.carry_out", Queue.RESTORE),)
