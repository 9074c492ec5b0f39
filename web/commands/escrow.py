"""`strongroom escrow` and `strongroom control`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from strongroom import control_dumps
from strongroom.db import Role
from strongroom.errors import Incomplete
from strongroom.people.rules import Action
from web import ceremony, upkeep
from web.acting import acting
from web.output import Screen, when
from web.session import common, connect, me

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def escrow() -> None:
    """The second way to every backup: a key that people hold together."""


@escrow.command()
@click.option("--shares", type=click.IntRange(2, 16), default=5, show_default=True)
@click.option("--threshold", type=click.IntRange(2, 16), default=3, show_default=True)
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="In place of the key that is in use.")
@common
def create(
    shares: int, threshold: int, folder: Path, replace: bool, home: Path | None, as_json: bool
) -> None:
    """Make an escrow key, write its shares, one file each, and keep only the public half.

    Example: strongroom escrow create --shares 5 --threshold 3 --to /media/stick
    """
    platform = connect(home)
    screen = Screen(as_json)
    by = acting(platform, Action.HANDLE_KEYS)
    wanted = ceremony.Wanted(shares, threshold, folder.absolute(), replace=replace)
    made = ceremony.create(platform, wanted, by=by)
    screen.give(
        {
            "key": str(made.key),
            "files": [str(file) for file in made.files],
            "covered": made.covered,
            "tenants_left": made.failed,
        },
        text=f"{len(made.files)} shares lie in {folder}, any {threshold} of them open every backup. "
        "Give each to another person, then delete the files; nothing else holds them.\n"
        f"{made.covered} passwords are sealed to the new key. Try it: strongroom escrow drill.",
    )
    if made.failed:
        screen.say(f"Not sealed yet, because they do not open: {', '.join(made.failed)}.")
        click.get_current_context().exit(Incomplete.exit_code)


@escrow.command("status")
@common
def status_(home: Path | None, as_json: bool) -> None:
    """Keys in use and how much they cover; dumps of the control database. Exit 3 if it falls short.

    Example: strongroom escrow status
    """
    platform = connect(home)
    found = upkeep.standing(platform)
    keys = [_key(each) for each in found.coverage]
    dumps = [_dump(each) for each in found.dumps]
    screen = Screen(as_json)
    if as_json:
        screen.give({"keys": keys, "control_dumps": dumps, "attention": list(found.attention)})
    else:
        screen.table(
            keys,
            ["escrow key", "shares", "made (UTC)", "passwords sealed"],
            [
                [k["key"], k["shares_text"], when(k["made_at"]), f"{k['covered']} of {k['wanted']}"]
                for k in keys
            ],
        )
        screen.table(
            dumps,
            ["region", "newest dump of the control database (UTC)"],
            [[d["region"], when(d["newest"]) or "none"] for d in dumps],
        )
    if not keys:
        screen.say("There is no escrow key: who loses the key store loses every backup.")
    if not keys or found.attention or not all(k["complete"] for k in keys):
        click.get_current_context().exit(Incomplete.exit_code)


@escrow.command()
@click.option("--share", "files", multiple=True, required=True, type=FILE)
@click.option("--tenant", "slug", help="Whose repository to open; any, if not given.")
@common
def drill(files: tuple[Path, ...], slug: str | None, home: Path | None, as_json: bool) -> None:
    """Recombine shares, open one repository with them alone, and forget them again.

    Example: strongroom escrow drill --share a.txt --share b.txt --share c.txt
    """
    platform = connect(home)
    opened = ceremony.drill(platform, files, slug=slug, by=me())
    Screen(as_json).give(
        {
            "key": str(opened.key),
            "tenant": opened.tenant,
            "region": opened.region,
            "repository": str(opened.repository),
            "snapshots": opened.snapshots,
        },
        text=f"The shares open: {opened.snapshots} snapshots of {opened.tenant} in "
        f"{opened.region} were listed with the sealed password. The shares were forgotten.",
    )


@click.group()
def control() -> None:
    """The control database's own backups."""


@control.command()
@common
def dump(home: Path | None, as_json: bool) -> None:
    """Dump the control database now, sealed, into every region.

    Example: strongroom control dump
    """
    platform = connect(home)
    made = control_dumps.take(platform)
    Screen(as_json).give(
        [{"key": r.key, "bytes": r.bytes, "expires_at": r.expires_at} for r in made],
        text=f"The dump lies in {len(made)} regions."
        if made
        else "Another process is at it; nothing was done.",
    )


@control.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """Every dump that still lies somewhere, and when it goes.

    Example: strongroom control list
    """
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        found = ceremony.dumps(session)
    Screen(as_json).table(
        found,
        ["region", "object", "bytes", "made (UTC)", "goes (UTC)"],
        [
            [d["region"], d["key"], d["bytes"], when(d["made_at"]), when(d["expires_at"])]
            for d in found
        ],
    )


def _key(each: Any) -> dict[str, Any]:
    return {
        "key": str(each.key.id),
        "shares": each.key.shares,
        "threshold": each.key.threshold,
        "shares_text": f"{each.key.threshold} of {each.key.shares}",
        "made_at": each.key.made_at,
        "wanted": each.wanted,
        "covered": each.covered,
        "complete": each.complete,
    }


def _dump(each: control_dumps.Newest) -> dict[str, Any]:
    return {"region": each.region, "newest": each.made_at}


COMMANDS = (escrow, control)
