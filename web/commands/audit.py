"""`strongroom audit`: the record of who did what, and whether it is as it was signed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy import select

from strongroom import records
from strongroom.audit import entries, exporting, inspecting, keys, mending, sequencing
from strongroom.audit.entries import Deed, Entry
from strongroom.audit.exporting import Verdict
from strongroom.audit.inspecting import Report
from strongroom.audit.verifying import Problem
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, StrongroomError
from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web.acting import acting, looking
from web.output import Screen, when
from web.session import common, connect, me

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class RecordWrong(StrongroomError):
    """The record is not what was signed."""

    code = "record-wrong"
    permanent = True


@click.group()
def audit() -> None:
    """The record: who did what, to whom, why, from where; and proof that nobody changed it."""


@audit.command()
@click.argument("file", required=False, type=FILE)
@click.option("--key", metavar="KEY", help="A key that you know from elsewhere (with FILE).")
@common
def verify(file: Path | None, key: str | None, home: Path | None, as_json: bool) -> None:
    """Find what was edited, removed, inserted, reordered or forked. Exit 1 names it.

    With FILE, an export, offline: without the platform. Exit 3 if no key from elsewhere vouches for
    it (`--key`), or a region could not be looked at.

    Example: strongroom audit verify record.jsonl --key strongroom.record/0199…+1a2b3c4d+AbC…
    """
    screen = Screen(as_json)
    if file is not None:
        _tell_file(screen, _look_at(file, key))
        return
    if key is not None:
        raise BadValue("Give --key with the FILE of an export; here the platform's own keys count.")
    platform = connect(home)
    looking(platform, Action.SEE_RECORD)
    _tell_platform(screen, inspecting.inspect(platform), inspecting.standing(platform).refusal)


@audit.command()
@click.argument("tenant", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@common
def show(tenant: str | None, limit: int, home: Path | None, as_json: bool) -> None:
    """The newest entries, of one tenant or of all. Exit 3 if entries wait too long for their place.

    Example: strongroom audit show acme --limit 20
    """
    platform = connect(home)
    looking(platform, Action.SEE_RECORD)
    with platform.database.session(Role.OPERATOR) as session:
        wanted = None
        if tenant is not None:
            wanted = session.execute(select(Tenant.id).where(Tenant.slug == tenant)).scalar()
            if wanted is None:
                raise BadValue(f"There is no tenant {tenant}. See `strongroom tenant list`.")
        found = [
            _entry(entry, place)
            for entry, place in inspecting.last_of(session, tenant=wanted, most=limit)
        ]
    standing = inspecting.standing(platform)
    screen = Screen(as_json)
    screen.table(
        found,
        ["entry", "place", "at (UTC)", "what", "by", "to", "why", "from", "ended"],
        [
            [
                *(each["entry"], each["place"], each["at"], each["code"], each["by"]),
                *(each["subject"], each["reason"], each["channel"], each["ending"]),
            ]
            for each in found
        ],
    )
    attention = standing.attention(platform.now())
    if attention:
        screen.say(f"{standing.waiting} entries wait: {', '.join(attention)}.")
        click.get_current_context().exit(Incomplete.exit_code)


@audit.command()
@click.option("--to", "file", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--details", is_flag=True, help="With what names people, for as far as it is kept.")
@common
def export(file: Path, details: bool, home: Path | None, as_json: bool) -> None:
    """Write entries, checkpoints and keys to one file that anybody can verify offline.

    Example: strongroom audit export --to record.jsonl
    """
    platform = connect(home)
    by = acting(platform, Action.SEE_RECORD) if details else looking(platform, Action.SEE_RECORD)
    with (
        _new(file) as target,
        platform.database.session(Role.OPERATOR) as session,
    ):
        count = 0
        for line in exporting.lines(session, details=details, now=platform.now()):
            target.write(line.encode())
            count += line.startswith('{"place"')
    with platform.database.session(Role.OPERATOR) as session:
        deed = Deed("record.exported", details={"entries": count, "details": details})
        entries.note(session, deed, by=by, at=platform.now())
    names = _keys(platform)
    Screen(as_json).give(
        {"file": str(file), "entries": count, "keys": names, "record_key": _record_key(platform)},
        text=f"{count} entries lie in {file}. To verify it elsewhere, give by another way:\n"
        f"--key {names[0]}",
    )


@audit.command()
@click.argument("entry", type=click.UUID)
@click.option("--to", "file", required=True, type=click.Path(path_type=Path, dir_okay=False))
@common
def prove(entry: UUID, file: Path, home: Path | None, as_json: bool) -> None:
    """Write a proof that one entry is in the log (c2sp.org/tlog-proof), and print the entry's leaf.

    Example: strongroom audit prove 0199… --to entry.tlog-proof
    """
    platform = connect(home)
    looking(platform, Action.SEE_RECORD)
    with platform.database.session(Role.OPERATOR) as session:
        leaf, proof = exporting.prove(session, entry)
    with _new(file) as target:
        target.write(proof)
    words = leaf.encoded().decode()
    Screen(as_json).give({"file": str(file), "leaf": words, "hash": leaf.hash.hex()}, text=words)


@audit.command()
@common
def rotate(home: Path | None, as_json: bool) -> None:
    """Make a new key that signs from now on; the one before vouches for it.

    Example: strongroom audit rotate
    """
    platform = connect(home)
    made = sequencing.rotate(platform, by=acting(platform, Action.HANDLE_KEYS))
    Screen(as_json).give({"key": str(made)}, text=f"From now on this key signs:\n{made}")


@audit.command()
@common
def mend(home: Path | None, as_json: bool) -> None:
    """After the database was put back: take back from a region what the log has had since.

    Entries that the database lost come back without their details.

    Example: strongroom audit mend
    """
    platform = connect(home)
    done = mending.mend(platform, by=me())
    document: dict[str, Any] = {"mended": done is not None}
    text = "No region has more than this database: there is nothing to mend."
    if done is not None:
        document |= {"region": done.region, "before": done.before, "after": done.after}
        document |= {"lost": done.lost}
        text = (
            f"The log goes on from {done.after} entries (before: {done.before}); {done.lost} of them "
            f"came back from region {done.region} without details."
        )
    Screen(as_json).give(document, text=text)


def _look_at(file: Path, key: str | None) -> Verdict:
    try:
        with file.open(encoding="utf-8") as lines:
            return exporting.verify(lines, pinned=key)
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"{file} cannot be read as an export of the record: {error}.") from None


def _tell_file(screen: Screen, found: Verdict) -> None:
    state = "wrong" if found.problems else "kept" if found.pinned else "unpinned"
    document = {
        "state": state,
        "origin": found.origin,
        "entries": found.entries,
        "checkpoints": found.checkpoints,
        "signed": found.size,
        "problems": [_problem(each) for each in found.problems],
        "keys": found.keys,
    }
    _tell(screen, document, found.problems)
    if state == "unpinned":
        screen.say(
            "The file agrees with itself, which anybody's would. Give --key with a key that you were "
            "given by another way; the file says that it was signed by\n" + "\n".join(found.keys)
        )
        click.get_current_context().exit(Incomplete.exit_code)


def _tell_platform(screen: Screen, found: Report, refusal: str | None) -> None:
    whole = not found.problems and not found.open and refusal is None
    left = [*found.open, *([refusal] if refusal else [])]
    document = {
        "state": "wrong" if found.problems else "kept" if whole else "incomplete",
        "origin": found.origin,
        "entries": found.entries,
        "checkpoints": found.checkpoints,
        "signed": found.signed,
        "waiting": found.waiting,
        "regions": found.regions,
        "open": left,
        "problems": [_problem(each) for each in found.problems],
    }
    _tell(screen, document, found.problems)
    if not whole:
        for words in left:
            screen.say(words)
        click.get_current_context().exit(Incomplete.exit_code)


def _tell(screen: Screen, document: dict[str, Any], problems: list[Problem]) -> None:
    """The document, and exit 1 when something is wrong."""
    good = f"{document['signed']} entries are as they were signed."
    verdict = f"WRONG, in places: {len(problems)}." if problems else good
    screen.give(
        document,
        text=f"{document['entries']} entries and {document['checkpoints']} checkpoints were looked "
        f"at; {verdict}",
    )
    if problems:
        for problem in problems:
            screen.say(f"{problem.code}: {problem.words}")
        click.get_current_context().exit(RecordWrong.exit_code)


def _problem(problem: Problem) -> dict[str, Any]:
    entry = None if problem.entry is None else str(problem.entry)
    return {"code": problem.code, "place": problem.index, "entry": entry, "words": problem.words}


def _entry(row: Entry, place: int | None) -> dict[str, Any]:
    return {
        "entry": str(row.id),
        "place": place,
        "at": when(row.at),
        "code": row.code,
        "by": row.by,
        "tenant": None if row.tenant_id is None else str(row.tenant_id),
        "of": row.of,
        "subject": None if row.subject_id is None else str(row.subject_id),
        "about": None if row.about_id is None else str(row.about_id),
        "reason": row.reason,
        "channel": str(row.channel),
        "ending": str(row.ending),
        "details": row.details,
    }


def _keys(platform: Runtime) -> list[str]:
    with platform.database.session(Role.OPERATOR) as session:
        return [row.public for row in keys.in_use(session)]


def _record_key(platform: Runtime) -> str | None:
    try:
        return records.Signer.from_text(platform.settings.record_key).public
    except records.NoRecordKey:
        return None


def _new(file: Path) -> Any:
    """A file that only we read; never one that is there already."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise BadValue(f"{file} cannot be written: {error.strerror}.") from None


COMMANDS = (audit,)
