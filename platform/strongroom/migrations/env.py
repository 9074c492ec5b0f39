"""Runs migrations over one connection, one job at a time."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from strongroom.db import Moment
from strongroom.schema import LOCK


def render(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Migrations stand alone: they name the column's type, not ours."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.TIMESTAMP(timezone=True)"
    return False


config = context.config
engine = create_engine(config.attributes["url"], poolclass=NullPool)
with engine.begin() as connection:
    connection.execute(text("set lock_timeout = '10s'"))
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(
        connection=connection,
        target_metadata=config.attributes["metadata"],
        transaction_per_migration=False,
        render_item=render,
    )
    context.run_migrations()
