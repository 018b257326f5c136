"""The circuit breaker: stop sending to a backend that fails, and find out with few calls that it is back.

Three subjects, three classes: what the last calls say (``_Window``), how long to stay open (``open_time_s``),
and the states (``CircuitBreaker``). Times are loop times, in seconds, and are passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from hustle_sim.events import BreakerChanged
from hustle_sim.policy import BreakerPolicy
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.world import World


class BreakerState(StrEnum):
    """``HALF_OPEN`` lets few trial calls through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def open_time_s(policy: BreakerPolicy, opened: int, retry_after_s: float | None, u: float) -> float:
    """Seconds to stay open the ``opened``-th time in a row (from 1); ``u`` in [0, 1) moves it by the jitter.

    A Retry-After raises it; nothing exceeds ``open_max_s``.
    """
    own_s = policy.open_s * policy.open_factor ** min(opened - 1, 64)
    jittered_s = own_s * (1 + policy.jitter * (2 * u - 1))
    return min(policy.open_max_s, max(jittered_s, retry_after_s or 0.0))


class Tally(NamedTuple):
    """The calls that the breaker judges by, and how many of them failed or were slow."""

    calls: int
    failed: int
    slow: int

    @property
    def failed_share(self) -> float:
        """0..1; 0 without calls."""
        return self.failed / self.calls if self.calls else 0.0


class _Window:
    """The last calls, by time or by number, with running counts."""

    __slots__ = ("_calls", "_failed", "_most", "_slow", "_span_s")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._span_s = policy.window_s if policy.window == "time" else float("inf")
        self._most = policy.window_calls if policy.window == "count" else None
        self._calls: deque[tuple[float, bool, bool]] = deque()
        self._failed = 0
        self._slow = 0

    def add(self, now_s: float, failed: bool, slow: bool) -> None:
        self._calls.append((now_s, failed, slow))
        self._failed += failed
        self._slow += slow
        oldest_s = now_s - self._span_s
        while self._calls[0][0] < oldest_s or (self._most is not None and len(self._calls) > self._most):
            _, was_failed, was_slow = self._calls.popleft()
            self._failed -= was_failed
            self._slow -= was_slow

    def clear(self) -> None:
        self._calls.clear()
        self._failed = self._slow = 0

    def tally(self, now_s: float) -> Tally:
        oldest_s = now_s - self._span_s
        # A copy is made in one step, so that other threads may ask.
        recent = [call for call in self._calls.copy() if call[0] >= oldest_s]
        return Tally(len(recent), sum(failed for _, failed, _ in recent), sum(slow for _, _, slow in recent))

    def tripped(self, policy: BreakerPolicy) -> str | None:
        """Why the breaker must open, or None."""
        calls = len(self._calls)
        if calls < policy.min_calls:
            return None
        if self._failed >= policy.failure_share * calls:
            return f"{self._failed} of {calls} calls failed"
        if self._slow >= policy.slow_share * calls:
            return f"{self._slow} of {calls} calls were slow"
        return None


class Permit:
    """Leave to make one call; hand it back with ``CircuitBreaker.end``."""

    __slots__ = ("ended", "epoch", "expires_s")

    def __init__(self, epoch: int, expires_s: float | None) -> None:
        self.ended = False
        self.epoch = epoch
        self.expires_s = expires_s


class CircuitBreaker:
    """Admits calls while closed, none while open, few while half-open.

    A result counts only in the epoch in which its call was admitted: what was sent before the breaker
    opened says nothing about the backend after it. A trial call is a lease: one that never returns
    frees its place after one open time.
    """

    def __init__(self, policy: BreakerPolicy, world: World) -> None:
        self.state = BreakerState.CLOSED
        self._policy = policy
        self._world = world
        self._window = _Window(policy)
        self._epoch = 0
        self._opened = 0
        self._open_until_s = 0.0
        self._open_for_s = policy.open_s
        self._trials: list[Permit] = []
        self._trial_successes = 0
        self._hint_s: float | None = None
        self._subscribers: list[Callable[[BreakerState], None]] = []

    def subscribe(self, subscriber: Callable[[BreakerState], None]) -> None:
        """Call ``subscriber(state)`` after each change of state."""
        self._subscribers.append(subscriber)

    def tally(self, now_s: float) -> Tally:
        """What the calls in the window say now. For any thread."""
        return self._window.tally(now_s)

    def ready_at_s(self, now_s: float) -> float:
        """The loop time from which on a call may be admitted: ``now_s`` itself unless open or at its limit."""
        if self.state is BreakerState.OPEN:
            return max(now_s, self._open_until_s)
        if self.state is BreakerState.HALF_OPEN:
            ends = [trial.expires_s for trial in self._live_trials(now_s) if trial.expires_s is not None]
            return min(ends) if len(ends) >= self._policy.half_open_probes else now_s
        return now_s

    def admit(self, now_s: float) -> Permit | None:
        """A permit for one call, or None if nothing may be sent now."""
        if not self._policy.enabled or self.state is BreakerState.CLOSED:
            return Permit(self._epoch, None)
        if self.state is BreakerState.OPEN:
            if now_s < self._open_until_s:
                return None
            self._trials = []
            self._trial_successes = 0
            self._move(BreakerState.HALF_OPEN, now_s, "the open time is over")
        self._trials = self._live_trials(now_s)
        if len(self._trials) >= self._policy.half_open_probes:
            return None
        permit = Permit(self._epoch, now_s + self._open_for_s)
        self._trials.append(permit)
        return permit

    def end(
        self, permit: Permit, outcome: Outcome, latency_s: float, now_s: float, retry_after_s: float | None = None
    ) -> None:
        """The call of ``permit`` is over. Ending a permit again, or one of an older epoch, changes nothing."""
        was_ended, permit.ended = permit.ended, True
        if was_ended or permit.epoch != self._epoch or not self._policy.enabled:
            return
        failed = CONSEQUENCES[outcome].against_backend
        counts = failed or outcome in (Outcome.OK, Outcome.HTTP_4XX)
        if self.state is BreakerState.HALF_OPEN:
            self._end_trial(permit, outcome, failed, counts, now_s, retry_after_s)
        elif counts:
            self._hint_s = retry_after_s
            self._window.add(now_s, failed, latency_s >= self._policy.slow_call_s)
            reason = self._window.tripped(self._policy)
            if reason is not None:
                self._open(now_s, reason)

    def snapshot(self, now_s: float) -> dict[str, float]:
        """What must survive a restart: ``open_until`` (POSIX seconds) and ``opened``; empty unless open."""
        if self.state is BreakerState.CLOSED:
            return {}
        left_s = max(0.0, self._open_until_s - now_s)
        return {"open_until": self._world.wall_clock() + left_s, "opened": self._opened}

    def restore(self, snapshot: dict[str, float], now_s: float) -> None:
        """Take up a snapshot as "open until then, then try"; a clock that jumped costs one open time at most."""
        if not snapshot or not self._policy.enabled:
            return
        left_s = snapshot["open_until"] - self._world.wall_clock()
        self._opened = max(1, int(snapshot["opened"]))
        self._open_until_s = now_s + min(max(left_s, 0.0), self._policy.open_max_s)
        self._move(BreakerState.OPEN, now_s, "it was open when the app ended")

    def _end_trial(
        self, permit: Permit, outcome: Outcome, failed: bool, counts: bool, now_s: float, hint_s: float | None
    ) -> None:
        if permit in self._trials:
            self._trials.remove(permit)
        if failed:
            self._hint_s = hint_s
            self._open(now_s, f"the trial call failed: {outcome}")
        elif counts:
            self._trial_successes += 1
            if self._trial_successes >= self._policy.half_open_probes:
                self._opened = 0
                self._window.clear()
                self._move(BreakerState.CLOSED, now_s, "the trial call was answered")

    def _open(self, now_s: float, reason: str) -> None:
        self._opened += 1
        u = self._world.uniform("breaker.jitter", self._world.client, self._epoch)
        self._open_for_s = open_time_s(self._policy, self._opened, self._hint_s, u)
        self._open_until_s = now_s + self._open_for_s
        self._window.clear()
        self._move(BreakerState.OPEN, now_s, reason)

    def _live_trials(self, now_s: float) -> list[Permit]:
        return [trial for trial in self._trials if trial.expires_s is not None and trial.expires_s > now_s]

    def _move(self, state: BreakerState, now_s: float, reason: str) -> None:
        previous, self.state = self.state, state
        self._epoch += 1
        self._world.emit(BreakerChanged(now_s, self._world.client, previous.value, state.value, reason))
        for subscriber in self._subscribers:
            subscriber(state)
