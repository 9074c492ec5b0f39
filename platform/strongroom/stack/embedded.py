"""The whole embedded stack of one home: start, look after, stop.

Lock, PostgreSQL, Valkey, regions, `stack.json`, and then what the caller adds to `children`
(dispatcher, workers, web); stopped in reverse order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.stack import home as homes
from strongroom.stack import ports, quarters, seaweed
from strongroom.stack.children import Children, Service
from strongroom.stack.home import Home
from strongroom.stack.postgres import Postgres
from strongroom.stack.seaweed import Seaweed
from strongroom.stack.valkey import Valkey

MOST_REGIONS = 26  # named by letter


class RegionService(Service, Protocol):
    """One S3 region as a component of the stack."""

    def launch(self) -> None:
        """Begin to start, so that it gets on while others start."""
        ...

    def published(self) -> Mapping[str, str]:
        """What stack.json says about it: endpoint, bucket, location, role and root keys."""
        ...


RegionMaker = Callable[[Home, str], RegionService]  # home and the region's name


class Embedded:
    """The real components as children of this process; use it from the main thread."""

    def __init__(
        self,
        home: Path,
        *,
        regions: int = 2,
        make_region: RegionMaker | None = None,  # None: SeaweedFS
        account: str = quarters.DEFAULT_ACCOUNT,
    ) -> None:
        if not 0 <= regions <= MOST_REGIONS:  # none: for what needs no storage
            raise BadValue(f"Wanted {regions} regions; 0 to {MOST_REGIONS} are possible.")
        self.path = home
        self._names = region_names(regions)
        self._make_region = make_region or make_seaweed
        self._account = account
        self._undo = ExitStack()
        self._published: dict[str, Any] = {}

    def start(self) -> None:
        """Start all, or raise a StrongroomError and leave nothing running."""
        with ExitStack() as undo:
            self.home = homes.prepare(self.path)
            undo.enter_context(self.home.locked())
            undo.callback(self.home.withdraw)
            self.children = Children(self.home.logs)
            undo.callback(self.children.stop)
            self.postgres = Postgres(self.home, account=self._account)
            self.valkey = Valkey(self.home)
            self.home.secret(homes.RECORD_KEY, size=32)
            self.regions = outside(self.home) or [
                self._make_region(self.home, name) for name in self._names
            ]
            for region in self.regions:
                undo.callback(region.stop)
                region.launch()
            services: list[Service] = [self.postgres, self.valkey, *self.regions]
            for service in services:
                self.children.start(service)
            self.publish()
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """Stop all that runs, the last one first. Safe to call twice."""
        self._undo.close()

    def publish(self, **more: str) -> None:
        """Write stack.json; what is given, such as `web`, is added to what it said before."""
        self._published |= more
        self.home.publish(
            {
                "databases": {str(role): self._database(role) for role in Role},
                "postgres": self.postgres.published(),
                "broker": self.valkey.url,
                "regions": {region.name: region.published() for region in self.regions},
                **self._published,
            }
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _database(self, role: Role) -> str:
        """As SQLAlchemy wants it."""
        return self.postgres.url(role).replace("postgresql://", "postgresql+psycopg://", 1)


@dataclass(frozen=True)
class Outside:
    """A region that somebody else runs: nothing is started, nothing is stopped."""

    entry: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.entry["name"]

    def launch(self) -> None:
        return

    def start(self) -> None:
        return

    def stop(self) -> None:
        return

    def alive(self) -> bool:
        return True

    def published(self) -> Mapping[str, str]:
        return self.entry


def outside(home: Home) -> list[RegionService]:
    """The regions that the home's `regions.json` names, as stack.json would publish them."""
    path = home.path / homes.REGIONS
    if not path.exists():
        return []
    entries: list[dict[str, str]] = json.loads(path.read_text())
    return [Outside(entry) for entry in entries]


def make_seaweed(home: Home, name: str) -> Seaweed:
    """A region whose ports stay the same: its endpoint is written down in many places."""
    need = ports.Need(name, count=4, with_grpc=True, fixed=True)
    return Seaweed(
        home.path / "regions" / name,
        name=name,
        bucket=f"strongroom-{name}",
        ports=seaweed.Ports(*ports.reserve(home.ports, need)),
    )


def region_names(count: int) -> list[str]:
    """region-a, region-b, …"""
    return [f"region-{chr(ord('a') + number)}" for number in range(count)]
