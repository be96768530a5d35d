"""A `Trainer` on a few images, without a run around it."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from engine.attacks import attacks
from engine.config import (
    AttackConfig,
    AugmentationConfig,
    BatchNormPolicy,
    FinetuningConfig,
    InspectionConfig,
    MachineConfig,
    PretrainingConfig,
    TrainingAttackConfig,
)
from engine.control import RunControl
from engine.data import ImageSet
from engine.inspection.probe import Probe
from engine.models import BlockwiseModel
from engine.objective import Objective
from engine.pretraining import pretraining_methods
from engine.store.schema import STAGE_TABLES
from engine.training.loop import Trainer
from engine.transfer import transfer_methods
from tests.engine.small import small_model, small_set, warm

EPOCHS, BATCH, SAMPLES = 2, 8, 24

_TRAINING: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": 0.05,
    "augmentation": AugmentationConfig(crop_padding=1, horizontal_flip=True, rotation=10),
}


def settings_of(method: str) -> PretrainingConfig | FinetuningConfig:
    """Settings of a pre-training or transfer method at the size of the tests: "natural", "finetuning-adversarial"."""
    stage, _, name = method.rpartition("-")
    if stage == "pretraining" or (not stage and name in pretraining_methods):
        return PretrainingConfig(
            method=name, num_finetuned_blocks=3, feature_weight=0.01, epsilon_ramp=0.7,
            attack=TrainingAttackConfig(steps=2), **_TRAINING,
        )  # fmt: skip
    return FinetuningConfig(
        method=name,
        num_finetuned_blocks=3,
        attack=TrainingAttackConfig(steps=2),
        warm_start_epochs=1 if name == "lwf" else 0,
        batch_norm=BatchNormPolicy(freeze_affine=False, keep_trunk_statistics=False),
        **_TRAINING,
    )


def objective_of(config: PretrainingConfig | FinetuningConfig) -> Objective:
    """The method that the settings name."""
    methods = pretraining_methods if isinstance(config, PretrainingConfig) else transfer_methods
    return methods[config.method](config)  # type: ignore[return-value]


METHODS = (
    *(f"pretraining-{name}" for name in pretraining_methods.names),
    *(f"finetuning-{name}" for name in transfer_methods.names),
)


class Recorded:
    """A recorder that keeps everything, states as copies."""

    def __init__(self) -> None:
        self.tables: defaultdict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
        self.shown: defaultdict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
        self.checkpoints: list[dict[str, Any]] = []
        self.shares: list[float] = []

    def rows(self, stage: str, table: str, columns: dict[str, np.ndarray]) -> None:
        """Keep rows."""
        self._check(stage, table, columns)
        self.tables[table].append(columns)

    def show(self, stage: str, table: str, columns: dict[str, np.ndarray]) -> None:
        """Keep a whole table."""
        self._check(stage, table, columns)
        self.shown[table].append(columns)

    def _check(self, stage: str, table: str, columns: dict[str, np.ndarray]) -> None:
        """Columns are those of the schema, and equally long."""
        (known,) = (entry for entry in STAGE_TABLES[stage] if entry.name == table)  # type: ignore[index]
        assert columns.keys() == {column.name for column in known.columns}
        lengths = {len(values) for values in columns.values()}
        assert len(lengths) == 1, columns

    def checkpoint(self, stage: str, step: int, state: dict[str, Any]) -> None:
        """Keep a state."""
        assert state["step"] == step
        self.checkpoints.append(copy.deepcopy(state))

    def advance(self, stage: str, share: float) -> None:
        """Keep a share."""
        self.shares.append(share)

    def column(self, table: str, name: str) -> np.ndarray:
        """All rows of one column."""
        return np.concatenate([columns[name] for columns in self.tables[table]])


def trainer_of(
    config: PretrainingConfig | FinetuningConfig,
    *,
    model: BlockwiseModel | None = None,
    probe_size: int = 6,
    held_out: bool = True,
    every_steps: int = 0,
    live_share: float = 0.0,
    precision: str = "float32",
    control: RunControl | None = None,
    train: ImageSet | None = None,
) -> tuple[Trainer, Recorded]:
    """A trainer on a small network, ready to run."""
    model = model or warm(small_model())
    objective = objective_of(config)
    objective.prepare(model, torch.Generator().manual_seed(2))
    recorded = Recorded()
    probe = Probe(
        small_set(probe_size, seed=4), held_out, attacks["pgd"](AttackConfig(steps=2)), seed=5, batch_size=4
    )
    trainer = Trainer(
        "pretraining" if isinstance(config, PretrainingConfig) else "finetuning",
        model,
        objective,
        config=config,
        train=train or small_set(SAMPLES),
        probe=probe,
        seed=3,
        inspection=InspectionConfig(
            probe_size=max(2, probe_size - 1), every_steps=every_steps, live_share=live_share, examples=3
        ),
        machine=MachineConfig(device="cpu", threads=1, precision=precision, checkpoint_minutes=1440),  # type: ignore[arg-type]
        control=control or RunControl(),
        recorder=recorded,  # type: ignore[arg-type]
    )
    return trainer, recorded
