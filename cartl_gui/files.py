"""Files that the window opens: settings, weights or checkpoints, and whole runs."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDropEvent

SETTINGS_SUFFIX = ".toml"
#: Endings of files with weights, and how dialogs ask for one.
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".pt2", ".ts")
WEIGHTS = f"Weights and checkpoints ({' '.join(f'*{suffix}' for suffix in WEIGHTS_SUFFIXES)});;All files (*)"
#: How the dialog asks for anything that can be opened.
OPENABLE = (
    f"Settings, weights and runs (*{SETTINGS_SUFFIX} {' '.join(f'*{suffix}' for suffix in WEIGHTS_SUFFIXES)} *.zip);;"
    "Settings (*.toml);;All files (*)"
)
#: The file that makes a folder a run.
_OF_A_RUN = "config.toml"


def is_weights_file(text: str) -> bool:
    """Whether a text that says where weights come from names a file, and not a run."""
    return Path(text).suffix.lower() in WEIGHTS_SUFFIXES


def is_settings_file(path: str) -> bool:
    """Whether a path names a file with settings."""
    return Path(path).suffix.lower() == SETTINGS_SUFFIX


def is_run(path: str) -> bool:
    """Whether a path names a whole run: its folder, or one packed as .zip."""
    return (Path(path) / _OF_A_RUN).is_file() or Path(path).suffix.lower() == ".zip"


def dropped_paths(event: QDropEvent) -> list[str]:
    """The paths of the files and folders that are dragged; empty for anything else."""
    return [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]


def why_not(path: str) -> str:
    """Why a file or folder that is neither settings, weights nor a run cannot be opened, and what could be."""
    kind = "folder holds no run" if Path(path).is_dir() else "kind of file cannot be opened"
    return f"{Path(path).name}: this {kind}. Settings (.toml), weights ({', '.join(WEIGHTS_SUFFIXES)}) and runs (folder or .zip) can."
