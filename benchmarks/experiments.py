"""``python -m benchmarks.experiments [simulations] [repetitions]``: what experiments cost, and are they honest?

Speed: so many simulations of morning-outage (default 1,000) in one process and on all cores, the start of the workers
included. Honesty: over so many repetitions (default 200), how often an interval of 95 % holds what it should. Common
random numbers: how much of the variance of a difference they take away.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hustle_sim import Policy, Scenario, compare
from hustle_sim.tuning.experiment import Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import paired_difference

BLOCKS = 4
PAIRS = 20
METRICS = ("answered_share", "answer_p99_s", "late_p50_s", "amplification")
OTHERS = {
    "original": Policy.preset("original"),
    "one attempt": Policy().replace({"request.max_attempts": 1}),
    "fall 5": Policy().replace({"probe.fall": 5}),
}


def short() -> Scenario:
    """A morning of two hours with an outage of twenty minutes, of which many thousand are soon simulated."""
    return Scenario.load("morning-outage").replace(
        {"duration_s": "2h", "outages": [{"mode": "hang", "at_s": "40m", "lasts_s": "20m"}], "warm_up_s": 0}
    )


def speed(simulations: int = 1000) -> dict[str, float]:
    """Seconds for ``simulations`` of morning-outage with one client, in this process and on all cores.

    In blocks by turns, so that a machine that gets slower is fair to both.
    """
    scenario, policy = Scenario.load("morning-outage"), Policy()
    measure_all([Replication(scenario, policy, -1)], executor=1)
    seconds = {"one": 0.0, "all": 0.0}
    for seeds in np.array_split(np.arange(simulations), BLOCKS):
        replications = [Replication(scenario, policy, int(seed)) for seed in seeds]
        for name, executor in (("one", 1), ("all", None)):
            began = time.perf_counter()
            measure_all(replications, executor=executor)
            seconds[name] += time.perf_counter() - began
    return {
        f"{simulations:,} simulations of morning-outage on one core, s": seconds["one"],
        f"{simulations:,} simulations of morning-outage on all cores, s": seconds["all"],
        "all cores over one, times as fast": seconds["one"] / seconds["all"],
    }


def honesty(repetitions: int = 200) -> dict[str, float]:
    """How often, in percent, the interval of a comparison of two times ``PAIRS`` runs holds the true difference.

    For a policy with itself on other seeds the truth is zero. For a paired difference it is not known, and all pairs
    of all repetitions stand for it.
    """
    figures: dict[str, float] = {}
    twins = {"policy": Policy(), "itself": Policy()}
    hits = dict.fromkeys(METRICS, 0)
    for turn in range(repetitions):
        table = compare(
            twins, short(), replications=PAIRS, seed=turn * PAIRS, metrics=METRICS, common_random_numbers=False
        )
        rows = pd.DataFrame(table)[table["policy"] == "itself"]
        for metric, low, high in zip(rows["metric"], rows["difference_low"], rows["difference_high"], strict=True):
            hits[metric] += low <= 0 <= high
    for metric in METRICS:
        figures[f"a policy against itself, {metric}: interval holds 0, %"] = 100 * hits[metric] / repetitions
    mine, theirs = _pairs(short(), Policy(), OTHERS["original"], repetitions * PAIRS)
    for metric in METRICS:
        each = [
            paired_difference(mine[metric][at : at + PAIRS], theirs[metric][at : at + PAIRS])
            for at in range(0, len(mine), PAIRS)
        ]
        truth = paired_difference(mine[metric], theirs[metric]).mean
        held = sum(interval.low <= truth <= interval.high for interval in each)
        figures[f"default against original in pairs, {metric}: interval holds the truth, %"] = 100 * held / repetitions
    return figures


def common_random_numbers(pairs: int = 100) -> dict[str, float]:
    """The variance of a difference between unrelated runs over that between runs on the same random numbers."""
    scenario, figures = Scenario.load("morning-outage"), {}
    results = Results()
    for name, policy in OTHERS.items():
        mine, theirs = _pairs(scenario, Policy(), policy, pairs, results)
        for metric in METRICS:
            paired = float((mine[metric] - theirs[metric]).var())
            unpaired = float(mine[metric].var() + theirs[metric].var())
            if paired > 0:
                figures[f"default against {name}, {metric}: variance unpaired / paired"] = unpaired / paired
    return figures


def _pairs(
    scenario: Scenario, mine: Policy, theirs: Policy, number: int, results: Results | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The metrics of two policies on the same seeds."""
    each = [Replication(scenario, policy, seed) for policy in (mine, theirs) for seed in range(number)]
    measured = measure_all(each, results=results)
    return measured[:number].reset_index(drop=True), measured[number:].reset_index(drop=True)


def measure(simulations: int = 1000, repetitions: int = 200) -> Mapping[str, float]:
    """All figures."""
    return speed(simulations) | honesty(repetitions) | common_random_numbers()


def main(numbers: Sequence[str]) -> None:
    """Measure and print."""
    for name, value in measure(*(int(number) for number in numbers)).items():
        print(f"  {name:85} {value:>10,.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
