"""A live server that falls silent: a restore says so in time, and never waits for ever."""

from __future__ import annotations

import pytest

from backup.sources import connection
from backup.sources.connection import Silent, SourceOdd
from restore import databases
from tests.backup.odd_server import mute, odd_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(databases, "RIGHTS_SECONDS", 1.0)


@pytest.mark.usefixtures("impatient")
def test_a_look_at_what_is_live_hangs_up() -> None:
    with odd_server(mute) as odd, pytest.raises(Silent, match="within 2 seconds"):
        databases.look(odd.source.login(odd.access), seconds=1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("schema", [None, "acme"])
def test_the_question_what_a_user_may_do_hangs_up(schema: str | None) -> None:
    with odd_server(mute) as odd, pytest.raises(Silent, match="within 1 seconds"):
        databases.check(odd.source.login(odd.access), schema=schema, in_place=True)


def test_answers_that_are_none_are_an_odd_server() -> None:
    with odd_server(lambda _: [b"\xff"]) as odd:
        login = odd.source.login(odd.access)
        with pytest.raises(SourceOdd):
            databases.look(login, seconds=100)
        with pytest.raises(SourceOdd):
            databases.check(login, schema=None, in_place=True)
