"""The page of all commands, docs/commands.md: `python -m web.contract` writes it anew.

Words, options and examples are the commands' own. What a document holds click does not know; that
is said here, and a test holds it against what commands really print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import click

from backup.policy import EffectivePolicy
from web.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
POINT = (
    *("id", "number", "outcome", "kind", "cadences", "taken_at", "local_date", "bytes"),
    *("added_bytes", "entries", "copies", "expires", "kept_by", "marked"),
)
REGION = (
    *("name", "state", "endpoint", "bucket", "location", "latitude", "longitude", "country"),
    *("provider", "bandwidth"),
)
TENANT = (
    *("id", "slug", "name", "plan", "plan_version", "country", "zone", "locale", "pack"),
    "keep_in",
)
SOURCE = ("id", "name", "kind", "options", "transit", "added_at")
RESTORE = (
    *("restore", "state", "phase", "to", "dry_run", "asked_by", "asked_at", "decided_by", "reason"),
    *("progress", "region", "report", "failure", "safety_point"),
)
DRILL = (
    *("drill", "region", "level", "state", "asked_at", "ended_at", "seconds"),
    *("restore_seconds", "bytes", "report", "failure"),
)
FINDING = (
    *("finding", "tenant", "code", "subject", "params", "freezes", "since", "last_seen"),
    *("decision", "by", "note"),
)
ACCOUNT = ("account", "email", "name", "staff", "tenants", "disabled_at")
ENTRY = (
    *("entry", "place", "at", "code", "by", "tenant", "of", "subject", "about", "reason"),
    *("channel", "ending", "details"),
)
ALERT = (
    *("alert", "group", "code", "severe", "count", "worst", "title", "todo", "command", "params"),
    *("opened_at", "seen_at", "closed_at", "told_at", "acknowledged", "snoozed"),
)
CHANNEL = ("channel", "kind", "level", "language", "to", "allowed", "added_at", "by")
MESSAGE = (
    *("message", "kind", "to", "tenant", "state", "attempts", "at", "due_at", "ended_at"),
    *("failure", "receipt"),
)
GRANT = ("grant", "tenant", "who", "scope", "state", "until", "reason")
PROMISE = ("pack", "id", "state", "evidence")
PLAN = ("code", "version", "name", *(each.name for each in fields(EffectivePolicy)))


@dataclass(frozen=True)
class Answer:
    """What `--json` gives, and what exit codes mean beyond the usual."""

    fields: tuple[str, ...] = ()
    many: bool = False  # a list of such documents
    codes: Mapping[int, str] | None = None


def many(*fields: str, codes: Mapping[int, str] | None = None) -> Answer:
    return Answer(fields, many=True, codes=codes)


ATTENTION = {3: "something needs attention"}
ANSWERS: Mapping[str, Answer] = {
    "account create": Answer((*ACCOUNT, "link")),
    "account disable": Answer(ACCOUNT),
    "account link": Answer((*ACCOUNT, "link")),
    "account list": many(*ACCOUNT),
    "account reset-factor": Answer(ACCOUNT),
    "alert ack": Answer(ALERT),
    "alert list": many(*ALERT, codes={3: "one is neither acknowledged nor snoozed"}),
    "alert show": Answer(ALERT),
    "alert snooze": Answer(ALERT),
    "audit export": Answer(("file", "entries", "keys", "record_key")),
    "audit mend": Answer(
        ("mended", "region", "before", "after", "lost"),
        codes={1: "what a region has is another log; nothing was changed"},
    ),
    "audit prove": Answer(("file", "leaf", "hash")),
    "audit rotate": Answer(("key",)),
    "audit show": many(*ENTRY, codes={3: "entries wait too long for their place in the log"}),
    "audit verify": Answer(
        (
            *("state", "origin", "entries", "checkpoints", "signed", "problems"),
            *("waiting", "regions", "open", "keys"),
        ),
        codes={
            1: "something was changed; `problems` names it",
            3: "nothing wrong was found, and not all could be looked at (`open`); of a file: no key "
            "from elsewhere vouches for it. `waiting`, `regions` and `open` without FILE, `keys` with",
        },
    ),
    "backup": Answer(
        ("run",),
        codes={
            0: "queued; with `--wait`: complete, and a verified copy in every region",
            3: "the point is partial, or not every region has a verified copy in time. With "
            "`--wait` the document is the point as in `points`, with `whole` and `sources`",
        },
    ),
    "browse": many("path", "kind", "size", "changed_at"),
    "control dump": many(
        *("key", "bytes", "expires_at"), codes={3: "a region does not have it; `params` names it"}
    ),
    "control list": many("region", "key", "bytes", "sha256", "made_at", "expires_at", "whole"),
    "demo": Answer(("ok", "steps"), codes={1: "a step failed; the last one in `steps` says which"}),
    "diff": many("source", "path", "change", "before", "after"),
    "doctor": many("name", "ok", "found", "remedy", codes={1: "a precondition is not kept"}),
    "drill": many(
        *DRILL,
        codes={1: "with `--wait`: it did not come back as it was", 3: "it could not be done now"},
    ),
    "escrow create": Answer(
        ("key", "files", "covered", "tenants_left"), codes={3: "some passwords do not open yet"}
    ),
    "escrow drill": Answer(("key", "tenant", "region", "repository", "snapshots")),
    "escrow status": Answer(
        ("keys", "control_dumps", "attention"),
        codes={3: "no escrow key, a password without a wrap, or a dump that is late"},
    ),
    "failure again": Answer(("code", "tenants")),
    "failure list": many("cause", "code", "tenants", "some", "as_of", codes={3: "some failed"}),
    "find": many("source", "path", "kind", "size", "since", "until"),
    "finding accept": Answer(FINDING),
    "finding list": many(*FINDING, codes={3: "some are open"}),
    "finding reject": Answer(FINDING),
    "grant decide": Answer(("grant", "state")),
    "grant end": Answer(("grant", "state")),
    "grant list": many(*GRANT),
    "grant open": Answer(GRANT),
    "hold list": many("hold", "tenant", "reason", "until", "by"),
    "hold place": Answer(("hold", "until")),
    "hold release": Answer(("hold",)),
    "key rotate": Answer(
        ("rotations", "kits_stop_opening"), codes={3: "with `--wait`: not all is done"}
    ),
    "key status": Answer(
        ("provider", "after_destruction", "copyable", "key_per_tenant", "tenants"),
        codes={3: "a key is lost, closed, going, or cannot be asked for"},
    ),
    "kit export": Answer(("folder", "files", "until")),
    "migrate": Answer(("ok",)),
    "notice canary set-up": Answer(("tenant", "slug")),
    "notice canary show": Answer(
        ("canary", "ran", "failed_as_it_should", "heard", "silent"),
        codes={3: "there is none, or some channel did not hear it in time (`silent`)"},
    ),
    "notice channels add-apprise": Answer(CHANNEL),
    "notice channels add-email": Answer(CHANNEL),
    "notice channels add-webhook": Answer((*CHANNEL, "secret")),
    "notice channels list": many(*CHANNEL, codes={3: "there is none: nobody is told of anything"}),
    "notice channels remove": Answer(("channel", "removed")),
    "notice channels test": Answer(
        ("channel", "state", "receipt"), codes={1: "the message was not taken"}
    ),
    "notice list": many(*MESSAGE, codes={3: "one of these was given up"}),
    "notice mail-server": Answer(
        ("host", "port", "security", "sender", "username", "set_at", "by"),
        codes={3: "none is set"},
    ),
    "plan apply": many("code", "version", "changed"),
    "plan list": many(*PLAN),
    "plan show": Answer(PLAN),
    "points": many(*POINT),
    "promises": many(*PROMISE, codes={3: "some are broken or at risk"}),
    "promises attest": Answer(PROMISE),
    "promises show": Answer(
        (*PROMISE, "kind", "says", "title", "enforced_by", "fails_when", "effective", "revised"),
        codes={3: "it is broken or at risk"},
    ),
    "promises statement": Answer(("file", "month", "promises", "key")),
    "promises verify": Answer(
        ("state", "month", "promises", "problem"),
        codes={1: "it is not as it was signed, or by another key", 3: "no key was given"},
    ),
    "recover": Answer(
        (
            *("dump", "dumped_at", "dry_run", "already", "tenants", "rebuilt", "buried"),
            *("repositories", "founded_since", "points_known", "points_adopted"),
            *("copies_adopted", "points_gone", "work_ended", "opened_by_key_store"),
            *("opened_by_escrow", "closed", "strangers", "away", "odd", "seconds"),
        ),
        codes={
            3: "recovered, and something is missing: `closed`, `away`, `strangers`, `points_gone`",
            4: "there is a platform already, or nothing says whom to believe; nothing was changed",
        },
    ),
    "region add": Answer(REGION),
    "region check": many(
        *("name", "ok", "seconds_apart", "not_said"),
        codes={3: "one cannot be reached; it has `problem` in place of `seconds_apart`"},
    ),
    "region limit": Answer(REGION),
    "region list": many(*REGION),
    "region place": Answer(REGION),
    "region undelete": Answer(
        ("region", "dry_run", "tenants"), codes={3: "something is missing, or not proven yet"}
    ),
    "restore": Answer(
        RESTORE,
        codes={
            1: "it failed",
            3: "it waits for a second person",
            4: "a guard or a missing right forbids it",
        },
    ),
    "restores approve": Answer(RESTORE, codes={4: "it is one's own, or waits for nobody"}),
    "restores cancel": Answer(RESTORE, codes={4: "it has ended, or its last step has begun"}),
    "restores decline": Answer(RESTORE, codes={4: "it is one's own, or waits for nobody"}),
    "restores list": many(*RESTORE, "tenant", "source", "point"),
    "retention preview": many("number", "date", "outcome", "goes", "reasons", "expires"),
    "schedule": Answer(("tenant", "zone", "next", "last")),
    "serve dispatcher": Answer(),
    "serve upkeep": Answer(),
    "serve web": Answer(),
    "serve worker": Answer(),
    "source add": Answer(SOURCE),
    "source list": many(*SOURCE),
    "source remove": Answer(("removed",)),
    "source test": Answer(("ok", "found")),
    "status": Answer(("ok", "tenants", "attention", "platform"), codes=ATTENTION),
    "tenant add": Answer(("id", "slug", "plan")),
    "tenant list": many(*TENANT),
    "tenant pack": Answer(
        ("tenant", "pack", "values"),
        codes={4: "points would go; the message and `params` name them"},
    ),
    "tenant plan": Answer(
        ("tenant", "plan", "version", "losing"),
        codes={4: "a point would go; the message and `params` name it"},
    ),
    "tenant show": Answer((*TENANT, "policy", "values", "sources")),
    "undo": Answer(
        RESTORE,
        codes={1: "it failed", 4: "nothing was replaced, it was undone, or is too long ago"},
    ),
    "up": Answer(("home", "web", "sign_in")),
    "verify": many(
        *("region", "level", "state", "seconds", "bytes", "found"),
        codes={1: "a proof failed", 3: "not all ended in time. With `--level drill` as `drill`"},
    ),
}
HEAD = """# Commands

Made by `python -m web.contract` out of the commands themselves; do not edit.

Every command has `--help`, `--json` (one document on standard output and nothing else there) and
`--home FOLDER` (or `STRONGROOM_HOME`) for an embedded stack; without, `STRONGROOM_*` variables say which
platform is meant. Messages and progress go to standard error.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage, or a value that makes no sense |
| 3 | done in part, incomplete, or something needs attention |
| 4 | refused: a guard, a hold, or a right that is missing |

With `--json` every failure is `{"error": {"code": …, "message": …, "params": …}}`. Moments are ISO 8601
and UTC, sizes are bytes, times are seconds.
"""


def page() -> str:
    """The whole page, as it should be."""
    return "\n".join([HEAD, *(_section(name, each) for name, each in commands())])


def commands(group: click.Group = main, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """All that do something, by their words."""
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield f"{above}{name}", command
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _section(name: str, command: click.Command) -> str:
    words, _, example = (command.help or "").partition("Example:")
    answer = ANSWERS[name]
    lines = [f"## {name}", "", _wrapped(words)]
    lines += ["", "```sh", " ".join(example.split()), "```"]
    if rows := [_option(each) for each in command.params if each.name not in ("home", "as_json")]:
        lines += ["", *rows]
    if answer.codes:
        lines += ["", *(f"- exit {code}: {said}" for code, said in answer.codes.items())]
    if answer.fields:
        kind = "A list; each has" if answer.many else "A document with"
        lines += ["", f"{kind} {', '.join(f'`{field}`' for field in answer.fields)}."]
    return "\n".join([*lines, ""])


def _option(option: click.Parameter) -> str:
    if isinstance(option, click.Argument):
        must = "" if option.required else ", may be left out"
        return f"- `{option.make_metavar(click.Context(main))}`{must}"
    assert isinstance(option, click.Option)
    values = "" if option.is_flag else f" {option.make_metavar(click.Context(main))}"
    said = [option.help or ""]
    if option.required:
        said.append("Required.")
    if option.show_default and option.default is not None and not option.is_flag:
        said.append(f"Default {option.default}.")
    words = " ".join(filter(None, said))
    return f"- `{max(option.opts, key=len)}{values}`" + (f": {words}" if words else "")


def _wrapped(text: str) -> str:
    """Paragraphs as they were meant, each on lines of its own."""
    return "\n\n".join(" ".join(each.split()) for each in re.split(r"\n\s*\n", text.strip()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
