"""The dock on the right: what the selected run is, what a user wrote on it, and what can be taken from it.

Of several selected runs it tells in which settings they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.models.difference import short_titles
from cartl_gui.pages.config_difference import ConfigDifference
from cartl_gui.pages.label_editors import LabelEditors
from cartl_gui.pages.run_facts import run_facts, unusual
from cartl_gui.run_data import RunData, machine_facts
from cartl_gui.widgets import ElidedButton, WrappedLabel
from engine.config import STAGE_TITLES, StageName, StudyConfig
from engine.events import RESUMABLE, RunInfo

#: How many runs that start from a run are listed by name.
MOST_CHILDREN = 12
#: Commands that help a run which ended too early: their ids, what the button says, and its picture.
_HELP = (
    ("resume", "Resume", "resume"),
    ("retry_half", "Retry with half the batch", "repeat"),
    ("copy_error", "Copy error", "copy"),
)


class Facts(QGridLayout):
    """Pairs of title and text in two columns; their labels are made once."""

    def __init__(self) -> None:
        super().__init__()
        self.setHorizontalSpacing(10)
        self.setVerticalSpacing(3)
        self.setColumnStretch(1, 1)
        self._rows: list[tuple[QLabel, WrappedLabel]] = []

    def show_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Show these; those without a text are left out."""
        facts = [fact for fact in facts if fact[1]]
        while len(self._rows) < len(facts):
            label, value = QLabel(), WrappedLabel()
            label.setProperty("role", "muted")
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self.addWidget(label, len(self._rows), 0)
            self.addWidget(value, len(self._rows), 1)
            self._rows.append((label, value))
        for row, (label, value) in enumerate(self._rows):
            label.setVisible(row < len(facts))
            value.setVisible(row < len(facts))
            if row < len(facts):
                label.setText(facts[row][0])
                value.setText(facts[row][1])

    def texts(self) -> dict[str, str]:
        """What is shown, by title."""
        return {label.text(): value.text() for label, value in self._rows if not label.isHidden()}


class Section(QWidget):
    """A heading and what stands under it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = WrappedLabel("heading")
        self.heading.setText(title)
        self.inner = QVBoxLayout()
        self.inner.setSpacing(3)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.heading)
        column.addLayout(self.inner)

    def fill(self, widgets: Sequence[QWidget]) -> None:
        """Put these in place of those there."""
        while (item := self.inner.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for widget in widgets:
            self.inner.addWidget(widget)
        self.setVisible(bool(widgets))


class WeightsButton(QPushButton):
    """Exports the weights after one stage."""

    asked = Signal(str)

    def __init__(self, stage: StageName, sha256: str, parent: QWidget | None = None) -> None:
        super().__init__(f"After {STAGE_TITLES[stage].lower()}…", parent)
        self._stage = stage
        self.setIcon(theme.icon("export"))
        self.setIconSize(QSize(14, 14))
        told = f"\nSHA-256 {sha256}" if sha256 else ""
        self.setToolTip(f"Write the network's weights as .safetensors or .pt{told}")
        self.setAccessibleName(f"Export weights after {STAGE_TITLES[stage].lower()}")
        self.clicked.connect(self._ask)

    def _ask(self) -> None:
        self.asked.emit(self._stage)


class RunLink(ElidedButton):
    """Shows another run."""

    asked = Signal(str)

    def __init__(self, info: RunInfo) -> None:
        super().__init__(f"{info.title}, {words.STATE_WORDS[info.state]}")
        self._run_id = info.id
        self.setProperty("link", True)
        self.setAccessibleName(f"Show run {info.title}")
        self.setToolTip(f"Show {info.title}, {words.STATE_WORDS[info.state]}\n{info.id}")
        self.clicked.connect(self._ask)

    def _ask(self) -> None:
        self.asked.emit(self._run_id)


class InspectorPanel(QScrollArea):
    """The selected run, or in what several selected runs differ."""

    #: Stage after which weights are to be exported.
    export_asked = Signal(str)
    #: Id of the run and its new label.
    label_changed = Signal(str, object)
    run_asked = Signal(str)
    #: Id of a command that helps the run.
    command_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setMinimumWidth(230)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Selected run")
        self._known: Mapping[str, RunInfo] = {}
        self._presets: Mapping[str, StudyConfig] = {}
        self._can_write = True
        self._data: RunData | None = None
        self._chosen: list[RunInfo] = []
        self._drawn: dict[str, object] = {}
        self._build()
        self.show_run(None)

    def _build(self) -> None:
        self._hint = WrappedLabel("muted")
        self._hint.setText("Settings, times and weights of the run you select appear here.")
        self.label = LabelEditors()
        self.label.changed.connect(self.label_changed)
        self._state = QLabel()
        self._state.setProperty("role", "chip")
        self._reason = WrappedLabel()
        self._reason.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.help: dict[str, QPushButton] = {}
        for command, text, picture in _HELP:
            button = self.help[command] = QPushButton(theme.icon(picture), text)
            button.setObjectName(command)
            button.clicked.connect(self._help_out)
        self.facts, self.machine = Facts(), Facts()
        self._machine = Section("Machine while it ran")
        self._machine.inner.addLayout(self.machine)
        self._weights, self._before = Section("Weights"), Section("Starts from")
        self._after, self._unusual = Section("Others start from it"), Section("")
        self.unusual = Facts()
        self._unusual.inner.addLayout(self.unusual)
        self._one = QWidget()
        column = QVBoxLayout(self._one)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.label)
        for row in ([self._state], [self.help["resume"], self.help["copy_error"]], [self.help["retry_half"]]):
            line = QHBoxLayout()
            for widget in row:
                line.addWidget(widget)
            line.addStretch(1)
            self.label.below_title.addLayout(line)
        self.label.below_title.insertWidget(1, self._reason)
        column.addLayout(self.facts)
        for section in (self._unusual, self._before, self._after, self._weights, self._machine):
            column.addWidget(section)
        column.addStretch(1)
        self.difference = ConfigDifference()
        inner = QWidget()
        outer = QVBoxLayout(inner)
        outer.setContentsMargins(10, 6, 10, 8)
        outer.addWidget(self._hint)
        outer.addWidget(self._one)
        outer.addWidget(self.difference, 1)
        self._spring = QWidget()
        outer.addWidget(self._spring, 1)
        self.setWidget(inner)

    def know(self, runs: Mapping[str, RunInfo], presets: Mapping[str, StudyConfig]) -> None:
        """Look up other runs in `runs`, which may grow, and what is usual in `presets`."""
        self._known, self._presets = runs, presets

    def set_can_write(self, on: bool) -> None:
        """Whether anything may be written on runs."""
        self._can_write = on
        self._show()

    def show_run(self, data: RunData | None) -> None:
        """Show a run, or what will appear here."""
        self._data = data
        self._show()

    def forget(self, run_ids: Iterable[str]) -> None:
        """Show nothing of runs that are gone."""
        if self._data is not None and self._data.info.id in set(run_ids):
            self.show_run(None)

    def show_selection(self, run_ids: Sequence[str]) -> None:
        """Tell in what several runs differ; of one or none, show what `show_run` said."""
        self._chosen = [self._known[run_id] for run_id in run_ids if run_id in self._known]
        self._show()

    def edit_notes(self) -> None:
        """Put the cursor into the notes of the run that is shown."""
        self.ensureWidgetVisible(self.label.notes)
        self.label.edit_notes()

    def _show(self) -> None:
        several, data = len(self._chosen) > 1, self._data
        self.difference.setVisible(several)
        self._one.setVisible(data is not None and not several)
        self._hint.setVisible(data is None and not several)
        self._spring.setVisible(data is None and not several)
        if several:
            self.difference.show_runs(self._chosen, self._known)
        elif data is not None:
            self._show_one(data)

    def _show_one(self, data: RunData) -> None:
        info = data.info
        if self._is_new("label", (info.id, info.title, info.label, self._can_write)):
            tags = sorted({tag for run in self._known.values() for tag in run.label.tags}, key=str.casefold)
            self.label.setVisible(not data.is_inspection)
            self.label.show_run(info, tags, can_write=self._can_write)
        self._show_state(info)
        self.facts.show_facts(run_facts(info))
        facts = machine_facts(data)
        self.machine.show_facts(facts)
        self._machine.setVisible(bool(facts))
        if self._is_new("weights", (info.id, data.weights, dict(data.weights_sha256))):
            self._show_weights(data)
        related = [run for run in self._known.values() if run.parent == info.id]
        parent = self._known.get(info.parent)
        told = [(run.id, run.title, run.state) for run in (*related, *([parent] if parent else []))]
        if self._is_new("related", (info.id, told)):
            self._show_related([parent] if parent else [], related)
        if self._is_new("unusual", info.id):
            self._show_unusual(info)

    def _is_new(self, what: str, key: object) -> bool:
        """Whether a part has to be drawn anew, because it depends on something that changed."""
        before, self._drawn[what] = self._drawn.get(what), key
        return before != key

    def _show_state(self, info: RunInfo) -> None:
        self._state.setText(words.STATE_WORDS[info.state])
        self._state.setAccessibleName(f"State: {words.STATE_WORDS[info.state]}")
        self._reason.setText(info.reason)
        self._reason.setVisible(bool(info.reason))
        if self._is_new("failed", info.state == "failed"):
            self._reason.setProperty("role", "error" if info.state == "failed" else "muted")
            self._reason.style().unpolish(self._reason)
            self._reason.style().polish(self._reason)
        shown = {
            "resume": self._can_write and info.state in RESUMABLE,
            "retry_half": self._can_write and info.cause == "memory",
            "copy_error": info.state == "failed" and bool(info.reason),
        }
        for command, button in self.help.items():
            button.setVisible(shown[command])

    def _show_weights(self, data: RunData) -> None:
        widgets: list[QWidget] = []
        for stage in data.weights:
            sha256 = data.weights_sha256.get(stage, "")
            button = WeightsButton(stage, sha256)
            button.asked.connect(self.export_asked)
            widgets.append(button)
            if sha256:
                told = WrappedLabel("hint")
                told.setText(f"SHA-256 {sha256[:16]}…")
                told.setToolTip(sha256)
                told.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                widgets.append(told)
        self._weights.fill(widgets)

    def _show_related(self, before: Sequence[RunInfo], after: Sequence[RunInfo]) -> None:
        for section, runs in ((self._before, before), (self._after, after)):
            links: list[QWidget] = []
            for info in runs[:MOST_CHILDREN]:
                link = RunLink(info)
                link.asked.connect(self.run_asked)
                links.append(link)
            if len(runs) > MOST_CHILDREN:
                more = QLabel(f"and {len(runs) - MOST_CHILDREN:,} more")
                more.setProperty("role", "muted")
                links.append(more)
            section.fill(links)

    def _show_unusual(self, info: RunInfo) -> None:
        usual, found = unusual(info, self._presets)
        self._unusual.heading.setText(f"Differs from {usual}" if found else f"As in {usual}")
        titles = short_titles([row.place for row in found])
        self.unusual.show_facts(
            [(titles[row.place], f"{row.values[0]}, not {row.values[1]}") for row in found]
        )

    def _help_out(self) -> None:
        self.command_asked.emit(self.sender().objectName())
