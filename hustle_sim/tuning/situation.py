"""What a policy is judged against when nothing is simulated: how often people write, how long outages last."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from hustle_sim.inputs import InputError, format_duration
from hustle_sim.simulation.scenario import Scenario

MEDIAN_OUTAGE_S = 77 * 60.0
"""Half of the API incidents of a big AI provider are over by then (OpenAI, 203 of them, 2021 to 2024-08; ICPE 2025)."""

P90_OUTAGE_S = 301 * 60.0
"""Nine in ten of the same incidents are over by then."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One client's traffic, the backend and its outages, as far as they are known.

    Times in seconds. ``messages_per_hour`` is of each client. ``latency_*_s``, ``capacity``, ``honours_keys`` and
    ``repeat_share`` are None where nothing is known. ``refusal_s`` and ``health_s`` are how long a refusal and a
    good health check take. ``outages`` says in words where the outage lengths come from.
    """

    messages_per_hour: float = 60.0
    clients: int = 1
    refusal_s: float = 0.02
    health_s: float = 0.05
    latency_median_s: float | None = None
    latency_p99_s: float | None = None
    latency_mean_s: float | None = None
    capacity: int | None = None
    honours_keys: bool | None = None
    repeat_share: float | None = None
    outage_median_s: float = MEDIAN_OUTAGE_S
    outage_p90_s: float = P90_OUTAGE_S
    outages: str = "of a big AI provider"
    scenario: str = ""

    @property
    def gap_s(self) -> float:
        """From one message of a client to the next, in seconds; infinite if nobody writes."""
        return 3600 / self.messages_per_hour if self.messages_per_hour > 0 else math.inf

    @property
    def words(self) -> str:
        """What is assumed, in a sentence."""
        who = "one client" if self.clients == 1 else f"each of {self.clients:,} clients"
        where = f"As in the scenario {self.scenario}: " if self.scenario else "Assumed: "
        return (
            f"{where}{who} sends {self.messages_per_hour:.4g} messages an hour; outages {self.outages}: half are over "
            f"within {format_duration(self.outage_median_s)}, nine in ten within {format_duration(self.outage_p90_s)}."
        )


def situation_of(scenario: Scenario | None, messages_per_hour: float = 60.0) -> Situation:
    """What is known from a scenario, or what is assumed without one.

    ``messages_per_hour`` counts only without a scenario. Raises InputError for a rate that is none.
    """
    if scenario is None:
        if not (math.isfinite(messages_per_hour) and messages_per_hour > 0):
            raise InputError(f"messages_per_hour is {messages_per_hour}: give a number above 0")
        return Situation(messages_per_hour=messages_per_hour)
    backend, clients = scenario.backend, scenario.clients
    median_s, p90_s = _outage_lengths(scenario)
    found = {} if median_s is None else {"outage_median_s": median_s, "outage_p90_s": p90_s, "outages": "of its own"}
    known: dict[str, Any] = {
        "messages_per_hour": _mean_rate(scenario),
        "clients": clients.count,
        "refusal_s": backend.refusal_s,
        "health_s": backend.health_latency.median_s,
        "latency_median_s": backend.latency.median_s,
        "latency_p99_s": backend.latency.sample(0.99),
        "latency_mean_s": backend.latency.mean_s,
        "capacity": backend.capacity,
        "honours_keys": backend.honours_keys,
        "repeat_share": clients.repeat_share,
        "scenario": scenario.name,
        **found,
    }
    return Situation(**known)


def _mean_rate(scenario: Scenario) -> float:
    clients = scenario.clients
    if clients.profile != "burst":
        return clients.messages_per_hour
    in_bursts = clients.burst_lasts_s / clients.burst_every_s
    return clients.messages_per_hour * (1 + (clients.burst_factor - 1) * in_bursts)


def _outage_lengths(scenario: Scenario) -> tuple[float | None, float]:
    """Median and 90th percentile of the outages that a scenario means; None if it has none."""
    lengths_s: list[float] = []
    for spec in scenario.outages:
        if spec.mttr is not None:
            lengths_s += [spec.mttr.sample((rank + 0.5) / 100) for rank in range(100)]
        elif spec.lasts_s is not None:
            lengths_s.append(spec.lasts_s)
        else:
            lengths_s += [(each.resolved_at - each.started_at).total_seconds() for each in spec.incidents]
    lengths_s = sorted(length_s for length_s in lengths_s if length_s > 0)
    if not lengths_s:
        return None, 0.0
    return median(lengths_s), lengths_s[math.ceil(0.9 * len(lengths_s)) - 1]
