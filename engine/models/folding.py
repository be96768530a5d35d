"""Batch norm folded into the convolution before it: the same function of the images in eval mode, in fewer passes
over memory.

Source: Jacob et al., CVPR 2018, section 3.2, equation 14.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from engine.models.base import BlockwiseModel
from engine.models.spectral_norm import remove_constraints


@torch.no_grad()
def folded(model: BlockwiseModel) -> BlockwiseModel:
    """A copy whose batch norms are part of the convolutions before them, where nothing else takes their output.

    It is independent of the model, on the same device and in the same memory format, in eval mode and without
    gradients for its parameters. Its features, outputs and gradients for the images are those of the model in eval mode,
    to rounding; its weights are plain ones, spectral bounds being written out. It is not to be trained.
    """
    copied = copy.deepcopy(model)
    remove_constraints(copied)
    norms = set()
    for layer, norm in copied.foldable():
        scale = norm.weight / (norm.get_buffer("running_var") + norm.eps).sqrt()
        bias = norm.bias - norm.get_buffer("running_mean") * scale
        if layer.bias is not None:
            bias += layer.bias * scale
        layer.weight.mul_(scale.view(-1, 1, 1, 1))
        layer.bias = nn.Parameter(bias)
        norms.add(norm)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if child in norms:
                setattr(module, name, nn.Identity())
    return copied.requires_grad_(False).eval()
