"""Modes of a network: which parts train, and looking at it without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from engine.config import BatchNormPolicy
from engine.models.base import BlockwiseModel


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode with no parameter asking for gradients; restore every flag, one by one, after."""
    modules = [module for module in model.modules() if module.training]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for module in modules:
        module.training = False
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.training = True
        for parameter in parameters:
            parameter.requires_grad_(True)


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.BatchNorm2d]:
    """All batch-norm layers inside `modules`."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def freeze_for_transfer(model: BlockwiseModel, k: int, policy: BatchNormPolicy) -> None:
    """Leave only the head's parameters trainable, its batch-norm affine ones as the policy says."""
    model.requires_grad_(False)
    for module in model.head(k):
        module.requires_grad_(True)
    if policy.freeze_affine:
        for layer in batch_norms(model.head(k)):
            layer.requires_grad_(False)


def set_transfer_mode(model: BlockwiseModel, k: int, policy: BatchNormPolicy) -> None:
    """Put a model in train mode, except for batch-norm layers that keep the source's statistics."""
    model.train()
    kept = batch_norms(model.head(k)) if policy.keep_head_statistics else []
    kept += batch_norms(model.trunk(k)) if policy.keep_trunk_statistics else []
    for layer in kept:
        layer.eval()
