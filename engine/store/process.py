"""Who wrote a file, and is that process certainly gone?"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be confused with a later one of the same number.

    Attributes:
        pid: process number.
        start: when it started, in the system's own units since boot where available (immune to clock changes).
        boot: identity of the machine's current uptime.
        host: name of the machine.
    """

    pid: int
    start: str
    boot: str
    host: str

    @classmethod
    def current(cls) -> ProcessIdentity:
        """This process."""
        return cls(os.getpid(), _start_of(os.getpid()) or "", _boot(), platform.node())

    @classmethod
    def from_json(cls, values: Any) -> ProcessIdentity | None:
        """Read what `to_json` gave; None if anything is missing or of another type."""
        if not isinstance(values, dict):
            return None
        pid = values.get("pid")
        texts = [values.get(key) for key in ("start", "boot", "host")]
        if type(pid) is not int or pid <= 0 or not all(isinstance(text, str) for text in texts):
            return None
        return cls(pid, *(str(text) for text in texts))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    def is_gone(self) -> bool:
        """True only if the process provably no longer exists; False when in doubt, as for another machine."""
        here = ProcessIdentity.current()
        if self.host != here.host:
            return False
        if self.boot != here.boot:
            return True
        start = _start_of(self.pid)
        return start is None or (bool(self.start) and start != self.start)


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(round(psutil.boot_time()))


def _start_of(pid: int) -> str | None:
    """When a process started; None if there is no such process or only its exit status is left."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        try:
            # Field 22 counts ticks since boot; create_time() would move with the wall clock.
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        except OSError:
            return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""
