"""Where a search looks for a policy: fields, and the values that each may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hustle_sim.inputs import InputError, closest, parse_duration
from hustle_sim.policy import Policy, PolicyField, policy_fields
from hustle_sim.tuning.sweep import Range, Value

Wish: TypeAlias = Sequence[Value] | Range | None
"""What a person gives for a field: a list to choose from, a range ``(low, high)``, or None for the usual one."""

LOGARITHMIC = 20.0
"""A range that spans more than this is searched evenly over the logarithm, as a sweep spreads it."""

USUAL: dict[str, Wish] = {
    "probe.interval_s": (60.0, 600.0),
    "probe.confirm_s": (2.0, 30.0),
    "probe.offline_interval_s": (5.0, 60.0),
    "probe.offline_interval_max_s": (10.0, 300.0),
    "probe.fall": (1, 4),
    "probe.rise": (1, 4),
    "request.attempt_timeout_s": (2.0, 16.0),
    "request.max_attempts": (1, 4),
    "request.late_answer_window_s": (0.0, 120.0),
    "request.fast_fail_offline": (True, False),
    "retry.base_s": (0.05, 4.0),
    "retry.factor": (1.0, 4.0),
    "retry.jitter": None,
    "retry.retry_after_clamp_s": (0.0, 30.0),
    "retry.budget_share": (0.02, 1.0),
    "retry.budget_floor_per_min": (0.0, 20.0),
    "breaker.enabled": (True, False),
    "breaker.min_calls": (2, 12),
    "breaker.failure_share": (0.2, 0.9),
    "breaker.slow_call_s": (3.0, 30.0),
    "breaker.open_s": (2.0, 60.0),
    "breaker.open_max_s": (30.0, 300.0),
    "queue.base_s": (0.5, 30.0),
    "queue.cap_s": (10.0, 300.0),
    "queue.drain_per_s": (0.1, 5.0),
    "queue.drain_concurrency": (1, 8),
    "queue.flush_jitter_s": (0.0, 60.0),
}
"""What is searched if nobody says otherwise: timeouts, retries, probes, breaker and the queue's pace. Left out is what
costs something that no metric shows (old answers from a cache, a shorter deadline) and what only makes room."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of one field: ``choices``, or all from ``low`` to ``high`` (``whole`` numbers only, if it counts)."""

    field: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    @property
    def logarithmic(self) -> bool:
        """Whether small and large values are equally likely."""
        return not self.choices and self.low > 0 and self.high >= LOGARITHMIC * self.low

    def holds(self, value: Value) -> bool:
        """Whether a value may be tried."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def tidy(self, value: Value) -> Value:
        """A value with three digits, as a person would write it, that is still one of these."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{float(value):.3g}"), self.low), self.high)

    def to_json(self) -> Any:
        """As ``axes_of`` reads it: a list, or a table with low and high."""
        return list(self.choices) if self.choices else {"low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.choices:
            return ", ".join("yes" if each is True else "no" if each is False else str(each) for each in self.choices)
        return f"{self.low:g} to {self.high:g}"


def axes_of(search: Mapping[str, Any] | Sequence[str] | None) -> tuple[Axis, ...]:
    """The search space that is meant, in the order of the policy's fields. Raises InputError.

    None: ``USUAL``. Names (of fields, or of a part such as ``retry`` for its usual fields): each with its usual
    values, or all that its bounds allow. A mapping gives a list to choose from or a range ``(low, high)``; durations
    may be text such as ``"5m"``.
    """
    fields = {field.name: field for field in policy_fields()}
    if search is None:
        search = USUAL
    if isinstance(search, str):
        search = [search]
    wishes: dict[str, Any] = dict(search) if isinstance(search, Mapping) else dict.fromkeys(search)
    parts = {field.part for field in fields.values()}
    for part in [name for name in wishes if name in parts]:
        if wishes.pop(part) is not None:
            raise InputError(f"search: {part} is a part with many fields: name a field to give it values")
        wishes = {**{name: None for name in USUAL if name.startswith(f"{part}.")}, **wishes}
    if not wishes:
        raise InputError('search: there is no field to change: give at least one, such as {"retry.base_s": (0.1, 2)}')
    for name in wishes:
        if name not in fields:
            raise InputError(f"search: there is no policy field {name!r}{closest(name, fields)}")
    return tuple(_axis(fields[name], wishes[name]) for name in fields if name in wishes)


def policy_at(axes: Sequence[Axis], base: Policy, values: Mapping[str, Value]) -> Policy:
    """``base`` with the values; raises InputError with the reason if they can't work together."""
    return base.replace({axis.field: values[axis.field] for axis in axes})


def _axis(field: PolicyField, wish: Any) -> Axis:
    if wish is None:
        wish = USUAL.get(field.name)
    whole = isinstance(field.default, int) and not isinstance(field.default, bool)
    if wish is None:
        if field.choices or isinstance(field.default, bool):
            return Axis(field.name, field.choices or (True, False))
        if field.low is None or field.high is None:
            raise InputError(f"search: {field.name} has no bounds of its own: give a range (low, high)")
        return Axis(field.name, low=field.low, high=field.high, whole=whole)
    if isinstance(wish, Mapping) and set(wish) == {"low", "high"}:
        wish = (wish["low"], wish["high"])
    if isinstance(wish, str) or not isinstance(wish, Sequence) or not len(wish):
        raise InputError(f"search: {field.name}: give a list of values or a range (low, high), not {wish!r}")
    values = [_value(field, value) for value in wish]
    is_range = isinstance(wish, tuple) and len(values) == 2 and not isinstance(values[0], bool | str)
    if not is_range:
        return Axis(field.name, tuple(dict.fromkeys(values)))
    low, high = float(values[0]), float(values[1])
    if low > high:
        raise InputError(f"search: {field.name}: the range ({low:g}, {high:g}) must begin with the smaller value")
    return Axis(field.name, low=low, high=high, whole=whole)


def _value(field: PolicyField, value: Any) -> Value:
    """A value that the field can have, as it stands in a policy; raises InputError where it can have none such."""
    plain = value.item() if isinstance(value, np.generic) else value
    if field.choices or isinstance(field.default, bool):
        allowed = field.choices or (True, False)
        if plain not in allowed or (isinstance(field.default, bool) and not isinstance(plain, bool)):
            words = ", ".join(str(each).lower() if isinstance(each, bool) else each for each in allowed)
            raise InputError(f"search: {field.name} is one of {words}, not {plain!r}")
        return plain  # type: ignore[no-any-return]
    try:
        number = parse_duration(plain) if field.unit == "s" else plain
    except ValueError as error:
        raise InputError(f"search: {field.name}: {error}") from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InputError(f"search: {field.name} is a number, not {plain!r}")
    low = -np.inf if field.low is None else field.low
    high = np.inf if field.high is None else field.high
    if not low <= number <= high:
        raise InputError(f"search: {field.name} must be from {low:g} to {high:g}, not {number:g}")
    if isinstance(field.default, int):
        if number != int(number):
            raise InputError(f"search: {field.name} counts something: give whole numbers, not {number:g}")
        return int(number)
    return float(number)
