"""A study: one or more runs that belong together, read from and written to TOML.

A study file has `title`, an optional `[defaults]` table and one `[[runs]]` table per run. Defaults fill in
what a run leaves out; the stage tables `pretraining`, `finetuning` and `attack` of the defaults apply only to
runs that have that stage. `[grid]` and `[runs.grid]` make a run for each combination of values (see
`engine.config.grid`), `[[comparisons]]` say what the results are asked. A file without `runs` is a single run.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomlkit
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from engine.config.axes import ALIASES, Axis, fields, read_axes, shown, without, wrong_name
from engine.config.base import Settings, setting
from engine.config.grid import MAX_RUNS, Template, Variant, expand
from engine.config.places import Finder
from engine.config.run import STAGES, RunConfig
from engine.config.sharing import share_pretraining
from engine.config.sweeps import SweepError, parse_sweep
from engine.errors import ConfigError, Problem

#: Room for as many runs as a study may have, each in full.
MAX_TOML_BYTES = 4_000_000
MAX_TOML_DEPTH = 8
#: Most names that a message lists.
MAX_NAMES = 30

AnySettings = TypeVar("AnySettings", bound=Settings)


ComparisonMeasure = Literal["clean_accuracy", "robust_accuracy", "robust_at_equal_clean"]


class ComparisonConfig(Settings):
    """A question to the results: by how much one cell or line of the study differs from another.

    A cell is all runs of one name (same settings, other seeds). A line is all cells that differ only in k; it has
    their name without its k. Differences, other minus baseline, are taken seed by seed.
    """

    title: str = setting("", "Title", "The claim in words, as the report shows it.", max_length=200)
    baseline: str = setting(
        ..., "Baseline", "The cell (for robust_at_equal_clean: the line) that the other is compared with.",
        min_length=1, max_length=80,
    )  # fmt: skip
    other: str = setting(
        ..., "Other", "The cell (for robust_at_equal_clean: the line) that is compared with the baseline.",
        min_length=1, max_length=80,
    )  # fmt: skip
    measure: ComparisonMeasure = setting(
        "robust_accuracy",
        "Measure",
        "clean_accuracy and robust_accuracy compare two cells; robust_at_equal_clean compares the robust accuracy "
        "of two lines at equal clean accuracy, averaged along their trade-offs.",
    )
    expected: Literal["more", "less"] = setting(
        "more", "Expected", "Whether the claim is that the other has more or less than the baseline."
    )


class StudyConfig(Settings):
    """Runs that belong together, in the order in which they are made; name and seed tell them apart.

    Runs that begin with the same pre-training share it: see `share_pretraining`.
    """

    title: str = setting("Study", "Title", "What the study is called.", min_length=1, max_length=120)
    description: str = setting("", "Description", "What it shows.", max_length=4000)
    runs: list[RunConfig] = setting(..., "Runs", "The runs of the study.", min_length=1, max_length=MAX_RUNS)

    comparisons: list[ComparisonConfig] = setting(
        [], "Comparisons", "What the report says about differences between the runs.", max_length=1000
    )

    @field_validator("runs", mode="after")
    @classmethod
    def _pretraining_is_shared(cls, runs: list[RunConfig]) -> list[RunConfig]:
        return share_pretraining(runs)

    @property
    def cells(self) -> dict[str, list[RunConfig]]:
        """The runs of each name: same settings, other seeds; results are averaged over them."""
        found: dict[str, list[RunConfig]] = {}
        for run in self.runs:
            found.setdefault(run.name, []).append(run)
        return found

    def parent_of(self, run: RunConfig) -> RunConfig | None:
        """The run of the study that a run starts from: of that name with the same seed, else with its only seed.

        None if the run starts from something outside of the study, or the name has several seeds and none fits.
        """
        if run.start_from == run.name:
            return None
        named = [other for other in self.runs if other.name == run.start_from]
        return next(
            (other for other in named if other.seed == run.seed), named[0] if len(named) == 1 else None
        )

    def part(self, names: Iterable[str]) -> StudyConfig:
        """The cells of these names ("NAME@SEED" names one run), what they start from, and comparisons between them.

        Raises:
            ConfigError: there is no such cell or run.
        """
        chosen: set[tuple[str, int]] = set()
        problems = []
        for text in names:
            name, _, seed = text.rpartition("@")
            found = self.cells.get(text) or [r for r in self.cells.get(name, ()) if str(r.seed) == seed]
            if not found:
                problems.append(
                    Problem(
                        "--only", f"there is no run {text!r}; there are: {_listed(text, list(self.cells))}"
                    )
                )
            for run in found:
                step: RunConfig | None = run
                while step is not None and (step.name, step.seed) not in chosen:
                    chosen.add((step.name, step.seed))
                    step = self.parent_of(step)
        if problems:
            raise ConfigError(problems)
        runs = [run for run in self.runs if (run.name, run.seed) in chosen]
        smaller = self.model_copy(update={"runs": runs, "comparisons": []})
        kept = [c for c in self.comparisons if {c.baseline, c.other} <= set(smaller.comparable(c.measure))]
        return smaller.model_copy(update={"comparisons": kept})

    def comparable(self, measure: ComparisonMeasure) -> list[str]:
        """The names that a comparison of this measure may give: evaluated cells, or the lines they lie on."""
        names = (run.name for run in self.runs if run.attack is not None)
        if measure == "robust_at_equal_clean":
            names = (line_name(name) for name in names)
        return list(dict.fromkeys(names))

    @model_validator(mode="after")
    def _names_and_seeds_are_unique(self) -> StudyConfig:
        seen: set[tuple[str, int]] = set()
        for run in self.runs:
            if (run.name, run.seed) in seen:
                raise ValueError(
                    f"runs: two runs are called {run.name!r} and have seed {run.seed}; give one another name or seed"
                )
            seen.add((run.name, run.seed))
        return self

    @model_validator(mode="after")
    def _comparisons_name_what_is_there(self) -> StudyConfig:
        problems = []
        for number, comparison in enumerate(self.comparisons):
            known = self.comparable(comparison.measure)
            kind = "line" if comparison.measure == "robust_at_equal_clean" else "run with an attack"
            for side in ("baseline", "other"):
                name = getattr(comparison, side)
                if name not in known:
                    problems.append(
                        f"comparisons.{number}.{side}: there is no {kind} {name!r}; there are: {_listed(name, known)}"
                    )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _listed(name: str, known: list[str]) -> str:
    """The names that there are, or if they are many those closest to one that is not."""
    if len(known) > MAX_NAMES:
        known = difflib.get_close_matches(name, known, n=MAX_NAMES, cutoff=0.0)
    return ", ".join(map(repr, known)) or "none"


def line_name(cell: str) -> str:
    """The name of the line that a cell lies on, its own without the k: "AT, vanilla, k=3" gives "AT, vanilla"."""
    return re.sub(r",? *\bk=\d+\b", "", cell).strip(", ") or cell


def load_study(path: Path, overrides: Iterable[str] = (), sweeps: Iterable[str] = ()) -> StudyConfig:
    """Read a study or a single run from a TOML file.

    Args:
        path: the file, at most 4 MB and 8 tables deep.
        overrides: "dotted.key=value" texts that apply to every run that has that key's stage.
        sweeps: "dotted.key=0.1, 0.2" texts that each vary a setting in all runs in which it has an effect, whatever
            they or the grid say of it. Comparisons of runs that then have other names are left out.

    Raises:
        ConfigError: with every problem, its place and, where it can be told, its line.
    """
    try:
        if path.stat().st_size > MAX_TOML_BYTES:
            raise ConfigError([Problem("", f"a settings file has at most {MAX_TOML_BYTES} bytes")], str(path))
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("", "is not UTF-8 text; save it as UTF-8")], str(path)) from error
    return parse_study(text, overrides, sweeps, origin=str(path))


def parse_study(
    text: str, overrides: Iterable[str] = (), sweeps: Iterable[str] = (), *, origin: str | None = None
) -> StudyConfig:
    """Read a study or a single run from TOML text; see `load_study`."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem("", f"this is not valid TOML: {error}")], origin) from error
    if _depth(table) > MAX_TOML_DEPTH:
        raise ConfigError([Problem("", f"tables are nested deeper than {MAX_TOML_DEPTH} levels")], origin)
    return _study_from_table(table, overrides, list(sweeps), text=text, origin=origin)


def parse_run(text: str, *, origin: str | None = None) -> RunConfig:
    """Read the settings of one run from TOML text, as `dump_run` writes them."""
    study = parse_study(text, origin=origin)
    if len(study.runs) != 1:
        raise ConfigError([Problem("runs", f"expected one run, got {len(study.runs)}")], origin)
    return study.runs[0]


def dump_run(run: RunConfig) -> str:
    """Write one run as TOML, every setting in full."""
    return tomlkit.dumps(_plain(run))


def settings_hash(run: RunConfig) -> str:
    """SHA-256 in hex of `dump_run`: what `sha256sum` tells of the run's config.toml."""
    return hashlib.sha256(dump_run(run).encode()).hexdigest()


def dump_study(study: StudyConfig) -> str:
    """Write a study as TOML, every setting of every run in full."""
    head = {"title": study.title, "description": study.description}
    # Piece by piece: tomlkit's time grows with the square of a document's length.
    runs = [tomlkit.dumps({"runs": [_plain(run)]}) for run in study.runs]
    comparisons = [tomlkit.dumps({"comparisons": [_plain(item)]}) for item in study.comparisons]
    return "\n".join([tomlkit.dumps(head), *runs, *comparisons])


def validate(model: type[AnySettings], values: Mapping[str, Any]) -> AnySettings:
    """Check values against a settings class.

    Raises:
        ConfigError: all problems with their dotted places.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems_of(error)) from error


def require_usable(runs: Iterable[RunConfig]) -> None:
    """Check the settings of runs that were put together from checked ones without being checked as a whole.

    Raises:
        ConfigError: all problems, each at the place of its run in a study.
    """
    problems = []
    for run in runs:
        try:
            RunConfig.model_validate(run.model_dump())
        except ValidationError as error:
            problems += [
                replace(problem, place=f"runs.{run.name}.{problem.place}") for problem in problems_of(error)
            ]
    if problems:
        raise ConfigError(problems)


def problems_of(error: ValidationError) -> list[Problem]:
    """Turn pydantic's errors into ours: one line each, with the dotted place, expected and given value."""
    problems = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "value_error":
            for line in str(item["ctx"]["error"]).splitlines():
                key, colon, reason = line.partition(": ")
                if colon and key.replace(".", "").replace("_", "").isalnum() and " " not in key:
                    problems.append(Problem(f"{place}.{key}" if place else key, reason))
                else:
                    problems.append(Problem(place, line))
        elif item["type"] == "extra_forbidden":
            problems.append(Problem(place, "there is no such setting; check the spelling"))
        elif item["type"] == "missing":
            problems.append(Problem(place, "is required"))
        else:
            message = f"{item['msg'][0].lower()}{item['msg'][1:]}, got {shown(item['input'])}"
            problems.append(Problem(place, message))
    return problems


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split "attack.epsilon=8/255" into its key path and value; the value is read as TOML, else as text.

    Raises:
        ConfigError: there is no "=" or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            [Problem("--set", f"expected KEY=VALUE such as attack.epsilon=8/255, got {text!r}")]
        )
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except (ValueError, RecursionError):
        parsed = value.strip()
    return [part.strip() for part in key.split(".")], parsed


def read_sweep(text: str) -> tuple[str, list[Any]]:
    """Split "k=1..5" into the name of an axis and its values.

    Raises:
        ConfigError: there is no such setting, or the values cannot be read.
    """
    name, equals, values = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError([Problem("--sweep", f"expected KEY=VALUES such as k=1..5, got {text!r}")])
    place = f"--sweep {name}"
    keys = tuple(name.split("."))
    if problem := wrong_name(keys):
        raise ConfigError([Problem(place, problem)])
    try:
        return name, list(parse_sweep(values, fields()[ALIASES.get(name, (keys,))[0]]))
    except SweepError as error:
        where = f" (character {error.position + 1} of {values!r})" if values.strip() else ""
        raise ConfigError([Problem(place, f"{error}{where}")]) from None


def _study_from_table(
    table: dict[str, Any], overrides: Iterable[str], sweeps: list[str], *, text: str, origin: str | None
) -> StudyConfig:
    single = "runs" not in table
    defaults: dict[str, Any] = {}
    grid = table.pop("grid", {})
    if single:
        runs = [table]
        name = table.get("name")
        head = {"title": name if isinstance(name, str) and name else "run"}
    else:
        runs, defaults = table["runs"], table.get("defaults", {})
        if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
            raise ConfigError([Problem("runs", "expected [[runs]] tables")], origin)
        if not isinstance(defaults, dict):
            raise ConfigError([Problem("defaults", "expected a [defaults] table")], origin)
        if "grid" in defaults:
            raise ConfigError(
                [Problem("defaults.grid", "the grid of all runs is a [grid] of its own")], origin
            )
        head = {key: value for key, value in table.items() if key not in ("runs", "defaults")}
    changes = [parse_override(override) for override in overrides]
    for name, taken in map(read_sweep, sweeps):
        grid = _swept(grid, runs, name, taken)
    finder = Finder(text, runs, defaults, overridden=[path for path, _ in changes], single=single)
    try:
        finder.variants = variants = _expanded(runs, defaults, grid, changes)
        values = {**head, "runs": [variant.table for variant in variants]}
        return study_without_stale(values) if sweeps else StudyConfig.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error)
    except ConfigError as error:
        problems = list(error.problems)
    raise ConfigError(list(dict.fromkeys(finder.found(problem) for problem in problems)), origin)


def study_without_stale(values: Mapping[str, Any]) -> StudyConfig:
    """Make a study, leaving out comparisons of runs that are not there.

    Raises:
        ValidationError: anything else is wrong.
    """
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        places = [problem.place.split(".") for problem in problems_of(error)]
        if not all(place[0] == "comparisons" for place in places):
            raise
    stale = {int(place[1]) for place in places}
    kept = [item for number, item in enumerate(values["comparisons"]) if number not in stale]
    return StudyConfig.model_validate({**values, "comparisons": kept})


def expand_table(table: Mapping[str, Any]) -> list[Variant]:
    """The tables of all runs of a study's table, made from its defaults and grids; their values are not checked.

    Raises:
        ConfigError: a grid cannot be expanded.
    """
    return _expanded(copy.deepcopy(table["runs"]), table.get("defaults", {}), table.get("grid", {}), [])


def _expanded(
    runs: list[dict[str, Any]], defaults: dict[str, Any], grid: Any, changes: list[tuple[list[str], Any]]
) -> list[Variant]:
    """The tables of all runs of a study: with its defaults and overrides, once for each combination of values."""
    problems: list[Problem] = []
    if isinstance(grid, dict):
        grid = grid | {".".join(path[1:]): value for path, value in changes if path[0] == "grid"}
    changes = [(path, value) for path, value in changes if path[0] != "grid"]

    def axes(grid: Any, place: tuple[str, ...]) -> list[Axis]:
        try:
            return without(read_axes(grid, place), [tuple(path) for path, _ in changes])
        except ConfigError as error:
            problems.extend(error.problems)
            return []

    shared = axes(grid, ("grid",))
    templates = []
    for number, run in enumerate(runs):
        written = {key: value for key, value in run.items() if key != "grid"}
        own = axes(run.get("grid", {}), ("runs", str(number), "grid"))
        templates.append(Template(number, _with_defaults(defaults, written), written, own))
    if problems:
        raise ConfigError(problems)
    for path, value in changes:
        _apply([template.table for template in templates], path, value)
    variants = expand(templates, shared)
    # Once more, for what axes with tables have put over it.
    for path, value in changes:
        if path not in (["name"], ["start_from"]):
            _apply([variant.table for variant in variants], path, value)
    return variants


def _swept(grid: Any, runs: list[dict[str, Any]], name: str, values: list[Any]) -> Any:
    """The grid with one more axis; what grid and runs said about its settings goes."""
    if not isinstance(grid, dict):
        return grid
    for path in (*ALIASES.get(name, (tuple(name.split(".")),)), (name,)):
        for table in runs:
            _drop(table, path)
            _drop(table.get("grid", {}), path)
        _drop(grid, path)
        grid.pop(".".join(path), None)
    return {**grid, name: values}


def _drop(table: Any, path: tuple[str, ...]) -> None:
    """Take out what is at a path, written as nested tables or as one dotted key."""
    if isinstance(table, dict):
        table.pop(".".join(path), None)
        if len(path) > 1:
            _drop(table.get(path[0]), path[1:])


def _with_defaults(defaults: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    merged = {key: copy.deepcopy(value) for key, value in defaults.items() if key not in STAGES or key in run}
    return _merge(merged, run)


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)
    return base


def _apply(runs: list[dict[str, Any]], path: list[str], value: Any) -> None:
    stage = path[0] if path[0] in STAGES else None
    touched = [run for run in runs if stage is None or stage in run]
    if not touched:
        raise ConfigError([Problem("--set " + ".".join(path), f"no run of the study has a {stage} stage")])
    for run in touched:
        table = run
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError([Problem("--set " + ".".join(path), f"{part} is a value, not a table")])
        table[path[-1]] = value


def _plain(model: BaseModel) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(model.model_dump_json(exclude_none=True))
    return plain


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 0)]
    while stack:
        item, level = stack.pop()
        deepest = max(deepest, level)
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        stack += [(child, level + isinstance(item, dict)) for child in children]
    return deepest
