"""What the beginning of a file shows: text, a picture, or neither. Pure, over hostile bytes.

A picture is told by what it begins with, never by its name, and only of kinds that carry no script;
how large it is once it is drawn is read from its head, so that no small file fills a screen's memory.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from typing import Any

TEXT_BYTES = 256 * 1024
IMAGE_BYTES = 8 * 1024 * 1024
MOST_PIXELS = 50_000_000
CONTROLS = frozenset(range(32)) - {9, 10, 12, 13} | {127}
MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"BZh", "application/x-bzip2"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"\x7fELF", "application/x-elf"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "application/ogg"),
    (b"RIFF", "application/x-riff"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"PGDMP", "application/x-postgresql-dump"),
)


@dataclass(frozen=True)
class Seen:
    """What a file is, as far as its beginning says."""

    what: str  # "text", "image" or "other"
    mime: str
    encoding: str | None = None  # of a text
    width: int | None = None  # of a picture
    height: int | None = None
    too_large: bool = False  # a picture that is not shown

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look(beginning: bytes, *, whole: bool) -> Seen:
    """`beginning` is all of the file if `whole`, else IMAGE_BYTES of it or more."""
    picture = _picture(beginning)
    if picture is not None:
        mime, width, height = picture
        fits = whole and 0 < width * height <= MOST_PIXELS
        return Seen("image", mime, width=width, height=height, too_large=not fits)
    encoding = text_encoding(beginning[:TEXT_BYTES], whole=whole and len(beginning) <= TEXT_BYTES)
    if encoding is not None:
        return Seen("text", "text/plain", encoding=encoding)
    return Seen("other", _kind(beginning))


def _kind(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return next(
        (kind for magic, kind in MAGIC if data.startswith(magic)), "application/octet-stream"
    )


def text_encoding(data: bytes, *, whole: bool) -> str | None:
    """How to read it, or None for what is no text. A byte order mark is believed, then UTF-8 if
    every byte fits; other text without control signs is taken for Windows' Arabic or Western."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
    ):
        if data.startswith(mark):
            return name if _decodes(data[len(mark) :], name, whole=whole) else None
    controls = sum(each in CONTROLS for each in data)  # a log has some, of colours and bells
    if b"\0" in data or controls > 2 + len(data) // 100:
        return None
    if _decodes(data, "utf-8", whole=whole):
        return "utf-8"
    high = [each for each in data if each >= 0x80]
    if len(high) > len(data) * 0.95:
        return None
    arabic = sum(each >= 0xC1 for each in high) > 0.9 * len(high) and len(high) > 0.3 * len(data)
    return "cp1256" if arabic else "cp1252"


def _decodes(data: bytes, encoding: str, *, whole: bool) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:  # the last sign may be cut in two
        return (
            not whole
            and error.start >= len(data) - 4
            and "\0" not in data[: error.start].decode(encoding)
        )
    return True


def text_of(data: bytes, encoding: str) -> str:
    """What was cut or does not fit becomes U+FFFD, or goes at the end."""
    text = data[:TEXT_BYTES].decode(encoding, "replace")
    return text.removeprefix("\ufeff").removesuffix("\ufffd")


def _picture(data: bytes) -> tuple[str, int, int] | None:
    """Kind, width and height by its head; (…, 0, 0) when that cannot be read."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ("image/png", *struct.unpack(">II", data[16:24]))
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return ("image/gif", *struct.unpack("<HH", data[6:10]))
        if data.startswith(b"\xff\xd8\xff"):
            return ("image/jpeg", *_jpeg(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return ("image/webp", *_webp(data))
    except (struct.error, IndexError, ValueError):
        return None
    return None


def _jpeg(data: bytes) -> tuple[int, int]:
    """From the frame header (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker")
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
        elif kind in (0x01, *range(0xD0, 0xD9)):
            at += 2
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    raise ValueError("no frame")


def _webp(data: bytes) -> tuple[int, int]:
    """RFC 9649, section 2."""
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int(struct.unpack("<I", data[21:25])[0])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no frame")
