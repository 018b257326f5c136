"""The controls of the live place: what to watch, what was promised, what to take home, what to break."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Coroutine
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.live_slo import Goals, goals_of
from hustle_sim.dashboard.live_targets import INTERVALS_S, USUAL
from hustle_sim.dashboard.notices import prose
from hustle_sim.dashboard.practice_panel import PracticePanel
from hustle_sim.inputs import InputError

_WIDE: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
_BUTTON: dict[str, Any] = {"color": "primary", "variant": "outlined", "sizing_mode": "stretch_width", "margin": (4, 0)}


class LiveControls(pn.viewable.Viewer):
    """Widgets only: what they mean is decided by whom they call."""

    def __init__(
        self,
        url: str,
        *,
        on_add: Callable[[str, str], Coroutine[Any, Any, None]],
        on_goals: Callable[[Goals], None],
        on_wall: Callable[[], None],
        on_problem: Callable[[str], None],
        history: Callable[[], Any],
        scenario: Callable[[], Any],
        on_replay: Callable[[], None],
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._on_add, self._on_goals, self._on_problem = on_add, on_goals, on_problem
        self._setting_goals = False
        self.url = pmui.TextInput(
            label="Backend URL", value=url, placeholder="http://localhost:8000",
            helper_text="Empty: a practice backend on this machine, which you can break on purpose.", **_WIDE,
        )  # fmt: skip
        self.interval = pmui.Select(label="Probe every", options=list(INTERVALS_S), value=USUAL, **_WIDE)
        self.add_button = pmui.Button(label="Watch", on_click=self._add, **{**_BUTTON, "variant": "contained"})
        self.wall_button = pmui.Button(label="Show on a wall", on_click=lambda _: on_wall(), **_BUTTON)
        self._make_goals()
        self._make_chosen(history, scenario, on_replay)
        self.practice = PracticePanel(on_problem)
        self._view = pn.Column(
            prose("<h2>Watch a backend</h2>"), self.url, self.interval, self.add_button, self.wall_button,
            self.practice, self._goals, self._chosen,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], css_classes=["controls"],
        )  # fmt: skip

    def show_goals(self, goals: Goals) -> None:
        """Let the fields say these goals."""
        self._setting_goals = True
        try:
            self.percent.value, self.latency.value = 100 * goals.available_share, goals.latency_s
        finally:
            self._setting_goals = False

    def show_chosen(self, name: str) -> None:
        """What can be done with the chosen target; an empty name: nothing is chosen."""
        self._chosen.visible = self._goals.visible = bool(name)
        self._chosen_name.object = f"<h2>What was seen of {escape(name)}</h2>"
        self.wall_button.disabled = not name

    def show_incidents(self, some: bool) -> None:
        """Whether there is an incident that could be replayed."""
        if self.scenario.disabled == some:
            self.scenario.disabled = self.replay_button.disabled = not some

    def __panel__(self) -> Any:
        return self._view

    def _make_goals(self) -> None:
        self.percent = pmui.FloatInput(label="Availability goal · %", value=99.5, step=0.1, **_WIDE)
        self.latency = pmui.FloatInput(label="p95 latency goal · s", value=3.0, step=0.1, **_WIDE)
        for field in (self.percent, self.latency):
            field.param.watch(lambda _: self._change_goals(), "value")
        self._goals = pn.Column(
            prose("<h2>What was promised</h2>"), self.percent, self.latency,
            visible=False, sizing_mode="stretch_width", margin=(14, 0, 0, 0), css_classes=["goals"],
        )  # fmt: skip

    def _make_chosen(
        self, history: Callable[[], Any], scenario: Callable[[], Any], on_replay: Callable[[], None]
    ) -> None:
        self._chosen_name = prose("")
        self.download = pmui.FileDownload(
            callback=history, filename="history.zip", label="Download history (Parquet)", **_BUTTON
        )
        self.scenario = pmui.FileDownload(
            callback=scenario, filename="recorded.toml", label="Incidents as a scenario", **_BUTTON
        )
        self.replay_button = pmui.Button(label="Replay this in Simulate", on_click=lambda _: on_replay(), **_BUTTON)
        self._chosen = pn.Column(
            self._chosen_name, pn.Spacer(height=4), self.download, self.scenario, self.replay_button,
            visible=False, sizing_mode="stretch_width", margin=(14, 0, 0, 0), css_classes=["take-home"],
        )  # fmt: skip

    async def _add(self, *_: Any) -> None:
        self.add_button.disabled = True
        try:
            await self._on_add(self.url.value or "", self.interval.value)
        finally:
            self.add_button.disabled = False

    def _change_goals(self) -> None:
        if self._setting_goals:
            return
        try:
            goals = goals_of(float(self.percent.value or 0), float(self.latency.value or 0))
        except InputError as error:
            self._on_problem(str(error))
            return
        self._on_goals(goals)
