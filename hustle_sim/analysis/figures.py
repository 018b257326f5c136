"""The figures: one time axis, linked zoom, hover that explains.

Each figure is a ``Figure``: a pure function that makes its data from a run (``figure_data``), and parts that draw
the data, each one HoloViews element. ``draw(data)`` makes a static overlay, ``live(pipe)`` the same overlay from
``DynamicMap``s that follow a HoloViews Pipe. ``latency(run)`` and its like do both steps at once.

Drawn for the Bokeh backend; with ``hv.extension("matplotlib")`` loaded first, the same figures come out as pictures
(without hover). Importing this module takes a second or two: HoloViews is large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh

from hustle_sim.analysis import figure_data, palette
from hustle_sim.analysis.axes import LEGEND, finish_bokeh, finish_matplotlib, titled
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.palette import Look, Theme

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

TIME = hv.Dimension("time_s", label="time since start")
"""The one time axis: the same dimension everywhere, so that all figures zoom together."""

_UNTIL = hv.Dimension("until_s")

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a figure: ``make`` draws one HoloViews element from the data; options are those of each backend.

    ``looks`` are the words that ``by`` (a column) can have: they give colours, and shapes to points.
    """

    make: Callable[[Data], Any]
    bokeh: Options = field(default_factory=dict)
    matplotlib: Options = field(default_factory=dict)
    by: str = ""
    looks: Mapping[str, Look] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``make`` gives its data, ``parts`` its layers for a theme, from back to front."""

    name: str
    title: str
    ylabel: str
    height: int
    make: Callable[..., Data]
    parts: Callable[[Theme], tuple[Part, ...]]
    logy: bool = False

    def draw(
        self, data: Data, *, theme: Theme = "light", clock: datetime | None = None, legend: bool = True
    ) -> hv.Overlay:
        """The figure of some data.

        ``clock`` is the time that is 0 on the axis, to print times of day (UTC). Without ``legend``, make one beside
        it from the ``palette``.
        """
        layers = [layer for part in self.parts(theme) for layer in _static(part, data, theme)]
        return self._finished(hv.Overlay(layers), lambda: data, legend, clock)

    def live(
        self, pipe: hv.streams.Pipe, *, theme: Theme = "light", clock: datetime | None = None, legend: bool = True
    ) -> hv.Overlay:
        """The same figure as an overlay of DynamicMaps: it redraws whenever data is sent into the pipe.

        The pipe must hold data already. The axes follow the data, unless the reader has zoomed in. Send to several
        figures inside ``pn.io.hold()``: one repaint instead of many, and legends that keep their symbols.
        """
        layers = [
            _styled(hv.DynamicMap(_framed(part.make), streams=[pipe]), part, theme, "bokeh")
            for part in self.parts(theme)
        ]
        return self._finished(hv.Overlay(layers).collate(), lambda: pipe.data, legend, clock)

    def _finished(
        self, overlay: hv.Overlay, data: Callable[[], Data], legend: bool, clock: datetime | None
    ) -> hv.Overlay:
        now = data()
        common = {
            "title": titled(self.title, now), "xlabel": "", "ylabel": self.ylabel, "logy": self.logy,
            "xlim": (0.0, now["end_s"]) if now["end_s"] > 0 else (0.0, 1.0), "ylim": now["limits"],
            "show_grid": True, "show_legend": legend, **({"yticks": now["rows"]} if "rows" in now else {}),
        }  # fmt: skip
        start = None if clock is None else clock.timestamp()
        overlay = overlay.opts(
            **common, responsive=True, height=self.height, legend_position="top", legend_cols=7, legend_opts=LEGEND,
            toolbar="right",
            default_tools=["xpan", "xwheel_zoom", "box_zoom", "reset"], active_tools=["xwheel_zoom"],
            hooks=[finish_bokeh(self.title, data, start)], backend="bokeh",
            fontsize={"title": "11pt", "labels": "9pt", "ticks": "8pt"},
        )  # fmt: skip
        if "matplotlib" not in hv.Store.registry:
            return overlay
        return overlay.opts(
            **{**common, "xlabel": " ", "ylabel": self.ylabel or " "}, aspect=4, fig_inches=9, legend_position="right",
            legend_opts={"fontsize": 7}, fontsize={"title": 10, "labels": 8}, hooks=[finish_matplotlib(start)],
            backend="matplotlib",
        )  # fmt: skip


def latency(run: Recording, *, theme: Theme = "light", limit: int = figure_data.POINTS) -> hv.Overlay:
    """Every attempt on a logarithmic axis, outcome by colour and shape; p50, p95, the deadline and the outages.

    Beyond ``limit`` ok attempts (and as many others) every n-th is drawn, and the title says so.
    """
    return LATENCY.draw(figure_data.latency_data(run, limit), theme=theme, clock=_clock(run))


def status_band(run: Recording, client: int | None = None, *, theme: Theme = "light") -> hv.Overlay:
    """The truth above the verdict of one client; ``client`` None takes the only one, or the shares of a fleet."""
    return STATUS.draw(figure_data.status_data(run, client), theme=theme, clock=_clock(run))


def queue_depth(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Messages waiting, over all clients, with what was added, delivered, given up and dropped."""
    return QUEUE.draw(figure_data.queue_data(run), theme=theme, clock=_clock(run))


def retry_outcomes(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """What became of the messages, by the time at which they were sent, stacked."""
    return OUTCOMES.draw(figure_data.outcomes_data(run), theme=theme, clock=_clock(run))


def backend_load(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Requests in service and waiting, stacked, against the backend's capacity."""
    return LOAD.draw(figure_data.load_data(run), theme=theme, clock=_clock(run))


def arrivals(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Requests a second: first tries, retries, replays and health checks, and all that reached the backend."""
    return ARRIVALS.draw(figure_data.arrivals_data(run), theme=theme, clock=_clock(run))


def layout(run: Recording, *, theme: Theme = "light") -> hv.Layout:
    """All figures of a run under each other, with one time axis. That of the backend only if it is known."""
    shown = [figure for figure in FIGURES.values() if run.backend_truth or figure is not LOAD]
    figures = hv.Layout([figure.draw(figure.make(run), theme=theme, clock=_clock(run)) for figure in shown]).cols(1)
    if "matplotlib" not in hv.Store.registry:
        return figures
    return figures.opts(sublabel_format="", vspace=0.5, fig_inches=9, backend="matplotlib")


def _clock(run: Recording) -> datetime | None:
    """A live session is read by the clock, a simulation by the time since its start."""
    return None if run.backend_truth else run.start


def _static(part: Part, data: Data, theme: Theme) -> list[Any]:
    element = part.make(data)
    if isinstance(element, hv.Curve) and not len(element):
        return []
    if hv.Store.current_backend != "matplotlib":
        return [_styled(element, part, theme, "bokeh")]
    if not part.by:
        return [_styled(element, part, theme, "matplotlib")]
    # Matplotlib has one marker for one element, and makes its legend from labels.
    present = set(element.dimension_values(part.by))
    return [
        _styled(element.select(**{part.by: look.word}).relabel(look.word), part, theme, "matplotlib", look)
        for look in part.looks.values()
        if look.word in present
    ]


def _framed(make: Callable[[Data], Any]) -> Callable[..., Any]:
    # HoloViews hands the contents of a Pipe over by the name "data".
    return lambda data: make(data)


def _styled(layer: Any, part: Part, theme: Theme, backend: str, look: Look | None = None) -> Any:
    if backend == "matplotlib":
        own: dict[str, Any] = {"color": look.colour(theme)} if look is not None else {}
        if look is not None and "s" in part.matplotlib:
            own["marker"] = _MATPLOTLIB_MARKERS.get(look.marker, "o")
        return layer.opts(**part.matplotlib, **own, backend="matplotlib")
    colour: dict[str, Any] = {"color": part.by, "cmap": palette.colours(part.looks, theme)} if part.by else {}
    return layer.opts(**part.bokeh, **colour, backend="bokeh")


_MATPLOTLIB_MARKERS = {
    "circle": "o", "x": "x", "triangle": "^", "inverted_triangle": "v", "triangle_dot": "2", "square": "s",
    "square_x": "P", "diamond": "D", "diamond_dot": "d", "hex": "h", "plus": "+", "asterisk": "*", "cross": "+",
}  # fmt: skip


def _outages(theme: Theme) -> Part:
    colour = palette.line("outage", theme)
    return Part(
        lambda data: hv.VSpans(data["outages"], kdims=[TIME, _UNTIL]),
        {"color": colour, "alpha": 0.1, "line_alpha": 0, "level": "underlay", "apply_ranges": False},
        {"facecolor": colour, "edgecolor": "none", "alpha": 0.1},
    )


def _sentence(height: str, theme: Theme) -> Part:
    """What is said in the middle of a frame in which there is nothing to draw."""
    colour = palette.line("soft", theme)
    return Part(
        lambda data: hv.Labels(data["sentence"], kdims=[TIME, height], vdims="text"),
        {"text_color": colour, "text_font_size": "11pt"},
        {"color": colour},
    )


def _line(table: str, name: str, label: str, theme: Theme, colour: str = "line", **style: Any) -> Part:
    """A line; ``style`` is ``width`` and ``dash``."""
    width, dash = style.get("width", 1.5), style.get("dash", "solid")
    shade = palette.line("soft" if colour == "soft" else "line", theme)
    return Part(
        lambda data: hv.Curve(data[table], TIME, name, label=label),
        {"color": shade, "line_width": width, "line_dash": dash},
        {"color": shade, "linewidth": width, "linestyle": dash},
    )


def _bars(table: str, height: str, by: str, looks: Mapping[str, Look]) -> Part:
    """Bars that stand where they stand in time, each with a sentence of its own."""
    kdims = [TIME, f"{height}_from", _UNTIL, f"{height}_to"]
    return Part(
        lambda data: hv.Rectangles(data[table], kdims=kdims, vdims=[by, "words"]),
        {"line_alpha": 0, "hover_tooltips": _TIP_WORDS, "tools": ["hover"], "show_legend": True},
        {"linewidth": 0},
        by=by,
        looks=looks,
    )


def _points(table: str, kdims: list[Any], vdims: list[str], by: str, looks: Mapping[str, Look], tip: str) -> Part:
    return Part(
        lambda data: hv.Points(data[table], kdims=kdims, vdims=vdims),
        {
            "marker": hv.dim(by).categorize(palette.markers(looks), default="circle"), "size": "size", "alpha": 0.6,
            "line_width": 1.2, "tools": ["hover"], "hover_tooltips": tip, "show_legend": True,
        },
        {"s": 20, "alpha": 0.6},
        by=by,
        looks=looks,
    )  # fmt: skip


_TIP_WORDS = '<div style="max-width: 22em">@words</div>'
_TIP_ATTEMPT = (
    '<div style="max-width: 22em"><b>@outcome</b> after @latency_s{custom}<br>'
    "@kind, attempt @number of client @client, sent at @time_s{custom}</div>"
)


def _latency_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        _outages(theme),
        _points(
            "points", [TIME, "shown_s"], ["outcome", "size", "latency_s", "kind", "client", "number"],
            "outcome", palette.OUTCOME, _TIP_ATTEMPT,
        ),
        _line("p95", "latency_s", "p95", theme, dash="dashed"),
        _line("p50", "latency_s", "p50", theme, width=2),
        _line("deadline", "latency_s", "deadline", theme, "soft", dash="dotted"),
        _sentence("latency_s", theme),
    )  # fmt: skip


def _status_parts(theme: Theme) -> tuple[Part, ...]:
    return (_bars("bands", "band", "status", palette.STATUS), _sentence("band_to", theme))


def _queue_parts(theme: Theme) -> tuple[Part, ...]:
    soft = palette.line("soft", theme)
    return (
        _outages(theme),
        Part(
            lambda data: hv.Area(data["depth"], TIME, "depth"),
            {"color": soft, "fill_alpha": 0.25, "line_color": soft},
            {"facecolor": soft, "alpha": 0.25},
        ),
        _points("marks", [TIME, "depth"], ["event", "size", "words"], "event", palette.QUEUE, _TIP_WORDS),
        _line("most", "depth", "queue is full", theme, "soft", dash="dotted"),
        _sentence("depth", theme),
    )


def _outcomes_parts(theme: Theme) -> tuple[Part, ...]:
    return (_outages(theme), _bars("bars", "messages", "fate", palette.FATE), _sentence("messages_to", theme))


def _load_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        _outages(theme),
        _bars("bars", "requests", "part", palette.LOAD),
        _line("capacity", "requests", "capacity", theme, width=2),
        _sentence("requests_to", theme),
    )


def _arrivals_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        _outages(theme),
        _bars("bars", "rate", "traffic", palette.TRAFFIC),
        _line("arrivals", "per_min", "all that reached the backend", theme, width=1),
        _sentence("rate_to", theme),
    )


LATENCY = Figure(
    "latency",
    "Latency of every attempt",
    "latency",
    320,
    figure_data.latency_data,
    _latency_parts,
    logy=True,
)
STATUS = Figure(
    "status",
    "What the monitor said, and what was true",
    "",
    150,
    figure_data.status_data,
    _status_parts,
)
QUEUE = Figure("queue", "Messages waiting in the queue", "messages", 220, figure_data.queue_data, _queue_parts)
OUTCOMES = Figure(
    "outcomes", "What became of the messages", "messages per hour", 220, figure_data.outcomes_data, _outcomes_parts,
)  # fmt: skip
LOAD = Figure("load", "Load on the backend", "requests", 220, figure_data.load_data, _load_parts)
ARRIVALS = Figure("arrivals", "Requests sent", "requests per min", 200, figure_data.arrivals_data, _arrivals_parts)


FIGURES: dict[str, Figure] = {figure.name: figure for figure in (STATUS, LATENCY, OUTCOMES, QUEUE, ARRIVALS, LOAD)}
"""Every figure by name, in the order of the layout."""
