"""Settings of a data set."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.config.base import Settings, setting

DatasetName = Literal[
    "letters",
    "digits",
    "cifar10",
    "cifar100",
    "svhn",
    "mnist",
    "fashion_mnist",
    "gtsrb",
    "stl10",
    "folder",
]


class DataConfig(Settings):
    """Which images, how many and at what size. All are RGB, uint8, square."""

    name: DatasetName = setting(
        "letters",
        "Data set",
        "letters and digits are drawn by the program and need no download; folder reads "
        "train/<class>/* and test/<class>/* from a folder of yours; the rest is downloaded on demand.",
    )
    path: str = setting(
        "",
        "Folder",
        "The folder that holds train/<class>/* and test/<class>/*. For a downloaded data set: where it "
        "is kept; empty means the program's own data folder.",
    )
    image_size: int = setting(
        32,
        "Image size",
        "Width and height to which every image is brought.",
        unit="pixels",
        proposed=(16, 32, 64),
        ge=8,
        le=256,
    )
    train_size: int = setting(
        0,
        "Training images",
        "How many training images to use, drawn evenly from the classes by the data seed; 0 uses all. "
        "For letters and digits: how many to draw (0 means 4,000).",
        unit="images",
        ge=0,
        le=10_000_000,
    )
    validation_size: int = setting(
        0,
        "Validation images",
        "How many images to hold out from the training images, to watch robustness while training. "
        "They are never trained on. 0 watches nothing.",
        unit="images",
        ge=0,
        le=1_000_000,
    )
    test_size: int = setting(
        0,
        "Test images",
        "How many test images to use; 0 uses all (for letters and digits: 1,000). "
        "Only the attack stage looks at them.",
        unit="images",
        ge=0,
        le=10_000_000,
    )
    seed: int = setting(
        0, "Data seed", "Draws the subset and the held-out images.", ge=0, le=2**31 - 1, advanced=True
    )
    skip_bad_files: bool = setting(
        False,
        "Skip unreadable images",
        "Consent to go on without the images of a folder that cannot be read; each is listed with its reason.",
        shown_if={"name": ("folder",)},
        advanced=True,
    )

    @model_validator(mode="after")
    def _folder_needs_path(self) -> DataConfig:
        if self.name == "folder" and not self.path:
            raise ValueError("path: a folder data set needs the folder that holds train/ and test/")
        return self
