"""The coach: what the app calls. An answer within the deadline, whatever the backend does.

It wires monitor, breaker, retry, cache and queue together. Each message has one absolute deadline; what is
still in flight then may go on for the late-answer window, while the message is already safe in the queue.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self

from hustle_sim.events import AttemptEnded, MessageAnswered, MessageDelivered, MessageSent
from hustle_sim.policy import Policy
from hustle_sim.resilience.backend import Backend, Response, within
from hustle_sim.resilience.breaker import BreakerState, CircuitBreaker, Permit
from hustle_sim.resilience.cache import ResponseCache
from hustle_sim.resilience.health import Health, HealthMonitor, Status
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.queue import RequestQueue
from hustle_sim.resilience.retry import RetryBudget, backoff_s, with_hint
from hustle_sim.resilience.store import PENDING, Item, Store, StoreError
from hustle_sim.resilience.world import World

logger = logging.getLogger("hustle_sim.coach")

_BREAKER_NOTE = "breaker"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the person sees first. ``source`` is ``backend | cache | stale | fallback``.

    ``queued``: the message is safe and will be delivered later; subscribers get the answer then.
    """

    text: str
    source: str
    queued: bool
    message_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer that came after the fallback. ``via`` is ``late`` (still in flight then) or ``queue``.

    ``conversation`` is the one that its message was sent in.
    """

    message_id: str
    text: str
    via: str
    conversation: str = ""


def fallback_text(question: str, queued: bool) -> str:
    """What a person is told when there is no answer; ``queued`` says whether the message was saved."""
    if queued:
        return "I can't reach the coach right now. Your message is saved and will be answered as soon as it is back."
    return "I can't reach the coach right now, and your message could not be saved. Please send it again later."


class _Message:
    """One message on its way: its answer for the person, and whether it is safe in the queue."""

    __slots__ = (
        "answer", "conversation", "deadline_s", "id", "known_reply", "number", "priority", "pursuit", "saved", "saving",
        "sent_s", "text", "timer", "uncertain",
    )  # fmt: skip

    def __init__(
        self,
        message_id: str,
        text: str,
        priority: int,
        conversation: str,
        number: int,
        sent_s: float,
        deadline_s: float,
    ) -> None:
        self.id = message_id
        self.text = text
        self.priority = priority
        self.conversation = conversation
        self.number = number
        self.sent_s = sent_s
        self.deadline_s = deadline_s
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.pursuit: asyncio.Task[None] | None = None
        self.saving: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle
        self.saved = False
        self.uncertain = False
        """Whether one of its requests may have been processed without an answer."""
        self.known_reply = ""
        """The answer that an earlier message with this id had."""


class Coach:
    """Sends messages to a backend and never leaves a person without an answer.

    Use it as ``async with Coach(...) as coach``: that starts the monitor and the queue. ``fallback(text,
    queued)`` makes the answer for when there is none. ``store`` keeps the queue, the last verdict and the
    breaker; the caller closes it, and the backend.
    """

    def __init__(
        self,
        backend: Backend,
        policy: Policy,
        world: World,
        store: Store,
        *,
        fallback: Callable[[str, bool], str] = fallback_text,
    ) -> None:
        self.policy = policy
        self._backend = backend
        self._world = world
        self._store = store
        self._fallback = fallback
        self._client = world.client
        self._sent = 0
        self._loop: asyncio.AbstractEventLoop
        self._budget: RetryBudget
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._open: dict[_Message, None] = {}
        self._subscribers: dict[object, Callable[[Delivery], None]] = {}
        self.cache = ResponseCache(policy.cache)
        self.breaker = CircuitBreaker(policy.breaker, world)
        self.monitor = HealthMonitor(backend, policy.probe, world, store)
        self.queue = RequestQueue(
            store, policy.queue, world,
            send=self._replay, ready_at_s=self._queue_ready_at_s, on_delivered=self._on_queue_delivery,
            retry_after_clamp_s=policy.retry.retry_after_clamp_s,
        )  # fmt: skip

    @property
    def health(self) -> Health:
        """What the status indicator shows."""
        return self.monitor.health

    def subscribe(self, subscriber: Callable[[Delivery], None]) -> Callable[[], None]:
        """Call ``subscriber(delivery)`` for each answer that comes late; returns the unsubscribe."""
        key = object()
        self._subscribers[key] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._budget = RetryBudget(self.policy.retry, self._loop.time())
        await self._recall_breaker()
        self.breaker.subscribe(self._on_breaker)
        self.monitor.subscribe(self._on_health)
        self._start(self.monitor.run())
        self._start(self.queue.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop probing and sending. What is in the queue stays there; an item being sent returns with its lease.

        A person who still waits for an answer gets it now, and the message goes to the queue.
        """
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for message in list(self._open):
            message.timer.cancel()
            if not (message.saved or message.answer.done()):
                await self._save(message, in_flight_s=None)
            self._answer_without_backend(message)

    async def send(
        self, text: str, *, priority: int = 1, conversation: str = "", message_id: str | None = None
    ) -> Reply:
        """An answer for the person, within the deadline, from the backend, the cache or the fallback.

        ``priority`` 0 is the most urgent. Messages of one ``conversation`` reach the backend in their order: while
        earlier ones wait in the queue, a new one joins them. Never raises for a backend's fault. Cancelling it
        withdraws the message, unless it is safe in the queue already.
        """
        now_s = self._loop.time()
        self._sent += 1
        identity = message_id or self._world.new_id()
        deadline_s = now_s + self.policy.request.deadline_s
        message = _Message(identity, text, priority, conversation, self._sent, now_s, deadline_s)
        self._world.emit(MessageSent(now_s, self._client, identity, priority))
        kept = self.cache.fresh(text, now_s)
        if kept is not None:
            return self._answered(message, kept, "cache", queued=False)
        self._budget.on_message()
        hopeless = self.policy.request.fast_fail_offline and self.monitor.status is Status.OFFLINE
        message.pursuit = self._start(self._give_up(message) if hopeless else self._pursue(message))
        save_at_s = message.deadline_s - self.policy.queue.save_margin_s
        message.timer = self._loop.call_at(save_at_s, self._save_before_deadline, message)
        self._open[message] = None
        try:
            return await message.answer
        except asyncio.CancelledError:
            self._withdraw(message)
            raise
        finally:
            message.timer.cancel()
            del self._open[message]

    async def _pursue(self, message: _Message) -> None:
        """All attempts for one message, until it is delivered or given up."""
        if message.conversation and await self.queue.has_pending(message.conversation):
            await self._give_up(message)
            return
        wait_s = 0.0
        for number in range(1, self.policy.request.max_attempts + 1):
            response = await self._attempt(message, number, wait_s)
            if response.outcome is Outcome.OK:
                await self._deliver(message, response.text)
                return
            message.uncertain |= CONSEQUENCES[response.outcome].fate_unknown
            next_wait_s = self._next_wait_s(message, number, wait_s, response)
            if next_wait_s is None:
                break
            wait_s = next_wait_s
            await asyncio.sleep(wait_s)
        await self._give_up(message)

    def _next_wait_s(self, message: _Message, number: int, previous_s: float, response: Response) -> float | None:
        """Seconds until the next attempt, or None if there must not be one."""
        if number >= self.policy.request.max_attempts or not CONSEQUENCES[response.outcome].may_retry:
            return None
        now_s = self._loop.time()
        retry = self.policy.retry
        u = self._world.uniform("retry.jitter", self._client, message.number, number)
        wait_s = with_hint(backoff_s(retry, number, previous_s, u), response.retry_after_s, retry.retry_after_clamp_s)
        if now_s + wait_s >= message.deadline_s - self.policy.queue.save_margin_s:
            return None
        return wait_s if self._budget.take(now_s) else None

    async def _attempt(self, message: _Message, number: int, wait_s: float) -> Response:
        began_s = self._loop.time()
        judged_s = began_s + self.policy.request.attempt_timeout_s
        ends_s = judged_s
        if judged_s >= message.deadline_s:
            ends_s = message.deadline_s + self.policy.request.late_answer_window_s
        return await self._call(message.id, message.text, "message", number, wait_s, began_s, judged_s, ends_s)

    async def _replay(self, item: Item) -> Response:
        """One attempt for an item of the queue."""
        began_s = self._loop.time()
        ends_s = began_s + self.policy.request.attempt_timeout_s
        if item.expires_at <= self._world.wall_clock():
            return Response(Outcome.CANCELLED)
        return await self._call(item.id, item.text, "replay", item.tries, 0.0, began_s, ends_s, ends_s)

    async def _call(
        self,
        message_id: str,
        text: str,
        kind: str,
        number: int,
        wait_s: float,
        began_s: float,
        judged_s: float,
        ends_s: float,
    ) -> Response:
        """One request, if the breaker admits it, judged at ``judged_s`` at the latest and over by ``ends_s``."""
        permit = self.breaker.admit(began_s)
        if permit is None:
            response = Response(Outcome.REJECTED)
            self._tell_attempt(message_id, kind, number, wait_s, began_s, response)
            return response
        judgement = None
        if ends_s > judged_s:
            judgement = self._loop.call_at(judged_s, self._judge, permit, Outcome.TIMEOUT, began_s, None)
        response = Response(Outcome.CANCELLED)
        try:
            response = await within(ends_s - began_s, self._backend.chat(text, key=message_id))
            if response.outcome is Outcome.TIMEOUT and ends_s < judged_s:
                # Our own haste, not the backend's fault: an attempt is entitled to its full timeout.
                response = Response(Outcome.CANCELLED)
        finally:
            if judgement is not None:
                judgement.cancel()
            self._judge(permit, response.outcome, began_s, response.retry_after_s)
            self._tell_attempt(message_id, kind, number, wait_s, began_s, response)
        return response

    def _judge(self, permit: Permit, outcome: Outcome, began_s: float, retry_after_s: float | None) -> None:
        """Tell breaker and monitor how a request went, once; an answer is still news after a timeout."""
        if permit.ended and outcome is not Outcome.OK:
            return
        now_s = self._loop.time()
        self.breaker.end(permit, outcome, now_s - began_s, now_s, retry_after_s)
        if outcome is Outcome.OK:
            self.monitor.note_success()
        else:
            self.monitor.note_failure(outcome)

    async def _deliver(self, message: _Message, text: str) -> None:
        """The backend answered: the person's first answer, or a late one."""
        now_s = self._loop.time()
        self.cache.put(message.text, text, now_s)
        late = message.answer.done()
        if not late:
            self._answered(message, text, "backend", queued=False)
        self._world.emit(MessageDelivered(now_s, self._client, message.id, "late" if late else "direct"))
        if message.saving is not None:
            await message.saving
            if message.saved:
                await self.queue.delivered(message.id, text)
        if late:
            self._publish(Delivery(message.id, text, "late", message.conversation))

    async def _give_up(self, message: _Message) -> None:
        """No attempt worked: the message goes to the queue, and the person gets the second-best answer."""
        if message.saving is None:
            message.saving = self._start(self._save(message, in_flight_s=None))
            await message.saving
        else:
            await message.saving
            if message.saved:
                message.saved = await self.queue.give_back(message.id, uncertain=message.uncertain)
        self._answer_without_backend(message)

    def _save_before_deadline(self, message: _Message) -> None:
        if message.saving is None:
            in_flight_s = self.policy.queue.save_margin_s + self.policy.request.late_answer_window_s + 1.0
            message.saving = self._start(self._save(message, in_flight_s=in_flight_s))
        message.timer = self._loop.call_at(message.deadline_s, self._answer_without_backend, message)

    async def _save(self, message: _Message, *, in_flight_s: float | None) -> None:
        added = await self.queue.add(
            message.id,
            message.text,
            message.priority,
            conversation=message.conversation,
            uncertain=message.uncertain,
            in_flight_s=in_flight_s,
        )
        if added.item is not None:
            # An id that was sent before may have come to its end already.
            message.saved = added.item.state in PENDING
            message.known_reply = added.item.reply

    def _answer_without_backend(self, message: _Message) -> None:
        if message.answer.done():
            return
        kept = self.cache.stale(message.text, self._loop.time())
        if message.known_reply:
            self._answered(message, message.known_reply, "cache", queued=False)
        elif kept is not None:
            self._answered(message, kept, "stale", queued=message.saved)
        else:
            self._answered(message, self._fallback_for(message), "fallback", queued=message.saved)

    def _fallback_for(self, message: _Message) -> str:
        try:
            return self._fallback(message.text, message.saved)
        except Exception:
            logger.exception("The app's fallback failed; the person gets ours.")
            return fallback_text(message.text, message.saved)

    def _answered(self, message: _Message, text: str, source: str, *, queued: bool) -> Reply:
        now_s = self._loop.time()
        reply = Reply(text, source, queued, message.id)
        self._world.emit(MessageAnswered(now_s, self._client, message.id, source, queued, now_s - message.sent_s))
        message.answer.set_result(reply)
        return reply

    def _withdraw(self, message: _Message) -> None:
        """The person does not want the answer any more. What is safe in the queue is delivered all the same."""
        if message.saving is None and message.pursuit is not None:
            message.pursuit.cancel()
            self.queue.withdrawn(message.id)

    def _on_queue_delivery(self, item: Item, text: str) -> None:
        now_s = self._loop.time()
        self.cache.put(item.text, text, now_s)
        self._world.emit(MessageDelivered(now_s, self._client, item.id, "queue"))
        self._publish(Delivery(item.id, text, "queue", item.conversation))

    def _publish(self, delivery: Delivery) -> None:
        for subscriber in tuple(self._subscribers.values()):
            try:
                subscriber(delivery)
            except Exception:
                logger.exception("A subscriber of the coach failed; the others are told all the same.")

    def _queue_ready_at_s(self) -> float | None:
        if self.monitor.status in (Status.CHECKING, Status.OFFLINE):
            return None
        return self.breaker.ready_at_s(self._loop.time())

    def _on_health(self, previous: Health, current: Health) -> None:
        if previous.status is not current.status:
            self._budget.freeze(current.status is Status.OFFLINE, self._loop.time())
        if current.verdicts == previous.verdicts or current.status not in (Status.ONLINE, Status.DEGRADED):
            return
        recovered = previous.status in (Status.CHECKING, Status.OFFLINE)
        if recovered or self.policy.queue.flush_on == "verdict":
            self.queue.wake(fresh_start=recovered)

    def _on_breaker(self, state: BreakerState) -> None:
        if state is BreakerState.CLOSED and self.policy.queue.flush_on == "any":
            self.queue.wake()
        self._start(self._remember_breaker())

    async def _remember_breaker(self) -> None:
        try:
            await self._store.set_note(_BREAKER_NOTE, json.dumps(self.breaker.snapshot(self._loop.time())))
        except StoreError as error:
            logger.warning("The breaker's state can't be kept for the next session: %s", error)

    async def _recall_breaker(self) -> None:
        try:
            note = await self._store.note(_BREAKER_NOTE)
            if note is not None:
                self.breaker.restore(json.loads(note), self._loop.time())
        except (StoreError, ValueError, KeyError, TypeError, OverflowError) as error:
            logger.warning("The breaker's last state can't be read and is left out: %s", error)

    def _tell_attempt(
        self, message_id: str, kind: str, number: int, wait_s: float, began_s: float, response: Response
    ) -> None:
        latency_s = self._loop.time() - began_s
        outcome, code = response.outcome.value, response.status_code
        self._world.emit(
            AttemptEnded(began_s, self._client, message_id, kind, number, wait_s, latency_s, outcome, code)
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        # Ctrl-C in the middle of a part is no fault of its own.
        if not task.cancelled() and isinstance(task.exception(), Exception):
            logger.error("A part of the coach failed.", exc_info=task.exception())
