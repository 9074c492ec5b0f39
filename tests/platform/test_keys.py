"""What a tenant's key wraps opens for that tenant, subject and purpose, and for nothing else."""

from __future__ import annotations

import json
import stat
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from strongroom.db import Role
from strongroom.errors import NotFound
from strongroom.ids import new_id
from strongroom.key_stores.local import LocalKeys
from strongroom.keys import Context, KeyMissing, KeysError, WrongContext
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret, vault_has
from tenants.models import Tenant

SECRET = b"chalk and cheese"


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeys:
    return LocalKeys(tmp_path / "keys")


@pytest.fixture
def context(keys: LocalKeys) -> Context:
    """Of a tenant that has a key."""
    made = Context(uuid.uuid4(), uuid.uuid4(), "repository-password")
    keys.create(made.tenant)
    return made


def test_what_was_wrapped_opens_and_is_never_the_same_twice(
    keys: LocalKeys, context: Context
) -> None:
    first, second = keys.wrap(SECRET, context), keys.wrap(SECRET, context)
    assert keys.unwrap(first, context) == keys.unwrap(second, context) == SECRET
    assert first.nonce != second.nonce
    assert first.ciphertext != second.ciphertext
    assert SECRET not in first.ciphertext


def test_a_wrapped_secret_shows_neither_nonce_nor_ciphertext(
    keys: LocalKeys, context: Context
) -> None:
    wrapped = keys.wrap(SECRET, context)
    assert repr(wrapped.ciphertext) not in repr(wrapped)
    assert repr(wrapped.nonce) not in repr(wrapped)


@pytest.mark.parametrize("part", ["tenant", "subject", "purpose"])
def test_a_secret_of_something_else_does_not_open(
    keys: LocalKeys, context: Context, part: str
) -> None:
    other = uuid.uuid4()
    keys.create(other)
    changed = replace(context, **{part: "source-password" if part == "purpose" else other})
    wrapped = keys.wrap(SECRET, context)
    with pytest.raises(WrongContext) as caught:
        keys.unwrap(wrapped, changed)
    assert caught.value.permanent


def test_two_contexts_whose_parts_run_together_are_not_the_same() -> None:
    tenant, subject = uuid.uuid4(), uuid.uuid4()
    shifted = uuid.UUID(bytes=subject.bytes[1:] + b"a")
    first = Context(tenant, subject, "aa")
    assert first.encoded() != Context(tenant, shifted, "a").encoded()
    assert first.encoded() != Context(subject, tenant, "aa").encoded()


@pytest.mark.parametrize("part", ["nonce", "ciphertext"])
def test_a_secret_with_one_bit_turned_does_not_open(
    keys: LocalKeys, context: Context, part: str
) -> None:
    wrapped = keys.wrap(SECRET, context)
    spoilt = bytearray(getattr(wrapped, part))
    spoilt[0] ^= 1
    with pytest.raises(WrongContext):
        keys.unwrap(replace(wrapped, **{part: bytes(spoilt)}), context)


def test_another_key_file_in_its_place_opens_nothing(
    keys: LocalKeys, context: Context, tmp_path: Path
) -> None:
    wrapped = keys.wrap(SECRET, context)
    path = tmp_path / "keys" / f"{context.tenant}.kek"
    path.write_text(json.dumps({"version": 1, "key": "ab" * 32}))
    with pytest.raises(WrongContext):
        keys.unwrap(wrapped, context)


def test_without_the_key_file_the_error_says_what_to_bring_back(
    keys: LocalKeys, context: Context, tmp_path: Path
) -> None:
    wrapped = keys.wrap(SECRET, context)
    (tmp_path / "keys" / f"{context.tenant}.kek").unlink()
    for act in (lambda: keys.unwrap(wrapped, context), lambda: keys.wrap(SECRET, context)):
        with pytest.raises(KeyMissing, match="bring the key store back") as caught:
            act()
        assert isinstance(caught.value, KeysError)


def test_a_key_lies_where_only_we_can_read_it(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    (path,) = folder.iterdir()  # and no draft is left beside it
    assert path.name == f"{context.tenant}.kek"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(json.loads(path.read_bytes())["key"]) == 64


def test_a_key_that_is_there_is_never_made_anew(
    keys: LocalKeys, context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / f"{context.tenant}.kek"
    before = path.read_bytes()
    keys.create(context.tenant)
    assert path.read_bytes() == before


def test_of_twins_that_make_a_key_at_once_one_wins_and_both_go_on(
    keys: LocalKeys, tmp_path: Path
) -> None:
    context = Context(uuid.uuid4(), uuid.uuid4(), "x")
    gate = threading.Barrier(8)
    wrapped = []

    def make() -> None:
        gate.wait()
        keys.create(context.tenant)
        wrapped.append(keys.wrap(SECRET, context))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [keys.unwrap(each, context) for each in wrapped] == [SECRET] * 8
    assert len(list((tmp_path / "keys").iterdir())) == 1


# As rows


@pytest.fixture
def sealed(runtime: Runtime, acme: Tenant) -> Context:
    context = Context(acme.id, new_id(), "source-password")
    with runtime.database.session(Role.WORKER, tenant=acme.id) as session:
        runtime.vault.seal(session, SECRET, context, now=runtime.now())
    return context


def opened(runtime: Runtime, context: Context) -> bytes:
    with runtime.database.session(Role.WORKER, tenant=context.tenant) as session:
        return runtime.vault.open(session, context)


def test_a_stored_secret_opens_for_its_tenant(runtime: Runtime, sealed: Context) -> None:
    assert opened(runtime, sealed) == SECRET


def test_the_row_holds_nothing_of_the_secret(runtime: Runtime, sealed: Context) -> None:
    with runtime.database.session(Role.WORKER, tenant=sealed.tenant) as session:
        (row,) = session.execute(select(Secret.__table__)).all()
    assert all(SECRET not in value for value in row if isinstance(value, bytes))
    assert row.key_id == str(sealed.tenant)


def test_a_secrets_row_moved_to_another_tenant_does_not_open(
    runtime: Runtime, bolt: Tenant, sealed: Context
) -> None:
    with runtime.database.session(Role.WORKER, tenant=sealed.tenant) as session:
        (row,) = session.execute(select(Secret.__table__)).mappings()
    with runtime.database.session(Role.WORKER, tenant=bolt.id) as session:
        session.execute(insert(Secret).values(dict(row) | {"id": new_id(), "tenant_id": bolt.id}))
    with pytest.raises(WrongContext):
        opened(runtime, replace(sealed, tenant=bolt.id))


@pytest.mark.parametrize("column", ["subject_id", "purpose"])
def test_a_secrets_row_bent_to_another_use_does_not_open(
    runtime: Runtime, sealed: Context, column: str
) -> None:
    value = new_id() if column == "subject_id" else "repository-password"
    with runtime.database.session(Role.WORKER, tenant=sealed.tenant) as session:
        session.execute(update(Secret).values(**{column: value}))
    bent = replace(sealed, **{column.removesuffix("_id"): value})
    with pytest.raises(WrongContext):
        opened(runtime, bent)


def test_a_secret_that_was_never_stored_is_not_found(
    runtime: Runtime, bolt: Tenant, sealed: Context
) -> None:
    foreign = replace(sealed, tenant=bolt.id)
    with runtime.database.session(Role.WORKER, tenant=bolt.id) as session:
        assert not vault_has(session, foreign)
    with pytest.raises(NotFound, match="source-password"):
        opened(runtime, foreign)


def test_a_new_tenant_has_a_key_and_it_is_not_another_tenants(
    runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    folder = runtime.settings.keys
    bodies = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(bodies) == {f"{acme.id}.kek", f"{bolt.id}.kek"}
    assert len(set(bodies.values())) == 2
