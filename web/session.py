"""How a command finds the running platform, and for whom it acts."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from strongroom.actors import Actor, ActorKind
from strongroom.runtime import Runtime
from web import parts
from web.places import HOME_VARIABLE, find_settings


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command has."""
    command = click.option(
        "--home",
        type=click.Path(path_type=Path),
        envvar=HOME_VARIABLE,
        help="Folder of an embedded stack.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output."
    )(command)


def connect(home: Path | None) -> Runtime:
    """The platform: the stack of this home, or what STRONGROOM_* variables say.

    Its connections are closed when the command ends.
    """
    platform = parts.make_runtime(find_settings(home))
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(platform.database.close)
        context.call_on_close(platform.app.close)
    return platform


def me() -> Actor:
    """Who runs the command: whoever has the local socket can operate."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return Actor(ActorKind.OPERATOR, name)
