"""`strongroom key`: what it asks for, what it says, and that no key is ever in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strongroom.key_stores.local import LocalKeys
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants.models import Tenant
from tests.backup.vaults import vault, vaults
from tests.cast import add_folder, back_up
from tests.web.command_line import Desk, sit_down


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


@pytest.fixture
def saved(runtime: Runtime, acme: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """Acme, with a point."""
    add_folder(runtime, acme, tmp_path_factory.mktemp("srv") / "files")
    back_up(runtime, acme)
    return acme


def test_a_key_and_then_the_passwords_are_made_new(
    desk: Desk, runtime: Runtime, saved: Tenant
) -> None:
    old = vault(runtime, saved)
    kek_before = (runtime.settings.keys / f"{saved.id}.kek").read_text()
    with desk.working():
        kek = desk("key", "rotate", "acme", "--wait", "--json")
        password = desk("key", "rotate", "acme", "--what", "password", "--wait", "--json")

    assert (kek.code, password.code) == (0, 0), (kek, password)
    [row] = kek.document["rotations"]
    assert (row["what"], row["state"], row["stage"]) == ("kek", "done", "retired")
    rows = password.document["rotations"]
    assert [row["region"] for row in rows] == ["region-a", "region-b"]
    assert password.document["kits_stop_opening"] is True
    assert "Exit kits" in password.err
    assert "Exit kits" not in kek.err
    assert vault(runtime, saved).site.password != old.site.password
    status = desk.json("key", "status")
    [acme] = status["tenants"]
    assert (acme["state"], acme["version"], acme["oldest_version"]) == ("enabled", 2, 2)
    assert acme["secrets"] == {"2": 2}
    assert acme["under_way"] == []
    assert acme["last_rotation"]
    assert (status["provider"], status["after_destruction"]) == ("local", "logical-deletion")
    never = [json.loads(kek_before)["key"], old.site.password.text.decode()]
    never += [vault(runtime, saved).site.password.text.decode()]
    spoken = [kek.out, kek.err, password.out, password.err, json.dumps(status)]
    spoken += [desk("key", "status").out]
    assert not [word for word in never for text in spoken if word in text]


def test_new_epochs_are_made_one_region_after_the_other_and_shown(
    desk: Desk, runtime: Runtime, saved: Tenant
) -> None:
    olds = [held.row.key_hint for held in vaults(runtime, saved)]
    before = desk.json("key", "status", "acme")["tenants"][0]["epochs"]
    with desk.working():
        answer = desk("key", "rotate", "acme", "--what", "epoch", "--wait", "--json")

    assert answer.code == 0, answer
    rows = answer.document["rotations"]
    assert [(row["region"], row["stage"]) for row in rows] == [
        ("region-a", "destroyed"),
        ("region-b", "destroyed"),
    ]
    assert answer.document["kits_stop_opening"] is True
    assert "Exit kits" in answer.err
    assert [each["epoch"] for each in before] == [1, 1]
    assert desk.json("key", "status", "acme")["tenants"][0]["epochs"] == [
        {"region": "region-a", "epoch": 2, "state": "ready"},
        {"region": "region-b", "epoch": 2, "state": "ready"},
    ]
    assert "region-a: 2, region-b: 2" in desk("key", "status").out
    assert not set(olds) & {held.row.key_hint for held in vaults(runtime, saved)}


def test_what_a_new_epoch_needs_to_know_is_asked_for(desk: Desk, saved: Tenant) -> None:
    assert desk.refused("key", "rotate", "--what", "epoch") == (2, "bad-value")
    words = ("key", "rotate", "acme")
    assert desk.refused(*words, "--destroy-unreadable") == (2, "bad-value")
    assert desk.refused(*words, "--region", "region-a") == (2, "bad-value")
    assert desk.refused(*words, "--what", "epoch", "--region", "moon") == (2, "not-found")
    [row] = desk.json(*words, "--what", "epoch", "--region", "region-b")["rotations"]
    assert (row["region"], row["state"]) == ("region-b", "waiting")
    assert desk.json("key", "status", "acme")["tenants"][0]["under_way"] == [
        "epoch of region-b (waiting)"
    ]


def test_without_a_name_every_tenant_is_asked_for(desk: Desk, saved: Tenant, bolt: Tenant) -> None:
    found = desk.json("key", "rotate")["rotations"]
    assert {row["tenant"] for row in found} == {"acme", "bolt"}
    assert {row["state"] for row in found} == {"waiting"}
    status = desk.json("key", "status", "bolt")
    assert status["tenants"][0]["under_way"] == ["kek (waiting)"]
    passwords = desk.json("key", "rotate", "--what", "password")["rotations"]
    assert {row["tenant"] for row in passwords} == {"acme"}  # bolt has no repository yet


def test_a_tenant_without_a_repository_has_no_password_to_make_new(
    desk: Desk, bolt: Tenant
) -> None:
    assert desk.refused("key", "rotate", "bolt", "--what", "password") == (2, "no-repository")
    assert desk.refused("key", "rotate", "nobody") == (2, "unknown-tenant")


def test_lost_closed_going_and_destroyed_are_different_words(
    desk: Desk, runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    keys = runtime.vault.provider
    assert isinstance(keys, LocalKeys)

    def said() -> tuple[int, str]:
        answer = desk("key", "status", "acme", "--json")
        return answer.code, answer.document["tenants"][0]["state"]

    assert said() == (0, "enabled")
    keys.disable(acme.id)
    assert said() == (3, "disabled")
    keys.schedule_destruction(acme.id, 7)
    answer = desk("key", "status", "acme", "--json")
    assert answer.code == 3
    assert answer.document["tenants"][0]["until"]
    assert said() == (3, "pending-destruction")
    (runtime.settings.keys / f"{acme.id}.kek").unlink()
    assert said() == (3, "missing")
    keys.schedule_destruction(bolt.id, 0)
    assert desk("key", "status", "bolt", "--json").code == 0
    assert desk.json("key", "status", "bolt")["tenants"][0]["state"] == "destroyed"


def test_a_store_that_is_away_is_unreachable_and_asked_once(
    desk: Desk, runtime: Runtime, acme: Tenant, bolt: Tenant
) -> None:
    folder = runtime.settings.keys
    folder.rename(folder.with_name("aside"))
    folder.touch()

    answer = desk("key", "status", "--json")

    assert answer.code == 3
    states = [row["state"] for row in answer.document["tenants"]]
    assert states == ["unreachable", "unreachable"]
    assert "cannot be read" in answer.err
    doctor = desk("doctor", "--json")
    [line] = [each for each in doctor.document if each["name"] == "key store"]
    assert line["ok"] is False


def test_what_cannot_be_done_yet_is_said_and_is_incomplete(
    desk: Desk, runtime: Runtime, acme: Tenant
) -> None:
    runtime.vault.provider.disable(acme.id)
    with desk.working():
        answer = desk("key", "rotate", "acme", "--wait", "--json")

    assert answer.code == 3
    [row] = answer.document["rotations"]
    assert (row["state"], row["problem"]) == ("waiting", "key-disabled")
