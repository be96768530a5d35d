"""The first page: three ways to begin, recent studies, and the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QFont, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import program, theme, words
from cartl_gui.files import dropped_paths
from cartl_gui.widgets import ElidedLabel, QuietCombo, WrappedLabel
from engine.config import StudyConfig
from engine.events import DeviceReport, RunInfo
from engine.wording import format_bytes

RECENT = 5
#: From this width in pixels on, the ways to begin stand beside each other.
WIDE = 780
#: The preset proposed for an experiment of one's own: the paper's main pair.
PAPER = "cifar100-cifar10"


@dataclass(frozen=True, slots=True)
class RecentStudy:
    """A study of the workspace as the page tells it; `runs` are newest first."""

    title: str
    runs: tuple[RunInfo, ...]

    def state(self) -> str:
        """How its runs stand: "running, 2 of 6 finished", "6 of 8 finished, 1 failed"."""
        states = [run.state for run in self.runs]
        finished, parts = states.count("finished"), []
        if "running" in states:
            parts.append("running")
        parts.append("finished" if finished == len(states) else f"{finished} of {len(states)} finished")
        parts += [f"{states.count(state)} {state}" for state in ("failed", "interrupted") if state in states]
        return ", ".join(parts)


def recent_studies(runs: Sequence[RunInfo]) -> list[RecentStudy]:
    """The studies that some runs belong to, that of the newest run first; a run without one stands alone."""
    studies: dict[str, list[RunInfo]] = {}
    for run in sorted(runs, key=lambda info: info.created, reverse=True):
        if not run.label.archived:
            studies.setdefault(run.study or run.title, []).append(run)
    return [RecentStudy(title, tuple(found)) for title, found in studies.items()]


class StudyButton(QPushButton):
    """A button with name, state and time of an earlier study."""

    chosen = Signal(str)

    def __init__(self, study: RecentStudy, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._study = study
        newest, state = study.runs[0], study.state()
        self.setAccessibleName(f"Open study {study.title}, {state}")
        self.setToolTip(f"{study.title}: {state}")
        self.setMinimumHeight(40)
        name = ElidedLabel(study.title)
        name.setProperty("role", "heading")
        about = ElidedLabel(f"{state} · {words.clock(newest.created)}")
        about.setProperty("role", "muted")
        about.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 12, 4)
        row.addWidget(name, 4)
        row.addWidget(about, 5)
        for label in (name, about):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.clicked.connect(self._choose)

    def _choose(self) -> None:
        self.chosen.emit(self._study.runs[0].id)


class DropZone(QFrame):
    """Takes files that are dragged onto it."""

    dropped = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)
        self.setMinimumHeight(64)
        label = WrappedLabel("muted")
        label.setText("Drop settings (.toml), weights, or a run (folder or .zip) here")
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        QVBoxLayout(self).addWidget(label)
        self._mark("true")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept files; which of them can be opened is told when they are dropped."""
        if dropped_paths(event):
            event.acceptProposedAction()
            self._mark("active")

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:  # noqa: N802
        """Look as before."""
        self._mark("true")

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Tell the window which files were dropped."""
        self._mark("true")
        event.acceptProposedAction()
        self.dropped.emit(dropped_paths(event))

    def _mark(self, value: str) -> None:
        self.setProperty("drop", value)
        self.style().unpolish(self)
        self.style().polish(self)


class WelcomePage(QScrollArea):
    """Calm start: the demo, an experiment of one's own or an earlier file, then earlier studies."""

    demo_asked = Signal()
    new_asked = Signal()
    preset_asked = Signal(str)
    open_asked = Signal()
    tour_asked = Signal()
    documentation_asked = Signal()
    files_dropped = Signal(list)
    run_chosen = Signal(str)

    def __init__(
        self, demo: StudyConfig | None, presets: Mapping[str, StudyConfig] | None = None, *, first: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        self._demo = demo
        self._presets = {name: study for name, study in (presets or {}).items() if study is not demo}
        self._is_wide: bool | None = None
        #: Title, newest run and state of the studies that have a button.
        self._listed: list[tuple[str, str, str]] = []
        self._study_buttons: list[StudyButton] = []
        self._demo_took: float | None = None
        self._device_report: DeviceReport | None = None
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Welcome")
        self._build(first=first)
        self._recolour()

    def _build(self, *, first: bool) -> None:
        self._inner = QWidget()
        self._inner.setMaximumWidth(1120)
        column = QVBoxLayout(self._inner)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(14)
        column.addStretch(1)
        column.addLayout(self._head())
        self._grid = QGridLayout()
        self._grid.setSpacing(14)
        self._ways = [self._demo_card(), self._own_card(), self._open_card()]
        self._below = [self._recent_card(), self._machine_card()]
        column.addLayout(self._grid)
        column.addLayout(self._links(first=first))
        column.addStretch(3)
        holder = QWidget()
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        row.addWidget(self._inner, 100)
        row.addStretch(1)
        # The least height is that at the width there is, not that of labels wrapped at their least width.
        holder.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        for label in self._inner.findChildren(WrappedLabel):
            label.setMinimumWidth(170)
        self.setWidget(holder)
        self._arrange(wide=True)

    def _head(self) -> QHBoxLayout:
        self._picture = QLabel()
        title = QLabel(program.NAME)
        title.setFont(_larger(title.font(), 1.9))
        about = WrappedLabel("muted")
        about.setText(program.PURPOSE)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        texts.addWidget(title)
        texts.addWidget(about)
        head = QHBoxLayout()
        head.setSpacing(16)
        head.addWidget(self._picture)
        head.addLayout(texts, 1)
        return head

    def _demo_card(self) -> QFrame:
        card, column = _card("Try the demo")
        self._demo_text = WrappedLabel()
        self.demo_button = QPushButton("Try the demo")
        self.demo_button.setProperty("main", "true")
        self.demo_button.setMinimumHeight(40)
        self.demo_button.clicked.connect(self.demo_asked)
        self._demo_note = WrappedLabel("muted")
        self._demo_text.setText(
            "Train robust networks on drawn letters, transfer them to digits, attack them, and watch where the "
            "robustness goes."
        )
        column.addWidget(self._demo_text)
        column.addStretch(1)
        column.addWidget(self._demo_note)
        column.addWidget(self.demo_button)
        card.setVisible(self._demo is not None)
        self._tell_demo()
        return card

    def _own_card(self) -> QFrame:
        card, column = _card("Your own experiment")
        self.preset = QuietCombo()
        self.preset.setAccessibleName("Preset to begin with")
        for name, study in self._presets.items():
            self.preset.addItem(study.title, name)
        self.preset.addItem("Empty: one run with the program's defaults", "")
        self.preset.setCurrentIndex(max(0, self.preset.findData(PAPER)))
        self.preset.currentIndexChanged.connect(self._tell_preset)
        self._preset_note = WrappedLabel("muted")
        self.new_button = QPushButton("Set it up")
        self.new_button.setMinimumHeight(40)
        self.new_button.clicked.connect(self._begin)
        text = WrappedLabel()
        text.setText("Begin with the paper's settings and change what you like.")
        column.addWidget(text)
        column.addWidget(self.preset)
        column.addWidget(self._preset_note)
        column.addStretch(1)
        column.addWidget(self.new_button)
        self._tell_preset()
        return card

    def _open_card(self) -> QFrame:
        card, column = _card("Open a file")
        self.open_button = QPushButton("Open a file…")
        self.open_button.setMinimumHeight(40)
        self.open_button.clicked.connect(self.open_asked)
        zone = DropZone()
        zone.dropped.connect(self.files_dropped)
        column.addWidget(zone, 1)
        column.addWidget(self.open_button)
        return card

    def _machine_card(self) -> QFrame:
        card, column = _card("This computer")
        self._device, self._tried = WrappedLabel(), WrappedLabel("muted")
        self._device.setText("Looking at the devices…")
        column.addWidget(self._device)
        column.addWidget(self._tried)
        column.addStretch(1)
        return card

    def _recent_card(self) -> QFrame:
        card, column = _card("Recent studies")
        self._recent = QVBoxLayout()
        self._recent.setSpacing(4)
        self._none = WrappedLabel("muted")
        self._none.setText("Studies of this workspace will be listed here; every one can be opened again.")
        column.addLayout(self._recent)
        column.addWidget(self._none)
        column.addStretch(1)
        return card

    def _links(self, *, first: bool) -> QHBoxLayout:
        self.tour_button, self.documentation_button = (
            QPushButton("Take the tour"),
            QPushButton("Documentation"),
        )
        self.tour_button.setToolTip("The parts of the window, one after the other; takes a minute")
        self.tour_button.clicked.connect(self.tour_asked)
        self.documentation_button.clicked.connect(self.documentation_asked)
        row = QHBoxLayout()
        row.setSpacing(8)
        if first:
            hint = QLabel("New here?")
            hint.setProperty("role", "muted")
            row.addWidget(hint)
        for button in (self.tour_button, self.documentation_button):
            row.addWidget(button)
        row.addStretch(1)
        return row

    def _arrange(self, *, wide: bool) -> None:
        """Put the cards beside each other where there is room, else below each other."""
        if wide == self._is_wide:
            return
        self._is_wide = wide
        for card in (*self._ways, *self._below):
            self._grid.removeWidget(card)
        recent, machine = self._below
        for place, card in enumerate(self._ways):
            self._grid.addWidget(card, 0 if wide else place, place if wide else 0)
        if wide:
            self._grid.addWidget(recent, 1, 0, 1, 2)
            self._grid.addWidget(machine, 1, 2)
        else:
            self._grid.addWidget(recent, 3, 0)
            self._grid.addWidget(machine, 4, 0)
        for place in range(3):
            self._grid.setColumnStretch(place, int(wide or place == 0))

    def show_device(self, device: DeviceReport) -> None:
        """Say in words what computes the runs, and why nothing else does."""
        self._device_report = device
        memory = f"{format_bytes(device.memory_gib * 2**30)} of memory"
        if device.chosen == "cpu":
            threads = words.count(device.threads, "thread")
            self._device.setText(f"<b>{device.name}</b><br>Runs use the processor: {threads}, {memory}.")
        else:
            precision = ", bfloat16 can be used" if device.bfloat16 else ""
            self._device.setText(
                f"<b>{device.name}</b><br>Runs use {words.choice(device.chosen)}: {memory}{precision}."
            )
        others = [
            f"{words.choice(name)}: {finding}" for name, finding in device.tried if name != device.chosen
        ]
        self._tried.setText("<br>".join(others))
        self._tell_demo()

    def show_runs(self, runs: list[RunInfo], read_only: str = "") -> None:
        """List the newest studies."""
        studies = recent_studies(runs)
        listed = [(study.title, study.runs[0].id, study.state()) for study in studies[:RECENT]]
        if listed != self._listed:
            self._listed = listed
            for old in self._study_buttons:
                self._recent.removeWidget(old)
                old.hide()
                old.deleteLater()
            self._study_buttons = [StudyButton(study) for study in studies[:RECENT]]
            for button in self._study_buttons:
                button.chosen.connect(self.run_chosen)
                self._recent.addWidget(button)
        self._none.setVisible(not studies)
        self.demo_button.setEnabled(not read_only)
        self.demo_button.setToolTip(read_only)
        self._demo_took = _time_of_demo(self._demo, studies)
        self._tell_demo()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Put the cards where there is room for them."""
        super().resizeEvent(event)
        self._arrange(wide=self.viewport().width() >= theme.px(WIDE))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of theme or scale."""
        super().changeEvent(event)
        changes = (QEvent.Type.PaletteChange, QEvent.Type.FontChange)
        if event.type() in changes and hasattr(self, "documentation_button"):
            self._recolour()

    def _begin(self) -> None:
        name = self.preset.currentData()
        if name:
            self.preset_asked.emit(name)
        else:
            self.new_asked.emit()

    def _tell_preset(self) -> None:
        study = self._presets.get(self.preset.currentData() or "")
        note = "" if study is None else _first_sentences(study.description)
        self._preset_note.setText(note or "A pre-training, a transfer and an attack with usual values.")

    def _tell_demo(self) -> None:
        """How long the demo takes: what it took here, else what is known of a processor like that of most laptops."""
        if self._demo is None:
            return
        if self._demo_took is not None:
            took = f"It took {words.duration(self._demo_took)} on this computer."
        else:
            took = "About four minutes on two cores of a processor"
            report = self._device_report
            took += "." if report is None else f"; this computer has {_computes(report)}."
        self._demo_note.setText(f"{words.count(len(self._demo.runs), 'run')}. {took} Nothing is downloaded.")

    def _recolour(self) -> None:
        side = theme.px(56)
        self._picture.setPixmap(theme.icon("app").pixmap(QSize(side, side)))
        self.demo_button.setIcon(theme.icon("play", theme.scheme().on_accent))
        self.new_button.setIcon(theme.icon("new"))
        self.open_button.setIcon(theme.icon("open"))
        self.tour_button.setIcon(theme.icon("info"))
        self.documentation_button.setIcon(theme.icon("text"))


def _card(title: str) -> tuple[QFrame, QVBoxLayout]:
    card = QFrame()
    card.setProperty("card", "true")
    column = QVBoxLayout(card)
    column.setContentsMargins(18, 14, 18, 16)
    column.setSpacing(8)
    label = QLabel(title)
    label.setFont(_larger(label.font(), 1.15))
    column.addWidget(label)
    return card, column


def _larger(font: QFont, share: float) -> QFont:
    font.setPointSizeF(font.pointSizeF() * share)
    font.setWeight(QFont.Weight.DemiBold)
    return font


def _first_sentences(description: str, most: int = 120) -> str:
    """As many whole sentences of a description as are short enough."""
    text = ""
    for sentence in " ".join(description.split()).split(". "):
        if text and len(text) + len(sentence) > most:
            break
        text += f"{sentence.rstrip('.')}. "
    return text.rstrip()


def _computes(report: DeviceReport) -> str:
    if report.chosen == "cpu":
        return words.count(report.threads, "thread")
    return f"a graphics card ({report.name})" if report.chosen == "cuda" else report.name


def _time_of_demo(demo: StudyConfig | None, studies: Sequence[RecentStudy]) -> float | None:
    """Seconds that the newest finished demo took, None if none has finished."""
    found = next((study for study in studies if demo is not None and study.title == demo.title), None)
    newest = found.runs[: len(demo.runs)] if found is not None and demo is not None else ()
    if not newest or any(run.state != "finished" for run in newest):
        return None
    return sum(run.seconds for run in newest)
