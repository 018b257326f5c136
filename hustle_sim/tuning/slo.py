"""Limits that a policy must keep: a small TOML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import InputError, closest, parse_duration, read_toml

Statistic = Literal["mean", "every"]

EXAMPLE = """\
[limits]                                            # in every scenario
lost = { at_most = 0 }                              # a limit of 0 is broken by a single case
answer_max_s = { at_most = "8.1s", of = "every" }   # in every single simulation, not on average
delivered_share = { at_least = 0.99 }               # on average

[scenarios.morning-outage]                          # and in this one
detection_s = { at_most = "5m" }
"""
"""What a file of limits looks like."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One metric must be at most, or at least, a value: on average (``mean``) or in ``every`` simulation."""

    metric: str
    at_most: float = math.inf
    at_least: float = -math.inf
    of: Statistic = "mean"

    def keeps(self, value: float) -> bool:
        """Whether one value is within the limit."""
        return self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        parts = []
        if not math.isinf(self.at_least):
            parts.append(f"at least {format_metric(self.metric, self.at_least)}")
        if not math.isinf(self.at_most):
            parts.append(f"at most {format_metric(self.metric, self.at_most)}")
        return " and ".join(parts) + (" in every simulation" if self.of == "every" else "")


@dataclass(frozen=True, slots=True)
class Slo:
    """The limits of all scenarios, and further ones (or others) of single scenarios by name."""

    limits: Mapping[str, Limit]
    scenarios: Mapping[str, Mapping[str, Limit]]

    @classmethod
    def load(cls, path: str | Path) -> Slo:
        """Read a TOML file such as ``EXAMPLE``. Raises InputError with one sentence that names file and place."""
        return cls.of_tables(read_toml(Path(path)), str(path))

    @classmethod
    def of_tables(cls, tables: Mapping[str, Any], where: str) -> Slo:
        """The limits in tables such as those of ``EXAMPLE``; ``where`` names them in the sentence of an InputError."""
        for name in tables:
            if name not in ("limits", "scenarios"):
                raise InputError(f"{where}: {name} is no table of limits{closest(name, ('limits', 'scenarios'))}")
        limits = _limits(tables.get("limits", {}), f"{where}: limits")
        named = _table(tables.get("scenarios", {}), f"{where}: scenarios")
        scenarios = {name: _limits(inner, f"{where}: scenarios.{name}") for name, inner in named.items()}
        if not limits and not any(scenarios.values()):
            raise InputError(f"{where} has no limits: write some, such as [limits] and lost = {{ at_most = 0 }}")
        return cls(limits, scenarios)

    def of(self, scenario: str) -> dict[str, Limit]:
        """The limits that hold in a scenario."""
        return {**self.limits, **self.scenarios.get(scenario, {})}


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a table, not {value!r}")
    return value


def _limits(tables: object, where: str) -> dict[str, Limit]:
    limits = {}
    for metric, words in _table(tables, where).items():
        if metric not in METRICS:
            raise InputError(f"{where}: there is no metric {metric!r}{closest(metric, METRICS)}")
        limits[metric] = _limit(metric, words, f"{where}.{metric}")
    return limits


def _limit(metric: str, words: object, where: str) -> Limit:
    if not isinstance(words, Mapping) or not {"at_most", "at_least"} & set(words):
        raise InputError(f"{where}: write a limit such as {{ at_most = 8 }} or {{ at_least = 0.9 }}, not {words!r}")
    for name in words:
        if name not in ("at_most", "at_least", "of"):
            raise InputError(f"{where}: {name} is no part of a limit{closest(name, ('at_most', 'at_least', 'of'))}")
    of = words.get("of", "mean")
    if of not in ("mean", "every"):
        raise InputError(f"{where}.of must be 'mean' or 'every', not {of!r}")
    bounds = {
        name: _number(words[name], metric, f"{where}.{name}") for name in ("at_most", "at_least") if name in words
    }
    limit = Limit(metric, of=of, **bounds)
    if limit.at_least > limit.at_most:
        raise InputError(f"{where}: at_least ({limit.at_least:g}) must not exceed at_most ({limit.at_most:g})")
    return limit


def _number(value: object, metric: str, where: str) -> float:
    if METRICS[metric].unit == "s":
        try:
            value = parse_duration(value)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise InputError(f"{where} must be a number, not {value!r}")
    if METRICS[metric].unit == "share" and not 0 <= value <= 1:
        raise InputError(f"{where} must be a share between 0 and 1, not {value:g}")
    return float(value)
