"""A target that a page watches, without a widget in sight: what its line, its tile and its cards say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hustle_sim.dashboard.indicator import seen
from hustle_sim.dashboard.live_practice import take_seat
from hustle_sim.dashboard.live_slo import DAY_S, PERIOD_S, Goals, facts, percent
from hustle_sim.dashboard.live_state import (
    CELLS,
    Feed,
    News,
    beats,
    beats_in_words,
    cell_s,
    summary,
    watch_policy,
    zero_of,
)
from hustle_sim.dashboard.live_targets import Target
from hustle_sim.dashboard.live_words import breaker_fact, cards, incidents, queue_fact
from hustle_sim.inputs import format_duration
from hustle_sim.live.session import KEEP_EVENTS
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.live.session import LiveSession, Seat
    from hustle_sim.live.settings import Settings

_FIGURES_S = 1.0


@dataclass
class Watch:
    """A target with a seat in its session, and what the page has seen of it."""

    target: Target
    seat: Seat
    feed: Feed = field(default_factory=Feed)
    cells: list[list[str]] = field(default_factory=list)
    figures: list[list[str]] = field(default_factory=list)
    _figures_at: float = -math.inf

    @property
    def session(self) -> LiveSession:
        """The session that watches it."""
        return self.seat.session

    def pull(self, now: float) -> News:
        """What is new since the last time; ``now`` is POSIX seconds. Cells and figures are those of now."""
        news = self.feed.pull(self.session)
        width_s = cell_s(self.session.policy.probe)
        if news.points or not self.cells or now // width_s != self._figures_at // width_s:
            self.cells = beats(self.feed.points, now, width_s)
        if news.points or news.stretches or now - self._figures_at >= _FIGURES_S:
            self._figures_at = now
            self.figures = self._count()
        return news

    def line(self) -> dict[str, Any]:
        """What its line shows."""
        return {
            "label": self.target.name,
            "pace": f"probed every {self.target.every}",
            "cells": self.cells,
            "words": beats_in_words(self.cells),
            "span": self._span(),
            "figures": self.figures,
        }

    def tile(self, now: float) -> dict[str, Any]:
        """What its tile on the wall shows."""
        shown = seen(self.session.health, now)
        up, p50, p95 = (value for _, value in self.figures)
        return {
            **{name: shown[name] for name in ("status", "word", "latency", "age_s", "probing", "note")},
            "label": self.target.name,
            "cells": self.cells,
            "words": beats_in_words(self.cells),
            "foot": f"up {up} · p50 {p50} · p95 {p95}",
        }

    def cards(self, goals: Goals, waiting: int, dead: int) -> str:
        """The cards of its details, as HTML."""
        session = self.session
        now_s, digest = session.now_s, session.digest
        found = facts(goals, digest.summary(now_s, PERIOD_S), digest.summary(now_s, DAY_S), digest.incidents(), now_s)
        breaker = breaker_fact(session.breaker, session.policy.breaker)
        return cards([*found, breaker, queue_fact(waiting, dead)])

    def summary(self) -> str:
        """Its probes in a line, and what is forgotten of it, as HTML."""
        lost = self.session.version - KEEP_EVENTS
        line = summary(self.feed.points)
        if lost > 0:
            line += f" · the oldest {lost:,} events are forgotten: their minutes and hours are kept, and in no download"
        return f"<p>{line}</p>"

    def incidents(self) -> str:
        """The incidents, as an HTML table."""
        zero, now_s = zero_of(self.session), self.session.now_s
        return incidents(self.session.digest.incidents(), lambda time_s: zero + time_s, now_s)

    def _count(self) -> list[list[str]]:
        day = self.session.digest.summary(self.session.now_s, DAY_S)
        return [
            ["up", percent(day.available_share)],
            ["p50", format_duration(day.latency_s(0.5))],
            ["p95", format_duration(day.latency_s(0.95))],
        ]

    def _span(self) -> str:
        width_s = cell_s(self.session.policy.probe)
        return f"last {format_duration(CELLS * width_s)}, {format_duration(width_s)} each, newest at the right"


def begin(target: Target, settings: Settings) -> Watch:
    """Take a seat: to be called in a thread, since a session may have to start. Raises InputError."""
    policy = watch_policy(target.interval_s, Policy.from_environment())
    return Watch(target, take_seat("" if target.is_practice else target.url, policy, settings))
