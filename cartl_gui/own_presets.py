"""The user's own presets and the values typed last: TOML files in the folder for settings."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import tomlkit
from platformdirs import user_config_path
from PySide6.QtCore import QIODevice, QSaveFile

from engine.config import load_study, parse_study
from engine.errors import ConfigError

_SUFFIX = ".toml"
MAX_NAME = 60
#: How many of the values used last are kept for each setting.
KEPT = 5


def config_folder() -> Path:
    """Where settings of the program lie: `$CARTL_CONFIG`, else the user's folder for settings."""
    given = os.environ.get("CARTL_CONFIG")
    return Path(given).expanduser() if given else user_config_path("cartl-workbench")


class OwnPresets:
    """Studies that the user saved under a name, one file each.

    Attributes:
        texts: name -> TOML of those that can be used, by name.
        damaged: name -> why it cannot be used. Their files stay as they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.texts: dict[str, str] = {}
        self.damaged: dict[str, str] = {}
        self.load()

    def load(self) -> None:
        """Read the folder anew."""
        self.texts, self.damaged = {}, {}
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: unquote(path.stem).casefold())
        for path in paths:
            name = unquote(path.stem)
            try:
                load_study(path)
                self.texts[name] = path.read_text(encoding="utf-8-sig")
            except (ConfigError, OSError) as error:
                self.damaged[name] = str(error)

    def path(self, name: str) -> Path:
        """The file of a preset."""
        return self._folder / f"{quote(name, safe=' ,()+=-_')}{_SUFFIX}"

    def refusal(self, name: str, taken: Iterable[str] = ()) -> str:
        """Why a new preset cannot have this name, empty if it can.

        Args:
            name: the name.
            taken: names of other presets, which are not to be hidden by it.
        """
        if not name.strip() or name != name.strip() or len(name) > MAX_NAME:
            return f"A name has 1 to {MAX_NAME} characters and no blank at its ends."
        if not name.isprintable() or name.startswith("."):
            return "A name begins with no dot and is written in one line."
        if name.casefold() in {other.casefold() for other in (*taken, *self.damaged)}:
            return f"There is a preset “{name}” that cannot be replaced; choose another name."
        return ""

    def save(self, name: str, text: str) -> None:
        """Write a study under a name, in place of what had it.

        Raises:
            ConfigError: the study cannot be used.
            OSError: the file cannot be written; what was there before is unchanged.
        """
        parse_study(text)
        write_whole(self.path(name), text)
        self.load()

    def rename(self, old: str, new: str) -> None:
        """Give a preset another name.

        Raises:
            OSError: the file cannot be renamed, or there is one of that name.
        """
        if self.path(new).exists():
            raise FileExistsError(f"there is a preset “{new}” already")
        self.path(old).rename(self.path(new))
        self.load()

    def delete(self, name: str) -> None:
        """Remove a preset.

        Raises:
            OSError: the file cannot be removed.
        """
        self.path(name).unlink()
        self.load()


class RecentValues:
    """The values that were used last for each setting, as they were typed, the newest first.

    Args:
        path: the file that keeps them across starts; None keeps them while the program runs.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._values: dict[str, list[str]] = {}
        if path is None:
            return
        try:
            read = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # a convenience that is lost is no reason to refuse anything
        self._values = {
            place: [text for text in texts if isinstance(text, str)][:KEPT]
            for place, texts in read.items()
            if isinstance(texts, list)
        }

    def of(self, place: str) -> list[str]:
        """The values of one setting."""
        return list(self._values.get(place, ()))

    def use(self, texts: Mapping[str, str]) -> None:
        """Note what was used: place -> text."""
        for place, text in texts.items():
            older = [other for other in self._values.get(place, ()) if other != text]
            self._values[place] = [text, *older][:KEPT]
        if self._path is not None and texts:
            try:
                write_whole(self._path, tomlkit.dumps(self._values))
            except OSError:
                self._path = None


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is there in whole or as it was before.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = QSaveFile(str(path))
    written = file.open(QIODevice.OpenModeFlag.WriteOnly) and file.write(text.encode()) >= 0
    if not written or not file.commit():
        raise OSError(f"{path}: {file.errorString()}")
