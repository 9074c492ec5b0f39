"""What makes no sense, or may not be, is refused at once: a clear error, and no row has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from tests import cast
from tests.cast import SourceDatabase
from tests.web.command_line import Desk, sit_down

PASSWORD = "hunter2-geheim"


@pytest.fixture
def desk(stack: Embedded, runtime: Runtime, tmp_path: Path) -> Desk:
    """With Acme and Bolt at it."""
    for new in (cast.ACME, cast.BOLT):
        cast.add_tenant(runtime, new)
    return sit_down(stack, runtime, tmp_path)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the home."""
    return tmp_path_factory.mktemp("srv")


@pytest.fixture
def secret(place: Path) -> Path:
    file = place / "secret"
    file.write_text(PASSWORD + "\n")
    return file


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("points nobody", (2, "unknown-tenant")),
        ("tenant show nobody", (2, "unknown-tenant")),
        ("restores list nobody", (2, "unknown-tenant")),
        ("schedule nobody show", (2, "unknown-tenant")),
        ("schedule acme forget", (2, "usage")),
        ("plan show nothing", (2, "unknown-plan")),
        ("tenant plan acme nothing", (2, "unknown-plan")),
        ("tenant plan acme nothing --preview", (2, "unknown-plan")),
        ("retention preview acme --plan nothing", (2, "unknown-plan")),
        ("browse acme 7", (2, "unknown-point")),
        ("browse acme seven", (2, "bad-point")),
        ("diff acme 1 2", (2, "unknown-point")),
        ("verify acme", (2, "unknown-point")),
        ("restore acme --point latest --source x --to aside", (2, "unknown-point")),
        ("restore acme --point 1 --to aside", (2, "usage")),
        ("source test acme nothing", (2, "unknown-source")),
        ("source remove acme nothing", (2, "unknown-source")),
        ("backup acme", (2, "no-sources")),
        ("kit export acme --to /tmp/never-made", (2, "not-found")),
        ("hold place acme --reason x --until tomorrow", (2, "bad-value")),
        ("hold place acme --reason x --until 2020-01-01", (2, "bad-value")),
        ("hold release 01990000-0000-7000-8000-000000000000", (2, "not-found")),
        ("hold release nothing", (2, "usage")),
        ("undo 01990000-0000-7000-8000-000000000000", (2, "not-found")),
        (
            "region add eu --endpoint http://127.0.0.1:9 --bucket b --role-arn r",
            (2, "no-region-credentials"),
        ),
        (
            "region add region-a --endpoint http://127.0.0.1:9 --bucket b --role-arn r",
            (2, "region-taken"),
        ),
    ],
)
def test_what_is_not_there_is_said(desk: Desk, words: str, expected: tuple[int, str]) -> None:
    assert desk.refused(*words.split()) == expected
    assert not Path("/tmp/never-made").exists()


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("slug", "acme", "slug-taken"),
        ("slug", "Acme", "bad-slug"),
        ("slug", "-acme", "usage"),
        ("slug", "acme ltd", "bad-slug"),
        ("slug", "a" * 64, "bad-slug"),
        ("slug", "../acme", "bad-slug"),
        ("slug", "acme\n", "bad-slug"),
        ("--name", " ", "bad-name"),
        ("--name", "A\x1b[2Jcme", "bad-name"),
        ("--plan", "gold", "unknown-plan"),
        ("--timezone", "Mars/Olympus", "unknown-zone"),
        ("--timezone", "../../etc/passwd", "unknown-zone"),
        ("--timezone", "", "unknown-zone"),
        ("--country", "XX", "bad-country"),
        ("--country", "ae", "bad-country"),
        ("--country", "ZZ", "bad-country"),
        ("--country", "EU", "bad-country"),
        ("--locale", "klingon-QQ", "bad-locale"),
        ("--locale", "ar_AE_", "bad-locale"),
        ("--locale", "", "bad-locale"),
    ],
)
def test_a_tenant_that_makes_no_sense_is_not_added(
    desk: Desk, option: str, value: str, code: str
) -> None:
    given = {
        "slug": "gamma",
        "--name": "Gamma",
        "--plan": "starter",
        "--timezone": "Asia/Dubai",
        "--country": "AE",
        "--locale": "ar-AE",
    } | {option: value}
    slug = given.pop("slug")
    words = [word for pair in given.items() for word in pair]

    assert desk.refused("tenant", "add", slug, *words) == (2, code)


def test_a_folder_that_may_not_be_a_source_is_refused(desk: Desk, place: Path) -> None:
    assert desk.refused(
        *("source", "add", "acme", "directory", "files", "--path", desk.home.parent)
    ) == (4, "source-in-home")
    cast.fill(place / "bolt")
    desk.json("source", "add", "bolt", "directory", "files", "--path", place / "bolt")
    (place / "link").symlink_to(place / "bolt" / "letters")
    (place / "deep").mkdir()
    (place / "deep" / "home").symlink_to(desk.home)
    (place / "round").symlink_to(place / "round")
    (place / "file").write_text("x")

    def add(path: Path | str) -> tuple[int, str]:
        return desk.refused("source", "add", "acme", "directory", "files", "--path", path)

    assert add(place / "missing") == (2, "folder-missing")
    assert add(desk.home / "keys") == (4, "source-in-home")
    assert add(place / "deep" / "home") == (4, "source-in-home")
    assert add(place / "bolt") == (4, "folder-of-another-tenant")
    assert add(place / "bolt" / "letters") == (4, "folder-of-another-tenant")
    assert add(place) == (4, "folder-of-another-tenant")
    assert add(place / "link") == (4, "folder-of-another-tenant")
    assert add(place / "bolt" / ".." / "bolt") == (4, "folder-of-another-tenant")
    assert add(place / "file") == (2, "not-a-folder")
    assert add(place / "round") == (2, "bad-value")
    assert add("relative/folder") == (2, "bad-value")
    assert add("") == (2, "bad-value")


@pytest.mark.parametrize(
    "words",
    [
        "tape files --path /srv",
        "directory files",
        "directory files --path /srv --dsn postgresql://a@b/c",
        "directory files --path /srv --schema public",
        "directory BAD/NAME --path /srv",
        "postgres erp --path /srv",
        "postgres erp --dsn postgresql://a@b/c --exclude x",
        "postgres erp",
        "postgres erp --dsn mysql://a@b/c",
        "postgres erp --dsn postgresql://a@b:99999/c",
        "postgres erp --dsn postgresql://a@b/c?options=-csearch_path",
    ],
)
def test_options_that_do_not_go_together_are_refused(desk: Desk, words: str) -> None:
    code, name = desk.refused("source", "add", "acme", *words.split())

    assert (code, name in ("bad-value", "bad-name")) == (2, True)


def test_a_folder_has_no_password(desk: Desk, place: Path, secret: Path) -> None:
    words = ["acme", "directory", "files", "--path", place, "--password-file", secret]

    assert desk.refused("source", "add", *words) == (2, "bad-value")


def test_a_name_is_given_once(desk: Desk, place: Path) -> None:
    for name in ("one", "two"):
        (place / name).mkdir()
    words = ["source", "add", "acme", "directory", "files", "--path"]
    desk.json(*words, place / "one")

    assert desk.refused(*words, place / "two") == (2, "source-taken")


def test_a_password_in_the_url_is_refused_and_not_repeated(desk: Desk) -> None:
    dsn = f"postgresql://backup:{PASSWORD}@127.0.0.1:5432/erp"

    said = desk("source", "add", "acme", "postgres", "erp", "--dsn", dsn, "--json")

    assert (said.code, said.error["code"]) == (2, "password-in-dsn")
    assert PASSWORD not in said.out + said.err


def test_a_database_that_cannot_be_read_is_refused_and_the_password_stays_secret(
    desk: Desk, new_database: Callable[..., SourceDatabase], place: Path, secret: Path
) -> None:
    database = new_database()
    right = place / "right"
    right.write_text(database.password)
    elsewhere = database.dsn.replace(database.name, "nothing_there").replace(
        "nothing_there@", f"{database.user}@"
    )

    def add(dsn: str, *more: str | Path) -> tuple[int, str]:
        words = ["source", "add", "acme", "postgres", "erp", "--dsn", dsn, *more]
        said = desk(*words, "--json")
        assert PASSWORD not in said.out + said.err
        assert database.password not in said.out + said.err
        return desk.refused(*words)

    assert add(database.dsn) == (2, "source-sign-in-refused")
    assert add(database.dsn, "--password-file", secret) == (2, "source-sign-in-refused")
    assert add(elsewhere, "--password-file", right) == (2, "source-no-database")
    assert add(database.dsn, "--schema", "nope", "--password-file", right) == (
        2,
        "source-no-schema",
    )
    assert add("postgresql://a@127.0.0.1:9/x", "--password-file", secret) == (
        1,
        "source-unreachable",
    )
    assert add(database.dsn, "--password-file", place / "none") == (2, "bad-value")
    assert add("postgresql://a@169.254.169.254/x")[0] in (2, 4)


def test_a_password_comes_from_standard_input_too(
    desk: Desk, new_database: Callable[..., SourceDatabase]
) -> None:
    database = new_database()
    words = ["acme", "postgres", "erp", "--dsn", database.dsn, "--password-file", "-"]

    said = desk("source", "add", *words, "--json", typed=database.password + "\n")

    assert said.code == 0, said
    assert database.password not in said.out + said.err
    assert desk.json("source", "test", "acme", "erp")["ok"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no plan"),
        ("[basic", "is not TOML"),
        ("basic = 3", "is not a table"),
        ("[Basic]\n", "needs a code"),
        ("[basic]\nname = 'x'\n", "the name of basic"),
        ("[basic]\nregions = 2\n", "daily_at"),
    ],
)
def test_a_plan_file_that_makes_no_sense_changes_nothing(
    desk: Desk, place: Path, text: str, says: str
) -> None:
    (place / "plans.toml").write_text(text)

    assert desk.refused("plan", "apply", place / "plans.toml") == (2, "bad-plan")
    assert says in desk("plan", "apply", place / "plans.toml").err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("regions = 2", "regions = 'two'"), "regions"),
        (("regions = 2", "regions = 0"), "regions"),
        (("floor =", "flor ="), "flor"),
        (("daily_at", "daily_att"), "daily_att"),
    ],
)
def test_one_bad_plan_in_a_file_keeps_the_good_ones_out_too(
    desk: Desk, place: Path, change: tuple[str, str], says: str
) -> None:
    shipped = (Path(cast.onboarding.plans.__file__).parent / "shipped_plans.toml").read_text()
    head, name, tail = shipped.partition("[business")
    (place / "plans.toml").write_text(
        head.replace("jitter_minutes = ", "jitter_minutes = 1") + name + tail.replace(*change)
    )

    assert desk.refused("plan", "apply", place / "plans.toml") == (2, "bad-plan")
    assert says in desk("plan", "apply", place / "plans.toml").err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads everything, and becomes another")
def test_a_plan_file_that_cannot_be_read_is_said(desk: Desk, place: Path) -> None:
    assert desk.refused("plan", "apply", place) == (2, "bad-plan")
    assert desk.refused("plan", "apply", place / "none.toml") == (2, "bad-plan")


def test_a_restore_that_makes_no_sense_is_refused(desk: Desk, place: Path) -> None:
    bolt = cast.onboarding.named(desk.runtime, "bolt")
    cast.add_folder(desk.runtime, bolt, place / "bolt", name="theirs")
    acme = cast.onboarding.named(desk.runtime, "acme")
    cast.add_folder(desk.runtime, acme, place / "acme")
    mine, theirs = cast.back_up(desk.runtime, acme), cast.back_up(desk.runtime, bolt)

    def ask(*words: str | Path) -> tuple[int, str]:
        return desk.refused("restore", "acme", *words)

    point = ("--point", "1", "--source", "files")
    assert ask(*point, "--to", "sideways") == (2, "bad-value")
    assert ask(*point, "--to", "postgresql://a@b/c") == (2, "not-built")
    assert ask(*point, "--to", "aside", "--table", "public.orders") == (2, "bad-value")
    assert ask(*point, "--to", "aside", "--path", "letters") == (2, "bad-value")
    assert ask(*point, "--to", "aside", "--path", "/../etc") == (2, "bad-value")
    assert ask(*point, "--to", "aside", "--path", "/") == (2, "bad-value")
    assert ask(*point, "--to", place / "bolt" / "x") == (4, "folder-of-another-tenant")
    assert ask("--point", "1", "--source", "theirs", "--to", "aside") == (2, "unknown-source")
    assert ask("--point", str(theirs.id), "--source", "files", "--to", "aside") == (
        2,
        "unknown-point",
    )
    assert mine.id != theirs.id
