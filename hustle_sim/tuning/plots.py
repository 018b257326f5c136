"""Pictures of comparisons and sweeps, for Bokeh and, with ``hv.extension("matplotlib")``, as pictures without hover."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
import pandas as pd
from bokeh.models import NumeralTickFormatter

from hustle_sim.analysis import METRICS, format_metric, palette
from hustle_sim.analysis.palette import Look, Theme
from hustle_sim.inputs import InputError
from hustle_sim.tuning.table import format_difference, metrics_of

if TYPE_CHECKING:
    from hustle_sim.tuning.compare import Comparison
    from hustle_sim.tuning.sweep import Sweep

VERDICT = {
    "better": Look("better", "#1D8A6A", "#37BBA3", "triangle", "▲"),
    "worse": Look("worse", "#CC2F5A", "#FF6B8E", "inverted_triangle", "▼"),
    "unsure": Look("unsure", "#7F858C", "#9BA3AB", "circle", "●"),
    "same": Look("same", "#7F858C", "#9BA3AB", "square", "■"),
    "": Look("neither good nor bad", "#4A8CC7", "#5EA3E0", "diamond", "◆"),
}
"""How a policy does against the baseline: a word, a shape and a colour."""

_MATPLOTLIB = {"triangle": "^", "inverted_triangle": "v", "circle": "o", "square": "s", "diamond": "D"}
_LOGARITHMIC = 20.0
"""Values that span more than this are spread over a logarithmic axis, as a sweep draws them."""

_READABLE_CELLS = 48
_ROW_PX, _PANEL_PX = 34, 300


def differences(comparison: Comparison, metrics: Sequence[str] | None = None, *, theme: Theme = "light") -> hv.Layout:
    """The paired differences to the baseline with their intervals, a panel for each metric, a row for each policy.

    ``metrics`` None takes those that have a better direction and in which anything differs. Raises InputError if
    there is no difference to draw.
    """
    rows = comparison[comparison["policy"] != comparison.about["baseline"]]
    if not len(rows):
        raise InputError("there is one policy only, so there is no difference to draw: compare it with another")
    if metrics is None:
        telling = rows[rows["verdict"].isin(["better", "worse", "unsure"])]
        wanted = list(dict.fromkeys(telling["metric"])) or list(dict.fromkeys(rows["metric"]))
    else:
        wanted = metrics_of(metrics)
    panels = [_difference_panel(rows[rows["metric"] == metric], metric, comparison, theme) for metric in wanted]
    return _laid_out(panels, columns=2)


def swept(sweep: Sweep, metric: str | None = None, *, theme: Theme = "light") -> hv.Layout:
    """A metric over the fields of a sweep, a panel for each scenario; ``metric`` None takes the first with a direction.

    One field: a line with the band of its interval. Two: a heat map (a cloud for points that are no grid), with the
    interval in the hover. More: parallel coordinates, coloured by the metric. Raises InputError if the sweep does
    not have the metric.
    """
    present = list(dict.fromkeys(sweep["metric"]))
    chosen = metric or next((name for name in present if METRICS[name].better != "none"), present[0])
    if chosen not in present:
        raise InputError(f"this sweep has no metric {chosen!r}: it has {', '.join(present)}")
    rows = pd.DataFrame(sweep)[sweep["metric"] == chosen].dropna(subset=["mean"])
    if not len(rows):
        raise InputError(f"{chosen} has no value at any point of the sweep")
    fields = sweep.fields
    rows = rows.assign(words=[_point_words(chosen, fields, row) for _, row in rows.iterrows()])
    draw = _line if len(fields) == 1 else _parallel
    if len(fields) == 2:
        draw = _heat_map if sweep.about["arguments"]["design"] == "grid" else _cloud
    panels = []
    for scenario, each in rows.groupby("scenario", sort=False):
        title = f"{chosen}{direction(chosen)} on {scenario}"
        panels.append(draw(each, fields, chosen, title, theme))
    return _laid_out(panels, columns=1)


def _difference_panel(rows: pd.DataFrame, metric: str, comparison: Comparison, theme: Theme) -> hv.Overlay:
    baseline = comparison.about["baseline"]
    many = len(comparison.about["scenarios"]) > 1
    rows = rows.iloc[::-1].reset_index(drop=True).rename_axis("row").reset_index()
    names = [f"{row['policy']} · {row['scenario']}" if many else str(row["policy"]) for _, row in rows.iterrows()]
    drawn = rows.assign(words=[_difference_words(metric, comparison.about, row) for _, row in rows.iterrows()])
    drawn = drawn.dropna(subset=["difference"])
    x, y = hv.Dimension(f"{metric}_difference"), hv.Dimension("row")
    known = drawn.dropna(subset=["difference_low"])
    whiskers = known[["difference_low", "row", "difference_high", "row", "verdict"]].set_axis(
        ["x0", "y0", "x1", "y1", "verdict"], axis=1
    )
    layers: list[Any] = [
        hv.VLine(0.0).opts(
            color=palette.line("soft", theme), line_dash="dashed", line_width=1, apply_ranges=True, backend="bokeh"
        )
    ]
    for verdict, look in VERDICT.items():
        colour = look.colour(theme)
        lines = whiskers[whiskers["verdict"] == verdict].drop(columns="verdict")
        points = drawn[drawn["verdict"] == verdict]
        if len(lines):
            segments = hv.Segments(lines, kdims=[x.clone("x0"), y.clone("y0"), x.clone("x1"), y.clone("y1")])
            layers.append(segments.opts(color=colour, line_width=2, backend="bokeh"))
            _for_matplotlib(segments, color=colour, linewidth=1.5)
        if len(points):
            marks = hv.Points(points, [x.clone("difference"), y], ["words"], label=look.word)
            marks = marks.opts(
                color=colour, marker=look.marker, size=10, tools=["hover"], backend="bokeh",
                hover_tooltips='<div style="max-width: 24em">@words</div>',
            )  # fmt: skip
            layers.append(marks)
            _for_matplotlib(marks, color=colour, marker=_MATPLOTLIB[look.marker], s=45)
    _for_matplotlib(layers[0], color=palette.line("soft", theme), linestyle="dashed", linewidth=1)
    reach = [0.0, *known["difference_low"], *known["difference_high"], *drawn["difference"]]
    low, high = min(reach), max(reach)
    margin = (high - low or 1.0) * 0.06
    common = {
        "title": f"{metric}{direction(metric)}", "ylabel": "", "yticks": list(enumerate(names)), "show_grid": True,
        "ylim": (-0.6, len(names) - 0.4), "xlim": (low - margin, high + margin), "show_legend": True,
        "xlabel": _difference_label(metric, baseline),
    }  # fmt: skip
    # HoloViews makes axes of equal names one; these have units of their own.
    return _finished(
        hv.Overlay(layers), common, height=110 + _ROW_PX * len(names), aspect=max(1.2, 3.2 - 0.3 * len(names))
    )


def _line(rows: pd.DataFrame, fields: Sequence[str], metric: str, title: str, theme: Theme) -> hv.Overlay:
    (field,) = fields
    place, ticks = _placed(rows[field])
    rows = rows.assign(at=place).sort_values("at")
    colour = palette.line("line", theme)
    x, y = hv.Dimension("at", label=_label(field)), hv.Dimension("mean", label=_with_unit(metric))
    marks = hv.Points(rows, [x, y], ["words"]).opts(
        color=colour, size=7, tools=["hover"], hover_tooltips="@words", backend="bokeh"
    )
    _for_matplotlib(marks, color=colour, s=25)
    layers: list[Any] = []
    known = rows.dropna(subset=["low"])
    if ticks is None:
        band = hv.Area((known["at"], known["low"], known["high"]), x, [y, y.clone("high")])
        layers.append(band.opts(color=colour, fill_alpha=0.18, line_alpha=0.0, backend="bokeh"))
        _for_matplotlib(band, facecolor=colour, alpha=0.18, edgecolor="none")
        curve = hv.Curve(rows, x, y).opts(color=colour, line_width=2, backend="bokeh")
        _for_matplotlib(curve, color=colour, linewidth=1.5)
        layers.append(curve)
    else:
        whiskers = known[["at", "low", "at", "high"]].set_axis(["x0", "y0", "x1", "y1"], axis=1)
        segments = hv.Segments(whiskers, ["x0", "y0", "x1", "y1"])
        layers.append(segments.opts(color=colour, line_width=2, backend="bokeh"))
        _for_matplotlib(segments, color=colour, linewidth=1.5)
    common = {
        "title": f"{title}: mean and 95 % interval", "xlabel": _label(field), "ylabel": _with_unit(metric),
        "show_grid": True, "show_legend": False, "padding": 0.05,
        "logx": ticks is None and _is_wide(rows[field]), **({"xticks": ticks} if ticks is not None else {}),
    }  # fmt: skip
    return _finished(hv.Overlay([*layers, marks]), common, height=320, aspect=2.2)


def _heat_map(rows: pd.DataFrame, fields: Sequence[str], metric: str, title: str, theme: Theme) -> hv.Element:
    orders = [sorted(set(rows[field]), key=_order) for field in fields]
    at = [np.array([order.index(value) for value in rows[field]]) for field, order in zip(fields, orders, strict=True)]
    cells = pd.DataFrame(
        {"x0": at[0] - 0.5, "y0": at[1] - 0.5, "x1": at[0] + 0.5, "y1": at[1] + 0.5, "mean": rows["mean"].to_numpy(),
         "words": rows["words"].to_numpy()}
    )  # fmt: skip
    heat = hv.Rectangles(cells, ["x0", "y0", "x1", "y1"], [hv.Dimension("mean", label=_with_unit(metric)), "words"])
    heat = heat.opts(
        color="mean", colorbar=True, line_color="white", tools=["hover"], hover_tooltips="@words", backend="bokeh",
        cformatter=_as_percent(metric), **_colours(metric),
    )  # fmt: skip
    _for_matplotlib(heat, color="mean", colorbar=True, linewidth=1, edgecolor="white", **_colours(metric))
    layers: list[Any] = [heat]
    if len(rows) <= _READABLE_CELLS:
        layers += _cell_texts(rows, at, metric)
    common = {
        "title": title, "xlabel": _label(fields[0]), "ylabel": _label(fields[1]), "show_legend": False,
        "xticks": list(enumerate(map(_short, orders[0]))), "yticks": list(enumerate(map(_short, orders[1]))),
        "xlim": (-0.5, len(orders[0]) - 0.5), "ylim": (-0.5, len(orders[1]) - 0.5),
    }  # fmt: skip
    return _finished(hv.Overlay(layers), common, height=360, aspect=1.6)


def _cell_texts(rows: pd.DataFrame, at: Sequence[Any], metric: str) -> list[Any]:
    """The mean and how far it may be off in each cell, light on dark colours and dark on light ones."""
    means = rows["mean"].to_numpy()
    share = (means - means.min()) / ((means.max() - means.min()) or 1.0)
    is_dark = (share > 0.4) if METRICS[metric].better == "lower" else (share < 0.6)
    texts = [_measured(metric, row["mean"]) + _how_sure(metric, row) for _, row in rows.iterrows()]
    layers = []
    for dark, colour in ((True, "#FFFFFF"), (False, "#22272B")):
        chosen = [
            (float(x), float(y), text)
            for x, y, text, own in zip(at[0], at[1], texts, is_dark, strict=True)
            if own == dark
        ]
        if chosen:
            labels = hv.Labels(chosen, ["x0", "y0"], "text")
            layers.append(labels.opts(text_color=colour, text_font_size="8pt", backend="bokeh"))
            _for_matplotlib(labels, color=colour, size=7)
    return layers


def _how_sure(metric: str, row: pd.Series[Any]) -> str:
    """A line with the interval of a mean, which is not in its middle where the metric can't go further."""
    below, above = row["mean"] - row["low"], row["high"] - row["mean"]
    if math.isnan(below):
        return ""
    if not math.isclose(below, above, rel_tol=1e-6, abs_tol=1e-12):
        return "\n" + " to ".join(_measured(metric, row[end]) for end in ("low", "high"))
    return f"\n± {format_difference(metric, above).lstrip('+')}"


def _cloud(rows: pd.DataFrame, fields: Sequence[str], metric: str, title: str, theme: Theme) -> hv.Element:
    places, ticks = zip(*(_placed(rows[field]) for field in fields), strict=True)
    rows = rows.assign(at_x=places[0], at_y=places[1])
    points = hv.Points(rows, ["at_x", "at_y"], [hv.Dimension("mean", label=_with_unit(metric)), "words"])
    points = points.opts(color="mean", size=11, backend="bokeh")
    _for_matplotlib(points, color="mean", s=60)
    common = {
        "title": title, "xlabel": _label(fields[0]), "ylabel": _label(fields[1]), "colorbar": True, "show_grid": True,
        "padding": 0.05,
        "logx": ticks[0] is None and _is_wide(rows[fields[0]]), "logy": ticks[1] is None and _is_wide(rows[fields[1]]),
        **{axis: at for axis, at in zip(("xticks", "yticks"), ticks, strict=True) if at is not None},
    }  # fmt: skip
    return _finished(points, {**common, **_colours(metric)}, height=360, aspect=1.6, hover=True)


def _parallel(rows: pd.DataFrame, fields: Sequence[str], metric: str, title: str, theme: Theme) -> hv.Overlay:
    """A line for each point, over an axis for each field and one for the metric, each from its least to its most."""
    heights, labels = [], []
    for place, name in enumerate([*fields, "mean"]):
        values, ticks = _placed(rows[name])
        scaled = np.log(values) if ticks is None and _is_wide(rows[name]) else values
        low, high = float(np.min(scaled)), float(np.max(scaled))
        heights.append((scaled - low) / (high - low) if high > low else np.full(len(rows), 0.5))
        shown = [(0.0, min(rows[name], key=_order)), (1.0, max(rows[name], key=_order))] if ticks is None else [
            ((at - low) / (high - low) if high > low else 0.5, word) for at, word in ticks
        ]  # fmt: skip
        if name == "mean":
            shown = [(at, _measured(metric, float(value))) for at, value in shown]
        labels += [(place + 0.03, at, _short(value)) for at, value in shown]
    grid = np.arange(len(heights))
    paths = [
        {"field": grid, "height": np.array([axis[number] for axis in heights]), "mean": mean, "words": words}
        for number, (mean, words) in enumerate(zip(rows["mean"], rows["words"], strict=True))
    ]
    mean = hv.Dimension("mean", label=_with_unit(metric))
    lines = hv.Contours(paths, ["field", "height"], [mean, "words"])
    lines = lines.opts(
        color="mean", line_width=2, alpha=0.8, colorbar=True, backend="bokeh", tools=["hover"],
        hover_tooltips="@words", **_colours(metric),
    )  # fmt: skip
    _for_matplotlib(lines, color="mean", linewidth=1.2, colorbar=True, **_colours(metric))
    soft = palette.line("soft", theme)
    axes = hv.Segments([(at, 0.0, at, 1.0) for at in grid], ["x0", "y0", "x1", "y1"])
    axes = axes.opts(color=soft, line_width=1, backend="bokeh")
    _for_matplotlib(axes, color=soft, linewidth=1)
    ends = hv.Labels(labels, ["field", "height"], "text").opts(
        text_color=palette.line("line", theme), text_font_size="8pt", text_align="left", text_baseline="middle",
        backend="bokeh", background_fill_color="white" if theme == "light" else "black", background_fill_alpha=0.6,
    )  # fmt: skip
    _for_matplotlib(ends, color=palette.line("line", theme), size=7, horizontalalignment="left")
    common = {
        "title": title, "xlabel": "", "ylabel": "", "yticks": [(0.0, ""), (1.0, "")], "show_legend": False,
        "xticks": [*enumerate(map(_label, fields)), (len(fields), _with_unit(metric))],
        "xlim": (-0.15, len(fields) + 0.45), "ylim": (-0.06, 1.06),
    }  # fmt: skip
    return _finished(hv.Overlay([axes, lines, ends]), common, height=380, aspect=2.2)


def _finished(element: Any, common: dict[str, Any], *, height: int, aspect: float, hover: bool = False) -> Any:
    tips = {"tools": ["hover"], "hover_tooltips": "@words"} if hover else {}
    legend = {"legend_position": "top", "legend_cols": 5} if isinstance(element, hv.Overlay) else {}
    element = element.opts(
        **common, **tips, **legend, responsive=True, height=height, toolbar="right", backend="bokeh",
        min_width=_PANEL_PX, hooks=[_finish_bokeh],
        fontsize={"title": "11pt", "labels": "9pt", "ticks": "8pt"},
    )  # fmt: skip
    if isinstance(element, hv.Overlay):
        legend = {"legend_position": "best", "legend_opts": {"fontsize": 7, "framealpha": 0.6}}
    if "matplotlib" in hv.Store.registry:
        blank = {name: common[name] or " " for name in ("xlabel", "ylabel")}
        element = element.opts(
            **{**common, **blank}, **legend, aspect=aspect, backend="matplotlib", hooks=[_finish_matplotlib],
            fontsize={"title": 10, "labels": 8, "ticks": 7},
        )  # fmt: skip
    return element


def _finish_bokeh(plot: Any, _element: Any) -> None:
    # As in the other figures: markers of several shapes turn into circles on WebGL (bokeh issue 15279).
    plot.state.output_backend = "canvas"
    for axis in (*plot.state.xaxis, *plot.state.yaxis):
        axis.axis_label_text_font_style = "normal"


def _finish_matplotlib(plot: Any, _element: Any) -> None:
    axis = plot.handles["axis"]
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _for_matplotlib(element: Any, **options: Any) -> None:
    if "matplotlib" in hv.Store.registry:
        element.opts(**options, backend="matplotlib", clone=False)


def _laid_out(panels: Sequence[Any], columns: int) -> hv.Layout:
    layout = hv.Layout(list(panels)).cols(min(columns, len(panels)))
    layout = layout.opts(shared_axes=False, backend="bokeh")
    if "matplotlib" in hv.Store.registry:
        layout = layout.opts(
            shared_axes=False, sublabel_format="", hspace=0.5, vspace=0.6, fig_inches=9 / min(columns, len(panels)),
            backend="matplotlib",
        )  # fmt: skip
    return layout


def _colours(metric: str) -> dict[str, Any]:
    # The brighter end is the better one.
    return {"cmap": "viridis_r" if METRICS[metric].better == "lower" else "viridis", "clabel": _with_unit(metric)}


def _as_percent(metric: str) -> NumeralTickFormatter | None:
    """How the numbers of a share are written beside its colours; None: as they are."""
    return NumeralTickFormatter(format="0.[0] %") if METRICS[metric].unit == "share" else None


def _placed(values: pd.Series[Any]) -> tuple[Any, list[tuple[float, str]] | None]:
    """Where values stand on an axis, and the ticks for those that are no numbers."""
    if all(isinstance(value, int | float) and not isinstance(value, bool | np.bool_) for value in values):
        return values.to_numpy(dtype=float), None
    words = list(dict.fromkeys(map(_short, values)))
    return np.array([float(words.index(_short(value))) for value in values]), [
        (float(at), word) for at, word in enumerate(words)
    ]


def _is_wide(values: pd.Series[Any]) -> bool:
    low, high = float(min(values)), float(max(values))
    return low > 0 and high >= _LOGARITHMIC * low


def _order(value: Any) -> tuple[bool, Any]:
    is_number = isinstance(value, int | float | np.number)
    return not is_number, value if is_number else str(value)


def _short(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)


def _label(field: str) -> str:
    from hustle_sim.policy import policy_fields

    unit = next((known.unit for known in policy_fields() if known.name == field), "")
    return f"{field} [{unit}]" if unit else field


def _with_unit(metric: str) -> str:
    unit = METRICS[metric].unit
    return metric if unit == "count" else f"{metric} [{unit}]"


def _measured(metric: str, value: Any) -> str:
    return format_metric(metric, float(value))


def direction(metric: str) -> str:
    """Which way is better, in brackets, or nothing."""
    better = METRICS[metric].better
    return "" if better == "none" else f" ({better} is better)"


def _difference_label(metric: str, baseline: str) -> str:
    unit = METRICS[metric].unit
    label = f"difference to {baseline}" + ("" if unit == "count" else f" [{unit}]")
    match METRICS[metric].better:
        case "lower":
            return f"◂ better   {label}   worse ▸"
        case "higher":
            return f"◂ worse   {label}   better ▸"
        case _:
            return label


def _difference_words(metric: str, about: Mapping[str, Any], row: pd.Series[Any]) -> str:
    words = f"{row['policy']} on {row['scenario']}: {metric} {_measured(metric, row['mean'])}"
    words += f", {format_difference(metric, row['difference'])} against {about['baseline']}"
    if not math.isnan(row["difference_low"]):
        between = " to ".join(format_difference(metric, row[end]) for end in ("difference_low", "difference_high"))
        words += f" ({about['level'] * 100:.3g} % interval: {between})"
    return f"{words}: {VERDICT[row['verdict']].word}"


def _point_words(metric: str, fields: Sequence[str], row: pd.Series[Any]) -> str:
    at = ", ".join(f"{field} = {_short(row[field])}" for field in fields)
    words = f"{at}: {metric} {_measured(metric, row['mean'])}"
    if math.isnan(row["low"]):
        return words
    between = " to ".join(_measured(metric, row[end]) for end in ("low", "high"))
    return f"{words} (95 % interval: {between})"
