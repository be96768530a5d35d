"""Other people's attacks beside ours: two networks to attack, an exact answer, and one batch for both sides.

Conditions of a comparison: the same weights in eval mode, float32, one batch, the same seed right before each call,
and our attacks in the mode of the references, which draw for the whole batch at once and let no image go early.
What the packages do to global state (random numbers, training flags, trace functions) ends with the call.
"""

from __future__ import annotations

import copy
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks import attacks
from engine.attacks.noise import BatchNoise, Noise
from engine.attacks.pgd import training_examples
from engine.config import AttackConfig, DataConfig, PgdConfig
from engine.data import ImageSet, load_domain
from engine.data.augment import to_unit

SIZE, CLASSES, COUNT = 8, 10, 200


class Linear(nn.Module):
    """Logits W x + b."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.t() + self.bias


def exactly_robust(model: Linear, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Margins [B] in the worst corner of Linf ball and box: an image is robust if and only if its is positive."""
    flat, weight, bias = (value.detach().double() for value in (images.flatten(1), model.weight, model.bias))
    low, high = (flat - epsilon).clamp(min=0), (flat + epsilon).clamp(max=1)
    margins = torch.full((len(flat), len(weight)), torch.inf, dtype=torch.float64)
    for index, label in enumerate(labels.tolist()):
        for other in range(len(weight)):
            if other != label:
                difference = weight[label] - weight[other]
                worst = torch.where(difference > 0, low[index], high[index])
                margins[index, other] = difference @ worst + bias[label] - bias[other]
    return margins.amin(1)


def exact_distances(model: Linear, images: Tensor, labels: Tensor, norm: str) -> np.ndarray:
    """Least norm [B] of a change inside the box that leads to another class; infinite where none does.

    Towards one class that is a linear programme (Linf, L1) or a quadratic one (L2) with one constraint beside the box,
    whose solutions form a path along which the margin falls; halving finds where it is zero.
    """
    flat, weight, bias = (
        value.detach().double().numpy() for value in (images.flatten(1), model.weight, model.bias)
    )
    least = np.full(len(flat), np.inf)
    for index, label in enumerate(labels.tolist()):
        for other in set(range(len(weight))) - {label}:
            away = weight[label] - weight[other]
            margin = away @ flat[index] + bias[label] - bias[other]
            change = _PATHS[norm](away, flat[index])
            low, high = 0.0, 2.0**20
            if margin <= 0 or margin + away @ change(high) > 0:
                least[index] = 0.0 if margin <= 0 else least[index]
                continue
            for _ in range(80):
                middle = (low + high) / 2
                low, high = (low, middle) if margin + away @ change(middle) <= 0 else (middle, high)
            order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
            least[index] = min(least[index], np.linalg.norm(change(high), ord=order))
    return least


Steps = Callable[[float], np.ndarray]


def _straight(direction: np.ndarray, image: np.ndarray) -> Steps:
    """From the image along a direction, each pixel until it reaches the box."""
    return lambda length: np.clip(length * direction, -image, 1 - image)


def _one_by_one(away: np.ndarray, image: np.ndarray) -> Steps:
    """The pixels that lower the margin fastest, each up to the box, until the length in L1 is used up."""
    order = np.argsort(-np.abs(away))
    room = np.where(away > 0, image, 1 - image)[order]
    before = np.cumsum(room) - room

    def change(length: float) -> np.ndarray:
        moved = np.zeros_like(image)
        moved[order] = np.clip(length - before, 0, room)
        return -np.sign(away) * moved

    return change


_PATHS: dict[str, Callable[[np.ndarray, np.ndarray], Steps]] = {
    "linf": lambda away, image: _straight(-np.sign(away), image),
    "l2": lambda away, image: _straight(-away, image),
    "l1": _one_by_one,
}


@dataclass(frozen=True)
class Peer:
    """A network in eval mode, images that it gets right, and radii at which a strong attack breaks about half."""

    title: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    epsilon: dict[str, float]

    def first(self, count: int) -> Peer:
        """The same network with fewer images."""
        return self.at(torch.arange(min(count, len(self.labels))))

    def at(self, where: Tensor) -> Peer:
        """The same network with the images at these places."""
        return replace(self, images=self.images[where], labels=self.labels[where])

    def double(self) -> Peer:
        """The same in float64, where no rounding grows to a difference."""
        return replace(self, model=copy.deepcopy(self.model).double(), images=self.images.double())


@cache
def linear_peer() -> Peer:
    """Softmax regression: margins are known exactly."""
    return _trained("linear", _linear, 0.0, {"linf": 0.02, "l2": 0.2, "l1": 1.0})


@cache
def convolutional_peer() -> Peer:
    """Convolutions and batch norm, adversarially trained with PGD-7."""
    return _trained("conv-BN", _convolutional, 0.03, {"linf": 0.04, "l2": 0.3, "l1": 0.6})


PEERS: dict[str, Callable[[], Peer]] = {"linear": linear_peer, "conv-BN": convolutional_peer}


def _linear() -> nn.Module:
    return Linear(torch.zeros(CLASSES, 3 * SIZE * SIZE), torch.zeros(CLASSES))


def _convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * (SIZE // 2) ** 2, CLASSES),
    )  # fmt: skip


def _trained(title: str, make: Callable[[], nn.Module], epsilon: float, radii: dict[str, float]) -> Peer:
    """Train for a second or two on drawn digits; keep test images that come out right."""
    data = load_domain(
        DataConfig(name="digits", image_size=SIZE, train_size=1500, test_size=2 * COUNT),
        data_root=Path("nowhere"),
    )
    (images, labels), (tested, true) = _dark_on_light(data.train), _dark_on_light(data.test)
    with seeded(0):
        model, epochs = make(), 5
        attack = PgdConfig(epsilon=max(epsilon, 1e-3), step_size=max(epsilon, 1e-3) / 4, steps=7)
        batches = [part for _ in range(epochs) for part in torch.randperm(len(images)).split(100)]
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=len(batches))
        for part in batches:
            x, y = images[part], labels[part]
            model.train()
            if epsilon:
                x = training_examples(
                    model, x, y, config=attack, scale=1.0, generator=torch.default_generator
                )
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimiser.step()
            schedule.step()
    model.eval().requires_grad_(False)
    right = (model(tested).argmax(1) == true).nonzero().flatten()[:COUNT]
    return Peer(title, model, tested[right], true[right], radii)


def _dark_on_light(data: ImageSet) -> tuple[Tensor, Tensor]:
    """Images [M, 3, S, S] in 0..1, those with light ink inverted, so that a linear network can tell them apart."""
    images = to_unit(data.images)
    rim = torch.cat((images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]), -1).mean((1, 2))
    light_ink = rim < images.mean((1, 2, 3))
    return torch.where(light_ink[:, None, None, None], 1 - images, images), data.labels


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random numbers; put them back afterwards, with trace function and warnings."""
    states = random.getstate(), np.random.get_state(), sys.gettrace()  # noqa: NPY002 - theirs
    with torch.random.fork_rng(range(torch.cuda.device_count())), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - theirs
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002 - theirs
            sys.settrace(states[2])


@dataclass(frozen=True)
class Found:
    """Adversarial images [B, C, H, W] and which [B] the network still gets right."""

    adversarial: Tensor
    robust: Tensor


def ours(
    config: AttackConfig, peer: Peer, *, seed: int = 0,
    noise: Callable[[Tensor], Noise] = lambda images: BatchNoise(images, None), stop_early: bool = False,
) -> Found:  # fmt: skip
    """Our attack in the references' mode: one stream for the batch, each pass on what is still robust.

    Args:
        config: settings.
        peer: what to attack.
        seed: of the global random numbers.
        noise: makes the random numbers of one pass over these images.
        stop_early: whether images are left alone once broken; the references' Square does so, their APGD and FAB do
            not.
    """
    model, images, labels = peer.model, peer.images, peer.labels
    attack, adversarial = attacks[config.name](config), images.clone()
    with torch.no_grad():
        logits = model(images)
    robust = logits.argmax(1) == labels
    with seeded(seed):
        for one in attack.passes:
            alive = robust.nonzero().flatten()
            if not len(alive):
                break
            made = attack.attempt(
                model, images[alive], labels[alive], logits=logits[alive], seed=seed, sample_ids=alive, one=one,
                noise=noise(images[alive]), stop_early=stop_early,
            )  # fmt: skip
            adversarial[alive] = made.adversarial
            robust[alive[made.broken]] = False
    return Found(adversarial, robust)


def torchattacks_(name: str, peer: Peer, *, seed: int = 0, **settings: Any) -> Found:
    """An attack of torchattacks by its class's name, with that class's settings."""
    with seeded(seed):
        import torchattacks

        attack = getattr(torchattacks, name)(peer.model, **settings)
        torch.manual_seed(seed)
        return _judged(peer, attack(peer.images, peer.labels))


def foolbox_(name: str, peer: Peer, epsilon: float, *, seed: int = 0, **settings: Any) -> Found:
    """An attack of foolbox by its class's name; epsilon is the radius."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else its import asks for git
    with seeded(seed):
        import foolbox

        wrapped = foolbox.PyTorchModel(peer.model, bounds=(0, 1), device=peer.images.device)
        attack = getattr(foolbox.attacks, name)(**settings)
        torch.manual_seed(seed)
        return _judged(peer, attack(wrapped, peer.images, peer.labels, epsilons=epsilon)[1])


NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def autoattack_(
    members: list[str], peer: Peer, epsilon: float, *, norm: str = "linf", seed: int = 0, restarts: int = 1,
    batch_size: int = 0, **square: Any,
) -> Found:  # fmt: skip
    """Members of the reference AutoAttack ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square").

    Args:
        members: in order; each goes on with what is still robust and seeds anew.
        peer: what to attack.
        epsilon, norm: the ball.
        seed: of each member.
        restarts: of the untargeted APGD and FAB; the targeted ones make one.
        batch_size: images attacked together; 0 takes all.
        square: attributes of the reference's Square to be changed, such as `n_queries`.
    """
    with seeded(seed):
        import pyautoattack

        whole = pyautoattack.AutoAttack(
            peer.model, norm=NORMS[norm], eps=epsilon, version="custom", attacks=members, seed=seed,
            device=peer.images.device,
        )  # fmt: skip
        whole.apgd.n_restarts = whole.fab.n_restarts = restarts
        for name, value in square.items():
            setattr(whole.square, name, value)
        found, _ = whole.run_standard_evaluation(
            peer.images, peer.labels, batch_size=batch_size or len(peer.images)
        )
        return _judged(peer, found)


@torch.no_grad()
def _judged(peer: Peer, adversarial: Tensor) -> Found:
    adversarial = adversarial.detach()
    return Found(adversarial, peer.model(adversarial).argmax(1) == peer.labels)


def farthest(one: Found, other: Found) -> float:
    """Largest difference of a pixel over images that both sides broke; 0 where there are none."""
    both = ~one.robust & ~other.robust
    return float((one.adversarial[both] - other.adversarial[both]).abs().max()) if both.any() else 0.0
