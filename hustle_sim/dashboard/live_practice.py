"""The practice backend of this process, which visitors watch and break on purpose; without a widget in sight."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hustle_sim.inputs import InputError
from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.session import LiveSession, Seat
from hustle_sim.policy import Policy
from hustle_sim.resilience.sqlite_store import SQLiteStore

if TYPE_CHECKING:
    from hustle_sim.live.settings import Settings

BREAKAGES: dict[str, tuple[str, dict[str, float]]] = {
    "Refuse connections": ("refuse", {}),
    "Hang": ("hang", {}),
    "Answer in 4 s": ("slow", {"delay_s": 4.0}),
    "Answer 503": ("error", {"status": 503}),
    "Half an answer": ("bad_body", {}),
    "1 request a minute": ("rate_limit", {"rate_per_s": 1 / 60, "retry_after_s": 30.0}),
    "1 request at a time": ("brownout", {"capacity_factor": 0.05}),
    "Down every other 15 s": ("flap", {"period_s": 30.0, "duty": 0.5}),
}
"""The ways to break the practice backend: what the button says, the mode and its parameters."""

EXPLAINED: dict[str, str] = {
    "Refuse connections": "nobody listens on its port",
    "Hang": "it takes requests and never answers",
    "Answer in 4 s": "every answer takes 4 s longer",
    "Answer 503": "every request gets a 503",
    "Half an answer": "it answers 200 with JSON that is cut off",
    "1 request a minute": "every other one gets a 429 and is asked to wait 30 s",
    "1 request at a time": "the others wait in line: seen under load, not by a lone health check",
    "Down every other 15 s": "it refuses connections for 15 s, is well for 15 s, and so on",
}
"""What each of them means, for people."""


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
