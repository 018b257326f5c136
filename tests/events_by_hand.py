"""Runs told by hand: a few calls make the events of a run whose metrics are known beforehand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from hustle_sim.analysis import Run
from hustle_sim.events import (
    AttemptEnded,
    BackendSampled,
    EffectHappened,
    Event,
    MessageAnswered,
    MessageDelivered,
    MessageSent,
    OutageHappened,
    ProbeEnded,
    QueueChanged,
    StatusChanged,
)
from hustle_sim.policy import Policy

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


class Story:
    """Collects events; every method returns the story, so that it reads as one sentence."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._status: dict[int, str] = {}
        self._effects: dict[str, int] = {}

    def run(self, duration_s: float = 3600.0, **about: Any) -> Run:
        about = {"policy": Policy(), "start": START, "seed": 7, "scenario": {"name": "by hand"}, **about}
        return Run.from_events(self.events, duration_s=duration_s, **about)

    def sent(self, message_id: str, at_s: float, client: int = 0, priority: int = 1) -> Self:
        self.events.append(MessageSent(at_s, client, message_id, priority))
        return self

    def answered(
        self, message_id: str, at_s: float, after_s: float = 1.0, source: str = "backend", client: int = 0
    ) -> Self:
        """A message that is sent at ``at_s`` and answered ``after_s`` later; by the backend: with one attempt."""
        self.sent(message_id, at_s, client)
        queued = source == "fallback"
        self.events.append(MessageAnswered(at_s + after_s, client, message_id, source, queued, after_s))
        if source == "backend":
            self.attempt(message_id, at_s, after_s, client=client)
            self.delivered(message_id, at_s + after_s, "direct", client)
            self.effect(message_id, at_s + after_s, client)
        return self

    def attempt(
        self, message_id: str, at_s: float, latency_s: float = 1.0, outcome: str = "ok", kind: str = "message",
        number: int = 1, client: int = 0,
    ) -> Self:  # fmt: skip
        code = 200 if outcome == "ok" else None
        self.events.append(AttemptEnded(at_s, client, message_id, kind, number, 0.0, latency_s, outcome, code))
        return self

    def delivered(self, message_id: str, at_s: float, via: str = "queue", client: int = 0) -> Self:
        self.events.append(MessageDelivered(at_s, client, message_id, via))
        return self

    def effect(self, message_id: str, at_s: float, client: int = 0) -> Self:
        number = self._effects[message_id] = self._effects.get(message_id, 0) + 1
        self.events.append(EffectHappened(at_s, client, message_id, number))
        return self

    def queue(self, event: str, message_id: str, at_s: float, depth: int = 0, client: int = 0) -> Self:
        self.events.append(QueueChanged(at_s, client, event, message_id, depth, ""))
        return self

    def verdict(self, status: str, at_s: float, client: int = 0) -> Self:
        previous = self._status.get(client, "checking")
        self._status[client] = status
        self.events.append(StatusChanged(at_s, client, previous, status, f"{status} by hand"))
        return self

    def probe(self, at_s: float, outcome: str = "ok", status: str = "online", client: int = 0) -> Self:
        code = 200 if outcome == "ok" else None
        self.events.append(ProbeEnded(at_s, client, 0.1, outcome, code, status))
        return self

    def outage(self, start_s: float, end_s: float, mode: str = "refuse", severity: float = 1.0) -> Self:
        self.events.append(OutageHappened(start_s, end_s, mode, severity))
        return self

    def sample(self, at_s: float, in_service: int = 1, waiting: int = 0, arrivals: int = 1) -> Self:
        self.events.append(BackendSampled(at_s, "ok", 4, in_service, waiting, arrivals, 0))
        return self


def outage_story(clients: int = 1, hours: int = 2, every_s: float = 30.0) -> Story:
    """A run with all that can be drawn: an outage in the middle, noticed, queued through, and drained."""
    story = Story()
    begins_s, ends_s = hours * 1200.0, hours * 2400.0
    story.outage(begins_s, ends_s, "hang")
    for client in range(clients):
        depth, waiting = 0, []
        story.verdict("online", 1.0 + client, client).verdict("offline", begins_s + 20 + client, client)
        story.verdict("online", ends_s + 30 + client, client)
        for number in range(int(hours * 3600 / every_s)):
            at_s, name = number * every_s + client % 7, f"{client}-{number}"
            story.probe(at_s, client=client)
            if begins_s <= at_s < ends_s:
                depth += 1
                story.attempt(name, at_s, 8.0, "timeout", client=client)
                story.answered(name, at_s, 8.0, "fallback", client).queue("accepted", name, at_s + 8, depth, client)
                waiting.append(name)
            else:
                story.answered(name, at_s, 0.5 + number % 5 / 5, client=client)
        for place, name in enumerate(waiting):
            at_s = ends_s + 31 + place
            depth -= 1
            event = "dead" if place % 9 == 8 else "delivered"
            story.attempt(name, at_s, 0.5, kind="replay", number=2, client=client)
            story.queue(event, name, at_s + 0.5, depth, client)
            if event == "delivered":
                story.delivered(name, at_s + 0.5, client=client)
    for at_s in range(0, hours * 3600, 10):
        story.sample(float(at_s), arrivals=1, waiting=3 if begins_s <= at_s < ends_s else 0)
    return story
