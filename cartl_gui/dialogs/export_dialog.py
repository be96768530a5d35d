"""Export: what can be written now, how, what it will look like, and where to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QEvent, QSize, QStandardPaths, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.bridge import EngineBridge
from cartl_gui.dialogs.export_figure import ONE_COLUMN, TWO_COLUMNS, FigureItem
from cartl_gui.dialogs.export_items import (
    Exporter,
    ExportItem,
    NumbersItem,
    ReportItem,
    RunItem,
    TablesItem,
    WeightsItem,
)
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.export import whole
from cartl_gui.plots.figure import Place
from cartl_gui.plots.mosaic import MosaicPlot
from cartl_gui.settings import WindowSettings
from cartl_gui.widgets import ElidedLabel
from cartl_gui.words import listed
from engine.config import StageName
from engine.events import RequestFailed, RunInfo

_DOCUMENTS = QStandardPaths.StandardLocation.DocumentsLocation
_LIST_WIDTH = 190


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to export.

    Attributes:
        plot: the plot that is looked at.
        page: all plots of the page with their places in it, if there are several.
        page_title: what the page is called.
        aspect: height of the page as a share of its width.
        run: the run that is looked at.
        weights: training stages after which it has weights.
        study: title of the study whose results there are.
    """

    plot: PlotPanel | None = None
    page: Sequence[Place] = ()
    page_title: str = ""
    aspect: float = 0.71
    run: RunInfo | None = None
    weights: tuple[StageName, ...] = ()
    study: str = ""

    def is_empty(self) -> bool:
        """Whether there is nothing to export."""
        return self.plot is None and self.run is None and not self.study


class ExportDialog(QDialog):
    """A list of what can be exported; of each its options and a preview. It stays open until it is closed.

    Args:
        offer: what there is.
        session: writes what belongs to the engine.
        bridge: tells when that is written.
        settings: remember folder and options.
        parent: the window.
        start: key of the item to begin with: "plot", "page", "numbers", "weights", "tables", "run" or "report".
    """

    def __init__(
        self, offer: Offer, session: Exporter, bridge: EngineBridge, settings: WindowSettings,
        parent: QWidget | None = None, *, start: str = "",
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._settings = settings
        self._asked: tuple[ExportItem, Path] | None = None
        self._named = ""
        self._shown = Path()
        #: What was written last.
        self.written: Path | None = None
        self.setWindowTitle("Export")
        self.setMinimumSize(QSize(860, 540))
        self.resize(1020, 640)
        self.items = self._items(offer, session)
        self._build()
        bridge.exported.connect(self._exported)
        bridge.request_failed.connect(self._request_failed)
        remembered = settings.export_options
        for item in self.items.values():
            known = remembered.get(item.key)
            if isinstance(known, dict):
                item.set_options(known)
            item.changed.connect(self._item_changed)
        self.folder.setText(settings.folder or _usual_folder())
        names = list(self.items)
        self.list.setCurrentRow(names.index(start) if start in names else 0)

    # building ------------------------------------------------------------------------------------------
    def _items(self, offer: Offer, session: Exporter) -> dict[str, ExportItem]:
        items: list[ExportItem] = []
        if offer.plot is not None:
            plot, images = offer.plot, isinstance(offer.plot, MosaicPlot)
            items.append(
                FigureItem(
                    whole(plot), key="images" if images else "plot", title="These images" if images else "This plot",
                    name=plot.title, width=TWO_COLUMNS if images else ONE_COLUMN,
                )
            )  # fmt: skip
        if len(offer.page) > 1:
            name = offer.page_title
            items.append(
                FigureItem(
                    offer.page, key="page", title="The page as a figure", name=name, width=TWO_COLUMNS,
                    aspect=offer.aspect,
                )
            )  # fmt: skip
        if offer.plot is not None:
            items.append(NumbersItem(offer.plot))
        if offer.run is not None:
            if offer.weights:
                items.append(WeightsItem(session, offer.run, offer.weights))
            items += [TablesItem(session, offer.run), RunItem(session, offer.run)]
        if offer.study:
            items.append(ReportItem(session, offer.study))
        return {item.key: item for item in items}

    def _build(self) -> None:
        self.list = QListWidget()
        self.list.setFixedWidth(_LIST_WIDTH)
        self.list.setIconSize(QSize(16, 16))
        self.list.setAccessibleName("What to export")
        self.pages = QStackedWidget()
        for item in self.items.values():
            entry = QListWidgetItem(item.title, self.list)
            entry.setSizeHint(QSize(0, 32))
            self.pages.addWidget(item)
        self.recolour()
        self.list.currentRowChanged.connect(self._item_chosen)
        self.folder, self.name = QLineEdit(), QLineEdit()
        self.folder.setAccessibleName("Folder")
        self.name.setAccessibleName("Name")
        self.browse_button = QPushButton("Browse…")
        self.browse_button.setAutoDefault(False)
        self.browse_button.clicked.connect(self._browse)
        self._ending = QLabel()
        self._ending.setProperty("role", "muted")
        self._ending.setMinimumWidth(76)
        place = QHBoxLayout()
        for text, widget, share in (
            ("Folder", self.folder, 3), ("", self.browse_button, 0), ("Name", self.name, 2), ("", self._ending, 0)
        ):  # fmt: skip
            if text:
                place.addWidget(QLabel(text))
            place.addWidget(widget, share)
        self.message = ElidedLabel()
        self.message.setAccessibleName("Result")
        self.show_button = QPushButton("Open folder")
        self.show_button.setAutoDefault(False)
        self.show_button.clicked.connect(self._show_written)
        self.show_button.hide()
        # No QDialogButtonBox: it hands the focus on to the default button, so that Tab would skip Close.
        self.close_button, self.save_button = QPushButton("Close"), QPushButton("Save")
        self.close_button.setAutoDefault(False)
        self.close_button.clicked.connect(self.reject)
        self.save_button.setProperty("main", "true")
        self.save_button.setDefault(True)
        self.save_button.clicked.connect(self._save)
        below = QHBoxLayout()
        below.addWidget(self.message, 1)
        below.addWidget(self.show_button)
        below.addWidget(self.close_button)
        below.addWidget(self.save_button)
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(self.list)
        row.addWidget(self.pages, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 12)
        column.setSpacing(12)
        column.addLayout(row, 1)
        column.addLayout(place)
        column.addLayout(below)
        for field in (self.folder, self.name):
            field.textEdited.connect(self._clear_message)

    def recolour(self) -> None:
        """Draw the icons in the colours of the theme."""
        for number, item in enumerate(self.items.values()):
            self.list.item(number).setIcon(theme.icon(item.picture))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "list"):
            self.recolour()

    # choosing ------------------------------------------------------------------------------------------
    @property
    def item(self) -> ExportItem:
        """What is chosen."""
        found = self.pages.currentWidget()
        assert isinstance(found, ExportItem)
        return found

    def choose(self, key: str) -> None:
        """Choose something of the list."""
        self.list.setCurrentRow(list(self.items).index(key))

    def _item_chosen(self, row: int) -> None:
        self.pages.setCurrentIndex(row)
        self._clear_message()
        self._named = ""
        self._item_changed()
        self.item.refresh()

    def _item_changed(self) -> None:
        """Propose a name, unless the user gave one, and say the ending."""
        if not self._named or self.name.text() == self._named:
            self._named = self.item.stem()
            self.name.setText(self._named)
        self._ending.setText(self.item.ending() or "(folder)")

    def target(self) -> Path:
        """The file or folder that would be written."""
        ending = self.item.ending()
        return (
            Path(self.folder.text()).expanduser() / f"{self.name.text().strip().removesuffix(ending)}{ending}"
        )

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to export to", self.folder.text())
        if folder:
            self.folder.setText(folder)
            self._clear_message()

    # writing -------------------------------------------------------------------------------------------
    def _save(self) -> None:
        target = self.target()
        try:
            problem, clashes = self._problem(target), self._clashes(target)
        except OSError as error:
            problem, clashes = f"{target.name} could not be written: {error.strerror}", []
        if problem:
            self._say(problem, is_error=True)
            return
        if clashes and not self._may_replace(target, clashes):
            return
        item = self.item
        self._settings.folder = str(target.parent)
        self._settings.export_options = self._settings.export_options | {item.key: item.options()}
        self.show_button.hide()
        if item.request:
            self._asked = item, target
            self.save_button.setEnabled(False)
            self._say(f"Writing {target.name}…")
        try:
            item.start(target, overwrite=bool(clashes))
        except OSError as error:
            self._say(str(error), is_error=True)
            return
        if not item.request:
            self._written(item, target)

    def _problem(self, target: Path) -> str:
        """Why nothing can be written there."""
        name = self.name.text().strip()
        if not name:
            return "Give it a name."
        if "/" in name or "\\" in name:
            return "The name holds a slash; choose the folder on the left of it."
        if not target.parent.is_dir():
            return f"There is no folder {target.parent}; choose another one."
        return ""

    def _clashes(self, target: Path) -> list[Path]:
        """What is there already and would be replaced."""
        if self.item.ending():
            return [path for path in self.item.files(target) if path.exists()]
        return [target] if target.is_dir() and any(target.iterdir()) else []

    def _may_replace(self, target: Path, clashes: list[Path]) -> bool:
        if self.item.ending():
            text = f"Replace {listed([path.name for path in clashes])}?"
            details = f"{'They are' if len(clashes) > 1 else 'It is'} in {target.parent} already."
        else:
            text = f"Write into {target.name}?"
            details = "The folder is not empty. Files in it that have the same names are replaced."
        box = QMessageBox(QMessageBox.Icon.Question, "Export", text, parent=self)
        box.setInformativeText(details)
        agree = box.addButton("Replace" if self.item.ending() else "Write", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        agreed = box.clickedButton() is agree
        box.deleteLater()
        return agreed

    def waits_for(self, request: str) -> bool:
        """Whether the engine is writing what was asked by this request, and the dialog will tell how it went."""
        return self._asked is not None and self._asked[0].request == request

    def _exported(self, path: str) -> None:
        if self._asked is not None and Path(path) == self._asked[1]:
            item, target = self._asked
            self._written(item, target)

    def _request_failed(self, event: RequestFailed) -> None:
        if self.waits_for(event.request):
            self._end_waiting()
            self._say(event.message, is_error=True)

    def _written(self, item: ExportItem, target: Path) -> None:
        self._end_waiting()
        self.written = target
        names = [path.name for path in item.files(target)]
        self._say(f"Wrote {listed(names)} into {target.parent}")
        self._shown = target / "report.html" if item.key == "report" else target.parent
        self.show_button.setText("Open report" if item.key == "report" else "Open folder")
        self.show_button.show()

    def _end_waiting(self) -> None:
        self._asked = None
        self.save_button.setEnabled(True)

    def _show_written(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._shown)))

    def _say(self, text: str, *, is_error: bool = False) -> None:
        self.message.setProperty(
            "role", "error" if is_error else "good" if text.startswith("Wrote") else "muted"
        )
        self.message.style().unpolish(self.message)
        self.message.style().polish(self.message)
        self.message.setText(text)
        self.message.setToolTip(text)

    def _clear_message(self) -> None:
        if self._asked is None:
            self._say("")
            self.show_button.hide()


def _usual_folder() -> str:
    """The user's documents, else the home folder where there is no such folder yet."""
    documents = QStandardPaths.writableLocation(_DOCUMENTS)
    return documents if Path(documents).is_dir() else str(Path.home())
