"""See what a restore would do, do it, watch it, undo it, and who did what."""

from __future__ import annotations

from flask import Blueprint, abort

from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import scope
from web.pages.selection import chosen


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""

    @tenant.post("/restores/choose")
    @scope.tenant(Action.PREVIEW_RESTORE)
    def restore_choose(slug: str) -> str:
        chosen()
        abort(404)

    @tenant.get("/restores")
    @scope.tenant(Action.SEE_HISTORY)
    def restores(slug: str) -> str:
        abort(404)
