"""The demo's sources: how each is made, changed, damaged and fingerprinted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tenants.sourcing import NewSource
from web.demo import attachments, crm, erp, fingerprint, recordings, telephony
from web.demo.customers import Customers, Login
from web.demo.fingerprint import Fingerprint
from web.demo.samples import DELTA, NAKHEEL, RIYADH, Sample
from web.demo.summary import Summary

SEED = 1


@dataclass(frozen=True)
class DatabaseThing:
    """A tenant's database, or one schema of it."""

    sample: Sample
    name: str
    login: Login
    module: ModuleType
    customers: Customers
    schema: str | None = None

    def create(self) -> Summary:
        with self.customers.connect(self.login) as connection:
            return _summary(self.module.create(connection, seed=SEED))

    def change_a_day(self) -> Summary:
        with self.customers.connect(self.login) as connection:
            return _summary(self.module.change_a_day(connection, seed=SEED, day=1))

    def damage(self) -> str:
        with self.customers.connect(self.login) as connection:
            return str(self.module.damage(connection))

    def fingerprint(self, where: str | None = None) -> Fingerprint:
        with self.customers.connect(self.login, where) as connection:
            return fingerprint.database(connection, schema=self.schema)

    def source(self) -> NewSource:
        options: dict[str, object] = {"dsn": self.login.dsn}
        if self.schema is not None:
            options["schema"] = self.schema
        return NewSource("postgres", self.name, options, self.login.password.encode())


@dataclass(frozen=True)
class FolderThing:
    """A tenant's folder."""

    sample: Sample
    name: str
    path: Path
    module: ModuleType

    def create(self) -> Summary:
        return _summary(self.module.create(self.path, seed=SEED))

    def change_a_day(self) -> Summary:
        return _summary(self.module.change_a_day(self.path, seed=SEED, day=1))

    def damage(self) -> str:
        return str(self.module.damage(self.path))

    def fingerprint(self, where: str | None = None) -> Fingerprint:
        return fingerprint.folder(self.path if where is None else Path(where), times=True)

    def source(self) -> NewSource:
        return NewSource("directory", self.name, {"path": str(self.path)})


Thing = DatabaseThing | FolderThing


def all_of(customers: Customers) -> list[Thing]:
    """The five sources of the three tenants, with their databases made and empty."""
    return [
        DatabaseThing(NAKHEEL, "erp", customers.make_database("nakheel_erp"), erp, customers),
        DatabaseThing(DELTA, "crm", customers.make_database("delta_crm"), crm, customers, "crm"),
        FolderThing(DELTA, "attachments", customers.files("delta"), attachments),
        DatabaseThing(
            RIYADH, "telephony", customers.make_database("riyadh_telephony"), telephony, customers
        ),
        FolderThing(RIYADH, "recordings", customers.files("riyadh"), recordings),
    ]


def _summary(made: object) -> Summary:
    assert isinstance(made, Summary)
    return made
