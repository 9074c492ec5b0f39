"""What the demo's steps hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backup.models import Point
from strongroom.actors import Actor, ActorKind
from strongroom.runtime import Runtime
from tenants.models import Tenant
from web import stack as stacks
from web.demo.fingerprint import Fingerprint
from web.demo.steps import Record
from web.demo.things import Thing
from web.output import Screen

DEMO = Actor(ActorKind.OPERATOR, "demo")
PATIENCE = 300.0
Key = tuple[str, str]  # tenant's slug, source's name


@dataclass
class Demo:
    """What the steps hand on to each other."""

    home: Path
    screen: Screen
    record: Record
    platform: Runtime
    running: stacks.Running
    things: list[Thing] = field(default_factory=list)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    before: dict[Key, Fingerprint] = field(default_factory=dict)
    points: dict[str, Point] = field(default_factory=dict)

    def key(self, thing: Thing) -> Key:
        return thing.sample.slug, thing.name
