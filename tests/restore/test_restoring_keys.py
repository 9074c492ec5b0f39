"""A restore says what is wrong with the key: away, it waits and goes on; lost, it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from restore.states import Destination, RestoreState
from strongroom.keys import KeyUnreachable
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests.cast import add_folder
from tests.restore.asking import ask, carry_out, failure, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "srv" / "files"


def test_a_restore_waits_for_the_key_store_however_often_and_is_done_after(
    runtime: Runtime, acme: Tenant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = add_folder(runtime, acme, folder)
    point = stored(runtime, acme)
    row = ask(runtime, point, source, Destination.ASIDE)

    def away(*_given: Any) -> bytes:
        raise KeyUnreachable("The key store gave no usable answer.")

    with monkeypatch.context() as patched:
        patched.setattr(type(runtime.vault.provider), "unwrap", away)
        for _ in range(7):  # more often than a restore may fail
            row = carry_out(runtime, row)
            assert row.state is RestoreState.WAITING
            assert row.failure is not None
            assert row.failure["code"] == "key-unreachable"

    assert carry_out(runtime, row).state is RestoreState.DONE


def test_a_restore_without_the_key_fails_and_says_that_it_was_lost(
    runtime: Runtime, acme: Tenant, folder: Path
) -> None:
    source = add_folder(runtime, acme, folder)
    point = stored(runtime, acme)
    (runtime.settings.keys / f"{acme.id}.kek").unlink()

    row = carry_out(runtime, ask(runtime, point, source, Destination.ASIDE))

    assert failure(row) == "key-missing"
