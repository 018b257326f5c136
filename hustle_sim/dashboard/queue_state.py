"""What the queue page knows, without a widget in sight: the queue's file, what is in it, and what may be done."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustle_sim.analysis.palette import OUTCOME
from hustle_sim.inputs import InputError, format_duration
from hustle_sim.live.settings import Settings, wall_time
from hustle_sim.live.store import (
    CANCELLABLE,
    DELETABLE,
    RETRYABLE,
    check_store_file,
    clean,
    default_store_path,
    open_store,
    shorten,
)
from hustle_sim.policy import Policy
from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.resilience.store import Item, ItemState, StoreError

if TYPE_CHECKING:
    from hustle_sim.live.session import LiveSession

SHOWN = 300
"""Rows in the table; the newest."""

LOOKS: Mapping[ItemState, tuple[str, str]] = {
    ItemState.READY: ("○", "ready"),
    ItemState.LEASED: ("▶", "being sent"),
    ItemState.UNKNOWN: ("?", "fate unknown"),
    ItemState.DELIVERED: ("✓", "delivered"),
    ItemState.EXPIRED: ("⬢", "expired"),
    ItemState.DEAD: ("◆", "dead"),
    ItemState.CANCELLED: ("–", "cancelled"),
}
"""Glyph and word of each state, in the order of a message's life."""

ALLOWED: Mapping[str, Sequence[ItemState]] = {"retry": RETRYABLE, "cancel": CANCELLABLE, "delete": DELETABLE}
"""The states in which something may be done with a message."""

EMPTY = (
    "Messages that could not be delivered yet would be listed here, and those that were given up, "
    "until you send them again or delete them."
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The queue at one moment; ``problem`` and ``notice`` are sentences, empty if all is well."""

    path: Path | None = None
    items: Sequence[Item] = ()
    problem: str = ""
    notice: str = ""
    counts: Mapping[ItemState, int] = field(default_factory=dict)


class QueueFile:
    """A queue's file: opened when it is there, and read again only when it has changed.

    ``path`` None is the app's file on this machine. Where a ``session`` runs on the file, it is told what is
    to be done, so that it wakes up.
    """

    def __init__(self, path: Path | None = None, session: LiveSession | None = None) -> None:
        self._named = path
        self._session = session
        self._store: SQLiteStore | None = None
        self._inode = 0
        self._stamp: object = None
        self._known = Snapshot()

    async def read(self) -> Snapshot:
        """What is in the queue now. A file that is not there is an empty queue; nothing is made."""
        try:
            path = default_store_path(_settings()) if self._named is None else self._named
        except InputError as error:
            return Snapshot(problem=str(error))
        try:
            if not path.exists():
                await self.aclose()
                self._known = Snapshot(path)
                return self._known
            store = await self._opened(path)
            stamp = _stamp(path)
            if stamp != self._stamp or self._known.problem:
                items = await store.items()
                counts = dict.fromkeys(ItemState, 0)
                for item in items:
                    counts[item.state] += 1
                self._known = Snapshot(path, items[::-1], notice=store.notice, counts=counts)
                self._stamp = stamp
        except (InputError, StoreError, OSError) as error:
            # What was seen last stays, with the sentence over it.
            self._known = replace(self._known, path=path, problem=str(error))
        return self._known

    async def do(self, what: str, ids: Collection[str]) -> int:
        """``retry``, ``cancel`` or ``delete`` these messages; how many it was done with. Raises StoreError."""
        store, done, session = self._store, 0, self._session
        if store is None:
            return 0
        if session is not None and session.is_running:
            act = {"retry": session.retry, "cancel": session.cancel, "delete": session.delete}[what]
            answers = [await asyncio.wrap_future(act(item_id)) for item_id in ids]
            self._stamp = None
            return sum(answers)
        now = wall_time()
        ttl_s = Policy.from_environment().queue.ttl_s
        for item_id in ids:
            if what == "retry":
                done += await store.requeue(item_id, now, now + ttl_s)
            elif what == "cancel":
                done += await store.cancel(item_id, "by hand")
            else:
                done += await store.delete(item_id)
        self._stamp = None
        return done

    async def aclose(self) -> None:
        """Let go of the file."""
        store, self._store, self._stamp = self._store, None, None
        if store is not None:
            await store.aclose()

    async def _opened(self, path: Path) -> SQLiteStore:
        inode = _inode(path)
        if self._store is None or self._store.path != path or inode != self._inode:
            check_store_file(path)
            await self.aclose()
            self._store = open_store(path)
            # Opening may have set a damaged file aside.
            await self._store.depth()
            self._inode = _inode(path)
        return self._store


def row(item: Item, now: float) -> dict[str, Any]:
    """An item as a row of the table."""
    glyph, word = LOOKS[item.state]
    return {
        "id": item.id,
        "state": item.state.value,
        "glyph": glyph,
        "word": word,
        "priority": str(item.priority),
        "age": age(item.created_at, now),
        "attempts": str(item.tries),
        "reason": reason(item),
        "text": shorten(item.text, 90),
    }


def rows(snapshot: Snapshot, state: str, now: float) -> list[dict[str, Any]]:
    """The rows of the table: those in a state (all if it is empty), newest first, ``SHOWN`` at most."""
    chosen = [item for item in snapshot.items if not state or item.state.value == state]
    return [row(item, now) for item in chosen[:SHOWN]]


def chips(snapshot: Snapshot) -> list[list[Any]]:
    """State, glyph, word and number, for ``all`` and each state that a message is in."""
    found = [[state.value, *LOOKS[state], snapshot.counts[state]] for state in LOOKS if snapshot.counts.get(state)]
    return [["", "", "all", len(snapshot.items)], *found] if found else []


def allowed(items: Sequence[Item]) -> dict[str, bool]:
    """What may be done with all of these messages."""
    return {what: bool(items) and all(item.state in states for item in items) for what, states in ALLOWED.items()}


def age(created_at: float, now: float) -> str:
    """How long ago, in words."""
    return format_duration(float(round(max(now - created_at, 0.0))))


def reason(item: Item) -> str:
    """Why it is in its state, in the words that people know outcomes by."""
    return OUTCOME[item.reason].word if item.reason in OUTCOME else clean(item.reason)


def details(item: Item, now: float) -> str:
    """All about one message, as HTML."""
    glyph, word = LOOKS[item.state]
    why = f" ({reason(item)})" if item.reason else ""
    doubt = "it may have been processed before, with no answer seen" if item.uncertain else ""
    facts = {
        "State": f"{glyph} {word}{why}",
        "Id": item.id,
        "Conversation": clean(item.conversation),
        "Added": f"{_when(item.created_at)}, {age(item.created_at, now)} ago",
        "Sent from": _when(item.not_before) if item.state is ItemState.READY and item.not_before > now else "",
        "Leased until": _when(item.leased_until) if item.state is ItemState.LEASED else "",
        "Expires": _when(item.expires_at) if item.state not in DELETABLE else "",
        "Sent": f"{item.tries}×, {item.attempts} of it counted against the message",
        "Doubt": doubt,
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items() if fact)
    reply = f"<h3>Reply</h3><pre>{escape(clean(item.reply))}</pre>" if item.reply else ""
    return f"<h3>Message</h3><pre>{escape(clean(item.text))}</pre>{reply}<h3>Facts</h3><dl>{lines}</dl>"


def _when(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC).astimezone():%d %b %Y, %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "never"


def _settings() -> Settings:
    return Settings.load()


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _stamp(path: Path) -> object:
    """Something that differs when the file has changed."""
    found = []
    for name in (path, path.with_name(path.name + "-wal")):
        try:
            stat = name.stat()
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return found
