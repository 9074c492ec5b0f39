"""Why backups fail, over all tenants: what has the same cause is one thing to mend, and to try again.

last runs that failed, points that are partial ─▶ by failure code ─▶ by cause
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from backup.planning import Order
from backup.states import Trigger
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from tenants import onboarding
from web import following, health, picture
from web.health import Attention, Health
from web.picture import Failing

MOST_AT_ONCE = 500  # tenants that are tried again
OF_RUNS = (Attention.LAST_RUN_FAILED, Attention.LAST_POINT_PARTIAL)

log = structlog.get_logger(__name__)


class Cause(StrEnum):
    """What has to be mended; in the order in which they are shown."""

    KEYS = "keys"
    STORAGE = "storage"
    CREDENTIALS = "credentials"
    SOURCE = "source"
    DUMP = "dump"
    CORRUPT = "corrupt"
    ROOM = "room"
    LOCK = "lock"
    PERMISSION = "permission"
    WORKERS = "workers"
    OTHER = "other"


CAUSES: Mapping[Cause, tuple[str, ...]] = {
    Cause.KEYS: (
        *("key-missing", "key-unreachable", "key-denied", "key-destroyed", "key-disabled"),
        *("key-retired", "key-wrong-context", "key-other-provider", "key-still-in-use"),
    ),
    Cause.STORAGE: (
        *("storage-unreachable", "storage-denied", "storage-failed", "storage-missing"),
        *("storage-untrue", "no-repository", "restic-no-repository", "region-away"),
    ),
    Cause.CREDENTIALS: ("source-sign-in-refused", "source-may-not-read"),
    Cause.SOURCE: (
        *("source-unreachable", "host-unknown", "source-no-database", "source-no-schema"),
        *("folder-missing", "not-a-folder", "source-missing", "source-empty", "source-odd"),
        *("source-too-much", "sources-failed"),
    ),
    Cause.DUMP: (
        *("dump-broken", "pg-dump-killed", "pg-dump-failed", "manifest-failed", "stream-broken"),
        *("stream-empty", "files-unread", "program-line-too-long"),
    ),
    Cause.CORRUPT: (
        *("repository-damaged", "repository-frozen", "repository-not-opened", "data-missing"),
        *("data-lost", "restic-wrong-key", "not-healed", "snapshot-vanished", "proof-failed"),
    ),
    Cause.ROOM: ("disk-full", "no-room", "dump-too-big"),
    Cause.LOCK: ("repository-busy", "restic-locked", "storage-locked"),
    Cause.PERMISSION: (
        *("folder-not-allowed", "host-not-allowed", "source-in-home", "region-not-allowed"),
    ),
    Cause.WORKERS: (
        *("worker-lost", "workers-lost", "program-timed-out", "program-stopped"),
        *("program-missing", "restic-failed", "restic-interrupted", "clocks-disagree"),
    ),
    Cause.OTHER: (),
}
CAUSE_OF = {code: cause for cause, codes in CAUSES.items() for code in codes}


@dataclass(frozen=True)
class Group:
    """Failures of one cause."""

    cause: Cause
    codes: Mapping[str, Failing]  # most tenants first

    @property
    def tenants(self) -> int:
        return sum(each.tenants for each in self.codes.values())


def grouped(failing: Mapping[str, Failing]) -> Sequence[Group]:
    """By cause, those that stop most tenants first. Pure."""
    by_cause: dict[Cause, dict[str, Failing]] = {}
    for code in sorted(failing, key=lambda each: (-failing[each].tenants, each)):
        by_cause.setdefault(CAUSE_OF.get(code, Cause.OTHER), {})[code] = failing[code]
    groups = [Group(cause, codes) for cause, codes in by_cause.items()]
    return sorted(groups, key=lambda each: (-each.tenants, list(Cause).index(each.cause)))


def read(runtime: Runtime) -> tuple[Sequence[Group], picture.Picture]:
    """All of them, and the picture that they are of."""
    with runtime.database.session(Role.OPERATOR) as session:
        taken = picture.of(session, now=runtime.now())
        return grouped(taken.failing()), taken


def again(runtime: Runtime, code: str, *, by: Actor) -> Sequence[str]:
    """A backup of every tenant whose last one failed for this reason; gives their slugs.

    Who is being backed up already is left alone, and so is who has been mended meanwhile. At most
    MOST_AT_ONCE; asked again, it goes on with the others.
    """
    with runtime.database.session(Role.OPERATOR) as session:
        failing = picture.of(session, now=runtime.now()).failing(code)
        some: Sequence[UUID] = failing[code].ids if code in failing else ()
        now = health.read(session, now=runtime.now(), tenants=some) if some else []
    tried = []
    for slug in [each.slug for each in now if _is_to_be_tried(each, code)][:MOST_AT_ONCE]:
        order = Order(Trigger.MANUAL, by, runtime.now())
        try:
            following.request(runtime, onboarding.named(runtime, slug), order)
        except StrongroomError as error:  # it has changed meanwhile; the others wait for theirs
            log.warning("a backup was not asked for again", tenant=slug, code=error.code)
        else:
            tried.append(slug)
    return tried


def _is_to_be_tried(tenant: Health, code: str) -> bool:
    busy = any(each.what == "backup" for each in tenant.working)
    bare = any(each.code is Attention.NO_SOURCES for each in tenant.troubles)
    return not busy and not bare and code in set(_codes(tenant))


def _codes(tenant: Health) -> Iterator[str]:
    for each in tenant.troubles:
        if each.code in OF_RUNS and each.failure is not None:
            yield each.failure["code"]
