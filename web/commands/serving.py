"""`strongroom serve` and `migrate`: what production runs."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from strongroom import program
from strongroom.db import Role
from strongroom.worker import Queue
from web import programs
from web.output import Screen
from web.places import find_settings
from web.session import common

PORT = click.IntRange(1, 65535)


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
    program.become(programs.argv(part, *options, home=home))


@serve.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8080, show_default=True)
@common
def web(home: Path | None, as_json: bool, host: str, port: int) -> None:
    """The pages.

    Example: strongroom serve web --host 0.0.0.0
    """
    from web import serve as serving  # gunicorn: a dispatcher or worker has no use for it

    serving.web(find_settings(home), host=host, port=port)


@click.command()
@common
def migrate(home: Path | None, as_json: bool) -> None:
    """Bring the control database to this version's schema.

    Example: strongroom migrate
    """
    from strongroom import schema  # alembic and every model: 0.7 s that no other command here needs
    from web.models import METADATA

    schema.upgrade(find_settings(home).databases[Role.MIGRATOR], METADATA)
    Screen(as_json).give({"ok": True}, text="The schema is up to date.")


COMMANDS = (serve, migrate)
