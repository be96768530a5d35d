"""Settings of the two trainings: pre-training on the source and fine-tuning on the target."""

from __future__ import annotations

import itertools
from typing import Literal, Self

from pydantic import model_validator

from engine.config.attack import TrainingAttackConfig
from engine.config.base import Settings, setting

PretrainingMethod = Literal["natural", "adversarial", "trades", "fdm"]
TransferMethod = Literal["vanilla", "neft", "linear_probe", "full", "lwf", "adversarial"]
ScheduleName = Literal["constant", "milestones", "cosine", "one_cycle"]
SelectionRule = Literal["last", "best", "best_on_training_batches"]


class AugmentationConfig(Settings):
    """Random changes of the training images, drawn on the device from the run's seed."""

    crop_padding: int = setting(
        0,
        "Crop padding",
        "Pad the image with black on each side, then crop it back at a random place.",
        unit="pixels", ge=0, le=32,
    )  # fmt: skip
    horizontal_flip: bool = setting(
        False, "Horizontal flip", "Mirror every image with probability one half. Wrong for characters."
    )
    rotation: float = setting(
        0.0,
        "Rotation",
        "Turn every image by a random angle of at most this size.",
        unit="degrees",
        ge=0,
        le=180,
    )


class TrainingConfig(Settings):
    """What every training has: length, optimiser and schedule."""

    epochs: int = setting(
        12,
        "Epochs",
        "Passes over the training images.",
        unit="epochs",
        proposed=(10, 30, 100),
        ge=1,
        le=10_000,
    )
    batch_size: int = setting(
        64,
        "Batch size",
        "Images per optimiser update.",
        unit="images",
        proposed=(64, 128, 256),
        ge=2,
        le=65_536,
    )
    learning_rate: float = setting(
        0.1, "Learning rate", "Peak learning rate of SGD.", proposed=(0.1, 0.01, 0.001), gt=0, le=10
    )  # fmt: skip
    schedule: ScheduleName = setting(
        "one_cycle",
        "Schedule",
        "constant keeps the rate; milestones warms up linearly, then multiplies by the decay factor at each "
        "milestone (the authors' rule); cosine warms up linearly, then falls to zero along half a cosine; "
        "one_cycle rises over the first 30 % of training and falls to zero along a cosine.",
    )
    warm_up_epochs: int = setting(
        1, "Warm-up", "Epochs over which the rate rises linearly from zero.", unit="epochs", ge=0, le=1000,
        shown_if={"schedule": ("milestones", "cosine")},
    )  # fmt: skip
    milestones: list[int] = setting(
        [40, 70, 90], "Milestones", "Epochs after which the rate is multiplied by the decay factor.",
        unit="epochs", proposed=("40, 70, 90",), shown_if={"schedule": ("milestones",)}, max_length=50,
    )  # fmt: skip
    decay_factor: float = setting(
        0.2, "Decay factor", "What each milestone multiplies the rate by.", gt=0, le=1,
        shown_if={"schedule": ("milestones",)},
    )  # fmt: skip
    momentum: float = setting(0.9, "Momentum", "Momentum of SGD.", ge=0, lt=1, advanced=True)
    weight_decay: float = setting(
        5e-4,
        "Weight decay",
        "L2 penalty on all trained weights.",
        proposed=(0.0, 2e-4, 5e-4),
        ge=0,
        le=1,
        advanced=True,
    )
    augmentation: AugmentationConfig = setting(
        AugmentationConfig(), "Augmentation", "Random changes of the training images."
    )
    selection: SelectionRule = setting(
        "last",
        "Weights to keep",
        "last keeps those after the last step; best those of the epoch with the highest robust accuracy (PGD) on "
        "images held out from the training data; best_on_training_batches those of the epoch with the highest "
        "accuracy on the images trained on, adversarial ones in adversarial training (the authors' rule, "
        "optimistic). Test images are never looked at.",
    )
    patience: int = setting(
        0, "Stop early after", "End the training once this many epochs in a row brought no better one by the rule "
        "above (with last: by robust accuracy on held-out images); 0 never ends it early.",
        unit="epochs", ge=0, le=10_000, advanced=True,
    )  # fmt: skip
    averaging: float = setting(
        0.0, "Weight averaging", "Decay of an exponential moving average of the weights, such as 0.999. The "
        "average is then what is measured, selected and kept; 0 averages nothing.", proposed=(0.0, 0.995, 0.999),
        ge=0, lt=1, advanced=True,
    )  # fmt: skip

    @property
    def needs_held_out_images(self) -> bool:
        """Whether the weights to keep, or the end of the training, are chosen on held-out images."""
        return self.selection == "best" or (self.selection == "last" and self.patience > 0)

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if any(later <= earlier for earlier, later in itertools.pairwise([0, *self.milestones])):
            raise ValueError(
                f"milestones: expected epochs in rising order, the first at least 1, got {self.milestones}"
            )
        return self


class PretrainingConfig(TrainingConfig):
    """Stage 1: train on the source domain."""

    method: PretrainingMethod = setting(
        "fdm",
        "Method",
        "natural trains on clean images; adversarial on PGD examples (Madry et al.); trades on clean images "
        "with a penalty on how far PGD moves the prediction (Zhang et al.); fdm adds feature distance "
        "minimisation to adversarial training (CARTL, section 3).",
        short={"adversarial": "AT", "trades": "TRADES", "fdm": "FDM"},
    )
    num_finetuned_blocks: int = setting(
        4,
        "Blocks to fine-tune later (k)",
        "Feature distance is minimised at the input of the last k blocks, the border between what transfer "
        "freezes and what it trains.",
        unit="blocks", proposed=(4, 6, 8), source="CARTL, section 3",
        ge=1, le=100, shown_if={"method": ("fdm",)}, symbol="k",
    )  # fmt: skip
    feature_weight: float = setting(
        0.005,
        "Feature weight (lambda)",
        "Weight of the feature distance, which is summed over the batch as in the authors' code: doubling "
        "the batch doubles its share.",
        proposed=(0.001, 0.005, 0.01), source="CARTL, section 3",
        ge=0, le=1000, shown_if={"method": ("fdm",)}, symbol="lambda",
    )  # fmt: skip
    kl_weight: float = setting(
        6.0, "Divergence weight (1/lambda)", "Weight of the Kullback-Leibler divergence between the predictions "
        "for clean and adversarial images, a mean over the batch; 6 is the TRADES authors' choice.",
        proposed=(1.0, 6.0), source="Zhang et al., ICML 2019 (TRADES)",
        ge=0, le=1000, shown_if={"method": ("trades",)}, symbol="1/lambda",
    )  # fmt: skip
    attack: TrainingAttackConfig = setting(
        TrainingAttackConfig(),
        "Training attack",
        "PGD that makes the adversarial training examples. TRADES attacks the divergence and always starts "
        "near the image, as its authors do.",
        shown_if={"method": ("adversarial", "trades", "fdm")},
    )
    epsilon_ramp: float = setting(
        0.0,
        "Epsilon ramp",
        "Share of the training over which epsilon and step size rise linearly from zero to their full size. "
        "Small networks may not learn without it.",
        proposed=(0.0, 0.4), ge=0, le=1, shown_if={"method": ("adversarial", "trades", "fdm")},
    )  # fmt: skip

    @property
    def feature_weight_per_sample(self) -> float:
        """lambda times the batch size: the weight of one image's distance beside its own cross-entropy.

        The loss is mean cross-entropy + lambda * summed distance, so only this product tells how strong FDM is.
        """
        return self.feature_weight * self.batch_size

    def hints(self) -> dict[str, str]:
        """What lambda is worth per sample, so that another batch size is no silent change of it."""
        if not self.applies("feature_weight"):
            return {}
        worth = f"{self.feature_weight_per_sample:.4g}"
        return {"feature_weight": f"{worth} per sample at batch size {self.batch_size}"}


class BatchNormPolicy(Settings):
    """How fine-tuning treats batch norm: three independent switches. The trunk's affine parameters are always frozen.

    Where all layers are trained (full, lwf) there is no trunk: every layer counts as the head's.
    """

    freeze_affine: bool = setting(
        True,
        "Freeze affine in the head",
        "Keep scale and shift of the head's batch-norm layers as the source left them.",
    )
    keep_head_statistics: bool = setting(
        False,
        "Keep head statistics",
        "Use the source's running mean and variance in the head, also while training.",
    )
    keep_trunk_statistics: bool = setting(
        True, "Keep trunk statistics", "Use the source's running mean and variance in the frozen trunk."
    )


class FinetuningConfig(TrainingConfig):
    """Stage 2: transfer to the target domain."""

    method: TransferMethod = setting(
        "neft",
        "Method",
        "vanilla trains the last k blocks as they are; neft (non-expansive fine-tuning, CARTL section 3) "
        "bounds the spectral norm of each of their layers and halves their residual sums; linear_probe trains "
        "the classifier alone on fixed features; full trains all layers; lwf trains all layers and holds the "
        "features near the source model's (Shafahi et al.); adversarial trains the last k blocks on PGD "
        "examples, the costly upper reference.",
        short={"neft": "NEFT", "lwf": "LwF", "full": "full fine-tuning"},
    )
    num_finetuned_blocks: int = setting(
        4, "Fine-tuned blocks (k)", "How many of the last blocks are trained; the rest is frozen.",
        unit="blocks", proposed=(4, 6, 8), source="CARTL, section 3",
        ge=1, le=100, shown_if={"method": ("vanilla", "neft", "adversarial")}, symbol="k",
    )  # fmt: skip
    spectral_bound: float = setting(
        0.4,
        "Spectral bound (beta)",
        "Each trained weight is used as beta * W / sigma(W), sigma its largest singular value when reshaped "
        "to (out, in*kh*kw).",
        proposed=(0.4, 0.6, 0.8, 1.0), source="CARTL, section 3 (non-expansive fine-tuning)",
        gt=0, le=100, shown_if={"method": ("neft",)}, symbol="beta",
    )  # fmt: skip
    power_iterations: int = setting(
        1, "Power iterations", "Power-iteration steps on sigma per training step.", ge=1, le=100,
        shown_if={"method": ("neft",)}, advanced=True,
    )  # fmt: skip
    feature_weight: float = setting(
        0.01, "Feature weight (lambda)", "Weight of the L1 distance between the pooled feature and the source "
        "model's, a mean over the batch. The authors' values: 0.1, 0.01, 0.005, 0.001.",
        proposed=(0.1, 0.01, 0.005, 0.001), source="Shafahi et al., ICLR 2020",
        ge=0, le=1000, shown_if={"method": ("lwf",)}, symbol="lambda",
    )  # fmt: skip
    warm_start_epochs: int = setting(
        0, "Warm start", "First epochs, in which only the classifier is trained, on the source model's fixed "
        "features. The authors: half of the epochs.",
        unit="epochs", source="Shafahi et al., ICLR 2020",
        ge=0, le=10_000, shown_if={"method": ("lwf",)},
    )  # fmt: skip
    attack: TrainingAttackConfig = setting(
        TrainingAttackConfig(), "Training attack", "PGD that makes the adversarial training examples.",
        shown_if={"method": ("adversarial",)},
    )  # fmt: skip
    batch_norm: BatchNormPolicy = setting(
        BatchNormPolicy(),
        "Batch norm",
        "What happens to batch norm while fine-tuning.",
        shown_if={"method": ("vanilla", "neft", "full", "lwf", "adversarial")},
    )

    @model_validator(mode="after")
    def _warm_start_ends(self) -> Self:
        if self.method == "lwf" and self.warm_start_epochs > self.epochs:
            raise ValueError(
                f"warm_start_epochs: expected at most the {self.epochs} epochs of the training, got "
                f"{self.warm_start_epochs}"
            )
        return self
