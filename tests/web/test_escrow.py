"""The escrow key: made, split among people, and good for every backup when the key store is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from backup import repositories
from strongroom import escrow, sealed_boxes, shares
from strongroom.db import Role
from strongroom.envelopes import Opener
from strongroom.errors import BadValue, Refused, StrongroomError
from strongroom.escrow import EscrowKey, EscrowWrap
from strongroom.keys import Context, KeyMissing
from strongroom.rescue import Opened, rewrap
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret
from strongroom.shares import BadShare, parse
from strongroom.stack import files
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.backup.vaults import vault, vaults
from tests.cast import ADA, SourceDatabase, add_database, add_folder, back_up, rows_of
from tests.web.command_line import sit_down
from web import ceremony, upkeep
from web.ceremony import Wanted, create, drill


@pytest.fixture
def backed_up(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Tenant:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    return acme


def made(runtime: Runtime, folder: Path, *, replace: bool = False) -> list[Path]:
    return list(create(runtime, Wanted(5, 3, folder, replace=replace), by=ADA).files)


def private(files: list[Path]) -> bytes:
    return shares.combine([ceremony.read_share(file) for file in files])


def test_each_share_is_a_private_file_of_its_own_and_the_private_half_is_nowhere_else(
    runtime: Runtime, backed_up: Tenant, tmp_path: Path
) -> None:
    files = made(runtime, tmp_path / "shares")
    assert len(files) == 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    key = private(files[:3])
    with runtime.database.session(Role.OPERATOR) as session:
        [row] = session.execute(select(EscrowKey)).scalars()
    assert row.public == sealed_boxes.public_of(key)
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [p for p in everything if key in p.read_bytes() or key.hex() in p.name]


def test_any_three_of_five_open_and_two_do_not(
    runtime: Runtime, backed_up: Tenant, tmp_path: Path
) -> None:
    files = made(runtime, tmp_path / "shares")
    found = {
        drill(runtime, [files[a], files[b], files[c]], slug="acme", by=ADA).snapshots
        for a, b, c in ((0, 1, 2), (4, 2, 0), (1, 3, 4))
    }
    assert found == {1}
    with pytest.raises(BadShare, match="3 different shares are needed, 2 were given"):
        drill(runtime, files[:2], slug=None, by=ADA)
    with pytest.raises(BadShare, match="2 were given"):
        drill(runtime, [files[0], files[1], files[1]], slug=None, by=ADA)


def test_a_mistyped_share_is_told_from_the_others_and_never_repeated(
    runtime: Runtime, tmp_path: Path
) -> None:
    files = made(runtime, tmp_path / "shares")
    words = parse(files[1].read_text()).words.split()
    words[4], words[5] = words[5], words[4]
    typed = tmp_path / "typed.txt"
    typed.write_text(" ".join(words))
    with pytest.raises(BadShare, match="checksum of share 2 is wrong") as caught:
        drill(runtime, [files[0], typed, files[2]], slug=None, by=ADA)
    assert not [word for word in words if f" {word} " in caught.value.message.replace("word", "")]


def test_shares_of_two_ceremonies_do_not_mix(runtime: Runtime, tmp_path: Path) -> None:
    one = made(runtime, tmp_path / "one")
    two = made(runtime, tmp_path / "two", replace=True)
    with pytest.raises(BadShare, match="different escrow keys"):
        private([one[0], one[1], two[2]])


def test_every_repository_and_source_password_has_a_wrap_and_new_ones_follow(
    runtime: Runtime,
    backed_up: Tenant,
    bolt: Tenant,
    new_database: Callable[..., SourceDatabase],
    tmp_path: Path,
) -> None:
    made(runtime, tmp_path / "shares")
    [standing] = upkeep.standing(runtime).coverage
    assert (standing.wanted, standing.covered) == (2, 2)
    add_database(runtime, bolt, new_database())
    back_up(runtime, bolt)
    upkeep.Upkeep(runtime).round()
    [standing] = upkeep.standing(runtime).coverage
    assert (standing.wanted, standing.complete) == (5, True)


def test_the_key_store_is_lost_and_every_repository_opens_again(
    runtime: Runtime, backed_up: Tenant, tmp_path: Path
) -> None:
    files = made(runtime, tmp_path / "shares")
    before = [held.site.password for held in vaults(runtime, backed_up)]
    shutil.rmtree(runtime.settings.keys)
    with pytest.raises(KeyMissing):
        vault(runtime, backed_up)

    counted, opener = Opened(), Opener(private(files[2:]))
    with runtime.database.session(Role.WORKER, tenant=backed_up.id) as session:
        rewrap(session, runtime.vault, backed_up.id, opener, counted, now=runtime.now())

    assert (counted.by_escrow, counted.closed) == (2, [])
    assert [held.site.password for held in vaults(runtime, backed_up)] == before
    assert all(held.is_clean() for held in vaults(runtime, backed_up))


def test_a_wrap_moved_to_another_repository_or_tenant_does_not_open(
    runtime: Runtime, backed_up: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    key = private(made(runtime, tmp_path / "shares"))
    [wrap, other] = rows_of(runtime, backed_up, EscrowWrap)
    context = Context(backed_up.id, wrap.subject_id, repositories.PASSWORD)
    assert escrow.unseal(key, wrap.sealed, context)
    for wrong in (
        Context(backed_up.id, other.subject_id, repositories.PASSWORD),
        Context(bolt.id, wrap.subject_id, repositories.PASSWORD),
        Context(backed_up.id, wrap.subject_id, "source-password"),
    ):
        with pytest.raises(sealed_boxes.BoxClosed):
            escrow.unseal(key, wrap.sealed, wrong)


def test_a_second_key_is_refused_and_in_place_of_the_first_it_takes_all_wraps_over(
    runtime: Runtime, backed_up: Tenant, tmp_path: Path
) -> None:
    first = made(runtime, tmp_path / "one")
    with pytest.raises(Refused, match="escrow key in use already"):
        made(runtime, tmp_path / "two")
    assert not list((tmp_path / "two").glob("*"))
    made(runtime, tmp_path / "three", replace=True)
    wraps = rows_of(runtime, backed_up, EscrowWrap)
    assert len(wraps) == 2
    key = private(first[:3])
    for wrap in wraps:
        with pytest.raises(sealed_boxes.BoxClosed):
            escrow.unseal(
                key, wrap.sealed, Context(backed_up.id, wrap.subject_id, repositories.PASSWORD)
            )


def test_a_folder_with_something_in_it_is_not_written_to_and_no_key_is_kept(
    runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("b")
    with pytest.raises(BadValue, match="not empty"):
        made(runtime, tmp_path / "full")
    with runtime.database.session(Role.OPERATOR) as session:
        assert session.execute(select(EscrowKey)).first() is None


@pytest.mark.parametrize(("count", "threshold"), [(5, 1), (2, 3), (17, 3)])
def test_numbers_that_make_no_sense_are_refused(
    runtime: Runtime, tmp_path: Path, count: int, threshold: int
) -> None:
    with pytest.raises(BadValue, match="possible are 2 to 16"):
        create(runtime, Wanted(count, threshold, tmp_path / "shares"), by=ADA)


def test_a_tenant_whose_secrets_do_not_open_is_named_and_stops_no_other(
    runtime: Runtime, backed_up: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    add_folder(runtime, bolt, tmp_path / "more")
    back_up(runtime, bolt)
    (runtime.settings.keys / f"{bolt.id}.kek").unlink()
    done = create(runtime, Wanted(5, 3, tmp_path / "shares"), by=ADA)
    assert done.failed == (str(bolt.id),)
    assert done.covered == 2
    with pytest.raises(StrongroomError):
        drill(runtime, list(done.files[:3]), slug="bolt", by=ADA)
    assert len(rows_of(runtime, bolt, Secret)) == 2


def test_the_commands_say_what_they_did_and_show_nothing_of_the_key(
    stack: Embedded, runtime: Runtime, backed_up: Tenant, tmp_path: Path
) -> None:
    desk = sit_down(stack, runtime, tmp_path)
    files.make_private(tmp_path / "secrets")
    files.write(tmp_path / "secrets" / "record-key", runtime.settings.record_key.encode())
    assert desk("escrow", "status").code == 3  # there is none
    created = desk.json("escrow", "create", "--to", tmp_path / "shares")
    words = parse(Path(created["files"][0]).read_text()).words
    assert words not in str(created)
    given = [word for file in created["files"][:3] for word in ("--share", file)]
    assert desk.json("escrow", "drill", *given)["snapshots"] == 1
    assert len(desk.json("control", "dump")) == 2
    assert {each["region"] for each in desk.json("control", "list")} >= {"region-a", "region-b"}
    standing = desk.json("escrow", "status")
    assert [key["complete"] for key in standing["keys"]] == [True]
    assert all(each["newest"] for each in standing["control_dumps"])
