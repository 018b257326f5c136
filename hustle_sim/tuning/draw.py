"""How the figures of sensitivity, stability and warm-up are finished, for Bokeh and for Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh

from hustle_sim.analysis.axes import LEGEND


def layer(element: Any, bokeh: dict[str, Any], matplotlib: dict[str, Any]) -> Any:
    """An element with its options for each backend; those of Matplotlib count only where it is loaded."""
    element = element.opts(**bokeh, backend="bokeh")
    return element.opts(**matplotlib, backend="matplotlib") if _has_matplotlib() else element


def finished(overlay: hv.Overlay, common: dict[str, Any], *, height: int, aspect: float) -> hv.Overlay:
    """An overlay as it is shown: ``height`` in pixels for Bokeh, ``aspect`` (width over height) for Matplotlib."""
    overlay = overlay.opts(
        **common, responsive=True, height=height, toolbar="right", legend_position="top", legend_cols=6,
        legend_opts=LEGEND, hooks=[_finish_bokeh],
        fontsize={"title": "11pt", "labels": "9pt", "ticks": "8pt"}, backend="bokeh",
    )  # fmt: skip
    if not _has_matplotlib():
        return overlay
    blank = {name: common.get(name) or " " for name in ("xlabel", "ylabel")}
    return overlay.opts(
        **{**common, **blank}, aspect=aspect, fig_inches=9, legend_position="right", legend_opts={"fontsize": 7},
        fontsize={"title": 10, "labels": 8, "ticks": 7}, hooks=[_finish_matplotlib], backend="matplotlib",
    )  # fmt: skip


def stacked(panels: Sequence[hv.Overlay]) -> hv.Layout:
    """Overlays under each other, each with axes of its own."""
    layout = hv.Layout(list(panels)).cols(1).opts(shared_axes=False, backend="bokeh")
    if not _has_matplotlib():
        return layout
    return layout.opts(shared_axes=False, sublabel_format="", vspace=0.7, fig_inches=7, backend="matplotlib")


def beside(panels: Sequence[hv.Overlay], columns: int) -> hv.Layout:
    """Overlays in so many columns, each with axes of its own and its legend inside."""
    layout = hv.Layout(list(panels)).cols(columns).opts(shared_axes=False, backend="bokeh")
    if not _has_matplotlib():
        return layout
    for panel in panels:
        panel.opts(
            legend_position="best", legend_opts={"framealpha": 0.5},
            fontsize={"title": 9, "labels": 8, "ticks": 7, "legend": 6}, backend="matplotlib", clone=False,
        )  # fmt: skip
    return layout.opts(
        shared_axes=False, sublabel_format="", hspace=0.35, vspace=0.5, fig_inches=9 / columns, backend="matplotlib"
    )


def _has_matplotlib() -> bool:
    return "matplotlib" in hv.Store.registry


def _finish_bokeh(plot: Any, _element: Any) -> None:
    # As in the other figures: markers of several shapes turn into circles on WebGL (bokeh issue 15279).
    plot.state.output_backend = "canvas"
    for axis in (*plot.state.xaxis, *plot.state.yaxis):
        axis.axis_label_text_font_style = "normal"


def _finish_matplotlib(plot: Any, _element: Any) -> None:
    for side in ("top", "right"):
        plot.handles["axis"].spines[side].set_visible(False)
