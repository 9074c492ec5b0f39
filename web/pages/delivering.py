"""Previews and downloads: data of a point that a person sees or takes along."""

from __future__ import annotations

from flask import Blueprint, abort

from strongroom.people.rules import Action
from strongroom.runtime import Runtime
from web import scope
from web.pages.selection import chosen


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""

    @tenant.post("/previews")
    @scope.tenant(Action.BROWSE)
    def preview_ask(slug: str) -> str:
        chosen()
        abort(404)

    @tenant.post("/downloads/choose")
    @scope.tenant(Action.DOWNLOAD)
    def download_choose(slug: str) -> str:
        chosen()
        abort(404)
