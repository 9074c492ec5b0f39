"""How a command fails: one sentence, one exit code, and with --json a document with the code."""

from __future__ import annotations

import os
import traceback
from typing import Any

import click
import kombu.exceptions
import psycopg
import sqlalchemy.exc

from strongroom.errors import StrongroomError
from web.output import Screen

TRACE_VARIABLE = "STRONGROOM_TRACE"  # set to anything: show where the unexpected came from
STOPPED = 130  # what shells say of Ctrl-C


class Stopped(StrongroomError):
    """Somebody pressed Ctrl-C."""

    code = "stopped"
    exit_code = STOPPED


class Misused(StrongroomError):
    """Words on the command line that make no sense."""

    code = "usage"
    exit_code = 2


class DatabaseAway(StrongroomError):
    """The control database does not answer."""

    code = "database-away"


class BrokerAway(StrongroomError):
    """The broker does not answer."""

    code = "broker-away"


class SystemRefused(StrongroomError):
    """The operating system said no."""

    code = "system-refused"


class Unexpected(StrongroomError):
    """A mistake of ours."""

    code = "unexpected"


def tell(error: Exception, screen: Screen) -> int:
    """Say it, and give the exit code."""
    if isinstance(error, click.ClickException) and not screen.as_json:
        error.show()  # with the usage of the command
        return Misused.exit_code
    ours = in_words(error)
    if isinstance(ours, Unexpected) and os.environ.get(TRACE_VARIABLE):
        screen.say("".join(traceback.format_exception(error)))
    if screen.as_json:
        screen.give({"error": document(ours)})
    screen.say(f"strongroom: {ours.message}")
    return ours.exit_code


def document(error: StrongroomError) -> dict[str, Any]:
    """As every failure is told in JSON."""
    return {"code": error.code, "message": error.message, "params": error.params}


def in_words(error: Exception) -> StrongroomError:
    """What others raise, as one of ours. Their own words may quote what is secret: left out."""
    match error:
        case StrongroomError():
            return error
        case click.ClickException():
            return Misused(error.format_message())
        case click.Abort():
            return Stopped("Stopped by Ctrl-C.")
        case sqlalchemy.exc.OperationalError() | psycopg.OperationalError():
            return DatabaseAway(
                "The control database does not answer. `strongroom doctor` shows what is wrong."
            )
        case kombu.exceptions.OperationalError():
            return BrokerAway(
                "The broker does not answer. `strongroom doctor` shows what is wrong."
            )
        case OSError():
            return SystemRefused(f"The system said: {error.strerror} ({error.filename}).")
    return Unexpected(
        f"Something went wrong that should not have ({type(error).__name__}). Set {TRACE_VARIABLE}=1 "
        "and try again to see where, and tell whoever looks after the platform."
    )
