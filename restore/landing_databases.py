"""A database brought back: loaded into a throw-away cluster, proven, then landed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backup import repositories
from backup.making import DUMP_NAME
from backup.restic import commands
from backup.sources import manifest
from backup.sources.connection import Access, Login
from backup.sources.manifest import Manifest
from backup.sources.postgres import Postgres
from restore import databases, preview, scratch, tables
from restore.choosing import Chosen
from restore.errors import Unsafe
from restore.going import Going
from restore.models import Restore
from restore.scratch import Budget, Place, Scratch
from restore.states import Destination, RestoreState
from strongroom.storage import Act

SECONDS = 12 * 3600.0


def land(going: Going, reached: tuple[Postgres, Access], chosen: Chosen) -> dict[str, Any]:
    """Bring it where it is wanted; with dry_run only say what would change."""
    source, access = reached
    live = source.login(access)
    expected = manifest.from_json(_text(chosen))
    if going.row.dry_run:
        return _preview(going, source, live, expected)
    in_place = going.row.destination is Destination.IN_PLACE
    if going.row.destination is not Destination.FOLDER:
        databases.check(live, schema=source.schema, in_place=in_place)
        _clear_away(going, live)
    going.note(phase="loading")
    with _proven(going, chosen, expected) as proven:
        if going.row.destination is Destination.FOLDER:
            return _write(going, chosen, source)
        going.note(phase="swapping" if in_place else "landing")
        return _land(going, proven, live, expected)


def _clear_away(going: Going, live: Login) -> None:
    """What an earlier attempt began to load, unless another restore of the source is at work."""
    if going.row.attempt < 2:
        return
    with going.session() as session:
        others = session.execute(
            select(Restore.id).where(
                Restore.source_id == going.row.source_id,
                Restore.state == RestoreState.RUNNING,
                Restore.id != going.row.id,
            )
        ).first()
    if others is None:
        databases.sweep(live)


@contextmanager
def _proven(going: Going, chosen: Chosen, expected: Manifest) -> Iterator[Scratch]:
    """The dump in a throw-away cluster, equal to what its manifest says."""
    runtime = going.runtime
    place = Place(runtime.folder("clusters"), runtime.settings.work / "cluster-template")
    with scratch.cluster(place, Budget(), expected) as cluster:
        _load(going, chosen, cluster)
        scratch.prove(cluster, expected)
        yield cluster


def _load(going: Going, chosen: Chosen, cluster: Scratch) -> None:
    """restic's output goes straight into pg_restore; the writer lives until restic has ended."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as pool:
        fetched = pool.submit(_fetch, going, chosen, writing)
        try:
            scratch.load(cluster, reading, stop=going.held.lost)
        finally:
            os.close(reading)
        fetched.result()


def _fetch(going: Going, chosen: Chosen, into: int) -> None:
    here = repositories.surroundings(
        going.runtime, chosen.site.row.id, seconds=SECONDS, stop=going.held.lost
    )
    with os.fdopen(into, "wb") as pipe:
        commands.dump(
            chosen.site.restic(Act.READ),
            here,
            snapshot=chosen.restic_id,
            path=DUMP_NAME,
            to=pipe,
        )


def _land(going: Going, proven: Scratch, live: Login, expected: Manifest) -> dict[str, Any]:
    at = going.runtime.now()
    names = [_name(table) for table in going.row.tables]
    if going.row.destination is Destination.IN_PLACE:
        if names:
            replaced = tables.replace_in(proven, live, names)
            return {
                "where": live.database,
                "tables": {each.title: each.rows for each in replaced.tables},
                "made": [".".join(name) for name in replaced.made],
            }
        landed = databases.load(proven, live, expected, at=at)
        swapped = databases.in_place(live, landed, at=at)
        return {"where": swapped.live, "before": swapped.before, "rows": expected.rows}
    if names:
        scratch.keep_only(proven, names)
        expected = proven.manifest(schema=expected.schema)
    landed = databases.load(proven, live, expected, at=at)
    name = databases.aside(live, landed, at=at)
    return {"where": name, "rows": expected.rows, "tables": len(expected.tables)}


def _write(going: Going, chosen: Chosen, source: Postgres) -> dict[str, Any]:
    """The dump as a file, for whoever wants to load it: it has just been proven to load."""
    assert going.row.target is not None  # as it was asked
    folder = Path(going.row.target)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{source.schema or source.database}.dump"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Unsafe(
            f"There is a {file} already. Name another folder.", folder=str(folder)
        ) from None
    _fetch(going, chosen, descriptor)
    return {"where": str(file), "bytes": file.stat().st_size}


def _preview(going: Going, source: Postgres, live: Login, expected: Manifest) -> dict[str, Any]:
    if going.row.destination is not Destination.IN_PLACE:
        return {"dry_run": True, "rows": expected.rows, "tables": len(expected.tables)}
    now = databases.look(live, schema=source.schema)
    chosen = {_name(table) for table in going.row.tables}
    changes = [
        each
        for each in preview.of_tables(now, expected)
        if not chosen or (each.schema, each.name) in chosen
    ]
    return {
        "dry_run": True,
        "tables": [
            {
                "table": f"{each.schema}.{each.name}",
                "now": each.now,
                "then": each.then,
                "change": str(each.change),
                "redefined": each.redefined,
            }
            for each in changes
        ],
    }


def _text(chosen: Chosen) -> str:
    if chosen.manifest is None:
        raise Unsafe("This point has no manifest of the database, so nothing can be proven.")
    return json.dumps(chosen.manifest)


def _name(table: str) -> tuple[str, str]:
    schema, _, name = table.partition(".")
    return schema, name
