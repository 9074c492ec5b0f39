"""Signed records in the buckets: written before any data, kept up to date, never believed blindly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backup import key_records, repositories
from backup.models import Finding, Repository
from backup.record_rows import KeyRecord
from strongroom import records, sealed_boxes
from strongroom.db import Role
from strongroom.envelopes import from_json
from strongroom.errors import StrongroomError
from strongroom.records import Forged, Malformed, Signer
from strongroom.runtime import Runtime
from strongroom.secrets_at_rest import Secret
from tenants import records as tenant_records
from tenants.models import Tenant
from tests.backup.vaults import A, B, Vault, in_front_of, vault, vaults
from tests.cast import add_database, add_folder, back_up, queue, rows_of
from tests.faults import Refuse


def signer(runtime: Runtime) -> Signer:
    return Signer.from_text(runtime.settings.record_key)


def key_of(held: Vault) -> str:
    return key_records.key_of(held.site.row.tenant_id, held.site.row.id)


def body_of(held: Vault) -> dict[str, Any]:
    row = held.site.row
    trusted = [signer(held.runtime).public]
    return key_records.read(held.store, row.tenant_id, row.id, kind="repository", trusted=trusted)


def codes(runtime: Runtime, tenant: Tenant) -> list[str]:
    return [row.code for row in rows_of(runtime, tenant, Finding, Finding.settled_at.is_(None))]


@pytest.fixture
def backed_up(runtime: Runtime, acme: Tenant, tmp_path: Path) -> Tenant:
    add_folder(runtime, acme, tmp_path / "files")
    back_up(runtime, acme)
    return acme


def test_a_new_repository_has_its_record_with_the_password_as_in_the_row(
    runtime: Runtime, backed_up: Tenant
) -> None:
    for held in vaults(runtime, backed_up):
        body = body_of(held)
        wrapped = key_records.password_of(body)
        context = repositories.password_context(held.site.row)
        assert runtime.vault.provider.unwrap(wrapped, context) == held.site.password.secret
        assert (body["key_hint"], body["polynomial"]) == (held.row.key_hint, held.row.polynomial)


def test_the_record_lies_there_before_anything_is_stored(
    runtime: Runtime, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(runtime, acme, tmp_path / "files")
    seen: list[bool] = []

    def make(*_: object) -> None:
        seen.append(bool(body_of(vault(runtime, acme))))
        raise StrongroomError("a fault before anything is read")

    monkeypatch.setattr("backup.making.make", make)
    from backup import runs

    runs.make(runtime, acme.id, queue(runtime, acme))
    assert seen == [True]
    assert vault(runtime, acme).packs() == []


def test_refreshing_again_writes_nothing_and_dates_what_was_seen(
    runtime: Runtime, backed_up: Tenant, clock: Any
) -> None:
    tenant_records.refresh(runtime, backed_up.id)
    before = {row.id: row.serial for row in rows_of(runtime, backed_up, KeyRecord)}
    later = clock.forward(hours=3)
    assert tenant_records.refresh(runtime, backed_up.id) == 0
    rows = rows_of(runtime, backed_up, KeyRecord)
    assert {row.id: row.serial for row in rows} == before
    assert len(rows) == 4  # in each region the tenant's and the repository's
    assert all(row.checked_at >= later for row in rows)


def test_a_password_wrapped_anew_is_in_the_record_and_the_old_one_is_gone_for_good(
    runtime: Runtime, backed_up: Tenant
) -> None:
    held = vault(runtime, backed_up)
    old = body_of(held)["secret"]["ciphertext"]
    with runtime.database.session(Role.WORKER, tenant=backed_up.id) as session:
        row = session.execute(
            select(Secret).where(Secret.subject_id == held.site.row.id)
        ).scalar_one()
        context = repositories.password_context(held.site.row)
        wrapped = runtime.vault.provider.wrap(held.site.password.secret, context)
        row.nonce, row.ciphertext = wrapped.nonce, wrapped.ciphertext

    assert key_records.refresh(runtime, backed_up.id, held.site.row.id) == 1

    assert body_of(held)["secret"]["ciphertext"] != old
    versions = [each for each in held.store.versions(key_of(held)) if each.key == key_of(held)]
    assert [(each.latest, each.marker) for each in versions] == [(True, False)]


def forged(held: Vault) -> bytes:
    return Signer(os.urandom(32)).sign({**body_of(held), "serial": 99})


def changed(held: Vault) -> bytes:
    document = json.loads(held.store.get(key_of(held)))
    document["record"]["key_hint"] = "0" * 64
    return json.dumps(document).encode()


def of_the_other_region(held: Vault) -> bytes:
    other = dict(body_of(held))
    return signer(held.runtime).sign({**other, "region": B})


def of_another_kind(held: Vault) -> bytes:
    return signer(held.runtime).sign({**body_of(held), "kind": "tenant"})


def cut_short(held: Vault) -> bytes:
    return held.store.get(key_of(held))[:100]


@pytest.mark.parametrize("make", [forged, changed, of_the_other_region, of_another_kind, cut_short])
def test_what_we_did_not_write_is_refused_reported_and_written_anew_on_top(
    runtime: Runtime, backed_up: Tenant, make: Any
) -> None:
    held = vault(runtime, backed_up)
    good, bad = body_of(held), make(held)
    held.store.put(key_of(held), bad)
    with pytest.raises((Forged, Malformed)):
        body_of(held)

    key_records.refresh(runtime, backed_up.id)

    assert codes(runtime, backed_up) == ["record-refused"]
    after = body_of(held)
    assert after["secret"] == good["secret"]
    assert after["serial"] > good["serial"]
    kept = [v.version_id for v in held.store.versions(key_of(held)) if not v.latest]
    assert any(held.store.get_version(key_of(held), version) == bad for version in kept)


def test_a_record_of_another_tenant_is_refused(
    runtime: Runtime, backed_up: Tenant, bolt: Tenant
) -> None:
    held = vault(runtime, backed_up)
    body = {**body_of(held), "tenant": str(bolt.id)}
    held.store.put(key_of(held), signer(runtime).sign(body))
    with pytest.raises(Forged, match="of another tenant"):
        body_of(held)


def test_an_older_record_put_back_in_its_place_is_noticed(
    runtime: Runtime, backed_up: Tenant
) -> None:
    held = vault(runtime, backed_up)
    old = held.store.get(key_of(held))
    with runtime.database.session(Role.WORKER, tenant=backed_up.id) as session:
        session.get_one(Repository, held.site.row.id).key_hint = "ab" * 32
    key_records.refresh(runtime, backed_up.id)
    assert body_of(held)["key_hint"] == "ab" * 32
    held.store.put(key_of(held), old)

    key_records.refresh(runtime, backed_up.id)

    assert codes(runtime, backed_up) == ["record-old"]
    assert body_of(held)["key_hint"] == "ab" * 32


def test_a_region_that_is_away_keeps_no_other_from_its_record(
    runtime: Runtime, backed_up: Tenant
) -> None:
    for held in vaults(runtime, backed_up):
        held.store.delete(key_of(held))
    with in_front_of(runtime, A) as proxy:
        proxy.fault = Refuse()
        with pytest.raises(StrongroomError):
            key_records.refresh(runtime, backed_up.id)
        assert body_of(vault(runtime, backed_up, B))
    assert key_records.refresh(runtime, backed_up.id) == 1


def test_the_tenants_record_says_who_it_is_and_holds_no_password_in_the_clear(
    runtime: Runtime, acme: Tenant, new_database: Any
) -> None:
    database = new_database()
    source = add_database(runtime, acme, database)
    tenant_records.refresh(runtime, acme.id)
    data = vault(runtime, acme).store.get(key_records.key_of(acme.id, acme.id))
    body = records.read(data, kind="tenant", trusted=[signer(runtime).public])
    assert (body["slug"], body["zone"], body["plan"]["code"]) == ("acme", "Asia/Dubai", "starter")
    [said] = body["sources"]
    assert (said["id"], said["kind"]) == (str(source.id), "postgres")
    assert database.password.encode() not in data
    assert from_json(said["secret"]).ciphertext


def test_a_signature_is_over_every_field_and_a_box_opens_only_for_what_it_was_made() -> None:
    one = Signer(os.urandom(32))
    assert records.read(one.sign({"kind": "a", "x": 1}), kind="a", trusted=[one.public])["x"] == 1
    private = sealed_boxes.new_private()
    box = sealed_boxes.seal(sealed_boxes.public_of(private), b"secret", bound=b"acme")
    assert sealed_boxes.unseal(private, box, bound=b"acme") == b"secret"
    for bad in (box[:-1], box[:10], b"\x02" + box[1:], b""):
        with pytest.raises(sealed_boxes.BoxClosed):
            sealed_boxes.unseal(private, bad, bound=b"acme")
    with pytest.raises(sealed_boxes.BoxClosed):
        sealed_boxes.unseal(private, box, bound=b"bolt")
    with pytest.raises(sealed_boxes.BoxClosed):
        sealed_boxes.unseal(sealed_boxes.new_private(), box, bound=b"acme")
