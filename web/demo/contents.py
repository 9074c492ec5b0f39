"""What stands in attachments: documents and pictures that do not compress, text that does."""

from __future__ import annotations

import csv
import io
import random
import struct
import zlib

from web.demo.chance import favourite
from web.demo.crm_talk import slots
from web.demo.goods import BRANDS, CATEGORIES
from web.demo.phrases import CLOSINGS, MIDDLES
from web.demo.words import Term


def pdf(chance: random.Random, *, size: int) -> bytes:
    """A one-page document whose page is a scan of `size` bytes, as photos of contracts are."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (size, chance.randbytes(size)),
    ]
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % table)


def png(chance: random.Random, *, side: int) -> bytes:
    """A square grey picture that any viewer opens."""
    rows = b"".join(b"\0" + chance.randbytes(side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def price_list(chance: random.Random, *, rows: int) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("الصنف", "item", "brand", "السعر بالجنيه"))
    for _ in range(rows):
        category = favourite(chance, CATEGORIES)
        goods, brand = chance.choice(category.goods), chance.choice(BRANDS)
        price = category.cost * chance.randint(8, 40) / 100
        table.writerow((goods.arabic, goods.english, brand.english, f"{price:.2f}"))
    return text.getvalue().encode()


def notes(chance: random.Random, *, paragraphs: int) -> bytes:
    """What was said on the telephone, written down in either language."""
    names = (Term("Eng. Khalid", "م. خالد"), Term("Layla", "ليلى"))
    lines = []
    for _ in range(paragraphs):
        language = "ar" if chance.random() < 0.7 else "en"
        turns = chance.choice(MIDDLES) + chance.choice(CLOSINGS)
        said = " / ".join(turn.arabic if language == "ar" else turn.english for turn in turns)
        lines.append(said.format(**slots(chance, language, names)))
    return "\n\n".join(lines).encode()
