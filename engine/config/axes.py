"""Axes of a grid: which setting takes which values, and where a setting has an effect. See `engine.config.grid`."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from engine.config.base import Settings
from engine.config.run import STAGES, RunConfig
from engine.errors import ConfigError, Problem

Keys = tuple[str, ...]

#: Axes that stand for several settings.
ALIASES: dict[str, tuple[Keys, ...]] = {
    "k": (("pretraining", "num_finetuned_blocks"), ("finetuning", "num_finetuned_blocks"))
}
#: Settings that say which run it is, and so cannot be varied.
FIXED: set[Keys] = {("name",), ("start_from",)}
#: Parts that a run has from the one it starts from.
INHERITED = ("model", "source")


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it takes.

    Attributes:
        name: as written, dotted ("k", "finetuning.spectral_bound").
        paths: the settings that it sets; two for "k".
        values: its values.
        labels: a name for each value, empty where they need none.
        place: where it stands in the file: ("grid", ...) or ("runs", "2", "grid", ...), runs counted from 0.
    """

    name: str
    paths: tuple[Keys, ...]
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    place: Keys

    @property
    def symbol(self) -> str:
        """What stands before its values in names: "k", "beta", else the setting's own name."""
        extra = fields()[self.paths[0]].json_schema_extra
        symbol = extra.get("symbol") if isinstance(extra, dict) else None
        return str(symbol or self.paths[0][-1])


@dataclass(frozen=True)
class Choice:
    """One value of an axis, by its number from 0."""

    axis: Axis
    number: int

    @property
    def value(self) -> Any:
        """The value."""
        return self.axis.values[self.number]

    def text(self, *, full: bool = False) -> str:
        """How names show it: "k=3", or its label; with `full` the setting's whole path stands before the value."""
        if self.axis.labels:
            return self.axis.labels[self.number]
        value = self.value
        if isinstance(value, bool):
            shown = str(value).lower()
        elif isinstance(value, float):
            shown = f"{value:g}" if float(f"{value:g}") == value else repr(value)
        else:
            shown = hex(value) if isinstance(value, int) and abs(value) > 10**30 else str(value)
        if isinstance(value, str) and value[:1].isalpha():
            return shown
        return f"{self.axis.name if full else self.axis.symbol}={shown}"


def read_axes(grid: Any, place: Keys) -> list[Axis]:
    """Read the axes of a `[grid]` or `[runs.grid]` table that stands at this place.

    Raises:
        ConfigError: all problems, with places as in `Axis.place`.
    """
    if not isinstance(grid, dict):
        raise ConfigError([Problem(".".join(place), "expected a table of settings with their values")])
    axes: dict[str, Axis] = {}
    problems = []
    for path, values in _entries(grid, ()):
        name = ".".join(path)
        problem = "stands twice in this grid; remove one" if name in axes else wrong_name(path)
        problem = problem or _wrong_values(path, values)
        if problem:
            problems.append(Problem(".".join([*place, name]), problem))
            continue
        labels = tuple(values) if isinstance(values, dict) else ()
        values = tuple(values.values()) if isinstance(values, dict) else tuple(values)
        axes[name] = Axis(name, ALIASES.get(name, (path,)), values, labels, (*place, *path))
    if problems:
        raise ConfigError(problems)
    return list(axes.values())


def without(axes: Sequence[Axis], paths: Sequence[Keys]) -> list[Axis]:
    """The axes less what these paths, or the tables at them, set."""
    kept = [
        Axis(
            axis.name,
            tuple(path for path in axis.paths if not any(path[: len(other)] == other for other in paths)),
            axis.values,
            axis.labels,
            axis.place,
        )
        for axis in axes
    ]
    return [axis for axis in kept if axis.paths]


def has_effect(table: Mapping[str, Any], path: Keys) -> bool:
    """Whether a setting has an effect in a run's table: its stage is there and its conditions (`shown_if`) hold."""
    stages = [stage for stage in STAGES if stage in table]
    first = path[0]
    if first in STAGES and first not in stages:
        return False
    if first in INHERITED and "pretraining" not in stages:
        return False
    if first == "target" and "finetuning" not in stages and stages != ["attack"]:
        return False
    for depth in range(1, len(path) + 1):
        for condition, allowed in conditions(path[:depth]).items():
            value = value_at(table, condition)
            if (fields()[condition].default if value is None else value) not in allowed:
                return False
    return True


@functools.cache
def fields() -> dict[Keys, FieldInfo]:
    """Every setting of a run and every table of settings, by its path."""
    found: dict[Keys, FieldInfo] = {}
    waiting: list[tuple[Keys, type[Settings]]] = [((), RunConfig)]
    while waiting:
        path, model = waiting.pop()
        for name, info in model.model_fields.items():
            found[(*path, name)] = info
            if (child := model_of(info)) is not None:
                waiting.append(((*path, name), child))
    return found


def conditions(path: Keys) -> dict[Keys, Iterable[Any]]:
    """The settings on which another one depends, with the values for which it has an effect."""
    extra = fields()[path].json_schema_extra
    conditions = extra.get("shown_if") if isinstance(extra, dict) else None
    if not isinstance(conditions, dict):
        return {}
    return {(*path[:-1], key): values for key, values in conditions.items()}  # type: ignore[misc]


def reaches(table: Any, path: Keys) -> bool:
    """Whether a table has something at a path."""
    return value_at(table, path) is not None


def value_at(table: Any, path: Keys) -> Any:
    """What is at a path of a table, None if nothing is."""
    for key in path:
        if not isinstance(table, Mapping) or key not in table:
            return None
        table = table[key]
    return table


def shown(value: Any) -> str:
    """A given value as a message shows it: numbers and texts, cut short where they are long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    if not isinstance(value, str | int | float | bool):
        return type(value).__name__
    if value == "":
        return "nothing"
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."


def key_of(value: Any) -> str:
    """A text that is the same for the same value; 1 and 1.0 are the same, true and 1 are not."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{key_of(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(key_of, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values of a file are the same."""
    return key_of(one) == key_of(other)


def model_of(info: FieldInfo) -> type[Settings] | None:
    """The settings class of a field, None for a plain value."""
    for kind in (info.annotation, *get_args(info.annotation)):
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None


def _entries(table: Mapping[str, Any], path: Keys) -> Iterator[tuple[Keys, Any]]:
    """Path and values of each axis; `a.b = [...]` counts as `"a.b" = [...]`."""
    for key, value in table.items():
        here = (*path, *(part.strip() for part in key.split(".")))
        info = fields().get(here)
        model = model_of(info) if info else None
        tables = isinstance(value, dict) and all(isinstance(item, dict) for item in value.values())
        # Tables under a table of settings are values with labels, unless their names are those of its settings.
        if model and isinstance(value, dict) and value and (
            not tables or all(name.split(".")[0] in model.model_fields for name in value)
        ):  # fmt: skip
            yield from _entries(value, here)
        else:
            yield here, value


def wrong_name(path: Keys) -> str:
    """Why no axis may have this name, empty if it may."""
    name = ".".join(path)
    if path in FIXED:
        return f"{name} cannot be varied; write a run for each"
    if path in fields() or name in ALIASES:
        return ""
    known = [".".join(keys) for keys in fields() if keys not in FIXED] + list(ALIASES)
    close = difflib.get_close_matches(name, known, n=3)
    # Left out most often is the stage: "spectral_bound" for "finetuning.spectral_bound".
    close = [other for other in known if other.endswith(f".{name}")][:3] or close
    return "there is no such setting" + (
        f"; did you mean {' or '.join(close)}?" if close else "; check the spelling"
    )


def _wrong_values(path: Keys, values: Any) -> str:
    if not isinstance(values, dict | list):
        return f"expected a list of values such as [1, 2], or a table of label = value, got {shown(values)}"
    if not values:
        return "has no values; give at least one"
    if isinstance(values, list):
        if any(isinstance(value, dict | list) for value in values):
            return "values that are tables or lists need labels: { first = ..., second = ... }"
        if path in fields() and model_of(fields()[path]) is not None:
            return "is a table of settings: give labels and tables, { first = { ... }, second = { ... } }"
    elif any(not label.strip() or len(label) > 40 for label in values):
        return "a label has 1 to 40 characters"
    items = list(values.values()) if isinstance(values, dict) else values
    seen: set[str] = set()
    for item in items:
        if key_of(item) in seen:
            return f"has {shown(item)} twice; remove one"
        seen.add(key_of(item))
    return ""
