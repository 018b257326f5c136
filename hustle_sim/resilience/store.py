"""Where queued messages live: the port that every store meets, and the store in memory.

All times in a store are POSIX seconds (UTC), so that they mean the same after a restart.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeGuard

from hustle_sim.policy import Overflow


class StoreError(Exception):
    """The store could not do what was asked; the message says why, in one sentence."""


class ItemState(StrEnum):
    """``READY``, ``LEASED`` and ``UNKNOWN`` are pending; the others are ends.

    ``UNKNOWN``: it was sent, no answer came, and a person has to say whether it is sent again.
    """

    READY = "ready"
    LEASED = "leased"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    DEAD = "dead"
    CANCELLED = "cancelled"


PENDING = (ItemState.READY, ItemState.LEASED, ItemState.UNKNOWN)
_CLAIMABLE = (ItemState.READY, ItemState.LEASED)
ENDED = (ItemState.DELIVERED, ItemState.EXPIRED, ItemState.DEAD, ItemState.CANCELLED)
FORGETTABLE = (ItemState.DELIVERED, ItemState.EXPIRED, ItemState.CANCELLED)
"""What ``prune`` may take: a dead letter waits for a person."""


@dataclass(frozen=True, slots=True)
class Item:
    """A queued message. ``priority`` 0 is the most urgent; ``sequence`` is the store's order of adding.

    ``id`` is also its idempotency key. The lowest ``rank`` is sent first, but no message of a ``conversation``
    before an earlier one of it. ``attempts`` counts verdicts against the message itself, ``tries`` every time it
    was sent; ``uncertain``: one of those may have been processed.
    """

    id: str
    text: str
    priority: int
    created_at: float
    expires_at: float
    rank: float = 0.0
    conversation: str = ""
    sequence: int = 0
    state: ItemState = ItemState.READY
    not_before: float = 0.0
    attempts: int = 0
    tries: int = 0
    uncertain: bool = False
    owner: str = ""
    leased_until: float = 0.0
    reason: str = ""
    reply: str = ""


class Answer(StrEnum):
    """What ``add`` answers. ``DISPLACED``: accepted, and a message of lower priority had to go for it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    DISPLACED = "displaced"
    REJECTED = "rejected"


class Added(NamedTuple):
    """The answer to an add; ``victim`` is the item that had to go, if any.

    ``item`` is what the store now has under the id (for a duplicate the earlier one); None if rejected.
    """

    answer: Answer
    victim: Item | None = None
    reason: str = ""
    item: Item | None = None


class Store(Protocol):
    """Keeps items through crashes (or pretends to). Each call is atomic, and done when it returns.

    Raises StoreError when it can't.
    """

    is_shared: bool
    """Whether other processes may change what is in it."""

    async def add(self, item: Item, *, max_size: int, overflow: Overflow) -> Added:
        """Take in an item, in the state it has, unless its id is known or it is pending and there is no room.

        When full, ``displace`` makes a ready item of strictly lower priority dead, the newest of the lowest;
        ``drop-oldest`` deletes the oldest of the lowest priority (2), else the oldest; ``reject`` refuses.
        """
        ...

    async def claim(self, now: float, *, owner: str, until: float) -> Item | None:
        """Lease the next item that is due, lowest rank first: ready, or its lease has run out.

        The latter is uncertain from then on. An item waits for all earlier pending ones of its conversation.
        """
        ...

    async def settle(self, item_id: str, owner: str, state: ItemState, *, reason: str = "", reply: str = "") -> bool:
        """End an item that ``owner`` holds; False if the lease is no longer its own."""
        ...

    async def release(
        self, item_id: str, owner: str, *, not_before: float, attempts: int, reason: str, uncertain: bool = False
    ) -> bool:
        """Give an item back, to be sent from ``not_before`` on; False if the lease is no longer its own.

        What is uncertain once stays so.
        """
        ...

    async def drop(self, item_id: str, owner: str) -> bool:
        """Delete an item without a trace (the original design's way)."""
        ...

    async def expire(self, now: float) -> list[Item]:
        """End all pending items that are past their time and not being sent; returns them."""
        ...

    async def requeue(self, item_id: str, now: float, expires_at: float) -> bool:
        """Make a dead, expired, cancelled or unknown item ready, its attempts and doubts forgotten; False if none."""
        ...

    async def cancel(self, item_id: str, reason: str) -> bool:
        """End an item that is ready or unknown; False if it is neither."""
        ...

    async def delete(self, item_id: str) -> bool:
        """Forget an item that has ended; False if it is not there or pending."""
        ...

    async def prune(self, before: float, limit: int) -> int:
        """Forget what was delivered, expired or cancelled and would have expired by ``before``; returns how many.

        At most ``limit``, those first that would have expired first.
        """
        ...

    async def has_pending(self, conversation: str) -> bool:
        """Whether messages of this conversation wait."""
        ...

    async def next_due(self) -> float | None:
        """The earliest time at which an item can be claimed; None if there is none.

        If several are past, it is the time of any of them. What waits for an earlier one of its conversation can't
        be claimed.
        """
        ...

    async def depth(self) -> int:
        """The number of pending items."""
        ...

    async def counts(self) -> Mapping[ItemState, int]:
        """The number of items in each state."""
        ...

    async def items(self, *states: ItemState) -> list[Item]:
        """The items in these states (all if none is named), in the order of adding."""
        ...

    async def find(self, *item_ids: str) -> list[Item]:
        """The items with these ids, as far as they are there, in the order of adding."""
        ...

    async def note(self, name: str) -> str | None:
        """A small text kept under a name, such as the last verdict."""
        ...

    async def set_note(self, name: str, text: str) -> None:
        """Keep a small text under a name."""
        ...

    async def aclose(self) -> None:
        """Let go of the file, if there is one."""
        ...


class MemoryStore:
    """A store that lasts as long as the process: for simulations, tests and apps that need no more."""

    is_shared = False

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._open: dict[str, Item] = {}
        self._notes: dict[str, str] = {}
        self._counts: Counter[ItemState] = Counter()
        self._sequence = 0
        # Heaps hold (key..., id) and are cleaned when read: an entry that no longer fits its item is skipped.
        self._due: list[tuple[float, int, float, str]] = []
        self._later: list[tuple[float, str]] = []
        self._ends: list[tuple[float, str]] = []
        self._old: list[tuple[float, int, str]] = []

    async def add(self, item: Item, *, max_size: int, overflow: Overflow) -> Added:
        """See ``Store.add``."""
        known = self._items.get(item.id)
        if known is not None:
            return Added(Answer.DUPLICATE, item=known)
        victim = None
        if item.state in PENDING and self._pending() >= max_size:
            victim = choose_victim(list(self._open.values()), item.priority, overflow)
            if victim is None:
                return Added(Answer.REJECTED, reason="the queue is full")
            if overflow == "drop-oldest":
                self._forget(victim)
            else:
                victim = self._put(replace(victim, state=ItemState.DEAD, reason="displaced"))
        self._sequence += 1
        added = self._put(replace(item, sequence=self._sequence))
        heapq.heappush(self._ends, (item.expires_at, item.id))
        return Added(Answer.DISPLACED if victim else Answer.ACCEPTED, victim, item=added)

    async def claim(self, now: float, *, owner: str, until: float) -> Item | None:
        """See ``Store.claim``."""
        while self._later and self._later[0][0] <= now:
            when, item_id = heapq.heappop(self._later)
            item = self._items.get(item_id)
            if _still_due(item, when):
                heapq.heappush(self._due, (item.rank, item.sequence, when, item_id))
        blocked: list[tuple[float, int, float, str]] = []
        claimed = None
        while self._due and claimed is None:
            entry = heapq.heappop(self._due)
            item = self._items.get(entry[3])
            if not _still_due(item, entry[2]):
                continue
            if entry[2] > now:
                # The wall clock was set back.
                heapq.heappush(self._later, (entry[2], item.id))
            elif self._must_wait(item):
                blocked.append(entry)
            else:
                claimed = replace(
                    item,
                    state=ItemState.LEASED,
                    uncertain=item.uncertain or item.state is ItemState.LEASED,
                    owner=owner,
                    leased_until=until,
                    tries=item.tries + 1,
                )
        for entry in blocked:
            heapq.heappush(self._due, entry)
        return None if claimed is None else self._put(claimed)

    async def settle(self, item_id: str, owner: str, state: ItemState, *, reason: str = "", reply: str = "") -> bool:
        """See ``Store.settle``."""
        item = self._held(item_id, owner)
        if item is None:
            return False
        self._put(replace(item, state=state, reason=reason, reply=reply, owner=""))
        return True

    async def release(
        self, item_id: str, owner: str, *, not_before: float, attempts: int, reason: str, uncertain: bool = False
    ) -> bool:
        """See ``Store.release``."""
        item = self._held(item_id, owner)
        if item is None:
            return False
        self._put(
            replace(
                item,
                state=ItemState.READY,
                not_before=not_before,
                attempts=attempts,
                reason=reason,
                uncertain=item.uncertain or uncertain,
                owner="",
            )
        )
        return True

    async def drop(self, item_id: str, owner: str) -> bool:
        """See ``Store.drop``."""
        item = self._held(item_id, owner)
        if item is None:
            return False
        self._forget(item)
        return True

    async def expire(self, now: float) -> list[Item]:
        """See ``Store.expire``."""
        expired: list[Item] = []
        leased: list[tuple[float, str]] = []
        while self._ends and self._ends[0][0] <= now:
            entry = heapq.heappop(self._ends)
            item = self._items.get(entry[1])
            if item is None or item.state not in PENDING or item.expires_at != entry[0]:
                # It has ended, or was requeued, which gave it a later end.
                continue
            if item.state is ItemState.LEASED and item.leased_until > now:
                leased.append(entry)
            else:
                expired.append(self._put(replace(item, state=ItemState.EXPIRED, reason="too old", owner="")))
        for entry in leased:
            heapq.heappush(self._ends, entry)
        return sorted(expired, key=lambda item: (item.expires_at, item.sequence))

    async def requeue(self, item_id: str, now: float, expires_at: float) -> bool:
        """See ``Store.requeue``."""
        item = self._items.get(item_id)
        if item is None or item.state in (ItemState.READY, ItemState.LEASED, ItemState.DELIVERED):
            return False
        self._put(
            replace(
                item,
                state=ItemState.READY,
                not_before=now,
                expires_at=expires_at,
                attempts=0,
                uncertain=False,
                reason="requeued",
            )
        )
        heapq.heappush(self._ends, (expires_at, item_id))
        return True

    async def cancel(self, item_id: str, reason: str) -> bool:
        """See ``Store.cancel``."""
        item = self._items.get(item_id)
        if item is None or item.state not in (ItemState.READY, ItemState.UNKNOWN):
            return False
        self._put(replace(item, state=ItemState.CANCELLED, reason=reason))
        return True

    async def delete(self, item_id: str) -> bool:
        """See ``Store.delete``."""
        item = self._items.get(item_id)
        if item is None or item.state in PENDING:
            return False
        self._forget(item)
        return True

    async def prune(self, before: float, limit: int) -> int:
        """See ``Store.prune``."""
        pruned = 0
        while self._old and self._old[0][0] <= before and pruned < limit:
            end, sequence, item_id = heapq.heappop(self._old)
            item = self._items.get(item_id)
            if item is not None and item.state in FORGETTABLE and (item.expires_at, item.sequence) == (end, sequence):
                self._forget(item)
                pruned += 1
        return pruned

    async def has_pending(self, conversation: str) -> bool:
        """See ``Store.has_pending``."""
        return conversation != "" and any(item.conversation == conversation for item in self._open.values())

    async def next_due(self) -> float | None:
        """See ``Store.next_due``."""
        while self._due and not _still_due(self._items.get(self._due[0][3]), self._due[0][2]):
            heapq.heappop(self._due)
        while self._later and not _still_due(self._items.get(self._later[0][1]), self._later[0][0]):
            heapq.heappop(self._later)
        if self._due and not self._must_wait(self._items[self._due[0][3]]):
            return self._due[0][2]
        if not self._due and self._later and not self._must_wait(self._items[self._later[0][1]]):
            return self._later[0][0]
        # Rare: what comes first waits for another of its conversation.
        claimable = [each for each in self._open.values() if each.state in _CLAIMABLE and not self._must_wait(each)]
        return min((_due_at(each) for each in claimable), default=None)

    async def depth(self) -> int:
        """See ``Store.depth``."""
        return self._pending()

    async def counts(self) -> Mapping[ItemState, int]:
        """See ``Store.counts``."""
        return {state: self._counts[state] for state in ItemState}

    async def items(self, *states: ItemState) -> list[Item]:
        """See ``Store.items``."""
        chosen = [item for item in self._items.values() if not states or item.state in states]
        return sorted(chosen, key=lambda item: item.sequence)

    async def find(self, *item_ids: str) -> list[Item]:
        """See ``Store.find``."""
        chosen = [self._items[item_id] for item_id in dict.fromkeys(item_ids) if item_id in self._items]
        return sorted(chosen, key=lambda item: item.sequence)

    async def note(self, name: str) -> str | None:
        """See ``Store.note``."""
        return self._notes.get(name)

    async def set_note(self, name: str, text: str) -> None:
        """See ``Store.set_note``."""
        self._notes[name] = text

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _pending(self) -> int:
        return sum(self._counts[state] for state in PENDING)

    def _must_wait(self, item: Item) -> bool:
        """Whether an earlier message of its conversation is still pending."""
        return item.conversation != "" and any(
            other.conversation == item.conversation and other.sequence < item.sequence for other in self._open.values()
        )

    def _held(self, item_id: str, owner: str) -> Item | None:
        item = self._items.get(item_id)
        return item if item is not None and item.state is ItemState.LEASED and item.owner == owner else None

    def _put(self, item: Item) -> Item:
        before = self._items.get(item.id)
        if before is not None:
            self._counts[before.state] -= 1
        self._counts[item.state] += 1
        self._items[item.id] = item
        if item.state in PENDING:
            self._open[item.id] = item
        else:
            self._open.pop(item.id, None)
        if item.state in _CLAIMABLE:
            heapq.heappush(self._later, (_due_at(item), item.id))
        elif item.state in FORGETTABLE:
            heapq.heappush(self._old, (item.expires_at, item.sequence, item.id))
        return item

    def _forget(self, item: Item) -> None:
        del self._items[item.id]
        self._open.pop(item.id, None)
        self._counts[item.state] -= 1


def choose_victim(items: list[Item], priority: int, overflow: Overflow) -> Item | None:
    """The ready item that has to go for a new one of ``priority`` when the queue is full, or None."""
    ready = [item for item in items if item.state is ItemState.READY]
    if overflow == "reject" or not ready:
        return None
    if overflow == "displace":
        lowest = max(ready, key=lambda item: (item.priority, item.sequence))
        return lowest if lowest.priority > priority else None
    low = [item for item in ready if item.priority >= 2]
    return min(low or ready, key=lambda item: item.sequence)


def _still_due(item: Item | None, when: float) -> TypeGuard[Item]:
    """Whether an entry of a heap still fits its item."""
    return item is not None and item.state in _CLAIMABLE and _due_at(item) == when


def _due_at(item: Item) -> float:
    return item.leased_until if item.state is ItemState.LEASED else item.not_before
