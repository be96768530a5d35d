"""A study: one or more runs that belong together, read from and written to TOML.

A study file has `title`, an optional `[defaults]` table and one `[[runs]]` table per run. Defaults fill in
what a run leaves out; the stage tables `pretraining`, `finetuning` and `attack` of the defaults apply only to
runs that have that stage. A file without `runs` is a single run.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from pydantic import BaseModel, ValidationError, model_validator

from engine.config.base import Settings, setting
from engine.config.run import STAGES, RunConfig
from engine.errors import ConfigError, Problem

MAX_TOML_BYTES = 1_000_000
MAX_TOML_DEPTH = 8

AnySettings = TypeVar("AnySettings", bound=Settings)


class StudyConfig(Settings):
    """Runs that belong together, in the order in which they are made."""

    title: str = setting("Study", "Title", "What the study is called.", min_length=1, max_length=120)
    description: str = setting("", "Description", "What it shows.", max_length=4000)
    runs: list[RunConfig] = setting(..., "Runs", "The runs of the study.", min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _names_are_unique(self) -> StudyConfig:
        seen: set[str] = set()
        for run in self.runs:
            if run.name in seen:
                raise ValueError(f"runs: two runs are called {run.name!r}; give each its own name")
            seen.add(run.name)
        return self


def load_study(path: Path, overrides: Iterable[str] = ()) -> StudyConfig:
    """Read a study or a single run from a TOML file.

    Args:
        path: the file, at most 1 MB and 8 tables deep.
        overrides: "dotted.key=value" texts that apply to every run that has that key's stage.

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
    return parse_study(text, overrides, origin=str(path))


def parse_study(text: str, overrides: Iterable[str] = (), *, origin: str | None = None) -> StudyConfig:
    """Read a study or a single run from TOML text; see `load_study`."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([Problem("", f"is not valid TOML: {error}")], origin) from error
    if _depth(table) > MAX_TOML_DEPTH:
        raise ConfigError([Problem("", f"tables are nested deeper than {MAX_TOML_DEPTH} levels")], origin)
    return _study_from_table(table, overrides, text, origin)


def parse_run(text: str, *, origin: str | None = None) -> RunConfig:
    """Read the settings of one run from TOML text, as `dump_run` writes them."""
    study = parse_study(text, origin=origin)
    if len(study.runs) != 1:
        raise ConfigError([Problem("runs", f"expected one run, got {len(study.runs)}")], origin)
    return study.runs[0]


def dump_run(run: RunConfig) -> str:
    """Write one run as TOML, every setting in full."""
    return tomlkit.dumps(_plain(run))


def dump_study(study: StudyConfig) -> str:
    """Write a study as TOML, every setting of every run in full."""
    return tomlkit.dumps(
        {"title": study.title, "description": study.description, "runs": [_plain(run) for run in study.runs]}
    )


def validate(model: type[AnySettings], values: Mapping[str, Any]) -> AnySettings:
    """Check values against a settings class.

    Raises:
        ConfigError: all problems with their dotted places.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems_of(error)) from error


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
            given = item["input"]
            shown = repr(given) if isinstance(given, str | int | float | bool) else type(given).__name__
            problems.append(Problem(place, f"{item['msg'][0].lower()}{item['msg'][1:]}, got {shown}"))
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
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return [part.strip() for part in key.split(".")], parsed


def _study_from_table(
    table: dict[str, Any], overrides: Iterable[str], text: str, origin: str | None
) -> StudyConfig:
    if "runs" in table:
        runs = table.get("runs")
        defaults = table.pop("defaults", {})
        if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
            raise ConfigError([Problem("runs", "expected [[runs]] tables")], origin)
        if not isinstance(defaults, dict):
            raise ConfigError([Problem("defaults", "expected a [defaults] table")], origin)
        merged = [_with_defaults(defaults, run) for run in runs]
        raw = {**table, "runs": merged}
    else:
        raw = {"title": table.get("name", "run"), "runs": [table]}
    _inherit(raw["runs"])
    for override in overrides:
        _apply(raw["runs"], *parse_override(override))
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        problems = [
            Problem(problem.place, problem.message, _line_of(text, problem.place))
            for problem in problems_of(error)
        ]
        raise ConfigError(problems, origin) from error


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


def _inherit(runs: list[dict[str, Any]]) -> None:
    """A run that starts from an earlier run of the study has that run's network and source data."""
    by_name: dict[Any, dict[str, Any]] = {}
    for run in runs:
        parent = by_name.get(run.get("start_from")) if isinstance(run.get("start_from"), str) else None
        if parent is not None:
            for key in ("model", "source"):
                if key in parent:
                    run.setdefault(key, copy.deepcopy(parent[key]))
        if isinstance(run.get("name"), str):
            by_name[run["name"]] = run


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


def _line_of(text: str, place: str) -> int | None:
    """Find the line that sets a dotted place, so that a message can point to it; None when it is inherited."""
    wanted = [part for part in place.split(".") if part]
    run_index = -1
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            name = stripped.strip("[]# ").split("]")[0]
            if stripped.startswith("[[runs]]"):
                run_index += 1
            section = [part.strip().strip('"') for part in name.split(".")]
        elif "=" in stripped and not stripped.startswith("#"):
            keys = [part.strip().strip('"') for part in stripped.split("=", 1)[0].split(".")]
            here = section + keys
            if here[:1] == ["runs"]:
                here = ["runs", str(run_index), *here[1:]]
            plain_run = wanted[:2] == ["runs", "0"] and run_index < 0
            if here == wanted or (plain_run and here == wanted[2:]):
                return number
    return None
