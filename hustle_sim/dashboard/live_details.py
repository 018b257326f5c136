"""The details of one target: its cards, its streams, its incidents, its queue."""

# mypy: allow-subclassing-any

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis.palette import Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.live_charts import LiveCharts
from hustle_sim.dashboard.live_history import HistoryChart
from hustle_sim.dashboard.live_practice import practice
from hustle_sim.dashboard.live_slo import Goals
from hustle_sim.dashboard.live_state import SHOWN, News
from hustle_sim.dashboard.live_words import CARDS_CSS, TABLE_CSS, transitions
from hustle_sim.dashboard.notices import prose
from hustle_sim.dashboard.queue_state import QueueFile
from hustle_sim.dashboard.queue_view import QueueView
from hustle_sim.live.settings import Settings, wall_time
from hustle_sim.live.store import target_store_path

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.dashboard.live_watch import Watch

TABS = ("latency", "incidents", "queue")
"""The parts of the details, as an address names them."""

_CARDS_S = 1.0


class LiveDetails(pn.viewable.Viewer):
    """Made once; ``show`` turns it to a target, or to none: then only the app's own queue is there."""

    def __init__(self, theme: Theme, settings: Settings, on_tab: Callable[[str], None], **params: Any) -> None:
        super().__init__(**params)
        self._settings = settings
        self._on_tab = on_tab
        self._watch: Watch | None = None
        self._drawn = 0.0
        self._queued = 0
        self._is_seen = False
        self.queue = QueueView()
        self.charts, self.history = LiveCharts(theme, wall_time()), HistoryChart(theme)
        self._wanted = TABS[0]
        self._make_views()

    @property
    def tab(self) -> str:
        """The part that is shown, as soon as a target is chosen."""
        return self._wanted

    @tab.setter
    def tab(self, name: str) -> None:
        self._wanted = name if name in TABS else TABS[0]
        self._turn_tab()

    def show(self, watch: Watch | None, goals: Goals, now: float) -> None:
        """Turn to another target; all that the page knows of it is drawn."""
        self._watch = watch
        self._turn_tab()
        self._cards_box.visible = watch is not None
        self._title.object = f'<h2 style="margin-bottom:8px">{"" if watch is None else escape(watch.target.name)}</h2>'
        if watch is not None:
            self._drawn = now
            session = watch.session
            self.charts.reset(watch.feed, session.policy.probe, now)
            zero = now - session.now_s
            minutes = session.digest.minutes(session.now_s)
            for minute in minutes:
                minute.start_s += zero
            self.history.reset(minutes)
            self._tell(watch, goals)
        pn.state.execute(self._follow, schedule=True)

    def add(self, watch: Watch, news: News, goals: Goals, now: float) -> None:
        """Draw what is new of the target; about once a second the rest moves on."""
        if news.points or news.stretches or now - self._drawn >= _CARDS_S:
            self._drawn = now
            self.charts.add(news, now)
            self._set(self._cards, watch.cards(goals, watch.session.digest.depth, self._dead))
        self.history.add(news.minutes)
        if watch.session.digest.queued != self._queued:
            self._queued = watch.session.digest.queued
            pn.state.execute(self.queue.refresh, schedule=True)
        if news.points:
            self._set(self._summary, watch.summary())
        if news.stretches or (news.points and watch.feed.points[-1].status != "online"):
            self._lists(watch)

    @property
    def _dead(self) -> int:
        return self.queue.dead if self.whose.value == self.whose.options[0] else 0

    def paint(self, theme: Theme, now: float) -> None:
        """Use the colours of another theme."""
        self.charts.paint(theme, None if self._watch is None else self._watch.feed, now)
        self.history.paint(theme)

    def seen(self, visible: bool) -> None:
        """The visitor looks at the place, or elsewhere."""
        self._is_seen = visible
        self.queue.seen(visible and TABS[self._tabs.active] == "queue")

    def close(self) -> None:
        """The visitor is gone."""
        self.queue.close()

    def __panel__(self) -> Any:
        return self._view

    def _make_views(self) -> None:
        self._title = prose("")
        self.whose = pmui.RadioButtonGroup(
            options=["Of this target", "Of the app on this machine"], value="Of this target", label="Whose queue",
            color="primary", size="small", margin=(0, 0, 10, 0),
        )  # fmt: skip
        self.whose.param.watch(lambda _: pn.state.execute(self._follow, schedule=True), "value")
        self._whose_title = prose("")
        self._cards = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, stylesheets=[CARDS_CSS],
                                   css_classes=["live-cards"])  # fmt: skip
        self._cards_box = pn.Column(self._title, self._cards, sizing_mode="stretch_width", margin=(0, 0, 12, 0))
        self._summary = prose("<p>No probe has ended yet.</p>", css_classes=["probes"])
        self._incidents, self._changes = (
            pn.pane.HTML(
                "", sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, TABLE_CSS], css_classes=[name]
            )
            for name in ("incidents", "transitions")
        )
        latency = _panel(self._summary, pn.Spacer(height=8), self.charts, self.history)
        incidents = _panel(
            prose('<h2 style="margin-bottom:8px">Incidents</h2>'), self._incidents,
            prose('<h2 style="margin:16px 0 8px">Last changes of the verdict</h2>'), self._changes,
        )  # fmt: skip
        self._tabs = pmui.Tabs(
            ("Latency", latency), ("Incidents", incidents),
            ("Queue", _panel(self.whose, self._whose_title, self.queue)),
            dynamic=False, active=2, disabled=[0, 1], sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self._tabs.param.watch(lambda _: self._turned(), "active")
        self._view = pn.Column(self._cards_box, self._tabs, sizing_mode="stretch_width", margin=(14, 0, 0, 0),
                               css_classes=["live-details"])  # fmt: skip

    def _turn_tab(self) -> None:
        """Without a target there is only the app's own queue to look at."""
        self._tabs.disabled = [0, 1] if self._watch is None else []
        self._tabs.active = 2 if self._watch is None else TABS.index(self._wanted)

    def _turned(self) -> None:
        self.queue.seen(self._is_seen and TABS[self._tabs.active] == "queue")
        if self._watch is not None:
            self._wanted = TABS[self._tabs.active]
            self._on_tab(self._wanted)

    def _tell(self, watch: Watch, goals: Goals) -> None:
        self._set(self._cards, watch.cards(goals, watch.session.digest.depth, self._dead))
        self._set(self._summary, watch.summary())
        self._lists(watch)

    def _lists(self, watch: Watch) -> None:
        self._set(self._incidents, watch.incidents())
        self._set(self._changes, transitions(watch.feed.stretches, SHOWN))

    async def _follow(self) -> None:
        watch = self._watch
        self.whose.visible = watch is not None
        self._set(self._whose_title, "<h2>The queue of the app on this machine</h2>" if watch is None else "")
        if watch is None or self.whose.value != self.whose.options[0]:
            await self.queue.follow(QueueFile())
            return
        path = practice.store_path if watch.target.is_practice else target_store_path(watch.target.url, self._settings)
        await self.queue.follow(QueueFile(path, watch.session))

    @staticmethod
    def _set(pane: pn.pane.HTML, html: str) -> None:
        if pane.object != html:
            pane.object = html


def zipped(run: Run) -> io.BytesIO:
    """The folder that ``Run.save`` writes, as a ZIP file."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        run.save(Path(folder) / "run")
        for path in sorted((Path(folder) / "run").iterdir()):
            archive.write(path, path.name)
    packed.seek(0)
    return packed


def _panel(*parts: Any) -> pn.Column:
    return pn.Column(*parts, sizing_mode="stretch_width", margin=(10, 0, 0, 0), stylesheets=[styles.PANEL])
