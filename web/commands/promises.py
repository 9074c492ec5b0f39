"""`strongroom promises`: what was promised, and what is seen of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from strongroom import records
from strongroom.errors import BadValue, Incomplete, StrongroomError
from strongroom.people.rules import Action
from web.acting import acting, looking
from web.output import Screen
from web.pages import promise_words
from web.promises import attesting, register, statements
from web.session import common, connect

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
SIGNS = {"kept": "✓", "at-risk": "!", "broken": "✗", "cannot-be-proven": "?", "not-built": "–"}


@click.group(invoke_without_command=True)
@click.option("--pack", metavar="NAME", help="Only this policy pack.")
@common
@click.pass_context
def promises(context: click.Context, pack: str | None, home: Path | None, as_json: bool) -> None:
    """Each promise of each policy pack with its state and evidence. Exit 3: some are broken or at risk.

    Example: strongroom promises --pack datacore
    """
    if context.invoked_subcommand is not None:
        return
    platform = connect(home)
    looking(platform, Action.SEE_PROMISES)
    rows = register.read(platform, pack=pack)
    screen = Screen(as_json)
    screen.table(
        [row.to_json() for row in rows],
        ["promise", "", "state", "rests on", "tenants", "says"],
        [
            [
                row.promise.id,
                SIGNS[row.state],
                str(row.state),
                promise_words.summary(row),
                row.tenants,
                row.promise.says["en"],
            ]
            for row in rows
        ],
    )
    if register.needs_attention(rows):
        screen.say("Some promises are broken or at risk: `strongroom promises show ID` says why.")
        context.exit(Incomplete.exit_code)


@promises.command()
@click.argument("promise", metavar="ID")
@common
def show(promise: str, home: Path | None, as_json: bool) -> None:
    """One promise: what it says, how it is enforced, what was seen, and how it fails.

    Example: strongroom promises show datacore-regions
    """
    platform = connect(home)
    looking(platform, Action.SEE_PROMISES)
    row = register.named(platform, promise)
    document = row.to_json() | {
        "kind": str(row.promise.kind),
        "says": dict(row.promise.says),
        "title": dict(row.pack.title),
        "enforced_by": promise_words.how(row),
        "fails_when": promise_words.fails(row),
        "effective": row.pack.effective,
        "revised": row.pack.revised,
    }
    shown = [[key, value] for key, value in document.items() if key != "evidence"]
    shown.append(["rests on", promise_words.summary(row)])
    shown += [[f"evidence: {key}", value] for key, value in row.evidence.items() if value]
    Screen(as_json).table(document, ["", ""], shown)
    if register.needs_attention([row]):
        click.get_current_context().exit(Incomplete.exit_code)


@promises.command()
@click.argument("promise", metavar="ID")
@click.option("--document", required=True, type=FILE, help="Its name and SHA-256 are kept, not it.")
@click.option("--by", "owner", required=True, help="Who answers for it, in words.")
@common
def attest(promise: str, document: Path, owner: str, home: Path | None, as_json: bool) -> None:
    """Confirm, with a document, a promise that nothing can measure. It holds for the pack's interval.

    Example: strongroom promises attest comfile-processors --document processors-2026.pdf --by "M. Saleh"
    """
    platform = connect(home)
    by = acting(platform, Action.ATTEST_PROMISE)
    read = attesting.read_document(document)
    row = attesting.confirm(platform, promise, read, owner, by=by)
    assert row.confirmed is not None
    until = row.confirmed.until.date()
    text = f"{promise} is confirmed by {owner} until {until} ({read.name}, SHA-256 {read.sha256})."
    Screen(as_json).give(row.to_json(), text=text)


@promises.command()
@click.option("--month", required=True, help="Like 2026-10.")
@click.option("--to", "file", required=True, type=click.Path(path_type=Path, dir_okay=False))
@common
def statement(month: str, file: Path, home: Path | None, as_json: bool) -> None:
    """Write what became of every promise in a month, day by day, signed with the organisation's key.

    Example: strongroom promises statement --month 2026-10 --to promises-2026-10.json
    """
    platform = connect(home)
    by = acting(platform, Action.SIGN_STATEMENT)
    if file.exists():
        raise BadValue(f"{file} is there already. Name another file.")
    data = statements.make(platform, month, by=by)
    _write(file, data)
    key = records.Signer.from_text(platform.settings.record_key).public
    found = statements.read(data, key)
    Screen(as_json).give(
        {"file": str(file), "month": month, "promises": len(found["promises"]), "key": key},
        text=f"{month} is stated in {file}. To verify it elsewhere, give by another way:\n"
        f"--key {key}",
    )


@promises.command()
@click.argument("file", type=FILE)
@click.option("--key", metavar="KEY", help="The organisation's key, known from elsewhere.")
@common
def verify(file: Path, key: str | None, home: Path | None, as_json: bool) -> None:
    """Verify a statement, without the platform. Exit 1: not as it was signed. Exit 3: no key given.

    Example: strongroom promises verify promises-2026-10.json --key 5f0c…
    """
    screen = Screen(as_json)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}.") from None
    if key is None:
        problem = "Without a key that you know from elsewhere nothing is verified. Give --key."
        _tell(screen, {"state": "unpinned", "problem": problem}, Incomplete.exit_code)
        return
    try:
        found = statements.read(data, key.strip())
    except records.RecordRefused as error:
        _tell(screen, {"state": "wrong", "problem": error.message}, StrongroomError.exit_code)
        return
    screen.give(
        {
            "state": "kept",
            "month": found["month"],
            "promises": found["promises"],
            "problem": None,
        },
        text=f"As it was signed: {len(found['promises'])} promises in {found['month']}.\n"
        + "\n".join(_line(each) for each in found["promises"]),
    )


def _line(stated: dict[str, Any]) -> str:
    days = ", ".join(f"{state} {count}" for state, count in stated["days"].items())
    unseen = len(stated["not_looked_at"])
    return f"{stated['id']}: days {days}" + (f"; not looked at {unseen}" if unseen else "")


def _tell(screen: Screen, document: dict[str, Any], code: int) -> None:
    screen.give({"month": None, "promises": None, **document})
    screen.say(str(document["problem"]))
    click.get_current_context().exit(code)


def _write(file: Path, data: bytes) -> None:
    """A file that only we read; never one that is there already."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(data)
    except OSError as error:
        raise BadValue(f"{file} cannot be written: {error.strerror}.") from None


COMMANDS = (promises,)
