"""All that the window and the command line may ask of the engine.

A `Session` owns one workspace, the engine thread and the queue of runs. Every method returns at once; answers
come as events on `Session.events`. Importing this module loads neither torch nor h5py.
"""

from __future__ import annotations

import queue
from pathlib import Path

from engine.config import StageName, StudyConfig
from engine.events import EngineEvent, RunInfo


def default_workspace() -> Path:
    """The folder of runs used when none is named: $CARTL_WORKSPACE, else one in the user's data folder."""
    raise NotImplementedError


def presets() -> dict[str, StudyConfig]:
    """The studies that come with the program, by short name ("demo", ...)."""
    raise NotImplementedError


class Session:
    """One workspace, the engine thread and the queue of runs."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()

    def open(self) -> None:
        """Take the workspace's lock, post `RunsListed`, start the threads; `EngineReady` follows once torch is in.

        A second instance opens read-only: it can look at runs but not start any.

        Raises:
            StoreError: the workspace cannot be created or read.
        """

    def submit(self, study: StudyConfig) -> list[RunInfo]:
        """Create the runs of a study (state "created") and queue them in order.

        Raises:
            ConfigError: a run starts from something that does not exist or does not fit.
            StoreError: the workspace is read-only or cannot be written.
        """
        raise NotImplementedError

    def pause(self) -> None:
        """Pause the queue: the running run saves a checkpoint within one attack step and frees its memory."""

    def resume(self, run_id: str | None = None) -> None:
        """Go on with the queue, first with `run_id` if given (a paused, stopped, failed or interrupted run)."""

    def stop(self, run_id: str) -> None:
        """Stop one run, or take it out of the queue; what it measured is kept and it can be resumed later."""

    def stop_all(self) -> None:
        """Stop the running run and empty the queue."""

    def open_run(self, run_id: str) -> None:
        """Read a run's files; answers with `RunOpened` or `RequestFailed`."""

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> None:
        """Write the weights after a training stage as .safetensors or .pt, with their SHA-256 and config beside."""

    def export_tables(self, run_id: str, folder: Path) -> None:
        """Write every table of a run as CSV into a folder."""

    def close(self, timeout: float = 10.0) -> bool:
        """Pause and save the running run, end the threads; False if they did not end in `timeout` seconds."""
        return True
