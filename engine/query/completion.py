"""How a query that is being typed may go on."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from engine.events import RunInfo
from engine.query.names import CHOICES, KEYS, PERCENT, SUGGESTED, setting_names


def completions(text: str, runs: Iterable[RunInfo]) -> list[str]:
    """How the last term of a query may go on: keys, states, stages, marks, and tags and studies of these runs."""
    term = text[_last_term(text) :]
    sign = "-" if term.startswith("-") else ""
    key, colon, value = term.removeprefix("-").partition(":")
    key, value = key.casefold(), value.lstrip('"').casefold()
    if not colon:
        return [f"{sign}{begun}" for begun in _beginnings() if key and begun.startswith(key)]
    return [
        f"{sign}{key}:{_quoted(known)}"
        for known in _known_values(key, runs)
        if known.casefold().startswith(value) and known.casefold() != value
    ]


def completed(text: str, completion: str) -> str:
    """The query with its last term replaced by one of its `completions`."""
    return text[: _last_term(text)] + completion


@functools.cache
def _beginnings() -> tuple[str, ...]:
    """Every key with the operator that mostly follows it."""
    texts = [
        f"{key}:"
        for key in (*CHOICES, "tag", "title", "study", "method", "data", "attack", "notes", "reason")
    ]
    figures = [f"{key} > " for key in (*PERCENT, "time", "created")]
    return (*texts, *figures, *(f"{name} = " for name in setting_names() if name not in KEYS))


def _known_values(key: str, runs: Iterable[RunInfo]) -> Iterable[str]:
    if key == "tag":
        return sorted({tag for run in runs for tag in run.label.tags})
    if key == "study":
        return sorted({run.study for run in runs if run.study})
    return SUGGESTED.get(key, ())


def _last_term(text: str) -> int:
    """Where the last term of a query begins, a key counted with its value."""
    start, quoted = 0, False
    for number, letter in enumerate(text):
        quoted ^= letter == '"'
        if not quoted and (letter.isspace() or letter in "()"):
            start = number + 1
    return start


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s()]", text) else text
