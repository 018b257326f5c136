"""Every metric, once: its name, unit, the better direction, the sentence that screens show, and how it is measured.

All are over the measured window: messages sent, requests begun and outages begun from the end of the warm-up to the
end of the run. A metric is NaN where there is nothing to measure it by: a live session knows no outages, a client
without a monitor has no verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.inputs import InputError, closest, format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

Floats = npt.NDArray[np.float64]

_DAY_S, _HOUR_S = 86400.0, 3600.0
_AFTERMATH_S, _BEFORE_S = 300.0, 1800.0
PEAK_WINDOW_S = 10.0
"""The length of time over which a peak of requests is taken."""
# Timers are exact in virtual time and a little late in real time.
_ON_TIME_S = 0.001
_UNWELL = ("degraded", "offline")
_ONLINE = ("online",)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about a run.

    ``label`` is what screens call it, ``unit`` is ``s | share | count | times | per day | per hour``, ``better`` the
    direction that is good (``none``: it only describes), ``text`` the sentence that says exactly what it is.
    """

    name: str
    label: str
    unit: Literal["s", "share", "count", "times", "per day", "per hour"]
    better: Literal["lower", "higher", "none"]
    text: str
    of: Callable[[Measured], float]

    @property
    def bounds(self) -> tuple[float, float]:
        """What it can't be below and above, whatever happens."""
        return 0.0, 1.0 if self.unit == "share" else math.inf


class Stretch:
    """A stretch of outage without a gap (overlapping outages are one), and what each monitored client made of it.

    Arrays have one value per client, in the order of ``Measured.watched``.
    """

    def __init__(self, start_s: float, end_s: float, measured: Measured) -> None:
        run_end_s = measured.end_s
        verdicts, joined_s = measured.verdicts, measured.joined_s
        self.start_s = start_s
        self.end_s = end_s
        self.over = end_s < run_end_s
        self.present = joined_s < min(end_s, run_end_s)
        unwell_at_start = verdicts.current(start_s, _UNWELL)
        first_unwell_s = np.where(unwell_at_start, start_s, verdicts.next(start_s, _UNWELL))
        self.noticed = self.present & (first_unwell_s < min(end_s, run_end_s))
        self.detection_s = np.where(self.noticed, first_unwell_s - np.maximum(start_s, joined_s), np.nan)
        online_at_end = verdicts.current(end_s, _ONLINE)
        first_online_s = np.where(online_at_end, end_s, np.minimum(verdicts.next(end_s, _ONLINE), run_end_s))
        self.recovery_s = np.where(self.noticed & self.over, first_online_s - end_s, np.nan)


class Measured:
    """A run cut to its measured window, with what several metrics need worked out once."""

    def __init__(self, run: Recording) -> None:
        self.run = run
        self.truth = run.backend_truth
        self.start_s = run.warm_up_s
        self.end_s = run.duration_s
        self.window_s = max(0.0, self.end_s - self.start_s)
        self.deadline_s = run.policy.request.deadline_s
        self.messages: pd.DataFrame = run.messages[self.inside(run.messages["time_s"])]
        self.count: int = len(self.messages)

    def inside(self, times_s: pd.Series[Any]) -> pd.Series[bool]:
        """Which of these times are in the window."""
        return (times_s >= self.start_s) & (times_s < self.end_s)

    @cached_property
    def answers_s(self) -> Floats:
        """How long each person waited for a first answer."""
        return self.messages["answer_s"].dropna().to_numpy(dtype=np.float64)

    @cached_property
    def late_s(self) -> Floats:
        """How long each late message took until it was delivered."""
        return self.messages.loc[self.messages["outcome"] == "late", "delivered_s"].to_numpy(dtype=np.float64)

    @cached_property
    def sent_s(self) -> Floats:
        """When each request for a message or a replay was sent, sorted; from the whole run."""
        attempts = self.run.attempts
        real = (attempts["kind"] != "probe") & (attempts["outcome"] != "rejected")
        return attempts.loc[real, "time_s"].to_numpy(dtype=np.float64)

    @cached_property
    def probes(self) -> int:
        """How many health checks began in the window."""
        return int(self.inside(self.run.probes["time_s"]).sum())

    @cached_property
    def bounds(self) -> Floats:
        """Start and end of each stretch of outage, in the whole run: an array of shape (stretches, 2)."""
        return merged(self.run.outages)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The stretches that began in the window."""
        return [Stretch(start, end, self) for start, end in self.bounds if self.start_s <= start < self.end_s]

    @cached_property
    def watched(self) -> npt.NDArray[np.int64]:
        """The clients that have a monitor: those with a health check or a verdict."""
        seen = np.concatenate([self.run.probes["client"], self.run.transitions["client"]])
        return np.unique(seen).astype(np.int64)

    @cached_property
    def joined_s(self) -> Floats:
        """When each watched client was first seen."""
        first = np.full(len(self.watched), math.inf)
        for frame in (self.run.messages, self.run.probes, self.run.transitions):
            rows = frame[frame["client"].isin(self.watched)]
            np.minimum.at(first, np.searchsorted(self.watched, rows["client"]), rows["time_s"].to_numpy())
        return first

    @cached_property
    def verdicts(self) -> Verdicts:
        """What each watched client's monitor said, when."""
        return Verdicts(self.run.transitions, self.watched)


class Verdicts:
    """Transitions of all watched clients, asked by time. Each answer is an array with one value per client."""

    def __init__(self, transitions: pd.DataFrame, watched: npt.NDArray[np.int64]) -> None:
        self._n = len(watched)
        self._time_s = transitions["time_s"].to_numpy(dtype=np.float64)
        self._row = np.searchsorted(watched, transitions["client"].to_numpy())
        self._current = transitions["current"].cat.codes.to_numpy()
        self._codes = {word: code for code, word in enumerate(transitions["current"].cat.categories)}

    def current(self, at_s: float, words: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Whether the verdict at a time is one of ``words``; a verdict counts from its very instant."""
        answer = np.zeros(self._n, dtype=np.bool_)
        until = np.searchsorted(self._time_s, at_s, side="right")
        answer[self._row[:until]] = np.isin(self._current[:until], self._of(words))
        return answer

    def next(self, after_s: float, words: tuple[str, ...]) -> Floats:
        """When the verdict next became one of ``words``, after a time; infinity if it never did."""
        first = np.full(self._n, math.inf)
        since = np.searchsorted(self._time_s, after_s, side="right")
        chosen = np.isin(self._current[since:], self._of(words))
        np.minimum.at(first, self._row[since:][chosen], self._time_s[since:][chosen])
        return first

    def _of(self, words: tuple[str, ...]) -> list[int]:
        return [self._codes[word] for word in words]


def merged(outages: pd.DataFrame) -> Floats:
    """Outages as stretches without a gap between them: an array of shape (stretches, 2) of start and end, sorted."""
    stretches: list[list[float]] = []
    for start_s, end_s in zip(outages["start_s"], outages["end_s"], strict=True):
        if stretches and start_s <= stretches[-1][1]:
            stretches[-1][1] = max(stretches[-1][1], end_s)
        else:
            stretches.append([start_s, end_s])
    return np.array(stretches, dtype=np.float64).reshape(-1, 2)


def measure(run: Recording) -> pd.Series[float]:
    """Every metric of a run, by name, as float."""
    measured = Measured(run)
    return pd.Series({name: float(metric.of(measured)) for name, metric in METRICS.items()}, dtype=np.float64)


def format_metric(name: str, value: float) -> str:
    """A metric as people read it: ``"93.1 %"``, ``"350 ms"``, ``"1,440"``, ``"1.08×"``; an en dash for NaN.

    Raises InputError for a name that is no metric.
    """
    if name not in METRICS:
        raise InputError(f"there is no metric {name!r}{closest(name, METRICS)}")
    if math.isnan(value):
        return "–"
    match METRICS[name].unit:
        case "s":
            return format_duration(value)
        case "share":
            return format_share(value)
        case "count":
            return _count(value)
        case "times":
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:,.{digits}f}×"
        case "per day":
            return f"{_count(value)} per day"
        case "per hour":
            return f"{_count(value)} per hour"


def format_share(value: float) -> str:
    """A share as percent. Only exactly nothing is ``"0 %"``, and only exactly all is ``"100 %"``."""
    if value in (0.0, 1.0):
        return f"{value * 100:.0f} %"
    for decimals in (1, 2, 3):
        shown = f"{value * 100:.{decimals}f}"
        if 0 < float(shown) < 100:
            return f"{shown} %"
    if 0 < value < 1:
        return "< 0.001 %" if value < 0.5 else "> 99.999 %"
    return f"{value * 100:,.1f} %"


def _count(value: float) -> str:
    if value.is_integer() or abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else math.nan


def _share(part: float, measured: Measured) -> float:
    return part / measured.count if measured.count else math.nan


def _ended(outcome: str) -> Callable[[Measured], float]:
    return lambda measured: float((measured.messages["outcome"] == outcome).sum())


def _answered_share(measured: Measured) -> float:
    messages = measured.messages
    in_time = messages["answer_s"] <= measured.deadline_s + _ON_TIME_S
    return _share(int(((messages["outcome"] == "answered") & in_time).sum()), measured)


def _delivered_share(measured: Measured) -> float:
    return _share(int(measured.messages["outcome"].isin(["answered", "late"]).sum()), measured)


def _duplicates(measured: Measured) -> float:
    if not measured.truth:
        return math.nan
    effects = measured.run.effects
    again = effects.loc[effects["number"] > 1, "message_id"].tolist()
    ids = set(measured.messages["message_id"].tolist()) if again else set()
    return float(sum(message_id in ids for message_id in again))


def _spend_multiplier(measured: Measured) -> float:
    delivered = int(measured.messages["delivered_s"].notna().sum())
    if not measured.truth or not delivered:
        return math.nan
    return int(measured.run.effects["message_id"].isin(measured.messages["message_id"]).sum()) / delivered


def _wasted_share(measured: Measured) -> float:
    sent_s = measured.sent_s[(measured.sent_s >= measured.start_s) & (measured.sent_s < measured.end_s)]
    if not measured.truth or not len(sent_s):
        return math.nan
    starts_s, ends_s = measured.bounds[:, 0], measured.bounds[:, 1]
    # Stretches don't touch: a time is inside if more have begun than are over.
    inside = np.searchsorted(starts_s, sent_s, side="right") > np.searchsorted(ends_s, sent_s, side="right")
    return float(inside.mean())


class Peak(NamedTuple):
    """The busiest 10 s after an outage: when they begin, requests per second in them, and before the outage."""

    begin_s: float
    rate: float
    before: float

    @property
    def times(self) -> float:
        """How many times the rate before."""
        return self.rate / self.before


def recovery_peaks(measured: Measured) -> list[Peak]:
    """The peak after each stretch of outage in the window that ended in it and had requests before it."""
    sent_s, peaks = measured.sent_s, []
    for index, (start_s, end_s) in enumerate(measured.bounds):
        if not measured.start_s <= start_s < measured.end_s or end_s >= measured.end_s:
            continue
        from_s = max(0.0, start_s - _BEFORE_S)
        before = np.searchsorted(sent_s, [from_s, start_s])
        if before[1] == before[0]:
            continue
        mean_rate = float((before[1] - before[0]) / (start_s - from_s))
        next_s = measured.bounds[index + 1, 0] if index + 1 < len(measured.bounds) else math.inf
        after = np.searchsorted(sent_s, [end_s, min(end_s + _AFTERMATH_S, next_s, measured.end_s)])
        times_s = sent_s[after[0] : after[1]]
        crowd = np.searchsorted(times_s, times_s + PEAK_WINDOW_S) - np.arange(len(times_s))
        busiest = int(crowd.argmax()) if len(crowd) else 0
        begin_s = float(times_s[busiest]) if len(crowd) else float(end_s)
        peaks.append(Peak(begin_s, float(crowd[busiest] if len(crowd) else 0) / PEAK_WINDOW_S, mean_rate))
    return peaks


def _recovery_peak(measured: Measured) -> float:
    return max((peak.times for peak in recovery_peaks(measured)), default=math.nan)


def _detection_s(measured: Measured) -> float:
    return _mean(_of_stretches(measured, lambda stretch: stretch.detection_s))


def _recovery_s(measured: Measured) -> float:
    return _mean(_of_stretches(measured, lambda stretch: stretch.recovery_s))


def _of_stretches(measured: Measured, values: Callable[[Stretch], Floats]) -> Floats:
    if not measured.truth:
        return np.empty(0)
    return np.concatenate([np.empty(0), *(values(stretch) for stretch in measured.stretches)])


def _missed_outages(measured: Measured) -> float:
    if not measured.truth or not len(measured.watched):
        return math.nan
    missed = sum(int((s.present & ~s.noticed).sum()) for s in measured.stretches if s.over)
    return missed / len(measured.watched)


def _false_offline(measured: Measured) -> float:
    if not measured.truth or not len(measured.watched) or not measured.window_s:
        return math.nan
    days = len(measured.watched) * measured.window_s / _DAY_S
    transitions = measured.run.transitions
    time_s = transitions["time_s"]
    last_online_s = time_s.where(transitions["previous"] == "online").groupby(transitions["client"]).ffill()
    since_s = last_online_s.fillna(-math.inf).to_numpy()
    at_s = time_s.to_numpy()
    began = np.searchsorted(measured.bounds[:, 0], at_s, side="right")
    over = np.searchsorted(measured.bounds[:, 1], since_s, side="left")
    # Every stretch that had begun by then was over before the verdict was last online.
    alarm = (transitions["current"] == "offline") & measured.inside(time_s) & (began <= over)
    return float(alarm.sum()) / days


def _probe_rate_per_hour(measured: Measured) -> float:
    if not len(measured.watched) or not measured.window_s:
        return math.nan
    return measured.probes / (len(measured.watched) * measured.window_s / _HOUR_S)


def _drained_s(measured: Measured) -> float:
    if not measured.truth:
        return math.nan
    queue = measured.run.queue
    time_s, client = queue["time_s"].to_numpy(), queue["client"].to_numpy()
    depth = queue["depth"].to_numpy()
    known, row = np.unique(client, return_inverse=True)
    waits: list[Floats] = []
    for start_s, end_s in measured.bounds:
        if not measured.start_s <= start_s < measured.end_s or end_s >= measured.end_s:
            continue
        until = np.searchsorted(time_s, end_s, side="right")
        depth_at_end = np.zeros(len(known), dtype=np.int64)
        depth_at_end[row[:until]] = depth[:until]
        empty_s = np.full(len(known), measured.end_s)
        empty = depth[until:] == 0
        np.minimum.at(empty_s, row[until:][empty], time_s[until:][empty])
        waits.append((empty_s - end_s)[depth_at_end > 0])
    return _mean(np.concatenate([np.empty(0), *waits]))


_IN_ORDER = (
    Metric(
        "messages", "Messages", "count", "none",
        "Messages that people sent.", lambda measured: float(measured.count),
    ),
    Metric(
        "answered_share", "Answered in time", "share", "higher",
        "Share of messages whose first answer came within the deadline from the backend, or from a fresh copy of an "
        "answer of its own.",
        _answered_share,
    ),
    Metric(
        "answer_p50_s", "Median answer", "s", "lower",
        "Half of the people had their first answer, of whatever kind, by then.",
        lambda measured: _quantile(measured.answers_s, 0.50),
    ),
    Metric(
        "answer_p99_s", "p99 answer", "s", "lower",
        "99 of 100 people had their first answer, of whatever kind, by then.",
        lambda measured: _quantile(measured.answers_s, 0.99),
    ),
    Metric(
        "answer_max_s", "Worst answer", "s", "lower",
        "The longest that anyone waited for a first answer, of whatever kind.",
        lambda measured: _quantile(measured.answers_s, 1.0),
    ),
    Metric(
        "fallback_share", "Offline fallback", "share", "lower",
        "Share of messages whose first answer was the offline fallback.",
        lambda measured: _share(int((measured.messages["source"] == "fallback").sum()), measured),
    ),
    Metric(
        "delivered_share", "Delivered", "share", "higher",
        "Share of messages that were answered, at once or later, by the end of the run.",
        _delivered_share,
    ),
    Metric(
        "late_p50_s", "Late ones took", "s", "lower",
        "Half of the messages that were answered late had their answer by then.",
        lambda measured: _quantile(measured.late_s, 0.50),
    ),
    Metric(
        "late_p99_s", "p99 of late ones", "s", "lower",
        "99 of 100 messages that were answered late had their answer by then.",
        lambda measured: _quantile(measured.late_s, 0.99),
    ),
    Metric(
        "lost", "Lost", "count", "lower", "Messages that vanished: never answered, and nobody was told.", _ended("lost")
    ),
    Metric(
        "rejected", "Rejected", "count", "lower",
        "Messages that were neither answered nor saved, and the person knew it.",
        _ended("rejected"),
    ),
    Metric(
        "expired", "Expired", "count", "lower",
        "Messages that waited in the queue until they were too old.", _ended("expired")
    ),
    Metric(
        "dead", "Given up", "count", "lower",
        "Messages that were given up, and are kept as dead letters.", _ended("dead")
    ),
    Metric(
        "duplicates", "Duplicates", "count", "lower",
        "Times that the backend processed a message which it had processed before.",
        _duplicates,
    ),
    Metric(
        "amplification", "Requests/message", "times", "lower",
        "Requests sent for a message, first ones, retries and replays, on average.",
        lambda measured: _share(float(measured.messages["attempts"].sum()), measured),
    ),
    Metric(
        "spend_multiplier", "Cost of an answer", "times", "lower",
        "How often the backend processed a message for each one that was delivered: what one answer costs.",
        _spend_multiplier,
    ),
    Metric(
        "wasted_share", "Sent into an outage", "share", "lower",
        "Share of the requests for messages that were sent during an outage.",
        _wasted_share,
    ),
    Metric(
        "recovery_peak", "Rush at recovery", "times", "lower",
        "After the worst outage: the busiest 10 s within 5 min of its end, over the mean rate of requests in the "
        "30 min before it.",
        _recovery_peak,
    ),
    Metric(
        "detection_s", "Outage seen after", "s", "lower",
        "From the start of an outage until the verdict was degraded or offline, on average over outages and clients "
        "that noticed.",
        _detection_s,
    ),
    Metric(
        "recovery_s", "Recovery seen after", "s", "lower",
        "From the end of an outage that was noticed until the verdict was online (or the run ended), on average.",
        _recovery_s,
    ),
    Metric(
        "missed_outages", "Outages missed", "count", "lower",
        "Outages that were over before the verdict noticed them, per client.",
        _missed_outages,
    ),
    Metric(
        "false_offline", "False alarms", "per day", "lower",
        "Offline verdicts while the backend was well and had been since the verdict was last online, per client.",
        _false_offline,
    ),
    Metric(
        "probe_rate_per_hour", "Health checks", "per hour", "none",
        "Health checks of one client.", _probe_rate_per_hour,
    ),
    Metric(
        "drained_s", "Queue empty after", "s", "lower",
        "From the end of an outage until a queue that held something was empty (or the run ended), on average.",
        _drained_s,
    ),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _IN_ORDER}
"""Every metric by name, in the order in which screens show them."""
