"""Reasons to doubt a robust accuracy, looked for on a few images before the attack.

Everything here is cheap, the same for the same seed, and leaves the network as it came. A warning that is wrong does
more harm than one that is missing, so each threshold lies beyond rounding and beyond what so few images leave open.

Shapes: B images, K classes, images [B, C, H, W] in [0, 1], labels [B], logits [B, K].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from engine.attacks.base import clean_logits
from engine.config import ATTACKS, AttackConfig, members_of
from engine.device import exact_float32
from engine.evaluation.masking import NoGradientsError, Subject, gradients, look, parts_of
from engine.evaluation.signs import doubts, masking, merged
from engine.events import AttackWarning
from engine.models.modes import evaluation
from engine.randomness import own_stream, stream_seed
from engine.statistics import wilson

#: Most images looked at.
IMAGES = 128
#: How closely outputs of a sum of one are probabilities. Source: the reference implementation of AutoAttack.
ADDS_UP = 1e-5
#: Share of the largest output by which two passes may differ. Source: there, as a difference.
REPEATS = 1e-4
#: Share of the largest output by which the other images of a batch may move one: rounding, also in bfloat16.
BATCH_MAY_MOVE = 0.02
#: Images that go through by themselves to see that.
FEW = 8
#: Images that the network must get right for signs of gradient masking to be looked for: of fewer a handful decides.
FEWEST_RIGHT = 32
#: Share of the images that must come out right in addition if they are normalised.
BETTER_NORMALISED = 0.1


def examine(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    config: AttackConfig,
    num_classes: int,
    seed: int,
    history: Sequence[str] = (),
    each_step: Callable[[], None] = lambda: None,
) -> tuple[AttackWarning, ...]:
    """What speaks against a robust accuracy before the attack has begun: settings, outputs and gradients.

    Cost: at most 50 passes per image, a gradient counting as two, and 2 more for each further loss of the attack; about
    30 where nothing is wrong. PGD-20 takes 41, on all images. Flags, buffers and gradients of the model stay as they
    were, and so does torch's global random state.

    Args:
        model: maps images to logits.
        images, labels: float32 images and int64 labels on the model's device, in the order of attack: the first 128 are
            looked at, as many together as the attack takes.
        config: the attack that will be made.
        num_classes: K.
        seed: of the run; only networks whose outputs are random draw from it.
        history: one line per training that the network went through.
        each_step: called before every pass; may raise to end the examination.

    Raises:
        DataError: the images are not in 0..1.
        DivergedError: the network's outputs are not numbers.
        ValueError: a single attack cannot be made with so few classes.
        OutOfMemoryError: not even one image fits into the device's memory.
    """
    images, labels = images[:IMAGES], labels[:IMAGES]
    members, _ = members_of(config, num_classes)
    found = doubts(config, num_classes, history=history)
    size = min(IMAGES, config.batch_size or IMAGES)
    while True:
        try:
            return merged(found + _look(model, images, labels, config, members, size, seed, each_step))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2


def _look(
    model: nn.Module, images: Tensor, labels: Tensor, config: AttackConfig, members: Sequence[AttackConfig], size: int,
    seed: int, each_step: Callable[[], None],
) -> list[AttackWarning]:  # fmt: skip
    def network(batch: Tensor) -> Tensor:
        logits = []
        for part in parts_of(batch, size):
            each_step()
            logits.append(model(part).float())
        return torch.cat(logits)

    with (
        exact_float32(),
        own_stream(images.device, stream_seed(seed, "attack", "warnings")),
        _kept(model) as changed,
    ):
        raw = torch.cat([clean_logits(model, part) for part in parts_of(images, size)])
        subject = Subject(network, images, labels, raw.float(), size)
        with evaluation(model), torch.no_grad():
            found = _imprecise(model, raw) + _probabilities(raw)
            random = _random(subject, members)
            found += random + _differentiates(subject)
            training = _as_in_training(subject, changed, repeats=not random)
            found += training + _normalised(subject) + _constant(subject)
        if training:  # what an attack finds then depends on the images beside
            return found
        with evaluation(model):
            return found + _masked(subject, config, members)


def _imprecise(model: nn.Module, outputs: Tensor) -> list[AttackWarning]:
    floating = [one for one in (*model.parameters(), outputs) if one.is_floating_point()]
    coarse = {
        str(one.dtype) for one in floating if torch.finfo(one.dtype).eps > torch.finfo(torch.float32).eps
    }
    if not coarse:
        return []
    return [
        AttackWarning(
            "precision",
            "The network computes in lower precision",
            f"Weights or outputs are {' and '.join(sorted(coarse)).replace('torch.', '')}, not float32.",
            "Attack the network in float32, or name the precision beside every figure.",
        )
    ]


def _probabilities(outputs: Tensor) -> list[AttackWarning]:
    tolerance = max(ADDS_UP, 4 * torch.finfo(outputs.dtype).eps)
    sums = outputs.float().sum(1)
    if not (
        float(outputs.min()) >= 0 and float(outputs.max()) <= 1 and float((sums - 1).abs().max()) <= tolerance
    ):
        return []
    return [
        AttackWarning(
            "softmax",
            "Outputs are probabilities, not logits",
            f"On {len(outputs)} images all outputs lie in 0..1 and those of each image add up to 1, as after a softmax, "
            "behind which gradients vanish.",
            "Attack the network without its last softmax.",
        )
    ]


def _random(subject: Subject, members: Sequence[AttackConfig]) -> list[AttackWarning]:
    moved, scale = _apart(subject.network(subject.images), subject.logits)
    if moved <= REPEATS * scale:
        return []
    return [
        AttackWarning(
            "randomised",
            "The network gives random outputs",
            f"Two passes over the same images differ by up to {moved:.2g} (the largest output is {scale:.2g}).",
            "The attack averages gradients already; repeat it with other seeds, for each figure is a draw."
            if all(one.applies("eot") and one.eot > 1 for one in members)
            else "Attack with autoattack and version = rand, or with pgd and eot = 20, which average gradients.",
        )
    ]


def _apart(some: Tensor, others: Tensor) -> tuple[float, float]:
    """Largest difference of outputs, and the largest output."""
    return float((some - others).abs().max()), float(others.abs().max())


def _differentiates(subject: Subject) -> list[AttackWarning]:
    """Whether a pass records a graph although nothing given to it asks for gradients."""
    recorded: list[None] = []

    def pack(saved: Tensor) -> Tensor:
        recorded.append(None)
        return saved

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            subject.network(subject.images[:FEW])
    except RuntimeError:  # that is how torch.func, which differentiates too, answers to the hooks
        recorded.append(None)
    if not recorded:
        return []
    return [
        AttackWarning(
            "dynamic",
            "The network computes gradients while it predicts",
            "A pass without gradients recorded some all the same, as in defences that change the image or themselves "
            "before they predict. Attacks of a fixed network give an upper bound only.",
            "Design an attack for this defence; neither pgd nor autoattack is one.",
        )
    ]


def _as_in_training(
    subject: Subject, changed: Callable[[], list[str]], *, repeats: bool
) -> list[AttackWarning]:
    """Whether a pass changes buffers, or outputs depend on the batch; the latter only where passes repeat."""
    evidence = []
    together = min(subject.size, len(subject.images))
    if repeats and together >= 2 * FEW:
        # Of one class or two, so that their statistics are not those of the batch.
        few = subject.labels.argsort(stable=True)[:FEW]
        moved, scale = _apart(subject.network(subject.images[few]), subject.logits[few])
        if moved > BATCH_MAY_MOVE * scale:
            evidence.append(
                f"The outputs of {FEW} images differ by up to {moved:.2g} (the largest output is {scale:.2g}) between "
                f"passing by themselves and in a batch of {together}, as with batch norm that uses the statistics of "
                "the batch."
            )
    if names := changed():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        evidence.append(f"Passes in eval mode changed {shown}.")
    if not evidence:
        return []
    return [
        AttackWarning(
            "train_mode",
            "The network behaves as in training",
            " ".join(evidence),
            "Export the network in eval mode, with batch norm on its running statistics.",
        )
    ]


def _normalised(subject: Subject) -> list[AttackWarning]:
    images, labels = subject.images, subject.labels
    deviation, mean = torch.std_mean(images, dim=(0, 2, 3), keepdim=True)
    normalised = replace(subject, logits=subject.network((images - mean) / deviation.clamp_min(1e-6)))
    right = [int(one.right.sum()) for one in (subject, normalised)]
    raw, better = (wilson(count, len(labels)) for count in right)
    if better.value - raw.value < BETTER_NORMALISED or better.low <= raw.high:
        return []
    return [
        AttackWarning(
            "normalised_input",
            "The network expects normalised images",
            f"Of {len(labels)} images it gets {right[0]} right as they are, and {right[1]} once each channel has mean 0 and "
            "deviation 1.",
            "Give the network the mean and std it was trained with (--mean and --std); epsilon stays in "
            "pixels.",
        )
    ]


def _constant(subject: Subject) -> list[AttackWarning]:
    predicted, right, total = subject.logits.argmax(1), int(subject.right.sum()), len(subject.labels)
    if total < 2 * FEW or bool((predicted != predicted[0]).any()) or 2 * right > total:
        return []
    return [
        AttackWarning(
            "constant",
            "The network gives every image the same class",
            f"It takes all of {total} images for class {int(predicted[0])}, which is right for {right}. No attack "
            "breaks those, so the robust accuracy says nothing.",
            "Train the network again, with a smaller epsilon or learning rate.",
        )
    ]


def _masked(subject: Subject, config: AttackConfig, members: Sequence[AttackConfig]) -> list[AttackWarning]:
    led = [one for one in members if ATTACKS[one.name].white_box]
    if not led:
        return []
    try:
        slopes = gradients(subject, led)
    except NoGradientsError as error:
        return [
            AttackWarning(
                "no_gradients",
                "The network has no gradients",
                f"PyTorch cannot differentiate it: {error}.",
                "Attack with square, which needs no gradients, or with transfer from a network that has them.",
            )
        ]
    right, count = subject.right, int(subject.right.sum())
    # What a network gets right that hardly does better than naming the commonest class cannot be broken.
    commonest = int(subject.labels.bincount().max()) / len(right)
    if count < FEWEST_RIGHT or wilson(count, len(right)).low <= commonest:
        return []
    evidence = look(subject.only(right), {name: slope[right] for name, slope in slopes.items()}, config)
    return [masking(config, evidence)] if evidence else []


@contextmanager
def _kept(model: nn.Module) -> Iterator[Callable[[], list[str]]]:
    """Put back, after, what passes change in the buffers; gives which of them differ so far."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def changed() -> list[str]:
        return [
            name for name, now in model.named_buffers() if name in before and not _same(now, before[name])
        ]

    try:
        yield changed
    finally:
        with torch.no_grad():
            buffers = dict(model.named_buffers())
            for name in changed():
                buffers[name].copy_(before[name])


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
