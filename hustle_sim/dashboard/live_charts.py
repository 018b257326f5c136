"""The streaming plots of the live page: every probe, and the verdicts as a band. Only what is new is sent."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, DataRange1d, DatetimeTickFormatter, HoverTool, Span
from bokeh.plotting import figure

from hustle_sim.analysis.palette import OUTCOME, STATUS, Theme, line
from hustle_sim.dashboard.live_state import KEPT, Point, Stretch, local
from hustle_sim.dashboard.notices import prose
from hustle_sim.inputs import format_duration
from hustle_sim.policy import ProbePolicy

_WINDOW_MS = 5 * 60 * 1000
_FLOOR_S = 0.0005

_DURATION = """
if (tick < 0.9995) { return Number((tick * 1000).toPrecision(3)) + " ms" }
return Number(tick.toPrecision(3)) + " s"
"""


def point_columns(points: Iterable[Point], theme: Theme) -> dict[str, list[Any]]:
    """Probes as the columns of the latency plot."""
    columns: dict[str, list[Any]] = {name: [] for name in ("time", "latency", "colour", "marker", "size", "words")}
    for point in points:
        ok = point.outcome == "ok"
        # A good probe has the look of the verdict that it led to, a failed one that of its failure.
        look = STATUS["degraded" if point.status == "degraded" else "online"] if ok else OUTCOME[point.outcome]
        columns["time"].append(_ms(point.at))
        columns["latency"].append(max(point.latency_s, _FLOOR_S))
        columns["colour"].append(look.colour(theme))
        columns["marker"].append(look.marker)
        columns["size"].append(7 if ok else 10)
        how = "answered" if ok else OUTCOME[point.outcome].word
        columns["words"].append(f"{local(point.at):%H:%M:%S}: {how} after {format_duration(point.latency_s)}")
    return columns


def band_columns(stretches: Sequence[Stretch], until: float, theme: Theme) -> dict[str, list[Any]]:
    """Verdicts as the columns of the band; the last one reaches to ``until``."""
    columns: dict[str, list[Any]] = {name: [] for name in ("left", "right", "top", "colour", "hatch", "words")}
    if not stretches:
        return columns
    ends = [*(stretch.since for stretch in stretches[1:]), until]
    for stretch, end in zip(stretches, ends, strict=True):
        look = STATUS[stretch.status]
        columns["left"].append(_ms(stretch.since))
        columns["right"].append(_ms(max(end, stretch.since)))
        columns["top"].append(look.height)
        columns["colour"].append(look.colour(theme))
        columns["hatch"].append(_HATCHES[stretch.status])
        columns["words"].append(f"{look.word} since {local(stretch.since):%H:%M:%S}: {stretch.reason}")
    return columns


_HATCHES = {"checking": ".", "online": " ", "degraded": "/", "offline": "x"}


class LiveCharts(pn.viewable.Viewer):
    """Latency of every probe over the band of verdicts, with one time axis that follows the newest."""

    def __init__(self, theme: Theme, policy: ProbePolicy, stretches: list[Stretch], now: float, **params: Any) -> None:
        super().__init__(**params)
        self._theme: Theme = theme
        self._points: list[Point] = []
        self._stretches = list(stretches)
        self._most_s = max(10.0, 2 * policy.timeout_s)
        self._point_source = ColumnDataSource(point_columns([], theme))
        self._band_source = ColumnDataSource(band_columns(self._stretches, now, theme))
        self._limit = Span(
            location=policy.degraded_above_s, dimension="width", line_dash="dotted", line_width=1.5,
            line_color=line("soft", theme),
        )  # fmt: skip
        time = DataRange1d(follow="end", follow_interval=_WINDOW_MS, range_padding=0.02)
        self._view = pn.Column(
            prose(f"<h2>Latency of every probe</h2>{_latency_legend(policy)}"),
            _pane(self._latency_figure(time), "live-latency"),
            prose(f'<h2 style="margin-top:10px">What the monitor said</h2>{_band_legend()}'),
            _pane(self._band_figure(time), "live-band"),
            sizing_mode="stretch_width",
            margin=0,
        )

    def add(self, points: list[Point], stretches: list[Stretch], now: float) -> None:
        """Draw what is new, and let the last verdict reach to ``now``."""
        if points:
            self._points = [*self._points, *points][-KEPT:]
            self._point_source.stream(point_columns(points, self._theme), rollover=KEPT)
        if stretches:
            self._stretches = [*self._stretches, *stretches][-KEPT:]
            self._band_source.data = band_columns(self._stretches, now, self._theme)
        elif self._stretches:
            self._band_source.patch({"right": [(len(self._stretches) - 1, _ms(now))]})

    def paint(self, theme: Theme, now: float) -> None:
        """Use the colours of another theme."""
        if theme == self._theme:
            return
        self._theme = theme
        self._limit.line_color = line("soft", theme)
        self._point_source.data = point_columns(self._points, theme)
        if self._stretches:
            self._band_source.data = band_columns(self._stretches, now, theme)

    def __panel__(self) -> Any:
        return self._view

    def _latency_figure(self, time: DataRange1d) -> Any:
        plot = figure(
            height=280, sizing_mode="stretch_width", x_axis_type="datetime", y_axis_type="log",
            x_range=time, y_range=(_FLOOR_S, self._most_s), tools="xpan,xwheel_zoom,box_zoom,reset",
            toolbar_location="right", min_border_left=72, min_border_right=12,
        )  # fmt: skip
        # The verdict as a tint behind the probes; it also gives the time axis something to follow before the first one.
        plot.quad(
            left="left", right="right", bottom=_FLOOR_S, top=self._most_s, source=self._band_source,
            fill_color="colour", fill_alpha=0.07, line_color=None, level="underlay",
        )  # fmt: skip
        plot.line("time", "latency", source=self._point_source, line_width=1, line_alpha=0.35, line_color="#7F858C")
        marks = plot.scatter(
            "time", "latency", source=self._point_source, marker="marker", size="size",
            fill_color="colour", line_color="colour", fill_alpha=0.75,
        )  # fmt: skip
        plot.add_tools(HoverTool(tooltips="@words", renderers=[marks]))
        plot.add_layout(self._limit)
        plot.yaxis.formatter = CustomJSTickFormatter(code=_DURATION)
        return _finish(plot)

    def _band_figure(self, time: DataRange1d) -> Any:
        plot = figure(
            height=96, sizing_mode="stretch_width", x_axis_type="datetime",
            x_range=time, y_range=(0, 1.05), tools="xpan,xwheel_zoom,reset", toolbar_location="right",
            min_border_left=72, min_border_right=12,
        )  # fmt: skip
        bars = plot.quad(
            left="left", right="right", bottom=0, top="top", source=self._band_source, fill_color="colour",
            line_color=None, hatch_pattern="hatch", hatch_color="white", hatch_alpha=0.45, hatch_scale=9,
        )  # fmt: skip
        plot.add_tools(HoverTool(tooltips="@words", renderers=[bars]))
        plot.yaxis.visible = False
        plot.ygrid.visible = False
        return _finish(plot)


def _legend(marks: Iterable[str]) -> str:
    inner = "".join(f"<span>{mark}</span>" for mark in marks)
    return f'<p style="display:flex;gap:2px 16px;flex-wrap:wrap;margin:4px 0 0;font-size:12.5px">{inner}</p>'


def _latency_legend(policy: ProbePolicy) -> str:
    limit = escape(format_duration(policy.degraded_above_s))
    return _legend(
        (
            f"{_mark('online', 'answered')}",
            f"{_mark('degraded', 'answered, but too slow for too long')}",
            "other shapes: failed (point at one to see how)",
            f"┈ slow above {limit}",
        )
    )


def _band_legend() -> str:
    return _legend(_mark(status) for status in STATUS)


def table(stretches: Sequence[Stretch], most: int) -> str:
    """The last changes of the verdict as an HTML table, newest first."""
    changes = [stretch for stretch in stretches if stretch.previous][-most:][::-1]
    if not changes:
        return "<p>The verdict has not changed yet.</p>"
    rows = "".join(
        f"<tr><td>{local(change.since):%H:%M:%S}</td><td>{_mark(change.previous)} → {_mark(change.status)}</td>"
        f"<td>{escape(change.reason)}</td></tr>"
        for change in changes
    )
    return f"<table><thead><tr><th>When</th><th>Verdict</th><th>Why</th></tr></thead><tbody>{rows}</tbody></table>"


TABLE_CSS = """
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 12px; color: var(--mui-palette-hustle-quiet);
     padding: 2px 12px 6px 0; }
td { padding: 6px 12px 6px 0; border-top: 1px solid var(--mui-palette-hustle-line); vertical-align: top; }
td:first-child, td:nth-child(2) { white-space: nowrap; }
td:last-child { overflow-wrap: anywhere; }
@media (max-width: 520px) { td:nth-child(2) { white-space: normal; } }
"""


def _mark(status: str, words: str = "") -> str:
    look = STATUS[status]
    return f'<i style="color:var(--mui-palette-hustle-{status}Text)">{look.glyph}</i> {escape(words or look.word)}'


def _pane(plot: Any, name: str) -> pn.Column:
    pane = pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0)
    return pn.Column(pane, sizing_mode="stretch_width", margin=0, css_classes=[name])


def _finish(plot: Any) -> Any:
    """What both plots have in common: a quiet toolbar, and few enough times of day for a phone."""
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.xaxis.formatter = DatetimeTickFormatter(
        milliseconds="%H:%M:%S", seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
        days="%d %b", context=None,
    )  # fmt: skip
    return plot


def _ms(at: float) -> float:
    """POSIX seconds as Bokeh's datetime axis wants them to show local time."""
    offset = local(at).utcoffset()
    return (at + (offset.total_seconds() if offset is not None else 0.0)) * 1000
