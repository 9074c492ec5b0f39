"""Find the moment and the thing: calendar, points, browsing, search, history, differences."""

from __future__ import annotations

from flask import Blueprint

from strongroom.runtime import Runtime


def add(tenant: Blueprint, runtime: Runtime) -> None:
    """Views of the tenant's blueprint."""
