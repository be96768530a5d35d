"""Decision boundaries as planes: the nearest one where an attack stands, and the shortest way to it inside the box.

Shapes: B batch, K classes, images [B, C, H, W] in [0, 1]; a plane is its normal [B, C, H, W] and the gap [B], the logit
of another class less that of the true one, which is zero on the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from engine.attacks.base import Network, loss_and_gradient, usable
from engine.attacks.criteria import margin_loss, ranked_classes
from engine.attacks.projection import BALLS, TINY, per_image

#: The length of a gradient over which a gap is divided to give a distance: the norm dual to the attack's.
DUAL_LENGTH: dict[str, Callable[[Tensor], Tensor]] = {"linf": BALLS["l1"].radius, "l2": BALLS["l2"].radius}


def nearest_boundary(
    model: Network, images: Tensor, labels: Tensor, targets: Tensor | None, *, norm: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The boundary to the target, or without one the boundary that is nearest in the linearised network.

    Cost: one forward and one backward pass, without targets K - 1 backward passes.
    Source: Moosavi-Dezfooli et al., CVPR 2016, section 3; Croce & Hein, ICML 2020 (FAB), section 2.

    Args:
        model: images -> logits [B, K].
        images: where to linearise.
        labels, targets: true classes [B] and classes to be reached [B], if any.
        norm: in which distances are measured.

    Returns:
        Logits [B, K], gap [B] and normal [B, C, H, W].
    """
    if targets is not None:
        towards = partial(margin_loss, labels=labels, targets=targets)
        logits, gap, normal = loss_and_gradient(model, images, towards)
        return logits, gap, usable(normal)
    images = images.detach().requires_grad_(True)
    logits = model(images)
    rivals = ranked_classes(logits.detach(), labels)
    distance = torch.full_like(labels, torch.inf, dtype=logits.dtype)
    gap, normal = torch.zeros_like(distance), torch.zeros_like(images)
    for rank in range(rivals.shape[1]):
        behind = margin_loss(logits, labels, rivals[:, rank])
        (gradient,) = torch.autograd.grad(behind.sum(), images, retain_graph=rank < rivals.shape[1] - 1)
        behind, gradient = behind.detach(), usable(gradient)
        away = behind.abs() / (DUAL_LENGTH[norm](gradient) + TINY)
        nearer = away < distance
        distance, gap = torch.where(nearer, away, distance), torch.where(nearer, behind, gap)
        normal = torch.where(per_image(nearer, images), gradient, normal)
    return logits.detach(), gap, normal.detach()


def step_to_plane(points: Tensor, normal: Tensor, gap: Tensor, *, norm: str) -> Tensor:
    """The shortest step from points to a plane that leaves all pixels in 0..1, or where there is none, the corner
    of the box that is nearest to the plane.

    Every pixel moves towards the plane at a pace (the same for all in Linf, the normal's entry in L2) until it meets
    the border of the box; how long they move solves an increasing, concave, piecewise linear equation. Newton's
    method from zero never goes too far and ends, exactly, once no more pixels meet the border.
    Source: Croce & Hein, ICML 2020 (FAB), section 2, for the problem.

    Args:
        points: [B, C, H, W] in the box.
        normal: [B, C, H, W] of the plane.
        gap: [B] of the points; the step changes it by -gap.
        norm: in which the step is shortest, linf or l2.

    Returns:
        Steps [B, C, H, W].
    """
    direction = -(normal.sign() * per_image(gap.sign(), normal)).flatten(1)
    room = torch.where(direction > 0, 1 - points.flatten(1), points.flatten(1))
    steep = normal.flatten(1).abs()
    pace = steep if norm == "l2" else torch.ones_like(steep)
    gain, all_gain = steep * pace, steep * room
    needed, time = gap.abs(), torch.zeros_like(gap)
    moving = room > 0
    left = -1
    while left != (left := int(moving.sum())):  # as long as that has changed
        rate = (gain * moving).sum(1)
        solved = (needed - (all_gain * ~moving).sum(1)) / rate
        time = torch.where(rate > 0, torch.maximum(time, solved), time)
        moving = room > time[:, None] * pace
    return (direction * torch.minimum(room, time[:, None] * pace)).view_as(points)
