"""The one decision: every role and every action."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.people.rules import (
    FRESH,
    RULES,
    Action,
    GrantScope,
    Person,
    StaffRole,
    TenantRole,
    Verdict,
    may,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ME = uuid.UUID(int=7)
# Who may do what, written out: a letter a role, in the order of the line below.
COLUMNS = (
    *(TenantRole.OWNER, TenantRole.ADMIN, TenantRole.VIEWER),
    *(StaffRole.OPERATOR, StaffRole.READER, StaffRole.SUPPORT),
    *(StaffRole.PRIVACY, StaffRole.AUDITOR),
)
#                          tenant  staff        s = after a step-up, + = at once, . = never
TABLE = {
    Action.SEE_CONSOLE: "... ++.++",
    Action.OPERATE: "... +....",
    Action.MANAGE_STAFF: "... s....",
    Action.CHECK_PIN: "... +.++.",
    Action.ASK_GRANT: "... +.+..",
    Action.SECOND_GRANT: "... s....",
    Action.SEE_GRANTS: "... +++++",
    Action.RELEASE_HOLD: "... ...s.",
    Action.SEE_RECORD: "... +..++",
    Action.HANDLE_KEYS: "... s....",
    Action.SEE_PROMISES: "... ++.++",
    Action.ATTEST_PROMISE: "... ...s.",
    Action.SIGN_STATEMENT: "... ...++",
    Action.SEE_STATUS: "+++ ++.++",
    Action.BROWSE: "++. .....",
    Action.PREVIEW_RESTORE: "++. .....",
    Action.RESTORE_ASIDE: "++. +....",
    Action.RESTORE_IN_PLACE: "ss. s....",
    Action.APPROVE_RESTORE: "ss. s....",
    Action.CANCEL_RESTORE: "++. +....",
    Action.UNDO_RESTORE: "ss. s....",
    Action.DOWNLOAD: "ss. .....",
    Action.FETCH_DOWNLOAD: "++. .....",
    Action.SEE_HISTORY: "++. +..++",
    Action.SEE_PIN: "++. .....",
    Action.SEE_TENANT_GRANTS: "+++ +++++",
    Action.DECIDE_GRANT: "ss. .....",
    Action.END_GRANT: "++. +....",
    Action.MANAGE_MEMBERS: "s.. .....",
    Action.SET_CONTACT: "ss. .....",
    Action.EXPORT_KIT: "s.. s....",
}
CASES = [
    (role, action, letters.replace(" ", "")[at])
    for action, letters in TABLE.items()
    for at, role in enumerate(COLUMNS)
]
OPENED = {  # by a support grant, to an engineer who may nothing by role
    GrantScope.STATUS: {Action.SEE_STATUS, Action.SEE_HISTORY},
    GrantScope.READ: {Action.BROWSE, Action.PREVIEW_RESTORE},
    GrantScope.RESTORE: {
        *(Action.RESTORE_ASIDE, Action.RESTORE_IN_PLACE, Action.CANCEL_RESTORE),
        *(Action.UNDO_RESTORE, Action.DOWNLOAD, Action.FETCH_DOWNLOAD),
    },
}


def asking(role: TenantRole | StaffRole, *, proven: bool, stepped_up: bool) -> Person:
    return Person(
        ME,
        staff=role if isinstance(role, StaffRole) else None,
        tenant=role if isinstance(role, TenantRole) else None,
        proven=proven,
        stepped_up_at=NOW if stepped_up else None,
    )


def test_the_table_speaks_of_every_role_and_action() -> None:
    assert set(TABLE) == set(Action) == set(RULES)
    assert set(COLUMNS) == {*TenantRole, *StaffRole}
    assert len(CASES) == len(COLUMNS) * len(TABLE)


@pytest.mark.parametrize("stepped_up", [False, True])
def test_every_role_may_what_the_table_says(stepped_up: bool) -> None:
    for role, action, letter in CASES:
        wanted = {"+": Verdict.YES, ".": Verdict.NO, "s": Verdict.STEP_UP}[letter]
        if letter == "s" and stepped_up:
            wanted = Verdict.YES
        found = may(asking(role, proven=True, stepped_up=stepped_up), action, now=NOW)
        assert found is wanted, (role, action)


def test_without_a_second_factor_only_a_viewer_may_anything() -> None:
    for role, action, letter in CASES:
        found = may(asking(role, proven=False, stepped_up=True), action, now=NOW)
        if letter == ".":
            assert found is Verdict.NO, (role, action)  # what is missing is nobody's business
        else:
            viewer = role is TenantRole.VIEWER
            assert found is (Verdict.YES if viewer else Verdict.SECOND_FACTOR), (role, action)


def test_somebody_without_any_role_may_nothing() -> None:
    for action in Action:
        person = Person(ME, proven=True, stepped_up_at=NOW)
        assert may(person, action, now=NOW) is Verdict.NO, action


def test_a_viewer_never_reads_restores_or_downloads() -> None:
    viewer = Person(ME, tenant=TenantRole.VIEWER, proven=True, stepped_up_at=NOW)

    allowed = {action for action in Action if may(viewer, action, now=NOW) is not Verdict.NO}

    assert allowed == {Action.SEE_STATUS, Action.SEE_TENANT_GRANTS}


@pytest.mark.parametrize("scope", list(GrantScope))
def test_a_grant_opens_its_scope_and_those_before_it_and_no_more(scope: GrantScope) -> None:
    plain = Person(ME, staff=StaffRole.SUPPORT, proven=True, stepped_up_at=NOW)
    granted = Person(ME, staff=StaffRole.SUPPORT, grant=scope, proven=True, stepped_up_at=NOW)

    more = {
        action
        for action in Action
        if may(granted, action, now=NOW) is Verdict.YES
        and may(plain, action, now=NOW) is Verdict.NO
    }

    scopes = list(GrantScope)
    wanted = scopes[: scopes.index(scope) + 1]
    assert more == set().union(*(OPENED[each] for each in wanted))


def test_a_grant_is_worth_nothing_to_somebody_who_is_not_staff() -> None:
    former = Person(ME, grant=GrantScope.RESTORE, proven=True, stepped_up_at=NOW)

    assert all(may(former, action, now=NOW) is Verdict.NO for action in Action)


@pytest.mark.parametrize(
    ("ago", "verdict"),
    [
        (timedelta(0), Verdict.YES),
        (FRESH - timedelta(seconds=1), Verdict.YES),
        (FRESH, Verdict.STEP_UP),
        (timedelta(seconds=-1), Verdict.STEP_UP),  # a clock that was set back
    ],
)
def test_a_step_up_holds_for_ten_minutes(ago: timedelta, verdict: Verdict) -> None:
    owner = Person(ME, tenant=TenantRole.OWNER, proven=True, stepped_up_at=NOW - ago)

    assert may(owner, Action.RESTORE_IN_PLACE, now=NOW) is verdict
