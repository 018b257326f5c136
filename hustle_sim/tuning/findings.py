"""What the linter says about a policy: one finding, and what the rules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hustle_sim.inputs import format_duration
from hustle_sim.policy import Policy, policy_fields

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first. error: it does not do what it is there for; warning: it will hurt; note: good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a policy.

    ``code`` is a stable name of the rule; ``fields`` are the dotted fields it is about; ``sentence`` says what is the
    matter and ``mend`` what to do. ``changes`` can be given to ``Policy.replace`` and end the finding; it is empty
    where no field of the policy could. ``inert`` are fields that have no effect at all as things are.
    """

    severity: Severity
    code: str
    fields: tuple[str, ...]
    sentence: str
    mend: str
    changes: Mapping[str, float | int | bool | str] = field(default_factory=dict)
    inert: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Values that JSON can hold."""
        return {
            "severity": self.severity,
            "code": self.code,
            "fields": list(self.fields),
            "sentence": self.sentence,
            "mend": self.mend,
            "changes": dict(self.changes),
            "inert": list(self.inert),
        }

    def __str__(self) -> str:
        return f"{self.severity}: {self.sentence} {self.mend} [{self.code}]"


def tuned(policy: Policy, names: Iterable[str]) -> tuple[str, ...]:
    """Those of these fields that are not at their default."""
    defaults = {each.name: each.default for each in policy_fields()}
    return tuple(name for name in names if policy.get(name) != defaults[name])


def of_part(part: str) -> list[str]:
    """The dotted names of the fields of a part of the policy."""
    return [each.name for each in policy_fields() if each.part == part]


def defaults_of(names: Iterable[str]) -> dict[str, float | int | bool | str]:
    """The defaults of these fields, as changes."""
    defaults = {each.name: each.default for each in policy_fields()}
    return {name: defaults[name] for name in names}


def rounded_up(value: float) -> float:
    """A little more, with two significant digits: what a person would write."""
    for digits in range(-6, 10):
        step = 10.0 ** (digits - 1)
        if value < 10 ** (digits + 1):
            return round(float(-(-value // step) * step), max(0, 1 - digits))
    return value


def time(seconds: float) -> str:
    """A duration in words."""
    return format_duration(seconds)
