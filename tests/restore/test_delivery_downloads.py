"""Files and folders as downloads: what is in them, where they lie, and how they end."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from backup.models import Point, Source
from restore.delivery.states import DeliveryState, End
from strongroom.runtime import Runtime
from tenants.models import Tenant
from tests import cast
from tests.restore.delivering import Counter, listed

BIG = os.urandom(3 * 1024 * 1024 + 17)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "office"
    cast.fill(made)
    (made / "big.bin").write_bytes(BIG)
    (made / "empty.txt").write_bytes(b"")
    return made


@pytest.fixture
def source(runtime: Runtime, acme: Tenant, folder: Path) -> Source:
    return cast.add_folder(runtime, acme, folder)


@pytest.fixture
def point(runtime: Runtime, acme: Tenant, source: Source) -> Point:
    return listed(runtime, acme)


@pytest.fixture
def counter(runtime: Runtime, acme: Tenant) -> Counter:
    return Counter(runtime, acme)


def at(folder: Path, name: str = "") -> str:
    """As the catalogue writes it."""
    return "/" + name if name else "/"


def test_a_file_comes_as_it_is_in_any_range_once_and_leaves_nothing(
    counter: Counter, point: Point, source: Source
) -> None:
    row = counter.download(point, source, "/big.bin")

    assert (row.name, row.size, row.sha256) == (
        "big.bin",
        len(BIG),
        hashlib.sha256(BIG).hexdigest(),
    )
    [lying] = counter.lying()
    assert lying.key.startswith(f"t/{point.tenant_id}/d/{row.id}/")
    assert BIG[:64] not in counter.store().get(lying.key)
    counter.redeem(row)
    assert counter.fetch(row, 5, 5) == BIG[5:6]
    assert (
        counter.fetch(row, 1024 * 1024 - 3, 2 * 1024 * 1024 + 3)
        == BIG[1024 * 1024 - 3 : 2 * 1024 * 1024 + 4]
    )
    assert counter.fetch(row, len(BIG) - 10) == BIG[-10:]
    assert counter.current(row).state is DeliveryState.REDEEMED
    assert counter.fetch(row) == BIG

    done = counter.current(row)
    assert (done.state, done.ended_as) == (DeliveryState.ENDING, End.COMPLETE)
    assert (done.sealed, done.head, done.link_hash) == (None, None, None)
    assert counter.end(row).state is DeliveryState.ENDED
    assert counter.lying() == []


def test_a_folder_comes_as_a_zip(
    counter: Counter, point: Point, source: Source, folder: Path
) -> None:
    row = counter.download(point, source, "/letters", "/فاتورة.txt")
    with zipfile.ZipFile(io.BytesIO(counter.content(row))) as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        assert names == [
            "letters/",
            "letters/0.txt",
            "letters/1.txt",
            "letters/2.txt",
            "فاتورة.txt",
            "SHA256SUMS",
        ]
        assert packed.read("letters/0.txt") == (folder / "letters" / "0.txt").read_bytes()
        sums = packed.read("SHA256SUMS").decode().splitlines()
    digest = hashlib.sha256((folder / "letters" / "0.txt").read_bytes()).hexdigest()
    assert f"{digest}  letters/0.txt" in sums
    assert row.report is not None
    assert (row.report["files"], row.report["left_out"]) == (4, 0)
    assert list((counter.runtime.folder("deliveries")).iterdir()) == []
