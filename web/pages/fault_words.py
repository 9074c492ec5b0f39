"""What is wrong with the platform itself, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import escape

from web.footing import Fault, FaultCode, Part
from web.pages.formats import ltr
from web.pages.language import N_, gettext

PARTS: Mapping[str, str] = {
    Part.DISPATCHER: N_("the dispatcher"),
    Part.WORKER: N_("the workers of backups"),
    Part.RESTORES: N_("the workers of restores"),
    Part.UPKEEP: N_("the upkeep"),
}
QUEUES: Mapping[str, str] = {
    "backup_runs": N_("backups"),
    "copies": N_("copies to other regions"),
    "proofs": N_("proofs"),
    "healings": N_("mending"),
    "rotations": N_("key changes"),
    "removals": N_("removals"),
    "repositories": N_("object locks"),
    "restores": N_("restores"),
    "drills": N_("rehearsed restores"),
    "deliveries": N_("downloads"),
}
# What is wrong, what to do, and the command, where there is one.
FAULTS: Mapping[FaultCode, tuple[str, str, str | None]] = {
    FaultCode.PART_SILENT: (
        N_("There is no sign of %(what)s."),
        N_("Nothing that it does happens until it runs again. Start it, and read its log."),
        None,
    ),
    FaultCode.KEYS_AWAY: (
        N_("The key store does not answer."),
        N_("Backups and restores wait, and go on by themselves once it answers."),
        "strongroom doctor",
    ),
    FaultCode.REGION_AWAY: (
        N_("Region %(what)s does not give back what was stored there."),
        N_("Backups go to the other regions; copies are brought once it answers."),
        "strongroom region check",
    ),
    FaultCode.CLOCKS_APART: (
        N_("The clocks of this machine and of the database are %(count)s seconds apart."),
        N_("Nothing is planned or removed until they agree. Set them right."),
        "strongroom doctor",
    ),
    FaultCode.REGION_CLOCK: (
        N_("The clock of region %(what)s is %(count)s seconds off ours."),
        N_("Nothing is removed there until they agree. Set them right."),
        "strongroom region check",
    ),
    FaultCode.DISK_LOW: (
        N_("The disk of %(what)s is nearly full."),
        N_("Free some space below the workers' folder before restores and drills fail."),
        "strongroom doctor",
    ),
    FaultCode.QUEUE_STUCK: (
        N_("Nobody takes up what is due: %(what)s."),
        N_("See whether the workers of that queue run, and read their log."),
        "strongroom status",
    ),
    FaultCode.ROUND_FAILS: (
        N_("A part of the dispatcher's rounds fails: %(what)s."),
        N_("Read the dispatcher's log; the other parts go on."),
        None,
    ),
    FaultCode.UNSEEN: (
        N_("Nobody has looked at %(what)s for a while, so how it is is not known."),
        N_("The upkeep looks at it. See whether it runs, and read its log."),
        None,
    ),
    FaultCode.CONTROL_DUMP_LATE: (
        N_("The control database was not dumped in time."),
        N_("See why; without a dump a lost database takes longer to bring back."),
        "strongroom escrow status",
    ),
    FaultCode.ESCROW_INCOMPLETE: (
        N_("Some repositories could not be opened with the escrow key."),
        N_("Their wraps are made by the upkeep. See which are missing."),
        "strongroom escrow status",
    ),
    FaultCode.RECORD: (
        N_("The record is not signed: %(what)s."),
        N_("What was done waits for its place in the record. See what is wrong with it."),
        "strongroom audit verify",
    ),
}
NAMED: Mapping[FaultCode, Mapping[str, str]] = {
    FaultCode.PART_SILENT: PARTS,
    FaultCode.DISK_LOW: PARTS,
    FaultCode.QUEUE_STUCK: QUEUES,
}


def fault(found: Fault) -> dict[str, Any]:
    """What is wrong, what to do, and the command; in the reader's language."""
    means, todo, command = FAULTS[found.code]
    name = _name(found)
    what = ltr(found.what) if name is None else gettext(name)
    return {
        "means": escape(gettext(means)) % {"what": what, "count": found.count},
        "todo": gettext(todo),
        "command": command,
    }


def plain(found: Fault) -> tuple[str, str, str | None]:
    """The same in English, for the command line."""
    means, todo, command = FAULTS[found.code]
    return means % {"what": _name(found) or found.what, "count": found.count}, todo, command


def _name(found: Fault) -> str | None:
    return NAMED.get(found.code, {}).get(found.what)
