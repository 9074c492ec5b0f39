"""Delta CRM's folder of attachments: contracts, photos, notes and price lists of customers."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from pathlib import Path

from web.demo import contents, days, words
from web.demo.chance import stream
from web.demo.files import date_folders, existing, write
from web.demo.summary import Summary

FILES = 600
A_DAY = 6
CONTACTS = 4000  # those of the database
SINCE = date(2025, 7, 1)
FOLDERS = {
    "pdf": ("Contracts", "عقود وفواتير"),
    "png": ("Photos", "صور المعاينة"),
    "txt": ("Notes", "ملاحظات"),
    "csv": ("Price lists", "قوائم الأسعار"),
}
TITLES = {
    "pdf": ("عقد توريد", "Offer", "فاتورة", "Signed contract", "عرض سعر"),
    "png": ("صورة الموقع", "Site photo", "إيصال تحويل", "Broken part"),
    "txt": ("ملاحظات الزيارة", "Call notes", "محضر استلام"),
    "csv": ("قائمة أسعار", "Price list", "كشف حساب"),
}
KINDS = ("pdf",) * 7 + ("png",) * 5 + ("txt",) * 4 + ("csv",) * 4


@dataclass(frozen=True)
class Attachment:
    """A file a customer sent or was sent."""

    path: str  # below the folder, with forward slashes
    kind: str  # pdf, png, txt or csv
    contact: int  # id in the database
    added_on: date


def listed(seed: int) -> Iterator[Attachment]:
    """All that the history has; the database has a row for each."""
    chance = stream(seed, "attachments", "list")
    span = (days.LAST_DAY - SINCE).days
    for number in range(1, FILES + 1):
        yield _attachment(chance, number, SINCE + timedelta(days=chance.randint(0, span)))


def listed_on(seed: int, day: int) -> Iterator[Attachment]:
    """What the given day adds."""
    chance = stream(seed, "attachments", "day", day)
    for place in range(1, A_DAY + 1):
        yield _attachment(chance, FILES + (day - 1) * A_DAY + place, days.after(day))


def create(folder: Path, *, seed: int) -> Summary:
    written = _write_all(folder, seed, listed(seed))
    date_folders(folder)
    return written


def change_a_day(folder: Path, *, seed: int, day: int) -> Summary:
    """New files come, and a price list is continued."""
    added = _write_all(folder, seed, listed_on(seed, day))
    tables = existing(folder, "*.csv")
    chosen = tables[day % len(tables)]
    lines = contents.price_list(stream(seed, "attachments", "more", day), rows=40)
    size = write(chosen, chosen.read_bytes() + lines, on=days.after(day))
    date_folders(folder)
    return Summary(files=added.files + 1, bytes=added.bytes + size)


def damage(folder: Path) -> str:
    """What ransomware does: files become noise with a new name, one month's folder is gone."""
    victims = existing(folder, "*.*")[::3]
    for path in victims:
        noise = stream(0, "noise", path.name).randbytes(path.stat().st_size)
        path.write_bytes(noise)
        path.rename(path.with_name(path.name + ".locked"))
    gone = folder / f"{days.LAST_DAY:%Y/%m}"
    lost = len(existing(gone, "*.*"))
    shutil.rmtree(gone)
    return (
        f"{len(victims)} attachments were overwritten with noise and renamed to .locked, and "
        f"the folder {gone.relative_to(folder)} with {lost} files was deleted."
    )


def _attachment(chance: random.Random, number: int, added_on: date) -> Attachment:
    kind = chance.choice(KINDS)
    parts = chance.choice(list(product(words.COMPANY_NAMES, words.TRADES)))
    company = words.company(*parts, chance.choice(words.EGYPT_CITIES))
    customer = company.arabic if chance.random() < 0.6 else company.english
    name = f"{chance.choice(TITLES[kind])} {number:05d}.{kind}"
    below = f"{added_on:%Y/%m}/{customer}/{chance.choice(FOLDERS[kind])}"
    return Attachment(f"{below}/{name}", kind, chance.randint(1, CONTACTS), added_on)


def _write_all(folder: Path, seed: int, attachments: Iterator[Attachment]) -> Summary:
    files = total = 0
    for attachment in attachments:
        data = _content(seed, attachment)
        total += write(folder / attachment.path, data, on=attachment.added_on)
        files += 1
    return Summary(files=files, bytes=total)


def _content(seed: int, attachment: Attachment) -> bytes:
    chance = stream(seed, "attachments", attachment.path)
    if attachment.kind == "pdf":
        brochure = chance.random() < 0.2  # the same for everybody, as such things are
        source = stream(seed, "attachments", "brochure") if brochure else chance
        return contents.pdf(source, size=source.randint(30_000, 110_000))
    if attachment.kind == "png":
        return contents.png(chance, side=chance.randint(150, 310))
    if attachment.kind == "csv":
        return contents.price_list(chance, rows=chance.randint(150, 700))
    return contents.notes(chance, paragraphs=chance.randint(6, 60))
