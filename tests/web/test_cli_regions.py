"""Where regions lie, what they are held to, and what tenants ask of them, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from strongroom.db import Role
from strongroom.regions import Region
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tenants import plans
from tests.web.command_line import Desk, sit_down

NEW = ["--name", "Acme", "--plan", "starter", "--timezone", "Asia/Dubai"]
NEW += ["--country", "AE", "--locale", "en"]


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    return sit_down(stack, runtime, tmp_path)


def region(desk: Desk, name: str) -> dict[str, object]:
    [found] = [each for each in desk.json("region", "list") if each["name"] == name]
    return dict(found)


def test_embedded_regions_say_where_they_lie(desk: Desk) -> None:
    assert [each["country"] for each in desk.json("region", "list")] == ["AE", "SA"]
    assert "24.71° N 46.68° E" in desk("region", "list").out


def test_a_region_is_placed_elsewhere_and_what_is_not_given_stays(desk: Desk) -> None:
    desk.json("region", "place", "region-b", "--country", "EG", "--provider", "nile")

    found = region(desk, "region-b")
    assert (found["country"], found["provider"], found["latitude"]) == ("EG", "nile", 24.7136)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("place region-b", "nothing-given"),
        ("place region-b --country XX", "bad-country"),
        ("place region-b --latitude 95 --longitude 0", "bad-position"),
        ("place region-b --latitude 9", "half-a-position"),
        ("place nowhere --country AE", "unknown-region"),
        ("limit region-b", "bad-limit"),
        ("limit region-b --clear --upload 5", "bad-limit"),
        ("limit region-b --from 08:00 --to 18:00 --zone Mars --upload 5", "bad-limit"),
        ("limit region-b --from 08:00 --to 18:00 --zone UTC", "bad-limit"),
        ("limit region-b --from 8 --to 18:00 --zone UTC --upload 5", "bad-limit"),
        ("limit nowhere --clear", "unknown-region"),
    ],
)
def test_what_makes_no_sense_is_refused(desk: Desk, words: str, code: str) -> None:
    assert desk.refused("region", *words.split()) == (2, code)


def test_limits_are_added_shown_and_cleared(desk: Desk) -> None:
    limit = ["region", "limit", "region-a"]
    office = ["--from", "08:00", "--to", "18:00", "--zone", "Asia/Dubai", "--upload", "5120"]
    desk.json(*limit, *office)
    desk.json(*limit, *["--from", "18:00", "--to", "08:00", "--zone", "UTC", "--download", "9"])

    assert [each["from"] for each in region(desk, "region-a")["bandwidth"]] == ["08:00", "18:00"]  # type: ignore[attr-defined]
    assert "up 5120 KiB/s" in " ".join(desk("region", "list").out.split())
    desk.json(*limit, "--clear")
    assert region(desk, "region-a")["bandwidth"] == []


def test_a_tenant_says_where_its_data_may_lie(desk: Desk) -> None:
    desk.json("tenant", "add", "acme", *NEW, "--keep-in", "SA, AE")

    shown = desk.json("tenant", "show", "acme")
    assert shown["keep_in"] == ["AE", "SA"]
    assert shown["policy"]["placement"] == {"least_km": 0, "countries": ["AE", "SA"]}


def test_a_tenant_that_no_region_may_take_is_refused_with_the_reason(desk: Desk) -> None:
    assert desk.refused("tenant", "add", "acme", *NEW, "--keep-in", "AE") == (2, "too-few-regions")
    assert desk.refused("tenant", "add", "acme", *NEW, "--keep-in", "AE,") == (2, "bad-country")
    said = desk("tenant", "add", "acme", *NEW, "--keep-in", "AE", "--json")
    assert said.error["params"]["excluded"] == {"region-b": "country"}


def test_doctor_and_check_name_what_a_rule_needs_and_a_region_does_not_say(
    desk: Desk, runtime: Runtime, tmp_path: Path
) -> None:
    nothing = {"country": None, "latitude": None, "longitude": None}
    with runtime.database.session(Role.OPERATOR) as session:
        session.execute(update(Region).where(Region.name == "region-b").values(**nothing))
    assert [each["not_said"] for each in desk.json("region", "check")] == [
        [],
        ["country", "coordinates"],
    ]
    assert placement_of(desk)["ok"]  # no rule asks for it

    plan = plans.SHIPPED.read_text().partition("[business]")[0]
    file = tmp_path / "plans.toml"
    file.write_text(plan + "placement = { least_km = 100 }\n")
    desk.json("plan", "apply", file)

    found = placement_of(desk)
    assert not found["ok"]
    assert "region-b: coordinates" in str(found["found"])
    assert "region place" in str(found["remedy"])


def placement_of(desk: Desk) -> dict[str, object]:
    said = desk("doctor", "--json").document
    [found] = [each for each in said if each["name"] == "placement of copies"]
    return dict(found)
