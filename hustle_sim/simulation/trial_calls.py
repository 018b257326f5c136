"""What a breaker and a retry budget may do, seen from outside: by events and the requests that were let through."""

from __future__ import annotations

from hustle_sim.events import AttemptEnded, BreakerChanged
from hustle_sim.policy import Policy
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.simulation.crashes import Request


class Retries:
    """The retries of one life, and the most that its budget allows: a floor at first and by the minute, and a share."""

    def __init__(self, policy: Policy, began_s: float) -> None:
        self._policy = policy.retry
        self._began_s = began_s
        self._messages = 0
        self._retries = 0

    def sent(self) -> None:
        """A message was sent."""
        self._messages += 1

    def attempted(self, event: AttemptEnded) -> str | None:
        """An attempt was made; what is wrong with that, if anything."""
        if event.kind != "message" or event.number < 2:
            return None
        self._retries += 1
        minutes = 1 + (event.time_s - self._began_s) / 60
        most = minutes * self._policy.budget_floor_per_min + self._messages * self._policy.budget_share
        if self._retries > most + 1e-6:
            return f"{self._retries} retries of {self._messages} messages in {minutes - 1:.2f} min: {most:.2f} may be"
        return None


class TrialCalls:
    """An account of one life: nothing is sent while open, few while half-open, and only those decide."""

    def __init__(self, policy: Policy) -> None:
        self._enabled = policy.breaker.enabled
        self._most = policy.breaker.half_open_probes
        self._lease_s = policy.breaker.open_s * (1 - policy.breaker.jitter)
        self._judged_s = policy.request.attempt_timeout_s
        self._state = "closed"
        self._sent: list[Request] = []

    def begun(self, request: Request) -> str | None:
        """A request was let through; what is wrong with that, if anything."""
        if not self._enabled or self._state == "closed":
            return None
        if self._state == "open":
            return f"{request.key} was sent while the breaker is open"
        young = [each for each in self._sent if each.in_flight and request.began_s - each.began_s < self._lease_s]
        self._sent.append(request)
        if len(young) >= self._most:
            return f"{request.key} was sent while half-open, and {len(young)} trial calls are in flight"
        return None

    def moved(self, event: BreakerChanged) -> str | None:
        """The breaker changed its state; what is wrong with that, if anything."""
        self._state = event.current
        sent, self._sent = self._sent, []
        if event.previous != "half_open":
            return None
        if event.current == "closed":
            good = sum(each.outcome in (Outcome.OK, Outcome.HTTP_4XX) for each in sent)
            return None if good >= self._most else f"the breaker closed after {good} trial calls, not {self._most}"
        failed = any(
            event.time_s - each.began_s >= self._judged_s - 1e-6
            if each.outcome is None
            else CONSEQUENCES[each.outcome].against_backend
            for each in sent
        )
        # A timeout is the caller's: the port sees a request that was cancelled.
        failed = failed or any(each.outcome is Outcome.CANCELLED for each in sent)
        return None if failed else "the breaker opened again, though no trial call failed"
