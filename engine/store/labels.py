"""What a user wrote on a run, as it is kept in `label.json` in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from engine.errors import ConfigError, DamagedFileError, Problem
from engine.events import RunLabel

MAX_TITLE, MAX_TAG, MAX_TAGS, MAX_NOTES = 80, 40, 20, 20_000
_VERSION = 1
_label = TypeAdapter(RunLabel)


def tidy_label(label: RunLabel) -> RunLabel:
    """The label as it is kept: one space between words of title and tags, tags sorted and none twice.

    Raises:
        ConfigError: something is longer than it may be, or there are too many tags.
    """
    title = " ".join(label.title.split())
    tags = tuple(sorted({" ".join(tag.split()) for tag in label.tags} - {""}))
    problems = [
        Problem(place, f"at most {most} {what} fit, these are {count}")
        for place, what, most, count in (
            ("title", "characters", MAX_TITLE, len(title)),
            ("tags", "tags", MAX_TAGS, len(tags)),
            *((f"tags.{tag[:MAX_TAG]}", "characters", MAX_TAG, len(tag)) for tag in tags),
            ("notes", "characters", MAX_NOTES, len(label.notes)),
        )
        if count > most
    ]
    if problems:
        raise ConfigError(problems)
    return RunLabel(title, tags, label.star, label.notes, label.archived)


def label_to_json(label: RunLabel) -> str:
    """The text of `label.json` for a tidy label."""
    return json.dumps({"version": _VERSION, **asdict(label)}, indent=1, ensure_ascii=False) + "\n"


def label_from_json(text: str, *, origin: str) -> RunLabel:
    """Read what `label_to_json` wrote; `origin` names the file in messages.

    Raises:
        DamagedFileError: it holds no label.
    """
    try:
        return tidy_label(_label.validate_json(text, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedFileError(
            f"{origin} holds no label: {f'{place}: ' if place else ''}{first['msg']}"
        ) from error
    except ConfigError as error:
        raise DamagedFileError(f"{origin} holds no label: {error.problems[0]}") from error
