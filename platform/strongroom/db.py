"""The base of all models, the column types, and sessions bound to a role and a tenant."""

from __future__ import annotations

import enum
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Dialect,
    Engine,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    MetaData,
    UniqueConstraint,
    Uuid,
    any_,
    bindparam,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column
from sqlalchemy.types import TypeDecorator

from strongroom import clock
from strongroom.errors import BadValue, StrongroomError
from strongroom.ids import new_id

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
TENANT_SETTING = "app.tenant"


class Moment(TypeDecorator[datetime]):
    """A moment in time; refuses naive values on the way in, gives UTC on the way out."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else clock.aware(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else clock.aware(value)


class Base(DeclarativeBase):
    """Every table of the control database."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        datetime: Moment(),
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: JSONB(none_as_null=True),
        list[dict[str, Any]]: JSONB(none_as_null=True),
        enum.StrEnum: Enum(
            enum.StrEnum,
            native_enum=False,
            create_constraint=True,
            length=40,
            values_callable=lambda kind: [member.value for member in kind],
        ),
    }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'id', '?')}>"


class OfTenant:
    """A row that belongs to one tenant: row-level security and composite keys hang on it.

    Every table of this kind has UNIQUE (tenant_id, id), so that others refer to it by both columns
    and no reference across tenants can be stored.
    """

    __constraints__: ClassVar[tuple[Any, ...]] = ()

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)

    @declared_attr
    def tenant_id(cls) -> Mapped[uuid.UUID]:
        return mapped_column(ForeignKey("tenants.id"))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (UniqueConstraint("tenant_id", "id"), *cls.__constraints__)


def refers(column: str, table: str) -> ForeignKeyConstraint:
    """A foreign key to another table of the same tenant."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"])


class Role(enum.StrEnum):
    """The database roles; none of them but the migrator owns anything.

    The dumper alone bypasses row-level security, and may only read: its URL belongs to the process
    that dumps the control database (`strongroom serve upkeep`) and to no other.
    """

    MIGRATOR = "migrator"
    WEB = "web"
    WORKER = "worker"
    DISPATCHER = "dispatcher"
    OPERATOR = "operator"
    PEOPLE = "people"  # accounts, sessions, grants; of tenants it reads names, of data nothing
    DUMPER = "dumper"


# Each statement is planned for its values: a plan for any number of tenants counted the points of a
# hundred for 18 s instead of 0.05. Compiling a plan takes a second, and pays for none of ours.
OPTIONS = "-c timezone=UTC -c plan_cache_mode=force_custom_plan -c jit=off"
LIMITS = {Role.WEB: " -c statement_timeout=20s"}  # a page is not waited for longer


class AnotherTenant(StrongroomError):
    """A transaction bound to one tenant was asked to serve another."""

    code = "another-tenant"
    permanent = True


class NoDatabaseUrl(BadValue):
    """A process was not given what it needs."""

    code = "no-database-url"


class Database:
    """Engines by role, made when first used."""

    def __init__(self, urls: Mapping[Role, str], *, pool: int = 5) -> None:
        self._urls = dict(urls)
        self._pool = pool
        self._engines: dict[Role, Engine] = {}
        self._making = threading.Lock()  # of two engines made at once, nobody would close one

    def engine(self, role: Role) -> Engine:
        with self._making:
            if role not in self._engines:
                self._engines[role] = self._made(role)
            return self._engines[role]

    def _made(self, role: Role) -> Engine:
        if role not in self._urls:
            raise NoDatabaseUrl(
                f"This process was given no database URL for the role {role}. Set "
                f"STRONGROOM_DATABASE_URL_{role.upper()}, or name a file in its _FILE twin."
            )
        return create_engine(
            self._urls[role],
            pool_size=self._pool,
            max_overflow=10,
            pool_pre_ping=True,
            hide_parameters=True,  # errors and logs never carry values
            connect_args={"connect_timeout": 10, "options": OPTIONS + LIMITS.get(role, "")},
        )

    @contextmanager
    def session(self, role: Role, *, tenant: uuid.UUID | None = None) -> Iterator[Session]:
        """One unit of work: commits at the end, rolls back on an exception.

        Bound to the tenant for its whole life; without one, the tables of tenants are empty for
        the roles web and worker.
        """
        with Session(self.engine(role), expire_on_commit=False) as session:
            bind_tenant(session, tenant)
            with session.begin():
                yield session

    @contextmanager
    def alone(self, role: Role, lock: int) -> Iterator[bool]:
        """Whether nobody else holds this advisory lock; if so it is ours for the block."""
        engine = self.engine(role).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as line:
            mine = line.execute(
                text("select pg_try_advisory_lock(:lock)"), {"lock": lock}
            ).scalar_one()
            try:
                yield bool(mine)
            finally:
                line.execute(text("select pg_advisory_unlock_all()"))

    def close(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()


def among(column: Any, ids: Collection[uuid.UUID]) -> ColumnElement[bool]:
    """The column is one of these; one parameter, however many there are."""
    found: ColumnElement[bool] = column == any_(bindparam(None, list(ids), ARRAY(Uuid())))
    return found


def bind_tenant(session: Session, tenant: uuid.UUID | None) -> None:
    """Set the tenant of every transaction of this session; a second, different one is refused."""
    bound = session.info.get("tenant", tenant)
    if bound != tenant:
        raise AnotherTenant(f"This unit of work serves tenant {bound}, not {tenant}.")
    session.info["tenant"] = tenant


@event.listens_for(Session, "after_begin")
def _set_tenant(session: Session, _transaction: object, connection: Any) -> None:
    tenant = session.info.get("tenant")
    if tenant is not None:
        connection.execute(
            text("select set_config(:name, :value, true)"),
            {"name": TENANT_SETTING, "value": str(tenant)},
        )
