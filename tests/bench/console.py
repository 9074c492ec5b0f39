"""Bar: the operators' pages, and what they cost to keep, with thousands of tenants behind them.

Each page is asked of the application itself, signed in, and answered whole: rights, rows, words. The
picture is taken as the upkeep takes it, and a dispatcher goes its rounds over the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.engine import make_url

from backup.models import Source
from strongroom import runtime
from strongroom.db import Role
from strongroom.dispatch import Dispatcher
from strongroom.ids import new_id
from strongroom.people.rules import StaffRole
from strongroom.runtime import Runtime
from strongroom.worker import make_app
from tenants import onboarding
from tenants.onboarding import NewTenant
from tests import catalogues, crowds
from tests.bench.apart import Apart, apart
from tests.bench.stand import BENCH, Stand
from tests.bench.usage import backends
from tests.people.cast import People, signed_in
from web import duties, picture, serve
from web.picture import Photographer

DATABASE = "bench_console"
WARM = 3
PICTURES = 5
MINUTE = 60  # rounds of the dispatcher, one a second
PAGES = (
    "/tenants",
    "/tenants?show=attention",
    "/tenants?page=50",
    "/tenants/customer-00042",
    "/days",
    "/days?days=90",
    "/days?days=90&page=50",
    "/days?days=90&by=plan",
    "/days?days=90&by=region",
    "/days?days=90&by=cause",
    "/days?days=90&plan=starter&cause=overdue",
)


@dataclass(frozen=True)
class Seen:
    """What was measured."""

    extent: crowds.Extent
    taken: dict[str, list[float]]  # seconds of wall time, by page
    picture: float  # seconds of CPU of one, ours and the server's
    every: float  # seconds between two of them, at most
    minute: float  # seconds of CPU of a minute of the dispatcher's rounds, the same
    seconds: dict[str, float]  # of making it all
    rows: dict[str, int]
    megabytes: dict[str, float]

    @property
    def bookkeeping(self) -> float:
        """Seconds of CPU a minute: the dispatcher's rounds and the pictures."""
        return self.minute + self.picture * MINUTE / self.every


def measure(stand: Stand, *, extent: crowds.Extent, rounds: int) -> Seen:
    with apart(stand, DATABASE) as base, _runtime(base.platform):
        rows, sizes = store(base, extent)
        costs = _costs(base)
        return Seen(
            extent=extent,
            taken=ask(base.platform, rounds),
            picture=costs[0],
            every=costs[1],
            minute=costs[2],
            seconds=base.seconds,
            rows=rows,
            megabytes=sizes,
        )


def store(base: Apart, extent: crowds.Extent) -> tuple[dict[str, int], dict[str, float]]:
    """All tenants, and the first picture of them."""
    model = _model(base.platform)
    with base.timed("tenants and what happened"), base.filling(crowds.TABLES) as session:
        crowds.gather(session, model, extent, base.platform.now())
    sizes = base.settled(crowds.TABLES)
    with base.timed("the first picture"):
        Photographer(base.platform).round()
    return sizes


def ask(platform: Runtime, rounds: int) -> dict[str, list[float]]:
    browser = signed_in(platform, People(platform).staff(StaffRole.OPERATOR)).client
    serve.settle()  # as the process of the pages is
    found: dict[str, list[float]] = {page: [] for page in PAGES}
    for number in range(-WARM, rounds):
        for page in PAGES:
            began = time.perf_counter()
            answer = browser.get(page)
            took = time.perf_counter() - began
            assert answer.status_code == 200, answer.text
            if number >= 0:
                found[page].append(took)
    return found


@contextmanager
def _runtime(platform: Runtime) -> Iterator[None]:
    """This process's, for planners that ask for settings."""
    runtime.use(platform)
    try:
        yield
    finally:
        runtime.use(None)


def _model(platform: Runtime) -> UUID:
    """One tenant by the product itself, with one point."""
    new = NewTenant("model", "Model", "starter", "Asia/Dubai", "AE", "en")
    tenant = onboarding.add(platform, new, by=BENCH).id
    source, now = new_id(), platform.now()
    with platform.database.session(Role.OPERATOR, tenant=tenant) as session:
        row = Source(id=source, kind="directory", name="files", options={}, added_at=now)
        row.tenant_id = tenant
        session.add(row)
        session.flush()
        few = catalogues.Extent(10, 1, 1, 1, 1, 1)
        catalogues.history(session, tenant, source, few, now - timedelta(minutes=10))
    return tenant


def _costs(base: Apart) -> tuple[float, float, float]:
    """CPU of a picture, how long it rests after one, and CPU of a minute of the dispatcher."""
    photographer = Photographer(base.platform)
    began = time.monotonic()
    pictures = _cpu(base, lambda: [photographer.round() for _ in range(PICTURES)]) / PICTURES
    wall = (time.monotonic() - began) / PICTURES
    every = wall + picture.rest(wall)
    return pictures, every, _cpu(base, _minute(base.platform))


def _minute(platform: Runtime) -> Callable[[], None]:
    """A second round by round, as if it went by; the first one, which has most to do, before."""
    nobodys = make_url(platform.settings.broker).set(database="15")  # no worker listens there
    going = Dispatcher(
        database=platform.database,
        app=make_app(nobodys.render_as_string(hide_password=False)),
        dues=duties.DUES,
        planners=duties.PLANNERS,
        started=platform.now(),
    )
    began = platform.now()
    going.round(began)

    def go() -> None:
        for second in range(1, MINUTE + 1):
            going.round(began + timedelta(seconds=second))

    return go


def _cpu(base: Apart, act: Callable[[], object]) -> float:
    """Seconds that it takes of ours, and of the server's processes of this database."""
    before = time.process_time() + backends(base.name)
    act()
    return time.process_time() + backends(base.name) - before
