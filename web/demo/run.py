"""`strongroom demo`: the main job from nothing to a proven restore, on three sample tenants."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backup.models import Point
from backup.planning import Order
from backup.states import Trigger
from restore import requests
from restore.models import Restore
from restore.states import Destination, RestoreState
from restore.wishes import Wish
from strongroom import program
from strongroom.db import Role
from strongroom.errors import Refused, StrongroomError
from strongroom.program import Command
from strongroom.stack import home as homes
from strongroom.stack import quarters
from tenants import exit_kit, onboarding, sourcing
from tenants.onboarding import NewTenant
from web import following
from web import stack as stacks
from web.demo import customers as customer_server
from web.demo import fingerprint, people, things, troubles
from web.demo.fingerprint import Fingerprint
from web.demo.stage import DEMO, PATIENCE, Demo, Key
from web.demo.steps import Record, Seen, require
from web.demo.things import DatabaseThing, FolderThing, Thing
from web.output import Screen, size
from web.session import connect


def run(home: Path, screen: Screen) -> Record:
    """Every step in turn; raises what the failing one raised, with the record complete up to it."""
    record = Record(screen.say)
    clear(home)
    homes.prepare(home)
    (home / "demo").touch(mode=0o600)
    with stacks.running(stacks.Wanted(home)) as running:
        demo = Demo(home, screen, record, connect(home), running)
        try:
            for name, act in STEPS:
                record.step(name, lambda act=act: act(demo))  # type: ignore[misc]
        except StrongroomError:
            return record
    return record


def clear(home: Path) -> None:
    """Make room: remove an earlier demo in this home. Raises Refused for any other home."""
    if not home.exists() or not any(home.iterdir()):
        customer_server.clear(home)
        return
    if not (home / "demo").exists():
        raise Refused(
            f"{home} is the home of a stack that is no demo, so it is left alone. Name another "
            "folder with --home."
        )
    try:
        homes.find_stack(home)
    except homes.NotRunning:
        quarters.clear(home / "postgres")
        shutil.rmtree(home)
        customer_server.clear(home)
        return
    raise Refused(f"The demo in {home} is running. Stop it first, or name another --home.")


def make_data(demo: Demo) -> Seen:
    server = demo.running.customers
    assert server is not None  # a demo home has one
    demo.things = things.all_of(server)
    made = [thing.create() for thing in demo.things]
    demo.before = _fingerprints(demo)
    rows, files = sum(each.rows for each in made), sum(each.files for each in made)
    return Seen(
        f"3 tenants: {rows:,} rows in 3 databases, {files:,} files",
        bytes=sum(each.bytes for each in made),
    )


def add_tenants(demo: Demo) -> Seen:
    for thing in demo.things:
        sample = thing.sample
        if sample.slug not in demo.tenants:
            new = NewTenant(
                slug=sample.slug,
                name=sample.name.arabic,
                plan=sample.plan,
                zone=sample.timezone,
                country=sample.country,
                locale=sample.locale,
                pack=sample.pack,
            )
            demo.tenants[sample.slug] = onboarding.add(demo.platform, new, by=DEMO)
        sourcing.add(demo.platform, demo.tenants[sample.slug], thing.source(), by=DEMO)
    people.settle(demo.platform, by=DEMO)
    return Seen(f"{len(demo.tenants)} tenants, {len(demo.things)} sources, each looked at first")


def back_up(demo: Demo) -> Seen:
    points = _back_up_all(demo)
    stored = sum(point.added_bytes for point in points)
    total = sum(point.bytes for point in points)
    return Seen(
        f"{len(points)} points, each in 2 regions, each read back: {size(total)} became "
        f"{size(stored)} encrypted",
        bytes=total,
    )


def damage(demo: Demo) -> Seen:
    said = [thing.damage() for thing in demo.things]
    now = _fingerprints(demo)
    require(
        all(now[key].digest != demo.before[key].digest for key in now),
        "The damage is not to be seen in every source.",
    )
    return Seen(" ".join(said))


def restore_all(demo: Demo) -> Seen:
    rows = [_restore(demo, thing, Destination.IN_PLACE) for thing in demo.things]
    now = _fingerprints(demo)
    for thing in demo.things:
        key = demo.key(thing)
        _require_equal(demo.before[key], now[key], f"{key[0]}/{key[1]}")
    total = sum(point.bytes for point in demo.points.values())
    return Seen(
        f"{len(rows)} sources in place, each behind a safety point; all checksums are as before",
        bytes=total,
    )


def undo_one(demo: Demo) -> Seen:
    """The damage comes back, exactly, and goes again."""
    thing = demo.things[-1]
    row = _last_restore(demo, thing)
    with demo.platform.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        undo = requests.undo(session, row.id, by=DEMO, at=demo.platform.now())
    undone = _followed(demo, undo)
    require(
        thing.fingerprint().digest != demo.before[demo.key(thing)].digest,
        "After the undo the damage should be back.",
    )
    with demo.platform.database.session(Role.OPERATOR, tenant=row.tenant_id) as session:
        redo = requests.undo(session, undone.id, by=DEMO, at=demo.platform.now())
    _followed(demo, redo)
    _require_equal(demo.before[demo.key(thing)], thing.fingerprint(), "undo of the undo")
    return Seen(f"{thing.name} went back to the damage and forth again, exactly")


def back_up_again(demo: Demo) -> Seen:
    for thing in demo.things:
        thing.change_a_day()
    demo.before = _fingerprints(demo)
    points = _back_up_all(demo)
    total = sum(point.bytes for point in points)
    stored = sum(point.added_bytes for point in points)
    return Seen(
        f"a day's changes: of {size(total)} only {size(stored)} had to be stored "
        f"({stored / max(total, 1):.1%})",
        bytes=stored,
    )


def lose_a_region(demo: Demo) -> Seen:
    first, second = demo.running.stack.regions[:2]
    demo.running.stack.children.drop(first)
    try:
        rows = [_restore(demo, thing, Destination.ASIDE) for thing in demo.things]
    finally:
        demo.running.stack.children.start(first)
    for thing, row in zip(demo.things, rows, strict=True):
        require(row.region == second.name, f"{thing.name} came from {row.region}.")
        where = str((row.report or {})["where"])
        _require_equal_aside(demo.before[demo.key(thing)], thing, where)
    return Seen(
        f"{first.name} was shut down: {len(rows)} sources came back aside from {second.name}, "
        "all checksums equal",
        bytes=sum(point.bytes for point in demo.points.values()),
    )


def leave(demo: Demo) -> Seen:
    """Plain restic, with nothing of ours but the exit kit."""
    thing = next(each for each in demo.things if isinstance(each, FolderThing))
    tenant = demo.tenants[thing.sample.slug]
    with tempfile.TemporaryDirectory(prefix="strongroom-kit-") as folder:
        kit = exit_kit.export(demo.platform, tenant, Path(folder) / "kit", by=DEMO)
        target = Path(folder) / "restored"
        with demo.platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
            host = str(sourcing.named(session, tenant, thing.name).id)
        finished = program.run(
            Command(
                [
                    "sh",
                    "-c",
                    'set -a; . "$1"; set +a; exec "$2" restore latest --host "$3" --target "$4"',
                    "kit",
                    str(kit.files[-2]),
                    demo.platform.settings.restic,
                    host,
                    str(target),
                ],
                environment={"PATH": stacks.PATH, "HOME": folder},
                folder=Path("/"),
            ),
            timeout=PATIENCE,
        )
        require(finished.code == 0, f"Plain restic failed: {finished.stderr}")
        _require_equal(
            demo.before[demo.key(thing)], thing.fingerprint(str(target)), "with plain restic"
        )
        amount = sum(each.stat().st_size for each in target.rglob("*") if each.is_file())
    return Seen(f"{tenant.slug}/{thing.name} with plain restic and the kit, byte for byte", amount)


STEPS: Sequence[tuple[str, Callable[[Demo], Seen]]] = (
    ("Make the data of three tenants", make_data),
    ("Add the tenants and their sources", add_tenants),
    ("Back up, copy, verify", back_up),
    ("Damage the data", damage),
    ("Restore in place", restore_all),
    ("Undo a restore, and undo that", undo_one),
    ("Back up again after a day", back_up_again),
    ("Lose a region, restore from the other", lose_a_region),
    ("Rehearse every restore", troubles.rehearse),
    ("Damage a pack, find and mend it", troubles.heal),
    ("Wipe a bucket, bring it back", troubles.wipe),
    ("Leave with the exit kit", leave),
)


def _fingerprints(demo: Demo) -> dict[Key, Fingerprint]:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda thing: thing.fingerprint(), demo.things))
    return {demo.key(thing): each for thing, each in zip(demo.things, found, strict=True)}


def _back_up_all(demo: Demo) -> list[Point]:
    """All tenants at once; each point in every region, each copy's data read back."""
    runs = {}
    for slug, tenant in demo.tenants.items():
        order = Order(Trigger.MANUAL, DEMO, demo.platform.now())
        runs[slug] = following.request(demo.platform, tenant, order)
    for slug, run_id in runs.items():
        tenant = demo.tenants[slug]
        quiet = Screen(as_json=True, quiet=True)
        point = following.point_of(demo.platform, tenant, run_id, screen=quiet, seconds=PATIENCE)
        require(str(point.outcome) == "complete", f"The point of {slug} is {point.outcome}.")
        whole = following.copies_of(demo.platform, tenant, run_id, screen=quiet, seconds=PATIENCE)
        require(whole, f"Not every copy of {slug} was verified.")
        demo.points[slug] = point
    return list(demo.points.values())


def _restore(demo: Demo, thing: Thing, destination: Destination) -> Restore:
    tenant = demo.tenants[thing.sample.slug]
    with demo.platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        source = sourcing.named(session, tenant, thing.name)
        wish = Wish(demo.points[tenant.slug].id, source.id, destination)
        row = requests.ask(session, tenant.id, wish, by=DEMO, at=demo.platform.now())
    return _followed(demo, row)


def _followed(demo: Demo, row: Restore) -> Restore:
    ended = following.restored(
        demo.platform, row, screen=Screen(as_json=True, quiet=True), seconds=PATIENCE
    )
    message = (ended.failure or {}).get("message", "")
    require(ended.state is RestoreState.DONE, f"A restore is {ended.state}: {message}")
    return ended


def _last_restore(demo: Demo, thing: Thing) -> Restore:
    tenant = demo.tenants[thing.sample.slug]
    with demo.platform.database.session(Role.OPERATOR, tenant=tenant.id) as session:
        source = sourcing.named(session, tenant, thing.name)
        rows: Any = session.query(Restore).filter_by(source_id=source.id)
        found: Restore = rows.order_by(Restore.asked_at.desc()).first()
        return found


def _require_equal_aside(before: Fingerprint, thing: Thing, where: str) -> None:
    if isinstance(thing, DatabaseThing) and thing.schema is not None:
        with thing.customers.connect(thing.login) as connection:
            now = fingerprint.database(connection, schema=where)
        before = fingerprint.rows_of(before, thing.schema)
        require(bool(before.parts), f"There was nothing in {thing.schema}.")
        _require_equal(before, fingerprint.rows_of(now, where), f"{thing.name} aside")
        return
    _require_equal(before, thing.fingerprint(where), f"{thing.name} aside")


def _require_equal(before: Fingerprint, now: Fingerprint, what: str) -> None:
    differing = fingerprint.differences(before, now)
    require(not differing, f"{what} differs from what was there: {', '.join(differing[:5])}")
