"""What does each value of a field do? A grid or a well-spread sample of policies, each simulated many times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import qmc

from hustle_sim.inputs import InputError, closest, parse_duration
from hustle_sim.policy import Policy, PolicyField, policy_fields
from hustle_sim.simulation import Scenario
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress, Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import LEVEL, metric_interval
from hustle_sim.tuning.table import Table, metrics_of, policy_of, scenarios_of, seeds_of

if TYPE_CHECKING:
    import holoviews as hv

Value = float | int | bool | str
Range = tuple[float, float]
Design = Literal["grid", "latin-hypercube", "sobol"]

SCENARIO = "scenario."
"""Begins the name of a field of the scenario, such as ``scenario.clients.messages_per_hour``."""

DESIGNS: tuple[Design, ...] = ("grid", "latin-hypercube", "sobol")


class Sweep(Table):
    """A row for each scenario, point and metric.

    Columns: the fields of the point, metric, mean, low, high, n (replications with a value), point, scenario.
    """

    KIND = "sweep"

    @property
    def fields(self) -> list[str]:
        """The names of the fields that were swept."""
        return list(self.about["fields"])

    @property
    def refused(self) -> pd.DataFrame:
        """The points whose values can't work together: scenario, point, the fields, reason."""
        return pd.DataFrame(self.about["refused"], columns=["scenario", "point", *self.fields, "reason"])

    def plot(self, metric: str | None = None, **options: object) -> hv.Layout:  # type: ignore[override]
        """One field: the metric with its interval; two: a heat map; more: parallel coordinates."""
        from hustle_sim.tuning.plots import swept

        return swept(self, metric)

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Sweep:
        """The sweep that ``about`` tells of, once more."""
        fields = {
            name: (values["low"], values["high"]) if isinstance(values, dict) else values
            for name, values in about["fields"].items()
        }
        return sweep(
            [Scenario.from_dict(tables) for tables in about["scenarios"].values()],
            Policy().replace(about["policy"]),
            fields,
            seed=about["seeds"][0],
            **about["arguments"],
            **how,
        )


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a design that can be simulated: its values, and what they make of policy and scenario."""

    number: int
    values: Mapping[str, Value]
    policy: Policy
    scenario: Scenario


def sweep(
    scenario: Scenario | str | Path | Sequence[Scenario | str | Path],
    policy: Policy | str | None = None,
    fields: Mapping[str, Sequence[Value] | Range] | None = None,
    replications: int = 20,
    seed: int = 0,
    executor: Workers = None,
    *,
    design: Design = "grid",
    points: int = 64,
    metrics: Sequence[str] | None = None,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Sweep:
    """Change fields of a policy (default ``Policy()``), and simulate each point with the same seeds.

    ``fields`` maps dotted names to values: for a ``grid`` the list of values to combine, for ``latin-hypercube`` and
    ``sobol`` a range ``(low, high)`` (spread evenly over the logarithm where ``high >= 20 * low > 0``) or a list to
    choose from, for so many ``points``. A name that begins with ``scenario.`` is a field of the scenario. Points
    whose values can't work together are left out and listed in ``refused``. Intervals are 95 % confidence intervals.

    Raises InputError, ``Cancelled`` and ``Interrupted``: see ``measure_all``.
    """
    base, worlds, wanted = policy_of(policy or Policy()), scenarios_of(scenario), metrics_of(metrics)
    axes = {name: _axis(name, values) for name, values in (fields or {}).items()}
    chosen = design_points(axes, design, points, seed)
    kept, refused = _possible(chosen, base, worlds)
    if not kept:
        reason = refused[0]["reason"] if refused else "there is no point"
        raise InputError(f"sweep: not one point can be simulated: {reason}")
    seeds = seeds_of(seed, replications)
    cases = [(each, number) for each in kept for number in seeds]
    measured = measure_all(
        [Replication(each.scenario, each.policy, number) for each, number in cases],
        executor=executor, results=results, progress=progress, cancelled=cancelled,
    )  # fmt: skip
    marks = [{"scenario": each.scenario.name, "point": each.number, **each.values, "seed": number}
             for each, number in cases]  # fmt: skip
    runs = pd.concat([pd.DataFrame(marks), measured], axis=1)
    about: dict[str, Any] = {
        "policy": base.flat(),
        "scenarios": {world.name: world.to_dict() for world in worlds},
        "fields": {
            name: {"low": values[0], "high": values[1]} if _is_range(values) else list(values)
            for name, values in axes.items()
        },
        "seeds": [seed, replications],
        "level": LEVEL,
        "refused": refused,
        "arguments": {
            "replications": replications,
            "design": design,
            "points": points,
            "metrics": None if metrics is None else wanted,
        },
    }
    rows = _rows(runs, list(axes), wanted)
    table: Sweep = Sweep.of(rows, runs, about, partial(Sweep.remake, about))
    return table


def _axis(name: str, values: Sequence[Value] | Range) -> Sequence[Value] | Range:
    """What to try for a field as plain numbers, words and switches; durations such as ``"5m"`` as seconds."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"sweep: {name}: give a list of values to try, not {values!r}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not plain:
        raise InputError(f"sweep: {name}: give at least one value to try")
    with suppress(ValueError):
        plain = [parse_duration(value) for value in plain]
    return tuple(plain) if isinstance(values, tuple) else plain


def _is_range(values: Sequence[Value] | Range) -> bool:
    """Two numbers in a tuple, to choose between; a list has the values themselves."""
    return (
        isinstance(values, tuple)
        and len(values) == 2
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    )


def design_points(
    axes: Mapping[str, Sequence[Value] | Range], design: Design, points: int, seed: int
) -> list[dict[str, Value]]:
    """The points of a design, each as values by field. Raises InputError for a wrong field, value or design."""
    if design not in DESIGNS:
        raise InputError(f"design: there is no {design!r}{closest(design, DESIGNS)} Designs: {', '.join(DESIGNS)}.")
    if not axes:
        raise InputError('sweep: no fields: give at least one, such as {"retry.base_s": [0.1, 0.5, 2]}')
    known = {field.name: field for field in policy_fields()}
    for name, values in axes.items():
        if not name.startswith(SCENARIO) and name not in known:
            raise InputError(f"there is no policy field {name!r}{closest(name, known)}")
        if design == "grid" and _is_range(values):
            raise InputError(
                f"sweep: {name} is a range, and a grid needs the values: give a list, or design='latin-hypercube'"
            )
    if design == "grid":
        return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    if points < 1:
        raise InputError(f"points: {points} is too few: give 1 or more")
    unit = _spread(design, len(axes), points, seed)
    return [
        {name: placed(values, float(u), known.get(name)) for u, (name, values) in zip(row, axes.items(), strict=True)}
        for row in unit
    ]


def placed(values: Sequence[Value] | Range, u: float, field: PolicyField | None) -> Value:
    """The value at the share ``u`` (0..1) of a range or list; whole for fields that count."""
    if not _is_range(values):
        return values[min(int(u * len(values)), len(values) - 1)]
    low, high = float(values[0]), float(values[1])
    if low > high:
        raise InputError(f"sweep: the range ({low:g}, {high:g}) must begin with the smaller value")
    value = low * (high / low) ** u if low > 0 and high >= 20 * low else low + (high - low) * u
    # The default of a duration may be written as a whole number; in a policy it is a float.
    counts = field is not None and isinstance(Policy().get(field.name), int)
    return round(value) if counts else value


def _spread(design: Design, dimensions: int, points: int, seed: int) -> npt.NDArray[np.float64]:
    """Points in the unit cube, of shape (points, dimensions)."""
    rng = np.random.Generator(np.random.Philox(seed % 2**64))
    if design == "latin-hypercube":
        unit: npt.NDArray[np.float64] = qmc.LatinHypercube(dimensions, rng=rng).random(points)
        return unit
    # Sobol's sequence is balanced for powers of two; the next one is drawn and cut.
    drawn: npt.NDArray[np.float64] = qmc.Sobol(dimensions, rng=rng).random_base2(math.ceil(math.log2(points)))
    return drawn[:points]


def _possible(
    points: Sequence[Mapping[str, Value]], base: Policy, worlds: Sequence[Scenario]
) -> tuple[list[Point], list[dict[str, Any]]]:
    """The points that can be simulated, and the others each with its reason."""
    kept: list[Point] = []
    refused: list[dict[str, Any]] = []
    for world in worlds:
        for number, values in enumerate(points):
            own = {name: value for name, value in values.items() if not name.startswith(SCENARIO)}
            theirs = {
                name.removeprefix(SCENARIO): _whole(world, name.removeprefix(SCENARIO), value)
                for name, value in values.items()
                if name.startswith(SCENARIO)
            }
            try:
                changed = world.replace(theirs) if theirs else world
                policy = base.replace(own)
                # As they are simulated: a range may have been rounded, a duration written in words.
                exact = {
                    name: theirs[name.removeprefix(SCENARIO)] if name.startswith(SCENARIO) else policy.get(name)
                    for name in values
                }
                kept.append(Point(number, exact, policy, changed))
            except InputError as error:
                refused.append({"scenario": world.name, "point": number, **values, "reason": str(error)})
    return kept, refused


def _whole(world: Scenario, name: str, value: Value) -> Value:
    """A value for a field of the scenario, rounded if the field counts something."""
    place: Any = world.model_dump()
    for step in name.split("."):
        if isinstance(place, list | tuple) and step.isdecimal() and int(step) < len(place):
            place = place[int(step)]
        else:
            place = place.get(step) if isinstance(place, dict) else None
    counts = isinstance(place, int) and not isinstance(place, bool)
    return round(value) if counts and isinstance(value, float) else value


def _rows(runs: pd.DataFrame, fields: list[str], metrics: Sequence[str]) -> pd.DataFrame:
    rows = []
    for (scenario, point), group in runs.groupby(["scenario", "point"], sort=False):
        at = {name: group[name].iloc[0] for name in fields}
        for metric in metrics:
            own = metric_interval(metric, group[metric].to_numpy())
            rows.append(
                {**at, "metric": metric, "mean": own.mean, "low": own.low, "high": own.high, "n": own.n,
                 "point": point, "scenario": scenario}
            )  # fmt: skip
    return pd.DataFrame(rows)
