"""Why? The life of one message: each attempt, wait and refusal in its order, and a sentence for each.

Everything is read from the frames of a run. Where the backend's truth is known, a failed attempt says what the
backend was doing then; in a live session it says only what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hustle_sim.analysis.shapes import elapsed
from hustle_sim.inputs import InputError, closest, format_duration
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.retry import backoff_s

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording
    from hustle_sim.policy import Policy

StepKind = Literal[
    "sent", "attempt", "refused", "backoff", "no_retry", "answer", "queued", "leased", "replay", "verdict",
    "late_answer", "end", "wait",
]  # fmt: skip
"""What a step is. ``refused``: the breaker let nothing through; ``end``: an end without an answer."""

_MOMENT_S = 1e-6
"""Two times that differ by less are one: times in the frames are differences of floats."""

_DOING = {
    "refuse": "the backend was down", "hang": "the backend was hanging", "error": "the backend was failing",
    "slow": "the backend was slow", "rate_limit": "the backend was turning requests away",
    "brownout": "the backend had lost part of its capacity", "bad_body": "the backend sent broken answers",
    "flap": "the backend was flapping",
}  # fmt: skip

_ENDED = {
    "timeout": "got no answer within {}", "refused": "was refused after {}",
    "dns": "failed after {}: the backend's name was not found", "tls": "found no safe connection within {}",
    "http_4xx": "was turned down by the backend after {}",
    "rate_limited": "was turned away after {}: too many requests",
    "overloaded": "was turned away after {}: the backend was overloaded",
    "http_5xx": "ended with a server error after {}", "bad_body": "brought an unreadable answer after {}",
    "cancelled": "was cancelled by the app after {}", "ok": "was answered after {}",
}  # fmt: skip

_ANSWERS = {
    "backend": "The person saw the coach's answer {}.",
    "cache": "The person saw an answer from the cache {}.",
    "stale": "The person saw an older answer from the cache, marked as such, {}.",
    "fallback": "The person saw the offline answer {}.",
}

_ENDS = {
    "expired": "It was too old and left the queue: nobody needs this answer any more.",
    "dead": "It was given up, and is kept as a dead letter.",
    "cancelled": "It was taken out of the queue by hand.",
    "dropped": "It was dropped without a trace: the person was never told.",
    "lost": "It was never saved and never answered: it is lost.",
    "rejected": "It could not be saved, and the person was told so.",
    "pending": "When the run ended, it was still waiting.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step; ``begin_s`` and ``end_s`` are seconds since the message was sent, and equal for an instant.

    ``outcome`` is one word: how an attempt ended, where an answer came from, how a stay in the queue ended.
    """

    kind: StepKind
    begin_s: float
    end_s: float
    outcome: str
    words: str


@dataclass(frozen=True, slots=True)
class Life:
    """The life of a message: its steps in their order, from its sending (0) to ``end_s`` without a gap.

    ``sent_s`` is the time of sending in the run, ``outcome`` how it ended (one of ``FATES``), ``words`` one sentence
    on the whole.
    """

    message_id: str
    client: int
    sent_s: float
    end_s: float
    outcome: str
    words: str
    steps: tuple[Step, ...]


def life(run: Recording, message_id: str, client: int | None = None) -> Life:
    """The life of a message. Raises InputError if there is no such message, or not one of this ``client``."""
    ids = run.messages["message_id"]
    found = np.flatnonzero((ids == message_id).to_numpy())
    if not len(found):
        raise InputError(f"there is no message {message_id!r} in this run{closest(message_id, ids.head(2000))}")
    message = run.messages.iloc[int(found[0])]
    if client is not None and client != message["client"]:
        raise InputError(f"message {message_id!r} is one of client {message['client']}, not of client {client}.")
    return _Teller(run, message).life()


def message_of(run: Recording, row: int) -> str | None:
    """The message that the attempt in this row of ``run.attempts`` was for; None for a health check.

    Raises InputError for a row that there isn't.
    """
    if not 0 <= row < len(run.attempts):
        raise InputError(f"there is no attempt {row}: the rows go from 0 to {len(run.attempts) - 1}.")
    return str(run.attempts["message_id"].iat[row]) or None


def attempt_near(run: Recording, time_s: float, latency_s: float, span_s: float) -> int | None:
    """The row of the attempt nearest to a point of the latency figure, or None if there is none at all near.

    ``span_s`` is the stretch of time that the figure shows: nearness is judged as the eye does, time against
    the whole stretch and latency by its ratio (a factor of ten is half of the height). Health checks count as well.
    """
    attempts = run.attempts
    times_s = attempts["time_s"].to_numpy()
    reach_s = span_s * 0.03
    first, last = np.searchsorted(times_s, [time_s - reach_s, time_s + reach_s])
    if first == last or span_s <= 0:
        return None
    ratio = np.maximum(attempts["latency_s"].to_numpy()[first:last], 1e-3) / max(latency_s, 1e-3)
    # A figure is about twice as wide as it is high, and shows about two and a half decades.
    distance = np.hypot(2 * (times_s[first:last] - time_s) / span_s, np.log10(ratio) / 2.5)
    nearest = int(distance.argmin())
    return int(first) + nearest if distance[nearest] < 0.06 else None


class _Attempt(NamedTuple):
    """One attempt; times since the sending of its message."""

    begin_s: float
    end_s: float
    kind: str
    number: int
    outcome: str

    @property
    def sent(self) -> bool:
        return self.outcome != "rejected"


class _Change(NamedTuple):
    """One event of the queue, or of a verdict."""

    at_s: float
    word: str
    reason: str


class _Teller:
    """Tells one life. All times are seconds since the message was sent."""

    def __init__(self, run: Recording, message: Any) -> None:
        self._run = run
        self._id = str(message["message_id"])
        self._client = int(message["client"])
        self._sent_s = float(message["time_s"])
        self._answer_s = float(message["answer_s"])
        self._source = str(message["source"]) if isinstance(message["source"], str) else ""
        self._queued = bool(message["queued"])
        self._delivered_s = float(message["delivered_s"])
        self._via = str(message["via"]) if isinstance(message["via"], str) else ""
        self._outcome = str(message["outcome"])
        rows = run.attempts[(run.attempts["message_id"] == self._id).to_numpy()]
        self._attempts = [
            _Attempt(at_s - self._sent_s, at_s - self._sent_s + took_s, str(kind), int(number), str(outcome))
            for at_s, took_s, kind, number, outcome in _rows(rows, "time_s", "latency_s", "kind", "number", "outcome")
        ]
        changes = run.queue[(run.queue["message_id"] == self._id).to_numpy()]
        self._queue = [
            _Change(at_s - self._sent_s, str(event), str(reason))
            for at_s, event, reason in _rows(changes, "time_s", "event", "reason")
        ]
        self._run_end_s = max(0.0, run.duration_s - self._sent_s)

    def life(self) -> Life:
        steps = [
            Step("sent", 0.0, 0.0, "sent", f"The person sent the message, {elapsed(self._sent_s)} into the run."),
            *self._pursuit(),
            *self._replays(),
            *self._stays(),
            *self._answers(),
        ]
        steps += self._end(max(step.end_s for step in steps))
        end_s = max(step.end_s for step in steps)
        steps += self._gaps(steps, end_s)
        # At one instant: first what was over by then, then what comes of it, then what lasts.
        steps.sort(key=lambda step: (step.begin_s, _rank(step)))
        return Life(self._id, self._client, self._sent_s, end_s, self._outcome, self._summary(), tuple(steps))

    def _pursuit(self) -> Iterator[Step]:
        """The attempts while the person waited, what was between them, and why there were no more."""
        tries = [attempt for attempt in self._attempts if attempt.kind == "message"]
        before: _Attempt | None = None
        for attempt in tries:
            if before is not None and attempt.begin_s > before.end_s + _MOMENT_S:
                words = f"Waited {format_duration(attempt.begin_s - before.end_s)} before attempt {attempt.number}."
                yield Step("backoff", before.end_s, attempt.begin_s, "backoff", words)
            yield self._tried(attempt, f"Attempt {attempt.number}", "attempt")
            before = attempt
        if before is None:
            if self._source and self._source != "cache" and not math.isnan(self._answer_s):
                yield Step("no_retry", self._answer_s, self._answer_s, "not sent", self._why_nothing_was_sent())
        elif before.outcome != "ok" and self._source and self._source != "backend":
            reason, words = _why_no_more(before, tries[-2] if len(tries) > 1 else None, self._run.policy)
            yield Step("no_retry", before.end_s, before.end_s, reason, words)

    def _replays(self) -> Iterator[Step]:
        """What the queue sent."""
        replays = [attempt for attempt in self._attempts if attempt.kind != "message"]
        for number, attempt in enumerate(replays, start=1):
            which = "The replay from the queue" if len(replays) == 1 else f"Replay {number} from the queue"
            yield self._tried(attempt, which, "replay")

    def _tried(self, attempt: _Attempt, which: str, kind: Literal["attempt", "replay"]) -> Step:
        if not attempt.sent:
            words = f"The circuit breaker was {self._breaker_at(attempt.begin_s)}: nothing was sent."
            return Step("refused", attempt.begin_s, attempt.end_s, "rejected", words)
        took = format_duration(attempt.end_s - attempt.begin_s)
        words = f"{which} {_ENDED.get(attempt.outcome, attempt.outcome.replace('_', ' ') + ' after {}').format(took)}"
        if attempt.outcome != "ok":
            doing = self._doing(attempt.begin_s, attempt.end_s)
            if doing:
                words += f", and {doing.replace('the backend', 'it', 1)}" if ":" in words else f": {doing}"
        return Step(kind, attempt.begin_s, attempt.end_s, attempt.outcome, f"{words}.")

    def _stays(self) -> Iterator[Step]:
        """The stays in the queue, and the verdicts that ended them."""
        for change, following in zip_longest(self._queue, self._queue[1:]):
            until_s = self._run_end_s if following is None else following.at_s
            ending = "pending" if following is None else following.word
            if change.word in ("accepted", "released", "requeued"):
                stay = self._stay(change, until_s, ending)
                yield stay
                if ending in ("leased", "delivered") and stay.outcome != "in flight":
                    yield from self._verdict_before(change.at_s, until_s)
            elif change.word == "leased" and not self._is_sent_within(change.at_s, until_s):
                words = "It was taken from the queue, but no request for it is known to have ended."
                yield Step("leased", change.at_s, until_s, ending, words)
            elif change.word == "unknown":
                words = "It may have been processed without an answer: a person has to say whether it is sent again."
                yield Step("queued", change.at_s, until_s, "unknown", words)
            elif change.word == "rejected":
                words = f"The queue did not take it in{_because(change.reason)}."
                yield Step("queued", change.at_s, change.at_s, "rejected", words)

    def _stay(self, change: _Change, until_s: float, ending: str) -> Step:
        stay = format_duration(until_s - change.at_s)
        is_flying = change.word == "accepted" and any(
            attempt.kind == "message" and attempt.sent and attempt.begin_s <= change.at_s < attempt.end_s - _MOMENT_S
            for attempt in self._attempts
        )
        if is_flying:
            words = f"Saved in the queue before the deadline, while its request went on for {stay}."
            return Step("queued", change.at_s, until_s, "in flight", words)
        opening = {"released": "Back in the queue", "requeued": "Put back into the queue by hand"}.get(
            change.word, "Saved in the queue"
        )
        closing = {
            "leased": f", where it waited for {stay}", "pending": f", where it still waits after {stay}",
            "expired": f" until it expired, {stay} later", "dead": f" until it was given up, {stay} later",
            "dropped": f" until it was dropped, {stay} later", "cancelled": f" until it was taken out, {stay} later",
            "delivered": f" until its answer came, {stay} later",
        }.get(ending, f" for {stay}")  # fmt: skip
        return Step("queued", change.at_s, until_s, ending, f"{opening}{closing}.")

    def _verdict_before(self, begin_s: float, until_s: float) -> Iterator[Step]:
        """The last verdict within a stay in the queue that let it go on."""
        transitions = self._run.transitions
        first, last = np.searchsorted(
            transitions["time_s"].to_numpy(), [self._sent_s + begin_s, self._sent_s + until_s + _MOMENT_S]
        )
        stretch = transitions.iloc[first:last]
        freed = stretch[
            (stretch["client"] == self._client)
            & stretch["previous"].isin(["checking", "offline"])
            & stretch["current"].isin(["online", "degraded"])
        ]
        if len(freed):
            at_s = min(max(float(freed["time_s"].to_numpy()[-1]) - self._sent_s, begin_s), until_s)
            current, reason = str(freed["current"].iat[-1]), str(freed["reason"].iat[-1])
            words = f"A health check changed the verdict to {current}{_because(reason)}: the queue could send again."
            yield Step("verdict", at_s, at_s, current, words)

    def _answers(self) -> Iterator[Step]:
        if self._source and not math.isnan(self._answer_s):
            words = _ANSWERS.get(self._source, "The person saw an answer {}.")
            words = words.format(_after(self._answer_s))
            if self._source in ("fallback", "stale"):
                words = words[:-1] + ("; the message was safe in the queue." if self._queued else ".")
            yield Step("answer", self._answer_s, self._answer_s, self._source, words)
        if self._source != "backend" and not math.isnan(self._delivered_s):
            how = {"late": "from the request that had gone on", "queue": "from the queue"}.get(self._via, "late")
            words = f"The coach's answer came after {format_duration(self._delivered_s)}, {how}."
            yield Step("late_answer", self._delivered_s, self._delivered_s, self._via or "late", words)

    def _end(self, last_s: float) -> Iterator[Step]:
        """The end of a message that never got its answer."""
        if self._outcome in ("answered", "late"):
            return
        last = self._queue[-1] if self._queue else None
        if self._outcome == "pending":
            words = _ENDS["pending"] if self._source else "When the run ended, the person was still waiting."
            yield Step("end", self._run_end_s, self._run_end_s, "pending", words)
        elif last is not None and last.word in _ENDS:
            words = _ENDS[last.word]
            words = f"{words[:-1]}{_because(last.reason)}." if last.word == "dead" else words
            yield Step("end", last.at_s, last.at_s, last.word, words)
        else:
            words = _ENDS.get(self._outcome, f"It ended as {self._outcome}.")
            yield Step("end", last_s, last_s, self._outcome, words)

    def _gaps(self, steps: list[Step], end_s: float) -> Iterator[Step]:
        """What no other step covers, so that a life has no holes."""
        covered_s = 0.0
        for step in sorted(steps, key=lambda each: each.begin_s):
            if step.begin_s > covered_s + _MOMENT_S:
                yield self._gap(covered_s, step.begin_s)
            covered_s = max(covered_s, step.end_s)
        if end_s > covered_s + _MOMENT_S:
            yield self._gap(covered_s, end_s)

    def _gap(self, begin_s: float, until_s: float) -> Step:
        stretch = format_duration(until_s - begin_s)
        if self._outcome == "pending" and until_s == self._run_end_s:
            return Step("wait", begin_s, until_s, "pending", f"No more is known of it for {stretch}: the run ended.")
        return Step("wait", begin_s, until_s, "wait", f"Nothing is recorded of it for {stretch}.")

    def _is_sent_within(self, begin_s: float, until_s: float) -> bool:
        return any(
            attempt.begin_s < until_s + _MOMENT_S and attempt.end_s > begin_s - _MOMENT_S
            for attempt in self._attempts
            if attempt.kind != "message"
        )

    def _breaker_at(self, at_s: float) -> str:
        """The state of the breaker that refused, with the reason for it."""
        changes = self._run.breaker[(self._run.breaker["client"] == self._client).to_numpy()]
        place = int(np.searchsorted(changes["time_s"].to_numpy(), self._sent_s + at_s + _MOMENT_S)) - 1
        while place >= 0 and changes["current"].iat[place] == "closed":
            place -= 1
        if place < 0:
            return "open"
        if changes["current"].iat[place] == "half_open":
            return "half-open and another call was on trial"
        return f"open{_because(str(changes['reason'].iat[place]))}"

    def _doing(self, begin_s: float, until_s: float) -> str:
        """What the backend was doing then, as far as it is known; empty in a live session."""
        if not self._run.backend_truth:
            return ""
        outages = self._run.outages
        on = outages[
            (outages["start_s"] < self._sent_s + until_s + _MOMENT_S) & (outages["end_s"] > self._sent_s + begin_s)
        ]
        if on.empty:
            return "the backend was well as a whole"
        worst = str(on["mode"].iat[int(on["severity"].to_numpy().argmax())])
        return _DOING.get(worst, f"the backend had an outage ({worst.replace('_', ' ')})")

    def _why_nothing_was_sent(self) -> str:
        transitions = self._run.transitions
        until = int(np.searchsorted(transitions["time_s"].to_numpy(), self._sent_s + _MOMENT_S))
        own = transitions.iloc[:until]
        own = own[(own["client"] == self._client).to_numpy()]
        if len(own) and own["current"].iat[-1] == "offline":
            return "The verdict was offline, so no request was made while the person waited."
        return "No request was made while the person waited."

    def _summary(self) -> str:
        sent = [attempt for attempt in self._attempts if attempt.sent]
        failed = sum(attempt.outcome != "ok" for attempt in sent)
        requests = f"{len(sent)} request{'' if len(sent) == 1 else 's'}" if sent else "no request"
        made = f"{requests} {'were' if len(sent) > 1 else 'was'} sent" + (f", {failed} failed" if failed else "")
        seen = {
            "backend": "the person had the coach's answer {}",
            "cache": "the person had a cached answer {}",
            "stale": "the person had an older answer {}",
            "fallback": "the person had the offline answer {}",
        }.get(self._source, "the person never saw an answer")
        told = seen.format(_after(self._answer_s))
        closing = {
            "answered": "", "late": f", and the coach's answer after {format_duration(self._delivered_s)}",
            "expired": "; then the message expired in the queue", "dead": "; then the message was given up",
            "pending": "; at the end of the run it was still waiting" if self._source else " before the run ended",
            "rejected": "; the message was not saved", "lost": "; then the message was lost",
        }.get(self._outcome, "")  # fmt: skip
        return f"{made[:1].upper()}{made[1:]}; {told}{closing}."


_RANK = {"sent": 0, "no_retry": 2, "verdict": 2, "queued": 3, "answer": 4, "late_answer": 4, "end": 6}


def _rank(step: Step) -> int:
    """The place of a step among those that begin at the same instant."""
    lasts = step.end_s > step.begin_s and step.kind != "queued"
    return 5 if lasts else _RANK.get(step.kind, 1)


def _why_no_more(last: _Attempt, before: _Attempt | None, policy: Policy) -> tuple[str, str]:
    """Why a message that failed was not tried again: in one word, and in a sentence.

    The wait that was drawn is not recorded, but its bounds are known: a wait that had to fit and was not made was
    denied by the budget.
    """
    request, retry = policy.request, policy.retry
    if not last.sent:
        return "rejected", "No further attempt: a refusal by the breaker is final while the person waits."
    if last.number >= request.max_attempts:
        most = request.max_attempts
        return "enough", f"No further attempt: {most} {'is' if most == 1 else 'are'} all that the policy allows."
    outcome = Outcome(last.outcome) if last.outcome in set(Outcome) else None
    if outcome is None or not CONSEQUENCES[outcome].may_retry:
        return "final", "No further attempt: it would have ended the same way."
    latest_s = request.deadline_s - policy.queue.save_margin_s
    previous_s = max(0.0, last.begin_s - before.end_s) if before is not None else 0.0
    shortest_s, longest_s = (backoff_s(retry, last.number, previous_s, u) for u in (0.0, 1.0))
    if outcome in (Outcome.RATE_LIMITED, Outcome.OVERLOADED):
        longest_s += retry.retry_after_clamp_s
    if last.end_s + shortest_s >= latest_s - _MOMENT_S:
        return "no time", "No further attempt: no time was left before the deadline."
    if last.end_s + longest_s < latest_s:
        return "budget", "No further attempt: the retry budget was used up."
    return (
        "no time or budget",
        "No further attempt: the wait did not fit before the deadline, or the budget was used up.",
    )


def _after(seconds: float) -> str:
    return f"after {format_duration(seconds)}" if seconds >= 0.0005 else "at once"


def _because(reason: str) -> str:
    return f" ({reason.replace('_', ' ')})" if reason else ""


def _rows(frame: Any, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in names), strict=True)
