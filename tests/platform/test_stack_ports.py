"""Ports: free, distinct, remembered, and never taken from others."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.stack import ports
from strongroom.stack.ports import Need, PortTaken


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_chosen_ports_are_distinct_and_free() -> None:
    chosen = ports.choose(8)

    assert len(set(chosen)) == 8
    assert all(ports.is_free(port) for port in chosen)


def test_a_port_whose_grpc_twin_is_taken_is_not_chosen() -> None:
    (first,) = ports.choose(1, with_grpc=True, chance=random.Random(1))

    with listening(first + ports.GRPC_OFFSET):
        (second,) = ports.choose(1, with_grpc=True, chance=random.Random(1))

    assert second != first


def test_ports_stay_the_same_from_start_to_start(tmp_path: Path) -> None:
    need = Need("region-a", count=4, with_grpc=True, fixed=True)

    assert ports.reserve(tmp_path / "p", need) == ports.reserve(tmp_path / "p", need)


def test_two_components_never_share_a_port(tmp_path: Path) -> None:
    first = ports.reserve(tmp_path / "p", Need("region-a", count=4))
    second = ports.reserve(tmp_path / "p", Need("region-b", count=4))

    assert not set(first) & set(second)


def test_a_taken_port_that_nobody_was_told_is_replaced(tmp_path: Path) -> None:
    (before,) = ports.reserve(tmp_path / "p", Need("valkey"))

    with listening(before):
        (after,) = ports.reserve(tmp_path / "p", Need("valkey"))

    assert after != before
    assert ports.reserve(tmp_path / "p", Need("valkey")) == (after,)


def test_a_taken_port_that_must_stay_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PATIENCE", 0.1)
    need = Need("region-a", fixed=True)
    (port,) = ports.reserve(tmp_path / "p", need)

    with listening(port), pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*end it"):
        ports.reserve(tmp_path / "p", need)


def test_a_damaged_list_of_ports_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("{")

    with pytest.raises(ports.NoPort, match="damaged"):
        ports.reserve(tmp_path / "p", Need("valkey"))
