"""Beside the trade-off: robust accuracy of two methods at equal clean accuracy, and what the study itself asks."""

from __future__ import annotations

import math
from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import ComparisonConfig, ComparisonMeasure
from engine.report.page import VERDICTS
from engine.results import MEASURED, Comparison, Evaluation, Results, compare

MEASURE: ComparisonMeasure = "robust_at_equal_clean"
#: Notes shown below an answer; the others are in its tooltip.
MAX_NOTES = 1


class ComparePanel(QFrame):
    """Two lines to choose, their difference, and below it the answers to the study's questions."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.setMinimumWidth(230)
        self._evaluation: Evaluation | None = None
        self.answer: Comparison | None = None
        self.answers: tuple[Comparison, ...] = ()
        heading = QLabel("Compare at equal clean accuracy")
        heading.setProperty("role", "heading")
        heading.setToolTip(_tip(MEASURED[MEASURE]))
        self.other, self.baseline = QuietCombo(), QuietCombo()
        pick = QGridLayout()
        pick.setContentsMargins(0, 0, 0, 0)
        pick.setVerticalSpacing(3)
        for row, (text, combo) in enumerate((("Method", self.other), ("against", self.baseline))):
            label = QLabel(text)
            label.setBuddy(combo)
            combo.setAccessibleName(f"Compare: {text}")
            combo.currentIndexChanged.connect(self._compare)
            pick.addWidget(label, row, 0)
            pick.addWidget(combo, row, 1)
        pick.setColumnStretch(1, 1)
        self.figure = QLabel()
        font = self.figure.font()
        font.setPointSizeF(font.pointSizeF() * 1.35)
        font.setBold(True)
        self.figure.setFont(font)
        self.details = WrappedLabel("muted")
        self._asked_title = QLabel("What the study asks")
        self._asked_title.setProperty("role", "heading")
        self._asked = QVBoxLayout()
        self._asked.setSpacing(8)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(10, 6, 10, 8)
        column.setSpacing(4)
        column.addWidget(heading)
        column.addLayout(pick)
        column.addWidget(self.figure)
        column.addWidget(self.details)
        column.addSpacing(4)
        column.addWidget(self._asked_title)
        column.addLayout(self._asked)
        column.addStretch(1)
        inner.setObjectName("clear")
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setAccessibleName("Comparisons")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(1, 1, 1, 1)
        outer.addWidget(scroll)
        self.show_results(None, None)

    def show_results(self, evaluation: Evaluation | None, results: Results | None) -> None:
        """Offer the lines of an evaluation and show the answers to the study's questions."""
        self._evaluation = evaluation
        names = [line.name for line in evaluation.lines] if evaluation else []
        for number, combo in enumerate((self.baseline, self.other)):
            if [combo.itemText(index) for index in range(combo.count())] == names:
                continue
            kept = combo.currentText()
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(names)
            place = names.index(kept) if kept in names else min(number, len(names) - 1)
            combo.setCurrentIndex(place)
            combo.blockSignals(False)
        for combo in (self.baseline, self.other):
            combo.setEnabled(len(names) > 1)
        self._compare()
        answers = results.comparisons if results else ()
        if answers != self.answers:
            self.answers = answers
            self._show_answers()
        self._asked_title.setVisible(bool(answers))

    def _compare(self) -> None:
        names = self.baseline.currentText(), self.other.currentText()
        self.answer = None
        if self._evaluation is None or len(self._evaluation.lines) < 2:
            self._tell("", "Two methods can be compared here once both have results.")
            return
        if names[0] == names[1]:
            self._tell("", "Choose two different methods.")
            return
        config = ComparisonConfig(baseline=names[0][:80], other=names[1][:80], measure=MEASURE)
        (self.answer,) = compare([self._evaluation], config)
        self._tell(figure_of(self.answer), "\n".join(details_of(self.answer)))
        self.details.setToolTip(_tip(_how(self.answer)))
        self.figure.setToolTip(_tip(_how(self.answer)))

    def _tell(self, figure: str, details: str) -> None:
        self.figure.setText(figure)
        self.figure.setVisible(bool(figure))
        self.details.setText(details)

    def _show_answers(self) -> None:
        while (item := self._asked.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for answer in self.answers:
            self._asked.addWidget(AnswerLabel(answer))


class AnswerLabel(QWidget):
    """One question of the study: verdict, claim, difference."""

    def __init__(self, answer: Comparison, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip(_tip(_how(answer)))
        claim = WrappedLabel()
        claim.setText(answer.title)
        verdict = WrappedLabel({"shown": "good", "opposite": "error"}.get(answer.verdict, "muted"))
        verdict.setText(f"{figure_of(answer)}  {VERDICTS[answer.verdict]}")
        more = WrappedLabel("muted")
        more.setText("\n".join(details_of(answer)))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(1)
        for label in (claim, verdict, more):
            column.addWidget(label)


def figure_of(answer: Comparison) -> str:
    """The difference with its interval: "+4.2 points (+1.0 – +7.4)"."""
    difference = answer.difference
    if not math.isfinite(difference.mean):
        return "no figure yet"
    text = f"{words.points(difference.mean)} points"
    if math.isfinite(difference.low):
        text += f" ({words.points(difference.low)} to {words.points(difference.high)})"
    return text


def details_of(answer: Comparison) -> list[str]:
    """What the difference rests on: seeds, clean accuracy at which it was taken, what was missing."""
    lines = []
    if answer.pairs:
        seeds = words.count(len(answer.pairs), "seed")
        over = "95 % interval over seeds" if answer.difference.over == "seeds" else "no interval"
        lines.append(f"{seeds}, {over}")
        if answer.clean_range:
            lines.append(f"at {_percents(answer.clean_range)} clean accuracy")
    lines += answer.notes[:MAX_NOTES]
    more = len(answer.notes) - MAX_NOTES
    return [*lines, f"and {words.count(more, 'more note')}"] if more > 0 else lines


def _how(answer: Comparison) -> str:
    text = f"{answer.config.other} minus {answer.config.baseline}: {answer.how}."
    pairs = "; ".join(
        f"seed {pair.seed}: {100 * pair.other:.1f} against {100 * pair.baseline:.1f} %"
        + (f" at {_percents(pair.clean)} clean" if pair.clean else "")
        for pair in answer.pairs
    )
    return " ".join(filter(None, (text, f"{pairs}." if pairs else "", "; ".join(answer.notes))))


def _percents(ends: tuple[float, float]) -> str:
    return " – ".join(dict.fromkeys(f"{100 * end:.1f}" for end in ends)) + " %"


def _tip(text: str) -> str:
    """A tooltip that wraps."""
    return f"<p>{escape(text[:1].upper() + text[1:])}</p>"
