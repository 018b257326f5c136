"""Means with intervals that say how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from hustle_sim.analysis import METRICS

Floats = npt.NDArray[np.float64]

LEVEL = 0.95

Verdict = Literal["better", "worse", "same", "unsure", ""]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of ``n`` values with its confidence interval; NaN where there is too little to say."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """How far the mean may be off, at the level of the interval."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether it is sure that the mean is not zero."""
        return self.low > 0 or self.high < 0


def mean_interval(values: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of independent values with Student's interval: mean ± t(n-1) s / sqrt(n). NaNs are left out."""
    known = _known(values)
    if not len(known):
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Interval(mean, math.nan, math.nan, 1)
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    return _around(mean, error, len(known) - 1, len(known), level)


def metric_interval(name: str, values: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of a metric with its interval, which does not reach where the metric can't be: a share is 0 to 1.

    What is cut off can't hold the true mean, so the interval is as sure as before.
    """
    found = mean_interval(values, level)
    low, high = np.clip([found.low, found.high], *METRICS[name].bounds).tolist()
    return Interval(found.mean, low, high, found.n)


def paired_difference(mine: npt.ArrayLike, theirs: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of ``mine - theirs`` over pairs that met the same random numbers; pairs with a NaN are left out."""
    return mean_interval(np.asarray(mine, dtype=float) - np.asarray(theirs, dtype=float), level)


def independent_difference(mine: npt.ArrayLike, theirs: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The difference of two means of independent values, with Welch's interval (Welch 1947)."""
    left, right = _known(mine), _known(theirs)
    n = min(len(left), len(right))
    if n < 2:
        difference = float(left.mean() - right.mean()) if n else math.nan
        return Interval(difference, math.nan, math.nan, n)
    variances = left.var(ddof=1) / len(left), right.var(ddof=1) / len(right)
    error = math.sqrt(sum(variances))
    parts = variances[0] ** 2 / (len(left) - 1) + variances[1] ** 2 / (len(right) - 1)
    freedom = sum(variances) ** 2 / parts if parts else n - 1
    return _around(float(left.mean() - right.mean()), error, freedom, n, level)


def verdict(better: str, difference: Interval) -> Verdict:
    """What a difference says of a metric in which ``better`` (``lower | higher | none``) is good.

    ``same``: no replication differed; ``unsure``: the interval holds zero; empty where there is nothing to say.
    """
    if better == "none" or math.isnan(difference.mean):
        return ""
    if difference.mean == difference.low == difference.high == 0:
        return "same"
    if not difference.excludes_zero:
        return "unsure"
    return "better" if (difference.mean < 0) == (better == "lower") else "worse"


def _known(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=float)
    known: Floats = array[~np.isnan(array)]
    return known


def _around(mean: float, error: float, freedom: float, n: int, level: float) -> Interval:
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, n)
