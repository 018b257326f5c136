"""How load slows a backend down: what serves more requests a second serves each of them more slowly.

It knows no clock and no world: the simulated and the practice backend use the same.
"""

from __future__ import annotations

from collections import deque

MOST = 100.0
"""Service takes at most this many times longer: by then it is longer than any timeout."""


class Load:
    """The rate at which requests arrive, as the mean over the last ``window_s``, and what it does to service.

    Service takes ``1 / (1 - rate / saturates_at_per_s)`` times longer (at most ``MOST``; 0 requests/s: never longer).
    That is the mean time of a request in an M/G/1 queue that serves all at once in turns (processor sharing) and is
    full at that rate: Kleinrock, Queueing Systems, vol. 2, 1976, section 4.4. Times are the caller's clock, in seconds.
    """

    __slots__ = ("_arrivals_s", "_saturates_at_per_s", "_window_s")

    def __init__(self, saturates_at_per_s: float, window_s: float) -> None:
        self._saturates_at_per_s = saturates_at_per_s
        self._window_s = window_s
        self._arrivals_s: deque[float] = deque()

    def arrive(self, now_s: float) -> float:
        """How many times longer than alone the request takes that arrives now; it counts for those that follow."""
        if not self._saturates_at_per_s:
            return 1.0
        arrivals_s = self._arrivals_s
        while arrivals_s and arrivals_s[0] <= now_s - self._window_s:
            arrivals_s.popleft()
        # Without the request itself: a Poisson arrival then sees the mean rate.
        free = 1 - len(arrivals_s) / self._window_s / self._saturates_at_per_s
        arrivals_s.append(now_s)
        return MOST if free * MOST <= 1 else 1 / free
