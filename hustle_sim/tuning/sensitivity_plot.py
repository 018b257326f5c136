"""How much each field matters, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import pandas as pd

from hustle_sim.analysis import METRICS
from hustle_sim.analysis.palette import Look, Theme
from hustle_sim.inputs import InputError, closest
from hustle_sim.tuning.draw import finished, layer

if TYPE_CHECKING:
    from hustle_sim.tuning.sensitivity import Sensitivity

INDICES: dict[str, Look] = {
    "mu_star": Look("mean effect of the whole range (mu*)", "#2B5C8A", "#A9CDEE", "circle", "●"),
    "sigma": Look("how much it depends on other fields (sigma)", "#C9730B", "#F0A03C", "diamond", "◆"),
    "S1": Look("alone (S1)", "#C9730B", "#F0A03C", "diamond", "◆"),
    "ST": Look("with all interplay (ST)", "#2B5C8A", "#A9CDEE", "circle", "●"),
}
"""The indices that are drawn."""

_LEADING = {"morris": "mu_star", "sobol": "ST"}
_MATPLOTLIB = {"circle": "o", "diamond": "D"}


def importance(table: Sensitivity, metric: str | None, most: int, *, theme: Theme = "light") -> hv.Overlay:
    """The fields in the order of their importance for one metric, the greatest on top, with 95 % intervals.

    Raises InputError for a metric that was not analysed.
    """
    known = [str(name) for name in table.about["metrics"]]
    if metric is None and known:
        metric = known[0]
    if metric is None or metric not in known:
        raise InputError(f"the metric {metric!r} was not analysed{closest(str(metric), known)}")
    rows = pd.DataFrame(table)[lambda each: each["metric"] == metric]
    leading = rows[rows["index"] == _LEADING[table.method]].sort_values("value", ascending=False)
    names = list(leading["field"])[:most][::-1]
    place = {name: float(row) for row, name in enumerate(names)}
    rows = rows[rows["field"].isin(names)].dropna(subset=["value"])
    layers: list[Any] = []
    for index, look in INDICES.items():
        own = rows[rows["index"] == index]
        if len(own):
            layers += _of_index(own, look, place, metric, table.method, theme)
    unit = METRICS[metric].unit
    label = {
        "morris": f"change of {metric}" + ("" if unit == "count" else f" [{unit}]"),
        "sobol": f"share of the variance of {metric}",
    }[table.method]
    left = "" if len(leading) <= most else f" ({most} of {len(leading)} fields)"
    common = {
        "title": f"What moves {metric}?{left}", "xlabel": label, "ylabel": "", "show_grid": True, "show_legend": True,
        "yticks": [(row, name) for name, row in place.items()], "ylim": (-0.6, len(names) - 0.4),
    }  # fmt: skip
    return finished(hv.Overlay(layers), common, height=130 + 24 * len(names), aspect=max(1.2, 3.2 - 0.12 * len(names)))


def _of_index(
    rows: pd.DataFrame, look: Look, place: dict[str, float], metric: str, method: str, theme: Theme
) -> list[Any]:
    colour = look.colour(theme)
    x = hv.Dimension(f"{metric}_{method}")
    at = rows["field"].map(place)
    layers = []
    sure = rows["low"].notna()
    if sure.any():
        lines = pd.DataFrame({"x0": rows["low"], "y0": at, "x1": rows["high"], "y1": at})[sure]
        layers.append(
            layer(
                hv.Segments(lines, [x.clone("x0"), "y0", "x1", "y1"]),
                {"color": colour, "line_width": 2},
                {"color": colour, "linewidth": 1.5},
            )
        )
    words = [_words(row, metric) for _, row in rows.iterrows()]
    points = pd.DataFrame({"x0": rows["value"], "y0": at, "words": words})
    layers.append(
        layer(
            hv.Points(points, [x.clone("x0"), "y0"], ["words"], label=look.word),
            {"color": colour, "marker": look.marker, "size": 9, "tools": ["hover"], "hover_tooltips": "@words"},
            {"color": colour, "marker": _MATPLOTLIB[look.marker], "s": 40},
        )
    )
    return layers


def _words(row: pd.Series[Any], metric: str) -> str:
    words = f"{row['field']}: {row['index']} {row['value']:.3g} for {metric}"
    if pd.isna(row["low"]):
        return words
    return f"{words} (95 % interval: {row['low']:.3g} to {row['high']:.3g})"
