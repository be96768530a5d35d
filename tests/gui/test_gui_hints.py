"""Derived figures that stand small beside the setting they follow from."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.groups import FieldGroup
from cartl_gui.forms.proposals import new_run
from engine.config import PretrainingConfig, Settings
from engine.config.base import setting


class Inner(Settings):
    """A group within the group."""

    steps: int = setting(4, "Steps", "How many.", ge=1)

    def hints(self) -> dict[str, str]:
        """Passes."""
        return {"steps": f"{2 * self.steps} passes"}


class Weighted(Settings):
    """A weight, of which the product with the batch size counts."""

    weight: float = setting(0.5, "Weight", "Its product with the batch size counts.", ge=0)
    batch_size: int = setting(8, "Batch size", "Images of one step.", ge=1)
    inner: Inner = setting(Inner(), "Inner", "A group.")

    def hints(self) -> dict[str, str]:
        """The product; nothing beside a weight of zero."""
        return {"weight": f"{self.weight * self.batch_size:g} per sample"} if self.weight else {}


@pytest.fixture
def group(qtbot: QtBot) -> FieldGroup:
    group = FieldGroup(None, Weighted, "", titled=False)
    qtbot.addWidget(group)
    group.set_values(Weighted().model_dump(), Weighted().model_dump())
    group.show_hints()
    return group


def seen(row: FieldRow) -> list[str]:
    """The hints that can be read at a row."""
    labels = [label for label in row.findChildren(QLabel) if label.property("role") == "hint"]
    return [label.text() for label in labels if not label.isHidden()]


def test_that_settings_have_no_hints_unless_they_say_so() -> None:
    assert Settings().hints() == {}
    assert Weighted().hints() == {"weight": "4 per sample"}


def test_that_a_hint_stands_at_its_setting_and_at_no_other(group: FieldGroup) -> None:
    assert {name: seen(row) for name, row in group.rows.items()} == {
        "weight": ["4 per sample"],
        "batch_size": [],
    }
    assert seen(group.groups["inner"].rows["steps"]) == ["8 passes"]
    description = group.rows["weight"].editor.accessibleDescription()
    assert description == "4 per sample. Its product with the batch size counts."


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("batch_size", "100", ["50 per sample"]),
        ("weight", "0", []),
        ("weight", "much", []),
        ("batch_size", "0", []),
    ],
)
def test_that_a_hint_follows_the_values_and_goes_when_they_cannot_be_used(
    group: FieldGroup, name: str, text: str, expected: list[str]
) -> None:
    group.rows[name].set_value(text)
    group.show_hints()
    assert seen(group.rows["weight"]) == expected
    group.rows[name].reset()
    group.show_hints()
    assert seen(group.rows["weight"]) == ["4 per sample"]


def test_that_the_form_of_a_run_keeps_hints_up_to_date_while_other_parts_are_unusable(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        PretrainingConfig, "hints", lambda self: {"epochs": f"{self.epochs * self.batch_size} images"}
    )
    form = ConfigForm()
    qtbot.addWidget(form)
    form.set_values(new_run().model_dump())
    form.sections["pretraining"].set_open(True)
    epochs, batch_size = (form.groups["pretraining"].rows[name] for name in ("epochs", "batch_size"))
    batch_size.set_value("10")
    epochs.set_value("3")
    assert seen(epochs) == ["30 images"]
    form.groups["attack"].rows["steps"].set_value("0")
    epochs.set_value("5")
    assert form.config() is None
    assert seen(epochs) == ["50 images"]
    epochs.set_value("none")
    assert seen(epochs) == [] and epochs.problem
    epochs.set_value("2")
    assert seen(epochs) == ["20 images"]
