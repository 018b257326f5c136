"""The place where an outage is simulated: scenario and policy at the left, what came of it at the right."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.cards import MetricCards
from hustle_sim.dashboard.charts import RunCharts, drawn
from hustle_sim.dashboard.controls import PolicyControls
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.dashboard.simulate_state import (
    DEFAULT_SCENARIO,
    DEFAULT_SEED,
    Results,
    SimulateState,
    bundled,
    chosen,
    request_of,
    scenario_of,
)
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario

if TYPE_CHECKING:
    from hustle_sim.analysis.figure_data import Data

_TRY = "Try: open <b>Health probes</b>, set the interval to 30 s, and press <b>Run</b>."
_WAITING = "<h2>Simulating…</h2><p>The first run takes a few seconds; later ones are there at once.</p>"
_NOTHING = "<h2>Nothing is simulated yet</h2><p>Choose a scenario and a policy, and press <b>Run</b>.</p>"


class SimulatePage(pn.viewable.Viewer):
    """Controls and results of one visitor."""

    def __init__(self, page: pmui.Page, arguments: dict[str, str], **params: Any) -> None:
        super().__init__(**params)
        self.state = SimulateState()
        self._scenario: Scenario | None = None
        self._own: dict[str, Scenario] = {}
        self._make_controls()
        self._make_results(page)
        self._view = styles.side_by_side(self._controls, self._results)
        self.state.param.watch(self._on_running, ["running", "share"])
        self.state.param.watch(lambda event: self._say(event.new), "problem")
        self._begin(arguments)
        self.state.param.watch(self._on_results, "results")

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere."""
        self._view.visible = visible

    def close(self) -> None:
        """The visitor is gone: end what runs for them."""
        self.state.close()
        self.charts.close()

    def __panel__(self) -> Any:
        return self._view

    def _make_controls(self) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
        self.scenario = pmui.Select(label="Scenario", options=list(bundled()), value=DEFAULT_SCENARIO, **wide)
        self.preset = pmui.Select(label="Policy preset", options=list(PRESETS), value="default", **wide)
        self.seed = pmui.IntInput(
            label="Seed", description="The same seed gives the same run, to the last bit.", value=DEFAULT_SEED,
            start=0, format="0", **wide,
        )  # fmt: skip
        self.run_button = pmui.Button(
            label="Run",
            color="primary",
            variant="contained",
            sizing_mode="stretch_width",
            margin=(8, 0),
            on_click=self._on_run,
        )
        self.cancel_button = pmui.Button(
            label="Cancel", color="primary", variant="outlined", width=96, margin=(8, 0, 8, 8), visible=False,
            on_click=lambda _: self.state.cancel(),
        )  # fmt: skip
        self.progress = pmui.LinearProgress(
            value=0, max=100, variant="determinate", visible=False, sizing_mode="stretch_width", margin=(0, 0, 6, 0)
        )
        self.file = pmui.FileInput(
            label="Scenario from a TOML file", accept=".toml", variant="text", color="primary", size="small",
            sizing_mode="stretch_width", margin=(2, 0),
        )  # fmt: skip
        self.file.param.watch(self._on_file, "value")
        self.policy = PolicyControls(changed=self._on_policy)
        self._scenario_about = prose("")
        self._preset_about = prose("")
        self.scenario.param.watch(lambda _: self._on_scenario(), "value")
        self.preset.param.watch(lambda _: self._on_preset(), "value")
        self._controls = pn.Column(
            prose("<h2>What happens</h2>"),
            self.scenario,
            self._scenario_about,
            self.file,
            pn.Spacer(height=8),
            self.preset,
            self._preset_about,
            self.seed,
            pn.Row(self.run_button, self.cancel_button, sizing_mode="stretch_width", margin=0),
            self.progress,
            prose('<h2 style="margin:8px 0 6px">Policy</h2>'),
            self.policy,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.PANEL],
            css_classes=["controls"],
        )

    def _make_results(self, page: pmui.Page) -> None:
        self._notice = Notice()
        self._headline = prose(_WAITING, css_classes=["headline"])
        self.cards = MetricCards()
        self.charts = RunCharts(page)
        self._results = pn.Column(
            self._notice,
            self._headline,
            pn.Spacer(height=12),
            self.cards,
            pn.Spacer(height=14),
            self.charts,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.BARE],
            css_classes=["results"],
        )

    def _begin(self, arguments: dict[str, str]) -> None:
        """Set the controls to what the address asks for, and show its run; the default one is there at once."""
        asked, wrong = (DEFAULT_SCENARIO, "default", DEFAULT_SEED), ""
        try:
            asked = chosen(arguments)
        except InputError as error:
            wrong = str(error)
        self.scenario.value, self.preset.value, self.seed.value = asked
        self._on_scenario()
        self._on_preset()
        if wrong:
            self.state.refuse(wrong)
        if asked != (DEFAULT_SCENARIO, "default", DEFAULT_SEED):
            pn.state.onload(self._on_run)
        elif self.state.first_at_once():
            self._draw(self.state.results, drawn(self.state.results.mine))
        else:
            pn.state.onload(self.state.first)

    async def _on_run(self, *_: Any) -> None:
        try:
            if self._scenario is None:
                raise InputError("choose a scenario first")
            request = request_of(self._scenario, self.policy.policy(), self.seed.value)
        except InputError as error:
            self.policy.blame(str(error))
            self.state.refuse(str(error))
            return
        self.policy.blame("")
        await self.state.run(request)

    def _on_scenario(self) -> None:
        try:
            self._scenario = self._own.get(self.scenario.value) or Scenario.load(self.scenario.value)
        except InputError as error:
            self._scenario = None
            self._scenario_about.object = ""
            self.state.refuse(str(error))
            return
        self._scenario_about.object = about(self._scenario)

    def _on_file(self, event: Any) -> None:
        if not event.new:
            return
        try:
            scenario = scenario_of(str(self.file.filename or "scenario.toml"), bytes(event.new))
        except InputError as error:
            self.state.refuse(str(error))
            return
        self._own[scenario.name] = scenario
        self.scenario.options = [*bundled(), *(name for name in self._own if name not in bundled())]
        self.scenario.value = scenario.name
        self._on_scenario()
        self.state.refuse("")

    def _on_preset(self) -> None:
        preset = PRESETS[self.preset.value]
        self._preset_about.object = f"<p>{escape(preset.about)}</p>"
        self.policy.show(Policy.preset(self.preset.value))
        self._on_policy()

    def _on_policy(self) -> None:
        """Say at once what can't work; what can is simulated when the visitor presses Run."""
        try:
            self.policy.policy()
        except InputError as error:
            self.policy.blame(str(error))
            self.state.refuse(str(error))
        else:
            self.policy.blame("")
            self.state.refuse("")

    def _on_running(self, *_: Any) -> None:
        state = self.state
        self.progress.param.update(visible=state.running, value=round(100 * state.share))
        self.cancel_button.visible = state.running
        if state.results is None:
            self._headline.object = _WAITING if state.running else _NOTHING

    def _say(self, sentence: str) -> None:
        self._notice.say(sentence.removeprefix("policy: "))

    async def _on_results(self, event: Any) -> None:
        results: Results = event.new
        data = await asyncio.to_thread(drawn, results.mine)
        if self.state.results is results:
            self._draw(results, data)

    def _draw(self, results: Results, data: dict[str, Data]) -> None:
        self._headline.object = headline(results)
        self.cards.show(results.mine, results.baseline)
        self.charts.show(data)


def about(scenario: Scenario) -> str:
    """A scenario in words: what it teaches, how long, how many."""
    clients = scenario.clients.count
    people = "1 client" if clients == 1 else f"{clients:,} clients"
    return f"<p>{escape(scenario.description)}</p><p>{format_duration(scenario.duration_s)}, {people}</p>"


def headline(results: Results) -> str:
    """What the results are of, in one line, and what to try next."""
    run = results.mine
    scenario = escape(str(run.scenario.get("name", "scenario")))
    count = int(run.metrics["messages"])
    return (
        f"<h2>{scenario} · {escape(run.label)} · seed {run.seed}</h2>"
        f"<p>{format_duration(run.duration_s)}, {count:,} messages; compared with <b>original</b>, the first design "
        f"of the app, on the same seed. {_TRY}</p>"
    )
