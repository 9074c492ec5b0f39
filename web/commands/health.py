"""`strongroom status`."""

from __future__ import annotations

from pathlib import Path

import click

from strongroom.errors import Incomplete
from web import readings
from web.output import Screen, when
from web.session import common, connect


@click.command()
@common
def status(home: Path | None, as_json: bool) -> None:
    """Health in one screen. Exit 3 if anything needs attention.

    Example: strongroom status
    """
    screen = Screen(as_json)
    found = readings.status(connect(home))
    screen.table(
        found,
        ["tenant", "points", "verified", "newest complete (UTC)", "running", "needs attention"],
        [
            [
                each["tenant"],
                each["points"],
                each["verified"],
                when(each["newest_complete"]) or "never",
                ", ".join(each["running"]),
                ", ".join(each["attention"]),
            ]
            for each in found["tenants"]
        ],
    )
    if found["ok"]:
        screen.say(_all_well(len(found["tenants"])))
        return
    for each in found["platform"]:
        see = f" See `{each['command']}`." if each["command"] else ""
        screen.say(f"{each['means']} {each['todo']}{see}")
    if found["attention"]:
        screen.say(f"{found['attention']} of {len(found['tenants'])} tenants need attention.")
    click.get_current_context().exit(Incomplete.exit_code)


def _all_well(count: int) -> str:
    if count == 0:
        return "There is no tenant yet. See `strongroom tenant add --help`."
    return "The one tenant is protected." if count == 1 else f"All {count} tenants are protected."


COMMANDS = (status,)
