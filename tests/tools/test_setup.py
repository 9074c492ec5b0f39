"""The set-up for real, of a project so small that it takes seconds."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tiny"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["tiny"]
"""

pytestmark = pytest.mark.long


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    tree = tmp_path / "a check out"
    shutil.copytree(ROOT / "tools", tree / "tools")
    (tree / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/build.txt", tree / "requirements/run.txt")
    (tree / "tiny").mkdir()
    (tree / "tiny/__init__.py").touch()
    (tree / "pyproject.toml").write_text(PYPROJECT)
    program = tmp_path / "bin" / "restic"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho restic 0.19.1\n")
    program.chmod(0o755)
    return tree


def begin(checkout: Path) -> subprocess.Popen[str]:
    path = f"{checkout.parent}/bin:/usr/bin:/bin"
    return subprocess.Popen(
        [sys.executable, "-m", "tools.setup"],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(checkout: Path) -> str:
    process = begin(checkout)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def works(checkout: Path) -> bool:
    python = checkout / ".venv/bin/python"
    restic = checkout / ".venv/bin/restic"
    imports = [python, "-c", "import hatchling, editables, tiny"]
    return subprocess.run(imports, check=False).returncode == 0 and os.access(restic, os.X_OK)


def test_a_second_run_has_nothing_to_do(checkout: Path) -> None:
    first = finish(checkout)
    second = finish(checkout)

    assert "Virtual environment" in first
    assert second == ""
    assert works(checkout)


def test_a_changed_lock_is_installed_and_nothing_else(checkout: Path) -> None:
    finish(checkout)
    with (checkout / "requirements/run.txt").open("a") as lock:
        lock.write("# changed\n")

    said = finish(checkout)

    assert [line.split(" … ")[0] for line in said.splitlines()] == [
        "Packages of requirements/run.txt"
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("word", ["Virtual", "Packages", "project"])
def test_a_set_up_that_was_broken_off_is_finished_by_the_next(
    checkout: Path, number: signal.Signals, word: str
) -> None:
    process = begin(checkout)
    assert process.stdout
    said = ""
    while word not in said and (character := process.stdout.read(1)):
        said += character
    os.killpg(process.pid, number)
    process.communicate(timeout=60)

    finish(checkout)

    # Its last step may be over before the signal comes.
    assert process.returncode != 0 or word == "project"
    assert works(checkout)
    assert sorted(path.name for path in (checkout / ".tools").iterdir()) == ["setup.lock"]


def test_two_at_the_same_time_wait_for_one_another(checkout: Path) -> None:
    both = [begin(checkout), begin(checkout)]

    said = [process.communicate(timeout=240)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum("Virtual environment" in text for text in said) == 1
    assert works(checkout)


def test_a_package_with_another_hash_is_refused(checkout: Path) -> None:
    lock = checkout / "requirements/run.txt"
    text = lock.read_text()
    lock.write_text(text.replace("sha256:", "sha256:0000", 1).replace("sha256:", "sha256:00"))
    process = begin(checkout)

    said, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "hash" in said.lower()
    assert not (checkout / ".venv/.setup/run").exists()
