"""Everything the checkout needs, on a machine that has Python 3.11 and nothing of ours.

    python3 -m tools.setup [run] [dev] [chart]      which sets of packages; run is always there

A virtual environment in .venv, packages with the hashes of requirements/*.txt, the project
itself, restic. A stamp per step holds the digest of what the step was made from and is written
when the step is through, so that the next run skips exactly what is there. An environment in
which a step broke off is made anew. Whatever this starts holds the lock as well, so that a
set-up that was killed cannot work on beside the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tools import chromium, debian, restic, softhsm
from tools.trouble import Trouble

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
STAMPS = VENV / ".setup"
UNFINISHED = STAMPS / "unfinished"
PYTHON = VENV / "bin" / "python"
SETS = ("run", "dev", "chart")
TAIL_LINES = 15


def main(arguments: Sequence[str]) -> int:
    try:
        _check_python()
        wanted = _wanted(arguments)
        TOOLS.mkdir(exist_ok=True)
        with _only_one() as lock:
            _make_everything(wanted, lock)
    except Trouble as trouble:
        print(f"The set-up stopped.\n {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe set-up was interrupted; run it again to finish.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"The set-up stopped: {error}. Free the space or mend the rights.", file=sys.stderr)
        return 1
    return 0


def _check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs before anything checked it
        raise Trouble(
            wanted="Python 3.11 or newer",
            found=f"{sys.executable} is {sys.version.split()[0]}",
            remedy="name a newer one, as in `make setup PYTHON=python3.12`",
        )


def _wanted(arguments: Sequence[str]) -> list[str]:
    for name in arguments:
        if name not in SETS:
            raise Trouble(
                wanted="a set of packages", found=name, remedy=f"name one of {', '.join(SETS)}"
            )
    return [name for name in SETS if name == "run" or name in arguments]


def _make_everything(wanted: Sequence[str], lock: int) -> None:
    for left in TOOLS.glob("*-*"):  # folders of a set-up that was killed
        shutil.rmtree(left)
    if UNFINISHED.exists() or not _has("python", _python_digest()):
        with _step("Virtual environment in .venv"):
            _make_environment(lock)
    for name in wanted:
        file = ROOT / "requirements" / f"{name}.txt"
        if not _has(name, _digest(file)):
            with _step(f"Packages of requirements/{file.name}"), _changing_environment():
                _pip(lock, "--require-hashes", "--only-binary=:all:", "-r", str(file))
                _stamp(name, _digest(file))
    pyproject = _digest(ROOT / "pyproject.toml")
    if not _has("project", pyproject):
        with _step("The project itself"), _changing_environment():
            _pip(lock, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
            _stamp("project", pyproject)
    if "dev" in wanted:
        _offer("SoftHSM", softhsm)
        _offer("Chromium", chromium)
    link = VENV / "bin" / "restic"
    if not (_has("restic", _restic_digest()) and os.access(link, os.X_OK)):
        with _step("restic"):
            _link(link, restic.provide(TOOLS))
            _stamp("restic", _restic_digest())


def _offer(name: str, what: ModuleType) -> None:
    """Only tests need it, and say so where it is missing. Tried once."""
    stamp, tried = name.lower(), _digest_of(" ".join(what.PACKAGES))
    if what.find(TOOLS) is not None or _has(stamp, tried):
        return
    try:
        with _step(name):
            what.provide(TOOLS)
    except Trouble as trouble:
        print(f" {trouble}", file=sys.stderr)
    _stamp(stamp, tried)


def _make_environment(lock: int) -> None:
    """A bare Debian has no ensurepip; pip then comes from the distribution's package."""
    _remove_environment()
    # In an activated environment sys.executable is the very file that was just removed.
    base = getattr(sys, "_base_executable", sys.executable)
    whole = _run([base, "-m", "venv", str(VENV)], lock)
    if whole.returncode != 0:
        _remove_environment()
        bare = _run([base, "-m", "venv", "--without-pip", str(VENV)], lock)
        if bare.returncode != 0:
            raise Trouble(
                wanted="a virtual environment in .venv",
                found=_tail(bare.stdout),
                remedy="install the python3-venv package of your distribution",
            )
        _pip_from_debian(lock)
    STAMPS.mkdir()
    _stamp("python", _python_digest())


def _remove_environment() -> None:
    """The stamp goes first: half an environment must not look like a whole one."""
    (STAMPS / "python").unlink(missing_ok=True)
    if VENV.exists():
        shutil.rmtree(VENV)


def _pip_from_debian(lock: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pip-", dir=TOOLS) as folder:
        unpacked = Path(folder) / "unpacked"
        unpacked.mkdir()
        debian.unpack("python3-pip-whl", suite=None, into=unpacked)
        wheels = sorted(unpacked.glob("usr/share/python-wheels/pip-*.whl"))
        if not wheels:
            raise Trouble(
                wanted="pip",
                found="neither ensurepip nor a wheel in python3-pip-whl",
                remedy="install the python3-venv package of your distribution",
            )
        # A wheel of pip can run itself, and so install itself.
        argv = [str(PYTHON), f"{wheels[-1]}/pip", "install", "--no-index", str(wheels[-1])]
        done = _run(argv, lock)
        if done.returncode != 0:
            raise Trouble(
                wanted="pip", found=_tail(done.stdout), remedy="install python3-venv, run again"
            )


def _pip(lock: int, *arguments: str) -> None:
    """Which index is asked is the machine's own configuration of pip; the hashes decide."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    done = _run([str(PYTHON), "-m", "pip", "install", *quiet, *arguments], lock)
    if done.returncode != 0:
        raise Trouble(
            wanted=f"pip install {' '.join(arguments)}",
            found=_tail(done.stdout),
            remedy="see what `pip config list` names as index and whether it answers, then run "
            "this again",
        )


def _run(argv: Sequence[str], lock: int) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        argv,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=(lock,),
        check=False,
    )


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n         ".join(lines[-TAIL_LINES:]) or "no word of explanation"


def _link(link: Path, program: Path) -> None:
    fresh = link.with_name("restic.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(program)
    fresh.replace(link)


def _python_digest() -> str:
    """Of the environment that is there: it names its place, and dies with its Python."""
    try:
        said = subprocess.run(
            [PYTHON, "-S", "-c", "import sys; print(sys.version)"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except OSError:
        said = ""
    return _digest_of(f"1 {VENV} {said}") if said else "none"


def _restic_digest() -> str:
    return _digest_of(str(restic.WANTED))


def _digest(file: Path) -> str:
    return _digest_of(file.read_text(encoding="utf-8"))


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _has(name: str, digest: str) -> bool:
    try:
        return digest != "none" and (STAMPS / name).read_text() == digest
    except OSError:
        return False


def _stamp(name: str, digest: str) -> None:
    fresh = STAMPS / f"{name}.new"
    fresh.write_text(digest)
    fresh.replace(STAMPS / name)


@contextmanager
def _changing_environment() -> Iterator[None]:
    """pip cannot be trusted to see what a broken installation left out, so a mark stays."""
    UNFINISHED.touch()
    yield
    UNFINISHED.unlink()


@contextmanager
def _only_one() -> Iterator[int]:
    lock = os.open(TOOLS / "setup.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work in this checkout; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


@contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"{name} … ", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
