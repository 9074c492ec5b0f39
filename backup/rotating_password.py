"""A new password for one repository, under its lease.

    staged     a new password is wrapped, pending
    added      a low-cost key file opens with it; the old one is still there
    opened     restic, started anew, opened the repository with it
    promoted   it is the password that counts, and its key file the hint
    removed    the key files of older passwords are gone, with every version of them
    erased     the wraps of older passwords are gone

Up to `promoted` the old password opens the repository, from `opened` on the new one does. The
master key stays what it was: whoever had it keeps it (only a new epoch changes it), but kits and
copies of the old password open nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import update

from backup import acts, key_records, keyfile, repositories
from backup.founding import Within
from backup.keyfile import MachinePassword, Stamp, WrongPassword
from backup.leases import Leased, leased
from backup.models import Repository
from backup.repositories import RepositoryBusy
from backup.restic import commands
from backup.rotating import Going, KeyFileLocked
from backup.states import ActKind
from strongroom.secrets_at_rest import Secret, generations
from strongroom.storage import Act as Rights
from strongroom.storage import Kept, Store

OPEN_SECONDS = 120.0
PROMOTED = ("promoted", "removed", "erased")


def carry_out(going: Going) -> None:
    assert going.row.repository_id is not None  # a password is one repository's
    with leased(going.runtime, going.row.tenant_id, going.row.repository_id) as ready:
        if going.row.stage not in PROMOTED:
            staged = _stage(going, ready)
            _change(going, ready, staged)
            going.refresh()
        # The record beside the repository opens it if all else is lost: by the new password first.
        key_records.renew(going.runtime, going.row.tenant_id, going.row.repository_id)
        _remove_old(going, ready, str(going.report["key_file"]))
    with going.session() as session:
        erased = going.runtime.vault.erase_before(
            session, repositories.password_context(ready.site.row)
        )
        going.note(session, "erased", wraps_erased=erased)


def _stage(going: Going, ready: Leased) -> Secret:
    with going.session() as session:
        staged = going.runtime.vault.stage(
            session,
            repositories.password_context(ready.site.row),
            lambda: MachinePassword.make().secret,
            now=going.runtime.now(),
        )
        going.note(session, "staged", generation=staged.generation, region=ready.site.region.name)
    return staged


def _change(going: Going, ready: Leased, staged: Secret) -> None:
    with going.session() as session:
        password = MachinePassword(going.runtime.vault.open_row(session, staged))
    key_file = _add(ready, password)
    with going.session() as session:
        going.note(session, "added", key_file=key_file)
    opening = replace(ready.site.restic(Rights.READ), password=password.text, key_hint=key_file)
    commands.open_check(opening, ready.here(seconds=OPEN_SECONDS))
    with going.session() as session:
        going.note(session, "opened")
    with going.session() as session:
        changed = session.execute(
            update(Repository)
            .where(Repository.id == ready.held.row_id, Repository.fence == ready.held.fence)
            .values(key_hint=key_file)
            .returning(Repository.id)
        ).first()
        if changed is None or ready.held.is_lost:
            raise RepositoryBusy(f"The lease on repository {ready.held.row_id} was lost.")
        going.runtime.vault.promote(session, staged)
        going.note(session, "promoted")


def _add(ready: Leased, password: MachinePassword) -> str:
    """The key file that opens with the new password: one that is there already, or a new one."""
    objects = _objects(ready)
    try:
        return keyfile.open_repository(objects, password).key_id
    except WrongPassword:
        stamp = Stamp(created=ready.site.runtime.now())
        return keyfile.add_low_cost(objects, ready.site.password, stamp, new_password=password)


def _remove_old(going: Going, ready: Leased, keep: str) -> None:
    """Key files of the tenant's older passwords, and what a removal of them left beneath."""
    site = ready.site
    with going.session() as session:
        rows = generations(session, repositories.password_context(site.row))
        counts = max(row.generation for row in rows if not row.pending)
        vault = going.runtime.vault
        old = [
            MachinePassword(vault.open_row(session, row)) for row in rows if row.generation < counts
        ]
    objects = _objects(ready)
    doomed = [each for each in keyfile.opened_by(objects, old) if each != keep]
    if doomed:
        keys = [f"keys/{each}" for each in doomed]
        with acts.recorded(site, ActKind.KEY_CHANGE, keys, store=ready.store):
            for each in doomed:
                keyfile.remove(objects, each, keep=keep)
    removed = sorted({*going.report.get("removed", []), *doomed})
    _require_gone(ready, removed, _sweep(ready))
    with going.session() as session:
        going.note(session, "removed", removed=removed)


def _sweep(ready: Leased) -> Sequence[Kept]:
    site = ready.site
    rights = repositories.deleting(site, ready.held, Rights.SWEEP)
    store = Store(site.region.address(), rights)
    return acts.sweep(site, list(ready.store.versions(site.prefix + "keys/")), store=store)


def _require_gone(ready: Leased, removed: Sequence[str], kept: Sequence[Kept]) -> None:
    """Whoever brings an old version back has the old password's key file again."""
    head = f"{ready.site.prefix}keys/"
    left = [
        version
        for version in ready.store.versions(head)
        if version.key.removeprefix(head) in removed and not version.marker
    ]
    if left:
        raise KeyFileLocked(
            f"{len(left)} versions of old key files of repository {ready.site.row.id} stay until "
            "their object locks end. The new password counts; the old wrap is kept until then.",
            until=max((each.until for each in kept if each.until is not None), default=None),
        )


def _objects(ready: Leased) -> Within:
    site = ready.site
    rights = repositories.deleting(site, ready.held, Rights.CREATE)
    return Within(Store(site.region.address(), rights), site.prefix)
