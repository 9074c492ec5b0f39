"""`strongroom notice`: the channels of alerts, the mail server, the canary, and what was sent."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import click

from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, StrongroomError
from strongroom.notices import channels, outbox
from strongroom.notices.channels import NewChannel, NewServer
from strongroom.notices.courier import Courier
from strongroom.notices.models import Channel, Message
from strongroom.notices.outbox import Notice, Reader
from strongroom.notices.states import ChannelKind, MessageState, ReaderKind
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web.acting import looking
from web.notices import canary as canaries
from web.notices import writing
from web.output import Screen, when
from web.session import common, connect, me

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
LEVEL = click.option(
    "--second",
    is_flag=True,
    help="Told when nobody answers, or the first channels do not work; else told at once.",
)
LANGUAGE = click.option(
    "--language", type=click.Choice(channels.LANGUAGES), default="en", show_default=True
)


class TestFailed(StrongroomError):
    """A test message did not arrive."""

    code = "channel-test-failed"
    __test__ = False


@click.group()
def notice() -> None:
    """Messages: where operators are told, through which server, and what was sent."""


@notice.group("channels")
def channels_() -> None:
    """Where operators are told of alerts."""


@channels_.command("list")
@common
def list_channels(home: Path | None, as_json: bool) -> None:
    """All channels, without what opens them. Exit 3 if there is none.

    Example: strongroom notice channels list
    """
    platform = connect(home)
    looking(platform, Action.OPERATE)
    with platform.database.session(Role.OPERATOR) as session:
        found = [dict(channels.shown(row)) for row in channels.in_use(session)]
    Screen(as_json).table(
        found,
        ["channel", "kind", "level", "language", "to", "added by"],
        [
            [each[name] for name in ("channel", "kind", "level", "language", "to", "by")]
            for each in found
        ],
    )
    if not found:
        click.get_current_context().exit(Incomplete.exit_code)


@channels_.command("add-email")
@click.argument("name")
@click.argument("address")
@LEVEL
@LANGUAGE
@common
def add_email(
    name: str, address: str, second: bool, language: str, home: Path | None, as_json: bool
) -> None:
    """Tell operators by mail; set the mail server once with `notice mail-server`.

    Example: strongroom notice channels add-email on-call ops@example.org
    """
    new = NewChannel(name, ChannelKind.EMAIL, address, level=1 + second, language=language)
    _add(new, home, as_json)


@channels_.command("add-webhook")
@click.argument("name")
@click.option("--url-file", type=FILE, help="A file with the URL; else it is read from stdin.")
@click.option("--secret-file", type=FILE, help="A file with whsec_…; else a secret is made.")
@click.option(
    "--allow-network", "allowed", multiple=True, help="An address or network of yours it lies in."
)
@LEVEL
@LANGUAGE
@common
def add_webhook(
    name: str,
    url_file: Path | None,
    secret_file: Path | None,
    allowed: tuple[str, ...],
    second: bool,
    language: str,
    home: Path | None,
    as_json: bool,
) -> None:
    """Tell a program by webhook, signed as standardwebhooks.com has it. A made secret is shown once.

    Example: strongroom notice channels add-webhook pager --url-file /run/secrets/pager-url
    """
    secret = None if secret_file is None else _read(secret_file)
    new = NewChannel(
        name,
        ChannelKind.WEBHOOK,
        _url(url_file),
        level=1 + second,
        language=language,
        secret=secret,
        allowed=allowed,
    )
    _add(new, home, as_json)


@channels_.command("add-apprise")
@click.argument("name")
@click.option("--url-file", type=FILE, help="A file with the address; else it is read from stdin.")
@LEVEL
@LANGUAGE
@common
def add_apprise(
    name: str,
    url_file: Path | None,
    second: bool,
    language: str,
    home: Path | None,
    as_json: bool,
) -> None:
    """Tell operators by a service that Apprise knows (the extra package `strongroom[apprise]`).

    Example: strongroom notice channels add-apprise chat --url-file /run/secrets/chat-url
    """
    new = NewChannel(name, ChannelKind.APPRISE, _url(url_file), level=1 + second, language=language)
    _add(new, home, as_json)


@channels_.command()
@click.argument("name")
@common
def test(name: str, home: Path | None, as_json: bool) -> None:
    """Send a message there now, and wait for the receipt. Exit 1 if it is not taken.

    Example: strongroom notice channels test on-call
    """
    platform = connect(home)
    by = me()
    with platform.database.session(Role.OPERATOR) as session:
        row = channels.named(session, name)
        key = f"test:{uuid.uuid4()}"
        about = {"by": str(by), "channel": row.name}
        wanted = Notice(key, "channel.test", Reader(ReaderKind.CHANNEL, row.id), about)
        outbox.put(session, [wanted], now=platform.now())
    sent = _sent(platform, key)
    if sent.state is not MessageState.DELIVERED:
        failure = sent.failure or {"code": str(sent.state), "message": "It was not sent."}
        raise TestFailed(
            f"Channel {name} did not take the test: {failure['message']}", why=failure["code"]
        )
    Screen(as_json).give(
        {"channel": name, "state": str(sent.state), "receipt": sent.receipt},
        text=f"Channel {name} took the message.",
    )


@channels_.command()
@click.argument("name")
@common
def remove(name: str, home: Path | None, as_json: bool) -> None:
    """Send nothing there any more, and forget what opened it.

    Example: strongroom notice channels remove pager
    """
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        row = channels.remove(session, name, by=me(), now=platform.now())
    Screen(as_json).give(
        {"channel": row.name, "removed": True}, text=f"Channel {row.name} is removed."
    )


@notice.command("mail-server")
@click.argument("host", required=False)
@click.option("--sender", help="The address that mail comes from.")
@click.option(
    "--security",
    type=click.Choice(list(channels.SECURITIES)),
    default="starttls",
    show_default=True,
)
@click.option("--port", type=click.IntRange(1, 65535), help="Else the usual one.")
@click.option("--user")
@click.option("--password-file", type=FILE, help="Else, with --user, it is read from stdin.")
@click.option("--authority", type=FILE, help="PEM of who vouches for the server, if private.")
@common
def mail_server(
    host: str | None,
    sender: str | None,
    security: str,
    port: int | None,
    user: str | None,
    password_file: Path | None,
    authority: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Set the server through which mail leaves; without HOST, say which it is. Exit 3 if there is none.

    Example: strongroom notice mail-server mail.example.org --sender backup@example.org --user backup
    """
    platform = connect(home)
    if host is None:
        looking(platform, Action.OPERATE)
        _tell_server(platform, as_json)
        return
    if sender is None:
        raise BadValue("Say with --sender which address mail comes from.")
    new = NewServer(
        host=host,
        sender=sender,
        security=security,
        port=port,
        username=user,
        password=None if user is None else _secret(password_file),
        authority=None if authority is None else authority.read_text(),
    )
    with platform.database.session(Role.OPERATOR) as session:
        channels.set_server(session, platform.vault.provider, new, by=me(), now=platform.now())
    _tell_server(platform, as_json)


@notice.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@common
def list_(limit: int, home: Path | None, as_json: bool) -> None:
    """The newest messages, and what became of them. Exit 3 if one was given up.

    Example: strongroom notice list --limit 20
    """
    platform = connect(home)
    looking(platform, Action.OPERATE)
    with platform.database.session(Role.OPERATOR) as session:
        rows = outbox.newest(session, most=limit)
        names = {row.id: row.name for row in session.query(Channel)}
    found = [_document(row, names) for row in rows]
    Screen(as_json).table(
        found,
        ["message", "kind", "to", "state", "tries", "put in (UTC)", "why not"],
        [
            [
                *(each["message"], each["kind"], each["to"], each["state"], each["attempts"]),
                *(when(each["at"]), (each["failure"] or {}).get("code")),
            ]
            for each in found
        ],
    )
    if any(row.state is MessageState.FAILED for row in rows):
        click.get_current_context().exit(Incomplete.exit_code)


@notice.group()
def canary() -> None:
    """The canary: a tenant that is broken on purpose, whose alert has to arrive every day."""


@canary.command("set-up")
@click.option("--plan", default="starter", show_default=True)
@click.option("--timezone", "zone", default="UTC", show_default=True)
@click.option("--country", default="AE", show_default=True)
@common
def set_up(plan: str, zone: str, country: str, home: Path | None, as_json: bool) -> None:
    """Make the canary; safe to repeat. It appears in no count of tenants.

    Example: strongroom notice canary set-up
    """
    platform = connect(home)
    row = canaries.set_up(platform, plan=plan, zone=zone, country=country, by=me())
    Screen(as_json).give(
        {"tenant": str(row.id), "slug": row.slug},
        text="The canary sings once a day from now on; `strongroom backup canary` makes it sing at once.",
    )


@canary.command("show")
@common
def show_canary(home: Path | None, as_json: bool) -> None:
    """When it sang last, and where that was heard. Exit 3 if somewhere it was not.

    Example: strongroom notice canary show
    """
    platform = connect(home)
    looking(platform, Action.SEE_CONSOLE)
    with platform.database.session(Role.OPERATOR) as session:
        found = canaries.standing(session, now=platform.now())
    if found is None:
        text = "There is no canary. Make one with `strongroom notice canary set-up`."
        Screen(as_json).give({"canary": None}, text=text)
        click.get_current_context().exit(Incomplete.exit_code)
    now = platform.now()
    silent = [each.worst for each in canaries.judged(found, now=now) if each.code != canaries.CODE]
    arrivals = {each.channel.name: each.last for each in found.arrivals}
    lines = [f"It ran last at {when(found.ran) or 'no time yet'} UTC."]
    lines += [f"Heard at {name}: {when(last) or 'not yet'}." for name, last in arrivals.items()]
    lines += [f"NOT HEARD IN TIME at {name}." for name in silent]
    Screen(as_json).give(
        {
            "canary": str(found.tenant),
            "ran": found.ran,
            "failed_as_it_should": found.failed,
            "heard": arrivals,
            "silent": silent,
        },
        text="\n".join(lines),
    )
    if silent:
        click.get_current_context().exit(Incomplete.exit_code)


def _add(new: NewChannel, home: Path | None, as_json: bool) -> None:
    platform = connect(home)
    by, now = me(), platform.now()
    with platform.database.session(Role.OPERATOR) as session:
        row, secret = channels.add(session, platform.vault.provider, new, by=by, now=now)
    document: dict[str, Any] = dict(channels.shown(row))
    text = f"Channel {row.name} is added. Try it: strongroom notice channels test {row.name}"
    if secret is not None and new.secret is None:
        document["secret"] = secret
        text += f"\nIts secret, shown this once: {secret}"
    Screen(as_json).give(document, text=text)


def _sent(platform: Runtime, key: str) -> Message:
    """Carried by this very process, unless a courier was faster and still is at it."""
    with platform.database.session(Role.OPERATOR) as session:
        row = session.query(Message).filter(Message.key == key).one()
    Courier(platform, writing.writer(platform.settings.web)).deliver(row.id, None)
    with platform.database.session(Role.OPERATOR) as session:
        return session.get_one(Message, row.id)


def _tell_server(platform: Runtime, as_json: bool) -> None:
    with platform.database.session(Role.OPERATOR) as session:
        row = channels.server_in_use(session)
    if row is None:
        Screen(as_json).give({"host": None}, text="No mail server is set.")
        click.get_current_context().exit(Incomplete.exit_code)
    document = {
        **{name: getattr(row, name) for name in ("host", "port", "security", "sender", "username")},
        "set_at": row.set_at,
        "by": row.set_by,
    }
    text = f"Mail leaves through {row.host}:{row.port} ({row.security}) as {row.sender}."
    Screen(as_json).give(document, text=text)


def _document(row: Message, names: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "message": str(row.id),
        "kind": row.kind,
        "to": names.get(row.reader_id, str(row.reader_id)),
        "tenant": None if row.tenant_id is None else str(row.tenant_id),
        "state": str(row.state),
        "attempts": row.attempt,
        "at": row.created_at,
        "due_at": row.due_at,
        "ended_at": row.ended_at,
        "failure": row.failure,
        "receipt": row.receipt,
    }


def _url(file: Path | None) -> str:
    """Never an argument: an address like that is itself a secret, and arguments are seen by all."""
    return _secret(file)


def _secret(file: Path | None) -> str:
    if file is not None:
        return _read(file)
    if sys.stdin.isatty():
        return str(click.prompt("Secret", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise BadValue(f"{file} cannot be read as text.") from None


COMMANDS = (notice,)
