"""`strongroom alert`: what needs an operator, and what to do about it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from strongroom import signs_of_life
from strongroom.alerts import keeping
from strongroom.alerts.models import Alert
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete
from strongroom.people.rules import Action
from web.acting import looking
from web.notices import words
from web.notices.speaking import speaker
from web.output import Screen, when
from web.session import common, connect, me

SPAN = re.compile(r"([1-9][0-9]{0,3})([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Span(click.ParamType[timedelta]):
    """How long, as 30m, 4h or 2d."""

    name = "span"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = SPAN.fullmatch(str(value))
        if match is None:
            raise BadValue(f"{value!r} is no span of time. Write 30m, 4h or 2d.", code="bad-span")
        return timedelta(**{UNITS[match[2]]: int(match[1])})


@click.group()
def alert() -> None:
    """Alerts: what is wrong, one for each cause, however many tenants it concerns."""


@alert.command("list")
@click.option("--all", "everything", is_flag=True, help="The last ones that are over, too.")
@common
def list_(everything: bool, home: Path | None, as_json: bool) -> None:
    """All open alerts, severe ones first. Exit 3 if one is neither acknowledged nor snoozed, or
    nobody looks.

    Example: strongroom alert list
    """
    platform = connect(home)
    looking(platform, Action.SEE_CONSOLE)
    with platform.database.session(Role.OPERATOR) as session:
        rows = [*keeping.still_open(session)]
        rows += keeping.closed(session) if everything else []
        watched = signs_of_life.carried(session)
    now = platform.now()
    found = [document(row) for row in rows]
    screen = Screen(as_json)
    screen.table(
        found,
        ["alert", "what is wrong", "count", "worst", "since (UTC)", ""],
        [
            [
                *(each["alert"], each["title"], each["count"], each["worst"]),
                *(when(row.opened_at), keeping.standing(row, now=now)),
            ]
            for each, row in zip(found, rows, strict=True)
        ],
    )
    if not watched:
        screen.say("Nobody looks at what is wrong: the upkeep gives no sign of life. Start it.")
    if not watched or any(keeping.standing(row, now=now) == "open" for row in rows):
        click.get_current_context().exit(Incomplete.exit_code)


@alert.command()
@click.argument("alert_id", metavar="ALERT", type=click.UUID)
@common
def show(alert_id: UUID, home: Path | None, as_json: bool) -> None:
    """One alert: what it means, what to do, and what was done about it.

    Example: strongroom alert show 0199…
    """
    platform = connect(home)
    looking(platform, Action.SEE_CONSOLE)
    with platform.database.session(Role.OPERATOR) as session:
        row = keeping.found(session, alert_id)
    found = document(row)
    lines = [found["title"] + ".", words.counted(keeping.said(row), speaker("en"), "en")]
    lines += [found["todo"], found["command"]]
    lines.append(f"Since {when(row.opened_at)} UTC; {keeping.standing(row, now=platform.now())}.")
    if row.acknowledged_at is not None:
        lines.append(f"Acknowledged by {row.acknowledged_by}: {row.acknowledged_why}")
    if row.snoozed_until is not None:
        until = when(row.snoozed_until)
        lines.append(f"Snoozed until {until} UTC by {row.snoozed_by}: {row.snoozed_why}")
    Screen(as_json).give(found, text="\n".join(line for line in lines if line))


@alert.command()
@click.argument("alert_id", metavar="ALERT", type=click.UUID)
@click.option("--reason", required=True, help="What you do about it.")
@common
def ack(alert_id: UUID, reason: str, home: Path | None, as_json: bool) -> None:
    """You are at it: told again only if it becomes worse, and when it is over.

    Example: strongroom alert ack 0199… --reason "the provider mends region-b"
    """
    platform = connect(home)
    by = me()
    with platform.database.session(Role.OPERATOR) as session:
        row = keeping.acknowledge(session, alert_id, why=reason, by=by, now=platform.now())
    Screen(as_json).give(document(row), text=f"Alert {row.id} is acknowledged.")


@alert.command()
@click.argument("alert_id", metavar="ALERT", type=click.UUID)
@click.option("--for", "span", required=True, type=Span(), help="30m, 4h, 2d; at most 30d.")
@click.option("--reason", required=True, help="Why nobody needs to be told meanwhile.")
@common
def snooze(alert_id: UUID, span: timedelta, reason: str, home: Path | None, as_json: bool) -> None:
    """Nothing is told of it for a while; there is no snooze without an end.

    Example: strongroom alert snooze 0199… --for 4h --reason "announced work of the provider"
    """
    platform = connect(home)
    by, now = me(), platform.now()
    with platform.database.session(Role.OPERATOR) as session:
        row = keeping.snooze(session, alert_id, until=now + span, why=reason, by=by, now=now)
    until = when(row.snoozed_until)
    Screen(as_json).give(
        document(row), text=f"Nothing is told of alert {row.id} until {until} UTC."
    )


def document(row: Alert) -> dict[str, Any]:
    said = keeping.said(row)
    speak = speaker("en")
    return {
        **{name: said[name] for name in ("alert", "group", "code", "severe", "count", "worst")},
        "title": words.title(said, speak, "en"),
        "todo": words.meaning(row.code).todo,
        "command": words.command(said),
        "params": row.params,
        "opened_at": row.opened_at,
        "seen_at": row.seen_at,
        "closed_at": row.closed_at,
        "told_at": row.told_at,
        "acknowledged": _act(row.acknowledged_at, row.acknowledged_by, row.acknowledged_why),
        "snoozed": {
            **(_act(row.snoozed_at, row.snoozed_by, row.snoozed_why) or {}),
            "until": row.snoozed_until,
        }
        if row.snoozed_at
        else None,
    }


def _act(at: Any, by: str | None, why: str | None) -> dict[str, Any] | None:
    return None if at is None else {"at": at, "by": by, "reason": why}


COMMANDS = (alert,)
