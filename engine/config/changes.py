"""What is different in a study that is being edited, and how the command line says it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit

from engine.config.axes import Keys, fields, has_effect, value_at
from engine.config.draft import RunDraft, StudyDraft, covers, paths_of, same_value
from engine.config.kinds import SWEPT, kind_of
from engine.config.run import STAGES
from engine.config.study import parse_study
from engine.config.sweeps import write_sweep
from engine.errors import ConfigError

#: What a stage needs beside its own table, and so comes and goes with it.
_BESIDE_STAGES = ("start_from", "checkpoint", "model", "source", "target")


@dataclass(frozen=True)
class Change:
    """One difference between two drafts of a study.

    Attributes:
        run: the number of the run in the newer draft, from 0; None for the study as a whole and for a removed run.
        name: the name of that run; empty for the study as a whole.
        place: the setting, dotted; "grid.NAME" for an axis; a stage that only one of the two has; empty for a run that
            only one of the two has.
        before, after: its values; None where it is not there.
    """

    run: int | None
    name: str
    place: str
    before: Any
    after: Any


def changes(before: StudyDraft, after: StudyDraft) -> list[Change]:
    """In what one draft of a study differs from an earlier one; settings without an effect are left out."""
    found = [
        Change(None, "", key, before.head.get(key, ""), after.head.get(key, ""))
        for key in ("title", "description")
        if before.head.get(key, "") != after.head.get(key, "")
    ]
    found += [Change(None, "", *change) for change in _axes(before.grid, after.grid)]
    partners = _partners(before.runs, after.runs)
    for number, run in enumerate(after.runs):
        name = str(run.values.get("name", ""))
        if number not in partners:
            found.append(Change(number, name, "", None, name))
            continue
        old = before.runs[partners[number]]
        varied = before.varied(partners[number]) | after.varied(number)
        found += [Change(number, name, *change) for change in _settings(old.values, run.values, varied)]
        found += [Change(number, name, *change) for change in _axes(old.grid, run.grid)]
    lost = [run for number, run in enumerate(before.runs) if number not in partners.values()]
    names = [str(run.values.get("name", "")) for run in lost]
    return found + [Change(None, name, "", name, None) for name in names]


def undone(before: StudyDraft, after: StudyDraft, change: Change) -> StudyDraft:
    """A copy of the newer draft in which one setting, stage or axis is as it was before; a whole run stays."""
    made = StudyDraft(dict(after.head), dict(after.grid), [copy.copy(run) for run in after.runs])
    head, _, name = change.place.partition(".")
    partners = _partners(before.runs, after.runs)
    if head == "grid":
        if change.run is None:
            _put_axis(made.grid, name, change.before)
        else:
            made.runs[change.run].grid = dict(made.runs[change.run].grid)
            _put_axis(made.runs[change.run].grid, name, change.before)
        for number in partners if change.run is None else [change.run]:
            # What was varied has the one value again that it had before.
            paths = [path for path in paths_of(name) if path in after.varied(number)]
            _restore(made.runs[number], before.runs[partners[number]], paths)
    elif change.run is None:
        if head:
            made.head[head] = change.before
    elif head in STAGES and not name:
        places = [(part,) for part in (head, *_BESIDE_STAGES)]
        _restore(made.runs[change.run], before.runs[partners[change.run]], places)
    elif head:
        _restore(made.runs[change.run], before.runs[partners[change.run]], [tuple(change.place.split("."))])
    return made


def words_from_preset(draft: StudyDraft, preset: str, text: str) -> list[str] | None:
    """The words of a command that makes a study from a preset, None if a preset with --set and --sweep cannot say it.

    They are read back, and given only if exactly this study comes out.

    Args:
        draft: the study as it is in a form.
        preset: the name of the preset.
        text: the preset's TOML.

    Returns:
        Such as ["run", "demo", "--set", "attack.steps=50", "--sweep", "k=1..5"].
    """
    study = draft.judge(drop_stale=True).study
    if study is None:
        return None
    overrides: dict[str, str] = {}
    sweeps: dict[str, str] = {}
    for change in changes(StudyDraft.parse(text), draft):
        head, _, name = change.place.partition(".")
        if change.run is None and head == "grid" and isinstance(change.after, list):
            if kind_of(fields()[paths_of(name)[0]]) in SWEPT:
                sweeps[name] = write_sweep(change.after)
        elif change.run is not None and change.place and change.after is not None:
            overrides[change.place] = _as_toml(change.after)
    sets = [f"{place}={value}" for place, value in overrides.items()]
    axes = [f"{name}={values}" for name, values in sweeps.items()]
    try:
        if parse_study(text, sets, axes) != study:
            return None
    except ConfigError:
        return None
    words = [
        word
        for option, given in (("--set", sets), ("--sweep", axes))
        for value in given
        for word in (option, value)
    ]
    return ["run", preset, *words]


def _partners(before: Sequence[RunDraft], after: Sequence[RunDraft]) -> dict[int, int]:
    """For each newer run the number of the older one it came from: that of its name, else that of its place."""
    names = [run.values.get("name") for run in before]
    found = {
        number: names.index(run.values.get("name"))
        for number, run in enumerate(after)
        if names.count(run.values.get("name")) == 1
    }
    if len(before) == len(after):
        taken = set(found.values())
        found |= {n: n for n in range(len(after)) if n not in found and n not in taken}
    return found


def _axes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield f"grid.{name}", before.get(name), after.get(name)


def _settings(
    before: Mapping[str, Any], after: Mapping[str, Any], varied: set[Keys]
) -> Iterator[tuple[str, Any, Any]]:
    stages = {key: value for key, value in after.items() if value is not None}
    other_stages = {stage for stage in STAGES if (before.get(stage) is None) != (after.get(stage) is None)}
    for stage in STAGES:
        if stage in other_stages:
            yield stage, before.get(stage), after.get(stage)
    for path in fields():
        old, new = value_at(before, path), value_at(after, path)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            continue
        if path[0] in other_stages or (other_stages and path[0] in _BESIDE_STAGES) or covers(varied, path):
            continue
        if not same_value(old, new) and has_effect(stages, path):
            yield ".".join(path), old, new


def _restore(run: RunDraft, old: RunDraft, paths: Iterable[Keys]) -> None:
    """Give settings of a run the values back that they had in an older one, those in tables that both have."""
    run.values = copy.deepcopy(run.values)
    for path in paths:
        tables = [value_at(values, path[:-1]) for values in (run.values, old.values)]
        if all(isinstance(table, dict) for table in tables):
            tables[0][path[-1]] = copy.deepcopy(tables[1].get(path[-1]))


def _put_axis(grid: dict[str, Any], name: str, values: Any) -> None:
    if values is None:
        grid.pop(name, None)
    else:
        grid[name] = copy.deepcopy(values)


def _as_toml(value: Any) -> str:
    return str(tomlkit.item(value).as_string())
