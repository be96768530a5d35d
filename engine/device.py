"""The device a run computes on: which there are, which is taken, and how numbers are rounded there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from engine.config import MachineConfig
from engine.errors import DeviceError
from engine.events import DeviceReport

GIB = 2**30
_thread = threading.local()


def report() -> DeviceReport:
    """Try every kind of device once and say what was found."""
    tried = [("cuda", _try_cuda()), ("mps", _try_mps()), ("cpu", f"{default_threads()} cores")]
    chosen = _automatic()
    return DeviceReport(
        chosen=chosen,
        name=_name(chosen),
        tried=tuple(tried),
        bfloat16=_has_bfloat16(chosen),
        threads=default_threads(),
        memory_gib=_memory_gib(chosen),
    )


def choose(machine: MachineConfig) -> torch.device:
    """The device that the settings ask for.

    Raises:
        DeviceError: it is not usable here; the message says what was found.
    """
    kind = _automatic() if machine.device == "auto" else machine.device
    finding = {"cuda": _try_cuda, "mps": _try_mps}.get(kind, lambda: "")()
    if kind == "cuda" and not torch.cuda.is_available() or kind == "mps" and not _mps_available():
        raise DeviceError(f"The settings ask for {kind.upper()}, but {finding}. Choose device = auto or cpu.")
    return torch.device(kind)


def default_threads() -> int:
    """Physical cores this process may use, at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with this many CPU threads; restore the number before after."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def beside_a_run() -> Iterator[None]:
    """Compute on the CPU in this thread while another one may train: switches of the whole process stay as they are."""
    _thread.on_cpu = True
    try:
        yield
    finally:
        _thread.on_cpu = False


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switch TF32 and autocast off: evaluations and measurements are made in full float32."""
    if getattr(_thread, "on_cpu", False):
        with torch.autocast("cpu", enabled=False):
            yield
        return
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


def autocast(device: torch.device, machine: MachineConfig) -> torch.autocast:
    """Context for the passes of a training step: bfloat16 if the settings ask for it.

    Raises:
        DeviceError: the device has no bfloat16.
    """
    wanted = machine.precision == "bfloat16"
    if wanted and not _has_bfloat16(device.type):
        raise DeviceError(
            f"{_name(device.type)} has no fast bfloat16. Choose precision = float32, or another device."
        )
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _automatic() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if _mps_available() else "cpu"


def _mps_available() -> bool:
    return torch.backends.mps.is_available()


def _try_cuda() -> str:
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    if not torch.cuda.is_available():
        return "no NVIDIA GPU or driver was found"
    return f"{torch.cuda.get_device_name()}, {_memory_gib('cuda'):.1f} GiB, CUDA {torch.version.cuda}"


def _try_mps() -> str:
    if _mps_available():
        return "an Apple GPU was found"
    return (
        "only on Macs with Apple silicon" if not torch.backends.mps.is_built() else "no Apple GPU was found"
    )


def _name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return "Apple GPU" if kind == "mps" else f"CPU, {default_threads()} cores"


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _memory_gib(kind: str) -> float:
    if kind == "cuda":
        return float(torch.cuda.get_device_properties(0).total_memory / GIB)
    return float(psutil.virtual_memory().total / GIB)
