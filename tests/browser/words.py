"""What a page says, in the language it is read in: from the same catalogue as the pages."""

from __future__ import annotations

from pathlib import Path

from babel.support import Translations

CATALOGUES = Path(__file__).parents[2] / "web" / "translations"


def said(language: str, message: str) -> str:
    """The message as the pages of this language have it."""
    words: str = Translations.load(str(CATALOGUES), [language]).gettext(message)
    assert language == "en" or words != message, f"{message!r} has no words in {language}"
    return words
