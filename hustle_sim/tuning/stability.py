"""Under which load does the system come back by itself? A map of loads and settings, from many disturbed runs.

A system is metastable where it works until something disturbs it, and then stays down although the cause is gone:
its own retries are load enough. Bronson, Aghayev, Charapko, Zhu, "Metastable failures in distributed systems", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd
from scipy import stats

from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import Policy, policy_fields
from hustle_sim.simulation import Scenario
from hustle_sim.tuning.collapse import Limits, collapse_limits
from hustle_sim.tuning.executors import Workers
from hustle_sim.tuning.experiment import Progress, Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import LEVEL
from hustle_sim.tuning.table import Table, policy_of, scenarios_of, seeds_of
from hustle_sim.tuning.warm_up import with_warm_up

if TYPE_CHECKING:
    import holoviews as hv

Disturbance = Literal["spike", "outage"]
LoadFrom = Literal["clients", "background"]
Region = Literal["stable", "vulnerable", "collapsed"]

_DISTURBANCES: dict[str, float] = {"spike": 5.0, "outage": 60.0}
"""What may disturb, and for how many seconds by default."""

_SETTLE_S = 30.0
_MOST_PER_CLIENT_PER_S = 10.0
_TOO_FEW = 10


class Stability(Table):
    """A row for each load and value: load, the field's value, region, collapsed, low, high, undisturbed and so on.

    ``collapsed`` is the share of disturbed replications that did not come back, with its interval ``low, high``
    (Wilson, 95 %); ``undisturbed`` (with ``undisturbed_low, undisturbed_high``) is the share that did not work without
    any disturbance; ``n`` is the number of replications of either kind. ``vulnerable_from`` and ``critical_from`` are
    the closed form for the value, in requests/s, NaN where there is none (see ``collapse_limits``).
    """

    KIND: ClassVar[str] = "stability"

    @property
    def field(self) -> str:
        """The field that was varied against the load."""
        return str(self.about["field"])

    def plot(self, **options: object) -> hv.Overlay:  # type: ignore[override]
        """The map: regions by colour and sign, the share that collapsed in each cell, the closed form as lines."""
        from hustle_sim.tuning.stability_plot import stability_map

        return stability_map(self)

    @classmethod
    def remake(cls, about: Mapping[str, Any], **how: Any) -> Stability:
        """The map that ``about`` tells of, once more."""
        return stability(
            Scenario.from_dict(about["scenario"]),
            Policy().replace(about["policy"]),
            about["load"],
            {about["field"]: about["values"]},
            seed=about["seeds"][0],
            **about["arguments"],
            **how,
        )


@dataclass(frozen=True, slots=True)
class _Cell:
    load: float
    value: float | int | bool | str
    policy: Policy
    calm: Scenario
    disturbed: Scenario


def stability(
    scenario: Scenario | str | Path,
    policy: Policy | str | None = None,
    load: Sequence[float] = (),
    against: Mapping[str, Sequence[float | int | bool | str]] | None = None,
    replications: int = 10,
    seed: int = 0,
    executor: Workers = None,
    *,
    load_from: LoadFrom = "clients",
    disturbance: Disturbance = "spike",
    disturbance_s: float | None = None,
    spike_factor: float = 10.0,
    recover_s: float = 120.0,
    judge_s: float = 30.0,
    works_at: float = 0.5,
    overhead_s: float = 0.0,
    warm_up: bool = True,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Stability:
    """Which loads a policy is stable under, for each value of one field, such as ``request.max_attempts``.

    ``load`` is in requests/s: the messages of all clients, each of which writes as often as the scenario says, so that
    there are more of them (``load_from="background"``: the load from elsewhere). ``against`` names one field of the
    policy (or of the scenario, as ``scenario.backend.capacity``) and its values. Every cell of the grid is simulated
    ``replications`` times undisturbed, and as often, on the same random numbers, with a disturbance: a spike of
    ``spike_factor`` times the messages, or an outage that refuses everything, for ``disturbance_s`` (5 s, 60 s). Then
    there are ``recover_s`` to come back. A run works if the share ``works_at`` of the messages sent in the last
    ``judge_s`` was answered by the backend in time. The scenario's own outages, profile and duration are left out.

    - ``stable``: every disturbed replication came back;
    - ``vulnerable``: it works undisturbed, and some replication did not come back (or broke down by itself);
    - ``collapsed``: at least half of the undisturbed replications did not work.

    The disturbance comes after the scenario's ``warm_up_s`` (at least 30 s); where it has none, ``warm_up`` finds it,
    unless ``warm_up=False``. ``overhead_s`` is for the closed form only: see ``retry_limits``.

    Raises InputError, ``Cancelled`` and ``Interrupted``: see ``measure_all``.
    """
    (world,) = scenarios_of(scenario)
    base = policy_of(policy or Policy())
    field, values = _against(against)
    loads = _loads(load)
    lasts_s = _lasts(disturbance, disturbance_s)
    _check(recover_s, judge_s, works_at, spike_factor)
    seeds = seeds_of(seed, replications)
    settle_s = max(_SETTLE_S, with_warm_up(world, base, warm_up, seed, cancelled).warm_up_s)
    cells, limits = [], {}
    for value in values:
        chosen, changed = _changed(base, world, field, value)
        if judge_s < 2 * chosen.request.attempt_timeout_s:
            raise InputError(
                f"judge_s: {judge_s:g} s is too short to tell who is answered within an attempt of "
                f"{chosen.request.attempt_timeout_s:g} s: give {2 * chosen.request.attempt_timeout_s:g} or more"
            )
        plain = changed.replace(
            {
                "outages": [], "clients.profile": "flat",
                "duration_s": settle_s + lasts_s + recover_s, "warm_up_s": settle_s + lasts_s + recover_s - judge_s,
            }
        )  # fmt: skip
        limits[value] = collapse_limits(plain, chosen, overhead_s=overhead_s)
        for rate in loads:
            calm = _under(plain, rate, load_from, judge_s)
            cells.append(
                _Cell(rate, value, chosen, calm, _disturbed(calm, disturbance, settle_s, lasts_s, spike_factor))
            )
    marks, each = [], []
    for cell in cells:
        for number in seeds:
            for kind, world_of_kind in (("undisturbed", cell.calm), ("disturbed", cell.disturbed)):
                marks.append({"load": cell.load, field: cell.value, "kind": kind, "seed": number})
                each.append(Replication(world_of_kind, cell.policy, number))
    measured = measure_all(each, executor=executor, results=results, progress=progress, cancelled=cancelled)
    runs = pd.concat([pd.DataFrame(marks), measured], axis=1)
    # A run in which nobody had an answer to give has no share of answers: nothing was sent, so nothing failed.
    runs["works"] = ~(runs["answered_share"] < works_at)
    about: dict[str, Any] = {
        "policy": base.flat(),
        "scenario": world.to_dict(),
        "field": field,
        "values": list(values),
        "load": loads,
        "seeds": [seed, replications],
        "settle_s": settle_s,
        "level": LEVEL,
        "why_no_closed_form": next((each.why for each in limits.values() if each.why), ""),
        "arguments": {
            "replications": replications, "load_from": load_from, "disturbance": disturbance, "disturbance_s": lasts_s,
            "spike_factor": spike_factor, "recover_s": recover_s, "judge_s": judge_s, "works_at": works_at,
            "overhead_s": overhead_s, "warm_up": warm_up,
        },
    }  # fmt: skip
    table: Stability = Stability.of(_rows(runs, cells, field, limits), runs, about, partial(Stability.remake, about))
    return table


def _rows(
    runs: pd.DataFrame, cells: Sequence[_Cell], field: str, limits: Mapping[float | int | bool | str, Limits]
) -> pd.DataFrame:
    down = (~runs["works"]).groupby([runs["load"], runs[field], runs["kind"]]).sum()
    n = len(runs) // (2 * len(cells))
    rows = []
    for cell in cells:
        calm, disturbed = (int(down[(cell.load, cell.value, kind)]) for kind in ("undisturbed", "disturbed"))
        low, high = share_interval(disturbed, n)
        calm_low, calm_high = share_interval(calm, n)
        limit = limits[cell.value]
        rows.append(
            {
                "load": cell.load, field: cell.value, "region": _region(calm, disturbed, n),
                "collapsed": disturbed / n, "low": low, "high": high,
                "undisturbed": calm / n, "undisturbed_low": calm_low, "undisturbed_high": calm_high, "n": n,
                "vulnerable_from": limit.vulnerable_per_s, "critical_from": limit.critical_per_s,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _region(calm_down: int, disturbed_down: int, n: int) -> Region:
    if 2 * calm_down >= n:
        return "collapsed"
    return "vulnerable" if calm_down or disturbed_down else "stable"


def share_interval(count: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share: ``count`` of ``n`` (Wilson 1927); it keeps its width at 0 and at 1."""
    interval = stats.binomtest(count, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def _under(scenario: Scenario, rate: float, load_from: LoadFrom, judge_s: float) -> Scenario:
    """The scenario under a load: as many clients as it takes, or that much in the background."""
    clients = scenario.clients
    each_per_s = clients.messages_per_hour / 3600
    if load_from == "background":
        if not clients.count * each_per_s * judge_s >= _TOO_FEW:
            raise InputError(
                f"{scenario.name}: its clients send fewer than {_TOO_FEW} messages in the {judge_s:g} s that are "
                "judged: give a longer judge_s, or more clients"
            )
        return scenario.replace({"backend.background_per_s": rate})
    if rate * judge_s < _TOO_FEW:
        raise InputError(
            f"load: {rate:g}/s is fewer than {_TOO_FEW} messages in the {judge_s:g} s that are judged: give a longer "
            "judge_s, or a higher load"
        )
    count = max(1, round(rate / each_per_s)) if each_per_s else clients.count
    count = max(count, math.ceil(rate / _MOST_PER_CLIENT_PER_S))
    return scenario.replace({"clients.count": count, "clients.messages_per_hour": rate * 3600 / count})


def _disturbed(scenario: Scenario, disturbance: str, at_s: float, lasts_s: float, factor: float) -> Scenario:
    if disturbance == "outage":
        return scenario.replace({"outages": [{"mode": "refuse", "at_s": at_s, "lasts_s": lasts_s}]})
    return scenario.replace(
        {
            "clients.profile": "burst", "clients.bursts": 1, "clients.burst_every_s": at_s + lasts_s,
            "clients.burst_lasts_s": lasts_s, "clients.burst_factor": factor,
        }
    )  # fmt: skip


def _changed(
    policy: Policy, scenario: Scenario, field: str, value: float | int | bool | str
) -> tuple[Policy, Scenario]:
    if field.startswith("scenario."):
        return policy, scenario.replace({field.removeprefix("scenario."): value})
    return policy.replace({field: value}), scenario


def _against(
    against: Mapping[str, Sequence[float | int | bool | str]] | None,
) -> tuple[str, list[float | int | bool | str]]:
    if not against or len(against) != 1:
        raise InputError('against: give one field and its values, such as {"request.max_attempts": [1, 2, 3]}')
    ((field, values),) = against.items()
    known = [each.name for each in policy_fields()]
    if not field.startswith("scenario.") and field not in known:
        raise InputError(f"there is no policy field {field!r}{closest(field, known)}")
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(f"against: {field}: give a list of values, not {values!r}")
    if len(set(values)) < len(values):
        raise InputError(f"against: {field}: a value stands there twice")
    return field, list(values)


def _loads(load: Sequence[float]) -> list[float]:
    loads = sorted({float(rate) for rate in load})
    if not loads:
        raise InputError("load: there is none; give requests/s, such as [10, 20, 40]")
    if not all(0 < rate < 100_000 for rate in loads):
        raise InputError(f"load: every one must be above 0 and below 100000 requests/s, not {loads}")
    return loads


def _lasts(disturbance: str, disturbance_s: float | None) -> float:
    if disturbance not in _DISTURBANCES:
        raise InputError(
            f"disturbance: there is no {disturbance!r}{closest(disturbance, _DISTURBANCES)} Choose spike or outage."
        )
    lasts_s = _DISTURBANCES[disturbance] if disturbance_s is None else disturbance_s
    if not 1 <= lasts_s <= 86400:
        raise InputError(f"disturbance_s: {lasts_s:g} must be from 1 s to a day")
    return lasts_s


def _check(recover_s: float, judge_s: float, works_at: float, spike_factor: float) -> None:
    if not 0 < judge_s <= recover_s:
        raise InputError(f"judge_s ({judge_s:g}) must be above 0 and not exceed recover_s ({recover_s:g})")
    if not 0 < works_at <= 1:
        raise InputError(f"works_at: {works_at:g} is no share above 0 and up to 1")
    if not 1 < spike_factor <= 1000:
        raise InputError(f"spike_factor: {spike_factor:g} must be above 1, and 1000 at most")
