"""The memory of a device: whether it ran out, how much of it is free, and giving back what is not needed."""

from __future__ import annotations

import ctypes
import gc
import sys

import psutil
import torch

#: How allocators that raise a plain RuntimeError say that there is not enough memory.
_COMPLAINTS = ("can't allocate memory", "out of memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that main memory or the accelerator's did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _COMPLAINTS)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a new tensor could still take on a device; None where it does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return None


def give_back() -> bool:
    """Give freed memory back to the system and the device; whether the system took all of it."""
    if gc.isenabled():  # else a window collects, in the only thread that may destroy what belongs to it
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform != "linux":
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library than glibc
        return False
    return True
