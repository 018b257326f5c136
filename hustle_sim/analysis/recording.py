"""A recording: what happened in one simulation or live session, as frames, and what was known of it at its start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

import pandas as pd

from hustle_sim._version import __version__
from hustle_sim.analysis.frames import digest_of, frames_of
from hustle_sim.events import Event
from hustle_sim.policy import Policy


class Recording:
    """The frames of one run, without what is made of them; see ``Run``, which is what people use.

    ``start`` is the UTC time at 0 of the time axis, ``duration_s`` its length; metrics are measured from
    ``warm_up_s`` on. ``scenario`` is the scenario as plain JSON-able values (empty for a live session), ``seed`` is
    None where nothing was drawn. ``backend_truth`` says whether outages, backend and effects are known: a live
    session knows only what it saw. ``version`` is the version of hustle_sim that made the run.

    Times in the frames (``time_s``) are seconds since ``start``; frames are sorted by it and have the same columns
    and types even when empty. They are yours to read, not to change.
    """

    def __init__(
        self,
        frames: Mapping[str, pd.DataFrame],
        *,
        policy: Policy,
        start: datetime,
        duration_s: float,
        warm_up_s: float = 0.0,
        seed: int | None = None,
        scenario: Mapping[str, Any] | None = None,
        label: str = "",
        backend_truth: bool = True,
        version: str = __version__,
    ) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a run needs a time zone: datetime(..., tzinfo=UTC)")
        self.policy = policy
        self.start = start.astimezone(UTC)
        self.duration_s = float(duration_s)
        self.warm_up_s = float(warm_up_s)
        self.seed = seed
        self.scenario: dict[str, Any] = dict(scenario or {})
        self.label = label
        self.backend_truth = backend_truth
        self.version = version
        self._frames = dict(frames)

    @classmethod
    def from_events(
        cls,
        events: Iterable[Event],
        *,
        policy: Policy,
        start: datetime,
        duration_s: float,
        origin_s: float = 0.0,
        warm_up_s: float = 0.0,
        seed: int | None = None,
        scenario: Mapping[str, Any] | None = None,
        label: str = "",
        backend_truth: bool = True,
    ) -> Self:
        """A run from its events, which are read once and not kept.

        ``origin_s`` is the loop time that is 0 on the run's axis (a live session's loop did not start at 0). Raises
        ValueError if ``start`` has no time zone.
        """
        return cls(
            frames_of(events, origin_s),
            policy=policy,
            start=start,
            duration_s=duration_s,
            warm_up_s=warm_up_s,
            seed=seed,
            scenario=scenario,
            label=label,
            backend_truth=backend_truth,
        )

    @property
    def messages(self) -> pd.DataFrame:
        """One row per message: message_id, client, time_s, priority, answer_s (from sending to the first answer),
        source (``backend | cache | stale | fallback``), queued, delivered_s (from sending to delivery; NaN if never),
        outcome (``answered | late | expired | dead | pending | rejected | lost``), attempts (requests sent for it),
        via (``direct | late | queue``: how it was delivered).
        """
        return self._frames["messages"]

    @property
    def attempts(self) -> pd.DataFrame:
        """One row per request: time_s (when it began), client, message_id (empty for a probe), kind
        (``message | replay | probe``), number, wait_s, latency_s, outcome, status_code (missing if there was none).
        """
        return self._frames["attempts"]

    @property
    def probes(self) -> pd.DataFrame:
        """One row per health check: time_s, client, latency_s, outcome, status (the verdict after it), status_code."""
        return self._frames["probes"]

    @property
    def transitions(self) -> pd.DataFrame:
        """One row per change of a verdict: time_s, client, previous, current, reason."""
        return self._frames["transitions"]

    @property
    def breaker(self) -> pd.DataFrame:
        """One row per change of a circuit breaker: time_s, client, previous, current, reason."""
        return self._frames["breaker"]

    @property
    def queue(self) -> pd.DataFrame:
        """One row per event of a queue: time_s, client, event, message_id, depth (after it), reason."""
        return self._frames["queue"]

    @property
    def backend(self) -> pd.DataFrame:
        """The backend as it truly was, sampled: time_s, condition, in_service, waiting, arrivals and rejected (since
        the sample before), capacity. Empty without backend truth.
        """
        return self._frames["backend"]

    @property
    def effects(self) -> pd.DataFrame:
        """One row per message that the backend processed, each time: time_s, client, message_id, number (from 1)."""
        return self._frames["effects"]

    @property
    def outages(self) -> pd.DataFrame:
        """One row per outage: start_s, end_s, mode, severity (0..1). They may overlap."""
        return self._frames["outages"]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All frames by name."""
        return dict(self._frames)

    @cached_property
    def planned_s(self) -> float:
        """How long the run is when its simulation is over: ``duration_s``, unless this is only the beginning of it."""
        return max(self.duration_s, float(self.scenario.get("duration_s", 0.0)))

    @cached_property
    def clients(self) -> tuple[int, ...]:
        """The numbers of the clients that did anything, in order."""
        seen = pd.concat([self._frames[name]["client"] for name in ("messages", "attempts", "transitions")])
        return tuple(sorted(int(client) for client in seen.unique()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over all values of all frames: equal if and only if everything happened the same."""
        return digest_of(self._frames)

    @property
    def name(self) -> str:
        """What the run is called on screens: scenario, label and seed, as far as there are any."""
        scenario = str(self.scenario.get("name", "")) or ("live session" if not self.backend_truth else "")
        seed = f"seed {self.seed}" if self.seed is not None else ""
        return ", ".join(part for part in (scenario, self.label, seed) if part) or "run"
