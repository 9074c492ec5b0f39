"""Where a recovered platform is to live: in the home of an embedded stack, or where settings say.

Whatever is missing for it is said before anything is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from strongroom import clock, control_restores, schema, settings
from strongroom.db import Role
from strongroom.errors import BadValue, Refused
from strongroom.key_service import Kind
from strongroom.key_stores.choosing import choose
from strongroom.keys import KeyProvider
from strongroom.records import Signer
from strongroom.runtime import Runtime
from strongroom.settings import Settings
from strongroom.stack import files
from strongroom.stack import home as homes
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import find_stack
from strongroom.storage import Credentials
from web import parts, recovery_finds
from web.recovery_finds import Finds, Wanted

REPORT = "recovered.json"  # in a home: ended
NEEDED = (Role.MIGRATOR, Role.OPERATOR, Role.WORKER)


class NoRecordKey(Refused):
    """The platform would sign with a key that no share names."""

    code = "record-key-needed"


class Place(Protocol):
    """One of the two."""

    def earlier(self) -> dict[str, Any] | None:
        """What a recovery into it came to, if one has ended and that can be told at once."""
        ...

    def provider(self) -> KeyProvider | None:
        """A key store that is there already, and may open what is in the regions."""
        ...

    def platform(self, finds: Finds) -> Any:
        """A block with the Runtime: the database, and nothing that works on its own."""
        ...

    def mark_done(self, report: dict[str, Any]) -> None: ...


def place_of(wanted: Wanted) -> Place:
    """Raises BadSettings, or BadValue for what is missing in them."""
    if wanted.home is not None:
        return _Home(wanted, wanted.home)
    known = settings.from_environment(os.environ)
    if not wanted.dry_run:
        _require_database(known)
    return _Production(wanted, known)


@dataclass(frozen=True)
class _Home:
    """The folder of an embedded stack that is not there yet."""

    wanted: Wanted
    home: Path

    def earlier(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.home / REPORT).read_text())
        except (OSError, ValueError, TypeError):
            return None
        return found

    def provider(self) -> None:
        return None

    @contextmanager
    def platform(self, finds: Finds) -> Iterator[Runtime]:
        home = self._prepare(finds)
        with Embedded(home, regions=0) as stack:
            yield from _runtime(settings.from_stack(find_stack(stack.path)))

    def mark_done(self, report: dict[str, Any]) -> None:
        files.write(self.home / REPORT, json.dumps(report, indent=1).encode())
        (self.home / homes.RECOVERING).unlink(missing_ok=True)

    def _prepare(self, finds: Finds) -> Path:
        """Marked, its key store, its regions, its record key."""
        home = homes.prepare(self.home)
        mark = home.path / homes.RECOVERING
        if (home.path / "postgres").exists() and not mark.exists():
            raise control_restores.NotEmpty(
                f"There is a platform in {home.path} already. Name another --home; nothing was "
                "changed."
            )
        files.write(mark, b"A recovery was begun here and has not ended.\n")
        if self.wanted.key_store is not None:
            _copy_keys(self.wanted.key_store, home.path / "keys", finds)
        files.write(home.path / homes.REGIONS, json.dumps(self._regions(finds), indent=1).encode())
        if finds.signer is not None:
            files.write(home.path / "secrets" / homes.RECORD_KEY, finds.signer.seed.hex().encode())
        return home.path

    def _regions(self, finds: Finds) -> list[dict[str, Any]]:
        entries = []
        for values in recovery_finds.region_values(finds):
            if values["name"] in finds.stores:
                names = ("name", "endpoint", "bucket", "location", "role_arn")
                keys = self.wanted.credentials[values["name"]]
                secret = {name: keys[name] for name in ("access_key", "secret_key")}
                entries.append({**{name: values[name] for name in names}, **secret})
        return entries


@dataclass(frozen=True)
class _Production:
    """Database, key store and regions of one's own, as STRONGROOM_* say."""

    wanted: Wanted
    known: Settings

    def earlier(self) -> None:
        return None  # the database knows, and is asked once the regions were read

    def provider(self) -> KeyProvider | None:
        """Keys in a service outlive the machine; a folder of ours only if something is in it."""
        service = self.known.key_service
        if service.kind is Kind.LOCAL and not any(self.known.keys.glob("*.kek")):
            return None
        return choose(service, self.known.keys, clock.now)

    @contextmanager
    def platform(self, finds: Finds) -> Iterator[Runtime]:
        self._require_unused()
        known = replace(self.known, record_key=self._record_key(finds), regions=self._regions())
        if self.wanted.key_store is not None and known.key_service.kind is Kind.LOCAL:
            _copy_keys(self.wanted.key_store, known.keys, finds)
        yield from _runtime(known)

    def mark_done(self, report: dict[str, Any]) -> None:
        """It stands in the database."""

    def _require_unused(self) -> None:
        """Before a key or anything else is written."""
        runtime = parts.make_runtime(self.known)
        try:
            control_restores.progress(runtime.database.engine(Role.MIGRATOR))
        finally:
            runtime.database.close()
            runtime.app.close()

    def _regions(self) -> dict[str, Credentials]:
        given = {
            name: Credentials(keys["access_key"], keys["secret_key"])
            for name, keys in self.wanted.credentials.items()
        }
        return {**self.known.regions, **given}

    def _record_key(self, finds: Finds) -> str:
        """The one that the shares name: a new one would be believed by nobody who holds them."""
        have = self.known.record_key
        if finds.signer is None:
            if have:
                return have
            raise NoRecordKey(
                "No region has the record key, and STRONGROOM_RECORD_KEY is not set. Set it to 64 "
                "new hexadecimal digits; nothing was changed."
            )
        if have and Signer.from_text(have).public == finds.signer.public:
            return have
        if self.wanted.record_key_to is None:
            raise NoRecordKey(
                "STRONGROOM_RECORD_KEY is not the key that signed the records in the regions. Name "
                "a file with --record-key-to: the right one is written there, and "
                "STRONGROOM_RECORD_KEY_FILE has to name it when services start. Nothing was changed."
            )
        found = finds.signer.seed.hex()
        files.write(self.wanted.record_key_to, found.encode())
        return found


def _require_database(known: Settings) -> None:
    missing = [role for role in NEEDED if role not in known.databases]
    if missing:
        names = ", ".join(f"STRONGROOM_DATABASE_URL_{role.upper()}" for role in missing)
        raise BadValue(
            f"A recovery without --home works in the database that settings name, and needs "
            f"{names}. Set them, or their _FILE twins; nothing was changed.",
            code="no-database-url",
        )
    schema.require_roles(known.databases[Role.MIGRATOR])


def _runtime(known: Settings) -> Iterator[Runtime]:
    runtime = parts.make_runtime(known)
    try:
        yield runtime
    finally:
        runtime.database.close()
        runtime.app.close()


def _copy_keys(store: Path, to: Path, finds: Finds) -> None:
    """Those of destroyed tenants stay away."""
    files.make_private(to)
    for key in sorted(store.glob("*.kek")):
        if key.stem not in set(map(str, finds.tombstones)) and key.parent != to:
            files.write(to / key.name, key.read_bytes())
