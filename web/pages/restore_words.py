"""Restores in words: how they stand, what stands in the way, why one failed and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from restore.conflicts import Code
from restore.states import Destination, RestoreState
from web.pages.language import N_

STATES: Mapping[str, str] = {
    RestoreState.ASKED: N_("waits for a second person"),
    RestoreState.WAITING: N_("waits for its turn"),
    RestoreState.RUNNING: N_("under way"),
    RestoreState.DONE: N_("done"),
    RestoreState.FAILED: N_("failed"),
    RestoreState.DECLINED: N_("refused by the second person"),
    RestoreState.CANCELLED: N_("cancelled"),
    RestoreState.QUARANTINED: N_("stopped, waits for our staff"),
}
MARKS: Mapping[str, str] = {  # of `marks.badge`
    RestoreState.ASKED: "warn",
    RestoreState.WAITING: "busy",
    RestoreState.RUNNING: "busy",
    RestoreState.DONE: "good",
    RestoreState.FAILED: "bad",
    RestoreState.DECLINED: "quiet",
    RestoreState.CANCELLED: "quiet",
    RestoreState.QUARANTINED: "bad",
}
DESTINATIONS: Mapping[str, str] = {
    Destination.ASIDE: N_("beside the live data"),
    Destination.IN_PLACE: N_("in place of the live data"),
    Destination.FOLDER: N_("into a folder of our staff"),
}
STEPS: Mapping[str, str] = {
    "restore-asked": N_("asked for"),
    "restore-approved": N_("allowed"),
    "restore-declined": N_("refused"),
    "restore-cancelled": N_("cancelled"),
    "restore-cancel-asked": N_("cancellation asked for"),
    "approval-lapsed": N_("nobody allowed it within a day"),
    "taken": N_("begun"),
    "restored": N_("done"),
    "worker-lost": N_("its worker was lost; taken up again"),
    "workers-lost": N_("it took two workers down; stopped"),
}
CHANGES: Mapping[str, str] = {
    "new": N_("Comes back"),
    "changed": N_("Changes back"),
    "deleted": N_("Goes away, with what was written since"),
    "appears": N_("comes back"),
    "disappears": N_("goes away"),
    "changes": N_("changes back"),
    "stays": N_("stays as it is"),
}
BASES: Mapping[str, str] = {
    "restores": N_("measured on earlier restores of this source"),
    "drills": N_("measured on rehearsed restores of your data"),
    "guess": N_("a guess: nothing was measured yet"),
}
CONFLICTS: Mapping[str, str] = {
    Code.POINT_GONE: N_("This point no longer has the data. Choose another point."),
    Code.POINT_GOING: N_("This point is being removed, as your plan says. Choose another point."),
    Code.SOURCE_GONE: N_(
        "Nothing lies there now, so there is nothing to save first, and this cannot be undone."
    ),
    Code.RESTORE_UNDER_WAY: N_(
        "Another restore of the same source is under way. Yours begins when that has ended; look at "
        "what it changed first."
    ),
    Code.BACKUP_UNDER_WAY: N_(
        "A backup is running. The restore waits for it before it saves what is live now."
    ),
    Code.POINT_EXPIRES: N_("This point goes soon. It stays while your restore waits or runs."),
    Code.POINT_PARTIAL: N_("Some files could not be read when this point was made."),
    Code.LOOKED_ODD: N_(
        "This point looked unusual when it was made, and nobody has said yet that it is right."
    ),
    Code.NOT_VERIFIED: N_("This point was stored but has not been read back yet."),
    Code.NEWER_VERIFIED: N_("There is a newer point that was read back."),
    Code.NEWER_UNVERIFIED: N_("There is a newer point, which was not read back yet."),
    Code.SOURCE_RETIRED: N_("This source is backed up no more; no new points follow."),
    Code.ASIDE_BEFORE: N_(
        "Earlier restores were put beside the live data, and may still lie there. They stay as they "
        "are."
    ),
}
# What happened, and what to do.
REMEDIES: Mapping[str, tuple[str, str]] = {
    "wrong-name": (
        N_("What you typed is not the account id."),
        N_("Type the account id as it stands above the field; a name will not do."),
    ),
    "plan-stale": (
        N_("This preview no longer holds: things may have changed since."),
        N_("Make it again, look at it, then confirm."),
    ),
    "no-plan": (N_("This preview is not made yet."), N_("Wait for it, or make it again.")),
    "too-many-plans": (
        N_("Many previews wait to be made already."),
        N_("Wait until they are made, then try again."),
    ),
    "reason-too-long": (N_("The reason is too long."), N_("Say it in 500 signs.")),
    "nothing-stored": (
        N_("That point holds nothing of this source."),
        N_("Choose another point."),
    ),
    "point-gone": (
        N_("This point no longer has the data: they were removed, as your plan says."),
        N_("Choose a later point."),
    ),
    "point-going": (
        N_("This point is being removed, as your plan says."),
        N_("Choose a later point."),
    ),
    "own-restore": (
        N_("You asked for this restore yourself."),
        N_("Ask another owner or admin to open this page."),
    ),
    "not-asked": (
        N_("Nobody has to allow this restore any more."),
        N_("See below how it stands."),
    ),
    "approval-lapsed": (
        N_("Nobody else allowed it within a day."),
        N_("Make the preview again, and ask again."),
    ),
    "asker-may-not": (
        N_(
            "The person who asked for this restore is no longer allowed to restore, so it cannot be "
            "approved."
        ),
        N_("Refuse it. If it is still needed, somebody who may restore asks again."),
    ),
    "approval-overtaken": (
        N_("Another restore has replaced these data since the preview was made."),
        N_(
            "Make the preview again, look at it, and ask again. If this one still waits, refuse it."
        ),
    ),
    "source-removed": (
        N_("This source was taken out of the backups since this was asked for."),
        N_("Refuse this one. See what is live now, and ask again if it is still needed."),
    ),
    "too-many-restores": (
        N_("Many restores wait or are under way already."),
        N_("Wait until some have ended, or cancel what is not needed."),
    ),
    "ended": (N_("It had ended already."), N_("See below how it stands.")),
    "too-late": (
        N_("The data were taking their place at that moment; it was too late to cancel."),
        N_("What was replaced is kept: undo the restore once it is done."),
    ),
    "not-undoable": (
        N_("There is nothing that could be undone."),
        N_("Choose a point from before it, and restore that."),
    ),
    "undo-over": (
        N_("The state before was kept for seven days, and they are over."),
        N_("Choose a point from before it, and restore that."),
    ),
    "already-undone": (
        N_("It was undone already, or is being undone."),
        N_("To go forward again, undo that restore."),
    ),
    "source-busy": (
        N_("Another restore of this source is under way."),
        N_("Nothing to do: this one begins when that has ended."),
    ),
    "backup-running": (
        N_("A backup is running, so what is live cannot be saved yet."),
        N_("Nothing to do: the restore goes on when the backup has ended."),
    ),
    "no-region-reached": (
        N_("No region that has this point answers."),
        N_("Nothing to do while it is tried again; if it failed, ask our support."),
    ),
    "key-unreachable": (
        N_("The key store gives no answer."),
        N_("Nothing to do: the restore goes on by itself."),
    ),
    "no-safety-point": (
        N_("What is live now could not be saved first, so nothing was replaced."),
        N_("Restore beside the live data instead, or have the source mended."),
    ),
    "not-swapped": (
        N_("The restored data could not take their place; what was live is as it was."),
        N_("Stop the programs that use the data, and try again."),
    ),
    "server-refused": (
        N_("The database server refused a step; what was live is as it was."),
        N_("See what it said, have it mended, and try again."),
    ),
    "constraint-violated": (
        N_("The restored rows do not fit the tables around them; nothing changed."),
        N_("Choose the tables that belong together, or restore beside the live data."),
    ),
    "table-redefined": (
        N_("A table was built differently since; nothing changed."),
        N_("Restore it beside the live data, or the whole database."),
    ),
    "restore-not-permitted": (
        N_("The database user may not do this; nothing changed."),
        N_("Give the user that right, or restore in another way."),
    ),
    "unsafe-target": (
        N_("The place to restore to is not safe to write to; nothing changed."),
        N_("See what stands there, or restore beside the live data."),
    ),
    "target-is-mounted": (
        N_("The folder is a mount and cannot change places; nothing changed."),
        N_("Restore beside the live data."),
    ),
    "not-as-it-was": (
        N_("What came back is not what was backed up, so it was not used."),
        N_("Choose another point; our staff have this one looked at."),
    ),
    "dump-will-not-load": (
        N_("The dump of the database does not load; nothing changed."),
        N_("Choose another point, or ask our support."),
    ),
    "dump-too-big": (
        N_("The dump grew past the room there is for it; nothing changed."),
        N_("Ask our support to give restores more room."),
    ),
    "path-not-in-point": (
        N_("The point does not have something you chose; nothing was restored."),
        N_("Choose from what the point shows."),
    ),
    "table-not-in-point": (
        N_("The point does not have a table you chose; nothing was restored."),
        N_("Choose from what the point shows."),
    ),
    "restic-failed": (
        N_("The data could not be read from the region."),
        N_("Try again; if it fails again, choose another point and tell our support."),
    ),
    "recovered": (
        N_("The platform itself was recovered meanwhile."),
        N_("See what is live now, and ask again if you still need it."),
    ),
    "workers-lost": (
        N_("It took two workers down and was stopped; what is live is wholly old or wholly new."),
        N_("Our staff look at it. Ask our support before you try again."),
    ),
}
OTHERWISE = (
    N_("It did not work. What was live is as it was, unless this page says otherwise."),
    N_("Try again; if it fails again, tell our support the number of this restore."),
)
TABLES: Mapping[str, Mapping[str, str]] = {
    "restore": STATES,
    "destination": DESTINATIONS,
    "restore_step": STEPS,
    "change": CHANGES,
    "basis": BASES,
    "conflict": CONFLICTS,
}


def remedy(code: str, gettext: Callable[[str], str]) -> dict[str, str]:
    """What happened, and what to do."""
    means, todo = REMEDIES.get(code, OTHERWISE)
    return {"means": gettext(means), "todo": gettext(todo)}
