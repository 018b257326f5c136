"""Which scenario: a bundled one, or a TOML file that the visitor brings along."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from hustle_sim.dashboard.choice import bundled, bundled_scenario, scenario_of
from hustle_sim.dashboard.notices import prose
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.simulation.scenario import Scenario


class ScenarioChoice(pn.viewable.Viewer):
    """``value`` is the scenario that is chosen; ``complain`` is called with a sentence about a file that is none."""

    value = param.ClassSelector(class_=Scenario)

    def __init__(self, value: Scenario, complain: Callable[[str], None], **params: Any) -> None:
        super().__init__(value=value, **params)
        self._complain = complain
        self._own: dict[str, Scenario] = {}
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
        self.select = pmui.Select(label="Scenario", options=list(bundled()), value=bundled()[0], **wide)
        self.file = pmui.FileInput(
            label="Scenario from a TOML file", accept=".toml", variant="text", color="primary", size="small",
            sizing_mode="stretch_width", margin=(2, 0),
        )  # fmt: skip
        self._about = prose("")
        self.file.param.watch(self._on_file, "value")
        self.select.param.watch(lambda event: self._on_name(event.new), "value")
        self.param.watch(lambda _: self._on_value(), "value")
        self._on_value()
        self._view = pn.Column(self.select, self._about, self.file, sizing_mode="stretch_width", margin=0)

    def __panel__(self) -> Any:
        return self._view

    def _on_value(self) -> None:
        scenario = self.value
        if scenario.name not in bundled() or bundled_scenario(scenario.name) != scenario:
            self._own[scenario.name] = scenario
        self.select.options = list(dict.fromkeys([*bundled(), *self._own]))
        self.select.value = scenario.name
        self._about.object = about(scenario)

    def _on_name(self, name: str) -> None:
        self.value = self._own.get(name) or bundled_scenario(name)

    def _on_file(self, event: Any) -> None:
        if not event.new:
            return
        try:
            self.value = scenario_of(str(self.file.filename or "scenario.toml"), bytes(event.new))
        except InputError as error:
            self._complain(str(error))
        else:
            self._complain("")


def about(scenario: Scenario) -> str:
    """A scenario in words: what it teaches, how long, how many."""
    clients = scenario.clients.count
    people = "1 client" if clients == 1 else f"{clients:,} clients"
    return f"<p>{escape(scenario.description)}</p><p>{format_duration(scenario.duration_s)}, {people}</p>"
