"""The figures: one time axis, linked zoom, hover that explains.

``latency(run)`` and its like draw one figure of a run; ``FIGURES`` has every figure of the layout by name, each a
``Figure`` (see ``drawing``) that can also follow a Pipe. Importing this module takes a second or two: HoloViews is
large.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from hustle_sim.analysis import figure_data, palette
from hustle_sim.analysis.drawing import (
    TIME,
    TIP_ATTEMPT,
    TIP_WORDS,
    Figure,
    Part,
    bars,
    line,
    outages,
    points,
    sentence,
)
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.following import Columns
from hustle_sim.analysis.palette import Theme

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording


def latency(run: Recording, *, theme: Theme = "light", limit: int = figure_data.POINTS) -> hv.Overlay:
    """Every attempt on a logarithmic axis, outcome by colour and shape; p50, p95, the deadline and the outages.

    Beyond ``limit`` ok attempts (and as many others) every n-th is drawn, and the title says so.
    """
    return LATENCY.draw(figure_data.latency_data(run, limit), theme=theme, clock=_clock(run))


def status_band(run: Recording, client: int | None = None, *, theme: Theme = "light") -> hv.Overlay:
    """The truth above the verdict of one client; ``client`` None takes the only one, or the shares of a fleet."""
    return STATUS.draw(figure_data.status_data(run, client), theme=theme, clock=_clock(run))


def queue_depth(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Messages waiting, over all clients, with what was added, delivered, given up and dropped."""
    return QUEUE.draw(figure_data.queue_data(run), theme=theme, clock=_clock(run))


def retry_outcomes(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """What became of the messages, by the time at which they were sent, stacked."""
    return OUTCOMES.draw(figure_data.outcomes_data(run), theme=theme, clock=_clock(run))


def backend_load(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Requests in service and waiting, stacked, against the backend's capacity."""
    return LOAD.draw(figure_data.load_data(run), theme=theme, clock=_clock(run))


def arrivals(run: Recording, *, theme: Theme = "light") -> hv.Overlay:
    """Requests a second: first tries, retries, replays and health checks, and all that reached the backend."""
    return ARRIVALS.draw(figure_data.arrivals_data(run), theme=theme, clock=_clock(run))


def layout(run: Recording, *, theme: Theme = "light") -> hv.Layout:
    """All figures of a run under each other, with one time axis. That of the backend only if it is known."""
    shown = [figure for figure in FIGURES.values() if run.backend_truth or figure is not LOAD]
    figures = hv.Layout([figure.draw(figure.make(run), theme=theme, clock=_clock(run)) for figure in shown]).cols(1)
    if "matplotlib" not in hv.Store.registry:
        return figures
    return figures.opts(sublabel_format="", vspace=0.5, fig_inches=9, backend="matplotlib")


def _clock(run: Recording) -> datetime | None:
    """A live session is read by the clock, a simulation by the time since its start."""
    return None if run.backend_truth else run.start


def _latency_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        outages(theme),
        points(
            "points", [TIME, "shown_s"], ["outcome", "size", "latency_s", "kind", "client", "number"],
            "outcome", palette.OUTCOME, TIP_ATTEMPT,
        ),
        line("p95", "latency_s", "p95", theme, dash="dashed"),
        line("p50", "latency_s", "p50", theme, width=2),
        line("deadline", "latency_s", "deadline", theme, "soft", dash="dotted"),
        sentence("latency_s", theme),
    )  # fmt: skip


def _status_parts(theme: Theme) -> tuple[Part, ...]:
    return (bars("bands", "band", "status", palette.STATUS), sentence("band_to", theme))


def _queue_parts(theme: Theme) -> tuple[Part, ...]:
    soft = palette.line("soft", theme)
    return (
        outages(theme),
        Part(
            lambda data: hv.Area(data["depth"], TIME, "depth"),
            _under_depth,
            {"color": soft, "fill_alpha": 0.25, "line_color": soft},
            {"facecolor": soft, "alpha": 0.25},
        ),
        points("marks", [TIME, "depth"], ["event", "size", "words"], "event", palette.QUEUE, TIP_WORDS),
        line("most", "depth", "queue is full", theme, "soft", dash="dotted"),
        sentence("depth", theme),
    )


def _under_depth(data: Data) -> Columns:
    """There along nothing, and back along the depth."""
    time_s, depth = data["depth"]["time_s"].to_numpy(), data["depth"]["depth"].to_numpy(np.float64)
    return {"x": np.concatenate([time_s, time_s[::-1]]), "y": np.concatenate([np.zeros(len(depth)), depth[::-1]])}


def _outcomes_parts(theme: Theme) -> tuple[Part, ...]:
    return (outages(theme), bars("bars", "messages", "fate", palette.FATE), sentence("messages_to", theme))


def _load_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        outages(theme),
        bars("bars", "requests", "part", palette.LOAD),
        line("capacity", "requests", "capacity", theme, width=2),
        sentence("requests_to", theme),
    )


def _arrivals_parts(theme: Theme) -> tuple[Part, ...]:
    return (
        outages(theme),
        bars("bars", "rate", "traffic", palette.TRAFFIC),
        line("arrivals", "per_min", "all that reached the backend", theme, width=1),
        sentence("rate_to", theme),
    )


LATENCY = Figure(
    "latency",
    "Latency of every attempt",
    "latency",
    320,
    figure_data.latency_data,
    _latency_parts,
    logy=True,
)
STATUS = Figure(
    "status",
    "What the monitor said, and what was true",
    "",
    150,
    figure_data.status_data,
    _status_parts,
)
QUEUE = Figure("queue", "Messages waiting in the queue", "messages", 220, figure_data.queue_data, _queue_parts)
OUTCOMES = Figure(
    "outcomes", "What became of the messages", "messages per hour", 220, figure_data.outcomes_data, _outcomes_parts,
)  # fmt: skip
LOAD = Figure("load", "Load on the backend", "requests", 220, figure_data.load_data, _load_parts)
ARRIVALS = Figure("arrivals", "Requests sent", "requests per min", 200, figure_data.arrivals_data, _arrivals_parts)


FIGURES: dict[str, Figure] = {figure.name: figure for figure in (STATUS, LATENCY, OUTCOMES, QUEUE, ARRIVALS, LOAD)}
"""Every figure by name, in the order of the layout."""
