"""What goes wrong with a backend, and when: outages as people write them, and the timeline that follows.

``resolve`` turns the specifications of a scenario into outages with a beginning and an end; a ``Timeline`` says
in which condition the backend is at any time. It is pure, and serves the simulated and the practice backend alike.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from hustle_sim.inputs import InputError, Seconds, closest
from hustle_sim.simulation.distributions import (
    TEN_YEARS_S,
    Distribution,
    Exponential,
    Gamma,
    Lognormal,
    csv_lines,
    folder_of,
)
from hustle_sim.simulation.randomness import Draws

Mode = Literal["refuse", "hang", "error", "slow", "rate_limit", "brownout", "bad_body", "flap"]

WORST_FIRST: tuple[Mode, ...] = ("refuse", "flap", "hang", "error", "bad_body", "rate_limit", "brownout", "slow")
"""Where outages overlap, the first of these names the condition."""

RAMP_STEPS = 20
"""A ramp is cut into this many steps, each as high as the ramp in its middle."""

# Steps of a shorter ramp could not be told apart late in a long scenario.
_NO_RAMP_S = 0.001

PARAMETERS: Mapping[str, Mapping[str, float | int | None]] = {
    "refuse": {"share": 1.0},
    "hang": {"share": 1.0},
    "error": {"share": 1.0, "status": 500},
    "bad_body": {"share": 1.0},
    "flap": {"share": 1.0, "period_s": 60.0, "duty": 0.5},
    "slow": {"factor": 3.0},
    "rate_limit": {"rate_per_s": None, "retry_after_s": None},
    "brownout": {"capacity_factor": 0.5},
}
"""The parameters of each mode with their defaults; None: has to be given, unless it is the optional retry_after_s."""


def utc(moment: datetime) -> datetime:
    """A moment in UTC; one without a zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(utc)]
"""A moment in UTC; written without a zone it is UTC already."""


def _parameter(unit: str, why: str, **bounds: Any) -> Any:
    return Field(default=None, description=why, json_schema_extra={"unit": unit}, **bounds)


class ModeSpec(BaseModel):
    """What an outage does: a mode, and the parameters that belong to it. Left out, a parameter has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Mode | None = Field(
        default=None,
        description="refuse: no connection; hang: no answer; error: a status; slow: takes longer; "
        "rate_limit: 429 above a rate; brownout: less capacity; bad_body: half an answer; flap: refuses now and then.",
    )
    share: float | None = _parameter("share", "Share of the requests that a fault touches (default 1).", gt=0, le=1)
    ramp_s: Seconds = Field(
        default=0.0, ge=0, le=TEN_YEARS_S, description="Grows from nothing to its full extent over this long.",
        json_schema_extra={"unit": "s"},
    )  # fmt: skip
    status: int | None = _parameter("", "error: the status of the answer (default 500).", ge=400, le=599)
    factor: float | None = _parameter("times", "slow: service takes this many times longer (default 3).", ge=1, le=1000)
    rate_per_s: float | None = _parameter(
        "requests/s", "rate_limit: requests above this rate get a 429.", gt=0, le=1_000_000
    )
    retry_after_s: Seconds | None = _parameter(
        "s", "rate_limit: the Retry-After of a 429 (default: none).", ge=0, le=86400
    )
    capacity_factor: float | None = _parameter(
        "share", "brownout: this share of the capacity is left (default 0.5).", ge=0, lt=1
    )
    period_s: Seconds | None = _parameter("s", "flap: one turn down and up (default 60 s).", ge=0.1, le=86400)
    duty: float | None = _parameter("share", "flap: share of each period that is down (default 0.5).", ge=0.01, le=0.99)

    @model_validator(mode="after")
    def _belongs_to_the_mode(self) -> Self:
        known = PARAMETERS.get(self.mode or "", {})
        for name in ("share", "status", "factor", "rate_per_s", "retry_after_s", "capacity_factor", "period_s", "duty"):
            if getattr(self, name) is not None and name not in known:
                if self.mode is None:
                    raise ValueError(f"{name} needs a mode: one of {', '.join(PARAMETERS)}")
                raise ValueError(f"{name} does not belong to mode {self.mode}, which has {', '.join(known)} and ramp_s")
        if self.mode == "rate_limit" and self.rate_per_s is None:
            raise ValueError("mode rate_limit needs rate_per_s")
        return self

    def at(self, start_s: float, end_s: float) -> Outage:
        """The outage from ``start_s`` to ``end_s``, with the mode's defaults where nothing is given."""
        assert self.mode is not None
        given: dict[str, Any] = {}
        for name, default in PARAMETERS[self.mode].items():
            value = getattr(self, name)
            given["status_code" if name == "status" else name] = default if value is None else value
        return Outage(start_s, end_s, self.mode, ramp_s=self.ramp_s, **given)


class Incident(BaseModel):
    """A recorded incident. ``impact`` is a status page's: 0 none, 1 minor, 2 major, 3 critical, 4 maintenance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started_at: UtcTime
    resolved_at: UtcTime
    impact: int = Field(ge=0, le=4)
    provider: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.resolved_at < self.started_at:
            raise ValueError("resolved_at is before started_at")
        return self


IMPACTS: dict[int, ModeSpec] = {
    1: ModeSpec(mode="slow", factor=3),
    2: ModeSpec(mode="error", share=0.5, status=503),
    3: ModeSpec(mode="refuse"),
    4: ModeSpec(mode="error", status=503),
}
"""What an impact does where ``modes`` does not say it. Impact 0 does nothing."""


class OutageSpec(ModeSpec):
    """One ``[[outages]]`` table: scheduled (``at_s``, ``lasts_s``), random (``mtbf_s``, ``mttr``) or replayed."""

    at_s: Seconds | None = _parameter("s", "Scheduled: begins this long after the start.", ge=0, le=TEN_YEARS_S)
    lasts_s: Seconds | None = _parameter("s", "Scheduled: lasts this long.", gt=0, le=TEN_YEARS_S)
    mtbf_s: Seconds | None = _parameter(
        "s", "Random: mean time from the end of one to the beginning of the next.", ge=10, le=TEN_YEARS_S
    )
    gap: Literal["exponential", "lognormal", "gamma"] | None = Field(
        default=None, description="Random: how the gaps are spread (default exponential)."
    )
    gap_cv: float | None = _parameter(
        "", "Random: standard deviation of the gaps over their mean; above 1 they come in bursts.", ge=0.01, le=10
    )
    mttr: Distribution | None = Field(default=None, description="Random: how long each lasts.")
    replay: str | None = Field(
        default=None, description="Replayed: a CSV file with started_at, resolved_at and impact, beside the scenario."
    )
    provider: str | None = Field(default=None, description="Replayed: only the incidents of this provider.")
    modes: dict[Annotated[int, Field(ge=0, le=4)], ModeSpec] = Field(
        default_factory=dict, description="Replayed: what each impact does, such as {1 = {mode = 'slow', factor = 3}}."
    )
    incidents: tuple[Incident, ...] = Field(default=(), description="Replayed: the incidents; read from the file.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, Mapping) or "incidents" in given or not isinstance(given.get("replay"), str):
            return given
        return {**given, "incidents": read_incidents(folder_of(info) / given["replay"])}

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        replayed = self.replay is not None or bool(self.incidents)
        ways = {"at_s": self.at_s is not None, "mtbf_s": self.mtbf_s is not None, "replay": replayed}
        chosen = [name for name, is_chosen in ways.items() if is_chosen]
        if len(chosen) != 1:
            what = f"not {' and '.join(chosen)}" if chosen else "and has none"
            raise ValueError(f"an outage needs one of at_s (scheduled), mtbf_s (random) or replay, {what}")
        for way, names in _BELONGS.items():
            for name in names:
                value = getattr(self, name)
                if way != chosen[0] and value is not None and value != {}:
                    raise ValueError(f"{name} belongs to {way}, not to {chosen[0]}")
        if replayed:
            self._can_be_replayed()
        elif self.mode is None:
            raise ValueError(f"an outage needs a mode: one of {', '.join(PARAMETERS)}")
        if self.at_s is not None:
            if self.lasts_s is None:
                raise ValueError("an outage with at_s needs lasts_s")
            if self.ramp_s > self.lasts_s:
                raise ValueError(f"ramp_s ({self.ramp_s:g}) must not exceed lasts_s ({self.lasts_s:g})")
        if self.mtbf_s is not None:
            if self.mttr is None:
                raise ValueError("an outage with mtbf_s needs mttr, the distribution of how long each lasts")
            if self.gap_cv not in (None, 1) and self.gap in (None, "exponential"):
                raise ValueError("gap_cv belongs to gap = 'lognormal' or 'gamma': exponential gaps have 1")
        return self

    def _can_be_replayed(self) -> None:
        if self.mode is not None or self.ramp_s:
            raise ValueError("mode and ramp_s do not belong to a replay: say in modes what each impact does")
        for impact, mode in self.modes.items():
            if mode.mode is None:
                raise ValueError(f"modes.{impact} needs a mode: one of {', '.join(PARAMETERS)}")
        providers = sorted({incident.provider for incident in self.incidents})
        if self.provider is not None and self.provider not in providers:
            raise ValueError(f"there is no incident of provider {self.provider!r}{closest(self.provider, providers)}")

    def outages(self, index: int, *, duration_s: float, start: datetime, draws: Draws) -> Iterator[Outage]:
        """The outages that this specification, the ``index``-th of its scenario, means; they may pass the end."""
        if self.at_s is not None and self.lasts_s is not None:
            yield self.at(self.at_s, self.at_s + self.lasts_s)
        elif self.mtbf_s is not None:
            yield from self._random(index, duration_s, draws)
        else:
            for incident in self.incidents:
                mode = self.modes.get(incident.impact) or IMPACTS.get(incident.impact)
                if mode is not None and self.provider in (None, incident.provider):
                    start_s = (incident.started_at - start).total_seconds()
                    yield mode.at(start_s, (incident.resolved_at - start).total_seconds())

    def _random(self, index: int, duration_s: float, draws: Draws) -> Iterator[Outage]:
        assert self.mtbf_s is not None
        assert self.mttr is not None
        gap = _gap(self.gap or "exponential", self.mtbf_s, self.gap_cv or 1.0)
        end_s = 0.0
        number = 0
        while end_s < duration_s:
            # A scenario begins at any moment, more likely within a long gap than within a short one.
            between = gap if number else _seen_by_chance(gap)
            share = 1.0 if number else draws.uniform("outage.phase", index)
            start_s = end_s + share * between.sample(draws.uniform("outage.gap", index, number))
            end_s = start_s + self.mttr.sample(draws.uniform("outage.lasts", index, number))
            yield self.at(start_s, end_s)
            number += 1


_BELONGS = {
    "at_s": ("lasts_s",),
    "mtbf_s": ("gap", "gap_cv", "mttr"),
    "replay": ("provider", "modes"),
}


def _gap(kind: str, mean_s: float, cv: float) -> Exponential | Lognormal | Gamma:
    if kind == "exponential":
        return Exponential(mean_s=mean_s)
    if kind == "gamma":
        return Gamma(mean_s=mean_s, cv=cv)
    variance = math.log1p(cv * cv)
    return Lognormal.of(mean_s * math.exp(-variance / 2), math.sqrt(variance))


def _seen_by_chance(gap: Exponential | Lognormal | Gamma) -> Lognormal | Gamma:
    """The gap that an observer at a random moment finds, drawn in proportion to its length (inspection paradox)."""
    if isinstance(gap, Lognormal):
        return Lognormal.of(gap.median_s * math.exp(gap.sigma**2), gap.sigma)
    shape = gap.k if isinstance(gap, Gamma) else 1.0
    return Gamma(mean_s=gap.mean_s * (shape + 1) / shape, shape=min(10_000.0, shape + 1))


def read_incidents(path: Path) -> tuple[Incident, ...]:
    """The rows of a CSV file with ``started_at, resolved_at, impact`` and maybe ``provider``; others are ignored.

    Times are ISO 8601, UTC where there is no zone. Raises InputError with file and line.
    """
    (_, header), *rows = csv_lines(path)
    for name in ("started_at", "resolved_at", "impact"):
        if name not in header:
            raise InputError(f"{path} has no column {name!r}: it needs started_at, resolved_at and impact")
    incidents = []
    for line, row in rows:
        cells = dict(zip(header, row, strict=False))
        where = f"{path}, line {line}"
        started_at, resolved_at = (_moment(cells.get(name, ""), name, where) for name in ("started_at", "resolved_at"))
        if resolved_at < started_at:
            raise InputError(f"{where}: resolved_at is before started_at")
        impact = cells.get("impact", "")
        if impact not in ("0", "1", "2", "3", "4"):
            raise InputError(f"{where}: impact {impact!r} is no whole number from 0 to 4")
        incidents.append(
            Incident(
                started_at=started_at, resolved_at=resolved_at, impact=int(impact), provider=cells.get("provider", "")
            )
        )
    return tuple(incidents)


def _moment(text: str, name: str, where: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError:
        raise InputError(f"{where}: {name} {text!r} is no time such as 2026-01-05T08:00:00Z") from None


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage with a beginning and an end, in seconds since the start. Parameters of other modes are neutral."""

    start_s: float
    end_s: float
    mode: Mode
    ramp_s: float = 0.0
    share: float = 1.0
    status_code: int = 500
    factor: float = 1.0
    rate_per_s: float | None = None
    retry_after_s: float | None = None
    capacity_factor: float = 1.0
    period_s: float = 60.0
    duty: float = 0.5

    @property
    def severity(self) -> float:
        """Share of requests touched, or of capacity lost, at its worst (0..1)."""
        if self.mode == "slow":
            return 1 - 1 / self.factor
        if self.mode == "brownout":
            return 1 - self.capacity_factor
        return self.share


@dataclass(frozen=True, slots=True)
class Condition:
    """How the backend is from now until ``until_s`` (infinite: from now on).

    ``mode`` is ``ok`` or that of the worst outage in force. ``fault`` is the outage whose ``mode`` is ``refuse``,
    ``hang``, ``error`` or ``bad_body`` and which a share ``fault_share`` of the requests meets now; a flap that is
    down is a ``refuse``. Service takes ``slow_factor`` times longer, ``capacity_factor`` of the capacity is there, and
    requests above ``rate_per_s`` (None: no limit) get a 429 with ``retry_after_s`` (None: without).
    """

    mode: Mode | Literal["ok"] = "ok"
    fault: Outage | None = None
    fault_share: float = 0.0
    slow_factor: float = 1.0
    capacity_factor: float = 1.0
    rate_per_s: float | None = None
    retry_after_s: float | None = None
    until_s: float = math.inf


@dataclass(frozen=True)
class Timeline:
    """The outages of one run in the order of their beginnings, cut to 0 .. ``end_s``, and the condition at any time."""

    outages: tuple[Outage, ...]
    end_s: float
    _bounds: list[float] = field(init=False, repr=False, compare=False)
    _active: list[list[tuple[Outage, float]]] = field(init=False, repr=False, compare=False)
    _conditions: dict[int, Condition] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        edges = [(_edges(outage), outage) for outage in self.outages]
        bounds = sorted({edge for each, _ in edges for edge in each})
        active: list[list[tuple[Outage, float]]] = [[] for _ in range(len(bounds) + 1)]
        for each, outage in edges:
            for index in range(bisect_right(bounds, each[0]), bisect_right(bounds, each[-1])):
                step = bisect_right(each, bounds[index - 1])
                level = (step - 0.5) / RAMP_STEPS if outage.ramp_s > _NO_RAMP_S and step <= RAMP_STEPS else 1.0
                active[index].append((outage, level))
        object.__setattr__(self, "_bounds", bounds)
        object.__setattr__(self, "_active", active)

    def condition_at(self, time_s: float) -> Condition:
        """The condition at a time in seconds since the start; ask again when its ``until_s`` has come."""
        index = bisect_right(self._bounds, time_s)
        known = self._conditions.get(index)
        if known is not None:
            return known
        until_s = self._bounds[index] if index < len(self._bounds) else math.inf
        down: list[tuple[Outage, float]] = []
        flaps = False
        for outage, level in self._active[index]:
            if outage.mode == "flap":
                flaps = True
                is_down, edge_s = _flap(outage, time_s)
                until_s = min(until_s, edge_s)
                if not is_down:
                    continue
            down.append((outage, level))
        condition = _condition(self._active[index], down, until_s)
        if not flaps:
            self._conditions[index] = condition
        return condition


def resolve(specs: Sequence[OutageSpec], *, duration_s: float, start: datetime, draws: Draws) -> Timeline:
    """The timeline of outages from 0 to ``duration_s``: what passes an end is cut, what lies outside is left out.

    Random outages are drawn by the place of their specification and their number, so that a change to one
    specification moves no other.
    """
    outages = []
    for index, spec in enumerate(specs):
        for outage in spec.outages(index, duration_s=duration_s, start=start, draws=draws):
            if outage.end_s > max(0.0, outage.start_s) and outage.start_s < duration_s:
                outages.append(_cut(outage, duration_s))
    return Timeline(tuple(sorted(outages, key=lambda outage: (outage.start_s, outage.end_s))), duration_s)


def _cut(outage: Outage, duration_s: float) -> Outage:
    if outage.start_s >= 0 and outage.end_s <= duration_s:
        return outage
    # What began before the start has grown by then; the rest of its ramp is not worth a field of its own.
    ramp_s = outage.ramp_s if outage.start_s >= 0 else max(0.0, outage.ramp_s + outage.start_s)
    return replace(outage, start_s=max(0.0, outage.start_s), end_s=min(outage.end_s, duration_s), ramp_s=ramp_s)


def _edges(outage: Outage) -> list[float]:
    """When an outage begins, steps up its ramp, and ends."""
    start_s, end_s, ramp_s = outage.start_s, outage.end_s, outage.ramp_s
    if ramp_s <= _NO_RAMP_S:
        return [start_s, end_s]
    steps = (start_s + ramp_s * step / RAMP_STEPS for step in range(1, RAMP_STEPS + 1))
    return [start_s, *(step for step in steps if step < end_s), end_s]


def _flap(outage: Outage, time_s: float) -> tuple[bool, float]:
    """Whether a flap is down at a time, and when that changes. It begins down."""

    def edge(number: int) -> float:
        turn, up = divmod(number, 2)
        return outage.start_s + (turn + (outage.duty if up else 0.0)) * outage.period_s

    # The edges decide, not the division: rounding must not leave the time on the wrong side of one.
    number = max(0, 2 * int((time_s - outage.start_s) / outage.period_s) - 1)
    while edge(number + 1) <= time_s:
        number += 1
    return number % 2 == 0, edge(number + 1)


def _condition(active: list[tuple[Outage, float]], down: list[tuple[Outage, float]], until_s: float) -> Condition:
    """The worst of what is in force, part by part."""
    if not active:
        return Condition(until_s=until_s)
    fault: Outage | None = None
    fault_share = 0.0
    slow_factor = capacity_factor = 1.0
    rate_per_s: float | None = None
    retry_after_s: float | None = None
    for outage, level in sorted(down, key=lambda each: (_FAULT_RANK.get(each[0].mode, 0), -each[0].share * each[1])):
        if outage.mode == "slow":
            slow_factor = max(slow_factor, 1 + (outage.factor - 1) * level)
        elif outage.mode == "brownout":
            capacity_factor = min(capacity_factor, 1 - (1 - outage.capacity_factor) * level)
        elif outage.mode == "rate_limit":
            limit_per_s = (outage.rate_per_s or math.inf) / level
            if rate_per_s is None or limit_per_s < rate_per_s:
                rate_per_s, retry_after_s = limit_per_s, outage.retry_after_s
        elif fault is None:
            fault = replace(outage, mode="refuse") if outage.mode == "flap" else outage
            fault_share = outage.share * level
    return Condition(
        mode=min((outage.mode for outage, _ in active), key=WORST_FIRST.index),
        fault=fault,
        fault_share=fault_share,
        slow_factor=slow_factor,
        capacity_factor=capacity_factor,
        rate_per_s=rate_per_s,
        retry_after_s=retry_after_s,
        until_s=until_s,
    )


_FAULT_RANK = {"refuse": 0, "flap": 0, "hang": 1, "error": 2, "bad_body": 3}


class RateLimit:
    """What a backend lets through under a rate limit: a token bucket of one second's worth, and at least one request.

    ``since_s`` is the time from which on it fills up. Times are the caller's clock, in seconds.
    """

    def __init__(self, since_s: float) -> None:
        self._tokens = 1.0
        self._since_s = since_s

    def admits(self, rate_per_s: float, now_s: float) -> bool:
        """Whether one more request is within the rate; it is counted if so."""
        self._tokens = min(max(1.0, rate_per_s), self._tokens + (now_s - self._since_s) * rate_per_s)
        self._since_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
