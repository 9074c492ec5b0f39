"""Who may do what: one table of roles and actions, and one pure decision over it.

A role alone is not enough where the table says `step_up` (a second factor, proven a moment ago) or
`grant` (support staff have no standing access to what is a tenant's). Staff, and tenants' owners
and admins, do nothing at all before a second factor was proven in the session.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

FRESH = timedelta(minutes=10)  # so long a step-up holds


class TenantRole(enum.StrEnum):
    """What a person is in a tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    VIEWER = "viewer"  # sees how things stand; reads and restores nothing


class StaffRole(enum.StrEnum):
    """What a person is in the company that runs the platform; one each, so that duties part."""

    OPERATOR = "operator"
    READER = "operator-read-only"
    SUPPORT = "support"
    PRIVACY = "privacy-officer"
    AUDITOR = "auditor"


class GrantScope(enum.StrEnum):
    """What a support grant opens; each holds those before it."""

    STATUS = "status"
    READ = "read"
    RESTORE = "restore"


class Action(enum.StrEnum):
    """Everything that a page or a command may ask leave for."""

    # of the platform
    SEE_CONSOLE = "see-console"
    OPERATE = "operate"
    MANAGE_STAFF = "manage-staff"
    CHECK_PIN = "check-pin"
    ASK_GRANT = "ask-grant"
    SECOND_GRANT = "second-grant"  # approve a grant in the tenant's place
    SEE_GRANTS = "see-grants"
    RELEASE_HOLD = "release-hold"
    SEE_RECORD = "see-record"
    HANDLE_KEYS = "handle-keys"  # shares of the escrow key
    SEE_PROMISES = "see-promises"
    ATTEST_PROMISE = "attest-promise"  # confirm with a document what nothing can measure
    SIGN_STATEMENT = "sign-statement"  # of what became of the promises
    # of one tenant
    SEE_STATUS = "see-status"
    BROWSE = "browse"  # names, contents, previews, differences
    PREVIEW_RESTORE = "preview-restore"
    RESTORE_ASIDE = "restore-aside"
    RESTORE_IN_PLACE = "restore-in-place"
    APPROVE_RESTORE = "approve-restore"  # of somebody else, where the plan wants two people
    CANCEL_RESTORE = "cancel-restore"
    UNDO_RESTORE = "undo-restore"
    DOWNLOAD = "download"  # data leaves the platform
    FETCH_DOWNLOAD = "fetch-download"  # choose one, watch it, fetch what was confirmed
    SEE_HISTORY = "see-history"
    SEE_PIN = "see-pin"
    SEE_TENANT_GRANTS = "see-tenant-grants"
    DECIDE_GRANT = "decide-grant"
    END_GRANT = "end-grant"
    MANAGE_MEMBERS = "manage-members"
    SET_CONTACT = "set-contact"
    EXPORT_KIT = "export-kit"  # a copy of the key


class Verdict(enum.StrEnum):
    """What `may` says."""

    YES = "yes"
    NO = "no"
    SECOND_FACTOR = "second-factor"  # yes, once a second factor was proven in this session
    STEP_UP = "step-up"  # yes, once it was proven again, just now


@dataclass(frozen=True)
class Rule:
    """Who may do one thing."""

    tenant: frozenset[TenantRole] = frozenset()
    staff: frozenset[StaffRole] = frozenset()
    grant: GrantScope | None = None  # support with a standing grant that opens at least this
    step_up: bool = False


@dataclass(frozen=True)
class Person:
    """Who asks, as far as the decision needs it: in one session, before one tenant or none."""

    account: uuid.UUID
    staff: StaffRole | None = None
    tenant: TenantRole | None = None  # in the tenant concerned
    grant: GrantScope | None = None  # the widest that stands for this person and tenant, now
    proven: bool = False  # a second factor was proven in this session
    stepped_up_at: datetime | None = None


OWNERS = frozenset({TenantRole.OWNER})
ADMINS = frozenset({TenantRole.OWNER, TenantRole.ADMIN})
MEMBERS = frozenset(TenantRole)
OPERATOR, READER = StaffRole.OPERATOR, StaffRole.READER
SUPPORT, PRIVACY, AUDITOR = StaffRole.SUPPORT, StaffRole.PRIVACY, StaffRole.AUDITOR
OPERATORS = frozenset({OPERATOR})
WATCHERS = frozenset({OPERATOR, READER, PRIVACY, AUDITOR})
STAFF = frozenset(StaffRole)
STATUS, READ, RESTORE = GrantScope.STATUS, GrantScope.READ, GrantScope.RESTORE
WIDTH = {scope: width for width, scope in enumerate(GrantScope)}

RULES: Mapping[Action, Rule] = {
    Action.SEE_CONSOLE: Rule(staff=WATCHERS),
    Action.OPERATE: Rule(staff=OPERATORS),
    Action.MANAGE_STAFF: Rule(staff=OPERATORS, step_up=True),
    Action.CHECK_PIN: Rule(staff=frozenset({SUPPORT, OPERATOR, PRIVACY})),
    Action.ASK_GRANT: Rule(staff=frozenset({SUPPORT, OPERATOR})),
    Action.SECOND_GRANT: Rule(staff=OPERATORS, step_up=True),
    Action.SEE_GRANTS: Rule(staff=STAFF),
    Action.RELEASE_HOLD: Rule(staff=frozenset({PRIVACY}), step_up=True),
    Action.SEE_RECORD: Rule(staff=frozenset({OPERATOR, PRIVACY, AUDITOR})),
    Action.HANDLE_KEYS: Rule(staff=OPERATORS, step_up=True),
    Action.SEE_PROMISES: Rule(staff=WATCHERS),
    Action.ATTEST_PROMISE: Rule(staff=frozenset({PRIVACY}), step_up=True),
    Action.SIGN_STATEMENT: Rule(staff=frozenset({PRIVACY, AUDITOR})),
    Action.SEE_STATUS: Rule(MEMBERS, WATCHERS, grant=STATUS),
    Action.BROWSE: Rule(ADMINS, grant=READ),
    Action.PREVIEW_RESTORE: Rule(ADMINS, grant=READ),
    Action.RESTORE_ASIDE: Rule(ADMINS, OPERATORS, grant=RESTORE),
    Action.RESTORE_IN_PLACE: Rule(ADMINS, OPERATORS, grant=RESTORE, step_up=True),
    Action.APPROVE_RESTORE: Rule(ADMINS, OPERATORS, step_up=True),
    Action.CANCEL_RESTORE: Rule(ADMINS, OPERATORS, grant=RESTORE),
    Action.UNDO_RESTORE: Rule(ADMINS, OPERATORS, grant=RESTORE, step_up=True),
    Action.DOWNLOAD: Rule(ADMINS, grant=RESTORE, step_up=True),
    Action.FETCH_DOWNLOAD: Rule(ADMINS, grant=RESTORE),
    Action.SEE_HISTORY: Rule(ADMINS, frozenset({OPERATOR, PRIVACY, AUDITOR}), grant=STATUS),
    Action.SEE_PIN: Rule(ADMINS),
    Action.SEE_TENANT_GRANTS: Rule(MEMBERS, STAFF),
    Action.DECIDE_GRANT: Rule(ADMINS, step_up=True),
    Action.END_GRANT: Rule(ADMINS, OPERATORS),
    Action.MANAGE_MEMBERS: Rule(OWNERS, step_up=True),
    Action.SET_CONTACT: Rule(ADMINS, step_up=True),
    Action.EXPORT_KIT: Rule(OWNERS, OPERATORS, step_up=True),
}


def may(person: Person, action: Action, *, now: datetime, fresh: timedelta = FRESH) -> Verdict:
    """Pure. Nobody learns of a missing proof for what would never be theirs."""
    rule = RULES[action]
    if not _is_theirs(person, rule):
        return Verdict.NO
    if needs_second_factor(person.staff, person.tenant) and not person.proven:
        return Verdict.SECOND_FACTOR
    if rule.step_up and not is_fresh(person.stepped_up_at, now=now, fresh=fresh):
        return Verdict.STEP_UP
    return Verdict.YES


def _is_theirs(person: Person, rule: Rule) -> bool:
    if person.tenant in rule.tenant or person.staff in rule.staff:
        return True
    if rule.grant is None or person.grant is None or person.staff is None:
        return False
    return WIDTH[person.grant] >= WIDTH[rule.grant]


def needs_second_factor(staff: StaffRole | None, tenant: TenantRole | None) -> bool:
    """Staff, owners and admins; viewers are offered one."""
    return staff is not None or tenant in ADMINS


def is_fresh(moment: datetime | None, *, now: datetime, fresh: timedelta = FRESH) -> bool:
    """Whether a step-up at that moment still holds; one in the future never does."""
    return moment is not None and timedelta(0) <= now - moment < fresh


def widest(scopes: list[GrantScope]) -> GrantScope | None:
    """Of several grants that stand at once."""
    return max(scopes, key=WIDTH.__getitem__, default=None)
