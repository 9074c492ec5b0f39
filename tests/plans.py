"""How PostgreSQL carries out what code asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session


@dataclass
class Asked:
    """The statements of a session, in order, with their values."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def plans(self, session: Session) -> list[Any]:
        """The plan of each, for the same session."""
        line = session.connection().connection.driver_connection
        assert line is not None
        found = []
        for statement, values in self.statements:
            cursor = line.cursor()
            cursor.execute(f"explain (format json, costs off) {statement}", values)
            found.append(cursor.fetchone()[0][0]["Plan"])
        return found

    def scanned(self, session: Session) -> set[str]:
        """The tables that some statement reads from end to end."""
        return {
            node["Relation Name"]
            for plan in self.plans(session)
            for node in _nodes(plan)
            if node["Node Type"] == "Seq Scan"
        }


@contextmanager
def asked(session: Session) -> Iterator[Asked]:
    """Takes down what the session asks meanwhile."""
    line, found = session.connection(), Asked()

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        found.statements.append((statement, values))

    event.listen(line, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(line, "before_cursor_execute", note)


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)
