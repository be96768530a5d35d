"""What the engine tells: frozen values that the window, the command line and the store all read.

Nothing here depends on torch, h5py or Qt. Arrays are numpy, already on the host.
Shapes: T rows of a table, N blocks, L weighted layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engine.config import ComparisonConfig, ModelConfig, RunConfig, StageName
from engine.errors import Problem

RunState = Literal["created", "running", "paused", "stopped", "finished", "failed", "interrupted"]
#: States in which nothing more will happen unless the user asks.
ENDED: frozenset[str] = frozenset({"paused", "stopped", "finished", "failed", "interrupted"})
#: States from which a run can go on where it stopped.
RESUMABLE: frozenset[str] = frozenset({"paused", "stopped", "failed", "interrupted"})

#: Kinds of failure that a program can do something about: "memory" where the device had too little.
FailureCause = Literal["", "memory"]

TableName = Literal[
    "steps",
    "epochs",
    "layers",
    "bounds",
    "profile",
    "samples",
    "clean",
    "attempts",
    "sweep",
    "examples",
    "probe",
    "machine",
]
#: Columns of one table; every array has T rows, layer columns are [T, N] or [T, L], images [T, 3, H, W].
Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share 0..1 with its 95 % Wilson score interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What one single attack of an evaluation left.

    Attributes:
        title: the attack, such as "APGD-T-100".
        attacked: images that were still robust when it began.
        robust_accuracy: share of all images that no attack has broken so far, this one included: the worst case
            over attacks image by image.
        robust_at_any_step: the same if every iterate counts and not the last alone; None where that is no difference.
        seconds: computing time.
    """

    title: str
    attacked: int
    robust_accuracy: Interval
    robust_at_any_step: Interval | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Robust accuracy of the same attack at another radius (input units) or with another number of steps."""

    epsilon: float
    steps: int
    robust_accuracy: Interval


@dataclass(frozen=True, slots=True)
class AttackWarning:
    """A reason to doubt a robust accuracy.

    Attributes:
        code: what kind it is, such as "gradient_masking"; the same in every language.
        title: one short line, such as "Signs of gradient masking".
        evidence: what it rests on, with numbers.
        advice: what to do.
    """

    code: str
    title: str
    evidence: str
    advice: str


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What the attack stage found. Accuracies are shares 0..1 of `samples` images.

    Attributes:
        data: title of the test images.
        attack: title of the attack; says AutoAttack standard only if all its members ran with their numbers.
        samples: images attacked.
        clean_accuracy: before the attack.
        robust_accuracy: worst case over all single attacks, restarts and targets, image by image.
        seconds: computing time.
        robust_at_any_step: where the attack is judged at its last iterate: the figure if any iterate counts.
        members: the single attacks in order.
        sweep: the attack at other radii and numbers of steps.
        warnings: reasons for doubt.
        notes: what had to be changed, such as attacks left out for few classes.
    """

    data: str
    attack: str
    samples: int
    clean_accuracy: Interval
    robust_accuracy: Interval
    seconds: float
    robust_at_any_step: Interval | None = None
    members: tuple[MemberResult, ...] = ()
    sweep: tuple[SweepResult, ...] = ()
    warnings: tuple[AttackWarning, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunLabel:
    """What a user wrote on a run; it changes nothing about the run itself.

    Attributes:
        title: shown in place of the run's name; empty where it was not renamed.
        tags: short words, sorted, none twice.
        star: whether it is marked as important.
        notes: free text.
        archived: whether lists leave it out unless asked.
    """

    title: str = ""
    tags: tuple[str, ...] = ()
    star: bool = False
    notes: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of the run list. Times are seconds; `created` is Unix time; `progress` is 0..1 of the whole run.

    `parent` is the id of the run whose weights it starts from, empty if there is none in the workspace.
    `cause` is what a failed run failed of, where a program can do something about it.
    """

    id: str
    name: str
    study: str
    path: str
    state: RunState
    config: RunConfig
    reason: str = ""
    stage: StageName | None = None
    progress: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    created: float = 0.0
    device: str = ""
    result: AttackResult | None = None
    parent: str = ""
    label: RunLabel = RunLabel()
    cause: FailureCause = ""

    @property
    def title(self) -> str:
        """What lists call it: the name that the user gave it, else that of its settings."""
        return self.label.title or self.name


@dataclass(frozen=True, slots=True)
class AttackPoint:
    """One radius and number of steps at which robust accuracy is measured.

    Attributes:
        epsilon: radius in input units.
        steps: of the attack; 0 where it counts none.
        members: titles of the single attacks in order.
        white_box: whether each of them uses gradients of the attacked network.
    """

    epsilon: float
    steps: int
    members: tuple[str, ...]
    white_box: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class StageLayout:
    """What one stage of a run will fill in, known before it starts.

    Attributes:
        stage: which stage.
        title: for people, such as "Pre-training (FDM, k = 4) on letters".
        epochs: number of epochs; 0 for the attack stage.
        steps_per_epoch: optimiser updates per epoch; 0 for the attack stage.
        samples: images attacked; 0 for a training stage.
        block_names: one name per block 1..N, from the input.
        layer_names: one name per weighted layer (convolution or linear), from the input.
        layer_blocks: number 1..N of the block each weighted layer belongs to; 0 for the stem.
        layer_kinds: what each is: "conv", "grouped conv", "depthwise conv" or "linear"; empty in old files.
        layer_shapes: its shape for people, such as "3x3, 16 to 32, stride 2"; empty in old files.
        layer_parameters: how many parameters it has; empty in old files.
        boundary: number of frozen blocks (N - k) where a border between frozen and trained blocks exists or
            is prepared for (FDM); None where there is none.
        probe: attack and images behind the accuracies and distances, such as
            "PGD-7, Linf 16/255, on 128 held-out images".
        penalty: what the loss adds to the cross-entropy, such as "λ·feature distance"; empty if nothing.
        points: where the attack stage measures; the first is its headline, the others make the sweep.
        image_size: width and height of the images in pixels.
        class_names: of the images, in the order of their numbers 0..K-1; empty in old files.
    """

    stage: StageName
    title: str
    epochs: int = 0
    steps_per_epoch: int = 0
    samples: int = 0
    block_names: tuple[str, ...] = ()
    layer_names: tuple[str, ...] = ()
    layer_blocks: tuple[int, ...] = ()
    layer_kinds: tuple[str, ...] = ()
    layer_shapes: tuple[str, ...] = ()
    layer_parameters: tuple[int, ...] = ()
    boundary: int | None = None
    probe: str = ""
    penalty: str = ""
    points: tuple[AttackPoint, ...] = ()
    image_size: int = 0
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything measured in a run, read from its files or gathered from its events.

    `attack` is how far its attack stage is, None before it has begun; `weights_sha256` are the SHA-256 of the files of
    `weights`, where they are kept.
    """

    run: RunInfo
    layouts: Mapping[StageName, StageLayout] = field(default_factory=dict)
    tables: Mapping[StageName, Mapping[TableName, Columns]] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    weights: tuple[StageName, ...] = ()
    attack: AttackProgress | None = None
    weights_sha256: Mapping[StageName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """The device that `auto` takes, and what was tried: pairs of device and finding."""

    chosen: str
    name: str
    tried: tuple[tuple[str, str], ...]
    bfloat16: bool
    threads: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class EngineReady:
    """Torch is imported and the device is known."""

    device: DeviceReport


@dataclass(frozen=True, slots=True)
class RunsListed:
    """The runs of the workspace, newest first.

    Attributes:
        runs: all of them.
        read_only: says who holds the lock if this process does not.
        questions: what each study asks its results, by title.
        binned: those in the bin, which are no part of `runs`.
    """

    runs: tuple[RunInfo, ...]
    read_only: str = ""
    questions: Mapping[str, tuple[ComparisonConfig, ...]] = field(default_factory=dict)
    binned: tuple[RunInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run was created, changed its state, or came further."""

    run: RunInfo


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began, or went on after a pause."""

    run_id: str
    layout: StageLayout


@dataclass(frozen=True, slots=True)
class RowsAdded:
    """New rows of one table; the same values are on their way to the run's file."""

    run_id: str
    stage: StageName
    table: TableName
    columns: Columns


@dataclass(frozen=True, slots=True)
class AttackProgress:
    """How far an evaluation is.

    Attributes:
        run_id: the run.
        done, total: images that the pass under way (one restart or target of one attack) has dealt with, of how many.
        clean_accuracy: share 0..1 of the images looked at so far.
        robust_accuracy: share of all images that nothing has broken so far: never below the final figure. Of the
            headline also while the sweep is measured.
        title: the single attack under way, "Clean images" before the first; "" when all is done.
        number, count: which of how many single attacks that is, from 1, those of the sweep counted too.
        point: 0 for the headline, else which radius or number of steps of the sweep.
        seconds_left: of the single attack under way; None while nothing is known.
        members: the single attacks of the headline that are finished. The last one's figure is provisional as long
            as others follow.
        share: of the work of the single attack under way that is done, 0..1, as far as can be told.
    """

    run_id: str
    done: int
    total: int
    clean_accuracy: float
    robust_accuracy: float
    title: str = ""
    number: int = 0
    count: int = 0
    point: int = 0
    seconds_left: float | None = None
    members: tuple[MemberResult, ...] = ()
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is on disk and verified."""

    run_id: str
    stage: StageName
    step: int
    path: str


@dataclass(frozen=True, slots=True)
class LogAdded:
    """One line for the log; `run_id` is None for the engine itself."""

    run_id: str | None
    time: float
    level: Literal["info", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Downloading:
    """A data set is being fetched; sizes in bytes, `total` 0 if unknown."""

    run_id: str
    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RunOpened:
    """Answer to `Session.open_run`."""

    record: RunRecord


@dataclass(frozen=True, slots=True)
class InspectionProgress:
    """How far `Session.inspect` is: what it does now, and the share 0..1 of its work that is done."""

    title: str
    share: float


@dataclass(frozen=True, slots=True)
class NetworkInspected:
    """Answer to `Session.inspect`: one row of the tables layers and bounds, and the tables probe and examples.

    `record.run.id` is the path of the inspected file; `record` is None if it was cancelled.
    """

    record: RunRecord | None


@dataclass(frozen=True, slots=True)
class ExamplesAttacked:
    """Answer to `Session.attack_examples`: the images of a stage's gallery, attacked anew within another radius.

    Attributes:
        run_id, stage: whose gallery.
        attack: title of the attack.
        epsilon: radius in input units.
        examples, probe: the tables of these names, with the same images in the same order.
    """

    run_id: str
    stage: StageName
    attack: str
    epsilon: float
    examples: Columns
    probe: Columns


@dataclass(frozen=True, slots=True)
class ForeignWeights:
    """What a checkpoint of the CARTL authors' code tells about itself.

    Attributes:
        model: architecture, from names and shapes.
        num_classes: K.
        constrained_blocks: numbers 1..N of the blocks with spectrally normalised weights.
        mean, std: of the pixels, red, green and blue, in input units, if the file holds them.
        dropped: entries that are no part of the network's weights.
    """

    model: ModelConfig
    num_classes: int
    constrained_blocks: tuple[int, ...] = ()
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedWeights:
    """What an import made: what was found, what was said, and what is worth knowing.

    Attributes:
        found: what the file told.
        data: title of the data that the network was last trained on.
        halved_blocks: among how many last blocks residual sums are halved.
        mean, std: of the pixels, red, green and blue, in input units.
        normalisation_from: where these come from, for people.
        notes: sentences for the user.
    """

    found: ForeignWeights
    data: str
    halved_blocks: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalisation_from: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsRecognised:
    """Answer to `Session.recognise_weights`."""

    path: str
    found: ForeignWeights


@dataclass(frozen=True, slots=True)
class Exported:
    """A file asked for was written; `imported` says from what, if it came from a foreign checkpoint."""

    path: str
    imported: ImportedWeights | None = None


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Something asked for could not be done.

    `details` is for copying into a report; `problems` are the settings that cannot be used, with their places.
    """

    request: str
    message: str
    details: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """The queue as it is now: ids of the waiting runs in order (without the running one), and whether it is held."""

    order: tuple[str, ...]
    paused: bool = False


@dataclass(frozen=True, slots=True)
class RunsBinned:
    """These runs were moved to the bin; `Session.restore` brings them back, each told by `RunChanged`."""

    runs: tuple[RunInfo, ...]


@dataclass(frozen=True, slots=True)
class BinEmptied:
    """What was in the bin is deleted for good."""


@dataclass(frozen=True, slots=True)
class MachineSample:
    """What the machine was doing at one moment; None where it cannot be told.

    Attributes:
        time: Unix time in seconds.
        processor: share 0..1 of all cores that is busy.
        memory, memory_total: bytes of main memory in use and there are.
        device: name of the accelerator; empty without one.
        device_load: share 0..1 of the time that it was computing.
        device_memory, device_memory_total: bytes of its memory in use, by all programs, and there are.
        temperature: of the accelerator, else of the processor, in degrees Celsius.
        disk_free: bytes free where the workspace is.
    """

    time: float
    processor: float | None = None
    memory: int | None = None
    memory_total: int | None = None
    device: str = ""
    device_load: float | None = None
    device_memory: int | None = None
    device_memory_total: int | None = None
    temperature: float | None = None
    disk_free: int | None = None


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What one run of a study will take.

    Attributes:
        name, seed: which run.
        seconds: computing time.
        memory: bytes of device memory at its peak (of main memory on a CPU); None if it could not be measured.
        disk: bytes that it leaves on disk.
    """

    name: str
    seed: int
    seconds: float
    memory: int | None
    disk: int


@dataclass(frozen=True, slots=True)
class StudyEstimated:
    """Answer to `Session.estimate`, of all runs of a study that have to be made.

    Attributes:
        runs: one for each.
        device: where they would be computed.
        probe_seconds: what measuring took.
        memory_free: bytes free on the device; None if unknown.
        disk_free: bytes free where the workspace is.
        doubts: what makes the figures less sure, such as a data set that is not on disk yet.
        warnings: what will not fit, each with what to do.
    """

    runs: tuple[RunEstimate, ...]
    device: str
    probe_seconds: float
    memory_free: int | None
    disk_free: int
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Computing time of all runs, one after the other."""
        return sum(run.seconds for run in self.runs)

    @property
    def disk(self) -> int:
        """Bytes that all runs leave on disk."""
        return sum(run.disk for run in self.runs)

    @property
    def memory(self) -> int | None:
        """Bytes of device memory that the largest run needs."""
        return max((run.memory for run in self.runs if run.memory is not None), default=None)


@dataclass(frozen=True, slots=True)
class QueueEmpty:
    """The last queued run has ended; or, with `paused`, the queue waits for `Session.resume`."""

    paused: bool = False


EngineEvent = (
    EngineReady
    | RunsListed
    | RunChanged
    | StageStarted
    | RowsAdded
    | AttackProgress
    | CheckpointSaved
    | LogAdded
    | Downloading
    | RunOpened
    | InspectionProgress
    | NetworkInspected
    | ExamplesAttacked
    | WeightsRecognised
    | Exported
    | RequestFailed
    | QueueChanged
    | QueueEmpty
    | RunsBinned
    | BinEmptied
    | MachineSample
    | StudyEstimated
)
