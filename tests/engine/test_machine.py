"""What the machine is doing: figures, sensors that are missing or fail, and the rows that a run keeps."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from engine import machine
from engine.control import Interrupted, RunControl
from engine.events import MachineSample, RowsAdded
from engine.machine import OtherPrograms, Sampler
from engine.runner import Runner
from engine.store.run_reader import read_tables
from engine.store.workspace import Workspace
from tests.engine.small import chain


class DriverError(Exception):
    """What a driver's library raises."""


def library(**changes: object) -> ModuleType:
    """A double of NVIDIA's library on a machine with two GPUs."""
    found = ModuleType("pynvml")
    found.__dict__.update(
        NVMLError=DriverError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"GPU {index}",
        nvmlDeviceGetHandleByUUID=lambda uuid: f"GPU {uuid}",
        nvmlDeviceGetName=lambda handle: f"NVIDIA {handle}",
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=97, memory=50),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=3 * 2**30, total=24 * 2**30),
        nvmlDeviceGetTemperature=lambda handle, sensor: 71,
    )
    found.__dict__.update(changes)
    return found


@pytest.fixture(autouse=True)
def _no_gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(machine, "_torch_on_cuda", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def sampler(folder: Path, told: list[str] | None = None) -> Sampler:
    return Sampler(folder, post=lambda sample: None, tell=(told if told is not None else []).append)


def test_that_processor_memory_and_disk_are_those_of_the_system(tmp_path: Path) -> None:
    told: list[str] = []
    found = sampler(tmp_path / "not made yet", told)
    first, second = found.sample(), found.sample()
    assert first.processor is None, "the load is that since the look before"
    assert second.processor is not None and 0 <= second.processor <= 1
    assert second.memory_total == psutil.virtual_memory().total
    assert second.memory is not None and 0 < second.memory < psutil.virtual_memory().total
    assert second.disk_free == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.05)
    assert abs(second.time - time.time()) < 60
    assert not told


def test_that_without_a_gpu_and_without_sensors_the_figures_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    told: list[str] = []
    found = sampler(tmp_path, told).sample()
    assert found.device == ""
    assert (found.device_load, found.device_memory, found.device_memory_total) == (None, None, None)
    assert found.temperature is None
    assert not told


def test_that_the_hottest_core_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {"nvme": [SimpleNamespace(current=90.0)], "coretemp": [SimpleNamespace(current=48.0), SimpleNamespace(current=52.5)]}  # fmt: skip
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: cores, raising=False)
    assert sampler(tmp_path).sample().temperature == 52.5


@pytest.mark.parametrize(("visible", "name"), [(None, "GPU 0"), ("1,0", "GPU 1"), ("GPU-abc", "GPU GPU-abc")])
def test_that_a_gpu_is_told_by_the_drivers_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = sampler(tmp_path).sample()
    assert found.device == f"NVIDIA {name}"
    assert (found.device_load, found.temperature) == (0.97, 71.0)
    assert (found.device_memory, found.device_memory_total) == (3 * 2**30, 24 * 2**30)


def test_that_a_hidden_gpu_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert sampler(tmp_path).sample().device == ""


def test_that_torch_names_the_gpu_and_its_memory_where_only_it_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(
        get_device_properties=lambda index: SimpleNamespace(uuid="abc"),
        mem_get_info=lambda: (10, 24),
        get_device_name=lambda: "A card",
    )
    monkeypatch.setattr(machine, "_torch_on_cuda", lambda: SimpleNamespace(cuda=cuda))
    found = sampler(tmp_path).sample()
    assert (found.device, found.device_memory, found.device_memory_total) == ("A card", 14, 24)
    monkeypatch.setitem(sys.modules, "pynvml", library())
    assert sampler(tmp_path).sample().device == "NVIDIA GPU GPU-abc"


def test_that_a_library_without_a_driver_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise DriverError("NVML Shared Library Not Found")

    told: list[str] = []
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=no_driver))
    assert sampler(tmp_path, told).sample().device == ""
    assert not told


def test_that_a_failing_sensor_is_left_out_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise DriverError("Not Supported")

    told: list[str] = []
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlDeviceGetUtilizationRates=unsupported))
    found = sampler(tmp_path, told)
    samples = [found.sample() for _ in range(3)]
    assert [sample.device_load for sample in samples] == [None] * 3
    assert [sample.device_memory for sample in samples] == [3 * 2**30] * 3
    assert told == ["The load of the accelerator cannot be read and is left out: Not Supported"]


def test_that_samples_come_from_start_to_stop_and_no_thread_is_left(tmp_path: Path) -> None:
    posted: list[MachineSample] = []
    found = Sampler(tmp_path, post=posted.append, tell=lambda text: None, period=0.01)
    found.stop()  # harmless before it began
    found = Sampler(tmp_path, post=posted.append, tell=lambda text: None, period=0.01)
    found.start()
    assert found.latest() is not None
    deadline = time.monotonic() + 10
    while len(posted) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    found.stop()
    count = len(posted)
    assert count >= 3 and found.latest() == posted[-1]
    assert all(thread.name != "engine-machine" for thread in threading.enumerate())
    time.sleep(0.05)
    assert len(posted) == count


def test_that_a_run_keeps_what_the_machine_was_doing_over_a_pause(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    workspace.lock()
    try:
        (config,) = chain().runs
        folder = workspace.create_run(config, "study")
        control, moments = RunControl(), iter(range(1, 100))
        paused: list[RowsAdded] = []

        def emit(event: object) -> None:
            if isinstance(event, RowsAdded) and event.table == "epochs" and not paused:
                paused.append(event)
                control.request("pause")

        def runner() -> Runner:
            return Runner(
                folder, None, data_root=tmp_path, control=control, emit=emit,
                machine=lambda: MachineSample(float(next(moments)), processor=0.5, memory=2**33 + 1),
            )  # fmt: skip

        with pytest.raises(Interrupted):
            runner().run()
        control.clear()
        runner().run()
        _, tables = read_tables(folder.metrics_path)
    finally:
        workspace.unlock()
    assert tables["pretraining"]["machine"]["time"].tolist() == [1, 2, 3], "begun, begun again, ended"
    assert tables["finetuning"]["machine"]["time"].tolist() == [4, 5]
    assert tables["attack"]["machine"]["memory"].tolist() == [2**33 + 1] * 2
    assert tables["attack"]["machine"]["processor"].tolist() == [0.5] * 2
    assert all(value != value for value in tables["attack"]["machine"]["device_load"])
    seconds = tables["finetuning"]["machine"]["seconds"]
    assert 0 < seconds[0] < seconds[1]


def test_that_what_other_programs_compute_is_told_from_what_this_one_does() -> None:
    idle = OtherPrograms()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        sum(range(1000))
    own = idle.share()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.3)  # until it runs
        others = OtherPrograms()
        time.sleep(0.6)
        share = others.share()
        other.kill()
    assert 0 <= own <= 1 and 0.5 * 0.5 / (psutil.cpu_count() or 1) < share <= 1
