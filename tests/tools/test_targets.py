import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["setup", "demo", "up", "test", "test-long", "lint", "types", "imports", "chart"]
TARGETS += ["bench", "lock", "clean"]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_make_alone_lists_every_target_with_what_it_does() -> None:
    said = make().stdout

    for target in TARGETS:
        assert re.search(rf"(?m)^  make {target} +\S", said), target


def test_the_gate_runs_only_targets_that_exist() -> None:
    groups = re.findall(r"(?m)^group (\S+) \d+$", (ROOT / ".ci/run").read_text())

    assert groups == ["test", "lint", "types", "imports", "chart"]
    assert set(groups) <= set(TARGETS)


def test_a_missing_python_is_named_in_one_sentence() -> None:
    done = make("setup", "PYTHON=python-that-is-not-there")

    assert done.returncode != 0
    assert "Found: no python-that-is-not-there" in done.stderr


@pytest.mark.parametrize("name", ["tset", "requirements"])
def test_a_set_of_packages_that_does_not_exist_is_refused(name: str) -> None:
    done = subprocess.run(
        ["python3", "-m", "tools.setup", name],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1
    assert f"Found: {name}" in done.stderr
    assert "run, dev, chart" in done.stderr
