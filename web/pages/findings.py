"""Findings for pages: what each code means, and what to do about it.

The code of every finding that any part opens has its words here; a test walks them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backup.models import Finding
from web.pages.language import N_

MOST = 30  # on a page; the command line has all
ODD = N_(
    "See whether it was meant. If so, accept it; if not, reject it, and the point counts as partial."
)
STRANGE = N_(
    "It does no harm and is not touched. Find out who put it there, then delete it in the bucket."
)
REWRITTEN = N_("It was written anew. Find out who may write into that bucket.")
# What it means, and what to do.
FINDINGS: Mapping[str, tuple[str, str]] = {
    "anomaly-source-empty": (N_("A source that had data is suddenly empty."), ODD),
    "anomaly-table-empty": (N_("A table that had rows has none any more."), ODD),
    "anomaly-rows-down": (N_("Nearly all rows of a source are gone."), ODD),
    "anomaly-files-down": (N_("Nearly all files of a source are gone."), ODD),
    "anomaly-all-changed": (
        N_("Nearly everything in a source changed at once, as when malware encrypts files."),
        ODD,
    ),
    "anomaly-size": (N_("The size of a source is far from what it always was."), ODD),
    "snapshot-unrecorded": (
        N_("A snapshot lies there that no run of ours made."),
        N_("It is not touched. Find out who made it; if nobody knows, change the access keys."),
    ),
    "snapshot-vanished": (
        N_("A snapshot is gone from a region, and not by us."),
        N_("It is brought again from a region that has it. See who may delete in that bucket."),
    ),
    "key-foreign": (N_("Somebody else's key file lies in the repository."), STRANGE),
    "key-malformed": (N_("Something lies among the key files that is none."), STRANGE),
    "object-foreign": (
        N_("An object lies in the repository that the backup program would not put there."),
        STRANGE,
    ),
    "data-foreign": (N_("An object lies among the data that is no data of ours."), STRANGE),
    "versions-unexplained": (
        N_(
            "Objects were deleted or overwritten, and not by any act of ours that is on record. The "
            "repository is frozen: nothing is removed from it."
        ),
        N_(
            "If it was us, as with removals after the last dump before a recovery, accept it: "
            "everything is read back, then removal goes on. If somebody else deletes there, reject "
            "it and bring the objects back with the command for undeleting a region."
        ),
    ),
    "data-missing": (
        N_("Some data are damaged here, and no region has them."),
        N_("The next backup stores again what the source still has. See the paths it names."),
    ),
    "data-lost": (
        N_("Some paths were damaged in storage, and no region had them any more."),
        N_("Their points are partial now. Tell whoever needs these paths, then accept it."),
    ),
    "mass-removal": (
        N_("Retention would remove more at once than it may without a person."),
        N_("Look at the preview of retention. Accept it, and exactly these points go."),
    ),
    "region-not-allowed": (
        N_("A region was chosen in which this tenant's data may not lie; nothing was written."),
        N_("Change the plan's regions, or the countries that the tenant's data may lie in."),
    ),
    "copies-too-near": (
        N_("Copies lie nearer to each other than the plan allows."),
        N_("Add a region that is farther away, or change the plan."),
    ),
    "copy-lags": (
        N_("Copies in a region are far behind."),
        N_("See whether the region is up; then they catch up by themselves."),
    ),
    "objects-not-locked": (
        N_("Some objects are not locked for as long as the plan says."),
        N_("It is tried again by itself. See whether the region grants locks, and the clocks."),
    ),
    "key-rotation-failed": (
        N_("A key or password could not be made new; the old one is as good as before."),
        N_("Mend the cause, then ask for it again."),
    ),
    "record-refused": (
        N_("A record beside the backups is not ours: somebody changed or replaced it."),
        REWRITTEN,
    ),
    "record-old": (
        N_("An older record was put in the place of a newer one beside the backups."),
        REWRITTEN,
    ),
    "drill-differs": (
        N_("A rehearsed restore did not come back as it was backed up."),
        N_(
            "Older points are kept meanwhile. Restore from another point or region; a later "
            "rehearsal that passes settles it."
        ),
    ),
    "recovered": (
        N_("The platform was recovered from the regions; what it knew may be a day old."),
        N_("Compare the points, place holds again, restore something; then accept it."),
    ),
}


@dataclass(frozen=True)
class FindingLine:
    """One open finding."""

    id: UUID
    code: str
    subject: str
    region: str | None
    since: datetime
    freezes: bool  # nothing of the tenant is removed while it is open


def lines(rows: Iterable[Finding]) -> Sequence[FindingLine]:
    """What keeps everything from being removed comes first, then the oldest. Pure."""
    found = [
        FindingLine(
            row.id,
            row.code,
            row.subject,
            row.params.get("region"),
            row.first_seen_at,
            row.freezes,
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (not each.freezes, each.since))[:MOST]
