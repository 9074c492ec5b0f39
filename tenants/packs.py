"""Policy packs: a published policy as a file of parameters and promises.

Five ship in `shipped_packs/`; a deployment's own lie in the folder that the settings name. A file
whose pack ships too takes its place, and has to hold every promise of it. A tenant is under one.

    a file ─▶ read ─▶ Pack: title, jurisdiction, languages, dates, Parameters, Promises

A mistake is told with the file, the key, what was wanted and what was found.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from strongroom import countries
from strongroom.errors import BadValue, NotFound

SHIPPED = Path(__file__).parent / "shipped_packs"
UNPUBLISHED = "unpublished"  # the policy prints no such date
NOT_ENTERED = "not-entered"  # it prints one, and nobody has entered it here
NO_DATES = (UNPUBLISHED, NOT_ENTERED)
LANGUAGES = ("en", "ar")
NAME = re.compile(r"[a-z][a-z0-9]{0,29}")
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
ATTESTED_DAYS = 365  # a confirmation holds so long where the pack does not say
MOST = 36_525


class BadPack(BadValue):
    """A pack's file cannot be used; `params` has file, key, wanted and found."""

    code = "bad-pack"


class Kind(StrEnum):
    """How a promise is known to be kept."""

    ENFORCED = "enforced"  # the platform does it, and measures it
    ATTESTED = "attested"  # an owner confirms it with a document, at an interval


@dataclass(frozen=True)
class Parameters:
    """What a policy fixes in figures; None: it says nothing. What is acted on says so."""

    message_age_days: int | None = None  # acted on: a ceiling for sources declared as transit
    regions_least: int | None = None  # acted on: no fewer copies, whatever the plan
    least_km: int | None = None  # acted on: copies lie at least so far apart
    hold_months_least: int | None = None  # after the end of a contract
    hold_months_most: int | None = None
    request_days: int | None = None  # to answer a data subject
    extension_days: int | None = None  # more, where a request is complex


@dataclass(frozen=True)
class Promise:
    """One sentence of a policy, in our own words."""

    id: str
    kind: Kind
    measure: str  # what proves it: `web.promises.measuring` knows them by name; "" for none
    says: Mapping[str, str]  # by language
    every_days: int = ATTESTED_DAYS  # attested: how long a confirmation holds
    owner: str = ""  # attested: who answers for it


@dataclass(frozen=True)
class Pack:
    """One policy."""

    name: str
    title: Mapping[str, str]  # by language
    jurisdiction: tuple[str, ...]  # ISO 3166-1 alpha-2, or EU; empty: it names none
    languages: tuple[str, ...]  # in which the policy is published
    effective: str  # ISO date, or one of NO_DATES
    revised: str
    parameters: Parameters
    promises: tuple[Promise, ...]
    file: Path

    @property
    def sha256(self) -> str:
        """Of what it says to the people concerned, without its dates: equal policies are equal,
        however they are written and whatever measures them."""
        said = {
            "title": dict(self.title),
            "jurisdiction": self.jurisdiction,
            "languages": self.languages,
            "parameters": asdict(self.parameters),
            "promises": [[each.id, dict(each.says)] for each in self.promises],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def known(folder: Path | None) -> dict[str, Pack]:
    """All packs by name, those of the folder in place of the shipped. Raises BadPack."""
    shipped = _shipped()
    if folder is None:
        return dict(shipped)
    if not folder.is_dir():
        raise BadPack(
            f"The folder of policy packs {folder} is not there. Make it, or name another."
        )
    own: dict[str, Pack] = {}
    for file in sorted(folder.glob("*.toml")):
        pack = read(file)
        if pack.name in own:
            _bad(file, "pack", "a name of its own", f"{pack.name}, as in {own[pack.name].file}")
        _require_whole(pack, shipped.get(pack.name))
        own[pack.name] = pack
    found = {**shipped, **own}
    _require_own_ids(found)
    return dict(sorted(found.items()))


def named(packs: Mapping[str, Pack], name: str) -> Pack:
    """Raises NotFound that lists what there is."""
    if name not in packs:
        raise NotFound(
            f"There is no policy pack {name!r}. Packs: {', '.join(packs)}.", code="unknown-pack"
        )
    return packs[name]


def read(file: Path) -> Pack:
    """Raises BadPack."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPack(f"The policy pack {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadPack(f"The policy pack {file} is not TOML: {error}.") from error
    reader = _Reader(file, "", data)
    name = reader.text("pack", NAME, "small letters and digits, like datacore")
    pack = Pack(
        name=name,
        title=reader.in_both("title"),
        jurisdiction=tuple(_law(file, each) for each in reader.texts("jurisdiction", few=True)),
        languages=reader.texts("languages", LANGUAGES),
        effective=reader.date("effective"),
        revised=reader.date("revised"),
        parameters=_parameters(file, reader.take("parameters", dict, "a table", {})),
        promises=tuple(
            _promise(file, name, number, each)
            for number, each in enumerate(reader.take("promise", list, "tables [[promise]]"), 1)
        ),
        file=file,
    )
    reader.require_nothing_else()
    _require_once(file, [each.id for each in pack.promises])
    return pack


@cache
def _shipped() -> dict[str, Pack]:
    packs = {pack.name: pack for pack in map(read, sorted(SHIPPED.glob("*.toml")))}
    return dict(sorted(packs.items()))


def _require_whole(pack: Pack, shipped: Pack | None) -> None:
    if shipped is None:
        return
    missing = {each.id for each in shipped.promises} - {each.id for each in pack.promises}
    if missing:
        wanted = f"every promise of the pack {pack.name} that ships"
        _bad(pack.file, "promise", wanted, f"all but {', '.join(sorted(missing))}")


def _require_own_ids(packs: Mapping[str, Pack]) -> None:
    """One pack's name may begin another's; a promise has one home all the same."""
    homes: dict[str, Pack] = {}
    for pack in packs.values():
        for promise in pack.promises:
            other = homes.setdefault(promise.id, pack)
            if other is not pack:
                _bad(
                    pack.file, "promise.id", "an id of its own", f"{promise.id}, as in {other.file}"
                )


def _require_once(file: Path, ids: list[str]) -> None:
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice or not ids:
        _bad(file, "promise.id", "each once, and at least one", ", ".join(twice) or "none")


def _law(file: Path, code: str) -> str:
    try:
        if code != "EU":
            countries.check(code)
    except BadValue:
        _bad(file, "jurisdiction", "countries of ISO 3166, like AE, or EU", repr(code))
    return code


def _parameters(file: Path, data: Mapping[str, Any]) -> Parameters:
    names = [each.name for each in fields(Parameters)]
    for key, value in data.items():
        if key not in names:
            _bad(file, f"parameters.{key}", "one of " + ", ".join(names), "a key nobody knows")
        if not _is_whole(value):
            _bad(file, f"parameters.{key}", f"a whole number from 1 to {MOST}", repr(value))
    found = Parameters(**data)
    least, most = found.hold_months_least, found.hold_months_most
    if least is not None and most is not None and least > most:
        _bad(file, "parameters.hold_months_most", f"at least {least}, hold_months_least", str(most))
    return found


def _promise(file: Path, pack: str, number: int, data: object) -> Promise:
    if not isinstance(data, dict):
        _bad(file, f"promise {number}", "a table [[promise]]", repr(data)[:60])
    reader = _Reader(file, f"promise {number}", data)
    found = reader.text("id", ID, f"{pack}-something, in small letters and hyphens")
    if not found.startswith(f"{pack}-"):
        _bad(file, f"promise {number}.id", f"{pack}-something", repr(found))
    reader.where = found
    kind = reader.text("kind", re.compile("|".join(Kind)), " or ".join(Kind))
    promise = Promise(
        id=found,
        kind=Kind(kind),
        measure=reader.take("measure", str, "the name of a measure", ""),
        says={
            language: reader.take(language, str, f"the sentence in {name}")
            for language, name in (("en", "English"), ("ar", "Arabic"))
        },
        every_days=reader.take("every_days", int, "days", ATTESTED_DAYS),
        owner=reader.take("owner", str, "who answers for it", ""),
    )
    reader.require_nothing_else()
    if not all(promise.says.values()):
        _bad(file, f"{found}.en, {found}.ar", "a sentence in both languages", "an empty one")
    if promise.kind is Kind.ENFORCED and not promise.measure:
        _bad(file, f"{found}.measure", "what proves it, or not-built", "nothing")
    if not _is_whole(promise.every_days):
        _bad(file, f"{found}.every_days", f"a number of days from 1 to {MOST}", "another")
    return promise


class _Reader:
    """Takes values out of a table, and knows what was left."""

    def __init__(self, file: Path, where: str, data: Mapping[str, Any]) -> None:
        self.file, self.where, self._data = file, where, dict(data)

    def take(self, key: str, kind: type, wanted: str, default: Any = None) -> Any:
        value = self._data.pop(key, default)
        if value is None:
            _bad(self.file, self._key(key), wanted, "nothing")
        if not isinstance(value, kind) or isinstance(value, bool):
            _bad(self.file, self._key(key), wanted, repr(value)[:60])
        return value

    def text(self, key: str, form: re.Pattern[str], wanted: str) -> str:
        value: str = self.take(key, str, wanted)
        if not form.fullmatch(value):
            _bad(self.file, self._key(key), wanted, repr(value)[:60])
        return value

    def texts(
        self, key: str, allowed: tuple[str, ...] | None = None, *, few: bool = False
    ) -> tuple[str, ...]:
        """`few`: there may be none."""
        wanted = "a list" if allowed is None else f"a list of {', '.join(allowed)}"
        values = self.take(key, list, wanted)
        fine = all(isinstance(v, str) and (allowed is None or v in allowed) for v in values)
        if not (values or few) or not fine:
            _bad(self.file, self._key(key), f"{wanted}, at least one", repr(values)[:60])
        return tuple(values)

    def in_both(self, key: str) -> dict[str, str]:
        value = self.take(key, dict, 'a table like { en = "…", ar = "…" }')
        if set(value) != set(LANGUAGES) or not all(
            isinstance(v, str) and v for v in value.values()
        ):
            _bad(self.file, self._key(key), "words in en and in ar", ", ".join(value) or "none")
        return dict(value)

    def date(self, key: str) -> str:
        wanted = f"a date like 2026-01-31, or one of {', '.join(NO_DATES)}"
        value = self._data.pop(key, None)
        if type(value) is date:
            return value.isoformat()
        if value not in NO_DATES:
            _bad(self.file, self._key(key), wanted, "nothing" if value is None else repr(value))
        return str(value)

    def require_nothing_else(self) -> None:
        for key in self._data:
            _bad(self.file, self._key(key), "a key of a policy pack", "one nobody knows")

    def _key(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _bad(file: Path, key: str, wanted: str, found: str) -> NoReturn:
    message = f"{file}: {key}: wanted {wanted}, found {found}."
    raise BadPack(message, file=str(file), key=key, wanted=wanted, found=found)
