"""`strongroom doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from web import checkup
from web.output import Screen
from web.session import common


@click.command()
@common
def doctor(home: Path | None, as_json: bool) -> None:
    """Every precondition, kept or not, with the remedy. Exit 1 if one is not kept.

    Example: strongroom doctor
    """
    found = [each.to_json() for each in checkup.examine(home)]
    Screen(as_json).table(
        found,
        ["", "precondition", "found", "remedy"],
        [["✓" if f["ok"] else "✗", f["name"], f["found"], f["remedy"]] for f in found],
    )
    if not all(each["ok"] for each in found):
        click.get_current_context().exit(1)


COMMANDS = (doctor,)
