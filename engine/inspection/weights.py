"""Looking at the weights in a file, layer by layer, without a run around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.attacks import attacks
from engine.config import AttackConfig, DataConfig, RunConfig
from engine.control import RunControl
from engine.data import load_domain
from engine.device import exact_float32
from engine.errors import CheckpointError, ConfigError, Problem
from engine.evaluation.probe import Probe
from engine.events import RunInfo, RunRecord, StageLayout
from engine.inspection.layers import measure
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights

#: Test images looked at, and how many at once.
IMAGES = 256
BATCH = 64


def inspect_weights(
    path: Path, attack: AttackConfig, *, data: DataConfig | None, data_root: Path
) -> RunRecord:
    """Measure every block of a network on test images.

    Args:
        path: weights written by this program (.safetensors or .pt).
        attack: makes the adversarial images.
        data: the images; those the network was last trained on if None.
        data_root: folder of downloaded data.

    Returns:
        A record with one row of the layers table, as if measured at the end of a training.

    Raises:
        CartlError: the file or the data cannot be read, or do not fit each other; the attack is a composition or
            made on another network.
    """
    if attack.name not in attacks or attack.applies("surrogate"):
        reason = (
            f"layers are inspected with one attack on the network itself, not with {attack.label}; take pgd"
        )
        raise ConfigError([Problem("attack", reason)])
    tensors, metadata = load_weights(path)
    spec = ModelSpec.from_metadata(metadata)
    domain = load_domain(data or spec.data, data_root=data_root)
    if len(domain.class_names) != len(spec.class_names):
        raise CheckpointError(
            f"{path.name} tells {len(spec.class_names)} classes apart, {domain.title} has "
            f"{len(domain.class_names)}; choose the data it was trained on ({spec.data.name})"
        )
    model = spec.build(tensors).eval()
    order = torch.randperm(len(domain.test), generator=torch.Generator().manual_seed(spec.data.seed))
    images = domain.test.subset(order[:IMAGES])
    probe = Probe(images, True, attacks[attack.name](attack), seed=0, batch_size=BATCH)
    clean, verdict = probe.look(model, RunControl())
    with exact_float32():
        layers = measure(model, clean, verdict.adversarial, batch_size=BATCH)
    weighted = list(model.weighted_layers())
    layout = StageLayout(
        stage="finetuning" if spec.boundary is not None else "pretraining",
        title="; ".join(spec.history) or spec.config.title,
        block_names=tuple(model.block_title(number) for number in range(1, model.num_blocks + 1)),
        layer_names=tuple(layer.name for layer in weighted),
        layer_blocks=tuple(layer.block for layer in weighted),
        boundary=spec.boundary,
        probe=f"{attack.title} on {len(images)} test images of {domain.title}",
        class_names=domain.class_names,
    )
    row = {
        "step": np.array([0]),
        "epoch": np.array([0.0]),
        "distance": layers.distance[None],
        "spectral_norm": layers.spectral_norm[None],
        "layer_spectral_norm": layers.layer_spectral_norm[None],
    }
    config = RunConfig(name=path.name[:80], start_from=str(path), attack=attack)
    return RunRecord(
        run=RunInfo(id="", name=path.name, study="", path=str(path), state="finished", config=config),
        layouts={layout.stage: layout},
        tables={layout.stage: {"layers": row}},
        weights=(layout.stage,),
    )
