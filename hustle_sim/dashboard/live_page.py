"""The place where a real backend is watched, or our practice backend, which can be broken on purpose."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis.palette import Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.indicator import StatusIndicator
from hustle_sim.dashboard.live_charts import TABLE_CSS, LiveCharts, table
from hustle_sim.dashboard.live_state import (
    BREAKAGES,
    INTERVALS_S,
    SHOWN,
    Feed,
    default_url,
    practice,
    summary,
    take_seat,
    trouble,
    watch_policy,
)
from hustle_sim.dashboard.notices import Notice, prose
from hustle_sim.inputs import InputError
from hustle_sim.live.settings import Settings, wall_time
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.live.session import Seat

logger = logging.getLogger("hustle_sim.dashboard")

_PULL_MS = 500


class LivePage(pn.viewable.Viewer):
    """One visitor's view of one backend. The watching itself is shared by all who watch the same."""

    def __init__(self, page: pmui.Page, **params: Any) -> None:
        super().__init__(**params)
        self._page = page
        self._seat: Seat | None = None
        self._feed = Feed()
        self._health: Any = None
        self._drawn = 0.0
        self._settings, self._problem = _settings()
        self._make_controls()
        self._make_views()
        self._view = styles.side_by_side(self._controls, self._results)
        self._pulling = pn.state.add_periodic_callback(self._pull, period=_PULL_MS, start=False)
        self._repaint = page.param.watch(lambda _: self._paint(), "dark_theme")
        self._notice.say(self._problem)
        self._show_practice()

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere: nothing is sent to a place that nobody sees."""
        self._view.visible = visible
        if visible and self._seat is not None:
            self._pulling.start()
        elif self._pulling.running:
            self._pulling.stop()

    def close(self) -> None:
        """The visitor is gone: give up the seat. The watching ends with the last one."""
        self._page.param.unwatch(self._repaint)
        if self._pulling.running:
            self._pulling.stop()
        if self._seat is not None:
            self._seat.leave()
            self._seat = None

    def __panel__(self) -> Any:
        return self._view

    @property
    def _theme(self) -> Theme:
        return "dark" if self._page.dark_theme else "light"

    def _make_controls(self) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "width": None, "margin": (8, 0), "size": "small"}
        self.url = pmui.TextInput(
            label="Backend URL", value=default_url(self._settings), placeholder="http://localhost:8000",
            helper_text="Empty: a practice backend on this machine, which you can break on purpose.",
            **wide,
        )  # fmt: skip
        self.interval = pmui.Select(label="Probe every", options=list(INTERVALS_S), value="5 s", **wide)
        self.start_button = pmui.Button(
            label="Start", color="primary", variant="contained", sizing_mode="stretch_width", margin=(8, 0),
            on_click=self._on_start,
        )  # fmt: skip
        self.stop_button = pmui.Button(
            label="Stop", color="primary", variant="outlined", sizing_mode="stretch_width", margin=(8, 0),
            visible=False, on_click=self._on_stop,
        )  # fmt: skip
        self.breaking = {
            how: pmui.Button(
                label=how, color="primary", variant="outlined", sizing_mode="stretch_width", margin=(4, 0),
                on_click=lambda _, how=how: self._break(how),
            )
            for how in BREAKAGES
        }  # fmt: skip
        self.mend_button = pmui.Button(
            label="Mend it", color="primary", variant="outlined", sizing_mode="stretch_width", margin=(4, 0),
            on_click=lambda _: self._break(""),
        )  # fmt: skip
        self._practice_about = prose("")
        self._practice = pn.Column(
            prose("<h2>Break it on purpose</h2>"), self._practice_about, pn.Spacer(height=6),
            *self.breaking.values(), self.mend_button,
            visible=False, sizing_mode="stretch_width", margin=(14, 0, 0, 0), css_classes=["practice"],
        )  # fmt: skip
        self._controls = pn.Column(
            prose("<h2>What is watched</h2>"),
            self.url,
            self.interval,
            pn.Row(self.start_button, self.stop_button, sizing_mode="stretch_width", margin=0),
            self._practice,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.PANEL],
            css_classes=["controls"],
        )

    def _make_views(self) -> None:
        self._notice = Notice()
        self._unreached = Notice()
        self.indicator = StatusIndicator(on_probe=self._on_probe, sizing_mode="stretch_width", margin=0)
        self._summary = prose("<p>No probe has ended yet.</p>", css_classes=["probes"])
        self.charts: LiveCharts | None = None
        self._chart_box = pn.Column(sizing_mode="stretch_width", margin=0)
        self._table = pn.pane.HTML(
            table([], SHOWN), sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, TABLE_CSS],
            css_classes=["transitions"],
        )  # fmt: skip
        self._drawings = pn.Column(
            pn.Column(
                self._summary, pn.Spacer(height=8), self._chart_box,
                sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL],
            ),
            pn.Spacer(height=14),
            pn.Column(
                prose('<h2 style="margin-bottom:8px">Last changes of the verdict</h2>'), self._table,
                sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL],
            ),
            visible=False, sizing_mode="stretch_width", margin=(14, 0, 0, 0),
        )  # fmt: skip
        self._results = pn.Column(
            self._notice,
            self._unreached,
            self.indicator,
            self._drawings,
            sizing_mode="stretch_width",
            margin=0,
            stylesheets=[styles.BARE],
            css_classes=["results"],
        )

    async def _on_start(self, *_: Any) -> None:
        try:
            url = (self.url.value or "").strip()
            policy = watch_policy(INTERVALS_S[self.interval.value], Policy.from_environment())
            seat = await asyncio.to_thread(take_seat, url, policy, self._settings)
        except InputError as error:
            self._notice.say(str(error))
            return
        await self._on_stop()
        _locked(lambda: self._begin(seat, policy))

    def _begin(self, seat: Seat, policy: Policy) -> None:
        self._notice.say("")
        self._seat, self._feed, self._health = seat, Feed(), None
        self.url.value = seat.session.label
        now = wall_time()
        points, stretches = self._feed.pull(seat.session)
        self.charts = LiveCharts(self._theme, policy.probe, stretches, now)
        self.charts.add(points, [], now)
        self._chart_box[:] = [self.charts]
        self._table.object = table(self._feed.stretches, SHOWN)
        self._drawings.visible = True
        self.stop_button.visible, self.start_button.visible = True, False
        self.url.disabled = self.interval.disabled = True
        self._show_practice()
        # The plots must have reached the page before anything is sent into them.
        self._drawn = now
        self._pulling.start()

    async def _on_stop(self, *_: Any) -> None:
        seat, self._seat = self._seat, None
        if seat is None:
            return
        if self._pulling.running:
            self._pulling.stop()
        self.indicator.show(None, wall_time())
        self._unreached.say("")
        self.stop_button.visible, self.start_button.visible = False, True
        self.url.disabled = self.interval.disabled = False
        await asyncio.to_thread(seat.leave)

    async def _on_probe(self) -> None:
        if self._seat is None:
            return
        self.indicator.probing = True
        try:
            await asyncio.wrap_future(self._seat.session.probe_now())
        except RuntimeError as error:
            self._notice.say(str(error))
        finally:
            self._health = None
            _locked(self._pull)

    def _break(self, how: str) -> None:
        try:
            if how:
                practice.break_it(how)
            else:
                practice.mend()
        except InputError as error:
            self._notice.say(str(error))
        self._show_practice()

    def _pull(self) -> None:
        """Show what is new; called about twice a second while the place is seen."""
        if self._seat is None:
            return
        session, now = self._seat.session, wall_time()
        health = session.health
        if health is not self._health:
            self._health = health
            self.indicator.show(health, now)
        points, stretches = self._feed.pull(session)
        if points or stretches or now - self._drawn >= 1.0:
            self._drawn = now
            if self.charts is not None:
                self.charts.add(points, stretches, now)
        if points:
            self._summary.object = f"<p>{summary(self._feed.points)}</p>"
            self._unreached.say(trouble(session.label, self._feed.points, health.status.value))
        if stretches:
            self._table.object = table(self._feed.stretches, SHOWN)

    def _paint(self) -> None:
        if self.charts is not None:
            self.charts.paint(self._theme, wall_time())

    def _show_practice(self) -> None:
        here = self._seat is not None and practice.is_at(self._seat.session.label)
        self._practice.visible = here
        state = f"It is broken: <b>{practice.broken}</b>." if practice.broken else "It is well."
        self._practice_about.object = f"<p>The practice backend is yours, on this machine. {state}</p>"
        for how, button in self.breaking.items():
            broken = how == practice.broken
            button.param.update(color="error" if broken else "primary", variant="contained" if broken else "outlined")


def _locked(change: Callable[[], None]) -> None:
    """Change Bokeh's own models from an async callback: they want the lock of the document."""
    pn.state.execute(change, schedule=True)


def _settings() -> tuple[Settings, str]:
    """The settings of ``.env``; where they can't be used, settings without any, and the sentence that says why."""
    try:
        return Settings.load(), ""
    except InputError as error:
        return Settings.model_construct(), str(error)
