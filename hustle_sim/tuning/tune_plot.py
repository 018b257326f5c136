"""The front of a tuning beside the presets, drawn: pairs of objectives, and all of them on parallel axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import pandas as pd

from hustle_sim.analysis import METRICS, format_metric, palette
from hustle_sim.analysis.palette import Look, Theme
from hustle_sim.tuning.draw import beside, finished, layer
from hustle_sim.tuning.goals import Objective
from hustle_sim.tuning.pareto import Flags

if TYPE_CHECKING:
    from hustle_sim.tuning.tune import Tuning

KINDS: dict[str, Look] = {
    "tried": Look("tried by the search", "#B3B8BE", "#737B84", "circle", "●"),
    "preset": Look("preset", "#C9730B", "#F0A03C", "diamond", "◆"),
    "front": Look("front", "#4A8CC7", "#5EA3E0", "circle", "●"),
    "knee": Look("knee of the front", "#2B3D9A", "#A9CDEE", "square", "■"),
    "recommended": Look("recommended", "#127B5B", "#37BBA3", "triangle", "▲"),
}
"""What a policy is; a later one is drawn over an earlier one."""

_FAR = 2.0
_NAMED = 2
_MATPLOTLIB = {"circle": "o", "diamond": "D", "square": "s", "triangle": "^"}
_SIZES = {"tried": 4, "preset": 10, "front": 9, "knee": 11, "recommended": 14}


def tuned(tuning: Tuning, *, theme: Theme = "light") -> hv.Layout:
    """A panel for the first objective against each other one, with 95 % intervals, and parallel axes for all."""
    first, *others = tuning.objectives
    rows = marked(tuning)
    tried = tuning.trials
    panels = [pair(rows, tried, first, other, theme) for other in others]
    return beside([*panels, parallel(rows, tuning.objectives, theme)], columns=2)


def marked(tuning: Tuning) -> pd.DataFrame:
    """The front and the presets, each with what it is (a key of ``KINDS``) and its words."""
    rows = pd.concat([tuning.presets.assign(look="preset"), tuning.front.assign(look="front")], ignore_index=True)
    rows.loc[rows["knee"], "look"] = "knee"
    rows.loc[rows["recommended"], "look"] = "recommended"
    metrics = [objective.metric for objective in tuning.objectives]
    rows["words"] = [
        f"{row['policy']}: " + ", ".join(f"{name} {format_metric(name, row[name])}" for name in metrics)
        for row in rows.to_dict("records")
    ]
    return rows


def pair(rows: pd.DataFrame, tried: pd.DataFrame, x: Objective, y: Objective, theme: Theme = "light") -> hv.Overlay:
    """One objective against another: what the search tried, the front, and the presets by name."""
    layers: list[Any] = []
    away = _off(rows, x.metric) | _off(rows, y.metric)
    beyond = f" (far off: {', '.join(rows.loc[away, 'policy'])})" if away.any() else ""
    rows = rows[~away]
    cloud = tried.dropna(subset=[x.metric, y.metric])[[x.metric, y.metric]].astype(float)
    cloud = cloud[_inside(cloud[x.metric], rows[x.metric]) & _inside(cloud[y.metric], rows[y.metric])]
    if len(cloud):
        layers.append(_marks(cloud.assign(words="tried by the search"), x.metric, y.metric, "tried", theme))
    for key in list(KINDS)[1:]:
        own = rows[rows["look"] == key]
        if len(own):
            layers += [_whiskers(own, x.metric, y.metric, key, theme), _marks(own, x.metric, y.metric, key, theme)]
    named = rows[rows["look"].isin(["preset", "recommended"])]
    names = hv.Labels(
        [(row[x.metric], row[y.metric], f"  {_short(row['names'])}") for row in _apart(named, x.metric, y.metric)],
        [x.metric, y.metric], "text",
    )  # fmt: skip
    ink = palette.line("line", theme)
    layers.append(
        layer(
            names, {"text_color": ink, "text_font_size": "8pt", "text_align": "left"},
            {"color": ink, "size": 7, "horizontalalignment": "left"},
        )
    )  # fmt: skip
    common = {
        "title": f"{y.metric} over {x.metric}{beyond}", "xlabel": _label(x), "ylabel": _label(y),
        "show_grid": True, "show_legend": True, "padding": 0.1,
    }  # fmt: skip
    return finished(hv.Overlay(layers), common, height=340, aspect=1.35)


def parallel(rows: pd.DataFrame, objectives: tuple[Objective, ...], theme: Theme = "light") -> hv.Overlay:
    """A line for each policy over an axis for each objective, from the worst of these policies up to the best.

    A preset that is far off leaves the axis at its end.
    """
    rows = rows.dropna(subset=[objective.metric for objective in objectives])
    heights, labels = [], []
    for place, objective in enumerate(objectives):
        values = rows[objective.metric].to_numpy(dtype=float)
        near = values[~_off(rows, objective.metric)]
        worst, best = (near.max(), near.min()) if objective.better == "lower" else (near.min(), near.max())
        shares = (values - worst) / (best - worst) if best != worst else np.full(len(values), 1.0)
        heights.append(np.clip(shares, -0.05, 1.05))
        labels += [(place + 0.03, 1.0, format_metric(objective.metric, best))]
        labels += [(place + 0.03, 0.0, format_metric(objective.metric, worst))] if best != worst else []
    grid = np.arange(len(objectives))
    layers: list[Any] = []
    soft, ink = palette.line("soft", theme), palette.line("line", theme)
    axes = hv.Segments([(at, 0.0, at, 1.0) for at in grid], ["x0", "y0", "x1", "y1"])
    layers.append(layer(axes, {"color": soft, "line_width": 1}, {"color": soft, "linewidth": 1}))
    for key in list(KINDS)[1:]:
        look = KINDS[key]
        paths = [
            {"objective": grid, "height": np.array([axis[number] for axis in heights]), "words": words}
            for number, (kind, words) in enumerate(zip(rows["look"], rows["words"], strict=True))
            if kind == key
        ]
        if not paths:
            continue
        lines = hv.Contours(paths, ["objective", "height"], ["words"], label=look.word)
        colour, bold = look.colour(theme), key in ("recommended", "knee")
        dash = "dashed" if key == "preset" else "solid"
        layers.append(
            layer(
                lines,
                {"color": colour, "line_width": 3.5 if bold else 1.5, "line_dash": dash, "tools": ["hover"],
                 "hover_tooltips": "@words"},
                {"color": colour, "linewidth": 2.5 if bold else 1.0, "linestyle": dash},
            )
        )  # fmt: skip
    ends = hv.Labels(labels, ["objective", "height"], "text")
    layers.append(
        layer(
            ends, {"text_color": ink, "text_font_size": "8pt", "text_align": "left"},
            {"color": ink, "size": 7, "horizontalalignment": "left"},
        )
    )  # fmt: skip
    common = {
        "title": "Each objective, from the worst of these up to the best", "xlabel": "", "ylabel": "",
        "yticks": [(0.0, "worst"), (1.0, "best")], "show_legend": True,
        "xticks": [(float(place), objective.metric) for place, objective in enumerate(objectives)], "xrotation": 20,
        "xlim": (-0.25, len(objectives) - 0.4), "ylim": (-0.08, 1.08),
    }  # fmt: skip
    return finished(hv.Overlay(layers), common, height=320, aspect=1.35)


def _marks(rows: pd.DataFrame, x: str, y: str, key: str, theme: Theme) -> Any:
    look = KINDS[key]
    points = hv.Points(rows[[x, y, "words"]], [x, y], ["words"], label=look.word)
    return layer(
        points,
        {"color": look.colour(theme), "marker": look.marker, "size": _SIZES[key], "tools": ["hover"],
         "hover_tooltips": '<div style="max-width: 24em">@words</div>'},
        {"color": look.colour(theme), "marker": _MATPLOTLIB[look.marker], "s": _SIZES[key] ** 2 / 2},
    )  # fmt: skip


def _whiskers(rows: pd.DataFrame, x: str, y: str, key: str, theme: Theme) -> Any:
    lines = [
        end
        for row in rows.to_dict("records")
        for end in (
            (row[f"{x}_low"], row[y], row[f"{x}_high"], row[y]), (row[x], row[f"{y}_low"], row[x], row[f"{y}_high"]),
        )
        if not np.isnan(end).any()
    ]  # fmt: skip
    colour = KINDS[key].colour(theme)
    segments = hv.Segments(lines, ["x0", "y0", "x1", "y1"])
    return layer(segments, {"color": colour, "line_width": 1, "alpha": 0.5}, {"color": colour, "linewidth": 0.7})


def _apart(rows: pd.DataFrame, x: str, y: str) -> list[dict[Any, Any]]:
    """Rows whose names don't cover each other: those that stand together share one name."""
    kept: list[dict[Any, Any]] = []
    spans = [float(rows[name].max() - rows[name].min()) or 1.0 for name in (x, y)]
    for row in rows.to_dict("records"):
        near = next(
            (
                each for each in kept
                if abs(each[x] - row[x]) / spans[0] < 0.12 and abs(each[y] - row[y]) / spans[1] < 0.05
            ),
            None,
        )  # fmt: skip
        if near is None:
            kept.append({**row, "names": [row["policy"]]})
        else:
            near["names"].append(row["policy"])
    return kept


def _short(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" + {more}" if more > 0 else "")


def _inside(values: pd.Series[Any], shown: pd.Series[Any]) -> pd.Series[bool]:
    """Which values are near what is shown: a search tries things that would squeeze all else into a corner."""
    low, high = float(shown.min()), float(shown.max())
    margin = (high - low) * 0.5
    return (values >= low - margin) & (values <= high + margin)


def _off(rows: pd.DataFrame, metric: str) -> Flags:
    """Presets that are so far off that an axis with them would squeeze all others into a corner."""
    values, is_preset = rows[metric].to_numpy(dtype=float), (rows["look"] == "preset").to_numpy()
    near = [*values[~is_preset], float(np.median(values[is_preset]))]
    low, high = min(near), max(near)
    reach = _FAR * ((high - low) or abs(high))
    off: Flags = is_preset & ((values > high + reach) | (values < low - reach))
    return off


def _label(objective: Objective) -> str:
    unit = METRICS[objective.metric].unit
    name = objective.metric if unit == "count" else f"{objective.metric} [{unit}]"
    return f"{name}, {objective.better} is better"
