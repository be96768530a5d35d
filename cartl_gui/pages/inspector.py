"""The dock on the right: what the selected run is, in short, and what can be taken from it."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from cartl_gui import theme, words
from cartl_gui.run_data import RunData
from cartl_gui.widgets import WrappedLabel
from engine.config import STAGE_TITLES, DataConfig, FinetuningConfig, RunConfig, StageName


class WeightsButton(QPushButton):
    """Exports the weights after one stage."""

    asked = Signal(str)

    def __init__(self, stage: StageName, parent: QWidget | None = None) -> None:
        super().__init__(f"After {STAGE_TITLES[stage].lower()}…", parent)
        self._stage = stage
        self.setIcon(theme.icon("export"))
        self.setIconSize(QSize(14, 14))
        self.setToolTip("Write the network's weights as .safetensors or .pt")
        self.setAccessibleName(f"Export weights after {STAGE_TITLES[stage].lower()}")
        self.clicked.connect(self._ask)

    def _ask(self) -> None:
        self.asked.emit(self._stage)


class InspectorPanel(QScrollArea):
    """Summary of the selected run."""

    export_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setMinimumWidth(230)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Selected run")
        self._key: tuple[object, ...] = ()
        self._name = WrappedLabel("heading")
        self._reason = WrappedLabel()
        self._hint = WrappedLabel("muted")
        self._hint.setText("Settings, times and weights of the run you select appear here.")
        self._rows: list[tuple[QLabel, WrappedLabel]] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self._weights_title = QLabel("Weights")
        self._weights_title.setProperty("role", "heading")
        self._weights = QVBoxLayout()
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(10, 6, 10, 8)
        column.setSpacing(6)
        column.addWidget(self._name)
        column.addWidget(self._reason)
        column.addWidget(self._hint)
        column.addLayout(self._grid)
        column.addSpacing(4)
        column.addWidget(self._weights_title)
        column.addLayout(self._weights)
        column.addStretch(1)
        self.setWidget(inner)
        self.show_run(None)

    def show_run(self, data: RunData | None) -> None:
        """Show a run, or what will appear here."""
        self._hint.setVisible(data is None)
        for widget in (self._name, self._reason, self._weights_title):
            widget.setVisible(data is not None)
        if data is None:
            self._fill([])
            self._show_weights(())
            return
        info = data.info
        self._name.setText(info.name)
        self._reason.setText(info.reason)
        self._reason.setVisible(bool(info.reason))
        self._reason.setProperty("role", "error" if info.state == "failed" else "muted")
        self._reason.style().unpolish(self._reason)
        self._reason.style().polish(self._reason)
        facts = [
            ("State", words.STATE_WORDS[info.state]),
            ("Study", info.study),
            ("Created", words.clock(info.created)),
            ("Time", words.ending(info)),
            ("Device", info.device),
        ]
        if info.result is not None:
            facts += [
                ("Clean", words.interval(info.result.clean_accuracy)),
                ("Robust", words.interval(info.result.robust_accuracy)),
            ]
        self._fill([*facts, *config_facts(info.config), ("Id", info.id)])
        self._weights_title.setVisible(bool(data.weights))
        self._show_weights(data.weights)

    def _fill(self, facts: list[tuple[str, str]]) -> None:
        facts = [fact for fact in facts if fact[1]]
        while len(self._rows) < len(facts):
            label, value = QLabel(), WrappedLabel()
            label.setProperty("role", "muted")
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._grid.addWidget(label, len(self._rows), 0)
            self._grid.addWidget(value, len(self._rows), 1)
            self._rows.append((label, value))
        for row, (label, value) in enumerate(self._rows):
            label.setVisible(row < len(facts))
            value.setVisible(row < len(facts))
            if row < len(facts):
                label.setText(facts[row][0])
                value.setText(facts[row][1])

    def _show_weights(self, stages: tuple[StageName, ...]) -> None:
        if stages == self._key:
            return
        self._key = stages
        while (item := self._weights.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        for stage in stages:
            button = WeightsButton(stage)
            button.asked.connect(self.export_asked)
            self._weights.addWidget(button)


def config_facts(config: RunConfig) -> list[tuple[str, str]]:
    """The settings of a run in short: pairs of title and text."""
    facts = [
        ("Network", config.model.title if config.model else f"that of {config.start_from}"),
        ("Source", _data(config.source) if config.pretraining else ""),
        ("Target", _data(config.target) if config.finetuning else ""),
        ("Pre-training", words.pretraining(config)),
    ]
    if config.pretraining:
        facts.append(("", ""))
        facts.append(("Epochs", str(config.pretraining.epochs)))
    if config.finetuning:
        tuning = config.finetuning
        k = words.finetuned_blocks(config)
        parts = [words.transfer(config), *([f"k {k}"] if k else []), words.count(tuning.epochs, "epoch")]
        facts.append(("Transfer", ", ".join(parts)))
        facts.append(("Batch norm", _batch_norm(tuning)))
    if config.attack:
        facts.append(("Attack", config.attack.title))
    facts.append(("Seed", str(config.seed)))
    return facts


def _batch_norm(tuning: FinetuningConfig) -> str:
    """What stays as the source left it, in the words that fit the method."""
    if not tuning.applies("batch_norm"):
        return "frozen: all"
    policy = tuning.batch_norm
    whole = tuning.method in ("full", "lwf")
    kept = [
        name
        for name, on in (
            ("affine" if whole else "head affine", policy.freeze_affine),
            ("statistics" if whole else "head statistics", policy.keep_head_statistics),
            ("trunk statistics", policy.keep_trunk_statistics and not whole),
        )
        if on
    ]
    return "frozen: " + ", ".join(kept) if kept else "trained"


def _data(data: DataConfig | None) -> str:
    return words.choice(data.name).partition(" (")[0] if data else ""
