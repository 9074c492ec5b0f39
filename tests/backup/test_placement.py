"""Which regions a tenant's copies may lie in, over the whole space of plans, regions and tenants."""

from __future__ import annotations

from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup import placement
from backup.placement import Place, TooFewRegions, kilometres
from backup.policy import BadPolicy, Placement
from strongroom.errors import BadValue

COUNTRIES = ("AE", "BH", "DE", "SA")
DUBAI, RIYADH, FRANKFURT = (25.2048, 55.2708), (24.7136, 46.6753), (50.1109, 8.6821)
# Spots that are near, far and on the other side of the date line from one another.
POSITIONS = (DUBAI, RIYADH, FRANKFURT, (25.3, 55.4), (-18.1, 178.4), (-18.0, -179.8), (90.0, 0.0))
REASONS = {"closed", "country-not-said", "country", "position-not-said", "too-near"}


def place(number: int, **values: object) -> Place:
    return Place(id=UUID(int=number), name=f"r{number}", rank=number, **values)  # type: ignore[arg-type]


def drawn(parts: list[tuple[bool, str | None, tuple[float, float] | None]]) -> list[Place]:
    return [
        place(number, open=is_open, country=country, position=position)
        for number, (is_open, country, position) in enumerate(parts)
    ]


regions = st.lists(
    st.tuples(
        st.booleans(),
        st.none() | st.sampled_from(COUNTRIES),
        st.none() | st.sampled_from(POSITIONS),
    ),
    max_size=7,
).map(drawn)
countries = st.none() | st.sets(st.sampled_from(COUNTRIES), min_size=1).map(tuple)
plans = st.builds(Placement, st.sampled_from([0, 1, 20, 500, 900, 4000, 20_000]), countries)


def obeys(chosen: tuple[Place, ...], rule: Placement, keep_in: object, have: set[UUID]) -> bool:
    """The rules again, said another way."""
    for one in chosen:
        if not one.open and one.id not in have:
            return False
        for allowed in (rule.countries, keep_in):
            if allowed is not None and one.country not in allowed:  # type: ignore[operator]
                return False
    if not rule.least_km:
        return True
    return all(
        one.position is not None
        and other.position is not None
        and kilometres(one.position, other.position) >= rule.least_km
        for one, other in combinations(chosen, 2)
    )


@given(regions, plans, countries, st.integers(1, 4), st.sets(st.integers(0, 6), max_size=4))
def test_what_is_chosen_keeps_every_rule_and_what_can_be_chosen_is_found(
    found: list[Place],
    plan: Placement,
    keep_in: tuple[str, ...] | None,
    count: int,
    had: set[int],
) -> None:
    have = {UUID(int=number) for number in had}
    possible = any(obeys(each, plan, keep_in, have) for each in combinations(found, count))
    try:
        rule = placement.narrowed(plan, keep_in)
        chosen = placement.choose(found, count=count, rule=rule, have=have)
    except TooFewRegions as error:
        assert not possible
        assert set(error.params["excluded"].values()) <= REASONS  # type: ignore[attr-defined]
        assert all(name in error.message for name in error.params["excluded"])  # type: ignore[attr-defined]
        left = len(found) - len(error.params["excluded"])  # type: ignore[arg-type]
        assert left < count  # every other region has its reason
    except BadValue as error:
        assert error.code == "nowhere-allowed"
        assert not possible
    else:
        assert len({each.id for each in chosen}) == count
        assert obeys(tuple(chosen), plan, keep_in, have)


@given(plans, countries, st.none() | st.sampled_from(COUNTRIES))
def test_a_tenant_only_ever_narrows(
    plan: Placement, keep_in: tuple[str, ...] | None, country: str | None
) -> None:
    here = place(1, country=country)
    try:
        rule = placement.narrowed(plan, keep_in)
    except BadValue:
        return
    if placement.may_lie(here, rule) is None:
        assert placement.may_lie(here, plan) is None
        assert keep_in is None or country in keep_in


def test_without_rules_regions_are_taken_by_rank() -> None:
    found = [place(3), place(1), place(2, open=False)]

    chosen = placement.choose(found, count=2, rule=Placement())

    assert [each.name for each in chosen] == ["r1", "r3"]


def test_regions_that_the_tenant_has_come_first() -> None:
    found = [place(1), place(2), place(3, open=False)]

    chosen = placement.choose(found, count=2, rule=Placement(), have={UUID(int=3)})

    assert [each.name for each in chosen] == ["r3", "r1"]


def test_one_copy_needs_no_distance_and_so_no_coordinates() -> None:
    assert placement.choose([place(1)], count=1, rule=Placement(500)) == [place(1)]


def test_a_nearer_first_choice_is_given_up_where_two_others_are_far_enough_apart() -> None:
    """r2 is near to both others, which are 870 km apart."""
    middle = (25.0, 51.0)
    found = [
        place(1, position=middle),
        place(2, position=DUBAI),
        place(3, position=RIYADH),
    ]

    chosen = placement.choose(found, count=2, rule=Placement(800))

    assert [each.name for each in chosen] == ["r2", "r3"]


def test_a_refusal_says_which_rule_excluded_which_region() -> None:
    found = [
        place(1, country="AE", position=DUBAI),
        place(2, country="AE", position=(25.3, 55.4)),
        place(3, country="DE", position=FRANKFURT),
        place(4, position=RIYADH),
        place(5, country="SA"),
        place(6, country="SA", position=RIYADH, open=False),
    ]

    with pytest.raises(TooFewRegions) as caught:
        placement.choose(found, count=2, rule=Placement(500, ("AE", "SA")))

    assert caught.value.params["excluded"] == {
        "r2": "too-near",
        "r3": "country",
        "r4": "country-not-said",
        "r5": "position-not-said",
        "r6": "closed",
    }
    assert "r2 is 17 km from r1" in caught.value.message
    assert "r3 lies in DE" in caught.value.message


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (DUBAI, RIYADH, 870),
        (DUBAI, FRANKFURT, 4840),
        ((-18.1, 178.4), (-18.0, -179.8), 191),  # over the date line
        ((90.0, 0.0), (-90.0, 77.0), 20_015),
        (DUBAI, DUBAI, 0),
    ],
)
def test_distances_are_great_circles(
    one: tuple[float, float], other: tuple[float, float], wanted: int
) -> None:
    assert kilometres(one, other) == pytest.approx(wanted, abs=10)
    assert kilometres(other, one) == pytest.approx(kilometres(one, other))


def test_the_nearest_to_the_preferred_region_comes_first_and_the_unknown_last() -> None:
    found = [
        place(1, position=DUBAI),
        place(2),
        place(3, position=FRANKFURT),
        place(4, position=RIYADH),
    ]

    assert [p.name for p in placement.nearest_first(found)] == ["r1", "r4", "r3", "r2"]
    assert [p.name for p in placement.nearest_first(found[1:])] == ["r2", "r3", "r4"]


@pytest.mark.parametrize(
    "values",
    [
        (-1, None),
        (20_001, None),
        (0, ()),
        (0, ("ae",)),
        (0, ("UAE",)),
        (0, (1,)),
        (True, None),
    ],
)
def test_nonsense_in_a_plan_is_refused(values: tuple[int, tuple[str, ...] | None]) -> None:
    with pytest.raises(BadPolicy, match=r"^placement\."):
        Placement(*values)
