"""Folders given back through real restic: whole or chosen, aside, in place, into a folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup.models import Copy, Point, PointSource, Proof, Source
from restore import tasks
from restore.states import Destination
from strongroom.db import Role
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.restore.asking import (
    ask,
    beside,
    carry_out,
    current,
    face,
    faces,
    failure,
    give_back,
    make_owned,
    report,
    safety_runs,
    stored,
    take_back,
)


@dataclass(frozen=True)
class Office:
    """A folder of Acme with odd but honest things in it, and a point of it."""

    runtime: Runtime
    tenant: Tenant
    source: Source
    folder: Path
    point: Point

    def damage(self) -> None:
        """One file changed, one gone, one new, one whose owner and mode are others."""
        (self.folder / "فاتورة.txt").write_text("damaged\n", encoding="utf-8")
        (self.folder / "letters" / "0.txt").unlink()
        (self.folder / "letters" / "new.txt").write_text("new")
        (self.folder / "letters" / "1.txt").chmod(0o600)
        make_owned(self.folder / "letters" / "1.txt", 1234)


@pytest.fixture
def office(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Office:
    folder = tmp_path / "srv" / "office"
    cast.fill(folder)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "secret.txt").write_text("secret")
    (folder / "secret.txt").chmod(0o640)
    make_owned(folder / "secret.txt", 4321)
    (folder / "latest").symlink_to("letters/2.txt")
    for name in ("-rf", "two\nlines", "ق" * 125, "a[b]*?$HOME", " blank "):
        (folder / name).write_text("odd name")
    os.utime(folder / "letters" / "2.txt", ns=(10**18, 10**18 + 123_456_789))
    folder.chmod(0o2751)
    make_owned(folder, 777)
    source = cast.add_folder(runtime, acme, folder)
    return Office(runtime, acme, source, folder, stored(runtime, acme))


def test_in_place_brings_back_all_of_it_and_keeps_the_face_of_the_folder(office: Office) -> None:
    before, top = faces(office.folder), face(office.folder)
    office.damage()

    row = give_back(office.runtime, office.point, office.source)

    assert faces(office.folder) == before
    assert face(office.folder)[:3] == top[:3]
    assert {report(row)["before"]} == {
        str(office.folder.with_name(n)) for n in beside(office.folder)
    }


def test_undo_brings_back_exactly_the_state_before_and_undo_of_that_too(office: Office) -> None:
    intact = faces(office.folder)
    office.damage()
    office.folder.chmod(0o700)
    damaged = faces(office.folder)
    row = give_back(office.runtime, office.point, office.source)

    office.runtime.clock.forward(minutes=1)  # type: ignore[attr-defined]  # the tests' clock
    undone = take_back(office.runtime, row)
    assert faces(office.folder) == damaged
    assert face(office.folder)[0] & 0o7777 == 0o700

    office.runtime.clock.forward(minutes=1)  # type: ignore[attr-defined]
    take_back(office.runtime, undone)
    assert faces(office.folder) == intact


def test_in_place_takes_a_safety_point_of_that_source_only(office: Office, tmp_path: Path) -> None:
    cast.add_folder(office.runtime, office.tenant, tmp_path / "other", name="other")

    row = give_back(office.runtime, office.point, office.source)

    [run] = safety_runs(office.runtime, office.tenant)
    assert run.only_source_id == office.source.id
    assert report(row)["safety_point"] == str(run.id) == str(row.safety_run_id)


def test_what_follows_a_safety_point_is_rung_for_at_once(office: Office) -> None:
    row = give_back(office.runtime, office.point, office.source)

    with office.runtime.database.session(Role.WORKER, tenant=office.tenant.id) as session:
        copies = session.query(Copy).filter_by(point_id=row.safety_run_id).all()
        proofs = session.query(Proof).filter(Proof.copy_id.in_([each.id for each in copies])).all()
    waiting = [each for each in (*copies, *proofs) if each.state == "waiting"]
    assert waiting
    assert [each.nudged_at for each in waiting] == [None] * len(waiting)


def test_the_task_lists_what_the_safety_point_holds(office: Office) -> None:
    row = ask(office.runtime, office.point, office.source)

    tasks.carry_out(str(row.tenant_id), str(row.id))

    made = current(office.runtime, row).safety_run_id
    parts = cast.rows_of(office.runtime, office.tenant, PointSource, PointSource.point_id == made)
    assert [each.catalogued_at is not None for each in parts] == [True]


def test_aside_is_a_new_folder_and_the_live_one_is_not_touched(office: Office) -> None:
    before = faces(office.folder)
    office.damage()
    damaged, top = faces(office.folder), face(office.folder)

    row = give_back(office.runtime, office.point, office.source, Destination.ASIDE)

    made = Path(report(row)["where"])
    assert faces(made) == before
    assert face(made)[:3] == top[:3]
    assert (faces(office.folder), face(office.folder)) == (damaged, top)
    assert beside(office.folder) == {made.name}
    assert safety_runs(office.runtime, office.tenant) == []


def test_chosen_paths_in_place_leave_all_else_as_it_is_now(office: Office) -> None:
    before = faces(office.folder)
    office.damage()
    damaged = faces(office.folder)

    give_back(office.runtime, office.point, office.source, paths=("/letters/0.txt", "/فاتورة.txt"))

    now = faces(office.folder)
    assert {name for name in now if now[name] != damaged.get(name)} - {"letters"} == {
        "letters/0.txt",
        "فاتورة.txt",
    }
    assert now["letters/0.txt"] == before["letters/0.txt"]
    assert "letters/new.txt" in now


@pytest.mark.parametrize("name", ["-rf", "two\nlines", "ق" * 125, "a[b]*?$HOME", " blank "])
def test_a_path_with_an_odd_name_is_found_and_no_other(office: Office, name: str) -> None:
    row = give_back(
        office.runtime, office.point, office.source, Destination.ASIDE, paths=(f"/{name}",)
    )

    assert list(faces(Path(report(row)["where"]))) == [name]


def test_into_a_folder_that_is_not_there_yet(office: Office, tmp_path: Path) -> None:
    give_back(office.runtime, office.point, office.source, tmp_path / "target")

    assert faces(tmp_path / "target") == faces(office.folder)
    assert "target" in beside(tmp_path / "srv")
    assert not [name for name in beside(tmp_path / "srv") if "strongroom-restore" in name]


def test_an_empty_folder_that_is_named_keeps_its_owner_and_mode(
    office: Office, tmp_path: Path
) -> None:
    target = tmp_path / "there" / "target"
    target.mkdir(parents=True)
    target.chmod(0o750)
    make_owned(target, 555)
    top = face(target)

    give_back(office.runtime, office.point, office.source, target, paths=("/letters",))

    assert face(target)[:3] == top[:3]
    assert sorted(faces(target)) == ["letters"] + [f"letters/{n}.txt" for n in range(3)]
    assert beside(target) == set()


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_read(
    office: Office, tmp_path: Path
) -> None:
    target = tmp_path / "there" / "target"
    cast.fill(target, words="mine")
    before = faces(target.parent)

    row = carry_out(office.runtime, ask(office.runtime, office.point, office.source, target))

    assert failure(row) == "target-not-empty"
    assert faces(target.parent) == before


def test_nothing_lands_in_the_platforms_own_folders(office: Office) -> None:
    target = office.runtime.settings.keys / "stolen"

    row = carry_out(office.runtime, ask(office.runtime, office.point, office.source, target))

    assert failure(row) == "target-in-home"
    assert not target.exists()


@pytest.mark.parametrize("to", [Destination.ASIDE, Destination.IN_PLACE, Path("/tmp/never-made")])
@pytest.mark.parametrize("dry_run", [False, True], ids=["for real", "dry run"])
def test_a_path_that_the_point_has_not_is_an_error_and_changes_nothing(
    office: Office, to: Destination | Path, dry_run: bool
) -> None:
    before = faces(office.folder.parent)
    paths = ("/letters/0.txt", "/letters/nothing.txt")

    row = ask(office.runtime, office.point, office.source, to, paths=paths, dry_run=dry_run)
    ended = carry_out(office.runtime, row)

    assert failure(ended) == "path-not-in-point"
    assert ended.failure is not None
    assert ended.failure["params"]["paths"] == ["/letters/nothing.txt"]
    assert faces(office.folder.parent) == before
    assert safety_runs(office.runtime, office.tenant) == []
    assert not Path("/tmp/never-made").exists()


def test_a_dry_run_in_place_changes_nothing_and_counts_right(office: Office) -> None:
    office.damage()
    before = faces(office.folder.parent)

    row = give_back(office.runtime, office.point, office.source, dry_run=True)

    seen = report(row)
    assert seen["would_delete"] == 1  # letters/new.txt
    assert seen["bytes"] == len("ledger\n") + len("ledger 0\n" * 50)
    assert faces(office.folder.parent) == before
    assert safety_runs(office.runtime, office.tenant) == []


def test_a_dry_run_of_a_chosen_folder_says_what_goes_out_of_it_and_no_more(office: Office) -> None:
    """What was written since into a folder that is replaced goes with it."""
    office.damage()
    (office.folder / "elsewhere.txt").write_text("stays")

    row = give_back(office.runtime, office.point, office.source, paths=("/letters",), dry_run=True)

    seen = report(row)
    assert (seen["would_appear"], seen["would_delete"]) == (1, 1)
    assert seen["named"]["new"] == ["/letters/0.txt"]
    assert seen["named"]["deleted"] == ["/letters/new.txt"]


def test_a_dry_run_aside_counts_everything_and_leaves_nothing(office: Office) -> None:
    before = faces(office.folder.parent)
    content = sum(
        p.lstat().st_size for p in office.folder.rglob("*") if not p.is_symlink() and p.is_file()
    )

    row = give_back(office.runtime, office.point, office.source, Destination.ASIDE, dry_run=True)

    assert (report(row)["bytes"], report(row)["would_delete"]) == (content, 0)
    assert faces(office.folder.parent) == before
    assert not list(office.runtime.folder("scratch").glob("preview-*"))


def test_a_folder_that_is_gone_comes_back_without_a_safety_point_and_says_so(
    office: Office,
) -> None:
    before = faces(office.folder)
    shutil.rmtree(office.folder)

    row = give_back(office.runtime, office.point, office.source)

    assert faces(office.folder) == before
    assert report(row)["no_safety_point"] == "source-gone"
    assert report(row)["before"] is None
    assert safety_runs(office.runtime, office.tenant) == []


def test_what_cannot_be_saved_first_is_not_replaced(office: Office) -> None:
    shutil.rmtree(office.folder)
    office.folder.write_text("now a file")

    row = carry_out(office.runtime, ask(office.runtime, office.point, office.source))

    assert failure(row) == "no-safety-point"
    assert row.failure is not None
    assert row.failure["exit_code"] == 4
    assert office.folder.read_text() == "now a file"
    assert beside(office.folder) == set()


def test_a_restore_delivered_twice_is_done_once(office: Office) -> None:
    row = give_back(office.runtime, office.point, office.source)
    before = faces(office.folder.parent)

    again = carry_out(office.runtime, row)

    assert (again.fence, again.report) == (row.fence, row.report)
    assert faces(office.folder.parent) == before
