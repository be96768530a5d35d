"""An invented evaluation, event by event as the engine tells it: clean images, attempts, progress, sweep, result.

Each image has a number 0..1 drawn once; it is right below `CLEAN` and robust at a point below a share that falls with the
radius and from attack to attack, so that every table and figure agrees with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.config import ATTACKS, AttackConfig, members_of
from engine.events import (
    AttackPoint,
    AttackProgress,
    AttackResult,
    AttackWarning,
    EngineEvent,
    Interval,
    MemberResult,
    RowsAdded,
    StageLayout,
    SweepResult,
    TableName,
)
from engine.statistics import wilson
from tests.gui.scripted_layers import IMAGE_SIZE, NETWORK, example_rows, layer_rows, probe_rows

BATCH = 50
CLASSES = 10
CLEAN = 0.86
#: How many more images an attack leaves robust than the whole evaluation, by its name.
WEAKER = {"apgd_ce": 0.05, "apgd_dlr": 0.04, "apgd_t": 0.002}
#: Seconds that an attack takes over a batch of 50.
SECONDS = 1.7

MASKING = AttackWarning(
    "gradient_masking",
    "Signs of gradient masking",
    "Square broke 9 of 212 images (4.2 %, at least 2.3 %) that all attacks with gradients had left. At epsilon 128/255, "
    "where every image can be turned into the same grey one, 31.0 % are still robust.",
    "Attack with autoattack too, or set loss to margin or dlr, or use square, which needs no gradients; the lowest figure "
    "counts.",
)
WEAK = AttackWarning(
    "weak_attack",
    "The attack is weak: an upper bound only",
    "5 steps are fewer than 10, which seldom converge.",
    "Set steps to 20 or more, or attack with autoattack.",
)
NOTE = "APGD-T-100 aims at 3 instead of 9 classes: there are no more"


def attack_layout(config: AttackConfig) -> StageLayout:
    """The layout of an attack stage, with its sweep."""
    points = [
        config.at(epsilon=epsilon) for epsilon in sorted(config.sweep_epsilon) if epsilon != config.epsilon
    ]
    points += [config.at(steps=steps) for steps in sorted(config.sweep_steps) if steps != config.steps]
    return StageLayout(
        "attack",
        f"{config.title} on {config.samples} test images of digits",
        samples=config.samples,
        points=tuple(_point(point) for point in [config, *points]),
        image_size=IMAGE_SIZE,
        **NETWORK,
    )


def _point(config: AttackConfig) -> AttackPoint:
    members = members_of(config, CLASSES)[0]
    return AttackPoint(
        config.epsilon,
        config.steps if config.applies("steps") else 0,
        tuple(member.label for member in members),
        tuple(ATTACKS[member.name].white_box for member in members),
    )


@dataclass
class ScriptedAttack:
    """One evaluation. `warnings` and `notes` come with the result."""

    run_id: str
    config: AttackConfig
    seed: int = 0
    warnings: tuple[AttackWarning, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.layout = attack_layout(self.config)
        self.samples = random.permutation(self.layout.samples)
        self.label = self.samples % CLASSES
        self.draw = random.random(self.layout.samples) + 0.012 * (self.label - 5)
        self.correct = self.draw < CLEAN
        self.members: list[MemberResult] = []
        self.sweep: list[SweepResult] = []
        self._row = 0

    def robust_below(self, point: int, member: int) -> float:
        """Images with a draw below it are left by a single attack and those before it."""
        layout = self.layout.points[point]
        reached = layout.epsilon / self.config.epsilon
        share = CLEAN - (CLEAN - 0.52) * reached**0.8
        if layout.steps:
            share += 0.06 * (20 / layout.steps - 1) / 4
        name = members_of(self.config, CLASSES)[0][member].name
        return max(0.0, share + WEAKER.get(name, 0.0))

    def events(self) -> Iterator[EngineEvent]:
        """Everything that the engine tells after `StageStarted`, but for the result."""
        yield from self._clean()
        for point in range(len(self.layout.points)):
            yield from self._attacks(point)
        end, members = self._count(), tuple(self.members)
        robust = self.members[-1].robust_accuracy.value
        yield AttackProgress(
            self.run_id, 0, 0, float(self.correct.mean()), robust, "", end, end, members=members, share=1.0
        )
        yield from self._conclusion()

    def result(self, data: str = "digits test images") -> AttackResult:
        """What the run ends with, after all events were taken."""
        count = self.layout.samples
        robust = self.correct & (self.draw < self.robust_below(0, len(self.layout.points[0].members) - 1))
        judged = self.config.applies("judged_at") and self.config.judged_at == "last_step"
        return AttackResult(
            data,
            self.config.title,
            count,
            wilson(int(self.correct.sum()), count),
            wilson(int(robust.sum()), count),
            sum(member.seconds for member in self.members),
            robust_at_any_step=wilson(int(robust.sum()) - 2, count) if judged else None,
            members=tuple(self.members),
            sweep=tuple(sorted(self.sweep, key=lambda found: (found.epsilon, found.steps))),
            warnings=self.warnings,
            notes=self.notes,
        )

    def _clean(self) -> Iterator[EngineEvent]:
        total, right = self.layout.samples, 0
        for first in range(0, total, BATCH):
            part = slice(first, first + BATCH)
            correct = self.correct[part]
            right += int(correct.sum())
            rows = {
                "row": np.arange(first, first + len(correct)),
                "sample": self.samples[part],
                "label": self.label[part],
                "prediction": np.where(correct, self.label[part], (self.label[part] + 3) % CLASSES),
                "correct": correct.astype("u1"),
                "confidence": np.full(len(correct), 0.8, "f4"),
                "margin": (CLEAN - self.draw[part]).astype("f4"),
            }
            yield RowsAdded(self.run_id, "attack", "clean", rows)
            share = right / (first + len(correct))
            yield AttackProgress(
                self.run_id, first + len(correct), total, share, share, "Clean images", 0, self._count()
            )

    def _attacks(self, point: int) -> Iterator[EngineEvent]:
        layout, total = self.layout.points[point], self.layout.samples
        alive = self.correct.copy()
        for member, title in enumerate(layout.members):
            attacked = alive.nonzero()[0]
            left = alive & (self.draw < self.robust_below(point, member))
            for first in range(0, len(attacked), BATCH):
                places = attacked[first : first + BATCH]
                yield RowsAdded(
                    self.run_id, "attack", "attempts", self._attempts(point, member, places, left)
                )
                alive[places] = left[places]
                headline = alive if point == 0 else self.correct & (self.draw < self.robust_below(0, -1))
                rest = (len(attacked) - first - len(places)) / BATCH * SECONDS
                yield AttackProgress(
                    self.run_id,
                    first + len(places),
                    len(attacked),
                    float(self.correct.mean()),
                    float(headline.mean()),
                    title,
                    sum(len(self.layout.points[earlier].members) for earlier in range(point)) + member + 1,
                    self._count(),
                    point,
                    rest,
                    tuple(self.members),
                    (first + len(places)) / len(attacked),
                )
            if point == 0:
                judged = self.config.applies("judged_at") and self.config.judged_at == "last_step"
                robust = int(alive.sum())
                self.members.append(
                    MemberResult(
                        title,
                        len(attacked),
                        wilson(robust, total),
                        wilson(robust - 2, total) if judged else None,
                        -(-len(attacked) // BATCH) * SECONDS,
                    )
                )
        self.sweep.append(SweepResult(layout.epsilon, layout.steps, wilson(int(alive.sum()), total)))

    def _attempts(
        self, point: int, member: int, places: np.ndarray, left: np.ndarray
    ) -> dict[str, np.ndarray]:
        count, broken = len(places), ~left[places]
        row = np.arange(self._row, self._row + count)
        self._row += count
        constant = {"point": point, "member": member, "restart": 0, "target": -1, "steps": 20, "seed": 1}
        return {
            "row": row,
            "sample": self.samples[places],
            **{name: np.full(count, value) for name, value in constant.items()},
            "broken": broken.astype("u1"),
            "broken_on_the_way": broken.astype("u1"),
            "prediction": np.where(broken, (self.label[places] + 7) % CLASSES, self.label[places]),
            "margin": np.where(broken, -0.1, 0.1).astype("f4"),
            "norm": np.full(count, self.layout.points[point].epsilon, "f4"),
            "certified": np.ones(count, "u1"),
        }

    def _conclusion(self) -> Iterator[EngineEvent]:
        if len(self.sweep) < 2:
            self.sweep = []
        if self.sweep:
            ordered = sorted(self.sweep, key=lambda found: (found.epsilon, found.steps))
            shares: list[Interval] = [found.robust_accuracy for found in ordered]
            yield RowsAdded(
                self.run_id,
                "attack",
                "sweep",
                {
                    "epsilon": np.array([found.epsilon for found in ordered]),
                    "steps": np.array([found.steps for found in ordered]),
                    "robust_accuracy": np.array([share.value for share in shares], "f4"),
                    "robust_accuracy_errors": np.array(
                        [(share.high - share.low) / 2 for share in shares], "f4"
                    ),
                },
            )
        for table, rows in self._examples().items():
            yield RowsAdded(self.run_id, "attack", table, rows)
        order = np.argsort(self.samples)
        robust = self.correct & (self.draw < self.robust_below(0, -1))
        columns = {
            "sample": self.samples,
            "label": self.label,
            "clean_prediction": np.where(self.correct, self.label, (self.label + 3) % CLASSES),
            "adversarial_prediction": np.where(robust, self.label, (self.label + 7) % CLASSES),
            "clean_correct": self.correct.astype("u1"),
            "robust": robust.astype("u1"),
            "restart": np.where(self.correct & ~robust, 0, -1),
            "attempt": np.full(len(order), -1),
            "margin": np.where(robust, 0.1, -0.1).astype("f4"),
        }
        yield RowsAdded(
            self.run_id, "attack", "samples", {name: values[order] for name, values in columns.items()}
        )

    def _examples(self) -> dict[TableName, dict[str, np.ndarray]]:
        """The images of the gallery, and how far apart their features are."""
        network = replace(self.layout, epochs=1, steps_per_epoch=1)
        probe = probe_rows(self.layout, layer_rows(network, 1, np.random.default_rng(self.seed)))
        return {"probe": probe, "examples": example_rows(probe)}

    def _count(self) -> int:
        return sum(len(point.members) for point in self.layout.points)
