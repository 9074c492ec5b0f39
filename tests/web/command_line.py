"""The command line in this process, with the work carried out by threads beside it.

A `Desk` is a home whose stack.json names the per-test database, so that commands find the platform
as they always do. `working()` does what dispatcher and workers do, for as long as the block lasts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from strongroom.db import Role
from strongroom.dispatch import nudge
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.stack.home import Home
from tests import cast
from web import duties
from web.cli import main

Counts = dict[str, int]
# Which other roles may not even count.


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        error = self.document["error"]
        assert set(self.document) == {"error"}
        assert set(error) == {"code", "message", "params"}
        return dict(error)


@dataclass(frozen=True)
class Desk:
    """Where an operator sits."""

    home: Path
    runtime: Runtime

    def __call__(self, *words: str | Path, typed: str | None = None) -> Said:
        """Run a command of this home."""
        return run(*words, "--home", self.home, typed=typed)

    def json(self, *words: str | Path) -> Any:
        """Its document, when it ends well."""
        said = self(*words, "--json")
        assert said.code == 0, said
        return said.document

    def refused(self, *words: str | Path, typed: str | None = None) -> tuple[int, str]:
        """Exit code and error code; and no row of any table has come or gone."""
        before = self.counts()
        said = self(*words, "--json", typed=typed)
        assert self.counts() == before
        assert said.error["message"] in said.err
        assert "Traceback" not in said.err
        return said.code, str(said.error["code"])

    def counts(self) -> Counts:
        """Rows of every table."""
        return cast.counts(self.runtime)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Whatever falls due is carried out, until the block ends."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self._work, args=(over, due), name=due.task)
            for due in duties.DUES
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _work(self, over: threading.Event, due: Any) -> None:
        self.runtime.app.loader.import_default_modules()
        while not over.wait(0.2):
            now = self.runtime.now()
            with self.runtime.database.session(Role.DISPATCHER) as session:
                found = nudge(session, due, now=now, again=now)
            for tenant, subject in found:
                self.runtime.app.tasks[due.task](str(tenant), str(subject))


def run(*words: str | Path, typed: str | None = None) -> Said:
    """As from a shell; what is printed is caught."""
    result: Result = CliRunner().invoke(main, [str(word) for word in words], input=typed)
    return Said(result.exit_code, result.stdout, result.stderr)


def sit_down(stack: Embedded, runtime: Runtime, home: Path) -> Desk:
    """`home` has the runtime's keys and work folder in it."""
    published = json.loads(stack.home.stack.read_text())
    del published["home"], published["process"]
    published["databases"] = {str(role): url for role, url in runtime.settings.databases.items()}
    Home(home).publish(published)
    return Desk(home, runtime)
