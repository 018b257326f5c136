"""What the live page knows, without a widget in sight: how often to ask, and what is new since last time."""

from __future__ import annotations

import bisect
import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from hustle_sim.analysis.more_data import beat_of, beat_words
from hustle_sim.analysis.palette import HEARTBEAT, OUTCOME
from hustle_sim.inputs import format_duration
from hustle_sim.live.digest import Bucket, Check, Digest
from hustle_sim.policy import Policy, ProbePolicy

if TYPE_CHECKING:
    from hustle_sim.events import StatusChanged
    from hustle_sim.live.settings import Settings
    from hustle_sim.resilience.world import World

KEPT = 2000
"""Probes that a page keeps; older ones are forgotten."""

STRETCHES = 300
"""Stretches of one verdict that a page keeps."""

SHOWN = 12
"""Changes of the verdict in the table."""

MOVING = 60
"""The moving percentiles are those of this many answered probes."""

CELLS = 60
"""Cells of a heartbeat bar."""


def watch_policy(interval_s: float, base: Policy) -> Policy:
    """``base`` probing every ``interval_s``, with confirmation and offline waits that keep pace."""
    probe = base.probe
    timeout_s = min(probe.timeout_s, interval_s)
    above_s = min(probe.degraded_above_s, timeout_s)
    return base.replace(
        {
            "probe.interval_s": interval_s,
            "probe.timeout_s": timeout_s,
            "probe.degraded_above_s": above_s,
            "probe.degraded_below_s": min(probe.degraded_below_s, above_s),
            "probe.confirm_s": min(probe.confirm_s, interval_s / 5),
            "probe.offline_interval_s": min(probe.offline_interval_s, interval_s / 2),
            "probe.offline_interval_max_s": min(probe.offline_interval_max_s, max(interval_s, 10.0)),
        }
    )


def default_url(settings: Settings) -> str:
    """The backend of ``.env``, or an empty text: then the practice backend is the target."""
    return settings.backend_url or ""


class Session(Protocol):
    """What a page needs of a live session."""

    world: World
    digest: Digest

    @property
    def version(self) -> int:
        """Grows with each event."""

    @property
    def now_s(self) -> float:
        """The loop time."""

    @property
    def origin_s(self) -> float:
        """The loop time of the start."""


@dataclass(frozen=True, slots=True)
class Point:
    """One probe: when (POSIX seconds), how long, how it ended, the verdict, and the moving percentiles with it."""

    at: float
    latency_s: float
    outcome: str
    status: str
    p50_s: float = math.nan
    p95_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Stretch:
    """A verdict and since when it holds (POSIX seconds), with the reason for it."""

    since: float
    previous: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class News:
    """What came since the last time: probes, changes of the verdict, and minutes that are over."""

    points: Sequence[Point] = ()
    stretches: Sequence[Stretch] = ()
    minutes: Sequence[Bucket] = ()

    def __bool__(self) -> bool:
        return bool(self.points or self.stretches or self.minutes)


@dataclass
class Feed:
    """What a page has seen of one session. ``pull`` brings what is new; what is kept does not grow with time."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=KEPT))
    stretches: deque[Stretch] = field(default_factory=lambda: deque(maxlen=STRETCHES))
    _checks: int = 0
    _changes: int = 0
    _minute_s: float = -math.inf
    _version: int = -1
    _looked_s: float = -math.inf
    _moving: deque[float] = field(default_factory=lambda: deque(maxlen=MOVING))

    def pull(self, session: Session) -> News:
        """The probes, changes and minutes since the last pull; the first one begins with ``checking``."""
        zero = zero_of(session)
        fresh: list[Stretch] = []
        if self._version < 0:
            fresh.append(Stretch(zero + session.origin_s, "", "checking", "watching began"))
        minutes = self._minutes(session, zero)
        points: list[Point] = []
        version = session.version
        if version != self._version:
            self._version = version
            self._checks, checks = session.digest.checks_since(self._checks)
            self._changes, changes = session.digest.changes_since(self._changes)
            points = [self._point(check, zero) for check in checks]
            fresh += [_stretch(change, zero) for change in changes]
        self.points.extend(points)
        self.stretches.extend(fresh)
        return News(points, fresh, minutes)

    def _minutes(self, session: Session, zero: float) -> list[Bucket]:
        now_s = session.now_s
        if now_s // 60 == self._looked_s // 60:
            return []
        self._looked_s = now_s
        minutes = session.digest.minutes(now_s, self._minute_s)
        if minutes:
            self._minute_s = minutes[-1].start_s
        for minute in minutes:
            minute.start_s += zero
        return minutes

    def _point(self, check: Check, zero: float) -> Point:
        if check.outcome == "ok":
            self._moving.append(check.latency_s)
        ordered = sorted(self._moving)
        p50_s, p95_s = (_quantile(ordered, share) for share in (0.5, 0.95))
        return Point(zero + check.time_s, check.latency_s, check.outcome, check.status, p50_s, p95_s)


def zero_of(session: Session) -> float:
    """The POSIX time at which the session's loop time was 0."""
    return session.world.wall_clock() - session.now_s


def _stretch(change: StatusChanged, zero: float) -> Stretch:
    return Stretch(zero + change.time_s, change.previous, change.current, change.reason)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def cell_s(probe: ProbePolicy) -> float:
    """How long a cell of the heartbeat bar is: long enough for two probes, also while the backend is offline."""
    return 2 * max(probe.interval_s, probe.offline_interval_max_s)


def beats(points: Sequence[Point], now: float, width_s: float) -> list[list[str]]:
    """The heartbeat bar: ``CELLS`` cells of ``width_s``, the newest last, each with its kind and its words.

    The kind is a key of ``HEARTBEAT``: ``none`` where there was no check.
    """
    last = math.floor(now / width_s)
    if points and math.floor(points[-1].at / width_s) < last:
        # The cell that has just begun is not shown before its first check.
        last -= 1
    first = last - CELLS + 1
    begin = bisect.bisect_left(points, first * width_s, key=lambda point: point.at)
    cells: list[list[Point]] = [[] for _ in range(CELLS)]
    for index in range(begin, len(points)):
        place = math.floor(points[index].at / width_s) - first
        if place < CELLS:
            cells[place].append(points[index])
    return [_beat(inside, (first + number) * width_s) for number, inside in enumerate(cells)]


def _beat(points: Sequence[Point], start: float) -> list[str]:
    answered = [point.latency_s for point in points if point.outcome == "ok"]
    slow = sum(point.outcome == "ok" and point.status == "degraded" for point in points)
    kind = beat_of(len(points), len(answered), slow)
    words = beat_words(len(points), len(answered), max(answered, default=0.0))
    return [kind, f"{local(start):%H:%M:%S}: {words}"]


def beats_in_words(cells: Iterable[Sequence[str]]) -> str:
    """A heartbeat bar for somebody who does not see it."""
    kinds = [cell[0] for cell in cells]
    found = [f"{kinds.count(kind)} {look.word}" for kind, look in HEARTBEAT.items() if kind in kinds]
    return f"Health checks in the last {len(kinds)} stretches of time: {', '.join(found)}."


def summary(points: Sequence[Point]) -> str:
    """The probes in one line: how many, how many failed, and the latency of those that were answered."""
    if not points:
        return "No probe has ended yet."
    answered = sorted(point.latency_s for point in points if point.outcome == "ok")
    failed = len(points) - len(answered)
    parts = [f"{len(points):,} probe{'' if len(points) == 1 else 's'}", f"{failed:,} failed"]
    if answered:
        p95_s = format_duration(_quantile(answered, 0.95))
        parts.append(f"median {format_duration(statistics.median(answered))}, p95 {p95_s}")
    if len(points) >= KEPT:
        parts.append(f"older ones are in the minutes below (the newest {KEPT:,} are shown one by one)")
    return " · ".join(parts)


def trouble(url: str, points: Sequence[Point], status: str) -> str:
    """One sentence about a backend that does not answer, or nothing."""
    if status != "offline" or not points or points[-1].outcome == "ok":
        return ""
    last = points[-1]
    how = OUTCOME[last.outcome].word if last.outcome in OUTCOME else last.outcome
    took = format_duration(last.latency_s)
    return f"the backend at {url} does not answer ({how} after {took}); it is probed on until you remove it"


def local(at: float) -> datetime:
    """POSIX seconds as local time, for people."""
    return datetime.fromtimestamp(at, UTC).astimezone()
