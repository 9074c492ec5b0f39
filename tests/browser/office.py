"""A tenant with one folder, and the pages served from the test's own process: cheaper than a stack.

Workers there are none: what the pages ask for is carried out by the test, when it wants it done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backup.models import Point, Source
from restore import restoring
from restore.delivery import making
from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState
from restore.models import Restore
from restore.states import RestoreState
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.browser.window import Window
from tests.cast import rows_of
from tests.people.cast import People, Somebody, token_for
from tests.restore.delivering import listed


@dataclass(frozen=True)
class Office:
    """What a browser looks at here."""

    runtime: Runtime
    tenant: Tenant
    origin: str
    folder: Path
    source: Source
    point: Point
    owner: Somebody

    @property
    def browse(self) -> str:
        return f"/t/{self.tenant.slug}/points/{self.point.number}/sources/{self.source.id}/"

    def enter(self, window: Window, who: Somebody | None = None) -> None:
        """With a whole session, without the pages of signing in."""
        token = token_for(self.runtime, who or self.owner)
        cookie = {"name": "strongroom", "value": token, "url": self.origin}
        window.page.context.add_cookies([cookie])

    def work(self) -> None:
        """All that the pages have asked for."""
        for row in rows_of(self.runtime, self.tenant, Restore):
            if row.state is RestoreState.WAITING:
                restoring.carry_out(self.runtime, self.tenant.id, row.id)
        for row in rows_of(self.runtime, self.tenant, Delivery):
            if row.state is DeliveryState.WAITING:
                making.carry_out(self.runtime, self.tenant.id, row.id)


def office(runtime: Runtime, tenant: Tenant, origin: str, folder: Path) -> Office:
    cast.fill(folder)
    source = cast.add_folder(runtime, tenant, folder)
    owner = People(runtime).member(tenant, TenantRole.OWNER)
    return Office(runtime, tenant, origin, folder, source, listed(runtime, tenant), owner)
