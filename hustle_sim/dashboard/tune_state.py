"""What a visitor asked of the Tune place and what came of it, without a widget in sight."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

import param

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.dashboard.controls import FIELDS, is_whole
from hustle_sim.dashboard.studies import SearchWish, Studio, Study, SweepWish, studio
from hustle_sim.inputs import InputError, format_duration, parse_duration, write_duration
from hustle_sim.policy import Policy, PolicyField
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import Cancelled

if TYPE_CHECKING:
    import pandas as pd

    from hustle_sim.dashboard.studies import Wish
    from hustle_sim.tuning.sweep import Sweep

logger = logging.getLogger("hustle_sim.dashboard")

MOST = 4000
"""Simulations of one sweep."""

MOST_REPLICATIONS = 100

DEPTHS: dict[str, dict[str, Any]] = {
    "first look": {"trials": 10, "replications": 2, "verify": 3, "unseen": False},
    "quick": {"trials": 30, "replications": 4, "verify": 8, "unseen": False},
    "thorough": {"trials": 100, "replications": 8, "verify": 12, "unseen": False},
    "to ship": {"trials": 200, "replications": 8, "verify": 20, "unseen": True},
}
"""How far a search goes: the last is that of ``hs.tune``, with a proof on scenarios that it has not seen."""

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_POLL_S = 0.25
_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def suggested(each: PolicyField) -> str:
    """Values worth trying, as text: all choices, or a quarter of the default to four times it, within the bounds."""
    if isinstance(each.default, bool):
        return "on, off"
    if each.choices:
        return ", ".join(each.choices)
    low = -math.inf if each.low is None else each.low
    high = math.inf if each.high is None else each.high
    default = float(each.default)
    values = [factor * default for factor in _FACTORS] if default else [0.0, 0.5, 1.0, 2.0, 5.0]
    inside = [min(max(value, low), high) for value in values]
    if is_whole(each):
        near = int(default)
        inside = [min(max(float(value), low), high) for value in (near - 2, near - 1, near, near + 1, near + 2)]
        if near > 10:
            inside = [float(round(min(max(factor * default, low), high))) for factor in _FACTORS]
    return ", ".join(dict.fromkeys(written(each, value) for value in inside))


def written(each: PolicyField, value: Any) -> str:
    """A value as it is typed: a duration with its unit, a share in percent."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if each.unit == "s":
        return write_duration(float(value))
    if each.unit == "share":
        return f"{float(value) * 100:.10g} %"
    return f"{float(value):.10g}"


def values_of(each: PolicyField, text: str) -> list[Any]:
    """The values that are typed, with commas between them. Raises InputError with one sentence."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError(f"{each.name}: give values to try, such as {suggested(each)}")
    return list(dict.fromkeys(_value(each, word) for word in words))


def _value(each: PolicyField, word: str) -> Any:
    if isinstance(each.default, bool):
        if word.lower() not in _SWITCH:
            raise InputError(f"{each.name}: on or off is needed, not {word!r}")
        return _SWITCH[word.lower()]
    if each.choices:
        if word not in each.choices:
            raise InputError(f"{each.name}: there is no {word!r}: one of {', '.join(each.choices)}")
        return word
    try:
        if each.unit == "s":
            value = parse_duration(word)
            assert isinstance(value, float)
        elif word.endswith("%") or each.unit == "share":
            value = float(f"{float(word.removesuffix('%')) / 100:.15g}")
        else:
            value = float(word)
    except ValueError:
        raise InputError(f"{each.name}: {word!r} is no value such as {suggested(each).split(', ')[0]}") from None
    if not math.isfinite(value):
        raise InputError(f"{each.name}: {word!r} is no value that can be simulated")
    if is_whole(each):
        if not value.is_integer():
            raise InputError(f"{each.name}: a whole number is needed, not {word!r}")
        return int(value)
    return value


def sweep_wish(
    scenario: Scenario, policy: Policy, x: tuple[str, str], y: tuple[str, str], replications: Any
) -> SweepWish:
    """What a sweep over two fields is, from their names and values as they are typed.

    Raises InputError with one sentence for what can't be swept.
    """
    for name, _ in (x, y):
        if name not in FIELDS:
            raise InputError(f"there is no policy field {name!r}")
    if x[0] == y[0]:
        raise InputError("choose two different fields: a heat map has one across and one upwards")
    if (
        isinstance(replications, bool)
        or not isinstance(replications, int)
        or not 1 <= replications <= MOST_REPLICATIONS
    ):
        raise InputError(f"replications: a whole number from 1 to {MOST_REPLICATIONS} is needed, not {replications!r}")
    axes = {name: values_of(FIELDS[name], text) for name, text in (x, y)}
    count = math.prod(len(values) for values in axes.values()) * replications
    if count > MOST:
        raise InputError(f"that would be {count:,} simulations, and {MOST:,} are the most: try fewer values, or seeds")
    return SweepWish(scenario, policy, axes, replications)


def search_wish(scenario: Scenario, policy: Policy, parts: list[str], objectives: list[str], depth: str) -> SearchWish:
    """What a search is. Raises InputError with one sentence."""
    if len(objectives) < 2:
        raise InputError("choose at least two objectives: with one there is nothing to weigh")
    if depth not in DEPTHS:
        raise InputError(f"there is no depth {depth!r}: one of {', '.join(DEPTHS)}")
    return SearchWish(scenario, policy, tuple(parts), tuple(objectives), **DEPTHS[depth])


def how_far(study: Study | None, before: int) -> str:
    """Progress in words, with the time that is left."""
    if study is None:
        return ""
    if not study.started:
        return "Waiting for another study to end" if before == 0 else f"Waiting: {before} studies come before"
    if not study.total:
        return "Starting…"
    left = f", about {format_duration(max(1.0, round(study.left_s)))} left" if math.isfinite(study.left_s) else ""
    return f"{study.done:,} of {study.total:,} simulations{left}"


def cell_policy(sweep: Sweep, row: pd.Series[Any]) -> Policy:
    """The policy of one point of a sweep."""
    return Policy().replace(sweep.about["policy"]).replace({name: row[name] for name in sweep.fields})


def ranked(sweep: Sweep, metric: str) -> pd.DataFrame:
    """The points of a sweep by a metric, the best first; those without a value last."""
    rows = sweep[sweep["metric"] == metric]
    better = METRICS[metric].better
    return rows.sort_values("mean", ascending=better != "higher", kind="stable", na_position="last").reset_index(
        drop=True
    )


def in_words(sweep: Sweep, metric: str, row: Any) -> str:
    """One point: its values, and the metric with its interval."""
    at = ", ".join(f"{name} {written(FIELDS[name], plain(row[name]))}" for name in sweep.fields)
    words = f"{at}: {metric} {format_metric(metric, float(row['mean']))}"
    if math.isnan(row["low"]):
        return words
    between = " to ".join(format_metric(metric, float(row[end])) for end in ("low", "high"))
    return f"{words} (95 %: {between})"


def plain(value: Any) -> Any:
    """A number of NumPy as Python has it."""
    return value.item() if hasattr(value, "item") else value


class TuneState(param.Parameterized):
    """One study of a visitor at a time, and the last good result of it, which stays while another is made."""

    running = param.Boolean(default=False, doc="A study is wanted that has not ended.")
    share = param.Number(default=0.0, bounds=(0, 1), doc="How much of it is done, 0..1.")
    told = param.String(default="", doc="How far it is, in words.")
    problem = param.String(default="", doc="One sentence about what went wrong with the last one.")
    result = param.Parameter(default=None, doc="The last good Sweep or Tuning.")

    def __init__(self, shop: Studio | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._shop = shop or studio()
        self._study: Study | None = None

    async def run(self, wish: Wish) -> None:
        """Make a study in place of the one that runs."""
        self.cancel()
        self.problem = ""
        try:
            study = self._study = self._shop.submit(wish)
        except InputError as error:
            self.problem = str(error)
            return
        self.param.update(running=True, share=0.0, told=how_far(study, self._shop.before(study)))
        try:
            while not study.future.done():
                await asyncio.sleep(_POLL_S)
                if self._study is not study:
                    return
                self.param.update(
                    share=min(1.0, study.done / study.total) if study.total else 0.0,
                    told=how_far(study, self._shop.before(study)),
                )
            result = await asyncio.wrap_future(study.future)
        except (Cancelled, asyncio.CancelledError):
            return
        except InputError as error:
            self._ended(study, problem=str(error))
        else:
            self._ended(study, result=result)

    def refuse(self, sentence: str) -> None:
        """Say why nothing is studied; the last good result stays."""
        self.problem = sentence

    def cancel(self) -> None:
        """End the study; the last good result stays."""
        study, self._study = self._study, None
        if study is not None:
            study.cancel()
        self.param.update(running=False, share=0.0, told="")

    close = cancel

    def _ended(self, study: Study, **what: Any) -> None:
        if self._study is study:
            self._study = None
            self.param.update(running=False, share=0.0, told="", **what)
