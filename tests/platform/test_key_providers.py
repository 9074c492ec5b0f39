"""The contract of a key provider, and every provider held to it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import BadValue
from strongroom.key_stores import pkcs11 as pkcs11_keys
from strongroom.key_stores.aws_kms import Account, AwsKmsKeys
from strongroom.key_stores.pkcs11 import Pkcs11Keys, Token
from strongroom.key_stores.vault_transit import Address, VaultTransitKeys
from strongroom.keys import (
    Context,
    KeyDenied,
    KeyDestroyed,
    KeyDisabled,
    KeyMissing,
    KeyRetired,
    KeysError,
    KeyState,
    KeyUnreachable,
    NotOffered,
    WrongContext,
)
from tests.platform import fake_kms
from tests.platform.key_stands import (
    KmsStand,
    LocalStand,
    Stand,
    TokenStand,
    TransitStand,
    kms_stand,
    make_token,
    transit_stand,
)
from tests.platform.loopback import Answer

SECRET = b"chalk and cheese, 32 bytes long."


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_token(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(params=["local", "aws-kms", "vault", "pkcs11"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as open_:
        if request.param == "aws-kms":
            yield open_.enter_context(kms_stand())
        elif request.param == "vault":
            yield open_.enter_context(transit_stand())
        elif request.param == "pkcs11":
            yield TokenStand(*request.getfixturevalue("token"))
        else:
            yield LocalStand(tmp_path / "keys")


@pytest.fixture
def kms() -> Iterator[KmsStand]:
    with kms_stand() as made:
        yield made


@pytest.fixture
def transit() -> Iterator[TransitStand]:
    with transit_stand() as made:
        yield made


@pytest.fixture
def hsm(token: tuple[str, str]) -> TokenStand:
    return TokenStand(*token)


def a_tenant(stand: Stand) -> Context:
    """One that has a key."""
    context = Context(uuid.uuid4(), uuid.uuid4(), "repository-password")
    stand.provider.create(context.tenant)
    return context


# Wrapping


def test_what_is_wrapped_opens_and_is_never_the_same_twice(stand: Stand) -> None:
    context = a_tenant(stand)
    first, second = (stand.provider.wrap(SECRET, context) for _ in range(2))
    assert first.provider == stand.provider.name
    assert first.key_version == 1
    assert first.ciphertext != second.ciphertext
    assert SECRET not in first.ciphertext
    assert stand.provider.unwrap(first, context) == SECRET
    assert stand.provider.unwrap(second, context) == SECRET
    assert str(first.ciphertext) not in repr(first)


@pytest.mark.parametrize("part", ["tenant", "subject", "purpose", "generation"])
def test_a_secret_of_something_else_does_not_open(stand: Stand, part: str) -> None:
    context, other = a_tenant(stand), a_tenant(stand)
    values = {"tenant": other.tenant, "subject": uuid.uuid4(), "purpose": "x", "generation": 2}
    swapped = replace(context, **{part: values[part]})
    wrapped = stand.provider.wrap(SECRET, context)
    for act in (stand.provider.unwrap, stand.provider.rewrap):
        with pytest.raises(WrongContext) as caught:
            act(wrapped, swapped)
        assert caught.value.permanent
        assert caught.value.code == "key-wrong-context"


def test_a_secret_that_was_changed_does_not_open(stand: Stand) -> None:
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    for at in (-2, len(wrapped.ciphertext) // 2):
        spoilt = bytearray(wrapped.ciphertext)
        spoilt[at] = spoilt[at] ^ 1 if wrapped.nonce else (65 if spoilt[at] != 65 else 66)
        with pytest.raises(WrongContext):
            stand.provider.unwrap(replace(wrapped, ciphertext=bytes(spoilt)), context)


def test_making_a_key_again_leaves_it_as_it_is(stand: Stand) -> None:
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    stand.provider.create(context.tenant)
    assert stand.provider.unwrap(wrapped, context) == SECRET
    assert stand.provider.status(context.tenant).version == 1


# Versions


def test_a_new_version_wraps_and_the_old_one_opens_until_it_is_retired(stand: Stand) -> None:
    context = a_tenant(stand)
    old = stand.provider.wrap(SECRET, context)

    assert stand.provider.add_version(context.tenant) == 2

    new = stand.provider.wrap(SECRET, context)
    moved = stand.provider.rewrap(old, context)
    assert (new.key_version, moved.key_version) == (2, 2)
    for each in (old, new, moved):
        assert stand.provider.unwrap(each, context) == SECRET
    status = stand.provider.status(context.tenant)
    assert (status.state, status.version, status.oldest) == (KeyState.ENABLED, 2, 1)

    for _ in range(2):  # may be repeated
        stand.provider.retire(context.tenant, below=2)

    assert stand.provider.status(context.tenant).oldest == 2
    assert stand.provider.unwrap(moved, context) == SECRET
    with pytest.raises(KeyRetired, match="version 1") as caught:
        stand.provider.unwrap(old, context)
    assert caught.value.permanent


def test_the_newest_version_is_never_retired(stand: Stand) -> None:
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    stand.provider.retire(context.tenant, below=7)
    assert stand.provider.unwrap(wrapped, context) == SECRET


def test_versions_are_retired_one_after_another(stand: Stand) -> None:
    context = a_tenant(stand)
    for number in (2, 3, 4):
        assert stand.provider.add_version(context.tenant) == number
    stand.provider.retire(context.tenant, below=3)
    status = stand.provider.status(context.tenant)
    assert (status.version, status.oldest) == (4, 3)


# Three different words


def test_a_lost_key_is_missing_and_no_other_takes_its_place(stand: Stand) -> None:
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    stand.lose(context.tenant)
    acts = (
        lambda: stand.provider.unwrap(wrapped, context),
        lambda: stand.provider.wrap(SECRET, context),
        lambda: stand.provider.rewrap(wrapped, context),
        lambda: stand.provider.add_version(context.tenant),
    )
    for act in acts:
        with pytest.raises(KeyMissing, match="bring the key store back") as caught:
            act()
        assert (caught.value.code, caught.value.permanent) == ("key-missing", True)
    assert stand.provider.status(context.tenant).state is KeyState.MISSING


def test_a_store_that_is_away_is_unreachable_and_all_is_well_after(stand: Stand) -> None:
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    acts = (
        lambda: stand.provider.unwrap(wrapped, context),
        lambda: stand.provider.wrap(SECRET, context),
        lambda: stand.provider.rewrap(wrapped, context),
        lambda: stand.provider.add_version(context.tenant),
        lambda: stand.provider.status(context.tenant),
        lambda: stand.provider.create(uuid.uuid4()),
        stand.provider.probe,
    )
    with stand.away():  # type: ignore[attr-defined]
        for act in acts:
            with pytest.raises((KeyUnreachable, FileExistsError)) as caught:
                act()
            assert getattr(caught.value, "code", "key-unreachable") == "key-unreachable"
            assert not getattr(caught.value, "permanent", False)
    assert stand.provider.unwrap(wrapped, context) == SECRET
    assert stand.provider.status(context.tenant).version == 1
    assert stand.provider.probe()


def test_a_destroyed_key_is_destroyed_and_others_are_not(stand: Stand) -> None:
    context, other = a_tenant(stand), a_tenant(stand)
    stand.provider.add_version(context.tenant)
    wrapped, kept = stand.provider.wrap(SECRET, context), stand.provider.wrap(SECRET, other)

    until = stand.provider.schedule_destruction(context.tenant, stand.days)

    if stand.days:
        status = stand.provider.status(context.tenant)
        assert (status.state, status.until) == (KeyState.PENDING_DESTRUCTION, until)
        for act in (stand.provider.unwrap, stand.provider.rewrap):
            with pytest.raises(KeyDisabled, match="to be destroyed on"):
                act(wrapped, context)
        with pytest.raises(KeyDisabled):
            stand.provider.wrap(SECRET, context)
        stand.forward(stand.days)
    wanted = KeyState.DESTROYED if stand.remembers else KeyState.MISSING
    assert stand.provider.status(context.tenant).state is wanted
    with pytest.raises(KeyDestroyed if stand.remembers else KeyMissing) as caught:
        stand.provider.unwrap(wrapped, context)
    assert caught.value.permanent
    assert stand.provider.unwrap(kept, other) == SECRET
    with pytest.raises((KeyDestroyed, KeyMissing)):
        stand.provider.cancel_destruction(context.tenant)


def test_a_destruction_can_be_called_off_until_its_moment(stand: Stand) -> None:
    if not stand.days:
        assert stand.provider.claims.window == (0, 0)
        return
    context = a_tenant(stand)
    wrapped = stand.provider.wrap(SECRET, context)
    stand.provider.schedule_destruction(context.tenant, stand.days)
    stand.forward(stand.days - 1)

    stand.provider.cancel_destruction(context.tenant)

    stand.forward(stand.days)
    assert stand.provider.status(context.tenant).state is KeyState.DISABLED
    stand.provider.enable(context.tenant)
    assert stand.provider.unwrap(wrapped, context) == SECRET


def test_only_the_windows_it_names_are_offered(stand: Stand) -> None:
    context = a_tenant(stand)
    least, most = stand.provider.claims.window
    for days in (least - 1, most + 1):
        with pytest.raises(BadValue):
            stand.provider.schedule_destruction(context.tenant, days)
    assert stand.provider.status(context.tenant).state is KeyState.ENABLED


def test_a_disabled_key_opens_nothing_until_it_is_enabled(stand: Stand) -> None:
    context = a_tenant(stand)
    stand.provider.add_version(context.tenant)
    wrapped = stand.provider.wrap(SECRET, context)
    if not stand.provider.claims.disables:
        with pytest.raises(NotOffered):
            stand.provider.disable(context.tenant)
        return
    stand.provider.disable(context.tenant)
    assert stand.provider.status(context.tenant).state is KeyState.DISABLED
    for act in (lambda: stand.provider.unwrap(wrapped, context), lambda: a_wrap(stand, context)):
        with pytest.raises(KeyDisabled) as caught:
            act()
        assert not caught.value.permanent
    stand.provider.enable(context.tenant)
    assert stand.provider.unwrap(wrapped, context) == SECRET


def a_wrap(stand: Stand, context: Context) -> Any:
    return stand.provider.wrap(SECRET, context)


# What each may claim


def test_only_what_cannot_be_copied_and_is_one_tenants_own_purges(
    kms: KmsStand, transit: TransitStand, tmp_path: Path
) -> None:
    local = LocalStand(tmp_path).provider.claims
    shared = AwsKmsKeys(Account("eu-central-1", shared_key="alias/all")).claims
    hsm = Pkcs11Keys(Token("lib", "label", "pin", copyable=False)).claims
    soft = Pkcs11Keys(Token("lib", "label", "pin")).claims
    purge, logical = "purge-by-cryptographic-erase", "logical-deletion"
    assert [each.method for each in (kms.provider.claims, hsm)] == [purge, purge]
    others = (local, soft, transit.provider.claims, shared)
    assert [each.method for each in others] == [logical] * 4


# AWS KMS


@pytest.mark.parametrize("code", ["KMSInternalException", "DependencyTimeoutException"])
def test_what_kms_says_of_itself_is_no_word_about_the_key(kms: KmsStand, code: str) -> None:
    context = a_tenant(kms)
    wrapped = kms.provider.wrap(SECRET, context)
    kms.server.fault = lambda _asked: fake_kms.said(code, 500)
    with pytest.raises(KeyUnreachable):
        kms.provider.unwrap(wrapped, context)


def test_a_kms_that_does_not_answer_is_left_alone_in_time(
    kms: KmsStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom.key_stores.aws_kms.READ_SECONDS", 2)
    context = a_tenant(kms)
    kms.server.fault = lambda _asked: Answer(200, seconds=60)
    with pytest.raises(KeyUnreachable, match="ReadTimeoutError"):
        kms.provider.wrap(SECRET, context)


def test_a_role_without_rights_is_said_to_be_that(kms: KmsStand) -> None:
    context = a_tenant(kms)
    kms.server.fault = lambda _asked: fake_kms.said("AccessDeniedException")
    with pytest.raises(KeyDenied, match="the right to use the keys") as caught:
        kms.provider.wrap(SECRET, context)
    assert caught.value.code == "key-denied"


def test_a_version_that_was_made_and_not_yet_current_is_taken_up(kms: KmsStand) -> None:
    context = a_tenant(kms)
    kms.server.fault = lambda asked: (
        fake_kms.said("KMSInternalException", 500)
        if asked.headers["x-amz-target"].endswith(".UpdateAlias")
        else None
    )
    with pytest.raises(KeyUnreachable):
        kms.provider.add_version(context.tenant)
    kms.server.fault = None
    assert kms.provider.wrap(SECRET, context).key_version == 1

    assert kms.provider.add_version(context.tenant) == 2

    assert kms.provider.wrap(SECRET, context).key_version == 2
    spare = [key for key in kms.fake.keys.values() if key.id not in kms.fake.aliases.values()]
    assert [key.state for key in spare] == ["PendingDeletion"]


def test_rewrapping_never_asks_kms_for_the_secret(kms: KmsStand) -> None:
    context = a_tenant(kms)
    wrapped = kms.provider.wrap(SECRET, context)
    kms.provider.add_version(context.tenant)
    kms.fake.calls.clear()
    kms.provider.rewrap(wrapped, context)
    assert "ReEncrypt" in kms.fake.calls
    assert "Decrypt" not in kms.fake.calls


def test_one_key_for_all_tenants_wraps_and_is_not_ours_to_rotate_or_destroy(
    kms: KmsStand,
) -> None:
    made = kms.fake.do_CreateKey({})["KeyMetadata"]["KeyId"]
    shared = AwsKmsKeys(Account("eu-central-1", kms.server.url, "id", "secret", made))
    context = Context(uuid.uuid4(), uuid.uuid4(), "x")
    shared.create(context.tenant)
    wrapped = shared.wrap(SECRET, context)
    assert shared.unwrap(wrapped, context) == SECRET
    with pytest.raises(WrongContext):
        shared.unwrap(wrapped, replace(context, tenant=uuid.uuid4()))
    for act in (shared.add_version, shared.disable, shared.enable, shared.cancel_destruction):
        with pytest.raises(NotOffered, match="serves all tenants"):
            act(context.tenant)
    with pytest.raises(NotOffered):
        shared.schedule_destruction(context.tenant, 7)
    assert len(kms.fake.keys) == 1


def test_it_agrees_with_moto_where_moto_agrees_with_kms(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        provider = AwsKmsKeys(Account("eu-central-1", f"http://{host}:{port}", "id", "secret"))
        context = Context(uuid.uuid4(), uuid.uuid4(), "repository-password")
        provider.create(context.tenant)
        old = provider.wrap(SECRET, context)
        assert provider.unwrap(old, context) == SECRET
        with pytest.raises(WrongContext):
            provider.unwrap(old, replace(context, subject=uuid.uuid4()))
        assert provider.add_version(context.tenant) == 2
        new = provider.rewrap(old, context)
        assert new.key_version == 2
        assert provider.unwrap(new, context) == SECRET
        provider.retire(context.tenant, below=2)
        status = provider.status(context.tenant)
        assert (status.state, status.version, status.oldest) == (KeyState.ENABLED, 2, 2)
        provider.schedule_destruction(context.tenant, 7)
        assert provider.status(context.tenant).state is KeyState.PENDING_DESTRUCTION
        provider.cancel_destruction(context.tenant)
        assert provider.status(context.tenant).state is KeyState.DISABLED
    finally:
        server.stop()


# Vault and OpenBao


def test_a_lost_transit_key_is_not_made_by_wrapping(transit: TransitStand) -> None:
    context = a_tenant(transit)
    transit.lose(context.tenant)
    with pytest.raises(KeyMissing):
        transit.provider.wrap(SECRET, context)
    assert transit.fake.keys == {}


def test_a_sealed_server_and_a_refused_token_are_told_apart(transit: TransitStand) -> None:
    context = a_tenant(transit)
    wrapped = transit.provider.wrap(SECRET, context)
    transit.fake.sealed = True
    with pytest.raises(KeyUnreachable, match="sealed"):
        transit.provider.unwrap(wrapped, context)
    transit.fake.sealed = False
    stale = VaultTransitKeys(Address(transit.server.url, "s.stale"))
    with pytest.raises(KeyDenied, match="refuses our token") as caught:
        stale.unwrap(wrapped, context)
    assert "s.stale" not in str(caught.value)


def test_a_renewed_token_is_read_from_its_file(transit: TransitStand, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s.old\n")
    provider = VaultTransitKeys(Address(transit.server.url, token_file=file))
    with pytest.raises(KeyDenied):
        provider.probe()
    file.write_text("s.token-of-the-tests\n")
    assert provider.probe()
    file.unlink()
    with pytest.raises(KeyUnreachable):
        provider.probe()


def test_no_token_is_taken_from_the_environment(
    transit: TransitStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "s.token-of-the-tests")
    with pytest.raises(KeyDenied):
        VaultTransitKeys(Address(transit.server.url)).probe()


def test_an_answer_that_is_no_answer_is_unreachable(transit: TransitStand) -> None:
    context = a_tenant(transit)
    wrapped = transit.provider.wrap(SECRET, context)
    transit.server.fault = lambda _asked: Answer(200, b"<html>welcome to the hotel</html>")
    with pytest.raises(KeyUnreachable):
        transit.provider.unwrap(wrapped, context)


# PKCS#11


def test_a_token_gives_no_key_away(hsm: TokenStand) -> None:
    from pkcs11 import Attribute
    from pkcs11.exceptions import PKCS11Error

    context = a_tenant(hsm)
    with hsm.provider._session() as session:  # type: ignore[attr-defined]
        [key] = pkcs11_keys._versions(session, context.tenant)[1]
        assert key[Attribute.SENSITIVE] is True
        assert key[Attribute.EXTRACTABLE] is False
        with pytest.raises(PKCS11Error):
            _ = key[Attribute.VALUE]


def test_of_twins_that_made_one_version_twice_both_open(hsm: TokenStand) -> None:
    context = a_tenant(hsm)
    first = hsm.provider.wrap(SECRET, context)
    with hsm.provider._session() as session:  # type: ignore[attr-defined]
        pkcs11_keys._generate(session, context.tenant, 1)
        both = pkcs11_keys._versions(session, context.tenant)[1]
        nonce = bytes(range(12))
        sealed = [pkcs11_keys._seal(key, SECRET, nonce, context.encoded()) for key in both]
    assert hsm.provider.unwrap(first, context) == SECRET
    for each in sealed:
        wrapped = replace(first, nonce=nonce, ciphertext=each)
        assert hsm.provider.unwrap(wrapped, context) == SECRET


def test_what_the_token_keeps_opens_in_another_process_too(
    hsm: TokenStand, token: tuple[str, str]
) -> None:
    context = a_tenant(hsm)
    wrapped = hsm.provider.wrap(SECRET, context)
    script = (
        "import sys, uuid\n"
        "from strongroom.key_stores.pkcs11 import Pkcs11Keys, Token\n"
        "from strongroom.keys import Context, Wrapped\n"
        "lib, label, tenant, subject, nonce, sealed = sys.argv[1:]\n"
        "keys = Pkcs11Keys(Token(lib, label, '5678'))\n"
        "context = Context(uuid.UUID(tenant), uuid.UUID(subject), 'repository-password')\n"
        "made = Wrapped('pkcs11', '', 1, '', bytes.fromhex(nonce), bytes.fromhex(sealed))\n"
        "sys.stdout.buffer.write(keys.unwrap(made, context))\n"
    )
    words = [*token, str(context.tenant), str(context.subject)]
    words += [wrapped.nonce.hex(), wrapped.ciphertext.hex()]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=False)
    assert done.stdout == SECRET, done.stderr.decode()


def test_a_wrong_pin_is_said_to_be_that(hsm: TokenStand, token: tuple[str, str]) -> None:
    script = (
        "import sys\n"
        "from strongroom.key_stores.pkcs11 import Pkcs11Keys, Token\n"
        "from strongroom.keys import KeyDenied\n"
        "try:\n"
        "    Pkcs11Keys(Token(*sys.argv[1:], '0000')).probe()\n"
        "except KeyDenied as error:\n"
        "    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *token], capture_output=True, check=False, text=True
    )
    assert done.stdout.strip() == "key-denied", done.stderr


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = KeysError.__subclasses__() + KeyUnreachable.__subclasses__()
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes) >= 8
