"""The editor of a scenario: a timeline, a form for what is chosen on it, one for the rest, and the TOML they make."""

# mypy: allow-subclassing-any

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis.palette import MODE
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.notices import prose
from hustle_sim.dashboard.outage_scene import scene
from hustle_sim.dashboard.outage_timeline import OutageTimeline
from hustle_sim.dashboard.scenario_edit_state import (
    History,
    add_outage,
    delete_outage,
    in_words,
    kind_of,
    make_scheduled,
    move_outage,
    resize_outage,
)
from hustle_sim.dashboard.scenario_form_state import (
    FormField,
    fields_of,
    help_of,
    outage_fields,
    text_of,
    with_text,
)
from hustle_sim.dashboard.scenario_toml import TomlPanel
from hustle_sim.inputs import InputError
from hustle_sim.simulation.scenario import Scenario

# A column has a button of its own for scrolling down, which must not take a cell.
_GRID = """
:host > .scroll-button { display: none; }
:host { display: grid !important; grid-template-columns: repeat(auto-fill, minmax(min(100%, 150px), 1fr));
        gap: 14px 12px; align-items: start; width: 100%; }
"""
_HALVES = """
:host > .scroll-button { display: none; }
:host { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 20px;
        align-items: start; width: 100%; }
:host > * { min-width: 0; }
"""
_WHICH = re.compile(r"^outages\.\d+\.")
_WIDE = ("mode", "name", "description")
_NONE = "Choose an outage on the timeline to say exactly when it is and what it does, or add one."
_GONE = "There is no outage: the backend is well all the time. Add one to see what it does."


class FieldRow:
    """The fields of one form. A text that can't be used stays where it was typed, with the reason below it."""

    def __init__(self, typed: Callable[[FormField, str], str]) -> None:
        self._typed = typed
        self._fields: dict[str, FormField] = {}
        self._widgets: dict[str, Any] = {}
        self._quiet = False
        self.view = pn.Column(sizing_mode="stretch_width", margin=0, stylesheets=[_GRID], css_classes=["fields"])

    def show(self, scenario: Scenario, fields: Sequence[FormField], fresh: bool) -> None:
        """Show these fields of a scenario; ``fresh``: of something else than before, whose errors were its own."""
        before = list(self._fields)
        self._fields = {_WHICH.sub("", field.name): field for field in fields}
        self._quiet = True
        for key, field in self._fields.items():
            if key not in self._widgets:
                self._widgets[key] = self._made(key, field)
            widget, text = self._widgets[key], text_of(scenario, field)
            if fresh or not widget.error_state or widget.value == text:
                widget.param.update(value=text, error_state=False, label=field.label)
                _help(widget, help_of(scenario, field))
        self._quiet = False
        if list(self._fields) != before:
            self.view.objects = [self._widgets[key] for key in self._fields]

    def _made(self, key: str, field: FormField) -> Any:
        common: dict[str, Any] = {
            "label": field.label, "description": field.why, "size": "small", "variant": "outlined",
            "sizing_mode": "stretch_width", "width": None, "margin": 0,
            "styles": {"grid-column": "span 2"} if key in _WIDE else {},
        }  # fmt: skip
        if field.choices:
            options: Any = list(field.choices)
            if key == "mode":
                options = {f"{mode}: {MODE[mode].word}": mode for mode in field.choices}
            widget = pmui.Select(options=options, **common)
        else:
            widget = pmui.TextInput(**common)
        widget.param.watch(partial(self._on_value, key), "value")
        return widget

    def _on_value(self, key: str, event: Any) -> None:
        if self._quiet or key not in self._fields:
            return
        widget = self._widgets[key]
        # What is right from now on is shown afresh.
        widget.error_state = False
        sentence = self._typed(self._fields[key], str(event.new))
        if sentence:
            widget.error_state = True
            _help(widget, f"{sentence[:1].upper()}{sentence[1:]}")


def _help(widget: Any, text: str) -> None:
    if "helper_text" in widget.param:
        widget.helper_text = text


class ScenarioEditor(pn.viewable.Viewer):
    """Edits one scenario; ``changed`` is called with the History after each edit."""

    def __init__(self, changed: Callable[[History], None], closed: Callable[[], None], **params: Any) -> None:
        super().__init__(**params)
        self._changed = changed
        self._history: History | None = None
        self._of: object = None
        self._shown: tuple[int, int] | None = None
        self.timeline = OutageTimeline(self._on_told)
        self.timeline.param.watch(lambda _: self._show_outage(), "selected")
        self.toml = TomlPanel()
        self._title = prose("")
        self._about = prose("", css_classes=["outage-about"])
        self._outage = FieldRow(self._on_typed)
        self._whole = FieldRow(self._on_typed)
        self._fix = pmui.Button(
            label="Make them scheduled", variant="outlined", color="primary", size="small", margin=(10, 0, 0, 0),
            visible=False,
            on_click=lambda _: self._edit(lambda one: make_scheduled(one, self.timeline.selected)),
        )  # fmt: skip
        close = pmui.Button(
            label="Close the editor", variant="outlined", color="primary", size="small", margin=0,
            on_click=lambda _: closed(),
        )  # fmt: skip
        forms = pn.Column(
            self._about, self._outage.view, self._fix,
            prose('<h3 style="margin:18px 0 12px">The whole scenario</h3>'), self._whole.view,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE],
        )  # fmt: skip
        self._view = pn.Column(
            pn.Row(self._title, close, sizing_mode="stretch_width", margin=(0, 0, 10, 0)),
            self.timeline,
            pn.Spacer(height=14),
            pn.Column(forms, self.toml, sizing_mode="stretch_width", margin=0, stylesheets=[_HALVES]),
            sizing_mode="stretch_width",
            margin=(0, 0, 16, 0),
            stylesheets=[styles.PANEL],
            css_classes=["scenario-editor"],
        )

    def show(self, history: History, of: object) -> None:
        """Edit the present of ``history``; ``of`` tells which scenario it is, whatever it is called now."""
        with pn.io.hold():  # all of it at once, so that no part tells of another scenario than the others
            self._show(history, of)

    def _show(self, history: History, of: object) -> None:
        scenario, fresh = history.present, self._of != of
        self._history, self._of = history, of
        if fresh:
            self._shown = None
        selected = min(0 if fresh else self.timeline.selected, len(scenario.outages) - 1)
        self._title.object = "<h2>Edit the outage</h2><p>Each change is simulated at once; undo takes it back.</p>"
        self.timeline.param.update(
            scene=scene(scenario), selected=selected, can_undo=bool(history.past), can_redo=bool(history.future)
        )
        self._show_outage()
        self._whole.show(scenario, fields_of(scenario), fresh)
        self.toml.param.update(filename=filename(scenario), text=scenario.to_toml())

    def __panel__(self) -> Any:
        return self._view

    def _show_outage(self) -> None:
        history, selected = self._history, self.timeline.selected
        if history is None:
            return
        scenario = history.present
        shown = selected, len(scenario.outages)
        fresh, self._shown = self._shown != shown, shown
        if not 0 <= selected < len(scenario.outages):
            self._about.object = f"<p>{_NONE if scenario.outages else _GONE}</p>"
            self._outage.show(scenario, (), fresh)
            self._fix.visible = False
            return
        kind = kind_of(scenario.outages[selected])
        self._about.object = (
            f'<h3 style="margin:0">Outage {selected + 1} of {len(scenario.outages)}: {kind}</h3>'
            f'<p style="margin:2px 0 12px">{escape(in_words(scenario, selected))}</p>'
        )
        self._outage.show(scenario, outage_fields(scenario, selected), fresh)
        self._fix.visible = kind != "scheduled"

    def _on_told(self, told: dict[str, Any]) -> None:
        kind, index = told.get("type"), told.get("index", -1)
        if self._history is None:
            return
        if kind == "undo":
            self._changed(self._history.undone())
        elif kind == "redo":
            self._changed(self._history.redone())
        elif kind == "move":
            self._edit(lambda one: move_outage(one, index, float(told["at_s"])), told.get("gesture"))
        elif kind == "resize":
            ends = {name: float(told[name]) for name in ("start_s", "end_s") if name in told}
            self._edit(lambda one: resize_outage(one, index, **ends), told.get("gesture"))
        elif kind == "add":
            if self._edit(lambda one: add_outage(one, told.get("at_s"))):
                self.timeline.selected = len(self._history.present.outages) - 1
        elif kind == "delete":
            self._edit(lambda one: delete_outage(one, index))

    def _on_typed(self, field: FormField, text: str) -> str:
        """A sentence if what was typed can't be used."""
        assert self._history is not None
        try:
            edited = with_text(self._history.present, field, text)
        except InputError as error:
            return str(error)
        self._changed(self._history.edited(edited))
        return ""

    def _edit(self, operation: Callable[[Scenario], Scenario], gesture: object = None) -> bool:
        """Whether the operation could be done; by hand one can only reach for what has just gone."""
        assert self._history is not None
        try:
            edited = operation(self._history.present)
        except InputError as error:
            self._about.object = f'<p role="alert">{escape(str(error))}</p>'
            return False
        self._changed(self._history.edited(edited, gesture))
        return True


def filename(scenario: Scenario) -> str:
    """What a scenario's file is called: its name as a file system bears it."""
    plain = re.sub(r"[^\w.-]+", "-", scenario.name).strip("-.")
    return f"{plain or 'scenario'}.toml"
