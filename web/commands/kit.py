"""`strongroom kit`."""

from __future__ import annotations

from pathlib import Path

import click

from strongroom.people.rules import Action
from tenants import exit_kit, onboarding
from web.acting import acting
from web.output import Screen, when
from web.session import common, connect


@click.group()
def kit() -> None:
    """The exit kit: a tenant's backups without us."""


@kit.command()
@click.argument("slug", metavar="TENANT")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path))
@common
def export(slug: str, folder: Path, home: Path | None, as_json: bool) -> None:
    """Write what plain restic needs to restore a tenant. Keep it like a key.

    Example: strongroom kit export acme --to /root/acme-kit
    """
    platform = connect(home)
    tenant = onboarding.named(platform, slug)
    by = acting(platform, Action.EXPORT_KIT, tenant=tenant.id)
    made = exit_kit.export(platform, tenant, folder.absolute(), by=by)
    Screen(as_json).give(
        {
            "folder": str(made.folder),
            "files": [str(file) for file in made.files],
            "until": made.until,
        },
        text=f"{len(made.files)} files in {made.folder}; the credentials in them end "
        f"{when(made.until)} UTC. Whoever holds them can read everything of {slug}.",
    )


COMMANDS = (kit,)
