"""Settings of attacks: the one inside adversarial training and the one that evaluates."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.config.base import Ratio, Settings, format_ratio, setting

AttackName = Literal["pgd"]


class PgdConfig(Settings):
    """Projected gradient descent in the Linf ball (Madry et al., ICLR 2018)."""

    epsilon: Ratio = setting(
        8 / 255,
        "Epsilon",
        "Radius of the Linf ball around each image. Pixels lie in 0..1; 8/255 may be typed.",
        unit="input units",
        gt=0,
        le=1,
    )
    step_size: Ratio = setting(
        2 / 255,
        "Step size",
        "How far one attack step moves each pixel.",
        unit="input units",
        gt=0,
        le=1,
    )
    steps: int = setting(7, "Steps", "Iterations of the attack.", unit="steps", ge=1, le=10_000)
    random_start: bool = setting(
        True, "Random start", "Begin at a uniformly drawn point of the ball instead of the image itself."
    )

    @model_validator(mode="after")
    def _step_within_ball(self) -> PgdConfig:
        if self.step_size > 2 * self.epsilon:
            raise ValueError(
                f"step_size: {format_ratio(self.step_size)} is more than the whole ball is wide "
                f"(2 x epsilon = 2 x {format_ratio(self.epsilon)}), so every step is cut back to the "
                "border; use a step of about 2.5 x epsilon / steps"
            )
        return self


class TrainingAttackConfig(PgdConfig):
    """The attack that makes the training examples."""


class AttackConfig(PgdConfig):
    """Stage 3: attack the finished model on test images."""

    name: AttackName = setting("pgd", "Attack", "pgd is projected gradient descent on the cross-entropy.")
    steps: int = setting(20, "Steps", "Iterations of the attack.", unit="steps", ge=1, le=10_000)
    restarts: int = setting(
        1,
        "Restarts",
        "Independent starts. An image counts as robust only if every one of them fails.",
        ge=1,
        le=1000,
    )
    batch_size: int = setting(
        250, "Batch size", "Images attacked together; changes the speed, not the result.", unit="images",
        ge=1, le=100_000,
    )  # fmt: skip
    samples: int = setting(
        0, "Test images", "How many test images to attack; 0 attacks all.", unit="images", ge=0, le=10_000_000
    )

    @model_validator(mode="after")
    def _restarts_differ(self) -> AttackConfig:
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: without a random start every restart is the same; use 1")
        return self

    @property
    def title(self) -> str:
        """Everything a robust accuracy needs beside it: "PGD-20, Linf 8/255, 1 restart"."""
        plural = "s" if self.restarts != 1 else ""
        return (
            f"{self.name.upper()}-{self.steps}, Linf {format_ratio(self.epsilon)}, "
            f"{self.restarts} restart{plural}"
        )
