"""The exit kit: what plain restic needs to restore a tenant without us.

A kit is a copy of a key. Its credentials are its own and end by themselves; the password in it
opens the repository as long as the repository exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from backup import repositories
from backup.models import Source
from backup.repositories import Site
from backup.states import RepositoryState
from strongroom import storage
from strongroom.actors import Actor
from strongroom.db import Role
from strongroom.errors import BadValue, NotFound
from strongroom.lifecycle import Move, Reason, record
from strongroom.runtime import Runtime
from tenants.models import Tenant

SECONDS = 12 * 3600


@dataclass(frozen=True)
class Kit:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    until: datetime | None  # when the credentials in it end


def export(runtime: Runtime, tenant: Tenant, folder: Path, *, by: Actor) -> Kit:
    """Write one file a region and a README, all with mode 0600; all of it, or nothing.

    Raises BadValue for a folder that is not empty, and StorageError when a region is away.
    """
    _require_empty(folder)
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        rows = [
            row.id
            for row, _region in repositories.of_tenant(session, tenant.id)
            if row.state is not RepositoryState.NEW
        ]
        names = session.execute(
            select(Source.id, Source.name, Source.kind).where(Source.tenant_id == tenant.id)
        ).all()
    if not rows:
        raise NotFound(f"{tenant.slug} has no repository yet; make a backup first.")
    sites = [repositories.site(runtime, tenant.id, row) for row in rows]
    until: datetime | None = None
    texts: dict[str, str] = {}
    for site in sites:
        rights = site.credentials(storage.Act.KIT)
        until = rights.expires if until is None else min(until, rights.expires or until)
        texts[f"restic-{site.region.name}.env"] = _environment(site, rights)
    sources = [(str(row.id), row.name, row.kind) for row in names]
    texts["README.md"] = _readme(tenant, sites, sources, until)
    files = _write_all(folder, texts)
    with runtime.database.session(Role.WORKER, tenant=tenant.id) as session:
        for site in sites:
            move = Move(by=by, at=runtime.now(), reason=Reason("kit-exported"))
            record(session, site.row, old=str(site.row.state), move=move)
    return Kit(folder, tuple(files), until)


def _require_empty(folder: Path) -> None:
    with _said(folder):
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise BadValue(
                f"{folder} is not an empty folder. Name one that is, or is not there yet.",
                code="folder-not-empty",
            )


def _write_all(folder: Path, texts: dict[str, str]) -> list[Path]:
    with _said(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [_write(folder / name, text) for name, text in texts.items()]


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadValue(
            f"Nothing can be written in {folder}: {error.strerror}. Name another folder.",
            code="folder-closed",
        ) from error


def _write(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _environment(site: Site, rights: storage.Credentials) -> str:
    address = site.restic_with(rights).address
    lines = [
        f"RESTIC_REPOSITORY={address}",
        f"RESTIC_PASSWORD={site.password.text.decode()}",
        f"RESTIC_KEY_HINT={site.row.key_hint}",
        f"AWS_ACCESS_KEY_ID={rights.access_key}",
        f"AWS_SECRET_ACCESS_KEY={rights.secret_key}",
        f"AWS_SESSION_TOKEN={rights.session_token or ''}",
        f"AWS_DEFAULT_REGION={site.region.location}",
    ]
    return "\n".join(lines) + "\n"


def _readme(
    tenant: Tenant,
    sites: list[Site],
    sources: list[tuple[str, str, str]],
    until: datetime | None,
) -> str:
    regions = "\n".join(f"- `restic-{site.region.name}.env`: {site.region.name}" for site in sites)
    table = "\n".join(f"| {name} | {kind} | `{host}` |" for host, name, kind in sources)
    first = sites[0].region.name
    ends = "" if until is None else f" They end on {until:%Y-%m-%d %H:%M} UTC; ask for new ones."
    return f"""# Exit kit of {tenant.name}

This folder restores everything of {tenant.name} with nothing but [restic](https://restic.net),
0.17 or newer. **Whoever holds it can read all of it**: keep it like a key.

One file a region, each enough on its own:

{regions}

The S3 credentials in them may read, and lock, and nothing else.{ends}

## How

    set -a; . ./restic-{first}.env; set +a
    restic snapshots
    restic restore SNAPSHOT --target FOLDER

Each source has its snapshots under a host name of its own:

| source | kind | host |
|---|---|---|
{table}

The newest of a source: `restic restore latest --host HOST --target FOLDER`. A folder comes back as
files. A database comes back as `database.dump`: `pg_restore --create --dbname postgres` loads it,
or `pg_restore --dbname DATABASE` into an empty one.
"""
