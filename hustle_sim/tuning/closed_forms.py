"""What a policy does to a dead backend, worked out instead of simulated. Times in seconds.

The code in ``resilience/`` is the truth; each formula here says which part of it it stands for, and the grid in
``tests/test_advice_grid.py`` holds the two against each other. *Fails in* ``d`` means that a request to the dead
backend fails after ``d`` seconds: a refusal at once, a hang (``math.inf``) when its timeout has come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hustle_sim.policy import BreakerPolicy, Policy, QueuePolicy, RetryPolicy

Range = tuple[float, float]
"""The least and the most."""

_GRID = 2000
_MANY = 100_000


# --- Attempts for one message ------------------------------------------------------------------------------


def wait_ranges_s(retry: RetryPolicy, retries: int) -> list[Range]:
    """Shortest and longest wait before each of the first ``retries`` retries (``resilience.retry.backoff_s``).

    Exponential: ``w = min(cap, base * factor**(k-1))`` for retry k; without jitter exactly w, full jitter [0, w],
    equal jitter [w/2, w]. Decorrelated: from base to three times the longest wait before, inside the cap.
    Source: M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """
    ranges: list[Range] = []
    before_s = retry.base_s
    for number in range(retries):
        if retry.jitter == "decorrelated":
            before_s = min(retry.cap_s, max(retry.base_s, 3 * (before_s or retry.base_s)))
            ranges.append((min(retry.cap_s, retry.base_s), before_s))
            continue
        wait_s = min(retry.cap_s, retry.base_s * retry.factor ** min(number, 64))
        shortest_s = {"none": wait_s, "full": 0.0, "equal": wait_s / 2}[retry.jitter]
        ranges.append((shortest_s, wait_s))
    return ranges


@dataclass(frozen=True, slots=True)
class Pursuit:
    """What one message costs on a dead backend, while breaker, budget and verdict let everything through.

    ``attempts`` is the least and the most; ``failures_s`` are the times, counted from sending, at which attempts end
    as failures of the backend (each a least and a most); ``answer_s`` is when the person is answered, at the latest.
    ``sure`` of the failures happen whatever the jitter does.
    """

    attempts: tuple[int, int]
    failures_s: tuple[Range, ...]
    sure: int
    answer_s: float


def pursuit(policy: Policy, fails_in_s: float) -> Pursuit:
    """All attempts for one message on a backend that is dead (``resilience.coach.Coach._pursue``).

    An attempt fails after ``min(d, attempt_timeout)``. The next one begins only if it does so before the deadline
    less the margin in which the message is saved; one in flight at the deadline is the last, and goes on for the
    late-answer window. What that window cuts short says nothing about the backend.
    """
    most = policy.request.max_attempts if budget_allows_any(policy.retry) else 1
    waits_s = wait_ranges_s(policy.retry, most - 1)
    quick = _walk(policy, fails_in_s, [low for low, _ in waits_s])
    slow = _walk(policy, fails_in_s, [high for _, high in waits_s])
    failures_s = tuple(
        (early_s, slow.failures_s[index] if index < len(slow.failures_s) else _latest_failure_s(policy, fails_in_s))
        for index, early_s in enumerate(quick.failures_s)
    )
    # With shorter waits more attempts fit, and one of those may be the one that fills the time up to the deadline.
    if slow.attempts == quick.attempts:
        answer_s = slow.answer_s
    else:
        lasts_s = min(fails_in_s, policy.request.attempt_timeout_s)
        answer_s = min(policy.request.deadline_s, _last_begin_s(policy) + lasts_s)
    return Pursuit(
        (slow.attempts, quick.attempts), failures_s, min(len(slow.failures_s), len(quick.failures_s)), answer_s
    )


@dataclass(frozen=True, slots=True)
class _Walked:
    attempts: int
    failures_s: tuple[float, ...]
    answer_s: float


def _walk(policy: Policy, fails_in_s: float, waits_s: list[float]) -> _Walked:
    request = policy.request
    lasts_s = min(fails_in_s, request.attempt_timeout_s)
    begins_s = 0.0
    failures_s: list[float] = []
    for number in range(len(waits_s) + 1):
        ends_s = begins_s + lasts_s
        overruns = begins_s + request.attempt_timeout_s >= request.deadline_s
        if not overruns or ends_s <= request.deadline_s + request.late_answer_window_s:
            failures_s.append(ends_s)
        next_s = ends_s + waits_s[number] if number < len(waits_s) else math.inf
        if next_s >= _last_begin_s(policy):
            return _Walked(number + 1, tuple(failures_s), min(ends_s, request.deadline_s))
        begins_s = next_s
    raise AssertionError("the last attempt has no next one")


def _last_begin_s(policy: Policy) -> float:
    """No attempt begins from here on."""
    return policy.request.deadline_s - policy.queue.save_margin_s


def _latest_failure_s(policy: Policy, fails_in_s: float) -> float:
    return _last_begin_s(policy) + min(fails_in_s, policy.request.attempt_timeout_s)


# --- Load ----------------------------------------------------------------------------------------------------


def geometric_load(failure_share: float, attempts: float) -> float:
    """Attempts per message if each fails with probability ``f`` and ``n`` are allowed: (1 - f**n) / (1 - f).

    At f = 1 it is n. Source: M. Brooker, "What is backoff for?", 2022; the partial sum of a geometric series.
    """
    if failure_share >= 1:
        return float(attempts)
    return float((1 - failure_share**attempts) / (1 - failure_share))


def attempt_chances(policy: Policy, fails_in_s: float) -> list[float]:
    """The chance that attempt k begins in time, given that all before it failed (from k = 1, so first 1).

    The time of attempt k is the sum of k - 1 failures and as many waits. Its distribution function follows from that
    of the attempt before by ``F_k(x) = (G(x - low) - G(x - high)) / (high - low)`` with G the integral of F_(k-1): the
    convolution with a uniform wait, on a grid of 2,000 steps. Decorrelated waits depend on each other; there the
    waits are taken as uniform between their bounds.
    """
    most = pursuit(policy, fails_in_s).attempts[1]
    lasts_s = min(fails_in_s, policy.request.attempt_timeout_s)
    limit_s = _last_begin_s(policy)
    chances = [1.0]
    at_s: npt.NDArray[np.float64] = np.linspace(0.0, max(limit_s, 1e-9), _GRID + 1)
    spread: npt.NDArray[np.float64] | None = None
    base_s = 0.0
    for low_s, high_s in wait_ranges_s(policy.retry, most - 1):
        base_s += lasts_s + low_s
        width_s = high_s - low_s
        # ``spread`` is the distribution of the random part; what is fixed is kept apart in ``base_s``.
        if width_s > 0:
            spread = np.clip(at_s / width_s, 0, 1) if spread is None else _convolved(at_s, spread, width_s)
        left_s = limit_s - base_s
        if left_s <= 0:
            chances.append(0.0)
        else:
            chances.append(1.0 if spread is None else float(np.interp(left_s, at_s, spread)))
    return chances


def _convolved(
    at_s: npt.NDArray[np.float64], spread: npt.NDArray[np.float64], width_s: float
) -> npt.NDArray[np.float64]:
    step_s = at_s[1] - at_s[0]
    integral = np.concatenate(([0.0], np.cumsum((spread[1:] + spread[:-1]) / 2 * step_s)))
    before = np.interp(at_s - width_s, at_s, integral, left=0.0)
    mixed: npt.NDArray[np.float64] = np.clip((integral - before) / width_s, 0, 1)
    return mixed


def retries_allowed(retry: RetryPolicy, messages_per_hour: float) -> float:
    """Retries per message that the budget pays for in the long run: share + floor / (messages a minute).

    From ``resilience.retry.RetryBudget``: each message adds the share, each minute the floor.
    """
    if messages_per_hour <= 0:
        return math.inf if retry.budget_floor_per_min else retry.budget_share
    return retry.budget_share + retry.budget_floor_per_min * 60 / messages_per_hour


def budget_allows_any(retry: RetryPolicy) -> bool:
    """Whether there can ever be a retry: the bucket begins with the floor, and fills by floor and share."""
    return retry.budget_share > 0 or retry.budget_floor_per_min > 0


@dataclass(frozen=True, slots=True)
class Load:
    """Attempts per message at a failure rate: as the formula has it, within the deadline, and within the budget."""

    unlimited: float
    in_time: float
    in_budget: float


def load(policy: Policy, failure_share: float, messages_per_hour: float, fails_in_s: float = 0.0) -> Load:
    """Mean attempts per message while a share ``failure_share`` of the attempts fails after ``fails_in_s``.

    ``unlimited`` is (1 - f**n) / (1 - f). ``in_time`` weighs the k-th term, f**(k-1), with the chance that attempt k
    begins before the deadline. ``in_budget`` is at most 1 + ``retries_allowed``. The breaker is not in it: it stops
    everything, and is told apart.
    """
    chances = attempt_chances(policy, fails_in_s)
    in_time = math.fsum(failure_share**index * chance for index, chance in enumerate(chances))
    allowed = retries_allowed(policy.retry, messages_per_hour)
    return Load(geometric_load(failure_share, policy.request.max_attempts), in_time, min(in_time, 1 + allowed))


# --- The breaker ---------------------------------------------------------------------------------------------


def calls_in_window(breaker: BreakerPolicy, spacing_s: float) -> float:
    """Calls that the window holds if one ends every ``spacing_s``: both ends of a window of time count."""
    if breaker.window == "count":
        return breaker.window_calls
    if spacing_s <= 0:
        return math.inf
    return math.floor(breaker.window_s / spacing_s + 1e-9) + 1


def calls_until_open(breaker: BreakerPolicy, spacing_s: float, *, after_health: bool) -> int | None:
    """Failed calls until the breaker opens if calls end ``spacing_s`` apart and all fail from now on; None: never.

    From ``resilience.breaker._Window``: with an empty window it is ``min_calls``, if the window holds so many. After
    health the window is full (N calls), and opens when ``failure_share`` of them have failed:
    ``ceil(failure_share * N)``.
    """
    if not breaker.enabled:
        return None
    held = calls_in_window(breaker, spacing_s)
    if held < breaker.min_calls:
        return None
    if not after_health:
        return breaker.min_calls
    if math.isinf(held):
        return None
    return max(1, math.ceil(breaker.failure_share * held - 1e-9))


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether one client's breaker opens over a dead backend, from an empty window and with messages evenly spaced.

    ``opens``: surely, after ``calls`` failed calls (least and most) and no later than ``latest_s`` after the first
    message. ``never``: it can't. ``may``: it depends on the draws of the jitter, or on where a message falls.
    """

    verdict: Literal["opens", "may", "never"]
    reason: str
    calls: tuple[int, int] | None = None
    soonest_s: float | None = None
    latest_s: float | None = None


def opening(policy: Policy, gap_s: float, fails_in_s: float) -> Opening:
    """Whether and when the breaker opens if a message is sent every ``gap_s`` to a backend that is dead.

    All calls fail, so it opens as soon as ``min_calls`` of them end within one window. It surely does where
    ``min_calls`` calls in a row end within ``window_s`` even with the longest waits, counting only the calls that
    happen for sure. It never does where a window holds fewer than ``min_calls`` even with the shortest waits and with
    the queue's replays. A verdict of offline may end the calls before.
    """
    breaker = policy.breaker
    if not breaker.enabled:
        return Opening("never", "it is switched off")
    one = pursuit(policy, fails_in_s)
    if not one.failures_s and not replays_within(policy, math.inf, fails_in_s):
        return Opening(
            "never",
            "no attempt on a backend that hangs lasts until its timeout, so none counts as a failure",
        )
    most = _most_failures(policy, one, gap_s, fails_in_s)
    if most < breaker.min_calls:
        return Opening("never", f"at most {most} calls end within its window, and it wants {breaker.min_calls}")
    sure = _sure_opening(policy, one, gap_s, fails_in_s)
    if sure is not None:
        return sure
    return Opening("may", f"only with luck do {breaker.min_calls} calls end within its window")


def _most_failures(policy: Policy, one: Pursuit, gap_s: float, fails_in_s: float) -> int:
    """The most failed calls that can end within one window; ``_MANY`` if there is no limit."""
    breaker = policy.breaker
    if breaker.window == "count":
        if math.isfinite(gap_s) and one.failures_s:
            return _MANY
        return len(one.failures_s) + replays_within(policy, math.inf, fails_in_s)
    # A good answer just before the outage may come later than a failure does: messages count as that much denser.
    span_s = breaker.window_s + policy.request.attempt_timeout_s
    most = 0
    for _, begin_s in one.failures_s:
        if math.isinf(gap_s):
            held = sum(low_s <= begin_s + span_s and high_s >= begin_s for low_s, high_s in one.failures_s)
        else:
            held = sum(
                math.floor((begin_s + span_s - low_s) / gap_s + 1e-9) - math.ceil((begin_s - high_s) / gap_s - 1e-9) + 1
                for low_s, high_s in one.failures_s
            )
        most = max(most, held)
    return most + replays_within(policy, span_s, fails_in_s)


def _sure_opening(policy: Policy, one: Pursuit, gap_s: float, fails_in_s: float) -> Opening | None:
    breaker = policy.breaker
    wanted = breaker.min_calls
    sure = list(one.failures_s[: one.sure])
    if not _budget_is_ample(policy, one):
        sure = sure[:1]
    if not sure or (math.isinf(gap_s) and len(sure) < wanted):
        return None
    if math.isinf(gap_s):
        calls = sorted((high_s, low_s) for low_s, high_s in sure)
    else:
        messages = math.ceil(wanted / len(sure)) + math.ceil((sure[-1][1] + 1) / gap_s) + 2
        calls = sorted(
            (number * gap_s + high, number * gap_s + low) for number in range(messages) for low, high in sure
        )
    span_s = breaker.window_s if breaker.window == "time" else math.inf
    for first in range(len(calls) - wanted + 1):
        group = calls[first : first + wanted]
        latest_s = group[-1][0]
        # A hair less than the window, so that rounding in the code does not decide.
        if latest_s - min(low_s for _, low_s in group) <= span_s - 1e-9 * max(1.0, latest_s):
            no_replays = replays_within(policy, latest_s, fails_in_s) == 0
            soonest_s = sorted(low_s for _, low_s in calls)[wanted - 1] if no_replays else None
            return Opening("opens", "", (wanted, wanted + first), soonest_s, latest_s)
    return None


def _budget_is_ample(policy: Policy, one: Pursuit) -> bool:
    """Whether the budget surely grants every retry until the breaker opens; it is frozen while offline."""
    retries = one.attempts[1] - 1
    messages = math.ceil(policy.breaker.min_calls / max(1, one.sure)) + 1
    return policy.retry.budget_floor_per_min >= retries * messages


# --- The queue ------------------------------------------------------------------------------------------------


def replays_within(policy: Policy, span_s: float, fails_in_s: float) -> int:
    """The most replays that one client's queue sends to a dead backend within ``span_s`` (``RequestQueue._halt``).

    A flush that meets trouble halts the next one by w/2 to w, with w = min(cap, base * 2**(i-1)) after the i-th; no two
    replays begin within 1/drain_per_s. Without a canary a flush may send several before it sees the trouble. Where only
    a verdict starts a flush, each check that fails while the verdict is still online does: ``fall`` - 1 of them.
    """
    queue = policy.queue
    pace_s = max(0.01, 1 / queue.drain_per_s)
    lasts_s = min(fails_in_s, policy.request.attempt_timeout_s)
    at_once = 1 if queue.canary else min(queue.drain_concurrency, math.floor(lasts_s / pace_s) + 1)
    if queue.flush_on == "verdict":
        return at_once * (policy.probe.fall - 1)
    sent, at_s, halt = 0, 0.0, 0
    while at_s <= span_s and sent < _MANY:
        sent += at_once
        halt += 1
        shortest_s = max(min(queue.cap_s, queue.base_s * 2 ** min(halt - 1, 30)) / 2, pace_s)
        if halt > 31:
            # From here on every halt is the same.
            more = (span_s - at_s) / shortest_s
            return min(_MANY, sent + at_once * int(min(more, _MANY)))
        at_s += shortest_s
    return sent


def replays_per_hour(policy: Policy) -> float:
    """Replays an hour once the halts have grown to their cap, on average: 3/4 of the cap apart."""
    queue = policy.queue
    longest_s = 0.0 if queue.base_s == 0 else queue.cap_s
    return 3600 / max(0.75 * longest_s, 0.01, 1 / queue.drain_per_s)


def queue_lasts_s(queue: QueuePolicy, messages_per_hour: float) -> float:
    """How long an outage may be until the queue is full; infinite if messages expire as fast as they come."""
    if messages_per_hour <= 0:
        return math.inf
    full_s = queue.max_size * 3600 / messages_per_hour
    return full_s if full_s <= queue.ttl_s else math.inf


def waiting_after(queue: QueuePolicy, messages_per_hour: float, outage_s: float) -> int:
    """Messages of one client that wait when an outage of this length ends."""
    return min(queue.max_size, math.ceil(messages_per_hour * min(outage_s, queue.ttl_s) / 3600))


def burst_within(queue: QueuePolicy, waiting: int, span_s: float) -> int:
    """The most replays that one client sends within ``span_s`` after a recovery: drain_per_s of it, and one."""
    return min(waiting, math.floor(queue.drain_per_s * span_s + 1e-9) + 1)


def drain_s(queue: QueuePolicy, waiting: int, latency_s: float) -> float:
    """How long one client takes to send what waits: paced, and with so many in flight at once (Little's law)."""
    per_s = min(queue.drain_per_s, queue.drain_concurrency / max(latency_s, 1e-9))
    return waiting / per_s


# --- Bounds over a whole outage -----------------------------------------------------------------------------------


def sent_within(policy: Policy, gap_s: float, span_s: float, fails_in_s: float) -> float:
    """The most requests for messages and replays that one client sends within ``span_s`` of a dead backend.

    Messages come every ``gap_s``; nothing but the deadline, the budget and the queue's halts holds them back.
    """
    messages = 1 if math.isinf(gap_s) else math.floor(span_s / gap_s + 1e-9) + 1
    retries = (pursuit(policy, fails_in_s).attempts[1] - 1) * messages
    retry = policy.retry
    saved_up = max(1.0, retry.budget_floor_per_min + 100 * retry.budget_share)
    budget = saved_up + retry.budget_share * messages + retry.budget_floor_per_min * span_s / 60
    return messages + min(retries, math.floor(budget)) + replays_within(policy, span_s, fails_in_s)


def trials_within(breaker: BreakerPolicy, span_s: float, lasts_s: float) -> float:
    """The most trial calls that a breaker lets through within ``span_s`` of a dead backend, by shortest open times.

    A trial that takes longer than the open time loses its place to another one meanwhile (its lease expires).
    """
    sent, at_s, opened = 0, 0.0, 0
    while sent < _MANY:
        opened += 1
        own_s = breaker.open_s * breaker.open_factor ** min(opened - 1, 64)
        shortest_s = max(min(breaker.open_max_s, own_s * (1 - breaker.jitter)), 1e-3)
        at_s += shortest_s
        if at_s > span_s:
            break
        sent += breaker.half_open_probes * (1 + math.floor(lasts_s / shortest_s))
    return sent
