"""A live session: one backend watched and talked to in real time, in a thread of its own, for as many as there are."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from hustle_sim.analysis import Run
from hustle_sim.events import Event, StatusChanged
from hustle_sim.live.background import LoopThread
from hustle_sim.live.digest import Digest
from hustle_sim.live.settings import Settings, live_world
from hustle_sim.live.store import open_target_store
from hustle_sim.policy import Policy
from hustle_sim.resilience.backend import Backend
from hustle_sim.resilience.breaker import BreakerState, Tally
from hustle_sim.resilience.coach import Coach, Delivery, Reply
from hustle_sim.resilience.health import Health, Subscriber
from hustle_sim.resilience.http import parse_url
from hustle_sim.resilience.store import Item, ItemState, MemoryStore, Store

logger = logging.getLogger("hustle_sim.live")

T = TypeVar("T")

KEEP_EVENTS = 20_000
"""Events that a session remembers: the oldest go first."""

_REUSE_S = 1.0
_DRIFT_S = 1.0


class History:
    """The last events of a session, for any thread; the status before them is not forgotten with the rest."""

    def __init__(self, keep: int) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=keep)
        self._version = 0
        self._forgotten: StatusChanged | None = None

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        with self._lock:
            if len(self._events) == self._events.maxlen and isinstance(self._events[0], StatusChanged):
                self._forgotten = self._events[0]
            self._events.append(event)
            self._version += 1

    @property
    def version(self) -> int:
        """The number of events so far, the forgotten ones too."""
        return self._version

    def since(self, version: int) -> tuple[int, list[Event]]:
        """The version now, and the events that came after ``version`` (as far as they are still known)."""
        with self._lock:
            new = min(max(self._version - version, 0), len(self._events))
            return self._version, list(islice(self._events, len(self._events) - new, None))

    def all(self) -> tuple[list[Event], bool]:
        """The events, oldest first, and whether older ones are forgotten; then they begin with the status."""
        with self._lock:
            events, forgotten = list(self._events), self._forgotten
            is_cut = self._version > len(events)
        if forgotten is not None:
            events.insert(0, replace(forgotten, time_s=min(event.time_s for event in events)))
        return events, is_cut


@dataclass(frozen=True, slots=True)
class BreakerView:
    """The circuit breaker as a screen shows it; ``try_in_s`` is the time until it lets a call through, while open."""

    state: BreakerState
    tally: Tally
    try_in_s: float | None


class LiveSession:
    """Watches a backend from ``start()`` to ``stop()``, sends messages to it, and remembers what it saw.

    It is a whole ``Coach`` for any number of people, whose every method is for any thread but the session's own. An
    unreachable backend is no error: it is what one watches. ``policy`` (default ``Policy()``) is the coach's;
    ``store`` keeps its queue, the last verdict and the breaker for the next session, and is closed with this one
    (default: memory); ``keep`` is the number of events that are remembered. A session runs once.

    A message that was taken into the queue stays in the store when the session stops, and is sent by the next
    session that has this store.
    """

    _shared: ClassVar[dict[object, tuple[LiveSession, int]]] = {}
    _shared_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        backend: Backend,
        policy: Policy | None = None,
        *,
        label: str = "",
        store: Store | None = None,
        keep: int = KEEP_EVENTS,
    ) -> None:
        self.policy = policy or Policy()
        self.label = label
        self._backend = backend
        self._store: Store = MemoryStore() if store is None else store
        self._history = History(keep)
        self.digest = Digest()
        """What is known of weeks; its times are loop times, as those of the events are."""
        self.world = live_world(self._emit)
        self._coach = Coach(backend, self.policy, self.world, self._store)
        self._sending: dict[asyncio.Task[Any], None] = {}
        self._is_ending = False
        self._thread: LoopThread | None = None
        self._task: asyncio.Task[None] | None = None
        self._lifecycle = threading.Lock()
        self._is_over = False
        self._origin_s = 0.0
        self._stopped_s: float | None = None
        self._begun = 0.0
        self._last_run: tuple[int, float, Run] | None = None

    @classmethod
    def of_url(
        cls,
        url: str,
        policy: Policy | None = None,
        *,
        settings: Settings | None = None,
        store: Store | None = None,
        keep: int = KEEP_EVENTS,
    ) -> Self:
        """A session for a URL, spoken to as the settings say (default: those of ``.env``).

        Raises InputError with one sentence if the URL or the settings can't be used.
        """
        backend = (settings or Settings.load()).backend(url)
        return cls(backend, policy, label=backend.url, store=store, keep=keep)

    @classmethod
    def shared(
        cls,
        url: str,
        policy: Policy | None = None,
        *,
        settings: Settings | None = None,
        open_store: Callable[[], Store] | None = None,
    ) -> Seat:
        """A seat in the one session that this process has for a URL and a policy; the first one starts it.

        Its queue is in the file of that URL (see ``target_store_path``), or in what ``open_store()`` gives. The session
        stops when the last seat is given up. Raises InputError as ``of_url`` does, and if the file can't be used.
        """
        settings = settings or Settings.load()
        policy = policy or Policy()
        # SecretStr compares by value and shows nothing: sessions with other keys are other sessions.
        key = (str(parse_url(url)), policy.model_dump_json(), settings.model_dump_json(), settings.api_key)
        with cls._shared_lock:
            session, seats = cls._shared.get(key, (None, 0))
            if session is None:
                store = open_target_store(url, settings) if open_store is None else open_store()
                session = cls.of_url(url, policy, settings=settings, store=store)
                session.start()
            cls._shared[key] = (session, seats + 1)
        return Seat(session, lambda: cls._leave(key))

    @classmethod
    def _leave(cls, key: object) -> None:
        with cls._shared_lock:
            session, seats = cls._shared[key]
            if seats > 1:
                cls._shared[key] = (session, seats - 1)
                return
            del cls._shared[key]
        session.stop()

    @property
    def version(self) -> int:
        """Grows with each event: a screen that has drawn this version has nothing to do."""
        return self._history.version

    @property
    def health(self) -> Health:
        """What the indicator shows. A new object after each change, so ``is`` tells whether there was one."""
        return self._coach.health

    @property
    def breaker(self) -> BreakerView:
        """The circuit breaker now."""
        now_s, breaker = self._now_s(), self._coach.breaker
        is_open = breaker.state is BreakerState.OPEN
        return BreakerView(
            breaker.state, breaker.tally(now_s), max(0.0, breaker.ready_at_s(now_s) - now_s) if is_open else None
        )

    @property
    def notice(self) -> str:
        """What a person should know of the queue's file, in one sentence; empty if all is well."""
        return str(getattr(self._store, "notice", ""))

    @property
    def is_running(self) -> bool:
        """Whether the backend is being watched."""
        return self._thread is not None and self._task is not None and not self._task.done()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start; 0 before it."""
        return self._now_s() - self._origin_s

    @property
    def next_check_in_s(self) -> float | None:
        """Seconds until the next probe; None while one is in flight or nothing is watched."""
        when_s = self._coach.monitor.next_check_s
        return None if when_s is None or not self.is_running else max(0.0, when_s - self._now_s())

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(previous, current)`` in the session's thread after each change of ``health``.

        Returns the unsubscribe. A screen had better look at ``health`` when it draws.
        """
        return self._coach.monitor.subscribe(subscriber)

    def subscribe_deliveries(
        self, subscriber: Callable[[Delivery], None], *, conversation: str | None = None
    ) -> Callable[[], None]:
        """Call ``subscriber(delivery)`` in the session's thread for each answer that comes after the fallback.

        With ``conversation`` only for the messages of that one. Returns the unsubscribe. What comes when nobody is
        subscribed, or through another session on the same file, is in the store: see ``items``.
        """

        def chosen(delivery: Delivery) -> None:
            if conversation is None or delivery.conversation == conversation:
                subscriber(delivery)

        return self._coach.subscribe(chosen)

    def events_since(self, version: int) -> tuple[int, list[Event]]:
        """The version now, and the events after ``version``, for a screen that adds to what it has drawn.

        Their ``time_s`` is loop time: ``time_s - origin_s`` is seconds since the start.
        """
        return self._history.since(version)

    @property
    def origin_s(self) -> float:
        """The loop time of the start."""
        return self._origin_s

    @property
    def now_s(self) -> float:
        """The loop time now; 0 before the start, and the time of the stop after it."""
        return self._now_s()

    def start(self) -> None:
        """Begin to watch, and return at once. Raises RuntimeError if the session has run before."""
        with self._lifecycle:
            if self._is_over or self._thread is not None:
                raise RuntimeError("a live session runs once: make a new one")
            self._thread = thread = LoopThread("hustle-sim-live")
            self._origin_s = thread.loop.time()
            self._begun = self.world.wall_clock()
        # Never wait for the loop with the lock held: a subscriber there may want it.
        thread.submit(self._begin()).result()

    def stop(self) -> None:
        """Stop watching and let go of the backend. What was seen can still be read. Stopping twice is harmless.

        Whoever still waits for an answer gets the fallback, and the message goes to the queue.
        """
        with self._lifecycle:
            thread = self._thread
            if self._is_over or thread is None:
                self._is_over = True
                return
            self._stopped_s = self._now_s()
            self._is_over = True
            self._last_run = None
        if not thread.is_here:
            thread.submit(self._end()).result()
        thread.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def probe_now(self) -> Future[Health]:
        """Probe without waiting for the next turn; the future is done when the probe is. Returns at once.

        Raises RuntimeError if nothing is being watched.
        """
        return self._submit(self._coach.monitor.probe_now())

    def send(
        self, text: str, *, conversation: str = "", priority: int = 1, message_id: str | None = None
    ) -> Future[Reply]:
        """Send a message as ``Coach.send`` does: the future has a reply within the deadline. Returns at once.

        Cancelling the future withdraws the message, unless it is safe in the queue already. Raises RuntimeError if the
        session is not running; the future does so if it stopped before it took in the message.
        """
        return self._submit(self._send(text, conversation, priority, message_id))

    def items(self, *states: ItemState, conversation: str | None = None) -> Future[list[Item]]:
        """What the queue's store has in these states (all if none is named), in the order of adding.

        With ``conversation`` only its messages. Raises as ``send`` does; the future raises StoreError.
        """
        return self._submit(self._items(states, conversation))

    def find(self, *message_ids: str) -> Future[list[Item]]:
        """The messages with these ids, as far as the store has them. Raises as ``items`` does."""
        return self._submit(self._store.find(*message_ids))

    def counts(self) -> Future[Mapping[ItemState, int]]:
        """The number of messages in each state. Raises as ``items`` does."""
        return self._submit(self._store.counts())

    def retry(self, message_id: str) -> Future[bool]:
        """Send a message that was given up again, as ``RequestQueue.retry`` does. Raises as ``items`` does."""
        return self._submit(self._coach.queue.retry(message_id))

    def cancel(self, message_id: str) -> Future[bool]:
        """Call off a message that waits in the queue, as ``RequestQueue.cancel`` does. Raises as ``items`` does."""
        return self._submit(self._coach.queue.cancel(message_id))

    def delete(self, message_id: str) -> Future[bool]:
        """Forget a message that has ended; false if it is not there or pending. Raises as ``items`` does."""
        return self._submit(self._store.delete(message_id))

    def run(self) -> Run:
        """What was seen so far, as a run: the same frames and figures as a simulated one.

        When old events are forgotten, the run begins with the oldest that is left.
        """
        now_s = self._now_s()
        version = self.version
        if self._last_run is not None:
            known, made_s, run = self._last_run
            if known == version and (self._stopped_s is not None or now_s - made_s < _REUSE_S):
                return run
        events, is_cut = self._history.all()
        origin_s = min(event.time_s for event in events) if is_cut else self._origin_s
        run = Run.from_events(
            events,
            policy=self.policy,
            start=datetime.fromtimestamp(self._wall_s(origin_s, now_s), UTC),
            duration_s=now_s - origin_s,
            origin_s=origin_s,
            label=self.label,
            backend_truth=False,
        )
        self._last_run = (version, now_s, run)
        return run

    def _emit(self, event: Event) -> None:
        # First the digest: whoever sees the new version finds the event in both.
        self.digest(event)
        self._history(event)

    def _now_s(self) -> float:
        if self._thread is None:
            return 0.0
        return self._thread.loop.time() if self._stopped_s is None else self._stopped_s

    def _wall_s(self, when_s: float, now_s: float) -> float:
        """The wall time of a loop time."""
        if self._stopped_s is None:
            # A computer that slept stopped the loop's clock and not the wall's: what is recent shall be right.
            begun = self.world.wall_clock() - (now_s - self._origin_s)
            if abs(begun - self._begun) > _DRIFT_S:
                self._begun = begun
        return self._begun + when_s - self._origin_s

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._thread is None or not self.is_running:
            work.close()
            raise RuntimeError("the session is not running")
        return self._thread.submit(work)

    async def _begin(self) -> None:
        begun = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch(begun))
        await begun.wait()

    async def _watch(self, begun: asyncio.Event) -> None:
        try:
            async with self._coach:
                begun.set()
                await asyncio.get_running_loop().create_future()
        except Exception:
            logger.exception("The live session of %s has ended by a fault of its own.", self.label or "a backend")
        finally:
            begun.set()
            # The coach has put away what it had in hand; now what it stands on can go.
            await self._backend.aclose()
            await self._store.aclose()

    async def _send(self, text: str, conversation: str, priority: int, message_id: str | None) -> Reply:
        if self._is_ending:
            raise RuntimeError("the session is not running")
        task = asyncio.current_task()
        assert task is not None
        self._sending[task] = None
        try:
            return await self._coach.send(text, priority=priority, conversation=conversation, message_id=message_id)
        finally:
            del self._sending[task]

    async def _items(self, states: tuple[ItemState, ...], conversation: str | None) -> list[Item]:
        found = await self._store.items(*states)
        return found if conversation is None else [item for item in found if item.conversation == conversation]

    async def _end(self) -> None:
        self._is_ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task, *self._sending])


class Seat:
    """One viewer's share in a session; ``leave()`` (or the end of a ``with`` block) gives it up, once."""

    def __init__(self, session: LiveSession, give_up: Callable[[], None]) -> None:
        self.session = session
        self._give_up: Callable[[], None] | None = give_up

    def leave(self) -> None:
        """Give up the seat. Leaving twice is harmless."""
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()

    def __enter__(self) -> LiveSession:
        return self.session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
