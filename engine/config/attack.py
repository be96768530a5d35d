"""Settings of attacks: the one inside adversarial training and those that evaluate.

`ATTACKS` is the one table of attacks: which norms and settings each has. Forms, command line and tests follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from pydantic import model_validator

from engine.config.base import Ratio, Settings, format_ratio, setting

AttackName = Literal[
    "noise",
    "fgsm",
    "pgd",
    "momentum_pgd",
    "apgd_ce",
    "apgd_dlr",
    "apgd_t",
    "fab_t",
    "square",
    "carlini_wagner",
    "deepfool",
    "transfer",
    "autoattack",
]
NormName = Literal["linf", "l2", "l1"]
LossName = Literal["cross_entropy", "margin", "dlr"]
_MADRY = "Madry et al., ICLR 2018"
#: Radii and steps that papers take in the Linf norm.
_RADII = ("2/255", "4/255", "8/255", "16/255")
_STEP_SIZES = ("1/255", "2/255", "4/255")
NORM_TITLES: dict[str, str] = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@dataclass(frozen=True, slots=True)
class AttackFacts:
    """An attack as its settings see it.

    Attributes:
        title: its name in the field.
        source: the paper.
        norms: those that it is defined for; the first is the default.
        settings: the settings it has beside norm, epsilon and what every evaluation has, with their defaults.
        white_box: whether it uses gradients of the attacked network.
    """

    title: str
    source: str
    norms: tuple[NormName, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    white_box: bool = True


_PGD: dict[str, Any] = {
    "step_size": 2 / 255,
    "steps": 20,
    "random_start": True,
    "restarts": 1,
    "targets": 0,
    "loss": "cross_entropy",
    "judged_at": "last_step",
}
_APGD: dict[str, Any] = {"steps": 100, "restarts": 1, "rho": 0.75, "eot": 1}
_AUTOPGD = "Croce & Hein, ICML 2020 (AutoAttack)"

#: The single table of attacks.
ATTACKS: dict[str, AttackFacts] = {
    "noise": AttackFacts("Random noise", "the floor of every evaluation", ("linf", "l2", "l1"), {"restarts": 10}, False),
    "fgsm": AttackFacts("FGSM", "Goodfellow et al., ICLR 2015", ("linf", "l2"), {"loss": "cross_entropy"}),
    "pgd": AttackFacts(
        "PGD", "Madry et al., ICLR 2018", ("linf", "l2", "l1"), _PGD | {"eot": 1}
    ),
    "momentum_pgd": AttackFacts(
        "Momentum PGD", "Dong et al., CVPR 2018", ("linf", "l2"), _PGD | {"momentum": 1.0}
    ),
    "apgd_ce": AttackFacts("APGD-CE", _AUTOPGD, ("linf", "l2"), _APGD),
    "apgd_dlr": AttackFacts("APGD-DLR", _AUTOPGD, ("linf", "l2"), _APGD),
    "apgd_t": AttackFacts("APGD-T", _AUTOPGD, ("linf", "l2"), _APGD | {"targets": 9}),
    "fab_t": AttackFacts(
        "FAB-T", "Croce & Hein, ICML 2020 (FAB)", ("linf", "l2"),
        {"steps": 100, "restarts": 1, "targets": 9, "alpha_max": 0.1, "overshoot": 1.05, "backward": 0.9},
    ),
    "square": AttackFacts(
        "Square", "Andriushchenko et al., ECCV 2020", ("linf", "l2"),
        {"queries": 5000, "restarts": 1, "initial_share": 0.8}, False,
    ),
    "carlini_wagner": AttackFacts(
        "Carlini-Wagner", "Carlini & Wagner, S&P 2017", ("l2",),
        {"steps": 200, "searches": 9, "confidence": 0.0, "learning_rate": 0.01, "initial_weight": 0.1},
    ),
    "deepfool": AttackFacts(
        "DeepFool", "Moosavi-Dezfooli et al., CVPR 2016", ("l2",), {"steps": 50, "overshoot": 1.02}
    ),
    "transfer": AttackFacts(
        "Transfer PGD", "Papernot et al., 2016", ("linf", "l2"), _PGD | {"surrogate": ""}, False
    ),
    "autoattack": AttackFacts("AutoAttack", _AUTOPGD, ("linf", "l2"), {"version": "standard"}),
}  # fmt: skip

#: Radius and step that are usual in each norm on CIFAR-sized images.
_BY_NORM: dict[str, dict[str, float]] = {
    "linf": {"epsilon": 8 / 255, "step_size": 2 / 255},
    "l2": {"epsilon": 0.5, "step_size": 0.1},
    "l1": {"epsilon": 12.0, "step_size": 1.5},
}
#: Members of AutoAttack's versions with the numbers of the reference implementation.
_AUTOATTACK: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "standard": (("apgd_ce", {}), ("apgd_t", {}), ("fab_t", {}), ("square", {})),
    "plus": (
        ("apgd_ce", {"restarts": 5}), ("apgd_dlr", {"restarts": 5}), ("fab_t", {"restarts": 5, "targets": 0}),
        ("square", {}), ("apgd_t", {}), ("fab_t", {}),
    ),
    "rand": (("apgd_ce", {"eot": 20}), ("apgd_dlr", {"eot": 20})),
}  # fmt: skip


def _having(setting: str) -> dict[str, tuple[str, ...]]:
    return {"name": tuple(name for name, facts in ATTACKS.items() if setting in facts.settings)}


def _step_too_large(step_size: float, epsilon: float) -> str:
    return (
        f"step_size: {format_ratio(step_size)} is more than the whole ball is wide "
        f"(2 x epsilon = 2 x {format_ratio(epsilon)}), so every step is cut back to the "
        "border; use a step of about 2.5 x epsilon / steps"
    )


class PgdConfig(Settings):
    """Projected gradient descent in the Linf ball (Madry et al., ICLR 2018)."""

    epsilon: Ratio = setting(
        8 / 255,
        "Epsilon",
        "Radius of the Linf ball around each image. Pixels lie in 0..1; 8/255 may be typed.",
        unit="input units",
        proposed=_RADII,
        source=_MADRY,
        gt=0,
        le=1,
    )
    step_size: Ratio = setting(
        2 / 255,
        "Step size",
        "How far one attack step moves each pixel.",
        unit="input units",
        proposed=_STEP_SIZES,
        source=_MADRY,
        gt=0,
        le=1,
    )
    steps: int = setting(
        7,
        "Steps",
        "Iterations of the attack.",
        unit="steps",
        proposed=(5, 7, 10),
        source=_MADRY,
        ge=1,
        le=10_000,
    )
    random_start: bool = setting(
        True, "Random start", "Begin at a uniformly drawn point of the ball instead of the image itself."
    )

    @model_validator(mode="after")
    def _step_within_ball(self) -> PgdConfig:
        if self.step_size > 2 * self.epsilon:
            raise ValueError(_step_too_large(self.step_size, self.epsilon))
        return self


class TrainingAttackConfig(PgdConfig):
    """The attack that makes the training examples."""


class AttackConfig(Settings):
    """Stage 3: attack the finished model on test images. Which settings an attack has says `ATTACKS`."""

    name: AttackName = setting(
        "pgd",
        "Attack",
        "autoattack is the composition that papers report; pgd the quick look; noise a floor that no robust network "
        "falls below.",
        short={name: facts.title for name, facts in ATTACKS.items()},
    )
    version: Literal["standard", "plus", "rand"] = setting(
        "standard",
        "Version",
        "standard: APGD-CE, APGD-T, FAB-T and Square. plus: six attacks with more restarts. rand: for networks whose "
        "outputs are random.",
        shown_if=_having("version"),
    )  # fmt: skip
    norm: NormName = setting(
        "linf", "Norm", "How the size of a perturbation is measured: linf, l2 or l1.",
        short=NORM_TITLES,
    )  # fmt: skip
    epsilon: Ratio = setting(
        8 / 255,
        "Epsilon",
        "Radius of the ball around each image. Pixels lie in 0..1; 8/255 may be typed.",
        unit="input units",
        proposed=(*_RADII, 0.5),
        gt=0,
        le=1000,
    )
    step_size: Ratio = setting(
        2 / 255,
        "Step size",
        "How far one attack step moves: each pixel (linf), or the image in the attack's norm.",
        unit="input units",
        proposed=(*_STEP_SIZES, 0.1),
        gt=0,
        le=1000,
        shown_if=_having("step_size"),
    )
    steps: int = setting(
        20,
        "Steps",
        "Iterations of the attack.",
        unit="steps",
        proposed=(10, 20, 50, 100),
        ge=1,
        le=10_000,
        shown_if=_having("steps"),
    )
    queries: int = setting(
        5000, "Queries", "How often the network is asked about each image.", unit="queries", proposed=(1000, 5000), ge=1, le=1_000_000,
        shown_if=_having("queries"),
    )  # fmt: skip
    random_start: bool = setting(
        True,
        "Random start",
        "Begin at a drawn point of the ball instead of the image itself.",
        shown_if=_having("random_start"),
    )
    restarts: int = setting(
        1,
        "Restarts",
        "Independent starts. An image counts as robust only if every one of them fails.",
        proposed=(1, 5, 10),
        ge=1,
        le=1000,
        shown_if=_having("restarts"),
    )
    targets: int = setting(
        0,
        "Target classes",
        "How many of the most likely wrong classes are aimed at, one after the other; 0 only leads away from the true "
        "class.",
        unit="classes",
        proposed=(0, 9),
        ge=0,
        le=1000,
        shown_if=_having("targets"),
    )
    loss: LossName = setting(
        "cross_entropy",
        "Loss",
        "What the attack raises: cross_entropy, the margin between the best wrong class and the true one, or dlr, "
        "that margin relative to the spread of the logits.",
        shown_if=_having("loss"),
    )
    judged_at: Literal["last_step", "any_step"] = setting(
        "last_step",
        "Judged at",
        "An image is broken if its last iterate is misclassified (last_step, as in most papers), or if any is "
        "(any_step, which is faster and never higher). With last_step both figures are told.",
        shown_if=_having("judged_at"),
    )
    surrogate: str = setting(
        "",
        "Made on",
        "The network on which the perturbations are made: a run's id or folder, or a checkpoint file.",
        shown_if=_having("surrogate"),
    )
    eot: int = setting(
        1,
        "Gradients averaged",
        "Over how many passes each gradient is averaged (EOT); above 1 only for networks whose outputs are random.",
        unit="passes",
        ge=1,
        le=1000,
        advanced=True,
        shown_if=_having("eot"),
    )
    momentum: float = setting(
        1.0, "Momentum", "Decay of the accumulated gradient; 0 is plain PGD.", ge=0, le=10, advanced=True,
        shown_if=_having("momentum"),
    )  # fmt: skip
    rho: float = setting(
        0.75, "Rho", "The step is halved if fewer than this share of the steps raised the loss.", gt=0, le=1,
        advanced=True, shown_if=_having("rho"),
    )  # fmt: skip
    initial_share: float = setting(
        0.8, "First square", "Share of the image that the first squares change.", gt=0, le=1, advanced=True,
        shown_if=_having("initial_share"),
    )  # fmt: skip
    alpha_max: float = setting(
        0.1, "Alpha max", "Largest weight of the step from the image itself.", gt=0, le=1, advanced=True,
        shown_if=_having("alpha_max"),
    )  # fmt: skip
    overshoot: float = setting(
        1.05, "Overshoot", "How far a step goes beyond the boundary it aims at, 1 is onto it.", ge=1, le=2,
        advanced=True, shown_if=_having("overshoot"),
    )  # fmt: skip
    backward: float = setting(
        0.9, "Backward step", "Where between image and found point the search goes on.", gt=0, lt=1, advanced=True,
        shown_if=_having("backward"),
    )  # fmt: skip
    searches: int = setting(
        9, "Searches", "Steps of the binary search for the weight of the loss.", unit="searches", ge=1, le=100,
        shown_if=_having("searches"),
    )  # fmt: skip
    confidence: float = setting(
        0.0, "Confidence", "By how much the wrong logit must lead.", ge=0, le=1000, advanced=True,
        shown_if=_having("confidence"),
    )  # fmt: skip
    learning_rate: float = setting(
        0.01, "Learning rate", "Of Adam, which minimises the attack's loss.", gt=0, le=10, advanced=True,
        shown_if=_having("learning_rate"),
    )  # fmt: skip
    initial_weight: float = setting(
        0.1, "First weight", "Weight of the loss in the first search; the authors begin at 0.001.", gt=0, le=1e6, advanced=True,
        shown_if=_having("initial_weight"),
    )  # fmt: skip
    batch_size: int = setting(
        250,
        "Batch size",
        "Images attacked together; changes the speed, and the result only by rounding. 0 measures which is fastest "
        "and records it.",
        unit="images", proposed=(0, 125, 250, 500), ge=0, le=100_000,
    )  # fmt: skip
    samples: int = setting(
        0,
        "Test images",
        "How many test images to attack; 0 attacks all.",
        unit="images",
        proposed=(0, 500, 1000),
        ge=0,
        le=10_000_000,
    )
    examples: int = setting(
        16,
        "Examples kept",
        "Of how many images the clean and the adversarial one are kept with the run.",
        unit="images",
        ge=0,
        le=1000,
    )
    sweep_epsilon: list[Ratio] = setting(
        [],
        "Also at epsilon",
        "The same attack at these radii too, for the curve of robust accuracy against epsilon.",
        unit="input units",
        proposed=("2/255, 4/255, 8/255, 16/255",),
        max_length=50,
    )
    sweep_steps: list[int] = setting(
        [],
        "Also with steps",
        "The same attack with these numbers of steps too: if more steps keep helping, the attack was too weak.",
        unit="steps",
        proposed=("10, 50, 100",),
        max_length=50,
        shown_if=_having("steps"),
    )

    @classmethod
    def defaults(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is left out depends on the attack and the norm: APGD takes 100 steps, an L2 ball has another radius."""
        facts = ATTACKS.get(values.get("name", "pgd"))
        if facts is None:
            return {}
        norm = values.get("norm", facts.norms[0])
        usual = _BY_NORM.get(norm, {}) if isinstance(norm, str) else {}
        return {"norm": facts.norms[0], **facts.settings} | {
            key: value for key, value in usual.items() if key == "epsilon" or key in facts.settings
        }

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("name", ""), str):
            return values
        return cls.defaults(values) | dict(values)

    @model_validator(mode="after")
    def _settings_fit(self) -> AttackConfig:
        problems = []
        facts = ATTACKS[self.name]
        if self.norm not in facts.norms:
            there = ", ".join(facts.norms)
            problems.append(f"norm: {facts.title} is defined for {there}, got {self.norm}")
        largest = 1 if self.norm == "linf" else 1000
        for place, radii in (("epsilon", [self.epsilon]), ("sweep_epsilon", self.sweep_epsilon)):
            problems += [
                f"{place}: expected above 0 and at most {largest} in the {NORM_TITLES[self.norm]} norm, "
                f"got {format_ratio(radius)}"
                for radius in radii
                if not 0 < radius <= largest
            ]
        for place, values in (("sweep_epsilon", self.sweep_epsilon), ("sweep_steps", self.sweep_steps)):
            if len(set(values)) < len(values):
                problems.append(f"{place}: expected each value once, got {', '.join(map(str, values))}")
        if self.applies("steps"):
            problems += [
                f"sweep_steps: expected 1 to 10,000 steps, got {steps}"
                for steps in self.sweep_steps
                if not 1 <= steps <= 10_000
            ]
        if self.applies("step_size") and self.step_size > 2 * self.epsilon:
            problems.append(_step_too_large(self.step_size, self.epsilon))
        if self.applies("random_start") and self.restarts > 1 and not self.random_start:
            problems.append("restarts: without a random start every restart is the same; use 1")
        if self.name == "apgd_t" and not self.targets:
            problems.append(f"targets: {facts.title} needs at least one target class")
        if self.applies("surrogate") and not self.surrogate:
            problems.append("surrogate: name the run or checkpoint on which the perturbations are made")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def label(self) -> str:
        """The attack with what decides its strength, without radius: "PGD-20 (margin)", "APGD-T-100"."""
        facts = ATTACKS[self.name]
        if self.name == "autoattack":
            return f"{facts.title} ({self.version})"
        count = f"-{self.steps}" if self.applies("steps") else ""
        remarks = []
        if self.applies("queries"):
            remarks.append(f"{self.queries:,} queries")
        if self.applies("searches"):
            remarks.append(f"{self.searches} searches")
        if self.applies("surrogate") and self.surrogate:
            remarks.append(f"from {PurePath(self.surrogate).stem}")
        if self.applies("loss") and self.loss != "cross_entropy":
            remarks.append("DLR" if self.loss == "dlr" else self.loss)
        if self.applies("targets") and self.targets != facts.settings["targets"]:
            remarks.append(f"{self.targets} target{'s' if self.targets != 1 else ''}")
        if self.applies("judged_at") and self.judged_at == "any_step":
            remarks.append("any step")
        if self.applies("random_start") and not self.random_start:
            remarks.append("no random start")
        if self.applies("eot") and self.eot > 1:
            remarks.append(f"EOT {self.eot}")
        return f"{facts.title}{count}" + (f" ({', '.join(remarks)})" if remarks else "")

    @property
    def title(self) -> str:
        """Everything a robust accuracy needs beside it: "PGD-20, Linf 8/255, 1 restart"."""
        parts = [self.label, f"{NORM_TITLES[self.norm]} {format_ratio(self.epsilon)}"]
        if self.applies("restarts"):
            parts.append(f"{self.restarts} restart{'s' if self.restarts != 1 else ''}")
        return ", ".join(parts)

    @property
    def cost(self) -> float:
        """Passes through the network for one image in one restart, about; a gradient counts as two."""
        passes = 1 if self.applies("queries") else 2 * (self.eot if self.applies("eot") else 1)
        return float(passes * self.iterations + 1)

    @property
    def iterations(self) -> int:
        """Iterations, or queries, of one restart."""
        if self.applies("queries"):
            return self.queries
        searches = self.searches if self.applies("searches") else 1
        return (self.steps if self.applies("steps") else 1) * searches

    def at(self, *, epsilon: float | None = None, steps: int | None = None) -> AttackConfig:
        """The same attack at another radius (its step in proportion) or with another number of steps."""
        changes: dict[str, Any] = {"sweep_epsilon": [], "sweep_steps": []}
        if epsilon is not None:
            changes |= {"epsilon": epsilon, "step_size": self.step_size * epsilon / self.epsilon}
        if steps is not None:
            changes["steps"] = steps
        return self.model_copy(update=changes)


def members_of(config: AttackConfig, num_classes: int) -> tuple[tuple[AttackConfig, ...], tuple[str, ...]]:
    """The single attacks that a setting stands for, in order, and what had to be changed for few classes.

    AutoAttack's members have the numbers of the reference; whoever wants others sets up the attacks themselves.
    Source: Croce & Hein, ICML 2020, and the reference implementation's `standard`, `plus` and `rand`.

    Args:
        config: any attack.
        num_classes: K of the network. The targeted DLR loss needs 4 classes, DLR needs 3, and there are at most
            K - 1 targets.

    Raises:
        ValueError: a single attack cannot be made with so few classes.
    """
    if config.name != "autoattack":
        return (_with_classes(config, num_classes),), ()
    shared = {
        "norm": config.norm,
        "epsilon": config.epsilon,
        "batch_size": config.batch_size,
        "samples": config.samples,
    }
    members, notes = [], []
    for name, settings in _AUTOATTACK[config.version]:
        member = AttackConfig.model_validate({"name": name, **settings, **shared})
        try:
            fitting = _with_classes(member, num_classes)
        except ValueError as error:
            notes.append(f"{member.label} is left out: {error}")
            continue
        if fitting != member:
            notes.append(
                f"{member.label} aims at {fitting.targets} instead of {member.targets} classes: there are no more"
            )
        members.append(fitting)
    return tuple(members), tuple(notes)


def is_standard(config: AttackConfig, num_classes: int) -> bool:
    """Whether a figure of this attack may be called AutoAttack standard: all four members, with its numbers."""
    members, notes = members_of(config, num_classes)
    return config.name == "autoattack" and config.version == "standard" and len(members) == 4 and not notes


def _with_classes(config: AttackConfig, num_classes: int) -> AttackConfig:
    needed = 4 if config.name == "apgd_t" or (config.loss == "dlr" and config.targets) else 3
    uses_dlr = config.name in ("apgd_dlr", "apgd_t") or (config.applies("loss") and config.loss == "dlr")
    if uses_dlr and num_classes < needed:
        raise ValueError(
            f"its DLR loss needs {needed} classes, the network has {num_classes}; take APGD-CE or the cross-entropy"
        )
    if config.applies("targets") and config.targets > num_classes - 1:
        return config.model_copy(update={"targets": num_classes - 1})
    return config
