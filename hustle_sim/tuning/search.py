"""The search for policies: Optuna proposes in batches, and the better ones are simulated with more seeds.

All policies meet the same seeds. A batch is a race: each of its policies begins with few seeds, and at each rung the
better half goes on to twice as many (successive halving, Jamieson & Talwalkar 2016), so most of the work goes to what
may be worth it. What is told to Optuna, and in which order, does not depend on how the simulations are carried out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario
from hustle_sim.tuning import pareto
from hustle_sim.tuning.experiment import Replication
from hustle_sim.tuning.goals import Objective, Robust, broken, over_scenarios
from hustle_sim.tuning.slo import Slo
from hustle_sim.tuning.space import Axis, policy_at
from hustle_sim.tuning.statistics import Floats
from hustle_sim.tuning.sweep import Value

BATCH = 10
"""Policies that are proposed at once, however many workers there are, so that the numbers don't depend on them."""

_FIRST_RUNG = 2
_TURNS = 3
_REFUSALS = 50
"""So many impossible proposals for each one that is wanted, and the search space is taken to hold no other."""

Measure = Callable[[Sequence[Replication]], pd.DataFrame]
"""Simulates replications, and returns their metrics in order."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched for, and how the scenarios and the seeds count."""

    scenarios: tuple[Scenario, ...]
    base: Policy
    axes: tuple[Axis, ...]
    objectives: tuple[Objective, ...]
    limits: Slo
    robust: Robust
    seeds: range
    """The seeds of the search; a policy that drops out of a race has met the first of them."""

    @property
    def rungs(self) -> list[int]:
        """How many seeds a policy has met after each rung of a race."""
        rungs = [min(_FIRST_RUNG, len(self.seeds))]
        while rungs[-1] < len(self.seeds):
            rungs.append(min(2 * rungs[-1], len(self.seeds)))
        return rungs

    def cost(self, policies: int) -> int:
        """Simulations of a race of so many policies, if none breaks a limit."""
        total, racing, met = 0, policies, 0
        for rung in self.rungs:
            total += racing * (rung - met) * len(self.scenarios)
            racing, met = math.ceil(racing / 2), rung
        return total


@dataclass(slots=True)
class Measured:
    """The metrics of one policy: arrays by metric of shape (scenarios, seeds met)."""

    policy: Policy
    values: dict[str, Floats] = field(default_factory=dict)

    @property
    def met(self) -> int:
        """How many seeds it has met."""
        return next(iter(self.values.values())).shape[1] if self.values else 0


@dataclass(slots=True)
class Trial:
    """One proposal of the search.

    ``points`` are the objectives, each with the smaller value the better one; ``broken`` is how far each limit is
    broken; ``reason`` says why it was refused without a simulation, or had no value.
    """

    number: int
    values: dict[str, Value]
    measured: Measured | None = None
    points: tuple[float, ...] = ()
    broken: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    short: dict[str, float] = field(default_factory=dict)
    """How far it falls short of the best preset in each objective, in spans of the presets, damped."""

    @property
    def label(self) -> str:
        """What its policy is called."""
        return f"trial-{self.number}"

    @property
    def kept(self) -> bool:
        """Whether it was measured, and kept all limits."""
        return self.measured is not None and not self.broken and not self.reason


def measure_more(measured: Sequence[Measured], task: Task, seeds: int, measure: Measure) -> None:
    """Simulate each policy with the seeds up to that count which it has not met."""
    wanted = [
        (each, place, seed)
        for each in measured
        for place in range(len(task.scenarios))
        for seed in task.seeds[each.met : seeds]
    ]
    if not wanted:
        return
    rows = measure([Replication(task.scenarios[place], each.policy, seed) for each, place, seed in wanted])
    start = 0
    for each in measured:
        count = len(task.scenarios) * (seeds - each.met)
        own = rows.iloc[start : start + count]
        start += count
        shape = (len(task.scenarios), seeds - each.met)
        new = {name: own[name].to_numpy(dtype=float).reshape(shape) for name in METRICS}
        each.values = {
            name: np.concatenate([each.values[name], new[name]], axis=1) if each.values else new[name] for name in new
        }


def points_of(measured: Measured, reference: Measured, task: Task) -> tuple[float, ...]:
    """The objectives of a policy as means over scenarios and seeds, each with the smaller value the better one.

    A policy that has met fewer seeds than the reference is placed by its paired difference to it on those seeds, so
    that it neither gains nor loses by what their outages were like.
    """
    points = []
    for objective in task.objectives:
        mine, theirs = measured.values[objective.metric], reference.values[objective.metric]
        means = []
        for own, its in zip(mine, theirs, strict=True):
            difference = own - its[: len(own)]
            adjusted = _mean(its) + _mean(difference)
            means.append(_mean(own) if len(own) == len(its) or math.isnan(adjusted) else adjusted)
        one = over_scenarios(np.array(means).reshape(-1, 1), objective.better, task.robust)
        points.append(objective.sign * float(one[0]))
    return tuple(points)


class Search:
    """Batches of proposals: ask Optuna, race, tell Optuna.

    Two samplers take turns, and each learns from the other's trials. One looks for the whole front, in the first batch
    and in every third. The other looks for what is as good as the best preset in every single objective, whichever
    that is: how far a trial falls short of it is told as a broken limit.
    """

    def __init__(self, task: Task, reference: Measured, rivals: Sequence[Measured], trials: int, seed: int) -> None:
        """``reference`` and ``rivals`` are measured with all seeds; races are judged beside them."""
        import optuna

        self.trials: list[Trial] = []
        self._task = task
        self._reference = reference
        points = [
            points_of(each, reference, task)
            for each in (reference, *rivals)
            if not broken(task.limits, _names(task), each.values)
        ]
        self._rivals = [each for each in points if not any(map(math.isnan, each))]
        self._best = np.array(self._rivals).min(axis=0) if self._rivals else None
        self._span = _spans(np.array(self._rivals)) if self._rivals else None
        self._optuna = optuna
        self._turn = self._begun = 0
        self._ranges = {axis.field: _distribution(axis) for axis in task.axes}
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._studies = [
            optuna.create_study(
                directions=["minimize"] * len(task.objectives),
                sampler=optuna.samplers.TPESampler(
                    seed=(seed + number) % 2**32, multivariate=True, n_startup_trials=BATCH
                ),
            )
            for number in range(2)
        ]
        optuna.logging.set_verbosity(before)
        start = {axis.field: task.base.get(axis.field) for axis in task.axes}
        if all(axis.holds(start[axis.field]) for axis in task.axes):
            self._studies[0].enqueue_trial(start)

    def batch(self, size: int, measure: Measure) -> None:
        """Propose so many policies, race them, and tell the samplers what came of it. Raises InputError."""
        self._turn = int(self._begun % _TURNS != 0)
        self._begun += 1
        asked = self._ask(size)
        self._race([trial for _, trial in asked], measure)
        for proposal, trial in asked:
            self._tell(proposal, trial)

    def _ask(self, size: int) -> list[tuple[Any, Trial]]:
        """Proposals that can work. One that can't is told at once, so that the samplers learn to leave it."""
        asked: list[tuple[Any, Trial]] = []
        refused = 0
        while len(asked) < size:
            proposal = self._studies[self._turn].ask(self._ranges)
            values = {axis.field: axis.tidy(proposal.params[axis.field]) for axis in self._task.axes}
            trial = Trial(len(self.trials), values)
            self.trials.append(trial)
            try:
                trial.measured = Measured(policy_at(self._task.axes, self._task.base, trial.values))
                asked.append((proposal, trial))
            except InputError as error:
                trial.reason = str(error)
                self._tell(proposal, trial)
                refused += 1
            if refused >= _REFUSALS * size and not asked:
                raise InputError(f"search: of {refused} policies not one can work; the last: {trial.reason}")
        return asked

    def _tell(self, proposal: Any, trial: Trial) -> None:
        """What came of a proposal, to the sampler that made it and to the other one."""
        states = self._optuna.trial.TrialState
        state = states.PRUNED if trial.reason else states.COMPLETE
        values = None if trial.reason else list(trial.points)
        limits = {**trial.broken, **({"can work and be measured": 1.0} if trial.reason else {})}
        for number, study in enumerate(self._studies):
            told = limits if number == 0 or trial.reason else {**limits, **trial.short}
            if number == self._turn:
                for name, over in told.items():
                    proposal.set_constraint(name, over)
                study.tell(proposal, values, state)
            else:
                study.add_trial(
                    self._optuna.trial.create_trial(
                        params=proposal.params, distributions=self._ranges, values=values, state=state, constraints=told
                    )
                )

    def _short(self, trial: Trial) -> dict[str, float]:
        if self._best is None or self._span is None:
            return {}
        over = np.log1p(np.maximum(0.0, np.array(trial.points) - self._best) / self._span)
        return {
            f"as good in {objective.metric} as any preset": float(short)
            for objective, short in zip(self._task.objectives, over, strict=True)
        }

    def _race(self, trials: Sequence[Trial], measure: Measure) -> None:
        racing = list(trials)
        for rung in self._task.rungs:
            measure_more([trial.measured for trial in racing if trial.measured is not None], self._task, rung, measure)
            for trial in racing:
                self._judge(trial)
            going = [trial for trial in racing if trial.kept]
            racing = self._leading(going, math.ceil(len(racing) / 2))

    def _judge(self, trial: Trial) -> None:
        assert trial.measured is not None
        trial.points = points_of(trial.measured, self._reference, self._task)
        trial.broken = broken(self._task.limits, _names(self._task), trial.measured.values)
        for objective, value in zip(self._task.objectives, trial.points, strict=True):
            if math.isnan(value):
                trial.reason = f"{objective.metric} has no value"
        trial.short = {} if trial.reason else self._short(trial)

    def _leading(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The best of a race, by rank among all that came through earlier ones and those that they are to beat."""
        if not trials:
            return []
        others = [trial.points for trial in finished(self.trials, len(self._task.seeds))] + self._rivals
        points = np.array([*(trial.points for trial in trials), *others], dtype=float)
        rank, away = pareto.ranks(points), pareto.distances(points)
        order = sorted(range(len(trials)), key=lambda place: (rank[place], away[place], trials[place].number))
        return [trials[place] for place in sorted(order[:count])]


def batches(trials: int) -> list[int]:
    """How many policies each batch has."""
    return [min(BATCH, trials - begun) for begun in range(0, trials, BATCH)]


def finished(trials: Sequence[Trial], seeds: int) -> list[Trial]:
    """The trials that met so many seeds and kept all limits, each policy once."""
    seen: dict[Policy, Trial] = {}
    for trial in trials:
        if trial.kept and trial.measured is not None and trial.measured.met == seeds:
            seen.setdefault(trial.measured.policy, trial)
    return list(seen.values())


def often_broken(trials: Sequence[Trial]) -> str:
    """The limit that most trials broke, or why most were refused, in words."""
    reasons = Counter(name for trial in trials for name in (trial.broken or ([trial.reason] if trial.reason else [])))
    return next((name for name, _ in reasons.most_common(1)), "nothing")


def _distribution(axis: Axis) -> Any:
    from optuna import distributions

    if axis.choices:
        return distributions.CategoricalDistribution(axis.choices)
    if axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.logarithmic)
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.logarithmic)


def _spans(points: Floats) -> Floats:
    """For each objective the span of the middle half of the presets, so that one that is far off does not count."""
    low, high = np.quantile(points, [0.25, 0.75], axis=0)
    spans: Floats = np.maximum(high - low, np.maximum(0.002 * np.abs(points).max(axis=0), 1e-9))
    return spans


def _names(task: Task) -> list[str]:
    return [scenario.name for scenario in task.scenarios]


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
