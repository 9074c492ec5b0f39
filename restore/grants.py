"""Who may do what stays as it is now, whatever a restored dump says.

Owners and privileges of schemas, tables, views, sequences and functions are read where the live
data is and set where the restored data is, for what exists in both. What the restoring user may
not set (an owner it is no member of) is left, and the old owner gets its privileges granted, so
that the tenant's program goes on. Privileges on single columns and default privileges are not
carried over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backup.sources.fingerprint import Line

GRANTED = """
WITH things AS (
  SELECT 'SCHEMA' AS kind, n.nspname AS space, NULL AS name, n.nspowner AS owner,
    coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl FROM pg_namespace n
  UNION ALL
  SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname,
    quote_ident(c.relname), c.relowner,
    coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'ROUTINE', n.nspname,
    quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner,
    coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
)
SELECT t.kind, t.space, t.name, pg_get_userbyid(t.owner),
  (SELECT coalesce(array_agg(ARRAY[r.rolname::text, a.privilege_type,
      CASE WHEN a.is_grantable THEN 'yes' END]), '{}')
    FROM aclexplode(t.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee)
FROM things t WHERE t.space <> 'information_schema' AND t.space NOT LIKE 'pg\\_%%'
  AND (%(schema)s::text IS NULL OR t.space = %(schema)s)
ORDER BY t.kind = 'SCHEMA' DESC
"""


@dataclass(frozen=True)
class Grants:
    """What one thing's owner and privileges are."""

    kind: str  # DATABASE, SCHEMA, TABLE, SEQUENCE, ROUTINE
    space: str  # its schema, or itself
    name: str | None  # quoted, with the arguments of a routine; None for a schema
    owner: str
    rights: tuple[tuple[str | None, str, bool], ...]  # to whom (None: all), what, may pass it on


def read(line: Line, *, schema: str | None = None) -> list[Grants]:
    return [
        Grants(kind, space, name, owner, tuple((who, what, bool(on)) for who, what, on in rights))
        for kind, space, name, owner, rights in line.execute(GRANTED, {"schema": schema})
    ]


def give(line: Line, wanted: list[Grants], *, schema: str | None = None) -> None:
    """Set them on what is there; `schema` is the name their schema bears here, if another."""
    for each in wanted:
        thing = _thing(each, schema or each.space)
        everybody = sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(thing)
        if not _try(line, everybody):
            continue  # not in this dump
        for who, what, further in each.rights:
            _try(line, _grant(thing, who, what, further=further))
        _try(line, _own(each, thing))


def _thing(each: Grants, space: str) -> sql.Composed:
    if each.name is None:
        return sql.SQL("{} {}").format(sql.SQL(each.kind), sql.Identifier(space))  # pyright: ignore
    name = sql.SQL(each.name)  # pyright: ignore[reportArgumentType] - quoted by the server
    return sql.SQL("{} {}.{}").format(sql.SQL(each.kind), sql.Identifier(space), name)  # pyright: ignore


def _own(each: Grants, thing: sql.Composed) -> sql.Composed:
    return sql.SQL("ALTER {} OWNER TO {}").format(thing, sql.Identifier(each.owner))


def _grant(thing: sql.Composed, who: str | None, what: str, *, further: bool) -> sql.Composed:
    whom = sql.SQL("PUBLIC") if who is None else sql.Identifier(who)
    words = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(what), thing, whom)  # pyright: ignore
    return words + sql.SQL(" WITH GRANT OPTION") if further else words


def _try(line: Line, statement: sql.Composed) -> bool:
    with suppress(psycopg.Error), line.transaction():
        line.execute(statement)
        return True
    return False
