"""Names, cells, ranges and seals: pure, over what a tenant may bring along."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import unicodedata
import uuid
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restore.delivery import copied, looking, names, ranges, sealing, tables, zips
from restore.delivery.copied import NotReadable
from restore.delivery.ranges import NotSatisfiable, Sent, Span
from restore.delivery.sealing import CHUNK, TAG, ArtefactDamaged, Head, Seal
from restore.delivery.zips import Packed

HOSTILE = (
    *("../../x", "..", ".", "", "/etc/passwd", "a\\..\\b", "C:\\x", "a\nb\r\nX-Evil: 1", "\x00"),
    *("<script>alert(1)</script>", "gnp.\u202eexe", "a\u2066b", "x\x1b[31m", "nul", "COM1.txt"),
    *("é" * 4000, "=cmd|' /C calc'!A0", 'a";b', "%2e%2e%2f", "trailing. ", "\udcff\udcfe.txt"),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_becomes_one_plain_name(name: str) -> None:
    clean = names.safe(name)

    assert clean not in ("", ".", "..")
    assert len(clean.encode()) <= names.MOST_BYTES
    assert not set(clean) & names.FORBIDDEN
    assert not any(unicodedata.category(each) in names.HIDDEN for each in clean)
    header = names.disposition(name)
    assert header.isascii() and header.isprintable()
    assert header.startswith('attachment; filename="') and header.count('"') == 2


def test_honest_names_keep_every_letter() -> None:
    for name in ("فاتورة 2026.pdf", "naïve café.txt", ".env", "a.tar.gz", "日本語.csv"):
        assert names.safe(name) == name


def test_names_that_clean_to_the_same_stay_apart() -> None:
    unique = names.Unique()

    found = [unique.name(each) for each in ("a:b.txt", "a?b.txt", "A_B.TXT", "é", "e\u0301")]

    assert found == ["a_b.txt", "a_b (2).txt", "A_B (3).TXT", "é", "e\u0301 (2)"]


def test_many_names_that_clean_to_the_same_are_numbered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred thousand of them would take hours if each tried all numbers before its own."""
    folded = names._folded
    asked: list[str] = []

    def noted(name: str) -> str:
        asked.append(name)
        return folded(name)

    monkeypatch.setattr(names, "_folded", noted)
    unique = names.Unique()

    found = [unique.name(f"a{sign}.txt") for sign in ':?*<>|"' * 100]

    assert len(set(found)) == 700
    assert len(asked) < 10 * 700


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", '"\'=1+1"'),
        ("+49 30 123", '"\'+49 30 123"'),
        ("-2+3+cmd|' /C calc'!A0", "\"'-2+3+cmd|' /C calc'!A0\""),
        ("@SUM(A1)", '"\'@SUM(A1)"'),
        ("＝1+1", '"\'＝1+1"'),
        ("\tx", '"\'\tx"'),
        ("\r=x", "\"'\r'=x\""),
        ("a;=1+1", '"a;\'=1+1"'),
        ('a;"=1+1;', '"a;""\'=1+1;\'"'),
        ("a;", '"a;\'"'),
        ("two\n-lines", '"two\n\'-lines"'),
        ("paid 1-2; e-mail a@b", '"paid 1-2; e-mail a@b"'),
        ("plain", "plain"),
        ("-12.50", "-12.50"),
        ("-1e-09", "-1e-09"),
        ("12", "12"),
        ('say "hi", now', '"say ""hi"", now"'),
        ("two\nlines", '"two\nlines"'),
        ("", '""'),
        (" padded ", '" padded "'),
    ],
)
def test_no_cell_is_a_formula_and_numbers_stay_numbers(text: str, written: str) -> None:
    assert tables.cell(text) == written


# Behind a number whole cells may follow, where a comma parts none: numbers, words, what is quoted.
RUNS = re.compile(
    r'[=+@＝＋－＠]|-(?![0-9.eE+-]*(,([0-9.eE+-]*|[^\W_]*|"([^"]|"")*"?))*$)', re.DOTALL
)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@given(rows=st.lists(st.lists(st.none() | st.text("=+-@＝;,\"\n\r\t 'a1", max_size=8)), max_size=4))
@example(rows=[["a", "b;=cmd|' /C calc'!A0"]])
@example(rows=[["a", 'b;"=cmd;']])
@example(rows=[["a", "b\n=cmd;"]])
@example(rows=[["-5", "1+cmd|' /C calc'!A0"]])
@example(rows=[["1", "a;"], ["-5", "0+cmd|' /C calc'!A0;x"]])
def test_no_spreadsheet_finds_a_formula_whatever_it_takes_for_a_separator(
    separator: str, rows: list[list[str | None]]
) -> None:
    data = b"".join(tables.csv(["id", "=x;=y"], [tuple(row) for row in rows])).decode()

    for row in csv.reader(io.StringIO(data, newline=""), delimiter=separator):
        for found in row:
            assert not RUNS.match(found.lstrip("\r\n")), (found, data)


@pytest.mark.parametrize(
    ("text", "kind", "written"),
    [
        (None, "integer", "null"),
        ("9223372036854775807", "bigint", "9223372036854775807"),
        ("1.10", "numeric(12,2)", '"1.10"'),
        ("NaN", "double precision", '"NaN"'),
        ("1e+30", "double precision", "1e+30"),
        ("t", "boolean", "true"),
        ('{"a":\n1}', "json", '{"a": 1}'),
        ("=1", "text", '"=1"'),
        ("\\xdead", "bytea", '"\\\\xdead"'),
        ("[" * 100_000, "jsonb", json.dumps("[" * 100_000)),
    ],
)
def test_a_value_is_json_and_nothing_is_lost(text: str | None, kind: str, written: str) -> None:
    assert tables.value(text, kind) == written
    json.loads(written)


def read(text: bytes) -> list[tuple[str, str, list[str], list[copied.Row]]]:
    return [
        (table.schema, table.name, list(table.columns), list(rows))
        for table, rows in copied.tables(io.BytesIO(text))
    ]


def test_rows_are_read_as_copy_writes_them() -> None:
    text = (
        b"SET client_encoding = 'UTF8';\nSELECT pg_catalog.setval('x', 1);\n"
        b'COPY public."odd ""name, (x\n" (id, "a,b", "c""d") FROM stdin;\n'
        b"1\t\\N\ta\\tb\\nc\\\\d\n2\t\t\\.\n\\.\n\nCOPY s.none () FROM stdin;\n\n\n\\.\n"
    )

    assert read(text) == [
        (
            "public",
            'odd "name, (x\n',
            ["id", "a,b", 'c"d'],
            [("1", None, "a\tb\nc\\d"), ("2", "", ".")],
        ),
        ("s", "none", [], [(), ()]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"COPY public.a (x) FROM stdin;\n1\n",  # no end
        b"COPY public.a (x) FROM stdin;\n1\t2\n\\.\n",
        b"COPY a (x) FROM stdin;\n\\.\n",
        b"COPY public.a (x\n",
    ],
)
def test_what_is_no_whole_table_is_refused(text: bytes) -> None:
    with pytest.raises(NotReadable):
        read(text)


def seal() -> Seal:
    return Seal(sealing.new_key(), uuid.uuid4(), uuid.uuid4())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_an_artefact_opens_chunk_by_chunk(size: int) -> None:
    ours, plain = seal(), os.urandom(size)
    chunks = list(ours.chunks([plain[:7], b"", plain[7:]]))

    assert sum(map(len, chunks)) == sealing.sealed_size(size)
    assert len(chunks) == sealing.count(size)
    opened = [ours.opened(each, n, of=len(chunks)) for n, each in enumerate(chunks)]
    assert b"".join(opened) == plain


def test_a_chunk_that_was_changed_moved_cut_off_or_is_anothers_does_not_open() -> None:
    ours, plain = seal(), os.urandom(2 * CHUNK + 5)
    one, two, last = list(ours.chunks([plain]))
    other = Seal(ours.key, ours.tenant, uuid.uuid4())

    for chunk, number, of in (
        (two, 0, 3),
        (one, 1, 3),
        (last, 1, 2),  # moved up, as if the one before had never been
        (two, 1, 2),  # the end cut off
        (one[:-1] + bytes([one[-1] ^ 1]), 0, 3),
        (one[:-1], 0, 3),
        (b"", 0, 3),
    ):
        with pytest.raises(ArtefactDamaged):
            ours.opened(chunk, number, of=of)
    with pytest.raises(ArtefactDamaged):
        other.opened(one, 0, of=3)
    head = ours.close_head(Head(5, "", "k", None, "a", "s", None))
    assert ours.open_head(head).size == 5
    with pytest.raises(ArtefactDamaged):
        other.open_head(head)
    with pytest.raises(ArtefactDamaged):
        ours.opened(head, 0, of=1)


def test_ranges_follow_the_rules() -> None:
    assert ranges.wanted("bytes=2-4", 10) == Span(2, 4)
    assert ranges.wanted("bytes=8-99", 10) == Span(8, 9)
    assert ranges.wanted("bytes=-4", 10) == Span(6, 9)
    assert ranges.wanted("bytes=-99", 10) == Span(0, 9)
    for whole in (None, "", "bytes=", "bytes=4-2", "bytes=0-1,4-5", "lines=1-2", "bytes=1-2x"):
        assert ranges.wanted(whole, 10) == Span(0, 9, partial=False)
    assert ranges.wanted("bytes=2-4", 10, still=False) == Span(0, 9, partial=False)
    for none in ("bytes=10-", "bytes=-0"):
        with pytest.raises(NotSatisfiable):
            ranges.wanted(none, 10)
    with pytest.raises(NotSatisfiable):
        ranges.wanted("bytes=0-", 0)


def test_what_was_sent_is_all_only_when_no_byte_is_missing() -> None:
    sent = Sent().and_(0, 3).and_(6, 9).and_(2, 4)
    assert sent.spans == ((0, 4), (6, 9))
    assert not sent.is_all(10)
    assert Sent.of(sent.to_json()).and_(5, 5).is_all(10)
    assert Sent().and_(0, -1).is_all(0)


def test_a_zip_holds_only_what_opens_harmlessly(tmp_path: Path) -> None:
    root, scratch = tmp_path / "data", tmp_path / "scratch"
    (root / "srv" / "in").mkdir(parents=True)
    scratch.mkdir()
    folder = root / "srv"
    for name in (
        b"..\\up",
        b"a\nb",
        b"\xff\xfe.txt",
        "gnp.\u202eexe".encode(),
        b"=x.csv",
        b"A",
        b"a",
    ):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name)
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / "in" / "old.txt").write_text("old")
    os.utime(folder / "in" / "old.txt", (0, 0))

    def made() -> tuple[bytes, Packed]:
        told = Packed()
        return b"".join(zips.packed(root, 1, scratch, told)), told

    data, told = made()
    for path in (folder, folder / "in"):
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime))
    assert made()[0] == data
    assert (told.files, told.folders, told.left_out, told.renamed) == (8, 1, 2, 5)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None
        listed = packed.namelist()
        assert len({each.casefold() for each in listed}) == len(listed)
        for each in listed:
            assert not each.startswith("/") and ".." not in each.split("/") and "\\" not in each
            assert each.isprintable()
        assert not any(stat.S_ISLNK(each.external_attr >> 16) for each in packed.infolist())
        left = packed.read("left-out.txt").decode()
        assert left == "srv/link: a link\nsrv/pipe: a pipe\n"
        assert "\\u202e" in packed.read("renamed.txt").decode()
        assert packed.read("in/old.txt") == b"old"
    assert list(scratch.iterdir()) == []


def test_what_a_file_is_is_told_by_what_it_begins_with() -> None:
    def seen(data: bytes, *, whole: bool = True) -> tuple[str, str]:
        found = looking.look(data, whole=whole)
        return found.what, found.encoding or found.mime

    assert seen(b"plain\n") == ("text", "utf-8")
    assert seen("فاتورة".encode()[:-1], whole=False)[0] == "text"
    assert seen("مرحبا بكم في المكتب".encode("cp1256")) == ("text", "cp1256")
    assert seen("naïve façade".encode("cp1252")) == ("text", "cp1252")
    assert seen("x".encode("utf-16")) == ("text", "utf-16-le")
    assert seen(b"") == ("text", "utf-8")
    assert seen(b"\x00\x01\x02") == ("other", "application/octet-stream")
    assert seen(b"%PDF-1.7\n\x00") == ("other", "application/pdf")
    assert seen(b"<svg onload=alert(1)>") == ("text", "utf-8")
    bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2
    assert looking.look(bomb, whole=True).too_large
    webp = b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + (3 | 4 << 14).to_bytes(4, "little")
    assert (looking.look(webp, whole=True).width, looking.look(webp, whole=True).height) == (4, 5)
    for cut in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00" * 3, b"GIF89a", b"RIFFxxxxWEBP"):
        assert looking.look(cut, whole=True).what in ("other", "text")
    assert TAG == 16
