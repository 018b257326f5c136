"""The place where an outage is simulated: scenario and policy at the left, what came of it at the right."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import math
from functools import partial
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import address, styles
from hustle_sim.dashboard.advice import Advice
from hustle_sim.dashboard.cards import MetricCards
from hustle_sim.dashboard.choice import Choice, Side, default_choice, preset, seed_of
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.dashboard.places import Arguments, Frame
from hustle_sim.dashboard.policy_form import PolicyForm
from hustle_sim.dashboard.running import Running
from hustle_sim.dashboard.scenario_picker import ScenarioPicker
from hustle_sim.dashboard.side_by_side import side_by_side
from hustle_sim.dashboard.simulate_state import Results, SimulateState
from hustle_sim.dashboard.story import Story
from hustle_sim.dashboard.take_home import TakeHome
from hustle_sim.dashboard.versus import Versus
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import PRESETS

_ONE_GO_S = 1.5
_TRY = "Try: open <b>Health probes</b> and drag <b>Interval</b>; everything follows while you do."
_WAITING = "<h2>Simulating…</h2><p>The first run takes a few seconds; later ones are there at once.</p>"
_NOTHING = "<h2>Nothing is simulated yet</h2><p>Choose a scenario or change the policy: it runs at once.</p>"


# A FlexBox makes its children as wide as itself.
_TOOLBAR = """
:host { display: flex; flex-flow: row wrap; align-items: center; gap: 4px 20px; max-height: none !important; }
:host > * { width: auto !important; flex: 0 1 auto !important; }
:host > :first-child { flex-grow: 1 !important; }
"""


class SimulatePage(pn.viewable.Viewer):
    """Controls and results of one visitor."""

    def __init__(self, frame: Frame, arguments: Arguments, **params: Any) -> None:
        super().__init__(**params)
        self._frame = frame
        self.state = SimulateState(show=self._draw, show_part=self._draw_part)
        self._is_setting = False
        self._changed_s = math.inf
        self._untold: Choice | None = None
        choice, wrong = asked(arguments)
        self._make_controls(choice)
        self._make_results(frame.page, choice)
        self._view = side_by_side(self._controls, self._results, "Scenario and policy", is_open=False)
        self.state.param.watch(self._on_running, ["running", "share"])
        self.state.param.watch(lambda event: self._say(event.new), "problem")
        self._watch()
        self._begin(choice, wrong)

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere."""
        self._view.visible = visible

    def arrive(self, arguments: Arguments) -> None:
        """Show what an address or another place asks for."""
        choice, wrong = asked(arguments)
        self._set(choice)
        self._changed_s = math.inf
        self._changed()
        self.state.refuse(wrong)

    def close(self) -> None:
        """The visitor is gone: end what runs for them."""
        self.state.close()
        self.story.close()

    def __panel__(self) -> Any:
        return self._view

    def _make_controls(self, choice: Choice) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
        self.scenario = ScenarioPicker()
        self.scenario.show(choice.scenario)
        self.preset = pmui.Select(label="Policy preset", options=list(PRESETS), value=choice.mine.preset, **wide)
        self._preset_about = prose(_about_preset(choice.mine.preset))
        self.seed = pmui.IntInput(
            label="Seed", description="The same seed gives the same run, to the last bit.", value=choice.seed,
            start=0, format="0", **wide,
        )  # fmt: skip
        self.running = Running(cancel=self.state.cancel)
        self.policy = PolicyForm(changed=self._changed)
        self.policy.show(preset(choice.mine.preset), choice.mine.policy)
        self.advice = Advice(mend=self.policy.change)
        self.advice.show(choice.mine.policy, choice.scenario)
        self._controls = pn.Column(
            prose('<h2 style="margin-bottom:8px">What happens</h2>'),
            self.scenario,
            pn.Spacer(height=6),
            self.seed,
            prose('<h2 style="margin:10px 0 2px">Policy</h2>'),
            self.preset,
            self._preset_about,
            self.advice,
            pmui.Button(
                label="Tune this policy",
                color="primary",
                variant="outlined",
                size="small",
                margin=(8, 0, 0, 0),
                on_click=lambda _: self._tune(),
            ),
            pn.Spacer(height=8),
            self.policy,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.PANEL],
            css_classes=["controls"],
        )

    def _make_results(self, page: pmui.Page, choice: Choice) -> None:
        self._notice = Notice()
        self._headline = prose(_WAITING, css_classes=["headline"])
        self.versus = Versus(mine=self._mine, value=choice.other, both=choice.both)
        self.take_home = TakeHome(results=lambda: self.state.results, complain=self.state.refuse)
        self.cards = MetricCards()
        self.story = Story(page)
        self._results = pn.Column(
            self._notice,
            self._headline,
            self.running,
            self.scenario.editor,
            pn.Spacer(height=8),
            pn.Column(
                self.versus,
                self.take_home,
                margin=0,
                sizing_mode="stretch_width",
                stylesheets=[_TOOLBAR],
            ),
            pn.Spacer(height=8),
            self.cards,
            pn.Spacer(height=14),
            self.story,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.BARE],
            css_classes=["results"],
        )

    def _watch(self) -> None:
        self.scenario.param.watch(lambda _: self._changed(), "value")
        self.preset.param.watch(lambda _: self._on_preset(), "value")
        self.seed.param.watch(lambda _: self._changed(), "value")
        self.versus.param.watch(lambda _: self._changed(), ["value", "both"])

    def _begin(self, choice: Choice, wrong: str) -> None:
        """Show what the address asks for, or what is wrong with it; the first visit's run is there at once."""
        self.state.refuse(wrong)
        draw = None
        if choice == default_choice() and self.state.at_once():
            results = self.state.results
            self._label(results)
            draw = self.story.announce(results.mine)
            self.take_home.shown += 1

        async def loaded() -> None:
            if draw is None:
                self._changed()
                self.state.refuse(wrong)
            else:
                self._write(choice)
                await draw()

        pn.state.onload(loaded)

    def choice(self) -> Choice:
        """What the controls say. Raises InputError with one sentence if it can't be."""
        return Choice(
            self.scenario.value, Side(self.preset.value, self.policy.policy()), seed_of(self.seed.value),
            self.versus.value, self.versus.both,
        )  # fmt: skip

    def _tune(self) -> None:
        """Bring scenario and policy to the place where better values are looked for."""
        try:
            choice = self.choice()
        except InputError as error:
            self.state.refuse(str(error))
        else:
            self._frame.open("tune", scenario=choice.scenario, policy=choice.mine.policy)

    def _mine(self) -> Side | None:
        try:
            return Side(self.preset.value, self.policy.policy())
        except InputError:
            return None

    def _changed(self) -> None:
        """Something was changed: say at once what can't work, simulate what can."""
        if self._is_setting:
            return
        try:
            choice = self.choice()
        except InputError as error:
            self.policy.blame(str(error))
            self.state.refuse(str(error))
            return
        self.policy.blame("")
        self.state.refuse("")
        self._untold = choice
        pn.state.execute(partial(self._run, choice))

    async def _run(self, choice: Choice) -> None:
        if await self.state.run(choice):
            self._catch_up()

    def _catch_up(self) -> None:
        """Let advice and address follow what was chosen last.

        With what came of it, and not before: a dragged slider chooses more often than a busy server can tell of.
        """
        choice, self._untold = self._untold, None
        if choice is not None:
            with pn.io.hold():
                self.advice.show(choice.mine.policy, choice.scenario)
                self._write(choice)

    def _write(self, choice: Choice) -> None:
        """Let the address say what is chosen; what is changed in one go is one step for the back button.

        ``_changed_s`` is infinite after what the visitor did not change by the controls.
        """
        now_s = asyncio.get_running_loop().time()
        is_step, self._changed_s = now_s - self._changed_s > _ONE_GO_S, now_s
        query: dict[str, str] = {}
        try:
            query = address.to_query(choice)
        except InputError as error:
            self.take_home.no_link = str(error)
        else:
            self.take_home.no_link = ""
        self._frame.set_address("simulate", query, step=is_step)

    def _set(self, choice: Choice) -> None:
        """Set the controls."""
        self._is_setting = True
        try:
            self.scenario.show(choice.scenario)
            self.preset.value, self.seed.value = choice.mine.preset, choice.seed
            self.policy.show(preset(choice.mine.preset), choice.mine.policy)
            self.versus.param.update(value=choice.other, both=choice.both)
        finally:
            self._is_setting = False

    def _on_preset(self) -> None:
        self._preset_about.object = _about_preset(self.preset.value)
        if self._is_setting:
            return
        self.policy.show(preset(self.preset.value), preset(self.preset.value))
        self._changed()

    def _on_running(self, *_: Any) -> None:
        state = self.state
        self.running.param.update(running=state.running, share=state.share)
        if state.results is None:
            self._headline.object = _WAITING if state.running else _NOTHING

    def _say(self, sentence: str) -> None:
        self._notice.say(sentence.removeprefix("policy: "))

    async def _draw(self, results: Results) -> None:
        self._label(results)
        await self.story.show(results.mine, results.other, results.choice.both, labels=results.choice.labels)
        self.take_home.shown += 1

    async def _draw_part(self, results: Results | None) -> None:
        """What there is of a long simulation; None once it is given up."""
        if results is not None:
            runs = [results.mine, results.other] if results.choice.both else [results.mine]
            await self.story.begin(runs, results.choice.labels)
            with pn.io.hold():
                self._catch_up()
                self.cards.show(results.mine, None)
                self._headline.object = headline_so_far(results)
        elif self.state.results is not None:
            await self._draw(self.state.results)
        else:
            self.cards.show(None, None)
            self._headline.object = _NOTHING
            self.story.hide()

    def _label(self, results: Results) -> None:
        with pn.io.hold():
            self._catch_up()
            self._headline.object = headline(results)
            self.cards.show(results.mine, results.other)


def asked(arguments: Arguments) -> tuple[Choice, str]:
    """What an address asks for, or the default and a sentence about what is wrong with it."""
    try:
        return address.from_query(arguments), ""
    except InputError as error:
        return default_choice(), str(error)


def headline(results: Results) -> str:
    """What the results are of, in one line, and what to try next."""
    run, (mine, other) = results.mine, results.choice.labels
    scenario = escape(results.choice.scenario.name)
    count = int(run.metrics["messages"])
    same = " (the same policy)" if results.choice.mine.policy == results.choice.other.policy else ""
    return (
        f"<h2>{scenario} · {escape(mine)} · seed {run.seed}</h2>"
        f"<p>{format_duration(run.duration_s)}, {count:,} messages; compared with <b>{escape(other)}</b>{same} "
        f"on the same seed. {_TRY}</p>"
    )


def headline_so_far(results: Results) -> str:
    """What is shown of results whose simulation is not over."""
    run, (label, beside) = results.mine, results.choice.labels
    done, all_of_it = format_duration(float(round(run.duration_s))), format_duration(run.planned_s)
    count = f"{int(run.metrics['messages']):,} messages"
    words = (
        f"the first {done} of {all_of_it}, {count}. Cards and figures grow until the simulation is over."
        if run.duration_s < run.planned_s
        else f"all {all_of_it}, {count}; {escape(beside)} is still being simulated."
    )
    return (
        f"<h2>{escape(results.choice.scenario.name)} · {escape(label)} · seed {run.seed}</h2>"
        f"<p><b>So far:</b> {words}</p>"
    )


def _about_preset(name: str) -> str:
    return f"<p>{escape(PRESETS[name].about)}</p>"
