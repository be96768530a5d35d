"""Takes one run through its stages: data, model, training, attack, and everything written on the way.

Called on the engine thread. Everything it learns goes to the run's files and, as events, to whoever listens.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import engine
from engine import device as devices
from engine.attacks import attacks
from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StageName,
    dump_run,
    format_ratio,
)
from engine.control import RunControl
from engine.data import Domain, LoadingCancelled, load_domain, steps_per_epoch
from engine.data.augment import to_unit
from engine.errors import CheckpointError, ConfigError, Problem
from engine.evaluation import Probe, wilson
from engine.events import (
    AttackProgress,
    AttackResult,
    CheckpointSaved,
    Columns,
    Downloading,
    EngineEvent,
    LogAdded,
    RowsAdded,
    RunChanged,
    RunInfo,
    RunRecord,
    StageLayout,
    StageStarted,
    TableName,
)
from engine.models import BlockwiseModel, build_model, models
from engine.models.spec import ModelSpec
from engine.objective import Objective
from engine.pretraining import pretraining_methods
from engine.randomness import generator, stream_seed
from engine.store.checkpoints import CheckpointFolder, load_weights, save_weights
from engine.store.run_file import RunFile
from engine.store.run_folder import LogLevel, RunFolder
from engine.store.run_reader import read_tables
from engine.training.loop import Trainer, memory_format
from engine.transfer import transfer_methods

#: Steps of the attack that watches a training, and how far each moves relative to epsilon.
PROBE_STEPS = 7
PROBE_STEP_SHARE = 0.25
PROBE_BATCH = 256
#: Least time between two updates of the run's line and its heartbeat on disk.
UPDATE_SECONDS = 0.25
HEARTBEAT_SECONDS = 2.0


@dataclass(slots=True)
class _Stage:
    """A stage made ready: its layout, cost in passes through the network, and what carries it out."""

    layout: StageLayout
    cost: float
    work: Callable[[], None]


class Runner:
    """One run on its way through its stages.

    Args:
        folder: the run's folder; what it already holds is gone on from.
        parent_weights: weights the run starts from; None if it pre-trains.
        data_root: folder for downloaded data.
        control: asks to pause or stop.
        emit: takes the events.
    """

    def __init__(
        self, folder: RunFolder, parent_weights: Path | None, *, data_root: Path, control: RunControl,
        emit: Callable[[EngineEvent], None],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.config: RunConfig = folder.config
        self.parent_weights = parent_weights
        self.data_root, self.control, self.emit = data_root, control, emit
        self.checkpoints = CheckpointFolder(folder.checkpoints)
        self.info: RunInfo = folder.info()
        self.file: RunFile | None = None
        self._file_lock = threading.Lock()
        self._domains: dict[DataConfig, Domain] = {}
        self._stages: dict[StageName, _Stage] = {}
        self._shares: dict[StageName, float] = {}
        self._began = self._updated = self._beaten = time.monotonic()
        self._seconds_before = self.info.seconds
        self._cost_before = 0.0

    def run(self) -> AttackResult | None:
        """Carry the run to its end, from where it last stood.

        Returns:
            What the attack stage found, None where there is none.

        Raises:
            Interrupted: it was asked to pause or stop; it can go on from here.
            CartlError: it cannot go on; the message says why.
        """
        machine = self.config.machine
        threads = machine.threads or devices.default_threads()
        self.device = devices.choose(machine)
        self._note_machine(threads)
        self._update(state="running", reason="", device=str(self.device))
        with devices.cpu_threads(threads):
            try:
                self._prepare()
                for name, stage in self._stages.items():
                    if self._shares[name] < 1:
                        self._update(stage=name)
                        self.emit(StageStarted(self.info.id, stage.layout))
                        self.log("info", f"{stage.layout.title} begins")
                        stage.work()
                        self.advance(name, 1.0)
            finally:
                if self.file is not None:
                    self.file.close()
        return self.info.result

    # What the stages report (`Recorder`).

    def rows(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Write new rows and tell about them."""
        with self._file_lock:
            if self.file is not None:
                self.file.append(stage, table, columns)
        self.emit(RowsAdded(self.info.id, stage, table, columns))

    def checkpoint(self, stage: StageName, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, after the rows that belong to it."""
        if self.file is not None:
            self.file.flush()
        path = self.checkpoints.save({"stage": stage, "state": state}, stage=stage, step=step)
        self.emit(CheckpointSaved(self.info.id, stage, step, str(path)))

    def record(self) -> RunRecord:
        """Everything measured so far, from memory; may be called from another thread."""
        with self._file_lock:
            tables = self.file.rows() if self.file is not None else {}
        return RunRecord(
            run=self.info,
            layouts={name: stage.layout for name, stage in self._stages.items()},
            tables=tables,
            log=self.folder.read_log(),
            weights=tuple(name for name in self.config.stages if self.folder.weights_path(name).exists()),
        )

    def advance(self, stage: StageName, share: float) -> None:
        """Update progress and the expected end."""
        self._shares[stage] = share
        total = sum(part.cost for part in self._stages.values())
        done = sum(self._shares[name] * part.cost for name, part in self._stages.items())
        elapsed = time.monotonic() - self._began
        since = done - self._cost_before
        left = (total - done) * elapsed / since if since > 0 and elapsed > 1 else None
        self._update(
            progress=done / total,
            seconds=self._seconds_before + elapsed,
            seconds_left=left,
            force=share >= 1,
        )

    def log(self, level: LogLevel, text: str) -> None:
        """Write a line to the run's log and tell about it."""
        self.folder.log(level, text)
        self.emit(LogAdded(self.info.id, time.time(), level, text))

    def _update(self, *, force: bool = True, **changes: Any) -> None:
        self.info = replace(self.info, **changes)
        now = time.monotonic()
        if force or now - self._updated > UPDATE_SECONDS:
            self._updated = now
            self.emit(RunChanged(self.info))
        if force or now - self._beaten > HEARTBEAT_SECONDS:
            self._beaten = now
            info = self.info
            self.folder.write_status(
                info.state, reason=info.reason, stage=info.stage, progress=info.progress,
                seconds=info.seconds, device=info.device, result=info.result,
            )  # fmt: skip

    def _note_machine(self, threads: int) -> None:
        """Record what exact repetition depends on, and say so if it changed since the run began."""
        now = {"device": str(self.device), "threads": threads, "torch": torch.__version__}
        before = [entry for entry in self.folder.read_journal() if entry["kind"] == "machine"]
        self.folder.journal("machine", **now, program=engine.__version__)
        changed = [key for key in now if before and before[0].get(key) != now[key]]
        if changed:
            parts = ", ".join(f"{key} {before[0].get(key)} -> {now[key]}" for key in changed)
            self.log(
                "warning",
                f"The run goes on with another machine set-up ({parts}); it is no longer bit-exact.",
            )

    # Making the stages ready.

    def _prepare(self) -> None:
        config = self.config
        if config.pretraining is not None and config.source is not None:
            source = self._domain(config.source)
            self._add_training("pretraining", config.pretraining, config.source, source)
        if config.finetuning is not None and config.target is not None:
            target = self._domain(config.target)
            self._add_training("finetuning", config.finetuning, config.target, target)
        if config.attack is not None:
            self._add_attack(config.attack)
        tables = self._tables_so_far()
        self._cost_before = sum(self._shares[name] * part.cost for name, part in self._stages.items())
        self.file = RunFile.create(
            self.folder.metrics_path,
            [stage.layout for stage in self._stages.values()],
            title=f"{config.name} ({self.info.study})",
            config_toml=dump_run(config),
            program_version=engine.__version__,
            carry_over=tables,
        )

    def _domain(self, config: DataConfig) -> Domain:
        if config not in self._domains:
            self.log("info", f"Loading {config.name}")
            try:
                domain = load_domain(
                    config,
                    data_root=self.data_root,
                    progress=lambda name, done, total: self.emit(
                        Downloading(self.info.id, name, done, total)
                    ),
                    cancelled=lambda: self.control.requested is not None,
                )
            except LoadingCancelled:
                self.control.check()
                raise
            for path, reason in domain.skipped:
                self.log("warning", f"Left out {path}: {reason}")
            self._domains[config] = domain
        return self._domains[config]

    def _add_training(
        self, name: StageName, config: PretrainingConfig | FinetuningConfig, data: DataConfig, domain: Domain
    ) -> None:
        objective = _objective(config)
        skeleton = _skeleton(self._model_config(), len(domain.class_names))
        if config.num_finetuned_blocks > skeleton.num_blocks and objective.boundary(skeleton) is not None:
            raise ConfigError(
                [
                    Problem(
                        f"{name}.num_finetuned_blocks",
                        f"the network has {skeleton.num_blocks} blocks, so k must be 1 to "
                        f"{skeleton.num_blocks}, got {config.num_finetuned_blocks}",
                    )
                ]
            )
        layers = list(skeleton.weighted_layers())
        probe_config = self._probe_config()
        held_out = len(domain.validation) > 0
        watched = (
            len(domain.validation) if held_out else min(self.config.inspection.probe_size, len(domain.train))
        )
        kind = "held-out" if held_out else "training"
        steps = steps_per_epoch(len(domain.train), config.batch_size)
        layout = StageLayout(
            stage=name,
            title=f"{_title(config)} on {domain.title}",
            epochs=config.epochs,
            steps_per_epoch=steps,
            block_names=tuple(_block_name(skeleton, number) for number in range(1, skeleton.num_blocks + 1)),
            layer_names=tuple(layer.name for layer in layers),
            layer_blocks=tuple(layer.block for layer in layers),
            boundary=objective.boundary(skeleton),
            probe=f"{probe_config.title} on {watched} {kind} images",
        )
        looks = watched * (2 * PROBE_STEPS + 4) * (config.epochs + 1)
        cost = steps * config.epochs * config.batch_size * _passes_per_image(config) + looks
        self._shares[name] = 0.0
        self._stages[name] = _Stage(layout, cost, partial(self._train, name, config, data, objective))

    def _add_attack(self, config: AttackConfig) -> None:
        data = self.config.evaluation_data
        if data is None and self.parent_weights is not None:
            data = self._read_weights(self.parent_weights)[1].data
        if data is None:
            raise ConfigError([Problem("target", "the attack stage needs test images; name a data set")])
        domain = self._domain(data)
        samples = min(config.samples or len(domain.test), len(domain.test))
        layout = StageLayout(
            "attack", f"{config.title} on {samples} test images of {domain.title}", samples=samples
        )
        self._shares["attack"] = 0.0
        cost = samples * (2.0 * config.steps * config.restarts + 2)
        self._stages["attack"] = _Stage(layout, cost, partial(self._attack, config, data, samples))

    def _model_config(self) -> ModelConfig:
        if self.config.model is not None:
            return self.config.model
        if self.parent_weights is None:
            raise ConfigError([Problem("model", "a run without a model needs weights to start from")])
        return self._read_weights(self.parent_weights)[1].config

    def _probe_config(self) -> AttackConfig:
        """The attack that watches training: PGD with the epsilon trained for, else the one evaluated with."""
        pretraining, attack = self.config.pretraining, self.config.attack
        trained_for = pretraining.attack if pretraining and pretraining.method != "natural" else None
        epsilon = (trained_for or attack or AttackConfig()).epsilon
        return AttackConfig(epsilon=epsilon, step_size=epsilon * PROBE_STEP_SHARE, steps=PROBE_STEPS)

    def _tables_so_far(self) -> dict[StageName, dict[TableName, Columns]]:
        """Rows of finished stages, and of the present one up to its checkpoint; sets each stage's share."""
        if not self.folder.metrics_path.exists():
            return {}
        _, tables = read_tables(self.folder.metrics_path)
        kept: dict[StageName, dict[TableName, Columns]] = {}
        saved = self._latest_checkpoint()
        for name, stage in self._stages.items():
            own = tables.get(name, {})
            if name == "attack":
                rows = len(own["samples"]["sample"]) if "samples" in own else 0
                kept[name] = dict(own)
                self._shares[name] = min(rows / max(1, stage.layout.samples), 0.999)
            elif self.folder.weights_path(name).exists():
                kept[name] = dict(own)
                self._shares[name] = 1.0
            elif saved is not None and saved["stage"] == name:
                counts = saved["state"]["rows"]
                kept[name] = {
                    table: {column: values[: counts[table]] for column, values in columns.items()}
                    for table, columns in own.items()
                }
                self._shares[name] = saved["state"]["step"] / (
                    stage.layout.epochs * stage.layout.steps_per_epoch
                )
        return kept

    def _latest_checkpoint(self) -> dict[str, Any] | None:
        path = self.checkpoints.latest()
        return None if path is None else self.checkpoints.load(path)

    # Carrying the stages out.

    def _train(
        self,
        name: StageName,
        config: PretrainingConfig | FinetuningConfig,
        data: DataConfig,
        objective: Objective,
    ) -> None:
        domain = self._domain(data)
        seed = self.config.seed
        model, spec = self._model_before(name, domain)
        boundary = objective.boundary(model)
        draw = generator("cpu", seed, name, "weights")
        if name == "finetuning":
            model.replace_classifier(len(domain.class_names), draw)
        objective.prepare(model, draw)
        self._place(model)
        trainer = Trainer(
            name, model, objective, config=config, train=domain.train.to(self.device),
            probe=self._probe(name, domain), seed=seed, inspection=self.config.inspection,
            machine=self.config.machine, control=self.control, recorder=self,
        )  # fmt: skip
        saved = self._latest_checkpoint()
        if saved is not None and saved["stage"] == name:
            trainer.load_state(saved["state"])
            self.log("info", f"Goes on from step {trainer.step} of {trainer.total_steps}")
        trainer.run()
        objective.finish(model)
        after = spec.trained(
            self._stages[name].layout.title,
            class_names=domain.class_names,
            data=data,
            boundary=boundary if name == "finetuning" else None,
            num_halved=model.num_halved,
        )
        save_weights(
            self.folder.weights_path(name),
            {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()},
            after.to_metadata(),
        )
        self.log("info", f"{self._stages[name].layout.title} is finished")

    def _model_before(self, name: StageName, domain: Domain) -> tuple[BlockwiseModel, ModelSpec]:
        """The network as this stage finds it."""
        config = self.config
        if name == "pretraining" and config.model is not None and config.source is not None:
            model = build_model(
                config.model, len(domain.class_names), generator("cpu", config.seed, name, "weights")
            )
            model.set_normalisation(*domain.train.mean_std())
            return model, ModelSpec(config.model, domain.class_names, config.source)
        own = [stage for stage in config.stages if stage != "attack" and stage != name]
        path = self.folder.weights_path(own[-1]) if own else self.parent_weights
        if path is None:
            raise CheckpointError(f"the {name} stage has no weights to start from")
        state, spec = self._read_weights(path)
        if config.model is not None and spec.config != config.model:
            raise CheckpointError(
                f"{path} holds a {spec.config.title}, but the settings name a {config.model.title}; "
                "leave the model out of the settings to take over the one in the file"
            )
        return spec.build(state), spec

    def _place(self, model: BlockwiseModel) -> None:
        model.to(self.device)
        model.to(memory_format=memory_format(model, self.device))

    def _read_weights(self, path: Path) -> tuple[dict[str, torch.Tensor], ModelSpec]:
        tensors, metadata = load_weights(path)
        return tensors, ModelSpec.from_metadata(metadata)

    def _probe(self, name: StageName, domain: Domain) -> Probe:
        held_out = len(domain.validation) > 0
        images = domain.validation if held_out else domain.train
        # In a drawn order, so that the first few are of all classes also where files are sorted by class.
        order = torch.randperm(len(images), generator=generator("cpu", self.config.seed, name, "probe"))
        if not held_out:
            order = order[: self.config.inspection.probe_size]
        return Probe(
            images.subset(order).to(self.device),
            held_out,
            attacks["pgd"](self._probe_config()),
            stream_seed(self.config.seed, name, "probe attack"),
            PROBE_BATCH,
        )

    def _attack(self, config: AttackConfig, data: DataConfig, samples: int) -> None:
        domain = self._domain(data)
        model, spec = self._model_before("attack", domain)
        if len(spec.class_names) != len(domain.class_names):
            raise ConfigError(
                [
                    Problem(
                        "attack",
                        f"the model tells {len(spec.class_names)} classes apart, {domain.title} has "
                        f"{len(domain.class_names)}; attack it with the data it was trained on ({spec.data.name})",
                    )
                ]
            )
        self._place(model)
        model.eval()
        attack = attacks[config.name](config)
        order = torch.randperm(len(domain.test), generator=generator("cpu", data.seed, "attack order"))
        test = domain.test.subset(order[:samples])
        rows: Mapping[str, np.ndarray] = {}
        if self.file is not None:
            rows = self.file.rows()["attack"]["samples"]
        clean, robust, done = int(rows["clean_correct"].sum()), int(rows["robust"].sum()), len(rows["robust"])
        began = time.monotonic()
        with devices.exact_float32():
            while done < samples:
                part = slice(done, min(done + config.batch_size, samples))
                labels = test.labels[part]
                verdict = attack(
                    model, to_unit(test.images[part].to(self.device)), labels.to(self.device),
                    seed=self.config.seed, sample_ids=test.ids[part], each_step=self.control.check,
                )  # fmt: skip
                columns = {
                    "sample": test.ids[part].numpy(),
                    "label": labels.numpy(),
                    "clean_prediction": verdict.clean_prediction.cpu().numpy(),
                    "adversarial_prediction": verdict.adversarial_prediction.cpu().numpy(),
                    "clean_correct": (verdict.clean_prediction.cpu() == labels).numpy().astype(np.uint8),
                    "robust": verdict.robust.cpu().numpy().astype(np.uint8),
                    "restart": verdict.restart.cpu().numpy(),
                }
                clean += int(columns["clean_correct"].sum())
                robust += int(columns["robust"].sum())
                done = part.stop
                self.rows("attack", "samples", columns)
                self.emit(AttackProgress(self.info.id, done, samples, clean / done, robust / done))
                self.advance("attack", min(done / samples, 0.999))
        result = AttackResult(
            data=domain.title,
            attack=config.title,
            samples=samples,
            clean_accuracy=wilson(clean, samples),
            robust_accuracy=wilson(robust, samples),
            seconds=time.monotonic() - began,
        )
        self._update(result=result)
        self.log(
            "info",
            f"Clean accuracy {100 * clean / samples:.1f} %, robust accuracy {100 * robust / samples:.1f} % "
            f"({config.title}, {samples} test images of {domain.title})",
        )


def free_memory() -> None:
    """Give back what a run that ended still holds."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _objective(config: PretrainingConfig | FinetuningConfig) -> Objective:
    if isinstance(config, PretrainingConfig):
        return pretraining_methods[config.method](config)
    return transfer_methods[config.method](config)


def _title(config: PretrainingConfig | FinetuningConfig) -> str:
    if isinstance(config, FinetuningConfig):
        name = transfer_methods.entry(config.method).title
        bound = f", beta = {config.spectral_bound:g}" if config.method == "neft" else ""
        return f"{name[0].upper()}{name[1:]} (k = {config.num_finetuned_blocks}{bound})"
    name = pretraining_methods.entry(config.method).title
    detail = ""
    if config.method != "natural":
        detail = f" (epsilon {format_ratio(config.attack.epsilon)})"
    if config.method == "fdm":
        detail = f" (k = {config.num_finetuned_blocks}, lambda = {config.feature_weight:g})"
    return f"{name[0].upper()}{name[1:]}{detail}"


def _passes_per_image(config: PretrainingConfig | FinetuningConfig) -> float:
    """Cost of one training image in forward passes; only the ratio between stages matters."""
    if isinstance(config, FinetuningConfig):
        return 2.0
    attack = 0 if config.method == "natural" else 2 * config.attack.steps
    return attack + (6.0 if config.method == "fdm" else 3.0)


def _skeleton(config: ModelConfig, num_classes: int) -> BlockwiseModel:
    """A network without weights, to read its structure from."""
    with torch.device("meta"):
        return models[config.name](config, num_classes)  # type: ignore[call-arg]


def _block_name(model: BlockwiseModel, number: int) -> str:
    return type(model.block(number)).__name__
