"""Short looks at the pieces a run is made of: passes, optimiser steps, looks at held-out images, attack iterations.

Everything is timed with the objects that a run has itself: its training loop, objective, optimiser, attacks. Weights and
images are random, no file is read, and torch's global random numbers stay as they are.

Shapes: B batch, images [B, 3, H, W].
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.attacks import Attack
from engine.attacks.base import clean_logits
from engine.config import DataConfig, FinetuningConfig, ModelConfig, PretrainingConfig, RunConfig, StageName
from engine.control import RunControl
from engine.data import Domain
from engine.data.augment import to_unit
from engine.estimate.images import Images, noise_domain, noise_images
from engine.estimate.memory import measuring
from engine.evaluation.evaluate import Evaluation, Told
from engine.evaluation.plan import Plan
from engine.evaluation.workers import Workers
from engine.events import Columns, EngineEvent, StageLayout, TableName
from engine.inspection.bounds import BoundsMeter
from engine.inspection.graph import trace
from engine.inspection.live import BATCH, PAIRS
from engine.models import BlockwiseModel, build_model, build_skeleton
from engine.models.folding import folded
from engine.models.modes import evaluation
from engine.models.spec import ModelSpec
from engine.randomness import generator
from engine.stages import model_config
from engine.store.run_folder import LogLevel, RunFolder
from engine.store.tensor_files import tensors_of
from engine.training.loop import Trainer
from engine.training.stage import TrainingStage

#: Optimiser steps and attack iterations that are timed at most, after one to warm up.
STEPS, ITERATIONS = 5, 20
#: Batches of images that steps are taken on.
BATCHES = 8
#: Images of a single pass that is timed: few first; where those are quick more, several times: 256 on an accelerator,
#: which is idle with fewer, 32 on a CPU.
FEW, MORE, QUICK, TRIES = 2, (256, 32), 0.05, 3
#: A radius within which next to nothing is broken, so that every iteration is one on the whole batch.
TINY = 1e-6


class _Enough(Exception):  # noqa: N818 - the end of a probe, not an error
    """A probe has seen what it wanted to see."""


@dataclass(frozen=True, slots=True)
class TrainingPace:
    """What a training stage takes.

    Attributes:
        step: seconds of an optimiser step.
        look: seconds of a look at `watched` images, and `compare` the part of it that compares their features.
        memory: bytes at the peak, with `static` of them whatever the batch size; None where that cannot be told.
        weights, state: bytes of the network and of a checkpoint.
        batch_size: with which steps were timed; smaller than asked for where that took too long or did not fit.
        layout: names of blocks and layers.
    """

    step: float
    look: float
    compare: float
    memory: int | None
    static: int
    weights: int
    state: int
    batch_size: int
    watched: int
    layout: StageLayout


def synchronise(device: torch.device) -> None:
    """Wait for a device; a probe may, a training never does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_per_pass(network: nn.Module, size: int, device: torch.device, control: RunControl) -> float:
    """Seconds of a pass of one image through a network, a gradient for the image counting as one more.

    It changes nothing of the whole process, so it may be asked for beside a run.
    """

    def gradient(count: int) -> float:
        control.check()
        images = torch.full((count, 3, size, size), 0.5, device=device, requires_grad=True)
        began = time.perf_counter()
        with evaluation(network):
            torch.autograd.grad(network(images).sum(), images)
        synchronise(device)
        return (time.perf_counter() - began) / (2 * count)

    first = gradient(FEW)
    second = min(first, gradient(FEW))
    if second * 2 * FEW > QUICK:
        return second
    try:
        return min(gradient(MORE[device.type == "cpu"]) for _ in range(TRIES))
    except torch.OutOfMemoryError:
        return second


class TrainingProbe:
    """One training stage with a network and images like its own.

    Args:
        config: settings of the run, its network among them.
        stage: which.
        training: settings of the stage.
        images: those that it would train on.
        classes_before: K of the network that it starts from.
        device: where.
        control: asks to end.
    """

    def __init__(
        self, config: RunConfig, stage: StageName, training: PretrainingConfig | FinetuningConfig, *, images: Images,
        classes_before: int, device: torch.device, control: RunControl,
    ) -> None:  # fmt: skip
        self.config, self.stage, self.training = config, stage, training
        self.images, self.classes_before = images, classes_before
        self.device, self.control = device, control

    def time(self, batch_size: int, watched: int, seconds: float) -> TrainingPace:
        """Take a few steps, and look a few times.

        Args:
            batch_size: how many images a step has here.
            watched: how many images a look is at.
            seconds: for about how long steps are taken.

        Raises:
            Interrupted: asked to end.
            OutOfMemoryError: it does not fit.
        """
        clock = _StepClock(self.control, self.device, seconds)
        training = self.training.model_copy(update={"batch_size": batch_size})
        domain = noise_domain(self.images, train=BATCHES * batch_size, watched=watched)
        quiet = self.config.inspection.model_copy(update={"bounds": False, "every_steps": 0})
        host = _Host(self.config.model_copy(update={"inspection": quiet}), domain, self.device, clock)
        with measuring(self.device) as peak:
            stage = _NoiseStage(self.stage, training, self.images, self.classes_before, host=host)
            trainer, _ = stage.begin(host)
            clock.trainer = trainer
            with suppress(_Enough):
                trainer.run()
            clock.trainer = None
            look, attack = self._look(trainer)
        state = sum(tensor.nbytes for _, tensor in tensors_of(trainer.state(), "the state"))
        weights = sum(tensor.nbytes for tensor in trainer.model.state_dict().values())
        static = 2 * state - weights  # for each number of the optimiser there is a gradient
        return TrainingPace(
            float(np.median(clock.times)), look, look - attack, peak.bytes, static, weights, state, batch_size, watched, stage.layout
        )  # fmt: skip

    def reckoned(self, step: float, look: float) -> TrainingPace:
        """What nothing but the time of single passes tells: seconds of a step, and of a look at one image."""
        host = _Host(self.config, noise_domain(self.images, train=1, watched=1), self.device, self.control)
        stage = _NoiseStage(self.stage, self.training, self.images, self.classes_before, host=host)
        skeleton = build_skeleton(model_config(host), self.images.classes)
        weights = sum(tensor.nbytes for tensor in skeleton.state_dict().values())
        return TrainingPace(
            step,
            look,
            0.0,
            None,
            3 * weights,
            weights,
            2 * weights,
            self.training.batch_size,
            1,
            stage.layout,
        )

    def _look(self, trainer: Trainer) -> tuple[float, float]:
        """Seconds of a whole look, and of the attack in it."""
        began = time.perf_counter()
        trainer.probe.look(trainer.watched, self.control)
        synchronise(self.device)
        attacked = time.perf_counter()
        trainer.observer.look(trainer.watched, trainer.step, 0.0)
        synchronise(self.device)
        return time.perf_counter() - attacked, min(attacked - began, time.perf_counter() - attacked)


def warm_up(device: torch.device, control: RunControl) -> None:
    """Let torch load what it loads on first use, which is the program's and not a run's, by training a tiny network."""
    config = RunConfig(
        model=ModelConfig(depth=10, widen_factor=1), source=DataConfig(image_size=8),
        pretraining=PretrainingConfig(method="natural", num_finetuned_blocks=1),
    )  # fmt: skip
    assert config.pretraining is not None
    tiny = Images(train=4, validation=2, test=2, classes=2, size=8)
    probe = TrainingProbe(
        config,
        "pretraining",
        config.pretraining,
        images=tiny,
        classes_before=2,
        device=device,
        control=control,
    )
    probe.time(2, 2, 0.0)


class _StepClock(RunControl):
    """Times the steps of a training loop from within, and ends it after a few."""

    def __init__(self, asked: RunControl, device: torch.device, seconds: float) -> None:
        super().__init__()
        self.trainer: Trainer | None = None
        self.times: list[float] = []
        self._asked, self._device, self._seconds = asked, device, seconds
        self._step, self._began = 0, 0.0

    def check(self) -> None:
        """Note the time if a step has ended; the first one only warms up."""
        self._asked.check()
        if self.trainer is None or self.trainer.step == self._step:
            return
        synchronise(self._device)
        now = time.perf_counter()
        if self._step:
            self.times.append(now - self._began)
        self._step, self._began = self.trainer.step, now
        if self.times and (len(self.times) >= STEPS or sum(self.times) >= self._seconds):
            raise _Enough


class _NoiseStage(TrainingStage):
    """A training stage that starts from random weights."""

    def __init__(
        self, name: StageName, training: PretrainingConfig | FinetuningConfig, images: Images, classes: int, *,
        host: _Host,
    ) -> None:  # fmt: skip
        super().__init__(name, training, DataConfig(image_size=images.size), host=host)
        self._classes = classes

    def model_before(
        self, host: Any, domain: Domain, draw: torch.Generator
    ) -> tuple[BlockwiseModel, ModelSpec]:
        """A network with freshly drawn weights and the classes of the real one."""
        config = model_config(host)
        spec = ModelSpec(config, tuple(map(str, range(self._classes))), self.data)
        return build_model(config, self._classes, draw), spec


class _Host:
    """A run that keeps nothing (`engine.stages.Host`)."""

    def __init__(self, config: RunConfig, domain: Domain, device: torch.device, control: RunControl) -> None:
        self.config, self.device, self.control = config, device, control
        self.folder = RunFolder(Path())  # which nothing is read from or written to
        self.parent_weights: Path | None = None
        self.surrogate_weights: Path | None = None
        self._domain = domain
        self.emit: Callable[[EngineEvent], None] = lambda event: None

    def domain(self, data: DataConfig) -> Domain:
        """The random images."""
        return self._domain

    def latest_checkpoint(self, stage: StageName) -> dict[str, Any] | None:
        """There is none."""
        return None

    def tables(self, stage: StageName) -> Mapping[TableName, Columns]:
        """There are none."""
        return {}

    def log(self, level: LogLevel, text: str) -> None:
        """Let it go."""

    def rows(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Let them go."""

    def show(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Let it go."""

    def checkpoint(self, stage: StageName, step: int, state: dict[str, Any]) -> None:
        """Let it go."""

    def advance(self, stage: StageName, share: float) -> None:
        """Let it go."""


def bounds_seconds(
    network: BlockwiseModel, size: int, *, device: torch.device, control: RunControl, seconds: float
) -> tuple[float, float]:
    """What Lipschitz bounds take before the first step, and with more care after the last one.

    Args:
        network: on the device.
        size: of the images.
        control: asks to end.
        seconds: after which the rest is reckoned from the share that is done.
    """
    clean = to_unit(noise_images(BATCH, size, 2).images.to(device))
    moved = (clean + 0.01).clamp(0, 1)
    graph = trace(network, clean[:1])
    meter = BoundsMeter(generator("cpu", "estimate", "bounds"))

    def timed(count: int, batch: int, **care: Any) -> float:
        began, done = time.perf_counter(), 0.0

        def note(share: float) -> None:
            nonlocal done
            control.check()
            done = share
            if share and time.perf_counter() - began > seconds:
                raise _Enough

        try:
            meter.measure(
                network, graph, clean[:count], moved[:count], batch_size=batch, each_step=note, **care
            )
        except _Enough:
            return (time.perf_counter() - began) / done
        return time.perf_counter() - began

    return timed(PAIRS, PAIRS), timed(BATCH, BATCH, care="closing")


class AttackProbe:
    """A network under the attacks of a plan.

    Args:
        network: on the device, its parameters without gradients.
        size: of the images.
        device: where.
        control: asks to end.
    """

    def __init__(self, network: nn.Module, size: int, *, device: torch.device, control: RunControl) -> None:
        self.network, self.size, self.device, self.control = network, size, device, control
        self.fast = folded(network) if isinstance(network, BlockwiseModel) else network

    @torch.no_grad()
    def classes(self) -> int:
        """K, which for networks of other programs only a pass tells."""
        return int(clean_logits(self.network, self._noise(2)).shape[1])

    def pass_seconds(self, attack: Attack, batch_size: int, seconds: float) -> float:
        """Seconds of a pass of one image in a single attack.

        Args:
            attack: as the plan has it.
            batch_size: images attacked together.
            seconds: for about how long it runs here.
        """
        config = attack.config.at(epsilon=TINY).model_copy(update={"batch_size": batch_size})
        plan = Plan(config, self.classes())
        for member in plan.members[0]:
            member.surrogate = self.fast if attack.config.applies("surrogate") else None
        parts = len(self._workers().parts(np.arange(batch_size))) if self.device.type == "cpu" else 1
        clock = _AttackClock(self.control, self.device, seconds, beside=self._workers().count)
        evaluation = Evaluation(
            plan, self.network, self.fast, self._own_images(batch_size), seed=0, batch_size=batch_size,
            device=self.device, told=Told(rows=lambda table, columns: None, check=clock.check),
        )  # fmt: skip
        with suppress(_Enough):
            evaluation.run({}, {})
        calls_per_pass = parts * config.iterations / max(1.0, config.cost - 1)
        return clock.seconds_per_call() * calls_per_pass / batch_size

    def _workers(self) -> Workers:
        return Workers(torch.get_num_threads() if self.device.type == "cpu" else 1)

    def _noise(self, count: int) -> Tensor:
        return to_unit(noise_images(count, self.size, 2).images.to(self.device))

    def _own_images(self, count: int) -> Any:
        """Random images whose labels are what the network says, so that each of them is attacked."""
        images = noise_images(count, self.size, self.classes())
        labels = clean_logits(self.network, to_unit(images.images.to(self.device))).argmax(1).cpu()
        return type(images)(images.images, labels, images.class_names, images.ids)


class _AttackClock:
    """Counts the iterations of an attack, which several workers may make side by side, and ends it after a few."""

    def __init__(self, asked: RunControl, device: torch.device, seconds: float, *, beside: int) -> None:
        self._asked, self._device, self._seconds = asked, device, seconds
        # The clean images ask once, then each worker begins with an iteration of its own.
        self._ignored, self._calls = 1 + beside, 0
        self._began = self._newest = time.perf_counter()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Note an iteration that begins."""
        self._asked.check()
        with self._lock:
            self._calls += 1
            counted = self._calls - self._ignored
            if counted <= 0:
                synchronise(self._device)
                self._began = time.perf_counter()
                return
            self._newest = time.perf_counter()
            if counted >= ITERATIONS or (counted >= 2 and self._newest - self._began > self._seconds):
                synchronise(self._device)
                self._newest = time.perf_counter()
                raise _Enough

    def seconds_per_call(self) -> float:
        """Seconds from one iteration to the next, over all workers."""
        counted = self._calls - self._ignored
        if counted <= 0:  # one iteration was all
            synchronise(self._device)
            return (time.perf_counter() - self._began) / max(1, self._calls - 1)
        return (self._newest - self._began) / counted
