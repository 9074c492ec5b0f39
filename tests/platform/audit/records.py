"""A record of a platform's own in the shared regions, and what is done to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, text

from strongroom.audit import entries, inspecting
from strongroom.audit.entries import Deed, Entry
from strongroom.audit.places import Place
from strongroom.audit.sequencing import Sequencer, all_places
from strongroom.db import Role
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tests.cast import ADA


@dataclass(frozen=True)
class Desk:
    """Acts on record, the sequencer, and whoever can do anything to the database."""

    runtime: Runtime
    stack: Embedded

    def note(self, count: int = 1, *, tenant: uuid.UUID | None = None) -> list[uuid.UUID]:
        with self.runtime.database.session(Role.OPERATOR, tenant=tenant) as session:
            return [self._note(session, n).id for n in range(count)]

    def _note(self, session: Any, number: int) -> Entry:
        deed = Deed("tests.done", "things", uuid.uuid4(), details={"number": number})
        return entries.note(session, deed, by=ADA, at=self.runtime.now())

    def sequence(self) -> int:
        """As a process does that was just started."""
        return Sequencer(self.runtime).round()

    def places(self) -> list[Place]:
        return all_places(self.runtime)

    @contextmanager
    def superuser(self) -> Iterator[Any]:
        """A connection to the control database past every right and policy."""
        assert self.stack.postgres.cluster is not None
        name = self.runtime.database.engine(Role.MIGRATOR).url.database
        with self.stack.postgres.cluster.connect(str(name)) as line:
            yield line

    def tamper(self, statement: str, *values: object) -> None:
        with self.superuser() as line:
            line.execute(statement.encode(), list(values))

    def problems(self) -> list[tuple[str, int | None]]:
        return [(each.code, each.index) for each in inspecting.inspect(self.runtime).problems]

    def rows(self, query: str) -> list[Any]:
        engine = create_engine(self.runtime.settings.databases[Role.DUMPER])
        try:
            with engine.connect() as line:
                return list(line.execute(text(query)).all())
        finally:
            engine.dispose()
