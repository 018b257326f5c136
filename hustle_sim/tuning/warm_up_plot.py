"""The warm-up, drawn: both series, what is cut off, and what the scenario leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv

from hustle_sim.analysis import palette
from hustle_sim.analysis.palette import Theme
from hustle_sim.inputs import format_duration
from hustle_sim.tuning.draw import finished, layer, stacked
from hustle_sim.tuning.statistics import Floats

if TYPE_CHECKING:
    from hustle_sim.tuning.warm_up import WarmUp

_LABELS = {"answer_s": ("time to the first answer", "[s]"), "in_backend": ("requests in the backend", "requests")}
"""What each series is, and the unit of its axis."""
_SMOOTH = 11
"""Pieces of time in Welch's moving average."""


def warm_up_figure(found: WarmUp, *, theme: Theme = "light") -> hv.Layout:
    """A panel for each series: the mean over the replications, its moving average, and its cut."""
    return stacked([_panel(found, name, theme) for name in _LABELS])


def _panel(found: WarmUp, name: str, theme: Theme) -> hv.Overlay:
    known = found.series[["time_s", name]].dropna()
    soft, strong, cut_colour = (palette.line(word, theme) for word in ("soft", "line", "outage"))
    means = hv.Curve(known, "time_s", name, label="mean of the replications")
    smooth = hv.Curve(
        known.assign(**{name: known[name].rolling(_SMOOTH, center=True, min_periods=1).mean()}),
        "time_s",
        name,
        label="moving average",
    )
    what, unit = _LABELS[name]
    cut_s = found.cuts[name]
    values: Floats = known[name].to_numpy()
    line = hv.Curve(
        [(cut_s, float(values.min())), (cut_s, float(values.max()))], "time_s", name, label="warm up to here (MSER-5)"
    )
    layers = [
        layer(means, {"color": soft, "line_width": 1, "alpha": 0.6}, {"color": soft, "linewidth": 0.8, "alpha": 0.6}),
        layer(smooth, {"color": strong, "line_width": 2}, {"color": strong, "linewidth": 1.5}),
        layer(
            line,
            {"color": cut_colour, "line_width": 2, "line_dash": "dashed"},
            {"color": cut_colour, "linewidth": 1.5, "linestyle": "dashed"},
        ),
    ]
    common = {
        "title": f"{found.scenario}, {what}: {format_duration(cut_s)} to warm up", "xlabel": "time since start [s]",
        "ylabel": unit, "show_grid": True, "show_legend": True, "padding": 0.03,
    }  # fmt: skip
    return finished(hv.Overlay(layers), common, height=260, aspect=3.2)
