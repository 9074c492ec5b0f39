"""Which steps of restores, drills and deliveries the record tells of, when the system takes them."""

from __future__ import annotations

from restore.delivery.states import DeliveryState
from restore.states import DrillState, RestoreState
from strongroom.audit.leaves import Ending

RESTORES = {
    RestoreState.ASKED: Ending.DONE,
    RestoreState.WAITING: Ending.DONE,
    RestoreState.RUNNING: None,
    RestoreState.DONE: Ending.DONE,
    RestoreState.FAILED: Ending.FAILED,
    RestoreState.DECLINED: Ending.REFUSED,
    RestoreState.CANCELLED: Ending.DONE,
    RestoreState.QUARANTINED: Ending.FAILED,
}
DRILLS = {
    DrillState.WAITING: None,
    DrillState.RUNNING: None,
    DrillState.PASSED: Ending.DONE,
    DrillState.FAILED: Ending.FAILED,
    DrillState.QUARANTINED: Ending.FAILED,
}
DELIVERIES = {
    DeliveryState.PROPOSED: Ending.DONE,
    DeliveryState.WAITING: Ending.DONE,
    DeliveryState.RUNNING: None,
    DeliveryState.READY: Ending.DONE,
    DeliveryState.REDEEMED: Ending.DONE,
    DeliveryState.ENDING: Ending.DONE,
    DeliveryState.ENDED: Ending.DONE,
    DeliveryState.QUARANTINED: Ending.FAILED,
}
