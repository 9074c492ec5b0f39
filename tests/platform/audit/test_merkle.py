"""The Merkle log against the vectors of Certificate Transparency, and against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit import merkle
from strongroom.audit.merkle import Range, leaf_hash

# Leaves and roots of the Certificate Transparency tests, for sizes 0 to 8.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(each) for each in LEAVES]
INCLUSION = {  # (index, size): the path
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCY = {  # (old, size): the proof
    (1, 1): [],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_standard(size: int) -> None:
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_standard(index: int, size: int) -> None:
    path = merkle.inclusion(index, size, merkle.over(HASHES))
    assert [each.hex() for each in path] == INCLUSION[index, size]


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_standard(old: int, size: int) -> None:
    path = merkle.consistency(old, size, merkle.over(HASHES))
    assert [each.hex() for each in path] == CONSISTENCY[old, size]


sizes = st.integers(1, 70)
MANY = [leaf_hash(bytes([n])) for n in range(80)]


@given(st.data(), sizes)
def test_every_leaf_is_proven_and_nothing_else_is(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion(index, size, merkle.over(MANY))
    root = merkle.root(MANY[:size])
    assert merkle.is_included(MANY[index], index, size, path, root)
    other = data.draw(st.integers(0, size + 2).filter(lambda n: n != index))
    assert not merkle.is_included(MANY[index], other, size, path, root)
    assert not merkle.is_included(MANY[79], index, size, path, root)
    assert not merkle.is_included(MANY[index], index, size, [*path, MANY[0]], root)
    if path:
        assert not merkle.is_included(MANY[index], index, size, path[:-1], root)
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], MANY[79], *path[at + 1 :]]
        assert not merkle.is_included(MANY[index], index, size, changed, root)


@given(st.data(), sizes)
def test_every_beginning_is_proven_and_nothing_else_is(data: st.DataObject, size: int) -> None:
    old = data.draw(st.integers(0, size))
    path = merkle.consistency(old, size, merkle.over(MANY))
    before, after = merkle.root(MANY[:old]), merkle.root(MANY[:size])
    assert merkle.is_consistent(old, size, path, before, after)
    assert not merkle.is_consistent(old, size, [*path, MANY[0]], before, after)
    assert not merkle.is_consistent(old, size, path, MANY[79], after)
    if old < size and old > 0:
        assert not merkle.is_consistent(old, size, path, before, MANY[79])
        assert not merkle.is_consistent(old, size, path[:-1], before, after)
        other = [*MANY[: old - 1], MANY[79], *MANY[old:size]]  # the past was changed
        forged = merkle.consistency(old, size, merkle.over(other))
        assert not merkle.is_consistent(old, size, forged, before, merkle.root(other))


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_tree_that_grows_piece_by_piece_is_the_tree_of_all(pieces: list[int]) -> None:
    grown, count = Range(), 0
    for piece in pieces:
        new = [MANY[(count + n) % 80] for n in range(piece)]
        grown, count = grown.extended(new), count + piece
        grown = Range.decoded(grown.size, grown.encoded())
    assert grown.root() == merkle.root(MANY[n % 80] for n in range(count))
    assert len(grown.peaks) == count.bit_count()


def test_peaks_that_are_not_of_that_size_are_refused() -> None:
    with pytest.raises(ValueError, match="not the peaks of 3"):
        Range.decoded(3, bytes(32))
    with pytest.raises(ValueError, match="has not 1 peaks"):
        Range(3, (bytes(32),))
