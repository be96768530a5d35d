"""What the machine is doing: processor, memory, accelerator, temperature, disk, once a second.

Figures come from the system and from NVIDIA's management library, which know of all programs. Nothing here computes on
the accelerator, waits for it or draws a random number, so measuring never changes a training. Torch is not loaded.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from engine.events import MachineSample
from engine.store.atomic import free_bytes

#: Seconds between two samples.
PERIOD = 1.0
#: Longest time in seconds that `Sampler.stop` waits for a sensor that hangs.
PATIENCE = 2.0
#: Names of the processor's own sensors on Linux, in the order in which they are looked for.
PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz")

#: Some fields of a `MachineSample`.
Figures = Mapping[str, Any]
Sensor = Callable[[], Figures]


class Sampler:
    """Samples the machine on a thread of its own, from `start` to `stop`.

    Args:
        folder: the disk whose free space counts.
        post: takes each sample.
        tell: takes one sentence for each sensor that fails, once.
        period: seconds between two samples.
    """

    def __init__(
        self,
        folder: Path,
        *,
        post: Callable[[MachineSample], None],
        tell: Callable[[str], None],
        period: float = PERIOD,
    ) -> None:
        self._latest: MachineSample | None = None
        self._sampled = threading.Event()
        self._post, self._tell, self._period = post, tell, period
        self._failed: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="engine-machine", daemon=True)
        self._device = device = _Device()
        # A later one overrides an earlier: the accelerator's temperature says more than the processor's.
        self._sensors: dict[str, Sensor] = {
            "load of the processor": _Processor().load,
            "memory": _memory,
            "disk": lambda: {"disk_free": free_bytes(folder)},
            "temperature of the processor": _processor_temperature,
            "name of the accelerator": device.name,
            "load of the accelerator": device.load,
            "memory of the accelerator": device.memory,
            "temperature of the accelerator": device.temperature,
        }

    def start(self) -> None:
        """Begin; the first sample comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Harmless before `start` and a second time."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)

    def latest(self) -> MachineSample | None:
        """The newest sample; waits for the first one, but not long."""
        self._sampled.wait(PATIENCE)
        return self._latest

    def sample(self) -> MachineSample:
        """Ask every sensor now; one that fails leaves its figures out and is told about once."""
        figures: dict[str, Any] = {}
        for what, sensor in self._sensors.items():
            try:
                figures |= sensor()
            except Exception as error:  # whatever a driver's library raises, the others go on
                if what not in self._failed:
                    self._failed.add(what)
                    self._tell(f"The {what} cannot be read and is left out: {error or type(error).__name__}")
        return MachineSample(time.time(), **figures)

    def _work(self) -> None:
        while not self._over.is_set():
            self._latest = sample = self.sample()
            self._sampled.set()
            self._post(sample)
            self._over.wait(self._period)
        self._device.close()


class _Processor:
    """The processor; its load is that since the look before, so that the first look has nothing to say."""

    def __init__(self) -> None:
        self._looked = False

    def load(self) -> Figures:
        """Share of all cores that was busy."""
        share, looked = psutil.cpu_percent() / 100, self._looked
        self._looked = True
        return {"processor": share} if looked else {}


class _Device:
    """The NVIDIA GPU that torch takes, through its driver's library; without one every sensor has nothing to say."""

    def __init__(self) -> None:
        self._library: Any = None
        self._handle: Any = None
        self._uuid = ""

    def name(self) -> Figures:
        """Its name; finds it first, and again once torch says which one it computes on."""
        if self._library is None:
            self._library = _nvml()
        chosen = _chosen_gpu()
        if chosen is None or not self._library:
            self._handle = None
            return {}
        if self._handle is None or chosen != self._uuid:
            self._handle, self._uuid = _handle_of(self._library, chosen), chosen
        return {"device": self._library.nvmlDeviceGetName(self._handle)}

    def load(self) -> Figures:
        """Share of the time since the driver's last look that a kernel ran."""
        if self._handle is None:
            return {}
        return {"device_load": self._library.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100}

    def memory(self) -> Figures:
        """Bytes in use by all programs; from torch itself where only that knows the GPU."""
        if self._handle is not None:
            found = self._library.nvmlDeviceGetMemoryInfo(self._handle)
            return {"device_memory": int(found.used), "device_memory_total": int(found.total)}
        torch = _torch_on_cuda()
        if torch is None:
            return {}
        free, total = torch.cuda.mem_get_info()
        return {
            "device": torch.cuda.get_device_name(),
            "device_memory": total - free,
            "device_memory_total": total,
        }

    def temperature(self) -> Figures:
        """Degrees Celsius."""
        if self._handle is None:
            return {}
        sensor = self._library.NVML_TEMPERATURE_GPU
        return {"temperature": float(self._library.nvmlDeviceGetTemperature(self._handle, sensor))}

    def close(self) -> None:
        """Give the library back."""
        if self._library:
            self._library.nvmlShutdown()
            self._library = self._handle = None


def _nvml() -> Any:
    """NVIDIA's library, ready for use; False where there is none or no driver."""
    try:
        import pynvml
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return pynvml


def _chosen_gpu() -> str | None:
    """The GPU that torch computes on: its UUID, or its number while torch has not said; None if all are hidden."""
    torch = _torch_on_cuda()
    if torch is not None:
        return f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return "0"
    first = visible.split(",")[0].strip()
    return None if first in ("", "-1", "NoDevFiles") else first


def _handle_of(library: Any, chosen: str) -> Any:
    if chosen.isdigit():
        return library.nvmlDeviceGetHandleByIndex(int(chosen))
    return library.nvmlDeviceGetHandleByUUID(chosen)


def _torch_on_cuda() -> Any:
    """Torch, if it is loaded and computes on a GPU already; nothing is loaded or begun for a figure."""
    torch = sys.modules.get("torch")
    # Another thread may be in the middle of loading it.
    is_initialised = getattr(getattr(torch, "cuda", None), "is_initialized", lambda: False)
    return torch if is_initialised() else None


def _memory() -> Figures:
    found = psutil.virtual_memory()
    return {"memory": found.total - found.available, "memory_total": found.total}


def _processor_temperature() -> Figures:
    """Degrees Celsius of the hottest core, where the system tells any."""
    if not hasattr(psutil, "sensors_temperatures"):
        return {}
    found = psutil.sensors_temperatures()
    name = next((name for name in PROCESSOR_SENSORS if found.get(name)), None)
    return {} if name is None else {"temperature": max(sensor.current for sensor in found[name])}


class OtherPrograms:
    """How busy other programs keep the processor from now on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._spent()

    def share(self) -> float:
        """Share 0..1 of all cores that they took so far."""
        moment, everyone, own = (now - then for now, then in zip(self._spent(), self._before, strict=True))
        return min(1.0, max(0.0, everyone - own) / max(moment * (psutil.cpu_count() or 1), 1e-9))

    def _spent(self) -> tuple[float, float, float]:
        """The moment, and seconds of computing of all programs and of this one."""
        times, own = psutil.cpu_times(), self._process.cpu_times()
        return time.monotonic(), times.user + times.system, own.user + own.system
