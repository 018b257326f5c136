"""The stability map, drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import pandas as pd

from hustle_sim.analysis import palette
from hustle_sim.analysis.metrics import format_share
from hustle_sim.analysis.palette import STATUS, Look, StatusLook, Theme
from hustle_sim.policy import policy_fields
from hustle_sim.tuning.draw import finished, layer

if TYPE_CHECKING:
    from hustle_sim.tuning.stability import Stability


def _region(word: str, status: StatusLook) -> Look:
    return Look(word, status.light, status.dark, status.marker, status.glyph)


REGIONS: dict[str, Look] = {
    "stable": _region("stable", STATUS["online"]),
    "vulnerable": _region("vulnerable", STATUS["degraded"]),
    "collapsed": _region("collapsed", STATUS["offline"]),
}
"""How the regions look: as the status of a backend does, so that the colours stay apart for all kinds of vision."""

_LINES = {"vulnerable_from": ("vulnerable", "dashed"), "critical_from": ("collapsed", "solid")}
"""The lines of the closed form: what begins there, and how they are drawn."""

# Not every backend of HoloViews gives a path a place in the legend.
_LEGEND = "; closed form: " + ", ".join(f"{word} from the {dash} line" for word, dash in _LINES.values())


def stability_map(table: Stability, *, theme: Theme = "light") -> hv.Overlay:
    """Loads from left to right, values of the field from below: a cell says its region and the share that collapsed.

    The lines of the closed form cross a value's row where it has them.
    """
    rows = pd.DataFrame(table)
    field, values, loads = table.field, list(table.about["values"]), np.array(table.about["load"])
    edges = _edges(loads)
    place = {value: float(row) for row, value in enumerate(values)}
    column = {load: index for index, load in enumerate(loads)}
    cells = pd.DataFrame(
        {
            "x0": [edges[column[load]] for load in rows["load"]],
            "y0": [place[value] - 0.5 for value in rows[field]],
            "x1": [edges[column[load] + 1] for load in rows["load"]],
            "y1": [place[value] + 0.5 for value in rows[field]],
            "region": rows["region"].to_numpy(),
            "words": [_words(row, field) for _, row in rows.iterrows()],
        }
    )
    layers: list[Any] = []
    dimensions = ["x0", "y0", "x1", "y1"]
    for name, look in REGIONS.items():
        chosen = cells[cells["region"] == name]
        if len(chosen):
            colour = look.colour(theme)
            rectangles = hv.Rectangles(chosen, dimensions, ["words"], label=f"{look.glyph} {look.word}")
            layers.append(
                layer(
                    rectangles,
                    {"color": colour, "line_color": "white", "tools": ["hover"], "hover_tooltips": "@words"},
                    {"facecolor": colour, "edgecolor": "white", "linewidth": 1},
                )
            )
    texts = [
        (float(load), place[value], f"{REGIONS[region].glyph} {format_share(float(share))}")
        for load, value, region, share in zip(rows["load"], rows[field], rows["region"], rows["collapsed"], strict=True)
    ]
    labels = hv.Labels(texts, ["x0", "y0"], "text")
    layers.append(layer(labels, {"text_color": "#FFFFFF", "text_font_size": "8pt"}, {"color": "#FFFFFF", "size": 7}))
    lines = _closed_form(rows, field, place, edges, theme)
    layers += lines
    about = table.about["arguments"]
    what = "a spike of load" if about["disturbance"] == "spike" else "an outage"
    common = {
        "title": f"Does it come back after {what} of {about['disturbance_s']:g} s? Share of runs that did not",
        "xlabel": "load [first requests/s]" + (_LEGEND if lines else ""), "ylabel": _label(field),
        "xlim": (edges[0], edges[-1]), "ylim": (-0.5, len(values) - 0.5),
        "yticks": [(row, _short(value)) for value, row in place.items()], "show_legend": True,
    }  # fmt: skip
    return finished(hv.Overlay(layers), common, height=170 + 46 * len(values), aspect=max(1.4, 4.5 - 0.4 * len(values)))


def _closed_form(
    rows: pd.DataFrame, field: str, place: dict[Any, float], edges: np.ndarray[Any, Any], theme: Theme
) -> list[Any]:
    layers = []
    colour = palette.line("line", theme)
    for name, (_, dash) in _LINES.items():
        known = rows.drop_duplicates(field)[[field, name]].dropna()
        known = known[(known[name] > edges[0]) & (known[name] < edges[-1])]
        if not len(known):
            continue
        steps = [
            (value, row + half) for at, value in zip(known[field], known[name], strict=True)
            for row in (place[at],) for half in (-0.5, 0.5)
        ]  # fmt: skip
        line = hv.Path([np.array(steps)], ["x0", "y0"])
        layers.append(
            layer(
                line,
                {"color": colour, "line_width": 2.5, "line_dash": dash},
                {"color": colour, "linewidth": 2, "linestyle": dash},
            )
        )
    return layers


def _edges(loads: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where the cells of the loads begin and end: in the middle between two loads."""
    if len(loads) == 1:
        return np.array([loads[0] * 0.9, loads[0] * 1.1])
    between = (loads[1:] + loads[:-1]) / 2
    return np.concatenate([[2 * loads[0] - between[0]], between, [2 * loads[-1] - between[-1]]])


def _words(row: pd.Series[Any], field: str) -> str:
    shares = {name: format_share(float(row[name])) for name in ("collapsed", "low", "high", "undisturbed")}
    words = (
        f"{row['load']:g}/s, {field} = {_short(row[field])}: {row['region']}; {shares['collapsed']} of {row['n']} runs "
        f"did not come back (95 % interval: {shares['low']} to {shares['high']}), and {shares['undisturbed']} did not "
        "work undisturbed"
    )
    if math.isnan(row["critical_from"]):
        return words
    limits = [f"{row[name]:.1f}/s" for name in ("vulnerable_from", "critical_from")]
    return f"{words}; closed form: vulnerable from {limits[0]}, collapsed from {limits[1]}"


def _label(field: str) -> str:
    unit = next((known.unit for known in policy_fields() if known.name == field), "")
    return f"{field} [{unit}]" if unit else field


def _short(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)
