"""Dispatcher and workers are programs of their own, without what only pages and people need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LEAN = """
import sys
import web.working
import celery.apps.worker
from celery.concurrency import prefork
heavy = {"flask", "gunicorn", "werkzeug", "prompt_toolkit", "jinja2"} & set(sys.modules)
assert not heavy, heavy
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if "STRONGROOM" not in name}
    return subprocess.run(
        [sys.executable, *words], env=bare, capture_output=True, text=True, timeout=180, check=False
    )


def test_what_runs_in_numbers_holds_no_pages_and_no_command_line() -> None:
    done = run("-c", LEAN)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["web.cli", "web.working"])
@pytest.mark.parametrize("part", [["dispatcher"], ["worker", "--queue", "backup"]])
def test_without_a_platform_it_says_what_is_missing(program: str, part: list[str]) -> None:
    done = run("-m", program, "serve", *part)
    assert done.returncode == 2
    assert "Which platform?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_becomes_the_lean_program_with_the_same_words() -> None:
    done = run("-m", "web.cli", "serve", "worker", "--queue", "attic")
    assert done.returncode == 2
    assert "attic" in done.stderr
