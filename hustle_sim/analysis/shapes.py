"""The shapes that figures are made of: pieces of time, staircases and stacked bars, as small tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis.palette import Look

Floats = npt.NDArray[np.float64]

_NICE_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000,
)  # fmt: skip


def elapsed(seconds: float) -> str:
    """Elapsed time as an axis says it: ``"45s"``, ``"2h"``, ``"1d 3h"``; two parts at most."""
    whole = round(abs(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (secs, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    words = [f"{number}{unit}" for number, unit in parts[first : first + 2] if number] or ["0s"]
    return ("-" if seconds < 0 and whole else "") + " ".join(words)


def nice_width_s(duration_s: float, bins: int) -> float:
    """A round length of time that cuts a duration into at most ``bins`` pieces."""
    for width_s in _NICE_S:
        if duration_s <= width_s * bins:
            return float(width_s)
    return math.ceil(duration_s / bins / 864000) * 864000.0


def staircase(times_s: Floats, name: str, values: npt.NDArray[Any], end_s: float) -> pd.DataFrame:
    """Points of a line that keeps each value until the next time."""
    corners_s = np.repeat(np.append(times_s, max(end_s, times_s[-1])), 2)[1:-1]
    return pd.DataFrame({"time_s": corners_s, name: np.repeat(values, 2).astype(np.float64)})


def no_line(name: str) -> pd.DataFrame:
    """A line without points."""
    return pd.DataFrame({"time_s": [], name: []}, dtype=np.float64)


def from_to(start_s: float, end_s: float) -> str:
    """A stretch of time in words: ``"from 2h to 2h 45m"``."""
    return f"from {elapsed(start_s)} to {elapsed(end_s)}"


def count_by(
    times_s: Floats, words: npt.NDArray[Any], known: Iterable[str], width_s: float, duration_s: float
) -> npt.NDArray[np.int64]:
    """How many of each known word fall into each piece of time: an array of shape (pieces, words)."""
    pieces = max(1, math.ceil(duration_s / width_s))
    places = list(known)
    column = pd.Categorical(words, categories=places).codes
    row = np.clip(times_s // width_s, 0, pieces - 1).astype(np.int64)
    counts = np.zeros((pieces, len(places)), dtype=np.int64)
    chosen = column >= 0
    np.add.at(counts, (row[chosen], column[chosen]), 1)
    return counts


def stacked(
    counts: npt.NDArray[np.int64],
    width_s: float,
    duration_s: float,
    looks: Mapping[str, Look],
    names: tuple[str, str],
    scale: float,
    words: Callable[[int, str, int], str],
) -> pd.DataFrame:
    """Counts as bars on top of each other, with a word and a sentence each; ``names`` as in ``bar_columns``."""
    places = list(looks)
    tops = np.cumsum(counts, axis=1)
    bars = []
    for row, column in zip(*np.nonzero(counts), strict=True):
        start_s, number, top = row * width_s, counts[row, column], tops[row, column]
        until_s = min(start_s + width_s, duration_s)
        sentence = f"{words(row, places[column], number)}, {from_to(start_s, until_s)}"
        look = looks[places[column]]
        bars.append((start_s, (top - number) * scale, until_s, top * scale, look.word, sentence))
    return pd.DataFrame(bars, columns=bar_columns(*names)) if bars else no_bars(*names)


def bar_columns(height: str, by: str) -> list[str]:
    """The columns of bars. Heights have a name of their own in each figure, or HoloViews would link them."""
    return ["time_s", f"{height}_from", "until_s", f"{height}_to", by, "words"]


def no_bars(height: str, by: str) -> pd.DataFrame:
    """Bars, but none of them."""
    *numbers, one, other = bar_columns(height, by)
    empty = pd.DataFrame({column: [] for column in numbers}, dtype=np.float64)
    return empty.assign(**{one: pd.Series(dtype=object), other: pd.Series(dtype=object)})
