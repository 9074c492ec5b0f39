"""What an entry of the record leaves in the log: codes, references and a commitment. Pure.

A leaf holds no personal data and never can: every field is an id, a number, a moment or a code of
ours. What names people (a reason in words, an address, a local account) is in the details, and the
leaf has only SHA-256 over a random salt and these. Once salt and details are erased, nobody can try
out what they may have been.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from strongroom.actors import Actor, ActorKind
from strongroom.audit import merkle

VERSION = 1
SALT_BYTES = 16
DOMAIN = b"strongroom.record-details.v1\n"
CODE = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
LONGEST_CODE = 100
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"
Details = Mapping[str, Any]


class Channel(enum.StrEnum):
    """From where something was done."""

    PAGE = "page"
    COMMAND = "command"
    WORKER = "worker"
    DISPATCHER = "dispatcher"
    UPKEEP = "upkeep"
    INSIDE = "inside"  # none of these said so


class Ending(enum.StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Leaf:
    """One entry, as far as it can never change."""

    id: uuid.UUID
    at: datetime
    code: str  # what was done
    by: str  # "person:ID", "system:NAME", or "operator": whoever had the local socket
    channel: Channel
    ending: Ending
    reason: str  # a code; empty: none
    tenant: uuid.UUID | None
    of: str  # the kind of thing it was done to; empty: to none
    subject: uuid.UUID | None  # which of them
    about: uuid.UUID | None  # a second thing that it concerns
    commitment: bytes  # 32 bytes, over salt and details

    def encoded(self) -> bytes:
        """The bytes that are hashed; equal entries give equal bytes."""
        said = {
            "v": VERSION,
            "id": str(self.id),
            "at": self.at.astimezone(UTC).strftime(MOMENT),
            "code": self.code,
            "by": self.by,
            "channel": str(self.channel),
            "ending": str(self.ending),
            "reason": self.reason,
            "tenant": _id(self.tenant),
            "of": self.of,
            "subject": _id(self.subject),
            "about": _id(self.about),
            "details": self.commitment.hex(),
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    @property
    def hash(self) -> bytes:
        return merkle.leaf_hash(self.encoded())

    @classmethod
    def decoded(cls, data: bytes) -> Leaf:
        """Raises ValueError for what we did not write."""
        try:
            said = json.loads(data)
            leaf = cls(
                id=uuid.UUID(said["id"]),
                at=datetime.strptime(said["at"], MOMENT).replace(tzinfo=UTC),
                code=said["code"],
                by=said["by"],
                channel=Channel(said["channel"]),
                ending=Ending(said["ending"]),
                reason=said["reason"],
                tenant=_uuid(said["tenant"]),
                of=said["of"],
                subject=_uuid(said["subject"]),
                about=_uuid(said["about"]),
                commitment=bytes.fromhex(said["details"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("these bytes are no entry of the record") from error
        if leaf.encoded() != data:
            raise ValueError("an entry of the record has one way to be written")
        return leaf


def committed(salt: bytes, details: Details) -> bytes:
    """What the leaf has in place of the details."""
    said = json.dumps(details, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(DOMAIN + salt + said.encode()).digest()


def plain(value: Any) -> Any:
    """Details as they come back from the database, so that they are committed to as they are stored.

    A number with a fraction becomes a text: databases and languages write those in several ways.
    """
    match value:
        case Mapping():
            return {str(name): plain(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case bool() | int() | None:
            return value
        case _:
            return str(value)


def is_code(text: str) -> bool:
    """Whether it can be a code of ours, and no sentence or name."""
    return len(text) <= LONGEST_CODE and CODE.fullmatch(text) is not None


def named(actor: Actor) -> tuple[str, dict[str, str]]:
    """Who acts as the leaf may have it, and what of it belongs into the details."""
    match actor.kind:
        case ActorKind.PERSON if _is_id(actor.name):
            return str(actor), {}
        case ActorKind.SYSTEM if is_code(actor.name):
            return str(actor), {}
        case kind:
            return str(kind), {str(kind): actor.name}


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _id(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)


def _uuid(text: str | None) -> uuid.UUID | None:
    return None if text is None else uuid.UUID(text)
