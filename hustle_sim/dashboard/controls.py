"""Widgets made from the policy's fields: one place says what a field is, and this is not it."""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import styles
from hustle_sim.inputs import format_duration
from hustle_sim.policy import Policy, PolicyField, policy_fields

PARTS = {
    "probe": "Health probes",
    "request": "Requests",
    "retry": "Retries",
    "breaker": "Circuit breaker",
    "queue": "Queue",
    "cache": "Cache",
}
"""What each part of the policy is called on the screen."""

_PERCENT = 100


def label_of(field: PolicyField) -> str:
    """``"probe.degraded_above_s"`` as a person reads it: ``"Degraded above · s"``."""
    words = field.name.split(".")[1].removesuffix("_s").removesuffix("_per_min").replace("_", " ")
    unit = "%" if field.unit == "share" else field.unit
    return f"{words[:1].upper()}{words[1:]}" + (f" · {unit}" if unit else "")


def is_whole(field: PolicyField) -> bool:
    """Whether the field counts things, so that only whole numbers make sense."""
    value = Policy().get(field.name)
    return isinstance(value, int) and not isinstance(value, bool)


def step_of(field: PolicyField) -> float:
    """A step of the + and - buttons that suits the size of the default; shares step in percent."""
    if field.unit == "share":
        return 5
    default = float(field.default)
    step = 10 ** math.floor(math.log10(default / 2)) if default > 0 else 0.1
    return max(1, round(step)) if is_whole(field) else step


def shown(field: PolicyField, value: Any) -> Any:
    """A policy's value as the widget shows it: shares as percent."""
    return round(float(value) * _PERCENT, 6) if field.unit == "share" else value


def meant(field: PolicyField, value: Any) -> Any:
    """A widget's value as the policy means it. An empty field is the default."""
    if value is None:
        return field.default
    return float(value) / _PERCENT if field.unit == "share" else value


def in_words(field: PolicyField, value: Any) -> str:
    """A value with its unit: ``"5 min"``, ``"20 %"``, ``"3 probes"``, ``"on"``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if field.unit == "s":
        return format_duration(float(value))
    if field.unit == "share":
        return f"{float(value) * _PERCENT:g} %"
    return f"{value:g} {field.unit}".strip()


def hint(field: PolicyField, value: Any, base: Any) -> str:
    """What stands below a field: a long time in words, and what the chosen preset has if that differs."""
    parts = []
    if field.unit == "s" and not isinstance(value, bool) and abs(float(value)) >= 60:
        parts.append(f"= {in_words(field, value)}")
    if value != base:
        parts.append(f"preset: {in_words(field, base)}")
    return " · ".join(parts)


def widget_of(field: PolicyField, value: Any) -> Any:
    """The widget for one field: a switch, a select or a number field with its unit, reason and bounds."""
    common: dict[str, Any] = {
        "label": label_of(field),
        "description": field.reason,
        "sizing_mode": "stretch_width",
        "width": None,
        "margin": (6, 2),
    }
    if isinstance(field.default, bool):
        return pmui.Switch(value=bool(value), size="small", **common)
    if field.choices:
        return pmui.Select(value=value, options=list(field.choices), size="small", variant="outlined", **common)
    number = {
        "value": shown(field, value),
        "start": None if field.low is None else shown(field, field.low),
        "end": None if field.high is None else shown(field, field.high),
        "step": step_of(field),
        "size": "small",
        "variant": "outlined",
        **common,
    }
    if is_whole(field):
        whole = {
            name: None if number[name] is None else int(number[name]) for name in ("value", "start", "end", "step")
        }
        return pmui.IntInput(**(number | whole))
    return pmui.FloatInput(format="0,0[.]0[000]", **number)


class PolicyControls(pn.viewable.Viewer):
    """All tunables, grouped by part; ``changed`` is called when a person changes one of them."""

    def __init__(self, changed: Callable[[], None], **params: Any) -> None:
        super().__init__(**params)
        self._fields = {field.name: field for field in policy_fields()}
        self._base = Policy()
        self._changed = changed
        self._quiet = False
        self._widgets = {name: widget_of(field, field.default) for name, field in self._fields.items()}
        for name, widget in self._widgets.items():
            widget.param.watch(lambda event, name=name: self._on_change(name), "value")
        self._layout = pmui.Accordion(
            *[(title, self._part(part)) for part, title in PARTS.items()],
            active=[],
            dynamic=True,
            toggle=True,
            disable_gutters=True,
            elevation=0,
            square=True,
            title_variant="subtitle2",
            sizing_mode="stretch_width",
            margin=0,
            sx={"backgroundColor": "transparent", "borderTop": "1px solid var(--mui-palette-hustle-line)"},
        )

    def values(self) -> dict[str, object]:
        """All fields as the widgets stand, in the policy's own units."""
        return {name: meant(self._fields[name], widget.value) for name, widget in self._widgets.items()}

    def policy(self) -> Policy:
        """The policy as the widgets stand. Raises InputError with one sentence if it can't work."""
        return Policy().replace(self.values())

    def show(self, policy: Policy) -> None:
        """Set every widget to ``policy``, which is also what changes are marked against."""
        self._base = policy
        with self._quietly():
            for name, widget in self._widgets.items():
                widget.value = shown(self._fields[name], policy.get(name))
        for name in self._widgets:
            self._mark(name)

    def blame(self, sentence: str) -> None:
        """Mark the fields that a sentence names as wrong; an empty sentence clears all marks."""
        named = {name for name in self._fields if name in sentence}
        if sentence and not named:
            part = sentence.removeprefix("policy: ").split(":")[0].split(".")[0]
            named = {name for name in self._fields if name.startswith(f"{part}.") and name.split(".")[1] in sentence}
        for name, widget in self._widgets.items():
            if "error_state" in widget.param:
                widget.error_state = name in named

    def __panel__(self) -> Any:
        return self._layout

    def _part(self, part: str) -> Any:
        widgets = [self._widgets[name] for name, field in self._fields.items() if field.part == part]
        return pn.Column(*widgets, sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE])

    def _on_change(self, name: str) -> None:
        if not self._quiet:
            self._mark(name)
            self._changed()

    def _mark(self, name: str) -> None:
        widget, field = self._widgets[name], self._fields[name]
        if "helper_text" in widget.param:
            widget.helper_text = hint(field, meant(field, widget.value), self._base.get(name))

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False
