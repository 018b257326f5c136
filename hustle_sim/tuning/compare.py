"""Which of these policies is better, by how much, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress, Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import (
    LEVEL,
    Interval,
    independent_difference,
    metric_interval,
    paired_difference,
    verdict,
)
from hustle_sim.tuning.table import Table, metrics_of, policy_of, scenarios_of, seeds_of

if TYPE_CHECKING:
    import holoviews as hv

_APART = 1_000_003
"""Between the first seeds of two policies that shall not meet the same random numbers."""


class Comparison(Table):
    """A row for each scenario, metric and policy.

    Columns: scenario, metric, policy, mean, low, high, n (replications with a value), and against the baseline
    difference, difference_low, difference_high, pairs (replications in which both had a value), verdict
    (``better | worse | same | unsure``, empty for the baseline and for metrics that only describe). ``same`` means
    that no replication differed. Each interval holds for itself: of twenty that hold zero in truth, one won't.
    """

    KIND = "comparison"

    def plot(self, metrics: Sequence[str] | None = None, **options: object) -> hv.Layout:  # type: ignore[override]
        """The differences to the baseline with their intervals, a panel for each metric."""
        from hustle_sim.tuning.plots import differences

        return differences(self, metrics)

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Comparison:
        """The comparison that ``about`` tells of, once more."""
        return compare(
            {name: Policy().replace(fields) for name, fields in about["policies"].items()},
            [Scenario.from_dict(tables) for tables in about["scenarios"].values()],
            seed=about["seeds"][0],
            **about["arguments"],
            **how,
        )


def compare(
    policies: Mapping[str, Policy | str],
    scenario: Scenario | str | Path | Sequence[Scenario | str | Path],
    replications: int = 20,
    seed: int = 0,
    executor: Workers = None,
    *,
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    precision: Mapping[str, float] | None = None,
    max_replications: int = 320,
    common_random_numbers: bool = True,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Comparison:
    """Simulate each policy (or preset's name) on each scenario with the seeds ``seed, seed + 1, ...``.

    Policies meet the same arrivals, outages and service times on one seed, so the paired difference to the baseline
    (the first policy) is much surer than the two means; ``common_random_numbers=False`` gives each seeds of its own.
    Intervals are 95 % confidence intervals of the mean over replications.

    With ``precision``, such as ``{"answer_p99_s": 0.1}``, the number of replications doubles until the interval of
    every difference in that metric (of the mean, if there is one policy only) is at most that wide to either side, or
    ``max_replications`` is reached; ``about["precise"]`` says which. Each look uses up a part of the 5 %
    (Bonferroni), so that stopping early does not make the intervals too narrow; ``about["level"]`` is theirs.

    Raises InputError, ``Cancelled`` and ``Interrupted``: see ``measure_all``.
    """
    chosen = {name: policy_of(policy) for name, policy in policies.items()}
    if not chosen:
        raise InputError("policies: there is none; give at least one, such as {'mine': hs.Policy()}")
    first = baseline if baseline is not None else next(iter(chosen))
    if first not in chosen:
        raise InputError(f"baseline: there is no policy {first!r}{closest(first, chosen)}")
    wanted, worlds = metrics_of(metrics), scenarios_of(scenario)
    _check_precision(precision, wanted, replications, max_replications)
    seeds_of(seed, replications)
    kept = results if isinstance(results, Results) else Results(results)
    looks = _looks(replications, max_replications) if precision else [replications]
    level = 1 - (1 - LEVEL) / len(looks)
    for count in looks:
        runs = _simulated(
            chosen, worlds, seeds_of(seed, count), common_random_numbers, executor, kept, progress, cancelled
        )
        rows = _rows(runs, list(chosen), first, wanted, level, common_random_numbers)
        if precision is None or _precise(rows, precision, first):
            break
    about: dict[str, Any] = {
        "policies": {name: policy.flat() for name, policy in chosen.items()},
        "scenarios": {world.name: world.to_dict() for world in worlds},
        "seeds": [seed, count],
        "baseline": first,
        "level": level,
        "precise": None if precision is None else _precise(rows, precision, first),
        "arguments": {
            "replications": replications,
            "metrics": None if metrics is None else wanted,
            "baseline": first,
            "precision": None if precision is None else dict(precision),
            "max_replications": max_replications,
            "common_random_numbers": common_random_numbers,
        },
    }
    table: Comparison = Comparison.of(rows, runs, about, partial(Comparison.remake, about))
    return table


def _simulated(
    policies: Mapping[str, Policy],
    scenarios: Sequence[Scenario],
    seeds: range,
    common: bool,
    executor: Workers,
    results: Results,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> pd.DataFrame:
    """A row for each replication: scenario, policy, replication, seed and every metric."""
    marks, replications = [], []
    for world in scenarios:
        for number, seed in enumerate(seeds):
            for place, (name, policy) in enumerate(policies.items()):
                own = seed if common else seed + place * _APART
                marks.append({"scenario": world.name, "policy": name, "replication": number, "seed": own})
                replications.append(Replication(world, policy, own))
    measured = measure_all(replications, executor=executor, results=results, progress=progress, cancelled=cancelled)
    return pd.concat([pd.DataFrame(marks), measured], axis=1)


def _rows(
    runs: pd.DataFrame, policies: Sequence[str], baseline: str, metrics: Sequence[str], level: float, common: bool
) -> pd.DataFrame:
    difference_of = paired_difference if common else independent_difference
    rows = []
    for scenario, of_scenario in runs.groupby("scenario", sort=False):
        values = {name: of_scenario[of_scenario["policy"] == name] for name in policies}
        for metric in metrics:
            theirs = values[baseline][metric].to_numpy()
            for name in policies:
                mine = values[name][metric].to_numpy()
                own = metric_interval(metric, mine, level)
                row = {"scenario": scenario, "metric": metric, "policy": name}
                row |= {"mean": own.mean, "low": own.low, "high": own.high, "n": own.n}
                against = Interval(math.nan, math.nan, math.nan, 0)
                if name != baseline:
                    against = difference_of(mine, theirs, level)
                row |= {
                    "difference": against.mean,
                    "difference_low": against.low,
                    "difference_high": against.high,
                    "pairs": against.n,
                    "verdict": verdict(METRICS[metric].better, against) if name != baseline else "",
                }
                rows.append(row)
    return pd.DataFrame(rows)


def _looks(first: int, most: int) -> list[int]:
    """How many replications there are at each look: doubled until ``most``."""
    looks = [first]
    while looks[-1] < most:
        looks.append(min(2 * looks[-1], most))
    return looks


def _precise(rows: pd.DataFrame, precision: Mapping[str, float], baseline: str) -> bool:
    """Whether every interval of a difference (of the mean, if there is one policy only) is as narrow as wanted."""
    alone = set(rows["policy"]) == {baseline}
    for metric, wanted in precision.items():
        mine = rows[(rows["metric"] == metric) & (alone | (rows["policy"] != baseline))]
        width = mine["high"] - mine["low"] if alone else mine["difference_high"] - mine["difference_low"]
        # An interval that is not known is not narrow.
        if not (width / 2 <= wanted).all():
            return False
    return True


def _check_precision(
    precision: Mapping[str, float] | None, metrics: Sequence[str], replications: int, most: int
) -> None:
    if precision is None:
        return
    if not precision:
        raise InputError("precision: names no metric; give one, such as {'answer_p99_s': 0.1}")
    metrics_of(list(precision))
    for metric, wanted in precision.items():
        if not wanted > 0:
            raise InputError(f"precision: {metric} must be more than 0, not {wanted!r}")
        if metric not in metrics:
            raise InputError(f"precision: {metric} is not among the metrics that are compared: {', '.join(metrics)}")
    if most < replications:
        raise InputError(f"max_replications ({most}) must not be less than replications ({replications})")
