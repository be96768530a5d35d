"""The engine: pre-training, transfer, attack and layer-wise inspection, without any window.

`engine.api` is the door; importing it, `engine.config`, `engine.events` or `engine.errors` loads neither torch
nor h5py, so that a window or a command line is there at once.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cartl-workbench")
except PackageNotFoundError:
    __version__ = "0+unknown"

__all__ = ["__version__"]
