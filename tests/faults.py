"""Ways to make things fail at a chosen moment, shared by all tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def fail_on_call(owner: Any, name: str, number: int, error: Exception) -> Iterator[list[int]]:
    """Let the `number`-th call (from 1) of `owner.name` raise `error`; yields the count of calls so far."""
    real = getattr(owner, name)
    calls = [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise error
        return real(*args, **kwargs)

    setattr(owner, name, failing)
    try:
        yield calls
    finally:
        setattr(owner, name, real)


def corrupt(path: Path, position: int, *, bits: int = 0xFF) -> None:
    """Flip bits of one byte; a negative position counts from the end."""
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(bytes(data))


def cut(path: Path, size: int) -> None:
    """Cut a file to its first `size` bytes."""
    with open(path, "r+b") as file:
        file.truncate(size)


#: Source text for a child: writing beyond `limit` bytes of a file fails with EFBIG, as a full disk does with ENOSPC.
FILE_SIZE_LIMIT = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit_file_size(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
"""


def start_python(source: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a child that runs Python source text in the repository; its output is one text stream."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", source, *map(str, arguments)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'store'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_python(source: str, *arguments: str | Path, timeout: float = 60.0) -> tuple[int, str]:
    """Run Python source text in a child; returns its exit status (negative: the signal) and output."""
    with start_python(source, *arguments) as child:
        output, _ = child.communicate(timeout=timeout)
    return child.returncode, output
