"""Invented rows of a training and its evaluation."""

from __future__ import annotations

import math

import numpy as np

from engine.config import RunConfig, StageName
from engine.events import StageLayout
from tests.gui.scripted_attack import attack_layout
from tests.gui.scripted_layers import BLOCKS, IMAGE_SIZE, NETWORK

STEPS_PER_EPOCH = 20


def layout_of(config: RunConfig, stage: StageName) -> StageLayout:
    """The layout of a WRN-16-1's stage."""
    if stage == "attack":
        return attack_layout(config.attack)
    part = getattr(config, stage)
    return StageLayout(
        stage,
        f"{'Pre-training' if stage == 'pretraining' else 'Transfer'} ({part.method.upper()}, k = 4)",
        epochs=part.epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        boundary=None if part.method in ("natural", "adversarial") else len(BLOCKS) - 4,
        probe="PGD-7, Linf 16/255, on 128 held-out images",
        image_size=IMAGE_SIZE,
        **NETWORK,
    )


def step_rows(
    layout: StageLayout, first: int, count: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Rows of the steps table."""
    step = np.arange(first, first + count)
    progress = step / max(1, layout.epochs * STEPS_PER_EPOCH)
    cross = 3.2 * np.exp(-2.2 * progress) * random.normal(1, 0.08, count) + 0.2
    fdm = "FDM" in layout.title
    feature = (
        (0.9 * np.exp(-3 * progress) * random.normal(1, 0.1, count)).clip(0.01) if fdm else np.zeros(count)
    )
    return {
        "step": step,
        "epoch": step / STEPS_PER_EPOCH,
        "learning_rate": (0.1 * np.sin(np.pi * progress)).astype("f4"),
        "epsilon": np.full(count, 16 / 255, "f4"),
        "loss": (cross + feature).astype("f4"),
        "cross_entropy": cross.astype("f4"),
        "penalty": feature.astype("f4"),
        "penalty_unweighted": (feature / 0.3).astype("f4"),
        "batch_accuracy": (0.8 * (1 - np.exp(-3 * progress))).astype("f4"),
        "images_per_second": random.normal(412, 8, count).astype("f4"),
    }


def epoch_rows(layout: StageLayout, epoch: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """One row of the epochs table."""
    progress = epoch / layout.epochs
    clean, robust = 0.92 - 0.7 * math.exp(-4 * progress), 0.62 - 0.5 * math.exp(-3 * progress)
    row = {
        "epoch": epoch,
        "step": epoch * STEPS_PER_EPOCH,
        "seconds": 8.0 * epoch,
        "train_accuracy": robust + 0.06 + random.normal(0, 0.005),
        "clean_accuracy": clean + random.normal(0, 0.01),
        "clean_accuracy_errors": 0.035,
        "robust_accuracy": robust + random.normal(0, 0.012),
        "robust_accuracy_errors": 0.055,
    }
    return {name: np.array([value]) for name, value in row.items()}


def sample_rows(first: int, count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of the samples table: 10 classes, 86 % right on clean images, 52 % robust."""
    label = np.arange(first, first + count) % 10
    draw = random.random(count) + 0.012 * (label - 5)
    clean, robust = draw < 0.86, draw < 0.52
    return {
        "sample": np.arange(first, first + count),
        "label": label,
        "clean_prediction": np.where(clean, label, (label + 3) % 10),
        "adversarial_prediction": np.where(robust, label, (label + 7) % 10),
        "clean_correct": clean.astype("u1"),
        "robust": robust.astype("u1"),
        "restart": np.where(clean & ~robust, 0, -1),
    }
