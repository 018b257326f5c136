"""What each control of the policy is, made from the policy's fields: one place says what a field is, not this one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hustle_sim.inputs import format_duration
from hustle_sim.policy import PRESETS, Policy, PolicyField, policy_fields

PARTS = {
    "probe": "Health probes",
    "request": "Requests",
    "retry": "Retries",
    "breaker": "Circuit breaker",
    "queue": "Queue",
    "cache": "Cache",
}
"""What each part of the policy is called on the screen."""

FIELDS = {field.name: field for field in policy_fields()}

_PERCENT = 100
_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
_WHOLE_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONG_STOPS = (
    *(minutes * _MINUTE for minutes in (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45)),
    *(hours * _HOUR for hours in (1, 1.5, 2, 3, 4, 6, 8, 12)),
    *(days * _DAY for days in (1, 2, 3, 7, 14, 30, 90, 365, 3650)),
)


def label_of(field: PolicyField) -> str:
    """``"probe.degraded_above_s"`` as a person reads it: ``"Degraded above"``."""
    words = field.name.split(".")[1].removesuffix("_s").removesuffix("_per_min").replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}"


def unit_of(field: PolicyField) -> str:
    """The unit that its number has on the screen."""
    return "%" if field.unit == "share" else field.unit


def is_whole(field: PolicyField) -> bool:
    """Whether the field counts things, so that only whole numbers make sense."""
    return isinstance(field.default, int) and not isinstance(field.default, bool)


def shown(field: PolicyField, value: Any) -> Any:
    """A policy's value as its control has it: numbers as text, shares as percent."""
    if isinstance(value, bool | str):
        return value
    number = round(float(value) * _PERCENT, 6) if field.unit == "share" else float(value)
    return repr(number).removesuffix(".0")


def meant(field: PolicyField, value: Any) -> Any:
    """What a control has, as the policy means it. An empty field is the default; words are left to the policy."""
    if field.choices or isinstance(field.default, bool):
        return value
    text = str(value).strip()
    if not text:
        return field.default
    try:
        number = float(text.removesuffix("%").replace(",", "."))
    except ValueError:
        return text
    if field.unit == "share":
        return number / _PERCENT
    return int(number) if number.is_integer() and is_whole(field) else number


def in_words(field: PolicyField, value: Any) -> str:
    """A value with its unit: ``"5 min"``, ``"20 %"``, ``"3 probes"``, ``"on"``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if field.unit == "s":
        return format_duration(float(value))
    if field.unit == "share":
        return f"{float(value) * _PERCENT:g} %"
    unit = field.unit.removesuffix("s") if value == 1 and field.unit.endswith("s") else field.unit
    return f"{value:,g} {unit}".strip()


def stops_of(field: PolicyField) -> tuple[float, ...]:
    """The values that a slider of this field stops at, in the policy's own units, in order.

    Steps grow with the value, as people round; bounds, default and what the presets have are among them. Empty for a
    field that is no number.
    """
    if field.choices or isinstance(field.default, bool | str):
        return ()
    low, high = field.low or 0.0, float(field.high if field.high is not None else 10 * field.default)
    if field.unit == "share":
        stops = {step / 20 for step in range(21)} | {1.5, 2, 3, 5, 10, 20, 50}
    elif field.unit == "s":
        stops = {step * 10.0**power for power in range(-3, 2) for step in _STEPS if step * 10.0**power < _MINUTE}
        stops |= {float(stop) for stop in _LONG_STOPS}
    elif is_whole(field):
        stops = {float(number) for number in range(21)}
        stops |= {step * 10.0**power for power in range(1, 7) for step in _WHOLE_STEPS}
    else:
        stops = {step * 10.0**power for power in range(-2, 6) for step in _STEPS}
    stops = {float(f"{stop:.6g}") for stop in stops}
    known = {float(preset.changes[field.name]) for preset in PRESETS.values() if field.name in preset.changes}  # type: ignore[arg-type]
    return tuple(sorted({stop for stop in stops if low <= stop <= high} | known | {low, high, float(field.default)}))


def note(field: PolicyField, value: Any, base: Any) -> str:
    """What stands below a field: a long time in words, and what the chosen preset has if that differs."""
    parts = []
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.unit == "s" and is_number and abs(float(value)) >= _MINUTE and math.isfinite(value):
        parts.append(f"= {in_words(field, value)}")
    if value != base:
        parts.append(f"preset: {in_words(field, base)}")
    return " · ".join(parts)


def specs() -> list[list[Any]]:
    """Every part with its fields, as the form in the browser needs them: ``[part, title, [field, ...]]``."""
    return [
        [part, title, [_spec(field) for field in FIELDS.values() if field.part == part]]
        for part, title in PARTS.items()
    ]


def _spec(field: PolicyField) -> dict[str, Any]:
    kind = "switch" if isinstance(field.default, bool) else "choice" if field.choices else "number"
    stops = stops_of(field)
    return {
        "name": field.name,
        "label": label_of(field),
        "unit": unit_of(field),
        "reason": field.reason,
        "kind": kind,
        "choices": list(field.choices),
        "stops": [float(shown(field, stop)) for stop in stops],
        "words": [in_words(field, int(stop) if is_whole(field) else stop) for stop in stops],
    }


def blamed(sentence: str) -> set[str]:
    """The fields that a sentence of the policy names as wrong."""
    named = {name for name in FIELDS if _names(sentence, name)}
    if sentence and not named:
        part = sentence.removeprefix("policy: ").split(":")[0].split(".")[0]
        named = {name for name in FIELDS if name.startswith(f"{part}.") and _names(sentence, name.split(".")[1])}
    return named


def _names(sentence: str, name: str) -> bool:
    words: Iterable[str] = sentence.replace("(", " ").replace(")", " ").replace(":", " ").split()
    return name in words


def policy_of(values: Mapping[str, Any]) -> Policy:
    """The policy of what all controls have. Raises InputError with one sentence if it can't work."""
    return Policy().replace({name: meant(FIELDS[name], value) for name, value in values.items()})


def values_of(policy: Policy) -> dict[str, Any]:
    """What all controls have for a policy."""
    return {name: shown(FIELDS[name], value) for name, value in policy.flat().items()}
