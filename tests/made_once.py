"""What each test would make again, and is the same for all: made once for a process.

A test has a database and an application of its own, and so engines, statements, addresses and
templates of its own. Compiling them cost more than many a test does with them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import Engine
from werkzeug.routing import Rule

from strongroom.db import Database, Role

STATEMENTS = 5000  # all of the platform's, with room


def share() -> None:
    """Once, before the first test."""
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": _Templates()}
    Database._made = _engine  # type: ignore[method-assign]
    Rule._compile_builder = _address  # type: ignore[method-assign]


class _Templates(BytecodeCache):
    kept: ClassVar[dict[str, bytes]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


_new_engine = Database._made
_engines: dict[Role, Engine] = {}  # the first one of each role


def _engine(database: Database, role: Role) -> Engine:
    """What is compiled is kept by statement and dialect: all engines of a role have the first's."""
    engine = _new_engine(database, role)
    first = _engines.setdefault(role, engine)
    first._compiled_cache.capacity = STATEMENTS  # type: ignore[union-attr]
    engine._compiled_cache = first._compiled_cache
    engine.dialect = engine.pool._dialect = first.dialect
    return engine


_new_address = Rule._compile_builder
_addresses: dict[Any, Any] = {}  # functions that write an address, by its parts


def _address(rule: Rule, append_unknown: bool = True) -> Any:
    key = (tuple(rule._trace), append_unknown)
    if rule.defaults:
        return _new_address(rule, append_unknown)
    if key not in _addresses:
        _addresses[key] = _new_address(rule, append_unknown)
    return _addresses[key]
