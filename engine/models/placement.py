"""Where a network computes, and in which memory format."""

from __future__ import annotations

import torch
from torch import nn

from engine.models.base import BlockwiseModel


def memory_format(model: BlockwiseModel, device: torch.device) -> torch.memory_format:
    """The layout in which the model's convolutions are fast on the device; a fixed rule, so that runs repeat."""
    last = device.type == "cuda" or (device.type == "cpu" and model.channels_last_on_cpu)
    return torch.channels_last if last else torch.contiguous_format


def place_on(model: nn.Module, device: torch.device) -> None:
    """Move a network to a device, in the memory format that is fastest there."""
    model.to(device)
    if isinstance(model, BlockwiseModel):
        model.lay_out(memory_format(model, device))
