"""Keeps the fields of the form and the grid in step: several values in a field are an axis of the grid."""

from __future__ import annotations

from collections.abc import Mapping

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.grid_section import GridSection
from engine.config import StudyDraft, paths_of


class InStep:
    """The grid is the truth; fields show the axes that they can show, and typing in a field changes its axis."""

    def __init__(self, form: ConfigForm, grid: GridSection) -> None:
        self._form, self._grid = form, grid

    def take_from(self, row: FieldRow) -> None:
        """Bring the grid in step with a field: several values make an axis, one value ends it."""
        name = self._axis_of(row)
        text = row.sweep_text
        if text is not None:
            self._grid.put(name, text)
            self.show_axes(but=row)
        elif name in self._grid.texts():
            self._grid.drop(name)
            for path in paths_of(name):
                other = self._form.row_at(".".join(path))
                if other is not None and other is not row:
                    other.load(row.value(), other.baseline)

    def show_axes(self, *, but: FieldRow | None = None) -> None:
        """Bring the fields in step with the grid, all or all but one."""
        texts = self._grid.texts()
        for row in self._form.all_rows():
            if row is but or not row.spec.is_swept:
                continue
            text = texts.get(self._axis_of(row))
            if text:
                if text != row.sweep_text:
                    row.show_sweep(text)
            elif row.sweep_text is not None:
                row.drop_sweep()
        self._form.refresh()

    def problems_of_fields(self, axes: Mapping[str, str]) -> dict[str, str]:
        """What is wrong with axes, by the fields that show them: "grid.k" -> reason becomes "finetuning...." -> reason."""
        found: dict[str, str] = {}
        for place, text in axes.items():
            name = place.partition(".")[2]
            for known in self._grid.names():
                if f"{name}.".startswith(f"{known}."):
                    found |= {".".join(path): text for path in paths_of(known)}
        return found

    def varied_elsewhere(self, draft: StudyDraft, number: int) -> dict[tuple[str, ...], str]:
        """Settings of a run that are varied in a way that no field can show, with the reason."""
        typed = {path for name in self._grid.texts() for path in paths_of(name)}
        own = {path for name in draft.runs[number].axes(draft.grid) for path in paths_of(name)}
        return {
            path: "Varied in the grid, by values with names"
            if path in own
            else "Varied in the run it starts from"
            for path in draft.varied(number)
            if path not in typed or path not in own
        }

    def _axis_of(self, row: FieldRow) -> str:
        """The axis that a field belongs to: its own, or one that stands for several settings."""
        path = tuple(row.place.split("."))
        names = self._grid.names()
        if row.place in names:
            return row.place
        return next((name for name in names if path in paths_of(name)), row.place)
