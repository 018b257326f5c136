"""Every thing that can happen, once: frozen dataclasses, and the recorder.

``time_s`` is the time of the running loop, in seconds; a ``Run`` makes it seconds since its start.
``client`` is the number of the client (0 in a live session). Everything that is drawn, counted or
tested is read from these events, simulated or live alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A person sent a message. ``priority``: 0 is the most urgent."""

    time_s: float
    client: int
    message_id: str
    priority: int


@dataclass(frozen=True, slots=True)
class MessageAnswered:
    """The person saw a first answer, ``answer_s`` after sending.

    ``source`` is ``backend | cache | stale | fallback``; ``queued`` says whether the message was safe in the
    queue by then, to be delivered later.
    """

    time_s: float
    client: int
    message_id: str
    source: str
    queued: bool
    answer_s: float


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """The app learned that the backend processed the message. ``via`` is ``direct | late | queue``."""

    time_s: float
    client: int
    message_id: str
    via: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One request for a message is over, or was not let through (``outcome`` is ``rejected``).

    ``time_s`` is when it began (sent or refused by us), ``latency_s`` how long it took (0 if nothing was
    sent), ``wait_s`` the wait before it, ``kind`` is ``message | replay``, ``number`` counts from 1.
    """

    time_s: float
    client: int
    message_id: str
    kind: str
    number: int
    wait_s: float
    latency_s: float
    outcome: str
    status_code: int | None


@dataclass(frozen=True, slots=True)
class ProbeEnded:
    """A health check that began at ``time_s`` is over; ``status`` is the verdict after it."""

    time_s: float
    client: int
    latency_s: float
    outcome: str
    status_code: int | None
    status: str


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The monitor changed its mind: ``checking | online | degraded | offline``."""

    time_s: float
    client: int
    previous: str
    current: str
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The circuit breaker moved: ``closed | open | half_open``."""

    time_s: float
    client: int
    previous: str
    current: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """Something happened to a queued message; ``depth`` is the number of pending messages after it.

    ``event`` is ``accepted | duplicate | rejected`` (the answers of add), ``leased | released`` (sending
    began, or ended without a verdict), or one of the ends ``delivered | expired | dead | cancelled``.
    ``dropped`` is the end without a trace that only policies such as the original's allow. A message
    that was displaced ends as ``dead`` with the reason ``displaced``.
    """

    time_s: float
    client: int
    event: str
    message_id: str
    depth: int
    reason: str


@dataclass(frozen=True, slots=True)
class BackendSampled:
    """The backend as it truly is, seen at fixed intervals; ``arrivals`` and ``rejected`` since the last sample.

    ``condition`` is ``ok`` or the mode of the outage in force.
    """

    time_s: float
    condition: str
    capacity: int
    in_service: int
    waiting: int
    arrivals: int
    rejected: int


@dataclass(frozen=True, slots=True)
class EffectHappened:
    """The backend processed a message. ``number`` counts the effects of one message from 1: more is a duplicate."""

    time_s: float
    client: int
    message_id: str
    number: int


@dataclass(frozen=True, slots=True)
class OutageHappened:
    """A stretch in which the backend is not well: the truth that verdicts are held against.

    ``severity`` is the share of requests touched, or of capacity lost, at its worst (0..1).
    """

    time_s: float
    end_s: float
    mode: str
    severity: float


Event = (
    MessageSent
    | MessageAnswered
    | MessageDelivered
    | AttemptEnded
    | ProbeEnded
    | StatusChanged
    | BreakerChanged
    | QueueChanged
    | BackendSampled
    | EffectHappened
    | OutageHappened
)

Emit = Callable[[Event], None]
"""Where events go: a recorder, or any function of one event."""


class Recorder:
    """Keeps events in the order in which they happened; call it with an event."""

    __slots__ = ("_keep", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._keep = self.events.append

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        self._keep(event)

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)
