"""The files of figures that tests compare with (`tests/reference/README.md`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

#: With CARTL_REFERENCE_DIR set, another folder of the same layout.
FOLDER = Path(os.environ.get("CARTL_REFERENCE_DIR", Path(__file__).parent.parent / "reference"))


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
