"""Reading a source's options, which come from a command line, an API or a stored row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strongroom.errors import BadValue


def reject_unknown(options: Mapping[str, object], *, known: Sequence[str], kind: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise BadValue(
            f"A source of kind {kind} has no option {', '.join(unknown)}. "
            f"It has: {', '.join(known)}."
        )


def text_of(options: Mapping[str, object], name: str) -> str:
    value = options.get(name)
    if not isinstance(value, str) or not value:
        raise BadValue(f"--{name} is missing. Give it once, as text.")
    return value


def optional_text_of(options: Mapping[str, object], name: str) -> str | None:
    return None if options.get(name) is None else text_of(options, name)


def texts_of(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = options.get(name) or ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise BadValue(f"--{name} takes texts. Give it once for each.")
    return tuple(value)
