"""The sample tenants: the same everywhere, believable, and provably brought back."""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from strongroom import program
from strongroom.errors import BadValue
from strongroom.program import Command
from strongroom.stack import quarters
from strongroom.stack.cluster import Cluster, Options
from web.demo import (
    attachments,
    crm,
    days,
    erp,
    fingerprint,
    goods,
    phrases,
    recordings,
    samples,
    telephony,
    words,
)
from web.demo.summary import Summary

SEED = 7
DATABASES = (erp, crm, telephony)
SMALL_FIRST = [pytest.param(erp, marks=pytest.mark.long), crm, telephony]  # erp has by far the most
FOLDERS = (attachments, recordings)
Connection = psycopg.Connection[tuple[Any, ...]]
Create = Callable[..., Summary]
Fresh = Callable[[Create | None], Connection]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="strongroom-demo-data-"))
    home.chmod(0o755)
    server = Cluster(
        quarters.settle(home / "postgres"),
        password="demo-data",
        log=home / "postgres.log",
        options=Options(durable=False),
    )
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        quarters.clear(home / "postgres")
        program.run(Command(["rm", "-rf", str(home)]), timeout=120)


@pytest.fixture
def fresh(cluster: Cluster) -> Iterator[Fresh]:
    """Copies of the data of a module, which is made once; an empty database for None."""
    opened: dict[str, Connection] = {}
    with cluster.connect() as admin:

        def copy(create: Create | None) -> Connection:
            template = f"{create.__module__}_{create.__name__}" if create else "template1"
            template = template.replace(".", "_")
            known = admin.execute("SELECT FROM pg_database WHERE datname = %s", (template,))
            if create and known.fetchone() is None:
                admin.execute(f"CREATE DATABASE {template}")
                with cluster.connect(template) as connection:
                    create(connection, seed=SEED)
            name = f"copy_{len(opened)}"
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            opened[name] = cluster.connect(name)
            return opened[name]

        yield copy
        for name, connection in opened.items():
            connection.close()
            admin.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[ModuleType, Path]:
    """Folders that no test changes."""
    made = {module: tmp_path_factory.mktemp("pristine") for module in FOLDERS}
    for module, folder in made.items():
        module.create(folder, seed=SEED)
    return made


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def small_erp(connection: Connection, *, seed: int) -> Summary:
    """All kinds of objects, few rows: for tests that read everything many times."""
    made = erp.create(connection, seed=seed)
    connection.execute("TRUNCATE sales_invoices, purchase_bills, journal_entries CASCADE")
    connection.execute("UPDATE products SET price = price + 1 WHERE id < 20")
    return made


# Databases


@pytest.mark.parametrize("module", DATABASES)
def test_the_same_seed_makes_the_same_database(fresh: Fresh, module: ModuleType) -> None:
    again = fresh(None)
    module.create(again, seed=SEED)
    assert fingerprint.database(again) == fingerprint.database(fresh(module.create))


@pytest.mark.parametrize("module", SMALL_FIRST)
def test_another_seed_makes_another_database(fresh: Fresh, module: ModuleType) -> None:
    other = fresh(None)
    module.create(other, seed=SEED + 1)
    assert fingerprint.database(other).digest != fingerprint.database(fresh(module.create)).digest


@pytest.mark.parametrize("module", DATABASES)
def test_two_copies_live_through_the_same_days(fresh: Fresh, module: ModuleType) -> None:
    one, other = fresh(module.create), fresh(module.create)
    before = fingerprint.database(one)
    for day in (1, 2, 3):
        module.change_a_day(one, seed=SEED, day=day)
        module.change_a_day(other, seed=SEED, day=day)
    assert fingerprint.database(one) == fingerprint.database(other)
    assert fingerprint.differences(before, fingerprint.database(one))


@pytest.mark.parametrize("module", DATABASES)
def test_a_day_changes_little(fresh: Fresh, module: ModuleType) -> None:
    connection = fresh(module.create)
    before = sum(part.size for part in fingerprint.database(connection).parts)
    changed = module.change_a_day(connection, seed=SEED, day=1)
    assert 0 < changed.rows < before * 0.02


@pytest.mark.parametrize("module", DATABASES)
def test_a_damaged_database_has_another_fingerprint(fresh: Fresh, module: ModuleType) -> None:
    connection = fresh(module.create)
    before = fingerprint.database(connection)
    story = module.damage(connection)
    assert story.endswith(".") and any(character.isdigit() for character in story)
    assert len(fingerprint.differences(before, fingerprint.database(connection))) >= 2


@pytest.mark.parametrize("module", SMALL_FIRST)
def test_a_dump_brings_the_same_fingerprint_back(
    cluster: Cluster, fresh: Fresh, tmp_path: Path, module: ModuleType
) -> None:
    source, target = fresh(module.create), fresh(None)
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    passwords.write_text("*:*:*:*:demo-data\n")
    addresses = [f"{one.info.dsn} passfile={passwords}" for one in (source, target)]
    tools = cluster.quarters.programs
    dump = [str(tools / "pg_dump"), "--format=custom", "--compress=none", addresses[0]]
    load = [str(tools / "pg_restore"), "--exit-on-error", "--dbname", addresses[1]]
    dumped = subprocess.run(dump, stdout=subprocess.PIPE, check=True, timeout=60)
    subprocess.run(load, input=dumped.stdout, check=True, timeout=60)
    back = fingerprint.database(target)
    assert fingerprint.differences(fingerprint.database(source), back) == ()


@pytest.mark.parametrize(
    ("module", "tables", "smallest", "largest"),
    [(erp, 18, 300_000, 400_000), (crm, 8, 50_000, 70_000), (telephony, 5, 18_000, 23_000)],
)
def test_a_summary_counts_what_is_there(
    fresh: Fresh, module: ModuleType, tables: int, smallest: int, largest: int
) -> None:
    connection = fresh(None)
    summary = module.create(connection, seed=SEED)
    assert len(summary.tables) == tables
    assert smallest <= summary.rows <= largest
    for name, count in summary.tables:
        assert rows(connection, f"SELECT count(*) FROM {name}") == [(count,)]


def test_the_books_balance_after_days_of_trade(fresh: Fresh) -> None:
    connection = fresh(erp.create)
    for day in (1, 2):
        erp.change_a_day(connection, seed=SEED, day=day)
    assert (
        rows(
            connection,
            "SELECT entry_id FROM journal_lines GROUP BY 1 HAVING sum(debit) <> sum(credit)",
        )
        == []
    )
    assert (
        rows(
            connection,
            "SELECT id FROM sales_invoices JOIN sales_invoice_lines ON id = invoice_id"
            " GROUP BY id HAVING net <> sum(amount)",
        )
        == []
    )


def test_what_customers_owe_is_what_the_ledger_says(fresh: Fresh) -> None:
    connection = fresh(erp.create)
    owed = rows(connection, "SELECT sum(owed) FROM customer_balances")
    ledger = rows(
        connection,
        "SELECT sum(debit) - sum(credit) FROM journal_lines WHERE account_code = '1300'",
    )
    assert owed == ledger
    assert owed[0][0] > 0


def test_vat_returns_add_up_to_the_invoices(fresh: Fresh) -> None:
    connection = fresh(erp.create)
    returned = rows(connection, "SELECT sum(output_vat) * 100 FROM vat_returns")
    assert returned == rows(connection, "SELECT sum(vat) FROM sales_invoices")


def test_the_next_invoice_gets_the_next_number(fresh: Fresh) -> None:
    connection = fresh(erp.create)
    erp.change_a_day(connection, seed=SEED, day=1)
    [(last, following)] = rows(
        connection, "SELECT max(id), nextval('invoice_numbers') FROM sales_invoices"
    )
    assert following == last + 1


def test_a_new_price_leaves_the_old_one_on_record(fresh: Fresh) -> None:
    connection = fresh(erp.create)
    erp.change_a_day(connection, seed=SEED, day=1)
    changes = rows(connection, "SELECT changed_on, new_price > old_price FROM price_changes")
    assert changes == [(days.after(1), True)] * 12


def test_the_crm_lists_exactly_the_files_of_its_folder(fresh: Fresh, tmp_path: Path) -> None:
    connection = fresh(crm.create)
    attachments.create(tmp_path, seed=SEED)
    for day in (1, 2):
        crm.change_a_day(connection, seed=SEED, day=day)
        attachments.change_a_day(tmp_path, seed=SEED, day=day)
    listed = {path for (path,) in rows(connection, "SELECT path FROM crm.attachments")}
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.is_file()}
    assert listed == found


def test_messages_are_in_the_language_of_the_contact(fresh: Fresh) -> None:
    connection = fresh(crm.create)
    bodies = "SELECT count(*) FROM crm.messages JOIN crm.conversations AS talk ON"
    bodies += " talk.id = conversation_id JOIN crm.contacts ON contacts.id = contact_id WHERE"
    assert rows(connection, f"{bodies} language = 'ar' AND body !~ '[ء-ي]'") == [(0,)]
    assert rows(connection, f"{bodies} language = 'en' AND body ~ '[ء-ي]'") == [(0,)]
    assert rows(connection, f"{bodies} body ~ '[{{}}]'") == [(0,)]


def test_call_records_and_the_database_tell_of_the_same_calls(
    fresh: Fresh, pristine: dict[ModuleType, Path]
) -> None:
    in_files = set()
    for path in pristine[recordings].glob("calls/*/*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            in_files |= {row["id"] for row in csv.DictReader(file)}
    assert in_files == {
        name for (name,) in rows(fresh(telephony.create), "SELECT id::text FROM cdrs")
    }


# Folders


@pytest.mark.parametrize("module", FOLDERS)
def test_the_same_seed_makes_the_same_folder_under_any_umask(
    pristine: dict[ModuleType, Path], tmp_path: Path, module: ModuleType
) -> None:
    mask = os.umask(0o077)
    try:
        module.create(tmp_path, seed=SEED)
    finally:
        os.umask(mask)
    expected = fingerprint.folder(pristine[module], times=True)
    assert fingerprint.folder(tmp_path, times=True) == expected


@pytest.mark.parametrize("module", FOLDERS)
def test_a_day_adds_to_a_folder_and_changes_one_file(tmp_path: Path, module: ModuleType) -> None:
    module.create(tmp_path, seed=SEED)
    before = {part.name: part for part in fingerprint.folder(tmp_path).parts}
    written = module.change_a_day(tmp_path, seed=SEED, day=1)
    after = {part.name: part for part in fingerprint.folder(tmp_path).parts}
    assert before.keys() < after.keys()
    assert sum(before[name] != after[name] for name in before) == 1
    assert 0 < written.bytes < sum(part.size for part in before.values()) * 0.05


@pytest.mark.parametrize("module", FOLDERS)
def test_a_damaged_folder_has_lost_files(tmp_path: Path, module: ModuleType) -> None:
    module.create(tmp_path, seed=SEED)
    before = {part.name for part in fingerprint.folder(tmp_path).parts}
    assert module.damage(tmp_path).endswith(".")
    assert before - {part.name for part in fingerprint.folder(tmp_path).parts}


@pytest.mark.parametrize(
    ("module", "files", "megabytes"),
    [(attachments, range(550, 650), range(20, 32)), (recordings, range(200, 260), range(60, 82))],
)
def test_a_folder_has_the_size_of_a_small_tenant(
    tmp_path: Path, module: ModuleType, files: range, megabytes: range
) -> None:
    summary = module.create(tmp_path, seed=SEED)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert summary.files == len(found) and summary.files in files
    assert summary.bytes == sum(path.stat().st_size for path in found)
    assert summary.bytes // 10**6 in megabytes


def test_some_attachments_compress_and_some_do_not(pristine: dict[ModuleType, Path]) -> None:
    def ratio(kind: str) -> float:
        data = b"".join(path.read_bytes() for path in pristine[attachments].rglob(f"*.{kind}"))
        return len(zlib.compress(data, 1)) / len(data)

    assert ratio("pdf") > 0.95 and ratio("png") > 0.95
    assert ratio("txt") < 0.5 and ratio("csv") < 0.5


def test_recordings_are_telephone_audio(pristine: dict[ModuleType, Path]) -> None:
    found = sorted(pristine[recordings].rglob("*.wav"))
    assert 20 <= len(found) <= 60
    for path in found:
        data = path.read_bytes()
        assert data[:4] == b"RIFF" and data[8:16] == b"WAVEfmt "
        form, channels, rate = struct.unpack_from("<HHI", data, 20)
        assert (form, channels, rate) == (6, 1, 8000)
        assert struct.unpack_from("<I", data, 54) == (len(data) - 58,)


def test_paths_have_spaces_arabic_and_depth(pristine: dict[ModuleType, Path]) -> None:
    names = [str(path.relative_to(pristine[attachments])) for path in
             pristine[attachments].rglob("*.*") if path.is_file()]  # fmt: skip
    assert any(" " in name for name in names)
    assert sum(name != name.encode("ascii", "ignore").decode() for name in names) > 300
    assert {name.count("/") for name in names} == {4}
    assert max(len(part.encode()) for name in names for part in name.split("/")) < 200


# Words


def test_all_words_are_plain_and_normal_in_both_languages() -> None:
    terms = [
        *words.FIRST_NAMES, *words.FAMILY_NAMES, *words.COMPANY_NAMES, *words.TRADES,
        *(term for category in goods.CATEGORIES for term in category.goods),
        *(term for part in phrases.OPENERS + phrases.MIDDLES for term in part),
        *(sample.name for sample in samples.SAMPLES),
    ]  # fmt: skip
    for term in terms:
        both = term.english + term.arabic
        assert unicodedata.normalize("NFC", both) == both
        assert not [sign for sign in both if unicodedata.category(sign) in ("Cf", "Cc", "Co")]
        assert any(unicodedata.bidirectional(sign) == "AL" for sign in term.arabic)
        assert not any(unicodedata.bidirectional(sign) == "AL" for sign in term.english)


@pytest.mark.parametrize("terms", [words.FIRST_NAMES, words.FAMILY_NAMES, words.COMPANY_NAMES])
def test_no_name_stands_twice(terms: tuple[words.Term, ...]) -> None:
    assert len({term.english for term in terms}) == len(terms)
    assert len({term.arabic for term in terms}) == len(terms)


# Fingerprints


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE customers SET name_ar = name_ar || ' ' WHERE id = 17",
        "UPDATE customers SET trn = '' WHERE id = (SELECT min(id) FROM customers WHERE trn IS NULL)",
        "DELETE FROM price_changes WHERE id = 5",
        "DROP INDEX stock_moves_by_product",
        "ALTER TABLE products ALTER price DROP NOT NULL",
        "ALTER TABLE products DISABLE TRIGGER products_price_changed",
        "SELECT nextval('invoice_numbers')",
        "CREATE TABLE empty ()",
        "CREATE SCHEMA other CREATE TABLE empty ()",
        "DROP VIEW stock_on_hand",
    ],
)
def test_any_change_of_a_database_changes_its_fingerprint(fresh: Fresh, change: str) -> None:
    connection = fresh(small_erp)
    before = fingerprint.database(connection)
    connection.execute(change)
    assert fingerprint.database(connection).digest != before.digest


def test_rows_that_lie_elsewhere_are_still_the_same_rows(fresh: Fresh) -> None:
    connection = fresh(telephony.create)
    before = fingerprint.database(connection)
    connection.execute("UPDATE cdrs SET cost = cost WHERE cost > 0")
    connection.execute("VACUUM FULL cdrs")
    assert fingerprint.database(connection) == before


def test_settings_of_a_session_do_not_show(fresh: Fresh) -> None:
    connection = fresh(telephony.create)
    before = fingerprint.database(connection)
    for setting in ("TimeZone = 'Asia/Riyadh'", "DateStyle = 'German'", "bytea_output = 'escape'",
                    "IntervalStyle = 'sql_standard'", "search_path = 'pg_catalog'"):  # fmt: skip
        connection.execute(f"SET {setting}")
    assert fingerprint.database(connection) == before
    assert rows(connection, "SHOW TimeZone") == [("Asia/Riyadh",)]


def test_a_schema_alone_does_not_see_its_neighbours(fresh: Fresh) -> None:
    connection = fresh(crm.create)
    before = fingerprint.database(connection, schema="crm")
    connection.execute("CREATE TABLE public.neighbour AS SELECT 1 AS id")
    assert fingerprint.database(connection, schema="crm") == before
    connection.execute("UPDATE crm.contacts SET tags = '{}' WHERE id = 9 OR id = 10 OR id = 11")
    assert fingerprint.differences(before, fingerprint.database(connection, schema="crm")) == (
        "crm.contacts",
    )


def _rename(folder: Path) -> None:
    (folder / "عقد.txt").rename(folder / "عقد 2.txt")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "عقد.txt").write_text("b"),
        lambda folder: (folder / "عقد.txt").chmod(0o600),
        lambda folder: (folder / "new").mkdir(),
        lambda folder: (folder / "link").unlink() or (folder / "link").symlink_to("nowhere"),
        _rename,
    ],
)
def test_any_change_of_a_folder_changes_its_fingerprint(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    (tmp_path / "عقد.txt").write_text("a")
    (tmp_path / "link").symlink_to("عقد.txt")
    before = fingerprint.folder(tmp_path)
    change(tmp_path)
    assert fingerprint.folder(tmp_path).digest != before.digest


def test_times_count_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    plain, timed = fingerprint.folder(tmp_path), fingerprint.folder(tmp_path, times=True)
    os.utime(tmp_path / "file", (1, 1))
    assert fingerprint.folder(tmp_path) == plain
    assert fingerprint.folder(tmp_path, times=True) != timed


def test_what_has_no_content_has_no_fingerprint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadValue, match="pipe"):
        fingerprint.folder(tmp_path)


def test_a_schema_that_is_not_there_has_no_fingerprint(fresh: Fresh) -> None:
    with pytest.raises(BadValue, match="gone"):
        fingerprint.database(fresh(None), schema="gone")


def test_a_folder_that_is_not_there_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="gone"):
        fingerprint.folder(tmp_path / "gone")
