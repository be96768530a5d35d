"""The training loop, the only one: batch, objective, update, record.

Shapes: B batch, T rows of a table. Nothing in a step waits for the device: losses are gathered there and read
in blocks. All randomness is a function of (seed, stage, step), so a run that goes on after a pause or a kill
takes the same steps, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.config import InspectionConfig, MachineConfig, StageName, TrainingConfig
from engine.control import Interrupted, RunControl
from engine.data import Augmenter, Batch, ImageSet, batches, steps_per_epoch
from engine.device import autocast
from engine.errors import CheckpointError, DivergedError
from engine.events import Columns, TableName
from engine.inspection.probe import Probe
from engine.models.base import BlockwiseModel
from engine.models.placement import memory_format
from engine.models.spec import load_state
from engine.objective import Loss, Objective, StepContext
from engine.randomness import stream_seed
from engine.statistics import wilson
from engine.training.observer import Observer
from engine.training.schedule import learning_rate, ramp
from engine.training.selection import Averager, Selection

#: Steps gathered on the device before they are read, and the longest time until then.
BLOCK_STEPS = 64
BLOCK_SECONDS = 1.0
#: An epoch's end is a checkpoint only if the last one is at least this old.
CHECKPOINT_SECONDS = 10.0

#: What a training records.
_TABLES: tuple[TableName, ...] = ("steps", "epochs", "layers", "bounds", "profile", "probe", "examples")
_GATHERED = ("loss", "cross_entropy", "penalty", "penalty_unweighted", "correct")


class Recorder(Protocol):
    """Where a training's results go."""

    def rows(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Take new rows of a table."""

    def show(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Show a whole table that will be replaced; it is not written down."""

    def checkpoint(self, stage: StageName, step: int, state: dict[str, Any]) -> None:
        """Keep all that is needed to go on from this step."""

    def advance(self, stage: StageName, share: float) -> None:
        """Learn that this share 0..1 of the stage is done."""


class Trainer:
    """One training stage of a run.

    Args:
        stage: its name, which also names its random streams.
        model: the network, on its device, with the objective's `prepare` already applied.
        objective: what is minimised.
        config: length, optimiser, schedule and augmentation.
        train: images, on the device.
        probe: watches from outside.
        seed: the run's seed.
        inspection, machine: settings of the run.
        control: asks to pause or stop.
        recorder: takes the results.
    """

    def __init__(
        self, stage: StageName, model: BlockwiseModel, objective: Objective, *, config: TrainingConfig,
        train: ImageSet, probe: Probe, seed: int, inspection: InspectionConfig, machine: MachineConfig,
        control: RunControl, recorder: Recorder,
    ) -> None:  # fmt: skip
        self.stage, self.model, self.objective, self.config = stage, model, objective, config
        self.train, self.probe, self.seed = train, probe, seed
        self.inspection, self.machine = inspection, machine
        self.control, self.recorder = control, recorder
        self.device = train.labels.device
        self.augment = Augmenter(config.augmentation, train.images.shape[-1])
        self.steps_per_epoch = steps_per_epoch(len(train), config.batch_size)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.optimiser = torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.selection = Selection(config)
        self._averager = Averager(model, config.averaging) if config.averaging else None
        self._streams = {name: torch.Generator(device=self.device) for name in ("attack", "augment")}
        self._gathered = torch.full((BLOCK_STEPS, len(_GATHERED)), torch.nan, device=self.device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._seen = 0
        self._pending: list[tuple[int, float, float]] = []
        self._block_began = self._checkpointed = time.monotonic()
        self._seconds_before, self._began = 0.0, time.monotonic()
        self.step = 0
        self.rows: dict[TableName, int] = dict.fromkeys(_TABLES, 0)
        self._measured_at = -1
        self.observer = Observer(
            stage, probe, inspection=inspection, seed=seed, control=control, record=self._record,
            show=lambda table, columns: recorder.show(stage, table, columns),
        )  # fmt: skip

    def run(self) -> None:
        """Train to the end of the last epoch, or to that after which patience ends.

        Raises:
            Interrupted: asked to pause or stop; a checkpoint of this very step is saved.
            DivergedError: the loss, or a number of the state to be saved, is no longer finite.
        """
        self._began = time.monotonic()
        try:
            self._inspect_if_due()
            if not self.step and not self.rows["bounds"]:
                self.observer.begin(self.watched, self.step, self._epochs())
            while self.step < self.total_steps and not self.selection.exhausted:
                self._epoch()
            self._flush()
            self.observer.conclude(self.watched, self.step, self._epochs(), seconds=self._seconds())
        except Interrupted:
            self._flush()
            self._save()
            raise
        self._save()

    @property
    def watched(self) -> BlockwiseModel:
        """The network that is measured and kept: the averaged copy where there is one."""
        return self._averager.model if self._averager else self.model

    def selected(self) -> BlockwiseModel:
        """The network with the weights to keep, after `run`."""
        if self.selection.weights is not None:
            load_state(self.watched, self.selection.weights)
        return self.watched

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from this step: plain values and tensors."""
        return {
            "step": self.step,
            "rows": dict(self.rows),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "correct": int(self._correct),
            "seen": self._seen,
            "seconds": self._seconds(),
            "measured_at": self._measured_at,
            "observer": self.observer.state(),
            "averaged": self._averager.model.state_dict() if self._averager else None,
            "selection": self.selection.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            CheckpointError: a part is missing or does not fit; it is named.
        """
        missing = self.state().keys() - state.keys() - {"averaged", "selection", "observer"}
        if missing:
            raise CheckpointError(
                f"the checkpoint lacks {', '.join(sorted(missing))}; use an earlier checkpoint"
            )
        load_state(self.model, dict(state["model"]))
        try:
            self.optimiser.load_state_dict(state["optimiser"])
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"the checkpoint's optimiser does not fit: {error}") from error
        self.step = int(state["step"])
        self.rows = {name: int(state["rows"].get(name, 0)) for name in self.rows}
        self._correct.fill_(int(state["correct"]))
        self._seen = int(state["seen"])
        self._seconds_before = float(state["seconds"])
        self._measured_at = int(state["measured_at"])
        if state.get("observer"):
            self.observer.load_state(state["observer"])
        if self._averager and state.get("averaged"):
            load_state(self._averager.model, dict(state["averaged"]))
        if state.get("selection"):
            self.selection.load_state(state["selection"])

    def _epoch(self) -> None:
        epoch, first = divmod(self.step, self.steps_per_epoch)
        self.objective.begin_epoch(self.model, epoch)
        for batch in batches(
            self.train, self.config.batch_size, seed=self.seed, stage=self.stage, epoch=epoch, first=first
        ):
            self.control.check()
            self._train_on(batch)
            if self.step % self.steps_per_epoch:
                self._inspect_if_due()
                self._sample_if_due()
            if time.monotonic() - self._checkpointed > self.machine.checkpoint_minutes * 60:
                self._flush()
                self._save()
        self._inspect_if_due()

    def _train_on(self, batch: Batch) -> None:
        rate = learning_rate(self.config, self.step, self.steps_per_epoch)
        share = ramp(self.objective.epsilon_ramp, self.step, self.total_steps)
        epsilon = share * self.objective.attack.epsilon if self.objective.attack else 0.0
        for name, stream in self._streams.items():
            stream.manual_seed(stream_seed(self.seed, self.stage, name, self.step))
        images = self.augment(batch.images, self._streams["augment"])
        context = StepContext(share, self._streams["attack"], self.control.check)
        with autocast(self.device, self.machine):
            loss = self.objective.loss(self.model, self._laid_out(images), batch.labels, context)
        self.observer.take(images, loss.adversarial)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if self._averager:
            self._averager.update(self.step)
        self._gather(loss, len(batch.labels), rate, epsilon)
        self.step += 1
        if len(self._pending) == BLOCK_STEPS or time.monotonic() - self._block_began > BLOCK_SECONDS:
            self._flush()

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=memory_format(self.model, self.device))

    def _gather(self, loss: Loss, count: int, rate: float, epsilon: float) -> None:
        row = self._gathered[len(self._pending)]
        values = (loss.total, loss.cross_entropy, loss.penalty, loss.penalty_unweighted, loss.correct)
        for column, value in enumerate(values):
            if value is not None:
                row[column] = value.detach()
        self._correct += loss.correct
        self._seen += count
        self._pending.append((count, rate, epsilon))

    def _flush(self) -> None:
        """Read the gathered steps from the device and hand them on."""
        count = len(self._pending)
        if not count:
            return
        now = time.monotonic()
        gathered = self._gathered[:count].to("cpu", copy=True).numpy()
        self._gathered.fill_(torch.nan)
        images, rates, epsilons = (np.array(column) for column in zip(*self._pending, strict=True))
        steps = np.arange(self.step - count, self.step)
        columns = {name: gathered[:, index] for index, name in enumerate(_GATHERED[:-1])}
        columns |= {
            "step": steps,
            "epoch": (steps + 1) / self.steps_per_epoch,
            "learning_rate": rates,
            "epsilon": epsilons,
            "batch_accuracy": gathered[:, -1] / images,
            "images_per_second": np.full(count, images.sum() / max(now - self._block_began, 1e-9)),
        }
        self._pending.clear()
        self._block_began = now
        self._record("steps", columns)
        self.recorder.advance(self.stage, self.step / self.total_steps)
        broken = ~np.isfinite(columns["loss"])
        if broken.any():
            raise DivergedError(
                f"The loss stopped being a number at step {int(steps[broken][0])} of {self.total_steps}. "
                f"{DivergedError.REMEDY}"
            )

    def _inspect_if_due(self) -> None:
        """Measure at the start, at each epoch's end and at the chosen interval, once per step."""
        every = self.inspection.every_steps
        ends_epoch = self.step % self.steps_per_epoch == 0
        if self._measured_at == self.step or not (ends_epoch or (every and self.step % every == 0)):
            return
        self._flush()
        verdict = self.observer.look(self.watched, self.step, self._epochs())
        if ends_epoch and self.step:
            self._record_epoch(
                clean=int((verdict.clean_prediction == self.probe.images.labels).sum()),
                robust=int(verdict.robust.sum()),
                count=len(verdict.robust),
            )
        self._measured_at = self.step
        self._block_began = time.monotonic()
        if ends_epoch and time.monotonic() - self._checkpointed > CHECKPOINT_SECONDS:
            self._save()

    def _sample_if_due(self) -> None:
        """Measure Lipschitz bounds if that fits into their share of the time."""
        if self.observer.is_due(self._seconds()):
            self._flush()
            self.observer.sample(self.watched, self.step, self._epochs(), seconds=self._seconds())
            self._block_began = time.monotonic()

    def _record_epoch(self, *, clean: int, robust: int, count: int) -> None:
        row = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "seconds": self._seconds(),
            "train_accuracy": int(self._correct) / max(1, self._seen),
        }
        for name, successes in (("clean_accuracy", clean), ("robust_accuracy", robust)):
            share = wilson(successes, count)
            held_out = self.probe.held_out
            row[name] = share.value if held_out else np.nan
            row[f"{name}_errors"] = (share.high - share.low) / 2 if held_out else np.nan
        self.selection.consider(
            epoch=int(row["epoch"]),
            robust=row["robust_accuracy"],
            clean=row["clean_accuracy"],
            training=row["train_accuracy"],
            model=self.watched,
        )
        self._correct.zero_()
        self._seen = 0
        self._record("epochs", {name: np.array([value]) for name, value in row.items()})

    def _record(self, table: TableName, columns: Columns) -> None:
        self.rows[table] += len(next(iter(columns.values())))
        self.recorder.rows(self.stage, table, columns)

    def _save(self) -> None:
        self._checkpointed = time.monotonic()
        self.recorder.checkpoint(self.stage, self.step, self.state())

    def _epochs(self) -> float:
        return self.step / self.steps_per_epoch

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began
