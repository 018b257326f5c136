"""What figures are drawn with: parts that make one HoloViews element each, and the frame around them.

Each figure is a ``Figure``: a pure function that makes its data from a run (``figure_data``), and parts that draw
the data, each one HoloViews element. ``draw(data)`` makes a static overlay, ``live(pipe)`` one whose plots follow a
HoloViews Pipe.

Drawn for the Bokeh backend; with ``hv.extension("matplotlib")`` loaded first, or ``backend="matplotlib"``, the same
figures come out as pictures (without hover). Importing this module takes a second or two: HoloViews is large.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np

from hustle_sim.analysis import palette
from hustle_sim.analysis.axes import LEGEND, finish_bokeh, finish_matplotlib, titled
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.following import Columns, Follower, Source
from hustle_sim.analysis.palette import Look, Theme

TIME = hv.Dimension("time_s", label="time since start")
"""The one time axis: the same dimension everywhere, so that all figures zoom together."""

UNTIL = hv.Dimension("until_s")

Options = Mapping[str, Any]

Backend = Literal["bokeh", "matplotlib"]

Hook = Callable[[Any, Any], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a figure: ``make`` draws one HoloViews element from the data; options are those of each backend.

    ``columns`` are what a Bokeh plot of that element has in its source. ``looks`` are the words that ``by`` (a column)
    can have: they give colours, and shapes to points. ``varying``: see ``Source``.
    """

    make: Callable[[Data], Any]
    columns: Callable[[Data], Columns]
    bokeh: Options = field(default_factory=dict)
    matplotlib: Options = field(default_factory=dict)
    by: str = ""
    looks: Mapping[str, Look] = field(default_factory=dict)
    varying: tuple[str, ...] = ()


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
        self,
        data: Data,
        *,
        theme: Theme = "light",
        clock: datetime | None = None,
        legend: bool = True,
        backend: Backend | None = None,
    ) -> hv.Overlay:
        """The figure of some data.

        ``clock`` is the time that is 0 on the axis, to print times of day (UTC). Without ``legend``, make one beside
        it from the ``palette``. ``backend`` None is the one that HoloViews uses now.
        """
        drawn_by = backend or hv.Store.current_backend
        layers = [layer for part in self.parts(theme) for layer in _static(part, data, theme, drawn_by)]
        return self._finished(hv.Overlay(layers), lambda: data, legend, clock, [self._finish(lambda: data, clock)])

    def live(
        self,
        pipe: hv.streams.Pipe,
        *,
        theme: Theme = "light",
        clock: datetime | None = None,
        hooks: Sequence[Hook] = (),
        streams: Sequence[hv.streams.Stream] = (),
    ) -> hv.Overlay:
        """The same figure without a legend, for Bokeh: its plots show whatever is sent into the pipe.

        The pipe must hold data already. The axes follow the data, unless the reader has zoomed in. Send to several
        figures inside ``pn.io.hold()``: one message instead of many. ``hooks`` are called with each new HoloViews plot
        and its element after those of the figure itself (let them refer weakly to what must not live for ever);
        ``streams`` (taps, ranges) tell what the reader does in the frame.
        """
        parts = self.parts(theme)
        layers = [_styled(part.make(pipe.data), part, theme, "bokeh") for part in parts]
        for stream in streams:
            # One layer stands for the frame: HoloViews loses a stream whose source is the whole overlay.
            stream.source = layers[-1]
        # HoloViews keeps options, and what their hooks refer to, for as long as the process lives.
        known = weakref.ref(pipe)

        def now() -> Data:
            alive = known()
            return alive.data if alive is not None else {}

        finish = self._finish(now, clock)
        follower = Follower([_source(part, theme) for part in parts], finish)
        pipe.add_subscriber(follower.fill)
        following = weakref.ref(follower)

        def adopt(plot: Any, _element: Any) -> None:
            alive = following()
            if alive is not None:
                alive.adopt(plot, now())

        return self._finished(hv.Overlay(layers), now, False, clock, [finish, adopt, *hooks])

    def _finish(self, data: Callable[[], Data], clock: datetime | None) -> Hook:
        return finish_bokeh(self.title, data, None if clock is None else clock.timestamp())

    def _finished(
        self,
        overlay: hv.Overlay,
        data: Callable[[], Data],
        legend: bool,
        clock: datetime | None,
        hooks: Sequence[Hook],
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
            hooks=list(hooks), backend="bokeh",
            fontsize={"title": "11pt", "labels": "9pt", "ticks": "8pt"},
        )  # fmt: skip
        if "matplotlib" not in hv.Store.registry:
            return overlay
        return overlay.opts(
            **{**common, "xlabel": " ", "ylabel": self.ylabel or " "}, aspect=4, fig_inches=9, legend_position="right",
            legend_opts={"fontsize": 7}, fontsize={"title": 10, "labels": 8}, hooks=[finish_matplotlib(data, start)],
            backend="matplotlib",
        )  # fmt: skip


def _static(part: Part, data: Data, theme: Theme, backend: str) -> list[Any]:
    element = part.make(data)
    if isinstance(element, hv.Curve) and not len(element):
        return []
    if backend != "matplotlib":
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


def _source(part: Part, theme: Theme) -> Source:
    return Source(part.columns, palette.colours(part.looks, theme) if part.by else {}, part.varying)


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


def columns_of(table: str, *names: str) -> Callable[[Data], Columns]:
    """Some columns of a table as those of a source."""
    return lambda data: {name: data[table][name].to_numpy() for name in names}


def outages(theme: Theme) -> Part:
    """The shade over the outages."""
    colour = palette.line("outage", theme)
    return Part(
        lambda data: hv.VSpans(data["outages"], kdims=[TIME, UNTIL]),
        columns_of("outages", TIME.name, UNTIL.name),
        {"color": colour, "alpha": 0.1, "line_alpha": 0, "level": "underlay", "apply_ranges": False},
        {"color": colour, "linewidth": 0, "alpha": 0.1},
    )


def sentence(height: str, theme: Theme, time: hv.Dimension = TIME) -> Part:
    """What is said in the middle of a frame in which there is nothing to draw."""
    colour = palette.line("soft", theme)
    return Part(
        lambda data: hv.Labels(data["sentence"], kdims=[time, height], vdims="text"),
        columns_of("sentence", time.name, height, "text"),
        {"text_color": colour, "text_font_size": "11pt"},
        {"color": colour},
    )


def line(table: str, name: str, label: str, theme: Theme, colour: str = "line", **style: Any) -> Part:
    """A line; ``style`` is ``width`` and ``dash``."""
    width, dash = style.get("width", 1.5), style.get("dash", "solid")
    shade = palette.line("soft" if colour == "soft" else "line", theme)
    return Part(
        lambda data: hv.Curve(data[table], TIME, name, label=label),
        columns_of(table, TIME.name, name),
        {"color": shade, "line_width": width, "line_dash": dash},
        {"color": shade, "linewidth": width, "linestyle": dash},
    )


def bars(
    table: str,
    height: str,
    by: str,
    looks: Mapping[str, Look],
    times: tuple[hv.Dimension, hv.Dimension] = (TIME, UNTIL),
) -> Part:
    """Bars that stand where they stand in time, each with a sentence of its own."""
    kdims = [times[0], f"{height}_from", times[1], f"{height}_to"]

    plain = columns_of(table, *map(str, kdims), by, "words")

    def columns(data: Data) -> Columns:
        values = plain(data)
        left, bottom, right, top = (values[str(name)] for name in kdims)
        return {"left": left, "right": right, "bottom": bottom, "top": top, **values, "color": values[by]}

    return Part(
        lambda data: hv.Rectangles(data[table], kdims=kdims, vdims=[by, "words"]),
        columns,
        {"line_alpha": 0, "hover_tooltips": TIP_WORDS, "tools": ["hover"], "show_legend": True},
        {"linewidth": 0},
        by=by,
        looks=looks,
    )


def points(table: str, kdims: list[Any], vdims: list[str], by: str, looks: Mapping[str, Look], tip: str) -> Part:
    """Points with a shape and a colour for each word of ``by``; ``tip`` is the HTML of their hover."""
    markers = palette.markers(looks)
    plain = columns_of(table, *map(str, kdims), *vdims)

    def columns(data: Data) -> Columns:
        values = plain(data)
        shapes = np.array([markers.get(word, "circle") for word in values[by]], dtype=object)
        return {**values, "color": values[by], "marker": shapes}

    return Part(
        lambda data: hv.Points(data[table], kdims=kdims, vdims=vdims),
        columns,
        {
            "marker": hv.dim(by).categorize(markers, default="circle"), "size": "size", "alpha": 0.6,
            "line_width": 1.2, "tools": ["hover"], "hover_tooltips": tip, "show_legend": True,
        },
        {"s": 20, "alpha": 0.6},
        by=by,
        looks=looks,
        varying=("marker", "size"),
    )  # fmt: skip


TIP_WORDS = '<div style="max-width: 22em">@words</div>'
TIP_ATTEMPT = (
    '<div style="max-width: 22em"><b>@outcome</b> after @latency_s{custom}<br>'
    "@kind, attempt @number of client @client, sent at @time_s{custom}</div>"
)
