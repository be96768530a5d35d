"""What has to be said about a checkpoint that another program wrote, because its file cannot tell."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.config.base import Ratio, Settings, setting
from engine.config.importing import check_normalisation

#: Networks whose weights other programs keep as a plain state dict; "" stands for a file that is a whole program.
ArchitectureName = Literal[
    "",
    "wide_resnet",
    "resnet",
    "preact_resnet",
    "preact_resnet_raw_shortcut",
    "cartl",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "densenet121",
    "densenet161",
    "densenet169",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
    "vit_b_16",
]


class CheckpointConfig(Settings):
    """A network to attack that this program did not train. Its number of classes is read from the file."""

    architecture: ArchitectureName = setting(
        "",
        "Architecture",
        "The network that the weights belong to; empty for a file that is a whole program (.pt2 or TorchScript). Depth "
        "and width are read from the file. wide_resnet (WRN with ReLU), resnet and preact_resnet are the CIFAR networks "
        "of TRADES, RobustBench and pytorch-cifar; preact_resnet_raw_shortcut is the variant of Wong et al. whose "
        "shortcuts start before the activation; cartl is a network of the CARTL authors; all others are torchvision's.",
    )
    mean: list[Ratio] | None = setting(
        None,
        "Mean",
        "Mean that pixels are normalised with, red, green and blue, in input units. Left out, it is that of the file; "
        "if that has none either, the network gets its images as they are, in [0, 1].",
    )
    std: list[Ratio] | None = setting(
        None,
        "Standard deviation",
        "Standard deviation that pixels are normalised with, red, green and blue, in input units.",
    )

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> CheckpointConfig:
        check_normalisation(self.mean, self.std)
        return self
