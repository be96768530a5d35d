"""The training stages of a run: pre-training and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from engine.attacks import attacks
from engine.config import (
    DataConfig,
    FinetuningConfig,
    PretrainingConfig,
    StageName,
    format_ratio,
)
from engine.data import Domain, steps_per_epoch
from engine.errors import ConfigError, Problem
from engine.events import Columns, StageLayout, TableName
from engine.inspection.graph import trace
from engine.inspection.probe import Probe, probe_attack
from engine.inspection.rows import names_of
from engine.models import BlockwiseModel, build_model, build_skeleton
from engine.models.placement import place_on
from engine.models.spec import ModelSpec
from engine.objective import Objective
from engine.pretraining import pretraining_methods
from engine.randomness import generator, stream_seed
from engine.stages import Host, model_config, weights_before
from engine.store.checkpoints import save_weights
from engine.training.loop import Trainer
from engine.transfer import transfer_methods

#: Images that are attacked together.
PROBE_BATCH = 256


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
        self.objective = objective_of(config)
        self.probe_config = probe_attack(host.config)
        domain = host.domain(data)
        model = build_skeleton(model_config(host), len(domain.class_names))
        self.boundary = self.objective.boundary(model)
        if self.boundary is not None and self.boundary < 0:
            reason = (
                f"the network has {model.num_blocks} blocks, so k must be 1 to {model.num_blocks}, "
                f"got {config.num_finetuned_blocks}"
            )
            raise ConfigError([Problem(f"{name}.num_finetuned_blocks", reason)])
        held_out = len(domain.validation)
        watched = held_out or min(host.config.inspection.probe_size, len(domain.train))
        few = host.config.inspection.probe_size
        compared = f", features of {few}" if few < watched else ""
        steps = steps_per_epoch(len(domain.train), config.batch_size)
        graph = trace(model, torch.zeros(1, *domain.train.images.shape[1:], device="meta"))
        self.layout = StageLayout(
            stage=name,
            title=f"{_title(config)} on {domain.title}",
            epochs=config.epochs,
            steps_per_epoch=steps,
            **names_of(graph),
            boundary=self.boundary,
            probe=f"{self.probe_config.title} on {watched} {'held-out' if held_out else 'training'} images{compared}",
            penalty=self.objective.penalty_title,
            image_size=domain.train.images.shape[-1],
            class_names=domain.class_names,
        )
        looks = watched * (2 * self.probe_config.steps + 6) * (config.epochs + 1)
        self.cost = float(steps * config.epochs * config.batch_size * self.objective.passes + looks)

    def kept(self, host: Host, tables: Mapping[TableName, Columns]) -> tuple[dict[TableName, Columns], float]:
        """All rows if the weights are there, else those up to the checkpoint."""
        if host.folder.weights_path(self.name).exists():
            return dict(tables), 1.0
        saved = host.latest_checkpoint(self.name)
        if saved is None:
            return {}, 0.0
        steps = self.layout.epochs * self.layout.steps_per_epoch
        rows: dict[TableName, Columns] = {
            table: {key: values[: saved["rows"].get(table, 0)] for key, values in columns.items()}
            for table, columns in tables.items()
        }
        # Not finished before its weights are there, though the last step may be taken.
        return rows, min(saved["step"] / steps, 0.999)

    def work(self, host: Host) -> None:
        """Train, and keep the weights."""
        for field, hint in self.config.hints().items():
            host.log("info", f"{type(self.config).model_fields[field].title}: {hint}")
        trainer, spec = self.begin(host)
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
            class_names=host.domain(self.data).class_names,
            data=self.data,
            boundary=self.boundary if self.name == "finetuning" else None,
            num_halved=model.num_halved,
        )
        weights = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
        save_weights(host.folder.weights_path(self.name), weights, after.to_metadata())

    def begin(self, host: Host) -> tuple[Trainer, ModelSpec]:
        """The trainer before its first step, and what is known about the network that it starts from."""
        domain = host.domain(self.data)
        draw = generator("cpu", host.config.seed, self.name, "weights")
        model, spec = self.model_before(host, domain, draw)
        if self.name == "finetuning":
            model.replace_classifier(len(domain.class_names), draw)
        place_on(model, host.device)
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
        return trainer, spec

    def model_before(
        self, host: Host, domain: Domain, draw: torch.Generator
    ) -> tuple[BlockwiseModel, ModelSpec]:
        """The network that the stage finds, on the CPU: freshly drawn, or from the weights it starts from."""
        if self.name == "pretraining":
            config = model_config(host)
            model = build_model(config, len(domain.class_names), draw)
            model.set_normalisation(*domain.train.mean_std())
            return model, ModelSpec(config, domain.class_names, self.data)
        state, spec = weights_before(host, self.name)
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


def objective_of(config: PretrainingConfig | FinetuningConfig) -> Objective:
    """The training method that settings name."""
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
