"""Reasons to doubt a robust accuracy that need no network: from the settings before, from the ledger after an attack.

Figures of an evaluation come from a sample of images, so a sign counts only if the lower end of its 95 % interval is
beyond what is told here. Knows neither torch nor files.

Sources: Athalye et al., ICML 2018, section 3.1, and Carlini et al., 2019 (arXiv:1902.06705), sections 3 and 4, for the
signs of gradient masking; the reference implementation of AutoAttack for the gain of Square.

Shapes: T attempts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engine.config import ATTACKS, AttackConfig, format_ratio, members_of
from engine.events import AttackPoint, AttackWarning
from engine.statistics import wilson

#: Fewer steps than this seldom converge.
FEWEST_STEPS = 10
#: Share of all images that attacks without gradients may break beyond those with. Source: the reference AutoAttack.
BLACK_BOX_GAIN = 0.002
#: Share of all images that more restarts, more steps or a larger radius may move the wrong way or still move.
STILL_MOVING = 0.01
#: Radius (Linf) at which every image can be turned into the same grey one, and the share that may be left there.
ALL_GREY, LEFT_AT_ALL_GREY = 0.5, 0.05
#: What shows in a network's history that its weights were chosen on images it was trained on: words of this program,
#: and the name under which the CARTL authors' code saves by the robustness of training batches.
CHOSEN_ON_TRAINING = ("on training batches", "best_robust")


def doubts(config: AttackConfig, num_classes: int, *, history: Sequence[str] = ()) -> list[AttackWarning]:
    """What the settings and the network's past alone give reason to doubt.

    Args:
        config: the attack.
        num_classes: K of the network.
        history: one line per training that the network went through.

    Raises:
        ValueError: a single attack cannot be made with so few classes.
    """
    found = []
    members, notes = members_of(config, num_classes)
    if config.applies("targets") and members[0].targets < config.targets:
        notes = (
            f"{config.label} aims at {members[0].targets} instead of {config.targets} classes: there are no more",
        )
    if notes:
        found.append(
            AttackWarning(
                "few_classes",
                "Too few classes for the attack as it was set",
                f"The network tells {num_classes} classes apart. " + " ".join(f"{note}." for note in notes),
                "Compare the figure only with figures of the same single attacks, and do not call it AutoAttack standard."
                if config.name == "autoattack"
                else f"Set targets to {members[0].targets}, which is what was done.",
            )
        )  # fmt: skip
    if weak := weaknesses(config):
        found.append(
            AttackWarning(
                "weak_attack", "The attack is weak: an upper bound only", " ".join(weak), _stronger(config)
            )
        )
    for line in history:
        if any(words in line for words in CHOSEN_ON_TRAINING):
            found.append(
                AttackWarning(
                    "selection",
                    "Weights chosen on training images",
                    f'The network\'s history says: "{line}". Accuracy on images it was trained on keeps rising while '
                    "the robust one on others falls, so the latest weights win, up to 9 points below the best.",
                    "Train again with selection = best, which chooses on held-out images.",
                )
            )
            break
    return found


def weaknesses(config: AttackConfig) -> list[str]:
    """Why an attack with these settings gives an upper bound only, in sentences."""
    facts = ATTACKS[config.name]
    found = []
    if not facts.white_box:
        found.append(f"{facts.title} uses no gradients of the attacked network.")
    elif not any(config.applies(name) for name in ("steps", "version")):
        found.append(f"{facts.title} takes a single step.")
    if config.applies("steps") and config.steps < FEWEST_STEPS:
        found.append(f"{config.steps} steps are fewer than {FEWEST_STEPS}, which seldom converge.")
    if config.applies("step_size") and config.steps < _steps_across(config):
        reach = config.steps * config.step_size / config.epsilon
        way = "from one side of the ball to the other" if config.random_start else "to the border of the ball"
        found.append(
            f"{config.steps} steps of {format_ratio(config.step_size)} reach {reach:.3g} times epsilon; {way} it is "
            f"{_way(config)}."
        )
    return found


def signs(
    config: AttackConfig, points: Sequence[AttackPoint], attempts: Mapping[str, np.ndarray], *, samples: int
) -> list[AttackWarning]:
    """What a ledger tells against its own figures.

    Args:
        config: the attack.
        points: the headline first, then the sweep.
        attempts: columns point, member, sample, restart, target and broken of the ledger, each [T].
        samples: images attacked, those that were wrong from the start counted too.
    """
    table = _Table(points, attempts, samples)
    masked, moving = table.black_box_gain(), []
    if not weaknesses(config):
        masked += table.rising() + (table.left_at_all_grey() if config.norm == "linf" else [])
    if config.applies("steps"):
        moving += table.still_falling()
    if len(points[0].members) == 1 and config.applies("restarts"):
        moving += table.late_restarts(config.restarts)
    found = [masking(config, masked)] if masked else []
    if moving:
        found.append(
            AttackWarning(
                "not_converged",
                "A longer attack would break more",
                " ".join(moving),
                "Raise steps and restarts until the robust accuracy no longer falls, or attack with autoattack.",
            )
        )
    return found


def masking(config: AttackConfig, evidence: Iterable[str]) -> AttackWarning:
    """The one warning for all signs of gradient masking."""
    advice = (
        "Attack with gradients that go round what hides them (a smooth stand-in), or with perturbations made on another "
        "network (transfer); the lowest figure counts."
        if config.name == "autoattack"
        else "Attack with autoattack too, or set loss to margin or dlr, or use square, which needs no gradients; the "
        "lowest figure counts."
    )
    return AttackWarning("gradient_masking", "Signs of gradient masking", " ".join(evidence), advice)


def merged(warnings: Iterable[AttackWarning]) -> tuple[AttackWarning, ...]:
    """One warning per code, in order of appearance, with the evidence of all."""
    by_code: dict[str, AttackWarning] = {}
    for one in warnings:
        first = by_code.get(one.code)
        if first is None:
            by_code[one.code] = one
        elif one.evidence not in first.evidence:
            by_code[one.code] = AttackWarning(
                one.code, first.title, f"{first.evidence} {one.evidence}", first.advice
            )
    return tuple(by_code.values())


def clearly_more(more: int, less: int) -> bool:
    """Whether so many images that moved one way against so many the other way are beyond chance.

    Three standard deviations of a fair coin (McNemar's test): 10 against none, 19 against 4.
    """
    return more - less > 3 * math.sqrt(more + less)


class _Table:
    """The ledger, point by point."""

    def __init__(
        self, points: Sequence[AttackPoint], attempts: Mapping[str, np.ndarray], samples: int
    ) -> None:
        self.points, self.samples = points, samples
        self.rows = {name: np.asarray(values) for name, values in attempts.items()}
        self.broken = self.rows["broken"].astype(bool)
        self.at = [self.rows["point"] == number for number in range(len(points))]

    def _images(self, rows: np.ndarray) -> np.ndarray:
        return np.unique(self.rows["sample"][rows])

    def _robust(self, point: int) -> np.ndarray:
        return np.setdiff1d(
            self._images(self.at[point]), self._images(self.at[point] & self.broken), assume_unique=True
        )

    def _back_and_forth(self, before: int, after: int) -> tuple[int, int]:
        """How many images one point breaks and another leaves, and the other way round."""
        broken = [self._images(self.at[point] & self.broken) for point in (before, after)]
        robust = [self._robust(point) for point in (before, after)]
        return len(np.intersect1d(broken[0], robust[1])), len(np.intersect1d(broken[1], robust[0]))

    def _beyond(self, count: int, share: float) -> bool:
        return wilson(count, self.samples).low > share

    def _points(self, count: int) -> str:
        return f"{100 * count / self.samples:.1f} points"

    def _by_radius(self) -> list[int]:
        """The points with the headline's number of steps, by rising radius."""
        same = [number for number, point in enumerate(self.points) if point.steps == self.points[0].steps]
        return sorted(same, key=lambda number: self.points[number].epsilon)

    def black_box_gain(self) -> list[str]:
        """Whether attacks without gradients broke images that those with gradients had left."""
        white = np.asarray(self.points[0].white_box, bool)
        gradient = self.at[0] & white[np.where(self.at[0], self.rows["member"], 0)]
        left = np.setdiff1d(self._images(gradient), self._images(gradient & self.broken))
        other = self.at[0] & ~gradient & self.broken
        count = len(np.intersect1d(left, self._images(other)))
        # Of a few images one or two are chance, however large their share.
        if count < 3 or not self._beyond(count, BLACK_BOX_GAIN):
            return []
        names = " and ".join(
            title for title, own in zip(self.points[0].members, white, strict=True) if not own
        )
        return [
            f"{names}, without gradients, broke {count} images ({self._points(count)}) that attacks with gradients "
            "had left."
        ]

    def rising(self) -> list[str]:
        """Whether robust accuracy rises with the radius anywhere, although a larger ball holds the smaller one."""
        curve = self._by_radius()
        for lower, upper in zip(curve, curve[1:], strict=False):
            back, forth = self._back_and_forth(lower, upper)
            if clearly_more(back, forth) and self._beyond(back - forth, STILL_MOVING):
                return [
                    f"From epsilon {format_ratio(self.points[lower].epsilon)} to "
                    f"{format_ratio(self.points[upper].epsilon)} the robust accuracy rises by "
                    f"{self._points(back - forth)}, although the larger ball holds the smaller one."
                ]
        return []

    def left_at_all_grey(self) -> list[str]:
        """Whether images are robust at a radius at which all of them can be made the same."""
        curve = self._by_radius()
        largest = curve[-1]
        count = len(self._robust(largest))
        constant = len(np.unique(self.rows["prediction"][self.at[largest]])) <= 1
        radius = self.points[largest].epsilon
        if radius < ALL_GREY or constant or not self._beyond(count, LEFT_AT_ALL_GREY):
            return []
        return [
            f"At epsilon {format_ratio(radius)}, where every image can be made the same grey, {count} of {self.samples} "
            f"images ({100 * count / self.samples:.1f} %) are still robust; it should be about none."
        ]

    def still_falling(self) -> list[str]:
        """Whether the last raise of the number of steps still broke images."""
        same = [number for number, point in enumerate(self.points) if point.epsilon == self.points[0].epsilon]
        curve = sorted(same, key=lambda number: self.points[number].steps)
        if len(curve) < 2 or self.points[curve[-2]].steps < FEWEST_STEPS:
            return []
        back, forth = self._back_and_forth(curve[-2], curve[-1])
        if not clearly_more(forth, back) or not self._beyond(forth - back, STILL_MOVING):
            return []
        return [
            f"From {self.points[curve[-2]].steps} to {self.points[curve[-1]].steps} steps the robust accuracy still "
            f"falls by {self._points(forth - back)}."
        ]

    def late_restarts(self, restarts: int) -> list[str]:
        """Whether the later half of the restarts still broke images."""
        half = (restarts + 1) // 2
        late = self.at[0] & self.broken & (self.rows["restart"] >= max(1, half)) & (self.rows["target"] == -1)
        count = len(self._images(late))
        if restarts < 2 or not self._beyond(count, STILL_MOVING):
            return []
        return [
            f"The last {restarts - half} of {restarts} restarts still broke {count} images ({self._points(count)})."
        ]


def _way(config: AttackConfig) -> int:
    """From where the attack may begin to where it may have to go, in radii."""
    return 2 if config.random_start else 1


def _steps_across(config: AttackConfig) -> int:
    return math.ceil(_way(config) * config.epsilon / config.step_size * (1 - 1e-9))


def _stronger(config: AttackConfig) -> str:
    facts = ATTACKS[config.name]
    if facts.white_box and config.applies("steps"):
        needed = max(FEWEST_STEPS, _steps_across(config) if config.applies("step_size") else 0)
        return f"Set steps to at least {needed}, or attack with autoattack."
    return "Attack with autoattack, or with pgd and 20 steps or more."
