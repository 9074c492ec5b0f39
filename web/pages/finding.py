"""Find the moment and the thing: calendar, points, folders, search, history, differences."""

from __future__ import annotations

from flask import Blueprint, abort

from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import scope


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""

    @tenant.get("/points/<int:number>")
    @scope.tenant(Action.SEE_STATUS)
    def point(slug: str, number: int) -> str:
        abort(404)
