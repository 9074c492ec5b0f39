"""A whole stack with one tenant of the demo: a database and a folder, backed up and proven.

standing      the stack for the length of a block
Stand         its address, the owner who signs in there, and the tenant's live data
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup.models import Finding, Healing, Point, Proof, Snapshot
from backup.planning import Order
from backup.states import Trigger
from strongroom.db import Role
from strongroom.people.rules import TenantRole
from strongroom.runtime import Runtime
from strongroom.stack import home as homes
from tenants import onboarding, sourcing
from tenants.models import Tenant
from tenants.onboarding import NewTenant
from tests.people.cast import People, Somebody
from tests.platform import stack_cast
from web import following
from web import stack as stacks
from web.demo import attachments, crm
from web.demo import customers as customer_server
from web.demo.fingerprint import Fingerprint
from web.demo.samples import DELTA
from web.demo.stage import DEMO
from web.demo.things import DatabaseThing, FolderThing
from web.output import Screen
from web.session import connect

SECONDS = 240.0
QUIET = Screen(as_json=True, quiet=True)


@dataclass(frozen=True)
class Stand:
    """A tenant with a database and a folder, and the pages over it."""

    origin: str
    platform: Runtime
    tenant: Tenant
    owner: Somebody
    second: Somebody  # another owner: approves
    viewer: Somebody
    database: DatabaseThing
    folder: FolderThing

    def back_up(self) -> Point:
        """A point in every region, each copy read back."""
        order = Order(Trigger.MANUAL, DEMO, self.platform.now())
        run = following.request(self.platform, self.tenant, order)
        asked = (self.platform, self.tenant, run)
        point = following.point_of(*asked, screen=QUIET, seconds=SECONDS)
        assert following.copies_of(*asked, screen=QUIET, seconds=SECONDS)
        return point

    def harm(self) -> list[str]:
        """What the platform has found wrong with what is stored: there is nothing wrong with it."""
        with self.platform.database.session(Role.OPERATOR, tenant=self.tenant.id) as session:
            proofs = session.query(Proof).filter(Proof.failure["code"].astext.is_not(None))
            lost = session.query(Snapshot).filter(Snapshot.lost_at.is_not(None))
            return [
                *(f"proof {each.level}: {each.failure}" for each in proofs),
                *(f"healing {each.state}: {each.failure}" for each in session.query(Healing)),
                *(f"finding {each.code}: {each.params}" for each in session.query(Finding)),
                *(f"lost {each.id}" for each in lost),
            ]

    def code(self, who: Somebody) -> str:
        """What the person's authenticator app shows now."""
        return who.code(self.platform.now())

    def fingerprints(self) -> tuple[Fingerprint, Fingerprint]:
        return self.database.fingerprint(), self.folder.fingerprint()


@contextmanager
def standing() -> Iterator[Stand]:
    with stack_cast.new_home(prefix="strongroom-browser-") as home:
        homes.prepare(home)
        (home / "demo").touch(mode=0o600)
        try:
            with stacks.running(stacks.Wanted(home)) as running, _connected(home) as platform:
                yield _stand(platform, running)
        finally:
            customer_server.clear(home)


@contextmanager
def _connected(home: Path) -> Iterator[Runtime]:
    platform = connect(home)
    try:
        yield platform
    finally:
        platform.database.close()
        platform.app.close()


def _stand(platform: Runtime, running: stacks.Running) -> Stand:
    customers = running.customers
    assert customers is not None
    database = DatabaseThing(
        DELTA, "crm", customers.make_database("delta_crm"), crm, customers, "crm"
    )
    folder = FolderThing(DELTA, "attachments", customers.files("delta"), attachments)
    new = NewTenant(
        slug=DELTA.slug,
        name=DELTA.name.arabic,
        plan=DELTA.plan,
        zone=DELTA.timezone,
        country=DELTA.country,
        locale=DELTA.locale,
    )
    tenant = onboarding.add(platform, new, by=DEMO)
    for thing in (database, folder):
        thing.create()
        sourcing.add(platform, tenant, thing.source(), by=DEMO)
    people = People(platform)
    stand = Stand(
        running.web,
        platform,
        tenant,
        people.member(tenant, TenantRole.OWNER),
        people.member(tenant, TenantRole.OWNER),
        people.member(tenant, TenantRole.VIEWER, app=False),
        database,
        folder,
    )
    stand.back_up()
    return stand
