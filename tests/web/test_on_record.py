"""What each command leaves on record, and the record on the command line."""

from __future__ import annotations

import ast
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit import exporting, places
from strongroom.audit.sequencing import Sequencer
from strongroom.db import Role
from strongroom.people import record
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import RECORD_KEY
from tests.web import command_line
from tests.web.command_line import Desk
from web import contract

LOOKS = None  # changes nothing and shows no data of a tenant
# The code of what a command does; several where it does several. A new command needs a line.
ON_RECORD = {
    "account create": "people.account-made people.link-made",
    "account disable": "people.account-disabled",
    "account link": "people.link-made",
    "account list": LOOKS,
    "account reset-factor": "people.factors-reset",
    "alert ack": "alerts.acknowledged",
    "alert list": LOOKS,
    "alert show": LOOKS,
    "alert snooze": "alerts.snoozed",
    "audit export": "record.exported",
    "audit mend": "record.mended",
    "audit prove": LOOKS,
    "audit rotate": "record.key-made",
    "audit show": LOOKS,
    "audit verify": LOOKS,
    "backup": "backup-runs.queued",
    "browse": "contents.browsed",
    "control dump": LOOKS,  # the same that is done every day, registered in its own table
    "control list": LOOKS,
    "demo": LOOKS,  # a home of its own
    "diff": "contents.compared",
    "doctor": LOOKS,
    "drill": "drills.waiting",
    "escrow create": "escrow-keys.made",
    "escrow drill": "escrow-keys.drilled",
    "escrow status": LOOKS,
    "failure again": "backup-runs.queued",
    "failure list": LOOKS,
    "find": "contents.searched",
    "finding accept": "findings.accepted",
    "finding list": LOOKS,
    "finding reject": "findings.rejected",
    "grant decide": "support-grants.open support-grants.declined",
    "grant end": "support-grants.ended",
    "grant list": LOOKS,
    "grant open": "support-grants.asked",
    "hold list": LOOKS,
    "hold place": "holds.placed",
    "hold release": "holds.released",
    "key rotate": "rotations.waiting",
    "key status": LOOKS,
    "kit export": "repositories.kit-exported",
    "migrate": LOOKS,  # there may be no table for it yet; each migration is in the database
    "notice canary set-up": "tenants.canary-made",
    "notice canary show": LOOKS,
    "notice channels add-apprise": "notice-channels.added",
    "notice channels add-email": "notice-channels.added",
    "notice channels add-webhook": "notice-channels.added",
    "notice channels list": LOOKS,
    "notice channels remove": "notice-channels.removed",
    "notice channels test": "messages.delivered",
    "notice list": LOOKS,
    "notice mail-server": "mail-servers.set",
    "plan apply": "plans.applied",
    "plan list": LOOKS,
    "plan show": LOOKS,
    "points": LOOKS,
    "promises": LOOKS,
    "promises attest": "promises.attested",
    "promises show": LOOKS,
    "promises statement": "promises.stated",
    "promises verify": LOOKS,
    "recover": "platform.recovered",
    "region add": "regions.added",
    "region check": LOOKS,
    "region limit": "regions.limited",
    "region list": LOOKS,
    "region place": "regions.placed",
    "region undelete": "repositories.undeleted",
    "restore": "restores.waiting restores.asked",
    "restores approve": "restores.waiting",
    "restores cancel": "restores.cancelled restores.restore-cancel-asked",
    "restores decline": "restores.declined",
    "restores list": LOOKS,
    "retention preview": LOOKS,
    "schedule": "tenants.schedule-chosen",
    "serve dispatcher": LOOKS,
    "serve upkeep": LOOKS,
    "serve web": LOOKS,
    "serve worker": LOOKS,
    "source add": "sources.added",
    "source list": LOOKS,
    "source remove": "sources.removed",
    "source test": LOOKS,
    "status": LOOKS,
    "tenant add": "tenants.added",
    "tenant list": LOOKS,
    "tenant pack": "tenants.pack-changed",
    "tenant plan": "tenants.plan-changed",
    "tenant show": LOOKS,
    "undo": "restores.waiting restores.asked",
    "up": LOOKS,
    "verify": "proofs.waiting",
}
NOTING = ("record.note", "noted")
SOURCES = "platform/strongroom backup restore tenants web"


def test_every_command_has_a_rule_about_the_record() -> None:
    assert {words for words, _command in contract.commands()} == set(ON_RECORD)


def noted() -> set[str]:
    """The codes in the calls that put something of people on record."""
    found = set()
    for part in SOURCES.split():
        for path in (Path(__file__).parents[2] / part).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in NOTING:
                    found |= {
                        each.value
                        for each in call.args
                        if isinstance(each, ast.Constant) and isinstance(each.value, str)
                    }
    return found


def test_every_code_of_people_says_how_it_ended() -> None:
    chosen = {"pin-right", "pin-wrong", "stepped-up", "second-factor-given"}  # at run time
    chosen |= {"token-made", "sessions-ended"}  # by a function in between
    assert noted() | chosen == set(record.CODES)


@pytest.fixture
def desk(
    stack: Embedded, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.setattr(places, "PREFIX", f"record-{uuid.uuid4()}/")
    secret = tmp_path / "secrets" / RECORD_KEY
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(runtime.settings.record_key)
    return command_line.sit_down(stack, runtime, tmp_path)


def _shown(desk: Desk) -> list[dict[str, Any]]:
    said = desk("audit", "show", "--json", "--limit", "1000")
    assert said.code == 0, said
    return list(said.document)


def test_what_is_done_on_the_command_line_is_on_record_with_who_and_from_where(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    words = ["--plan", "starter", "--timezone", "Asia/Dubai", "--country", "AE", "--locale", "en"]
    desk.json("tenant", "add", "acme", "--name", "Acme", *words)
    desk.json("source", "add", "acme", "directory", "files", "--path", folder)
    hold = desk.json("hold", "place", "acme", "--reason", "a court asked")
    desk.json("region", "limit", "region-a", "--clear")
    desk.json("backup", "acme")
    wanted = {"tenants.added", "sources.added", "holds.placed", "regions.limited"}
    found = {entry["code"]: entry for entry in _shown(desk)}
    assert wanted | {"backup-runs.queued"} <= set(found)
    held = found["holds.placed"]
    assert (held["subject"], held["channel"], held["by"]) == (hold["hold"], "command", "operator")
    assert held["details"]["why"] == "a court asked"
    assert [each["code"] for each in _shown_of(desk, "acme")].count("regions.limited") == 0


def _shown_of(desk: Desk, tenant: str) -> list[dict[str, Any]]:
    return list(desk.json("audit", "show", tenant))


def test_an_auditor_verifies_the_record_offline(desk: Desk, tmp_path: Path) -> None:
    desk.json("region", "limit", "region-a", "--clear")
    desk.json("region", "limit", "region-b", "--clear")
    Sequencer(desk.runtime).round()
    assert desk.json("audit", "verify")["state"] == "kept"
    file = tmp_path / "record.jsonl"
    made = desk.json("audit", "export", "--to", file)
    # From here on without the platform: no home, nothing but the file and a key.
    key = made["keys"][0]
    assert "region-a" not in file.read_text()  # details are not in it
    told = command_line.run("audit", "verify", file, "--key", key, "--json")
    assert (told.code, told.document["state"]) == (0, "kept")
    assert told.document["entries"] == made["entries"] > 2
    by_record_key = command_line.run("audit", "verify", file, "--key", made["record_key"])
    assert by_record_key.code == 0
    unpinned = command_line.run("audit", "verify", file, "--json")
    assert (unpinned.code, unpinned.document["state"]) == (3, "unpinned")
    stranger = "strongroom.record/x+6a35f9b0+AfL1eWiK0L3aZ6bk8ra6C9m0D0wqjxh0hQ0rE9hZy6zM"
    assert command_line.run("audit", "verify", file, "--key", stranger).code != 0
    other = "00" * 32
    assert command_line.run("audit", "verify", file, "--key", other).code == 1


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("change", ["edit", "edit-both", "remove", "reorder", "insert", "cut"])
def test_an_export_that_was_changed_is_found(desk: Desk, tmp_path: Path, change: str) -> None:
    for _ in range(4):
        desk.json("region", "limit", "region-a", "--clear")
    Sequencer(desk.runtime).round()
    file = tmp_path / "record.jsonl"
    made = desk.json("audit", "export", "--to", file, "--details")
    lines = _lines(file)
    at = [number for number, line in enumerate(lines) if "place" in line]
    one, two = at[-3], at[-2]
    if change.startswith("edit"):
        lines[one]["leaf"] = lines[one]["leaf"].replace("regions.limited", "regions.removed")
        if change == "edit-both":
            hashed = exporting.merkle.leaf_hash(lines[one]["leaf"].encode())
            lines[one]["hash"] = hashed.hex()
    elif change == "remove":
        del lines[one]
    elif change == "reorder":
        lines[one], lines[two] = lines[two], lines[one]
        lines[one]["place"], lines[two]["place"] = lines[two]["place"], lines[one]["place"]
    elif change == "insert":
        lines.insert(one, dict(lines[two]))
    else:
        del lines[-1]
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = command_line.run("audit", "verify", changed, "--key", made["keys"][0], "--json")
    assert (told.code, told.document["state"]) == (1, "wrong")
    assert told.document["problems"]


def test_a_proof_shows_that_an_entry_is_in_the_log(desk: Desk, tmp_path: Path) -> None:
    desk.json("region", "limit", "region-a", "--clear")
    Sequencer(desk.runtime).round()
    entry = next(each for each in _shown(desk) if each["code"] == "regions.limited")
    file = tmp_path / "entry.tlog-proof"
    said = desk.json("audit", "prove", entry["entry"], "--to", file)
    key = exporting.PublicKey.from_text(
        desk.json("audit", "export", "--to", tmp_path / "r")["keys"][0]
    )
    leaf, proof = said["leaf"].encode(), file.read_bytes()
    assert exporting.is_proven(leaf, proof, origin=key.name, trusted=[key])
    assert not exporting.is_proven(leaf + b" ", proof, origin=key.name, trusted=[key])


def test_an_edited_row_is_told_and_named(desk: Desk, superuser: Any, stack: Embedded) -> None:
    desk.json("region", "limit", "region-a", "--clear")
    Sequencer(desk.runtime).round()
    (entry,) = [each for each in _shown(desk) if each["code"] == "regions.limited"]
    assert stack.postgres.cluster is not None
    name = str(desk.runtime.database.engine(Role.MIGRATOR).url.database)
    with stack.postgres.cluster.connect(name) as line:
        line.execute(b"update record_entries set by = 'person' where code = 'regions.limited'")
    told = desk("audit", "verify", "--json")
    assert told.code == 1
    (problem,) = told.document["problems"]
    assert (problem["code"], problem["entry"]) == ("edited", entry["entry"])
    told = desk("audit", "verify")
    assert told.err.startswith("edited: Entry")
    assert "WRONG" in told.out
    assert "as they were signed" not in told.out


def test_the_key_is_made_new_and_the_file_is_verified_with_the_old_one(
    desk: Desk, tmp_path: Path
) -> None:
    desk.json("region", "limit", "region-a", "--clear")
    Sequencer(desk.runtime).round()
    old = desk.json("audit", "export", "--to", tmp_path / "before")["keys"][0]
    new = desk.json("audit", "rotate")["key"]
    Sequencer(desk.runtime).round()
    file = tmp_path / "after"
    assert desk.json("audit", "export", "--to", file)["keys"] == [old, new]
    for key in (old, new):
        code = command_line.run("audit", "verify", file, "--key", key).code
        assert code == (0 if key == old else 1), key  # the new one vouches for nothing before it


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    for words in ("", "hello\n", '{"place": 0}\n', "[]\n"):
        file.write_text(words)
        assert command_line.run("audit", "verify", file).code == 2, words


def test_a_file_that_is_there_is_not_written_over(desk: Desk, tmp_path: Path) -> None:
    desk.json("region", "limit", "region-a", "--clear")
    Sequencer(desk.runtime).round()
    file = tmp_path / "mine"
    file.write_text("mine")
    assert desk("audit", "export", "--to", file).code == 2
    assert file.read_text() == "mine"
    assert desk.json("audit", "mend") == {"mended": False}
