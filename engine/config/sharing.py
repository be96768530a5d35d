"""Runs of a study that begin with the same pre-training share it: it is made once, and they start from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.config.base import Settings
from engine.config.run import RunConfig
from engine.config.training import PretrainingConfig


def share_pretraining(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """Split runs that pre-train and fine-tune, where others have the same pre-training.

    Network, source, pre-training, inspection and machine must be equal, and the seed; settings without an effect may
    differ. Where a run of the study is that pre-training alone, the others start from it; else one is added before
    them, named after its method ("AT", "FDM, k=3"). What is shared for one seed is split for all.
    """
    groups: dict[str, list[RunConfig]] = {}
    for run in runs:
        if run.pretraining is not None:
            groups.setdefault(_pretraining_part(run), []).append(run)
    shared = {part: group for part, group in groups.items() if _is_shared(group)}
    names = _names(shared, {run.name for run in runs})
    made: dict[tuple[str, int], RunConfig] = {}
    result: list[RunConfig] = []
    for run in runs:
        part = _pretraining_part(run) if run.pretraining is not None else ""
        if part not in shared:
            result.append(run)
            continue
        key = (part, run.seed)
        if key not in made:
            alone = [other for other in shared[part] if other.finetuning is None and other.seed == run.seed]
            made[key] = alone[0] if alone else _pretraining_alone(run, names[part])
            result.append(made[key])
        if run.finetuning is not None:
            result.append(run.model_copy(update={"pretraining": None, "start_from": made[key].name}))
        elif run is not made[key]:
            result.append(run)
    return result


def _is_shared(group: Sequence[RunConfig]) -> bool:
    """Whether at least two runs of one seed have this pre-training, and one of them fine-tunes."""
    return any(
        run.finetuning is not None and sum(other.seed == run.seed for other in group) > 1 for run in group
    )


def _pretraining_alone(run: RunConfig, name: str) -> RunConfig:
    return RunConfig(
        name=name,
        seed=run.seed,
        model=run.model,
        source=run.source,
        pretraining=run.pretraining,
        inspection=run.inspection,
        machine=run.machine,
    )


def _pretraining_part(run: RunConfig) -> str:
    """A text that is the same for runs whose pre-training is, but for the seed."""
    return repr(
        [_effective(part) for part in (run.model, run.source, run.pretraining, run.inspection, run.machine)]
    )


def _effective(settings: Settings | None) -> dict[str, Any]:
    """The settings that have an effect, as plain values."""
    plain = {}
    for name in type(settings).model_fields if settings is not None else ():
        value = getattr(settings, name)
        if settings is not None and settings.applies(name):
            plain[name] = _effective(value) if isinstance(value, Settings) else value
    return plain


def _names(groups: Mapping[str, Sequence[RunConfig]], taken: Iterable[str]) -> dict[str, str]:
    """A name for each pre-training: its method and k; where that is not enough, ever more of its settings."""
    used = set(taken)
    names: dict[str, str] = {}
    firsts = {part: group[0] for part, group in groups.items()}
    for part, run in firsts.items():
        candidates = _candidates(run)
        others = [_candidates(other) for other_part, other in firsts.items() if other_part != part]
        for level, name in enumerate(candidates):
            if name not in used and all(other[level] != name for other in others):
                break
        else:
            number = 2
            while f"{candidates[0]} ({number})" in used:
                number += 1
            name = f"{candidates[0]} ({number})"
        names[part] = name
        used.add(name)
    return names


def _candidates(run: RunConfig) -> list[str]:
    pretraining = run.pretraining or PretrainingConfig()
    notation, title = pretraining.notation(), pretraining.short("method")
    short = ", ".join([title, *(f"k={value}" for symbol, value in notation.items() if symbol == "k")])
    full = ", ".join([title, *(f"{symbol}={value}" for symbol, value in notation.items())])
    source = f"{full}, {run.source.name}" if run.source else full
    return [short, full, source, f"{source}, {run.model.title}" if run.model else source]
