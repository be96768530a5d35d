"""Say in one sentence what keeps the window from starting. Importable where Qt is broken or missing."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from importlib import metadata

#: Platforms of Qt that need neither a display nor a desktop's libraries.
_HEADLESS = ("offscreen", "minimal", "vnc", "linuxfb", "eglfs")


def qt_version() -> tuple[int, int] | None:
    """Major and minor version of the installed Qt binding, None where there is none."""
    try:
        numbers = metadata.version("PySide6-Essentials").split(".")
    except metadata.PackageNotFoundError:
        return None
    return int(numbers[0]), int(numbers[1])


def library_exists(name: str) -> bool:
    """Whether the dynamic loader finds a shared library such as "libEGL.so.1"."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def reason_not_to_start(
    *,
    platform: str = sys.platform,
    python: tuple[int, ...] = tuple(sys.version_info[:2]),
    environment: Mapping[str, str] = os.environ,
    qt: Callable[[], tuple[int, int] | None] = qt_version,
    library: Callable[[str], bool] = library_exists,
) -> str | None:
    """Return one sentence that names the obstacle and the remedy, or None if the window can start."""
    version = qt()
    if version is None:
        return "The window needs PySide6: install it with `pip install PySide6-Essentials==6.10.3`."
    if python < (3, 12) and version >= (6, 12):
        return (
            f"PySide6 {version[0]}.{version[1]} aborts on Python {python[0]}.{python[1]}: install the version "
            "this program was tested with, `pip install PySide6-Essentials==6.10.3`, or use Python 3.12."
        )
    if not platform.startswith("linux"):
        return None
    if not library("libEGL.so.1"):
        return "The system library libEGL is missing: install it with `sudo apt install libegl1 libgl1`."
    chosen = environment.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if chosen in _HEADLESS:
        return None
    if not environment.get("DISPLAY") and not environment.get("WAYLAND_DISPLAY"):
        return (
            "There is no display to open a window on: run `cartl demo` for the same study in the terminal, "
            "or connect with a display (`ssh -X`)."
        )
    on_x11 = chosen == "xcb" or (not chosen and not environment.get("WAYLAND_DISPLAY"))
    if on_x11 and not library("libxcb-cursor.so.0"):
        return (
            "The system library libxcb-cursor is missing: install it with "
            "`sudo apt install libxcb-cursor0 libxkbcommon-x11-0`."
        )
    return None
