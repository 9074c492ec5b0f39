"""Every word of the pages in both languages."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog, Message, pofile
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.support import Translations

from backup import anomalies, healing, key_records, losses
from backup.facts import Why
from web.health import Attention
from web.pages import words
from web.pages.findings import FINDINGS

ROOT = Path(__file__).parents[2]
ARABIC = ROOT / "web" / "translations" / "ar" / "LC_MESSAGES"
METHODS = [("notices/**.py", "python"), ("pages/**.py", "python"), ("templates/**.html", "jinja2")]
FORMS = 6  # zero, one, two, few, many, other


@pytest.fixture(scope="module")
def arabic() -> Catalog:
    with (ARABIC / "messages.po").open("rb") as file:
        return pofile.read_po(file, locale="ar")


def messages() -> Iterator[str | tuple[str, ...]]:
    """Everything that templates and code say."""
    for _file, _line, message, _comments, _context in extract_from_dir(ROOT / "web", METHODS):
        yield message


def test_every_message_has_an_arabic_translation(arabic: Catalog) -> None:
    for wanted in messages():
        found = arabic.get(wanted if isinstance(wanted, str) else wanted[0])
        assert found is not None, wanted
        strings = [found.string] if isinstance(found.string, str) else found.string
        assert all(strings), wanted
        assert not found.fuzzy, wanted


def test_the_catalogue_holds_nothing_that_is_no_longer_said(arabic: Catalog) -> None:
    said = {each if isinstance(each, str) else each[0] for each in messages()}

    assert not {_first(message) for message in arabic if message.id} - said


def test_what_counts_has_all_six_forms(arabic: Catalog) -> None:
    counting = [message for message in arabic if message.pluralizable]

    assert counting
    for message in counting:
        assert len(message.string) == FORMS, message.id


@pytest.mark.parametrize(
    ("count", "words_"),
    [
        (1, "عميل واحد من أصل 200 "),
        (2, "عميلان من أصل"),
        (3, "3 عملاء"),
        (11, "11 عميلًا"),
        (99, "99 عميلًا"),
        (100, "100 عميل "),
        (103, "103 عملاء"),
    ],
)
def test_arabic_counts_as_arabic_does(count: int, words_: str) -> None:
    arabic = Translations.load(str(ROOT / "web" / "translations"), ["ar"])
    one = "%(num)s of %(total)s tenants needs attention."

    said = arabic.ngettext(one, "", count) % {"num": count, "total": 200}

    assert said.startswith(words_)


def test_no_placeholder_is_lost_in_translation(arabic: Catalog) -> None:
    for message in arabic:
        wanted = placeholders(" ".join(_all(message.id)))
        strings = _all(message.string)
        assert wanted == placeholders(strings[-1]), message.id
        for string in strings:  # one and two are words in Arabic, so their figure may go
            assert wanted - {"num"} <= placeholders(string) <= wanted, message.id


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", text))


def test_the_compiled_catalogue_is_of_the_written_one(arabic: Catalog) -> None:
    with (ARABIC / "messages.mo").open("rb") as file:
        compiled = read_mo(file)

    assert compiled.plural_expr == arabic.plural_expr
    for message in arabic:
        found = compiled.get(_first(message))
        assert message.id == "" or (
            found is not None and _all(found.string) == _all(message.string)
        )


def test_every_code_of_retention_and_attention_is_said() -> None:
    assert set(words.KEPT_BY) == set(Why)
    assert set(words.TROUBLES) == set(Attention) == set(words.REMEDIES)


def _first(message: Message) -> str:
    return _all(message.id)[0]


def _all(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def test_every_finding_that_any_part_opens_has_words() -> None:
    opened = set(codes_of_findings())

    assert len(opened) > 20
    assert opened == set(FINDINGS)
    assert set(words.MARKS) == set(anomalies.CODES)


# Where the code is not written at the call: what it may be.
DECIDED = {
    ("backup/anomalies.py", "odd.code"): anomalies.CODES,
    ("backup/strangers.py", "code"): (),  # of `_sight`; its callers say it
    ("backup/losses.py", "code"): (losses.LOST, healing.MISSING),
    ("backup/key_records.py", "look.code"): (key_records.REFUSED, key_records.OLD),
}


def codes_of_findings() -> Iterator[str]:
    """The first word of every Sight in the code base."""
    for part in ("backup", "restore", "tenants", "web"):
        for file in sorted((ROOT / part).rglob("*.py")):
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                given = _code_of(call)
                if given is not None:
                    yield from _resolved(str(file.relative_to(ROOT)), given)


def _code_of(call: ast.AST) -> ast.expr | None:
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    named = [each.value for each in call.keywords if each.arg == "code"]
    if call.func.id == "Sight":
        return (named or call.args)[0]
    if call.func.id == "_sight" and len(call.args) == 4 and isinstance(call.args[1], ast.Name):
        return call.args[1] if call.args[1].id.isupper() else None
    return None


def _resolved(file: str, given: ast.expr) -> Sequence[str]:
    text = ast.unparse(given)
    if (file, text) in DECIDED:
        return DECIDED[file, text]
    if isinstance(given, ast.Constant):
        return [str(given.value)]
    found: Any = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for name in text.split("."):
        found = getattr(found, name)  # fails for what only a run can tell: add it to DECIDED
    return [found]
