"""A new version of a tenant's KEK, until nothing rests on the older ones.

    begun       the version that wrapped until now is written down
    added       the key has a newer one, and new wraps use it
    rewrapped   every secret of the tenant was wrapped again; pending ones too
    retired     none was left on an older version, and those open nothing any more

Until `retired` the old versions open what they wrapped, so any crash leaves everything readable.
"""

from __future__ import annotations

from backup import key_records
from backup.rotating import Going
from strongroom.errors import StrongroomError
from strongroom.secrets_at_rest import resting_below, versions

STEP = 20  # secrets between two words on how far it is


class StillInUse(StrongroomError):
    """Something still rests on an old version of the key, so it was not retired."""

    code = "key-still-in-use"


def carry_out(going: Going) -> None:
    version = _newer(going)
    _rewrap(going, version)
    vault, tenant = going.runtime.vault, going.row.tenant_id
    key_records.renew(going.runtime, tenant)  # they carry wraps too, and are to open afterwards
    with going.session() as session:
        left = vault.retire(session, tenant, below=version)
        if left:
            raise StillInUse(
                f"{left} secrets of tenant {tenant} still rest on a version of its key before "
                f"{version}, so none was retired. It is tried again.",
                left=left,
            )
        going.note(session, "retired", left=0)


def _newer(going: Going) -> int:
    """The version to bring everything to: one more than there was when this began."""
    provider, tenant = going.runtime.vault.provider, going.row.tenant_id
    if "from" not in going.report:
        with going.session() as session:
            going.note(session, "begun", **{"from": provider.status(tenant).version or 0})
        going.refresh()
    before = int(going.report["from"])
    with going.session() as session, going.runtime.vault.rotating(session, tenant):
        now = provider.status(tenant).version or 0
        version = now if now > before else provider.add_version(tenant)
        going.note(session, "added", to=version, total=sum(versions(session, tenant).values()))
    return version


def _rewrap(going: Going, version: int) -> None:
    """One secret a transaction: a crash loses none, and what was done stays done."""
    vault, tenant = going.runtime.vault, going.row.tenant_id
    with going.session() as session:
        waiting = resting_below(session, tenant, version)
        total = sum(versions(session, tenant).values())
    for done, secret in enumerate(waiting, total - len(waiting) + 1):
        with going.session() as session:
            vault.rewrap(session, secret)
            if done % STEP == 0:
                going.note(session, "added", done=done)
    with going.session() as session:
        going.note(session, "rewrapped", done=total)
