"""Files that the window opens: settings, and weights or checkpoints."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDropEvent

SETTINGS_SUFFIX = ".toml"
#: Endings of files with weights, and how dialogs ask for one.
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".pt2", ".ts")
WEIGHTS = f"Weights and checkpoints ({' '.join(f'*{suffix}' for suffix in WEIGHTS_SUFFIXES)});;All files (*)"


def is_weights_file(text: str) -> bool:
    """Whether a text that says where weights come from names a file, and not a run."""
    return Path(text).suffix.lower() in WEIGHTS_SUFFIXES


def dropped_file(event: QDropEvent) -> str | None:
    """The path of the settings or weights file that is dragged, None for anything else."""
    paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
    return next(
        (path for path in paths if is_weights_file(path) or Path(path).suffix.lower() == SETTINGS_SUFFIX),
        None,
    )
