"""A healing while it is carried out: what it works on, and what it has come to so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update

from backup.inventory import Reader
from backup.leases import Leased
from backup.losses import Loss
from backup.models import Healing, Snapshot
from backup.repositories import Site
from strongroom.db import Role
from strongroom.keeper import Held
from strongroom.lifecycle import Overtaken
from strongroom.program import Stopped


@dataclass
class Doing:
    """A healing that is ours for now."""

    row: Healing
    held: Held  # of the healing; the repository has a lease of its own
    leased: Leased
    reader: Reader
    report: dict[str, Any] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    missing: list[Snapshot] = field(default_factory=list)
    tried_all: bool = True  # every other region could be asked

    @property
    def site(self) -> Site:
        return self.leased.site

    @property
    def is_second(self) -> bool:
        """A backup has stored again what it could since the last attempt."""
        return "reread" in self.row.seen

    def remember(self, name: str, keys: Sequence[str]) -> None:
        """Add to the report, before anything is done to them; raises when another has the row."""
        self.guard()
        self.report[name] = sorted({*self.report.get(name, ()), *keys})
        with self.site.runtime.database.session(Role.WORKER, tenant=self.row.tenant_id) as session:
            done = session.execute(
                update(Healing)
                .where(Healing.id == self.row.id, Healing.fence == self.held.fence)
                .values(report=self.report)
                .returning(Healing.id)
            ).first()
        if done is None:
            raise Overtaken(f"{self.row!r} was taken by another worker.")

    def guard(self) -> None:
        if self.held.is_lost or self.leased.held.is_lost:
            raise Stopped("The lease was lost; the healing is tried again.")
