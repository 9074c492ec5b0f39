"""restic's commands against real repositories in local folders."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backup import keyfile
from backup.keyfile import MachinePassword
from backup.restic import calls, commands, creation, errors, outputs
from backup.restic.calls import Call
from backup.restic.flags import CheckExtent, FolderBackup, Overwrite, RestoreOrder
from backup.restic.outputs import Change, Entry, Progress
from strongroom import program
from strongroom.program import Stopped, TimedOut
from tests.backup.restic_stage import STAMP, Stage, new_repository, stage


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def folder(ready: Stage, **options: object) -> FolderBackup:
    return FolderBackup(folder=ready.source, host="acme", **options)  # type: ignore[arg-type]


def saved(ready: Stage, **options: object) -> str:
    report = commands.backup_folder(ready.repository, ready.here, folder(ready, **options))
    assert report.complete and report.snapshot
    return report.snapshot


def order(ready: Stage, snapshot: str, **options: object) -> RestoreOrder:
    return RestoreOrder(snapshot, ready.folder / "back", **options)  # type: ignore[arg-type]


def second_region(ready: Stage) -> calls.Repository:
    opened = keyfile.open_repository(ready.store, ready.password)
    polynomial = creation.read_config(ready.store, opened).polynomial
    return new_repository(ready.folder / "b", MachinePassword.make(), polynomial=polynomial)[0]


def test_the_version_is_new_enough(ready: Stage) -> None:
    assert commands.version(ready.here) >= "0.19.1"


def test_a_folder_comes_back_byte_for_byte(ready: Stage) -> None:
    ready.write("a.txt", "one")
    ready.write("فاتورة/ب.txt", "اثنان")
    snapshot = saved(ready)
    report = commands.restore(ready.repository, ready.here, order(ready, snapshot))
    back = ready.folder / "back"
    assert (back / "a.txt").read_text() == "one"
    assert (back / "فاتورة/ب.txt").read_text() == "اثنان"
    assert report.restored == 3


def test_an_unchanged_folder_makes_no_second_snapshot_unless_forced(ready: Stage) -> None:
    ready.write("a", "one")
    first = saved(ready)
    again = commands.backup_folder(ready.repository, ready.here, folder(ready))
    assert (again.snapshot, again.complete, again.files) == (None, True, 1)
    forced = saved(ready, force=True)
    trees = {one.tree for one in commands.snapshots(ready.repository, ready.here)}
    assert forced != first and len(trees) == 1


def test_a_named_parent_is_what_unchanged_means(ready: Stage) -> None:
    ready.write("a", "one")
    first = saved(ready)
    ready.write("a", "two")
    saved(ready)
    ready.write("a", "one")
    wanted = folder(ready, parent=first, staged=True)
    saved(ready, parent=first)
    assert commands.backup_folder(ready.repository, ready.here, wanted).complete


def test_excludes_keep_files_out(ready: Stage) -> None:
    for name in ("a.txt", "b.tmp", "#c", "deep/cache/x", "cache/x", "two\nlines"):
        ready.write(name)
    snapshot = saved(ready, excludes=("*.tmp", "#c", "/cache", "two\nlines"))
    assert _paths(ready, snapshot) == ["/a.txt", "/deep", "/deep/cache", "/deep/cache/x"]


def test_an_unreadable_file_makes_the_backup_partial(ready: Stage) -> None:
    ready.write("good")
    ready.write("bad").chmod(0)
    here = replace(ready.here, account=_nobody(ready), limits=program.Limits(core_bytes=None))
    report = commands.backup_folder(ready.repository, here, folder(ready))
    assert not report.complete and report.snapshot
    assert any("bad" in one for one in report.unread)
    assert _paths(ready, report.snapshot) == ["/good"]


def test_a_missing_folder_leaves_no_snapshot(ready: Stage) -> None:
    wanted = replace(folder(ready), folder=ready.folder / "gone")
    with pytest.raises(errors.SourceMissing):
        commands.backup_folder(ready.repository, ready.here, wanted)
    assert commands.snapshots(ready.repository, ready.here) == ()


def test_progress_is_told_and_may_stop_the_backup(ready: Stage) -> None:
    for number in range(40):
        ready.write(f"{number}", os.urandom(4_000_000))
    seen: list[Progress] = []
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        seen.append(progress)
        stop.set()

    with pytest.raises(Stopped):
        here = replace(ready.here, stop=stop)
        commands.backup_folder(ready.repository, here, folder(ready), progress=watch)
    assert seen
    assert commands.snapshots(ready.repository, ready.here) == ()


def test_a_call_past_its_deadline_is_ended(ready: Stage) -> None:
    with pytest.raises(TimedOut):
        commands.open_check(ready.repository, ready.here.within(0.0))


def test_a_copy_keeps_the_original_id_and_may_be_repeated(ready: Stage) -> None:
    ready.write("a", "one")
    snapshot, other = saved(ready, tags=("run:1",)), second_region(ready)
    [first] = commands.copy(ready.repository, other, ready.here, [snapshot])
    assert commands.copy(ready.repository, other, ready.here, [snapshot]) == (first,)
    assert (first.original, first.snapshot.original) == (snapshot, snapshot)
    assert first.snapshot.id != snapshot and first.snapshot.tags == ("run:1",)
    [back] = commands.copy(other, second_copy := _third(ready), ready.here, [first.snapshot.id])
    assert back.snapshot.original == snapshot
    assert commands.copy(ready.repository, second_copy, ready.here, []) == ()


def test_a_copy_of_a_snapshot_that_is_not_there_raises(ready: Stage) -> None:
    with pytest.raises(errors.ResticError):
        commands.copy(ready.repository, second_region(ready), ready.here, ["0" * 64])


def test_forget_takes_what_was_named_and_nothing_else(ready: Stage) -> None:
    ready.write("a", "one")
    first = saved(ready)
    ready.write("a", "two")
    second = saved(ready)
    commands.forget(ready.repository, ready.here, [first])
    commands.forget(ready.repository, ready.here, [first])
    assert [one.id for one in commands.snapshots(ready.repository, ready.here)] == [second]


def test_a_damaged_pack_is_found_and_named(ready: Stage) -> None:
    ready.write("a", os.urandom(100_000))
    snapshot = saved(ready)
    pack = max(ready.packs(), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[10] ^= 1
    pack.write_bytes(content)
    report = commands.check(ready.repository, ready.here, CheckExtent(everything=True))
    assert not report.ok and report.broken_packs == (pack.name,)
    [use] = commands.find_pack(ready.repository, ready.here, pack.name)
    assert (use.snapshot, use.path, use.kind) == (snapshot, "/a", "blob")


def test_a_rotating_part_reads_its_share(ready: Stage) -> None:
    ready.write("a")
    saved(ready)
    for part in (1, 2):
        extent = CheckExtent(part=(part, 2))
        assert commands.check(ready.repository, ready.here, extent).ok


def test_a_restore_that_matches_nothing_raises(ready: Stage) -> None:
    ready.write("a")
    snapshot = saved(ready)
    for dry_run in (True, False):
        wanted = order(ready, snapshot, include=("b",), dry_run=dry_run)
        with pytest.raises(errors.NothingMatched):
            commands.restore(ready.repository, ready.here, wanted)
    with pytest.raises(errors.ResticError):
        commands.restore(ready.repository, ready.here, order(ready, snapshot, subfolder="/no"))


def test_chosen_paths_come_back_and_no_others(ready: Stage) -> None:
    names = ["a*", "ab", "$HOME", "#x", " y ", "two\nlines", "-n", "!z", "d/e", "d/f"]
    for name in names:
        ready.write(name)
    wanted = ("a*", "$HOME", "#x", " y ", "two\nlines", "-n", "!z", "d/e")
    commands.restore(ready.repository, ready.here, order(ready, saved(ready), include=wanted))
    back = ready.folder / "back"
    files = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert files == set(wanted)


def test_a_dry_run_writes_nothing_and_an_empty_folder_is_no_failure(ready: Stage) -> None:
    ready.write("a")
    (ready.source / "empty").mkdir()
    snapshot = saved(ready)
    report = commands.restore(ready.repository, ready.here, order(ready, snapshot, dry_run=True))
    assert report.files == 2 and not (ready.folder / "back").exists()
    commands.restore(ready.repository, ready.here, order(ready, snapshot, subfolder="/empty"))


def test_overwrite_and_delete_do_as_they_are_named(ready: Stage) -> None:
    ready.write("a", "one")
    snapshot, back = saved(ready), ready.folder / "back"
    back.mkdir()
    (back / "a").write_text("mine")
    (back / "extra").write_text("mine")
    never = order(ready, snapshot, overwrite=Overwrite.NEVER)
    assert commands.restore(ready.repository, ready.here, never).skipped == 1
    assert (back / "a").read_text() == "mine"
    report = commands.restore(ready.repository, ready.here, order(ready, snapshot, delete=True))
    assert report.deleted == 1
    assert (back / "a").read_text() == "one" and not (back / "extra").exists()


def test_one_file_is_dumped_into_an_open_file(ready: Stage) -> None:
    ready.write("--odd\nname", "content")
    snapshot = saved(ready)
    with (ready.folder / "out").open("w+b") as out:
        commands.dump(ready.repository, ready.here, snapshot=snapshot, path="--odd\nname", to=out)
        with pytest.raises(errors.ResticError):
            commands.dump(ready.repository, ready.here, snapshot=snapshot, path="no", to=out)
    assert (ready.folder / "out").read_bytes() == b"content"


def test_entries_tell_what_lies_in_a_snapshot(ready: Stage) -> None:
    ready.write("a", "one").chmod(0o4750)
    (ready.source / "link").symlink_to("a")
    entries: list[Entry] = []
    commands.ls(ready.repository, ready.here, saved(ready), entries.append)
    file, link = entries
    assert (file.path, file.kind, file.size, file.mode) == ("/a", "file", 3, 0o4750)
    assert file.mtime.timestamp() == pytest.approx((ready.source / "a").stat().st_mtime, abs=1e-5)
    assert (link.path, link.kind) == ("/link", "symlink")


def test_differences_are_told(ready: Stage) -> None:
    ready.write("a", "one")
    ready.write("b", "one")
    first = saved(ready)
    ready.write("a", "two")
    ready.write("c", "new")
    (ready.source / "b").unlink()
    seen: list[Change] = []
    report = commands.diff(ready.repository, ready.here, (first, saved(ready)), each=seen.append)
    assert {(one.path, one.kind) for one in seen} == {("/a", "M"), ("/b", "-"), ("/c", "+")}
    assert (report.changed_files, report.added_files, report.removed_files) == (1, 1, 1)


def test_raw_size_is_what_is_stored(ready: Stage) -> None:
    ready.write("a", b"0" * 1_000_000)
    saved(ready)
    stats = commands.stats(ready.repository, ready.here)
    assert stats.bytes < stats.uncompressed >= 1_000_000
    assert (stats.snapshots, stats.blobs > 0) == (1, True)


def test_a_wrong_password_and_a_missing_repository_have_their_own_exceptions(ready: Stage) -> None:
    with pytest.raises(errors.WrongKey):
        wrong = replace(ready.repository, password=b"wrong-one")
        commands.open_check(wrong, ready.here)
    with pytest.raises(errors.NoRepository):
        nowhere = replace(ready.repository, address=str(ready.folder / "no"))
        commands.open_check(nowhere, ready.here)


def test_hostile_key_objects_do_not_stop_us_with_the_hint(ready: Stage) -> None:
    ready.write("a")
    saved(ready)
    for number in range(100):
        text = b'{"kdf":"scrypt","N":3,"r":1,"p":%d}' % number
        ready.store.put(f"keys/{hashlib.sha256(text).hexdigest()}", text)
    assert len(commands.snapshots(ready.repository, ready.here)) == 1


def test_another_ones_lock_has_its_own_exception_and_unlock_removes_it(ready: Stage) -> None:
    ready.write("a", "one")
    first = saved(ready)
    _killed_backup(ready)
    with pytest.raises(errors.RepositoryLocked):
        commands.forget(ready.repository, ready.here, [first])
    commands.unlock_all(ready.repository, ready.here)
    commands.forget(ready.repository, ready.here, [first])


def test_after_a_kill_the_next_backup_uses_what_was_uploaded(ready: Stage) -> None:
    _killed_backup(ready)
    uploaded = sum(path.stat().st_size for path in ready.packs())
    commands.unlock_all(ready.repository, ready.here)
    commands.repair_index(ready.repository, ready.here)
    report = commands.backup_folder(ready.repository, ready.here, folder(ready))
    assert uploaded > 30_000_000
    assert report.added < report.bytes - uploaded + 5_000_000
    assert commands.check(ready.repository, ready.here, CheckExtent(everything=True)).ok


@pytest.mark.parametrize("name", ["--password-command=touch X", "two\nlines", "-o", "$(touch X)"])
def test_hostile_folder_names_do_no_harm(ready: Stage, name: str) -> None:
    ready.write(f"{name}/{name}", "content")
    wanted = replace(folder(ready), folder=ready.source / name, excludes=("--x",))
    report = commands.backup_folder(ready.repository, ready.here, wanted)
    assert report.snapshot
    assert _paths(ready, report.snapshot) == [f"/{name}"]
    assert not list(ready.folder.rglob("X"))


def test_a_key_can_be_removed_but_not_the_one_in_use(ready: Stage) -> None:
    more = keyfile.add_low_cost(ready.store, ready.password, STAMP)
    hint = ready.repository.key_hint or ""
    with pytest.raises(errors.ResticError):
        commands.key_remove(ready.repository, ready.here, hint)
    commands.key_remove(ready.repository, ready.here, more)
    assert [key.id for key in commands.key_list(ready.repository, ready.here)] == [hint]


def test_a_passphrase_of_a_person_gets_a_key_that_is_dear_to_open(ready: Stage) -> None:
    name = commands.key_add(ready.repository, ready.here, b"a person's words")
    chosen = replace(ready.repository, password=b"a person's words", key_hint=name)
    commands.open_check(chosen, ready.here)
    assert json.loads(ready.store.get(f"keys/{name}"))["N"] >= 16384
    # The low-cost key is still the one that the hint opens.
    commands.open_check(ready.repository, ready.here)


def test_a_repository_can_be_made_by_restic_itself_for_the_second_region(ready: Stage) -> None:
    password = MachinePassword.make()
    other = calls.Repository(address=str(ready.folder / "b"), password=password.text)
    made = commands.init(other, ready.here, like=ready.repository)
    assert commands.open_check(other, ready.here) == made


def test_unknown_messages_are_passed_over() -> None:
    assert calls.parse("plain text") is None
    assert calls.parse("[1]") is None
    assert calls.parse("{broken") is None
    heard = calls.Heard()
    for line in ("plain", '{"message_type":"exit_error","code":1,"message":"why"}', "{}"):
        heard.line(line)
    assert heard.words == ["plain", "why"]


def _paths(ready: Stage, snapshot: str) -> list[str]:
    found: list[Entry] = []
    commands.ls(ready.repository, ready.here, snapshot, found.append)
    return sorted(entry.path for entry in found)


def _third(ready: Stage) -> calls.Repository:
    return new_repository(ready.folder / "c", MachinePassword.make())[0]


def _nobody(ready: Stage) -> program.Account:
    if os.geteuid() != 0:
        return program.Account(os.geteuid(), os.getegid())
    account = program.Account(65534, 65534)
    for path in [ready.folder, *ready.folder.rglob("*")]:
        if path.name != "bad":
            os.chown(path, account.uid, account.gid)
    for parent in ready.folder.parents:
        if parent.stat().st_uid == 0 and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    return account


def _killed_backup(ready: Stage) -> None:
    """A backup that restic was killed in, once 30 MB had been uploaded."""
    for number in range(16):
        ready.write(f"big/{number}", os.urandom(5_000_000))
    slow = replace(ready.repository, upload_kib=15_000)
    wanted = ["backup", "--json", "--host=acme", "."]
    call = Call("backup", wanted, slow, folder=ready.source, reads=(ready.source,))
    with calls.prepared(call, ready.here) as command:
        child = program.start(command)
    while sum(path.stat().st_size for path in ready.packs()) < 32_000_000:
        assert child.process.poll() is None
        threading.Event().wait(0.01)
    child.signal(signal.SIGKILL)
    child.process.wait()


def test_an_answer_without_a_summary_is_no_success() -> None:
    with pytest.raises(errors.NoAnswer):
        outputs.only_summary([{"message_type": "status"}], "backup")
    with pytest.raises(errors.NoAnswer):
        outputs.only_summary([{"message_type": "summary"}] * 2, "backup")
