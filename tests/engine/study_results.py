"""Runs with given accuracies, as the workspace lists them, without training anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    MachineConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
)
from engine.events import AttackResult, Interval, RunInfo, RunState

SAMPLES = 1000
_numbers = itertools.count(1)


def share(value: float, images: int = SAMPLES) -> Interval:
    """A share with its 95 % Wilson interval, written out once more for the tests."""
    z = 1.959963984540054
    centre = (value + z * z / (2 * images)) / (1 + z * z / images)
    half = z * math.sqrt(value * (1 - value) / images + z * z / (4 * images**2)) / (1 + z * z / images)
    return Interval(value, max(0.0, centre - half), min(1.0, centre + half))


def run_info(
    config: RunConfig,
    accuracies: tuple[float, float] | None = None,
    *,
    study: str = "Study",
    state: RunState = "finished",
    parent: str = "",
    reason: str = "",
    path: str = "",
    seconds: float = 60.0,
) -> RunInfo:
    """A run with this clean and robust accuracy; later ones are newer."""
    number = next(_numbers)
    result = None
    if accuracies is not None and config.attack is not None:
        clean, robust = accuracies
        data = config.evaluation_data.name if config.evaluation_data else "digits"
        result = AttackResult(data, config.attack.title, SAMPLES, share(clean), share(robust), 5.0)
    return RunInfo(
        f"run-{number:04d}", config.name, study, path, state, config,
        reason=reason, seconds=seconds, created=1_700_000_000.0 + number, result=result, parent=parent,
    )  # fmt: skip


def pretrained(name: str = "AT", seed: int = 0, **pretraining: Any) -> RunConfig:
    """A run that only pre-trains."""
    return RunConfig(
        name=name,
        seed=seed,
        model=ModelConfig(depth=28),
        source=DataConfig(name="letters", image_size=16),
        pretraining=PretrainingConfig(**({"method": "adversarial"} | pretraining)),
        machine=MachineConfig(device="cpu"),
    )


def transferred(
    name: str, seed: int = 0, *, start_from: str = "AT", attack: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None, **finetuning: Any,
) -> RunConfig:  # fmt: skip
    """A run that fine-tunes and attacks."""
    return RunConfig(
        name=name,
        seed=seed,
        start_from=start_from,
        model=ModelConfig(depth=28),
        target=DataConfig(**({"name": "digits", "image_size": 16} | dict(target or {}))),
        finetuning=FinetuningConfig(**({"method": "vanilla"} | finetuning)),
        attack=AttackConfig(**dict(attack or {})),
        machine=MachineConfig(device="cpu"),
    )


def by_id(runs: Iterable[RunInfo]) -> dict[str, RunInfo]:
    return {run.id: run for run in runs}


#: Mean clean and robust accuracy by method and k.
TRADE_OFFS: dict[str, dict[int, tuple[float, float]]] = {
    "vanilla": {1: (0.60, 0.30), 2: (0.72, 0.22), 3: (0.80, 0.12)},
    "neft": {1: (0.58, 0.36), 2: (0.70, 0.33), 3: (0.78, 0.27)},
}


def study_of_two_lines(seeds: Iterable[int] = (0, 1, 2)) -> list[RunInfo]:
    """AT, then vanilla and NEFT transfers of k = 1, 2, 3; seeds differ by a known amount."""
    runs = []
    for seed in seeds:
        source = run_info(pretrained(seed=seed), seconds=600.0)
        runs.append(source)
        for method, points in TRADE_OFFS.items():
            for k, (clean, robust) in points.items():
                config = transferred(
                    f"AT, {method}, k={k}", seed, method=method, num_finetuned_blocks=k
                )  # fmt: skip
                shift = 0.01 * seed
                sign = 1 if method == "neft" else -1
                runs.append(run_info(config, (clean + shift, robust + sign * shift), parent=source.id))
    return runs
