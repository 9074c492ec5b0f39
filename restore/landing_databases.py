"""A database brought back: loaded into a throw-away cluster, proven, then landed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backup.models import Source
from backup.sources import connection, manifest, walk
from backup.sources.connection import Access, Login, NoSuchDatabase
from backup.sources.manifest import Manifest
from backup.sources.postgres import Postgres
from restore import databases, fetching, preview, scratch, tables
from restore.choosing import Chosen
from restore.errors import Unsafe
from restore.fetching import Origin
from restore.going import FINAL, Going, Phase
from restore.landing_folders import require_outside_home
from restore.models import Restore
from restore.scratch import Budget, Scratch
from restore.states import Destination, RestoreState
from restore.targets import require_no_link
from restore.tree import identity

MOST_NAMED = 1000  # tables of a plan; those that stay as they are come last


def require(going: Going, reached: tuple[Postgres, Access]) -> None:
    """Raises what stands in the way, before anything is done."""
    source, access = reached
    if going.row.destination is Destination.FOLDER:
        file = _file(going)
        require_outside_home(going, file)
        require_no_link(file.parent)
        if os.path.lexists(file):
            raise _taken(file)
    elif not going.row.dry_run:
        databases.check(source.login(access), schema=source.schema, in_place=going.in_place)


def land(going: Going, reached: tuple[Postgres, Access], chosen: Chosen) -> dict[str, Any]:
    """Bring it where it is wanted; with dry_run only say what would change."""
    source, access = reached
    live = source.login(access)
    expected = manifest.from_json(_text(chosen))
    if going.row.dry_run:
        return _preview(going, source, live, expected) | {"total_bytes": chosen.bytes}
    if going.again:
        clear_away(going, reached)
    going.enter(Phase.LOADING)
    with _proven(going, chosen, expected) as proven:
        if going.row.destination is Destination.FOLDER:
            return _write(going, chosen)
        landed = _land(going, proven, live, expected)
        return {"bytes": chosen.bytes} | landed


def recover(going: Going, reached: tuple[Postgres, Access]) -> dict[str, Any] | None:
    """After a crash: what had landed under the name that this restore gives, has landed."""
    source, access = reached
    scratch.sweep(fetching.place(going.runtime))
    if going.row.destination is Destination.FOLDER:
        return _recover_file(going)
    live = source.login(access)
    in_place = going.in_place
    if going.row.tables and in_place:
        return None  # the same rows once more
    name = databases.stamped(
        source.schema or live.database, "before" if in_place else "restored", going.moment()
    )
    if not exists(live.to(name) if source.schema is None else live, schema=source.schema and name):
        return None
    if in_place:
        return {"where": source.schema or live.database, "before": name}
    return {"where": name}


def exists(login: Login, *, schema: str | None = None) -> bool:
    """Whether the server has such a database, or the database such a schema, open to us or not."""
    if schema is None:
        query, name = "SELECT FROM pg_database WHERE datname = %s", login.database
        with databases.maintenance(login) as line:
            return line.execute(query, (name,)).rowcount == 1
    with suppress(NoSuchDatabase), connection.talk(login, seconds=databases.RIGHTS_SECONDS) as line:
        return line.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).rowcount == 1
    return False


def clear_away(going: Going, reached: tuple[Postgres, Access]) -> None:
    """What an earlier attempt began to load; of others only if none of the source is at work."""
    source, access = reached
    if going.row.destination is Destination.FOLDER:
        with suppress(Unsafe), _folder(_file(going).parent) as folder, suppress(FileNotFoundError):
            os.unlink(_begun(going), dir_fd=folder)
        return
    live = source.login(access)
    loading = databases.stamped(source.schema or live.database, "loading", going.moment())
    with suppress(NoSuchDatabase):
        databases.discard(live, databases.Begun(loading, source.schema))
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
    place = fetching.place(going.runtime)
    scratch.sweep(place)  # what killed restores left
    with scratch.cluster(place, Budget(), expected) as cluster:
        fetching.load(_origin(going, chosen), cluster, told=going.teller(chosen.bytes))
        going.enter(Phase.COMPARING)
        scratch.prove(cluster, expected)
        yield cluster


def _origin(going: Going, chosen: Chosen) -> Origin:
    return Origin(chosen.site, chosen.restic_id, going.stop)


def _land(going: Going, proven: Scratch, live: Login, expected: Manifest) -> dict[str, Any]:
    at = going.moment()
    names = [_name(table) for table in going.row.tables]
    if going.row.destination is Destination.IN_PLACE:
        if names:
            going.past_return()
            replaced = tables.replace_in(proven, live, names)
            return {
                "where": live.database,
                "tables": {each.title: each.rows for each in replaced.tables},
                "made": [".".join(name) for name in replaced.made],
            }
        landed = _placed(going, proven, live, expected)
        swapped = databases.in_place(live, landed, at=at)
        return {"where": swapped.live, "before": swapped.before, "rows": expected.rows}
    if names:
        scratch.keep_only(proven, names)
        expected = proven.manifest(schema=expected.schema)
    landed = _placed(going, proven, live, expected)
    name = databases.aside(live, landed, at=at)
    return {"where": name, "rows": expected.rows, "tables": len(expected.tables)}


def _placed(going: Going, proven: Scratch, live: Login, expected: Manifest) -> databases.Landed:
    """Beside the live one, with everything ready for the last step; else nothing is left."""
    going.enter(Phase.PLACING)
    landed = databases.load(proven, live, expected, at=going.moment(), stop=going.stop)
    try:
        going.past_return()
    except BaseException:
        databases.discard(live, landed)
        raise
    return landed


def _write(going: Going, chosen: Chosen) -> dict[str, Any]:
    """The dump as a file, for whoever wants to load it: it has just been proven to load.

    It gets its name when it is whole; the folder may be another's, who can put things in its place.
    """
    file, begun = _file(going), _begun(going)
    with _folder(file.parent, make=True) as folder:
        descriptor = _made(folder, begun, file.parent)
        try:
            with os.fdopen(os.dup(descriptor), "rb") as written:
                fetching.dump(_origin(going, chosen), descriptor)
                going.past_return()
                os.link(
                    *(begun, file.name), src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False
                )
                status = os.fstat(written.fileno())
                _require_same(folder, file, status)
        except FileExistsError:
            raise _taken(file) from None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(begun, dir_fd=folder)
    return {"where": str(file), "bytes": status.st_size}


@contextmanager
def _folder(folder: Path, *, make: bool = False) -> Iterator[int]:
    try:
        descriptor = walk.open_folder(folder, make=make)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _made(folder: int, name: str, shown: Path) -> int:
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)  # of an attempt that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=folder)
    except OSError as error:
        raise _unusable(shown, error) from error


def _require_same(folder: int, file: Path, written: os.stat_result) -> None:
    """What has the name now is what was written, and nothing that somebody put in its place."""
    named = os.stat(file.name, dir_fd=folder, follow_symlinks=False)
    if identity(named) != identity(written):
        raise Unsafe(
            f"{file} is not what was written there: somebody replaced it. Name another folder.",
            folder=str(file.parent),
        )


def _recover_file(going: Going) -> dict[str, Any] | None:
    """A whole file has its name already; a part of one has another, and is written anew."""
    file = _file(going)
    if going.row.phase not in FINAL or not os.path.lexists(file):
        return None
    with _folder(file.parent) as folder:
        with suppress(FileNotFoundError):
            os.unlink(_begun(going), dir_fd=folder)
        status = os.stat(file.name, dir_fd=folder, follow_symlinks=False)
    return {"where": str(file), "bytes": status.st_size}


def _file(going: Going) -> Path:
    """Named by the source: the names of databases and schemas are another's, and may be paths."""
    assert going.row.target is not None  # as it was asked
    with going.session() as session:
        name = session.get_one(Source, going.row.source_id).name
    if "/" in name or name.startswith("."):
        raise Unsafe(f"{name!r} is no name for a file. Give the source another name.")
    return Path(going.row.target) / f"{name}.dump"


def _begun(going: Going) -> str:
    return f".strongroom-restore-{going.token}"


def _taken(file: Path) -> Unsafe:
    return Unsafe(f"There is a {file} already. Name another folder.", folder=str(file.parent))


def _unusable(folder: Path, error: OSError) -> Unsafe:
    return Unsafe(
        f"Nothing can be written in {folder}: {error.strerror}. Name another folder.",
        folder=str(folder),
    )


def _preview(going: Going, source: Postgres, live: Login, expected: Manifest) -> dict[str, Any]:
    chosen = {_name(table) for table in going.row.tables}
    if going.row.destination is not Destination.IN_PLACE:
        wanted = manifest.of_tables(expected, chosen) if chosen else expected
        nothing = replace(expected, tables=())  # beside the live data, all of it is new
        each = [_change(table) for table in preview.of_tables(nothing, wanted)[:MOST_NAMED]]
        return {"dry_run": True, "rows": wanted.rows, "tables": len(wanted.tables), "each": each}
    try:
        now = databases.look(live, schema=source.schema)
    except NoSuchDatabase:
        now = replace(expected, tables=())  # all of it would appear
    changes = [
        each
        for each in preview.of_tables(now, expected)
        if not chosen or (each.schema, each.name) in chosen
    ]
    return {
        "dry_run": True,
        "tables": [_change(each) for each in changes[:MOST_NAMED]],
        "counts": dict(Counter(str(each.change) for each in changes)),
    }


def _change(table: preview.TableChange) -> dict[str, Any]:
    return {
        "table": f"{table.schema}.{table.name}",
        "now": table.now,
        "then": table.then,
        "change": str(table.change),
        "redefined": table.redefined,
    }


def _text(chosen: Chosen) -> str:
    if chosen.manifest is None:
        raise Unsafe("This point has no manifest of the database, so nothing can be proven.")
    return json.dumps(chosen.manifest)


def _name(table: str) -> tuple[str, str]:
    schema, _, name = table.partition(".")
    return schema, name
