"""Looking into a network on demand: weights of a run or of any file, and the images of a gallery at another radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine.attacks import attacks
from engine.config import (
    AttackConfig,
    CheckpointConfig,
    DataConfig,
    DeviceName,
    MachineConfig,
    RunConfig,
    StageName,
)
from engine.control import RunControl
from engine.data import load_domain
from engine.device import exact_float32
from engine.errors import CheckpointError, ConfigError, Problem, StoreError
from engine.events import (
    Columns,
    ExamplesAttacked,
    InspectionProgress,
    RunInfo,
    RunRecord,
    StageLayout,
    TableName,
)
from engine.inspection.bounds import BoundsMeter
from engine.inspection.graph import trace
from engine.inspection.probe import Probe, attack_all, probe_attack
from engine.inspection.rows import (
    examples_table,
    layers_row,
    look,
    names_of,
    probe_table,
    profile_table,
)
from engine.loading import LoadedNetwork, load_network
from engine.models.placement import place_on
from engine.randomness import generator

#: Images passed at once, and how many are shown.
BATCH, EXAMPLES = 64, 32
#: Steps of the attack on examples where the run's own cannot be made within another radius.
STEPS = 20

Tell = Callable[[InspectionProgress], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is inspected.

    Attributes:
        path: a file with weights, of this program or of another.
        run: the run it belongs to, if any.
        checkpoint: what the file cannot tell about itself.
    """

    path: Path
    run: RunInfo | None = None
    checkpoint: CheckpointConfig | None = None


def inspect_network(
    subject: Subject, attack: AttackConfig | None, *, data: DataConfig | None, count: int, data_root: Path,
    device: DeviceName, control: RunControl, tell: Tell,
) -> RunRecord:  # fmt: skip
    """Measure every block and layer of a network on test images, with all the care there is.

    Args:
        subject: the network.
        attack: makes the adversarial images; that which watches the run's training if None, else PGD.
        data: the images; those that the network was last trained on if None.
        count: how many images.
        data_root: folder of downloaded data.
        device: where to compute.
        control: asked to stop, the inspection ends with `Interrupted`.
        tell: takes the progress.

    Returns:
        A record as of a training that ends now: one row in the tables of layers and bounds, the profile, the probe,
        and examples. `run.id` is that of the run, else the file's path.

    Raises:
        Interrupted: it was asked to stop.
        CartlError: the file or the data cannot be read, or do not fit each other; the attack is a composition or
            made on another network.
    """
    if attack is None:
        attack = probe_attack(subject.run.config) if subject.run else AttackConfig()
    if attack.name not in attacks or attack.applies("surrogate"):
        reason = (
            f"layers are inspected with one attack on the network itself, not with {attack.label}; take pgd"
        )
        raise ConfigError([Problem("attack", reason)])
    tell(InspectionProgress("Loading the network", 0.0))
    network = load_network(subject.path, subject.checkpoint)
    data = _data_of(subject, network, data)
    domain = load_domain(data, data_root=data_root)
    _require_classes(subject.path, network, len(domain.class_names), domain.title)
    place = devices.choose(MachineConfig(device=device))
    model = network.module
    place_on(model, place)
    order = torch.randperm(len(domain.test), generator=generator("cpu", 0, "inspection", "images"))
    chosen = domain.test.subset(order[:count]).to(place)
    tell(InspectionProgress(f"Attacking {len(chosen)} images", 0.05))
    probe = Probe(chosen, True, attacks[attack.name](attack), seed=0, batch_size=BATCH)
    images, verdict = probe.look(model, control)
    tell(InspectionProgress("Comparing features", 0.3))
    adversarial, samples = verdict.adversarial, chosen.ids.cpu().numpy()
    graph = trace(model, images[:1])
    if not graph.layers:
        raise CheckpointError(f"{subject.path} has no convolution and no linear layer to inspect")
    pairs = look(model, graph, images, adversarial)
    layers = _first_row() | layers_row(graph, pairs)

    def each_step(share: float) -> None:
        control.check()
        tell(InspectionProgress("Bounding Lipschitz constants", 0.4 + 0.6 * share))

    bounds = BoundsMeter(generator("cpu", 0, "inspection", "bounds")).measure(
        model, graph, images, adversarial, batch_size=BATCH, care="full", each_step=each_step
    )
    bounds |= _first_row() | {
        "interval": np.array([0]),
        "live_share": np.array([np.nan]),
        "batch_distance": np.full((1, len(graph.blocks)), np.nan),
    }
    predictions = verdict.clean_prediction, verdict.adversarial_prediction
    shown = slice(EXAMPLES)
    layout = StageLayout(
        **names_of(graph),
        stage=_stage_of(subject, network),
        title="; ".join(network.spec.history) if network.spec and network.spec.history else network.title,
        boundary=network.spec.boundary if network.spec else None,
        probe=f"{attack.title} on {len(images)} test images of {domain.title}",
        class_names=domain.class_names,
        image_size=images.shape[-1],
    )
    tables: dict[TableName, Columns] = {
        "layers": layers,
        "bounds": bounds,
        "profile": profile_table(layers, bounds),
        "probe": probe_table(graph, pairs, samples=samples, labels=chosen.labels, predictions=predictions),
        "examples": examples_table(
            model, images[shown], adversarial[shown], samples=samples[shown], labels=chosen.labels[shown]
        ),
    }
    name = subject.run.name if subject.run else subject.path.name
    info = RunInfo(
        id=subject.run.id if subject.run else str(subject.path),
        name=name,
        study=subject.run.study if subject.run else "",
        path=str(subject.path),
        state="finished",
        config=RunConfig(
            name=name[:80],
            start_from=str(subject.path),
            target=data,
            attack=attack,
            checkpoint=subject.checkpoint,
        ),
    )
    return RunRecord(
        run=info,
        layouts={layout.stage: layout},
        tables={layout.stage: tables},
        log=network.notes,
        weights=(layout.stage,) if subject.run else (),
    )


def attack_examples(
    subject: Subject,
    record: RunRecord,
    stage: StageName,
    *,
    epsilon: float,
    device: DeviceName,
    control: RunControl,
) -> ExamplesAttacked:
    """Attack the images of a gallery anew within another radius, and compare their features.

    The attack is the one that made the gallery; where it is a composition, PGD with 20 steps in the same norm.

    Args:
        subject: the network of that stage, and its run.
        record: what the run has measured.
        stage: whose gallery.
        epsilon: radius in input units; at 0 the images stay as they are.
        device: where to compute.
        control: asked to stop, it ends with `Interrupted`.

    Raises:
        Interrupted: it was asked to stop.
        StoreError: there are no examples.
        CartlError: the network cannot be loaded.
    """
    known = record.tables.get(stage, {}).get("examples", {})
    if not len(known.get("sample", ())):
        raise StoreError(f"{record.run.name} has kept no examples of this stage")
    network = load_network(subject.path, subject.checkpoint)
    place = devices.choose(MachineConfig(device=device))
    model = network.module
    place_on(model, place)
    images, labels = (torch.from_numpy(np.asarray(known[name])).to(place) for name in ("clean", "label"))
    samples = np.asarray(known["sample"])
    adversarial, title = images, "no attack"
    if epsilon > 0:
        config = _attack_at(record.run.config, stage, epsilon)
        title = config.title
        adversarial = _attacked(model, images, labels, samples, config, control)
    graph = trace(model, images[:1])
    pairs = look(model, graph, images, adversarial)
    examples = examples_table(model, images, adversarial, samples=samples, labels=labels)
    predictions = (
        torch.from_numpy(examples["clean_prediction"]),
        torch.from_numpy(examples["adversarial_prediction"]),
    )
    probe = probe_table(graph, pairs, samples=samples, labels=labels, predictions=predictions)
    return ExamplesAttacked(record.run.id, stage, title, epsilon, examples, probe)


def _attacked(
    model: torch.nn.Module, images: Tensor, labels: Tensor, samples: np.ndarray, config: AttackConfig,
    control: RunControl,
) -> Tensor:  # fmt: skip
    ids = torch.from_numpy(samples)
    attack = attacks[config.name](config)
    parts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
    with exact_float32():
        found = [
            attack_all(
                attack,
                model,
                images[part],
                labels[part],
                seed=0,
                sample_ids=ids[part],
                each_step=control.check,
            )
            for part in parts
        ]
    return torch.cat([verdict.adversarial for verdict in found])


def _attack_at(config: RunConfig, stage: StageName, epsilon: float) -> AttackConfig:
    """The attack that made a gallery, within another radius; its steps grow and shrink with the radius."""
    own = config.attack
    if stage != "attack" or own is None:
        return probe_attack(config, epsilon)
    if own.name in attacks and not own.applies("surrogate") and own.applies("step_size"):
        share = own.step_size / own.epsilon
        return own.model_copy(update={"epsilon": epsilon, "step_size": epsilon * share})
    return AttackConfig(norm=own.norm, epsilon=epsilon, step_size=epsilon / 4, steps=STEPS)


def _data_of(subject: Subject, network: LoadedNetwork, data: DataConfig | None) -> DataConfig:
    if data is not None:
        return data
    if network.spec is None:
        reason = f"{subject.path.name} does not say what it was trained on; name the images to attack"
        raise ConfigError([Problem("data", reason)])
    return network.spec.data


def _require_classes(path: Path, network: LoadedNetwork, count: int, title: str) -> None:
    if network.num_classes is not None and network.num_classes != count:
        trained_on = f" ({network.spec.data.name})" if network.spec else ""
        raise CheckpointError(
            f"{path.name} tells {network.num_classes} classes apart, {title} has {count}; choose the data it was trained "
            f"on{trained_on}"
        )


def _stage_of(subject: Subject, network: LoadedNetwork) -> StageName:
    return "finetuning" if network.spec is not None and network.spec.boundary is not None else "pretraining"


def _first_row() -> dict[str, np.ndarray]:
    return {"step": np.array([0]), "epoch": np.array([0.0])}
