"""What has to be said about a checkpoint of the CARTL authors' code, because its file cannot tell."""

from __future__ import annotations

from pydantic import Field, model_validator

from engine.config.base import Ratio, Settings, setting
from engine.config.data import DataConfig


class ImportConfig(Settings):
    """What is known about a network beside its weights."""

    data: DataConfig = Field(
        title="Data",
        description="The images that the network was last trained on.",
    )
    halved_blocks: int | None = setting(
        None,
        "Halved blocks",
        "Among how many of the last blocks the residual sum is halved: the k of the fine-tuning, if it had halved "
        "sums. Left out, none is, and a file with spectrally normalised weights is refused until it is said.",
        unit="blocks",
        ge=0,
        le=1000,
    )
    mean: list[Ratio] | None = setting(
        None,
        "Mean",
        "Mean of the source domain's pixels, red, green and blue, in input units; a transferred network keeps its "
        "source domain's. Left out, it is that of the file, else that of the data, where it is known.",
    )
    std: list[Ratio] | None = setting(
        None,
        "Standard deviation",
        "Standard deviation of the source domain's pixels, red, green and blue, in input units.",
    )
    spectral_bound: float | None = setting(
        None,
        "Spectral bound (beta)",
        "The beta of the fine-tuning; needed for spectrally normalised weights (weight_orig, weight_u, weight_v), "
        "which are written out as beta * W / sigma.",
        gt=0,
        le=100,
    )

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> ImportConfig:
        check_normalisation(self.mean, self.std)
        return self


def check_normalisation(mean: list[float] | None, std: list[float] | None) -> None:
    """Check that mean and std are both there, or neither, and are of three channels with pixels in [0, 1].

    Raises:
        ValueError: they are not; the message begins with the name of the setting.
    """
    if (mean is None) != (std is None):
        missing = "std" if std is None else "mean"
        raise ValueError(f"{missing}: mean and std belong together; give both or neither")
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != 3:
            raise ValueError(f"{name}: expected three numbers, red, green and blue, got {len(values)}")
    if mean is not None and not all(0 <= value <= 1 for value in mean):
        raise ValueError(
            f"mean: pixels are in [0, 1], so expected three numbers from 0 to 1, got {mean}; divide by 255"
        )
    if std is not None and not all(0 < value <= 1 for value in std):
        raise ValueError(
            f"std: pixels are in [0, 1], so expected three numbers above 0 and at most 1, got {std}"
        )
