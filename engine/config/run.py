"""A run: a chain of stages (pre-training, fine-tuning, attack) over one model, and all its settings."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from engine.config.attack import AttackConfig
from engine.config.base import Ratio, Settings, setting
from engine.config.checkpoint import CheckpointConfig
from engine.config.data import DataConfig
from engine.config.model import ModelConfig
from engine.config.training import FinetuningConfig, PretrainingConfig

StageName = Literal["pretraining", "finetuning", "attack"]
STAGES: tuple[StageName, ...] = ("pretraining", "finetuning", "attack")
STAGE_TITLES: dict[str, str] = {
    "pretraining": "Pre-training",
    "finetuning": "Transfer",
    "attack": "Attack",
}
#: Most characters of a run's name.
MAX_NAME = 80


class InspectionConfig(Settings):
    """What is measured layer by layer while training. Measuring never changes training."""

    probe_size: int = setting(
        64,
        "Probe images",
        "Held-out images (or training images where none are held out) on which clean and adversarial "
        "features are compared; the same ones all through the run.",
        unit="images", ge=2, le=4096,
    )  # fmt: skip
    every_steps: int = setting(
        0, "Also every", "Measure at this step interval too; 0 measures at the end of each epoch.",
        unit="steps", ge=0, le=1_000_000,
    )  # fmt: skip
    probe_steps: int = setting(
        7, "Probe attack", "Steps of the PGD that makes the adversarial probe images.",
        unit="steps", ge=1, le=1000, advanced=True,
    )  # fmt: skip
    probe_epsilon: Ratio = setting(
        0.0, "Probe epsilon",
        "Radius of that attack, with a step size of a quarter of it; 0 takes the radius trained for, else that of the "
        "run's attack.",
        unit="input units", ge=0, le=1, advanced=True,
    )  # fmt: skip
    bounds: bool = setting(
        True, "Lipschitz bounds",
        "Bound the Lipschitz constants of layers, blocks and network: before the first step, between steps within a share "
        "of the time, and with more care after the last step.",
    )  # fmt: skip
    live_share: float = setting(
        0.008, "Share of the time",
        "Largest share of the training time for distances and bounds; the interval of the bounds follows from it. Distances "
        "come at the end of each epoch anyhow. 0 measures no bounds between the first step and the last.",
        ge=0, le=0.5,
    )  # fmt: skip
    examples: int = setting(
        32, "Examples", "Probe images that are kept, clean and attacked, to look at.",
        unit="images", ge=0, le=1000, advanced=True,
    )  # fmt: skip


#: Where to compute.
DeviceName = Literal["auto", "cuda", "mps", "cpu"]


class MachineConfig(Settings):
    """Where and how the run computes."""

    device: DeviceName = setting("auto", "Device", "auto takes CUDA, then MPS, then the CPU.")
    precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Precision",
        "bfloat16 trains faster where the device has it, with coarser rounding; attacks that evaluate always "
        "use float32.",
    )
    threads: int = setting(
        0,
        "CPU threads",
        "Threads of the numerical library on the CPU; 0 lets the program choose and records the choice. "
        "The same number gives the same result bit for bit.",
        unit="threads", ge=0, le=1024, advanced=True,
    )  # fmt: skip
    checkpoint_minutes: float = setting(
        5.0, "Checkpoint every", "Longest time between two checkpoints; one is written after each epoch too.",
        unit="minutes", gt=0, le=1440, advanced=True,
    )  # fmt: skip


class RunConfig(Settings):
    """All settings of one run."""

    name: str = setting(
        "run", "Name", "What the run is called in lists and tables.", min_length=1, max_length=MAX_NAME
    )
    seed: int = setting(0, "Seed", "All randomness of the run is drawn from it.", ge=0, le=2**31 - 1)
    start_from: str = setting(
        "",
        "Start from",
        "Where the weights come from when the run has no pre-training of its own: the name of a run earlier "
        "in the study, a run's id or folder, or a checkpoint file.",
    )
    checkpoint: CheckpointConfig | None = setting(
        None,
        "Checkpoint",
        "What a checkpoint file of another program does not say about its network; only for a run that attacks it.",
    )
    model: ModelConfig | None = setting(
        None, "Model", "The network. Left out, it is that of the run it starts from."
    )
    source: DataConfig | None = setting(None, "Source data", "Images of the source domain, for pre-training.")
    target: DataConfig | None = setting(None, "Target data", "Images of the target domain, for fine-tuning.")
    pretraining: PretrainingConfig | None = setting(None, "Pre-training", "Stage 1, on the source domain.")
    finetuning: FinetuningConfig | None = setting(None, "Transfer", "Stage 2, on the target domain.")
    attack: AttackConfig | None = setting(
        None, "Attack", "Stage 3, on test images of the last domain trained on."
    )
    inspection: InspectionConfig = Field(default=InspectionConfig(), title="Inspection")
    machine: MachineConfig = Field(default=MachineConfig(), title="Machine")

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages this run goes through, in order."""
        return tuple(stage for stage in STAGES if getattr(self, stage) is not None)

    @property
    def evaluation_data(self) -> DataConfig | None:
        """The data whose test images the attack stage uses: the last domain trained on."""
        return self.source if self.pretraining and not self.finetuning else self.target or self.source

    def with_half_batch(self) -> RunConfig:
        """The same run with half the batch size in training and attack; its name ends in batch/2, batch/4 and so on."""
        halves: dict[str, Settings] = {
            stage: part.model_copy(update={"batch_size": max(part.batch_size // 2, 2)})
            for stage in self.stages
            if (part := getattr(self, stage)).batch_size > 2
        }
        before = re.search(r", batch/(\d{1,5})$", self.name)
        ending = f", batch/{2 * int(before[1]) if before else 2}"
        name = self.name[: before.start()] if before else self.name
        return self.model_copy(update={**halves, "name": name[: MAX_NAME - len(ending)] + ending})

    @model_validator(mode="after")
    def _chain_is_whole(self) -> RunConfig:
        problems = []
        if not self.stages:
            problems.append("stages: a run needs at least one of pretraining, finetuning and attack")
        if self.pretraining and self.start_from:
            problems.append("start_from: a run that pre-trains starts from scratch; remove one of the two")
        if not self.pretraining and not self.start_from and self.stages:
            problems.append(
                f"start_from: the {STAGE_TITLES[self.stages[0]].lower()} stage needs weights; name a run or a "
                "checkpoint, or add a pre-training"
            )
        if self.pretraining and self.model is None:
            problems.append("model: a run that pre-trains needs the network")
        if self.pretraining and self.source is None:
            problems.append("source: pre-training needs source data")
        if self.finetuning and self.target is None:
            problems.append("target: fine-tuning needs target data")
        if self.checkpoint is not None:
            if self.stages != ("attack",):
                problems.append(
                    "checkpoint: a network of another program can be attacked, but not trained; leave the checkpoint "
                    "or the training out"
                )
            if self.model is not None:
                problems.append("model: the checkpoint says which network it is; leave the model out")
            if self.target is None:
                problems.append("target: a checkpoint of another program needs the images to attack it on")
        if self.model is not None:
            problems += self._blocks_out_of_range(self.model)
        sizes = {data.image_size for data in (self.source, self.target) if data is not None}
        if len(sizes) > 1:
            problems.append(
                f"target.image_size: source and target must have one size, got {self.source.image_size} "  # type: ignore[union-attr]
                f"and {self.target.image_size}"  # type: ignore[union-attr]
            )
        for stage, domain in (("pretraining", "source"), ("finetuning", "target")):
            training, data = getattr(self, stage), getattr(self, domain)
            if training and data and training.needs_held_out_images and not data.validation_size:
                problems.append(
                    f"{domain}.validation_size: {stage} chooses its weights, or its end, on held-out images, but none "
                    f"are held out; set it above 0, or {stage}.selection to last and {stage}.patience to 0"
                )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _blocks_out_of_range(self, model: ModelConfig) -> list[str]:
        parts = {"finetuning": self.finetuning, "pretraining": self.pretraining}
        return [
            f"{stage}.num_finetuned_blocks: {model.title} has {model.num_blocks} blocks, so k must be "
            f"1 to {model.num_blocks}, got {part.num_finetuned_blocks}"
            for stage, part in parts.items()
            if part is not None
            and part.applies("num_finetuned_blocks")
            and part.num_finetuned_blocks > model.num_blocks
        ]
