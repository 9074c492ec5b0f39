"""A company that loses its machine: regions of its own that stay, homes that come and go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strongroom import runtime as runtimes
from strongroom import schema, settings
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.stack import files, ports, quarters, seaweed
from strongroom.stack import home as homes
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import find_stack
from strongroom.stack.seaweed import Seaweed
from tests.backup.vaults import A, B
from tests.cast import ADA, FakeClock
from tests.web.command_line import Said, run
from web import parts
from web.ceremony import Wanted, create
from web.models import METADATA
from web.stack import register
from web.upkeep import Upkeep


@dataclass(frozen=True)
class Company:
    """Two regions that nobody loses, and a place for everything else."""

    place: Path
    regions: tuple[Seaweed, ...]
    clock: FakeClock = field(default_factory=FakeClock)

    @contextmanager
    def platform(self, name: str) -> Iterator[Runtime]:
        """The platform of this home, without dispatcher and workers."""
        path = self.place / name
        homes.prepare(path)
        if not (path / homes.REGIONS).exists():
            entries = [dict(region.published()) for region in self.regions]
            files.write(path / homes.REGIONS, json.dumps(entries).encode())
        with Embedded(path, regions=0) as stack:
            known = settings.from_stack(find_stack(stack.path))
            schema.upgrade(known.databases[Role.MIGRATOR], METADATA)
            register(known, stack)
            made = replace(parts.make_runtime(known), clock=self.clock)
            runtimes.use(made)
            try:
                yield made
            finally:
                runtimes.use(None)
                made.database.close()
                made.app.close()

    def ceremony(self, runtime: Runtime, *, shares: int = 5, threshold: int = 3) -> list[Path]:
        return list(create(runtime, Wanted(shares, threshold, self.place / "shares"), by=ADA).files)

    def lose(self, name: str) -> None:
        """The machine, with all that was on it."""
        quarters.clear(self.place / name / "postgres")
        shutil.rmtree(self.place / name)

    def recover(self, name: str, *more: str | Path) -> Said:
        """By the command, into a home that is not there."""
        return run(*self.words(name), *more, "--json")

    def words(self, name: str) -> list[str | Path]:
        keys = self.place / "region-keys.json"
        published = {region.name: dict(region.published()) for region in self.regions}
        keys.write_text(json.dumps(published))
        words: list[str | Path] = ["recover", "--from-buckets", "--region-keys", keys]
        for region in self.regions:
            words += ["--region", f"{region.name}={region.region.endpoint}/{region.region.bucket}"]
        return [*words, "--home", self.place / name]


@contextmanager
def company(place: Path) -> Iterator[Company]:
    """With servers that run as long as the block."""
    files.make_private(place)
    servers = tuple(
        Seaweed(
            place / "regions" / name,
            name=name,
            bucket=f"kept-{name}",
            ports=seaweed.Ports(
                *ports.reserve(place / "ports.json", ports.Need(name, count=4, with_grpc=True))
            ),
        )
        for name in (A, B)
    )
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.start()
        yield Company(place, servers)
    finally:
        for server in servers:
            server.stop()
        for pointer in list(place.rglob(quarters.POINTER)):
            quarters.clear(pointer.parent)


def upkeep(runtime: Runtime) -> None:
    """One round of it."""
    Upkeep(runtime).round()


def given(files: list[Path]) -> list[Any]:
    """As options of a command."""
    return [word for file in files for word in ("--share", file)]
