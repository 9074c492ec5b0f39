"""Riyadh Voice's folder: call records as CSV and JSON of each day, and recordings of some calls."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import struct
from datetime import date, timedelta
from pathlib import Path

from web.demo import calls, days
from web.demo.calls import Call
from web.demo.chance import stream
from web.demo.files import date_folders, existing, write
from web.demo.summary import Summary

RATE = 8000  # samples a second, of one byte each
A_LAW = 6  # WAVE_FORMAT_ALAW of RFC 2361, what telephone exchanges record
SILENCE = b"\xd5"
# Speech is mostly soft: uniform noise becomes samples near zero more often than far from it.
# A sample is a sign and a magnitude, every other bit inverted (ITU-T G.711).
SPEECH = bytes((0x55 if byte & 1 else 0xD5) ^ (byte * byte >> 9 & 0x7F) for byte in range(256))


def create(folder: Path, *, seed: int) -> Summary:
    """Ninety days of records; every second day has a recording."""
    sizes = [
        size
        for number, day in enumerate(calls.history())
        for size in _write_day(folder, seed, day, recording=number % 2 == 0)
    ]
    date_folders(folder)
    return Summary(files=len(sizes), bytes=sum(sizes))


def change_a_day(folder: Path, *, seed: int, day: int) -> Summary:
    """The records of the day and one recording; a late call is added to the day before."""
    today = days.after(day)
    sizes = _write_day(folder, seed, today, recording=True)
    before = _records(folder, today - timedelta(days=1))
    late = _csv(calls.of_day(seed, today)[:1], header=False)
    sizes.append(write(before, before.read_bytes() + late, on=today))
    date_folders(folder)
    return Summary(files=len(sizes), bytes=sum(sizes))


def damage(folder: Path) -> str:
    """All recordings are deleted, and a full disk cut the records of one day short."""
    lost = existing(folder / "recordings", "*.wav")
    shutil.rmtree(folder / "recordings")
    cut = _records(folder, days.LAST_DAY)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    return (
        f"The folder of all {len(lost)} recordings was deleted, and {cut.name} was cut to a third "
        "in the middle of a line."
    )


def _write_day(folder: Path, seed: int, day: date, *, recording: bool) -> list[int]:
    """The sizes of what was written."""
    made = calls.of_day(seed, day)
    records = _records(folder, day)
    sizes = [
        write(records, _csv(made), on=day),
        write(records.with_suffix(".json"), _totals(day, made), on=day),
    ]
    kept = calls.recorded(made)
    if recording and kept is not None:
        audio = wave(stream(seed, "recordings", kept.id), seconds=kept.talk_seconds)
        sizes.append(write(folder / kept.recording, audio, on=day))
    return sizes


def _records(folder: Path, day: date) -> Path:
    return folder / "calls" / f"{day:%Y-%m}" / f"{day:%Y-%m-%d}.csv"


def _csv(made: list[Call], *, header: bool = True) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if header:
        table.writerow(("id", "بداية المكالمة", "direction", "number", "القسم", "ext", "s", "cost"))
    for call in made:
        local = call.started_at.astimezone(calls.RIYADH).isoformat()
        queue = calls.QUEUES[call.queue - 1].arabic
        what = (call.extension, call.talk_seconds, f"{call.cost / 100:.2f}")
        table.writerow((call.id, local, call.direction, call.number, queue, *what))
    return text.getvalue().encode()


def _totals(day: date, made: list[Call]) -> bytes:
    queues = [
        {
            "queue": queue.english,
            "القسم": queue.arabic,
            "calls": sum(call.queue == number for call in made),
            "missed": sum(call.queue == number and not call.talk_seconds for call in made),
            "talk_seconds": sum(call.talk_seconds for call in made if call.queue == number),
        }
        for number, queue in enumerate(calls.QUEUES, start=1)
    ]
    totals = {"day": day.isoformat(), "calls": len(made), "queues": queues}
    return json.dumps(totals, ensure_ascii=False, indent=2).encode()


def wave(chance: random.Random, *, seconds: int) -> bytes:
    """A playable telephone recording: turns of speech-like noise with pauses between them."""
    sound = bytearray()
    while len(sound) < seconds * RATE:
        spoken = chance.randint(RATE, 8 * RATE)
        sound += chance.randbytes(spoken).translate(SPEECH)
        sound += SILENCE * chance.randint(RATE // 4, 2 * RATE)
    del sound[seconds * RATE :]
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, A_LAW, 1, RATE, RATE, 1, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(sound))
    data = struct.pack("<4sI", b"data", len(sound)) + sound
    chunks = b"WAVE" + form + fact + data
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks
