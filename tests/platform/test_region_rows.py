"""Where a region lies, and how fast it may be used at which hour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom import regions
from strongroom.errors import BadValue
from strongroom.regions import Limits

OFFICE = {"from": "08:00", "to": "18:00", "zone": "Asia/Dubai", "upload_kib": 512}
NIGHT = {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin", "download_kib": 100}
ALWAYS = {"from": "00:00", "to": "00:00", "zone": "UTC", "upload_kib": 900, "download_kib": 900}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "moment", "limits"),
    [
        ([], "2030-01-10 12:00", Limits()),
        ([OFFICE], "2030-01-10 03:59", Limits()),  # 07:59 in Dubai
        ([OFFICE], "2030-01-10 04:00", Limits(512)),
        ([OFFICE], "2030-01-10 13:59", Limits(512)),
        ([OFFICE], "2030-01-10 14:00", Limits()),
        ([NIGHT], "2030-01-10 21:30", Limits(None, 100)),  # 22:30 in winter
        ([NIGHT], "2030-07-10 20:30", Limits(None, 100)),  # 22:30 in summer
        ([NIGHT], "2030-01-10 20:30", Limits()),
        ([NIGHT], "2030-01-10 04:59", Limits(None, 100)),
        ([NIGHT], "2030-01-10 05:00", Limits()),
        ([ALWAYS], "2030-01-10 00:00", Limits(900, 900)),
        ([ALWAYS, OFFICE], "2030-01-10 05:00", Limits(512, 900)),  # the least counts
    ],
)
def test_the_windows_of_the_hour_count(
    windows: list[dict[str, Any]], moment: str, limits: Limits
) -> None:
    assert regions.limits_at(windows, at(moment)) == limits


def test_a_window_comes_back_from_json_as_it_was() -> None:
    once = regions.window(OFFICE)

    assert regions.window(once.to_json()) == once


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from", None),
        ("from", "8:00"),
        ("to", "24:00"),
        ("to", 18),
        ("zone", "Dubai"),
        ("zone", None),
        ("zone", "../etc/passwd"),
        ("upload_kib", 0),
        ("upload_kib", -5),
        ("upload_kib", True),
        ("upload_kib", "512"),
        ("download_kib", 1.5),
        ("upload_kib", None),  # and no download: a limit of nothing
    ],
)
def test_nonsense_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadValue, match=field):
        regions.window({**OFFICE, field: value})


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"latitude": 91.0, "longitude": 0.0}, "bad-position"),
        ({"latitude": 0.0, "longitude": -180.5}, "bad-position"),
        ({"latitude": float("nan"), "longitude": 0.0}, "bad-position"),
        ({"latitude": 1.0}, "half-a-position"),
        ({"longitude": 1.0}, "half-a-position"),
        ({"country": "ae"}, "bad-country"),
        ({"country": "EU"}, "bad-country"),
        ({"country": "XX"}, "bad-country"),
        ({"provider": " "}, "bad-provider"),
    ],
)
def test_a_place_that_cannot_be_is_refused(values: dict[str, Any], code: str) -> None:
    nothing = dict.fromkeys(("latitude", "longitude", "country", "provider"))

    with pytest.raises(BadValue) as caught:
        regions.check_place(**{**nothing, **values})

    assert caught.value.code == code
