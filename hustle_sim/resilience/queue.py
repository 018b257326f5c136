"""The request queue: messages that could not be delivered yet, and how they are sent when the backend is back.

``after_attempt`` decides what an attempt means for an item; ``RequestQueue`` adds, flushes and tells. A flush
starts on recovery, at start-up, on add and by timer; it begins with one canary, then grows, is paced, and
stops at the first sign of trouble.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from hustle_sim.events import QueueChanged
from hustle_sim.policy import QueuePolicy
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.retry import with_hint
from hustle_sim.resilience.store import Added, Answer, Item, ItemState, Store, StoreError
from hustle_sim.resilience.world import World

logger = logging.getLogger("hustle_sim.queue")

_PRUNE_EVERY_S = 3600.0
_PRUNE_AT_ONCE = 100
_MOST_ORPHANS = 100


class Ruling(NamedTuple):
    """What an attempt means for its item. ``state`` None: it goes back, to be sent after ``wait_s``.

    ``trouble``: the backend is not well, so the flush stops. ``uncertain``: it may have been processed.
    ``retry_after_s``: what the backend asked for, if it did.
    """

    state: ItemState | None
    attempts: int
    wait_s: float
    trouble: bool
    uncertain: bool = False
    retry_after_s: float | None = None


def after_attempt(
    item: Item,
    outcome: Outcome,
    policy: QueuePolicy,
    u: float,
    *,
    retry_after_s: float | None = None,
    clamp_s: float = 0.0,
) -> Ruling:
    """Rule on an item that was sent with this outcome; ``u`` in [0, 1) spreads its wait (full jitter).

    The backend's Retry-After lengthens the wait by ``clamp_s`` at most.
    """
    consequence = CONSEQUENCES[outcome]
    if outcome is Outcome.OK:
        return Ruling(ItemState.DELIVERED, item.attempts, 0.0, trouble=False)
    against_item = consequence.against_item or (policy.outages_count and consequence.against_backend)
    attempts = item.attempts + against_item
    trouble = not consequence.against_item
    if against_item and attempts >= policy.max_attempts:
        return Ruling(ItemState.DEAD, attempts, 0.0, trouble)
    uncertain = consequence.fate_unknown
    end = end_of_unknown_fate(policy) if uncertain else None
    if end is not None:
        return Ruling(end, attempts, 0.0, trouble, uncertain)
    if outcome in (Outcome.REJECTED, Outcome.CANCELLED):
        return Ruling(None, attempts, 0.0, trouble, uncertain)
    longest_s = min(policy.cap_s, policy.base_s * 2 ** min(max(item.tries - 1, 0), 30))
    wait_s = with_hint(u * longest_s, retry_after_s, clamp_s)
    return Ruling(None, attempts, wait_s, trouble, uncertain, retry_after_s)


def end_of_unknown_fate(policy: QueuePolicy) -> ItemState | None:
    """The state of an item that may have been processed; None: it is sent again."""
    return {"replay": None, "ask": ItemState.UNKNOWN, "drop": ItemState.DEAD}[policy.unknown_fate]


def rank_of(priority: int, created_at: float, policy: QueuePolicy) -> float:
    """The place in the queue, lowest first: a step of priority is worth ``ageing_s`` of waiting.

    An item that waits keeps its rank while those that come later get higher ones, so none is starved.
    """
    return created_at + priority * policy.ageing_s


class _Orphan(NamedTuple):
    """An answer to what another process had taken over by then; should that come back to us, it is not sent again."""

    reply: str
    is_told: bool


class RequestQueue:
    """Keeps messages in a store and sends them through ``send`` while ``run()`` is running.

    ``ready_at_s()`` says from which loop time on sending makes sense (None: not before ``wake()`` is called);
    ``on_delivered(item, reply)`` is told of each delivery. ``owner`` names this process in leases. A Retry-After
    lengthens a wait by ``retry_after_clamp_s`` at most (0: it is ignored).
    """

    def __init__(
        self,
        store: Store,
        policy: QueuePolicy,
        world: World,
        *,
        send: Callable[[Item], Awaitable[Response]],
        ready_at_s: Callable[[], float | None],
        on_delivered: Callable[[Item, str], None],
        owner: str = "",
        retry_after_clamp_s: float = 0.0,
    ) -> None:
        self._store = store
        self._policy = policy
        self._world = world
        self._send = send
        self._ready_at_s = ready_at_s
        self._on_delivered = on_delivered
        self._owner = owner or world.new_id()
        self._clamp_s = retry_after_clamp_s
        self._waiting: asyncio.Future[None] | None = None
        self._woken = True
        self._troubles = 0
        self._flushes = 0
        self._halted_until_s = 0.0
        self._next_send_s = 0.0
        self._depth = 0
        self._unsettled: dict[str, str] = {}
        self._prune_at_s = 0.0
        self._orphans: dict[str, _Orphan] = {}
        self._leases: dict[str, float] = {}
        """What we are sending, and the loop time until which we hold it, however the wall clock jumps."""

    async def add(
        self,
        message_id: str,
        text: str,
        priority: int,
        *,
        conversation: str = "",
        uncertain: bool = False,
        in_flight_s: float | None = None,
    ) -> Added:
        """Make a message durable. With ``in_flight_s`` it is leased to us that long, since it is being sent now.

        ``uncertain``: it was sent before, and may have been processed. Messages of one ``conversation`` are sent in
        the order of adding. A store that fails answers ``rejected`` with the reason, and so does one that knows
        another message by this id.
        """
        now = self._world.wall_clock()
        began_s = asyncio.get_running_loop().time()
        leased = in_flight_s is not None
        lease_s = max(self._policy.lease_s, in_flight_s or 0.0)
        end = end_of_unknown_fate(self._policy) if uncertain and not leased else None
        item = Item(
            id=message_id,
            text=text,
            priority=priority,
            created_at=now,
            expires_at=now + self._policy.ttl_s,
            rank=rank_of(priority, now, self._policy),
            conversation=conversation,
            state=ItemState.LEASED if leased else end or ItemState.READY,
            owner=self._owner if leased else "",
            leased_until=now + lease_s if leased else 0.0,
            not_before=now,
            tries=1 if leased else 0,
            uncertain=uncertain,
        )
        try:
            added = await self._store.add(item, max_size=self._policy.max_size, overflow=self._policy.overflow)
        except StoreError as error:
            logger.warning("A message could not be saved: %s", error)
            added = Added(Answer.REJECTED, reason=str(error))
        if leased and added.answer in (Answer.ACCEPTED, Answer.DISPLACED):
            self._leases[message_id] = began_s + lease_s
        if added.answer is Answer.DUPLICATE and added.item is not None and added.item.text != text:
            added = Added(Answer.REJECTED, reason="another message has this id")
        if added.victim is not None:
            gone = "dead" if added.victim.state is ItemState.DEAD else "dropped"
            # One leaves before one comes, so the depth in between is one less than after both.
            await self._tell(gone, added.victim.id, "displaced", depth_change=-1)
        event = "accepted" if added.answer is Answer.DISPLACED else added.answer.value
        ends_at_once = end is ItemState.DEAD and event == "accepted"
        await self._tell(event, message_id, added.reason, depth_change=int(ends_at_once))
        if end is not None and event == "accepted":
            await self._tell(end.value, message_id, "no answer in time")
        # A leased one too: should it never be settled, its lease has to run out on our timer.
        self._wake_for_any()
        return added

    async def delivered(self, message_id: str, reply: str) -> None:
        """A message that was leased at ``add`` has been answered after all."""
        self._leases.pop(message_id, None)
        held = await self._answered(message_id, reply)
        if held:
            await self._tell("delivered", message_id, "late answer")
            # A later one of its conversation may have waited for it.
            self._wake_for_any()
        elif held is False:
            self._remember(message_id, _Orphan(reply, is_told=True))

    async def give_back(self, message_id: str, *, uncertain: bool) -> bool:
        """A message that was leased at ``add`` has not been answered: it is now sent from the queue.

        ``uncertain``: a request for it was sent, and may have been processed. False if it will not be sent again.
        """
        self._leases.pop(message_id, None)
        reason = "no answer in time"
        end = end_of_unknown_fate(self._policy) if uncertain else None
        if end is not None:
            ended = await self._settled(message_id, end, reason=reason)
            if ended:
                await self._tell(end.value, message_id, reason)
                self._wake_for_any()
            return not (ended and end is ItemState.DEAD)
        now = self._world.wall_clock()
        try:
            held = await self._store.release(
                message_id, self._owner, not_before=now, attempts=0, reason=reason, uncertain=uncertain
            )
        except StoreError as error:
            # The lease runs out, and the item comes back then.
            logger.warning("A message could not be given back to the queue: %s", error)
            return True
        if held:
            await self._tell("released", message_id, reason)
            self._wake_for_any()
        return True

    async def has_pending(self, conversation: str) -> bool:
        """Whether earlier messages of this conversation wait; a store that can't say has none."""
        try:
            return conversation != "" and await self._store.has_pending(conversation)
        except StoreError:
            return False

    async def retry(self, message_id: str) -> bool:
        """Send a dead, expired or cancelled message again, or one whose fate a person was asked about.

        False if it is none of these. Raises StoreError.
        """
        now = self._world.wall_clock()
        if not await self._store.requeue(message_id, now, now + self._policy.ttl_s):
            return False
        await self._tell("requeued", message_id, "by hand")
        self.wake()
        return True

    async def cancel(self, message_id: str) -> bool:
        """End a message that waits, or whose fate a person was asked about; False if neither. Raises StoreError."""
        if not await self._store.cancel(message_id, "by hand"):
            return False
        await self._tell("cancelled", message_id, "by hand")
        self._wake_for_any()
        return True

    def withdrawn(self, message_id: str) -> None:
        """A message was withdrawn before it came to us: it is told as one that was not taken in."""
        self._emit("rejected", message_id, "withdrawn")

    def wake(self, *, fresh_start: bool = False) -> None:
        """Look at once whether something can be sent. ``fresh_start``: the backend has just been seen well."""
        if fresh_start:
            self._troubles = 0
            now_s = asyncio.get_running_loop().time()
            self._flushes += 1
            u = self._world.uniform("queue.flush", self._world.client, self._flushes)
            self._halted_until_s = now_s + u * self._policy.flush_jitter_s
        self._woken = True
        self._look_again()

    def _wake_for_any(self) -> None:
        if self._policy.flush_on == "any":
            self.wake()

    async def run(self) -> None:
        """Send what is due, for ever, until cancelled."""
        while True:
            await self._wait_for_work()
            try:
                await self._expire()
                if self._may_send_now():
                    await self._flush()
                await self._prune()
            except StoreError as error:
                logger.warning("The queue can't be read; trying again later: %s", error)
                self._halt(asyncio.get_running_loop().time())

    def _may_send_now(self) -> bool:
        # In this order: "now" may be the answer, and a real clock goes on between two looks at it.
        ready_at_s = self._ready_at_s()
        now_s = asyncio.get_running_loop().time()
        return ready_at_s is not None and max(ready_at_s, self._halted_until_s) <= now_s

    async def _wait_for_work(self) -> None:
        loop = asyncio.get_running_loop()
        polls = self._store.is_shared and self._policy.flush_on == "any"
        while not self._woken:
            wait_s = await self._seconds_to_next_work(loop.time())
            self._waiting = loop.create_future()
            timer = None
            if polls and (wait_s is None or wait_s > self._policy.poll_s):
                # Another process may bring something sooner: ask the store again, and no more than that.
                timer = loop.call_later(self._policy.poll_s, self._look_again)
            elif wait_s is not None:
                timer = loop.call_later(wait_s, self.wake)
            try:
                if not self._woken:
                    await self._waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def _look_again(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _seconds_to_next_work(self, now_s: float) -> float | None:
        """None: nothing to do before somebody calls ``wake``."""
        ready_at_s = self._ready_at_s()
        if self._policy.flush_on == "verdict":
            jitter_s = self._halted_until_s - now_s
            return jitter_s if jitter_s > 0 else None
        try:
            due_at = await self._store.next_due()
            if due_at is None and await self._store.depth() > 0:
                # All that is left waits for a person, and grows old.
                return max(self._policy.cap_s, 1.0)
        except StoreError:
            return max(self._policy.cap_s, 1.0)
        if due_at is None:
            return None
        due_s = due_at - self._world.wall_clock()
        if ready_at_s is None:
            return self._policy.cap_s if self._policy.cap_s > 0 else None
        # Never shorter than a moment: a wall clock that stands still must not become a busy loop.
        return max(due_s, max(ready_at_s, self._halted_until_s, self._next_send_s) - now_s, 0.01)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        sending: list[asyncio.Task[Ruling]] = []
        window = 1 if self._policy.canary else self._policy.drain_concurrency
        trouble = False
        try:
            while True:
                for task in [task for task in sending if task.done()]:
                    sending.remove(task)
                    ruling = task.result()
                    if ruling.trouble:
                        trouble = True
                        self._halt(loop.time(), ruling.retry_after_s)
                    elif not trouble:
                        self._troubles = 0
                        window = min(2 * window, self._policy.drain_concurrency)
                has_room = not trouble and len(sending) < window
                pause_s = self._next_send_s - loop.time()
                if has_room and pause_s <= 0:
                    item = await self._claim() if self._may_send_now() else None
                    if item is not None:
                        self._next_send_s = loop.time() + 1 / self._policy.drain_per_s
                        sending.append(asyncio.create_task(self._deliver(item)))
                        continue
                    has_room = False
                if sending:
                    limit_s = pause_s if has_room else None
                    await asyncio.wait(sending, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                elif has_room:
                    await asyncio.sleep(pause_s)
                else:
                    return
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    def _halt(self, now_s: float, retry_after_s: float | None = None) -> None:
        """The flush met trouble: the next one by timer comes later each time, and as late as the backend asks."""
        if self._policy.flush_on == "verdict":
            return
        self._troubles += 1
        longest_s = min(self._policy.cap_s, self._policy.base_s * 2 ** min(self._troubles - 1, 30))
        u = self._world.uniform("queue.halt", self._world.client, self._troubles)
        self._halted_until_s = now_s + with_hint(longest_s / 2 + u * longest_s / 2, retry_after_s, self._clamp_s)

    async def _claim(self) -> Item | None:
        await self._expire()
        now = self._world.wall_clock()
        began_s = asyncio.get_running_loop().time()
        end = end_of_unknown_fate(self._policy)
        while True:
            item = await self._store.claim(now, owner=self._owner, until=now + self._policy.lease_s)
            if item is None:
                return None
            if began_s < self._leases.get(item.id, 0.0):
                # The wall clock jumped over a lease of our own, which is renewed now: we are still sending it.
                return None
            self._leases[item.id] = began_s + self._policy.lease_s
            await self._tell("leased", item.id, "")
            if end is None or not item.uncertain or item.id in self._unsettled:
                return item
            # Whoever sent it is gone.
            self._leases.pop(item.id, None)
            reason = "the app ended while it was being sent"
            if await self._settled(item.id, end, reason=reason):
                await self._tell(end.value, item.id, reason)

    async def _expire(self) -> None:
        expired = await self._store.expire(self._world.wall_clock())
        if not expired:
            return
        # They left together, and are told one by one.
        await self._look_at_depth(depth_change=len(expired))
        for item in expired:
            self._depth -= 1
            self._emit("expired", item.id, item.reason)

    async def _prune(self) -> None:
        """Forget what ended long ago, a bounded number now and then, so that the file does not grow for ever."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._prune_at_s:
            return
        before = self._world.wall_clock() - self._policy.keep_ended_s
        if await self._store.prune(before, _PRUNE_AT_ONCE) < _PRUNE_AT_ONCE:
            self._prune_at_s = now_s + _PRUNE_EVERY_S

    async def _deliver(self, item: Item) -> Ruling:
        try:
            orphan = self._orphans.pop(item.id, None)
            if orphan is not None and orphan.is_told:
                self._unsettled[item.id] = orphan.reply
            known = self._unsettled.get(item.id, orphan and orphan.reply)
            response = await self._send(item) if known is None else Response(Outcome.OK, known)
            u = self._world.uniform("queue.backoff", self._world.client, item.sequence, item.tries)
            ruling = after_attempt(
                item, response.outcome, self._policy, u, retry_after_s=response.retry_after_s, clamp_s=self._clamp_s
            )
            await self._obey(item, ruling, response)
            return ruling
        except StoreError as error:
            logger.warning("The fate of a message could not be saved; its lease runs out by itself: %s", error)
        except Exception:
            logger.exception("A message could not be sent from the queue; its lease runs out by itself.")
        finally:
            self._leases.pop(item.id, None)
        return Ruling(None, item.attempts, 0.0, trouble=True)

    async def _obey(self, item: Item, ruling: Ruling, response: Response) -> None:
        if ruling.state is ItemState.DELIVERED:
            is_news = item.id not in self._unsettled
            held = await self._answered(item.id, response.text)
            if held:
                await self._tell("delivered", item.id, "")
            elif held is False:
                self._remember(item.id, _Orphan(response.text, is_told=not is_news))
            if is_news and held is not False:
                self._on_delivered(item, response.text)
        elif ruling.state is not None and (self._policy.dead_letters or ruling.state is not ItemState.DEAD):
            if await self._settled(item.id, ruling.state, reason=response.outcome.value):
                await self._tell(ruling.state.value, item.id, response.outcome.value)
        elif ruling.state is ItemState.DEAD:
            if await self._store.drop(item.id, self._owner):
                await self._tell("dropped", item.id, response.outcome.value)
        elif await self._store.release(
            item.id,
            self._owner,
            not_before=self._world.wall_clock() + ruling.wait_s,
            attempts=ruling.attempts,
            reason=response.outcome.value,
            uncertain=ruling.uncertain,
        ):
            await self._tell("released", item.id, response.outcome.value)

    async def _answered(self, message_id: str, reply: str) -> bool | None:
        """Store an answer; False if the lease is no longer ours, None if the store fails.

        An answer that can't be stored is kept, so that the message is neither sent nor told again.
        """
        try:
            held = await self._store.settle(message_id, self._owner, ItemState.DELIVERED, reply=reply)
        except StoreError as error:
            logger.warning("An answer could not be saved; trying again when its lease runs out: %s", error)
            self._unsettled[message_id] = reply
            return None
        self._unsettled.pop(message_id, None)
        return held

    def _remember(self, message_id: str, orphan: _Orphan) -> None:
        self._orphans[message_id] = orphan
        if len(self._orphans) > _MOST_ORPHANS:
            del self._orphans[next(iter(self._orphans))]

    async def _settled(self, message_id: str, state: ItemState, *, reason: str) -> bool:
        try:
            return await self._store.settle(message_id, self._owner, state, reason=reason)
        except StoreError as error:
            logger.warning("The end of a message could not be saved; it may be sent again: %s", error)
            return False

    async def _tell(self, event: str, message_id: str, reason: str, *, depth_change: int = 0) -> None:
        await self._look_at_depth(depth_change=depth_change)
        self._emit(event, message_id, reason)

    async def _look_at_depth(self, *, depth_change: int) -> None:
        # If the store can't say, the last depth that was known has to do.
        with contextlib.suppress(StoreError):
            self._depth = await self._store.depth() + depth_change

    def _emit(self, event: str, message_id: str, reason: str) -> None:
        now_s = asyncio.get_running_loop().time()
        self._world.emit(QueueChanged(now_s, self._world.client, event, message_id, self._depth, reason))
