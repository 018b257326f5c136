"""The figures of a run, or of two on common axes, under one time axis.

A new run sends data into plots that are there already; figures of a group that is closed are neither computed nor
sent.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import panel as pn
from bokeh.events import RangesUpdate
from bokeh.models import Span

from hustle_sim.analysis import palette
from hustle_sim.analysis.difference import on_common_axes
from hustle_sim.analysis.figure_sets import EVERY, WHOLE, shown
from hustle_sim.analysis.palette import Look, Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.fold import Fold
from hustle_sim.dashboard.why import QUIET

if TYPE_CHECKING:
    from hustle_sim.analysis.figure_data import Data
    from hustle_sim.analysis.recording import Recording


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that answer one question; ``is_open`` on a first visit."""

    title: str
    about: str
    figures: tuple[str, ...]
    is_open: bool


GROUPS = (
    Group("What the monitor said", "health checks and verdicts, beside the truth", ("heartbeat", "status"), True),
    Group("What people saw", "latency, outcomes, waiting", ("latency", "outcomes", "waiting"), True),
    Group("What was queued and sent again", "the queue, and the rush after an outage", ("queue", "rush"), False),
    Group("What the backend bore", "its load, and the requests it got", ("load", "arrivals"), False),
)
"""The figures of the place, from the top."""

SHOWN = tuple(name for group in GROUPS if group.is_open for name in group.figures)
"""The figures that are open on a first visit."""

AT_SIGHT = ("heartbeat", "status", "latency")
"""Those of them that fill a first screen."""

_LOOKS: Mapping[str, tuple[str, str, Mapping[str, Look]]] = {
    "heartbeat": ("bars", "beat", palette.HEARTBEAT),
    "status": ("bands", "status", palette.STATUS),
    "latency": ("points", "outcome", palette.OUTCOME),
    "outcomes": ("bars", "fate", palette.FATE),
    "waiting": ("bars", "has", palette.WAITING),
    "queue": ("marks", "event", palette.QUEUE),
    "load": ("bars", "part", palette.LOAD),
    "arrivals": ("bars", "traffic", palette.TRAFFIC),
}
"""For each figure: which column of which table says what is drawn, and how each word looks."""

_LINES = {
    "latency": (("solid", "p50"), ("dashed", "p95"), ("dotted", "deadline")),
    "density": (("dotted", "deadline"),),
    "queue": (("dotted", "queue is full"),),
    "rush": (("solid", "busiest 10 s"),),
    "load": (("solid", "capacity"),),
    "arrivals": (("solid", "all that reached the backend"),),
}


Clicked = Callable[[str, int, float, float], None]
"""Called with the figure's slot, the run's place (0 or 1), and where on the axes."""

Build = Callable[[str, int, Theme, hv.streams.Pipe], Any]
"""Makes the figure of a slot and a run's place, in a theme, that follows a pipe."""

Zoomed = Callable[[int, tuple[float, float], tuple[float, float]], None]
"""Called with the run's place and the ranges of time and of height that a density shows now."""


def drawn(runs: Sequence[Recording], names: Sequence[str] = SHOWN) -> dict[str, list[Data]]:
    """What each figure draws of one run, or of two on common axes, by slot (the names of ``WHOLE``).

    Pure, and for any thread. A figure that a run can't fill is left out. Added to the data are the name of their
    ``figure``, and the ``clock`` of their time axis, which is that of the whole run if this is only its beginning.
    """
    made: dict[str, list[Data]] = {}
    chosen = [dict(zip(_slots(run), shown(run), strict=True)) for run in runs]
    for slot in names:
        figures = [each.get(slot) for each in chosen]
        if None in figures:
            continue
        if len(set(figures)) > 1:
            # A density beside points would not compare.
            figures = ["density"] * len(runs)
        datas = [EVERY[str(name)].make(run) for name, run in zip(figures, runs, strict=True)]
        datas = [{**data, "end_s": run.planned_s} for run, data in zip(runs, datas, strict=True)]
        if len(datas) == 2:
            datas = list(on_common_axes(*datas))
        made[slot] = [
            {**data, "figure": str(name), "clock": None if run.backend_truth else run.start}
            for name, run, data in zip(figures, runs, datas, strict=True)
        ]
    return made


def _slots(run: Recording) -> list[str]:
    return [name for name in WHOLE if run.backend_truth or name != "load"]


def legend(slot: str, datas: Sequence[Data], theme: Theme) -> str:
    """The words that a figure uses for these runs, each with its mark, as HTML: it wraps where a plot's can't."""
    name = str(datas[0].get("figure", slot))
    marks: list[str] = []
    if name in _LOOKS:
        table, column, looks = _LOOKS[name]
        there = {word for data in datas for word in data[table][column]}
        marks = [
            f'<span><i style="color:{look.colour(theme)}">{look.glyph}</i>{escape(look.word)}</span>'
            for word, look in looks.items()
            if word in there or look.word in there
        ]
    elif name == "density":
        ok, failed = (palette.OUTCOME[word].colour(theme) for word in ("ok", "timeout"))
        marks = [f'<span><i style="color:{ok}">■</i>answered</span><span><i style="color:{failed}">■</i>failed</span>']
    if name != "queue" or any(len(data["most"]) for data in datas):
        marks += [
            f'<span><i class="line" style="border-top-style:{dash}"></i>{escape(words)}</span>'
            for dash, words in _LINES.get(name, ())
        ]
    return f'<h2>{escape(EVERY[name].title)}{_note(datas[:1])}</h2><div class="legend">{"".join(marks)}</div>'


def _note(datas: Sequence[Data]) -> str:
    return "".join(f" <em>({escape(str(data['note']))})</em>" for data in datas if data["note"])


class Plot:
    """One run's plot in a slot, with a line above it that says whose it is when there are two."""

    def __init__(self, name: str) -> None:
        self._pipe: hv.streams.Pipe | None = None
        self._side: pn.pane.HTML | None = None
        self._pane = pn.pane.HoloViews(None, linked_axes=True, backend="bokeh", sizing_mode="stretch_width", margin=0)
        self.view = pn.Column(self._pane, sizing_mode="stretch_width", margin=0, css_classes=[f"figure-{name}"])

    @property
    def data(self) -> Data | None:
        """What is drawn."""
        return None if self._pipe is None else self._pipe.data

    def is_of(self, data: Data) -> bool:
        """Whether the plot that is there can show these data."""
        now = self.data
        return now is not None and bool(now["figure"] == data["figure"] and now["clock"] == data["clock"])

    def name(self, words: str) -> None:
        """Say whose it is, as HTML; nothing takes the line away."""
        if not words and self._side is not None:
            self.view.remove(self._side)
            self._side = None
        elif words and self._side is None:
            self._side = pn.pane.HTML(
                words, sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, _SIDE_CSS]
            )
            self.view.insert(0, self._side)
        elif self._side is not None:
            self._side.object = words

    def send(self, data: Data) -> bool:
        """Show other data; returns whether the plot that is there could."""
        if self._pipe is None or not self.is_of(data):
            return False
        self._pipe.send(data)
        return True

    def build(self, data: Data, build: Callable[[hv.streams.Pipe], Any]) -> None:
        """Draw a new figure, which follows a pipe."""
        self._pipe = hv.streams.Pipe(data=dict(data))
        self._pane.object = build(self._pipe)

    def forget(self) -> None:
        """Build anew the next time."""
        self._pipe = None


class Slot:
    """The place of one figure: a heading, and a plot for each run. What was never shown costs nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._head: pn.pane.HTML | None = None
        self._plots: list[Plot] = []
        self.view = pn.Column(
            sizing_mode="stretch_width", margin=(0, 0, 12, 0), stylesheets=[styles.PANEL], visible=False
        )

    @property
    def is_drawn(self) -> bool:
        """Whether there is a plot."""
        return bool(self.data())

    def can_show(self, datas: Sequence[Data]) -> bool:
        """Whether the plots that are there are all that is needed."""
        alike = len(datas) == len(self._plots)
        return alike and all(plot.is_of(data) for plot, data in zip(self._plots, datas, strict=True))

    def show(self, datas: Sequence[Data], labels: Sequence[str], theme: Theme, build: Build) -> None:
        """Send data into the plots, or build those that are missing."""
        self._say(legend(self.name, datas, theme))
        self.view.min_height = None
        while len(self._plots) > len(datas):
            self.view.remove(self._plots.pop().view)
        for place, data in enumerate(datas):
            if place == len(self._plots):
                self._plots.append(Plot(f"{self.name}{'-b' * place}"))
                self.view.append(self._plots[place].view)
            plot, note = self._plots[place], _note([data]) if place else ""
            plot.name(f"<p><b>{'AB'[place]}</b> {escape(labels[place])}{note}</p>" if len(datas) > 1 else "")
            if not plot.send(data):
                plot.build(data, partial(build, self.name, place, theme))
        self.view.visible = True

    def announce(self, datas: Sequence[Data], theme: Theme) -> None:
        """Say what will be drawn here, and keep its place."""
        self._say(legend(self.name, datas, theme))
        self.view.min_height = sum(EVERY[str(data["figure"])].height for data in datas) + _HEAD_PX
        self.view.visible = True

    def forget(self) -> None:
        """Build anew the next time."""
        for plot in self._plots:
            plot.forget()

    def clear(self) -> None:
        """Take the plots away: nothing fills them."""
        self.view.visible = False
        self.view.clear()
        self._head, self._plots = None, []

    def resend(self, place: int, data: Data) -> None:
        """Send other data of the same figure, if it is still that figure."""
        self._plots[place].send(data)

    def data(self) -> list[Data]:
        """What is drawn."""
        return [plot.data for plot in self._plots if plot.data is not None]

    def _say(self, words: str) -> None:
        if self._head is None:
            self._head = pn.pane.HTML(
                words, sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, _LEGEND_CSS]
            )
            self.view.append(self._head)
        self._head.object = words


class RunCharts(pn.viewable.Viewer):
    """The figures in their groups; zooming one zooms all.

    ``line`` is the name that the vertical line of the play head has in every plot, ``at`` says where it is,
    ``opened`` is called when figures were asked for that are not drawn yet.
    """

    def __init__(
        self, theme: Theme, line: str, at: Callable[[], float], clicked: Clicked, zoomed: Zoomed,
        opened: Callable[[], Any], beside: Mapping[str, Any] | None = None, look: Mapping[str, Any] = QUIET,
        **params: Any,
    ) -> None:  # fmt: skip
        """``beside``: what stands under a figure, by its name; ``look``: as of ``Why``."""
        super().__init__(**params)
        self._look = look
        self._theme: Theme = theme
        self._line, self._at = line, at
        self._clicked, self._zoomed, self._opened = clicked, zoomed, opened
        self._labels: tuple[str, ...] = ()
        self.slots = {name: Slot(name) for name in WHOLE}
        self.folds: list[tuple[Fold, Group, pn.Column]] = []
        for group in GROUPS:
            fold = Fold(title=group.title, about=group.about, open=group.is_open)
            inner: list[Any] = []
            for name in group.figures:
                inner.append(self.slots[name].view)
                if beside and name in beside:
                    inner.append(beside[name])
            column = pn.Column(*inner, sizing_mode="stretch_width", margin=0, visible=group.is_open)
            fold.param.watch(self._fold(fold, column), "open")
            self.folds.append((fold, group, column))
        parts = [part for fold, _, column in self.folds for part in (fold, column)]
        self._view = pn.Column(*parts, sizing_mode="stretch_width", margin=0)

    @property
    def names(self) -> tuple[str, ...]:
        """The figures of the groups that are open."""
        return tuple(name for fold, group, _ in self.folds if fold.open for name in group.figures)

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of them that are not drawn."""
        return tuple(name for name in self.names if not self.slots[name].is_drawn)

    def show(self, data: Mapping[str, Sequence[Data]], labels: Sequence[str]) -> bool:
        """Draw what ``drawn`` made; returns whether there are new plots."""
        self._labels = tuple(labels)
        new = [name for name, datas in data.items() if not self.slots[name].can_show(datas)]
        with pn.io.hold():
            for name in data:
                if name not in new:
                    self.slots[name].show(data[name], labels, self._theme, self._build)
        # Never hold while plots are built: the browser would hear of them before it has them.
        for name in new:
            self.slots[name].show(data[name], labels, self._theme, self._build)
        return bool(new)

    def announce(self, data: Mapping[str, Sequence[Data]]) -> None:
        """Keep the places of figures that are drawn in a moment."""
        for name, datas in data.items():
            self.slots[name].announce(datas, self._theme)

    def keep_only(self, names: Sequence[str]) -> None:
        """Forget the figures that are not of the run that is shown now."""
        for name, slot in self.slots.items():
            if name not in names and slot.is_drawn:
                slot.clear()

    def paint(self, theme: Theme) -> None:
        """Draw all for another theme."""
        self._theme = theme
        for slot in self.slots.values():
            datas = slot.data()
            slot.forget()
            if datas:
                slot.show(datas, self._labels, theme, self._build)

    def close(self) -> None:
        """Let go of the plots."""
        for slot in self.slots.values():
            slot.forget()

    def __panel__(self) -> Any:
        return self._view

    def _fold(self, fold: Fold, column: pn.Column) -> Callable[[Any], Any]:
        def folded(_event: Any) -> None:
            column.visible = fold.open
            if fold.open:
                self._opened()

        return folded

    def _build(self, name: str, place: int, theme: Theme, pipe: hv.streams.Pipe) -> Any:
        """A figure that follows a pipe, and tells of clicks and zooms."""
        one = EVERY[pipe.data["figure"]]
        tap = hv.streams.SingleTap()
        tap.add_subscriber(lambda x, y: self._tapped(name, place, x, y))
        figure = one.live(
            pipe, theme=theme, clock=pipe.data["clock"], streams=[tap],
            hooks=[_hook_of(self, place if one.name == "density" else None)],
        )  # fmt: skip
        return figure.opts(backend_opts=self._look, backend="bokeh")

    def _tapped(self, name: str, place: int, x: float | None, y: float | None) -> None:
        if x is not None and y is not None:
            self._clicked(name, place, float(x), float(y))

    def _finish(self, plot: Any, dense: int | None) -> None:
        """Give a new plot the line of the play head; one of a density (of the run ``dense``) tells of its zooms."""
        figure = plot.state
        if any(one.name == self._line for one in figure.center):
            return
        colour = palette.line("line", self._theme)
        figure.add_layout(
            Span(location=self._at(), dimension="height", line_color=colour, line_width=1.5, name=self._line)
        )
        if dense is not None:
            # Of Bokeh itself: the ranges that a HoloViews stream tells of are not those of axes that are linked.
            figure.on_event(RangesUpdate, partial(self._ranged, dense))

    def _ranged(self, place: int, event: RangesUpdate) -> None:
        ends = (event.x0, event.x1, event.y0, event.y1)
        if all(end is not None and math.isfinite(end) for end in ends):
            self._zoomed(place, (event.x0, event.x1), (event.y0, event.y1))


def _hook_of(charts: RunCharts, dense: int | None) -> Callable[[Any, Any], None]:
    """HoloViews keeps hooks for as long as the process lives: it must not keep the charts of a visitor with them."""
    known = weakref.ref(charts)

    def finish(plot: Any, _element: Any) -> None:
        alive = known()
        if alive is not None:
            alive._finish(plot, dense)

    return finish


_HEAD_PX = 60
"""About the height of a heading with its legend."""

_SIDE_CSS = "p { margin: 6px 0 0; } p b { color: var(--mui-palette-text-primary); } em { font-style: normal; }"

_LEGEND_CSS = """
em { font-weight: 400; font-style: normal; color: var(--mui-palette-hustle-quiet); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 0; font-size: 12.5px;
          color: var(--mui-palette-hustle-quiet); }
.legend span { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; }
.legend i { font-style: normal; font-size: 13px; }
.legend i.line { width: 22px; border-top: 2px solid var(--mui-palette-text-primary); }
"""
