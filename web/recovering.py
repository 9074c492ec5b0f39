"""`strongroom recover`: from the buckets, and what opens them, back to a working platform.

    regions ─▶ record key ─▶ newest whole dump ─▶ restored in one transaction ─▶ migrated
      ─▶ tombstones ─▶ regions ─▶ keys ─▶ records (what was founded since) ─▶ snapshots adopted
      ─▶ leases cleared, runs ended, schedules from now ─▶ a finding that keeps everything ─▶ done

Nothing in the buckets is forgotten or deleted; the only rows that go are those of tenants with a
tombstone. Nothing of the platform starts before the last step, each of which may be repeated: killed
anywhere, the same command goes on and ends the same.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

import structlog
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from backup import adopting, calming, findings, key_records
from backup.findings import Sight
from backup.models import BackupRun, Point, Repository
from restore import calming as restores
from restore.models import Restore
from strongroom import control_restores, records, rescue, schema
from strongroom.audit import entries, keys, mending, sequencing
from strongroom.audit.entries import Deed, Entry
from strongroom.buried import Tombstone
from strongroom.control_restores import Progress
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.escrow import EscrowKey
from strongroom.ids import new_id
from strongroom.regions import Region, RegionState
from strongroom.rescue import Opened
from strongroom.runtime import Runtime
from strongroom.storage import Missing
from tenants import plans, rebuilding
from tenants import records as tenant_records
from tenants.models import Tenant
from tenants.rebuilding import Tools
from web import duties, recovery_finds, recovery_places
from web.models import METADATA
from web.recovery_finds import Finds, Wanted
from web.upkeep import all_tenants

RECOVERED = "recovered"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TEMPORARY = "do $$ begin execute format('grant temporary on database %I to worker', current_database()); end $$"

Say = Callable[[str], None]
log = structlog.get_logger(__name__)


@dataclass
class Report:
    """What came of it."""

    dump: str | None = None  # the dump that was restored; None: built from records alone
    dumped_at: str | None = None
    dry_run: bool = False
    already: bool = False  # recovered earlier; nothing was done now
    tenants: int = 0
    rebuilt: list[str] = field(default_factory=list)  # tenants that no dump knew
    buried: list[str] = field(default_factory=list)  # destroyed ones that stay destroyed
    repositories: int = 0
    founded_since: int = 0  # repositories that no dump knew
    points_known: int = 0
    points_adopted: int = 0
    copies_adopted: int = 0
    points_gone: int = 0
    work_ended: int = 0  # runs, restores and other work that the dump believed in
    opened_by_key_store: int = 0
    opened_by_escrow: int = 0
    closed: list[str] = field(default_factory=list)  # secrets that nothing at hand opens
    strangers: list[str] = field(default_factory=list)  # snapshots that nobody of us made
    away: list[str] = field(default_factory=list)  # regions, or repositories there, not read
    odd: list[str] = field(default_factory=list)  # refused records, damaged dumps
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.closed or self.away or self.strangers or self.points_gone)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def recover(wanted: Wanted, *, say: Say) -> Report:
    """All of it. Raises before anything is changed what `recovery_finds.look` raises, and Refused
    for a home or database in which there is a platform."""
    began = time.monotonic()
    place = recovery_places.place_of(wanted)
    earlier = place.earlier()
    if earlier is not None:
        return Report(**{**earlier, "already": True})
    with tempfile.TemporaryFile() as file:
        say("Reading the regions …")
        finds = recovery_finds.look(wanted, file, place.provider())
        say(_found(finds))
        if wanted.dry_run:
            report = _foretold(finds)
        else:
            with place.platform(finds) as runtime:
                report = Recovery(runtime, finds, say, began).run(file)
            place.mark_done(report.to_json())
    return report


class Recovery:
    """The steps, on a database that only we use."""

    def __init__(self, runtime: Runtime, finds: Finds, say: Say, began: float) -> None:
        self._runtime = runtime
        self._finds = finds
        self._say = say
        self._began = began  # on the monotonic clock
        self._engine = runtime.database.engine(Role.MIGRATOR)
        self._opened = Opened()
        self._report = Report(odd=list(finds.odd), away=list(finds.away))

    def run(self, file: IO[bytes]) -> Report:
        found = control_restores.progress(self._engine)
        if found is not None and found.finished_at is not None:
            return Report(**{**(found.report or {}), "already": True})
        began = self._restore(found, file)
        self._bury()
        self._ground()
        self._records()
        self._keys()
        for tenant in self._tenants():
            self._tenant(tenant, began)
        self._record()
        self._count()
        report = self._report
        report.opened_by_key_store = self._opened.by_key_store
        report.opened_by_escrow = self._opened.by_escrow
        report.closed = self._opened.closed
        report.seconds = round(time.monotonic() - self._began, 1)
        document = json.dumps(report.to_json())
        control_restores.finish(self._engine, document, now=self._runtime.now())
        return report

    def _restore(self, found: Progress | None, file: IO[bytes]) -> Progress:
        """The dump, in one transaction; a killed try left all of it or nothing."""
        runtime, dump = self._runtime, self._finds.dump
        url = runtime.settings.databases[Role.MIGRATOR]
        if found is None or not found.restored:
            control_restores.begin(
                self._engine,
                dump=None if dump is None else dump.key,
                dumped_at=None if dump is None else dump.made_at,
                now=runtime.now(),
            )
            if dump is not None:
                self._say(f"Restoring {dump.key} …")
                control_restores.restore(file, url, self._finds.opener)
        schema.upgrade(url, METADATA)
        with self._engine.begin() as line:
            line.execute(text(TEMPORARY))
        now = control_restores.progress(self._engine)
        assert now is not None
        self._report.dump = now.dump
        self._report.dumped_at = None if now.dumped_at is None else now.dumped_at.isoformat()
        return now

    def _bury(self) -> None:
        """Before anything else: who was destroyed does not come back."""
        with self._runtime.database.session(Role.OPERATOR) as session:
            for tenant, at in self._finds.tombstones.items():
                session.execute(
                    insert(Tombstone).values(id=tenant, destroyed_at=at).on_conflict_do_nothing()
                )
            session.flush()
            buried = set(session.execute(select(Tombstone.id)).scalars())
        for tenant in sorted(buried):
            _purge(self._engine, tenant)
            (self._runtime.settings.keys / f"{tenant}.kek").unlink(missing_ok=True)
        self._finds.tenants -= buried
        self._report.buried = sorted(map(str, buried))

    def _ground(self) -> None:
        """What tenants stand on: regions, escrow keys, plans, the register of dumps."""
        finds, now = self._finds, self._runtime.now()
        with self._runtime.database.session(Role.OPERATOR) as session:
            for values in recovery_finds.region_values(finds):
                reached = {name: values[name] for name in ("endpoint", "bucket")}
                new = {"id": new_id(), "state": RegionState.OPEN, "created_at": now}
                statement = insert(Region).values(**new, **values)
                if values["name"] in finds.stores:
                    statement = statement.on_conflict_do_update(
                        index_elements=["name"], set_=reached
                    )
                else:
                    statement = statement.on_conflict_do_nothing()
                session.execute(statement)
            for key in finds.platform.escrow_keys if finds.platform else ():
                if session.get(EscrowKey, key.id) is None:
                    session.add(key)
            if not plans.newest(session):
                plans.apply(session, plans.read(plans.SHIPPED), now=now)
            session.flush()
            rows = session.execute(select(Region.name, Region.id))
            regions = {row.name: row.id for row in rows}
            control_restores.register(session, finds.candidates, regions)
        self._regions = regions

    def _records(self) -> None:
        """What was founded since the dump, and keys that were changed since."""
        for tenant in sorted(self._finds.tenants):
            try:
                self._records_of(tenant)
            except StrongroomError as error:
                log.error("a tenant's records cannot be used", tenant=str(tenant))
                self._report.odd.append(f"tenant {tenant}: {error.message}")

    def _records_of(self, tenant: UUID) -> None:
        tools = self._tools()
        with self._runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            body = self._newest_record(tenant)
            if body is None and session.get(Tenant, tenant) is None:
                self._report.odd.append(f"tenant {tenant}: no record and no row; its data stays")
                return
            if body is not None and rebuilding.tenant(session, body, tools):
                self._report.rebuilt.append(str(body["slug"]))
            session.flush()
            for store in self._reachable():
                for repository in recovery_finds.records_of(store, tenant):
                    try:
                        found = key_records.read(
                            *(store, tenant, repository),
                            kind=key_records.KIND,
                            trusted=self._finds.trusted,
                        )
                        new = rebuilding.repository(session, found, tools)
                        self._report.founded_since += new
                    except records.RecordRefused as error:
                        self._report.odd.append(f"{store.region.name}: {error.message}")
            rebuilding.settle_epochs(session, tenant, tools)

    def _newest_record(self, tenant: UUID) -> dict[str, Any] | None:
        found = []
        for store in self._reachable():
            try:
                body = key_records.read(
                    *(store, tenant, tenant),
                    kind=tenant_records.KIND,
                    trusted=self._finds.trusted,
                )
                found.append(body)
            except Missing:
                continue
            except records.RecordRefused as error:
                self._report.odd.append(f"{store.region.name}: {error.message}")
        return max(found, key=lambda body: (body["made_at"], body["serial"]), default=None)

    def _keys(self) -> None:
        """Whatever the key store of now does not open, the escrow wraps do."""
        runtime = self._runtime
        for tenant in self._tenants():
            with runtime.database.session(Role.WORKER, tenant=tenant) as session:
                rescue.rewrap(
                    *(session, runtime.vault, tenant, self._finds.opener, self._opened),
                    now=runtime.now(),
                )

    def _tenant(self, tenant: UUID, began: Progress) -> None:
        runtime, report = self._runtime, self._report
        found = adopting.adopt(runtime, tenant, since=began.dumped_at or LONG_AGO)
        report.points_adopted += found.points
        report.copies_adopted += found.copies
        report.points_gone += found.gone
        report.strangers += found.strangers
        report.away += [f"{region} of tenant {tenant}" for region in found.closed]
        now = runtime.now()
        with runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            report.work_ended += calming.calm(session, tenant, _kinds(), now=now)
            report.work_ended += restores.end_all(session, tenant, now=now)
            calming.resume_schedules(session, tenant, now=now)
            sight = Sight(
                code=RECOVERED,
                subject=began.began_at.isoformat(),
                params={
                    "adopted": found.points,
                    "gone": found.gone,
                    "strangers": len(found.strangers),
                    "unread": sorted(found.closed),
                    "dumped_at": self._report.dumped_at,
                },
                freezes=True,
            )
            findings.see(session, tenant, sight, now=now)

    def _count(self) -> None:
        with self._runtime.database.session(Role.OPERATOR) as session:
            for name, kind in (("tenants", Tenant), ("repositories", Repository)):
                rows = session.execute(select(kind.id)).scalars().all()
                setattr(self._report, name, len(rows))
            points = session.execute(select(Point.id)).scalars().all()
        self._report.points_known = len(points)

    def _tenants(self) -> list[UUID]:
        with self._runtime.database.session(Role.OPERATOR) as session:
            return list(all_tenants(session))

    def _record(self) -> None:
        """The log goes on from what the regions have of it, and has this recovery in it."""
        runtime = self._runtime
        try:
            places = sequencing.all_places(runtime)
            keys.seal_again(runtime, places, self._finds.opener)
            mending.mend(runtime, by=adopting.RECOVERY)
        except StrongroomError as error:  # `status` says so until somebody mends it
            log.error("the record does not go on yet", code=error.code, error=error.message)
        with runtime.database.session(Role.OPERATOR) as session:
            deed = Deed("platform.recovered")
            entries.note(session, deed, by=adopting.RECOVERY, at=runtime.now())

    def _reachable(self) -> list[Any]:
        stores = self._finds.stores
        return [store for name, store in stores.items() if name not in self._finds.away]

    def _tools(self) -> Tools:
        return Tools(
            vault=self._runtime.vault,
            opener=self._finds.opener,
            counted=self._opened,
            by=adopting.RECOVERY,
            now=self._runtime.now(),
            regions=self._regions,
        )


def _kinds() -> list[Any]:
    """The models of work that wait again."""
    return [due.kind for due in duties.DUES if due.leased and due.kind not in (BackupRun, Restore)]


def _purge(engine: Any, tenant: UUID) -> None:
    """Every row of a destroyed tenant; as the owner of the tables, in one transaction."""
    tables = [table for table in METADATA.sorted_tables if "tenant_id" in table.columns]
    with engine.begin() as line:
        known = METADATA.tables["tenants"]
        names = [table.name for table in tables] + [known.name]
        for name in names:
            line.execute(text(f'alter table "{name}" no force row level security'))
        for table in reversed(tables):
            of_it = table.c.tenant_id == tenant
            if table.name == Entry.__tablename__:  # the log stays whole; what names anybody goes
                line.execute(table.update().where(of_it).values(salt=None, details=None))
            else:
                line.execute(table.delete().where(of_it))
        line.execute(known.delete().where(known.c.id == tenant))
        for name in names:
            line.execute(text(f'alter table "{name}" force row level security'))


def _foretold(finds: Finds) -> Report:
    dump = finds.dump
    return Report(
        dump=None if dump is None else dump.key,
        dumped_at=None if dump is None else dump.made_at.isoformat(),
        dry_run=True,
        tenants=len(finds.tenants - set(finds.tombstones)),
        buried=sorted(map(str, finds.tombstones)),
        away=finds.away,
        odd=finds.odd,
    )


def _found(finds: Finds) -> str:
    dump = finds.dump
    what = (
        "no dump of the control database that is whole: everything is built from the records"
        if dump is None
        else f"a dump of {dump.made_at:%Y-%m-%d %H:%M} UTC in {dump.region}"
    )
    lines = [f"Found {len(finds.tenants)} tenants, and {what}."]
    lines += [f"Not used: {each}" for each in finds.odd]
    lines += [f"Away: region {each}" for each in finds.away]
    return "\n".join(lines)
