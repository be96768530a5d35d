"""A study while a form edits it: its runs as a file says them, with their grids, beside the values they have.

What the user changes goes into the file's own tables, so that defaults, grids and labels are kept as they were written.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from engine.config.axes import ALIASES, Keys, fields, has_effect, model_of, reaches, value_at
from engine.config.base import parse_ratio
from engine.config.crossing import problems_beside
from engine.config.grid import Variant, put
from engine.config.run import RunConfig
from engine.config.study import (
    StudyConfig,
    expand_table,
    load_study,
    parse_study,
    problems_of,
    study_without_stale,
)
from engine.config.sweeps import SweepError, parse_sweep
from engine.errors import ConfigError, Problem

#: What is at the top of a study's file, beside its runs and its grid.
_HEAD = ("title", "description", "defaults", "comparisons")


@dataclass
class RunDraft:
    """One `[[runs]]` table.

    Attributes:
        written: the table as it was read, without its grid.
        shown: all its settings as they were read; where they are varied, those of its first variant.
        values: all its settings now; what cannot be used may stand in here.
        grid: axes of its own, by dotted name: a list of values, label -> value, or a text that cannot be read.
        given: the settings that axes gave when it was read.
        pinned: names of the study's axes that it does not follow, because it says the setting itself.
    """

    written: dict[str, Any]
    shown: dict[str, Any]
    values: dict[str, Any]
    grid: dict[str, Any] = field(default_factory=dict)
    given: frozenset[Keys] = frozenset()
    pinned: frozenset[str] = frozenset()

    def axes(self, shared: Iterable[str]) -> set[str]:
        """Names of the axes that it says itself and of those of the study that it follows."""
        return {*self.grid, *(name for name in shared if name not in self.pinned)}

    def table(self, shared: Iterable[str], varied: Iterable[Keys]) -> dict[str, Any]:
        """Its table now: as it was written, with what was changed, without what axes say.

        Args:
            shared: names of the study's axes.
            varied: all settings that are varied, those that vary because the run it starts from does among them.
        """
        table = copy.deepcopy(self.written)
        for path in _paths(self.axes(shared)):
            _remove(table, path)
        freed = self.given - set(varied) | self._moved()
        for path, value in _leaves(self.values):
            if covers(varied, path):
                continue
            if value is None:
                if value_at(self.shown, path) is not None:
                    _remove(table, path)
            elif covers(freed, path) or not same_value(value, value_at(self.shown, path)):
                put(table, path, value)
        return table | {"grid": copy.deepcopy(self.grid)} if self.grid else table

    def _moved(self) -> set[Keys]:
        """Settings that, left out, are something else beside the values now than beside those that were read."""
        found: set[Keys] = set()
        for part, info in RunConfig.model_fields.items():
            model, shown, values = model_of(info), self.shown.get(part), self.values.get(part)
            if model is None or not isinstance(shown, Mapping) or not isinstance(values, Mapping):
                continue
            usual = {key: setting.get_default() for key, setting in model.model_fields.items()}
            before, now = usual | model.defaults(shown), usual | model.defaults(values)
            found |= {(part, key) for key in usual if before[key] != now[key]}
        return found


@dataclass(frozen=True)
class Judgement:
    """What a draft amounts to.

    Attributes:
        study: the study with every run that its grids make, None while something cannot be used.
        runs: for each run of the draft the settings of its first variant, or why they cannot be used.
        beside: for each run of the draft what is wrong between settings that others kept from being compared.
        given: for each run of the draft the settings that axes gave to that variant.
        problems: all of them. Places count the runs of the draft, from 0: "runs.1.finetuning.epochs"; those of axes
            are "grid.k" and "runs.1.grid.k".
    """

    study: StudyConfig | None
    runs: list[RunConfig | ValidationError]
    beside: list[list[Problem]]
    given: list[frozenset[Keys]]
    problems: list[Problem]


@dataclass
class StudyDraft:
    """A study as a form edits it.

    Attributes:
        head: title, description, defaults and comparisons as a file has them.
        grid: axes of all runs, by dotted name: a list of values, label -> value, or a text that cannot be read.
        runs: its runs before expansion.
    """

    head: dict[str, Any]
    grid: dict[str, Any]
    runs: list[RunDraft]

    @classmethod
    def of(cls, study: StudyConfig) -> StudyDraft:
        """Every run of a study in full, without a grid."""
        runs = [run.model_dump() for run in study.runs]
        head: dict[str, Any] = {"title": study.title, "description": study.description}
        if study.comparisons:
            head["comparisons"] = [item.model_dump() for item in study.comparisons]
        return cls(head, {}, [RunDraft(_without_none(run), run, copy.deepcopy(run)) for run in runs])

    @classmethod
    def parse(cls, text: str, *, origin: str | None = None) -> StudyDraft:
        """Read a study file.

        Raises:
            ConfigError: with every problem, as `parse_study` tells it.
        """
        study = parse_study(text, origin=origin)
        table = tomllib.loads(text)
        if "runs" not in table:
            table = {"title": study.title, "runs": [{k: v for k, v in table.items() if k != "grid"}]} | (
                {"grid": table["grid"]} if "grid" in table else {}
            )
        grid = _flat(table.get("grid", {}))
        runs = []
        variants = expand_table(table)
        for number, written in enumerate(table["runs"]):
            first = next(variant for variant in variants if variant.template == number)
            shown = RunConfig.model_validate(first.table).model_dump()
            shown |= {key: written.get(key, shown[key]) for key in ("name", "start_from")}
            own = _flat(written.pop("grid", {}))
            pinned = {
                name for name in grid if name in own or any(reaches(written, path) for path in paths_of(name))
            }
            given = frozenset(path for path, _choice in first.set_by)
            runs.append(
                RunDraft(written, shown, copy.deepcopy(shown), own, given, frozenset(pinned - set(own)))
            )
        return cls({key: table[key] for key in _HEAD if key in table}, grid, runs)

    @classmethod
    def load(cls, path: Path) -> StudyDraft:
        """Read a study file from disk; see `parse`."""
        load_study(path)
        return cls.parse(path.read_text(encoding="utf-8-sig"), origin=str(path))

    def varied(self, number: int) -> set[Keys]:
        """The settings of a run that are varied: by its axes, or because they are in the run it starts from."""
        run = self.runs[number]
        found = _paths(run.axes(self.grid))
        start = run.values.get("start_from")
        for earlier in range(number):
            if start and self.runs[earlier].values.get("name") == start:
                found |= {path for path in self._inherited(earlier) if not reaches(run.written, path)}
        return found

    def _inherited(self, number: int) -> set[Keys]:
        """What a run that starts from this one takes over: "k" then stands for its own number of blocks too."""
        varied = self.varied(number)
        return varied | {path for paths in ALIASES.values() if varied & {*paths} for path in paths}

    @property
    def is_grid(self) -> bool:
        """Whether it says more than the plain list of its runs."""
        return bool(self.grid or "defaults" in self.head or any(run.grid for run in self.runs))

    def table(self) -> dict[str, Any]:
        """The study as its file says it now."""
        table = copy.deepcopy(self.head)
        if self.grid:
            table["grid"] = copy.deepcopy(self.grid)
        table["runs"] = [run.table(self.grid, self.varied(number)) for number, run in enumerate(self.runs)]
        return table

    def text(self) -> str:
        """The study as TOML, with its grids."""
        table = self.table()
        comparisons = table.pop("comparisons", None)
        return tomlkit.dumps(table | ({"comparisons": comparisons} if comparisons else {}))

    def study(self, *, drop_stale: bool = False) -> StudyConfig:
        """The study with every run that its grids make; see `judge`.

        Raises:
            ConfigError: all problems.
        """
        judgement = self.judge(drop_stale=drop_stale)
        if judgement.study is None:
            raise ConfigError(judgement.problems)
        return judgement.study

    def judge(self, *, drop_stale: bool = False) -> Judgement:
        """Check everything, each run that the grids make once.

        Args:
            drop_stale: leave out comparisons of runs that are no longer there.
        """
        table = self.table()
        problems = _take_unread(table)
        try:
            variants = expand_table(table)
        except ConfigError as error:
            problems += error.problems
            runs = [{key: value for key, value in run.items() if key != "grid"} for run in table["runs"]]
            variants = expand_table({"defaults": table.get("defaults", {}), "runs": runs})
        first = [
            next(place for place, variant in enumerate(variants) if variant.template == number)
            for number in range(len(self.runs))
        ]
        configs = [_validated(variant.table) for variant in variants]
        beside: dict[int, list[Problem]] = {}
        for number, config in enumerate(configs):
            if isinstance(config, ValidationError):
                found = problems_of(config)
                if number in first:
                    beside[number] = problems_beside(variants[number].table, config)
                    found += beside[number]
                placed = [Problem(f"runs.{number}.{p.place}".rstrip("."), p.message) for p in found]
                problems += [_placed(problem, variants) for problem in placed]
        usable = [config for config in configs if isinstance(config, RunConfig)]
        head = {key: value for key, value in table.items() if key not in ("runs", "grid", "defaults")}
        study = None
        try:
            if problems:
                # What is wrong with the head is told at once; questions about runs have to wait for them.
                head.pop("comparisons", None)
                StudyConfig.model_validate(head | {"runs": usable})
            else:
                make = study_without_stale if drop_stale else StudyConfig.model_validate
                study = make(head | {"runs": usable})
        except ValidationError as error:
            problems += [problem for problem in problems_of(error) if usable or problem.place != "runs"]
        given = [frozenset(path for path, _choice in variants[place].set_by) for place in first]
        return Judgement(
            study,
            [configs[place] for place in first],
            [beside.get(place, []) for place in first],
            given,
            list(dict.fromkeys(problems)),
        )


def axes_for(values: Mapping[str, Any]) -> list[str]:
    """Names of the single settings over which a run with these values could be varied; k first if it has one.

    Whether an axis has an effect also depends on the other axes, so that methods are not asked here.
    """
    stages = {key: value for key, value in values.items() if value is not None}
    names = [
        ".".join(path)
        for path, info in fields().items()
        if info.annotation in (int, float, bool) or str(info.annotation).startswith("typing.Literal")
        if has_effect(stages, path[:1]) and path != ("seed",)
    ]
    has_k = any(path[0] in stages and path[0] in ("pretraining", "finetuning") for path in ALIASES["k"])
    return (["k"] if has_k else []) + names


def _paths(names: Iterable[str]) -> set[Keys]:
    return {path for name in names for path in paths_of(name)}


def field_at(name: str) -> FieldInfo:
    """The setting that an axis of this name sets, the first of them for "k"."""
    return fields()[paths_of(name)[0]]


def paths_of(name: str) -> tuple[Keys, ...]:
    """The settings that an axis of this name sets."""
    return ALIASES.get(name, (tuple(name.split(".")),))


def _take_unread(table: dict[str, Any]) -> list[Problem]:
    """Take axes out of a study's table that are texts which cannot be read, and tell why they cannot."""
    problems = []
    grids = [("grid", table.get("grid", {}))]
    grids += [(f"runs.{number}.grid", run.get("grid", {})) for number, run in enumerate(table["runs"])]
    for place, grid in grids:
        for name in [name for name, values in grid.items() if isinstance(values, str)]:
            try:
                grid[name] = list(parse_sweep(grid[name], field_at(name)))
            except SweepError as error:
                problems.append(Problem(f"{place}.{name}", str(error)))
                del grid[name]
    return problems


def _validated(table: Mapping[str, Any]) -> RunConfig | ValidationError:
    try:
        return RunConfig.model_validate(table)
    except ValidationError as error:
        return error


def _placed(problem: Problem, variants: list[Variant]) -> Problem:
    parts = problem.place.split(".")
    if parts[0] != "runs" or len(parts) < 2 or not parts[1].isdigit():
        return problem
    variant, key = variants[int(parts[1])], parts[2:]
    for path, choice in variant.set_by:
        if key[: len(path)] == list(path):
            return Problem(".".join(choice.axis.place), problem.message)
    return Problem(".".join(["runs", str(variant.template), *key]), problem.message)


def _flat(grid: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A grid with dotted names; `a.b = [...]` counts as `"a.b" = [...]`."""
    found: dict[str, Any] = {}
    for key, value in grid.items():
        name = f"{before}{key}"
        keys = tuple(name.split("."))
        inside = any(path[: len(keys)] == keys and len(path) == len(keys) + 1 for path in fields())
        nested = (
            isinstance(value, dict)
            and inside
            and all((*keys, part.split(".")[0]) in fields() for part in value)
        )
        found |= _flat(value, f"{name}.") if nested else {name: value}
    return found


def _leaves(values: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def covers(paths: Iterable[Keys], path: Keys) -> bool:
    """Whether a setting, or a table that it is in, is among some paths."""
    return any(path[: len(other)] == other for other in paths)


def _remove(table: dict[str, Any], path: Keys) -> None:
    for key in path[:-1]:
        table = table.get(key, {})
    table.pop(path[-1], None)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of a setting are the same; a ratio may be written in several ways."""
    if type(one) is type(other) or not isinstance(one, str | float) or not isinstance(other, str | float):
        return bool(one == other)
    try:
        return bool(parse_ratio(one) == parse_ratio(other))
    except ValueError:
        return False


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
