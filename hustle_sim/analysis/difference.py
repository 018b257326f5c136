"""A and B: the metrics of two runs side by side, and their figures on common axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.metrics import METRICS, format_metric

if TYPE_CHECKING:
    from hustle_sim.analysis.run import Run

Direction = Literal["better", "worse", "same", "other", "unknown"]
"""``other``: it changed, and neither way is good; ``unknown``: one of the runs has nothing to measure it by."""

GLYPHS: dict[Direction, str] = {"better": "▲", "worse": "▼", "same": "=", "other": "•", "unknown": "–"}
"""A sign for each direction, so that colour is never the only one: up is better, whatever the number did."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs. ``change`` is second - first (NaN if either is).

    ``first_text``, ``second_text`` and ``change_text`` are for people: ``"93.1 %"``, ``"+4.2 points"``.
    """

    name: str
    first: float
    second: float
    change: float
    direction: Direction
    first_text: str
    second_text: str
    change_text: str

    @property
    def words(self) -> str:
        """One line: ``"lost: 12 → 0 (-12, better)"``."""
        told = "" if self.direction in ("same", "unknown") else f" ({self.change_text}, {self.direction})"
        told = told.replace(", other)", ")")
        return f"{self.name}: {self.first_text} → {self.second_text}{told}"


def differences(first: Run, second: Run) -> dict[str, Difference]:
    """Every metric of two runs by name, in the order of ``METRICS``: what became of ``first`` in ``second``.

    Two values that people read as the same are the same.
    """
    return {name: difference(name, float(first.metrics[name]), float(second.metrics[name])) for name in METRICS}


def difference(name: str, first: float, second: float) -> Difference:
    """One metric of two runs. Raises InputError for a name that is no metric."""
    first, second = float(first), float(second)
    texts = format_metric(name, first), format_metric(name, second)
    change = second - first
    return Difference(
        name, first, second, change, _direction(name, first, second, texts), *texts, _change_text(name, change, texts)
    )


def _direction(name: str, first: float, second: float, texts: tuple[str, str]) -> Direction:
    if math.isnan(first) and math.isnan(second):
        return "same"
    if math.isnan(first) or math.isnan(second):
        return "unknown"
    if texts[0] == texts[1]:
        return "same"
    better = METRICS[name].better
    if better == "none":
        return "other"
    return "better" if (second < first) == (better == "lower") else "worse"


def _change_text(name: str, change: float, texts: tuple[str, str]) -> str:
    if math.isnan(change):
        return "–"
    if texts[0] == texts[1]:
        return "±0"
    sign = "+" if change > 0 else "−"
    if METRICS[name].unit == "share":
        # 93 % to 97 % is four points more, and not four percent.
        return f"{sign}{abs(change) * 100:.3g} points"
    return f"{sign}{format_metric(name, abs(change))}"


def on_common_axes(first: Data, second: Data) -> tuple[Data, Data]:
    """The data of one figure for two runs, with the limits that hold both: drawn one under the other, they compare.

    For pipes as well as for ``Figure.draw``.
    """
    limits = min(first["limits"][0], second["limits"][0]), max(first["limits"][1], second["limits"][1])
    common = {"limits": limits, "end_s": max(first["end_s"], second["end_s"])}
    return {**first, **common}, {**second, **common}
