"""Regions: where copies lie. Everybody reads them; operators add them."""

from __future__ import annotations

import enum
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Mapped, mapped_column

from strongroom import countries, storage
from strongroom.db import Base
from strongroom.errors import BadValue
from strongroom.ids import new_id

CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MOST_KIB = 100 * 1024 * 1024  # 100 GiB a second: beyond it, a slip of the finger


class RegionState(enum.StrEnum):
    """Whether new copies go there."""

    OPEN = "open"
    CLOSED = "closed"  # an operator took it out of use; what lies there stays readable


class Region(Base):
    """One bucket at one provider in one place."""

    __tablename__ = "regions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    endpoint: Mapped[str]
    bucket: Mapped[str]
    location: Mapped[str]  # the provider's name of the place, signed into requests
    role_arn: Mapped[str]  # the role whose rights are cut to a tenant's prefix
    rank: Mapped[int]  # lower comes first when a tenant gets its regions
    latitude: Mapped[float | None]  # degrees north; None: not said, so no distance can be kept
    longitude: Mapped[float | None]  # degrees east
    country: Mapped[str | None]  # ISO 3166-1 alpha-2: under whose law the data lies
    provider: Mapped[str | None]  # who runs it, such as "aws"
    bandwidth: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")  # of `Window`s
    state: Mapped[RegionState] = mapped_column(default=RegionState.OPEN)
    created_at: Mapped[datetime]

    def address(self) -> storage.Region:
        """What the storage module needs to reach it."""
        return storage.Region(
            name=self.name,
            endpoint=self.endpoint,
            bucket=self.bucket,
            location=self.location,
            role_arn=self.role_arn,
        )

    @property
    def position(self) -> tuple[float, float] | None:
        """Degrees north and east, if both were said."""
        if self.latitude is None or self.longitude is None:
            return None
        return self.latitude, self.longitude

    def __repr__(self) -> str:
        return f"<Region {self.name}>"


def check_place(
    *,
    latitude: float | None,
    longitude: float | None,
    country: str | None,
    provider: str | None,
) -> None:
    """Raises BadValue for what cannot be where a region lies. Pure."""
    if (latitude is None) != (longitude is None):
        raise BadValue(
            "A position has two figures: give --latitude and --longitude, or neither.",
            code="half-a-position",
        )
    if latitude is not None and not -90 <= latitude <= 90:
        raise BadValue(
            f"A latitude goes from -90 (south) to 90 (north), found {latitude}.",
            code="bad-position",
        )
    if longitude is not None and not -180 <= longitude <= 180:
        raise BadValue(
            f"A longitude goes from -180 (west) to 180 (east), found {longitude}.",
            code="bad-position",
        )
    if country is not None:
        countries.check(country)
    if provider is not None and (not provider.strip() or len(provider) > 60):
        raise BadValue("A provider's name has 1 to 60 characters, like aws.", code="bad-provider")


@dataclass(frozen=True)
class Window:
    """Hours of the day in which traffic with a region is held back."""

    begin: time  # local
    end: time  # local, the first minute that is free again; the same as `begin`: all day
    zone: ZoneInfo
    upload_kib: int | None  # KiB a second to the region; None: as fast as it goes
    download_kib: int | None  # KiB a second from it

    def covers(self, now: datetime) -> bool:
        """Whether the hour is one of them; a window may go over midnight."""
        local = now.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end

    def to_json(self) -> dict[str, Any]:
        return {
            "from": f"{self.begin:%H:%M}",
            "to": f"{self.end:%H:%M}",
            "zone": self.zone.key,
            "upload_kib": self.upload_kib,
            "download_kib": self.download_kib,
        }


def window(values: Mapping[str, Any]) -> Window:
    """From JSON, as `Window.to_json` writes it. Raises BadValue, naming the field."""
    clocks = []
    for name in ("from", "to"):
        found = values.get(name)
        if not isinstance(found, str) or not CLOCK.fullmatch(found):
            raise _bad_limit(name, found, 'a local time, "00:00" to "23:59"')
        clocks.append(time.fromisoformat(found))
    try:
        zone = ZoneInfo(str(values.get("zone")))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise _bad_limit("zone", values.get("zone"), "a zone of IANA, like Asia/Dubai") from None
    for name in ("upload_kib", "download_kib"):
        found = values.get(name)
        if found is not None and not (type(found) is int and 1 <= found <= MOST_KIB):
            raise _bad_limit(name, found, f"KiB a second, 1 to {MOST_KIB}")
    upload, download = values.get("upload_kib"), values.get("download_kib")
    if upload is None and download is None:
        raise _bad_limit("upload_kib and download_kib", None, "at least one of the two")
    return Window(clocks[0], clocks[1], zone, upload, download)


@dataclass(frozen=True)
class Limits:
    """What traffic with a region is held to now, in KiB a second; None: nothing holds it."""

    upload_kib: int | None = None
    download_kib: int | None = None


def limits_at(bandwidth: Iterable[Mapping[str, Any]], now: datetime) -> Limits:
    """The least of what the windows of this hour allow. Pure; `now` is aware."""
    current = [each for each in map(window, bandwidth) if each.covers(now)]
    ups = [each.upload_kib for each in current if each.upload_kib is not None]
    downs = [each.download_kib for each in current if each.download_kib is not None]
    return Limits(min(ups, default=None), min(downs, default=None))


def _bad_limit(name: str, found: object, wanted: str) -> BadValue:
    return BadValue(
        f"A bandwidth limit has {name}: wanted {wanted}, found {found!r}.", code="bad-limit"
    )
