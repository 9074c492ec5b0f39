"""Words in a language, outside of any page: the same catalogue, without the pages' machinery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel.support import NullTranslations, Translations

FOLDER = Path(__file__).parents[1] / "translations"
RIGHT_TO_LEFT = frozenset({"ar"})
# Around what is read from left to right in every language (UAX #9); nothing to see.
ISOLATED = "\N{LEFT-TO-RIGHT ISOLATE}{}\N{POP DIRECTIONAL ISOLATE}"

Speak = Callable[..., str]


def N_(text: str) -> str:  # the name by which messages are extracted
    """Marks a message that is translated where it is said."""
    return text


def speaker(language: str) -> Speak:
    """Says a message in this language, with what stands in it: `speak(text, count=3)`."""
    catalogue = _catalogue(language)

    def speak(message: str, /, **values: object) -> str:
        said = catalogue.ugettext(message)
        return said % values if values else said

    return speak


def technical(value: object, language: str) -> str:
    """An identifier, an address or a moment, which no language turns round."""
    return ISOLATED.format(value) if language in RIGHT_TO_LEFT else str(value)


def moment(at: str | datetime, zone: str, language: str) -> str:
    """Date and minute where the reader is, with the zone."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    local = found.astimezone(ZoneInfo(zone))
    return technical(f"{local:%Y-%m-%d %H:%M} {zone}", language)


@lru_cache(maxsize=4)
def _catalogue(language: str) -> NullTranslations:
    return Translations.load(str(FOLDER), [language])
