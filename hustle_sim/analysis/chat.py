"""The coach's chat as one person saw it at some moment: what they wrote, and what stood in the coach's bubble then."""

from __future__ import annotations

from typing import Literal, NamedTuple

from hustle_sim.analysis.timeline import ClientIndex, Timeline
from hustle_sim.inputs import format_duration
from hustle_sim.resilience.coach import fallback_text

BubbleState = Literal[
    "sent", "waiting", "answered", "cached", "stale", "offline", "unsaved", "expired", "given up", "late",
]  # fmt: skip
"""What a bubble is: ``sent`` is the person's, the others are the coach's."""


class Bubble(NamedTuple):
    """One bubble. ``time_s`` is when it got its present contents, ``note`` the words under it (may be empty)."""

    message_id: str
    who: Literal["person", "coach"]
    time_s: float
    text: str
    state: BubbleState
    note: str


def chat_at(timeline: Timeline, time_s: float, client: int = 0, last: int = 30) -> tuple[Bubble, ...]:
    """The last ``last`` messages that the person had sent by then, each followed by the coach's bubble.

    The coach's bubble changes in its place: it waits, becomes an offline answer at the deadline, and the real
    answer when that came.
    """
    index = timeline.of(client)
    sent = index.messages.sent(time_s)
    bubbles: list[Bubble] = []
    for row in range(max(0, sent - last), sent):
        message_id, at_s = index.messages.ids[row], float(index.messages.sent_s[row])
        bubbles.append(Bubble(message_id, "person", at_s, timeline.text(message_id, row), "sent", ""))
        bubbles.append(_reply(timeline, index, row, time_s))
    return tuple(bubbles)


def _reply(timeline: Timeline, index: ClientIndex, row: int, time_s: float) -> Bubble:
    messages = index.messages
    message_id, source = messages.ids[row], messages.sources[row]
    sent_s, answered_at_s = float(messages.sent_s[row]), float(messages.answered_at_s[row])
    delivered_at_s = float(messages.delivered_at_s[row])
    answer = timeline.reply(message_id, row)
    if time_s < answered_at_s:
        return Bubble(message_id, "coach", sent_s, "…", "waiting", f"waiting for {format_duration(time_s - sent_s)}")
    if source == "backend":
        return Bubble(message_id, "coach", answered_at_s, answer, "answered", "")
    if source == "cache":
        return Bubble(message_id, "coach", answered_at_s, answer, "cached", "from a moment ago")
    if delivered_at_s <= time_s:
        note = f"answered late, after {format_duration(delivered_at_s - sent_s)}"
        return Bubble(message_id, "coach", delivered_at_s, answer, "late", note)
    queued = bool(messages.queued[row])
    later, state = _prospect(index.queue.fate(message_id, time_s), queued)
    if source == "stale":
        note = f"older answer · {later}" if queued else "older answer"
        return Bubble(message_id, "coach", answered_at_s, answer, "stale", note)
    text = fallback_text(timeline.text(message_id, row), queued)
    return Bubble(message_id, "coach", answered_at_s, text, state, f"offline answer · {later}")


def _prospect(fate: str, queued: bool) -> tuple[str, BubbleState]:
    """What is still to come, in words for the person, and the state of the bubble."""
    if not queued:
        return "not saved, please send it again", "unsaved"
    match fate:
        case "expired":
            return "was too old to be sent", "expired"
        case "dead" | "cancelled":
            return "could not be sent", "given up"
        case "unknown":
            return "send it again?", "offline"
        case _:
            # One that was dropped without a trace as well: the person was never told.
            return "will be sent", "offline"
