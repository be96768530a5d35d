"""Who may load what: the door of the engine is light, and the engine needs no window."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import engine

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "h5py", "PySide6", "pyqtgraph")


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "engine",
        "engine.api",
        "engine.commands",
        "engine.config",
        "engine.errors",
        "engine.events",
        "engine.insight",
        "engine.query",
        "engine.__main__",
        "cartl_gui",
    ],
)
def test_that_importing_the_door_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import {module}, sys, json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert json.loads(in_new_process(code)) == []


def test_that_every_module_of_the_engine_imports_without_qt() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(engine.__path__, "engine.")
        if not module.name.endswith("__main__")
    ]
    assert "engine.api" in names
    code = (
        "import importlib, sys\n"
        "for blocked in ('PySide6', 'shiboken6', 'pyqtgraph', 'matplotlib', 'cartl_gui'):\n"
        "    sys.modules[blocked] = None\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    in_new_process(code)


def test_that_only_the_store_imports_h5py() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for folder in ("engine", "cartl_gui")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) h5py\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert [path for path in users if not path.startswith("engine/store/")] == []


def test_that_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert engine.__version__ == project["version"]
