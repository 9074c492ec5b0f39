"""The kinds of source there are; a new kind is a module and a line in each function here.

A source is a frozen dataclass of its own words. Its options are stored as JSON; its password is
not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backup.sources import allowance, directory, postgres
from backup.sources.allowance import Allowance
from backup.sources.connection import Access
from backup.sources.directory import Directory, DirectoryFound
from backup.sources.postgres import Postgres, PostgresFound
from strongroom import hosts
from strongroom.errors import BadValue

Source = Directory | Postgres
Found = DirectoryFound | PostgresFound

KINDS: Mapping[str, Callable[[Mapping[str, object]], Source]] = {
    directory.KIND: directory.parse,
    postgres.KIND: postgres.parse,
}


@dataclass(frozen=True)
class Named:
    """What a source names of the outside world, for the allow-list: a folder or a host."""

    folder: Path | None = None
    host: tuple[str, int] | None = None  # name and port


def parse(kind: str, options: Mapping[str, object]) -> Source:
    """Raises BadValue for an unknown kind or an option that makes no sense; looks at nothing."""
    reader = KINDS.get(kind)
    if reader is None:
        raise BadValue(f"There is no kind of source {kind!r}. Kinds: {', '.join(KINDS)}.")
    return reader(options)


def named(source: Source) -> Named:
    if isinstance(source, Directory):
        return Named(folder=source.path)
    return Named(host=(source.host, source.port))


def admit(source: Source, allowed: Allowance, *, password: bytes | None = None) -> Access:
    """Raises Refused for what is not on the list; gives back how it may be reached, for this run.

    To be asked before every look and every run: names and links change.
    """
    if isinstance(source, Directory):
        return Access(folder=allowance.allowed_folder(source.path, allowed.roots))
    return Access(password, hosts.pin(source.host, source.port, allowed.hosts))


def listing(source: Source) -> Allowance:
    """What an operator allows by adding this source."""
    if isinstance(source, Directory):
        return Allowance(roots=(allowance.resolved(source.path),))
    return Allowance(hosts=hosts.rules_for(source.host, source.port))


def check(source: Source, access: Access, *, home: Path) -> Found:
    """Look at it now. Raises what is wrong; changes nothing."""
    if isinstance(source, Directory):
        return directory.check(source, home=home, folder=access.folder)
    return postgres.check(source, access)
