"""The schema of the control database: one Alembic history, forward only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, text

from strongroom.db import Role
from strongroom.errors import StrongroomError

HISTORY = Path(__file__).parent / "migrations"
# Two migration jobs at once take turns on this lock.
LOCK = 7_215_501_882


class RolesMissing(StrongroomError):
    """The database lacks the roles that isolation rests on."""

    code = "roles-missing"
    permanent = True


def upgrade(url: str, metadata: MetaData) -> None:
    """Bring the database to the newest version; does nothing if it is there."""
    require_roles(url)
    command.upgrade(_config(url, metadata), "head")


def revise(url: str, metadata: MetaData, message: str) -> None:
    """Write a new migration from what the models have and the database has not."""
    command.revision(_config(url, metadata), message=message, autogenerate=True)


def differences(url: str, metadata: MetaData) -> list[Any]:
    """What the models have and the migrated database has not, or the other way round."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(compare_metadata(MigrationContext.configure(connection), metadata))
    finally:
        engine.dispose()


def _config(url: str, metadata: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HISTORY))
    config.attributes["url"] = url
    config.attributes["metadata"] = metadata
    return config


def require_roles(url: str) -> None:
    """Raises RolesMissing for the database at this SQLAlchemy URL."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = set(connection.execute(text("select rolname from pg_roles")).scalars())
    finally:
        engine.dispose()
    missing = sorted(role.value for role in Role if role.value not in found)
    if missing:
        raise RolesMissing(
            f"The database has no role {', '.join(missing)}. Create each with LOGIN, NOSUPERUSER and "
            "NOBYPASSRLS (the dumper alone with BYPASSRLS), then run `strongroom migrate` again.",
            roles=missing,
        )
