"""What the live page knows, without a widget in sight: what to watch, how often, and what is new since last time."""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hustle_sim.analysis.palette import OUTCOME, STATUS
from hustle_sim.events import Event, ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.session import LiveSession, Seat
from hustle_sim.policy import Policy
from hustle_sim.resilience.sqlite_store import SQLiteStore

if TYPE_CHECKING:
    from hustle_sim.live.settings import Settings

INTERVALS_S = {"5 s": 5.0, "15 s": 15.0, "1 min": 60.0, "5 min": 300.0}
"""How often a backend may be probed while it is well."""

KEPT = 2000
"""Probes that a page keeps; older ones are forgotten."""

SHOWN = 12
"""Changes of the verdict in the table."""

BREAKAGES: dict[str, tuple[str, dict[str, float]]] = {
    "Refuse connections": ("refuse", {}),
    "Hang": ("hang", {}),
    "Answer in 4 s": ("slow", {"delay_s": 4.0}),
    "Answer 503": ("error", {"status": 503}),
}
"""The ways to break the practice backend: what the button says, the mode and its parameters."""


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


@dataclass(frozen=True, slots=True)
class Point:
    """One probe: when (POSIX seconds), how long, and how it ended."""

    at: float
    latency_s: float
    outcome: str
    status: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A verdict and since when it holds (POSIX seconds), with the reason for it."""

    since: float
    previous: str
    status: str
    reason: str


@dataclass
class Feed:
    """What a page has seen of one session. ``pull`` brings what is new."""

    version: int = 0
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=KEPT))
    stretches: list[Stretch] = field(default_factory=list)

    def pull(self, session: LiveSession) -> tuple[list[Point], list[Stretch]]:
        """The probes and changes of the verdict since the last pull; the first one begins with ``checking``."""
        zero = session.world.wall_clock() - session.elapsed_s - session.origin_s
        points: list[Point] = []
        stretches: list[Stretch] = []
        if not self.stretches:
            stretches.append(Stretch(zero + session.origin_s, "", "checking", "watching began"))
        if session.version != self.version:
            self.version, events = session.events_since(self.version)
            for event in events:
                _sort(event, zero, points, stretches)
        self.points.extend(points)
        self.stretches.extend(stretches)
        del self.stretches[:-KEPT]
        return points, stretches


def _sort(event: Event, zero: float, points: list[Point], stretches: list[Stretch]) -> None:
    if isinstance(event, ProbeEnded):
        points.append(Point(zero + event.time_s, event.latency_s, event.outcome, event.status))
    elif isinstance(event, StatusChanged):
        stretches.append(Stretch(zero + event.time_s, event.previous, event.current, event.reason))


def summary(points: deque[Point]) -> str:
    """The probes in one line: how many, how many failed, and the latency of those that were answered."""
    if not points:
        return "No probe has ended yet."
    answered = sorted(point.latency_s for point in points if point.outcome == "ok")
    failed = len(points) - len(answered)
    parts = [f"{len(points):,} probe{'' if len(points) == 1 else 's'}", f"{failed:,} failed"]
    if answered:
        p95_s = answered[min(len(answered) - 1, int(0.95 * len(answered)))]
        parts.append(f"median {format_duration(statistics.median(answered))}, p95 {format_duration(p95_s)}")
    return " · ".join(parts)


def trouble(url: str, points: deque[Point], status: str) -> str:
    """One sentence about a backend that does not answer, or nothing."""
    if status != "offline" or not points or points[-1].outcome == "ok":
        return ""
    last = points[-1]
    how = OUTCOME[last.outcome].word if last.outcome in OUTCOME else last.outcome
    took = format_duration(last.latency_s)
    return f"the backend at {url} does not answer ({how} after {took}); it is probed on until you stop"


def local(at: float) -> datetime:
    """POSIX seconds as local time, for people."""
    return datetime.fromtimestamp(at, UTC).astimezone()


def word_of(status: str) -> str:
    """``"● online"``: glyph and word of a status."""
    look = STATUS.get(status)
    return f"{look.glyph} {look.word}" if look else "–"


class Practice:
    """The practice backend of this process: started when it is first wanted, shared by all visitors.

    Its queue is in a temporary file, which outlives sessions and reloads of the page, and is gone with the process:
    so is the backend that its messages were written for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backend: PracticeBackend | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.broken = ""
        """What is broken, in the words of the button; empty while it is well."""

    @property
    def url(self) -> str:
        """Its address; starts it."""
        return self._running().url

    @property
    def is_running(self) -> bool:
        """Whether it was started."""
        return self._backend is not None

    def is_at(self, url: str) -> bool:
        """Whether ``url`` is its address."""
        return self._backend is not None and self._backend.url.rstrip("/") == url.rstrip("/")

    @property
    def store_path(self) -> Path:
        """The file of its queue."""
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="hustle-sim-", ignore_cleanup_errors=True)
            return Path(self._folder.name) / "practice.sqlite3"

    def open_store(self) -> SQLiteStore:
        """Its queue, for one session."""
        return SQLiteStore(self.store_path)

    def break_it(self, how: str) -> None:
        """Break it in one of the ways of ``BREAKAGES``. Raises InputError for another."""
        if how not in BREAKAGES:
            raise InputError(f"the practice backend can't be broken by {how!r}")
        mode, parameters = BREAKAGES[how]
        self._running().break_it(mode, **parameters)
        self.broken = how

    def mend(self) -> None:
        """Make it well again."""
        self._running().mend()
        self.broken = ""

    def close(self) -> None:
        """End it."""
        with self._lock:
            backend, self._backend, self.broken = self._backend, None, ""
            folder, self._folder = self._folder, None
        if backend is not None:
            backend.close()
        if folder is not None:
            folder.cleanup()

    def _running(self) -> PracticeBackend:
        with self._lock:
            if self._backend is None:
                self._backend = PracticeBackend.in_thread()
            return self._backend


practice = Practice()
"""The one of this process."""


def take_seat(url: str, policy: Policy, settings: Settings) -> Seat:
    """A seat in the session of a URL, or of the practice backend if it is empty. Raises InputError.

    It may have to wait for a session to start: call it in a thread.
    """
    target = url or practice.url
    open_store = practice.open_store if practice.is_at(target) else None
    return LiveSession.shared(target, policy, settings=settings, open_store=open_store)
