"""Debian packages unpacked into a folder of ours, with the machine's own mirror and keys.

apt works here with private folders, needs no root and changes nothing of the system: only the
addresses and keyrings are read from /etc/apt. What it trusts is what the machine trusts.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tools.trouble import Trouble

ETC = Path("/etc/apt")
TIMEOUT = 300  # seconds for one call of apt-get; an update over a slow line takes about 30

CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
APT::Sandbox::User "";
Debug::NoLocking "true";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Dir::Etc::sourcelist "{folder}/archive.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
"""


@dataclass(frozen=True)
class Archive:
    """One archive of packages, as /etc/apt names it."""

    uri: str
    suite: str
    components: str  # separated by spaces
    signed_by: str  # keyring file or key block; empty: whatever the machine trusts

    def stanza(self) -> str:
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {self.suite}"]
        lines.append(f"Components: {self.components}")
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def unpack(package: str, *, suite: str | None, into: Path) -> None:
    """Leave the package's files under `into`; None takes it from the suite the machine runs.

    The first archive that has the package serves it. Raises Trouble if none does.
    """
    if shutil.which("apt-get") is None:
        raise _missing(package, "there is no apt-get on this machine")
    complaints = []
    for archive in archives():
        wanted = replace(archive, suite=suite) if suite else archive
        complaint = _unpack_from(wanted, package, into)
        if complaint is None:
            return
        complaints.append(f"{wanted.suite}: {complaint}")
    raise _missing(package, "; ".join(complaints) or f"no Debian archive named in {ETC}")


def unpack_with_needed(packages: Sequence[str], *, into: Path) -> None:
    """Leave the packages under `into`, and of what they depend on whatever the machine lacks.

    All archives of the machine serve together, those for security updates too: what is installed
    may come from there. Raises Trouble.
    """
    named = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise _missing(named, "there is no apt-get on this machine")
    found = _all_archives(ETC)
    if not found:
        raise _missing(named, f"no Debian archive named in {ETC}")
    with _private_apt(found, into.parent) as (apt, folder):
        install = ["--download-only", "--no-install-recommends", "--yes", "install", *packages]
        complaint = (
            _call([*apt, "update"], folder)
            or _call([*apt, *install], folder)
            or _extract(folder / "cache" / "archives", into)
        )
    if complaint:
        raise _missing(named, complaint)


@contextmanager
def placed(place: Path) -> Iterator[Path]:
    """An empty folder that becomes `place` when the block ends well; else nothing is left of it."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
    try:
        yield fresh
        shutil.rmtree(place, ignore_errors=True)
        fresh.chmod(0o755)  # the stack's own account has to enter it
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def archives(etc: Path = ETC) -> list[Archive]:
    """The machine's archives that have a `main`, without the ones for security updates."""
    usable = [each for each in _all_archives(etc) if "security" not in each.suite]
    return sorted(usable, key=lambda each: "-" in each.suite)  # bookworm, then -updates


def _all_archives(etc: Path) -> list[Archive]:
    found = []
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if file.suffix == ".sources":
            found += list(stanzas(file.read_text()))
        elif file.suffix == ".list" and file.is_file():
            found += list(lines(file.read_text()))
    return list(dict.fromkeys(each for each in found if "main" in each.components.split()))


def stanzas(text: str) -> Iterator[Archive]:
    """The archives of a *.sources file (deb822)."""
    for paragraph in text.replace("\r", "").split("\n\n"):
        fields = _fields(paragraph)
        if fields.get("enabled", "yes") == "no" or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = fields.get("components", "")
                yield Archive(uri, suite, components, fields.get("signed-by", ""))


def lines(text: str) -> Iterator[Archive]:
    """The archives of a *.list file (one a line)."""
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        if kind != "deb":
            continue
        options, rest = "", rest.strip()
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        keyrings = [o[10:] for o in options.split() if o.lower().startswith("signed-by=")]
        words = rest.split()
        if len(words) > 2:
            yield Archive(words[0], words[1], " ".join(words[2:]), "".join(keyrings))


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = fields.get(name, "") + "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
    return fields


def _unpack_from(archive: Archive, package: str, into: Path) -> str | None:
    """None when it worked, else what apt or dpkg said last."""
    with _private_apt([archive], into.parent) as (apt, folder):
        got = folder / "got"
        got.mkdir()
        return (
            _call([*apt, "update"], folder)
            or _call([*apt, "download", package], got)
            or _extract(got, into)
        )


@contextmanager
def _private_apt(archives: Sequence[Archive], beside: Path) -> Iterator[tuple[list[str], Path]]:
    """apt-get with lists and downloads in a folder of its own, and that folder."""
    with tempfile.TemporaryDirectory(prefix="apt-", dir=beside) as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        stanzas = [archive.stanza() for archive in archives]
        (folder / "archive.sources").write_text("\n".join(stanzas))
        (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder))
        yield ["apt-get", "-qq", "-c", str(folder / "apt.conf")], folder


def _extract(packages: Path, into: Path) -> str | None:
    for file in sorted(packages.glob("*.deb")):
        complaint = _call(["dpkg", "-x", str(file), str(into)], packages)
        if complaint:
            return complaint
    return None


def _missing(package: str, found: str) -> Trouble:
    return Trouble(
        wanted=f"the Debian package {package}",
        found=found,
        remedy=f"install {package} yourself, or mend the machine's apt configuration",
    )


def _call(argv: list[str], folder: Path) -> str | None:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except OSError:
        return f"there is no {argv[0]} on this machine"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} gave no answer within {TIMEOUT} seconds"
    if done.returncode == 0:
        return None
    said = [line for line in done.stdout.splitlines() if line.strip()]
    return said[-1] if said else f"{argv[0]} ended with {done.returncode}"
