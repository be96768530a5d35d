"""The machine's figures in the status bar, and those that a run keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QRect
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.pages.machine_figures import Place
from cartl_gui.pages.status import StatusLine
from cartl_gui.run_data import RunData, machine_facts
from engine.config import AttackConfig, RunConfig
from engine.events import DeviceReport, MachineSample, RowsAdded, RunInfo

CPU = MachineSample(
    1.0, processor=0.87, memory=3_400_000_000, memory_total=8_200_000_000, disk_free=120 * 10**9
)
GPU = replace(
    CPU, device="NVIDIA A100", device_load=0.97, device_memory=31 * 10**9, device_memory_total=40 * 10**9, temperature=71.0
)  # fmt: skip


@pytest.fixture
def status(qtbot: QtBot, themes: object) -> Iterator[StatusLine]:
    bar = StatusLine("/home/somebody/a/rather/long/path/of/a/workspace")
    qtbot.addWidget(bar)
    bar.resize(1280, bar.sizeHint().height())
    bar.show()
    bar.show_device(DeviceReport("cpu", "Intel Xeon", (), False, 2, 7.6))
    return bar


def shown(status: StatusLine) -> list[str]:
    figures = status.machine
    places = (figures.load, figures.memory, figures.temperature, figures.disk)
    return [place.text() for place in places if place.isVisible()]


def test_that_only_figures_that_are_known_have_a_place(status: StatusLine) -> None:
    assert shown(status) == []
    status.show_sample(CPU)
    assert shown(status) == ["CPU 87 %", "3.4 of 8.2 GB", "120 GB free"]
    status.show_sample(GPU)
    assert shown(status) == ["GPU 97 %", "31.0 of 40.0 GB", "71 °C", "120 GB free"]
    told = status.machine.toolTip()
    assert "Processor: 87 % of all cores busy" in told and "NVIDIA A100, 97 % busy" in told
    assert "31.0 of 40.0 GB in use by all programs" in status.machine.accessibleDescription()


def test_that_nothing_moves_when_figures_change(status: StatusLine) -> None:
    places = status.machine.findChildren(Place)

    def geometries(sample: MachineSample) -> list[QRect]:
        status.show_sample(sample)
        QApplication.processEvents()
        return [place.geometry() for place in places]

    before = geometries(GPU)
    assert geometries(replace(GPU, device_load=0.0, device_memory=10**8, disk_free=4 * 10**9)) == before
    marked = geometries(replace(GPU, device_memory=39_900_000_000, disk_free=9 * 10**8))
    assert geometries(GPU) == marked, "what was needed once is kept, so that nothing flickers at the limit"


def test_that_low_disk_and_full_memory_are_marked_in_words_and_by_an_icon(status: StatusLine) -> None:
    status.show_sample(CPU)
    assert not status.machine.memory.marked and not status.machine.disk.marked
    status.show_sample(replace(CPU, memory=8 * 10**9, disk_free=1_200_000_000))
    assert shown(status) == ["CPU 87 %", "full: 8.0 of 8.2 GB", "only 1.2 GB free"]
    assert status.machine.memory.marked and status.machine.disk.marked
    assert "nearly full: empty the bin or free some space" in status.machine.toolTip()


@pytest.mark.parametrize(
    ("width", "hidden"), [(1920, set()), (1280, set()), (900, {"workspace", "device"}), (640, {"workspace", "device", "saved"})]
)  # fmt: skip
def test_that_the_run_keeps_its_room(status: StatusLine, width: int, hidden: set[str]) -> None:
    status.saved(0.0)
    status.show_sample(CPU)
    status.resize(width, status.height())
    QApplication.processEvents()
    parts = {"workspace": status._workspace, "device": status._device, "saved": status._saved}
    assert {name for name, part in parts.items() if not part.isVisible()} == hidden
    assert status._what.width() > 200


def test_that_a_message_and_what_runs_are_never_written_over_each_other(status: StatusLine) -> None:
    status.say("Scale 150 %")
    status._what.show()  # as Qt does when the style changes
    assert status._what.text() == "" and status.text() == "Nothing runs"
    status.show_run(None, paused=True)
    assert status._what.text() == ""
    status.clearMessage()
    assert status._what.text() == status.text() == "The queue is paused"


def test_that_a_runs_machine_figures_are_summed_up_over_its_stages() -> None:
    config = RunConfig(name="a", start_from="weights.safetensors", attack=AttackConfig())
    data = RunData(RunInfo("a", "a", "s", "/a", "finished", config))
    assert machine_facts(data) == []
    row = {"seconds": 1.0, "temperature": np.nan, "device_load": np.nan, "device_memory": np.nan}
    for time, load, memory in ((1.0, 0.5, 2 * 10**9), (11.0, 1.0, 3 * 10**9)):
        columns = row | {"time": time, "processor": load, "memory": memory, "disk_free": 5e10}
        data.add_rows(
            RowsAdded("a", "attack", "machine", {name: np.array([value]) for name, value in columns.items()})
        )
    assert machine_facts(data) == [
        ("Processor load", "75 % on average"),
        ("Memory in use", "at most 3.0 GB, all programs"),
        ("Free on disk", "at least 50.0 GB"),
    ]
