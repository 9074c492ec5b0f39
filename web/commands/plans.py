"""`strongroom plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from tenants import plans
from tenants.models import PlanVersion
from web.output import Screen
from web.session import common, connect, me


@click.group()
def plan() -> None:
    """Plans: how often, how long, how many regions."""


@plan.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """The newest version of every plan.

    Example: strongroom plan list --home var/demo
    """
    with connect(home).database.session(Role.OPERATOR) as session:
        found = [_document(version) for version in plans.newest(session)]
    Screen(as_json).table(
        found,
        ["code", "version", "name", "retention", "regions"],
        [[p["code"], p["version"], p["name"].get("en"), _counts(p), p["regions"]] for p in found],
    )


@plan.command()
@click.argument("code")
@common
def show(code: str, home: Path | None, as_json: bool) -> None:
    """One plan, with all its values.

    Example: strongroom plan show business
    """
    with connect(home).database.session(Role.OPERATOR) as session:
        document = _document(plans.named(session, code))
    Screen(as_json).table(document, ["value", "is"], [[k, v] for k, v in document.items()])


@plan.command()
@click.argument("file", type=click.Path(path_type=Path))
@common
def apply(file: Path, home: Path | None, as_json: bool) -> None:
    """Add or change plans from a TOML file; moves no tenant.

    Example: strongroom plan apply plans.toml
    """
    read = plans.read(file)
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        applied = plans.apply(session, read, now=platform.now())
        for each in applied:
            if each.changed:
                deed = Deed("plans.applied", details={"plan": each.code, "version": each.version})
                entries.note(session, deed, by=me(), at=platform.now())
    Screen(as_json).table(
        [vars(each) for each in applied],
        ["code", "version", "changed"],
        [
            [each.code, each.version, "new version" if each.changed else "as before"]
            for each in applied
        ],
    )


def _document(version: PlanVersion) -> dict[str, Any]:
    return {"code": version.code, "version": version.version, "name": version.name, **version.body}


def _counts(document: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in document["retention"].items() if count)


COMMANDS = (plan,)
