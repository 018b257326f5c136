"""What came of a study: figures in which a click chooses a policy, and the same policies as a table."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.analysis.palette import Theme
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.controls import FIELDS
from hustle_sim.dashboard.notices import prose
from hustle_sim.dashboard.policy_table import PolicyTable
from hustle_sim.dashboard.tune_state import cell_policy, in_words, plain, ranked, written
from hustle_sim.policy import Policy
from hustle_sim.tuning import tune_plot, tune_report
from hustle_sim.tuning.plots import direction, swept

if TYPE_CHECKING:
    from hustle_sim.tuning.sweep import Sweep
    from hustle_sim.tuning.tune import Tuning

# Two beside each other where there is room; a column's own button for scrolling takes no cell.
_GRID = """
:host { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 12px; }
:host > * { min-width: 0; }
:host > .scroll-button { display: none; }
"""

FIRST_METRIC = "answered_share"
_SHOWN = 200


def _pane(name: str) -> pn.pane.HoloViews:
    return pn.pane.HoloViews(
        None, backend="bokeh", linked_axes=False, sizing_mode="stretch_width", margin=0, css_classes=[name]
    )


def _scrolled(*panes: Any) -> pn.Column:
    """Figures that are wider than a phone scroll in a frame of their own."""
    return pn.Column(*panes, sizing_mode="stretch_width", margin=0, styles={"overflow-x": "auto"})


class _Results(pn.viewable.Viewer):
    """Common to both kinds: what is chosen, and taking it along."""

    def __init__(self, theme: Callable[[], Theme], load: Callable[[Policy], None], **params: Any) -> None:
        super().__init__(**params)
        self._theme, self._load = theme, load
        self.table = PolicyTable(self._on_load)
        # Streams are kept alive by nobody else.
        self._taps: list[Any] = []
        self.take = pmui.Button(
            label="Simulate the chosen policy", color="primary", variant="outlined", size="small", margin=(8, 0),
            visible=False, on_click=lambda _: self._on_load(self.table.selected),
        )  # fmt: skip

    def policy(self, key: str) -> Policy:
        """The policy of a row."""
        raise NotImplementedError

    def _on_load(self, key: str) -> None:
        self._load(self.policy(key))

    def _tap(self, source: Any, clicked: Callable[[float, float], None]) -> None:
        def hear(x: Any, y: Any) -> None:
            if x is not None and y is not None:
                clicked(float(x), float(y))

        tap = hv.streams.Tap(source=source)
        tap.add_subscriber(hear)
        self._taps.append(tap)


class SweepResults(_Results):
    """A sweep over two fields: a heat map of one metric, and its points from the best on."""

    def __init__(self, theme: Callable[[], Theme], load: Callable[[Policy], None], **params: Any) -> None:
        super().__init__(theme, load, **params)
        self._sweep: Sweep | None = None
        self.metric = pmui.Select(
            label="Metric",
            options={metric.label: name for name, metric in METRICS.items()},
            value=FIRST_METRIC,
            size="small",
            width=240,
            margin=(0, 0, 8, 0),
        )
        self.metric.param.watch(lambda _: self.draw(), "value")
        self.figure = _pane("heat-map")
        self._about = prose("")
        self._chosen = prose("", css_classes=["chosen-point"])
        self.table.param.watch(lambda _: self._on_chosen(), "selected")
        self._view = pn.Column(
            self.metric, self._about, _scrolled(self.figure), self._chosen, self.take, self.table,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], visible=False,
        )  # fmt: skip

    def show(self, sweep: Sweep | None) -> None:
        """Show a sweep, or nothing."""
        self._sweep = sweep
        self._view.visible = sweep is not None
        self.draw()

    def policy(self, key: str) -> Policy:
        """The policy of a point."""
        assert self._sweep is not None
        return cell_policy(self._sweep, self._row(key))

    def draw(self) -> None:
        """Draw what is there, in the theme that the page has now."""
        sweep, metric = self._sweep, self.metric.value
        if sweep is None:
            return
        best = ranked(sweep, metric)
        known = best.dropna(subset=["mean"])
        label = METRICS[metric].label
        self._about.object = (
            f"<p><code>{metric}</code>{direction(metric)} on {escape(next(iter(sweep.about['scenarios'])))}. "
            f"{escape(METRICS[metric].text)}</p>{_refused(sweep)}"
        )
        self._taps = []
        if len(known):
            layout = swept(sweep, metric, theme=self._theme())
            overlay = layout.traverse(lambda each: each, [hv.Overlay])[0]
            self._tap(next(iter(overlay)), self._on_cell)
            # What the title says stands above, where it is not cut off on a phone.
            self.figure.object = overlay.opts(title="", backend="bokeh")
        self.figure.visible = bool(len(known))
        first, second = sweep.fields
        self.table.param.update(
            caption=f"Points by {label}, the best first",
            columns=[f"{label}, mean", "95 % interval", first, second],
            rows=[
                {
                    "key": str(row["point"]),
                    "cells": [
                        format_metric(metric, float(row["mean"])),
                        _interval(metric, row),
                        written(FIELDS[first], plain(row[first])),
                        written(FIELDS[second], plain(row[second])),
                    ],
                    "mark": "★" if place == 0 and len(known) else "",
                    "note": "",
                }
                for place, (_, row) in enumerate(best.head(_SHOWN).iterrows())
            ],
            selected="",
        )  # fmt: skip
        self._on_chosen()

    def __panel__(self) -> Any:
        return self._view

    def _row(self, key: str) -> pd.Series[Any]:
        assert self._sweep is not None
        rows = self._sweep[(self._sweep["metric"] == self.metric.value) & (self._sweep["point"].astype(str) == key)]
        row: pd.Series[Any] = rows.iloc[0]
        return row

    def _on_cell(self, x: float, y: float) -> None:
        """The cell that was clicked: the heat map has the values of a field in order, a unit apart."""
        if self._sweep is None:
            return
        values = pd.DataFrame(self._sweep)
        for name, at in zip(self._sweep.fields, (round(x), round(y)), strict=True):
            order = sorted(set(values[name]), key=_order)
            if not 0 <= at < len(order):
                return
            values = values[values[name] == order[at]]
        if len(values):
            self.table.selected = str(values["point"].iloc[0])

    def _on_chosen(self) -> None:
        key = self.table.selected
        self.take.visible = bool(key)
        if self._sweep is None or not key:
            self._chosen.object = "<p>Click a cell to choose its policy; <b>Simulate</b> takes it along.</p>"
            return
        self._chosen.object = (
            f"<p><b>Chosen:</b> {escape(in_words(self._sweep, self.metric.value, self._row(key)))}</p>"
        )


def _order(value: Any) -> tuple[bool, Any]:
    is_number = isinstance(value, int | float | np.number)
    return not is_number, value if is_number else str(value)


def _interval(metric: str, row: Any) -> str:
    if np.isnan(row["low"]):
        return "–"
    return " to ".join(format_metric(metric, float(row[end])) for end in ("low", "high"))


def _refused(sweep: Sweep) -> str:
    refused = sweep.refused
    if not len(refused):
        return ""
    many = "1 point is" if len(refused) == 1 else f"{len(refused)} points are"
    reason = str(refused["reason"].iloc[0]).removeprefix("policy: ")
    return f"<p>{many} left out, since the values can't work together: {escape(reason)}.</p>"


class SearchResults(_Results):
    """A search: what to ship in words, the front beside the presets, and all of them as a table."""

    def __init__(self, theme: Callable[[], Theme], load: Callable[[Policy], None], **params: Any) -> None:
        super().__init__(theme, load, **params)
        self._tuning: Tuning | None = None
        self._words = prose("", css_classes=["findings"])
        self._pairs = _scrolled()
        self._pairs.stylesheets = [_GRID]
        self.table.param.watch(lambda _: self._on_chosen(), "selected")
        self._changes = prose("", css_classes=["changes"])
        self._view = pn.Column(
            self._words, pn.Spacer(height=10), self._pairs, self.table, self._changes, self.take,
            sizing_mode="stretch_width", margin=0, stylesheets=[styles.PANEL], visible=False,
        )  # fmt: skip

    def show(self, tuning: Tuning | None) -> None:
        """Show a tuning, or nothing."""
        self._tuning = tuning
        self._view.visible = tuning is not None
        self.draw()

    def policy(self, key: str) -> Policy:
        """The policy of a row."""
        assert self._tuning is not None
        return self._tuning.policies[key]

    def draw(self) -> None:
        """Draw what is there, in the theme that the page has now."""
        tuning = self._tuning
        if tuning is None:
            return
        more = "".join(f"<p>{escape(sentence)}</p>" for sentence in tune_report.sentences(tuning))
        self._words.object = f"<h2>{escape(tune_report.headline(tuning))}</h2>{more}"
        marked = tune_plot.marked(tuning)
        first, *others = tuning.objectives
        self._taps = []
        # Panes are kept, and get other figures: what a pane drew before is let go of then.
        names = ["pareto"] * len(others) + ["parallel"]
        if len(self._pairs.objects) != len(names):
            self._pairs.objects = [_pane(name) for name in names]
        panes = self._pairs.objects
        for pane, other in zip(panes, others, strict=False):
            figure = tune_plot.pair(marked, tuning.trials, first, other, self._theme())
            source = next(each for each in figure if isinstance(each, hv.Points))
            self._tap(source, partial(self._on_point, marked, (first.metric, other.metric)))
            pane.object = figure
        panes[-1].object = tune_plot.parallel(marked, tuning.objectives, self._theme())
        metrics = [objective.metric for objective in tuning.objectives]
        self.table.param.update(
            caption="The front and the presets",
            columns=["Policy", *(METRICS[name].label for name in metrics)],
            rows=[
                {
                    "key": row["policy"],
                    "cells": [row["policy"], *(format_metric(name, float(row[name])) for name in metrics)],
                    "mark": tune_plot.KINDS[row["look"]].glyph,
                    "note": tune_plot.KINDS[row["look"]].word + ("" if row["kept"] else ", breaks a limit"),
                }
                for row in sorted(marked.to_dict("records"), key=lambda row: row["look"] == "preset")
            ],
            selected=tuning.winner,
        )
        self._on_chosen()

    def __panel__(self) -> Any:
        return self._view

    def _on_point(self, rows: pd.DataFrame, pair: tuple[str, str], x: float, y: float) -> None:
        """The policy whose point is nearest to the click, as shares of what the figure spans."""
        known = rows.dropna(subset=list(pair))
        spans = [float(known[name].max() - known[name].min()) or 1.0 for name in pair]
        far = ((known[pair[0]] - x) / spans[0]) ** 2 + ((known[pair[1]] - y) / spans[1]) ** 2
        if len(known) and float(far.min()) < 0.01:
            self.table.selected = str(known["policy"].iloc[int(far.argmin())])

    def _on_chosen(self) -> None:
        tuning, key = self._tuning, self.table.selected
        self.take.visible = tuning is not None and key in tuning.policies
        if tuning is None or key not in tuning.policies:
            self._changes.object = ""
            return
        before, now = tuning.about["policy"], tuning.policies[key].flat()
        lines = [
            f"<tr><td><code>{name}</code></td><td>{escape(written(FIELDS[name], before[name]))}</td>"
            f"<td>{escape(written(FIELDS[name], now[name]))}</td></tr>"
            for name in now
            if now[name] != before[name]
        ]
        head = f"<tr><th>field</th><th>before</th><th>{escape(key)}</th></tr>"
        table = (
            f'<table class="changed">{head}{"".join(lines)}</table>'
            if lines
            else "<p>It is the policy that the search began with.</p>"
        )
        self._changes.object = f'<h3 style="margin:14px 0 4px">{escape(key)}: what differs</h3>{table}'
