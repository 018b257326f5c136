"""The story of a run: its figures, a play head over them, the state and the chat at that moment, and why.

``Story`` is what the Simulate place shows of a run or of two, and what a notebook shows with ``explore``.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui
from panel.theme import Native

from hustle_sim.analysis.density import density_data
from hustle_sim.analysis.life import attempt_near, message_of
from hustle_sim.analysis.moment import moment
from hustle_sim.analysis.palette import Theme
from hustle_sim.analysis.stops import Stops
from hustle_sim.analysis.timeline import Timeline
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.charts import AT_SIGHT, RunCharts, drawn
from hustle_sim.dashboard.moment_view import MomentView
from hustle_sim.dashboard.playhead import PlayHead
from hustle_sim.dashboard.why import QUIET, Why
from hustle_sim.simulation.words import texts_of

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.analysis.figure_data import Data

logger = logging.getLogger("hustle_sim.dashboard")

_numbers = count(1)

TALKATIVE = 50_000
"""Messages up to which their words are drawn again for the chat; beyond, they have neutral ones."""


_PAUSE_S = 0.8

_NOT_YET = "The simulation is not over: click again when it is, to see why."


@dataclass(frozen=True, slots=True)
class Told:
    """A run made ready for questions: its time line, where a play head stops, and for which client."""

    run: Run
    label: str
    client: int
    timeline: Timeline
    stops: Stops


def told(run: Run, label: str, client: int | None = None) -> Told:
    """Make a run ready. Pure, and for any thread; the first question is answered here, so that it costs nothing later.

    ``client`` None or one that the run does not have is its first.
    """
    known = run.clients
    chosen = client if client in known else (known[0] if known else 0)
    texts = texts_of(run) if len(run.messages) <= TALKATIVE else {}
    timeline = Timeline(run, texts=texts)
    moment(timeline, 0.0, chosen)
    return Told(run, label, chosen, timeline, Stops(run, chosen))


def opening_s(one: Told) -> float:
    """Where the play head begins: when the first person is left without the coach, or at the first change."""
    first = next((stop for stop in one.stops.all if "offline answer" in stop.words), None)
    first = first or next(iter(one.stops.all), None)
    return first.time_s if first is not None else 0.0


def labels_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """What runs are called beside each other, where they are also called A and B."""
    return tuple(run.label or run.name for run in runs)


class Story(pn.viewable.Viewer):
    """Figures, play head, moment and chat, and why, of one run or of two.

    ``page`` gives the theme and its changes; without one (in a notebook) it is ``theme``.
    """

    def __init__(self, page: pmui.Page | None = None, theme: Theme = "light", **params: Any) -> None:
        super().__init__(**params)
        self._page = page
        self._theme: Theme = theme if page is None else _theme_of(page)
        self._told: list[Told] = []
        self._latest = 0
        self._is_begun = False
        self._zooms: dict[int, tuple[Any, Any]] = {}
        line = f"playhead-{next(_numbers)}"
        self.playhead = PlayHead(self._step, line=line)
        look = QUIET if page is not None else {**QUIET, **_look_of(theme)}
        self.why = Why(self._theme, self._go, look=look)
        self.charts = RunCharts(
            self._theme, line, lambda: self.playhead.time_s, self._clicked, self._zoomed, self._opened,
            beside={"latency": self.why}, look=look,
        )  # fmt: skip
        self.moments = [MomentView(visible=place == 0) for place in range(2)]
        for place, view in enumerate(self.moments):
            view.param.watch(partial(self._on_client, place), "client")
        self.playhead.param.watch(lambda _: self._show_moment(), "time_s")
        side = pn.Column(*self.moments, sizing_mode="stretch_width", margin=0, css_classes=["side"])
        grid = pn.Column(self.charts, side, sizing_mode="stretch_width", margin=0, stylesheets=[_GRID_CSS])
        self._view = pn.Column(
            self.playhead, grid, visible=False, sizing_mode="stretch_width", margin=0,
            **({"stylesheets": [_HOLDER_CSS]} if page is not None else _in_notebook(theme)),
        )  # fmt: skip
        self._repaint = None if page is None else page.param.watch(lambda _: self._paint(), "dark_theme")

    async def show(
        self, mine: Run, other: Run | None = None, compare: bool = False, *, labels: Sequence[str] | None = None
    ) -> None:
        """Show a run; with ``compare``, and ``other`` under it on common axes. A newer call makes an older one void.

        ``labels`` are what the runs are called; None takes their own.
        """
        runs = [mine] if other is None or not compare else [mine, other]
        ticket = self._take()
        if [one.run for one in self._told] == runs and not self._is_begun:
            return
        labels = labels_of(runs) if labels is None else labels[: len(runs)]
        wanted = self.charts.names
        data = await asyncio.to_thread(drawn, runs, wanted)
        if ticket != self._latest:
            return
        self.charts.keep_only(tuple(data))
        self._draw(data, labels)
        ready = await asyncio.to_thread(self._ready, runs, labels)
        if ticket == self._latest:
            self._tell(ready)

    async def begin(self, runs: Sequence[Run], labels: Sequence[str]) -> None:
        """Show the figures of runs whose simulation is not over; all else follows when they are shown whole."""
        ticket = self._take()
        data = await asyncio.to_thread(drawn, runs, self.charts.names)
        if ticket == self._latest:
            self._is_begun = True
            self._draw(data, labels)
            for view in self.moments[: len(self._told)]:
                view.title = "At this moment, in the run before"

    def hide(self) -> None:
        """Show nothing, until there is a run again."""
        self._take()
        self._view.visible = False

    def show_at_once(self, mine: Run, other: Run | None = None) -> None:
        """The same without a loop: for a notebook."""
        self._take()
        runs = [mine] if other is None else [mine, other]
        labels = labels_of(runs)
        self._draw(drawn(runs, self.charts.names), labels)
        self._tell(self._ready(runs, labels))

    def announce(self, mine: Run) -> Callable[[], Awaitable[None]]:
        """Show a run with the places of its figures; what is returned draws them, those in sight first.

        For a first page whose run is there already: what is said of it can be read while the figures are made.
        """
        ticket, labels = self._take(), labels_of([mine])
        data = drawn([mine], self.charts.names)
        self.charts.announce(data)
        self._view.visible = True
        self._tell(self._ready([mine], labels))

        async def draw() -> None:
            for part in (AT_SIGHT, tuple(name for name in data if name not in AT_SIGHT)):
                if ticket != self._latest:
                    return
                self._draw({name: data[name] for name in part if name in data}, labels)
                # The browser is busy with these for about so long; what is out of sight would hold them up.
                await asyncio.sleep(_PAUSE_S)

        return draw

    def close(self) -> None:
        """Let go of the plots and runs."""
        self._take()
        if self._page is not None:
            self._page.param.unwatch(self._repaint)
        self.charts.close()
        self._told = []

    def __panel__(self) -> Any:
        return self._view

    def _take(self) -> int:
        self._latest = next(_numbers)
        return self._latest

    def _ready(self, runs: Sequence[Run], labels: Sequence[str]) -> list[Told]:
        clients = [view.client for view in self.moments]
        return [told(run, label, clients[place]) for place, (run, label) in enumerate(zip(runs, labels, strict=True))]

    def _draw(self, data: Mapping[str, list[Data]], labels: Sequence[str]) -> None:
        built = self.charts.show(data, labels)
        self._view.visible = True
        if built:
            self.playhead.drawn += 1

    def _tell(self, ready: list[Told]) -> None:
        """Let play head, moments and Why tell of these runs from now on."""
        self._is_begun = False
        begins = not self._told
        self._told = ready
        self._zooms = {place: zoom for place, zoom in self._zooms.items() if place < len(ready)}
        end_s = max(one.run.duration_s for one in ready)
        same_length = self.playhead.end_s == end_s
        at_s = opening_s(ready[0]) if begins or not same_length else self.playhead.time_s
        with pn.io.hold():
            for place, view in enumerate(self.moments):
                there = place < len(ready)
                view.visible = there
                if there:
                    title = (
                        "At this moment" if len(ready) == 1 else f"At this moment: {'AB'[place]}, {ready[place].label}"
                    )
                    clients = list(ready[place].run.clients)
                    view.param.update(title=title, clients=clients, client=ready[place].client)
            self.playhead.param.update(end_s=end_s, time_s=at_s, note="")
            self._show_moment()
        self.why.show(ready[0].run, ready[0].label if len(ready) > 1 else "")

    def _show_moment(self) -> None:
        at_s = self.playhead.time_s
        for one, view in zip(self._told, self.moments, strict=False):
            view.show(moment(one.timeline, min(at_s, one.run.duration_s), one.client))
        self.playhead.shown_s = at_s

    def _go(self, time_s: float, note: str = "") -> None:
        self.playhead.param.update(time_s=min(max(0.0, time_s), self.playhead.end_s), note=note)

    def _step(self, way: int, from_s: float) -> None:
        """To the next event of any of the runs."""
        found = [one.stops.after(from_s) if way > 0 else one.stops.before(from_s) for one in self._told]
        there = [stop for stop in found if stop is not None]
        if not there:
            self.playhead.note = "No more events." if way > 0 else "No earlier event."
            return
        stop = min(there) if way > 0 else max(there)
        self._go(stop.time_s, stop.words[:1].upper() + stop.words[1:])

    async def _on_client(self, place: int, event: Any) -> None:
        if place >= len(self._told) or self._told[place].client == event.new:
            return
        one = self._told[place]

        def anew() -> Told:
            moment(one.timeline, 0.0, event.new)
            return Told(one.run, one.label, event.new, one.timeline, Stops(one.run, event.new))

        ready = await asyncio.to_thread(anew)
        if place < len(self._told) and self._told[place] is one:
            self._told[place] = ready
            self._show_moment()

    def _clicked(self, name: str, place: int, time_s: float, height: float) -> None:
        """A click into a figure moves the play head, and into the latency of an attempt tells why as well."""
        if self._is_begun:
            self.why.say(_NOT_YET)
            return
        if place >= len(self._told):
            return
        run = self._told[place].run
        latency_s = {"latency": height, "density": 10.0 ** min(height, 6.0)}.get(self._figure(name, place))
        if latency_s is None:
            self._go(time_s)
            return
        x_range = self._zooms.get(place, ((0.0, run.duration_s), None))[0]
        row = attempt_near(run, time_s, latency_s, x_range[1] - x_range[0])
        self._go(time_s if row is None else run.attempts["time_s"].to_numpy()[row].item())
        message_id = None if row is None else message_of(run, row)
        if message_id is not None:
            self.why.show(run, self._told[place].label if len(self._told) > 1 else "")
            self.why.explain(message_id)
        elif row is not None:
            self.why.say("That was a health check: it belongs to no message. Click an attempt for a message.")

    def _figure(self, name: str, place: int) -> str:
        datas = self.charts.slots[name].data()
        return str(datas[place]["figure"]) if place < len(datas) else ""

    def _zoomed(self, place: int, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._zooms[place] = (x_range, y_range)
        pn.state.execute(partial(self._count_anew, place, x_range, y_range))

    async def _count_anew(self, place: int, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        """Count the attempts anew for the part that is looked at."""
        if place >= len(self._told) or self._is_begun:
            return
        run = self._told[place].run
        data = await asyncio.to_thread(density_data, run, x_range, y_range)
        still = place < len(self._told) and self._told[place].run is run
        if not still or self._zooms.get(place) != (x_range, y_range):
            return
        now = self.charts.slots["latency"].data()
        if place < len(now):
            kept = {name: now[place][name] for name in ("limits", "end_s", "figure", "clock")}
            with pn.io.hold():
                self.charts.slots["latency"].resend(place, {**data, **kept})

    def _opened(self) -> None:
        pn.state.execute(self._draw_missing)

    async def _draw_missing(self) -> None:
        """Draw what was opened and is not there yet."""
        missing, asked = self.charts.missing, list(self._told)
        if not missing or not asked or self._is_begun:
            return
        data = await asyncio.to_thread(drawn, [one.run for one in asked], missing)
        if asked != self._told:
            return
        if self.charts.show(data, [one.label for one in asked]):
            self.playhead.drawn += 1

    def _paint(self) -> None:
        if self._page is None:
            return
        self._theme = _theme_of(self._page)
        self.charts.paint(self._theme)
        self.why.paint(self._theme)
        self.playhead.drawn += 1


def explore(run: Run, other: Run | None = None, *, theme: Theme = "light") -> Story:
    """The story of a run in a notebook cell: figures, play head, chat, and the life of each message.

    With ``other``, the figures of both stand one under the other. Needs a running kernel.
    """
    pn.extension(inline=True)  # a notebook may be without a way to other hosts
    story = Story(theme=theme)
    story.show_at_once(run, other)
    return story


def _theme_of(page: pmui.Page) -> Theme:
    return "dark" if page.dark_theme else "light"


def _in_notebook(theme: Theme) -> dict[str, Any]:
    """What the page would have given: the variables of the Material theme, and a ground.

    Panel's Material design would paint for the theme of the editor, which the figures here were not drawn for.
    """
    palette = styles.THEME[theme]["palette"]
    named = {
        "primary-main": palette["primary"]["main"],
        "primary-contrastText": palette["primary"]["contrastText"],
        "text-primary": palette["text"]["primary"],
        **{f"hustle-{name}": colour for name, colour in palette["hustle"].items()},
    }
    variables = " ".join(f"--mui-palette-{name}: {colour};" for name, colour in named.items())
    return {"design": Native, "stylesheets": [_HOLDER_CSS, f":host {{ {variables} }}", _GROUND_CSS]}


def _look_of(theme: Theme) -> dict[str, str]:
    """How the Material theme of a page would have painted a figure, as options of Bokeh."""
    palette = styles.THEME[theme]["palette"]
    ink, quiet, card = palette["text"]["primary"], palette["hustle"]["quiet"], palette["hustle"]["card"]
    axis = {"axis_label_text_color": ink, "major_label_text_color": quiet, "axis_line_color": quiet,
            "major_tick_line_color": quiet, "axis_label_text_font_style": "normal"}  # fmt: skip
    return {
        "plot.background_fill_color": card,
        "plot.border_fill_color": card,
        "plot.outline_line_color": quiet,
        "plot.grid.grid_line_color": palette["hustle"]["line"],
        **{f"{way}axis.{name}": value for way in "xy" for name, value in axis.items()},
    }


_HOLDER_CSS = ":host { container-type: inline-size; }"

_GROUND_CSS = """
:host { --design-background-text-color: var(--mui-palette-text-primary); background: var(--mui-palette-hustle-well);
        padding: 10px; border-radius: 10px; box-sizing: border-box; }
"""

_GRID_CSS = """
:host { display: grid !important; grid-template-columns: minmax(0, 1fr); gap: 14px; align-items: start; }
:host > * { min-width: 0; }
@container (min-width: 880px) {
  :host { grid-template-columns: minmax(0, 1fr) clamp(270px, 28cqi, 380px); }
  :host > .side { position: sticky; top: 64px; max-height: calc(100vh - 150px); overflow-y: auto; }
}
@container (max-width: 879px) { :host > .side { order: -1; } }
"""
