"""The figures of a run under one time axis. A new run sends data into plots that are there already."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import panel as pn
import panel_material_ui as pmui

from hustle_sim.analysis import palette
from hustle_sim.analysis.figures import FIGURES
from hustle_sim.analysis.palette import Look, Theme
from hustle_sim.dashboard import styles

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.analysis.figure_data import Data

SHOWN = ("status", "latency", "outcomes", "queue", "load", "arrivals")
"""The figures of the place, from the top."""

_LOOKS: Mapping[str, tuple[str, str, Mapping[str, Look]]] = {
    "status": ("bands", "status", palette.STATUS),
    "latency": ("points", "outcome", palette.OUTCOME),
    "outcomes": ("bars", "fate", palette.FATE),
    "queue": ("marks", "event", palette.QUEUE),
    "load": ("bars", "part", palette.LOAD),
    "arrivals": ("bars", "traffic", palette.TRAFFIC),
}
"""For each figure: which column of which table says what is drawn, and how each word looks."""

_LINES = {
    "latency": (("solid", "p50"), ("dashed", "p95"), ("dotted", "deadline")),
    "queue": (("dotted", "queue is full"),),
    "load": (("solid", "capacity"),),
    "arrivals": (("solid", "all that reached the backend"),),
}

_QUIET = {"plot.toolbar.logo": None, "plot.toolbar.autohide": True, "plot.title.visible": False}


def drawn(run: Run) -> dict[str, Data]:
    """What each figure draws of a run. Pure, and for any thread."""
    return {name: FIGURES[name].make(run) for name in SHOWN}


def shape_of(data: Mapping[str, Data]) -> tuple[object, ...]:
    """What pipes can't change in a plot that is there: with another shape plots are built anew."""
    return tuple((name, tuple(one.get("rows", ()))) for name, one in data.items())


def legend(name: str, data: Data, theme: Theme) -> str:
    """The words that a figure uses for this run, each with its mark, as HTML: it wraps where a plot's legend can't."""
    table, column, looks = _LOOKS[name]
    there = set(data[table][column])
    marks = [
        f'<span><i style="color:{look.colour(theme)}">{look.glyph}</i>{escape(look.word)}</span>'
        for word, look in looks.items()
        if word in there or look.word in there
    ]
    if name != "queue" or len(data["most"]):
        marks += [
            f'<span><i class="line" style="border-top-style:{dash}"></i>{escape(words)}</span>'
            for dash, words in _LINES.get(name, ())
        ]
    note = f" <em>({escape(str(data['note']))})</em>" if data["note"] else ""
    return f'<h2>{escape(FIGURES[name].title)}{note}</h2><div class="legend">{"".join(marks)}</div>'


class RunCharts(pn.viewable.Viewer):
    """One pane for each figure; zooming one zooms all."""

    def __init__(self, page: pmui.Page, **params: Any) -> None:
        super().__init__(**params)
        self._page = page
        self._pipes: dict[str, hv.streams.Pipe] = {}
        self._shape: tuple[object, ...] = ()
        self._panes = {
            name: pn.pane.HoloViews(
                None,
                linked_axes=True,
                backend="bokeh",
                sizing_mode="stretch_width",
                margin=0,
                css_classes=[f"figure-{name}"],
            )
            for name in SHOWN
        }
        self._heads = {
            name: pn.pane.HTML("", sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT, _LEGEND_CSS])
            for name in SHOWN
        }
        self._view = pn.Column(
            *[
                pn.Column(
                    self._heads[name], self._panes[name],
                    sizing_mode="stretch_width", margin=(0, 0, 14, 0), stylesheets=[styles.PANEL],
                )
                for name in SHOWN
            ],
            visible=False, sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self._repaint = page.param.watch(lambda _: self._build(), "dark_theme")

    def show(self, data: Mapping[str, Data]) -> None:
        """Draw what ``drawn`` made of a run."""
        shape = shape_of(data)
        if shape == self._shape:
            self._label(data)
            with pn.io.hold():
                for name, pipe in self._pipes.items():
                    pipe.send(data[name])
            return
        self._shape = shape
        self._pipes = {name: hv.streams.Pipe(data=dict(one)) for name, one in data.items()}
        self._build()

    def close(self) -> None:
        """Let go of the plots."""
        self._page.param.unwatch(self._repaint)
        self._pipes = {}

    def __panel__(self) -> Any:
        return self._view

    @property
    def _theme(self) -> Theme:
        return "dark" if self._page.dark_theme else "light"

    def _label(self, data: Mapping[str, Data]) -> None:
        for name, head in self._heads.items():
            head.object = legend(name, data[name], self._theme)

    def _build(self) -> None:
        if not self._pipes:
            return
        self._label({name: pipe.data for name, pipe in self._pipes.items()})
        for name, pipe in self._pipes.items():
            figure = FIGURES[name].live(pipe, theme=self._theme, legend=False)
            self._panes[name].object = figure.opts(backend_opts=_QUIET, backend="bokeh")
        self._view.visible = True


_LEGEND_CSS = """
em { font-weight: 400; font-style: normal; color: var(--mui-palette-hustle-quiet); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 0; font-size: 12.5px;
          color: var(--mui-palette-hustle-quiet); }
.legend span { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; }
.legend i { font-style: normal; font-size: 13px; }
.legend i.line { width: 22px; border-top: 2px solid var(--mui-palette-text-primary); }
"""
