"""What a timeline of outages shows: each outage with its place, its lane and its words; ticks; when people write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hustle_sim.analysis.palette import MODE
from hustle_sim.analysis.shapes import nice_width_s
from hustle_sim.dashboard.scenario_edit_state import EXAMPLE_SEED, examples, in_words, kind_of, step_s
from hustle_sim.dashboard.scenario_sketch import load, patterns
from hustle_sim.simulation.outages import Outage
from hustle_sim.simulation.scenario import Scenario

LANES = 4
"""Outages at the same time stand in as many lanes; what overlaps further shares the last."""

DRAWN = 400
"""So many outages are drawn one by one; a timeline has no more pixels."""

_DAY_S = 86400.0
_TICKS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One outage on the timeline: of which specification, the how-manieth of it, from when to when, in which lane."""

    index: int
    number: int
    outage: Outage
    start_s: float
    end_s: float
    lane: int


def bars(scenario: Scenario, seed: int = EXAMPLE_SEED) -> list[Bar]:
    """The outages with their lanes: each in the first lane that is free, in the order of their beginnings."""
    known: list[tuple[int, int, Outage]] = []
    for index in range(len(scenario.outages)):
        known += [(index, number, outage) for number, outage in enumerate(examples(scenario, index, seed)[:DRAWN])]
    free_s: list[float] = []
    found = []
    for index, number, outage in sorted(known, key=lambda each: (each[2].start_s, each[0], each[1])):
        start_s, end_s = max(0.0, outage.start_s), min(outage.end_s, scenario.duration_s)
        lane = next((lane for lane, until_s in enumerate(free_s) if until_s <= start_s), len(free_s))
        lane = min(lane, LANES - 1)
        free_s[lane : lane + 1] = [max(end_s, free_s[lane] if lane < len(free_s) else 0.0)]
        found.append(Bar(index, number, outage, start_s, end_s, lane))
    return sorted(found, key=lambda bar: (bar.index, bar.number))


def ticks(scenario: Scenario) -> list[tuple[float, str]]:
    """Round times of the clock (UTC) as shares of the duration, each with its words; days in a long scenario."""
    width_s = nice_width_s(scenario.duration_s, _TICKS)
    start = scenario.start
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    into_s = (start - midnight).total_seconds()
    found = []
    at_s = -(into_s % width_s) + (width_s if into_s % width_s else 0.0)
    while at_s < scenario.duration_s:
        at = start + timedelta(seconds=at_s)
        if width_s >= _DAY_S:
            words = f"day {(at - midnight).days + 1}" if scenario.duration_s < 90 * _DAY_S else f"{at:%Y-%m-%d}"
        else:
            words = f"{at:%H:%M}" if width_s >= 60 else f"{at:%H:%M:%S}"
        found.append((at_s / scenario.duration_s, words))
        at_s += width_s
    return found


def scene(scenario: Scenario, seed: int = EXAMPLE_SEED) -> dict[str, Any]:
    """All that the browser draws and drags with; times in seconds since the start."""
    shown = bars(scenario, seed)
    rates = load(scenario.clients, scenario.start, scenario.duration_s)
    most = max(rates) or 1.0
    modes = list(dict.fromkeys(bar.outage.mode for bar in shown))
    return {
        "duration_s": scenario.duration_s,
        "step_s": step_s(scenario),
        "start": scenario.start.timestamp(),
        "lanes": max((bar.lane for bar in shown), default=0) + 1,
        "bars": [
            {
                "index": bar.index,
                "number": bar.number,
                "free": kind_of(scenario.outages[bar.index]) == "scheduled",
                "start_s": bar.start_s,
                "end_s": bar.end_s,
                "ramp_s": bar.outage.ramp_s,
                "lane": bar.lane,
                "mode": bar.outage.mode,
                "glyph": MODE[bar.outage.mode].glyph,
                "severity": bar.outage.severity,
                "words": in_words(scenario, bar.index),
            }
            for bar in shown
        ],
        "legend": [[mode, MODE[mode].glyph, MODE[mode].word] for mode in modes],
        "patterns": patterns("line", modes),
        "ticks": ticks(scenario),
        "load": [rate / most for rate in rates],
        "note": _note(scenario, most),
    }


def _note(scenario: Scenario, most: float) -> str:
    kinds = {kind_of(spec) for spec in scenario.outages}
    notes = [f"The grey band below: up to {most:,.0f} messages an hour."]
    if "random" in kinds:
        notes.append(f"Random outages are shown as an example, those of seed {EXAMPLE_SEED}; each seed has others.")
    if "replay" in kinds:
        notes.append("Recorded outages stand where the record has them.")
    return " ".join(notes)
