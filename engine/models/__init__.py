"""Networks. A new one is one file here that registers a `BlockwiseModel`."""

from engine.models import resnet, wide_resnet
from engine.models.base import (
    BlockwiseModel,
    ResidualBlock,
    WeightedLayer,
    build_model,
    build_skeleton,
    models,
)

__all__ = [
    "BlockwiseModel",
    "ResidualBlock",
    "WeightedLayer",
    "build_model",
    "build_skeleton",
    "models",
    "resnet",
    "wide_resnet",
]
