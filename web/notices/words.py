"""What each alert means, and what to do about it. `docs/operations/alerts.md` has the same at length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from web.notices.speaking import N_, Speak, technical


@dataclass(frozen=True)
class Meaning:
    """The words of one code."""

    title: str  # what is wrong, in a few words
    todo: str
    command: str = ""
    counted: str = ""  # how many of what; empty: there is nothing to count


TENANTS = N_("Tenants concerned: %(count)s. Look first at: %(worst)s.")
BACK_UP = "strongroom backup {worst} --wait"
FINDINGS = "strongroom finding list"
# By code. A test sees that every code that the watch can find is here, and in the docs.
ALERTS: Mapping[str, Meaning] = {
    "tenants.overdue": Meaning(
        N_("Backups are overdue"),
        N_("See first whether dispatcher, workers and regions work; then make a point."),
        BACK_UP,
        TENANTS,
    ),
    "tenants.last-run-failed": Meaning(
        N_("Backups fail"), N_("Mend the cause, then make a point."), BACK_UP, TENANTS
    ),
    "tenants.proofs-failed": Meaning(
        N_("Copies failed their proof"),
        N_("They are mended from another region by themselves; see whether that worked."),
        "strongroom verify {worst}",
        TENANTS,
    ),
    "tenants.drills-failed": Meaning(
        N_("Rehearsed restores failed"),
        N_("See what differed; restore from another region or point until it is mended."),
        "strongroom points {worst}",
        TENANTS,
    ),
    "tenants.not-healed": Meaning(
        N_("Damage could not be mended"),
        N_("See which points and paths are lost; the next backup stores again what still exists."),
        FINDINGS,
        TENANTS,
    ),
    "tenants.quarantined": Meaning(
        N_("Work is in quarantine"),
        N_("It took two workers down. Read the workers' log before it is let loose again."),
        "strongroom status",
        TENANTS,
    ),
    "tenants.repositories-frozen": Meaning(
        N_("Repositories are frozen"),
        N_("Something changed in the storage that no act of ours explains. Nothing is removed."),
        FINDINGS,
        TENANTS,
    ),
    "tenants.last-point-partial": Meaning(
        N_("The newest points are partial"),
        N_("Some of it could not be read. Mend the cause, then make a point."),
        BACK_UP,
        TENANTS,
    ),
    "tenants.findings-open": Meaning(
        N_("Findings wait for a person"),
        N_("Look at each, then accept or reject it. Some keep anything from being removed."),
        FINDINGS,
        TENANTS,
    ),
    "tenants.no-sources": Meaning(
        N_("There is nothing to back up"),
        N_("Say what is to be backed up."),
        "strongroom source add {worst} --help",
        TENANTS,
    ),
    "tenants.copies-wait": Meaning(
        N_("Copies wait for a region"),
        N_("They are brought by themselves once the region answers."),
        "strongroom region check",
        TENANTS,
    ),
    "tenants.removals-blocked": Meaning(
        N_("Removals are held up"),
        N_("Nothing is lost; points stay longer than the plan says."),
        "strongroom retention preview {worst}",
        TENANTS,
    ),
    "footing.keys-away": Meaning(
        N_("The key store does not answer"),
        N_("Backups and restores wait, and go on by themselves once it answers."),
        "strongroom doctor",
    ),
    "footing.disk-low": Meaning(
        N_("A disk is nearly full"),
        N_("Free some space below the workers' folder before restores and drills fail."),
        "strongroom doctor",
    ),
    "footing.round-fails": Meaning(
        N_("A part of the dispatcher's rounds fails"),
        N_("Read the dispatcher's log; the other parts go on."),
        "strongroom status",
    ),
    "footing.unseen": Meaning(
        N_("Something is not looked at any more"),
        N_("The upkeep looks at it. See whether it runs, and read its log."),
        "strongroom status",
    ),
    "part.silent": Meaning(
        N_("A part of the platform gives no sign of life"),
        N_("Nothing that it does is done meanwhile. Start it again, and read its log."),
        "strongroom doctor",
        N_("Parts that are silent: %(count)s. Look first at: %(worst)s."),
    ),
    "queue.stuck": Meaning(
        N_("Work waits too long in a queue"),
        N_("See whether the broker answers and workers of this queue run, and are enough."),
        "strongroom doctor",
        N_("Pieces of work that wait: %(count)s. Look first at the queue: %(worst)s."),
    ),
    "region.silent": Meaning(
        N_("A region cannot be used"),
        N_("Copies there wait and catch up by themselves; the other regions go on."),
        "strongroom region check",
    ),
    "region.clock": Meaning(
        N_("A region's clock differs from ours"),
        N_("Nothing is removed while clocks disagree. Set the clock right."),
        "strongroom region check",
    ),
    "platform.control-dump-late": Meaning(
        N_("The control database was not dumped in time"),
        N_(
            "See whether the regions answer and the upkeep runs; without a dump a recovery loses more."
        ),
        "strongroom control list",
    ),
    "platform.escrow-incomplete": Meaning(
        N_("Not every secret has its escrow wrap"),
        N_(
            "If the key store were lost now, some backups could not be opened. See the upkeep's log."
        ),
        "strongroom escrow status",
    ),
    "record.unsound": Meaning(
        N_("The record of acts is not signed"),
        N_("See what it says, and whether the database was put back or somebody changed a row."),
        "strongroom audit verify",
    ),
    "notices.stuck": Meaning(
        N_("Messages do not get through to a channel"),
        N_("Mend the channel or set another; what waits is tried for three days."),
        "strongroom notice channels test {worst}",
        N_("Messages that nobody took: %(count)s."),
    ),
    "notices.lost": Meaning(
        N_("Messages to people were given up"),
        N_("See why, and reach them in another way."),
        "strongroom notice list",
        N_("Messages that nobody took: %(count)s."),
    ),
    "notices.no-channel": Meaning(
        N_("There is no channel for alerts"),
        N_(
            "Nobody is told of anything. Add a channel, and a second one that shares nothing with it."
        ),
        "strongroom notice channels add-email --help",
    ),
    "watch.blind": Meaning(
        N_("The watch cannot see how things stand"),
        N_("What it could not look at is not known to be well. Read the upkeep's log."),
        "strongroom status",
    ),
    "canary": Meaning(
        N_("The canary sings: alerts work"),
        N_("Nothing is wrong and nothing is to be done. A tenant of ours was broken on purpose."),
    ),
    "canary.silent": Meaning(
        N_("The canary is silent: alerts may not reach you"),
        N_(
            "Its alert of the day did not arrive. Find out where it stopped before you trust silence."
        ),
        "strongroom notice canary show",
    ),
}
EVENTS: Mapping[str, str] = {
    "alert.opened": N_("New alert"),
    "alert.worse": N_("Worse than before"),
    "alert.escalated": N_("Nobody has answered"),
    "alert.still": N_("Still wrong"),
    "alert.closed": N_("It is over"),
}
UNKNOWN = Meaning(N_("Something needs attention"), N_("See the page of alerts."))


def meaning(code: str) -> Meaning:
    return ALERTS.get(code, UNKNOWN)


def title(said: Mapping[str, Any], speak: Speak, language: str) -> str:
    """What is wrong, and of which part, region or cause."""
    words = speak(meaning(said["code"]).title)
    cause = cause_of(said)
    return f"{words}: {technical(cause, language)}" if cause else words


def cause_of(said: Mapping[str, Any]) -> str:
    """What a group names beside its code: a cause, a region, a queue."""
    return str(said["group"]).removeprefix(str(said["code"])).removeprefix(":")


def counted(said: Mapping[str, Any], speak: Speak, language: str) -> str:
    words = meaning(said["code"]).counted
    if not words:
        return ""
    worst = technical(said["worst"], language)
    return speak(words, count=technical(said["count"], language), worst=worst)


def command(said: Mapping[str, Any]) -> str:
    """Empty where there is none."""
    return meaning(said["code"]).command.format(worst=said["worst"] or "…")


# What people may refuse, as the page of their account says it.
REFUSABLE: Mapping[str, str] = {
    "backup.overdue": N_("My backup is overdue"),
    "restore.done": N_("A restore that I asked for is done"),
    "restore.failed": N_("A restore that I asked for was not done"),
}
