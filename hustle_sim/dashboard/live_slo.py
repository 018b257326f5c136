"""What a backend promised and what of it is kept, without a widget in sight: goals, and the error budget they leave.

The availability is the share of the watched time in which the verdict was not ``offline``. The error budget is what the
goal allows in 30 days; it is used up by every second offline, as far as the backend was watched in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hustle_sim.inputs import InputError, format_duration
from hustle_sim.live.digest import Bucket, Incident

PERIOD_S = 30 * 86400.0
"""The time that an error budget is for."""

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Goals:
    """What was promised: a share of the time (0..1, less than 1) and a latency of the health check (s)."""

    available_share: float = 0.995
    latency_s: float = 3.0


def goals_of(percent: float, latency_s: float) -> Goals:
    """The goals that somebody typed. Raises InputError with one sentence."""
    if not 0 < percent < 100:
        raise InputError(f"the availability goal is a percentage above 0 and below 100, not {percent:g}")
    if not (0 < latency_s < math.inf):
        raise InputError(f"the latency goal is a number of seconds above 0, not {latency_s:g}")
    return Goals(percent / 100, latency_s)


def read_goals(text: str) -> Goals:
    """The goals that ``write_goals`` wrote. Raises InputError with one sentence."""
    try:
        percent, latency_s = (float(word) for word in text.split())
    except ValueError:
        raise InputError(f"goals are written as '99.5 3' (percent of the time, seconds at p95), not {text!r}") from None
    return goals_of(percent, latency_s)


def write_goals(goals: Goals) -> str:
    """The goals as one argument of an address; empty for the usual ones."""
    return "" if goals == Goals() else f"{100 * goals.available_share:.6g} {goals.latency_s:.6g}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One card: its name, value, two lines below it, and whether that is good (None: neither good nor bad)."""

    name: str
    label: str
    value: str
    below: str
    more: str
    good: bool | None
    tip: str


def percent(share: float) -> str:
    """A share of the time, with as many digits as tell it from 100 %: ``"99.987 %"``."""
    if math.isnan(share):
        return "–"
    for digits in (1, 2, 3):
        if share >= 1 or round(100 * share, digits) < 100:
            break
    # Rounding must not hide an outage.
    shown = math.floor(100 * share * 10**digits) / 10**digits
    return f"{shown:.{digits}f} %" if shown < 100 else "100 %"


def facts(goals: Goals, month: Bucket, day: Bucket, incidents: Sequence[Incident], now_s: float) -> list[Fact]:
    """The four cards of a target: availability, latency, time since the last incident, error budget left."""
    return [_availability(goals, month), _latency(goals, day), _since(incidents, now_s, month), _budget(goals, month)]


def budget_left(goals: Goals, month: Bucket) -> float:
    """Share of the error budget that is left; negative when more was used than there is."""
    return 1 - month.offline_s / ((1 - goals.available_share) * PERIOD_S)


def _availability(goals: Goals, month: Bucket) -> Fact:
    share = month.available_share
    known = not math.isnan(share)
    return Fact(
        "availability", "Availability", percent(share),
        f"goal {percent(goals.available_share)}",
        f"in {format_duration(round(month.watched_s))} watched" if known else "no verdict yet",
        share >= goals.available_share if known else None,
        "Share of the watched time, of the last 30 days, in which the verdict was not offline.",
    )  # fmt: skip


def _latency(goals: Goals, day: Bucket) -> Fact:
    p95_s, p50_s = day.latency_s(0.95), day.latency_s(0.5)
    known = not math.isnan(p95_s)
    return Fact(
        "latency", "p95 latency", format_duration(p95_s),
        f"goal {format_duration(goals.latency_s)}",
        f"p50 {format_duration(p50_s)}" if known else "no answer yet",
        p95_s <= goals.latency_s if known else None,
        "95 % of the health checks answered in the last 24 hours took no longer.",
    )  # fmt: skip


def _since(incidents: Sequence[Incident], now_s: float, month: Bucket) -> Fact:
    tip = "Time since the verdict was last anything but online."
    if not incidents:
        below = "none seen" if month.checks else "nothing seen yet"
        return Fact("incident", "Since an incident", "–", below, "", True if month.checks else None, tip)
    last = incidents[-1]
    if math.isinf(last.end_s):
        lasts = format_duration(float(round(now_s - last.start_s)))
        return Fact("incident", "Since an incident", "now", f"{last.worst} for {lasts}", last.reason, False, tip)
    ago = format_duration(float(round(now_s - last.end_s)))
    lasted = format_duration(float(round(last.end_s - last.start_s)))
    return Fact("incident", "Since an incident", ago, f"the last took {lasted}", f"{len(incidents)} in all", None, tip)


def _budget(goals: Goals, month: Bucket) -> Fact:
    whole_s = (1 - goals.available_share) * PERIOD_S
    left = budget_left(goals, month)
    used = f"{format_duration(float(round(month.offline_s)))} of {format_duration(float(round(whole_s)))} used"
    value = f"{max(left, 0) * 100:.0f} %" if left <= 0.99 or left == 1 else "over 99 %"
    return Fact(
        "budget", "Error budget left", value if left > 0 else "none",
        used, "in 30 days", left > 0,
        f"A goal of {percent(goals.available_share)} allows {format_duration(float(round(whole_s)))} offline in "
        "30 days; this share of it is left.",
    )  # fmt: skip
