"""Does a policy keep its limits? Evidence for a pull request that changes a timeout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from hustle_sim._version import __version__
from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario
from hustle_sim.tuning.compare import Comparison, compare
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.slo import Limit, Slo
from hustle_sim.tuning.statistics import Interval, mean_interval, metric_interval
from hustle_sim.tuning.table import policy_of, scenarios_of

Verdict = Literal["kept", "broken", "unsure", "not measured"]

THIS, BASELINE = "this policy", "baseline"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one limit in one scenario: the mean with its interval, and the worst single value."""

    scenario: str
    limit: Limit
    measured: Interval
    worst: float
    worst_seed: int
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """The finding in words, with the numbers that it rests on."""
        name = self.limit.metric
        if self.verdict == "not measured":
            return f"{name} can't be measured in {self.scenario}: there is nothing to measure it by"
        mean, worst = format_metric(name, self.measured.mean), format_metric(name, self.worst)
        shown = f"{mean} (95 % interval: {self.interval}; worst {worst}, seed {self.worst_seed})"
        said = {"kept": "keeps", "broken": "breaks", "unsure": "may break"}[self.verdict]
        return f"{name} in {self.scenario} {said} its limit, {self.limit}: {shown}"

    @property
    def interval(self) -> str:
        """The interval in words, cut where no value can be: shares end at 1, and nothing measured is negative."""
        name, most = self.limit.metric, 1.0 if METRICS[self.limit.metric].unit == "share" else float("inf")
        low, high = max(0.0, self.measured.low), min(most, self.measured.high)
        if low == high:
            return f"always {format_metric(name, low)}"
        return f"{format_metric(name, low)} to {format_metric(name, high)}"


@dataclass(frozen=True, slots=True)
class Check:
    """All findings, and the comparison that they rest on (with the baseline, if there was one)."""

    findings: tuple[Finding, ...]
    comparison: Comparison
    policy: Policy
    baseline: Policy | None

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that fail the check."""
        return tuple(each for each in self.findings if each.verdict == "broken")

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """The fields in which the policy differs from the baseline (or the default), as (before, now)."""
        before, now = (self.baseline or Policy()).flat(), self.policy.flat()
        return {name: (before[name], now[name]) for name in now if now[name] != before[name]}

    @property
    def frame(self) -> pd.DataFrame:
        """The findings as a frame: scenario, metric, limit, mean, low, high, worst, worst_seed, verdict."""
        rows = [
            {"scenario": each.scenario, "metric": each.limit.metric, "limit": str(each.limit),
             "mean": each.measured.mean, "low": each.measured.low, "high": each.measured.high,
             "worst": each.worst, "worst_seed": each.worst_seed, "verdict": each.verdict}
            for each in self.findings
        ]  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def about(self) -> dict[str, Any]:
        """What is needed to make the same numbers: version, seeds, scenarios, policies."""
        return {**self.comparison.about, "version": __version__}


def check(
    policy: Policy | str,
    scenarios: Scenario | str | Path | Sequence[Scenario | str | Path],
    slo: Slo | str | Path,
    replications: int = 20,
    seed: int = 0,
    executor: Workers = None,
    *,
    baseline: Policy | str | None = None,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Check:
    """Simulate a policy on scenarios, and hold it against limits (an ``Slo`` or its TOML file).

    A limit on the mean is ``broken`` when its whole 95 % interval is beyond it, and ``unsure`` (which fails nothing)
    when the interval holds it: noise doesn't fail a build. A limit ``of = "every"`` simulation, and one of at most 0,
    is broken by a single case. With a ``baseline`` policy the differences to it are measured too.

    Raises InputError, also for limits of a scenario that is not checked; ``Cancelled`` and ``Interrupted`` as
    ``measure_all`` does.
    """
    limits = slo if isinstance(slo, Slo) else Slo.load(slo)
    worlds, chosen = scenarios_of(scenarios), policy_of(policy)
    before = None if baseline is None else policy_of(baseline)
    names = [world.name for world in worlds]
    for name in limits.scenarios:
        if name not in names:
            raise InputError(f"there are limits for a scenario {name!r} that is not checked{closest(name, names)}")
    policies = {THIS: chosen} if before is None else {BASELINE: before, THIS: chosen}
    compared = compare(
        policies, worlds, replications, seed, executor, results=results, progress=progress, cancelled=cancelled
    )
    runs = compared.runs[compared.runs["policy"] == THIS]
    findings = tuple(
        judge(name, limit, runs.loc[runs["scenario"] == name, ["seed", metric]])
        for name in names
        for metric, limit in limits.of(name).items()
    )
    return Check(findings, compared, chosen, before)


def judge(scenario: str, limit: Limit, values: pd.DataFrame) -> Finding:
    """Hold a limit against the values (columns: seed and the metric) of one scenario's replications."""
    known = values.dropna()
    if known.empty:
        return Finding(scenario, limit, mean_interval([]), float("nan"), -1, "not measured")
    column = known[limit.metric]
    # The worst is the one that is farthest beyond the limit, or the nearest to it.
    beyond = np.maximum(column.to_numpy() - limit.at_most, limit.at_least - column.to_numpy())
    place = int(beyond.argmax())
    measured = metric_interval(limit.metric, column.to_numpy())
    if limit.of == "every" or limit.at_most == 0:
        verdict: Verdict = "kept" if column.map(limit.keeps).all() else "broken"
    else:
        verdict = _on_average(limit, measured)
    return Finding(scenario, limit, measured, float(column.iloc[place]), int(known["seed"].iloc[place]), verdict)


def _on_average(limit: Limit, measured: Interval) -> Verdict:
    low, high = (measured.mean, measured.mean) if measured.n == 1 else (measured.low, measured.high)
    if low > limit.at_most or high < limit.at_least:
        return "broken"
    return "kept" if limit.keeps(low) and limit.keeps(high) else "unsure"
