"""What a tuned policy is for: objectives, limits that it must keep, and how several scenarios count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError, closest
from hustle_sim.tuning.slo import Limit, Slo
from hustle_sim.tuning.space import Axis
from hustle_sim.tuning.statistics import Floats, mean_interval

Robust = Literal["mean", "worst"]
Better = Literal["lower", "higher"]

OBJECTIVES = ("answer_p99_s", "answered_share", "amplification", "recovery_peak", "spend_multiplier")
"""How long people wait; how many are answered in time (the others get a fallback, and their answer late); the load on
the backend, on average and at its worst, when an outage is over; and what one answer costs."""

_LATE_S = 0.1
"""How far beyond the deadline an answer may be: a timer is exact in virtual time, what follows it is not free."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric, and which direction is good."""

    metric: str
    better: Better

    @property
    def sign(self) -> float:
        """What a value is multiplied by to make the smaller one the better one."""
        return 1.0 if self.better == "lower" else -1.0


def objectives_of(given: Sequence[str] | Mapping[str, str] | None) -> tuple[Objective, ...]:
    """The objectives that are meant; raises InputError for a metric that does not exist or has no direction."""
    names = OBJECTIVES if given is None else given
    wanted: dict[str, Any] = (
        dict(names) if isinstance(names, Mapping) else dict.fromkeys([names] if isinstance(names, str) else names)
    )
    if not wanted:
        raise InputError("objectives: there is none: give at least one metric, such as 'answered_share'")
    chosen = []
    for name, better in wanted.items():
        if name not in METRICS:
            raise InputError(f"objectives: there is no metric {name!r}{closest(name, METRICS)}")
        direction = better or METRICS[name].better
        if direction == "none":
            raise InputError(
                f"objectives: {name} only describes: say which direction is good, such as {{{name!r}: 'lower'}}"
            )
        if direction not in ("lower", "higher"):
            raise InputError(f"objectives: {name} can be better 'lower' or 'higher', not {direction!r}")
        chosen.append(Objective(name, direction))
    return tuple(chosen)


def limits_of(
    given: Slo | str | Path | Mapping[str, Any] | None,
    deadline_s: float,
    axes: Sequence[Axis],
    scenarios: Sequence[str],
) -> Slo:
    """The limits that are meant. None: nothing is lost, and everybody has some answer within the deadline.

    A mapping is as the ``[limits]`` of a file of limits, such as ``{"lost": {"at_most": 0}}``, or holds the tables
    ``limits`` and ``scenarios``. Raises InputError.
    """
    if given is None:
        searched = next((axis for axis in axes if axis.field == "request.deadline_s"), None)
        if searched is not None:
            deadline_s = max(map(float, searched.choices or (searched.high,)))
        return Slo(
            {
                "lost": Limit("lost", at_most=0),
                "answer_max_s": Limit("answer_max_s", at_most=deadline_s + _LATE_S, of="every"),
            },
            {},
        )
    if isinstance(given, Slo):
        slo = given
    elif isinstance(given, Mapping):
        tables = given if set(given) <= {"limits", "scenarios"} else {"limits": given}
        slo = Slo.of_tables(tables, "constraints")
    else:
        slo = Slo.load(given)
    for name in slo.scenarios:
        if name not in scenarios:
            raise InputError(f"there are limits for a scenario {name!r} that is not searched{closest(name, scenarios)}")
    return slo


def limits_to_json(slo: Slo) -> dict[str, Any]:
    """The limits as ``limits_of`` reads them."""

    def tables(limits: Mapping[str, Limit]) -> dict[str, Any]:
        return {
            name: {
                key: value
                for key, value in asdict(limit).items()
                if key != "metric" and value not in (math.inf, -math.inf)
            }
            for name, limit in limits.items()
        }

    return {
        "limits": tables(slo.limits),
        "scenarios": {name: tables(limits) for name, limits in slo.scenarios.items()},
    }


def beyond(limit: Limit, values: Floats) -> float:
    """How far the values of one scenario break a limit, as a share of it; 0 if they keep it, or can't be measured."""
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0
    if limit.of == "every" or limit.at_most == 0:
        over = max(float(known.max()) - limit.at_most, limit.at_least - float(known.min()))
    else:
        over = max(float(known.mean()) - limit.at_most, limit.at_least - float(known.mean()))
    bound = limit.at_most if math.isinf(limit.at_least) else limit.at_least
    return max(0.0, over) / max(abs(bound), 1e-9 if bound else 1.0)


def broken(slo: Slo, scenarios: Sequence[str], values: Mapping[str, Floats]) -> dict[str, float]:
    """How far each limit is broken, by ``"metric in scenario"``, from arrays by metric of shape (scenarios, seeds).

    Empty: all are kept.
    """
    found = {}
    for place, scenario in enumerate(scenarios):
        for metric, limit in slo.of(scenario).items():
            over = beyond(limit, values[metric][place])
            if over > 0:
                found[f"{metric} in {scenario}"] = over
    return found


def over_scenarios(values: Floats, better: str, robust: Robust) -> Floats:
    """One value for each seed, from an array of shape (scenarios, seeds).

    ``mean``: the mean over the scenarios in which the metric has a value; ``worst``: the values in the scenario
    with the worst mean (the first one's, if no direction is good).
    """
    known = ~np.isnan(values)
    if robust == "mean":
        count = known.sum(axis=0)
        total = np.where(known, values, 0.0).sum(axis=0)
        means: Floats = np.divide(total, count, out=np.full(values.shape[1], math.nan), where=count > 0)
        return means
    by_scenario = [mean_interval(row).mean for row in values]
    if np.isnan(by_scenario).all():
        return np.full(values.shape[1], math.nan)
    worst: Floats = values[int(np.nanargmin(by_scenario) if better == "higher" else np.nanargmax(by_scenario))]
    return worst
