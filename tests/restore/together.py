"""Two requests at the same moment: real threads and sessions, and no luck in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime
from tenants.models import Tenant

Act = Callable[[Session], Any]
CEILING_SECONDS = 120.0  # waiting ends as soon as the second one waits, or is through


class Together:
    """The second act begins while the first is not committed, and ends after it is.

    `first` and `second` are what they returned, or the error that they raised.
    """

    def __init__(self, runtime: Runtime, tenant: Tenant, first: Act, second: Act) -> None:
        self.runtime, self.tenant = runtime, tenant
        self.first: Any = None
        self.second: Any = None
        self.waited = False  # the second one was held up by the first
        self._pid: list[int] = []
        thread = threading.Thread(target=self._second, args=(second,), name="second")
        with self._session() as session:
            self.first = first(session)
            session.flush()
            thread.start()
            self._until_it_waits(session, thread)
        thread.join()

    def _second(self, act: Act) -> None:
        try:
            with self._session() as session:
                self._pid.append(session.execute(text("select pg_backend_pid()")).scalar_one())
                self.second = act(session)
        except StrongroomError as error:
            self.second = error

    def _until_it_waits(self, session: Session, thread: threading.Thread) -> None:
        held = text("select count(*) from pg_locks where pid = :pid and not granted")
        end = time.monotonic() + CEILING_SECONDS
        while thread.is_alive() and not self.waited and time.monotonic() < end:
            thread.join(0.01)
            if self._pid:
                self.waited = bool(session.execute(held, {"pid": self._pid[0]}).scalar_one())

    def _session(self) -> Any:
        return self.runtime.database.session(Role.WEB, tenant=self.tenant.id)
