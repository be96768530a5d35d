"""What an evaluation will do, in order: points (radius and steps), single attacks, passes, batches.

The order is fixed by the settings and by which images are still robust, so an evaluation that was killed finds its
place again from its ledger alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.attacks import Attack, attacks
from engine.attacks.base import Pass
from engine.config import ATTACKS, AttackConfig, is_standard, members_of
from engine.errors import ConfigError, Problem
from engine.evaluation.ledger import Ledger
from engine.events import AttackPoint, Columns

#: Share of the images that is expected to be robust still, on average over an evaluation, to estimate its cost.
EXPECTED_SURVIVORS = 0.6


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that one pass of one single attack deals with together.

    Attributes:
        point, member: numbers of the point and of the single attack in it, from 0.
        one: restart and target.
        attack: the single attack.
        positions: [B] places of the images in the order of attack.
        done, total: images of the pass before this batch, and of the whole pass.
    """

    point: int
    member: int
    one: Pass
    attack: Attack
    positions: np.ndarray
    done: int
    total: int


class Plan:
    """The points of an evaluation with their single attacks.

    Attributes:
        config: settings of the whole evaluation.
        title: what a figure of the headline is called.
        notes: what had to be changed for few classes.
        points: the headline, then the sweep.
        members: the single attacks of each point.
    """

    def __init__(self, config: AttackConfig, num_classes: int) -> None:
        """Plan an evaluation of a network with K classes.

        Raises:
            ConfigError: the attack cannot be made with so few classes.
        """
        self.config = config
        radii = [
            config.at(epsilon=radius) for radius in sorted(config.sweep_epsilon) if radius != config.epsilon
        ]
        counts = config.sweep_steps if config.applies("sweep_steps") else []
        lengths = [config.at(steps=steps) for steps in sorted(counts) if steps != config.steps]
        settings = [config, *radii, *lengths]
        try:
            planned = [members_of(point, num_classes) for point in settings]
        except ValueError as error:
            raise ConfigError([Problem("attack", f"{config.label}: {error}")]) from error
        if not planned[0][0]:
            reason = f"none of its attacks can be made with {num_classes} classes; take APGD-CE or Square"
            raise ConfigError([Problem("attack", f"{config.label}: {reason}")])
        self.notes = planned[0][1]
        self.members = [[attacks[member.name](member) for member in members] for members, _ in planned]
        self.title = config.title
        if is_standard(config, num_classes):
            self.title = config.title.replace(config.label, "AutoAttack standard")
        elif config.name == "autoattack" and config.version == "standard":
            used = ", ".join(attack.config.label for attack in self.members[0])
            self.title = config.title.replace(config.label, f"AutoAttack, not standard ({used})")
        self.points = tuple(
            AttackPoint(
                epsilon=point.epsilon,
                steps=point.steps if point.applies("steps") else 0,
                members=tuple(attack.config.label for attack in group),
                white_box=tuple(ATTACKS[attack.config.name].white_box for attack in group),
            )
            for point, group in zip(settings, self.members, strict=True)
        )

    @property
    def num_members(self) -> int:
        """Single attacks over all points."""
        return sum(map(len, self.members))

    def cost(self, samples: int) -> float:
        """Passes through the network that it will take for so many images, about."""
        return samples * (2 + EXPECTED_SURVIVORS * sum(self._cost_of(*place) for place in self._places()))

    def cost_left(self, ledger: Ledger, batch: Batch) -> tuple[float, float]:
        """Passes through the network left after a batch: of its single attack, and of the whole evaluation."""
        alive = [int(ledger.alive(point).sum()) for point in range(len(self.points))]
        own = batch.attack
        index = own.passes.index(batch.one)
        after = (len(own.passes) - index - 1) * alive[batch.point]
        rest = own.config.cost * (batch.total - batch.done - len(batch.positions) + after)
        later = sum(
            alive[place[0]] * self._cost_of(*place)
            for place in self._places()
            if place > (batch.point, batch.member)
        )
        return rest, rest + later

    def batches(self, ledger: Ledger, batch_size: int) -> Iterator[Batch]:
        """All batches in order; each pass takes the images that are robust, as the ledger says, when it begins."""
        for point, member in self._places():
            attack = self.members[point][member]
            for one in attack.passes:
                alive = ledger.alive(point).nonzero()[0]
                for start in range(0, len(alive), batch_size):
                    part = alive[start : start + batch_size]
                    yield Batch(point, member, one, attack, part, start, len(alive))

    def whole_rows(self, ledger: Ledger, rows: Columns, batch_size: int) -> int:
        """How many rows of a ledger that was cut off belong to batches that were finished.

        Args:
            ledger: knows the clean images; takes over the finished rows.
            rows: columns of the attempts so far.
            batch_size: with which they were made.
        """
        count = 0
        for batch in self.batches(ledger, batch_size):
            part = {name: values[count : count + len(batch.positions)] for name, values in rows.items()}
            if len(part.get("row", ())) < len(batch.positions):
                break
            ledger.add(part)
            count += len(batch.positions)
        return count

    def _places(self) -> list[tuple[int, int]]:
        return [(point, member) for point, group in enumerate(self.members) for member in range(len(group))]

    def _cost_of(self, point: int, member: int) -> float:
        attack = self.members[point][member]
        return len(attack.passes) * attack.config.cost
