"""How the tests of deliveries ask for one, have it made, and read what lies ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, update

from backup import contents
from backup.models import Point, Source
from restore.delivery import asking, ending, making, serving, shipping
from restore.delivery.asking import Asker, Wish
from restore.delivery.models import Delivery
from restore.delivery.ranges import Span
from restore.delivery.serving import Artefact, Serving
from restore.delivery.states import DeliveryState, Kind
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from strongroom.storage import Store, Version
from tenants.models import Tenant
from tests.backup.vaults import A, vault
from tests.restore.asking import stored


def somebody() -> Asker:
    account = new_id()
    return Asker(account, new_id(), Actor.of_person(account), "192.0.2.7")


def listed(runtime: Runtime, tenant: Tenant) -> Point:
    """A point in one region, and what is in it on record."""
    point = stored(runtime, tenant)
    contents.record(runtime, tenant.id)
    return point


@dataclass(frozen=True)
class Counter:
    """Where one person asks for things of a tenant."""

    runtime: Runtime
    tenant: Tenant
    asker: Asker = field(default_factory=somebody)

    def choose(
        self, point: Point, source: Source, *paths: str, tables: Sequence[str] = ()
    ) -> Delivery:
        """Proposed."""
        wish = Wish(point.number, source.id, paths, tuple(tables))
        with self._web() as session:
            now = self.runtime.now()
            return asking.propose(session, self.tenant.id, wish, self.asker, at=now)

    def confirm(self, row: Delivery, kind: Kind | None = None) -> Delivery:
        with self._web() as session:
            found = session.get_one(Delivery, row.id)
            asking.confirm(session, found, kind or row.kind, self.asker, at=self.runtime.now())
            return found

    def look(
        self, point: Point, source: Source, *paths: str, tables: Sequence[str] = ()
    ) -> Delivery:
        wish = Wish(point.number, source.id, paths, tuple(tables))
        with self._web() as session:
            now = self.runtime.now()
            return asking.look(session, self.tenant.id, wish, self.asker, at=now)

    def make(self, row: Delivery) -> Delivery:
        """As a worker does it; however it ended."""
        making.carry_out(self.runtime, row.tenant_id, row.id)
        return self.current(row)

    def ready(self, row: Delivery) -> Delivery:
        made = self.make(row)
        assert made.state is DeliveryState.READY, (made.state, made.failure)
        return made

    def download(self, *chosen: Any, kind: Kind | None = None, **more: Any) -> Delivery:
        """Chosen, confirmed and made."""
        return self.ready(self.confirm(self.choose(*chosen, **more), kind))

    def looked(self, *chosen: Any, **more: Any) -> Delivery:
        return self.ready(self.look(*chosen, **more))

    def redeem(self, row: Delivery, asker: Asker | None = None) -> str:
        with self._web() as session:
            found = session.get_one(Delivery, row.id)
            now = self.runtime.now()
            return serving.redeem(session, found, asker or self.asker, at=now)

    def take_back(self, row: Delivery) -> Delivery:
        with self._web() as session:
            found = session.get_one(Delivery, row.id)
            asking.take_back(session, found, self.asker, at=self.runtime.now())
            return found

    def current(self, row: Delivery) -> Delivery:
        with self._web() as session:
            return session.get_one(Delivery, row.id)

    def artefact(self, row: Delivery) -> Artefact:
        return serving.opened(self.runtime, self.current(row))

    def content(self, row: Delivery) -> bytes:
        """All of it, without any link."""
        return self.artefact(row).whole()

    def serving(self, row: Delivery, may: Any = lambda: True) -> Serving:
        now = self.current(row)
        return Serving(self.runtime, now, self.asker, serving.opened(self.runtime, now), may)

    def fetch(self, row: Delivery, first: int = 0, last: int | None = None) -> bytes:
        assert row.size is not None
        end = row.size - 1 if last is None else last
        return b"".join(self.serving(row).send(Span(first, end)))

    def end(self, row: Delivery) -> Delivery:
        """As a worker does it when it falls due; nobody may write there any more."""
        with self.runtime.database.session(Role.WORKER, tenant=row.tenant_id) as session:
            past = func.clock_timestamp() - timedelta(seconds=1)
            session.execute(
                update(Delivery)
                .where(Delivery.id == row.id, Delivery.write_until.is_not(None))
                .values(write_until=past)
            )
        ending.carry_out(self.runtime, row.tenant_id, row.id)
        return self.current(row)

    def lying(self, region: str = A) -> list[Version]:
        """What lies in the region of all deliveries of the tenant, for who sees everything."""
        return list(self.store(region).versions(shipping.prefix_of(self.tenant.id)))

    def store(self, region: str = A) -> Store:
        return vault(self.runtime, self.tenant, region).store

    def _web(self) -> Any:
        return self.runtime.database.session(Role.WEB, tenant=self.tenant.id)
