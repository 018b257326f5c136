"""How long to wait before another attempt, and how many retries are allowed at all. Nothing here sleeps."""

from __future__ import annotations

from hustle_sim.policy import RetryPolicy


def backoff_s(policy: RetryPolicy, retry: int, previous_s: float, u: float) -> float:
    """Seconds to wait before retry number ``retry`` (from 1); ``u`` in [0, 1) is the draw for the jitter.

    The exponential wait is ``min(cap, base * factor**(retry-1))``; ``full`` jitter draws from [0, wait],
    ``equal`` from [wait/2, wait], ``decorrelated`` from [base, 3 * previous wait], all inside the cap.
    Source: M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """
    if policy.jitter == "decorrelated":
        upper_s = max(policy.base_s, 3 * (previous_s or policy.base_s))
        return min(policy.cap_s, policy.base_s + u * (upper_s - policy.base_s))
    # The exponent is bounded, since factor**1000 overflows long after the cap has taken over.
    wait_s = min(policy.cap_s, policy.base_s * policy.factor ** min(retry - 1, 64))
    if policy.jitter == "full":
        return u * wait_s
    if policy.jitter == "equal":
        return wait_s / 2 + u * wait_s / 2
    return wait_s


def with_hint(own_s: float, retry_after_s: float | None, clamp_s: float) -> float:
    """Our own wait, lengthened by the backend's Retry-After, by ``clamp_s`` at most."""
    if retry_after_s is None:
        return own_s
    return max(own_s, min(retry_after_s, own_s + clamp_s))


class RetryBudget:
    """Bounds the retries of all messages together: a share of the traffic, plus a floor per minute.

    A bucket of retries: a message adds ``budget_share``, time adds the floor (neither does while frozen), a
    retry takes one, and none is given back for a retry that worked. It holds at most a minute's floor plus the
    share of 100 messages.
    """

    def __init__(self, policy: RetryPolicy, now_s: float) -> None:
        self._share = policy.budget_share
        self._floor_per_s = policy.budget_floor_per_min / 60
        # Room for one retry at least, or a small budget would be none.
        self._most = max(1.0, policy.budget_floor_per_min + 100 * policy.budget_share)
        self._tokens = float(policy.budget_floor_per_min)
        self._since_s = now_s
        self._frozen = False

    def freeze(self, frozen: bool, now_s: float) -> None:
        """While frozen (the backend is offline) nothing is added, so that no herd of retries is saved up."""
        self._refill(now_s)
        self._frozen = frozen

    def on_message(self) -> None:
        """A message was sent for the first time."""
        if not self._frozen:
            self._tokens = min(self._most, self._tokens + self._share)

    def take(self, now_s: float) -> bool:
        """Take one retry out of the budget; False if there is none."""
        self._refill(now_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self, now_s: float) -> None:
        if not self._frozen:
            self._tokens = min(self._most, self._tokens + (now_s - self._since_s) * self._floor_per_s)
        self._since_s = now_s
