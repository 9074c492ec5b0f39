"""The polynomial by which restic cuts files into chunks: random, irreducible, of degree 53.

Polynomials over GF(2) are integers, bit i being the coefficient of x^i, as in restic's chunker.
The choice and the test (Ben-Or) are the same as there: restic refuses any other at every start.
"""

from __future__ import annotations

import os
from collections.abc import Callable

DEGREE = 53
_MOST_TRIES = 1_000_000  # about one in 27 candidates is irreducible


def random_polynomial(random: Callable[[int], bytes] = os.urandom) -> int:
    """An irreducible polynomial of degree 53 with constant term 1."""
    for _ in range(_MOST_TRIES):
        candidate = int.from_bytes(random(8), "little") & ((1 << (DEGREE + 1)) - 1)
        candidate |= (1 << DEGREE) | 1
        if is_irreducible(candidate):
            return candidate
    raise RuntimeError("The source of randomness gave no irreducible polynomial.")


def is_irreducible(polynomial: int) -> bool:
    """Ben-Or: no common factor with x^(2^i) - x, for i up to half the degree."""
    power = 2  # x
    for _ in range((polynomial.bit_length() - 1) // 2):
        power = _remainder(_square(power), polynomial)
        if _common_factor(polynomial, _remainder(power ^ 2, polynomial)) != 1:
            return False
    return polynomial.bit_length() > 1


def _square(polynomial: int) -> int:
    # Over GF(2) squaring spreads the bits: the binary digits read in base 4.
    return int(f"{polynomial:b}", 4)


def _remainder(dividend: int, divisor: int) -> int:
    width = divisor.bit_length()
    while (excess := dividend.bit_length() - width) >= 0:
        dividend ^= divisor << excess
    return dividend


def _common_factor(one: int, other: int) -> int:
    while other:
        one, other = other, _remainder(one, other)
    return one
