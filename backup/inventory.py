"""What lies in a repository, versions and all, and what of it is not what its name says.

restic names packs, indexes, snapshots and key files by the SHA-256 of their bytes, so that reading
one tells whether it is whole, without any key. Only `config` has to be opened for that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from backup import keyfile, sealing
from backup.acts import Pair
from backup.repositories import Site
from backup.sealing import SealKey
from strongroom.storage import Missing, Store, Version

CONFIG = "config"
NAMED = re.compile(r"(?:(?:keys|index|snapshots)/|data/[0-9a-f]{2}/)([0-9a-f]{64})")

Versions = Sequence[Version]


@dataclass(frozen=True)
class Inventory:
    """All object versions below a repository's prefix, by key relative to it, newest first."""

    versions: dict[str, list[Version]]
    recorded: AbstractSet[Pair]  # what acts of ours made noncurrent

    def current(self, key: str) -> Version | None:
        """What a plain reader gets; None when it is deleted or was never there."""
        newest = self.versions.get(key, [None])[0]
        return None if newest is None or newest.marker else newest

    def here(self, folder: str) -> list[str]:
        """Keys of the objects that plain readers see in a folder, which ends in "/"."""
        return [key for key in self.versions if key.startswith(folder) and self.current(key)]

    def beneath(self, key: str) -> list[Version]:
        """Contents that lie below what is current, newest first."""
        return [each for each in self.versions.get(key, []) if not each.latest and not each.marker]

    def is_known(self, version: Version) -> bool:
        return (version.key, version.version_id) in self.recorded

    def deleted_by_strangers(self, folder: str) -> list[str]:
        """Keys whose newest version is a delete marker that no act of ours made."""
        return [
            key
            for key, versions in self.versions.items()
            if key.startswith(folder) and versions[0].marker and not self.is_known(versions[0])
        ]

    def overwritten(self, folder: str) -> list[str]:
        """Keys with content beneath the current one that no act of ours explains."""
        return [
            key
            for key in self.here(folder)
            if any(not self.is_known(each) for each in self.beneath(key))
        ]

    def without(self, pairs: Collection[Pair]) -> Inventory:
        """The same once these versions are gone: what lies beneath comes to the top. Pure."""
        left = {
            key: [each for each in versions if (each.key, each.version_id) not in pairs]
            for key, versions in self.versions.items()
        }
        return Inventory(
            {key: [replace(some[0], latest=True), *some[1:]] for key, some in left.items() if some},
            self.recorded,
        )


def of(versions: Iterable[Version], prefix: str, recorded: AbstractSet[Pair]) -> Inventory:
    """Pure. Locks are left out: nobody needs what they were."""
    by_key: dict[str, list[Version]] = {}
    for version in versions:
        key = version.key.removeprefix(prefix)
        if not key.startswith("locks/"):
            by_key.setdefault(key, []).append(version)
    for found in by_key.values():
        found.sort(key=lambda each: (each.latest, each.modified), reverse=True)
    return Inventory(by_key, recorded)


@dataclass
class Reader:
    """Reads objects of a repository, and says whether they are whole."""

    site: Site
    store: Store  # may read old versions too
    bytes_read: int = 0
    _master: SealKey | None = None

    def fingerprint(self, key: str) -> str | None:
        """SHA-256 of what a plain reader gets; None when there is nothing."""
        digest = hashlib.sha256()
        try:
            for piece in self.store.stream(self.site.prefix + key):
                digest.update(piece)
                self.bytes_read += len(piece)
        except Missing:
            return None
        return digest.hexdigest()

    def is_whole(self, key: str) -> bool:
        """Whether what lies there now is what it should be."""
        if key == CONFIG:
            try:
                return self.opens(self.store.get(self.site.prefix + CONFIG))
            except Missing:
                return False
        return self.fingerprint(key) == name_of(key)

    def good_version(self, key: str, versions: Versions) -> bytes | None:
        """The newest of these versions that is whole."""
        for version in versions:
            try:
                data = self.store.get_version(version.key, version.version_id)
            except Missing:
                continue
            self.bytes_read += len(data)
            if self.opens(data) if key == CONFIG else sha256(data) == name_of(key):
                return data
        return None

    def opens(self, config: bytes) -> bool:
        """Whether these bytes are a config of this repository."""
        try:
            sealing.unseal(self.master(), config)
        except (sealing.Unsealable, Missing):
            return False
        return True

    def master(self) -> SealKey:
        """The key that everything here is sealed with. Raises Missing or Unsealable."""
        if self._master is None:
            text = self.store.get(f"{self.site.prefix}keys/{self.site.row.key_hint}")
            self._master = keyfile.unlock(text, self.site.password)
        return self._master


def name_of(key: str) -> str | None:
    """The SHA-256 that an object is named by; None for what restic does not name so."""
    found = NAMED.fullmatch(key)
    return found[1] if found else None


def key_of_pack(name: str) -> str:
    return f"data/{name[:2]}/{name}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
