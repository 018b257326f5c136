"""Time travel: the state of a run at one moment, as values, in words, and as the person saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hustle_sim.analysis.chat import Bubble, chat_at
from hustle_sim.analysis.shapes import elapsed
from hustle_sim.analysis.timeline import BackendNow, ClientIndex, Item, Standing, Timeline
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

BUBBLES = 30
"""Messages of the chat that a moment has: as many as fit a screen and a little scrolling."""

ITEMS = 200
"""Items of the queue that a moment has, the oldest; ``queue_depth`` counts them all."""

_MODES = {
    "refuse": "refusing every connection", "hang": "taking requests and never answering", "error": "failing",
    "slow": "slow", "rate_limit": "turning requests away", "brownout": "short of capacity",
    "bad_body": "sending broken answers", "flap": "flapping",
}  # fmt: skip

_BREAKER = {
    "closed": "The circuit breaker is closed: requests go through",
    "open": "The circuit breaker is open: nothing is sent",
    "half_open": "The circuit breaker is half-open: a trial request decides",
}


class Waiting(NamedTuple):
    """A message whose person has seen nothing yet, and for how long."""

    message_id: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment, as one client has it (the backend is everybody's).

    ``monitor`` is None without one, ``backend`` None where the truth is not known. ``sent`` counts messages so far,
    ``answered`` first answers so far by source, ``late`` those that were followed by the real one, ``gone`` the
    messages that had ended without it so far, by how. ``words`` is a sentence for each subject: ``monitor, breaker,
    queue, backend, messages``, as far as there is one.
    """

    time_s: float
    client: int
    monitor: Standing | None
    is_probing: bool
    breaker: Standing
    queue_depth: int
    items: tuple[Item, ...]
    backend: BackendNow | None
    waiting: tuple[Waiting, ...]
    sent: int
    answered: Mapping[str, int]
    late: int
    gone: Mapping[str, int]
    chat: tuple[Bubble, ...]
    words: Mapping[str, str]


def moment(source: Recording | Timeline, time_s: float, client: int = 0) -> Moment:
    """The state at ``time_s``; what happens at that very instant has happened.

    Give the ``Timeline`` of a run to ask often: a run itself is made ready anew each time. Raises InputError for
    a client that the run does not have.
    """
    timeline = source if isinstance(source, Timeline) else Timeline(source)
    index = timeline.of(client)
    monitor = index.monitor.at(time_s) if index.is_watched else None
    is_probing = bool(len(index.probes.at(time_s)))
    breaker = index.breaker.at(time_s)
    items, depth = index.queue.items(time_s, ITEMS), index.queue.depth(time_s)
    backend = timeline.backend.at(time_s) if timeline.backend is not None else None
    messages = index.messages
    waiting = tuple(
        Waiting(messages.ids[row], time_s - float(messages.sent_s[row])) for row in messages.waiting(time_s).tolist()
    )
    sent, answered, late = messages.sent(time_s), messages.answered(time_s), messages.late(time_s)
    gone = {word: index.queue.ended(word, time_s) for word in ("expired", "dead", "cancelled", "dropped")}
    words = {
        **({} if monitor is None else {"monitor": _monitor_words(monitor, is_probing, time_s)}),
        **({"breaker": _breaker_words(breaker, time_s)} if timeline.run.policy.breaker.enabled else {}),
        "queue": _queue_words(items, depth, index, time_s),
        **({} if backend is None else {"backend": _backend_words(backend, time_s)}),
        "messages": _messages_words(sent, answered, late, waiting),
    }
    return Moment(
        time_s, client, monitor, is_probing, breaker, depth, items, backend, waiting, sent, answered, late, gone,
        chat_at(timeline, time_s, client, BUBBLES), words,
    )  # fmt: skip


def _monitor_words(monitor: Standing, is_probing: bool, time_s: float) -> str:
    probing = " A check is under way." if is_probing else ""
    if monitor.state == "checking":
        return f"The monitor has no verdict yet.{probing}"
    return f"The monitor says {monitor.state}{_for(monitor, time_s)}{_because(monitor.reason)}.{probing}"


def _breaker_words(breaker: Standing, time_s: float) -> str:
    words = _BREAKER.get(breaker.state, f"The circuit breaker is {breaker.state}")
    return f"{words}{_for(breaker, time_s)}{_because(breaker.reason)}." if breaker.since_s else f"{words}."


def _queue_words(items: tuple[Item, ...], depth: int, index: ClientIndex, time_s: float) -> str:
    delivered = index.queue.ended("delivered", time_s)
    done = f"; {delivered:,} delivered so far" if delivered else ""
    if not items:
        return f"The queue is empty{done}."
    oldest = format_duration(items[0].age_s)
    sending, asked = (index.queue.busy(state, time_s) for state in ("being sent", "waits for a person"))
    more = f", {sending} of them being sent" if sending else ""
    more += f", {asked} of them until a person decides" if asked else ""
    number = "1 message waits" if depth == 1 else f"{depth:,} messages wait"
    return f"{number} in the queue, the oldest for {oldest}{more}{done}."


def _backend_words(backend: BackendNow, time_s: float) -> str:
    if not backend.modes:
        state = "The backend is well"
    else:
        doing = " and ".join(_MODES.get(mode, mode.replace("_", " ")) for mode in backend.modes)
        left_s = backend.ends_s - time_s
        left = f", for {format_duration(left_s)} more" if math.isfinite(left_s) else ""
        state = f"The backend is {doing}{left}"
    if backend.in_service is None:
        return f"{state}."
    return f"{state}: {backend.in_service} of {backend.capacity} places busy, {backend.waiting} waiting."


def _messages_words(sent: int, answered: Mapping[str, int], late: int, waiting: tuple[Waiting, ...]) -> str:
    if not sent:
        return "No message was sent yet."
    names = {"backend": "by the coach", "cache": "from the cache", "stale": "with an older answer",
             "fallback": "with the offline answer"}  # fmt: skip
    parts = [f"{number:,} {names.get(word, word)}" for word, number in answered.items() if number]
    words = f"{sent:,} message{'' if sent == 1 else 's'} so far"
    words += f", answered {', '.join(parts)}" if parts else ""
    words += f"; {late:,} had the real answer later" if late else ""
    if waiting:
        people = "1 person waits" if len(waiting) == 1 else f"{len(waiting)} people wait"
        words += f". {people} now, for {format_duration(waiting[0].for_s)}"
    return f"{words}."


def _for(standing: Standing, time_s: float) -> str:
    when = "the start" if standing.since_s < 1 else elapsed(standing.since_s)
    return f" since {when} ({format_duration(time_s - standing.since_s)} ago)"


def _because(reason: str) -> str:
    return f": {reason.replace('_', ' ')}" if reason else ""
