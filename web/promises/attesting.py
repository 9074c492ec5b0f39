"""A promise that no software can enforce is confirmed by who answers for it, with a document."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from strongroom.actors import Actor
from strongroom.audit import entries
from strongroom.audit.entries import Deed
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.ids import new_id
from strongroom.runtime import Runtime
from tenants.packs import Kind
from tenants.promise_rows import Attestation
from web.promises import register
from web.promises.register import Row

OWNER_MOST, NAME_MOST = 200, 255
CHUNK = 1024 * 1024


class NotAttested(BadValue):
    """The promise is measured: nobody's word is taken for it."""

    code = "promise-measured"


@dataclass(frozen=True)
class Document:
    """A file as it was: its name and what it held. The file itself is not kept."""

    name: str
    sha256: str
    bytes: int


def confirm(runtime: Runtime, promise: str, document: Document, owner: str, *, by: Actor) -> Row:
    """Gives how the promise stands now. Raises NotFound, NotAttested, BadValue."""
    row = register.named(runtime, promise)
    if row.promise.kind is not Kind.ATTESTED:
        raise NotAttested(
            f"{promise} is enforced and measured; nobody's word is taken for it. "
            "`strongroom promises show` says what is seen."
        )
    owner = owner.strip()
    if not owner or len(owner) > OWNER_MOST or not owner.isprintable():
        raise BadValue(f"Say with --by who answers for it, in up to {OWNER_MOST} characters.")
    now = runtime.now()
    with runtime.database.session(Role.OPERATOR) as session:
        made = Attestation(
            id=new_id(),
            promise=promise,
            document=document.name,
            sha256=document.sha256,
            owner=owner,
            entered_by=str(by),
            at=now,
        )
        session.add(made)
        said = {"promise": promise, "document": document.name, "sha256": document.sha256}
        deed = Deed(
            "promises.attested", "promise_attestations", made.id, details={**said, "owner": owner}
        )
        entries.note(session, deed, by=by, at=now)
    return register.named(runtime, promise)


def read_document(file: Path) -> Document:
    """Raises BadValue for what cannot be read, and for an empty file, which confirms nothing."""
    digest, count = hashlib.sha256(), 0
    try:
        with file.open("rb") as data:
            while chunk := data.read(CHUNK):
                digest.update(chunk)
                count += len(chunk)
    except OSError as error:
        raise BadValue(f"The document {file} cannot be read: {error.strerror}.") from None
    if not count:
        raise BadValue(f"The document {file} is empty: it confirms nothing.")
    return Document(file.name[:NAME_MOST], digest.hexdigest(), count)
