"""One row of a tenant in every table that tenants have: made from the models alone, so that a new
table is looked at without anybody thinking of it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Enum, ForeignKeyConstraint, Table, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from strongroom.db import Moment
from strongroom.escrow import EscrowKey
from strongroom.ids import new_id
from strongroom.people.models import Account
from strongroom.regions import Region
from web.models import METADATA

AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
Ids = dict[str, uuid.UUID]
PEOPLES = {"memberships", "second_contacts", "support_grants", "support_pins"}
_numbers = itertools.count(1000)


@dataclass(frozen=True)
class Reference:
    """A foreign key to another table of the same tenant."""

    table: Table
    column: str  # beside tenant_id
    target: str

    def __str__(self) -> str:
        return f"{self.table.name}.{self.column}"


def tables() -> list[Table]:
    """In an order in which rows can be inserted."""
    return [table for table in METADATA.sorted_tables if "tenant_id" in table.columns]


def references() -> list[Reference]:
    return [
        Reference(table, column, target)
        for table in tables()
        for column, target in _targets(table)
        if table.columns[column].name != "id"  # that one is the row's own key
    ]


def fill(session: Session, tenant: uuid.UUID, *, peoples: bool) -> Ids:
    """One row in each table, unless there is one; gives their ids by table.

    Those of `PEOPLES` are filled by another role than the rest.
    """
    ids: Ids = {"accounts": _account(session)} if peoples else {}
    for table in tables():
        if (table.name in PEOPLES) is not peoples:
            continue
        there = select(table.c.id).where(table.c.tenant_id == tenant).limit(1)
        known = session.execute(there).scalar()
        if known is None:
            row = values(session, table, tenant, ids)
            session.execute(insert(table).values(**row))
            known = row["id"]
        ids[table.name] = known
    return ids


def values(session: Session, table: Table, tenant: uuid.UUID, ids: Ids) -> dict[str, Any]:
    """A row that the table's own rules allow, leaning on the rows in `ids`."""
    row = {
        column.name: _value(column.type)
        for column in table.columns
        if not column.nullable and column.server_default is None
    }
    row |= {"id": new_id(), "tenant_id": tenant}
    for column, target in _targets(table):
        if not table.columns[column].nullable:
            row[column] = ids[target]
    if "region_id" in row:
        row["region_id"] = session.execute(select(Region.id).limit(1)).scalar_one()
    if "account_id" in row:
        row["account_id"] = ids["accounts"]
    if "key_id" in row and table.name == "escrow_wraps":
        row["key_id"] = _escrow_key(session)
    return row


def _account(session: Session) -> uuid.UUID:
    number = next(_numbers)
    row = Account(
        id=new_id(),
        email=f"{number}@example.org",
        name="Somebody",
        created_at=AT,
        created_by="a test",
    )
    session.add(row)
    session.flush()
    return row.id


def _escrow_key(session: Session) -> uuid.UUID:
    known = session.execute(select(EscrowKey.id).limit(1)).scalar()
    if known is not None:
        return known
    key = EscrowKey(id=new_id(), public=b"public", threshold=2, shares=3, made_at=AT)
    session.add(key)
    session.flush()
    return key.id


def _targets(table: Table) -> Iterator[tuple[str, str]]:
    for constraint in table.constraints:
        if isinstance(constraint, ForeignKeyConstraint) and len(constraint.columns) == 2:
            column = next(each.name for each in constraint.columns if each.name != "tenant_id")
            yield column, constraint.referred_table.name


def _value(kind: Any) -> Any:
    if isinstance(kind, Enum):
        return kind.enums[0]
    if isinstance(kind, JSONB):
        return {}
    if isinstance(kind, Moment):
        return AT
    number = next(_numbers)
    by_type = {uuid.UUID: new_id(), str: f"text {number}", int: number, float: 1.5, bool: False}
    by_type |= {bytes: b"bytes", date: AT.date()}
    return by_type[kind.python_type]
