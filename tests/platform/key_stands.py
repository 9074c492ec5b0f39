"""Each key provider with what the contract needs beside it: to lose keys, be away, move the clock.

The real thing where it runs here (folder, SoftHSM), a fake held to the documented interface where
it does not (AWS KMS, transit).
"""

from __future__ import annotations

import os
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.key_stores import pkcs11 as pkcs11_keys
from strongroom.key_stores.aws_kms import Account, AwsKmsKeys
from strongroom.key_stores.local import LocalKeys
from strongroom.key_stores.pkcs11 import Pkcs11Keys, Token
from strongroom.key_stores.vault_transit import Address, VaultTransitKeys
from strongroom.keys import KeyProvider
from tests.platform import fake_kms
from tests.platform.fake_kms import FakeKms
from tests.platform.fake_transit import TOKEN, FakeTransit
from tests.platform.loopback import Loopback
from tools import softhsm

TOOLS = Path(__file__).parents[2] / ".tools"
PIN = "5678"


class Stand(ABC):
    """One provider."""

    provider: KeyProvider
    remembers = True  # what was destroyed is told from what was lost
    days = 7  # of waiting before destruction

    @abstractmethod
    def lose(self, tenant: uuid.UUID) -> None:
        """The key goes behind our back."""

    @abstractmethod
    def away(self) -> object:
        """A context in which the store gives no usable answer."""

    def forward(self, days: int) -> None:  # noqa: B027 - a store that waits for nothing has none
        """The store's clock goes on."""


class Moved:
    """A clock that a stand sets."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class LocalStand(Stand):
    def __init__(self, folder: Path) -> None:
        self.clock = Moved()
        self.folder = folder
        self.provider = LocalKeys(folder, clock=self.clock)

    def lose(self, tenant: uuid.UUID) -> None:
        (self.folder / f"{tenant}.kek").unlink()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The folder's disk gives errors: a file is in its place."""
        aside = self.folder.with_name("aside")
        self.folder.rename(aside)
        self.folder.touch()
        try:
            yield
        finally:
            self.folder.unlink()
            aside.rename(self.folder)

    def forward(self, days: int) -> None:
        self.clock.ahead += timedelta(days=days)


class KmsStand(Stand):
    remembers = False

    def __init__(self, server: Loopback, fake: FakeKms) -> None:
        self.server, self.fake = server, fake
        self.provider = AwsKmsKeys(Account("eu-central-1", server.url, "id", "secret"))

    def lose(self, tenant: uuid.UUID) -> None:
        for alias, key in list(self.fake.aliases.items()):
            if str(tenant) in alias and key in self.fake.keys:
                self.fake.lose(key)

    @contextmanager
    def away(self) -> Iterator[None]:
        self.server.fault = lambda _asked: fake_kms.said("ThrottlingException")
        try:
            yield
        finally:
            self.server.fault = None

    def forward(self, days: int) -> None:
        self.fake.ahead += timedelta(days=days)


class TransitStand(Stand):
    remembers = False
    days = 0

    def __init__(self, server: Loopback, fake: FakeTransit) -> None:
        self.server, self.fake = server, fake
        self.provider = VaultTransitKeys(Address(server.url, TOKEN))

    def lose(self, tenant: uuid.UUID) -> None:
        del self.fake.keys[f"strongroom-{tenant}"]

    @contextmanager
    def away(self) -> Iterator[None]:
        self.fake.sealed = True
        try:
            yield
        finally:
            self.fake.sealed = False


class TokenStand(Stand):
    def __init__(self, module: str, label: str) -> None:
        self.clock = Moved()
        self.provider = Pkcs11Keys(Token(module, label, PIN), clock=self.clock)
        self._place = (module, label)

    def lose(self, tenant: uuid.UUID) -> None:
        with self.provider._session() as session:  # type: ignore[attr-defined]
            for key in pkcs11_keys._flat(pkcs11_keys._versions(session, tenant)):
                key.destroy()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Sessions end, as when a cable is pulled, and the token has another name meanwhile."""
        token = self.provider._token  # type: ignore[attr-defined]
        pkcs11_keys._sessions.pop(self._place, None)
        object.__setattr__(token, "label", "pulled")
        try:
            yield
        finally:
            object.__setattr__(token, "label", self._place[1])

    def forward(self, days: int) -> None:
        self.clock.ahead += timedelta(days=days)


@contextmanager
def kms_stand() -> Iterator[KmsStand]:
    fake = FakeKms()
    with Loopback(fake.answer) as server:
        yield KmsStand(server, fake)


@contextmanager
def transit_stand() -> Iterator[TransitStand]:
    fake = FakeTransit()
    with Loopback(fake.answer) as server:
        yield TransitStand(server, fake)


@contextmanager
def token_stand(new_token: Callable[[], tuple[str, str]]) -> Iterator[TokenStand]:
    yield TokenStand(*new_token())


def make_token(folder: Path) -> tuple[str, str]:
    """(library, label) of a fresh token; the library reads its configuration once a process."""
    found = softhsm.find(TOOLS)
    if found is None:
        pytest.skip("SoftHSM is not here: no apt mirror gave Debian's softhsm2, see `make setup`")
    configuration = folder / "softhsm2.conf"
    if not configuration.exists():
        (folder / "tokens").mkdir(parents=True)
        configuration.write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
            "log.level = ERROR\n"
        )
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    label = "strongroom"
    if not any((folder / "tokens").iterdir()):
        words = ["--init-token", "--free", "--label", label, "--so-pin", "1234", "--pin", PIN]
        subprocess.run(
            [str(found.utility), "--module", str(found.library), *words],
            check=True,
            capture_output=True,
        )
    return str(found.library), label
