"""`strongroom up`, `serve`, `migrate`, `status`, `doctor`, `demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from strongroom import program, schema
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.worker import Queue
from web import serve as serving
from web import stack as stacks
from web import working
from web.acting import local
from web.demo import people as sample_people
from web.demo import run as demonstration
from web.models import METADATA
from web.output import Screen, size
from web.places import find_settings
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


@click.group()
def serve() -> None:
    """One long-running process of the platform; the chart and `up` start them."""


@serve.command()
@common
def dispatcher(home: Path | None, as_json: bool) -> None:
    """Finds what falls due and rings for it. Any number may run.

    Example: strongroom serve dispatcher
    """
    _become("dispatcher", home=home)


@serve.command()
@common
def upkeep(home: Path | None, as_json: bool) -> None:
    """Keeps dumps of the control database, escrow wraps and signed records. One is enough.

    It alone needs STRONGROOM_DATABASE_URL_DUMPER.

    Example: strongroom serve upkeep
    """
    _become("upkeep", home=home)


@serve.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    required=True,
    type=click.Choice([queue.value for queue in Queue]),
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, show_default=True)
@common
def worker(home: Path | None, as_json: bool, queues: tuple[str, ...], concurrency: int) -> None:
    """Carries out what the queues ring for.

    Example: strongroom serve worker --queue restore --concurrency 2
    """
    named = [word for name in queues for word in ("--queue", name)]
    _become("worker", *named, "--concurrency", str(concurrency), home=home)


def _become(part: str, *options: str, home: Path | None) -> NoReturn:
    """The same process, without the command line in memory; what is missing is said before."""
    find_settings(home)
    program.become(working.argv(part, *options, home=home))


@serve.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8080, show_default=True)
@common
def web(home: Path | None, as_json: bool, host: str, port: int) -> None:
    """The pages.

    Example: strongroom serve web --host 0.0.0.0
    """
    serving.web(find_settings(home), host=host, port=port)


@click.command()
@common
def migrate(home: Path | None, as_json: bool) -> None:
    """Bring the control database to this version's schema.

    Example: strongroom migrate
    """
    schema.upgrade(find_settings(home).databases[Role.MIGRATOR], METADATA)
    Screen(as_json).give({"ok": True}, text="The schema is up to date.")


COMMANDS = (up, demo, serve, migrate)
