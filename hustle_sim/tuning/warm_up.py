"""How long does a simulation take to forget that it began empty?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hustle_sim.analysis import Run
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.policy import Policy
from hustle_sim.simulation import Cancelled, Scenario, simulate
from hustle_sim.tuning.experiment import Progress
from hustle_sim.tuning.statistics import Floats
from hustle_sim.tuning.table import policy_of, scenarios_of, seeds_of

if TYPE_CHECKING:
    import holoviews as hv

BATCH = 5
"""The 5 of MSER-5: values that are averaged before the rule is applied."""

_PIECES = 400
"""Pieces of time that the series are cut into."""

_MESSAGES = 4000
_SHORTEST_S = 600.0
"""A good day is simulated until it has had about so many messages, and at least so long."""


@dataclass(frozen=True)
class WarmUp:
    """What ``warm_up`` found: ``seconds``, as ``float()`` gives them too, and what it was found from.

    ``series`` is a frame: time_s (the end of a piece of time), and the mean over the replications of ``answer_s`` (time
    to the first answer) and ``in_backend`` (requests in service or waiting). ``cuts`` are the seconds that each asks
    for. ``note`` is a sentence for people.
    """

    scenario: str
    seconds: float
    cuts: dict[str, float]
    series: pd.DataFrame
    given_s: float
    note: str

    def __float__(self) -> float:
        return self.seconds

    def plot(self) -> hv.Layout:
        """Both series with the cut drawn in."""
        from hustle_sim.tuning.warm_up_plot import warm_up_figure

        return warm_up_figure(self)


def warm_up(
    scenario: Scenario | str | Path,
    policy: Policy | str | None = None,
    replications: int = 5,
    seed: int = 0,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> WarmUp:
    """The seconds at the start of a scenario that should not be measured, since the world begins empty.

    A good day of the scenario (without its outages, at its mean rate of messages, at most as long as it is) is
    simulated ``replications`` times. Time to an answer and requests in the backend are averaged over the replications
    in equal pieces of time (Welch 1983), and each series is cut by MSER-5. The longer cut is taken. A cut whose part
    does not differ from the rest by more than chance (three standard errors) is none: the rule also likes to cut off
    a chance outlier near the beginning.

    Raises InputError where there is too little to tell by: no messages, or a series that has not settled by half of
    the time; and ``Cancelled``.
    """
    (world,) = scenarios_of(scenario)
    chosen = policy_of(policy or Policy())
    day = _good_day(world)
    width_s = day.duration_s / _PIECES
    seeds = seeds_of(seed, replications)
    answers, loads = [], []
    for done, number in enumerate(seeds):
        if progress is not None:
            progress(Progress(done, len(seeds), float("nan")))
        run = simulate(day, chosen, number, cancelled=cancelled)
        if cancelled is not None and cancelled():
            raise Cancelled("the search for a warm-up was cancelled")
        answers.append(_answers(run, width_s))
        loads.append(_loads(run, width_s))
    if progress is not None:
        progress(Progress(len(seeds), len(seeds), 0.0))
    series = pd.DataFrame(
        {
            "time_s": (np.arange(_PIECES) + 1) * width_s,
            "answer_s": _mean(answers),
            "in_backend": _mean(loads),
        }
    )
    # A person who has not been answered yet has no time to an answer: the end is not the steady state either.
    settled = series.iloc[: -_PIECES // 20]
    cuts = {}
    for name in ("answer_s", "in_backend"):
        known = settled[["time_s", name]].dropna()
        if len(known) < 4 * BATCH:
            raise InputError(f"{world.name}: too few messages to find a warm-up by; give warm_up_s in the scenario")
        values = known[name].to_numpy()
        cut = mser(values)
        if not _differs(values, cut):
            cuts[name] = 0.0
        elif cut > len(values) / 2:
            raise InputError(
                f"{world.name} has not settled by half of its {format_duration(day.duration_s)} ({name}): make "
                "duration_s longer, or give warm_up_s in the scenario"
            )
        else:
            cuts[name] = float(known["time_s"].iloc[cut - 1])
    seconds = max(cuts.values())
    return WarmUp(world.name, seconds, cuts, series, world.warm_up_s, _note(world, seconds))


def with_warm_up(
    scenario: Scenario,
    policy: Policy,
    wanted: bool,
    seed: int = 0,
    cancelled: Callable[[], bool] | None = None,
) -> Scenario:
    """The scenario with a suggested ``warm_up_s``, where it has none and one is wanted.

    Never more than half of it, and nothing where there is too little to tell by.
    """
    if not wanted or scenario.warm_up_s:
        return scenario
    try:
        seconds = warm_up(scenario, policy, seed=seed, cancelled=cancelled).seconds
    except InputError:
        return scenario
    return scenario.replace({"warm_up_s": min(seconds, scenario.duration_s / 2)})


def mser(values: Floats, batch: int = BATCH) -> int:
    """How many values to leave out at the beginning, by the marginal standard error rule.

    The values are averaged in batches. The cut d is where the squared standard error of the mean of what is left,
    ``sum((y - mean)**2) / (n - d)**2`` over the batches from d on, is least. A cut in the second half says that the
    series is too short. Source: K. P. White, "An effective truncation heuristic for bias reduction in simulation
    output", Simulation 69 (1997); MSER-5 after White, Cobb and Spratt, Winter Simulation Conference 2000.
    """
    n = len(values) // batch
    means = values[: n * batch].reshape(n, batch).mean(axis=1)
    # The same value throughout, but for the rounding of a mean, has nothing to cut off.
    if n == 0 or np.ptp(means) <= 1e-9 * float(np.abs(means).max()):
        return 0
    left = np.arange(n, 0, -1)
    # Sums from each place to the end; of values near 0, so that nothing cancels out.
    near = means - means.mean()
    sums, squares = near[::-1].cumsum()[::-1], (near**2)[::-1].cumsum()[::-1]
    errors = (squares - sums**2 / left) / left**2
    # The last few batches have a small error by chance.
    return int(np.argmin(errors[: max(1, n - 5)])) * batch


def _differs(values: Floats, cut: int, batch: int = BATCH) -> bool:
    """Whether what is cut off has another mean than the rest, by more than three standard errors of batch means."""
    if not cut:
        return False
    n = len(values) // batch
    means = values[: n * batch].reshape(n, batch).mean(axis=1)
    first, rest = means[: cut // batch], means[cut // batch :]
    error = float(rest.std(ddof=1)) * math.sqrt(1 / len(first) + 1 / len(rest))
    return abs(float(first.mean() - rest.mean())) > 3 * error


def _good_day(scenario: Scenario) -> Scenario:
    clients = scenario.clients
    per_s = clients.count * clients.messages_per_hour / 3600
    if not per_s:
        raise InputError(f"{scenario.name}: its clients send no messages, so there is nothing to warm up")
    length_s = min(scenario.duration_s, max(_SHORTEST_S, _MESSAGES / per_s))
    return scenario.replace({"outages": [], "warm_up_s": 0, "duration_s": length_s, "clients.profile": "flat"})


def _answers(run: Run, width_s: float) -> Floats:
    messages = run.messages.dropna(subset=["answer_s"])
    return _by_piece(messages["time_s"].to_numpy(), messages["answer_s"].to_numpy(), width_s)


def _loads(run: Run, width_s: float) -> Floats:
    backend = run.backend
    return _by_piece(
        backend["time_s"].to_numpy(), (backend["in_service"] + backend["waiting"]).to_numpy(dtype=float), width_s
    )


def _by_piece(times_s: Floats, values: Floats, width_s: float) -> Floats:
    """The mean of the values in each piece of time; NaN where there is none."""
    piece = np.minimum((times_s / width_s).astype(np.int64), _PIECES - 1)
    counts = np.bincount(piece, minlength=_PIECES)
    sums = np.bincount(piece, weights=values, minlength=_PIECES)
    means: Floats = np.divide(sums, counts, out=np.full(_PIECES, np.nan), where=counts > 0)
    return means


def _mean(each: list[Floats]) -> Floats:
    """The mean over the replications that have a value, piece by piece."""
    values = np.array(each)
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    means: Floats = np.divide(
        np.where(known, values, 0.0).sum(axis=0), counts, out=np.full(_PIECES, np.nan), where=counts > 0
    )
    return means


def _note(scenario: Scenario, seconds: float) -> str:
    found, given = format_duration(seconds), format_duration(scenario.warm_up_s)
    if scenario.warm_up_s < seconds:
        return (
            f"{scenario.name} needs {found} to warm up, and its warm_up_s is {given}: what is measured before is not "
            f"a good day yet; set warm_up_s = {seconds:.0f} or more"
        )
    return f"{scenario.name} needs {found} to warm up, and its warm_up_s is {given}: nothing to do"
