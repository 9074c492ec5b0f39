"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("platform/strongroom", "backup", "restore", "tenants", "web")
MOST_LINES = 500
# A letter in brackets keeps each pattern from finding itself.
WORKPLACE = (
    r"/wor[k]/",
    r"/home/[a-z]+[/]",
    r"/usr/local/lib/[p]ython",
    r"\b(pyp[i]|npmj[s]|pythonhoste[d]|rubygem[s]|crate[s])\.(org|io|com)\b",
    r"\bproxy\.golan[g]\.org\b",
    r"(?i)\b(anthropi[c]|claud[e]|opena[i]|chatgp[t]|copilo[t])\b",
    r"(?i)\b(language|AI)[ -][m]odel\b",
    r"(?i)\b(sub|AI )[ -]?[a]gents?\b",
    r"(?i)\bas an A[I]\b",
)


@cache
def tracked() -> tuple[Path, ...]:
    """Files that are, or are about to be, in the repository; without git, all but hidden ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    names = listed.stdout.decode().split("\0")
    return tuple(path for name in names if name and (path := ROOT / name).is_file())


def python_files() -> list[Path]:
    return [path for part in PARTS for path in (ROOT / part).rglob("*.py")]


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", "replace")


@pytest.mark.parametrize("pattern", WORKPLACE)
def test_no_file_tells_where_or_with_what_it_was_made(pattern: str) -> None:
    searched = tracked()
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in searched
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert len(searched) > 100
    assert found == []


def test_a_package_is_a_sentence_and_nothing_else() -> None:
    for part in PARTS:
        for path in (ROOT / part).rglob("__init__.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert len(tree.body) == 1, path
            assert ast.get_docstring(tree), path


def test_every_module_begins_with_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_no_module_is_longer_than_can_be_read_at_once() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in python_files()
        if "migrations" not in path.parts
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "base"}
    assert [path for path in python_files() if path.stem in drawers] == []


def test_the_standard_librarys_platform_is_not_hidden() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_every_top_folder_is_in_the_readers_page() -> None:
    page = ROOT / "docs" / "source.md"
    if not page.exists():
        pytest.skip("docs/source.md is not written yet")
    words = page.read_text(encoding="utf-8")
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    assert [folder for folder in sorted(folders) if f"{folder}/" not in words] == []


def test_the_layers_that_the_import_contract_names_are_all_there_is() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [each["layers"] for each in contract["contracts"] if each["type"] == "layers"]
    assert set(layers) == set(contract["root_packages"]) == {Path(part).name for part in PARTS}


def test_a_broad_except_says_which_edge_it_stands_at() -> None:
    broad = re.compile(r"except (Base)?Exception\b(?!.*#)")
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if broad.search(line) and not _goes_on(path, number)
    ]
    assert bare == []


def _goes_on(path: Path, number: int) -> bool:
    """The handler on this line raises what it caught again."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    (handler,) = [node for node in handlers if node.lineno == number]
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
