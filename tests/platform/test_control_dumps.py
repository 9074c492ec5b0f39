"""Dumps of the control database: sealed, small in memory, in every region, gone on their day."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from backup import findings
from backup.findings import Sight
from strongroom import control_dumps, control_restores, sealed_streams
from strongroom.control_dumps import ControlDump
from strongroom.control_restores import Candidate
from strongroom.credentials import s3_client, signed_by
from strongroom.db import Role
from strongroom.envelopes import EnvelopeClosed, Opener
from strongroom.errors import Incomplete
from strongroom.key_stores.local import LocalKeys
from strongroom.records import Signer
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.sealed_streams import PIECE, TAG, StreamDamaged
from strongroom.stack import quarters
from strongroom.storage import Store, Unreachable
from tenants.models import Tenant
from tests.backup.vaults import A, B, in_front_of
from tests.cast import FakeClock
from tests.faults import Refuse
from web import upkeep


def store_of(runtime: Runtime, region: str) -> Store:
    with runtime.database.session(Role.OPERATOR) as session:
        row = session.execute(select(Region).where(Region.name == region)).scalar_one()
    return Store(row.address(), runtime.settings.regions[region])


def rows(runtime: Runtime) -> list[ControlDump]:
    with runtime.database.session(Role.OPERATOR) as session:
        return list(session.execute(select(ControlDump).order_by(ControlDump.made_at)).scalars())


def candidate(runtime: Runtime, row: ControlDump, region: str = A) -> Candidate:
    """As a recovery sees it."""
    trusted = [Signer.from_text(runtime.settings.record_key).public]
    found, _ = control_restores.candidates([store_of(runtime, region)], trusted=trusted)
    return next(each for each in found if each.key == row.key)


def opened(runtime: Runtime, row: ControlDump) -> bytes:
    file = io.BytesIO()
    control_restores.fetch(candidate(runtime, row), file)
    key = control_restores.key_of(file, Opener(provider=runtime.vault.provider))
    return b"".join(sealed_streams.unseal(file, key=key))


def test_a_dump_holds_every_tenants_rows_and_lies_in_each_region_under_its_hash(
    runtime: Runtime, acme: Tenant, bolt: Tenant, tmp_path: Path
) -> None:
    made = control_dumps.take(runtime)
    assert len(made) == 2
    (tmp_path / "dump").write_bytes(opened(runtime, made[0]))
    listed = subprocess.run(
        [
            quarters.bin_folder() / "pg_restore",
            "--data-only",
            "-t",
            "policies",
            "-f",
            "-",
            tmp_path / "dump",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(acme.id) in listed
    assert str(bolt.id) in listed
    for row, region in zip(made, (A, B), strict=True):
        info = store_of(runtime, region).head(row.key)
        assert info is not None
        assert info.size == row.bytes


def test_nothing_of_it_lies_anywhere_in_the_clear(runtime: Runtime, acme: Tenant) -> None:
    [row, _] = control_dumps.take(runtime)
    sealed = store_of(runtime, A).get(row.key)
    assert b"PGDMP" not in sealed
    assert acme.slug.encode() not in sealed
    assert not any(runtime.folder("control").iterdir())


def test_who_holds_another_key_store_and_no_share_opens_nothing(
    runtime: Runtime, tmp_path: Path
) -> None:
    [row, _] = control_dumps.take(runtime)
    file = io.BytesIO(store_of(runtime, A).get(row.key))
    with pytest.raises(EnvelopeClosed):
        control_restores.key_of(file, Opener(provider=LocalKeys(tmp_path / "other")))


def test_a_damaged_dump_is_passed_over_for_an_older_one_that_is_whole(
    runtime: Runtime, clock: FakeClock
) -> None:
    [old, _] = control_dumps.take(runtime)
    clock.forward(hours=1)
    [new, _] = control_dumps.take(runtime)
    store = store_of(runtime, A)
    store.put(new.key, store.get(new.key)[:-1])
    both = [candidate(runtime, new), candidate(runtime, old)]
    found, odd = control_restores.newest_whole(
        both, Opener(provider=runtime.vault.provider), io.BytesIO()
    )
    assert found is not None
    assert found.key == old.key
    assert len(odd) == 1


def test_a_dump_that_somebody_else_put_there_is_none(runtime: Runtime) -> None:
    [row, _] = control_dumps.take(runtime)
    store, name = store_of(runtime, A), row.key.removesuffix(".sealed")
    body = {"kind": "control-dump", "key": f"{name}x.sealed", "bytes": 1, "sha256": ""}
    body |= {"made_at": "2999-01-01T00:00:00+00:00", "expires_at": "2999-01-01T00:00:00+00:00"}
    store.put(f"{name}x.sealed", b"x")
    store.put(f"{name}x.json", Signer(os.urandom(32)).sign(body))
    trusted = [Signer.from_text(runtime.settings.record_key).public]
    found, odd = control_restores.candidates([store], trusted=trusted)
    assert f"{name}x.sealed" not in {each.key for each in found}
    assert any(f"{name}x.json" in each for each in odd)


def test_an_expired_dump_goes_with_every_version_and_the_newest_stays(
    runtime: Runtime, clock: FakeClock
) -> None:
    [old, _] = control_dumps.take(runtime)
    clock.forward(days=20)
    assert control_dumps.expire(runtime) == 0  # there is no other
    [new, _] = control_dumps.take(runtime)
    assert control_dumps.expire(runtime) == 2
    for region in (A, B):
        store = store_of(runtime, region)
        assert list(store.versions(old.key.removesuffix(".sealed"))) == []
        assert store.head(new.key) is not None
    gone = [row for row in rows(runtime) if row.removed_at is not None]
    assert {row.key for row in gone} == {old.key}


def test_a_region_that_is_away_is_named_and_the_other_has_the_dump(runtime: Runtime) -> None:
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        with pytest.raises(Incomplete) as caught:
            control_dumps.take(runtime)
    assert caught.value.params["regions"] == [A]
    assert [row.version_id is None for row in rows(runtime)] in ([True, False], [False, True])
    with runtime.database.session(Role.OPERATOR) as session:
        assert control_dumps.is_due(session, every=timedelta(days=1), now=runtime.now())


PART = 5 * 1024 * 1024  # the least that S3 takes


def heavy(runtime: Runtime, tenant: Tenant) -> None:
    """A control database whose dump has more than two parts, however it is compressed."""
    noise = os.urandom(12 * 1024 * 1024).hex()
    with runtime.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        sight = Sight("a-test", "noise", {"noise": noise})
        findings.see(session, tenant.id, sight, now=runtime.now())


def test_a_dump_in_many_parts_comes_back_whole(
    runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy(runtime, acme)
    monkeypatch.setattr(Store, "put_file", partialmethod(Store.put_file, part=PART))

    made = control_dumps.take(runtime)

    for row, region in zip(made, (A, B), strict=True):
        info = store_of(runtime, region).head(row.key)
        assert info is not None
        assert info.etag.strip('"').endswith("-3")  # parts
        control_restores.fetch(
            candidate(runtime, row, region), io.BytesIO()
        )  # proves size and hash
    assert opened(runtime, made[0]).startswith(b"PGDMP")


def test_what_a_killed_upload_left_goes_with_the_next_dump(runtime: Runtime) -> None:
    store = store_of(runtime, A)
    with signed_by(store._credentials):
        s3_client(store.region).create_multipart_upload(
            Bucket=store.region.bucket, Key="control/left.sealed"
        )
    assert [left.key for left in store.uploads("control/")] == ["control/left.sealed"]

    control_dumps.take(runtime)

    assert list(store.uploads("control/")) == []


def test_an_upload_that_is_refused_half_way_is_taken_back_with_the_rights_of_a_dump(
    runtime: Runtime, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy(runtime, acme)
    monkeypatch.setattr(Store, "put_file", partialmethod(Store.put_file, part=PART))
    send = Store._parts

    def broken(store: Store, key: str, upload: str, file: Any, *, part: int) -> Any:
        send(store, key, upload, file, part=part)
        assert list(store_of(runtime, store.region.name).uploads("control/"))
        raise Unreachable("The region went away.")

    monkeypatch.setattr(Store, "_parts", broken)
    with pytest.raises(Incomplete):
        control_dumps.take(runtime)

    for region in (A, B):
        assert list(store_of(runtime, region).uploads("control/")) == []


def test_no_dump_for_too_long_is_a_health_matter(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    assert upkeep.standing(runtime).attention == ()
    clock.forward(days=2)
    assert upkeep.standing(runtime).attention == ("control-dump-late",)
    upkeep.Upkeep(runtime).round()
    assert upkeep.standing(runtime).attention == ()


def test_the_dumper_reads_everything_and_changes_nothing(runtime: Runtime, acme: Tenant) -> None:
    with runtime.database.session(Role.DUMPER) as session:
        assert session.execute(text("select count(*) from tenants")).scalar_one() == 1
    for statement in (
        "update tenants set name = 'x'",
        "delete from policies",
        "create table public.mine (id int)",
    ):
        with pytest.raises(DBAPIError), runtime.database.session(Role.DUMPER) as session:
            session.execute(text(statement))


def sealed_of(plain: bytes, key: bytes) -> bytes:
    out = io.BytesIO()
    sealed_streams.seal(io.BytesIO(plain), out, key=key, head={"of": "a test"})
    return out.getvalue()


def spoil_cut(data: bytes, start: int) -> bytes:
    return data[: start + 2 * (PIECE + TAG)]


def spoil_order(data: bytes, start: int) -> bytes:
    size = PIECE + TAG
    one, two = data[start : start + size], data[start + size : start + 2 * size]
    return data[:start] + two + one + data[start + 2 * size :]


def spoil_piece(data: bytes, start: int) -> bytes:
    return data[: start + 9] + bytes([data[start + 9] ^ 1]) + data[start + 10 :]


def spoil_head(data: bytes, _start: int) -> bytes:
    return data.replace(b"a test", b"b test")


def spoil_more(data: bytes, _start: int) -> bytes:
    return data + b"more"


def spoil_doubled(data: bytes, start: int) -> bytes:
    return data[: start + PIECE + TAG] + data[start:]


@pytest.mark.parametrize(
    "spoil", [spoil_cut, spoil_order, spoil_piece, spoil_head, spoil_more, spoil_doubled]
)
def test_a_sealed_stream_that_was_tampered_with_is_noticed(spoil: Any) -> None:
    plain, key = os.urandom(3 * PIECE + 5), sealed_streams.new_key()
    data = sealed_of(plain, key)
    start = len(data) - (3 * (PIECE + TAG) + 5 + TAG)
    assert b"".join(sealed_streams.unseal(io.BytesIO(data), key=key)) == plain
    with pytest.raises(StreamDamaged):
        b"".join(sealed_streams.unseal(io.BytesIO(spoil(data, start)), key=key))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_a_sealed_stream_of_any_length_opens_again(size: int) -> None:
    plain, key = os.urandom(size), sealed_streams.new_key()
    sealed = io.BytesIO(sealed_of(plain, key))
    assert b"".join(sealed_streams.unseal(sealed, key=key)) == plain


def test_twice_at_once_is_done_once(runtime: Runtime) -> None:
    with runtime.database.alone(Role.DUMPER, control_dumps.ADVISORY_LOCK) as mine:
        assert mine
        assert control_dumps.take(runtime) == []


def test_how_often_and_how_long_is_for_the_settings_to_say(
    runtime: Runtime, acme: Tenant, clock: FakeClock
) -> None:
    assert (runtime.settings.dump_hours, runtime.settings.dump_days) == (24, 14)
    often = replace(runtime.settings, dump_hours=6, dump_days=3)
    going = upkeep.Upkeep(replace(runtime, settings=often))

    going.round()
    clock.forward(hours=5)
    going.round()
    assert len(rows(runtime)) == 2  # one a region
    clock.forward(hours=1)
    going.round()

    assert len(rows(runtime)) == 4
    assert {row.expires_at - row.made_at for row in rows(runtime)} == {timedelta(days=3)}
