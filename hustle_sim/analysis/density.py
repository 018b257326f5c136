"""Latency density: how many attempts took how long when, as an image. For runs with too many attempts for points.

The upright axis is the logarithm of the latency (base 10, of seconds), so that an image has rows of equal height.
Give ``x_range`` and ``y_range`` of what the reader looks at, and the same number of pixels shows a smaller part.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis.figure_data import FLOOR_S, POINTS, Data, common
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

PIXELS = (400, 120)
"""Columns and rows of an image: about one for each two points of a screen."""

Range = tuple[float, float]
Floats = npt.NDArray[np.float64]

_TICKS_S = (0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000)
ROWS = [(float(np.log10(tick_s)), format_duration(tick_s)) for tick_s in _TICKS_S]
"""The marks of the upright axis."""


def is_dense(run: Recording, limit: int = POINTS) -> bool:
    """Whether a run has too many attempts to be drawn one by one.

    One that is the beginning of a longer scenario is drawn as all of it will probably be.
    """
    return len(run.attempts) * max(1.0, run.planned_s / max(run.duration_s, 1.0)) > limit


def density_data(
    run: Recording,
    x_range: Range | None = None,
    y_range: Range | None = None,
    pixels: tuple[int, int] = PIXELS,
) -> Data:
    """The attempts of a run counted in small rectangles of time and latency.

    ``x_range`` is seconds since the start, ``y_range`` log10 of seconds; None shows all. The images ``answered`` and
    ``failed`` are dicts of ``bounds`` (left, bottom, right, top), ``number`` (counts, of shape (rows, columns), the
    first row at the bottom) and ``shade`` (0..1, 0 where there is none). ``deadline``: time_s, log_s.
    """
    times_s, heights, ok = _cloud(run)
    limits = _limits(run, heights)
    low_x, high_x = _ordered(x_range or (0.0, max(run.duration_s, 1.0)))
    low_y, high_y = _ordered(y_range or limits)
    # Frames are sorted by time: what is not looked at is not touched.
    first, last = np.searchsorted(times_s, [low_x, high_x])
    window = slice(int(first), int(last) + (int(last) < len(times_s) and times_s[int(last)] == high_x))
    bounds = (low_x, low_y, high_x, high_y)
    counts = [
        binned(times_s[window][chosen], heights[window][chosen], bounds, pixels) for chosen in (ok[window], ~ok[window])
    ]
    height = float(np.log10(run.policy.request.deadline_s))
    answered, failed = (
        {"bounds": bounds, "number": count, "shade": _shade(count, least)}
        for count, least in zip(counts, (0.15, 0.45), strict=True)
    )
    return {
        **common(
            run, "log_s", limits, "No attempts in this run." if run.attempts.empty else "",
            f"{len(times_s):,} attempts, stronger where there are more" if len(times_s) else "",
        ),
        "answered": answered,
        "failed": failed,
        "deadline": pd.DataFrame({"time_s": [0.0, run.duration_s], "log_s": [height] * 2}),
        "rows": ROWS,
    }  # fmt: skip


def binned(x: Floats, y: Floats, bounds: tuple[float, float, float, float], pixels: tuple[int, int]) -> Any:
    """Counts of points in equal rectangles, of shape (rows, columns); points outside count nowhere."""
    columns, rows = pixels
    left, bottom, right, top = bounds
    column = ((x - left) * (columns / (right - left))).astype(np.int64)
    row = ((y - bottom) * (rows / (top - bottom))).astype(np.int64)
    inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    # The last rectangle has its far edge too.
    place = np.minimum(row, rows - 1) * columns + np.minimum(column, columns - 1)
    return np.bincount(place[inside], minlength=rows * columns).reshape(rows, columns)


def _shade(counts: npt.NDArray[np.int64], least: float) -> Floats:
    """From pale to dark by the logarithm, so that a single attempt among thousands can be seen.

    ``least`` is the shade of a single one: few failures must not drown in many answers.
    """
    most = max(np.log1p(int(counts.max(initial=0))), np.log1p(2))
    shade = least + (1 - least) * (np.log1p(counts) - np.log1p(1)) / (most - np.log1p(1))
    return np.where(counts > 0, np.clip(shade, least, 1.0), 0.0)


def _ordered(span: Range) -> Range:
    low, high = sorted(float(end) for end in span)
    return low, high if high > low else low + 1e-6


def _limits(run: Recording, heights: Floats) -> Range:
    deadline = float(np.log10(run.policy.request.deadline_s))
    low, high = float(heights.min(initial=deadline)), float(heights.max(initial=deadline))
    return low - 0.15, high + 0.3


@lru_cache(maxsize=4)
def _cloud(run: Recording) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Times, logarithms of latencies, and whether answered; kept for the runs that are being looked at."""
    attempts = run.attempts
    # What was never sent took no time, and has no place here.
    sent = (attempts["outcome"] != "rejected").to_numpy()
    heights = np.log10(np.maximum(attempts["latency_s"].to_numpy(np.float64)[sent], FLOOR_S))
    ok = (attempts["outcome"] == "ok").to_numpy()[sent]
    return attempts["time_s"].to_numpy(np.float64)[sent], heights, ok
