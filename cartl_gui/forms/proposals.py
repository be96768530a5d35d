"""Runs that the program proposes in the form."""

from __future__ import annotations

from pathlib import Path

from engine.config import (
    AttackConfig,
    CheckpointConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
)
from engine.events import RunInfo


def new_run() -> RunConfig:
    """All three stages with the program's defaults, on images that need no download."""
    return RunConfig(
        name="experiment",
        model=ModelConfig(),
        source=DataConfig(name="letters", validation_size=256),
        target=DataConfig(name="digits", validation_size=256),
        pretraining=PretrainingConfig(),
        finetuning=FinetuningConfig(),
        attack=AttackConfig(),
    )


def run_from(weights: str) -> RunConfig:
    """A transfer and an attack with the program's defaults, starting from a weights file."""
    return RunConfig(
        name=f"from {Path(weights).stem}"[:80],
        start_from=weights,
        target=DataConfig(name="digits", validation_size=256),
        finetuning=FinetuningConfig(),
        attack=AttackConfig(),
    )


def settings_of(info: RunInfo) -> RunConfig:
    """The settings of a run; it starts from the run that it started from, whatever that is called now."""
    if not info.parent:
        return info.config
    return info.config.model_copy(update={"start_from": info.parent})


def attack_on(info: RunInfo) -> RunConfig:
    """An attack on the network of a run, with the attack settings of the run if it has any."""
    config = info.config
    if config.stages == ("attack",):
        return config.model_copy(update={"start_from": info.parent or config.start_from})
    return RunConfig(
        name=f"{config.name[:72]}, attack",
        seed=config.seed,
        start_from=info.id,
        attack=config.attack or AttackConfig(),
        machine=config.machine,
    )


def attack_on_file(weights: str) -> RunConfig:
    """An attack with the program's defaults on a file with weights.

    A .safetensors file is taken for one of this program, which says all about its network; the form can say otherwise.
    """
    is_own = Path(weights).suffix.lower() == ".safetensors"
    return RunConfig(
        name=f"{Path(weights).stem[:72]}, attack",
        start_from=weights,
        checkpoint=None if is_own else CheckpointConfig(),
        target=None if is_own else DataConfig(name="cifar10"),
        attack=AttackConfig(),
    )
