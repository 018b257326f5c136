"""The streaming plots of the live page: every probe, and the verdicts as a band. Only what is new is sent."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, DataRange1d, DatetimeTickFormatter, HoverTool, Span
from bokeh.plotting import figure

from hustle_sim.analysis.palette import OUTCOME, STATUS, Theme, line
from hustle_sim.dashboard.live_state import KEPT, MOVING, STRETCHES, Feed, News, Point, Stretch, local
from hustle_sim.dashboard.live_words import mark
from hustle_sim.dashboard.notices import prose
from hustle_sim.inputs import format_duration
from hustle_sim.policy import ProbePolicy

_WINDOW_MS = 5 * 60 * 1000
FLOOR_S = 0.0005

DURATION_TICKS = """
if (tick < 0.9995) { return Number((tick * 1000).toPrecision(3)) + " ms" }
return Number(tick.toPrecision(3)) + " s"
"""


_POINT_COLUMNS = ("time", "latency", "p50", "p95", "colour", "marker", "size", "words")


def point_columns(points: Iterable[Point], theme: Theme) -> dict[str, list[Any]]:
    """Probes as the columns of the latency plot."""
    columns: dict[str, list[Any]] = {name: [] for name in _POINT_COLUMNS}
    for point in points:
        ok = point.outcome == "ok"
        # A good probe has the look of the verdict that it led to, a failed one that of its failure.
        look = STATUS["degraded" if point.status == "degraded" else "online"] if ok else OUTCOME[point.outcome]
        columns["time"].append(milliseconds(point.at))
        columns["latency"].append(max(point.latency_s, FLOOR_S))
        columns["colour"].append(look.colour(theme))
        columns["marker"].append(look.marker)
        columns["size"].append(7 if ok else 10)
        how = "answered" if ok else OUTCOME[point.outcome].word
        columns["p50"].append(point.p50_s)
        columns["p95"].append(point.p95_s)
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
        columns["left"].append(milliseconds(stretch.since))
        columns["right"].append(milliseconds(max(end, stretch.since)))
        columns["top"].append(look.height)
        columns["colour"].append(look.colour(theme))
        columns["hatch"].append(_HATCHES[stretch.status])
        columns["words"].append(f"{look.word} since {local(stretch.since):%H:%M:%S}: {stretch.reason}")
    return columns


_HATCHES = {"checking": ".", "online": " ", "degraded": "/", "offline": "x"}


class LiveCharts(pn.viewable.Viewer):
    """Latency of every probe over the band of verdicts, with one time axis that follows the newest.

    Made once and shown another target with ``reset``. What is kept, here and in the browser, has an end.
    """

    def __init__(self, theme: Theme, now: float, **params: Any) -> None:
        super().__init__(**params)
        self._theme: Theme = theme
        self._last: Stretch | None = None
        self.points = ColumnDataSource(point_columns([], theme))
        # Until a target is shown, the time axis has something to follow.
        self.band = ColumnDataSource(band_columns([Stretch(now - 1, "", "checking", "")], now, theme))
        self._limit = Span(dimension="width", line_dash="dotted", line_width=1.5, line_color=line("soft", theme))
        time = DataRange1d(follow="end", follow_interval=_WINDOW_MS, range_padding=0.02)
        self._legend = prose("")
        self._latency, self._lines = self._latency_figure(time)
        self._view = pn.Column(
            self._legend,
            _pane(self._latency, "live-latency"),
            prose(f'<h2 style="margin-top:10px">What the monitor said</h2>{_band_legend()}'),
            _pane(self._band_figure(time), "live-band"),
            sizing_mode="stretch_width",
            margin=0,
        )

    def reset(self, feed: Feed, policy: ProbePolicy, now: float) -> None:
        """Show what a page has seen of a target, instead of another one."""
        self._limit.location = policy.degraded_above_s
        self._latency.y_range.end = max(10.0, 2 * policy.timeout_s)
        self._legend.object = f"<h2>Latency of every probe</h2>{_latency_legend(policy)}"
        self._draw(feed, now)

    def add(self, news: News, now: float) -> None:
        """Draw what is new, and let the last verdict reach to ``now``; only that is sent."""
        if news.points:
            self.points.stream(point_columns(news.points, self._theme), rollover=KEPT)
        if news.stretches:
            self._end_last(news.stretches[0].since)
            self.band.stream(band_columns(news.stretches, now, self._theme), rollover=STRETCHES)
            self._last = news.stretches[-1]
        else:
            self._end_last(now)

    def paint(self, theme: Theme, feed: Feed | None, now: float) -> None:
        """Use the colours of another theme."""
        if theme == self._theme:
            return
        self._theme = theme
        self._limit.line_color = line("soft", theme)
        paint_lines(self._lines, theme)
        if feed is not None:
            self._draw(feed, now)

    def __panel__(self) -> Any:
        return self._view

    def _draw(self, feed: Feed, now: float) -> None:
        self.points.data = point_columns(feed.points, self._theme)
        self.band.data = band_columns(list(feed.stretches), now, self._theme)
        self._last = feed.stretches[-1] if feed.stretches else None

    def _end_last(self, at: float) -> None:
        if self._last is not None:
            last = len(self.band.data["right"]) - 1
            self.band.patch({"right": [(last, milliseconds(max(at, self._last.since)))]})

    def _latency_figure(self, time: DataRange1d) -> tuple[Any, list[Any]]:
        plot = figure(
            height=280, sizing_mode="stretch_width", x_axis_type="datetime", y_axis_type="log",
            x_range=time, y_range=(FLOOR_S, 10.0), tools="xpan,xwheel_zoom,box_zoom,reset",
            toolbar_location="right", min_border_left=72, min_border_right=12,
        )  # fmt: skip
        # The verdict as a tint behind the probes; it also gives the time axis something to follow before the first one.
        plot.quad(
            left="left", right="right", bottom=FLOOR_S, top=3600.0, source=self.band,
            fill_color="colour", fill_alpha=0.07, line_color=None, level="underlay",
        )  # fmt: skip
        plot.line("time", "latency", source=self.points, line_width=1, line_alpha=0.35, line_color="#7F858C")
        lines = percentile_lines(plot, "time", self.points, self._theme)
        marks = plot.scatter(
            "time", "latency", source=self.points, marker="marker", size="size",
            fill_color="colour", line_color="colour", fill_alpha=0.75,
        )  # fmt: skip
        plot.add_tools(HoverTool(tooltips="@words", renderers=[marks]))
        plot.add_layout(self._limit)
        plot.yaxis.formatter = CustomJSTickFormatter(code=DURATION_TICKS)
        return finish(plot), lines

    def _band_figure(self, time: DataRange1d) -> Any:
        plot = figure(
            height=96, sizing_mode="stretch_width", x_axis_type="datetime",
            x_range=time, y_range=(0, 1.05), tools="xpan,xwheel_zoom,reset", toolbar_location="right",
            min_border_left=72, min_border_right=12,
        )  # fmt: skip
        bars = plot.quad(
            left="left", right="right", bottom=0, top="top", source=self.band, fill_color="colour",
            line_color=None, hatch_pattern="hatch", hatch_color="white", hatch_alpha=0.45, hatch_scale=9,
        )  # fmt: skip
        plot.add_tools(HoverTool(tooltips="@words", renderers=[bars]))
        plot.yaxis.visible = False
        plot.ygrid.visible = False
        return finish(plot)


def percentile_lines(plot: Any, x: str, source: ColumnDataSource, theme: Theme) -> list[Any]:
    """The lines of the columns ``p50`` and ``p95``."""
    lines = [
        plot.line(x, share, source=source, line_width=2, line_dash=dash)
        for share, dash in (("p50", "solid"), ("p95", "dashed"))
    ]
    paint_lines(lines, theme)
    return lines


def paint_lines(lines: Sequence[Any], theme: Theme) -> None:
    """The colours of the lines for p50 and p95."""
    median, high = lines
    median.glyph.line_color, high.glyph.line_color = line("line", theme), line("soft", theme)


def legend(marks: Iterable[str]) -> str:
    """What stands for what, in a line."""
    inner = "".join(f"<span>{mark}</span>" for mark in marks)
    return f'<p style="display:flex;gap:2px 16px;flex-wrap:wrap;margin:4px 0 0;font-size:12.5px">{inner}</p>'


def _latency_legend(policy: ProbePolicy) -> str:
    limit = format_duration(policy.degraded_above_s)
    return legend(
        (
            f"{mark('online', 'answered')}",
            f"{mark('degraded', 'answered, but too slow for too long')}",
            "other shapes: failed (point at one to see how)",
            f"━ p50 and ╍ p95 of the last {MOVING} answers",
            f"┈ slow above {limit}",
        )
    )


def _band_legend() -> str:
    return legend(mark(status) for status in STATUS)


def _pane(plot: Any, name: str) -> pn.Column:
    pane = pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0)
    return pn.Column(pane, sizing_mode="stretch_width", margin=0, css_classes=[name])


def finish(plot: Any) -> Any:
    """What both plots have in common: a quiet toolbar, and few enough times of day for a phone."""
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.xaxis.formatter = DatetimeTickFormatter(
        milliseconds="%H:%M:%S", seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
        days="%d %b", context=None,
    )  # fmt: skip
    return plot


def milliseconds(at: float) -> float:
    """POSIX seconds as Bokeh's datetime axis wants them to show local time."""
    offset = local(at).utcoffset()
    return (at + (offset.total_seconds() if offset is not None else 0.0)) * 1000
