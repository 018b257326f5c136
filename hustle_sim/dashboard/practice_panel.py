"""The buttons that break the practice backend and mend it, wherever a visitor meets it."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard.changes import change
from hustle_sim.dashboard.live_practice import BREAKAGES, EXPLAINED, practice
from hustle_sim.dashboard.notices import prose
from hustle_sim.inputs import InputError

_BUTTONS = """
:host { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 8px; }
:host > * { min-width: 0; }
"""
_BUTTON: dict[str, Any] = {
    "color": "primary", "variant": "outlined", "size": "small", "sizing_mode": "stretch_width", "margin": 0,
}  # fmt: skip


class PracticePanel(pn.viewable.Viewer):
    """Hidden until ``visible``. ``on_problem`` is told a sentence, ``on_change`` that a button here was pressed."""

    def __init__(
        self, on_problem: Callable[[str], None], on_change: Callable[[], None] = lambda: None, **params: Any
    ) -> None:
        super().__init__(**params)
        self._on_problem, self._on_change = on_problem, on_change
        self._shown: str | None = None
        self.breaking = {
            how: pmui.Button(label=how, on_click=lambda _, how=how: self.do(how), **_BUTTON) for how in BREAKAGES
        }
        self.mend_button = pmui.Button(
            label="Mend it", on_click=lambda _: self.do(""), **{**_BUTTON, "margin": (8, 0, 0, 0)}
        )
        self._about = prose("")
        buttons = pn.Column(
            *self.breaking.values(), sizing_mode="stretch_width", margin=(10, 0, 0, 0), stylesheets=[_BUTTONS]
        )
        self._view = pn.Column(
            prose("<h2>Break it on purpose</h2>"), self._about, buttons, self.mend_button,
            visible=False, sizing_mode="stretch_width", margin=(14, 0, 0, 0), css_classes=["practice"],
        )  # fmt: skip
        self.refresh()

    @property
    def visible(self) -> bool:
        """Whether the visitor has to do with the practice backend."""
        return bool(self._view.visible)

    @visible.setter
    def visible(self, visible: bool) -> None:
        self._view.visible = visible
        self.refresh()

    def do(self, how: str) -> None:
        """Break it in one of the ways of ``BREAKAGES``, or mend it if ``how`` is empty."""
        try:
            if how:
                practice.break_it(how)
            else:
                practice.mend()
        except InputError as error:
            self._on_problem(str(error))
        self.refresh()
        self._on_change()

    def refresh(self) -> None:
        """Show what is broken now: another visitor may have done it."""
        if practice.broken == self._shown:
            return
        self._shown = broken = practice.broken
        state = f"It is broken: <b>{broken}</b>; {EXPLAINED[broken]}." if broken else "It is well."
        self._about.object = f"<p>The practice backend is on this machine, and shared by all who are here. {state}</p>"
        for how, button in self.breaking.items():
            on = how == broken
            change(button, color="error" if on else "primary", variant="contained" if on else "outlined")
        change(self.mend_button, disabled=not broken)

    def __panel__(self) -> Any:
        return self._view
