"""Settings of a network."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.config.base import Settings, setting

ModelName = Literal["wide_resnet", "resnet"]

#: Residual blocks per stage of the ResNets (He et al., 2016, table 1).
RESNET_STAGES: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
}


class ModelConfig(Settings):
    """A network that is cut into numbered blocks."""

    name: ModelName = setting(
        "wide_resnet",
        "Architecture",
        "wide_resnet is WRN-d-w with pre-activation blocks and LeakyReLU 0.1, as the CARTL authors use it; "
        "resnet is ResNet-18, -34 or -50 with the CIFAR stem.",
    )
    depth: int = setting(
        10,
        "Depth",
        "Number of layers: 6n + 4 for a wide ResNet (10, 16, 22, 28, 34, 40); 18, 34 or 50 for a ResNet.",
        unit="layers",
        proposed=(10, 16, 28, 34),
        ge=10,
        le=106,
    )
    widen_factor: int = setting(
        1,
        "Widen factor",
        "Channels relative to the narrow network.",
        proposed=(1, 2, 4, 10),
        ge=1,
        le=20,
        shown_if={"name": ("wide_resnet",)},
    )

    @model_validator(mode="after")
    def _depth_exists(self) -> ModelConfig:
        if self.name == "wide_resnet" and (self.depth - 4) % 6:
            raise ValueError(
                f"depth: a wide ResNet has 6n + 4 layers (10, 16, 22, 28, 34, 40), got {self.depth}"
            )
        if self.name == "resnet" and self.depth not in RESNET_STAGES:
            raise ValueError(f"depth: a ResNet has 18, 34 or 50 layers, got {self.depth}")
        return self

    @property
    def num_blocks(self) -> int:
        """N, the number of blocks the network is cut into."""
        if self.name == "wide_resnet":
            return (self.depth - 4) // 2 + 2
        return sum(RESNET_STAGES[self.depth]) + 1

    @property
    def title(self) -> str:
        """Name in the field's notation: WRN-34-10, ResNet-18."""
        if self.name == "wide_resnet":
            return f"WRN-{self.depth}-{self.widen_factor}"
        return f"ResNet-{self.depth}"
