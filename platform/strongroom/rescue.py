"""Secrets after the loss of machines: opened by what is left, wrapped again by the key store of now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from strongroom import envelopes, escrow
from strongroom.envelopes import Opener
from strongroom.keys import Context, KeysError
from strongroom.sealed_boxes import BoxClosed
from strongroom.secrets_at_rest import Secret, Vault


@dataclass
class Opened:
    """How many secrets opened, and by what."""

    by_key_store: int = 0
    by_escrow: int = 0
    closed: list[str] = field(default_factory=list)  # "tenant purpose subject"

    def closes(self, context: Context) -> None:
        self.closed.append(f"{context.tenant} {context.purpose} {context.subject}")


def rewrap(
    session: Session, vault: Vault, tenant: UUID, opener: Opener, counted: Opened, *, now: datetime
) -> None:
    """See that each secret of the tenant opens with the key store of now; else by its escrow wrap."""
    rows = session.execute(
        select(Secret)
        .where(Secret.tenant_id == tenant, Secret.pending.is_(False))
        .order_by(Secret.generation)  # of each secret the newest is left
    ).scalars()
    newest = {(row.subject_id, row.purpose): row for row in rows}
    for row in newest.values():
        context = row.context
        if opens(session, vault, context):
            counted.by_key_store += 1
            continue
        boxes = [
            each.sealed
            for each in escrow.of_subject(session, tenant, row.subject_id)
            if each.generation == row.generation
        ]
        plain = by_escrow(boxes, context, opener)
        if plain is None:
            counted.closes(context)
            continue
        put(session, vault, context, plain, now=now)
        counted.by_escrow += 1


def take(
    session: Session,
    vault: Vault,
    context: Context,
    entry: Mapping[str, Any],
    opener: Opener,
    counted: Opened,
    *,
    now: datetime,
) -> bool:
    """Store a secret as a record carries it; False when nothing at hand opens it."""
    context = replace(context, generation=int(entry.get("generation") or 1))
    try:
        plain: bytes | None = vault.provider.unwrap(envelopes.from_json(entry["secret"]), context)
        counted.by_key_store += 1
    except (KeysError, KeyError, ValueError, TypeError):
        boxes = [envelopes.binary(str(each.get("sealed"))) for each in entry.get("escrow") or ()]
        plain = by_escrow(boxes, context, opener)
        counted.by_escrow += plain is not None
    if plain is None:
        counted.closes(context)
        return False
    put(session, vault, context, plain, now=now)
    return True


def opens(session: Session, vault: Vault, context: Context) -> bool:
    try:
        vault.open(session, context)
    except KeysError:
        return False
    return True


def by_escrow(boxes: list[bytes], context: Context, opener: Opener) -> bytes | None:
    """What the first box that opens holds."""
    if opener.private is None:
        return None
    for box in boxes:
        try:
            return escrow.unseal(opener.private, box, context)
        except BoxClosed:
            continue
    return None


def put(session: Session, vault: Vault, context: Context, plain: bytes, *, now: datetime) -> None:
    """The secret of this generation, wrapped by the key store of now, in place of all others."""
    vault.provider.create(context.tenant)
    session.execute(
        delete(Secret).where(
            Secret.tenant_id == context.tenant,
            Secret.subject_id == context.subject,
            Secret.purpose == context.purpose,
        )
    )
    vault.seal(session, plain, context, now=now)
    session.flush()
