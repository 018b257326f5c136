"""The last day of a target, minute by minute: percentiles of the latency, over how well it was."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, HoverTool
from bokeh.plotting import figure

from hustle_sim.analysis.more_data import beat_of, beat_words
from hustle_sim.analysis.palette import HEARTBEAT, Theme
from hustle_sim.dashboard.live_charts import (
    DURATION_TICKS,
    FLOOR_S,
    finish,
    legend,
    milliseconds,
    paint_lines,
    percentile_lines,
)
from hustle_sim.dashboard.live_state import local
from hustle_sim.dashboard.notices import prose
from hustle_sim.live.digest import MINUTES, Bucket

_COLUMNS = ("left", "right", "middle", "p50", "p95", "colour", "alpha", "hatch", "words")
_MINUTE_S = 60.0
_TOP_S = 3600.0
_EMPTY = "<p>Minute by minute, from the end of the first one on.</p>"
_FEWEST = 30
_LOOKS = {"well": (0.10, " "), "partly": (0.45, "/"), "failed": (0.75, "x"), "none": (0.12, ".")}


def minute_columns(minutes: Iterable[Bucket], theme: Theme) -> dict[str, list[Any]]:
    """Minutes (their ``start_s`` in POSIX seconds) as the columns of the plot."""
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for minute in minutes:
        kind = beat_of(minute.checks, minute.answered, minute.slow)
        p50_s, p95_s, slowest_s = (minute.latency_s(share) for share in (0.5, 0.95, 1.0))
        alpha, hatch = _LOOKS[kind]
        columns["left"].append(milliseconds(minute.start_s))
        columns["right"].append(milliseconds(minute.start_s + _MINUTE_S))
        columns["middle"].append(milliseconds(minute.start_s + _MINUTE_S / 2))
        columns["p50"].append(p50_s)
        columns["p95"].append(p95_s)
        columns["colour"].append(HEARTBEAT[kind].colour(theme))
        columns["alpha"].append(alpha)
        columns["hatch"].append(hatch)
        words = beat_words(minute.checks, minute.answered, slowest_s)
        columns["words"].append(f"{local(minute.start_s):%d %b %H:%M}: {words}")
    return columns


class HistoryChart(pn.viewable.Viewer):
    """At most a day of minutes; each new one is sent alone."""

    def __init__(self, theme: Theme, **params: Any) -> None:
        super().__init__(**params)
        self._theme: Theme = theme
        self._minutes: list[Bucket] = []
        self.minutes = ColumnDataSource(minute_columns([], theme))
        self._plot, self._lines = self._figure()
        self._empty = prose(_EMPTY)
        self._pane = pn.Column(
            pn.pane.Bokeh(self._plot, sizing_mode="stretch_width", margin=0),
            sizing_mode="stretch_width", margin=0, css_classes=["live-history"], visible=False,
        )  # fmt: skip
        marks = [f"{look.glyph} {look.word}" for look in HEARTBEAT.values()]
        self._view = pn.Column(
            prose(f'<h2 style="margin-top:10px">The last day</h2>{legend(["━ p50 and ╍ p95 of each minute", *marks])}'),
            self._empty, self._pane, sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def reset(self, minutes: Sequence[Bucket]) -> None:
        """Show the minutes of another target."""
        self._minutes = list(minutes)[-MINUTES:]
        self.minutes.data = minute_columns(self._minutes, self._theme)
        self._show()

    def add(self, minutes: Sequence[Bucket]) -> None:
        """Draw the minutes that are over since."""
        if minutes:
            self._minutes = [*self._minutes, *minutes][-MINUTES:]
            self.minutes.stream(minute_columns(minutes, self._theme), rollover=MINUTES)
            self._show()

    def paint(self, theme: Theme) -> None:
        """Use the colours of another theme."""
        if theme == self._theme:
            return
        self._theme = theme
        paint_lines(self._lines, theme)
        self.minutes.data = minute_columns(self._minutes, theme)

    def __panel__(self) -> Any:
        return self._view

    def _show(self) -> None:
        some = bool(self._minutes)
        if some:
            first, last = self._minutes[0].start_s, self._minutes[-1].start_s + _MINUTE_S
            begin = min(first, last - _FEWEST * _MINUTE_S)
            self._plot.x_range.update(start=milliseconds(begin), end=milliseconds(last))
        if self._pane.visible != some:
            self._pane.visible, self._empty.object = some, "" if some else _EMPTY

    def _figure(self) -> tuple[Any, list[Any]]:
        plot = figure(
            height=180, sizing_mode="stretch_width", x_axis_type="datetime", y_axis_type="log",
            x_range=(0, _FEWEST * _MINUTE_S * 1000), y_range=(FLOOR_S, 10.0),
            tools="xpan,xwheel_zoom,box_zoom,reset", toolbar_location="right",
            min_border_left=72, min_border_right=12,
        )  # fmt: skip
        cells = plot.quad(
            left="left", right="right", bottom=FLOOR_S, top=_TOP_S, source=self.minutes, fill_color="colour",
            fill_alpha="alpha", line_color=None, hatch_pattern="hatch", hatch_color="colour", hatch_alpha=0.6,
            hatch_scale=9, level="underlay",
        )  # fmt: skip
        lines = percentile_lines(plot, "middle", self.minutes, self._theme)
        plot.add_tools(HoverTool(tooltips="@words", renderers=[cells]))
        plot.yaxis.formatter = CustomJSTickFormatter(code=DURATION_TICKS)
        return finish(plot), lines
