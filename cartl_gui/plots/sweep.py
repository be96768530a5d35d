"""Robust accuracy against the radius of the attack, or against its number of steps, with 95 % intervals."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QButtonGroup, QToolButton, QWidget

from cartl_gui import words
from cartl_gui.attack_view import clean_accuracy, epsilon_text
from cartl_gui.plots.base import Curve, CurveStyle, PlotPanel, Series
from cartl_gui.plots.error_bars import ErrorBars
from cartl_gui.plots.marks import Errors, Lines, Mark
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from engine.config import NORM_TITLES, AttackConfig, StageName
from engine.events import Interval, SweepResult

AXES = ("epsilon", "steps")
#: Least distance between two written numbers of steps, as a share of the axis.
LEAST_GAP = 0.07


class SweepPlot(PlotPanel):
    """The points of a sweep, the headline's among them. At radius 0 stands the clean accuracy."""

    empty_text = (
        "Robust accuracy at the other radii and numbers of steps appears here once the attack itself is done."
    )
    can_log = False

    def __init__(self, parent: QWidget | None = None) -> None:
        self._points: dict[str, tuple[SweepResult, ...]] = dict.fromkeys(AXES, ())
        self._clean: Interval | None = None
        self._config: AttackConfig | None = None
        self._bars: list[tuple[Curve, ErrorBars]] = []
        self._axis = "epsilon"
        super().__init__("Robust accuracy against epsilon", "epsilon", "accuracy (%)", parent=parent)
        self._clean_curve = self._add("clean", CurveStyle(0, symbol="o"))
        self._add("robust", CurveStyle(1, symbol="s"))
        self._clean_curve.item.setZValue(1)
        self.axis_buttons = self._make_buttons()
        self.recolour(self.colours)

    def _add(self, name: str, style: CurveStyle) -> Curve:
        curve = self.add_curve(name, style)
        bars = ErrorBars(curve)
        self.plot.addItem(bars)
        self._bars.append((curve, bars))
        return curve

    def _make_buttons(self) -> dict[str, QToolButton]:
        group, found = QButtonGroup(self), {}
        for place, name in enumerate(AXES):
            button = found[name] = QToolButton(self)
            button.setProperty("quiet", "true")
            button.setProperty("axis", name)
            button.setText(f"Against {name}")
            button.setCheckable(True)
            button.setChecked(name == self._axis)
            button.hide()
            group.addButton(button)
            self._head.insertWidget(1 + place, button)
        group.buttonClicked.connect(self._axis_clicked)
        return found

    @property
    def axis(self) -> str:
        """What robust accuracy is drawn against, "epsilon" or "steps"."""
        return self._axis

    def set_axis(self, name: str) -> None:
        """Draw against the radius ("epsilon") or the number of steps ("steps")."""
        self._axis = name
        self.axis_buttons[name].setChecked(True)
        self._draw()
        self._following, self._range = True, None
        self._after_draw()

    def consume(self, data: RunData, _stage: StageName) -> None:
        """Draw what is measured of a run's sweep."""
        config, points = data.info.config.attack, data.sweep()
        self._config, self._clean = config, clean_accuracy(data) if points else None
        steps = config.steps if config is not None and config.applies("steps") else 0
        epsilon = config.epsilon if config is not None else 0.0
        self._points = {
            "epsilon": tuple(point for point in points if point.steps == steps),
            "steps": tuple(point for point in points if point.epsilon == epsilon and point.steps),
        }
        both = all(len(found) > 1 for found in self._points.values())
        for button in self.axis_buttons.values():
            button.setVisible(both)
        if not both:
            self._axis = max(AXES, key=lambda name: len(self._points[name]))
        self._draw()

    def _draw(self) -> None:
        points, against_steps = self._points[self._axis], self._axis == "steps"
        is_pixels = self._config is None or self._config.norm == "linf"
        norm = NORM_TITLES[self._config.norm] if self._config else ""
        self.x_is_log = against_steps
        title = "steps" if against_steps else f"epsilon ({norm}, n/255)" if is_pixels else f"epsilon ({norm})"
        self.titles = (title, self.titles[1])
        self.plot.setLabel("bottom", title)
        self.title = f"Robust accuracy against {self._axis}"
        is_said = not self.axis_buttons[self._axis].isHidden()
        self._heading.setText("Robust accuracy" if is_said else self.title)
        self._heading.setToolTip(self.title)
        x = (
            np.log10([point.steps for point in points])
            if against_steps
            else np.array([point.epsilon * (255 if is_pixels else 1) for point in points])
        )
        shares = [point.robust_accuracy for point in points]
        clean = [self._clean] if self._clean is not None and points and not against_steps else []
        self._set(0, np.zeros(len(clean)), clean)
        self._set(1, np.concatenate([np.zeros(len(clean)), x]), [*clean, *shares])
        self.curves[0].entry.setVisible(bool(clean))
        self.plot.getAxis("bottom").setTicks(
            [_apart([(place, f"{point.steps:,}") for place, point in zip(x, points, strict=True)])]
            if against_steps
            else None
        )

    def _set(self, number: int, x: np.ndarray, shares: list[Interval]) -> None:
        curve, bars = self._bars[number]
        y, low, high = (
            100 * np.array([getattr(share, name) for share in shares], float)
            for name in ("value", "low", "high")
        )
        curve.set(x, y)
        # The clean point is the beginning of the robust curve too; it needs no second bar there.
        own = (
            slice(1, None) if number and self._clean is not None and self._axis == "epsilon" else slice(None)
        )
        bars.setData(x=x[own], y=y[own], top=(high - y)[own], bottom=(y - low)[own], beam=0)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._points, self._clean = dict.fromkeys(AXES, ()), None
        for _curve, bars in self._bars:
            bars.setData(x=np.empty(0), y=np.empty(0), top=np.empty(0), bottom=np.empty(0))

    def is_empty(self) -> bool:
        """Whether no point is measured yet."""
        return not any(self._points.values())

    def series(self) -> Series:
        """Radius (input units), steps, and the accuracy with its 95 % interval in percent, [T] each."""
        points = self._points[self._axis]
        rows = [(point.epsilon, float(point.steps or np.nan), point.robust_accuracy) for point in points]
        if self._clean is not None and points and self._axis == "epsilon":
            rows = [(0.0, np.nan, self._clean), *rows]
        return {
            "epsilon (input units)": np.array([epsilon for epsilon, _, _ in rows]),
            "steps": np.array([steps for _, steps, _ in rows]),
            "accuracy (%)": np.array([100 * share.value for _, _, share in rows]),
            "95 % low (%)": np.array([100 * share.low for _, _, share in rows]),
            "95 % high (%)": np.array([100 * share.high for _, _, share in rows]),
        }

    def marks(self) -> tuple[Mark, ...]:
        """Clean and robust accuracy with their intervals; at radius 0 the robust curve begins at the clean one."""
        if self.is_empty():
            return ()
        against_steps, is_pixels = self._axis == "steps", self._config is None or self._config.norm == "linf"
        x, y = "steps" if against_steps else "epsilon (input units)", "accuracy (%)"
        factor = 255.0 if is_pixels and not against_steps else 1.0
        found: list[Mark] = []
        for curve, where in ((self.curves[1], None), (self.curves[0], (x, 0.0))):
            if curve.has_values() and curve.entry.isChecked():
                ends = ("95 % low (%)", "95 % high (%)")
                found.append(Errors(x, y, curve.style, *ends, where=where, factor=factor))
                found.append(Lines(x, y, curve.name, curve.style, where=where, factor=factor))
        return tuple(found)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All points, 0 to 100 %."""
        x = self.curves[1].x if len(self.curves) > 1 else np.empty(0)
        if not len(x):
            return 0.0, 1.0, 0.0, 100.0
        margin = 0.06 * max(float(x[-1] - x[0]), 0.4)
        return float(x[0]) - margin, float(x[-1]) + margin, 0.0, 100.0

    def value_text(self, _value: float) -> str:
        """The last point is not the one that matters; the table has them all."""
        return ""

    def describe(self, position: float, _height: float) -> str:
        """The point that is nearest, with its interval."""
        x = self.curves[1].x
        if not len(x):
            return ""
        table, number = self.series(), int(np.argmin(np.abs(x - position)))
        epsilon, steps = table["epsilon (input units)"][number], table["steps"][number]
        value, low, high = (
            table[name][number] / 100 for name in ("accuracy (%)", "95 % low (%)", "95 % high (%)")
        )
        place = (
            f"{steps:.0f} steps"
            if self._axis == "steps"
            else f"epsilon {epsilon_text(self._config, epsilon)}"
        )
        return f"{place if epsilon else 'clean'}: {words.interval(Interval(value, low, high))}"

    def twin(self, scale: float = 1.0) -> PlotPanel:
        """Copy the plot as it is shown now, against the same axis."""
        copy = super().twin(scale)
        if isinstance(copy, SweepPlot) and copy.axis != self.axis:
            copy.set_axis(self.axis)
            (left, right), (bottom, top) = self.view.viewRange()
            copy.view.setRange(xRange=(left, right), yRange=(bottom, top), padding=0)
        return copy

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        for curve, bars in self._bars:
            pen = pg.mkColor(curve.style.colour_in(colours))
            pen.setAlpha(150)
            bars.setData(pen=pg.mkPen(pen, width=1.4 * self.scale))

    def _axis_clicked(self, button: QToolButton) -> None:
        self.set_axis(button.property("axis"))


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those ticks that are far enough from the one before to be read."""
    if not ticks:
        return []
    gap = LEAST_GAP * (ticks[-1][0] - ticks[0][0])
    kept = ticks[:1]
    for tick in ticks[1:]:
        if tick[0] - kept[-1][0] >= gap:
            kept.append(tick)
    return kept
