"""The polynomial generator, against published values, another test, and restic itself."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup import sealing
from backup.keyfile import MachinePassword, open_repository
from backup.restic import chunker, commands, creation, errors
from strongroom.errors import BadValue
from tests.backup.restic_stage import STAMP, FolderStore, Stage, stage

# From the tests of restic's chunker (polynomials_test.go).
KNOWN = {
    0x38F1E565E288DF: False,
    0x3DA3358B4DC173: True,
    0x30A8295B9D5C91: False,
    0x255F4350B962CB: False,
    0x267F776110A235: False,
    0x2F4DAE10D41227: False,
    0x2482734CACCA49: True,
    0x312DAF4B284899: False,
    0x29DFB6553D01D1: False,
    0x3548245EB26257: False,
    0x3199E7EF4211B3: False,
    0x362F39017DAE8B: False,
    0x200D57AA6FDACB: False,
    0x35E0A4EFA1D275: False,
    0x2CED55B026577F: False,
    0x260B012010893D: False,
}
# How many irreducible polynomials of each degree there are over GF(2), OEIS A001037.
COUNTS = {1: 2, 2: 1, 3: 2, 4: 3, 5: 6, 6: 9, 7: 18, 8: 30, 9: 56, 10: 99}


@pytest.mark.parametrize(("polynomial", "irreducible"), KNOWN.items())
def test_known_polynomials_are_judged_as_restic_judges_them(
    polynomial: int, irreducible: bool
) -> None:
    assert chunker.is_irreducible(polynomial) is irreducible


@pytest.mark.parametrize(("degree", "count"), COUNTS.items())
def test_there_are_as_many_as_the_theory_says(degree: int, count: int) -> None:
    of_degree = range(1 << degree, 1 << (degree + 1))
    assert sum(map(chunker.is_irreducible, of_degree)) == count


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=1 << 53, max_value=(1 << 54) - 1))
def test_ben_or_agrees_with_rabin(polynomial: int) -> None:
    assert chunker.is_irreducible(polynomial) is _rabin(polynomial)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, (1 << 27) - 1), st.integers(2, (1 << 27) - 1))
def test_a_product_is_never_irreducible(one: int, other: int) -> None:
    assert not chunker.is_irreducible(_times(one, other))


def test_random_polynomials_are_irreducible_of_degree_53_and_differ() -> None:
    numbers = random.Random(7)
    found = [chunker.random_polynomial(numbers.randbytes) for _ in range(20)]
    assert all(p.bit_length() == 54 and p & 1 and _rabin(p) for p in found)
    assert len(set(found)) == 20


def test_restic_takes_our_polynomials_and_refuses_a_product(tmp_path: Path) -> None:
    ready = stage(tmp_path)
    for polynomial in (chunker.random_polynomial(), 0x3DA3358B4DC173):
        _set_polynomial(ready, polynomial)
        commands.open_check(ready.repository, ready.here)
    _set_polynomial(ready, 0x38F1E565E288DF)
    with pytest.raises(errors.ResticError):
        commands.open_check(ready.repository, ready.here)


def test_a_polynomial_that_restic_would_refuse_makes_no_repository(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for polynomial in (0x38F1E565E288DF, 0b111, 0):
        with pytest.raises(BadValue):
            creation.create(store, MachinePassword.make(), STAMP, polynomial=polynomial)
    assert store.list("") == []


def _set_polynomial(ready: Stage, polynomial: int) -> None:
    opened = open_repository(ready.store, ready.password)
    config = creation.config_json(replace(_config(ready), polynomial=polynomial))
    ready.store.put("config", sealing.seal(opened.master, config, random.randbytes(16)))


def _config(ready: Stage) -> creation.Config:
    return creation.Config(id="ab" * 32, polynomial=0)


def _rabin(polynomial: int) -> bool:
    """53 is prime: irreducible if and only if x^(2^53) = x and there is no root in GF(2)."""
    power = 2
    for _ in range(53):
        power = _modulo(_times(power, power), polynomial)
    has_root = not polynomial & 1 or polynomial.bit_count() % 2 == 0
    return power == 2 and not has_root


def _times(one: int, other: int) -> int:
    product = 0
    while other:
        product ^= one if other & 1 else 0
        one, other = one << 1, other >> 1
    return product


def _modulo(dividend: int, divisor: int) -> int:
    for place in range(dividend.bit_length() - divisor.bit_length(), -1, -1):
        if dividend >> (place + divisor.bit_length() - 1) & 1:
            dividend ^= divisor << place
    return dividend
