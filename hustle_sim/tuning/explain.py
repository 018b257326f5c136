"""``explain``: what a policy does, in plain words, with numbers that nobody had to simulate."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from hustle_sim.inputs import format_duration
from hustle_sim.policy import Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.tuning import closed_forms as closed
from hustle_sim.tuning import closed_monitor as monitor
from hustle_sim.tuning.situation import Situation, situation_of

_HOUR_S = 3600.0
_FALSE_ALARM = 0.01
_PEAK_S = 10.0
_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Row:
    """One number of a card: a stable name, a title, the value in its unit, and the sentence that says it.

    ``unit`` is one of ``s``, ``attempts``, ``requests``, ``calls``, ``times``, ``requests/s``, ``per day``. A value of
    infinity means never, maybe never, or no limit; ``word`` says which.
    """

    name: str
    title: str
    value: float
    unit: str
    sentence: str
    word: str = ""

    @property
    def shown(self) -> str:
        """The value as a person reads it."""
        if self.word:
            return self.word
        if self.unit == "s":
            return format_duration(self.value)
        unit = self.unit.removesuffix("s") if self.value == 1 and self.unit.endswith("s") else self.unit
        return f"{_number(self.value)}x" if unit.startswith("time") else f"{_number(self.value)} {unit}"


@dataclass(frozen=True, slots=True)
class Card:
    """What ``explain`` found: ``rows``, and what they assume. ``str(card)`` is for people, ``to_dict`` for machines."""

    assumes: str
    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        """The row of this name; raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The card as lines of text: a title, a value and a sentence each, no wider than 110 characters."""
        titles = max(len(row.title) for row in self.rows)
        values = max(len(row.shown) for row in self.rows)
        lines = [textwrap.fill(self.assumes, _WIDTH), ""]
        for row in self.rows:
            head = f"{row.title:<{titles}}  {row.shown:>{values}}  "
            lines.append(textwrap.fill(row.sentence, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Values that JSON can hold; null stands for infinity."""
        return {
            "assumes": self.assumes,
            "rows": [
                {
                    "name": row.name,
                    "title": row.title,
                    "value": row.value if math.isfinite(row.value) else None,
                    "unit": row.unit,
                    "sentence": row.sentence,
                }
                for row in self.rows
            ],
        }

    def _repr_html_(self) -> str:
        """The card as a table, for a notebook."""
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(row.title)}</th>'
            f'<td style="text-align:right;white-space:nowrap">{html.escape(row.shown)}</td>'
            f'<td style="text-align:left">{html.escape(row.sentence)}</td></tr>'
            for row in self.rows
        )
        return f"<p>{html.escape(self.assumes)}</p><table>{rows}</table>"


def explain(policy: Policy, scenario: Scenario | None = None, *, messages_per_hour: float = 60.0) -> Card:
    """What a policy does, as a card of numbers from closed forms.

    Rate of messages, number of clients, latency and outage lengths are the scenario's; without one, a client sends
    ``messages_per_hour`` and outages last as long as those of a big AI provider. Raises InputError for a rate
    that is not above 0.
    """
    situation = situation_of(scenario, messages_per_hour)
    rows = (
        *_people(policy, situation),
        *_breaker(policy, situation),
        *_load(policy, situation),
        *_monitor(policy, situation),
        *_queue(policy, situation),
    )
    return Card(situation.words, rows)


def _people(policy: Policy, situation: Situation) -> Iterator[Row]:
    deadline_s = policy.request.deadline_s
    hang, refuse = closed.pursuit(policy, math.inf), closed.pursuit(policy, situation.refusal_s)
    if hang.answer_s >= deadline_s:
        sentence = f"Nobody waits longer than {_time(deadline_s)}; on a backend that hangs, that is how long it takes."
    else:
        sentence = (
            f"On a backend that hangs, all attempts are over by then: sooner than the deadline of {_time(deadline_s)}."
        )
    yield Row("answer_longest_s", "Longest wait", max(hang.answer_s, refuse.answer_s), "s", sentence)
    yield Row(
        "attempts_refused", "Attempts, refused", refuse.attempts[1], "attempts",
        f"A message to a backend that refuses is tried {_times(refuse.attempts)}{_why_fewer(policy, refuse)}.",
    )  # fmt: skip
    yield Row(
        "attempts_hanging", "Attempts, hanging", hang.attempts[1], "attempts",
        f"A message to a backend that hangs is tried {_times(hang.attempts)}{_why_fewer(policy, hang)}.",
    )  # fmt: skip
    sent, why = sent_in_first_hour(policy, situation)
    checks = monitor.checks_within(policy.probe, _HOUR_S, math.inf)
    yield Row(
        "dead_hour_requests", "First dead hour", sent, "requests",
        f"At most so many requests are sent by one client in the first hour of an outage, for "
        f"{_number(situation.messages_per_hour)} messages: {why} Health checks come on top, about {checks:.0f}.",
    )  # fmt: skip


def _times(attempts: tuple[int, int]) -> str:
    least, most = attempts
    if least != most:
        return f"{least} to {most} times"
    return {1: "once", 2: "twice"}.get(most, f"{most} times")


def _why_fewer(policy: Policy, one: closed.Pursuit) -> str:
    allowed = policy.request.max_attempts
    if one.attempts[0] == allowed:
        return ""
    if not closed.budget_allows_any(policy.retry):
        return ": the budget allows no retry"
    return f": the deadline leaves no time for all {allowed} attempts"


def sent_in_first_hour(policy: Policy, situation: Situation) -> tuple[float, str]:
    """The most requests of one client in the first hour of an outage (evenly spaced messages), and what bounds it."""
    gap_s = situation.gap_s
    found: list[tuple[float, str]] = []
    for fails_in_s in (situation.refusal_s, math.inf):
        bounds = [(closed.sent_within(policy, gap_s, _HOUR_S, fails_in_s), "nothing stops them.")]
        if policy.request.fast_fail_offline:
            noticed_s = monitor.detection(policy.probe, fails_in_s, situation.health_s).worst_s
            sent = closed.sent_within(policy, gap_s, min(noticed_s, _HOUR_S), fails_in_s)
            bounds.append((sent, "once the verdict is offline, nothing is sent."))
        opens = closed.opening(policy, gap_s, fails_in_s)
        if opens.latest_s is not None:
            lasts_s = min(fails_in_s, policy.request.attempt_timeout_s)
            sent = closed.sent_within(policy, gap_s, min(opens.latest_s, _HOUR_S), fails_in_s)
            sent += closed.trials_within(policy.breaker, _HOUR_S, lasts_s)
            bounds.append((sent, "once the breaker is open, only trial calls are let through."))
        # Of equal bounds the first: what stops nothing is not the reason.
        found.append(min(bounds, key=lambda bound: bound[0]))
    return max(found, key=lambda bound: bound[0])


def _breaker(policy: Policy, situation: Situation) -> Iterator[Row]:
    opens = closed.opening(policy, situation.gap_s, situation.refusal_s)
    hang = closed.opening(policy, situation.gap_s, math.inf)
    title_calls, title_s = "Breaker, calls", "Breaker, time"
    rate = f"at {_number(situation.messages_per_hour)} messages an hour"
    if opens.calls is None or opens.latest_s is None:
        never = opens.verdict == "never"
        word, words = ("never", "never opens") if never else ("maybe never", "may never open")
        sentence = f"The breaker {words} on a backend that refuses, {rate}: {opens.reason}."
        first = "" if never else _offline_first(policy, situation, math.inf)
        yield Row("breaker_calls", title_calls, math.inf, "calls", sentence + first, word)
        if policy.breaker.enabled:
            when_s = math.inf if hang.latest_s is None else hang.latest_s
            shown = _word(hang)
            yield Row("breaker_s", title_s, when_s, "s", _hang_sentence(hang), shown)
        return
    few, many = opens.calls
    calls = f"{many} failed call{'s' if many > 1 else ''}" if few == many else f"{few} to {many} failed calls"
    health = ""
    if policy.breaker.window == "count":
        after = closed.calls_until_open(policy.breaker, 1.0, after_health=True)
        if after is not None and after != many:
            health = f" ({after} after {policy.breaker.window_calls} good ones)"
    yield Row("breaker_calls", title_calls, many, "calls", f"The breaker opens after {calls}{health}.")
    first = _offline_first(policy, situation, opens.latest_s)
    yield Row(
        "breaker_s", title_s, opens.latest_s, "s",
        f"It opens so long after the first message of an outage, at the latest, if the backend refuses, {rate}. "
        f"{_hang_sentence(hang)}{first}",
    )  # fmt: skip


def _word(opens: closed.Opening) -> str:
    return {"opens": "", "may": "maybe never", "never": "never"}[opens.verdict]


def _hang_sentence(hang: closed.Opening) -> str:
    if hang.latest_s is not None:
        return f"If it hangs: {_time(hang.latest_s)}."
    return f"If it hangs: {_word(hang)}, since {hang.reason}."


def _offline_first(policy: Policy, situation: Situation, opens_s: float) -> str:
    if not policy.request.fast_fail_offline:
        return ""
    first_s = monitor.detection_with_requests(
        policy, situation.messages_per_hour, situation.refusal_s, situation.health_s
    ).mean_s
    return " Mostly the verdict is offline before, and nothing is sent any more." if first_s < opens_s else ""


def _load(policy: Policy, situation: Situation) -> Iterator[Row]:
    for percent in (10, 50, 100):
        found = closed.load(policy, percent / 100, situation.messages_per_hour, situation.refusal_s)
        # What a screen would show as the same number is the same.
        limits = []
        if found.in_time < found.unlimited - 0.005:
            limits.append(f"the deadline lowers it from {found.unlimited:.2f}")
        if found.in_budget < found.in_time - 0.005:
            limits.append(f"the retry budget lowers it from {found.in_time:.2f}")
        if percent == 100 and policy.request.fast_fail_offline:
            limits.append("until the verdict is offline")
        opens = closed.opening(policy, situation.gap_s, situation.refusal_s)
        if policy.breaker.enabled and percent / 100 >= policy.breaker.failure_share and opens.verdict == "opens":
            limits.append("until the breaker opens")
        words = f" ({', '.join(limits)})" if limits else ""
        failing = {10: "1 in 10 attempts fails", 50: "1 in 2 attempts fails", 100: "every attempt fails"}[percent]
        yield Row(
            f"load_{percent}", f"Load at {percent} % failures", found.in_budget, "times",
            f"Attempts for each message while {failing} at once{words}.",
        )  # fmt: skip


def _monitor(policy: Policy, situation: Situation) -> Iterator[Row]:
    probe = policy.probe
    alone = monitor.detection(probe, math.inf, situation.health_s)
    live = monitor.detection_with_requests(policy, situation.messages_per_hour, math.inf, situation.health_s)
    yield Row(
        "notice_mean_s", "Outage noticed", alone.mean_s, "s",
        "On average, until the verdict on a backend that hangs is offline, by health checks alone.",
    )  # fmt: skip
    yield Row("notice_worst_s", "Noticed, at worst", alone.worst_s, "s", "An outage that is shorter may go unnoticed.")
    if not probe.evidence:
        sentence = "Failed requests don't count as evidence, so it takes as long as without them."
    else:
        sentence = f"On average with failed requests as evidence, at {_number(situation.messages_per_hour)} an hour."
    yield Row("notice_live_s", "Noticed, by requests", live.mean_s, "s", sentence)
    back = monitor.recovery(probe, situation.outage_median_s, math.inf, situation.health_s)
    lasted = f"an outage of {_time(situation.outage_median_s)}"
    yield Row(
        "recovery_mean_s",
        "Recovery noticed",
        back.mean_s,
        "s",
        f"On average, until the verdict is online after {lasted}.",
    )
    yield Row(
        "recovery_worst_s",
        "Recovery, at worst",
        back.worst_s,
        "s",
        "So long people may be told that it is offline when it is not.",
    )
    false = monitor.false_offline_per_day(probe, _FALSE_ALARM, situation.messages_per_hour)
    yield Row(
        "false_offline_per_day", "False alarms", false, "per day",
        "Offline verdicts on a healthy backend, if one check in 100 fails by chance"
        + (f": one in {_number(1 / false)} days." if 0 < false < 0.1 else "."),
    )  # fmt: skip


def _queue(policy: Policy, situation: Situation) -> Iterator[Row]:
    queue, rate = policy.queue, situation.messages_per_hour
    lasts_s = closed.queue_lasts_s(queue, rate)
    if math.isinf(lasts_s):
        sentence = f"Messages expire after {_time(queue.ttl_s)}, before the queue of {queue.max_size:,} is full."
        if rate <= 0:
            sentence = "Nobody writes, so it never fills."
    else:
        compared = "longer" if lasts_s > situation.outage_median_s else "shorter"
        sentence = (
            f"Then {queue.max_size:,} messages wait and the queue is full: {compared} than half of the outages last "
            f"({_time(situation.outage_median_s)})."
        )
    yield Row("queue_lasts_s", "Queue lasts", lasts_s, "s", sentence, "no limit" if math.isinf(lasts_s) else "")
    waiting = closed.waiting_after(queue, rate, situation.outage_median_s)
    everyone = situation.clients
    burst = closed.burst_within(queue, waiting, _PEAK_S) * everyone / _PEAK_S
    who = "the client sends" if everyone == 1 else f"{everyone:,} clients, if they all start at once, send"
    capacity = ""
    if situation.capacity is not None and situation.latency_mean_s:
        capacity = f" The backend serves {_number(situation.capacity / situation.latency_mean_s)} a second."
    yield Row(
        "burst_per_s", "Burst after recovery", burst, "requests/s",
        f"After {_time(situation.outage_median_s)} {waiting:,} messages wait for each client; {who} at most so many "
        f"in the first {_PEAK_S:g} s.{capacity}",
    )  # fmt: skip
    latency_s = situation.latency_mean_s or 0.0
    yield Row(
        "drain_s", "Queue sent in", closed.drain_s(queue, waiting, latency_s), "s",
        f"So long it takes to send them all, once the verdict is online and {_time(queue.flush_jitter_s)} at most "
        "have passed."
        if queue.flush_jitter_s
        else "So long it takes to send them all, from the online verdict on.",
    )  # fmt: skip


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _time(seconds: float) -> str:
    return format_duration(seconds)
