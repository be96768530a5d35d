"""What the program knows about itself and what it is built on: versions, licences, its README, and what to cite."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from PySide6.QtCore import qVersion

NAME = "CARTL Workbench"
PURPOSE = "See, layer by layer, why a transferred network keeps or loses its adversarial robustness."
_PROJECT = "cartl-workbench"
_SOURCE = Path(__file__).parents[1]
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)
_OSI = "License :: OSI Approved :: "
#: Packages that are no dependency of the project by name but are told apart in licences.
_BESIDE = ("shiboken6",)
LGPL_NOTE = (
    "Qt and PySide6 are used under the GNU Lesser General Public License, version 3. They are installed as libraries of "
    "their own, unchanged, and may be replaced by other builds of the same version. Nothing in this program "
    "keeps you from that."
)
BIBTEX = """@inproceedings{chen2021cartl,
  title     = {{CARTL}: Cooperative Adversarially-Robust Transfer Learning},
  author    = {Chen, Dian and Hu, Hongxin and Wang, Qian and Li, Yinli and
               Wang, Cong and Shen, Chao and Li, Qi},
  booktitle = {Proceedings of the 38th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {139},
  year      = {2021},
  url       = {https://arxiv.org/abs/2106.06667},
}
"""


def version() -> str:
    """Version of the installed program."""
    try:
        return metadata.version(_PROJECT)
    except metadata.PackageNotFoundError:
        return "from source"


@dataclass(frozen=True, slots=True)
class Package:
    """Something that the program is built on; `home` is its address, empty where it names none."""

    name: str
    version: str
    licence: str
    home: str

    def licence_text(self) -> str:
        """Its licence files in full; where the package brings none, where they are."""
        files = metadata.files(self.name) or []
        texts = [
            f"{path}\n\n{path.read_text(encoding='utf-8')}"
            for path in files
            if _LICENCE_FILE.search(path.name)
            and path.suffix not in (".py", ".pyc")
            and Path(path.locate()).is_file()
        ]
        if texts:
            return "\n\n".join(texts)
        where = f" Its project is at {self.home}." if self.home else ""
        return f"{self.licence}\n\nThis package brings no file with the text of its licence.{where}"


@cache
def packages() -> tuple[Package, ...]:
    """The program itself and every installed package that it needs, from the installation."""
    try:
        needed = metadata.requires(_PROJECT) or []
    except metadata.PackageNotFoundError:
        return ()
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed if "extra ==" not in line]
    found = []
    for name in (_PROJECT, *names, *_BESIDE):
        try:
            found.append(_package(name))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _package(name: str) -> Package:
    facts = metadata.metadata(name)
    classified = [
        text.removeprefix(_OSI) for text in facts.get_all("Classifier") or [] if text.startswith(_OSI)
    ]
    stated = _stated(facts, "License-Expression") or _stated(facts, "License").partition("\n")[0]
    addresses = dict(line.split(", ", 1) for line in facts.get_all("Project-URL") or [])
    known = {label.lower(): address for label, address in addresses.items()}
    home = (
        known.get("homepage") or known.get("source") or known.get("repository") or _stated(facts, "Home-page")
    )
    return Package(name, metadata.version(name), stated or ", ".join(classified) or "not stated", home)


def _stated(facts: metadata.PackageMetadata, name: str) -> str:
    return next(iter(facts.get_all(name) or ()), "")


def facts() -> str:
    """Versions of program, Python, Qt and packages, and the platform, one to a line."""
    lines = [
        f"{NAME} {version()}",
        f"Python {platform.python_version()}, Qt {qVersion()}, {platform.platform()}",
        ", ".join(f"{package.name} {package.version}" for package in packages() if package.name != _PROJECT),
    ]
    return "\n".join(filter(None, lines))


def address() -> str:
    """The project's own address, if its metadata names one."""
    return next((package.home for package in packages() if package.name == _PROJECT), "")


def readme() -> tuple[str, Path]:
    """The README as Markdown, and the folder that its pictures are relative to."""
    path = _SOURCE / "README.md"
    if path.is_file():
        return path.read_text(encoding="utf-8"), _SOURCE
    try:
        return _stated(metadata.metadata(_PROJECT), "Description"), _SOURCE
    except metadata.PackageNotFoundError:
        return "The README is not installed with this program.", _SOURCE
