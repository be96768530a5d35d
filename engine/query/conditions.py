"""What a query asks of a run: conditions, and where each looks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.config import Settings
from engine.config.axes import Keys
from engine.events import RunInfo
from engine.query.names import STATES, settings_called


class Searched:
    """A run as queries see it; what they look through is put together once.

    `before` are the runs that it started from, whose settings count as its own.
    """

    def __init__(self, run: RunInfo, before: Sequence[RunInfo] = ()) -> None:
        self.run = run
        self.configs = [run.config, *(earlier.config for earlier in before)]

    def follow(self, run: RunInfo) -> None:
        """Take in a newer state of the run; its text is put together anew only if something in it changed."""
        before, self.run = self.run, run
        if (before.title, before.state, before.label.tags, before.result) != (
            run.title, run.state, run.label.tags, run.result
        ):  # fmt: skip
            self.__dict__.pop("text", None)

    @functools.cached_property
    def text(self) -> str:
        """Everything in which words are looked for, in small letters."""
        run = self.run
        state = next(word for word, meant in STATES.items() if meant == run.state)
        about = [run.title, run.name, f"seed {run.config.seed}", run.study, *run.label.tags, state, run.id]
        for key in ("method", "data", "attack"):
            about += _texts(self, key)
        return "\n".join(about).casefold()


class Condition(Protocol):
    """Something that holds for a run or does not."""

    def accepts(self, run: Searched) -> bool:
        """Whether it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold; so does one without parts."""

    parts: tuple[Condition, ...]

    def accepts(self, run: Searched) -> bool:
        """Whether every part holds."""
        return all(part.accepts(run) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds."""

    parts: tuple[Condition, ...]

    def accepts(self, run: Searched) -> bool:
        """Whether one of the parts holds."""
        return any(part.accepts(run) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition

    def accepts(self, run: Searched) -> bool:
        """Whether the part fails to hold."""
        return not self.part.accepts(run)


@dataclass(frozen=True, slots=True)
class Says:
    """A text occurs in what is written about the run."""

    text: str

    def accepts(self, run: Searched) -> bool:
        """Whether it occurs."""
        return self.text in run.text


@dataclass(frozen=True, slots=True)
class Chosen:
    """A state, stage or mark of the run is one of these."""

    key: str
    values: frozenset[str]

    def accepts(self, run: Searched) -> bool:
        """Whether it is."""
        return not self.values.isdisjoint(_choices(run.run, self.key))


@dataclass(frozen=True, slots=True)
class Holds:
    """A text of a key, or of one of several settings, holds another one or is it."""

    key: str
    settings: tuple[Keys, ...]
    text: str
    whole: bool

    def accepts(self, run: Searched) -> bool:
        """Whether one of the texts does."""
        texts = _setting_texts(run, self.settings) if self.settings else _texts(run, self.key)
        if self.whole:
            return any(text.casefold() == self.text for text in texts)
        return any(self.text in text.casefold() for text in texts)


@dataclass(frozen=True, slots=True)
class Within:
    """A figure of the run, or one of several settings, lies in a range; `open_low` and `open_high` leave its ends out."""

    key: str
    settings: tuple[Keys, ...]
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def accepts(self, run: Searched) -> bool:
        """Whether one of the figures lies there."""
        figures = _setting_figures(run, self.settings) if self.settings else _figures(run.run, self.key)
        return any(
            (self.low < figure or (figure == self.low and not self.open_low))
            and (figure < self.high or (figure == self.high and not self.open_high))
            for figure in figures
        )


def parts_of(condition: Condition) -> Iterator[Condition]:
    """A condition and all within it."""
    yield condition
    if isinstance(condition, Every | Either):
        for part in condition.parts:
            yield from parts_of(part)
    elif isinstance(condition, Not):
        yield from parts_of(condition.part)


def _choices(run: RunInfo, key: str) -> set[str]:
    """The states, stages or marks that a run has."""
    if key == "state":
        return {run.state}
    if key == "stage":
        return set(run.config.stages)
    label = run.label
    marks = (
        ("star", label.star), ("archived", label.archived), ("tagged", bool(label.tags)), ("noted", bool(label.notes)),
        ("doubtful", run.result is not None and bool(run.result.warnings)),
    )  # fmt: skip
    return {mark for mark, on in marks if on}


def _figures(run: RunInfo, key: str) -> list[float]:
    if key == "progress":
        return [100 * run.progress]
    if key == "time":
        return [run.seconds] if run.seconds else []
    if key == "created":
        return [run.created]
    if run.result is None:
        return []
    share = run.result.clean_accuracy if key == "clean" else run.result.robust_accuracy
    return [100 * share.value]


#: What texts a run has for a key.
_TEXTS: dict[str, Callable[[RunInfo], Iterable[str]]] = {
    "tag": lambda run: run.label.tags,
    "title": lambda run: (run.title, run.name),
    "study": lambda run: (run.study,),
    "data": lambda run: [data.name for data in (run.config.source, run.config.target) if data],
    "notes": lambda run: (run.label.notes,),
    "reason": lambda run: (run.reason,),
    "device": lambda run: (run.device,),
    "id": lambda run: (run.id,),
}


def _texts(run: Searched, key: str) -> list[str]:
    if key == "method":
        return _setting_texts(run, settings_called("method"))
    if key == "attack":
        attack = run.run.config.attack
        told = [run.run.result.attack] if run.run.result else []
        return [*told, *([attack.title, attack.name] if attack else [])]
    return list(_TEXTS[key](run.run))


def _holders(run: Searched, settings: Iterable[Keys]) -> Iterator[tuple[Settings, str]]:
    """The tables in which these settings have an effect, each with the setting's own name."""
    for config in run.configs:
        for path in settings:
            table: Any = config
            for key in path[:-1]:
                table = getattr(table, key) if table is not None and table.applies(key) else None
            if table is not None and table.applies(path[-1]):
                yield table, path[-1]


def _setting_texts(run: Searched, settings: Iterable[Keys]) -> list[str]:
    texts = []
    for table, name in _holders(run, settings):
        value = getattr(table, name)
        texts += [str(value).lower() if isinstance(value, bool) else str(value), table.short(name)]
    return texts


def _setting_figures(run: Searched, settings: Iterable[Keys]) -> list[float]:
    values = [getattr(table, name) for table, name in _holders(run, settings)]
    items = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    return [float(item) for item in items if item is not None]
