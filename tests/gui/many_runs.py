"""Runs by the thousand, invented, for lists that have to stay fluent with many."""

from __future__ import annotations

import random

from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
)
from engine.events import AttackResult, AttackWarning, Interval, RunInfo, RunLabel, RunState

_TAGS = ("paper", "baseline", "wide", "old", "check-again")
_SEEDS = 5


def many_runs(amount: int = 1000) -> list[RunInfo]:
    """Studies of 40 runs: a pre-training and seven transfers from it for each of five seeds."""
    draw = random.Random(7)
    runs: list[RunInfo] = []
    while len(runs) < amount:
        runs += _study(len(runs) // 40, draw)
    return runs[:amount]


def _study(number: int, draw: random.Random) -> list[RunInfo]:
    letters, title = DataConfig(name="letters"), f"Study {number + 1}"
    feature_weight = draw.choice((0.001, 0.005, 0.01))
    runs = []
    for seed in range(_SEEDS):
        first = f"{number:03d}-{seed}-0"
        pretraining = PretrainingConfig(
            method="fdm", feature_weight=feature_weight, epochs=draw.choice((12, 24))
        )
        config = RunConfig(
            name=f"FDM λ={feature_weight}",
            seed=seed,
            model=ModelConfig(depth=10),
            source=letters,
            pretraining=pretraining,
        )
        runs.append(_run(first, title, config, number, 0, draw))
        for place in range(1, 8):
            k, method = 1 + place % 4, ("vanilla", "neft")[place % 2]
            tuning = FinetuningConfig(
                method=method, num_finetuned_blocks=k, spectral_bound=round(0.2 * place, 1)
            )
            config = RunConfig(
                name=f"{method}, k={k}, {place}", seed=seed, start_from=f"FDM λ={feature_weight}",
                target=DataConfig(name="digits"), finetuning=tuning, attack=AttackConfig(),
            )  # fmt: skip
            runs.append(
                _run(f"{number:03d}-{seed}-{place}", title, config, number, place, draw, parent=first)
            )
    return runs


def _run(
    run_id: str, study: str, config: RunConfig, number: int, place: int, draw: random.Random, parent: str = ""
) -> RunInfo:
    state: RunState = draw.choice(("finished",) * 8 + ("failed", "interrupted", "stopped"))
    result = None
    if state == "finished" and config.attack is not None:
        clean, robust = draw.uniform(0.8, 0.95), draw.uniform(0.3, 0.6)
        warning = AttackWarning("gradient_masking", "Signs of gradient masking", "", "")
        result = AttackResult(
            "digits test images", config.attack.title, 1000, Interval(clean, clean - 0.02, clean + 0.02),
            Interval(robust, robust - 0.03, robust + 0.03), 60.0, warnings=(warning,) if draw.random() < 0.05 else (),
        )  # fmt: skip
    tags = tuple(sorted(draw.sample(_TAGS, draw.choice((0, 0, 1, 2)))))
    return RunInfo(
        run_id, config.name, study, f"/workspace/runs/{run_id}", state, config,
        reason="CUDA out of memory: 2.1 GiB were asked for, 1.4 GiB are free." if state == "failed" else "",
        progress=1.0 if state == "finished" else draw.uniform(0.1, 0.9), seconds=draw.uniform(30, 9000),
        created=1.79e9 + 86400 * number + place, device="cuda", result=result, parent=parent,
        label=RunLabel(tags=tags, star=draw.random() < 0.1), cause="memory" if state == "failed" else "",
    )  # fmt: skip
