"""Grids: a run that is written once and made for every combination of some values.

`[grid]` of a study holds axes for all of its runs, `[runs.grid]` those of one run. An axis is a setting with the values
that it takes: `"finetuning.spectral_bound" = [0.4, 0.6]`, or label = value where values are tables (merged into the
run's) or need names: `target = { MNIST = { name = "mnist" }, SVHN = { name = "svhn" } }`. `seed` is an axis too, and
`k` stands for the number of fine-tuned blocks of both trainings.

- An axis varies a run only where the setting has an effect: NEFT has a spectral bound, vanilla transfer has none. What
  the run itself sets goes before the study's grid.
- A run that starts from another run of the study starts from the variant of it that has the same values.
- A variant is called after its run and its values, "NEFT, k=3, beta=0.6"; seeds do not enter the name.

Here everything is plain tables: values are checked afterwards, by the settings classes.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.config.axes import (
    ALIASES,
    INHERITED,
    Axis,
    Choice,
    Keys,
    conditions,
    has_effect,
    key_of,
    reaches,
    same,
    value_at,
    without,
)
from engine.errors import ConfigError, Problem

MAX_RUNS = 1000
MAX_NAME = 80


@dataclass
class Variant:
    """A run after expansion.

    Attributes:
        table: its settings.
        template: number of the run in the file that it was made from, from 0.
        chosen: its value on each axis that it was varied over, those of the run it starts from among them.
        set_by: what axes have put into the table: path and value.
    """

    table: dict[str, Any]
    template: int
    chosen: dict[str, Choice] = field(default_factory=dict)
    set_by: list[tuple[Keys, Choice]] = field(default_factory=list)

    @property
    def name(self) -> Any:
        """What it is called; anything but a text is a mistake in the file."""
        return self.table.get("name", "run")


@dataclass
class Template:
    """A run as the file has it.

    Attributes:
        number: its number in the file, from 0.
        table: its settings, with the study's defaults.
        written: what it says itself; this goes before the study's grid.
        own: axes of its own grid.
    """

    number: int
    table: dict[str, Any]
    written: Mapping[str, Any]
    own: list[Axis] = field(default_factory=list)


def expand(templates: Sequence[Template], shared: Sequence[Axis] = ()) -> list[Variant]:
    """Make every variant of every run: seed by seed, a run always after the one that it starts from.

    Args:
        templates: the runs of the file, in order.
        shared: axes of the study, for all runs.

    Raises:
        ConfigError: an axis has no effect, a run has no variant to start from, or there are too many runs.
    """
    variants: list[Variant] = []
    names: list[Any] = []
    used: set[str] = set()
    for template in templates:
        name, start = template.table.get("name", "run"), template.table.get("start_from")
        parents: list[Variant] = []
        if start is not None and start != name:
            parents = [variant for variant in variants if names[variant.template] == start]
            # A variant that is named in full is taken whatever its values; only its seed is shared.
            parents = parents or [
                Variant(
                    variant.table, variant.template, {n: c for n, c in variant.chosen.items() if n == "seed"}
                )
                for variant in variants
                if variant.name == start
            ]
        names.append(name)
        parents = _one_of_each(parents, template.table.get("seed", 0))
        variants += _Expansion(template, shared, parents, used, len(variants)).variants()
    idle = [axis for axis in shared if axis.name not in used and _whole(axis)]
    if idle:
        raise ConfigError([Problem(".".join(axis.place), _idle(axis)) for axis in idle])
    return _seed_by_seed(variants)


class _Expansion:
    """Makes the variants of one run.

    Args:
        template: the run.
        shared: axes of the study.
        parents: the variants it may start from, none if it starts from no run of the study.
        used: names of the shared axes that had an effect so far; added to.
        before: how many runs there are already.
    """

    def __init__(
        self,
        template: Template,
        shared: Sequence[Axis],
        parents: Sequence[Variant],
        used: set[str],
        before: int,
    ) -> None:
        self.template, self.parents, self.used, self.before = template, parents, used, before
        own = {axis.name for axis in template.own}
        axes = [axis for axis in shared if axis.name not in own] + template.own
        apart = [axis.paths[0] for axis in axes if axis.name not in ALIASES]
        # "k" leaves alone what stands beside it as an axis of its own.
        self.axes = [
            part for axis in axes for part in (without([axis], apart) if axis.name in ALIASES else [axis])
        ]
        self.names = {axis.name for axis in self.axes}
        self.effective: set[str] = set()
        # From the only seed of another run, runs of all seeds may start.
        seeds = {key_of(parent.chosen["seed"].value) for parent in parents if "seed" in parent.chosen}
        self.any_seed = len(seeds) <= 1 and ("seed" in template.written or "seed" in self.names)

    def variants(self) -> list[Variant]:
        """All variants, ordered by the axes as they are listed."""
        made: list[Variant] = []
        for parent in self.parents or (None,):
            made += self._from(parent, len(made))
        own = {axis.name for axis in self.template.own}
        self.used |= self.effective - own
        self._refuse_what_does_not_fit(made)
        listed = list(dict.fromkeys([axis.name for axis in self.axes] + [n for v in made for n in v.chosen]))
        for variant in made:
            variant.chosen = {name: variant.chosen[name] for name in listed if name in variant.chosen}
            _rename(variant)
            if isinstance(variant.name, str) and len(variant.name) > MAX_NAME and variant.chosen:
                place = f"runs.{self.template.number}.name"
                reason = f"with its values the name is longer than {MAX_NAME} characters; shorten it, or give labels"
                raise ConfigError([Problem(place, f"{reason}: {variant.name!r}")])
        made.sort(
            key=lambda variant: [variant.chosen[n].number if n in variant.chosen else -1 for n in listed]
        )
        return made

    def _from(self, parent: Variant | None, made: int) -> list[Variant]:
        """The variants that start from one variant of another run, or from nothing in the study."""
        table = copy.deepcopy(self.template.table)
        pinned: dict[str, Choice] = {}
        if parent is not None:
            table["start_from"] = parent.name
            for part in INHERITED:
                if part in parent.table:
                    table.setdefault(part, copy.deepcopy(parent.table[part]))
            pinned = dict(parent.chosen)
            if self.any_seed:
                pinned.pop("seed", None)
        inherited = [choice.axis for name, choice in pinned.items() if name not in self.names]
        growing = [Variant(table, self.template.number, pinned)]
        for axis in _in_order([*self.axes, *inherited]):
            options = [self._options(variant, axis, pinned.get(axis.name)) for variant in growing]
            if self.before + made + sum(len(choices) for _, choices in options) > MAX_RUNS:
                raise ConfigError([self._too_many()])
            growing = [
                _with(variant, paths, choice)
                for variant, (paths, choices) in zip(growing, options, strict=True)
                for choice in choices
            ]
        return growing

    def _options(
        self, variant: Variant, axis: Axis, pinned: Choice | None
    ) -> tuple[list[Keys], Sequence[Choice | None]]:
        """The settings that an axis sets here, and its choices; [None] leaves the variant as it is."""
        written = self.template.written
        felt = [path for path in axis.paths if has_effect(variant.table, path)]
        free = [path for path in felt if not reaches(written, path)]
        if free and axis.name in self.names:
            self.effective.add(axis.name)
        if pinned is None:
            return free, [Choice(axis, number) for number in range(len(axis.values))] if free else [None]
        if any(not same(value_at(written, path), pinned.value) for path in felt if path not in free):
            return [], []
        if free and axis.name in self.names and not any(same(pinned.value, value) for value in axis.values):
            return [], []
        # Network and source are its parent's, although it does not train on them.
        free += [
            path
            for path in axis.paths
            if path[0] in INHERITED and not reaches(written, path) and path not in free
        ]
        return free, [pinned]

    def _refuse_what_does_not_fit(self, made: Sequence[Variant]) -> None:
        start = self.template.table.get("start_from")
        problems = []
        for axis in self.template.own:
            taken = [variant.chosen[axis.name].value for variant in made if axis.name in variant.chosen]
            lost = [value for value in axis.values if not any(same(value, other) for other in taken)]
            place = ".".join(axis.place)
            if axis.name not in self.effective and _whole(axis):
                problems.append(Problem(place, _idle(axis, self.template.written)))
            elif lost and axis.name in self.effective:
                problems.append(
                    Problem(place, f"it starts from {start!r}, which has no run with {axis.symbol}={lost[0]}")
                )
        if not made and not problems:
            place = f"runs.{self.template.number}.start_from"
            problems.append(Problem(place, f"no run of {start!r} has the values of this run; {self._had()}"))
        if problems:
            raise ConfigError(problems)

    def _had(self) -> str:
        """What the runs it may start from were varied over: "it is made for k=3, k=6, seed=0"."""
        texts = dict.fromkeys(choice.text() for parent in self.parents for choice in parent.chosen.values())
        return "it is made for " + ", ".join(texts)

    def _too_many(self) -> Problem:
        given = {name for parent in self.parents for name in parent.chosen}
        axes = [axis for axis in self.axes if axis.name in self.effective and axis.name not in given]
        sizes = {f"{len(axis.values)} values of {axis.name}": len(axis.values) for axis in axes}
        if len(self.parents) > 1:
            sizes[f"{len(self.parents)} runs to start from"] = len(self.parents)
        place = (
            max(axes, key=lambda axis: len(axis.values)).place
            if axes
            else ("runs", str(self.template.number))
        )
        beside = f", beside {self.before:,} other runs" if self.before else ""
        return Problem(
            ".".join(place),
            f"a study has at most {MAX_RUNS:,} runs, but {self.template.table.get('name', 'run')!r} would be "
            f"{math.prod(sizes.values()):,} runs or more: {' x '.join(sizes)}{beside}",
        )


def put(table: dict[str, Any], path: Keys, value: Any) -> None:
    """Set what is at a path; a table is merged into the one that is there."""
    for key in path[:-1]:
        if not isinstance(table.setdefault(key, {}), dict):
            return  # a value stands where a table belongs; validation tells so
        table = table[key]
    if isinstance(value, dict) and isinstance(table.get(path[-1]), dict):
        for key, item in value.items():
            put(table[path[-1]], (key,), item)
    else:
        table[path[-1]] = copy.deepcopy(value)


def _in_order(axes: Sequence[Axis]) -> list[Axis]:
    """The axes, those first on which the effect of others depends, and tables before single settings in them."""
    waiting, ordered = list(axes), []
    while waiting:
        ready = [
            axis
            for axis in waiting
            if not any(_before(other, axis) for other in waiting if other is not axis)
        ]
        ordered.append((ready or waiting)[0])
        waiting.remove(ordered[-1])
    return ordered


def _before(first: Axis, second: Axis) -> bool:
    needed = {path[:depth] for path in second.paths for depth in range(1, len(path))}
    for path in second.paths:
        for depth in range(1, len(path) + 1):
            for condition in conditions(path[:depth]):
                needed |= {condition[:length] for length in range(1, len(condition) + 1)}
    return any(path in needed for path in first.paths)


def _with(variant: Variant, paths: Sequence[Keys], choice: Choice | None) -> Variant:
    """The variant with one more choice."""
    if choice is None:
        return variant
    made = Variant(
        copy.deepcopy(variant.table), variant.template, variant.chosen | {choice.axis.name: choice}, list(variant.set_by)
    )  # fmt: skip
    for path in paths:
        put(made.table, path, choice.value)
        made.set_by.append((path, choice))
    return made


def _rename(variant: Variant) -> None:
    """Add to a name the values of all axes but the seed that have several."""
    if not isinstance(variant.name, str):
        return
    shown = [c for name, c in variant.chosen.items() if name != "seed" and len(c.axis.values) > 1]
    symbols = Counter(choice.axis.symbol for choice in shown)
    parts = [choice.text(full=symbols[choice.axis.symbol] > 1) for choice in shown]
    if parts:
        variant.table["name"] = ", ".join([variant.name, *parts])


def _one_of_each(variants: Sequence[Variant], seed: Any) -> list[Variant]:
    """One variant for each combination of values: of those that differ only in a seed of their own, that with `seed`."""
    best: dict[tuple[Any, ...], Variant] = {}
    for variant in variants:
        key = tuple((name, key_of(choice.value)) for name, choice in variant.chosen.items())
        if key not in best or variant.table.get("seed", 0) == seed:
            best[key] = variant
    return list(best.values())


def _seed_by_seed(variants: list[Variant]) -> list[Variant]:
    """All runs of the first seed, then all of the next; a run never before the one that it starts from."""
    if not any("seed" in variant.chosen for variant in variants):
        return variants
    rank: dict[str, int] = {}
    turns: dict[str, dict[str, int]] = {}
    order: list[tuple[int, Variant]] = []
    for variant in variants:
        seed = key_of(variant.table.get("seed", 0))
        parents = turns.get(key_of(variant.table.get("start_from")), {})
        turn = max(rank.setdefault(seed, len(rank)), parents.get(seed, max(parents.values(), default=0)))
        turns.setdefault(key_of(variant.name), {})[seed] = turn
        order.append((turn, variant))
    return [variant for _, variant in sorted(order, key=lambda item: item[0])]


def _whole(axis: Axis) -> bool:
    """Whether an axis still sets all that its name stands for; overrides take settings out."""
    return len(axis.paths) == len(ALIASES.get(axis.name, axis.paths))


def _idle(axis: Axis, written: Mapping[str, Any] | None = None) -> str:
    said = [".".join(path) for path in axis.paths if written is not None and reaches(written, path)]
    if said:
        return f"the run itself sets {said[0]}; remove it there or here"
    whose = "any run of the study" if written is None else "this run"
    return f"has no effect in {whose}: the stage is not there, its method does not use it, or the run sets it itself"
