"""How the window looks: own light and dark palettes on Fusion, icons in those colours, and how large all of it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QByteArray, QObject, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QWidget

from cartl_gui.scaling import SCALE, ScaledStyle

#: Beside this package both in the source tree and where a wheel is installed.
ASSETS = Path(__file__).parents[1] / "assets"
ThemeChoice = Literal["system", "light", "dark"]
#: How large the window can be, as shares of the usual size.
SCALES = (1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One set of colours. `curves` are Okabe-Ito colours in an order that reads well on `base`."""

    name: str
    window: str
    base: str
    raised: str
    border: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    on_accent: str
    selection: str
    error: str
    warning: str
    good: str
    grid: str
    neutral: str
    curves: tuple[str, ...]


LIGHT = Scheme(
    name="light", window="#f3f4f6", base="#ffffff", raised="#ffffff", border="#d3d8df", text="#1b222a",
    muted="#55616e", accent="#0b5f9e", accent_hover="#0d70ba", on_accent="#ffffff", selection="#d6e6f5",
    error="#b3261e", warning="#8a5300", good="#156c43", grid="#e4e7eb", neutral="#828d99",
    curves=("#0072b2", "#d55e00", "#009e73", "#b0538a", "#a87400", "#3a86b8"),
)  # fmt: skip
DARK = Scheme(
    name="dark", window="#1d2025", base="#15181c", raised="#24282e", border="#3b424b", text="#e3e7ec",
    muted="#9ca8b5", accent="#5cacee", accent_hover="#7cbef4", on_accent="#0c1a26", selection="#28435c",
    error="#ff8f85", warning="#f0b45a", good="#68cf97", grid="#2b3037", neutral="#66717d",
    curves=("#56b4e9", "#f08a4b", "#26c99a", "#e39bc4", "#e6b93c", "#8fc9ff"),
)  # fmt: skip
#: Colours of exported figures: black on white whatever the window looks like.
PRINT = Scheme(
    name="print", window="#ffffff", base="#ffffff", raised="#ffffff", border="#000000", text="#000000",
    muted="#333333", accent="#0072b2", accent_hover="#0072b2", on_accent="#ffffff", selection="#d6e6f5",
    error="#b3261e", warning="#8a5300", good="#156c43", grid="#d9d9d9", neutral="#9a9a9a",
    curves=LIGHT.curves,
)  # fmt: skip


def scheme_of(palette: QPalette) -> Scheme:
    """The scheme that goes with a palette: dark if its window is darker than its text."""
    window = palette.color(QPalette.ColorRole.Window).lightness()
    return DARK if window < palette.color(QPalette.ColorRole.WindowText).lightness() else LIGHT


def scheme() -> Scheme:
    """The scheme in use, told from the application's palette."""
    return scheme_of(QGuiApplication.palette())


def scale() -> float:
    """How large the window is, as a share of the usual size."""
    application = QGuiApplication.instance()
    return float((application and application.property(SCALE)) or 1.0)


def px(length: float) -> int:
    """A length in pixels at the usual size, as it is now. For what is drawn or placed while the window is shown."""
    return round(length * scale())


def mark_scaled(widget: QWidget) -> None:
    """Note that a widget is given sizes that are those of the present scale already."""
    widget.setProperty(SCALE, scale())


def palette_of(colours: Scheme) -> QPalette:
    """Build the palette of a scheme."""
    palette = QPalette()
    role = QPalette.ColorRole
    for key, value in (
        (role.Window, colours.window),
        (role.WindowText, colours.text),
        (role.Base, colours.base),
        (role.AlternateBase, colours.window),
        (role.Text, colours.text),
        (role.Button, colours.raised),
        (role.ButtonText, colours.text),
        (role.ToolTipBase, colours.raised),
        (role.ToolTipText, colours.text),
        (role.PlaceholderText, colours.muted),
        (role.BrightText, colours.error),
        (role.Highlight, colours.accent),
        (role.HighlightedText, colours.on_accent),
        (role.Accent, colours.accent),
        (role.Link, colours.accent),
        (role.LinkVisited, colours.accent),
        (role.Light, colours.raised),
        (role.Midlight, colours.border),
        (role.Mid, colours.border),
        (role.Dark, colours.neutral),
        (role.Shadow, colours.border),
    ):
        palette.setColor(key, QColor(value))
    faint = QColor(colours.muted)
    faint.setAlpha(150)
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, key, faint)
    palette.setColor(QPalette.ColorGroup.Disabled, role.Highlight, QColor(colours.neutral))
    return palette


def style_sheet(colours: Scheme, size: float = 1.0) -> str:
    """What Fusion and the palette cannot say: cards, the main button, tabs, quiet buttons, error lines."""
    c = colours
    controls = (ASSETS / "controls").as_posix()
    text = f"""
    QToolTip {{ color: {c.text}; background: {c.raised}; border: 1px solid {c.border}; padding: 4px; }}
    QMainWindow::separator {{ background: {c.window}; width: 5px; height: 5px; }}
    QMainWindow::separator:hover {{ background: {c.selection}; }}
    QToolBar {{ background: {c.window}; border: none; border-bottom: 1px solid {c.border};
                spacing: 2px; padding: 4px 6px; }}
    QToolBar QToolButton {{ padding: 4px 8px; border-radius: 5px; border: 1px solid transparent; }}
    QToolBar QToolButton:hover {{ background: {c.selection}; }}
    QToolBar QToolButton:focus {{ border: 1px solid {c.accent}; }}
    QToolBar::separator {{ background: {c.border}; width: 1px; margin: 5px 6px; }}
    QStatusBar {{ border-top: 1px solid {c.border}; }}
    QStatusBar::item {{ border: none; }}
    QDockWidget {{ font-weight: 600; }}
    QDockWidget::title {{ background: {c.window}; padding: 7px 8px 5px 10px; }}
    QDockWidget > QWidget {{ font-weight: 400; }}
    QLineEdit {{ border: 1px solid {c.border}; border-radius: 4px; padding: 3px 5px; background: {c.base};
                 selection-background-color: {c.accent}; selection-color: {c.on_accent}; }}
    QLineEdit:focus {{ border: 1px solid {c.accent}; }}
    QLineEdit[flat="true"] {{ border: 1px solid transparent; background: transparent; font-weight: 600; }}
    QLineEdit[flat="true"]:hover {{ border: 1px solid {c.border}; }}
    QLineEdit[flat="true"]:focus {{ border: 1px solid {c.accent}; background: {c.base}; }}
    QComboBox {{ border: 1px solid {c.border}; border-radius: 4px; padding: 3px 5px; background: {c.raised};
                 min-height: 1.2em; }}
    QComboBox:hover {{ border-color: {c.neutral}; }}
    QComboBox:focus {{ border: 1px solid {c.accent}; }}
    QComboBox::drop-down {{ border: none; width: 20px; }}
    QComboBox::down-arrow {{ image: url("{controls}/{c.name}-down.svg"); width: 12px; height: 12px; }}
    QComboBox QAbstractItemView {{ background: {c.raised}; border: 1px solid {c.border}; padding: 2px;
                 selection-background-color: {c.selection}; selection-color: {c.text}; }}
    QCheckBox {{ spacing: 7px; }}
    QCheckBox::indicator, QTableView::indicator {{ width: 14px; height: 14px; border: 1px solid {c.neutral}; border-radius: 3px;
                 background: {c.base}; }}
    QCheckBox::indicator:hover, QCheckBox::indicator:focus {{ border: 1px solid {c.accent}; }}
    QCheckBox::indicator:checked, QTableView::indicator:checked {{ background: {c.accent}; border: 1px solid {c.accent};
                 image: url("{controls}/{c.name}-check.svg"); }}
    QCheckBox::indicator:checked:focus {{ border: 1px solid {c.text}; }}
    QCheckBox::indicator:disabled {{ background: {c.window}; border-color: {c.border}; }}
    QComboBox QLineEdit {{ border: none; padding: 0; background: transparent; }}
    QScrollBar:vertical {{ background: transparent; width: 12px; margin: 0; }}
    QScrollBar:horizontal {{ background: transparent; height: 12px; margin: 0; }}
    QAbstractScrollArea::corner {{ background: transparent; border: none; }}
    QScrollBar::handle {{ background: {c.border}; border-radius: 4px; margin: 2px; }}
    QScrollBar::handle:vertical {{ min-height: 28px; }}
    QScrollBar::handle:horizontal {{ min-width: 28px; }}
    QScrollBar::handle:hover {{ background: {c.neutral}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QTabWidget::pane {{ border: none; border-top: 1px solid {c.border}; }}
    QTabBar {{ qproperty-drawBase: 0; }}
    QTabBar::tab {{ padding: 7px 14px 6px 14px; border: none; border-bottom: 2px solid transparent;
                    color: {c.muted}; background: transparent; }}
    QTabBar::tab:selected {{ color: {c.text}; border-bottom: 2px solid {c.accent}; }}
    QTabBar::tab:hover:!selected {{ color: {c.text}; background: {c.selection}; }}
    QTabBar::tab:focus {{ color: {c.accent}; }}
    QHeaderView::section {{ background: {c.window}; color: {c.muted}; border: none;
                            border-bottom: 1px solid {c.border}; padding: 4px 6px; }}
    QTableView {{ border: 1px solid {c.border}; border-radius: 4px; gridline-color: {c.grid};
                  selection-background-color: {c.selection}; selection-color: {c.text}; }}
    QTableView[plain="true"] {{ border: none; background: {c.raised}; }}
    QTableView::item {{ padding: 0 6px; }}
    QPlainTextEdit, QTextBrowser {{ border: 1px solid {c.border}; border-radius: 4px; }}
    QListWidget {{ border: 1px solid {c.border}; border-radius: 4px; padding: 2px; outline: none;
                   selection-background-color: {c.selection}; selection-color: {c.text}; }}
    QListWidget::item {{ padding: 3px 4px; }}
    QListWidget:focus, QTextBrowser:focus {{ border: 1px solid {c.accent}; }}
    QFrame[card="true"] {{ background: {c.raised}; border: 1px solid {c.border}; border-radius: 8px; }}
    QFrame[warning="true"] {{ background: {c.window}; border: none; border-left: 3px solid {c.warning};
                border-radius: 4px; }}
    QFrame[notice="info"] {{ background: {c.raised}; border: none; border-bottom: 1px solid {c.accent}; }}
    QFrame[notice="warning"] {{ background: {c.raised}; border: none; border-bottom: 1px solid {c.warning}; }}
    QFrame[notice="error"] {{ background: {c.raised}; border: none; border-bottom: 1px solid {c.error}; }}
    QFrame[drop="true"] {{ border: 1.5px dashed {c.neutral}; border-radius: 8px; background: transparent; }}
    QFrame[drop="active"] {{ border: 2px dashed {c.accent}; border-radius: 8px; background: {c.selection}; }}
    QLabel[role="muted"] {{ color: {c.muted}; }}
    QLabel[role="hint"] {{ color: {c.muted}; font-size: 8.5pt; }}
    QLabel[role="error"] {{ color: {c.error}; }}
    QLabel[role="good"] {{ color: {c.good}; }}
    QLabel[role="heading"] {{ font-weight: 600; }}
    QLabel[role="chip"] {{ color: {c.text}; background: {c.selection}; border-radius: 8px; padding: 1px 8px; }}
    QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
    QPushButton {{ padding: 5px 12px; border: 1px solid {c.border}; border-radius: 5px; background: {c.raised}; }}
    QPushButton:hover {{ border-color: {c.accent}; }}
    QPushButton:focus {{ border: 1px solid {c.accent}; }}
    QPushButton:pressed, QPushButton:checked {{ background: {c.selection}; }}
    QPushButton:disabled {{ color: {c.neutral}; }}
    QPushButton[main="true"] {{ color: {c.on_accent}; background: {c.accent}; border: 1px solid {c.accent};
                                font-weight: 600; padding: 7px 16px; }}
    QPushButton[main="true"]:hover, QPushButton[main="true"]:focus {{ background: {c.accent_hover};
                                border: 1px solid {c.text}; }}
    QPushButton[main="true"]:disabled {{ background: {c.neutral}; border-color: {c.neutral};
                                color: {c.window}; }}
    QToolButton[quiet="true"] {{ border: 1px solid transparent; border-radius: 4px; padding: 2px;
                                 background: transparent; }}
    QToolButton[quiet="true"]:hover {{ background: {c.selection}; }}
    QToolButton[quiet="true"]:checked {{ background: {c.selection}; }}
    QToolButton[quiet="true"]:focus {{ border: 1px solid {c.accent}; }}
    QToolButton[quiet="true"]::menu-indicator {{ image: none; width: 0; }}
    QPushButton[link="true"] {{ color: {c.accent}; background: transparent; border: 1px solid transparent;
                                border-radius: 4px; padding: 1px 3px; text-align: left; }}
    QPushButton[link="true"]:hover {{ color: {c.accent_hover}; text-decoration: underline; }}
    QPushButton[link="true"]:focus {{ border: 1px solid {c.accent}; }}
    QToolButton[legend="true"] {{ border: 1px solid transparent; border-radius: 4px; padding: 1px 3px;
                                  background: transparent; }}
    QToolButton[legend="true"]:hover {{ background: {c.selection}; }}
    QToolButton[legend="true"]:focus {{ border: 1px solid {c.accent}; }}
    QToolButton[section="true"] {{ border: none; border-radius: 5px; padding: 6px 4px; text-align: left;
                                   font-weight: 600; background: transparent; }}
    QToolButton[section="true"]:hover {{ background: {c.selection}; }}
    QToolButton[section="true"]:focus {{ background: {c.selection}; }}
    QLineEdit[bad="true"] {{ border: 1px solid {c.error}; }}
    QProgressBar {{ border: 1px solid {c.border}; border-radius: 4px; text-align: center;
                    background: {c.base}; }}
    QProgressBar::chunk {{ background: {c.accent}; border-radius: 3px; }}
    QScrollArea {{ border: none; background: transparent; }}
    QWidget#clear {{ background: transparent; }}
    """
    return text if size == 1.0 else _LENGTH.sub(lambda found: _scaled_length(found, size), text)


_LENGTH = re.compile(r"\b(\d+(?:\.\d+)?)(px|pt)\b")


def _scaled_length(found: re.Match[str], size: float) -> str:
    length = float(found[1]) * size
    if found[2] == "pt":
        return f"{length:g}pt"
    return f"{max(1, round(length)) if length else 0}px"


@lru_cache(maxsize=256)
def _svg(name: str) -> str:
    path = ASSETS / "app.svg" if name == "app" else ASSETS / "icons" / f"{name}.svg"
    return path.read_text(encoding="utf-8")


def _picture(svg: str, colour: str, size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(svg.replace("currentColor", colour).encode())).render(
        painter, QRectF(0, 0, size, size)
    )
    painter.end()
    return pixmap


@lru_cache(maxsize=512)
def _icon(name: str, colour: str, faint: str) -> QIcon:
    icon, svg = QIcon(), _svg(name)
    for size in (16, 20, 24, 32, 48, 64):
        icon.addPixmap(_picture(svg, colour, size))
        if name != "app":
            icon.addPixmap(_picture(svg, faint, size), QIcon.Mode.Disabled)
    return icon


def icon(name: str, colour: str | None = None) -> QIcon:
    """One of the program's icons in the colour of the text, or in `colour`."""
    colours = scheme()
    return _icon(name, colour or colours.text, colours.neutral)


class Theme(QObject):
    """Applies the chosen theme and scale to the application, and follows the desktop if asked to."""

    def __init__(self, application: QApplication, choice: ThemeChoice = "system", size: float = 1.0) -> None:
        super().__init__(application)
        self._application = application
        self._choice: ThemeChoice = choice
        self._usual = application.font().pointSizeF() / scale()
        application.setStyle("Fusion")
        application.styleHints().colorSchemeChanged.connect(self._follow_desktop)
        self.set_scale(size)

    @property
    def choice(self) -> ThemeChoice:
        """What the user chose."""
        return self._choice

    def apply(self, choice: ThemeChoice) -> None:
        """Put on the light or the dark theme, or the desktop's."""
        self._choice = choice
        hints = self._application.styleHints()
        wanted = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}
        if choice == "system":
            hints.unsetColorScheme()
        else:
            hints.setColorScheme(wanted[choice])
        dark = choice == "dark" or (choice == "system" and hints.colorScheme() == Qt.ColorScheme.Dark)
        colours = DARK if dark else LIGHT
        self._application.setPalette(palette_of(colours))
        self._take_sheet_off()
        self._application.setStyleSheet(style_sheet(colours, scale()))

    def set_scale(self, new: float) -> None:
        """Show everything `new` times as large as usual: fonts, icons, rows, gaps and plots."""
        ratio = new / scale()
        own = [
            (widget, widget.font())
            for widget in self._application.allWidgets()
            if widget.testAttribute(Qt.WidgetAttribute.WA_SetFont)
        ]
        self._application.setProperty(SCALE, new)
        font = self._application.font()
        font.setPointSizeF(self._usual * new)
        self._application.setFont(font)
        self._take_sheet_off()
        style = self._application.style()
        if isinstance(style, ScaledStyle):
            style.scale = new
        elif new != 1.0 or ratio != 1.0:  # at the usual size from the start, Qt's own style is faster
            self._application.setStyle(ScaledStyle(new))
        self.apply(self._choice)
        for widget, before in own:
            if before.pointSizeF() > 0:
                before.setPointSizeF(before.pointSizeF() * ratio)
                widget.setFont(before)

    def _take_sheet_off(self) -> None:
        """Before it changes: in place of another sheet, Qt would polish each widget once for every widget around it."""
        self._application.setStyleSheet("")

    def _follow_desktop(self, _scheme: Qt.ColorScheme) -> None:
        if self._choice == "system":
            self.apply("system")
