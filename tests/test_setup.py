"""Set-up from a fresh clone, tried on a tiny project that installs without a network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Builds an editable wheel by hand, so that pip has nothing to load.
BACKEND = """
import os
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with open("pip-was-called.txt", "a") as log:
        log.write("x")
    if os.environ.get("TINY_FAILS"):
        raise SystemExit("no space left on device")
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("tiny.pth", os.getcwd())
        info = "tiny-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1.0"
"""


#: A package that asks for one that nobody has.
BESIDE = BACKEND.replace("Name: tiny", "Name: tiny\\nRequires-Dist: not-there==9").replace("tiny", "beside")
BESIDE += "build_wheel = build_editable\n"
LISTED = """
[tool.cartl-workbench.without-dependencies]
test = ["./beside"]
"""


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the real Makefile and set-up script around a project that only says who was started."""
    root = tmp_path / "a clone"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(ROOT / "scripts" / "setup.py", root / "scripts")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    for package in ("engine", "cartl_gui"):
        (root / package).mkdir()
        (root / package / "__main__.py").write_text(
            "import sys; print('started', __package__, *sys.argv[1:])\n"
        )
    return root


def make(root: Path, goal: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "PYTHON", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    path = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), kept.get("PATH", "")])
    return subprocess.run(
        ["make", "--no-print-directory", goal],
        cwd=root,
        env={**kept, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def pip_calls(root: Path) -> int:
    log = root / "pip-was-called.txt"
    return len(log.read_text()) if log.exists() else 0


def test_that_a_fresh_clone_is_set_up_once_and_runs_the_demo_where_there_is_no_display(clone: Path) -> None:
    first = make(clone)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "started engine demo\n"
    assert "Set-up took" in first.stderr and pip_calls(clone) == 1

    second = make(clone)
    assert second.stdout == "started engine demo\n"
    assert "Set-up took" not in second.stderr and pip_calls(clone) == 1

    (clone / "pyproject.toml").write_text(PYPROJECT + "# a new dependency\n")
    make(clone)
    assert pip_calls(clone) == 2, "a changed pyproject.toml must be installed"

    (clone / ".venv" / "installed.json").write_text("{")
    make(clone)
    assert pip_calls(clone) == 3, "an unreadable stamp must not count as installed"

    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(clone / "gone")
    broken = make(clone)
    assert broken.stdout == "started engine demo\n" and "made anew" in broken.stderr


def test_that_a_failed_installation_ends_with_one_sentence_and_is_completed_by_the_next_start(
    clone: Path,
) -> None:
    failed = make(clone, TINY_FAILS="1")
    assert failed.returncode != 0 and "started" not in failed.stdout
    assert "Traceback" not in failed.stderr
    assert "start again once it is solved" in failed.stderr
    assert make(clone).stdout == "started engine demo\n"


def test_that_a_package_beside_an_extra_comes_with_it_once_and_without_what_it_asks_for(
    setup: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHON", raising=False)
    beside = clone / "beside"
    beside.mkdir()
    (beside / "backend.py").write_text(BESIDE)
    (beside / "pyproject.toml").write_text(PYPROJECT.replace("tiny", "beside"))
    (clone / "pyproject.toml").write_text(PYPROJECT + LISTED)
    setup.provide_environment(clone)
    assert (pip_calls(clone), pip_calls(beside)) == (1, 0), "only the tests need it"

    python = setup.provide_environment(clone, "test")
    assert (pip_calls(clone), pip_calls(beside)) == (2, 1)
    question = "from importlib.metadata import version; print(version('beside'))"
    assert subprocess.run([python, "-c", question], capture_output=True, text=True).stdout == "1.0\n"
    for extra in ("test", "", "test"):
        setup.provide_environment(clone, extra)
    assert (pip_calls(clone), pip_calls(beside)) == (2, 1), "a second start installs nothing"

    (clone / "pyproject.toml").write_text(PYPROJECT + LISTED + "# a new version\n")
    setup.provide_environment(clone, "test")
    assert (pip_calls(clone), pip_calls(beside)) == (3, 2), "a changed list must be installed"


def test_that_what_is_installed_without_its_dependencies_is_pinned_and_for_tests_only(
    setup: ModuleType,
) -> None:
    packages = setup.without_dependencies(ROOT, "test")
    assert [name for name, _, _ in (package.partition("==") for package in packages)] == ["torchattacks"]
    assert all("==" in package for package in packages)
    assert setup.without_dependencies(ROOT, "") == []


def test_that_an_unsuitable_python_is_answered_with_one_sentence(clone: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    answer = make(clone, PYTHON=str(old))
    assert answer.returncode != 0 and not (clone / ".venv").exists()
    sentence = answer.stderr.splitlines()[0]
    assert "needs Python 3.11 to 3.14" in sentence and "Python 3.9.2" in sentence and "PYTHON=" in sentence


def test_that_a_python_without_venv_is_answered_with_the_package_to_install(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup, "install_packages", lambda packages: False)
    with pytest.raises(setup.SetupError, match=r"sudo apt-get install python3\.\d+-venv"):
        setup.make_environment(tmp_path / ".venv")


@pytest.mark.skipif(sys.platform != "linux", reason="system libraries are looked up on Linux only")
def test_that_missing_libraries_are_named_with_their_packages(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "install_packages", lambda packages: False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    libraries = {"libc.so.6": "libc6", "libnot-there.so.9": "libnot-there9"}
    with pytest.raises(setup.SetupError, match=r"apt-get install libnot-there9$"):
        setup.provide_libraries(libraries)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.SetupError, match=r"libnot-there\.so\.9$"):
        setup.provide_libraries(libraries)
    setup.provide_libraries({"libc.so.6": "libc6"})


@pytest.mark.skipif(sys.platform != "linux", reason="system packages are looked up on Linux only")
def test_that_what_the_test_on_a_display_needs_is_installed_if_that_is_allowed_but_not_demanded(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[list[str]] = []
    monkeypatch.setattr(setup, "provide_libraries", lambda libraries: None)
    monkeypatch.setattr(setup, "provide_environment", lambda root, extra: Path("python"))
    monkeypatch.setattr(setup, "run_checks", lambda python: 0)
    monkeypatch.setattr(setup, "install_packages", lambda packages: bool(wanted.append(packages)))
    monkeypatch.setattr(setup, "X11_LIBRARIES", {"libc.so.6": "libc6", "libnot-there.so.9": "libnot-there9"})
    monkeypatch.setattr(setup.shutil, "which", lambda name: None if name == "Xvfb" else f"/usr/bin/{name}")
    assert setup.main(["test"]) == 0
    assert wanted == [["xvfb", "libnot-there9"]]


@pytest.mark.skipif(sys.platform != "linux", reason="the list is that of Qt's Linux plugins")
def test_that_every_library_qt_asks_for_is_listed(setup: ModuleType) -> None:
    import PySide6

    listed = setup.QT_LIBRARIES | setup.X11_LIBRARIES | setup.WAYLAND_LIBRARIES
    always_there = (
        "linux-vdso",
        "ld-linux",
        "libc.",
        "libm.",
        "libdl.",
        "libpthread.",
        "libgcc_s.",
        "libstdc++.",
    )
    qt = Path(PySide6.__file__).parent / "Qt"
    for file in (
        "lib/libQt6Gui.so.6", "lib/libQt6Widgets.so.6", "lib/libQt6Svg.so.6", "lib/libQt6DBus.so.6",
        "lib/libQt6XcbQpa.so.6", "lib/libQt6WaylandClient.so.6", "plugins/platforms/libqxcb.so",
        "plugins/platforms/libqwayland.so", "plugins/platforms/libqoffscreen.so",
    ):  # fmt: skip
        for soname in needed_by(qt / file):
            if not soname.startswith(("libQt6", "libicu", "libgthread", *always_there)):
                assert soname in listed, f"{file} needs {soname}"


def needed_by(file: Path) -> list[str]:
    """Read the DT_NEEDED entries of a 64-bit little-endian ELF file."""
    import struct

    data = file.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    table, size, count = struct.unpack_from("<Q", data, 0x28)[0], *struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * size) for index in range(count)]
    dynamic = next(section for section in sections if section[1] == 6)
    strings = sections[dynamic[6]][4]
    names = []
    for offset in range(dynamic[4], dynamic[4] + dynamic[5], 16):
        tag, value = struct.unpack_from("<QQ", data, offset)
        if tag == 1:
            start = strings + value
            names.append(data[start : data.index(b"\0", start)].decode())
    return names


@pytest.mark.parametrize(
    ("display", "program"),
    [(":0", ["-m", "cartl_gui"]), ("", ["-m", "engine", "demo"])],
    ids=["display", "none"],
)
def test_that_the_window_starts_where_there_is_a_display(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, display: str, program: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    monkeypatch.setattr(setup, "provide_libraries", lambda libraries: None)
    monkeypatch.setattr(setup, "provide_environment", lambda root: Path("python"))
    monkeypatch.setattr(setup.os, "execv", lambda path, arguments: started.append(arguments))
    setup.main(["run"])
    assert started == [["python", *program]]
    assert (
        set(setup.X11_LIBRARIES) <= set(setup.window_libraries()) if display else not setup.window_libraries()
    )


def test_that_the_checks_end_with_pytest_and_that_one_failure_fails_them_all(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [name for name, _ in setup.CHECKS] == ["ruff check", "ruff format --check", "mypy", "lint-imports"]
    assert all(arguments[:2] == ("-m", "pytest") for _, arguments in setup.TESTS)
    fails, passes = ("-c", "raise SystemExit(3)"), ("-c", "print('2 passed')")

    def outcome(checks: list[tuple[str, ...]], tests: list[tuple[str, ...]]) -> tuple[int, str, str]:
        for kind, given in (("CHECKS", checks), ("TESTS", tests)):
            named = tuple((f"{kind} {number}", arguments) for number, arguments in enumerate(given))
            monkeypatch.setattr(setup, kind, named)
        code = setup.run_checks(Path(sys.executable))
        written = capfd.readouterr()
        return code, written.out, written.err.splitlines()[-1]

    assert outcome([fails, passes], [passes]) == (1, "2 passed\n2 passed\n", "Failed: CHECKS 0")
    assert outcome([], [fails, passes]) == (1, "2 passed\n", "Failed: TESTS 0")
    assert outcome([passes], [passes, passes])[:2] == (0, "2 passed\n" * 3)


def test_that_the_two_halves_of_the_tests_are_all_tests(setup: ModuleType) -> None:
    (_, others), (_, engine) = setup.TESTS
    assert {f"--ignore={folder}" for folder in engine[2:]} == set(others[2:])
    assert all((setup.ROOT / folder).is_dir() for folder in engine[2:])
