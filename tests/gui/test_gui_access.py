"""Names, keys and contrast: everything can be found, reached and read without a mouse and with weak eyes."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QPoint
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from cartl_gui.main_window import MainWindow
from cartl_gui.theme import DARK, LIGHT, Scheme, Theme, palette_of
from tests.gui.controls import (
    contrast,
    controls,
    doubles,
    faint_texts,
    name_of,
    pages_of,
    path_of,
    unreached,
    walk,
)
from tests.gui.dialogs import OPENED_BY, dialog_classes, look_at

#: Least contrast of texts, and of graphics that tell something (WCAG 2.2, 1.4.3 and 1.4.11).
TEXT, GRAPHICS = 4.5, 3.0


def nothing_in(found: list[str]) -> None:
    """Fail with all that was found, a line each."""
    assert not found, "\n".join(["", *found])


# names --------------------------------------------------------------------------------------------------
def assert_named(root: QWidget) -> None:
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    used = controls(root, by_mouse=True)
    nothing_in([f"no name: {path_of(widget)}" for widget in used if not name_of(widget)])
    nothing_in(
        [
            f"neither text nor tooltip: {path_of(button)}"
            for button in used
            if isinstance(button, QAbstractButton)
            and not button.isHidden()
            and not button.text()
            and not button.toolTip()
        ]
    )
    nothing_in(doubles(root))


def test_that_every_control_of_the_window_has_a_name_of_its_own(finished_window: MainWindow) -> None:
    assert len(controls(finished_window)) > 100
    assert_named(finished_window)


# keys ---------------------------------------------------------------------------------------------------
def test_that_tab_comes_to_every_control_of_every_page(finished_window: MainWindow) -> None:
    missed: list[str] = []
    for title, page in pages_of(finished_window):
        finished_window.tabs.tabBar().setFocus()
        met = walk(finished_window)
        parts = [page, finished_window.toolbar, *finished_window.layout_of_docks.docks.values()]
        missed += [f"{title}: {place}" for part in parts for place in unreached(part, met)]
    nothing_in(missed)


def test_that_tab_goes_through_the_settings_from_top_to_bottom(finished_window: MainWindow) -> None:
    form = finished_window.setup.form
    heights = [
        widget.mapTo(form, QPoint(0, widget.height() // 2)).y()
        for widget in walk(finished_window)
        if form.isAncestorOf(widget)
    ]
    assert len(heights) > 5
    back = [one - other for one, other in itertools.pairwise(heights) if one - other > 20]
    assert back == [], f"the order of the form jumps up by so many pixels: {back}"


def test_that_a_control_that_keeps_tab_or_is_left_out_is_noticed(qtbot: QtBot) -> None:
    class Trap(QLineEdit):
        def focusNextPrevChild(self, _forward: bool) -> bool:  # noqa: N802
            return True

    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    edits = [QLineEdit(), QLineEdit(), QLineEdit()]
    for edit in edits:
        column.addWidget(edit)
    page.show()
    met = walk(page)
    assert met == edits
    assert unreached(page, met) == []
    assert len(unreached(page, met[:1])) == 2
    column.addWidget(Trap())
    QApplication.processEvents()
    with pytest.raises(AssertionError, match="Tab is caught in Trap"):
        walk(page)


# dialogs ------------------------------------------------------------------------------------------------
def test_that_every_dialog_is_known_with_the_command_that_opens_it() -> None:
    assert {kind.__name__ for kind in dialog_classes()} == set(OPENED_BY)


@pytest.mark.parametrize("kind", list(dialog_classes()), ids=lambda kind: kind.__name__)
def test_that_a_dialog_is_used_without_a_mouse_and_read_with_weak_eyes(
    finished_window: MainWindow, kind: type[QWidget]
) -> None:
    def look(dialog: QWidget) -> None:
        assert controls(dialog)
        assert_named(dialog)
        nothing_in(unreached(dialog, walk(dialog)))
        nothing_in(list(faint_texts(dialog, TEXT)))

    look_at(kind, finished_window, look)


# contrast -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=lambda colours: colours.name)
def test_that_every_colour_stands_out_from_its_ground(colours: Scheme) -> None:
    grounds = ("window", "base", "raised")
    texts = ("text", "muted", "error", "warning", "good", "accent")
    pairs = [(text, ground, TEXT) for text in texts for ground in grounds]
    pairs += [("text", "selection", TEXT), ("on_accent", "accent", TEXT), ("on_accent", "accent_hover", TEXT)]
    pairs += [("neutral", "base", GRAPHICS)]
    for ground in grounds:
        assert min(contrast(curve, getattr(colours, ground)) for curve in colours.curves) >= GRAPHICS
    nothing_in(
        [
            f"{front} on {ground}: {found:.1f} < {least}"
            for front, ground, least in pairs
            if (found := contrast(getattr(colours, front), getattr(colours, ground))) < least
        ]
    )


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=lambda colours: colours.name)
def test_that_the_palette_keeps_texts_readable(colours: Scheme) -> None:
    palette, role = palette_of(colours), QPalette.ColorRole
    pairs = [(role.WindowText, role.Window), (role.Text, role.Base), (role.Text, role.AlternateBase)]
    pairs += [(role.ButtonText, role.Button), (role.HighlightedText, role.Highlight), (role.Link, role.Base)]
    pairs += [(role.ToolTipText, role.ToolTipBase), (role.PlaceholderText, role.Base)]
    for group in (QPalette.ColorGroup.Active, QPalette.ColorGroup.Inactive):
        for front, ground in pairs:
            found = contrast(palette.color(group, front).name(), palette.color(group, ground).name())
            assert found >= TEXT, (group, front, ground, found)


@pytest.mark.parametrize("choice", ["light", "dark"])
def test_that_texts_are_readable_as_they_are_drawn(
    finished_window: MainWindow, themes: Theme, choice: str
) -> None:
    if choice != themes.choice:
        themes.apply(choice)  # type: ignore[arg-type]
    faint = {text for _page in pages_of(finished_window) for text in faint_texts(finished_window, TEXT)}
    if themes.choice != "light":
        themes.apply("light")
    nothing_in(sorted(faint))


def test_that_a_text_that_is_too_faint_is_noticed(qtbot: QtBot) -> None:
    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    column.addWidget(QPushButton("Readable"))
    faint = QPushButton("Hardly there")
    faint.setStyleSheet("color: #c8c8c8; background: #ffffff")
    column.addWidget(faint)
    page.show()
    (found,) = faint_texts(page, TEXT)
    assert "Hardly there" in found
