"""Devices: what is chosen, what is refused, and that settings of the library are put back."""

from __future__ import annotations

import pytest
import torch

from engine import device
from engine.config import MachineConfig
from engine.errors import DeviceError


def test_that_the_cpu_is_taken_when_asked_for() -> None:
    assert device.choose(MachineConfig(device="cpu")) == torch.device("cpu")


def test_that_auto_takes_what_the_report_says() -> None:
    report = device.report()
    assert device.choose(MachineConfig(device="auto")).type == report.chosen
    assert [kind for kind, _ in report.tried] == ["cuda", "mps", "cpu"]
    assert all(finding for _, finding in report.tried)
    assert report.name
    assert report.memory_gib > 0
    assert report.threads == device.default_threads() >= 1


@pytest.mark.parametrize(
    ("kind", "present", "message"),
    [
        (
            "cuda",
            torch.cuda.is_available(),
            "ask for CUDA, but .*(no CUDA|no NVIDIA GPU or driver was found)",
        ),
        ("mps", torch.backends.mps.is_available(), "ask for MPS, but .*(Apple)"),
    ],
)
def test_that_a_missing_device_is_refused_with_the_reason_and_a_choice(
    kind: str, present: bool, message: str
) -> None:
    machine = MachineConfig(device=kind)  # type: ignore[arg-type]
    if present:
        assert device.choose(machine).type == kind
    else:
        with pytest.raises(DeviceError, match=f"{message}.*device = auto or cpu"):
            device.choose(machine)


@pytest.mark.parametrize("fails", [False, True])
def test_that_the_number_of_threads_is_put_back(fails: bool) -> None:
    before = torch.get_num_threads()
    try:
        with device.cpu_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("allowed", [False, True])
def test_that_exact_float32_switches_tf32_and_autocast_off_and_back(allowed: bool) -> None:
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    matrix = torch.ones(2, 2)
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        with torch.autocast("cpu", dtype=torch.bfloat16), device.exact_float32():
            assert not any(backend.allow_tf32 for backend in backends)
            assert (matrix @ matrix).dtype == torch.float32
        assert [backend.allow_tf32 for backend in backends] == [allowed, allowed]
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def test_that_autocast_rounds_only_where_the_settings_ask_for_it() -> None:
    cpu, matrix = torch.device("cpu"), torch.ones(2, 2)
    with device.autocast(cpu, MachineConfig()):
        assert (matrix @ matrix).dtype == torch.float32
    wanted = MachineConfig(precision="bfloat16")
    if torch.cpu._is_avx512_bf16_supported():
        with device.autocast(cpu, wanted):
            assert (matrix @ matrix).dtype == torch.bfloat16
    else:
        with pytest.raises(DeviceError, match="no fast bfloat16. Choose precision = float32"):
            device.autocast(cpu, wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_that_a_gpu_is_reported_with_name_and_memory() -> None:
    report = device.report()
    assert report.chosen == "cuda"
    assert report.name == torch.cuda.get_device_name()
    assert "CUDA" in dict(report.tried)["cuda"]
