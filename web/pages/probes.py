"""Probes for whoever keeps the process running: is it alive, and can it serve."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from flask import Blueprint
from kombu import Connection
from sqlalchemy import text

from strongroom import schema_versions
from strongroom.db import Role
from strongroom.errors import StrongroomError
from strongroom.runtime import Runtime

SECONDS = 2  # a part that takes longer to answer cannot be relied on

log = structlog.get_logger(__name__)


class SchemaOld(StrongroomError):
    """The database was not migrated to this version yet."""

    code = "schema-old"


def make(runtime: Runtime) -> Blueprint:
    """`/healthz` and `/readyz`; open to all, and they name parts, never addresses."""
    probes = Blueprint("probes", __name__)
    parts: dict[str, Callable[[], None]] = {
        "database": lambda: ask_database(runtime),
        "schema": lambda: ask_schema(runtime),
        "broker": lambda: ask_broker(runtime),
    }

    @probes.get("/healthz")
    def alive() -> dict[str, bool]:
        return {"ok": True}

    @probes.get("/readyz")
    def ready() -> tuple[dict[str, object], int]:
        found = {name: _answers(name, ask) for name, ask in parts.items()}
        ok = set(found.values()) == {"ok"}
        return {"ok": ok, "parts": found}, 200 if ok else 503

    return probes


def ask_database(runtime: Runtime) -> None:
    """Raises what is wrong."""
    with runtime.database.session(page_role(runtime)) as session:
        session.execute(text(f"set local statement_timeout = '{SECONDS}s'"))
        session.execute(text("select 1"))


def ask_schema(runtime: Runtime) -> None:
    """Raises if the database is older than this code: pages would ask for what is not there."""
    with runtime.database.session(page_role(runtime)) as session:
        session.execute(text(f"set local statement_timeout = '{SECONDS}s'"))
        if schema_versions.is_old(session):
            raise SchemaOld("The schema is older than this version. Run `strongroom migrate`.")


def ask_broker(runtime: Runtime) -> None:
    """Raises what is wrong."""
    waits = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    with Connection(runtime.settings.broker, transport_options=waits) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=SECONDS)


def page_role(runtime: Runtime) -> Role:
    """The operator's, or what this process was given instead."""
    return Role.OPERATOR if Role.OPERATOR in runtime.settings.databases else Role.WEB


def _answers(name: str, ask: Callable[[], None]) -> str:
    try:
        ask()
    except SchemaOld as error:
        log.warning("the database waits for its migration", error=error.message)
        return "old"
    except Exception as error:  # noqa: BLE001 - any failure means that it cannot be used
        log.warning("a part does not answer", part=name, error=type(error).__name__)
        return "unreachable"
    return "ok"
