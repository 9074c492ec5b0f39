"""`strongroom kit`."""

from __future__ import annotations

from pathlib import Path

import click

from tenants import exit_kit, onboarding
from web.output import Screen, when
from web.session import common, connect, me


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
    made = exit_kit.export(platform, onboarding.named(platform, slug), folder.absolute(), by=me())
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
