"""How a command finds the running platform, and for whom it acts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from strongroom.actors import Actor
from strongroom.runtime import Runtime
from web import acting, parts
from web.places import HOME_VARIABLE, find_settings

PLATFORM = "strongroom.platform"  # where a command keeps what it is connected to


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
        context.meta[PLATFORM] = platform
        context.call_on_close(platform.database.close)
        context.call_on_close(platform.app.close)
    return platform


def me() -> Actor:
    """Who runs the command: the person whose token is set, else whoever has the local socket.

    Raises what `acting.operating` raises for a token that may not operate.
    """
    context = click.get_current_context(silent=True)
    platform = None if context is None else context.meta.get(PLATFORM)
    return acting.local() if platform is None else acting.operating(platform)
