"""More figures, and which of all figures belong together: a page chooses a set, or single ones by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from hustle_sim.analysis import palette
from hustle_sim.analysis.density import density_data, is_dense
from hustle_sim.analysis.difference import on_common_axes
from hustle_sim.analysis.drawing import TIME, Figure, Part, bars, columns_of, line, outages, sentence
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.figures import FIGURES
from hustle_sim.analysis.following import Columns
from hustle_sim.analysis.more_data import heartbeat_data, rush_data, waiting_data
from hustle_sim.analysis.palette import Theme
from hustle_sim.inputs import InputError, closest

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording


def _heartbeat_parts(theme: Theme) -> tuple[Part, ...]:
    return (bars("bars", "beat", "beat", palette.HEARTBEAT), sentence("beat_to", theme))


def _waiting_parts(theme: Theme) -> tuple[Part, ...]:
    return (outages(theme), bars("bars", "people", "has", palette.WAITING), sentence("people_to", theme))


def _rush_parts(theme: Theme) -> tuple[Part, ...]:
    colour = palette.line("outage", theme)
    return (
        outages(theme),
        line("rate", "per_s", "busiest 10 s", theme, width=1),
        Part(
            lambda data: hv.Points(data["peaks"], kdims=[TIME, "per_s"], vdims=["text"]),
            columns_of("peaks", "time_s", "per_s", "text"),
            {"color": colour, "marker": "inverted_triangle", "size": 9, "tools": ["hover"],
             "hover_tooltips": "recovery peak: @text the rate before the outage"},
            {"color": colour, "marker": "v", "s": 30},
        ),
        Part(
            lambda data: hv.Labels(data["peaks"], kdims=[TIME, "per_s"], vdims="text"),
            columns_of("peaks", "time_s", "per_s", "text"),
            {"text_color": colour, "text_font_size": "9pt", "text_baseline": "bottom", "yoffset": 0},
            {"color": colour, "size": 8, "verticalalignment": "bottom"},
        ),
        sentence("per_s", theme),
    )  # fmt: skip


def _density_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        outages(theme),
        _image("answered", _RAMPS["ok"][theme == "dark"]),
        _image("failed", _RAMPS["failed"][theme == "dark"]),
        line("deadline", "log_s", "deadline", theme, "soft", dash="dotted"),
        sentence("log_s", theme),
    )


# From pale to strong on a light ground, from dim to bright on a dark one.
_RAMPS = {
    "ok": (
        ["#CBDFF0", "#8FBBE0", "#4A8CC7", "#2B5C8A", "#173450"],
        ["#16334C", "#2F6EA5", "#5EA3E0", "#A9CDEE", "#EAF4FD"],
    ),
    "failed": (
        ["#F5C9D5", "#E58AA5", "#CC2F5A", "#8E1D3D", "#530F23"],
        ["#4D1626", "#A33552", "#FF6B8E", "#FFB0C2", "#FFE6EC"],
    ),
}


def _image(table: str, ramp: list[str]) -> Part:
    def make(data: Data) -> hv.Image:
        layers = np.dstack([data[table]["shade"], data[table]["number"]])[::-1]
        # Names of their own for what is counted: only the axes are shared.
        return hv.Image(
            layers, kdims=[TIME, "log_s"], vdims=[f"{table}_shade", f"{table}_number"], bounds=data[table]["bounds"],
            rtol=1,
        )  # fmt: skip

    def columns(data: Data) -> Columns:
        left, bottom, right, top = data[table]["bounds"]
        return {
            "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom],
            "image": [data[table]["shade"].astype(np.float32)],
            f"{table}_number": [data[table]["number"].astype(np.int32)],
        }  # fmt: skip

    common = {"cmap": ramp, "clim": (0.1, 1), "clipping_colors": {"min": "#00000000"}}
    tip = f"@{table}_number {table} here"
    return Part(
        make, columns, {**common, "tools": ["hover"], "hover_tooltips": tip}, {**common, "interpolation": "nearest"}
    )


HEARTBEAT = Figure("heartbeat", "Health checks", "", 90, heartbeat_data, _heartbeat_parts)
WAITING = Figure("waiting", "Messages waiting for the coach's answer", "messages", 220, waiting_data, _waiting_parts)
RUSH = Figure("rush", "Requests for messages", "requests per s", 200, rush_data, _rush_parts)
DENSITY = Figure("density", "Latency of all attempts", "latency", 320, density_data, _density_parts)

MORE: dict[str, Figure] = {figure.name: figure for figure in (HEARTBEAT, DENSITY, WAITING, RUSH)}
"""The figures that are not in the layout of ``run.plot()``."""

EVERY: dict[str, Figure] = {**FIGURES, **MORE}
"""Every figure of a whole run by name. (The life of a message is in ``waterfall``.)"""

BRIEF = ("status", "latency", "outcomes", "waiting")
"""What tells an outage in ten seconds."""

WHOLE = ("heartbeat", "status", "latency", "outcomes", "waiting", "queue", "rush", "load", "arrivals")
"""All of them, from the top; ``shown`` puts the density for the points where there are too many."""


def figure(name: str) -> Figure:
    """A figure by name. Raises InputError with one sentence for a name that is none."""
    if name not in EVERY:
        raise InputError(f"there is no figure {name!r}{closest(name, EVERY)}")
    return EVERY[name]


def shown(run: Recording, names: tuple[str, ...] = WHOLE) -> tuple[str, ...]:
    """The figures of a set that this run can fill: no backend without its truth, a density for many attempts."""
    chosen = (name for name in names if run.backend_truth or name != "load")
    return tuple("density" if name == "latency" and is_dense(run) else name for name in chosen)


def pair(name: str, first: Recording, second: Recording, *, theme: Theme = "light") -> hv.Layout:
    """One figure of two runs, one under the other on common axes; each is titled with its run's label.

    Raises InputError for a name that is no figure.
    """
    one = figure(name)
    both = on_common_axes(one.make(first), one.make(second))
    titles = [run.label or side for run, side in zip((first, second), ("A", "B"), strict=True)]
    drawn = []
    for data, title in zip(both, titles, strict=True):
        note = f"{title}; {data['note']}" if data["note"] else title
        drawn.append(one.draw({**data, "note": note}, theme=theme))
    return hv.Layout(drawn).cols(1)
