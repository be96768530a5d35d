"""Looks for gradient masking: gradients that lead an attack nowhere although the network can be broken.

Cheap and on a few images. Sources: Athalye et al., ICML 2018, section 3.1 (signs of obfuscated gradients); Carlini et
al., 2019 (arXiv:1902.06705), section 4.

Shapes: B images [B, C, H, W] in [0, 1], all classified correctly; labels [B].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from engine.attacks.base import Network, loss_and_gradient
from engine.attacks.criteria import LOSSES, Loss, misclassified
from engine.attacks.pgd import projected_gradient_descent
from engine.attacks.projection import BALLS, Ball, LinfBall
from engine.config import AttackConfig, format_ratio
from engine.evaluation.signs import clearly_more
from engine.statistics import wilson

#: Share of the images from which on vanishing gradients are told.
VANISHING = 0.01
#: Steps of the attacks that look.
STEPS = 10
#: Share of the images that may be left when the ball is the whole box: an image of another class is in there too.
LEFT_IN_BOX = 0.05
#: A change of pixels that no rounding to 8 bits lets through.
BELOW_ROUNDING = 0.2 / 255
#: Losses of attacks without a setting for it; those that minimise the distance follow the margin.
_LOSSES_OF = {"apgd_ce": "cross_entropy", "apgd_dlr": "dlr", "apgd_t": "dlr"}
_TITLES = {"cross_entropy": "cross-entropy", "margin": "margin", "dlr": "DLR loss"}


def parts_of(images: Tensor, size: int) -> tuple[Tensor, ...]:
    """Images in parts of about one size; a single one left over would be too few for statistics of a batch."""
    return images.tensor_split(max(1, -(-len(images) // size)))


class NoGradientsError(Exception):
    """The network cannot be differentiated; the message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and the images on which it is looked at.

    Attributes:
        network: images -> logits, in eval mode.
        images, labels: at least one.
        logits: of the images, [B, K].
        size: how many images may pass together.
    """

    network: Network
    images: Tensor
    labels: Tensor
    logits: Tensor
    size: int

    @property
    def right(self) -> Tensor:
        """[B] which images it gets right."""
        return ~misclassified(self.logits, self.labels)

    def only(self, where: Tensor) -> Subject:
        """The same network on some of the images."""
        return replace(self, images=self.images[where], labels=self.labels[where], logits=self.logits[where])

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels that may be differentiated together."""
        return zip(parts_of(self.images, self.size), parts_of(self.labels, self.size), strict=True)


def gradients(subject: Subject, members: Sequence[AttackConfig]) -> dict[str, Tensor]:
    """Gradient for the images of each loss that these attacks raise, by its name. Cost: 2 passes for each loss.

    Raises:
        NoGradientsError: the network cannot be differentiated.
    """
    losses = dict.fromkeys(_LOSSES_OF.get(one.name, _own_loss(one)) for one in members)
    return {name: _gradient(subject, LOSSES[name]) for name in losses}


def look(subject: Subject, slopes: Mapping[str, Tensor], config: AttackConfig) -> list[str]:
    """Signs of gradient masking, in sentences.

    Cost: at most 44 passes per image, a gradient counting as two; about 25 where nothing is wrong, since what is broken
    is left alone.

    Args:
        subject: images that the network gets right.
        slopes: what `gradients` gave for them.
        config: its radius and norm are looked at.
    """
    images, total = subject.images, len(subject.images)
    usable = {
        name: gradient.flatten(1).isfinite().all(1) & (gradient.flatten(1) != 0).any(1)
        for name, gradient in slopes.items()
    }
    found = _vanishing(subject, ~torch.stack(list(usable.values())).any(0), list(slopes))
    best = max(slopes, key=lambda name: int(usable[name].sum()))
    loss, epsilon, ball = LOSSES[best], config.epsilon, BALLS[config.norm]
    direction = ball.ascent_direction(slopes[best], images)
    single = _broken(subject, ball.project(images + epsilon * direction, images, epsilon))
    many = _descend(subject, loss, ball, epsilon=epsilon, step_size=epsilon / 4)
    more, less = int((single & ~many).sum()), int((many & ~single).sum())
    if clearly_more(more, less):
        found.append(
            f"At epsilon {format_ratio(epsilon)} one step (FGSM) breaks {int(single.sum())} of {total} images and "
            f"{STEPS} steps (PGD) only {int(many.sum())}."
        )
    left = subject.only(~single & ~many)
    if len(left.images):
        count = int((~_descend(left, loss, LinfBall(), epsilon=1.0, step_size=1 / STEPS)).sum())
        if wilson(count, total).low > LEFT_IN_BOX:
            found.append(
                f"{count} of {total} images withstand PGD-{STEPS} even if every pixel may take any value, which no "
                "network can truly do."
            )
    return found


def _own_loss(config: AttackConfig) -> str:
    return config.loss if config.applies("loss") else "margin"


def _gradient(subject: Subject, loss: Loss) -> Tensor:
    found = []
    try:
        for images, labels in subject.parts():
            part = partial(loss, labels=labels, targets=None)
            found.append(loss_and_gradient(subject.network, images, part)[2])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise NoGradientsError(str(error).strip().splitlines()[0].rstrip(".")) from error
    return torch.cat(found)


def _vanishing(subject: Subject, lost: Tensor, losses: list[str]) -> list[str]:
    count, total = int(lost.sum()), len(lost)
    if count < VANISHING * total:
        return []
    names = ", ".join(_TITLES[name] for name in losses)
    sentence = f"The gradient of the {names} is zero or no number on {count} of {total} images."
    where = subject.images[lost]
    nudged = where + torch.where(where < 0.5, BELOW_ROUNDING, -BELOW_ROUNDING)
    with torch.no_grad():
        same = int((subject.network(nudged) == subject.network(where)).all(1).sum())
    if 2 * same <= count:
        return [sentence]
    return [
        f"{sentence} On {same} of these the outputs do not change at all when every pixel moves by "
        f"{255 * BELOW_ROUNDING:g}/255, as if the network rounded its input."
    ]


@torch.no_grad()
def _broken(subject: Subject, adversarial: Tensor) -> Tensor:
    return misclassified(subject.network(adversarial), subject.labels) & adversarial.flatten(
        1
    ).isfinite().all(1)


def _descend(subject: Subject, loss: Loss, ball: Ball, *, epsilon: float, step_size: float) -> Tensor:
    """[B] whether any iterate of PGD from the image itself is misclassified."""
    ended = [
        # With stop_early each image comes back as it was first broken, else as it ended.
        projected_gradient_descent(
            subject.network, images, labels, start=images, epsilon=epsilon, step_size=step_size, steps=STEPS, ball=ball,
            loss=loss, stop_early=True,
        ).adversarial
        for images, labels in subject.parts()
    ]  # fmt: skip
    return _broken(subject, torch.cat(ended))
