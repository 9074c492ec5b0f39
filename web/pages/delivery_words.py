"""Deliveries in words: kinds, states, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping

from restore.delivery.models import Delivery
from restore.delivery.states import DeliveryState, End, Kind
from web.pages.language import N_

KINDS: Mapping[str, str] = {
    Kind.FILE: N_("The file as it is"),
    Kind.FOLDER: N_("A zip of files and folders"),
    Kind.TABLE: N_("The table as CSV"),
    Kind.DUMP: N_("The database as it was stored (dump)"),
    Kind.SET_CSV: N_("A zip with a CSV for each table"),
    Kind.SET_JSON: N_("A zip with JSON Lines for each table"),
}
MEANS: Mapping[str, str] = {
    Kind.DUMP: N_("Everything, for PostgreSQL: pg_restore loads it."),
    Kind.TABLE: N_(
        "Opens in any spreadsheet. Text that a spreadsheet would run as a formula gets an "
        "apostrophe in front."
    ),
    Kind.SET_CSV: N_(
        "Opens anywhere, with a manifest of tables, columns and checksums. Text that a spreadsheet "
        "would run as a formula gets an apostrophe in front."
    ),
    Kind.SET_JSON: N_(
        "For programs: every value exactly as it was, with a manifest of tables, columns and "
        "checksums."
    ),
}
LOOKS: Mapping[str, str] = {  # of a preview, by what the file begins with
    "text/plain": N_("Text"),
    "image/png": N_("Image"),
    "image/jpeg": N_("Image"),
    "image/gif": N_("Image"),
    "image/webp": N_("Image"),
    "image/bmp": N_("Image"),
    "image/tiff": N_("Image"),
    "audio/mpeg": N_("Sound"),
    "application/ogg": N_("Sound"),
    "application/x-riff": N_("Sound or video"),
    "video/mp4": N_("Video"),
    "application/pdf": N_("PDF document"),
    "application/x-ole-storage": N_("Office document"),
    "application/zip": N_("Archive, or a document that is one inside"),
    "application/gzip": N_("Archive"),
    "application/x-xz": N_("Archive"),
    "application/x-7z-compressed": N_("Archive"),
    "application/vnd.rar": N_("Archive"),
    "application/x-bzip2": N_("Archive"),
    "application/zstd": N_("Archive"),
    "application/vnd.sqlite3": N_("Database in a file"),
    "application/x-postgresql-dump": N_("Dump of a database"),
    "application/x-elf": N_("Program"),
    "application/vnd.microsoft.portable-executable": N_("Program"),
    "application/octet-stream": N_("Other data"),
}
LOOK_TABLE = N_("Table of a database")
STATES: Mapping[str, str] = {
    DeliveryState.PROPOSED: N_("not confirmed yet"),
    DeliveryState.WAITING: N_("waiting to start"),
    DeliveryState.RUNNING: N_("being prepared"),
    DeliveryState.READY: N_("ready"),
    DeliveryState.REDEEMED: N_("being downloaded"),
    DeliveryState.QUARANTINED: N_("failed"),
    End.COMPLETE: N_("downloaded"),
    End.EXPIRED: N_("expired"),
    End.REVOKED: N_("revoked"),
    End.CANCELLED: N_("cancelled"),
    End.FAILED: N_("failed"),
}
BADGES: Mapping[str, str] = {
    DeliveryState.PROPOSED: "quiet",
    DeliveryState.WAITING: "busy",
    DeliveryState.RUNNING: "busy",
    DeliveryState.READY: "good",
    DeliveryState.REDEEMED: "busy",
    DeliveryState.QUARANTINED: "bad",
    End.COMPLETE: "good",
    End.EXPIRED: "quiet",
    End.REVOKED: "quiet",
    End.CANCELLED: "quiet",
    End.FAILED: "bad",
}
FAILURES: Mapping[str, str] = {
    "point-gone": N_("This point is no longer kept. Choose a later one."),
    "point-going": N_("This point is no longer kept. Choose a later one."),
    "nothing-stored": N_("This point has nothing of that source. Choose another one."),
    "path-not-in-point": N_("This point does not have that path. Its history names those that do."),
    "table-not-in-point": N_("This point has no such table."),
    "not-catalogued": N_("What this point has is being listed. Try again in a few minutes."),
    "delivery-not-chosen": N_(
        "That cannot be shown or downloaded by itself. Choose a file, folder or table."
    ),
    "name-not-utf-8": N_("This name cannot be asked for by itself. Choose the folder it lies in."),
    "too-many-deliveries": N_(
        "Many downloads are ready or under way. Fetch or revoke some of them first."
    ),
    "no-region-reached": N_("No region that has this point can be reached now. Try again later."),
    "no-room": N_("The platform has no room to prepare this now. Try again later, or choose less."),
    "dump-not-readable": N_(
        "The tables of this dump cannot be read one by one. Take the whole dump."
    ),
    "not-as-it-was": N_(
        "What came out is not what was backed up, so nothing is given out. Choose another point."
    ),
    "row-too-large": N_("A row of this table is too large for this format. Take the whole dump."),
    "artefact-damaged": N_(
        "What was prepared was damaged on its way, so it is not given out. Ask for it again."
    ),
    "restic-nothing-matched": N_(
        "This point does not have that path. Its history names those that do."
    ),
    "key-retired": N_("Your key was renewed meanwhile. Ask for the download again."),
    "workers-lost": N_(
        "Preparing it failed twice. Ask for it again; if it fails again, tell support."
    ),
}
OTHERWISE = N_("It could not be prepared. Try again; if it fails again, tell support.")


def kind_of(row: Delivery) -> str | None:
    """What a preview is of, in words; None while nobody has looked."""
    if row.kind is Kind.LOOK_TABLE:
        return LOOK_TABLE
    mime = (row.report or {}).get("mime")
    return None if mime is None else LOOKS.get(str(mime), LOOKS["application/octet-stream"])
