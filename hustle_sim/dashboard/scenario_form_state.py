"""The fields of a scenario's form: how each is written, what it is called, and what typing into it does.

Made from the scenario's own fields: their units and explanations are said there, once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hustle_sim.dashboard.scenario_edit_state import kind_of, set_mode, spec_of
from hustle_sim.inputs import InputError, parse_duration, write_duration
from hustle_sim.simulation.distributions import KINDS
from hustle_sim.simulation.outages import PARAMETERS, OutageSpec
from hustle_sim.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the form: its dotted name, and how it is written and told.

    ``how`` is ``duration``, ``percent``, ``number``, ``whole``, ``text`` or ``choice``.
    """

    name: str
    label: str
    how: str
    why: str
    choices: tuple[str, ...] = ()


SCENARIO_FIELDS = (
    "name", "description", "duration_s", "warm_up_s",
    "clients.count", "clients.messages_per_hour", "clients.profile",
    "backend.capacity", "backend.waiting_room", "backend.error_rate", "backend.background_per_s",
)  # fmt: skip
"""The fields of a scenario that the form has, besides those of its outages and distributions."""

_LABELS = {
    "at_s": "Begins after", "lasts_s": "Lasts", "mtbf_s": "Time between", "gap": "Gaps", "gap_cv": "Burstiness (cv)",
    "ramp_s": "Grows over", "share": "Share hit", "capacity_factor": "Capacity left", "duty": "Down for",
    "factor": "Slower", "rate_per_s": "Rate limit", "retry_after_s": "Retry-After", "period_s": "Period",
    "clients.count": "People", "clients.messages_per_hour": "Each writes", "clients.profile": "Through the day",
    "duration_s": "Duration", "warm_up_s": "Warm-up", "backend.error_rate": "Usual errors",
    "backend.capacity": "Serves at once", "backend.waiting_room": "May wait", "backend.background_per_s": "Other load",
}  # fmt: skip
_UNITS = {"share": "%", "s": "", "times": "×", "clients": "", "requests/s": "/s", "messages/h": "/h", "requests": ""}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DISTRIBUTIONS = {"backend.latency": "Latency", "mttr": "Lasts"}


def fields_of(scenario: Scenario) -> list[FormField]:
    """The fields of the scenario itself."""
    at = SCENARIO_FIELDS.index("backend.error_rate")
    names = [*SCENARIO_FIELDS[:at], *_inside("backend.latency", scenario.backend.latency), *SCENARIO_FIELDS[at:]]
    return [_form_field(scenario, name, name) for name in names]


def outage_fields(scenario: Scenario, index: int) -> list[FormField]:
    """The fields of one outage: those that its kind and its mode have."""
    spec = spec_of(scenario, index)
    kind = kind_of(spec)
    if kind == "replay":
        return []
    names = ["mode", "at_s", "lasts_s"] if kind == "scheduled" else ["mode", "mtbf_s", "gap"]
    if kind == "random":
        names += ["gap_cv"] if spec.gap in ("lognormal", "gamma") else []
        names += _inside("mttr", spec.mttr)
    names += [*PARAMETERS[spec.mode or "hang"], "ramp_s"]
    return [_form_field(scenario, f"outages.{index}.{name}", name) for name in names]


def text_of(scenario: Scenario, field: FormField) -> str:
    """The value of a field as it stands in the form; one that is not given shows its default."""
    value = _value(scenario, field.name)
    if value is None:
        return ""
    if field.how == "duration":
        return write_duration(value)
    if field.how == "percent":
        return f"{value * 100:.12g}"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def help_of(scenario: Scenario, field: FormField) -> str:
    """What stands below a field: a beginning as the clock shows it."""
    if not field.name.endswith(".at_s"):
        return ""
    at = scenario.start + timedelta(seconds=_value(scenario, field.name))
    days = (at.date() - scenario.start.date()).days
    return f"= {at:%H:%M:%S}".removesuffix(":00") + (f", day {days + 1}" if days else "")


def with_text(scenario: Scenario, field: FormField, text: str) -> Scenario:
    """The scenario with a field as it was typed; an empty one means the default, where there is one.

    Raises InputError with the sentence that stands at the field. What reads as it stood changes nothing.
    """
    text = text.strip() if field.how != "text" else text
    if text == text_of(scenario, field):
        return scenario
    last = field.name.rpartition(".")[2]
    if last == "mode":
        return set_mode(scenario, int(field.name.split(".")[1]), text)
    moment = _CLOCK.fullmatch(text) if last == "at_s" else None
    value = _after_start(scenario, moment.groups()) if moment else _read(field, text)
    changes: dict[str, Any] = {field.name: value}
    if last == "gap" and text == "exponential":
        changes[field.name.replace("gap", "gap_cv")] = None
    try:
        return scenario.replace(changes)
    except InputError as error:
        raise InputError(_at_the_field(str(error), field.name)) from None


def _after_start(scenario: Scenario, moment: tuple[str | None, ...]) -> float:
    """Seconds from the start of the scenario to the next time that a clock (UTC) says so."""
    hours, minutes, seconds = (int(part or 0) for part in moment)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise InputError("there is no such time of day: write 00:00 to 23:59")
    start = scenario.start
    since_midnight_s = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
    return (hours * 3600 + minutes * 60 + seconds - since_midnight_s) % 86400


def _read(field: FormField, text: str) -> Any:
    if field.how in ("text", "choice"):
        return text
    if not text:
        if _optional(field.name):
            return None
        raise InputError("a value is needed here")
    if field.how == "duration":
        try:
            return parse_duration(text)
        except ValueError as error:
            raise InputError(str(error)) from None
    number = text.removesuffix("%").removesuffix("×").strip().replace(",", ".")
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"a number is needed, not {text!r}") from None
    if field.how == "percent":
        return float(f"{value / 100:.15g}")
    if field.how == "whole":
        if not value.is_integer():
            raise InputError(f"a whole number is needed, not {text!r}")
        return int(value)
    return value


def _at_the_field(sentence: str, name: str) -> str:
    """A sentence without the way to the field that it stands at."""
    plain = sentence.removeprefix("scenario: ")
    way = name
    while way:
        plain = plain.removeprefix(f"{way}: ")
        way = way.rpartition(".")[0]
    return plain


def _inside(name: str, distribution: Any) -> list[str]:
    """The numbers of a distribution that a field can hold, by dotted name."""
    if distribution is None or distribution.kind == "empirical":
        return []
    return [
        f"{name}.{inner}"
        for inner in KINDS[distribution.kind].model_fields
        if inner != "kind" and getattr(distribution, inner) is not None
    ]


def _form_field(scenario: Scenario, name: str, short: str) -> FormField:
    info = _info(scenario, name)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    unit = str(extra.get("unit", ""))
    choices = _choices(info.annotation)
    value = _value(scenario, name)
    if choices:
        how = "choice"
    elif unit == "s":
        how = "duration"
    elif unit == "share":
        how = "percent"
    elif isinstance(value, int):
        how = "whole"
    elif isinstance(value, float) or unit:
        how = "number"
    else:
        how = "text"
    label = _label(short)
    told = _UNITS.get(unit, unit)
    return FormField(name, f"{label} · {told}" if told else label, how, info.description or "", choices)


def _label(short: str) -> str:
    if short in _LABELS:
        return _LABELS[short]
    whole, _, inner = short.rpartition(".")
    words = inner.removesuffix("_s").replace("_", " ")
    if whole in _DISTRIBUTIONS:
        return f"{_DISTRIBUTIONS[whole]}, {words}"
    return f"{words[:1].upper()}{words[1:]}"


def _choices(annotation: Any) -> tuple[str, ...]:
    for each in (annotation, *get_args(annotation)):
        inner = get_args(each)
        if inner and all(isinstance(value, str) for value in inner):
            return inner
    return ()


def _value(scenario: Scenario, name: str) -> Any:
    """The value of a dotted field; a parameter of a mode that is not given has its default."""
    place: Any = scenario
    for step in name.split("."):
        parent, place = place, place[int(step)] if step.isdecimal() else getattr(place, step)
    if place is None and isinstance(parent, OutageSpec):
        if step in ("gap", "gap_cv"):
            return {"gap": "exponential", "gap_cv": 1.0}[step]
        return PARAMETERS.get(parent.mode or "", {}).get(step)
    return place


def _info(scenario: Scenario, name: str) -> FieldInfo:
    way, _, last = name.rpartition(".")
    place: Any = scenario
    for step in way.split(".") if way else ():
        place = place[int(step)] if step.isdecimal() else getattr(place, step)
    assert isinstance(place, BaseModel)
    return type(place).model_fields[last]


def _optional(name: str) -> bool:
    """Whether a field may be left out, so that its default holds."""
    parts = name.split(".")
    if parts[0] == "outages":
        last = parts[-1]
        return len(parts) == 3 and last not in ("mode", "at_s", "lasts_s", "mtbf_s", "rate_per_s", "ramp_s")
    return False
