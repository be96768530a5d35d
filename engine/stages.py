"""The stages a run goes through, each made ready first and carried out later.

A stage knows its layout and cost before it starts, so that the run's file and its progress can be laid out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.attacks import attacks
from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StageName,
    format_ratio,
)
from engine.control import RunControl
from engine.data import Domain, steps_per_epoch
from engine.data.augment import to_unit
from engine.device import exact_float32
from engine.errors import CheckpointError, ConfigError, Problem
from engine.evaluation.probe import Probe
from engine.events import AttackProgress, AttackResult, Columns, EngineEvent, StageLayout
from engine.models import BlockwiseModel, build_model, build_skeleton
from engine.models.spec import ModelSpec
from engine.objective import Objective
from engine.pretraining import pretraining_methods
from engine.randomness import generator, stream_seed
from engine.statistics import wilson
from engine.store.checkpoints import load_weights, save_weights
from engine.store.run_folder import LogLevel, RunFolder
from engine.training.loop import Recorder, Trainer, memory_format
from engine.transfer import transfer_methods

#: Steps of the attack that watches a training, and how far each moves relative to epsilon.
PROBE_STEPS = 7
PROBE_STEP_SHARE = 0.25
PROBE_BATCH = 256


class Host(Recorder, Protocol):
    """The run that a stage belongs to, as the stage sees it."""

    config: RunConfig
    folder: RunFolder
    parent_weights: Path | None
    device: torch.device
    control: RunControl
    emit: Callable[[EngineEvent], None]

    def domain(self, data: DataConfig) -> Domain:
        """A data set, loaded once per run."""

    def latest_checkpoint(self, stage: StageName) -> dict[str, Any] | None:
        """The state to go on from, if the newest checkpoint belongs to this stage."""

    def rows_so_far(self, stage: StageName) -> Columns:
        """Rows of the attack stage that are there already."""

    def log(self, level: LogLevel, text: str) -> None:
        """Write a line to the run's log."""


class Stage(Protocol):
    """One stage: what it will fill in, its cost in passes through the network, and its work."""

    layout: StageLayout
    cost: float

    def work(self, host: Host) -> AttackResult | None:
        """Carry the stage out, from where it last stood; raises `Interrupted` if asked to pause or stop."""


def stages_of(host: Host) -> dict[StageName, Stage]:
    """Load the data and make the stages of a run ready.

    Raises:
        CartlError: data or weights cannot be read, or settings contradict them.
    """
    config = host.config
    ready: dict[StageName, Stage] = {}
    if config.pretraining is not None and config.source is not None:
        ready["pretraining"] = TrainingStage("pretraining", config.pretraining, config.source, host=host)
    if config.finetuning is not None and config.target is not None:
        ready["finetuning"] = TrainingStage("finetuning", config.finetuning, config.target, host=host)
    if config.attack is not None:
        ready["attack"] = AttackStage(config.attack, host)
    return ready


class TrainingStage:
    """Pre-training or fine-tuning."""

    def __init__(
        self,
        name: StageName,
        config: PretrainingConfig | FinetuningConfig,
        data: DataConfig,
        *,
        host: Host,
    ) -> None:
        self.name, self.config, self.data = name, config, data
        self.objective = _objective(config)
        self.probe_config = _probe_config(host.config)
        domain = host.domain(data)
        model = build_skeleton(_model_config(host), len(domain.class_names))
        self.boundary = self.objective.boundary(model)
        if self.boundary is not None and self.boundary < 0:
            reason = (
                f"the network has {model.num_blocks} blocks, so k must be 1 to {model.num_blocks}, "
                f"got {config.num_finetuned_blocks}"
            )
            raise ConfigError([Problem(f"{name}.num_finetuned_blocks", reason)])
        held_out = len(domain.validation)
        watched = held_out or min(host.config.inspection.probe_size, len(domain.train))
        steps = steps_per_epoch(len(domain.train), config.batch_size)
        layers = list(model.weighted_layers())
        self.layout = StageLayout(
            stage=name,
            title=f"{_title(config)} on {domain.title}",
            epochs=config.epochs,
            steps_per_epoch=steps,
            block_names=tuple(model.block_title(number) for number in range(1, model.num_blocks + 1)),
            layer_names=tuple(layer.name for layer in layers),
            layer_blocks=tuple(layer.block for layer in layers),
            boundary=self.boundary,
            probe=f"{self.probe_config.title} on {watched} {'held-out' if held_out else 'training'} images",
            penalty=self.objective.penalty_title,
        )
        looks = watched * (2 * PROBE_STEPS + 4) * (config.epochs + 1)
        self.cost = float(steps * config.epochs * config.batch_size * self.objective.passes + looks)

    def work(self, host: Host) -> None:
        """Train, and keep the weights."""
        domain = host.domain(self.data)
        for field, hint in self.config.hints().items():
            host.log("info", f"{type(self.config).model_fields[field].title}: {hint}")
        draw = generator("cpu", host.config.seed, self.name, "weights")
        model, spec = self._model_before(host, domain, draw)
        if self.name == "finetuning":
            model.replace_classifier(len(domain.class_names), draw)
        _place(model, host.device)
        self.objective.prepare(model, draw)
        trainer = Trainer(
            self.name,
            model,
            self.objective,
            config=self.config,
            train=domain.train.to(host.device),
            probe=self._probe(host, domain),
            seed=host.config.seed,
            inspection=host.config.inspection,
            machine=host.config.machine,
            control=host.control,
            recorder=host,
        )
        saved = host.latest_checkpoint(self.name)
        if saved is not None:
            trainer.load_state(saved)
            host.log("info", f"Goes on from step {trainer.step} of {trainer.total_steps}")
        trainer.run()
        model = trainer.selected()
        chosen = trainer.selection.describe()
        if trainer.selection.exhausted:
            host.log("info", f"Ended early: no better epoch since epoch {trainer.selection.epoch}")
        if chosen:
            host.log("info", f"Keeps the {chosen}")
        self.objective.finish(model)
        after = spec.trained(
            self.layout.title + (f"; {chosen}" if chosen else ""),
            class_names=domain.class_names,
            data=self.data,
            boundary=self.boundary if self.name == "finetuning" else None,
            num_halved=model.num_halved,
        )
        weights = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
        save_weights(host.folder.weights_path(self.name), weights, after.to_metadata())

    def _model_before(
        self, host: Host, domain: Domain, draw: torch.Generator
    ) -> tuple[BlockwiseModel, ModelSpec]:
        if self.name == "pretraining":
            config = _model_config(host)
            model = build_model(config, len(domain.class_names), draw)
            model.set_normalisation(*domain.train.mean_std())
            return model, ModelSpec(config, domain.class_names, self.data)
        state, spec = _weights_before(host, self.name)
        return spec.build(state), spec

    def _probe(self, host: Host, domain: Domain) -> Probe:
        held_out = len(domain.validation) > 0
        images = domain.validation if held_out else domain.train
        seed = host.config.seed
        # In a drawn order, so that the first few are of all classes also where files are sorted by class.
        order = torch.randperm(len(images), generator=generator("cpu", seed, self.name, "probe"))
        if not held_out:
            order = order[: host.config.inspection.probe_size]
        return Probe(
            images.subset(order).to(host.device),
            held_out,
            attacks["pgd"](self.probe_config),
            stream_seed(seed, self.name, "probe attack"),
            PROBE_BATCH,
        )


class AttackStage:
    """The attack on test images of the domain the model was last trained on."""

    def __init__(self, config: AttackConfig, host: Host) -> None:
        self.config = config
        data = host.config.evaluation_data
        if data is None:
            data = _weights_before(host, "attack")[1].data
        self.data = data
        domain = host.domain(data)
        samples = min(config.samples or len(domain.test), len(domain.test))
        title = f"{config.title} on {samples} test images of {domain.title}"
        self.layout = StageLayout("attack", title, samples=samples)
        self.cost = samples * (2.0 * config.steps * config.restarts + 2)

    def work(self, host: Host) -> AttackResult:
        """Attack the images that have no verdict yet."""
        domain, samples = host.domain(self.data), self.layout.samples
        state, spec = _weights_before(host, "attack")
        if len(spec.class_names) != len(domain.class_names):
            reason = (
                f"the model tells {len(spec.class_names)} classes apart, {domain.title} has "
                f"{len(domain.class_names)}; attack it with the data it was trained on ({spec.data.name})"
            )
            raise ConfigError([Problem("attack", reason)])
        model = spec.build(state)
        _place(model, host.device)
        attack = attacks[self.config.name](self.config)
        # A drawn order, so that the figures so far are of all classes.
        order = torch.randperm(len(domain.test), generator=generator("cpu", self.data.seed, "attack order"))
        test = domain.test.subset(order[:samples])
        rows = host.rows_so_far("attack")
        clean, robust, done = int(rows["clean_correct"].sum()), int(rows["robust"].sum()), len(rows["robust"])
        began = time.monotonic()
        with exact_float32():
            while done < samples:
                part = slice(done, min(done + self.config.batch_size, samples))
                batch = test.subset(torch.arange(part.start, part.stop)).to(host.device)
                verdict = attack(
                    model,
                    to_unit(batch.images),
                    batch.labels,
                    seed=host.config.seed,
                    sample_ids=batch.ids.cpu(),
                    each_step=host.control.check,
                )
                columns = {
                    "sample": batch.ids,
                    "label": batch.labels,
                    "clean_prediction": verdict.clean_prediction,
                    "adversarial_prediction": verdict.adversarial_prediction,
                    "clean_correct": (verdict.clean_prediction == batch.labels).to(torch.uint8),
                    "robust": verdict.robust.to(torch.uint8),
                    "restart": verdict.restart,
                }
                arrays = {name: tensor.cpu().numpy() for name, tensor in columns.items()}
                clean += int(arrays["clean_correct"].sum())
                robust += int(arrays["robust"].sum())
                done = part.stop
                host.rows("attack", "samples", arrays)
                host.emit(AttackProgress(host.folder.id, done, samples, clean / done, robust / done))
                host.advance("attack", min(done / samples, 0.999))
        return AttackResult(
            data=domain.title,
            attack=self.config.title,
            samples=samples,
            clean_accuracy=wilson(clean, samples),
            robust_accuracy=wilson(robust, samples),
            seconds=time.monotonic() - began,
        )


def _weights_before(host: Host, stage: StageName) -> tuple[dict[str, Tensor], ModelSpec]:
    """The weights that a stage finds: those of the run's own earlier training, else those it starts from.

    Raises:
        CheckpointError: there are none, or they belong to another network than the settings name.
    """
    earlier = [own for own in host.config.stages if own not in (stage, "attack")]
    path = host.folder.weights_path(earlier[-1]) if earlier else host.parent_weights
    if path is None:
        raise CheckpointError(f"the {stage} stage has no weights to start from")
    tensors, metadata = load_weights(path)
    spec = ModelSpec.from_metadata(metadata)
    if host.config.model is not None and spec.config != host.config.model:
        raise CheckpointError(
            f"{path} holds a {spec.config.title}, but the settings name a {host.config.model.title}; "
            "leave the model out of the settings to take over the one in the file"
        )
    return tensors, spec


def _model_config(host: Host) -> ModelConfig:
    return host.config.model or _weights_before(host, "finetuning")[1].config


def _place(model: BlockwiseModel, device: torch.device) -> None:
    model.to(device)
    model.to(memory_format=memory_format(model, device))


def _probe_config(config: RunConfig) -> AttackConfig:
    """The attack that watches training: PGD with the epsilon trained for, else the one evaluated with."""
    trained_for = next(
        (
            stage.attack
            for stage in (config.pretraining, config.finetuning)
            if stage and stage.applies("attack")
        ),
        None,
    )
    epsilon = (trained_for or config.attack or AttackConfig()).epsilon
    return AttackConfig(epsilon=epsilon, step_size=epsilon * PROBE_STEP_SHARE, steps=PROBE_STEPS)


def _objective(config: PretrainingConfig | FinetuningConfig) -> Objective:
    if isinstance(config, PretrainingConfig):
        return pretraining_methods[config.method](config)
    return transfer_methods[config.method](config)


def _title(config: PretrainingConfig | FinetuningConfig) -> str:
    methods = pretraining_methods if isinstance(config, PretrainingConfig) else transfer_methods
    title = methods.entry(config.method).title
    details = [f"{symbol} = {value}" for symbol, value in config.notation().items()]
    if config.applies("attack"):
        details.append(f"epsilon = {format_ratio(config.attack.epsilon)}")
    return title[0].upper() + title[1:] + (f" ({', '.join(details)})" if details else "")


def empty_samples() -> dict[str, np.ndarray]:
    """The attack stage's table before it has any row."""
    return {name: np.empty(0, np.uint8) for name in ("clean_correct", "robust")}
