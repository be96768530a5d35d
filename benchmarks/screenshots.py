"""Make pictures of every page and dialog, empty, live, finished and failed: `python benchmarks/screenshots.py OUT`.

Runs are scripted, so that the pictures need no training. `python benchmarks/contact_sheet.py OUT` puts all of them on
one sheet. With `--workspace PATH --study TITLE` there are two pictures
of a study that was really made instead: the form with its grid, and its results. Under a display they show the real
window; without one set QT_QPA_PLATFORM=offscreen.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PySide6.QtCore import QSettings, QSize
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from cartl_gui.app import make_application
from cartl_gui.main_window import MainWindow
from cartl_gui.selection import Place
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session, preset_texts, presets
from tests.gui.dialogs import dialog_classes, look_at
from tests.gui.scripted_session import ScriptedSession, demo_study


def settle(window: MainWindow) -> None:
    """Let the window draw."""
    for _ in range(4):
        window.bridge.drain()
        QTest.qWait(60)
    QTest.qWait(250)


class Photographer:
    """Writes numbered pictures of one size and theme."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix

    def take(self, widget: object, name: str) -> None:
        """Write a picture of a window."""
        widget.grab().save(str(self._folder / f"{self._prefix}-{name}.png"))  # type: ignore[attr-defined]

    def take_shown(self, window: MainWindow, dialog: QWidget, name: str) -> None:
        """Write a picture of a dialog, or of the window where the dialog lies inside it."""
        QTest.qWait(120)
        self.take(dialog if dialog.isWindow() and dialog.width() < window.width() else window, name)


def tell_story(out: Path, size: QSize, prefix: str, themes: Theme) -> None:
    """From the first start to a finished study."""
    settings = WindowSettings(QSettings(str(out / "scratch.ini"), QSettings.Format.IniFormat))
    session = ScriptedSession(Path("workspace"))
    window = MainWindow(session, {"demo": demo_study()}, settings, themes)
    camera = Photographer(out, prefix)
    window.resize(size)
    window.show()
    window.start()
    settle(window)
    camera.take(window, "1-welcome-empty")
    window.do.settings.new()
    settle(window)
    camera.take(window, "2-setup-empty-live")
    for section in window.setup.form.sections.values():
        section.set_open(section.key in ("pretraining", "run"))
    rows = {row.place: row for row in window.setup.form.all_rows()}
    rows["pretraining.attack.step_size"].set_value("0.2")
    rows["pretraining.epochs"].set_value("many")
    rows["pretraining.learning_rate"].set_value("0")
    settle(window)
    camera.take(window, "3-setup-problems")
    window.start_demo()
    settle(window)
    session.step(44)
    settle(window)
    camera.take(window, "4-live-few-epochs")
    show_layers(window, camera, "4-live")
    session.step(4 * 7 * 12)
    settle(window)
    camera.take(window, "5-live-later")
    session.run_out()
    settle(window)
    transfer = [run_id for run_id in window.bridge.runs if run_id.endswith("neft")][0]
    window.show_run(transfer)
    window.live._pick(window.live.stage_buttons["finetuning"])
    settle(window)
    camera.take(window, "6-transfer-finished")
    show_layers(window, camera, "6-finished")
    compare_layers(window, session, camera)
    window.show_run(transfer)
    window.tabs.setCurrentWidget(window.live)
    window.live._pick(window.live.stage_buttons["attack"])
    settle(window)
    camera.take(window, "7-attack-finished")
    window.tabs.setCurrentWidget(window.results)
    settle(window)
    camera.take(window, "8-results")
    window.tabs.setCurrentWidget(window.log)
    settle(window)
    camera.take(window, "9-log")
    window.tabs.setCurrentWidget(window.welcome)
    settle(window)
    camera.take(window, "10-welcome-runs")
    compare_runs(window, session, camera)
    window.show_run(next(iter(window.bridge.runs)))
    window.live._pick(window.live.stage_buttons["pretraining"])
    settle(window)
    window.live.distance.maximise_button.setChecked(True)
    settle(window)
    camera.take(window, "11-enlarged")
    window.live.distance.maximise_button.setChecked(False)
    settle(window)
    show_dialogs(window, camera)
    fail(window, session, camera)
    window._closed = True
    window.bridge.stop()
    window.shown._timer.stop()
    window.close()
    window.deleteLater()
    QTest.qWait(20)
    (out / "scratch.ini").unlink(missing_ok=True)


def show_layers(window: MainWindow, camera: Photographer, name: str) -> None:
    """The pages of layers and images, with one of each selected, and back to the live plots."""
    for page in (window.layers, window.examples):
        window.tabs.setCurrentWidget(page)
        settle(window)
        window.selection.set_place(Place("layer", 10))
        window.selection.set_sample(121)
        settle(window)
        camera.take(window, f"{name}-{'layers' if page is window.layers else 'examples'}")
    window.tabs.setCurrentWidget(window.live)


def compare_layers(window: MainWindow, session: ScriptedSession, camera: Photographer) -> None:
    """Two runs side by side and as a difference, and a full analysis under way and done."""
    page = window.layers
    window.tabs.setCurrentWidget(page)
    page.comparison.setCurrentIndex(page.comparison.count() - 1)
    page.comparison.activated.emit(page.comparison.currentIndex())
    for row, name in enumerate(("side", "difference")):
        page.mode.setCurrentIndex(row)
        settle(window)
        camera.take(window, f"6-layers-{name}")
    page.comparison.setCurrentIndex(0)
    page.comparison.activated.emit(0)
    page.mode.setCurrentIndex(0)
    page.inspect_button.click()
    settle(window)
    camera.take(window, "6-layers-progress")
    session.finish_inspection()
    settle(window)
    camera.take(window, "6-layers-analysed")
    page.back_button.click()


def compare_runs(window: MainWindow, session: ScriptedSession, camera: Photographer) -> None:
    """All runs laid over each other, their outcome, and the settings in which two of them differ."""
    page = window.compare
    window.tabs.setCurrentWidget(page)
    settle(window)
    camera.take(window, "8-compare-empty")
    window.runs.set_shown(list(window.bridge.runs), on=True)
    settle(window)
    window.shown.begin()
    settle(window)
    settle(window)
    for name, button in page.view_buttons.items():
        button.click()
        settle(window)
        camera.take(window, f"8-compare-{name.lower()}")
    window.layout_of_docks.docks["inspector"].show()
    window.runs.table.select(list(window.bridge.runs)[:2])
    window.tabs.setCurrentWidget(window.live)
    settle(window)
    camera.take(window, "8-inspector-two-runs")
    window.layout_of_docks.docks["inspector"].hide()


def show_dialogs(window: MainWindow, camera: Photographer) -> None:
    """Every dialog, the one for exports with each thing that can be exported."""
    window.do.run("export")
    export = window.do.exports.dialog
    assert export is not None
    for key in export.items:
        export.choose(key)
        QTest.qWait(80)
        camera.take(export, f"12-export-{key}")
    export.close()
    for kind in dialog_classes():
        name = kind.__name__.removesuffix("Dialog").lower()
        # The tour and what lies over the window make sense together with it alone.
        look_at(kind, window, lambda dialog, name=name: camera.take_shown(window, dialog, f"12-{name}"))


def fail(window: MainWindow, session: ScriptedSession, camera: Photographer) -> None:
    """A run that fails for want of memory, beside the queue that goes on."""
    window.start_demo()
    settle(window)
    session.step(60)
    settle(window)
    failing = window.bridge.running()
    session.fail("the device ran out of memory: 7.9 of 8.0 GB were in use with a batch of 64", cause="memory")
    settle(window)
    assert failing is not None
    window.show_run(failing.id)
    window.layout_of_docks.docks["inspector"].show()
    settle(window)
    camera.take(window, "13-failed")
    window.setup.grid.set_open(True)
    window.do.run("estimate")
    settle(window)
    camera.take(window, "13-estimated")


def show_study(out: Path, size: QSize, prefix: str, themes: Theme, *, workspace: Path, title: str) -> None:
    """The set-up form with a study's grid, and the results of its runs."""
    with contextlib.chdir(workspace.parent):  # so that the picture tells the folder's name alone
        _show_study(out, size, prefix, themes, Session(Path(workspace.name)), title)


def _show_study(out: Path, size: QSize, prefix: str, themes: Theme, session: Session, title: str) -> None:
    settings = WindowSettings(QSettings(str(out / "scratch.ini"), QSettings.Format.IniFormat))
    window = MainWindow(session, presets(), settings, themes, preset_texts=preset_texts())
    window.resize(size)
    window.show()
    window.start()
    window.layout_of_docks.show_docks()
    settle(window)
    name = next((name for name, study in presets().items() if study.title == title), None)
    if name is not None:
        window.setup.set_preset(name)
        window.setup.chooser.setCurrentIndex(window.setup.chooser.count() - 1)
    window.results.show_runs(list(window.bridge.runs.values()), title)
    window.tabs.setCurrentWidget(window.results)
    settle(window)
    camera = Photographer(out, prefix)
    camera.take(window, "results")
    camera.take(window.setup, "grid")
    window._closed = True
    window.bridge.stop()
    window.shown._timer.stop()
    session.close(60)
    window.close()
    window.deleteLater()
    QTest.qWait(20)
    (out / "scratch.ini").unlink(missing_ok=True)


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["1280x800", "1920x1080"])
    parser.add_argument("--themes", nargs="+", choices=["light", "dark"], default=["light", "dark"])
    parser.add_argument("--scale", type=float, default=1.0, help="size of everything in the window, 1 to 2")
    parser.add_argument("--workspace", type=Path, help="folder of runs that were really made")
    parser.add_argument("--study", help="title of the study in that folder")
    options = parser.parse_args()
    if (options.workspace is None) != (options.study is None):
        parser.error("--workspace and --study go together")
    options.out.mkdir(parents=True, exist_ok=True)
    application = make_application()
    themes = Theme(application, "light")
    themes.set_scale(options.scale)
    for name in options.themes:
        themes.apply(name)
        for text in options.sizes:
            width, height = map(int, text.split("x"))
            if options.workspace is not None:
                prefix = name if len(options.sizes) == 1 else f"{name}-{text}"
                show_study(
                    options.out.resolve(), QSize(width, height), prefix, themes,
                    workspace=options.workspace.resolve(), title=options.study,
                )  # fmt: skip
                continue
            with tempfile.TemporaryDirectory():
                tell_story(options.out, QSize(width, height), f"{name}-{text}", themes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
