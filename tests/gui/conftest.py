"""A window on a scripted session, and a watch that no test leaves anything behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import LIGHT, Theme, palette_of, style_sheet
from tests.gui.command_coverage import RECORD
from tests.gui.gui_helpers import close, drain
from tests.gui.scripted_session import ScriptedSession, demo_study
from tests.gui.watch import Watch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what sums up all tests come last."""
    items.sort(
        key=lambda item: item.name == "test_that_every_command_is_pressed_by_the_tests_that_the_table_names"
    )


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    return ["cartl-gui-tests"]


@pytest.fixture(scope="session", autouse=True)
def _own_settings_are_left_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARTL_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def themes(qapp: QApplication) -> Theme:
    return Theme(qapp, "light")


@pytest.fixture(autouse=True)
def _light(qapp: QApplication, themes: Theme) -> None:
    if qapp.palette() != palette_of(LIGHT):
        qapp.setPalette(palette_of(LIGHT))
        qapp.setStyleSheet(style_sheet(LIGHT))


@pytest.fixture(scope="session")
def watch(qapp: QApplication) -> Iterator[Watch]:
    watch = Watch(qapp)
    with pytest.MonkeyPatch.context() as patch:
        watch.install(patch)
        yield watch


@pytest.fixture(scope="session", autouse=True)
def _commands_are_recorded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        RECORD.install(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _garbage_is_collected_in_this_thread_alone() -> Iterator[None]:
    gc.disable()  # as cartl_gui.garbage does; the watch collects after each test
    yield
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _long_lived_objects_are_not_looked_through_again() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left_behind(watch: Watch, request: pytest.FixtureRequest) -> Iterator[None]:
    failures = request.session.testsfailed
    watch.begin()
    yield
    if request.session.testsfailed > failures:
        return  # the traceback keeps everything alive
    request.node.funcargs.clear()  # pytest would keep what fixtures gave a little longer
    left = watch.left()
    assert not left, "left behind: " + "; ".join(left)


@pytest.fixture
def settings(tmp_path: Path) -> WindowSettings:
    return WindowSettings(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))


@pytest.fixture
def session(tmp_path: Path) -> ScriptedSession:
    return ScriptedSession(tmp_path / "workspace")


@pytest.fixture
def window(session: ScriptedSession, settings: WindowSettings, themes: Theme) -> Iterator[MainWindow]:
    window = MainWindow(session, {"demo": demo_study(epochs=3)}, settings, themes)
    window.resize(1280, 800)
    window.show()
    window.start()
    window.bridge.drain()
    yield window
    close(window)


@pytest.fixture(scope="module")
def finished_window(themes: Theme, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainWindow]:
    """A window in which a demo has ended, for a module's tests that change nothing that another would miss."""
    folder = tmp_path_factory.mktemp("finished")
    session = ScriptedSession(folder / "workspace")
    store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(session, {"demo": demo_study(epochs=3)}, WindowSettings(store), themes)
    window.resize(1280, 800)
    window.show()
    window.start()
    window.start_demo()
    session.run_out()
    drain(window)
    yield window
    close(window)
