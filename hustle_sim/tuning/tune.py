"""Which policy should I ship? A search over the policy's fields, and the proof on what the search never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation import Scenario
from hustle_sim.tuning import pareto
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress, Replication, measure_all, now_s
from hustle_sim.tuning.goals import (
    Objective,
    Robust,
    broken,
    limits_of,
    limits_to_json,
    objectives_of,
    over_scenarios,
)
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.search import Measured, Search, Task, Trial, batches, finished, often_broken
from hustle_sim.tuning.slo import Slo
from hustle_sim.tuning.space import axes_of
from hustle_sim.tuning.statistics import LEVEL, mean_interval, metric_interval, paired_difference, verdict
from hustle_sim.tuning.table import Table, policy_of, scenarios_of, seeds_of

if TYPE_CHECKING:
    import holoviews as hv

SEARCH, CHOICE, PROOF = "search", "choice", "proof"
"""What a simulation was for. Each has seeds of its own, so that nothing is judged by what it was chosen for."""

SEARCHED, UNSEEN = "searched scenarios", "unseen scenarios"

_AGREED = 2
"""A policy beats another if it is better in so many objectives (or in all, if there are fewer) and worse in none."""

_QUICK_MESSAGES = 3000
"""Bundled scenarios with about so many messages at most are there to verify a policy if nobody names others."""


class Tuning(Table):
    """A row for each policy of the front and each preset, and each metric, on seeds that the search never saw.

    Columns: policy (its label), kind (``front | preset``), knee, recommended, kept (all limits), metric, mean, low,
    high, n (seeds). Means are over the searched scenarios, or of the worst of them; intervals are 95 % confidence
    intervals over seeds, each for itself.
    """

    KIND = "tuning"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What was tuned for."""
        return objectives_of(self.about["arguments"]["objectives"])

    @property
    def front(self) -> pd.DataFrame:
        """A row for each policy that no other one dominates: policy, knee, recommended, kept, and for each objective
        its mean, ``<metric>_low`` and ``<metric>_high``; the recommended one first, then by the first objective.
        """
        return self._wide("front")

    @property
    def presets(self) -> pd.DataFrame:
        """The same for the presets (and ``start``, the policy that was searched from, if it is none of them)."""
        return self._wide("preset")

    @property
    def policies(self) -> dict[str, Policy]:
        """Every policy of the front and every preset, by its label."""
        return {name: Policy().replace(fields) for name, fields in self.about["policies"].items()}

    @property
    def winner(self) -> str:
        """The label of the policy that is recommended."""
        return str(self.about["winner"])

    @property
    def policy(self) -> Policy:
        """The policy that is recommended."""
        return self.policies[self.winner]

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """The searched fields in which the recommended policy differs from the one searched from: (before, now)."""
        before, now = self.about["policy"], self.policy.flat()
        return {name: (before[name], now[name]) for name in now if now[name] != before[name]}

    @property
    def trials(self) -> pd.DataFrame:
        """What the search tried: number, seeds met, outcome (``finished | dropped | broken | refused``), reason, the
        fields, and each objective's mean (over the seeds met, corrected by what those seeds did to the start).
        """
        return pd.DataFrame(self.about["trials"])

    @property
    def proof(self) -> pd.DataFrame:
        """The recommended policy against each preset, on seeds that neither the search nor the choice has seen.

        Columns: scope (``searched scenarios``, ``unseen scenarios``, or one scenario's name), policy (the other one),
        metric (the objectives), mine, theirs, difference, low, high, n, verdict (for the recommended policy).
        """
        rows = []
        runs = self.runs[self.runs["stage"] == PROOF]
        others = [name for name in dict.fromkeys(runs["policy"]) if name != self.winner]
        searched, unseen = list(self.about["scenarios"]), list(self.about["unseen"])
        scopes = {SEARCHED: searched, **({UNSEEN: unseen} if unseen else {})}
        scopes |= {name: [name] for name in searched + unseen}
        arrays = _arrays(runs, searched + unseen, [objective.metric for objective in self.objectives])
        robust: Robust = self.about["arguments"]["robust"]
        places = {name: place for place, name in enumerate(searched + unseen)}
        for scope, names in scopes.items():
            inside = [places[name] for name in names]
            for other in others:
                for objective in self.objectives:
                    metric = objective.metric
                    mine, theirs = (
                        over_scenarios(arrays[name][metric][inside], objective.better, robust)
                        for name in (self.winner, other)
                    )
                    against = paired_difference(mine, theirs)
                    rows.append(
                        {"scope": scope, "policy": other, "metric": metric, "mine": mean_interval(mine).mean,
                         "theirs": mean_interval(theirs).mean, "difference": against.mean, "low": against.low,
                         "high": against.high, "n": against.n, "verdict": verdict(objective.better, against)}
                    )  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def beaten(self) -> pd.DataFrame:
        """For each scope and preset: better, worse (how many objectives), beaten (at least two better, none worse)."""
        counted = self.proof.groupby(["scope", "policy"], sort=False)["verdict"]
        found = counted.agg(better=lambda v: int((v == "better").sum()), worse=lambda v: int((v == "worse").sum()))
        found["beaten"] = (found["better"] >= min(_AGREED, len(self.objectives))) & (found["worse"] == 0)
        return found.reset_index()

    def report(self) -> str:
        """What was found and how sure it is, in words."""
        from hustle_sim.tuning.tune_report import text

        return text(self)

    def markdown(self) -> str:
        """The report for a pull request or a README: words, the fields to change, and the tables."""
        from hustle_sim.tuning.tune_report import markdown

        return markdown(self)

    def plot(self, **options: object) -> hv.Layout:  # type: ignore[override]
        """The front and the presets, a panel for each pair of objectives, and the fields of the front."""
        from hustle_sim.tuning.tune_plot import tuned

        return tuned(self)

    def _wide(self, kind: str) -> pd.DataFrame:
        rows = pd.DataFrame(self)[self["kind"] == kind]
        marks = rows[["policy", "knee", "recommended", "kept"]].drop_duplicates().reset_index(drop=True)
        for objective in self.objectives:
            own = rows[rows["metric"] == objective.metric].set_index("policy")
            for end, name in (
                ("mean", objective.metric),
                ("low", f"{objective.metric}_low"),
                ("high", f"{objective.metric}_high"),
            ):
                marks[name] = own[end].reindex(marks["policy"]).to_numpy()
        return marks

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Tuning:
        """The tuning that ``about`` tells of, once more."""
        return tune(
            [Scenario.from_dict(tables) for tables in about["scenarios"].values()],
            Policy().replace(about["policy"]),
            about["search"],
            unseen=[Scenario.from_dict(tables) for tables in about["unseen"].values()],
            constraints=about["constraints"],
            seed=about["seed"],
            **about["arguments"],
            **how,
        )


def tune(
    scenarios: Scenario | str | Path | Sequence[Scenario | str | Path],
    policy: Policy | str | Path | None = None,
    search: Mapping[str, Any] | Sequence[str] | None = None,
    objectives: Sequence[str] | Mapping[str, str] | None = None,
    trials: int = 200,
    executor: Workers = None,
    *,
    constraints: Slo | str | Path | Mapping[str, Any] | None = None,
    robust: Robust = "mean",
    replications: int = 8,
    verify: int = 20,
    unseen: Scenario | str | Path | Sequence[Scenario | str | Path] | None = None,
    front_size: int = 12,
    seed: int = 0,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tuning:
    """Search the fields of a policy (default ``Policy()``) for what is best over all ``scenarios``, and prove it.

    ``search`` maps dotted fields to a list to choose from, a range ``(low, high)`` (durations also as ``"5m"``), or
    None for the usual values; or it lists fields or parts; None: the usual ones (see ``hustle_sim.tuning.space``).
    ``objectives`` are metrics (``METRICS`` knows the good direction; a mapping says it): by default the wait, the share
    answered in time, the load and the spend. ``constraints`` are limits as for ``check``, by default that nothing is
    lost and everybody has some answer within the deadline. Several scenarios count by their ``mean``, or by the
    ``worst`` for each objective (``robust``).

    1. *Search*: ``trials`` policies, proposed by Optuna's TPE in batches of ten. All meet the seeds from ``seed`` on; a
       policy begins with two, and the better half of a batch goes on to twice as many, up to ``replications``.
       Impossible combinations cost nothing and don't count.
    2. *Choice*: up to ``front_size`` policies of the front, and all presets, meet ``verify`` seeds of their own. Those
       that still keep the limits, and that no other one dominates, are the front. Recommended is the one that beats
       most presets (better in two objectives at least and worse in none, outside the 95 % intervals), and among such
       the one nearest to the ideal, as the knee of the whole front is.
    3. *Proof*: the recommended policy and the presets meet ``verify`` further seeds, on the searched scenarios and on
       ``unseen`` ones (default: the bundled ones that were not searched and are quickly simulated; [] for none).

    The numbers depend on the arguments only, not on the executor. With ``results`` (a folder) every simulation is kept,
    and the same call goes on where an interrupted one was. Raises InputError, ``Cancelled`` and ``Interrupted``: see
    ``measure_all``.
    """
    base, worlds = policy_of(policy or Policy()), scenarios_of(scenarios)
    axes, wanted = axes_of(search), objectives_of(objectives)
    names = [world.name for world in worlds]
    limits = limits_of(constraints, base.request.deadline_s, axes, names)
    others = _unseen(names, unseen)
    _check_counts(trials, replications, verify, front_size, robust)
    task = Task(tuple(worlds), base, axes, wanted, limits, robust, seeds_of(seed, replications))
    choice = range(task.seeds.stop, task.seeds.stop + verify)
    proof = range(choice.stop, choice.stop + verify)
    rivals = _rivals(base)
    work = _Work(results if isinstance(results, Results) else Results(results), executor, progress, cancelled)
    everywhere = [*worlds, *others]
    work.plan(
        len(rivals) * len(worlds) * len(task.seeds)
        + sum(task.cost(size) for size in batches(trials))
        + (front_size + len(rivals)) * len(worlds) * verify
        + (1 + len(rivals)) * len(everywhere) * verify
    )  # fmt: skip

    known, again = _measured(rivals, worlds, task.seeds, work, SEARCH)
    task = replace(task, objectives=_measurable(wanted, known[_start(rivals, base)], objectives is not None))
    found, runs = _searched(task, known, trials, seed, work)
    runs.insert(0, again)
    candidates = _candidates(found, task, front_size)
    if not candidates:
        raise InputError(
            f"tune: not one of {trials} policies keeps all limits; what most of them break is "
            f"{often_broken(found)}: loosen it, or search further"
        )
    chosen, again = _measured({**candidates, **rivals}, worlds, choice, work, CHOICE)
    runs.append(again)
    rows, label = _choose(chosen, list(candidates), list(rivals), task)
    tuned = candidates[label]
    _, again = _measured({label: tuned, **rivals}, everywhere, proof, work, PROOF)
    runs.append(again)
    work.finish()

    front = list(dict.fromkeys(rows.loc[rows["kind"] == "front", "policy"]))
    about: dict[str, Any] = {
        "policy": base.flat(),
        "winner": label,
        "policies": {name: each.flat() for name, each in ({n: candidates[n] for n in front} | rivals).items()},
        "scenarios": {world.name: world.to_dict() for world in worlds},
        "unseen": {world.name: world.to_dict() for world in others},
        "search": {axis.field: axis.to_json() for axis in axes},
        "constraints": limits_to_json(limits),
        "seed": seed,
        "seeds": {
            stage: [each.start, len(each)] for stage, each in ((SEARCH, task.seeds), (CHOICE, choice), (PROOF, proof))
        },
        "level": LEVEL,
        "trials": [_told(trial, task) for trial in found],
        "arguments": {
            "objectives": {objective.metric: objective.better for objective in task.objectives},
            "trials": trials,
            "robust": robust,
            "replications": replications,
            "verify": verify,
            "front_size": front_size,
        },
    }
    table: Tuning = Tuning.of(rows, pd.concat(runs, ignore_index=True), about, partial(Tuning.remake, about))
    return table


class _Work:
    """Simulates for all stages, and tells how far the whole is."""

    def __init__(
        self,
        kept: Results,
        executor: Workers,
        progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._kept, self._executor, self._progress, self._cancelled = kept, executor, progress, cancelled
        self._began_s, self._before = now_s(), len(kept)
        self._planned = self._done = 0

    def plan(self, simulations: int) -> None:
        """So many at most."""
        self._planned = simulations

    def skip_to(self, done: int) -> None:
        """What would have been simulated up to here is not needed."""
        self._done = done

    @property
    def done(self) -> int:
        """How many of those that were planned are done or not needed."""
        return self._done

    def __call__(self, replications: Sequence[Replication]) -> pd.DataFrame:
        """The metrics of each replication, in order."""
        measured = measure_all(
            replications, executor=self._executor, results=self._kept, cancelled=self._cancelled,
            progress=partial(self._tell, len(replications)) if self._progress is not None else None,
        )  # fmt: skip
        self._done += len(replications)
        return measured

    def finish(self) -> None:
        """All is done."""
        if self._progress is not None:
            self._progress(Progress(self._planned, self._planned, 0.0))

    def _tell(self, count: int, now: Progress) -> None:
        assert self._progress is not None
        done = min(self._planned, self._done + count - now.total + now.done)
        new = len(self._kept) - self._before
        left_s = (now_s() - self._began_s) / new * (self._planned - done) if new else float("nan")
        self._progress(Progress(done, self._planned, left_s))


def _searched(
    task: Task, rivals: Mapping[str, Measured], trials: int, seed: int, work: _Work
) -> tuple[list[Trial], list[pd.DataFrame]]:
    """All trials of the search, and the runs that they rest on."""
    start = _start({name: each.policy for name, each in rivals.items()}, task.base)
    hunt = Search(task, rivals[start], [each for name, each in rivals.items() if name != start], trials, seed)
    for size in batches(trials):
        before = work.done
        hunt.batch(size, work)
        work.skip_to(before + task.cost(size))
    runs = [
        _runs(trial.label, trial.measured, task.scenarios, task.seeds, SEARCH)
        for trial in hunt.trials
        if trial.measured is not None
    ]
    return hunt.trials, runs


def _start(rivals: Mapping[str, Policy], base: Policy) -> str:
    """What the policy that the search starts from is called."""
    return next(name for name, each in rivals.items() if each == base)


def _measurable(objectives: Sequence[Objective], start: Measured, named: bool) -> tuple[Objective, ...]:
    """The objectives that have a value; raises InputError if one has none that was asked for, or none has."""
    without = [each.metric for each in objectives if np.isnan(start.values[each.metric]).all()]
    if without and (named or len(without) == len(objectives)):
        raise InputError(
            f"objectives: {without[0]} has no value on these scenarios with the policy that the search starts from, "
            "so it can't be tuned for: name others"
        )
    return tuple(each for each in objectives if each.metric not in without)


def _measured(
    policies: Mapping[str, Policy], scenarios: Sequence[Scenario], seeds: range, work: _Work, stage: str
) -> tuple[dict[str, Measured], pd.DataFrame]:
    """Each policy on each scenario with each seed: by label, and as rows."""
    cases = [(name, world, number) for name in policies for world in scenarios for number in seeds]
    rows = work([Replication(world, policies[name], number) for name, world, number in cases])
    marks = [{"stage": stage, "scenario": world.name, "policy": name, "seed": number} for name, world, number in cases]
    runs = pd.concat([pd.DataFrame(marks), rows], axis=1)
    arrays = _arrays(runs, [world.name for world in scenarios])
    return {name: Measured(policies[name], arrays[name]) for name in policies}, runs


def _arrays(
    runs: pd.DataFrame, scenarios: Sequence[str], metrics: Sequence[str] = tuple(METRICS)
) -> dict[str, dict[str, Any]]:
    """By policy and metric, an array of shape (scenarios, seeds); the runs have that order."""
    return {
        str(name): {
            metric: own[metric].to_numpy(dtype=float).reshape(len(scenarios), len(own) // len(scenarios))
            for metric in metrics
        }
        for name, own in runs.groupby("policy", sort=False)
    }


def _runs(name: str, measured: Measured, scenarios: Sequence[Scenario], seeds: range, stage: str) -> pd.DataFrame:
    met = seeds[: measured.met]
    marks = [
        {"stage": stage, "scenario": world.name, "policy": name, "seed": number}
        for world in scenarios
        for number in met
    ]
    return pd.DataFrame(marks).assign(**{metric: measured.values[metric].ravel() for metric in METRICS})


def _candidates(trials: Sequence[Trial], task: Task, most: int) -> dict[str, Policy]:
    """The policies of the search that are worth another look, by label.

    A half are those that fall short of the best presets by least, and nearest to the ideal; the others are spread.
    """
    once = finished(trials, len(task.seeds))
    if not once:
        return {}
    points = np.array([trial.points for trial in once], dtype=float)
    best = [once[place] for place in np.flatnonzero(pareto.front(points))]
    points = np.array([trial.points for trial in best], dtype=float)
    away = pareto.distances(points)
    order = sorted(range(len(best)), key=lambda place: (sum(best[place].short.values()), away[place]))
    places = pareto.spread(points, most, order[: max(1, most // 2)])
    return {best[place].label: best[place].measured.policy for place in sorted(places)}  # type: ignore[union-attr]


def _choose(
    measured: Mapping[str, Measured], candidates: Sequence[str], rivals: Sequence[str], task: Task
) -> tuple[pd.DataFrame, str]:
    """The rows of the table, and the label of the policy that is recommended."""
    names = [world.name for world in task.scenarios]
    kept = {name: not broken(task.limits, names, each.values) for name, each in measured.items()}
    by_seed = {
        name: {
            objective.metric: over_scenarios(each.values[objective.metric], objective.better, task.robust)
            for objective in task.objectives
        }
        for name, each in measured.items()
    }
    points = {
        name: [objective.sign * mean_interval(own[objective.metric]).mean for objective in task.objectives]
        for name, own in by_seed.items()
    }
    going = [name for name in candidates if kept[name] and not np.isnan(points[name]).any()]
    # Where fresh seeds break the limits of all, the least bad is shown for what it is.
    going = going or [name for name in candidates if not np.isnan(points[name]).any()] or list(candidates)
    at = np.array([points[name] for name in going], dtype=float)
    front = [name for name, alone in zip(going, pareto.front(at), strict=True) if alone]
    at = np.array([points[name] for name in front], dtype=float)
    away = dict(zip(front, pareto.distances(at), strict=True))
    knee = front[pareto.knee(at)]
    beaten = {name: sum(_beats(by_seed[name], by_seed[other], task.objectives) for other in rivals) for name in front}
    winner = min(front, key=lambda name: (-beaten[name], away[name])) if any(beaten.values()) else knee
    order = sorted(front, key=lambda name: (name != winner, points[name][0]))
    rows = []
    for name in [*order, *rivals]:
        for metric, values in measured[name].values.items():
            better = next((o.better for o in task.objectives if o.metric == metric), METRICS[metric].better)
            own = metric_interval(metric, over_scenarios(values, better, task.robust))
            rows.append(
                {"policy": name, "kind": "front" if name in front else "preset", "knee": name == knee,
                 "recommended": name == winner, "kept": kept[name], "metric": metric, "mean": own.mean,
                 "low": own.low, "high": own.high, "n": own.n}
            )  # fmt: skip
    return pd.DataFrame(rows), winner


def _beats(mine: Mapping[str, Any], theirs: Mapping[str, Any], objectives: Sequence[Objective]) -> bool:
    said = [
        verdict(objective.better, paired_difference(mine[objective.metric], theirs[objective.metric]))
        for objective in objectives
    ]
    return "worse" not in said and said.count("better") >= min(_AGREED, len(objectives))


def _rivals(base: Policy) -> dict[str, Policy]:
    """The presets, and the policy that the search starts from, if it is none of them."""
    presets = {name: Policy.preset(name) for name in PRESETS}
    return presets if base in presets.values() else {"start": base, **presets}


def _told(trial: Trial, task: Task) -> dict[str, Any]:
    """A trial as a row that JSON can hold."""
    met = trial.measured.met if trial.measured is not None else 0
    outcome = "refused" if trial.measured is None or (trial.reason and not met) else "broken"
    if trial.kept:
        outcome = "finished" if met == len(task.seeds) else "dropped"
    points = dict(zip(task.objectives, trial.points, strict=False))
    means = {o.metric: _number(o.sign * points[o]) if o in points else None for o in task.objectives}
    reason = trial.reason or ", ".join(trial.broken)
    return {"number": trial.number, "seeds": met, "outcome": outcome, "reason": reason, **trial.values, **means}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _unseen(
    searched: Sequence[str], given: Scenario | str | Path | Sequence[Scenario | str | Path] | None
) -> list[Scenario]:
    """The scenarios that the search shall not see; raises InputError for one that it does see."""
    if given is None:
        others = [Scenario.load(name) for name in Scenario.bundled() if name not in searched]
        return [each for each in others if _messages(each) <= _QUICK_MESSAGES]
    if not isinstance(given, Scenario | str | Path) and not len(given):
        return []
    others = scenarios_of(given)
    for each in others:
        if each.name in searched:
            raise InputError(f"unseen: {each.name!r} is searched: name scenarios that the search does not see")
    return others


def _messages(scenario: Scenario) -> float:
    return scenario.clients.count * scenario.clients.messages_per_hour * scenario.duration_s / 3600


def _check_counts(trials: int, replications: int, verify: int, front_size: int, robust: str) -> None:
    for name, value, least in (
        ("trials", trials, 1), ("replications", replications, 1), ("verify", verify, 2), ("front_size", front_size, 1),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"{name}: {value} is too few: give {least} or more")
    if robust not in ("mean", "worst"):
        raise InputError(f"robust: scenarios count by their 'mean' or by the 'worst', not {robust!r}")
