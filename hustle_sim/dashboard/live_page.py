"""The place where backends are watched: yours, or our practice backend, which can be broken on purpose."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import panel as pn

from hustle_sim.analysis.palette import Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.indicator import StatusIndicator
from hustle_sim.dashboard.live_board import Looking, TargetLine, Wall
from hustle_sim.dashboard.live_controls import LiveControls
from hustle_sim.dashboard.live_details import LiveDetails, zipped
from hustle_sim.dashboard.live_slo import Goals, read_goals, write_goals
from hustle_sim.dashboard.live_state import News, default_url, trouble
from hustle_sim.dashboard.live_targets import (
    USUAL,
    Target,
    read_targets,
    target_of,
    with_one_more,
    without,
    write_targets,
)
from hustle_sim.dashboard.live_watch import Watch, begin
from hustle_sim.dashboard.notices import Notice
from hustle_sim.dashboard.places import Arguments, Frame
from hustle_sim.dashboard.side_by_side import side_by_side
from hustle_sim.inputs import InputError
from hustle_sim.live.replay import scenario_of
from hustle_sim.live.settings import usable_settings, wall_time

logger = logging.getLogger("hustle_sim.dashboard")

_PULL_MS = 500

_NOTHING = (
    "Nothing is watched yet. Give the URL of your backend, or leave it empty for a practice backend on this machine "
    "that you can break on purpose."
)
_CONNECTING = "Connecting…"


class LivePage(pn.viewable.Viewer):
    """One visitor's view of their targets. The watching itself is shared by all who watch the same."""

    def __init__(self, frame: Frame, arguments: Arguments, **params: Any) -> None:
        super().__init__(**params)
        self._frame = frame
        self._settings, problem = usable_settings()
        self._targets: tuple[Target, ...] = ()
        self._watches: dict[str, Watch] = {}
        self._rows: dict[str, _Row] = {}
        self._chosen = ""
        self._goals = Goals()
        self._is_on_wall = self._is_seen = self._is_closed = False
        self._told: tuple[str, str] = ("", "")
        self._opening = asyncio.Lock()
        self._make_views(bool(arguments))
        self._pulling = pn.state.add_periodic_callback(self._pull, period=_PULL_MS, start=False)
        self._repaint = frame.page.param.watch(lambda _: self._paint(), "dark_theme")
        self.arrive(arguments)
        if problem:
            self._notice.say(problem)

    def arrive(self, arguments: Arguments) -> None:
        """See ``places.Receiving``: ``watch`` (targets), ``target`` (the chosen one), ``tab``, ``slo``, ``wall``.

        Another place gives a ``url`` (empty: the practice backend), which is watched beside what is watched already.
        """
        given = {name: str(value) for name, value in arguments.items()}
        if "url" in given:
            self._add(given["url"], USUAL)
            self._settle_soon()
            return
        targets, problem = read_targets(given.get("watch", ""))
        try:
            self._goals = read_goals(given["slo"]) if given.get("slo") else Goals()
        except InputError as error:
            problem = problem or str(error)
        on_wall = given.get("wall", "") not in ("", "0")
        if on_wall and not (targets or problem):
            targets = (target_of(default_url(self._settings), USUAL),)
        self._notice.say(problem)
        self.controls.show_goals(self._goals)
        self.details.tab = given.get("tab", "")
        self._targets = targets
        self._chosen = given.get("target", "")
        self._go_on_wall(on_wall)
        self._settle_soon()

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere: nothing is sent to a place that nobody sees."""
        self._view.visible = self._is_seen = visible
        self._turn()

    def close(self) -> None:
        """The visitor is gone: give up the seats. The watching of a target ends with its last viewer."""
        self._is_closed = True
        self._frame.page.param.unwatch(self._repaint)
        if self._pulling.running:
            self._pulling.stop()
        self.details.close()
        for watch in self._watches.values():
            watch.seat.leave()
        self._watches.clear()

    def __panel__(self) -> Any:
        return self._view

    @property
    def _theme(self) -> Theme:
        return "dark" if self._frame.page.dark_theme else "light"

    @property
    def _watch(self) -> Watch | None:
        return self._watches.get(self._chosen)

    def _make_views(self, watched: bool) -> None:
        self._notice, self._unreached, self._empty = Notice(), Notice(), Notice("info")
        self._empty.say(_NOTHING)
        self.controls = LiveControls(
            default_url(self._settings), on_add=self._on_add, on_goals=self._on_goals,
            on_wall=lambda: self._go_on_wall(True), on_problem=self._notice.say,
            history=self._history, scenario=self._scenario,
            on_replay=self._on_replay,
        )  # fmt: skip
        self.rows = pn.Column(
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], visible=False, css_classes=["targets"]
        )
        self.details = LiveDetails(self._theme, self._settings, on_tab=lambda _: self._write())
        self.wall = Wall(on_leave=lambda: self._go_on_wall(False))
        self.looking = Looking()
        self.looking.param.watch(lambda _: self._turn(), "looking")
        results = pn.Column(
            self._notice, self._unreached, self._empty, self.rows, self.details,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE], css_classes=["results"],
        )  # fmt: skip
        self._view = pn.Column(
            side_by_side(self.controls, results, "Targets, goals and downloads", is_open=not watched),
            self.wall, self.looking, sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    async def _on_add(self, url: str, every: str) -> None:
        if self._add(url, every):
            await self._settle()

    def _add(self, url: str, every: str) -> bool:
        """Put one more on the list, and choose it; false, and a sentence, if it can't be watched or is already."""
        try:
            target = target_of(url, every)
            if any(known.url == target.url for known in self._targets):
                self._chosen = target.url
            self._targets = with_one_more(self._targets, target)
        except InputError as error:
            self._notice.say(str(error))
            return False
        self._notice.say("")
        self._chosen = target.url
        return True

    async def _on_act(self, url: str, what: str) -> None:
        if what == "remove":
            self._targets = without(self._targets, url)
        else:
            self._chosen = url
        await self._settle()

    async def _settle(self) -> None:
        """Watch what is in the list, and nothing else; then show it."""
        async with self._opening:
            listed = {target.url: target for target in self._targets}
            for url in [url for url, watch in self._watches.items() if listed.get(url) != watch.target]:
                await asyncio.to_thread(self._watches.pop(url).seat.leave)
            for target in self._targets:
                if target.url not in self._watches and not self._is_closed:
                    self._empty.say(_CONNECTING if not self._watches else "")
                    await self._open(target)
            if self._is_closed:
                return
            # Somebody may press a button before the browser has said that it has the page.
            pn.state.onload(lambda: _locked(self._arrange))

    async def _open(self, target: Target) -> None:
        try:
            watch = await asyncio.to_thread(begin, target, self._settings)
        except InputError as error:
            self._targets = without(self._targets, target.url)
            self._notice.say(str(error))
            return
        if self._is_closed:
            watch.seat.leave()
            return
        self._watches[target.url] = watch

    def _arrange(self) -> None:
        """A line for each target, in the order of the list, and the details of the chosen one."""
        if self._is_closed:
            return
        now = wall_time()
        shown = [target.url for target in self._targets if target.url in self._watches]
        if self._chosen not in shown:
            self._chosen = shown[0] if shown else ""
        self._rows = {url: self._rows.get(url) or _Row(url, self._watches[url], self._on_act) for url in shown}
        for url, row in self._rows.items():
            row.follow(self._watches[url])
            row.line.chosen = url == self._chosen
        self.rows[:] = [row.view for row in self._rows.values()]
        self.rows.visible = bool(shown)
        self._empty.say("" if shown else _NOTHING)
        watch = self._watch
        if watch is not None:
            watch.pull(now)
        self._told = ("", "")
        self._unreached.say("")
        self.details.show(watch, self._goals, now)
        self.controls.practice.visible = any(watch.target.is_practice for watch in self._watches.values())
        self.controls.show_chosen("" if watch is None else watch.target.name)
        self._write()
        # The plots must have reached the page before anything is sent into them.
        self._turn()

    def _settle_soon(self) -> None:
        """Settle now, or when the browser has the page: what is sent before into boxes and plots is lost."""
        pn.state.onload(self._settle)

    def _turn(self) -> None:
        """Pull while the place is seen, and only then."""
        wanted = self._is_seen and self.looking.looking and bool(self._watches)
        self.details.seen(self._is_seen and self.looking.looking)
        if wanted and not self._pulling.running:
            self._pulling.start()
        elif not wanted and self._pulling.running:
            self._pulling.stop()

    def _pull(self) -> None:
        """Show what is new; called twice a second while the place is seen."""
        now = wall_time()
        news = {url: watch.pull(now) for url, watch in self._watches.items()}
        if self._is_on_wall:
            self._draw_wall(now)
            return
        for url, row in self._rows.items():
            if url in self._watches:
                row.draw(now)
        watch = self._watch
        if watch is not None:
            self.details.add(watch, news[self._chosen], self._goals, now)
            self._tell_trouble(watch)
            self.controls.show_incidents(bool(watch.session.digest.incidents()))
        self.controls.practice.refresh()

    def _draw_wall(self, now: float) -> None:
        signature = [
            (id(watch.session.health), watch.cells, watch.figures, watch.target) for watch in self._watches.values()
        ]
        if signature != self._wall_drawn:
            self._wall_drawn = signature
            self.wall.tiles = [watch.tile(now) for watch in self._watches.values()]

    _wall_drawn: object = None

    def _tell_trouble(self, watch: Watch) -> None:
        """One sentence about the chosen target when it can't be reached; not anew at every probe."""
        points = watch.feed.points
        status = watch.session.health.status.value
        told = (watch.target.url, points[-1].outcome if points and status == "offline" else "")
        if told != self._told:
            self._told = told
            self._unreached.say(trouble(watch.session.label, points, status))

    def _go_on_wall(self, on_wall: bool) -> None:
        self._is_on_wall = on_wall
        self._wall_drawn = None
        if on_wall:
            self._draw_wall(wall_time())
        else:
            watch, now = self._watch, wall_time()
            if watch is not None and self._is_seen:
                # What came meanwhile is not in the plots.
                self.details.show(watch, self._goals, now)
        self.wall.on_wall = on_wall
        self._write()

    def _on_goals(self, goals: Goals) -> None:
        self._goals = goals
        self._notice.say("")
        if self._watch is not None:
            self.details.add(self._watch, News(), goals, wall_time() + 1.0)
        self._write()

    def _history(self) -> io.BytesIO:
        """What was seen of the chosen target, as a file."""
        assert self._watch is not None
        return zipped(self._watch.session.run())

    def _on_replay(self) -> None:
        """Bring the visitor to Simulate, with what went wrong here as the scenario."""
        if self._watch is not None:
            try:
                self._frame.open("simulate", scenario=scenario_of(self._watch.session.run()))
            except InputError as error:
                self._notice.say(str(error))

    def _scenario(self) -> io.StringIO:
        """The incidents of the chosen target, as a scenario's file."""
        assert self._watch is not None
        return io.StringIO(scenario_of(self._watch.session.run()).to_toml())

    def _paint(self) -> None:
        self.details.paint(self._theme, wall_time())

    def _write(self) -> None:
        """Let the address say what is watched, and how it is shown."""
        said: Mapping[str, str] = {
            "watch": write_targets(self._targets),
            "target": self._chosen if len(self._targets) > 1 else "",
            "tab": self.details.tab if self.details.tab != "latency" else "",
            "slo": write_goals(self._goals),
            "wall": "1" if self._is_on_wall else "",
        }
        self._frame.set_address("live", {name: text for name, text in said.items() if text})


class _Row:
    """One target in the list: its indicator, and its line."""

    def __init__(self, url: str, watch: Watch, on_act: Callable[[str, str], Awaitable[None]]) -> None:
        self._watch = watch
        self._health: object = None
        self.indicator = StatusIndicator(
            on_probe=self._probe, label=watch.target.name, sizing_mode="stretch_width", margin=0
        )

        async def act(what: str) -> None:
            await on_act(url, what)

        self.line = TargetLine(act)
        self.view = pn.Column(
            self.indicator, self.line, sizing_mode="stretch_width", margin=0, stylesheets=[_ROW_CSS],
            css_classes=["target"],
        )  # fmt: skip

    def follow(self, watch: Watch) -> None:
        """The same target, perhaps in another session."""
        self._watch, self._health = watch, None
        self.draw(wall_time())

    def draw(self, now: float) -> None:
        """Show what has changed."""
        health = self._watch.session.health
        if health is not self._health:
            self._health = health
            self.indicator.show(health, now)
        if not self._watch.cells:
            self._watch.pull(now)
        self.line.param.update(**self._watch.line())

    async def _probe(self) -> None:
        self.indicator.probing = True
        try:
            await asyncio.wrap_future(self._watch.session.probe_now())
        except RuntimeError:
            logger.info("The watching ended before the probe.")
        finally:
            self._health = None
            _locked(lambda: self.draw(wall_time()))


_ROW_CSS = """
:host { display: grid !important; grid-template-columns: minmax(230px, 290px) minmax(0, 1fr); gap: 6px 18px;
        padding: 8px 0; align-items: center; }
:host > * { min-width: 0; }
@media (max-width: 1100px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""


def _locked(change: Callable[[], None]) -> None:
    """Change Bokeh's own models from an async callback: they want the lock of the document."""
    pn.state.execute(change, schedule=True)
