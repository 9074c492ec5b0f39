"""What a restore in place would do to a database, said before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backup.sources.manifest import Manifest, Table


class Change(StrEnum):
    """What happens to a table."""

    APPEARS = "appears"
    DISAPPEARS = "disappears"
    CHANGES = "changes"
    STAYS = "stays"


@dataclass(frozen=True)
class TableChange:
    """One table in a preview."""

    schema: str
    name: str
    now: int | None  # rows; None: there is no such table now
    then: int | None  # rows in the point; None: there was none
    change: Change
    redefined: bool  # columns, keys or indexes differ too


def of_tables(live: Manifest, point: Manifest) -> list[TableChange]:
    """Every table of either, those that stay as they are last."""
    now = {(each.schema, each.name): each for each in live.tables}
    then = {(each.schema, each.name): each for each in point.tables}
    changes = [_change(now.get(name), then.get(name)) for name in now.keys() | then.keys()]
    return sorted(changes, key=lambda each: (each.change is Change.STAYS, each.schema, each.name))


def _change(now: Table | None, then: Table | None) -> TableChange:
    either = now or then
    assert either is not None
    redefined = now is not None and then is not None and now.definition != then.definition
    if now is None:
        change = Change.APPEARS
    elif then is None:
        change = Change.DISAPPEARS
    elif redefined or (now.rows, now.content) != (then.rows, then.content):
        change = Change.CHANGES
    else:
        change = Change.STAYS
    rows = (None if now is None else now.rows, None if then is None else then.rows)
    return TableChange(either.schema, either.name, *rows, change, redefined)
