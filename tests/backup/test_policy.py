import json
from datetime import time
from uuid import UUID

import pytest

from backup import policy
from backup.policy import BadPolicy, EffectivePolicy, Keep, Verification, Weekday

SOURCE = UUID("01890000-0000-7000-8000-000000000001")


def written() -> dict[str, object]:
    """As somebody writes it in a plan."""
    return {
        "daily_at": "02:00",
        "weekly_on": "friday",
        "weekly_at": "03:30",
        "jitter_minutes": 60,
        "retention": {"daily": 7, "weekly": 4, "monthly": 12, "max_age_days": 400},
        "regions": 2,
        "verification": {
            "structure_every_days": 1,
            "data_every_days": 30,
            "drill_every_days": 90,
        },
        "floor": 3,
        "rpo_hours": 26,
    }


def test_a_plan_is_read_into_a_policy() -> None:
    assert policy.from_json(written()) == EffectivePolicy(
        daily_at=time(2),
        weekly_on=Weekday.FRIDAY,
        weekly_at=time(3, 30),
        jitter_minutes=60,
        retention=Keep(daily=7, weekly=4, monthly=12, max_age_days=400),
        regions=2,
        verification=Verification(1, 30, 90),
        floor=3,
        rpo_hours=26,
    )


def test_a_policy_comes_back_from_json_text_as_it_was() -> None:
    values = written() | {"source_max_age_days": {str(SOURCE): 30}}
    once = policy.from_json(values)
    again = policy.from_json(json.loads(json.dumps(once.to_json())))
    assert again == once
    assert again.source_max_age_days == {SOURCE: 30}


@pytest.mark.parametrize("name", sorted(written()))
def test_a_missing_field_is_refused_by_name(name: str) -> None:
    values = written()
    del values[name]
    with pytest.raises(BadPolicy, match=f"^{name}: .*found nothing") as refusal:
        policy.from_json(values)
    assert refusal.value.params["field"] == name


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("keep_everything", True, "keep_everything"),
        ("retention", {"hourly": 3}, "retention.hourly"),
        ("verification", {"structure_every_days": 1}, "verification.data_every_days"),
        ("daily_at", 120, "daily_at"),  # what YAML 1.1 makes of 02:00 without quotes
        ("daily_at", "2:00", "daily_at"),
        ("daily_at", "24:00", "daily_at"),
        ("daily_at", "+1:00", "daily_at"),
        ("daily_at", "٠٢:٠٠", "daily_at"),
        ("weekly_at", "02:00+03:00", "weekly_at"),
        ("weekly_on", "Friday", "weekly_on"),
        ("weekly_on", 5, "weekly_on"),
        ("jitter_minutes", -1, "jitter_minutes"),
        ("jitter_minutes", 1441, "jitter_minutes"),
        ("regions", 0, "regions"),
        ("regions", True, "regions"),
        ("regions", "2", "regions"),
        ("floor", 0, "floor"),
        ("rpo_hours", 26.0, "rpo_hours"),
        ("approve_restore_bytes", -1, "approve_restore_bytes"),
        ("approve_restore_bytes", "10 GB", "approve_restore_bytes"),
        ("retention", None, "retention"),
        ("retention", [], "retention"),
        ("retention", {"daily": 7, "max_age_days": 0}, "retention.max_age_days"),
        ("retention", {"daily": -7}, "retention.daily"),
        ("retention", {"daily": True}, "retention.daily"),
        ("source_max_age_days", {"messages": 30}, "source_max_age_days"),
        ("source_max_age_days", {str(SOURCE): "30"}, f"source_max_age_days.{SOURCE}"),
    ],
)
def test_a_bad_value_is_refused_with_field_found_and_wanted(
    field: str, value: object, named: str
) -> None:
    with pytest.raises(BadPolicy) as refusal:
        policy.from_json(written() | {field: value})
    assert refusal.value.params["field"] == named
    assert {"found", "wanted"} <= refusal.value.params.keys()
    assert refusal.value.message.startswith(f"{named}: wanted ")


@pytest.mark.parametrize("empty", [{}, {"daily": 0}, {"max_age_days": 30}])
def test_a_retention_that_keeps_nothing_cannot_exist(empty: dict[str, int]) -> None:
    with pytest.raises(BadPolicy, match="at least one of last, daily"):
        policy.from_json(written() | {"retention": empty})
    with pytest.raises(BadPolicy):
        Keep(**empty)


@pytest.mark.parametrize("nothing", [None, [], "daily", 7])
def test_what_is_no_object_is_no_policy(nothing: object) -> None:
    with pytest.raises(BadPolicy, match="^policy: wanted an object"):
        policy.from_json(nothing)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(BadPolicy) as refusal:
        policy.from_json(written() | {"weekly_on": "x" * 5000})
    assert len(refusal.value.message) < 400


def test_above_which_size_two_people_are_asked_may_be_left_out() -> None:
    assert policy.from_json(written()).approve_restore_bytes is None
    always = policy.from_json(written() | {"approve_restore_bytes": 0})
    assert always.approve_restore_bytes == 0
    assert policy.from_json(always.to_json()) == always
