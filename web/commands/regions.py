"""`strongroom region`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from strongroom import storage
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue, Incomplete, NotFound, StrongroomError
from strongroom.ids import new_id
from strongroom.regions import Region, RegionState, check_place, window
from strongroom.runtime import Runtime
from web.output import Screen
from web.session import common, connect, me

PLACE = ("latitude", "longitude", "country", "provider")


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
        ["name", "state", "country", "position", "provider", "endpoint", "bucket", "limits"],
        [
            [
                *(each["name"], each["state"], each["country"], _position(each)),
                *(each["provider"], each["endpoint"], each["bucket"]),
                "; ".join(map(_limit_text, each["bandwidth"])),
            ]
            for each in found
        ],
    )


def where_it_lies(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where a region lies."""
    for option in (
        click.option("--provider", help="Who runs it, like aws."),
        click.option("--country", help="ISO 3166, like AE: under whose law the data lies."),
        click.option("--longitude", type=float, help="Degrees east."),
        click.option("--latitude", type=float, help="Degrees north."),
    ):
        command = option(command)
    return command


@region.command()
@click.argument("name")
@click.option("--endpoint", required=True, help="URL of the S3 service.")
@click.option("--bucket", required=True, help="A bucket with versioning and Object Lock.")
@click.option("--location", default="us-east-1", help="The provider's name of the place.")
@click.option("--role-arn", required=True, help="The role whose rights are cut to each tenant.")
@where_it_lies
@common
def add(home: Path | None, as_json: bool, **values: Any) -> None:
    """Add a region; its credentials come from the settings.

    Plans and tenants that say where copies may lie take only regions that say where they lie.

    Example: strongroom region add eu --endpoint https://s3.eu-central-1.amazonaws.com
    --bucket acme-backups --role-arn arn:aws:iam::123456789012:role/strongroom --country DE
    --latitude 50.11 --longitude 8.68 --provider aws
    """
    check_place(**{name: values[name] for name in PLACE})
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
            bandwidth=[],
            **values,
        )
        seconds_apart(platform, row)
        session.add(row)
        _note(platform, session, row, "added", values)
    Screen(as_json).give(_document(row), text=f"Region {row.name} was added.")


@region.command()
@click.argument("name", metavar="REGION")
@where_it_lies
@common
def place(name: str, home: Path | None, as_json: bool, **values: Any) -> None:
    """Say where a region lies. What is not given stays as it is.

    Copies of tenants whose data may not lie there are refused from then on; what is there stays.

    Example: strongroom region place eu --country DE --latitude 50.11 --longitude 8.68
    """
    given = {key: value for key, value in values.items() if value is not None}
    check_place(**{key: given.get(key) for key in PLACE})
    if not given:
        raise BadValue("Say what is to change, like --country DE.", code="nothing-given")
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        row = _named(session, name)
        for key, value in given.items():
            setattr(row, key, value)
        _note(platform, session, row, "placed", given)
    Screen(as_json).give(_document(row), text=f"Region {name}: {_position(_document(row))}.")


@region.command()
@click.argument("name", metavar="REGION")
@click.option("--from", "begin", help="Local time at which it begins, like 08:00.")
@click.option("--to", "end", help="Local time at which it ends; before --from: on the next day.")
@click.option("--zone", help="IANA, like Asia/Dubai.")
@click.option("--upload", type=int, help="KiB a second to the region.")
@click.option("--download", type=int, help="KiB a second from it.")
@click.option("--clear", is_flag=True, help="Take all limits of the region away.")
@common
def limit(name: str, home: Path | None, as_json: bool, clear: bool, **values: Any) -> None:
    """Hold traffic with a region back at some hours. Where several limits meet, the least counts.

    Counts for each program that is started from then on.

    Example: strongroom region limit eu --from 08:00 --to 18:00 --zone Asia/Dubai --upload 5120
    """
    if clear == any(value is not None for value in values.values()):
        raise BadValue("Give one limit, or --clear; not both, not neither.", code="bad-limit")
    added = [] if clear else [_window(values)]
    platform = connect(home)
    with platform.database.session(Role.OPERATOR) as session:
        row = _named(session, name)
        row.bandwidth = [] if clear else [*row.bandwidth, *added]
        _note(platform, session, row, "limited", {"bandwidth": row.bandwidth})
    said = "nothing is held back" if clear else _limit_text(added[0])
    Screen(as_json).give(_document(row), text=f"Region {name}: {said}.")


def _note(
    platform: Runtime, session: Session, row: Region, what: str, said: Mapping[str, Any]
) -> None:
    deed = Deed(f"regions.{what}", "regions", row.id, details={**said, "region": row.name})
    entries.note(session, deed, by=me(), at=platform.now())


def _window(values: dict[str, Any]) -> dict[str, Any]:
    return window(
        {
            "from": values["begin"],
            "to": values["end"],
            "zone": values["zone"],
            "upload_kib": values["upload"],
            "download_kib": values["download"],
        }
    ).to_json()


@region.command()
@common
def check(home: Path | None, as_json: bool) -> None:
    """Reach every region: bucket, credentials, clock. Exit 3 if one cannot be reached.

    It also names what a region does not say and a rule of some tenant needs.

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
        found[-1]["not_said"] = not_said(row)
    Screen(as_json).table(
        found,
        ["region", "is", "clock apart (s)", "does not say", "problem"],
        [
            [
                e["name"],
                "up" if e["ok"] else "NOT REACHED",
                e.get("seconds_apart"),
                ", ".join(e["not_said"]),
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


def not_said(row: Region) -> list[str]:
    """What of its place a region keeps to itself, so that rules of placement pass it by."""
    said = {"country": row.country, "coordinates": row.position}
    return [name for name, value in said.items() if value is None]


def _named(session: Session, name: str) -> Region:
    row = session.execute(select(Region).where(Region.name == name)).scalar_one_or_none()
    if row is None:
        raise NotFound(
            f"There is no region {name!r}. `strongroom region list` shows all.",
            code="unknown-region",
        )
    return row


def _position(document: dict[str, Any]) -> str:
    if document["latitude"] is None:
        return document["country"] or "not said"
    north, east = document["latitude"], document["longitude"]
    return f"{abs(north):.2f}° {'NS'[north < 0]} {abs(east):.2f}° {'EW'[east < 0]}"


def _limit_text(each: dict[str, Any]) -> str:
    ways = [("up", each["upload_kib"]), ("down", each["download_kib"])]
    held = ", ".join(f"{way} {kib} KiB/s" for way, kib in ways if kib is not None)
    return f"{each['from']}-{each['to']} {each['zone']}: {held}"


def _document(row: Region) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": str(row.state),
        "endpoint": row.endpoint,
        "bucket": row.bucket,
        "location": row.location,
        "latitude": row.latitude,
        "longitude": row.longitude,
        "country": row.country,
        "provider": row.provider,
        "bandwidth": row.bandwidth or [],
    }


COMMANDS = (region,)
