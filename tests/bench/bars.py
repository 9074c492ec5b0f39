"""The bars, each from its measurement to what is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import catalogues, crowds
from tests.bench import (
    browse,
    console,
    daily,
    drill,
    healing,
    large,
    memory,
    record,
    scrub,
    throughput,
)
from tests.bench.pairs import Compared, Spread, machine
from tests.bench.stand import GIB, Stand

MB = 1000 * 1000
BOOKKEEPING = 5.0  # seconds of CPU a minute
SCRUB_WALL, SCRUB_CPU = 1 / 1.5, 0.5  # of what `restic check --read-data` takes


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    rounds: int  # pairs of bar 1
    cycles: int  # of ours in a round
    pairs: int  # of bar 2
    folder: int  # bytes
    dump: int  # bytes
    tenants: int  # in the queue
    drilled: int  # bytes of a source that is rehearsed
    catalogue: catalogues.Extent
    asked: int  # times that each question of the restore page is
    recorded: int  # acts on record
    crowd: crowds.Extent  # behind the operators' pages
    pages: int  # times that each of them is asked for


WHOLE = Extent(
    rounds=9,
    cycles=20,
    pairs=9,
    folder=GIB,
    dump=2 * GIB,
    tenants=200,
    drilled=GIB // 2,
    catalogue=catalogues.Extent(1_000_000, 100_000, 400, 100, 250, 100),
    asked=100,
    recorded=20_000,
    crowd=crowds.Extent(10_000, 90),
    pages=40,
)
QUICK = Extent(
    rounds=3,
    cycles=8,
    pairs=3,
    folder=GIB // 4,
    dump=GIB // 4,
    tenants=20,
    drilled=GIB // 8,
    catalogue=catalogues.Extent(100_000, 20_000, 60, 50, 50, 20),
    asked=20,
    recorded=5_000,
    crowd=crowds.Extent(1_000, 90),
    pages=10,
)


@dataclass(frozen=True)
class Bar:
    """A figure, what it may be at most, and what it rests on."""

    name: str
    title: str
    found: float | None  # None: a figure without a bar
    most: float | None
    rows: Mapping[str, Spread]  # ours, plain, ratio
    pairs: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        return None if self.found is None or self.most is None else self.found <= self.most

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "found": None if self.found is None else round(self.found, 4),
            "most": self.most,
            "holds": self.holds,
            "pairs": self.pairs,
            "rows": {name: spread.to_json() for name, spread in self.rows.items()},
            "machine": machine(),
            **self.notes,
        }


def lines(bar: Bar) -> list[str]:
    """For people."""
    verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[bar.holds]
    limit = "" if bar.most is None else f"{bar.found:.3f}, at most {bar.most:g}: {verdict}"
    text = ["", f"{bar.title}", f"  {limit or 'no bar'} ({bar.pairs} pairs)"]
    text += [f"  {'':28}{'median':>12}{'min':>12}{'max':>12}"] if bar.rows else []
    for name, spread in bar.rows.items():
        values = (spread.median, spread.least, spread.most)
        text.append(f"  {name:28}" + "".join(f"{value:12.4f}" for value in values))
    notes = {**bar.notes, **machine()}
    return text + [f"  {name.replace('_', ' ')}: {_plain(value)}" for name, value in notes.items()]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def of_daily(stand: Stand, extent: Extent) -> Bar:
    found = daily.measure(stand, rounds=extent.rounds, cycles=extent.cycles)
    return Bar(
        "daily",
        "A daily cycle of an unchanged tenant of 1 MB: CPU against a shell script with stock keys",
        found.compared.ratio.median,
        0.1,
        _rows(found.compared, "seconds of CPU"),
        len(found.compared.pairs),
        {
            "counted": "worker and all it starts, the listing; the script and all it starts",
            "listing_seconds_of_ours": found.listing,
            "stock_key": found.key,
            "beside_ours_seconds": _round(found.beside_ours),
            "beside_the_script_seconds": _round(found.beside_plain),
        },
    )


def of_large(stand: Stand, extent: Extent) -> Bar:
    found, processors = large.measure(stand, pairs=extent.pairs, size=extent.folder)
    return Bar(
        "large",
        f"A directory of {extent.folder / GIB:g} GiB, queued to stored: wall time against restic",
        found.ratio.median,
        1.1,
        _rows(found, "seconds"),
        len(found.pairs),
        {"GOMAXPROCS": processors, "key_of_both": "low-cost", "settings": "restic's own"},
    )


def of_memory(stand: Stand, extent: Extent) -> Bar:
    found = memory.measure(stand, size=extent.dump)
    return Bar(
        "memory",
        f"Most memory of a worker process beside restic, a dump of {found.dumped / GIB:.2f} GiB, MB",
        max(found.dump, found.after) / MB,
        150.0,
        {},
        notes={
            "idle_MB": found.idle / MB,
            "from_queued_to_stored_MB": found.dump / MB,
            "proof_copy_and_its_proof_MB": found.after / MB,
        },
    )


def of_queue(stand: Stand, extent: Extent) -> Bar:
    found = throughput.measure(stand, count=extent.tenants)
    return Bar(
        "queue",
        f"A queue of {found.tenants} small tenants, two processes in the pool",
        None,
        None,
        {},
        notes={
            "unchanged_tenants_a_second": found.unchanged,
            "first_backups_a_second": found.first,
            "CPU_seconds_of_the_worker_for_one_unchanged": found.cpu,
            "kept_busy_by_others": found.foreign,
        },
    )


def of_drill(stand: Stand, extent: Extent) -> Bar:
    found = drill.measure(stand, pairs=extent.pairs, size=extent.drilled)
    rows = {f"database, {name}": each for name, each in _rows(found.database, "seconds").items()}
    rows |= {f"folder, {name}": each for name, each in _rows(found.folder, "seconds").items()}
    return Bar(
        "drill",
        "A rehearsed restore against the plain one it contains: wall time, the worse of both",
        max(found.database.ratio.median, found.folder.ratio.median),
        1.25,
        rows,
        len(found.database.pairs),
        {
            "dump_MB": found.bytes[0] / MB,
            "folder_MB": found.bytes[1] / MB,
            "times_the_restore_within_database": found.contained[0],
            "times_the_restore_within_folder": found.contained[1],
        },
    )


def of_healing(stand: Stand, extent: Extent) -> Bar:
    beneath, elsewhere = (
        healing.measure(stand, size=extent.folder, rot=rot) for rot in (False, True)
    )
    return Bar(
        "healing",
        f"One damaged pack of a repository of {extent.folder / GIB:g} GiB: what is read to heal it",
        max(beneath.share, elsewhere.share),
        0.1 if extent.folder >= GIB else None,  # a pack is a larger share of less
        {},
        notes={
            "counted": "all bytes that both regions answered, from the first request to the end",
            "stored_MB": elsewhere.stored / MB,
            "the_pack_MB": elsewhere.pack / MB,
            "from_an_earlier_version": beneath.to_json(),
            "from_the_other_region": elsewhere.to_json(),
        },
    )


def of_scrub(stand: Stand, extent: Extent) -> Bar:
    found = scrub.measure(stand, pairs=extent.pairs, size=extent.folder)
    wall, cpu = found.wall.ratio.median, found.cpu.ratio.median
    return Bar(
        "scrub",
        f"Reading {found.bytes / GIB:.2f} GiB of packs back, against `restic check --read-data`: "
        "the worse of wall time by 2/3 and CPU by half",
        max(wall / SCRUB_WALL, cpu / SCRUB_CPU),
        1.0,
        {
            **_rows(found.wall, "seconds"),
            "ours, seconds of CPU": found.cpu.ours,
            "plain restic, seconds of CPU": found.cpu.plain,
            "ratio of CPU of each pair": found.cpu.ratio,
        },
        len(found.wall.pairs),
        {
            "times_the_bytes_a_second_of_restic": 1 / wall,
            "part_of_the_CPU_of_restic": cpu,
            "packs": found.packs,
            "memory_beside_idle_MB": found.memory / MB,
        },
    )


def of_browse(stand: Stand, extent: Extent) -> Bar:
    stored, answered = browse.measure(stand, extent=extent.catalogue, rounds=extent.asked)
    late = {name: browse.percentile(each, 0.95) for name, each in answered.taken.items()}
    return Bar(
        "browse",
        f"The restore page on {stored.extent.points} points and {stored.extent.paths:,} paths: "
        "seconds at the 95th percentile, of the slowest question",
        max(late.values()),
        0.15,
        {name: Spread.of(each) for name, each in answered.taken.items()},
        notes={
            "asked_each": extent.asked,
            "milliseconds_at_the_95th_percentile": {
                name: round(1000 * each, 1) for name, each in late.items()
            },
            "milliseconds_of_CPU_of_ours_and_of_the_server": answered.cpu(),
            "seconds_of_making_it": dict(stored.seconds),
            "rows": dict(stored.rows),
            "MB_with_indexes": dict(stored.megabytes),
        },
    )


def of_record(stand: Stand, extent: Extent) -> Bar:
    found = record.measure(stand, count=extent.recorded)
    return Bar(
        "record",
        f"{found.entries:,} acts on record: seconds for a thousand entries, the worse of writing them "
        "and of giving them their signed place in every region",
        1000 / min(found.written, found.placed),
        1.0,
        {},
        notes={
            "written_a_second": found.written,
            "written_a_second_with_a_transaction_each": found.alone,
            "placed_and_signed_a_second": found.placed,
            "verified_a_second": found.verified,
            "seconds_of_CPU_for_a_thousand": found.cpu,
            "foreign_processors": found.foreign,
        },
    )


def of_console(stand: Stand, extent: Extent) -> Bar:
    seen = console.measure(stand, extent=extent.crowd, rounds=extent.pages)
    late = {page: browse.percentile(each, 0.95) for page, each in seen.taken.items()}
    return Bar(
        "console",
        f"The console over {seen.extent.tenants:,} tenants and {seen.extent.days} days: seconds at "
        "the 95th percentile, of the slowest page",
        max(late.values()),
        0.2,
        {page: Spread.of(each) for page, each in seen.taken.items()},
        notes={
            "asked_each": extent.pages,
            "milliseconds_at_the_95th_percentile": {
                page: round(1000 * each, 1) for page, each in late.items()
            },
            "CPU_seconds_a_minute_of_bookkeeping": round(seen.bookkeeping, 2),
            "bookkeeping_within_5": seen.bookkeeping <= BOOKKEEPING,
            "CPU_seconds_of_a_picture": round(seen.picture, 2),
            "seconds_from_one_picture_to_the_next": round(seen.every, 1),
            "CPU_seconds_of_a_minute_of_the_dispatcher": round(seen.minute, 2),
            "seconds_of_making_it": seen.seconds,
            "rows": seen.rows,
            "MB_with_indexes": seen.megabytes,
        },
    )


ALL: Mapping[str, Callable[[Stand, Extent], Bar]] = {
    "daily": of_daily,
    "memory": of_memory,
    "queue": of_queue,
    "large": of_large,
    "drill": of_drill,
    "healing": of_healing,
    "scrub": of_scrub,
    "browse": of_browse,
    "record": of_record,
    "console": of_console,
}


def _rows(found: Compared, unit: str) -> dict[str, Spread]:
    return {
        f"ours, {unit}": found.ours,
        f"plain restic, {unit}": found.plain,
        "ratio of each pair": found.ratio,
        "kept busy by others": found.foreign,
    }


def _round(used: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds, 4) for name, seconds in used.items()}
