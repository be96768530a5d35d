"""What queries may ask for: keys, states, stages, marks and settings."""

from __future__ import annotations

import functools
from typing import Any, get_args

from engine.config import StageName
from engine.config.axes import Keys, fields, model_of

#: Keys beside the settings, with what they mean.
KEYS: dict[str, str] = {
    "state": "state of the run",
    "stage": "stage that it goes through",
    "is": "mark of the run",
    "tag": "tag",
    "title": "title or name",
    "study": "study",
    "method": "method of training",
    "data": "data set",
    "attack": "attack",
    "robust": "robust accuracy in percent",
    "clean": "clean accuracy in percent",
    "progress": "share that is done, in percent",
    "time": "computing time",
    "created": "date",
    "notes": "notes",
    "reason": "why it stopped or failed",
    "device": "device",
    "id": "id",
}
#: What states may be called, the name that the window shows first.
STATES = {
    "queued": "created", "created": "created", "waiting": "created", "running": "running", "paused": "paused",
    "stopped": "stopped", "finished": "finished", "failed": "failed", "interrupted": "interrupted",
}  # fmt: skip
_STAGES: dict[str, StageName] = {
    "pre-training": "pretraining", "pretraining": "pretraining", "transfer": "finetuning", "finetuning": "finetuning",
    "attack": "attack",
}  # fmt: skip
_MARKS = {mark: mark for mark in ("star", "archived", "tagged", "noted", "doubtful")} | {"starred": "star"}
#: Keys with a fixed set of values: what may be typed, and what it means.
CHOICES: dict[str, dict[str, str]] = {"state": STATES, "stage": {**_STAGES}, "is": _MARKS}
#: What these values are called in suggestions.
SUGGESTED = {
    "state": tuple(word for word in STATES if word not in ("created", "waiting")),
    "stage": ("pre-training", "transfer", "attack"),
    "is": ("star", "archived", "tagged", "noted", "doubtful"),
}
#: Keys whose figures are in percent.
PERCENT = ("clean", "robust", "progress")


@functools.cache
def _leaves() -> dict[Keys, str]:
    """Every setting with a value of its own, with its symbol."""
    found = {}
    for path, info in fields().items():
        if model_of(info) is None:
            extra = info.json_schema_extra
            found[path] = str(extra.get("symbol") or "") if isinstance(extra, dict) else ""
    return found


@functools.cache
def settings_called(name: str) -> tuple[Keys, ...]:
    """The settings with this symbol, this dotted name, or a dotted name that ends so."""
    leaves = _leaves()
    named = tuple(path for path, symbol in leaves.items() if symbol and symbol == name)
    path = tuple(name.replace("pre-training", "pretraining").replace("-", "_").split("."))
    if path[0] == "transfer":
        path = ("finetuning", *path[1:])
    if path in leaves:
        return (path,)
    return named or tuple(other for other in leaves if other[-len(path) :] == path)


@functools.cache
def are_numbers(settings: tuple[Keys, ...]) -> bool:
    """Whether all these settings are numbers, or lists of them."""

    def kinds(annotation: Any) -> set[Any]:
        inner = get_args(annotation)
        return set().union(*map(kinds, inner)) if inner else {annotation}

    return all(not kinds(fields()[path].annotation).isdisjoint({int, float}) for path in settings)


@functools.cache
def setting_names() -> tuple[str, ...]:
    """What settings may be called, the short names first."""
    symbols = dict.fromkeys(symbol for symbol in _leaves().values() if symbol)
    parts = dict.fromkeys(path[-1] for path in _leaves())
    dotted = (".".join(path) for path in _leaves() if len(path) > 1)
    return tuple(dict.fromkeys([*symbols, *parts, *dotted]))
