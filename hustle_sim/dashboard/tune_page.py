"""The place where numbers are chosen: a sweep over two fields, or a search for the best policies."""

# mypy: allow-subclassing-any

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis import METRICS
from hustle_sim.analysis.palette import Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.controls import FIELDS, PARTS, label_of
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.dashboard.places import Arguments, Frame
from hustle_sim.dashboard.scenario_files import FIRST, bundled
from hustle_sim.dashboard.side_by_side import side_by_side
from hustle_sim.dashboard.tune_results import SearchResults, SweepResults
from hustle_sim.dashboard.tune_state import DEPTHS, TuneState, search_wish, suggested, sweep_wish
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.tuning.goals import OBJECTIVES

SWEEP, SEARCH = "Two fields", "Search"
FIRST_FIELDS = ("request.attempt_timeout_s", "request.max_attempts")
SEEDS = 5

_BROUGHT = "as in Simulate"
_EMPTY = {
    SWEEP: "<h2>What does each value do?</h2><p>Choose two fields and the values to try, and press <b>Start</b>: each "
    "combination is simulated with the same seeds, and drawn as a map with its 95 % interval.</p>",
    SEARCH: "<h2>Which policy should I ship?</h2><p>Press <b>Start</b>: policies are proposed, simulated, and weighed "
    "by the objectives; the best that no other one dominates are drawn beside the presets.</p>",
}


class TunePage(pn.viewable.Viewer):
    """Sweeps and searches of one visitor."""

    def __init__(self, frame: Frame, arguments: Arguments, **params: Any) -> None:
        super().__init__(**params)
        self._frame = frame
        self.states = {SWEEP: TuneState(), SEARCH: TuneState()}
        self._scenarios: dict[str, Scenario] = dict(bundled())
        self._policies: dict[str, Policy] = {name: Policy.preset(name) for name in PRESETS}
        self._make_controls()
        self._make_results()
        self._view = side_by_side(
            self._controls, self._results, "Scenario, fields and values", is_open="x" not in arguments
        )
        for state in self.states.values():
            state.param.watch(lambda *_: self._on_state(), ["running", "share", "told", "problem"])
        self.states[SWEEP].param.watch(lambda event: self._on_result(self.sweep, event.new), "result")
        self.states[SEARCH].param.watch(lambda event: self._on_result(self.search, event.new), "result")
        self._repaint = frame.page.param.watch(lambda _: self._on_theme(), "dark_theme")
        self._on_kind()
        self.arrive(arguments)

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere; what runs goes on."""
        self._view.visible = visible

    def close(self) -> None:
        """The visitor is gone: end what runs for them."""
        self._frame.page.param.unwatch(self._repaint)
        for state in self.states.values():
            state.close()

    def arrive(self, arguments: Arguments) -> None:
        """Another place, or an address, says what to tune: a scenario, a policy, two fields and their values."""
        try:
            self._take(arguments)
        except InputError as error:
            self.states[self.kind.value].refuse(str(error))

    def __panel__(self) -> Any:
        return self._view

    def _make_controls(self) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
        self.kind = pmui.RadioButtonGroup(
            label="What to do", options=[SWEEP, SEARCH], value=SWEEP, color="primary", size="small",
            sizing_mode="stretch_width", margin=(0, 0, 8, 0),
        )  # fmt: skip
        self.scenario = pmui.Select(label="Scenario", options=list(self._scenarios), value=FIRST, **wide)
        self.policy = pmui.Select(label="Policy to begin with", options=list(self._policies), value="default", **wide)
        names = {f"{PARTS[field.part]}: {label_of(field)}": name for name, field in FIELDS.items()}
        self.fields = [
            pmui.Select(label=label, options=names, value=name, searchable=True, **wide)
            for label, name in zip(("Across", "Upwards"), FIRST_FIELDS, strict=True)
        ]
        self.values = [pmui.TextInput(label="Values", value=suggested(FIELDS[name]), **wide) for name in FIRST_FIELDS]
        self.seeds = pmui.IntInput(
            label="Seeds", description="Each point is simulated with so many; more make the intervals narrower.",
            value=SEEDS, start=1, **wide,
        )  # fmt: skip
        directed = [name for name, metric in METRICS.items() if metric.better != "none"]
        many = {name: value for name, value in wide.items() if name != "size"}
        self.objectives = pmui.MultiChoice(label="Objectives", options=directed, value=list(OBJECTIVES), **many)
        self.parts = pmui.MultiChoice(
            label="Parts to search", options={title: part for part, title in PARTS.items()}, value=[],
            placeholder="all the usual fields", **many,
        )  # fmt: skip
        self.depth = pmui.Select(label="How far", options=list(DEPTHS), value="quick", **wide)
        for field, values in zip(self.fields, self.values, strict=True):
            field.param.watch(lambda event, values=values: self._on_field(event.new, values), "value")
        self.kind.param.watch(lambda _: self._on_kind(), "value")
        self._of = {
            SWEEP: pn.Column(
                self.fields[0], self.values[0], self.fields[1], self.values[1], self.seeds,
                sizing_mode="stretch_width", margin=0,
            ),
            SEARCH: pn.Column(self.objectives, self.parts, self.depth, sizing_mode="stretch_width", margin=0),
        }  # fmt: skip
        self.start = pmui.Button(
            label="Start", color="primary", variant="contained", sizing_mode="stretch_width", margin=(8, 0),
            on_click=self._on_start,
        )  # fmt: skip
        self.cancel = pmui.Button(
            label="Cancel", color="primary", variant="outlined", width=96, margin=(8, 0, 8, 8), visible=False,
            on_click=lambda _: self.states[self.kind.value].cancel(),
        )  # fmt: skip
        self.progress = pmui.LinearProgress(
            value=0, max=100, variant="determinate", visible=False, sizing_mode="stretch_width", margin=(0, 0, 6, 0)
        )
        self._told = prose("", css_classes=["study-told"])
        self._controls = pn.Column(
            prose('<h2 style="margin-bottom:10px">What to tune</h2>'), self.kind, self.scenario, self.policy,
            *self._of.values(), pn.Row(self.start, self.cancel, sizing_mode="stretch_width", margin=0),
            self.progress, self._told,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], css_classes=["controls"],
        )  # fmt: skip

    def _make_results(self) -> None:
        self._notice = Notice()
        self._empty = pn.Column(
            prose("", css_classes=["empty"]), sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL]
        )
        self.sweep = SweepResults(self._theme, self._load)
        self.search = SearchResults(self._theme, self._load)
        self._shown = {SWEEP: pn.Column(self.sweep, margin=0, sizing_mode="stretch_width"),
                       SEARCH: pn.Column(self.search, margin=0, sizing_mode="stretch_width")}  # fmt: skip
        self._results = pn.Column(
            self._notice, self._empty, *self._shown.values(),
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE], css_classes=["results"],
        )  # fmt: skip

    async def _on_start(self, *_: Any) -> None:
        kind = self.kind.value
        try:
            scenario, policy = self._scenarios[self.scenario.value], self._policies[self.policy.value]
            if kind == SWEEP:
                axes = [(field.value, values.value) for field, values in zip(self.fields, self.values, strict=True)]
                wish: Any = sweep_wish(scenario, policy, axes[0], axes[1], self.seeds.value)
            else:
                wish = search_wish(scenario, policy, self.parts.value, self.objectives.value, self.depth.value)
        except InputError as error:
            self.states[kind].refuse(str(error))
            return
        self._frame.set_address("tune", self._address(), step=True)
        await self.states[kind].run(wish)

    def _address(self) -> dict[str, str]:
        said = {"what": "search" if self.kind.value == SEARCH else "sweep"}
        if self.scenario.value in bundled():
            said["scenario"] = self.scenario.value
        if self.policy.value in PRESETS:
            said["policy"] = self.policy.value
        if self.kind.value == SWEEP:
            for name, field, values in zip(("x", "y"), self.fields, self.values, strict=True):
                said |= {name: field.value, f"{name}s": values.value}
            said |= {"seeds": str(self.seeds.value), "metric": self.sweep.metric.value}
        return said

    def _take(self, arguments: Arguments) -> None:
        scenario, policy = arguments.get("scenario"), arguments.get("policy")
        if isinstance(scenario, Scenario):
            known = next((name for name, one in bundled().items() if one == scenario), scenario.name)
            self._scenarios[known] = scenario
            self.scenario.param.update(options=list(self._scenarios), value=known)
        elif scenario is not None:
            self.scenario.value = _one_of("scenario", scenario, self._scenarios)
        if isinstance(policy, Policy):
            known = next((name for name in PRESETS if self._policies[name] == policy), _BROUGHT)
            self._policies[known] = policy
            self.policy.param.update(options=list(self._policies), value=known)
        elif policy is not None:
            self.policy.value = _one_of("policy", policy, self._policies)
        if arguments.get("what") == "search":
            self.kind.value = SEARCH
        for name, field, values in zip(("x", "y"), self.fields, self.values, strict=True):
            if name in arguments:
                field.value = _one_of("policy field", arguments[name], FIELDS)
                values.value = str(arguments.get(f"{name}s", values.value))
        if "seeds" in arguments:
            try:
                self.seeds.value = int(str(arguments["seeds"]))
            except ValueError:
                raise InputError(f"seeds: a whole number is needed, not {arguments['seeds']!r}") from None
        if "metric" in arguments:
            self.sweep.metric.value = _one_of("metric", arguments["metric"], METRICS)
        if "x" in arguments and "y" in arguments:
            # A link shows what it was made of.
            pn.state.onload(self._on_start)

    def _on_kind(self) -> None:
        for kind, box in self._of.items():
            box.visible = self._shown[kind].visible = kind == self.kind.value
        self._on_state()

    def _on_field(self, name: str, values: Any) -> None:
        values.value = suggested(FIELDS[name])

    def _on_state(self) -> None:
        state = self.states[self.kind.value]
        self.progress.param.update(visible=state.running, value=round(100 * state.share))
        self.cancel.visible = state.running
        self.start.label = "Start again" if state.running else "Start"
        self._told.object = f'<p role="status">{escape(state.told)}</p>' if state.told else ""
        self._notice.say(state.problem.removeprefix("policy: ").removeprefix("sweep: "))
        self._empty[0].object = _EMPTY[self.kind.value]
        self._empty.visible = state.result is None

    def _on_result(self, results: SweepResults | SearchResults, result: Any) -> None:
        results.show(result)
        self._on_state()

    def _on_theme(self) -> None:
        self.sweep.draw()
        self.search.draw()

    def _theme(self) -> Theme:
        return "dark" if self._frame.page.dark_theme else "light"

    def _load(self, policy: Policy) -> None:
        self._frame.open("simulate", scenario=self._scenarios[self.scenario.value], policy=policy)


def _one_of(what: str, name: Any, known: Any) -> str:
    if str(name) not in known:
        raise InputError(f"there is no {what} {str(name)!r}{closest(str(name), known)}")
    return str(name)
