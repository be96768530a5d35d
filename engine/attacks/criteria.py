"""When an image is broken, and what an attack raises to get there.

Shapes: B batch, K classes; logits [B, K], labels and targets [B].
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Loss(Protocol):
    """What an attack raises."""

    def __call__(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        """[B] from logits [B, K], true classes [B] and classes to be reached [B], if any."""


#: Guards the denominator of the DLR loss. Source: the reference implementation of AutoAttack.
DLR_GUARD = 1e-12


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] whether another class than the true one is predicted."""
    return logits.argmax(1) != labels


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] logit of the true class less the largest other; negative if and only if misclassified, ties apart."""
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return true - others.amax(1)


def ranked_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, K - 1] the wrong classes, most likely first."""
    order = logits.argsort(dim=1, descending=True, stable=True)
    return order[order != labels[:, None]].view(len(logits), logits.shape[1] - 1)


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Cross-entropy of the true class, or with targets minus that of the target. Source: Madry et al., ICLR 2018."""
    if targets is None:
        return F.cross_entropy(logits, labels, reduction="none")
    return -F.cross_entropy(logits, targets, reduction="none")


def margin_loss(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Largest wrong logit (or the target's) less the true one. Source: Carlini & Wagner, S&P 2017, f6."""
    if targets is None:
        return -margin(logits, labels)
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Difference of logits ratio, invariant to shifts and scales of the logits.

    Untargeted it needs 3 classes, targeted 4. Source: Croce & Hein, ICML 2020, equations 6 and 7.
    """
    if targets is None:
        first, _, third = logits.topk(3, dim=1).values.unbind(1)
        return -margin(logits, labels) / (first - third + DLR_GUARD)
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return margin_loss(logits, labels, targets) / (first - 0.5 * (third + fourth) + DLR_GUARD)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin_loss, "dlr": dlr}
