"""A region that dies in the middle of a call of restic costs minutes, and not restic's own quarter
of an hour: the call is ended, and what was wanted is had elsewhere or tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup import copies, making, watching
from backup.models import Copy, Snapshot
from backup.restic import commands
from backup.restic.flags import CheckExtent
from backup.states import CopyState, Outcome
from backup.watching import SILENT_SECONDS, Silence
from strongroom.runtime import Runtime
from strongroom.storage import Act, Unreachable
from tenants.models import Tenant
from tests.backup.test_region_faults import ring
from tests.backup.vaults import A, B, in_front_of, vault
from tests.cast import FakeClock, add_folder, back_up, fill, rows_of
from tests.faults import Answer503, Fault, FaultProxy, Refuse

BOUND = 120.0  # seconds; by then a call has run out of time, which has a code of its own


def heard(*answers: tuple[float, bool]) -> Silence:
    silence = Silence()
    for moment, answered in answers:
        silence.heard(asked_at=moment, answered=answered)
    return silence


def test_a_region_that_did_not_answer_for_long_is_silent() -> None:
    half = SILENT_SECONDS / 2
    assert heard((0, False), (half, False), (2 * half, False)).is_long


def test_no_single_question_makes_a_silence() -> None:
    assert not heard((0, True), (SILENT_SECONDS * 5, False)).is_long


def test_any_answer_ends_the_silence() -> None:
    half = SILENT_SECONDS / 2
    assert not heard((0, False), (half, True), (2 * half, False), (3 * half, False)).is_long


def test_what_an_earlier_call_saw_long_ago_does_not_count() -> None:
    assert not heard((0, False), (10 * SILENT_SECONDS, False)).is_long


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENT_SECONDS", 4.0)
    monkeypatch.setattr(watching, "EVERY_SECONDS", 0.5)
    monkeypatch.setattr("strongroom.credentials.READ_SECONDS", 3)


@pytest.fixture
def proxy(runtime: Runtime, acme: Tenant, impatient: None) -> Iterator[FaultProxy]:
    """In front of the preferred region."""
    with in_front_of(runtime, A) as made:
        yield made


@pytest.mark.parametrize(
    "fault",
    [pytest.param(Refuse(), marks=pytest.mark.long), Answer503()],
    ids=["refuses", "overloaded"],
)
def test_a_call_ends_when_its_region_is_silent(
    runtime: Runtime, acme: Tenant, tmp_path: Path, proxy: FaultProxy, fault: Fault
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    held = vault(runtime, acme, A)
    reading = held.site.restic(Act.READ)
    here = watching.surroundings(held.site, seconds=BOUND)

    proxy.fault = fault
    with pytest.raises(Unreachable, match="has not answered"):
        commands.check(reading, here, CheckExtent(everything=True))


def test_a_backup_whose_region_dies_goes_to_the_other(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making, "FOLDER_SECONDS", BOUND)
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    fill(tmp_path / "files", words="changed")
    begun = commands.backup_folder

    def dies(*arguments: Any, **words: Any) -> Any:
        if not proxy.fault:
            proxy.fault = Refuse()
        return begun(*arguments, **words)

    monkeypatch.setattr(commands, "backup_folder", dies)
    point = back_up(runtime, acme)

    assert point.outcome is Outcome.COMPLETE
    assert rows_of(runtime, acme, Snapshot)[-1].repository_id == vault(runtime, acme, B).row.id
    waiting = Copy.point_id == point.id, Copy.state == CopyState.WAITING
    assert [each.repository_id for each in rows_of(runtime, acme, Copy, *waiting)] == [
        vault(runtime, acme, A).row.id
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(A, id="source"), pytest.param(B, id="target", marks=pytest.mark.long)]
)
def test_a_copy_whose_region_dies_waits_and_says_so(
    runtime: Runtime,
    acme: Tenant,
    tmp_path: Path,
    clock: FakeClock,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """The source is read through us: restic knows nothing of that region, and would go on asking."""
    monkeypatch.setattr(copies, "COPY_SECONDS", BOUND)
    add_folder(runtime, acme, tmp_path / "files")
    begun = commands.copy
    with in_front_of(runtime, name) as proxy:

        def dies(*arguments: Any, **words: Any) -> Any:
            proxy.fault = Refuse()
            return begun(*arguments, **words)

        monkeypatch.setattr(commands, "copy", dies)
        back_up(runtime, acme)
        [waiting] = rows_of(runtime, acme, Copy, Copy.state == CopyState.WAITING)
        assert waiting.failure["code"] == "storage-unreachable", waiting.failure

    monkeypatch.undo()
    clock.forward(minutes=11)
    assert [each.id for each in ring(runtime)] == [waiting.id]
