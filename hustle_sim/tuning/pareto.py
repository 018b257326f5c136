"""Which points are worth having when several things matter at once. All values here are to be small.

An array of points has the shape (points, objectives).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hustle_sim.tuning.statistics import Floats

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


def dominates(points: Floats) -> Flags:
    """Whether the point of a row is at least as good as that of a column in everything, and better in something."""
    no_worse: Flags = np.all(points[:, None, :] <= points[None, :, :], axis=2)
    better: Flags = np.any(points[:, None, :] < points[None, :, :], axis=2)
    dominating: Flags = np.logical_and(no_worse, better)
    return dominating


def front(points: Floats) -> Flags:
    """Which points no other one dominates: the Pareto front. Of equal points all are in it."""
    if not len(points):
        return np.zeros(0, dtype=np.bool_)
    alone: Flags = np.logical_not(np.any(dominates(points), axis=0))
    return alone


def ranks(points: Floats) -> Places:
    """0 for the front, 1 for what is the front without it, and so on (non-dominated sorting, Deb et al. 2002)."""
    rank = np.full(len(points), -1, dtype=np.int64)
    level = 0
    while (rank < 0).any():
        left = np.flatnonzero(rank < 0)
        rank[left[front(points[left])]] = level
        level += 1
    return rank


def scaled(points: Floats) -> Floats:
    """Each objective from 0 (the best of these points) to 1 (the worst); 0 where all are equal."""
    low = points.min(axis=0)
    span = points.max(axis=0) - low
    shares: Floats = (points - low) / np.where(span > 0, span, 1.0)
    return shares


def distances(points: Floats) -> Floats:
    """How far each point is from the ideal one, which has the best of each objective, once all are scaled."""
    away: Floats = np.sqrt((scaled(points) ** 2).sum(axis=1))
    return away


def knee(points: Floats) -> int:
    """The place of the point nearest to the ideal one: from there, each gain costs more elsewhere."""
    return int(distances(points).argmin())


def spread(points: Floats, count: int, first: list[int]) -> list[int]:
    """At most so many places: those of ``first``, then always the point that is farthest from those chosen."""
    chosen = list(dict.fromkeys(first))[:count]
    if not len(points):
        return chosen
    at = scaled(points)
    if not chosen:
        chosen = [knee(points)]
    while len(chosen) < min(count, len(points)):
        nearest = np.sqrt(((at[:, None, :] - at[None, chosen, :]) ** 2).sum(axis=2)).min(axis=1)
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return chosen
