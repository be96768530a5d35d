"""What the bridge keeps of the queue, the bin and the machine."""

from __future__ import annotations

from dataclasses import replace
from queue import SimpleQueue

import pytest
from pytestqt.qtbot import QtBot

from cartl_gui.bridge import EngineBridge
from engine.config import AttackConfig, RunConfig
from engine.events import (
    BinEmptied,
    EngineEvent,
    MachineSample,
    QueueChanged,
    RunChanged,
    RunInfo,
    RunOpened,
    RunRecord,
    RunsBinned,
    RunsListed,
    StudyEstimated,
)


class Source:
    """A queue of events, as the session has one."""

    def __init__(self) -> None:
        self.events: SimpleQueue[EngineEvent] = SimpleQueue()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def bridge(source: Source) -> EngineBridge:
    return EngineBridge(source)


def run(run_id: str) -> RunInfo:
    config = RunConfig(name=run_id, start_from="weights.safetensors", attack=AttackConfig())
    return RunInfo(run_id, run_id, "study", f"/{run_id}", "finished", config)


def tell(source: Source, bridge: EngineBridge, *events: EngineEvent) -> None:
    for event in events:
        source.events.put(event)
    bridge.drain()


def test_that_the_queue_is_kept_as_last_told(source: Source, bridge: EngineBridge, qtbot: QtBot) -> None:
    with qtbot.waitSignal(bridge.queue_changed):
        tell(source, bridge, QueueChanged(("a", "b")), QueueChanged(("b",), paused=True))
    assert bridge.queue == ("b",)
    assert bridge.queue_paused


def test_that_a_binned_run_is_known_in_the_bin_alone_until_it_comes_back(
    source: Source, bridge: EngineBridge, qtbot: QtBot
) -> None:
    tell(source, bridge, RunsListed((run("a"), run("b")), binned=(run("old"),)))
    assert list(bridge.binned) == ["old"]
    with qtbot.waitSignal(bridge.runs_binned):
        tell(source, bridge, RunChanged(run("a")), RunsBinned((run("a"),)), RunOpened(RunRecord(run("a"))))
    assert "a" not in bridge.runs and bridge.data("a") is None
    assert list(bridge.binned) == ["old", "a"]
    tell(source, bridge, RunChanged(replace(run("a"), reason="back")))
    assert bridge.runs["a"].reason == "back" and "a" not in bridge.binned
    with qtbot.waitSignal(bridge.bin_emptied):
        tell(source, bridge, BinEmptied())
    assert not bridge.binned


def test_that_the_last_sample_and_an_estimate_are_passed_on(
    source: Source, bridge: EngineBridge, qtbot: QtBot
) -> None:
    estimate = StudyEstimated((), "cpu", 1.0, None, 10**9)
    with qtbot.waitSignal(bridge.study_estimated) as told:
        tell(source, bridge, MachineSample(1.0), MachineSample(2.0, processor=0.5), estimate)
    assert bridge.last_sample == MachineSample(2.0, processor=0.5)
    assert told.args == [estimate]


def test_that_looking_into_an_empty_queue_wakes_nobody(
    source: Source, bridge: EngineBridge, qtbot: QtBot
) -> None:
    with qtbot.assertNotEmitted(bridge.looked):
        bridge.drain()
    with qtbot.waitSignal(bridge.looked):
        tell(source, bridge, MachineSample(1.0))
