"""All settings, read once; every problem is listed at once, with its remedy.

Two sources: the `stack.json` of an embedded stack's home, or `STRONGROOM_*` variables, where a
twin `NAME_FILE` names a file that holds the value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from strongroom import key_service
from strongroom.db import Role
from strongroom.errors import BadValue
from strongroom.key_service import KeyService
from strongroom.people import providers
from strongroom.people.providers import Provider
from strongroom.stack.home import RECORD_KEY
from strongroom.storage import Credentials

SMALL_BYTES = 64 * 1024 * 1024
DUMP_HOURS = 24  # the most, too: a region without a newer dump is told as late soon after
DUMP_DAYS = 14
LEAST_TOKEN = 20  # characters


class BadSettings(BadValue):
    """One or more settings are missing or cannot be used."""

    code = "bad-settings"


@dataclass(frozen=True)
class Settings:
    """What a process needs to know to take part."""

    databases: Mapping[Role, str] = field(repr=False)  # SQLAlchemy URLs
    broker: str = field(repr=False)  # redis://… or amqp://…
    regions: Mapping[str, Credentials] = field(repr=False)  # by region name: who may AssumeRole
    keys: Path  # folder of the local key store, outside the database
    work: Path  # caches, scratch space; private to us
    key_service: KeyService = field(default_factory=KeyService)  # where the tenants' keys are
    home: Path | None = None  # folder of an embedded stack; sources inside it are refused
    demo: bool = False  # only then may the clock be shifted
    shift: timedelta = timedelta(0)
    web: str = "http://127.0.0.1:8080"  # where the pages are
    restic: str = "restic"  # the program; one beside our Python wins over PATH
    record_key: str = field(default="", repr=False)  # signs the records in the buckets
    small_bytes: int = SMALL_BYTES  # up to here a tenant's stages run in one task
    openid: tuple[Provider, ...] = ()  # identity providers that people may sign in with
    proxies: int = 0  # in front of the pages; so many entries of X-Forwarded-For are believed
    drills_a_day: int | None = None  # rehearsed restores by rota; None: what the policies need
    dump_hours: int = DUMP_HOURS  # a dump of the control database this often
    dump_days: int = DUMP_DAYS  # and kept so long
    packs: Path | None = None  # folder of the deployment's own policy packs
    metrics_token: str = field(default="", repr=False)  # empty: from this machine alone
    metrics_tenants: int = 0  # up to so many tenants, each is named in a series of its own
    dead_mans_switch: str = field(default="", repr=False)  # asked while all is well; empty: none


def from_stack(stack: Mapping[str, Any]) -> Settings:
    """Settings of a process beside an embedded stack, from its `stack.json`."""
    home = Path(stack["home"])
    return Settings(
        databases={Role(role): url for role, url in stack["databases"].items()},
        broker=stack["broker"],
        regions={
            name: Credentials(region["access_key"], region["secret_key"], None, None)
            for name, region in stack["regions"].items()
        },
        keys=home / "keys",
        work=home / "work",
        home=home,
        demo=(home / "demo").exists(),
        shift=_shift(home),
        web=stack.get("web", ""),
        restic=restic_program(),
        record_key=_secret(home / "secrets" / RECORD_KEY),
        openid=_providers_of(home),
        packs=home / "packs" if (home / "packs").is_dir() else None,
        dead_mans_switch=_secret(home / "dead-mans-switch").strip(),
    )


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings of a production process. Raises BadSettings that lists every problem.

    A process is given only what it needs: what is missing is refused when it is used.
    """
    reader = _Reader(environment)
    databases = {role: reader.text(f"DATABASE_URL_{role.upper()}", default="") for role in Role}
    settings = Settings(
        databases={role: url for role, url in databases.items() if url},
        broker=reader.text("BROKER_URL", default=""),
        regions=reader.regions("REGIONS"),
        keys=Path(reader.text("KEYS_FOLDER", default="/var/lib/strongroom/keys")),
        work=Path(reader.text("WORK_FOLDER", default="/var/lib/strongroom/work")),
        key_service=reader.key_service(),
        web=reader.text("WEB_ADDRESS", default="http://127.0.0.1:8080"),
        restic=restic_program(),
        small_bytes=reader.count("SMALL_BYTES") or SMALL_BYTES,
        openid=reader.providers(),
        proxies=reader.count("WEB_PROXIES") or 0,
        drills_a_day=reader.count("DRILLS_A_DAY"),
        dump_hours=reader.count("DUMP_HOURS", most=DUMP_HOURS) or DUMP_HOURS,
        dump_days=reader.count("DUMP_DAYS") or DUMP_DAYS,
        record_key=reader.text("RECORD_KEY", default=""),
        packs=reader.folder("PACKS_FOLDER"),
        metrics_token=reader.token("METRICS_TOKEN"),
        metrics_tenants=reader.count("METRICS_TENANTS") or 0,
        dead_mans_switch=reader.address("DEAD_MANS_SWITCH_URL"),
    )
    if reader.problems:
        raise BadSettings("\n".join(["These settings cannot be used:", *reader.problems]))
    return settings


class _Reader:
    """Reads variables and gathers what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def text(self, name: str, *, default: str) -> str:
        full = f"STRONGROOM_{name}"
        if full in self._environment:
            return self._environment[full]
        if f"{full}_FILE" in self._environment:
            path = Path(self._environment[f"{full}_FILE"])
            try:
                return path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                said = error.strerror if isinstance(error, OSError) else "it is no text"
                self.problems.append(f"  {full}_FILE names {path}: {said}.")
                return ""
        return default

    def folder(self, name: str) -> Path | None:
        raw = self.text(name, default="").strip()
        if raw and not Path(raw).is_dir():
            self.problems.append(f"  STRONGROOM_{name} is {raw[:200]!r}, which is no folder.")
        return Path(raw) if raw else None

    def count(self, name: str, *, most: int | None = None) -> int | None:
        """A whole number above zero, or nothing."""
        raw = self.text(name, default="").strip()
        if not raw:
            return None
        if not raw.isdecimal() or int(raw) < 1 or (most is not None and int(raw) > most):
            wanted = "from 1 on" if most is None else f"from 1 to {most}"
            self.problems.append(f"  STRONGROOM_{name} is {raw[:20]!r}; give a number {wanted}.")
            return None
        return int(raw)

    def token(self, name: str) -> str:
        """A word that nobody guesses, or nothing. It is not shown."""
        raw = self.text(name, default="").strip()
        if raw and len(raw) < LEAST_TOKEN:
            self.problems.append(
                f"  STRONGROOM_{name} is too short; take {LEAST_TOKEN} or more characters by chance."
            )
        return raw

    def address(self, name: str) -> str:
        """A URL, or nothing. It is not shown: who knows it may be able to use it."""
        raw = self.text(name, default="").strip()
        if raw and not raw.startswith(("https://", "http://")):
            self.problems.append(f"  STRONGROOM_{name} is no URL; write one like https://….")
            return ""
        return raw

    def key_service(self) -> KeyService:
        token_file = self._environment.get("STRONGROOM_KEYS_VAULT_TOKEN_FILE")
        return key_service.read(self.text, token_file, self.problems)

    def providers(self) -> tuple[Provider, ...]:
        try:
            return providers.read(self.text("OPENID", default=""))
        except ValueError as error:
            self.problems.append(f"  STRONGROOM_OPENID cannot be used: {error}.")
            return ()

    def regions(self, name: str) -> dict[str, Credentials]:
        raw = self.text(name, default="")
        if not raw:
            return {}
        try:
            parsed = json.loads(raw)
            return {
                region: Credentials(entry["access_key"], entry["secret_key"], None, None)
                for region, entry in parsed.items()
            }
        except (ValueError, KeyError, AttributeError, TypeError):
            self.problems.append(
                f"  STRONGROOM_{name} is not JSON of the form "
                '{"region name": {"access_key": "…", "secret_key": "…"}}.'
            )
            return {}


def _providers_of(home: Path) -> tuple[Provider, ...]:
    """What `openid.json` of an embedded stack's home names. Raises BadSettings."""
    try:
        return providers.read(_secret(home / "openid.json"))
    except ValueError as error:
        raise BadSettings(f"{home / 'openid.json'} cannot be used: {error}.") from None


def _secret(path: Path) -> str:
    """What the file of an embedded stack's secret holds; nothing where there is none."""
    return path.read_text() if path.exists() else ""


def restic_program() -> str:
    """The set-up puts restic beside the Python of its virtual environment."""
    beside = Path(sys.executable).parent / "restic"
    return str(beside) if beside.exists() else "restic"


def _shift(home: Path) -> timedelta:
    """A demo home may say how many seconds its business clock is ahead."""
    marker = home / "demo"
    if not marker.exists():
        return timedelta(0)
    text = marker.read_text().strip()
    return timedelta(seconds=float(text)) if text else timedelta(0)
