"""From which load on do retries keep a backend down? The closed form, where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario


@dataclass(frozen=True, slots=True)
class Limits:
    """Loads in first requests a second: a backend under more than ``vulnerable_per_s`` may stay down once it is down.

    Above ``critical_per_s`` it goes down by itself. Both are NaN where there is no closed form; ``why`` says so then.
    """

    vulnerable_per_s: float
    critical_per_s: float
    why: str = ""


def retry_limits(
    *,
    latency_s: float,
    saturates_at_per_s: float,
    timeout_s: float,
    attempts: float,
    overhead_s: float = 0.0,
) -> Limits:
    """The two limits for a backend whose latency is ``latency_s / (1 - rate / saturates_at_per_s)``.

    An attempt is in time while ``latency + overhead_s <= timeout_s``, so the highest rate at which attempts succeed is
    ``saturates_at_per_s * (1 - latency_s / (timeout_s - overhead_s))``. Offered load above it is critical. Once all
    attempts fail, each message is sent ``attempts`` times, so the load that comes back is that many times larger, and
    a collapse feeds itself from the ``attempts``-th part of the critical load on. Backoff does not change this: it
    moves retries in time, and only a limit on their number (a budget, a breaker) makes them fewer. It does decide
    whether a short spike is enough: spread over longer than the spike, the retries of its failures no longer add up.

    With 1 s, 100/s, 3 s and 3 attempts: 66.7 and 22.2 requests/s; with 0.2 s of overhead (the way there and back, which
    counts against the timeout and not in the formula of the latency): 64.3 and 21.4. After Bronson et al.,
    "Metastable failures in distributed systems", HotOS 2021, and M. Brooker, "Metastability and distributed systems",
    2021.
    """
    left_s = timeout_s - overhead_s
    critical = max(0.0, saturates_at_per_s * (1 - latency_s / left_s)) if left_s > 0 else 0.0
    return Limits(critical / attempts, critical)


def collapse_limits(scenario: Scenario, policy: Policy, *, overhead_s: float = 0.0) -> Limits:
    """The limits for the clients of a scenario, on a good day, as far as retries alone decide.

    Where the backend slows down with its load: see ``retry_limits``, with its mean latency. Where it has places and a
    waiting room so long that those at its end time out, and goes on serving them: what its places can serve,
    ``capacity / mean latency``. Background load is not retried, so it is taken off first. The attempts are those of
    the policy that begin before the deadline and that the retry budget pays for. Replays from the queue come on top.

    There is no closed form with a breaker, or for a backend that sheds its load or gives abandoned places back.
    """
    backend, clients = scenario.backend, scenario.clients
    if policy.breaker.enabled:
        return _none("a breaker stops the retries, and when it does depends on chance")
    timeout_s, latency_s = policy.request.attempt_timeout_s, backend.latency.mean_s
    attempts = _attempts(policy, clients.messages_per_hour / 3600)
    places_per_s = backend.capacity / latency_s if latency_s else math.inf
    if backend.saturates_at_per_s:
        limits = retry_limits(
            latency_s=latency_s, saturates_at_per_s=backend.saturates_at_per_s, timeout_s=timeout_s,
            attempts=attempts, overhead_s=overhead_s,
        )  # fmt: skip
        critical_per_s = limits.critical_per_s
        if critical_per_s > 1 / (1 / places_per_s + 1 / backend.saturates_at_per_s):
            return _none("the backend runs out of places before its load slows it down")
    else:
        longest_s = latency_s * (1 + backend.waiting_room / backend.capacity) + overhead_s
        if longest_s <= timeout_s:
            return _none("the waiting room is so short that the backend sheds its load before requests time out")
        if not backend.abandoned_keep_place:
            return _none("abandoned requests give their places back")
        critical_per_s = places_per_s
    return Limits(
        max(0.0, critical_per_s / attempts - backend.background_per_s / attempts),
        max(0.0, critical_per_s - backend.background_per_s),
    )


def _none(why: str) -> Limits:
    return Limits(math.nan, math.nan, why)


def _attempts(policy: Policy, messages_per_s: float) -> float:
    """Attempts for one message at most while every one of them times out; on average, where the budget decides."""
    request, retry = policy.request, policy.retry
    time_s = request.deadline_s - policy.queue.save_margin_s
    in_time = max(1, math.ceil(time_s / request.attempt_timeout_s))
    floor = retry.budget_floor_per_min / 60 / messages_per_s if messages_per_s else math.inf
    return min(float(request.max_attempts), float(in_time), 1 + retry.budget_share + floor)
