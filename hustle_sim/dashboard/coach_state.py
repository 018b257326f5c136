"""What the coach's chat knows, without a widget in sight: messages, their answers, and what is still to come.

Times are POSIX seconds, and are passed in. Every ``Conversation`` is for any thread.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from hustle_sim.analysis.palette import OUTCOME
from hustle_sim.dashboard.chat_text import answer_html, plain
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.resilience.coach import Delivery, Reply
from hustle_sim.resilience.store import Item, ItemState

LONGEST = 4000
"""Characters of a message that can be sent."""

KEPT = 100
"""Messages of one conversation that are remembered; what still waits for its answer is never forgotten."""

CONVERSATIONS = 200
"""Conversations that a server remembers; those that were looked at longest ago go first."""

_VISITOR = re.compile(r"[0-9a-f]{32}")
_LOOKED_FOR_S = 10.0
_GONE = "it is no longer in the queue"

Source = Literal["", "backend", "cache", "stale", "fallback", "late"]
"""Where the text in the bubble comes from; empty while there is none."""

Fate = Literal["waiting", "done", "ready", "sending", "unknown", "expired", "dead", "cancelled", "unsaved", "withdrawn"]
"""What is still to come. ``ready``, ``sending`` and ``unknown`` are in the queue; ``withdrawn``: called off in time."""

_FATES: dict[ItemState, Fate] = {
    ItemState.READY: "ready",
    ItemState.LEASED: "sending",
    ItemState.UNKNOWN: "unknown",
    ItemState.DELIVERED: "done",
    ItemState.EXPIRED: "expired",
    ItemState.DEAD: "dead",
    ItemState.CANCELLED: "cancelled",
}
IN_QUEUE: tuple[Fate, ...] = ("ready", "sending", "unknown")


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a person and what stands under it. ``key`` stays when it is sent again under a new id.

    ``due_at`` is when the first answer is there at the latest; ``answered_at`` when the bubble got its present text.
    ``called_off``: the person wants it back, and it was being sent just then.
    """

    key: str
    message_id: str
    question: str
    sent_at: float
    due_at: float
    answer: str = ""
    source: Source = ""
    fate: Fate = "waiting"
    answered_at: float = 0.0
    reason: str = ""
    called_off: bool = False


class Conversation:
    """What one visitor and one backend said to each other. ``version`` grows with each change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, str] = {}
        self.version = 0
        self.calling: dict[str, Future[Reply]] = {}
        """The messages that wait for their first answer, by id: whoever looks at the conversation may cancel them."""

    def entries(self) -> tuple[Entry, ...]:
        """The messages, in the order in which they were sent."""
        with self._lock:
            return tuple(self._entries.values())

    def entry(self, key: str) -> Entry | None:
        """One message; None if it is not known any more."""
        with self._lock:
            return self._entries.get(key)

    def ask(self, message_id: str, text: str, now: float, deadline_s: float) -> None:
        """A message was sent."""
        with self._lock:
            self._put(Entry(message_id, message_id, text, now, now + deadline_s))

    def ask_again(self, key: str, message_id: str, now: float, deadline_s: float) -> None:
        """A message that was not saved is sent again, in its place."""
        with self._lock:
            known = self._entries[key]
            self._put(Entry(key, message_id, known.question, now, now + deadline_s))

    def replied(self, reply: Reply, now: float) -> None:
        """The first answer. The real one may have come before it, and stays."""

        def change(entry: Entry) -> Entry:
            if entry.fate != "waiting":
                return entry
            real = reply.source in ("backend", "cache")
            fate: Fate = "done" if real else "ready" if reply.queued else "unsaved"
            source: Source = reply.source if reply.source in ("backend", "cache", "stale") else "fallback"  # type: ignore[assignment]
            return replace(entry, answer=reply.text, source=source, fate=fate, answered_at=now)

        self._change(reply.message_id, change)

    def failed(self, message_id: str, reason: str, now: float) -> None:
        """It could not be sent at all."""
        self._change(
            message_id,
            lambda entry: (
                replace(entry, fate="unsaved", reason=reason, answered_at=now) if entry.fate == "waiting" else entry
            ),
        )

    def withdrawn(self, message_id: str, now: float) -> None:
        """The person called it off before there was an answer."""
        self._change(
            message_id,
            lambda entry: replace(entry, fate="withdrawn", answered_at=now) if entry.fate == "waiting" else entry,
        )

    def delivered(self, delivery: Delivery, now: float) -> None:
        """The real answer came after all: it takes the place of the other one."""
        self._change(delivery.message_id, lambda entry: _with_answer(entry, delivery.text, now))

    def settled(self, message_id: str, fate: Fate) -> None:
        """The queue has done what the person asked for: it is ``ready`` again, or ``cancelled``."""
        self._change(
            message_id,
            lambda entry: entry if entry.fate == "done" else replace(entry, fate=fate, reason="", called_off=False),
        )

    def call_off(self, message_id: str) -> None:
        """The person wants a message back that is being sent: it must not be sent again if that fails."""
        self._change(message_id, lambda entry: replace(entry, called_off=True) if entry.fate in IN_QUEUE else entry)

    def is_called_off(self, message_id: str) -> bool:
        """Whether the person wants it back: before its first answer, or while it was being sent."""
        with self._lock:
            entry = self._entries.get(self._keys.get(message_id, ""))
            if entry is None or entry.message_id != message_id:
                return False
            return entry.fate == "withdrawn" or entry.called_off

    def to_look_up(self, now: float) -> list[str]:
        """The ids whose state in the queue's store matters now."""
        with self._lock:
            return [
                entry.message_id
                for entry in self._entries.values()
                if entry.fate in IN_QUEUE or (entry.fate == "withdrawn" and now - entry.answered_at < _LOOKED_FOR_S)
            ]

    def found(self, asked: Iterable[str], items: Iterable[Item], now: float) -> None:
        """What the store has of the ids that were asked for."""
        there = {item.id: item for item in items}
        for message_id in asked:
            item = there.get(message_id)
            if item is not None:
                self._change(message_id, lambda entry, item=item: _as_stored(entry, item, now))  # type: ignore[misc]
            else:
                self._change(
                    message_id,
                    lambda entry: replace(entry, fate="dead", reason=_GONE) if entry.fate in IN_QUEUE else entry,
                )

    def recall(self, items: Iterable[Item], now: float) -> None:
        """What the store has of this conversation, after the server had forgotten it."""
        with self._lock:
            known = set(self._keys)
            before = list(self._entries.values())
            new = [
                _as_stored(
                    Entry(item.id, item.id, item.text, item.created_at, item.created_at, fate="ready"), item, now
                )
                for item in items
                if item.id not in known
            ]
            if not new:
                return
            self._entries.clear()
            for entry in sorted([*before, *new], key=lambda entry: entry.sent_at):
                self._put(entry)

    def _change(self, message_id: str, change: Callable[[Entry], Entry]) -> None:
        with self._lock:
            entry = self._entries.get(self._keys.get(message_id, ""))
            # A message that was sent again under another id has nothing to do with the first one any more.
            if entry is None or entry.message_id != message_id:
                return
            changed = change(entry)
            if changed != entry:
                self._put(changed)

    def _put(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        self._keys[entry.message_id] = entry.key
        self.version += 1
        if len(self._entries) > KEPT:
            for key in [key for key, old in self._entries.items() if old.fate not in ("waiting", *IN_QUEUE)]:
                if len(self._entries) <= KEPT:
                    break
                del self._entries[key]
            self._keys = {message_id: key for message_id, key in self._keys.items() if key in self._entries}


def _with_answer(entry: Entry, text: str, now: float) -> Entry:
    if entry.fate == "done":
        return entry
    return replace(entry, answer=text, source="late", fate="done", answered_at=now, reason="")


def _as_stored(entry: Entry, item: Item, now: float) -> Entry:
    if entry.fate in ("waiting", "done"):
        return entry
    if item.state is ItemState.DELIVERED:
        return _with_answer(entry, item.reply, now)
    return replace(entry, fate=_FATES[item.state], reason=item.reason)


def _recalled(item: Item, now: float) -> Entry:
    blank = Entry(item.id, item.id, item.text, item.created_at, item.created_at, fate="ready", answered_at=now)
    return _as_stored(blank, item, now)


class Conversations:
    """The conversations that this process remembers, by visitor and backend."""

    def __init__(self, most: int = CONVERSATIONS) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Conversation] = OrderedDict()
        self._most = most

    def of(self, visitor: str, url: str) -> Conversation:
        """The one of a visitor with a backend; a new one if there was none, or it is forgotten."""
        with self._lock:
            key = (visitor, url)
            known = self._known.setdefault(key, Conversation())
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
            return known


conversations = Conversations()
"""Those of this process."""


def is_visitor(token: str) -> bool:
    """Whether this can be the name that a browser gave itself: 32 hexadecimal digits that nobody guesses."""
    return _VISITOR.fullmatch(token) is not None


def checked(text: str) -> str:
    """A message as it is sent. Raises InputError with one sentence; empty if there is nothing to send."""
    text = plain(text).strip()
    if len(text) > LONGEST:
        raise InputError(f"the message has {len(text):,} characters, and {LONGEST:,} are the most: send it in parts")
    return text


class Look(NamedTuple):
    """How the coach's bubble is marked. ``tone`` is ``quiet | good | warn | bad``; ``actions`` what can be done."""

    glyph: str
    words: str
    tone: str
    actions: tuple[str, ...] = ()


ACTIONS = {"cancel": "Cancel", "again": "Send again"}
"""What can be done with a message, in the words of the buttons."""

_STILL_TO_COME: dict[Fate, Look] = {
    "ready": Look("◷", "will be sent when the coach is back", "warn", ("cancel",)),
    "sending": Look("▶", "being sent now", "warn", ("cancel",)),
    "unknown": Look("?", "it was sent, and no answer came: send it again?", "warn", ("again", "cancel")),
    "expired": Look("⬢", "waited too long and was not sent", "bad", ("again",)),
    "dead": Look("◆", "could not be sent", "bad", ("again",)),
    "cancelled": Look("–", "you called it off, so it will not be sent", "quiet", ("again",)),
    "unsaved": Look("✕", "not saved: send it again", "bad", ("again",)),
    "withdrawn": Look("–", "you called it off before it was answered", "quiet", ("again",)),
}
_CALLED_OFF = Look("▶", "it was being sent when you called it off; if that fails, it is not sent again", "warn")
_INSTEAD: dict[Source, str] = {"fallback": "Offline answer", "stale": "Older answer to the same question"}


def look(entry: Entry) -> Look:
    """Glyph and words for what the bubble is, and what is still to come."""
    if entry.fate == "waiting":
        return Look("…", "The coach is thinking", "quiet", ("cancel",))
    if entry.fate == "done":
        took = format_duration(_rounded(max(entry.answered_at - entry.sent_at, 0.0)))
        if entry.source == "late":
            return Look("✓", f"The coach's answer, late: after {took}", "good")
        if entry.source == "cache":
            return Look("↺", "Saved answer: the same question was answered a moment ago", "quiet")
        return Look("✓", f"The coach's answer, after {took}", "good")
    fate = _STILL_TO_COME[entry.fate]
    if entry.called_off and entry.fate in IN_QUEUE:
        fate = _CALLED_OFF
    why = _why(entry.reason) if entry.fate in ("dead", "unsaved") else ""
    words = f"{fate.words} ({why})" if why else fate.words
    instead = _INSTEAD.get(entry.source, "")
    return fate._replace(words=f"{instead} · {words}" if instead else words[:1].upper() + words[1:])


def shown_answer(entry: Entry) -> str:
    """The text in the bubble. An offline answer promises that the message will be sent: that must still be so."""
    if entry.source == "fallback" and entry.fate not in ("ready", "sending", "unsaved"):
        return "I couldn't reach the coach."
    return entry.answer


def row(entry: Entry, now: float) -> dict[str, Any]:
    """A message and its bubble as the page draws them; the answer is HTML that is safe to show."""
    marked = look(entry)
    return {
        "key": entry.key,
        "question": plain(entry.question),
        "answer": answer_html(shown_answer(entry)) if entry.answer else "",
        "state": entry.fate,
        "source": entry.source,
        "glyph": marked.glyph,
        "words": marked.words,
        "tone": marked.tone,
        "actions": [[name, ACTIONS[name]] for name in marked.actions],
        "due_in_s": round(max(entry.due_at - now, 0.0), 1) if entry.fate == "waiting" else -1,
        "sent_at": entry.sent_at,
    }


def said(entry: Entry) -> str:
    """What a screen reader says when the bubble has changed; nothing while there is nothing new to hear."""
    if entry.fate == "waiting":
        return ""
    marked = look(entry)
    answer = plain(shown_answer(entry))
    return f"{marked.words}. {answer[:400]}" if answer else marked.words


def newly_said(before: Sequence[Entry] | None, after: Sequence[Entry]) -> str:
    """What a screen reader says of the bubbles that changed; nothing when a conversation is opened (None)."""
    if before is None:
        return ""
    known = {entry.key: entry for entry in before}
    return " ".join(filter(None, (said(entry) for entry in after if known.get(entry.key) != entry)))


LEGEND = (
    ("✓", "the coach itself has answered"),
    ("↺", "a saved answer: the same question was answered a moment ago"),
    ("◷", "the coach can't be reached; your message is safe and will be sent, and its answer comes in the same place"),
    ("▶", "it is being sent now"),
    ("?", "it was sent and no answer came, so you decide"),
    ("◆", "it could not be sent, or waited too long (⬢): you can send it again"),
)
"""The marks, for those who want to know."""


class Suggestion(NamedTuple):
    """Something to try: the words of the button, what is sent (may be empty), and what is done to the practice backend.

    ``how`` is a way to break it, empty to mend it, and None to leave it as it is.
    """

    words: str
    text: str
    how: str | None = None


MOST_SUGGESTIONS = 3

QUESTIONS = ("How do I start?", "I can't concentrate today", "What should I do first?")
BREAK_AND_SEND = "Break the backend and send a message"
MEND = "Mend the backend"
MEND_AND_WATCH = "Mend the backend and watch the answer come"


def suggestions(is_practice: bool, broken: str, entries: Sequence[Entry], clock: str) -> list[Suggestion]:
    """What to try now, ``MOST_SUGGESTIONS`` at most. ``clock`` is the time of day: it makes a question a new one."""
    asked = {entry.question for entry in entries}
    fresh = [Suggestion(question, question) for question in QUESTIONS if question not in asked]
    if not is_practice:
        return fresh
    if broken:
        waits = any(entry.fate in ("ready", "sending") for entry in entries)
        return [Suggestion(MEND_AND_WATCH if waits else MEND, "", ""), *fresh[:1]]
    unheard = f"It is {clock}. Can you hear me?"
    return [*fresh[:1], Suggestion(BREAK_AND_SEND, unheard, "Refuse connections")]


def _why(reason: str) -> str:
    return OUTCOME[reason].word if reason in OUTCOME else plain(reason)


def _rounded(seconds: float) -> float:
    return round(seconds, 1) if seconds < 10 else float(round(seconds))
