"""The export dialog: figures for print, and what the engine writes."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PySide6.QtCore import QMimeData, QPointF, QRectF, QSettings, QSize, Qt, QUrl
from PySide6.QtGui import QColor, QDesktopServices, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.bridge import EngineBridge
from cartl_gui.dialogs.export_dialog import ExportDialog, Offer
from cartl_gui.dialogs.export_figure import FigureItem
from cartl_gui.dialogs.export_items import RunItem, WeightsItem, stem_of
from cartl_gui.main_window import MainWindow
from cartl_gui.plots.accuracy import AccuracyPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.export import Origin, alike_in_grey, preview, render, render_csv, render_png, whole
from cartl_gui.plots.figure import FigureStyle, Place, told_apart
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.style import CurveStyle
from cartl_gui.run_data import RunData
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import DARK, LIGHT, palette_of
from engine.api import EXPORTING_RUN
from engine.config import settings_hash
from tests.gui.drawn_by_script import draw
from tests.gui.gui_helpers import answer, data_of, drain, press, save
from tests.gui.scripted_session import ScriptedSession, earlier_run

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def data() -> RunData:
    return data_of(*earlier_run())


@pytest.fixture
def panels(qtbot: QtBot, data: RunData) -> list[PlotPanel]:
    made: list[PlotPanel] = [AccuracyPlot(), LossPlot(), DistancePlot()]
    for panel in made:
        qtbot.addWidget(panel)
        panel.resize(480, 320)
        panel.show_run(data, "pretraining")
    return made


def row_of(panels: list[PlotPanel]) -> list[Place]:
    share = 1 / len(panels)
    return [(panel, QRectF(number * share, 0, share, 1)) for number, panel in enumerate(panels)]


# figures ----------------------------------------------------------------------------------------------------
def words_of(svg: bytes) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_that_several_plots_are_one_figure_with_letters(panels: list[PlotPanel]) -> None:
    style = FigureStyle(174, 60)
    words = words_of(render("svg", row_of(panels), style))
    assert [word for word in words if word.startswith("(")] == ["(a)", "(b)", "(c)"]
    assert {"Accuracy", "Loss terms"} <= set(words)
    words = words_of(render("svg", row_of(panels), replace(style, letters=False, titles=False)))
    assert not [word for word in words if word.startswith("(")] and "Accuracy" not in words
    assert panels[2].title in words, "the title of a map names its colours"


def test_that_text_and_lines_have_the_wanted_size(panels: list[PlotPanel]) -> None:
    figure = render("svg", whole(panels[0]), FigureStyle(85, 60, points=7, line_width=2, family="serif"))
    root = ElementTree.fromstring(figure)
    # Four units are a pixel of 1/96 inch.
    unit = float(root.get("width", "").removesuffix("mm")) / float(root.get("viewBox", "").split()[2])
    points = {
        round(float(text.get("font-size", "0")) * unit / 25.4 * 72, 1)
        for text in root.iter(f"{SVG}text")
        if "".join(text.itertext()).strip()
    }
    assert sorted(points) == pytest.approx([7, 8], abs=0.15)
    widths = {
        round(float(group.get("stroke-width", "0")) * unit / 25.4 * 72, 2)
        for group in root.iter(f"{SVG}g")
        if len(group) and group.get("stroke") in ("#0072b2", "#d55e00")
    }
    assert 2.0 in widths
    assert b"vector-effect" not in figure


def test_that_the_same_numbers_stand_at_the_axes_whatever_the_format(panels: list[PlotPanel]) -> None:
    """Seen in the drawing: text of PDF is glyphs, so that of SVG at two sizes stands for it."""
    words = words_of(render("svg", whole(panels[0]), FigureStyle(120, 80)))
    assert {"0", "20", "40", "60", "80", "100", "2", "12"} <= set(words)
    small = words_of(render("svg", whole(panels[0]), FigureStyle(85, 60)))
    assert {"0", "100", "epoch", "accuracy (%)"} <= set(small)


def test_that_a_figure_is_white_and_the_same_in_both_themes(
    qtbot: QtBot, qapp: QApplication, panels: list[PlotPanel]
) -> None:
    light = render("svg", row_of(panels), FigureStyle(174, 60))
    image = render_png(row_of(panels), FigureStyle(174, 60), dpi=96)
    qapp.setPalette(palette_of(DARK))
    QApplication.processEvents()
    dark = render_png(row_of(panels), FigureStyle(174, 60), dpi=96)
    assert render("svg", row_of(panels), FigureStyle(174, 60)) == light
    assert image == dark
    assert dark.pixelColor(1, 1) == QColor("white")
    qapp.setPalette(palette_of(LIGHT))
    QApplication.processEvents()


def test_that_the_legend_stands_above_inside_or_nowhere(panels: list[PlotPanel]) -> None:
    places = {}
    for legend in ("above", "inside", "off"):
        root = ElementTree.fromstring(render("svg", whole(panels[0]), FigureStyle(legend=legend)))
        for text in root.iter(f"{SVG}text"):
            if "".join(text.itertext()).strip() == "robust":
                places[legend] = float(text.get("y", "0"))
    assert places.keys() == {"above", "inside"}


def test_that_zoom_is_kept_unless_all_is_wanted(panels: list[PlotPanel]) -> None:
    panel = panels[0]
    panel.view.setRange(xRange=(2, 4), yRange=(10, 70), padding=0)
    zoomed = words_of(render("svg", whole(panel), FigureStyle()))
    assert "100" not in zoomed
    assert "100" in words_of(render("svg", whole(panel), FigureStyle(whole_axes=True)))


def test_that_curves_of_one_kind_get_dashes() -> None:
    styles = [CurveStyle(0), CurveStyle(1), CurveStyle(2, symbol="o"), CurveStyle(3)]
    found = told_apart(styles)
    assert len({(style.dashes, style.symbol) for style in found}) == 4
    assert (found[0], found[2]) == (styles[0], styles[2])
    assert [style.colour for style in found] == [0, 1, 2, 3]


def test_that_curves_that_look_alike_in_grey_are_told(panels: list[PlotPanel]) -> None:
    loss = panels[1]
    for curve in loss.curves:
        curve.style = replace(curve.style, colour=0)
    assert alike_in_grey([loss], FigureStyle())[0] == f"{loss.curves[0].name} and {loss.curves[1].name}"
    assert alike_in_grey([loss], FigureStyle(distinct=True)) == []
    assert alike_in_grey(panels[:1], FigureStyle()) == [], "symbols and dashes tell them apart"


def test_that_a_preview_is_the_file_seen_from_afar(panels: list[PlotPanel]) -> None:
    style = FigureStyle(100, 70)
    seen = preview(whole(panels[0]), style, QSize(400, 400))
    assert (seen.width(), seen.height()) == (400, 280)
    file = render_png(whole(panels[0]), style, dpi=305).scaled(
        seen.size(), Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
    pairs = [
        (seen.pixelColor(x, y), file.pixelColor(x, y)) for x in range(0, 400, 4) for y in range(0, 280, 4)
    ]
    near = sum(abs(one.lightness() - other.lightness()) < 48 for one, other in pairs)
    assert near / len(pairs) > 0.95
    assert preview(whole(panels[0]), style, QSize(300, 300), in_grey=True).isGrayscale()


def test_that_a_figure_says_where_it_comes_from(
    panels: list[PlotPanel], data: RunData, tmp_path: Path
) -> None:
    digest, places = settings_hash(data.info.config), whole(panels[0])
    (tmp_path / "x.png").write_bytes(render("png", places, FigureStyle(), dpi=96))
    image = QImage(str(tmp_path / "x.png"))
    for text in (
        image.text("Description"),
        render("svg", places, FigureStyle()).decode(),
        Origin.of(panels).text(),
    ):
        assert data.info.id in text and digest in text and "CARTL Workbench" in text
    pdf = render("pdf", places, FigureStyle())
    title = re.search(rb"/Title \(\xfe\xff((?:[^\\)]|\\.)*)\)", pdf, re.S)
    assert title is not None
    told = re.sub(rb"\\(.)", rb"\1", title[1], flags=re.S).decode("utf-16-be", errors="replace")
    assert digest in told and "Accuracy" in told


def test_that_names_with_markup_stay_names(panels: list[PlotPanel]) -> None:
    panels[0].title = "a < b & c"
    assert "a < b & c" in words_of(render("svg", whole(panels[0]), FigureStyle()))


# the dialog -------------------------------------------------------------------------------------------------
class Opened:
    """The dialog over a scripted session."""

    def __init__(self, panels: list[PlotPanel], data: RunData, folder: Path) -> None:
        self.session = ScriptedSession(folder / "workspace")
        self.bridge = EngineBridge(self.session)
        store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
        self.settings, self.folder = WindowSettings(store), folder / "figures"
        self.folder.mkdir(exist_ok=True)
        self.offer = Offer(
            plot=panels[0], page=row_of(panels), page_title="Live", run=data.info, study=data.info.study,
            weights=("pretraining",),
        )  # fmt: skip
        self.dialog = self.open()

    def open(self) -> ExportDialog:
        self.dialog = ExportDialog(self.offer, self.session, self.bridge, self.settings)
        self.dialog.folder.setText(str(self.folder))
        self.dialog.show()
        return self.dialog

    def save(self, name: str) -> None:
        self.dialog.name.setText(name)
        self.dialog.save_button.click()
        self.bridge.drain()


@pytest.fixture
def opened(qtbot: QtBot, panels: list[PlotPanel], data: RunData, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(panels, data, tmp_path)
    yield opened
    opened.dialog.close()
    opened.dialog.deleteLater()
    opened.bridge.deleteLater()


def figure_item(opened: Opened, key: str = "plot") -> FigureItem:
    item = opened.dialog.items[key]
    assert isinstance(item, FigureItem)
    return item


def test_that_the_dialog_lists_what_there_is(opened: Opened) -> None:
    titles = [opened.dialog.list.item(row).text() for row in range(opened.dialog.list.count())]
    assert titles == [
        "This plot", "The page as a figure", "Numbers of the plot", "Weights", "Tables of the run", "The whole run",
        "Report of the study",
    ]  # fmt: skip
    opened.dialog.list.setFocus()
    QTest.keyClick(opened.dialog.list, Qt.Key.Key_Down)
    assert opened.dialog.item.key == "page"
    only_run = replace(opened.offer, plot=None, page=(), weights=(), study="")
    dialog = ExportDialog(only_run, opened.session, opened.bridge, opened.settings)
    assert list(dialog.items) == ["tables", "run"]
    dialog.deleteLater()


def test_that_a_figure_its_numbers_and_its_script_are_written_together(
    opened: Opened, panels: list[PlotPanel]
) -> None:
    item = figure_item(opened)
    item.script.click()
    assert item.numbers.isChecked(), "the script reads the numbers"
    opened.save("accuracy")
    assert {path.name for path in opened.folder.iterdir()} == {"accuracy.pdf", "accuracy.csv", "accuracy.py"}
    assert (opened.folder / "accuracy.csv").read_bytes() == render_csv(panels[0])
    assert b"/MediaBox [0 0 241" in (opened.folder / "accuracy.pdf").read_bytes()
    assert len(draw(opened.folder / "accuracy.py").axes) == 1
    message = opened.dialog.message.text()
    assert message.startswith("Wrote accuracy.pdf, accuracy.csv and accuracy.py into ")
    item.numbers.click()
    assert not item.script.isChecked()


def test_that_a_page_has_a_table_for_each_plot(opened: Opened) -> None:
    opened.dialog.choose("page")
    item = figure_item(opened, "page")
    item.script.click()
    item.format.setCurrentIndex(item.format.findData("svg"))
    opened.save("page.svg")
    names = {path.name for path in opened.folder.iterdir()}
    assert names == {"page.svg", "page.py", "page-a.csv", "page-b.csv", "page-c.csv"}
    assert len(draw(opened.folder / "page.py").axes) == 3


def test_that_the_preview_follows_the_options_and_tells_the_size(qtbot: QtBot, opened: Opened) -> None:
    item = figure_item(opened)
    item.format.setCurrentIndex(item.format.findData("png"))
    item.width_mm.setValue(100)
    item.dpi.setValue(254)
    qtbot.waitUntil(lambda: item._size_text.text() == "100 × 60 mm, 1,000 × 600 pixels", timeout=2000)
    assert item.size_box.currentText() == "Own size"
    before = item._sheet.pixmap().toImage()
    item.titles.click()
    qtbot.waitUntil(lambda: item._sheet.pixmap().toImage() != before, timeout=2000)
    item.size_box.setCurrentIndex(1)
    item.size_box.activated.emit(1)
    assert (item.width_mm.value(), item.height_mm.value()) == (174, 104)
    item.grey.click()
    qtbot.waitUntil(lambda: item.remark.text() == "In grey all curves can be told apart.", timeout=2000)
    opened.save("x")
    image = QImage(str(opened.folder / "x.png"))
    assert (image.width(), image.height()) == (1740, 1040)
    assert not image.isGrayscale(), "grey is a preview only"


def test_that_nothing_is_replaced_unasked(opened: Opened) -> None:
    mine = opened.folder / "accuracy.csv"
    mine.write_text("mine")
    figure_item(opened).numbers.click()
    answer("Cancel")
    opened.save("accuracy")
    assert mine.read_text() == "mine" and not (opened.folder / "accuracy.pdf").exists()
    answer("Replace")
    opened.save("accuracy")
    assert mine.read_text() != "mine"
    assert [path.name for path in opened.folder.glob("*") if path.suffix not in (".csv", ".pdf")] == []


def test_that_what_cannot_be_written_is_told_and_the_dialog_stays(opened: Opened) -> None:
    dialog = opened.dialog
    for folder, name, told in (
        (opened.folder / "none", "x", "There is no folder"),
        (opened.folder, "", "Give it a name."),
        (opened.folder, "a/b", "The name holds a slash"),
        (opened.folder, "n" * 300, "could not be written"),
    ):
        dialog.folder.setText(str(folder))
        opened.save(name)
        assert told in dialog.message.text() and dialog.message.property("role") == "error"
        assert dialog.isVisible() and dialog.written is None
    assert list(opened.folder.iterdir()) == []
    dialog.name.clear()
    QTest.keyClicks(dialog.name, "fine")
    assert dialog.message.text() == ""


def test_that_folder_and_options_are_remembered(opened: Opened) -> None:
    item = figure_item(opened)
    item.format.setCurrentIndex(item.format.findData("svg"))
    item.points.setValue(9.5)
    item.family.setCurrentIndex(1)
    item.titles.click()
    opened.save("x")
    opened.dialog.close()
    opened.dialog.deleteLater()
    dialog = ExportDialog(opened.offer, opened.session, opened.bridge, opened.settings)
    opened.dialog = dialog
    again = figure_item(opened)
    assert again.style_of_figure() == item.style_of_figure()
    assert again.ending() == ".svg" and not again.titles.isChecked()
    assert dialog.folder.text() == str(opened.folder)
    opened.settings._store.setValue("export", '{"plot": {"points": "many", "format": "gif", "titles": 3}}')
    other = ExportDialog(opened.offer, opened.session, opened.bridge, opened.settings)
    assert other.items["plot"].ending() == ".pdf"
    other.deleteLater()


def test_that_the_engine_writes_weights_tables_runs_and_reports(
    opened: Opened, data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: shown.append(url.toLocalFile()))
    dialog, run, folder = opened.dialog, data.info.id, opened.folder
    dialog.choose("weights")
    weights = dialog.item
    assert isinstance(weights, WeightsItem)
    weights.format.setCurrentIndex(1)
    opened.save("net")
    assert opened.session.calls[-1] == ("export_weights", run, "pretraining", folder / "net.pt")
    assert dialog.message.text() == f"Wrote net.pt, net.pt.toml and net.pt.sha256 into {folder}"
    dialog.choose("tables")
    opened.save("tables")
    assert opened.session.calls[-1] == ("export_tables", run, folder / "tables")
    dialog.choose("run")
    item = dialog.item
    assert isinstance(item, RunItem) and dialog.name.text() == run
    item.checkpoint.setChecked(True)
    opened.save(run)
    assert opened.session.calls[-1] == ("export_run", run, folder / f"{run}.zip", True, False)
    dialog.show_button.click()
    dialog.choose("report")
    assert dialog.show_button.isHidden(), "it is about another file"
    opened.save("report")
    assert opened.session.calls[-1] == ("export_report", data.info.study, folder / "report")
    dialog.show_button.click()
    assert shown == [str(folder), str(folder / "report" / "report.html")]


def test_that_the_dialog_waits_for_the_engine_and_tells_its_failure(opened: Opened) -> None:
    dialog, full = opened.dialog, opened.folder / "full"
    full.mkdir()
    dialog.choose("run")
    dialog.folder.setText(str(full))
    dialog.name.setText("x")
    dialog.save_button.click()
    assert dialog.message.text() == "Writing x.zip…" and not dialog.save_button.isEnabled()
    assert dialog.waits_for(EXPORTING_RUN) and not dialog.waits_for("open the run")
    opened.bridge.drain()
    assert "no space at" in dialog.message.text() and dialog.save_button.isEnabled()
    assert not dialog.waits_for(EXPORTING_RUN)


def test_that_a_folder_with_files_is_asked_about(opened: Opened) -> None:
    (opened.folder / "tables").mkdir()
    (opened.folder / "tables" / "mine.csv").write_text("mine")
    opened.dialog.choose("tables")
    calls = len(opened.session.calls)
    answer("Cancel")
    opened.save("tables")
    assert len(opened.session.calls) == calls
    answer("Write")
    opened.save("tables")
    assert opened.session.calls[-1][0] == "export_tables"


def test_that_a_dialog_in_the_dark_has_dark_icons(qapp: QApplication, opened: Opened) -> None:
    def darkness() -> int:
        image = opened.dialog.list.item(0).icon().pixmap(16, 16).toImage()
        return max(image.pixelColor(x, y).lightness() for x in range(16) for y in range(16))

    before = darkness()
    qapp.setPalette(palette_of(DARK))
    QApplication.processEvents()
    assert darkness() > before
    qapp.setPalette(palette_of(LIGHT))
    QApplication.processEvents()


def test_that_every_field_has_a_name(opened: Opened) -> None:
    from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QLineEdit, QListWidget

    for kind in (QComboBox, QAbstractSpinBox, QListWidget):
        for field in opened.dialog.findChildren(kind):
            assert field.accessibleName(), field
    assert opened.dialog.folder.accessibleName() and opened.dialog.name.accessibleName()
    assert isinstance(opened.dialog.name, QLineEdit)


def test_that_names_become_file_names() -> None:
    assert stem_of("Trade-off: PGD-20, Linf 8/255", "AT, k=3") == "trade-off-pgd-20-linf-8-255-at-k=3"
    assert stem_of("", "../x") == "..-x"


# in the window ----------------------------------------------------------------------------------------------
def test_that_every_way_to_export_leads_into_the_dialog(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession, tmp_path: Path
) -> None:
    press(window, "export")
    assert window.do.exports.dialog is None, "there is nothing yet"
    window.start_demo()
    session.run_out()
    drain(window)
    window.show_run("0004-fdm-neft")
    drain(window)
    starts = {"export": "plot", "export_weights": "weights", "export_tables": "tables", "export_run": "run",
              "export_report": "report"}  # fmt: skip
    for command, key in starts.items():
        press(window, command)
        dialog = window.do.exports.dialog
        assert dialog is not None and dialog.item.key == key
        dialog.close()
        assert window.do.exports.dialog is None
    window.live.stage_buttons["finetuning"].click()
    drain(window)
    window.live.distance.export_button.click()
    dialog = window.do.exports.dialog
    assert dialog is not None and "page" in dialog.items
    assert dialog.name.text().startswith("feature-distance-per-block")
    save(window, tmp_path, "distance")
    assert (tmp_path / "distance.pdf").exists()
    dialog.close()
    assert window.status.currentMessage().startswith("Wrote")


def test_that_a_run_dropped_on_the_window_is_taken_in(
    window: MainWindow, session: ScriptedSession, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "given.zip", "w") as archive:
        archive.writestr("x", "x")
    content = QMimeData()
    content.setUrls([QUrl.fromLocalFile(str(tmp_path / "given.zip"))])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        content,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    window.dropEvent(event)
    drain(window)
    assert ("import_run", tmp_path / "given.zip") in session.calls
    assert "old" in window.bridge.runs
