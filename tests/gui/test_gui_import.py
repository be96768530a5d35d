"""The dialog that imports checkpoints of the CARTL authors' code, on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot
from safetensors.torch import save_file

from cartl_gui.bridge import EngineBridge
from cartl_gui.commands import COMMANDS
from cartl_gui.dialogs.import_dialog import ImportDialog
from cartl_gui.main_window import MainWindow
from engine.api import IMPORTING, RECOGNISING
from engine.events import RequestFailed
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights
from tests.engine.authors_files import arrays_of, as_authors
from tests.engine.small import open_session, small_model
from tests.engine.test_reference import load
from tests.gui.gui_helpers import drain, press


@pytest.fixture
def dialog(qtbot: QtBot, tmp_path: Path) -> Iterator[ImportDialog]:
    with open_session(tmp_path / "workspace") as session:
        bridge = EngineBridge(session)
        bridge.start()
        dialog = ImportDialog(session, bridge)
        qtbot.addWidget(dialog)
        dialog.show()
        yield dialog
        bridge.stop()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "authors.safetensors"
    save_file(as_authors(small_model(100), (1, 1, 1)), path)
    return path


@pytest.fixture
def constrained(tmp_path: Path) -> Path:
    path = tmp_path / "neft.safetensors"
    save_file(arrays_of(load("neft"), "after_step_4/"), path)
    return path


def choose(qtbot: QtBot, dialog: ImportDialog, path: Path) -> None:
    """Choose a checkpoint and wait until it was recognised or refused."""
    dialog.source.set_path(path)
    qtbot.waitUntil(lambda: "Reading" not in dialog.found.text(), timeout=60_000)


def test_that_a_checkpoint_is_recognised_imported_and_offered_to_start_from(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, tmp_path: Path
) -> None:
    assert not dialog.import_button.isEnabled()
    choose(qtbot, dialog, plain)
    assert dialog.found.text() == "WRN-10-1: 5 blocks, 100 classes."
    assert dialog.target.path() == tmp_path / "authors-imported.safetensors"
    assert not dialog.rows["spectral_bound"].isVisible() and not dialog.rows["data.path"].isVisible()
    dialog.import_button.click()
    assert not dialog.import_button.isEnabled()
    qtbot.waitUntil(lambda: dialog.written is not None, timeout=60_000)
    assert dialog.written == tmp_path / "authors-imported.safetensors"
    assert "Wrote" in dialog.outcome.text() and "Mean 0.5071 0.4865 0.4409" in dialog.outcome.text()
    dialog.copy_button.click()
    assert QApplication.clipboard().text() == str(dialog.written)
    dialog.start_button.click()
    assert dialog.start_from == str(dialog.written) and not dialog.isVisible()


def test_that_spectral_weights_ask_for_beta_and_what_is_missing_stands_at_its_field(
    qtbot: QtBot, dialog: ImportDialog, constrained: Path, tmp_path: Path
) -> None:
    choose(qtbot, dialog, constrained)
    assert dialog.rows["spectral_bound"].isVisible()
    assert "blocks 3, 5" in dialog.found.text()
    dialog.rows["data.name"].set_value("svhn")
    dialog.submit()
    qtbot.waitUntil(lambda: bool(dialog.rows["mean"].problem), timeout=60_000)
    assert "normalised" in dialog.rows["mean"].problem
    assert "spectrally" in dialog.rows["spectral_bound"].problem
    assert "halved" in dialog.rows["halved_blocks"].problem
    for name, text in (
        ("mean", "0.5 0.5, 0.5"), ("std", "51/255 0.2 0.2"), ("halved_blocks", "3"), ("spectral_bound", "0.6")
    ):  # fmt: skip
        dialog.rows[name].set_value(text)
    assert not any(row.problem for row in dialog.rows.values())
    dialog.submit()
    qtbot.waitUntil(lambda: dialog.written is not None, timeout=60_000)
    tensors, metadata = load_weights(tmp_path / "neft-imported.safetensors")
    assert ModelSpec.from_metadata(metadata).num_halved == 3
    assert tensors["std"].flatten().tolist() == pytest.approx([0.2] * 3)


@pytest.mark.parametrize(
    ("typed", "place", "reason"),
    [
        ({"halved_blocks": "many"}, "halved_blocks", "Expected a whole number from 0 to 1,000, got 'many'"),
        ({"mean": "0.5 0.5 0.5"}, "std", "Mean and std belong together; give both or neither"),
        ({"mean": "0.5 0.5", "std": "1 1 1"}, "mean", "Expected three numbers, red, green and blue, got 2"),
        ({"mean": "red"}, "mean", "Expected a number or a ratio such as 8/255, got 'red'"),
        ({"data.image_size": "3"}, "data.image_size", "Expected a whole number from 8 to 256, got 3"),
    ],
)
def test_that_an_unusable_value_is_told_at_its_field_and_nothing_is_written(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, typed: dict[str, str], place: str, reason: str
) -> None:
    choose(qtbot, dialog, plain)
    for name, text in typed.items():
        dialog.rows[name].set_value(text)
    dialog.submit()
    assert {row.place: row.problem for row in dialog.rows.values() if row.problem} == {place: reason}
    assert dialog.import_button.isEnabled()
    assert not plain.with_name("authors-imported.safetensors").exists()


def test_that_a_refused_file_is_told_in_the_dialog_and_another_can_be_chosen(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not weights at all")
    choose(qtbot, dialog, wrong)
    assert str(wrong) in dialog.found.text() and dialog.found.property("role") == "error"
    assert not dialog.import_button.isEnabled()
    choose(qtbot, dialog, plain)
    assert dialog.found.property("role") == "muted" and dialog.import_button.isEnabled()


def test_that_the_last_of_several_files_chosen_in_haste_counts(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, constrained: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not weights at all")
    for path in (constrained, wrong, plain):
        dialog.source.set_path(path)
    qtbot.waitUntil(dialog.import_button.isEnabled, timeout=60_000)
    assert "100 classes" in dialog.found.text()
    assert not dialog.rows["spectral_bound"].isVisible()


def test_that_an_existing_file_is_replaced_only_if_asked(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.safetensors"
    target.write_text("mine")
    choose(qtbot, dialog, plain)
    dialog.target.set_path(target)
    dialog.submit()
    qtbot.waitUntil(lambda: "was not replaced" in dialog.problem.text(), timeout=60_000)
    assert target.read_text() == "mine"
    dialog.replace.setChecked(True)
    dialog.submit()
    qtbot.waitUntil(lambda: dialog.written == target, timeout=60_000)


def test_that_a_file_can_be_chosen_with_the_file_dialog(
    qtbot: QtBot, dialog: ImportDialog, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (str(plain), ""))
    dialog.source.button.click()
    qtbot.waitUntil(dialog.import_button.isEnabled, timeout=60_000)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(plain), ""))
    dialog.target.button.click()
    assert dialog.target.path() == plain and dialog.replace.isChecked()


def test_that_every_field_of_the_dialog_has_a_name(dialog: ImportDialog) -> None:
    for line in dialog.findChildren(QLineEdit):
        assert line.accessibleName()


def test_that_the_window_opens_the_dialog_and_its_form_starts_from_the_file(window: MainWindow) -> None:
    command = next(command for command in COMMANDS if command.id == "import")
    assert command.menu == "File" and command.shortcut and command.help

    def accept() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ImportDialog)
        dialog.written = Path("/models/wrn-34-10.safetensors")
        dialog.start_button.click()

    QTimer.singleShot(0, accept)
    press(window, "import")
    study = window.setup.study()
    assert study is not None
    (run,) = study.runs
    assert run.start_from == "/models/wrn-34-10.safetensors"
    assert run.stages == ("finetuning", "attack") and run.model is None


def test_that_a_failure_that_the_dialog_tells_opens_no_second_box(window: MainWindow) -> None:
    for request in (RECOGNISING, IMPORTING):
        window.session.events.put(RequestFailed(request, "the file is damaged"))
    drain(window)
    assert QApplication.activeModalWidget() is None
    assert "the file is damaged" in window.log.text.toPlainText()
