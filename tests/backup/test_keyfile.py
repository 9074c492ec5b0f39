"""Key files that cost nothing to open, and repositories made without restic's init."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from backup import keyfile, sealing
from backup.keyfile import ForeignKey, MachinePassword, WrongPassword
from backup.restic import commands, creation
from backup.restic.calls import Repository
from backup.restic.creation import RepositoryExists
from backup.restic.flags import CheckExtent, FolderBackup, PruneBounds
from backup.sealing import SealKey, Unsealable
from strongroom.errors import BadValue
from tests.backup.restic_stage import (
    STAMP,
    FolderStore,
    Stage,
    new_repository,
    stage,
    surroundings,
    unhinted,
)

# From "The Poly1305-AES message-authentication code" (Bernstein), appendix B:
# message, r, k, nonce, tag.
POLY1305_AES = [
    (
        "f3f6",
        "851fc40c3467ac0be05cc20404f3f700",
        "ec074c835580741701425b623235add6",
        "fb447350c4e868c52ac3275cf9d4327e",
        "f4c633c3044fc145f84f335cb81953de",
    ),
    (
        "",
        "a0f3080000f46400d0c7e9076c834403",
        "75deaa25c09f208e1dc4ce6b5cad3fbf",
        "61ee09218d29b0aaed7e154a2c5509cc",
        "dd3fab2251f11ac759f0887129cc2ee7",
    ),
    (
        "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
        "48443d0bb0d21109c89a100b5ce2c208",
        "6acb5f61a7176dd320c5c1eb2edcdc74",
        "ae212a55399729595dea458bc621ff0e",
        "0ee1c16bb73f0f4fd19881753c01cdbe",
    ),
]


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    return stage(tmp_path)


@pytest.mark.parametrize(("message", "r", "k", "nonce", "tag"), POLY1305_AES)
def test_the_tag_is_that_of_the_published_vectors(
    message: str, r: str, k: str, nonce: str, tag: str
) -> None:
    key = SealKey(encrypt=bytes([1] * 32), k=bytes.fromhex(k), r=bytes.fromhex(r))
    one_time = sealing.one_time_key(key, bytes.fromhex(nonce))
    assert sealing.Poly1305.generate_tag(one_time, bytes.fromhex(message)).hex() == tag


def test_what_is_sealed_opens_again_and_no_flipped_bit_does() -> None:
    key = SealKey(encrypt=bytes(range(32)), k=bytes(range(1, 17)), r=bytes(range(2, 18)))
    sealed = sealing.seal(key, b"the plain text", bytes(range(16)))
    assert sealing.unseal(key, sealed) == b"the plain text"
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(Unsealable):
            sealing.unseal(key, bytes(damaged))


def test_only_thirty_two_random_bytes_are_taken_for_a_low_cost_key() -> None:
    with pytest.raises(BadValue, match="restic key add"):
        MachinePassword(b"correct horse battery staple")
    for text in (b"secret", b"A" * 64, b"0" * 63, b"0" * 64 + b"\n", b"\xff" * 64):
        with pytest.raises(BadValue):
            MachinePassword.parse(text)


def test_a_password_comes_back_from_its_text_and_hides_in_its_repr() -> None:
    password = MachinePassword.make()
    assert MachinePassword.parse(password.text) == password
    assert password.secret.hex() not in repr(password)
    assert str(password.secret) not in repr(password)


def test_stock_restic_opens_it_with_nothing_but_the_password(ready: Stage) -> None:
    assert len(commands.open_check(unhinted(ready.repository), ready.here)) == 64


def test_restic_does_its_whole_work_on_a_repository_it_did_not_make(ready: Stage) -> None:
    other_password = MachinePassword.make()
    polynomial = creation.read_config(
        ready.store, keyfile.open_repository(ready.store, ready.password)
    ).polynomial
    other, _ = new_repository(ready.folder / "other", other_password, polynomial=polynomial)
    ready.write("a", b"x" * 3_000_000)
    first = commands.backup_folder(ready.repository, ready.here, _folder(ready)).snapshot
    ready.write("a", b"y" * 3_000_000)
    second = commands.backup_folder(ready.repository, ready.here, _folder(ready)).snapshot
    assert first and second
    commands.copy(ready.repository, other, ready.here, [second])
    commands.forget(ready.repository, ready.here, [first])
    commands.prune(ready.repository, ready.here, PruneBounds(max_unused="0"))
    for repository in (ready.repository, other):
        assert commands.check(repository, ready.here, CheckExtent(everything=True)).ok
        [key] = commands.key_list(repository, ready.here)
        assert (key.id, key.current) == (repository.key_hint, True)


def test_our_config_has_the_fields_of_restics_own(tmp_path: Path) -> None:
    password, store = MachinePassword.make(), FolderStore(tmp_path / "stock")
    stock = Repository(address=str(store.root), password=password.text)
    made = commands.init(stock, surroundings(tmp_path))
    opened = keyfile.open_repository(store, password)
    raw = json.loads(sealing.unseal(opened.master, store.get("config")))
    _, our_store = new_repository(tmp_path / "ours", password)
    our_raw = json.loads(
        sealing.unseal(keyfile.open_repository(our_store, password).master, our_store.get("config"))
    )
    assert raw["id"] == made
    assert raw["version"] == our_raw["version"] == 2
    assert [(k, type(v)) for k, v in raw.items()] == [(k, type(v)) for k, v in our_raw.items()]
    assert creation.read_config(store, opened).id == made


def test_a_low_cost_key_is_added_to_restics_own_repository(tmp_path: Path) -> None:
    password, store = MachinePassword.make(), FolderStore(tmp_path / "stock")
    stock, here = Repository(str(store.root), password.text), surroundings(tmp_path)
    commands.init(stock, here)
    [calibrated] = store.list("keys/")
    name = keyfile.add_low_cost(store, password, STAMP)
    keyfile.remove(store, calibrated.removeprefix("keys/"), keep=name)
    assert name.startswith("00")
    assert store.list("keys/") == [f"keys/{name}"]
    commands.open_check(replace(stock, key_hint=name), here)


def test_a_key_file_says_the_least_parameters_and_is_named_by_its_hash(ready: Stage) -> None:
    [key] = ready.store.list("keys/")
    text = ready.store.get(key)
    raw = json.loads(text)
    assert key == f"keys/{hashlib.sha256(text).hexdigest()}"
    assert (raw["kdf"], raw["N"], raw["r"], raw["p"]) == ("scrypt", 2, 1, 1)
    assert ready.password.text not in text


def test_rotation_lets_the_new_password_in_and_the_old_one_out(ready: Stage) -> None:
    fresh = MachinePassword.make()
    old = ready.repository.key_hint
    assert old is not None
    new = keyfile.add_low_cost(ready.store, ready.password, STAMP, new_password=fresh)
    keyfile.remove(ready.store, old, keep=new)
    rotated = replace(ready.repository, password=fresh.text, key_hint=new)
    commands.open_check(rotated, ready.here)
    with pytest.raises(WrongPassword):
        keyfile.open_repository(ready.store, ready.password)


def test_the_last_key_is_never_removed(ready: Stage) -> None:
    hint = ready.repository.key_hint or ""
    with pytest.raises(BadValue):
        keyfile.remove(ready.store, hint, keep=hint)
    assert ready.store.list("keys/") == [f"keys/{hint}"]


def test_a_key_of_another_repository_is_not_taken(ready: Stage) -> None:
    _, foreign = new_repository(ready.folder / "foreign", ready.password)
    [theirs] = foreign.list("keys/")
    for key in ready.store.list("keys/"):
        ready.store.delete(key)
    ready.store.put(theirs, foreign.get(theirs))
    with pytest.raises(ForeignKey):
        keyfile.add_low_cost(ready.store, ready.password, STAMP)
    assert ready.store.list("keys/") == [theirs]


def _hostile_keys(good: bytes) -> list[bytes]:
    raw = json.loads(good)
    changes = [{"N": 3}, {"N": 1 << 40}, {"p": 0}, {"kdf": "none"}, {"salt": "AAAA"}, {"data": ""}]
    return [b"garbage", b"[]", *(json.dumps({**raw, **change}).encode() for change in changes)]


def test_hostile_objects_among_the_keys_do_not_stop_us(ready: Stage) -> None:
    [good] = ready.store.list("keys/")
    for text in _hostile_keys(ready.store.get(good)):
        ready.store.put(f"keys/{hashlib.sha256(text).hexdigest()}", text)
    ready.store.put(f"keys/{'0' * 64}", b"a name that is no hash of this")
    assert keyfile.open_repository(ready.store, ready.password).key_id == good.removeprefix("keys/")
    commands.open_check(ready.repository, ready.here)


def test_a_creation_that_was_interrupted_is_finished_with_the_same_key(ready: Stage) -> None:
    ready.store.delete("config")
    again = creation.create(ready.store, ready.password, STAMP)
    assert again.key_id == ready.repository.key_hint
    assert creation.create(ready.store, ready.password, STAMP) == again
    assert commands.open_check(ready.repository, ready.here) == again.config.id


def test_a_repository_that_is_in_use_is_never_made_anew(ready: Stage) -> None:
    ready.write("a")
    commands.backup_folder(ready.repository, ready.here, _folder(ready))
    before = {key: ready.store.get(key) for key in ready.store.list("")}
    ready.store.delete("config")
    for password in (ready.password, MachinePassword.make()):
        with pytest.raises(RepositoryExists):
            creation.create(ready.store, password, STAMP)
    del before["config"]
    assert {key: ready.store.get(key) for key in ready.store.list("")} == before


def test_somebody_elses_empty_repository_is_not_taken_over(ready: Stage) -> None:
    with pytest.raises(RepositoryExists):
        creation.create(ready.store, MachinePassword.make(), STAMP)


def _folder(ready: Stage) -> FolderBackup:
    return FolderBackup(folder=ready.source, host="acme")
