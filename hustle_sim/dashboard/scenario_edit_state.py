"""What editing does to a scenario: each operation makes another one, or says in a sentence why it can't.

Without a widget in sight. An operation on the timeline (move, resize, add) keeps within the scenario, as a hand that
drags expects; what is typed into a field is taken as it is, or refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, Literal

from hustle_sim.analysis.palette import MODE
from hustle_sim.analysis.shapes import nice_width_s
from hustle_sim.inputs import InputError, write_duration
from hustle_sim.simulation.outages import PARAMETERS, Mode, Outage, OutageSpec
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

EXAMPLE_SEED = 7
"""Random outages are shown as those of this seed, which is the seed that the page begins with."""

MOST = 2000
"""So many outages of one specification are drawn, or made scheduled, at most."""

KEPT = 200
"""Edits that can be undone."""

Kind = Literal["scheduled", "random", "replay"]


def spec_of(scenario: Scenario, index: int) -> OutageSpec:
    """A specification by its place, counted from 0. Raises InputError if there is none."""
    if not 0 <= index < len(scenario.outages):
        raise InputError(f"there is no outage {index + 1}: the scenario has {len(scenario.outages)}")
    return scenario.outages[index]


def kind_of(spec: OutageSpec) -> Kind:
    """How an outage is said to come: at a time, at random, or from a record."""
    return "scheduled" if spec.at_s is not None else "random" if spec.mtbf_s is not None else "replay"


def examples(scenario: Scenario, index: int, seed: int = EXAMPLE_SEED) -> list[Outage]:
    """What one specification means in the run with this seed, as far as it is inside; ``MOST`` at most."""
    spec = scenario.outages[index]
    coming = spec.outages(index, duration_s=scenario.duration_s, start=scenario.start, draws=Draws(seed))
    return [
        outage
        for outage in islice(coming, MOST)
        if outage.end_s > max(0.0, outage.start_s) and outage.start_s < scenario.duration_s
    ]


def step_s(scenario: Scenario) -> float:
    """The grid that a timeline keeps to: a round length, about a three hundredth of the scenario."""
    return min(nice_width_s(scenario.duration_s, 360), scenario.duration_s)


# The timeline


def move_outage(scenario: Scenario, index: int, at_s: float) -> Scenario:
    """The scheduled outage begins at another time, and lasts as long; it stays inside as far as it can."""
    spec = _scheduled(scenario, index)
    latest_s = max(0.0, scenario.duration_s - _lasts(spec))
    return _with(scenario, index, {"at_s": _within(at_s, 0.0, latest_s)})


def resize_outage(
    scenario: Scenario, index: int, *, start_s: float | None = None, end_s: float | None = None
) -> Scenario:
    """One end of the scheduled outage moves (or both), the other stays; it keeps some length and stays inside."""
    spec = _scheduled(scenario, index)
    old_start_s, old_end_s = spec.at_s or 0.0, (spec.at_s or 0.0) + _lasts(spec)
    least_s = min(step_s(scenario), _lasts(spec))
    new_start_s, new_end_s = old_start_s, old_end_s
    if start_s is not None:
        new_start_s = _within(start_s, 0.0, max(0.0, min(old_end_s, scenario.duration_s) - least_s))
    if end_s is not None:
        new_end_s = _within(end_s, new_start_s + least_s, max(new_start_s + least_s, scenario.duration_s))
    lasts_s = new_end_s - new_start_s
    return _with(
        scenario, index, {"at_s": new_start_s, "lasts_s": lasts_s, "ramp_s": min(spec.ramp_s, lasts_s)}
    )  # fmt: skip


def add_outage(scenario: Scenario, at_s: float | None = None, mode: Mode = "hang") -> Scenario:
    """One more scheduled outage, the last of the list; without a time it comes where there is most room."""
    step = step_s(scenario)
    if at_s is None:
        free = max(_free(scenario), key=lambda each: each[1] - each[0])
        lasts_s = min(nice_width_s(scenario.duration_s, 20), max(step, (free[1] - free[0]) / 2))
        at_s = (free[0] + free[1] - lasts_s) / 2 // step * step
    else:
        lasts_s = nice_width_s(scenario.duration_s, 20)
    at_s = _within(at_s, 0.0, scenario.duration_s - step if step < scenario.duration_s else 0.0)
    spec = {
        "at_s": at_s,
        "lasts_s": min(lasts_s, scenario.duration_s - at_s),
        "mode": mode,
        **_needed(scenario, mode),
    }
    return scenario.replace({"outages": [*_dumped(scenario), spec]})


def delete_outage(scenario: Scenario, index: int) -> Scenario:
    """One specification less; those after it move up."""
    spec_of(scenario, index)
    specs = _dumped(scenario)
    del specs[index]
    return scenario.replace({"outages": specs})


def set_mode(scenario: Scenario, index: int, mode: str) -> Scenario:
    """Another mode, with the parameters that both have; what the new one has to have is filled in."""
    if mode not in PARAMETERS:
        raise InputError(f"there is no mode {mode!r}: one of {', '.join(PARAMETERS)}")
    spec = spec_of(scenario, index)
    if kind_of(spec) == "replay":
        raise InputError("a replay has a mode for each impact: make its outages scheduled to change one")
    old = PARAMETERS[spec.mode or mode]
    gone = {name: None for name in old if name not in PARAMETERS[mode]}
    needed = {name: value for name, value in _needed(scenario, mode).items() if getattr(spec, name) is None}
    return _with(scenario, index, {**gone, **needed, "mode": mode})


def make_scheduled(scenario: Scenario, index: int, seed: int = EXAMPLE_SEED) -> Scenario:
    """Random or replayed outages become scheduled ones, as they come in the run with this seed."""
    spec = spec_of(scenario, index)
    if kind_of(spec) == "scheduled":
        raise InputError("this outage is scheduled already")
    known = examples(scenario, index, seed)
    if len(known) >= MOST:
        raise InputError(f"these are {MOST} outages or more: make the scenario shorter, or the outages rarer, first")
    specs = _dumped(scenario)
    specs[index : index + 1] = [_spec_of(outage) for outage in known]
    return scenario.replace({"outages": specs})


def copy_name(name: str, taken: Collection[str]) -> str:
    """What an edited copy is called: ``"hang (edited)"``, or ``"hang (edited 2)"`` if there is one already."""
    for number in count(1):
        wanted = f"{name} (edited{'' if number == 1 else f' {number}'})"
        if wanted not in taken:
            return wanted
    raise AssertionError


def _spec_of(outage: Outage) -> dict[str, Any]:
    """A scheduled specification that means this outage; one that began before the start begins with it."""
    at_s = max(0.0, outage.start_s)
    spec: dict[str, Any] = {"at_s": at_s, "lasts_s": outage.end_s - at_s, "mode": outage.mode}
    # As the timeline cuts it: the rest of its ramp.
    spec["ramp_s"] = min(max(0.0, outage.ramp_s - (at_s - outage.start_s)), spec["lasts_s"])
    for name in PARAMETERS[outage.mode]:
        spec[name] = getattr(outage, "status_code" if name == "status" else name)
    return {name: value for name, value in spec.items() if value is not None}


def _needed(scenario: Scenario, mode: str) -> dict[str, float]:
    """A rate limit has no default: half of what the people send on average, so that it is felt."""
    if mode != "rate_limit":
        return {}
    per_s = scenario.clients.count * scenario.clients.messages_per_hour / 3600 + scenario.backend.background_per_s
    return {"rate_per_s": _within(float(f"{per_s / 2:.2g}"), 0.001, 1e6) if per_s else 1.0}


def _free(scenario: Scenario) -> Iterator[tuple[float, float]]:
    """The stretches without a known outage; the whole scenario if there are none."""
    busy = sorted(
        (outage.start_s, outage.end_s) for index in range(len(scenario.outages)) for outage in examples(scenario, index)
    )
    reached_s, found = 0.0, False
    for start_s, end_s in [*busy, (scenario.duration_s, math.inf)]:
        if start_s > reached_s:
            found = True
            yield reached_s, start_s
        reached_s = max(reached_s, end_s)
    if not found:
        yield 0.0, scenario.duration_s


def _scheduled(scenario: Scenario, index: int) -> OutageSpec:
    spec = spec_of(scenario, index)
    if kind_of(spec) != "scheduled":
        raise InputError("random and replayed outages have no time of their own: make them scheduled to move one")
    return spec


def _lasts(spec: OutageSpec) -> float:
    return spec.lasts_s or 0.0


def _within(value: float, low: float, high: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"a time in seconds is needed, not {value}")
    return max(low, min(value, high))


def _dumped(scenario: Scenario) -> list[dict[str, Any]]:
    return [spec.model_dump(exclude_none=True) for spec in scenario.outages]


def _with(scenario: Scenario, index: int, changes: Mapping[str, Any]) -> Scenario:
    return scenario.replace({f"outages.{index}.{name}": value for name, value in changes.items()})


def in_words(scenario: Scenario, index: int) -> str:
    """One specification in a line: what it does, when, for how long."""
    spec = spec_of(scenario, index)
    if kind_of(spec) == "replay":
        known = len(examples(scenario, index))
        return f"{known} recorded outages" + (f" of {spec.provider}" if spec.provider else "")
    what = MODE[spec.mode or "hang"].word
    if spec.at_s is not None:
        return f"{what}, after {write_duration(spec.at_s)} for {write_duration(_lasts(spec))}"
    assert spec.mtbf_s is not None
    assert spec.mttr is not None
    return (
        f"{what}, at random: {write_duration(round(spec.mtbf_s))} between two on average, "
        f"for {write_duration(round(spec.mttr.median_s))} (median)"
    )


# Undo and redo


@dataclass(frozen=True, slots=True)
class History:
    """A scenario, what it was before its edits, and what it was before they were taken back."""

    present: Scenario
    past: tuple[Scenario, ...] = ()
    future: tuple[Scenario, ...] = ()
    key: object = None

    def edited(self, scenario: Scenario, key: object = None) -> History:
        """After an edit. Edits with one key (not None), such as the steps of one drag, are undone as one."""
        if scenario == self.present:
            return self
        if key is not None and key == self.key:
            return replace(self, present=scenario)
        return History(scenario, (*self.past, self.present)[-KEPT:], (), key)

    def undone(self) -> History:
        """After the last edit was taken back; the same if there is none."""
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (self.present, *self.future))

    def redone(self) -> History:
        """After the last edit that was taken back was made again; the same if there is none."""
        if not self.future:
            return self
        return History(self.future[0], (*self.past, self.present), self.future[1:])
