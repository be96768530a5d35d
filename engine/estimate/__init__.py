"""What a study will take: time, device memory and disk of each run, from a short look at its pieces.

    seconds of a training = steps * seconds of a step + looks * seconds of a look + Lipschitz bounds
    seconds of an attack  = passes through the network * seconds of a pass, with the passes that its plan counts on

What is the same in several runs is timed once. Where time is short, or a step of the real size would take too long,
seconds follow from the passes that the engine counts and from the time of one; a doubt says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from engine import device as devices
from engine.attacks.base import Attack
from engine.config import (
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StageName,
)
from engine.control import RunControl
from engine.data import steps_per_epoch
from engine.errors import CheckpointError, ConfigError, DataError, Problem
from engine.estimate.disk import EMPTY, SMALL, attack_rows, table_bytes, training_rows
from engine.estimate.images import Images, known_images
from engine.estimate.memory import measuring
from engine.estimate.probes import (
    AttackProbe,
    TrainingPace,
    TrainingProbe,
    bounds_seconds,
    seconds_per_pass,
    warm_up,
)
from engine.evaluation.pace import TRIALS, TRIED_SIZES
from engine.evaluation.plan import EXPECTED_SURVIVORS, Plan
from engine.evaluation.stage import EXAMINED
from engine.events import RunEstimate, StageLayout, StudyEstimated
from engine.inspection.probe import probe_attack
from engine.loading import load_network
from engine.machine import OtherPrograms
from engine.memory import free_memory
from engine.models import build_model
from engine.models.placement import place_on
from engine.randomness import generator
from engine.references import Planned
from engine.store.atomic import free_bytes
from engine.store.checkpoints import KEPT
from engine.training.loop import CHECKPOINT_SECONDS
from engine.training.stage import PROBE_BATCH, objective_of
from engine.wording import format_bytes

#: Longest time in seconds that all probes take together, and one of them.
BUDGET, LONGEST = 40.0, 16.0
#: For about how many seconds steps, and each single attack, are taken where there is time.
STEP_SECONDS, ATTACK_SECONDS = 1.0, 0.5
#: Looks and optimiser steps of a probe at least; images of either at least, and of a look at most; share of the time for looks.
LOOKS, FEWEST_STEPS, FEWEST, MOST_WATCHED, LOOKING = 3, 2.5, 4, 64, 0.3
#: Seconds of a pass beyond which bounds are not looked at: they would take longer than all else.
SLOW_PASS = 0.03
#: Runs that a doubt names.
NAMED = 3
#: Passes per image that the search for warnings takes where nothing is wrong (`engine.evaluation.warnings`).
EXAMINATION = 30
#: Images attacked together where the run will find out what is fastest.
USUAL_BATCH = 128
#: Share of the free memory that a run may fill, and of the processor that other programs may take unmentioned.
USABLE, BUSY = 0.95, 0.25
#: Settings of a training and of an attack that change nothing about what a step takes.
_SAME_STEP = {
    "epochs", "learning_rate", "schedule", "warm_up_epochs", "milestones", "decay_factor", "momentum", "weight_decay",
    "selection", "patience", "epsilon_ramp", "feature_weight", "kl_weight", "spectral_bound", "warm_start_epochs",
}  # fmt: skip
_SAME_ITERATION = {
    "epsilon",
    "step_size",
    "samples",
    "sweep_epsilon",
    "sweep_steps",
    "steps",
    "restarts",
    "examples",
}

Found = TypeVar("Found")


def estimate_study(
    planned: Sequence[Planned], *, data_root: Path, workspace: Path, beside_run: bool, control: RunControl
) -> StudyEstimated:
    """Look at the pieces of a study's runs and reckon what all of them will take.

    Args:
        planned: the runs; those that are finished cost nothing.
        data_root: folder for downloaded data.
        workspace: where the runs will lie.
        beside_run: the device is taken, so only single passes are timed, on the CPU.
        control: asks to end.

    Raises:
        Interrupted: it was asked to end.
        CartlError: a run cannot be made with its settings, network or device.
    """
    began, others = time.perf_counter(), OtherPrograms()
    wanted = [run for run in planned if run.left > 0]
    estimator = _Estimator(data_root, control, beside_run=beside_run)
    estimator.expect(wanted)
    found = [estimator.run(run) for run in wanted]
    device = devices.choose(wanted[0].config.machine) if wanted else torch.device("cpu")
    busy = others.share()
    if wanted and not beside_run and busy > BUSY:
        estimator.doubts.append(
            f"Other programs took {100 * busy:.0f} % of the processor meanwhile: without them it may be much faster."
        )
    disk_free = free_bytes(workspace)
    answer = StudyEstimated(
        tuple(found), str(device), time.perf_counter() - began, estimator.free.get(device), disk_free,
        estimator.all_doubts(), tuple(dict.fromkeys(estimator.warnings)),
    )  # fmt: skip
    if answer.disk > disk_free:
        more = format_bytes(answer.disk - disk_free)
        told = f"The runs leave {format_bytes(answer.disk)} on disk, {more} more than is free. Free some space first, or choose "
        answer = replace(answer, warnings=(*answer.warnings, told + "another workspace."))
    return answer


@dataclass(slots=True)
class _Needs:
    """What a stage or a run takes.

    Attributes:
        seconds: computing time.
        memory: bytes at the peak, None if unknown; of them `static` whatever the batch size, and `each` for an image.
        disk: bytes left behind.
        batch_size: of the stage whose peak it is.
    """

    seconds: float = 0.0
    memory: int | None = None
    disk: int = 0
    static: int = 0
    each: float = 0.0
    batch_size: int = 0

    def with_stage(self, other: _Needs) -> _Needs:
        """Both one after the other: the memory is that of the one that needs more."""
        larger = other if (other.memory or -1) > (self.memory or -1) else self
        return replace(larger, seconds=self.seconds + other.seconds, disk=self.disk + other.disk)


@dataclass(frozen=True, slots=True)
class _Start:
    """A network that a stage finds: its structure, None where it is of another program; its classes, 0 if unknown.

    `path` is its file where it was not trained since, `data` what it was last trained on.
    """

    model: ModelConfig | None
    classes: int
    path: Path | None = None
    data: DataConfig | None = None

    @property
    def network(self) -> Hashable:
        """What decides how long it computes."""
        return self.model, self.classes, self.path


class _Estimator:
    """Times what runs are made of, each piece once."""

    def __init__(self, data_root: Path, control: RunControl, *, beside_run: bool) -> None:
        self.doubts: list[str] = []
        self.warnings: list[str] = []
        self.free: dict[torch.device, int | None] = {}
        self._data_root, self._control, self._beside_run = data_root, control, beside_run
        self._deadline = time.perf_counter() + BUDGET
        self._waiting: set[Hashable] = set()
        self._known: dict[Hashable, object] = {}
        self._several_seeds = False
        # Names of runs of which steps were not timed, or not as large as they are.
        self._reckoned: list[str] = []
        self._timed_with_fewer: list[str] = []
        if beside_run:
            self.doubts.append(
                "A run computes now, so only single passes were timed beside it, on the CPU: the times may be far off."
            )

    def expect(self, runs: Sequence[Planned]) -> None:
        """Note which probes there will be, so that each gets its part of the time."""
        self._several_seeds = len({run.config.seed for run in runs}) > 1
        for run in runs:
            self._waiting |= {_key(run.config, stage) for stage in run.config.stages}

    def all_doubts(self) -> tuple[str, ...]:
        """What makes the figures less sure, each thing once."""
        found = [*self.doubts]
        if self._reckoned:
            found.append(
                f"Too slow to be timed here, so reckoned from single passes: {_named(self._reckoned)}."
            )
        if self._timed_with_fewer:
            found.append(f"Timed with fewer images than a step has: {_named(self._timed_with_fewer)}.")
        return tuple(dict.fromkeys(found))

    def run(self, planned: Planned) -> RunEstimate:
        """What one run will take."""
        config = planned.config
        device = torch.device("cpu") if self._beside_run else devices.choose(config.machine)
        self.free.setdefault(device, free_memory(device))
        if not self._beside_run:
            self._once(("warm", device), lambda: warm_up(device, self._control))
        threads = config.machine.threads or devices.default_threads()
        try:
            if self._beside_run:
                needs = self._needs(planned, device)
            else:
                with devices.cpu_threads(threads):
                    needs = self._needs(planned, device)
        except DataError as error:
            self.warnings.append(f"{self._title(config)}: {error} What it takes is not in the figures.")
            needs = _Needs()
        free = self.free[device]
        if needs.memory is not None and free is not None and needs.memory > USABLE * free:
            self._warn_of_memory(config, needs, free)
        return RunEstimate(
            config.name,
            config.seed,
            planned.left * needs.seconds,
            needs.memory,
            round(planned.left * needs.disk),
        )

    def _needs(self, planned: Planned, device: torch.device) -> _Needs:
        config, needs = planned.config, _Needs(disk=SMALL + EMPTY)
        start = self._start(planned)
        layout: StageLayout | None = None
        trainings: tuple[
            tuple[StageName, PretrainingConfig | FinetuningConfig | None, DataConfig | None], ...
        ] = (
            ("pretraining", config.pretraining, config.source),
            ("finetuning", config.finetuning, config.target),
        )
        checkpoint = trained = 0.0
        for stage, training, data in trainings:
            if training is None or data is None:
                continue
            if start.model is None:
                raise CheckpointError(
                    f"{config.name} starts from a network of another program, which cannot be trained"
                )
            images = self._images(data)
            stage_needs, pace = self._training(config, stage, training, start, images=images, device=device)
            needs = needs.with_stage(stage_needs)
            start, layout = replace(start, classes=images.classes, path=None), pace.layout
            trained += stage_needs.seconds
            checkpoint = pace.state + (pace.weights if training.selection != "last" else 0)
        needs.disk += round(checkpoint * (KEPT if trained > CHECKPOINT_SECONDS else min(trained, 1)))
        if config.attack is not None:
            needs = needs.with_stage(self._attack(config, start, layout, device=device))
        return needs

    def _training(
        self, config: RunConfig, stage: StageName, training: PretrainingConfig | FinetuningConfig, start: _Start, *,
        images: Images, device: torch.device,
    ) -> tuple[_Needs, TrainingPace]:  # fmt: skip
        """One training stage."""
        assert start.model is not None
        own = config.model_copy(update={"model": start.model})
        batch, epochs = training.batch_size, training.epochs
        per_epoch = steps_per_epoch(images.train, batch)
        warm = _warm_epochs(training)
        pace = self._pace(own, stage, _phase(training, 0), start, images=images, device=device)
        step = pace.step * batch / pace.batch_size
        seconds = per_epoch * (epochs - warm) * step
        if warm:
            first = self._pace(own, stage, _phase(training, epochs), start, images=images, device=device)
            seconds += per_epoch * warm * first.step * batch / first.batch_size
        inspection, steps = config.inspection, per_epoch * epochs
        watched = _watched(config, images)
        looks = epochs + 1 + (steps // inspection.every_steps if inspection.every_steps else 0)
        attacked = (pace.look - pace.compare) * watched / pace.watched
        compared = min(inspection.probe_size, watched) / min(inspection.probe_size, pace.watched)
        seconds += looks * (attacked + pace.compare * compared)
        if inspection.bounds:
            seconds *= 1 + inspection.live_share
            seconds += sum(self._bounds(start.model, images, device=device))
        if training.patience:
            self.doubts.append("A training that ends early takes less.")
        needs = _Needs(seconds + images.seconds, batch_size=batch)
        needs.static = pace.static + (images.train + images.validation) * 3 * images.size**2
        if pace.memory is not None:
            needs.each = max(0.0, (pace.memory - pace.static) / pace.batch_size)
            needs.memory = round(needs.static + needs.each * max(batch, min(watched, PROBE_BATCH)))
        rows = training_rows(config, steps=steps, epochs=epochs, layers=len(pace.layout.layer_names))
        needs.disk = pace.weights + table_bytes(pace.layout, rows)
        return needs, pace

    def _pace(
        self, config: RunConfig, stage: StageName, training: PretrainingConfig | FinetuningConfig, start: _Start, *,
        images: Images, device: torch.device,
    ) -> TrainingPace:  # fmt: skip
        key = (_key(config, stage), _warm_epochs(training) > 0, start.network, images.classes, device)

        def look() -> TrainingPace:
            assert start.model is not None
            probe = TrainingProbe(
                config, stage, training, images=images, classes_before=start.classes, device=device, control=self._control
            )  # fmt: skip
            each = self._pass(start.model, images.classes, images.size, device)
            objective = objective_of(training)
            a_look = (2 * probe_attack(config).steps + 6) * each
            a_step = objective.passes * each
            allowance = self._allowance(_key(config, stage))
            wanted = min(MOST_WATCHED, _watched(config, images))
            watched = min(wanted, int(LOOKING * allowance / (LOOKS * a_look)))
            room = (allowance - LOOKS * watched * a_look) / (FEWEST_STEPS * a_step)
            batch = min(training.batch_size, int(room)) if watched >= min(FEWEST, wanted) else 0
            while batch >= min(FEWEST, training.batch_size) and not self._beside_run:
                try:
                    pace = probe.time(batch, watched, min(STEP_SECONDS, allowance / 3))
                except torch.OutOfMemoryError:
                    batch //= 2
                    continue
                if batch < training.batch_size:
                    self._timed_with_fewer.append(config.name)
                return pace
            if not self._beside_run:
                self._reckoned.append(config.name)
            return probe.reckoned(a_step * training.batch_size, a_look)

        return self._once(key, look)

    def _attack(
        self, config: RunConfig, start: _Start, layout: StageLayout | None, *, device: torch.device
    ) -> _Needs:
        """The attack stage, on the network as it is by then."""
        attack = config.attack
        assert attack is not None
        data = config.evaluation_data or start.data
        if data is None:
            reason = f"{config.start_from} does not say what it was trained on; name the images to attack"
            raise ConfigError([Problem("target", reason)])
        images = self._images(data)
        samples = min(attack.samples or images.test, images.test)
        key = (_key(config, "attack"), start.network, images.size, device)
        probe = self._once((key, "network"), lambda: self._probe(config, start, images.size, device))
        each = self._once(
            (key, "pass"), lambda: seconds_per_pass(probe.network, images.size, device, self._control)
        )
        classes = start.classes or self._once((key, "classes"), probe.classes)
        plan = Plan(attack, classes)
        batch = min(attack.batch_size or USUAL_BATCH, samples)
        members = [member for group in plan.members for member in group]
        kinds = {_kind(member): member for member in members}
        allowance = self._allowance(_key(config, "attack")) / len(kinds)
        fits = int(allowance / (8 * each)) if not self._beside_run else 0

        def seconds_of(member: Attack) -> float:
            if min(batch, fits) < 4:
                return each
            return probe.pass_seconds(member, min(batch, fits), min(ATTACK_SECONDS, allowance / 2))

        def measured() -> tuple[dict[Hashable, float], int | None]:
            with measuring(device) as peak:
                paces = {kind: seconds_of(member) for kind, member in kinds.items()}
            return paces, peak.bytes

        needs = _Needs()
        paces, peak = self._once((key, frozenset(kinds), batch), measured)
        if start.path is not None and not self._beside_run:
            needs.memory = peak
        work = sum(len(member.passes) * member.config.cost * paces[_kind(member)] for member in members)
        needs.seconds = samples * (2 * each + EXPECTED_SURVIVORS * work)
        needs.seconds += EXAMINATION * min(EXAMINED, samples) * each
        if not attack.batch_size:
            needs.seconds += TRIALS * sum(TRIED_SIZES) * 2 * each
        attempts = round(EXPECTED_SURVIVORS * samples * sum(len(member.passes) for member in members))
        own = StageLayout(
            "attack", "", block_names=layout.block_names if layout else (), layer_names=layout.layer_names if layout else (),
            image_size=images.size,
        )  # fmt: skip
        needs.disk = table_bytes(own, attack_rows(config, samples=samples, attempts=attempts))
        if len(members) > 1:
            self.doubts.append(
                f"How many images each of several attacks has left is not known before; {100 * EXPECTED_SURVIVORS:.0f} % are assumed."
            )
        return needs

    def _probe(self, config: RunConfig, start: _Start, image_size: int, device: torch.device) -> AttackProbe:
        if start.path is not None:
            network = load_network(start.path, config.checkpoint).module
        else:
            assert start.model is not None
            network = build_model(start.model, start.classes, generator("cpu", "estimate", "network"))
        place_on(network.requires_grad_(False).eval(), device)
        return AttackProbe(network, image_size, device=device, control=self._control)

    def _pass(self, model: ModelConfig, classes: int, image_size: int, device: torch.device) -> float:
        """Seconds of a pass of one image through a network of this structure."""

        def look() -> float:
            network = build_model(model, classes, generator("cpu", "estimate", "network"))
            place_on(network, device)
            return seconds_per_pass(network, image_size, device, self._control)

        return self._once(("pass", model, image_size, device, torch.get_num_threads()), look)

    def _bounds(self, model: ModelConfig, images: Images, *, device: torch.device) -> tuple[float, float]:
        """Seconds of Lipschitz bounds before the first step and after the last."""
        if self._pass(model, images.classes, images.size, device) > SLOW_PASS:
            self.doubts.append("Lipschitz bounds of a network this slow are not in the time.")
            return 0.0, 0.0

        def look() -> tuple[float, float]:
            network = build_model(model, images.classes, generator("cpu", "estimate", "network"))
            place_on(network, device)
            allowed = max(0.5, (self._deadline - time.perf_counter()) / 4)
            return bounds_seconds(
                network, images.size, device=device, control=self._control, seconds=min(LONGEST, allowed)
            )

        return self._once(("bounds", model, images.size, device, torch.get_num_threads()), look)

    def _images(self, data: DataConfig) -> Images:
        images = self._once(("images", data.model_dump_json()), lambda: known_images(data, self._data_root))
        if images.missing:
            self.doubts.append(f"{images.missing} is not on this disk yet: its download is not in the time.")
        return images

    def _start(self, planned: Planned) -> _Start:
        """The network that a run finds before its first stage."""
        config, parent = planned.config, planned.parent
        if config.pretraining is not None and config.source is not None:
            return _Start(config.model, self._images(config.source).classes)
        if isinstance(parent, Path):
            return self._once(("file", parent, config.checkpoint), lambda: _start_of(parent, config))
        if parent is None:
            raise CheckpointError(f"{config.name} has no weights to start from")
        before, own = self._start(parent), parent.config
        data = own.evaluation_data or before.data
        if own.finetuning is not None and own.target is not None:
            before = replace(before, classes=self._images(own.target).classes, path=None)
        return replace(before, data=data, model=config.model or before.model)

    def _warn_of_memory(self, config: RunConfig, needs: _Needs, free: int) -> None:
        assert needs.memory is not None
        over = format_bytes(max(0, needs.memory - free))
        told = f"{self._title(config)} needs about {format_bytes(needs.memory)} of memory, {over} more than is free."
        fits = int((USABLE * free - needs.static) / needs.each) if needs.each else 0
        if 2 <= fits < needs.batch_size:
            told += f" A batch size of about {_round(fits)} would fit."
        else:
            told += " Take a smaller network, or close what else uses the memory."
        self.warnings.append(told)

    def _allowance(self, key: Hashable) -> float:
        """Seconds that the next probe may take."""
        left = (self._deadline - time.perf_counter()) / max(1, len(self._waiting))
        self._waiting.discard(key)
        return min(LONGEST, left)

    def _once(self, key: Hashable, look: Callable[[], Found]) -> Found:
        if key not in self._known:
            self._control.check()
            self._known[key] = look()
        return self._known[key]  # type: ignore[return-value]

    def _title(self, config: RunConfig) -> str:
        return f"{config.name}, seed {config.seed}" if self._several_seeds else config.name


def _start_of(path: Path, config: RunConfig) -> _Start:
    """The network in a file."""
    found = load_network(path, config.checkpoint)
    if found.spec is None:
        return _Start(None, found.num_classes or 0, path)
    return _Start(found.spec.config, len(found.spec.class_names), path, found.spec.data)


def _key(config: RunConfig, stage: StageName) -> Hashable:
    """What decides how long a step of a stage takes, but for the network; equal for runs that differ in numbers alone."""
    machine = config.machine.model_dump_json(exclude={"checkpoint_minutes"})
    if stage == "attack":
        assert config.attack is not None
        data = config.evaluation_data
        return (
            stage,
            config.attack.model_dump_json(exclude=_SAME_ITERATION),
            data and (data.name, data.path),
            machine,
        )
    training, data = getattr(config, stage), config.source if stage == "pretraining" else config.target
    assert data is not None
    left_out: dict[str, bool | set[str]] = dict.fromkeys(_SAME_STEP, True) | {
        "attack": {"epsilon", "step_size"}
    }
    step = training.model_dump_json(exclude=left_out)
    return (
        stage,
        step,
        config.model,
        config.inspection.probe_steps,
        data.name,
        data.path,
        data.image_size,
        machine,
    )


def _watched(config: RunConfig, images: Images) -> int:
    """How many images are looked at while a stage trains."""
    return images.validation or min(config.inspection.probe_size, images.train)


def _warm_epochs(training: PretrainingConfig | FinetuningConfig) -> int:
    """How many of its first epochs train the classifier alone."""
    if isinstance(training, FinetuningConfig) and training.applies("warm_start_epochs"):
        return training.warm_start_epochs
    return 0


def _phase(training: PretrainingConfig | FinetuningConfig, warm: int) -> PretrainingConfig | FinetuningConfig:
    """The same training with another number of such epochs."""
    return training.model_copy(update={"warm_start_epochs": warm}) if _warm_epochs(training) else training


def _kind(attack: Attack) -> Hashable:
    """What decides how long an iteration of a single attack takes, beside the network."""
    config = attack.config
    return config.name, config.norm, config.loss, config.eot if config.applies("eot") else 1


def _round(batch_size: int) -> int:
    """A batch size as people write them."""
    return batch_size // 8 * 8 if batch_size >= 16 else batch_size


def _named(names: Sequence[str]) -> str:
    """The first few of some runs, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return ", ".join(f"“{name}”" for name in distinct[:NAMED]) + more
