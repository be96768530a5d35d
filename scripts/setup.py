"""Set up and start; called by `make run` and `make test` with a Python 3.11 to 3.14.

Nothing is installed yet when this runs, so it uses the standard library only. What was installed is written down
in `.venv/installed.json` together with a fingerprint; while that fits, a start installs nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 14))
#: What the CUDA build of torch and everything else take on the disk, in bytes.
NEEDED_SPACE = 7_000_000_000

#: Shared libraries that Qt 6.10 needs from the system, with the Debian/Ubuntu package of each.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}
X11_LIBRARIES = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb.so.1": "libxcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
WAYLAND_LIBRARIES = {
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
}
#: Programs with which one test opens the window on a display of its own, with the package of each.
DISPLAY_PROGRAMS = {"Xvfb": "xvfb", "xdotool": "xdotool"}

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ruff check", ("-m", "ruff", "check", ".")),
    ("ruff format --check", ("-m", "ruff", "format", "--check", ".")),
    ("mypy", ("-m", "mypy")),
    ("lint-imports", ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")),
)
#: The tests in two halves, which run side by side; each takes one core.
_ENGINE_TESTS = ("tests/config", "tests/data", "tests/engine")
TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pytest, all others", ("-m", "pytest", *(f"--ignore={folder}" for folder in _ENGINE_TESTS))),
    ("pytest, engine", ("-m", "pytest", *_ENGINE_TESTS)),
)


class SetupError(Exception):
    """Set-up cannot go on; the text is one sentence that says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Set up for "run" or "test", then start the window, the demo or the checks; returns the exit code."""
    goal = arguments[0] if arguments else "run"
    try:
        if goal == "test":
            provide_libraries(QT_LIBRARIES)
            install_packages(missing_for_display())
            return run_checks(provide_environment(ROOT, "test"))
        provide_libraries(window_libraries())
        python = provide_environment(ROOT)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("\nStopped. What is installed so far is kept; the next start goes on from there.")
        return 130
    program = ["cartl_gui"]
    if not has_display():
        say("There is no display, so the demo runs in the terminal.")
        program = ["engine", "demo"]
    return os.execv(python, [str(python), "-m", *program])


def say(text: str) -> None:
    """Write one line for the person who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def has_display() -> bool:
    """Tell whether a window can be opened; macOS and Windows always can."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def window_libraries() -> dict[str, str]:
    """Name what Qt needs to open a window on this display; nothing where there is none."""
    if sys.platform != "linux" or not has_display():
        return {}
    return QT_LIBRARIES | (X11_LIBRARIES if os.environ.get("DISPLAY") else WAYLAND_LIBRARIES)


def missing_libraries(libraries: dict[str, str]) -> dict[str, str]:
    """Return those of `libraries` that the dynamic linker does not find."""
    missing = {}
    for soname, package in libraries.items():
        try:
            ctypes.CDLL(soname)
        except OSError:
            missing[soname] = package
    return missing


def missing_for_display() -> list[str]:
    """Name the packages that the test on a display of its own lacks; it is skipped where they cannot be had."""
    if sys.platform != "linux":
        return []
    programs = [package for program, package in DISPLAY_PROGRAMS.items() if shutil.which(program) is None]
    return [*programs, *missing_libraries(X11_LIBRARIES).values()]


def provide_libraries(libraries: dict[str, str]) -> None:
    """Install missing system libraries where that is allowed.

    Raises:
        SetupError: some are missing and cannot be installed from here; names them and the command.
    """
    if sys.platform != "linux":
        return
    missing = missing_libraries(libraries)
    if missing:
        install_packages(list(missing.values()))
        missing = missing_libraries(missing)
    if missing and shutil.which("apt-get"):
        packages = " ".join(missing.values())
        raise SetupError(f"Qt needs system libraries; install them with: sudo apt-get install {packages}")
    if missing:
        raise SetupError(f"Qt needs these libraries from your system's packages: {', '.join(missing)}")


def install_packages(packages: Sequence[str]) -> bool:
    """Install Debian/Ubuntu packages as root or with a sudo that asks no password; False where that fails."""
    if not packages:
        return True
    if not shutil.which("apt-get"):
        return False
    root = os.geteuid() == 0
    if not root and not (shutil.which("sudo") and quiet(["sudo", "-n", "true"])):
        return False
    apt = [*([] if root else ["sudo", "-n"]), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    say("Installing system packages: " + " ".join(packages))
    install = [*apt, "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60", *packages]
    return quiet(install) or (quiet([*apt, "update"]) and quiet(install))


def quiet(command: Sequence[str]) -> bool:
    """Run a command without showing its output; True if it succeeds."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def provide_environment(root: Path, extra: str = "") -> Path:
    """Make `.venv` under `root` hold the project, and its `extra` if one is named.

    Returns:
        the environment's Python.

    Raises:
        SetupError: the environment cannot be made or filled.
    """
    started = time.monotonic()
    folder = root / ".venv"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    version = python_version(python)
    wanted = sys.version_info[:2] if os.environ.get("PYTHON") else version
    if version is None or version != wanted or not SUPPORTED[0] <= version <= SUPPORTED[1]:
        version = None
    stamp = folder / "installed.json"
    extras = installed_extras(stamp, fingerprint(root, version)) if version else None
    if extras is not None and (not extra or extra in extras):
        return python
    if version is None or not quiet([str(python), "-m", "pip", "--version"]):
        make_environment(folder)
        version = python_version(python)
        say("Installing Python packages; with CUDA that is a download of 3 GB and takes some minutes.")
    else:
        say("Installing the Python packages that are missing.")
    stamp.unlink(missing_ok=True)
    install_project(python, root, extra)
    note = {"fingerprint": fingerprint(root, version), "extras": [extra] if extra else []}
    stamp.write_text(json.dumps(note), encoding="utf-8")
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    say(f"Set-up took {minutes} min {seconds} s." if minutes else f"Set-up took {seconds} s.")
    return python


def python_version(python: Path) -> tuple[int, int] | None:
    """Ask an interpreter for its version; None if it does not start."""
    command = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
        major, minor = answer.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def fingerprint(root: Path, version: tuple[int, int] | None) -> str:
    """Digest of all that makes an installation outdated: pyproject.toml, the Python version, the place."""
    digest = hashlib.sha256((root / "pyproject.toml").read_bytes())
    digest.update(f"{version} {root}".encode())
    return digest.hexdigest()


def installed_extras(stamp: Path, expected: str) -> list[str] | None:
    """Return the extras that are installed; None if the installation is unfinished or outdated."""
    try:
        note = json.loads(stamp.read_text(encoding="utf-8"))
        return list(note["extras"]) if note["fingerprint"] == expected else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_environment(folder: Path) -> None:
    """Make a new, empty virtual environment in place of what is there."""
    package = f"python3.{sys.version_info.minor}-venv"
    if importlib.util.find_spec("ensurepip") is None and not install_packages([package]):
        raise SetupError(
            f"This Python cannot make virtual environments; install that with: sudo apt-get install {package}"
        )
    if folder.exists():
        say(f"{folder.name} is broken or made by another Python, so it is made anew.")
    free = shutil.disk_usage(folder.parent).free
    if sys.platform == "linux" and free < NEEDED_SPACE and not folder.exists():
        say(
            f"Only {free / 1e9:.1f} GB are free here; with CUDA the set-up takes {NEEDED_SPACE / 1e9:.0f} GB."
        )
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        reason = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise SetupError(f"The virtual environment {folder} could not be made: {reason[0]}")


def install_project(python: Path, root: Path, extra: str) -> None:
    """Install the project and all it needs with pip, as an editable installation, and what belongs beside its extra."""
    run_pip(python, root, "-e", f".[{extra}]" if extra else ".")
    beside = without_dependencies(root, extra)
    if beside:
        run_pip(python, root, "--no-deps", *beside)


def without_dependencies(root: Path, extra: str) -> list[str]:
    """Name the packages of an extra that are installed without what they ask for, as pyproject.toml lists them."""
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    return list(tools.get("cartl-workbench", {}).get("without-dependencies", {}).get(extra, []))


def run_pip(python: Path, root: Path, *wanted: str) -> None:
    """Install with pip, telling how far it is.

    Raises:
        SetupError: pip failed.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *wanted]
    environment = {**os.environ, "PIP_USER": "0"}
    environment.pop("PYTHONPATH", None)
    if sys.stderr.isatty():
        code = subprocess.run(command, cwd=root, env=environment).returncode
    else:
        code = run_in_short(command, root, environment)
    if code != 0:
        raise SetupError(
            "Installing failed for the reason above; what is there is kept, so start again once it is solved."
        )


def run_in_short(command: Sequence[str], root: Path, environment: dict[str, str]) -> int:
    """Run pip and pass on only what tells how far it is and what went wrong."""
    telling = re.compile(r"Downloading .*\d [MG]B\)|Installing collected|ERROR|error|WARNING: Retrying")
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.strip()
            if telling.match(text):
                say("  " + ("Unpacking everything" if text.startswith("Installing") else text))
    return process.returncode


def run_checks(python: Path) -> int:
    """Run every check, then all tests; returns 0 only if all of them pass."""
    # More threads than cores slow small networks down many times.
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"}
    failed = []
    for name, arguments in CHECKS:
        say(f"== {name}")
        if subprocess.run([str(python), *arguments], cwd=ROOT, env=environment).returncode != 0:
            failed.append(name)
    with ExitStack() as stack:
        running = []
        for name, arguments in TESTS:
            output = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                [str(python), *arguments], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            running.append((name, process, output))
        for name, process, output in running:
            say(f"== {name}")
            if process.wait() != 0:
                failed.append(name)
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
            sys.stdout.flush()
    if failed:
        say("Failed: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
