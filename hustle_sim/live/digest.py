"""What a live session saw, for weeks and in little room: the last checks, minutes of a day, hours of a month.

A session's own history forgets its oldest events; a digest is what remains of them. It grows with nothing but the
number of minutes and hours that it is told to keep, whatever happens in them.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, TypeVar

from hustle_sim.events import BreakerChanged, Event, ProbeEnded, QueueChanged, StatusChanged

T = TypeVar("T")

MINUTES = 24 * 60
HOURS = 30 * 24
CHECKS = 2000
CHANGES = 300
INCIDENTS = 100
"""How much of each is kept: the newest."""

_MINUTE_S, _HOUR_S = 60.0, 3600.0
# Latencies are counted in steps of 1 %, so that a percentile is off by half of that at most.
_STEP = math.log(1.01)
_FLOOR_S = 1e-4
_RANK = {"checking": 0, "online": 1, "degraded": 2, "offline": 3}


@dataclass(frozen=True, slots=True)
class Check:
    """A health check: when it began (loop time), how long it took, how it ended, and the verdict after it."""

    time_s: float
    latency_s: float
    outcome: str
    status: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which the verdict was not ``online``: loop times, the worst verdict in it, and the reason for that.

    ``end_s`` is infinite while it lasts.
    """

    start_s: float
    end_s: float
    worst: str
    reason: str


@dataclass(slots=True)
class Bucket:
    """The health checks of a minute or an hour that begins at ``start_s``, and how long each verdict held in it."""

    start_s: float
    checks: int = 0
    answered: int = 0
    slow: int = 0
    online_s: float = 0.0
    degraded_s: float = 0.0
    offline_s: float = 0.0
    bins: Counter[int] = field(default_factory=Counter)

    @property
    def watched_s(self) -> float:
        """Seconds in which there was a verdict."""
        return self.online_s + self.degraded_s + self.offline_s

    @property
    def available_share(self) -> float:
        """Share of the watched time in which the verdict was not ``offline``; NaN if nothing was watched."""
        return 1 - self.offline_s / self.watched_s if self.watched_s > 0 else math.nan

    def latency_s(self, share: float) -> float:
        """The latency that this share of the answered checks did not exceed (within 0.5 %); NaN without any."""
        need, seen = share * self.answered, 0
        for number in sorted(self.bins):
            seen += self.bins[number]
            if seen >= need:
                return math.exp(number * _STEP)
        return math.nan

    def add(self, other: Bucket) -> None:
        """Count another one in."""
        self.checks += other.checks
        self.answered += other.answered
        self.slow += other.slow
        self.online_s += other.online_s
        self.degraded_s += other.degraded_s
        self.offline_s += other.offline_s
        self.bins.update(other.bins)

    def count(self, check: Check) -> None:
        """Count a health check in."""
        self.checks += 1
        if check.outcome == "ok":
            self.answered += 1
            self.slow += check.status == "degraded"
            self.bins[round(math.log(max(check.latency_s, _FLOOR_S)) / _STEP)] += 1

    def spend(self, status: str, seconds: float) -> None:
        """A verdict held for this long; ``checking`` is none."""
        if status == "online":
            self.online_s += seconds
        elif status == "degraded":
            self.degraded_s += seconds
        elif status == "offline":
            self.offline_s += seconds


class Tail(Generic[T]):
    """The newest ``keep`` things of a sequence, and how many there have been."""

    __slots__ = ("_kept", "number")

    def __init__(self, keep: int) -> None:
        self._kept: deque[T] = deque(maxlen=keep)
        self.number = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def append(self, thing: T) -> None:
        """One more."""
        self._kept.append(thing)
        self.number += 1

    def since(self, number: int) -> list[T]:
        """What came after the first ``number``, as far as it is kept."""
        new = min(max(self.number - number, 0), len(self._kept))
        return list(islice(self._kept, len(self._kept) - new, None))


class Digest:
    """Takes the events of a session, in any thread, and answers about weeks. All times are the session's loop times."""

    def __init__(self, *, minutes: int = MINUTES, hours: int = HOURS) -> None:
        self._lock = threading.Lock()
        self._checks: Tail[Check] = Tail(CHECKS)
        self._changes: Tail[StatusChanged] = Tail(CHANGES)
        self._minutes: deque[Bucket] = deque(maxlen=minutes)
        self._hours: deque[Bucket] = deque(maxlen=hours)
        self._incidents: deque[Incident] = deque(maxlen=INCIDENTS)
        self._breaker: Tail[BreakerChanged] = Tail(CHANGES)
        self._depth = 0
        self._queued = 0
        self._status = "checking"
        self._seen_s: float | None = None

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        with self._lock:
            if isinstance(event, ProbeEnded):
                self._advance(event.time_s + event.latency_s)
                self._check(Check(event.time_s, event.latency_s, event.outcome, event.status))
            elif isinstance(event, StatusChanged):
                self._advance(event.time_s)
                self._change(event)
            elif isinstance(event, BreakerChanged):
                self._breaker.append(event)
            elif isinstance(event, QueueChanged):
                self._depth = event.depth
                self._queued += 1

    def checks_since(self, number: int) -> tuple[int, list[Check]]:
        """How many health checks there were, and those after the first ``number`` (the newest ``CHECKS`` at most)."""
        with self._lock:
            return self._checks.number, self._checks.since(number)

    def changes_since(self, number: int) -> tuple[int, list[StatusChanged]]:
        """How many changes of the verdict there were, and those after the first ``number``."""
        with self._lock:
            return self._changes.number, self._changes.since(number)

    def breaker_since(self, number: int) -> tuple[int, list[BreakerChanged]]:
        """How many changes of the breaker there were, and those after the first ``number``."""
        with self._lock:
            return self._breaker.number, self._breaker.since(number)

    def incidents(self) -> list[Incident]:
        """The last incidents, oldest first; the last one may still go on."""
        with self._lock:
            return list(self._incidents)

    def minutes(self, now_s: float, after_s: float = -math.inf) -> list[Bucket]:
        """Copies of the minutes that are over and began after ``after_s``, oldest first."""
        with self._lock:
            self._advance(now_s)
            # From the newest back: as a rule only the last one is asked for.
            found: list[Bucket] = []
            for bucket in reversed(self._minutes):
                if bucket.start_s <= after_s:
                    break
                if bucket.start_s + _MINUTE_S <= now_s:
                    found.append(_copy(bucket))
            return found[::-1]

    def summary(self, now_s: float, last_s: float = math.inf) -> Bucket:
        """All that was seen in the last seconds (a day or less to the minute, more to the hour), in one bucket."""
        with self._lock:
            self._advance(now_s)
            pieces, width_s = (self._minutes, _MINUTE_S) if last_s <= MINUTES * _MINUTE_S else (self._hours, _HOUR_S)
            total = Bucket(now_s)
            for bucket in reversed(pieces):
                if bucket.start_s + width_s <= now_s - last_s:
                    break
                total.add(bucket)
                total.start_s = bucket.start_s
            return total

    @property
    def depth(self) -> int:
        """Messages that wait in the queue, as of the last event of it."""
        return self._depth

    @property
    def queued(self) -> int:
        """How many things have happened to the queue: a screen that has seen this many has nothing to do."""
        return self._queued

    @property
    def size(self) -> int:
        """How many things are kept in all: what must not grow for ever."""
        with self._lock:
            buckets = sum(1 + len(bucket.bins) for pieces in (self._minutes, self._hours) for bucket in pieces)
            others = (self._checks, self._changes, self._breaker, self._incidents)
            return buckets + sum(len(each) for each in others)

    def _check(self, check: Check) -> None:
        self._checks.append(check)
        for bucket in self._current():
            bucket.count(check)

    def _change(self, event: StatusChanged) -> None:
        self._changes.append(event)
        self._status = event.current
        ongoing = self._incidents[-1] if self._incidents and math.isinf(self._incidents[-1].end_s) else None
        if event.current in ("online", "checking"):
            if ongoing is not None:
                self._incidents[-1] = replace(ongoing, end_s=event.time_s)
        elif ongoing is None:
            self._incidents.append(Incident(event.time_s, math.inf, event.current, event.reason))
        elif _RANK[event.current] > _RANK[ongoing.worst]:
            self._incidents[-1] = replace(ongoing, worst=event.current, reason=event.reason)

    def _current(self) -> tuple[Bucket, Bucket]:
        """The minute and the hour of the time up to which is known; made if need be."""
        assert self._seen_s is not None
        return _last(self._minutes, self._seen_s, _MINUTE_S), _last(self._hours, self._seen_s, _HOUR_S)

    def _advance(self, now_s: float) -> None:
        """The verdict has held until now: share the time out among the minutes and hours that it passed through."""
        if self._seen_s is None:
            self._seen_s = now_s
        while self._seen_s < now_s:
            until_s = min(now_s, (self._seen_s // _MINUTE_S + 1) * _MINUTE_S)
            if self._status in ("online", "degraded", "offline"):
                for bucket in self._current():
                    bucket.spend(self._status, until_s - self._seen_s)
            self._seen_s = until_s


def _last(pieces: deque[Bucket], at_s: float, width_s: float) -> Bucket:
    start_s = at_s // width_s * width_s
    if not pieces or pieces[-1].start_s < start_s:
        pieces.append(Bucket(start_s))
    return pieces[-1]


def _copy(bucket: Bucket) -> Bucket:
    return replace(bucket, bins=Counter(bucket.bins))
