"""docs/commands.md says what the commands are, and what they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strongroom.runtime import Runtime
from strongroom.stack import files
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import RECORD_KEY
from tenants.models import Tenant
from tests.cast import add_folder, back_up, fill
from tests.web.command_line import Desk, sit_down
from web import contract


def test_the_page_is_of_these_commands() -> None:
    """Out of date: python -m web.contract"""
    assert contract.PAGE.read_text(encoding="utf-8") == contract.page()


def test_every_command_says_what_it_answers_and_shows_an_example() -> None:
    found = dict(contract.commands())

    assert set(found) == set(contract.ANSWERS)
    for name, command in found.items():
        assert f"strongroom {name}" in contract.page(), name
        assert f"Example: strongroom {name.split()[0]}" in (command.help or ""), name


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path, acme: Tenant) -> Desk:
    folder = tmp_path.parent / f"{tmp_path.name}-files"
    add_folder(runtime, acme, folder)
    back_up(runtime, acme)
    fill(folder, words="changed")
    back_up(runtime, acme)
    made = sit_down(stack, runtime, tmp_path)
    key = runtime.settings.record_key.encode()
    files.make_private(tmp_path / "secrets")
    files.write(tmp_path / "secrets" / RECORD_KEY, key)
    return made


SAID = [
    "browse acme 1",
    "control dump",
    "control list",
    "diff acme 1 2",
    "doctor",
    "escrow status",
    "find acme txt",
    "finding list",
    "hold place acme --reason dispute",
    "hold list",
    "key status",
    "plan list",
    "plan show starter",
    "points acme",
    "region check",
    "region list",
    "region place region-a --provider ours",
    "retention preview acme",
    "schedule acme show",
    "source list acme",
    "source test acme files",
    "status",
    "tenant list",
    "tenant plan acme starter --preview",
    "tenant show acme",
    "drill acme",
    "backup acme",
]


def test_documents_hold_what_the_page_says(desk: Desk) -> None:
    other = {}
    for line in SAID:
        name = max((each for each in contract.ANSWERS if line.startswith(each)), key=len)
        wanted = contract.ANSWERS[name]
        document: Any = desk(*line.split(), "--json").document

        each = document[0] if isinstance(document, list) and document else document
        fits = isinstance(document, list) == wanted.many
        if name != "finding list" and not (fits and each and set(each) == set(wanted.fields)):
            other[line] = each  # of findings there are none here

    assert other == {}
