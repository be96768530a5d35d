"""What every attack shares: passes, per-sample noise, the certificate, and leaving the model as it came.

Shapes: B batch, K classes, images [B, C, H, W] in [0, 1], labels [B].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from engine.attacks.criteria import margin, ranked_classes
from engine.attacks.noise import Noise, SampleNoise, attempt_seed
from engine.attacks.projection import BALLS
from engine.config import AttackConfig
from engine.errors import DataError, DivergedError
from engine.models.modes import evaluation
from engine.registry import Registry

#: Share of epsilon by which rounding may take an adversarial image out of the ball.
ROUNDING = 1e-5
#: By how much float32 may round a pixel, which adds up over the pixels in some norms.
ROUNDED_PIXEL = 1e-7

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through an attack: a restart, and the rank of the class aimed at (0: the likeliest wrong one)."""

    restart: int = 0
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What an attack is to do in one pass over a batch.

    Attributes:
        model: images -> logits [B, K], in eval mode, with gradients for the images only.
        images, labels: correctly classified images and their classes.
        logits: of the clean images, [B, K].
        noise: random numbers; each sample has its own.
        targets: [B] classes to be reached; None leads away from the true one.
        restart: number of the restart, from 0; attacks that begin at the image may draw a start from the second on.
        stop_early: whether an image may be left alone once it is broken. It changes no verdict.
        each_step: to be called before every iteration; may raise to end the attack.
        surrogate: another network to make the perturbations on.
    """

    model: Network
    images: Tensor
    labels: Tensor
    logits: Tensor
    noise: Noise
    targets: Tensor | None = None
    restart: int = 0
    stop_early: bool = True
    each_step: Callable[[], None] = lambda: None
    surrogate: Network | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attack came to in one pass.

    Attributes:
        adversarial: [B, C, H, W] the images to be judged.
        steps: [B] iterations until the image was broken, else all of them.
        broken_on_the_way: [B] whether any iterate was misclassified, where an attack is judged at its last one.
    """

    adversarial: Tensor
    steps: Tensor
    broken_on_the_way: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pass over a batch, certified and predicted anew; every field [B] but for the images.

    Attributes:
        broken: misclassified and certified.
        broken_on_the_way: broken, or some earlier iterate was.
        prediction: class of the adversarial image.
        margin: logit of the true class less the largest other, on the adversarial image.
        confidence: softmax of the predicted class.
        steps: iterations until it was broken, else all.
        seed: of the sample's noise.
        target: class aimed at, -1 for none.
        norm: size of the perturbation in the attack's norm.
        certified: in the ball, all pixels in 0..1, finite.
        adversarial: [B, C, H, W].
    """

    broken: Tensor
    broken_on_the_way: Tensor
    prediction: Tensor
    margin: Tensor
    confidence: Tensor
    steps: Tensor
    seed: Tensor
    target: Tensor
    norm: Tensor
    certified: Tensor
    adversarial: Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attack found on a batch; every field [B].

    Attributes:
        clean_prediction: class predicted for the clean image.
        adversarial_prediction: class predicted for the adversarial image that broke it, else for the last tried;
            that of the clean image where it was wrong already.
        robust: correct on the clean image and on every certified adversarial one.
        restart: restart that broke the image, -1 where none did or it was wrong already.
        adversarial: [B, C, H, W], the image behind `adversarial_prediction`.
    """

    clean_prediction: Tensor
    adversarial_prediction: Tensor
    robust: Tensor
    restart: Tensor
    adversarial: Tensor


class Attack(ABC):
    """An attack with its settings. A new one is one file that registers a subclass with `run`.

    Attributes:
        minimum_norm: whether it looks for the smallest perturbation and so may end outside of the ball, which then
            does not count; any other attack that leaves the ball is in error.
        surrogate: network to make the perturbations on, for attacks that transfer them.
    """

    minimum_norm: ClassVar[bool] = False

    def __init__(self, config: AttackConfig) -> None:
        self.config = config
        self.ball = BALLS[config.norm]
        self.surrogate: nn.Module | None = None

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Make adversarial images in one pass."""

    @property
    def passes(self) -> list[Pass]:
        """All restarts for each target in turn, the likeliest wrong class first."""
        ranks: list[int | None] = [None]
        if self.config.applies("targets") and self.config.targets:
            ranks = list(range(self.config.targets))
        restarts = self.config.restarts if self.config.applies("restarts") else 1
        return [Pass(restart, rank) for rank in ranks for restart in range(restarts)]

    @final
    def attempt(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        logits: Tensor,
        seed: int,
        sample_ids: Tensor,
        one: Pass = Pass(),  # noqa: B008 - frozen
        judge: nn.Module | None = None,
        noise: Noise | None = None,
        stop_early: bool = True,
        each_step: Callable[[], None] = lambda: None,
    ) -> Attempt:
        """Carry out one pass over correctly classified images; certify and predict what came out.

        The models' flags, buffers and gradients stay as they were, and so does torch's global random state.

        Args:
            model: maps images to logits; its gradients are used.
            images, labels: float32 images and int64 labels on the model's device.
            logits: of the clean images, [B, K].
            seed: of the run.
            sample_ids: [B] numbers that name the samples.
            one: restart and target.
            judge: network whose predictions count, where the attack uses a faster form of it; `model` if left out.
            noise: other random numbers than the run's.
            stop_early: see `Task`.
            each_step: called before every iteration; may raise to end the attack.

        Raises:
            ValueError: an adversarial image left the ball or the box (an error in the attack itself).
        """
        judge = model if judge is None else judge
        targets = None if one.rank is None else ranked_classes(logits, labels)[:, one.rank]
        aims = [-1] * len(images) if targets is None else targets.tolist()
        seeds = [
            attempt_seed(seed, self.config.name, one.restart, sample, target=target)
            for sample, target in zip(sample_ids.tolist(), aims, strict=True)
        ]
        with evaluation(model), evaluation(judge), _looked_at(self.surrogate):
            task = Task(
                model, images, labels, logits, noise or SampleNoise(seeds, images), targets, one.restart,
                stop_early, each_step, self.surrogate,
            )  # fmt: skip
            outcome = self.run(task)
            adversarial = outcome.adversarial.detach()
            with torch.no_grad():
                judged = judge(adversarial)
        norm, certified = self._certify(adversarial, images)
        prediction = judged.argmax(1)
        broken = (prediction != labels) & certified
        on_the_way = outcome.broken_on_the_way
        return Attempt(
            broken=broken,
            broken_on_the_way=broken if on_the_way is None else broken | on_the_way,
            prediction=prediction,
            margin=margin(judged, labels),
            confidence=judged.softmax(1).gather(1, prediction[:, None]).squeeze(1),
            steps=outcome.steps,
            seed=torch.tensor(seeds),
            target=torch.full_like(labels, -1) if targets is None else targets,
            norm=norm,
            certified=certified,
            adversarial=adversarial,
        )

    @final
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int, sample_ids: Tensor,
        each_step: Callable[[], None] = lambda: None,
    ) -> Verdict:  # fmt: skip
        """Attack a batch: worst case over all passes, each made only on images that are still robust.

        Noise is drawn per (seed, sample, attack, restart, target), so that batch size, order and device change
        nothing. For the other arguments see `attempt`.

        Raises:
            ValueError: an adversarial image left the ball or the box (an error in the attack itself).
            DataError: the images are not in 0..1.
            DivergedError: the network's outputs are not numbers.
        """
        logits = clean_logits(model, images)
        clean_prediction = logits.argmax(1)
        robust = clean_prediction == labels
        verdict = Verdict(
            clean_prediction,
            clean_prediction.clone(),
            robust,
            torch.full_like(labels, -1),
            images.clone(),
        )
        for one in self.passes:
            alive = robust.nonzero().flatten()
            if len(alive) == 0:
                break
            found = self.attempt(
                model, images[alive], labels[alive], logits=logits[alive], seed=seed,
                sample_ids=sample_ids[alive.cpu()], one=one, each_step=each_step,
            )  # fmt: skip
            verdict.adversarial[alive] = found.adversarial
            verdict.adversarial_prediction[alive] = found.prediction
            verdict.restart[alive[found.broken]] = one.restart
            robust[alive[found.broken]] = False
        return verdict

    def _certify(self, adversarial: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        change = adversarial - images
        radius = self.ball.radius(change)
        least = self.ball.radius((change.abs() - ROUNDED_PIXEL).clamp_min(0))
        flat = adversarial.flatten(1)
        in_box = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
        certified = (least <= self.config.epsilon * (1 + ROUNDING)) & in_box
        wrong = ~in_box if self.minimum_norm else ~certified
        if bool(wrong.any()):
            raise ValueError(
                f"{self.config.name} left the ball of {self.config.epsilon} or the box 0..1 on "
                f"{int(wrong.sum())} images (largest norm {float(radius.max())})"
            )
        return radius, certified


@torch.no_grad()
def clean_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits [B, K] of clean images, with the model in eval mode.

    Raises:
        DataError: the images are not in 0..1.
        DivergedError: the network's outputs are not numbers.
    """
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"Attacks need pixels from 0 to 1, these go from {low:.3g} to {high:.3g}. If the images are normalised, give "
            "the mean and std to the network instead, so that epsilon is in pixels."
        )
    with evaluation(model):
        logits: Tensor = model(images)
    if not bool(torch.isfinite(logits).all()):
        raise DivergedError(
            "The outputs of the network are not numbers: its training has diverged. Train it again with a "
            "lower learning rate, or go back to an earlier checkpoint."
        )
    return logits


def loss_and_gradient(
    model: Network, images: Tensor, loss: Callable[[Tensor], Tensor], *, passes: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [B, K], loss [B] and its gradient for the images [B, C, H, W], averaged over passes (EOT).

    Source: Athalye et al., ICML 2018, section 5.2, for the average.

    Args:
        model: images -> logits.
        images: where to look.
        loss: logits -> [B].
        passes: 1, or more for networks whose outputs are random.
    """
    images = images.detach().requires_grad_(True)
    sums: list[Tensor] = []
    for _ in range(passes):
        logits = model(images)
        values = loss(logits)
        (gradient,) = torch.autograd.grad(values.sum(), images)
        parts = [logits.detach(), values.detach(), gradient]
        sums = [one.add_(other) for one, other in zip(sums, parts, strict=True)] if sums else parts
    if passes > 1:
        sums = [one / passes for one in sums]
    return sums[0], sums[1], sums[2]


def usable(gradient: Tensor) -> Tensor:
    """A gradient with zeros where it is no finite number, so that an attack goes on along the rest of it."""
    return torch.nan_to_num_(gradient, nan=0.0, posinf=0.0, neginf=0.0)


@contextmanager
def _looked_at(model: nn.Module | None) -> Iterator[None]:
    if model is None:
        yield
    else:
        with evaluation(model):
            yield


#: Attacks by their name in `AttackConfig`.
attacks: Registry[type[Attack]] = Registry("attack")
