"""Which fields matter at all? Morris screening for many fields, Sobol indices for the few that do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy, PolicyField, policy_fields
from hustle_sim.simulation import Scenario
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress, Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import LEVEL, Floats
from hustle_sim.tuning.sweep import SCENARIO, Range, placed
from hustle_sim.tuning.table import Table, metrics_of, policy_of, scenarios_of, seeds_of
from hustle_sim.tuning.warm_up import with_warm_up

if TYPE_CHECKING:
    import holoviews as hv

Method = Literal["morris", "sobol"]

METHODS: tuple[Method, ...] = ("morris", "sobol")

_LEVELS = 4
_RESAMPLES = 1000
_TINY = 1e-12


class Sensitivity(Table):
    """A row for each metric, field and index: field, metric, index, value, low, high.

    Indices of ``morris``: ``mu_star`` (how far the metric moves, on average and whatever the direction, when the field
    goes through its whole range; in the metric's unit), ``mu`` (the same with its sign) and ``sigma`` (how much that
    depends on the other fields, or is curved). Of ``sobol``: ``S1`` (the share of the metric's variance that the field
    alone explains) and ``ST`` (that share with all its interplay). ``low, high`` are 95 % bootstrap intervals of
    mu_star, S1 and ST; NaN for the others. A metric that has no value at some point has NaN everywhere.
    """

    KIND: ClassVar[str] = "sensitivity"

    @property
    def method(self) -> str:
        """``morris`` or ``sobol``."""
        return str(self.about["arguments"]["method"])

    @property
    def ranges(self) -> dict[str, Range]:
        """The fields that were varied, each with its range."""
        return {name: (low, high) for name, (low, high) in self.about["fields"].items()}

    def plot(self, metric: str | None = None, *, most: int = 15, **options: object) -> hv.Overlay:  # type: ignore[override]
        """The fields from the most to the least important for a metric (default: the first), at most so many."""
        from hustle_sim.tuning.sensitivity_plot import importance

        return importance(self, metric, most)

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Sensitivity:
        """The analysis that ``about`` tells of, once more."""
        return sensitivity(
            Scenario.from_dict(about["scenario"]),
            Policy().replace(about["policy"]),
            {name: (low, high) for name, (low, high) in about["fields"].items()},
            seed=about["seeds"][0],
            **about["arguments"],
            **how,
        )


def sensitivity(
    scenario: Scenario | str | Path,
    policy: Policy | str | None = None,
    fields: Mapping[str, Range] | Sequence[str] | None = None,
    method: Method = "morris",
    metrics: Sequence[str] | None = None,
    *,
    trajectories: int = 10,
    points: int = 64,
    replications: int = 3,
    seed: int = 0,
    executor: Workers = None,
    warm_up: bool = True,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Sensitivity:
    """How much each field of a policy moves the metrics, over ranges of all of them.

    ``fields`` maps dotted names of number fields to ``(low, high)``; a name that begins with ``scenario.`` is a field
    of the scenario. Names without a range, or None for every number field of the policy, go from half to twice their
    value, within their bounds, and fields that must stay in order meet in the middle. Ranges are spread evenly over the
    logarithm where ``high >= 20 * low > 0``; fields that count are rounded. Both methods need all of their points, so
    ranges that meet where values can't work together are refused before anything is simulated.

    ``morris`` (Morris 1991, Campolongo et al. 2007) costs ``trajectories * (fields + 1)`` points, ``sobol`` (Saltelli
    et al. 2010) ``points * (fields + 2)`` with a power of two; each point is simulated with the same ``replications``
    seeds, and the mean of a metric over them is analysed. Where the scenario has no ``warm_up_s``, the suggested one
    (see ``warm_up``) is used for all points, unless ``warm_up=False``. Sampling and analysis are SALib's.

    Raises InputError, ``Cancelled`` and ``Interrupted``: see ``measure_all``.
    """
    (world,) = scenarios_of(scenario)
    base, wanted = policy_of(policy or Policy()), metrics_of(metrics)
    ranges = _ranges(fields, base)
    unit = sample(method, list(ranges), trajectories=trajectories, points=points, seed=seed)
    seeds = seeds_of(seed, replications)
    known = {field.name: field for field in policy_fields()}
    values = [
        {name: placed(ends, float(u), known.get(name)) for u, (name, ends) in zip(row, ranges.items(), strict=True)}
        for row in unit
    ]
    _check_all(values, base, world)
    warmed = with_warm_up(world, base, warm_up, seed, cancelled)
    cases = [_at(each, base, warmed) for each in values]
    measured = measure_all(
        [Replication(changed, chosen, number) for chosen, changed in cases for number in seeds],
        executor=executor, results=results, progress=progress, cancelled=cancelled,
    )  # fmt: skip
    marks = [{"point": point, **each, "seed": number} for point, each in enumerate(values) for number in seeds]
    runs = pd.concat([pd.DataFrame(marks), measured], axis=1)
    # In the order of the points, as SALib needs them; a mean over the replications that have a value.
    means = runs.groupby("point", sort=True)[list(METRICS)].mean()
    if metrics is None:
        wanted = [name for name in wanted if METRICS[name].better != "none" and not means[name].isna().any()]
    rows = [
        row for metric in wanted for row in analyse(method, metric, list(ranges), unit, means[metric].to_numpy(), seed)
    ]
    about: dict[str, Any] = {
        "policy": base.flat(),
        "scenario": world.to_dict(),
        "fields": {name: list(ends) for name, ends in ranges.items()},
        "metrics": wanted,
        "seeds": [seed, replications],
        "warm_up_s": warmed.warm_up_s,
        "level": LEVEL,
        "arguments": {
            "method": method,
            "metrics": None if metrics is None else wanted,
            "trajectories": trajectories,
            "points": points,
            "replications": replications,
            "warm_up": warm_up,
        },
    }
    table: Sensitivity = Sensitivity.of(pd.DataFrame(rows), runs, about, partial(Sensitivity.remake, about))
    return table


def sample(method: str, names: Sequence[str], *, trajectories: int, points: int, seed: int) -> Floats:
    """The points of a method in the unit cube, of shape (points, fields). Raises InputError for what it can't do."""
    from SALib.sample import sobol
    from SALib.sample.morris import sample as morris

    if method == "morris":
        if trajectories < 2:
            raise InputError(f"trajectories: {trajectories} is too few for an interval: give 2 or more")
        drawn: Floats = morris(_problem(names), trajectories, num_levels=_LEVELS, seed=_generator(seed))
        return drawn
    if method == "sobol":
        if points < 2 or points & (points - 1):
            raise InputError(f"points: {points} is no power of two, for which Sobol's sequence is balanced: give 64")
        spread: Floats = sobol.sample(_problem(names), points, calc_second_order=False, seed=_generator(seed))
        return spread
    raise InputError(f"method: there is no {method!r}{closest(str(method), METHODS)} Choose {' or '.join(METHODS)}.")


def analyse(
    method: Method, metric: str, names: Sequence[str], unit: Floats, values: npt.ArrayLike, seed: int
) -> Iterator[dict[str, Any]]:
    """The indices of one metric, as rows; ``values`` are those at the points that ``sample`` gave, in their order."""
    y = np.asarray(values, dtype=np.float64)
    indices = ("mu_star", "mu", "sigma") if method == "morris" else ("S1", "ST")
    found: dict[str, Floats] = {}
    if not np.isnan(y).any():
        # What does not vary has no shares of variance: nothing matters to it.
        flat = np.ptp(y) <= _TINY * max(1.0, float(np.abs(y).max()))
        found = _nothing(indices, len(names)) if flat else _salib(method, names, unit, y, seed)
    for place, name in enumerate(names):
        for index in indices:
            value = float(found[index][place]) if found else math.nan
            reach = float(found[f"{index}_conf"][place]) if f"{index}_conf" in found else math.nan
            # An absolute value, a share of all effects: neither is below 0, whatever the bootstrap says.
            low = value - reach if index == "S1" else max(0.0, value - reach)
            yield {
                "field": name, "metric": metric, "index": index, "value": value,
                "low": math.nan if math.isnan(reach) else low, "high": value + reach,
            }  # fmt: skip


def _salib(method: Method, names: Sequence[str], unit: Floats, y: Floats, seed: int) -> dict[str, Floats]:
    from SALib.analyze import morris, sobol

    # A generator and no number: SALib takes the global generator where the seed is 0.
    how: dict[str, Any] = {"num_resamples": _RESAMPLES, "conf_level": LEVEL, "seed": _generator(seed)}
    if method == "morris":
        found = morris.analyze(_problem(names), unit, y, num_levels=_LEVELS, **how)
    else:
        found = sobol.analyze(_problem(names), y, calc_second_order=False, **how)
    return {str(key): np.asarray(value, dtype=np.float64) for key, value in found.items() if key != "names"}


def _nothing(indices: Sequence[str], fields: int) -> dict[str, Floats]:
    bounded = [f"{index}_conf" for index in indices if index in ("mu_star", "S1", "ST")]
    return {name: np.zeros(fields) for name in [*indices, *bounded]}


def _problem(names: Sequence[str]) -> dict[str, Any]:
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _ranges(fields: Mapping[str, Range] | Sequence[str] | None, policy: Policy) -> dict[str, Range]:
    """The fields to vary, each with its range; raises InputError."""
    known = {field.name: field for field in policy_fields()}
    if isinstance(fields, Mapping):
        ranges = {name: _range(name, ends, known) for name, ends in fields.items()}
    else:
        names = [name for name, field in known.items() if _counts(field)] if fields is None else list(fields)
        ranges = {name: around for name in names if (around := _around(name, known, policy, fields is not None))}
        _narrow(ranges, policy)
    if not ranges:
        raise InputError('sensitivity: no fields: give at least one, such as {"retry.base_s": (0.1, 2)}')
    return ranges


def _range(name: str, ends: object, known: Mapping[str, PolicyField]) -> Range:
    if not name.startswith(SCENARIO):
        _known(name, known)
    if not isinstance(ends, Sequence) or len(ends) != 2 or not all(_is_number(end) for end in ends):
        raise InputError(f"sensitivity: {name}: give a range of two numbers such as (0.5, 2), not {ends!r}")
    low, high = float(ends[0]), float(ends[1])
    if not low < high:
        raise InputError(f"sensitivity: {name}: the range ({low:g}, {high:g}) must begin with the smaller value")
    return low, high


def _around(name: str, known: Mapping[str, PolicyField], policy: Policy, asked: bool) -> Range | None:
    """From half to twice the value, within the bounds; None for a field that has no room there."""
    if name.startswith(SCENARIO):
        raise InputError(f"sensitivity: {name} needs a range, as in {{'{name}': (1, 2)}}")
    field = _known(name, known)
    value = float(policy.get(name))
    low = max(value / 2, field.low if field.low is not None else -math.inf)
    high = min(value * 2, field.high if field.high is not None else math.inf)
    if isinstance(field.default, int):
        low, high = float(round(low)), float(round(high))
    if low < high:
        return low, high
    if asked:
        raise InputError(f"sensitivity: {name} is {value:g}, so half and twice of it is no range: give one")
    return None


def _known(name: str, known: Mapping[str, PolicyField]) -> PolicyField:
    if name not in known:
        raise InputError(f"there is no policy field {name!r}{closest(name, known)}")
    if not _counts(known[name]):
        raise InputError(f"sensitivity: {name} is no number, so it has no range: try its values with sweep")
    return known[name]


def _counts(field: PolicyField) -> bool:
    return _is_number(field.default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _clashes(ranges: Mapping[str, Range], policy: Policy) -> Iterator[tuple[str, int, str, int]]:
    """Pairs of fields of which some ends (0: low, 1: high) can't work together.

    What must work together in a policy are orders of two values, so ends are enough.
    """
    known = {field.name: field for field in policy_fields()}
    for one, other in combinations(ranges, 2):
        for first, second in product((0, 1), repeat=2):
            changes = {
                one: placed(ranges[one], first, known[one]),
                other: placed(ranges[other], second, known[other]),
            }
            try:
                policy.replace(changes)
            except InputError:
                yield one, first, other, second


def _narrow(ranges: dict[str, Range], policy: Policy) -> None:
    """Let ends that can't work together meet between the values of the policy, and drop what has no room left."""
    known = {field.name: field for field in policy_fields()}
    for name, ends in list(ranges.items()):
        ranges[name] = _alone(name, ends, known[name], policy)
    for one, first, other, second in list(_clashes(ranges, policy)):
        here, there = float(policy.get(one)), float(policy.get(other))
        middle = math.sqrt(here * there) if here * there > 0 else (here + there) / 2
        for name, end, rounded in ((one, first, here < there), (other, second, there < here)):
            met = middle
            if isinstance(known[name].default, int):
                met = float(math.floor(middle) if rounded else math.ceil(middle))
            low, high = ranges[name]
            ranges[name] = (low, min(high, met)) if end else (max(low, met), high)
    for name in [name for name, (low, high) in ranges.items() if not low < high]:
        del ranges[name]


def _alone(name: str, ends: Range, field: PolicyField, policy: Policy) -> Range:
    """The range cut where the rest of the policy would not go along: by bisection, towards the policy's value."""

    def works(value: float) -> bool:
        try:
            policy.replace({name: placed((value, value), 0.0, field)})
        except InputError:
            return False
        return True

    value = float(policy.get(name))
    cut = []
    for end in ends:
        good, bad = value, end
        if not works(end):
            for _ in range(40):
                middle = (good + bad) / 2
                good, bad = (middle, bad) if works(middle) else (good, middle)
            end = float(round(good)) if isinstance(field.default, int) else good
        cut.append(end)
    return cut[0], cut[1]


def _check_all(values: Sequence[Mapping[str, Any]], policy: Policy, scenario: Scenario) -> None:
    for each in values:
        try:
            _at(each, policy, scenario)
        except InputError as error:
            raise InputError(f"sensitivity: the ranges can't be combined: {error}") from None


def _at(values: Mapping[str, Any], policy: Policy, scenario: Scenario) -> tuple[Policy, Scenario]:
    own = {name: value for name, value in values.items() if not name.startswith(SCENARIO)}
    theirs = {name.removeprefix(SCENARIO): value for name, value in values.items() if name.startswith(SCENARIO)}
    return policy.replace(own), scenario.replace(theirs) if theirs else scenario
