"""Ticks, hover and frames that HoloViews has no option for: made anew for each plot, as Bokeh's models must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from bokeh.models import (
    BasicTickFormatter,
    CustomJSHover,
    CustomJSTicker,
    CustomJSTickFormatter,
    FixedTicker,
    LogAxis,
    NumeralTickFormatter,
)

from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.shapes import elapsed, nice_width_s
from hustle_sim.inputs import format_duration

_LEFT, _RIGHT = 84, 20
_MARK = "hustle_sim"

LEGEND = {
    "location": "left", "padding": 2, "spacing": 10, "margin": 0, "label_standoff": 3, "glyph_height": 14,
    "glyph_width": 14, "label_text_font_size": "8pt", "background_fill_alpha": 0.75, "border_line_alpha": 0.0,
}  # fmt: skip
"""How legends look: given to HoloViews, which would set back what a hook sets."""

# Where ticks go: at round times since the start, or of the day (offset: seconds of the start since midnight).
_TICKS = """
const span = cb_data.end - cb_data.start;
const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
  3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 1728000, 4320000, 8640000, 17280000];
const step = steps.find((s) => span / s <= 10) ?? span / 8;
const ticks = [];
for (let n = Math.ceil((cb_data.start + offset) / step); n * step - offset <= cb_data.end; n++) {
  ticks.push(n * step - offset);
}
return ticks;
"""

_ELAPSED = """
const words = (seconds) => {
  const a = Math.abs(seconds), sign = seconds < 0 ? "-" : "";
  if (a < 60 && Math.abs(a - Math.round(a)) > 1e-6) { return sign + Number(a.toFixed(3)) + "s"; }
  let rest = Math.round(a);
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number) { parts.push([unit, number]); }
    else if (parts.length) { parts.push([unit, 0]); }
  }
  const shown = parts.slice(0, 2).filter((part) => part[1]).map((part) => part[1] + part[0]);
  return sign + (shown.length ? shown.join(" ") : "0");
};
"""

_CLOCK = """
const words = (seconds) => {
  const at = new Date((start + seconds) * 1000).toISOString();
  if (at.slice(11, 19) == "00:00:00") { return at.slice(0, 10); }
  return at.slice(17, 19) == "00" ? at.slice(11, 16) : at.slice(11, 19);
};
"""

_DURATION = """
const words = (seconds) => {
  if (seconds < 0.9995) { return Number((seconds * 1000).toPrecision(3)) + " ms"; }
  return seconds < 120 ? Number(seconds.toPrecision(3)) + " s" : Number((seconds / 60).toPrecision(3)) + " min";
};
"""


def titled(title: str, data: Data) -> str:
    """A figure's title, with what the reader must know about the data."""
    return f"{title} ({data['note']})" if data["note"] else title


def finish_bokeh(title: str, data: Callable[[], Data], start: float | None) -> Callable[[Any, Any], None]:
    """A HoloViews hook that gives a plot its time axis, its hover and its frame, at each update.

    ``data()`` is what the plot shows now. ``start`` is the time that is 0 on the axis, in seconds since 1970, to
    print times of day (UTC); None prints elapsed time.
    """
    words, args = (_ELAPSED, {}) if start is None else (_CLOCK, {"start": start})
    offset = 0.0 if start is None else start % 86400

    def finish(plot: Any, _element: Any) -> None:
        figure, now = plot.state, data()
        if _MARK not in figure.tags:
            figure.tags = [*figure.tags, _MARK]
            # On WebGL, markers of several shapes turn into circles after an update or a hover (bokeh issue 15279).
            figure.output_backend = "canvas"
            for axis in figure.xaxis:
                axis.ticker = CustomJSTicker(major_code=_TICKS, minor_code="return [];", args={"offset": offset})
                axis.formatter = CustomJSTickFormatter(code=words + "return words(tick);", args=args)
                for grid in figure.xgrid:
                    grid.ticker = axis.ticker
            for axis in figure.yaxis:
                axis.axis_label_text_font_style = "normal"
                axis.minor_tick_line_color = None
                if isinstance(axis, LogAxis):
                    axis.formatter = CustomJSTickFormatter(code=_DURATION + "return words(tick);")
                elif isinstance(axis.formatter, BasicTickFormatter):
                    axis.formatter = NumeralTickFormatter(format="0,0.[00]")
            moment = CustomJSHover(code=words + "return words(value);", args=args)
            duration = CustomJSHover(code=_DURATION + "return words(value);")
            for tool in figure.hover:
                # HoloViews writes some of the names in braces.
                tool.formatters = {
                    "@time_s": moment, "@{time_s}": moment, "@latency_s": duration, "@{latency_s}": duration,
                }  # fmt: skip
        _frame(figure, titled(title, now))
        if "rows" in now:
            _name_marks(figure.yaxis, now["rows"])
        if "columns" in now:
            _name_marks(figure.xaxis, now["columns"])
            for grid in figure.xgrid:
                grid.ticker = figure.xaxis[0].ticker
        _follow(figure.x_range, (0.0, max(now["end_s"], 1.0)))
        _follow(figure.y_range, now["limits"])

    return finish


def _frame(figure: Any, title: str) -> None:
    """What HoloViews sets back when it updates a plot."""
    figure.title.text = title
    # Equal borders put the frames of a column exactly under each other.
    figure.min_border_left, figure.min_border_right = _LEFT, _RIGHT
    for legend in figure.legend:
        for item in legend.items:
            item.visible = any(len(next(iter(r.data_source.data.values()), ())) for r in item.renderers)


def _name_marks(axes: Any, marks: Sequence[tuple[float, str]]) -> None:
    """Ticks with names: other data may have other rows and columns."""
    places, names = [place for place, _ in marks], dict(marks)
    for axis in axes:
        if getattr(axis.ticker, "ticks", None) != places or axis.major_label_overrides != names:
            axis.ticker, axis.major_label_overrides = FixedTicker(ticks=places), names


def _follow(axis_range: Any, whole: tuple[float, float]) -> None:
    """Show all of the data, unless the reader has zoomed in to a part that is still there."""
    shown, before = (axis_range.start, axis_range.end), (axis_range.reset_start, axis_range.reset_end)
    zoomed = None not in before and shown != before and whole[0] <= shown[0] <= shown[1] <= whole[1]
    if not zoomed and shown != whole:
        axis_range.update(start=whole[0], end=whole[1])
    if before != whole:
        axis_range.update(reset_start=whole[0], reset_end=whole[1])


def finish_matplotlib(data: Callable[[], Data], start: float | None) -> Callable[[Any, Any], None]:
    """The same for Matplotlib, as far as a picture can have it."""
    offset = 0.0 if start is None else start % 86400

    def words(seconds: float, _place: object = None) -> str:
        return elapsed(seconds) if start is None else f"{datetime.fromtimestamp(start + seconds, UTC):%H:%M}"

    def finish(plot: Any, _element: Any) -> None:
        axis = plot.handles["axis"]
        now = data()
        if "columns" in now:
            axis.set_xticks([place for place, _ in now["columns"]], labels=[name for _, name in now["columns"]])
        else:
            low, high = axis.get_xlim()
            step_s = nice_width_s(high - low, 10)
            axis.set_xticks([tick for n in range(12) if low <= (tick := n * step_s - offset % step_s) <= high])
            axis.xaxis.set_major_formatter(words)
        axis.tick_params(labelsize=7)
        if axis.get_yscale() == "log":
            axis.yaxis.set_major_formatter(lambda seconds, _place: format_duration(seconds))

    return finish
