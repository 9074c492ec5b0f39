"""Codes in words: what rows say by code, said in the reader's language.

A code nobody wrote a sentence for is shown as it is: better a word too technical than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask
from markupsafe import Markup

from web.health import Attention, Trouble
from web.pages import fault_words, promise_words, restore_words
from web.pages.findings import FINDINGS
from web.pages.formats import ltr
from web.pages.language import N_, gettext, ngettext

TROUBLES: Mapping[str, str] = {
    Attention.OVERDUE: N_("overdue"),
    Attention.LAST_RUN_FAILED: N_("last backup failed"),
    Attention.PROOFS_FAILED: N_("a copy failed its proof"),
    Attention.QUARANTINED: N_("work in quarantine"),
    Attention.REPOSITORIES_FROZEN: N_("repository frozen"),
    Attention.LAST_POINT_PARTIAL: N_("last point is partial"),
    Attention.DRILLS_FAILED: N_("a rehearsed restore failed"),
    Attention.NOT_HEALED: N_("damage could not be mended"),
    Attention.FINDINGS_OPEN: N_("to be looked at"),
    Attention.NO_SOURCES: N_("nothing to back up"),
    Attention.COPIES_WAIT: N_("copies wait for a region"),
    Attention.REMOVALS_BLOCKED: N_("removal held up"),
}
# What to do about it: words, and where there is one, the command.
REMEDIES: Mapping[str, tuple[str, str | None]] = {
    Attention.OVERDUE: (
        N_("Make a point now, and see why the schedule made none."),
        "strongroom backup {slug} --wait",
    ),
    Attention.LAST_RUN_FAILED: (
        N_("Mend the cause, then make a point."),
        "strongroom backup {slug} --wait",
    ),
    Attention.PROOFS_FAILED: (
        N_("Prove the copies again; a copy that fails twice is damaged."),
        "strongroom verify {slug}",
    ),
    Attention.DRILLS_FAILED: (
        N_("See what differed; restore from another region or point until it is mended."),
        "strongroom points {slug}",
    ),
    Attention.NOT_HEALED: (
        N_("See which points and paths are lost; the next backup stores again what still exists."),
        "strongroom finding list",
    ),
    Attention.FINDINGS_OPEN: (
        N_("Look at each, then accept or reject it. Some keep anything from being removed."),
        "strongroom finding list",
    ),
    Attention.QUARANTINED: (
        N_("It took two workers down. Read the workers' log before it is let loose again."),
        None,
    ),
    Attention.REPOSITORIES_FROZEN: (
        N_("Something changed in the storage that no act of ours explains. Nothing is removed."),
        "strongroom region check",
    ),
    Attention.LAST_POINT_PARTIAL: (
        N_("Some of it could not be read. Mend the cause, then make a point."),
        "strongroom backup {slug} --wait",
    ),
    Attention.NO_SOURCES: (
        N_("Say what is to be backed up."),
        "strongroom source add {slug} --help",
    ),
    Attention.COPIES_WAIT: (
        N_("They are brought by themselves once the region answers."),
        "strongroom region check",
    ),
    Attention.REMOVALS_BLOCKED: (
        N_("Nothing is lost; points stay longer than the plan says."),
        "strongroom retention preview {slug}",
    ),
}
FAILURES: Mapping[str, str] = {
    "sources-failed": N_("Some sources failed in a way that may pass; it is tried again."),
    "files-unread": N_("Some files could not be read."),
    "folder-missing": N_("The folder is not there."),
    "not-a-folder": N_("What should be a folder is none."),
    "source-missing": N_("The folder is not there."),
    "source-in-home": N_("The folder lies inside the platform's own."),
    "folder-not-allowed": N_("The folder is not on the tenant's allow-list."),
    "host-not-allowed": N_("The server is not on the tenant's allow-list."),
    "host-unknown": N_("The server's name has no address."),
    "source-unreachable": N_("The source cannot be reached."),
    "source-odd": N_("The source answered in a way that cannot be understood."),
    "source-too-much": N_("The source holds more tables and objects than can be listed."),
    "source-empty": N_("The folder is empty; see whether it is mounted."),
    "program-line-too-long": N_("A program printed a line without end."),
    "recovered": N_("The platform was recovered meanwhile; ask for it again."),
    "snapshot-vanished": N_("A snapshot vanished from the region; it is brought again."),
    "source-sign-in-refused": N_("The database refused the user or the password."),
    "source-no-database": N_("There is no such database."),
    "source-no-schema": N_("There is no such schema in the database."),
    "source-may-not-read": N_("The database user may not read everything."),
    "dump-broken": N_("The dump of the database broke off."),
    "pg-dump-killed": N_("The dump of the database was killed."),
    "pg-dump-failed": N_("The dump of the database ended with an error."),
    "manifest-failed": N_("The manifest of the dump could not be taken."),
    "stream-broken": N_("The data broke off on its way."),
    "stream-empty": N_("The source gave not a single byte."),
    "storage-unreachable": N_("The region cannot be reached."),
    "storage-denied": N_("The region refused our credentials."),
    "storage-failed": N_("The region did not do what was wanted."),
    "storage-missing": N_("The bucket or object is not there."),
    "storage-untrue": N_("The region answered with something else than what was stored there."),
    "region-not-allowed": N_("The tenant's data may not lie in that region; nothing was written."),
    "storage-locked": N_("An object lock forbids it until its date."),
    "no-copy-source": N_("No region that can be reached has what is to be copied."),
    "no-repository": N_("The tenant has no repository."),
    "repository-busy": N_("Somebody else works in the repository; it is tried again."),
    "repository-frozen": N_("The repository is frozen until somebody has looked at it."),
    "restic-failed": N_("The backup program ended with an error."),
    "restic-no-repository": N_("There is no repository where one should be."),
    "restic-wrong-key": N_("The repository's key does not open it."),
    "restic-interrupted": N_("The backup program was interrupted."),
    "restic-locked": N_("The repository is locked."),
    "program-timed-out": N_("It took too long and was stopped."),
    "program-stopped": N_("It was stopped."),
    "program-missing": N_("A program that is needed is not installed."),
    "key-missing": N_("The tenant's key is missing: it was lost, not destroyed."),
    "key-unreachable": N_("The key store gives no answer; work waits and goes on by itself."),
    "key-denied": N_("The key store refuses our sign-in or our rights."),
    "key-destroyed": N_("The tenant's key was destroyed on purpose."),
    "key-disabled": N_("The tenant's key is disabled or about to be destroyed."),
    "key-retired": N_("An old row was put back: its version of the key was retired."),
    "key-wrong-context": N_("A stored secret was wrapped for something else, or was changed."),
    "key-other-provider": N_("A stored secret was wrapped by another key provider."),
    "key-still-in-use": N_("Something still rests on an old version of the key."),
    "key-file-locked": N_("An old key file stays until its object lock ends."),
    "disk-full": N_("The disk is full."),
    "clocks-disagree": N_("The clocks of host, database and storage disagree."),
    "mass-removal": N_("More would go in one pass than anybody has allowed."),
    "worker-lost": N_("The worker was lost; it is tried again."),
    "workers-lost": N_("It took two workers down and waits for a person."),
    "proof-failed": N_("What was read back is not what was stored."),
    "dump-will-not-load": N_("The dump could not be loaded."),
    "dump-too-big": N_("The dump is larger than the space for it."),
    "not-as-it-was": N_("What came back is not what was backed up."),
    "drill-differs": N_("A rehearsed restore did not come back as it was."),
    "region-away": N_("The region to be restored from cannot be reached."),
    "no-room": N_("The disk has no room for a rehearsed restore."),
    "nothing-there": N_("There was nothing to compare."),
    "manifest-missing": N_("The manifest of the dump is missing."),
    "catalogue-missing": N_("The list of what the point had is missing."),
    "not-catalogued": N_("What the point has could not be listed yet."),
    "snapshot-missing": N_("The region has no snapshot of it."),
    "not-swapped": N_("The restored data could not take its place; nothing was changed."),
    "unsafe-target": N_("The target is not safe to write to."),
    "repository-not-opened": N_("The repository's key file is damaged; no version of it is whole."),
    "repository-damaged": N_("Damage was seen; nothing is removed before it is mended."),
    "not-healed": N_("Not everything could be mended; look at the open findings."),
    "data-missing": N_("Some data are damaged here, and no region has them; see the finding."),
    "data-lost": N_("Some paths were damaged in storage, and no region had them any more."),
    "path-not-in-point": N_("The point does not have this path."),
    "table-not-in-point": N_("The point does not have this table."),
}
KEPT_BY: Mapping[str, str] = {
    "legal-hold": N_("by a legal hold"),
    "unsettled": N_("until somebody has looked at a finding"),
    "object-lock": N_("by an object lock"),
    "clock-behind": N_("because the clock runs behind"),
    "future-dated": N_("because its date lies ahead"),
    "floor": N_("by the floor of verified points"),
    "newest-complete": N_("as the newest complete one"),
    "source-copy": N_("for the newest data of a source"),
    "being-restored": N_("while somebody restores from it"),
    "pinned": N_("so that its restore can be undone"),
    "last": N_("as one of the newest"),
    "daily": N_("by the daily count"),
    "weekly": N_("by the weekly count"),
    "monthly": N_("by the monthly count"),
    "yearly": N_("by the yearly count"),
    "manual": N_("among those made by hand"),
    "record": N_("as the record of a failure"),
    "source-ceiling": N_("up to the age limit of its source"),
    "max-age": N_("up to the age limit of the plan"),
    "pin-ended": N_("no longer: its restore can be undone no more"),
    "not-in-plan": N_("no longer: it goes with the next pass"),
}
OUTCOMES: Mapping[str, str] = {
    "complete": N_("complete"),
    "partial": N_("partial"),
    "failed": N_("failed"),
}
ORIGINS: Mapping[str, str] = {
    "schedule": N_("scheduled"),
    "daily": N_("daily"),
    "weekly": N_("weekly"),
    "manual": N_("by hand"),
    "safety": N_("safety point before a restore"),
}
COPIES: Mapping[str, str] = {
    "waiting": N_("waiting"),
    "copying": N_("being copied"),
    "stored": N_("stored"),
    "removed": N_("removed"),
    "quarantined": N_("in quarantine"),
}
WORK: Mapping[str, str] = {
    "backup": N_("Backup"),
    "copy": N_("Copy to another region"),
    "proof": N_("Proof"),
    "restore": N_("Restore"),
    "drill": N_("Rehearsed restore"),
    "healing": N_("Mending"),
    "key change": N_("Key change"),
    "removal": N_("Removal"),
}
PHASES: Mapping[str, str] = {
    "queued": N_("waiting to start"),
    "waiting": N_("waiting to start"),
    "making": N_("reading and storing"),
    "copying": N_("copying"),
    "proving": N_("reading back"),
    "running": N_("under way"),
    "beginning": N_("beginning"),
    "safety-point": N_("making a safety point"),
    "fetching": N_("fetching"),
    "loading": N_("loading"),
    "comparing": N_("comparing"),
    "placing": N_("putting it beside the live data"),
    "landing": N_("bringing it to its place"),
    "swapping": N_("swapping in"),
}
KINDS: Mapping[str, str] = {
    "postgres": N_("PostgreSQL database"),
    "directory": N_("folder"),
}
MARKS: Mapping[str, str] = {
    "anomaly-source-empty": N_("suddenly empty"),
    "anomaly-table-empty": N_("a table suddenly empty"),
    "anomaly-rows-down": N_("nearly all rows gone"),
    "anomaly-files-down": N_("nearly all files gone"),
    "anomaly-all-changed": N_("nearly everything changed at once"),
    "anomaly-size": N_("size far from usual"),
}
ROLES: Mapping[str, str] = {
    "owner": N_("owner"),
    "admin": N_("admin"),
    "viewer": N_("viewer"),
    "operator": N_("operator"),
    "operator-read-only": N_("operator, read-only"),
    "support": N_("support engineer"),
    "privacy-officer": N_("privacy officer"),
    "auditor": N_("auditor"),
}
SCOPES: Mapping[str, str] = {
    "status": N_("to see how things stand"),
    "read": N_("to read data"),
    "restore": N_("to read and restore data"),
}
GRANTS: Mapping[str, str] = {
    "asked": N_("asked for"),
    "open": N_("has access"),
    "over": N_("over"),
    "declined": N_("refused"),
    "ended": N_("ended early"),
}
SESSIONS: Mapping[str, str] = {
    "browser": N_("Browser"),
    "token": N_("Command line"),
}
DAYS: Mapping[str, str] = {  # what a day of the calendar says
    "complete": N_("complete"),
    "partial": N_("partial"),
    "running": N_("under way"),
    "failed": N_("failed"),
    "overdue": N_("overdue"),
    "missed": N_("missed"),
    "removed": N_("removed"),
    "not-due": N_("nothing was due"),
    "before": N_("before its start"),
}
ENTRIES: Mapping[str, str] = {  # what lies in a folder; others are shown by restic's word
    "dir": N_("folder"),
    "file": N_("file"),
    "symlink": N_("link"),
    "table": N_("table"),
    "dev": N_("device"),
    "chardev": N_("device"),
    "fifo": N_("pipe"),
    "socket": N_("socket"),
    "irregular": N_("of an odd kind"),
}
GROUPS: Mapping[str, str] = {  # by what tenants are put together
    "plan": N_("By plan"),
    "region": N_("By region"),
    "cause": N_("By cause"),
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "group": GROUPS,
    "day": DAYS,
    "entry": ENTRIES,
    "role": ROLES,
    "scope": SCOPES,
    "grant": GRANTS,
    "session": SESSIONS,
    "trouble": TROUBLES,
    "failure": FAILURES,
    "kept_by": KEPT_BY,
    "outcome": OUTCOMES,
    "origin": ORIGINS,
    "copy": COPIES,
    "work": WORK,
    "phase": PHASES,
    "kind": KINDS,
    "mark": MARKS,
    **restore_words.TABLES,
    **promise_words.TABLES,
}


def register(app: Flask) -> None:
    app.jinja_env.globals.update(said=said, trouble=trouble, remedy=remedy, finding=finding)
    app.jinja_env.globals["fault"] = fault_words.fault
    app.jinja_env.globals["restore_remedy"] = lambda code: restore_words.remedy(code, gettext)
    app.jinja_env.globals["restore_mark"] = restore_words.MARKS.get


def said(table: str, code: str) -> str | Markup:
    """What a code means; the code itself where nobody has said."""
    message = TABLES[table].get(code)
    return ltr(code) if message is None else gettext(message)


def finding(code: str) -> dict[str, Any]:
    """What a finding means, and what to do; the code itself where nobody has said."""
    means, todo = FINDINGS.get(code, (None, None))
    return {
        "means": ltr(code) if means is None else gettext(means),
        "todo": None if todo is None else gettext(todo),
    }


def trouble(found: Trouble) -> str | Markup:
    """What is wrong, with how many of it."""
    count = found.count
    if found.code is Attention.OVERDUE and found.hours is not None:
        return ngettext(
            "no complete point for more than %(num)s hour",
            "no complete point for more than %(num)s hours",
            found.hours,
        )
    if count is None:
        return said("trouble", found.code)
    match found.code:
        case Attention.COPIES_WAIT:
            return ngettext(
                "%(num)s copy waits for its region", "%(num)s copies wait for their region", count
            )
        case Attention.PROOFS_FAILED:
            return ngettext(
                "%(num)s copy failed its proof", "%(num)s copies failed their proof", count
            )
        case Attention.QUARANTINED:
            return ngettext(
                "%(num)s piece of work is in quarantine",
                "%(num)s pieces of work are in quarantine",
                count,
            )
        case Attention.REPOSITORIES_FROZEN:
            return ngettext(
                "%(num)s repository is frozen", "%(num)s repositories are frozen", count
            )
        case Attention.REMOVALS_BLOCKED:
            return ngettext("%(num)s removal is held up", "%(num)s removals are held up", count)
    return said("trouble", found.code)


def remedy(found: Trouble, slug: str) -> dict[str, Any]:
    """What to do next: words, and the command if there is one."""
    words, command = REMEDIES[found.code]
    return {"words": gettext(words), "command": command and command.format(slug=slug)}
