"""`strongroom region`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sqlalchemy import func, select

from strongroom import storage
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, StrongroomError
from strongroom.ids import new_id
from strongroom.regions import Region, RegionState
from strongroom.runtime import Runtime
from web.output import Screen
from web.session import common, connect


@click.group()
def region() -> None:
    """Regions: where copies lie."""


@region.command("list")
@common
def list_(home: Path | None, as_json: bool) -> None:
    """All regions, the preferred one first.

    Example: strongroom region list
    """
    found = [_document(row) for row in rows_of(connect(home))]
    Screen(as_json).table(
        found,
        ["name", "state", "endpoint", "bucket"],
        [[each["name"], each["state"], each["endpoint"], each["bucket"]] for each in found],
    )


@region.command()
@click.argument("name")
@click.option("--endpoint", required=True, help="URL of the S3 service.")
@click.option("--bucket", required=True, help="A bucket with versioning and Object Lock.")
@click.option("--location", default="us-east-1", help="The provider's name of the place.")
@click.option("--role-arn", required=True, help="The role whose rights are cut to each tenant.")
@common
def add(home: Path | None, as_json: bool, **values: str) -> None:
    """Add a region; its credentials come from the settings.

    Example: strongroom region add eu --endpoint https://s3.eu-central-1.amazonaws.com
    --bucket acme-backups --role-arn arn:aws:iam::123456789012:role/strongroom
    """
    platform = connect(home)
    if values["name"] not in platform.settings.regions:
        raise BadValue(
            f"There are no credentials for {values['name']!r} in the settings. Add them to "
            "STRONGROOM_REGIONS first.",
            code="no-region-credentials",
        )
    if any(row.name == values["name"] for row in rows_of(platform)):
        raise BadValue(f"There is a region {values['name']!r} already.", code="region-taken")
    with platform.database.session(Role.OPERATOR) as session:
        rank = session.execute(select(func.coalesce(func.max(Region.rank), -1))).scalar_one() + 1
        row = Region(
            id=new_id(),
            rank=rank,
            state=RegionState.OPEN,
            created_at=platform.now(),
            **values,
        )
        seconds_apart(platform, row)
        session.add(row)
    Screen(as_json).give(_document(row), text=f"Region {row.name} was added.")


@region.command()
@common
def check(home: Path | None, as_json: bool) -> None:
    """Reach every region: bucket, credentials, clock. Exit 3 if one cannot be reached.

    Example: strongroom region check
    """
    platform = connect(home)
    found: list[dict[str, Any]] = []
    for row in rows_of(platform):
        try:
            found.append(
                {"name": row.name, "ok": True, "seconds_apart": seconds_apart(platform, row)}
            )
        except StrongroomError as error:
            found.append({"name": row.name, "ok": False, "problem": error.message})
    Screen(as_json).table(
        found,
        ["region", "is", "clock apart (s)", "problem"],
        [
            [
                e["name"],
                "up" if e["ok"] else "NOT REACHED",
                e.get("seconds_apart"),
                e.get("problem"),
            ]
            for e in found
        ],
    )
    if not all(each["ok"] for each in found):
        click.get_current_context().exit(Incomplete.exit_code)


def seconds_apart(platform: Runtime, row: Region) -> int:
    root = platform.settings.regions[row.name]
    store = storage.Store(row.address(), root)
    if not store.exists_bucket():
        raise BadValue(
            f"There is no bucket {row.bucket!r} at {row.endpoint}. Create it with versioning and "
            "Object Lock, then try again.",
            code="no-bucket",
        )
    return abs(round((store.server_date() - platform.now()).total_seconds()))


def rows_of(platform: Runtime) -> list[Region]:
    with platform.database.session(Role.OPERATOR) as session:
        return list(session.execute(select(Region).order_by(Region.rank)).scalars())


def _document(row: Region) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": str(row.state),
        "endpoint": row.endpoint,
        "bucket": row.bucket,
        "location": row.location,
    }


COMMANDS = (region,)
