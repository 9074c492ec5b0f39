"""A message in words, as it is carried; who finds the words is no matter of this part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Told:
    """What a writer needs to know of a message."""

    id: UUID
    kind: str
    params: Mapping[str, Any]
    at: datetime  # when it was put in
    tenant: UUID | None
    refusable: bool
    language: str
    zone: str  # IANA
    about: str = ""  # the tenant's name, where it is of one
    slug: str = ""  # and its place in addresses


@dataclass(frozen=True)
class Letter:
    """A message in one language."""

    subject: str  # one line
    text: str
    html: str
    data: Mapping[str, Any] = field(default_factory=dict)  # for programs: webhooks
    refuse_at: str | None = None  # the page on which its reader can want no more of the kind


Writer = Callable[[Told], Letter]
