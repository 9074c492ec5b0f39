"""`strongroom up` and `demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from strongroom.errors import StrongroomError
from web import stack as stacks
from web.acting import local
from web.demo import people as sample_people
from web.demo import run as demonstration
from web.output import Screen, size
from web.session import common, connect

PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--port", type=PORT, help="Of the web page; one that is free if not given.")
@click.option("--regions", type=click.IntRange(1, 26), default=2, show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 64), default=2, show_default=True)
@common
def up(home: Path | None, as_json: bool, port: int | None, regions: int, concurrency: int) -> None:
    """The whole stack on this machine; Ctrl-C or SIGTERM stops it cleanly.

    Example: strongroom up --home var/strongroom
    """
    screen = Screen(as_json)
    place = (home or Path("var/strongroom")).resolve()  # its parts work in other folders
    wanted = stacks.Wanted(place, regions, port, concurrency)
    screen.say(f"Starting the stack in {wanted.home} …")
    with stacks.running(wanted) as stack:
        ways = _ways_in(stack)
        document = {
            "home": str(stack.path),
            "web": stack.web,
            "sign_in": [{"who": way.who, "link": way.address} for way in ways],
        }
        screen.give(document, text=_welcome(stack, ways))
        stacks.until_told(stack)
        screen.say("Stopping …")


def _ways_in(stack: stacks.Running) -> list[sample_people.Way]:
    """Of a demo home: a one-time link for each of the sample people."""
    platform = connect(stack.path)
    if not platform.settings.demo:
        return []
    sample_people.settle(platform, by=local())
    return sample_people.ways_in(platform, stack.web, by=local())


def _welcome(stack: stacks.Running, ways: Sequence[sample_people.Way]) -> str:
    lines = [f"Strongroom runs: {stack.web}"]
    if ways:
        lines.append("To sign in, open one of these; each is good once:")
        lines += [f"  {way.who}\n    {way.address}" for way in ways]
        again = f"strongroom account link {sample_people.STAFF[0].email} --home {stack.path}"
        lines.append(f"Another one: {again}")
    else:
        create = 'strongroom account create ADDRESS --name "NAME" --staff operator'
        lines.append(f"The first account: {create} --home {stack.path}")
    return "\n".join([*lines, "Ctrl-C stops it."])


@click.command()
@common
def demo(home: Path | None, as_json: bool) -> None:
    """The main job from nothing to a proven restore, on three sample tenants; ends by itself.

    Example: strongroom demo --home var/demo
    """
    screen = Screen(as_json)
    record = demonstration.run((home or Path("var/demo")).resolve(), screen)
    document = {"ok": record.ok, "steps": [step.to_json() for step in record.steps]}
    screen.table(
        document,
        ["step", "", "seconds", "bytes", "what was seen"],
        [
            [s.name, "✓" if s.ok else "✗", f"{s.seconds:.1f}", size(s.bytes), s.detail]
            for s in record.steps
        ],
    )
    if not record.ok and as_json:
        click.get_current_context().exit(1)  # the document says which step, and why
    if not record.ok:
        raise DemoFailed(f"The step “{record.steps[-1].name}” failed: {record.steps[-1].detail}")
    screen.say("\nWhere to look next: `make up` keeps it running and prints the page's address;")
    screen.say("`.venv/bin/strongroom points delta --home var/demo` lists what can be restored.")


class DemoFailed(StrongroomError):
    """A step of the demo did not see what it should."""

    code = "demo-failed"


COMMANDS = (up, demo)
