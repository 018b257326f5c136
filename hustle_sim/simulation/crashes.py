"""Clients that can die: a crash runs no ``finally``, and only what the store held survives it.

An ``Incarnation`` is one life of a client. Every task that it starts runs inside a ``Mortal``, which the task
factory of ``Graveyard`` puts around its coroutine: once the incarnation is dead, no line of it runs again. Timers of
its that are left in the loop find nothing that they could change: tasks that they start are dead from the first
step, and events that they emit are ignored. ``Port`` and ``FaultyStore`` stand between it and the backend and store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

from hustle_sim.events import Event
from hustle_sim.resilience.backend import Backend, Response
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.store import ENDED, PENDING, Item, ItemState, MemoryStore, StoreError
from hustle_sim.simulation.handles import NumberedTask, Timer
from hustle_sim.simulation.loop import SimPyEventLoop

_LIFE: ContextVar[Incarnation | None] = ContextVar("life", default=None)


class Incarnation:
    """One life of a client, from the start of the app to its crash or clean end.

    ``arm(steps)`` makes it crash at its ``steps``-th resumption from now on: between two awaits, wherever that is.
    """

    def __init__(self, loop: SimPyEventLoop, client: int, number: int) -> None:
        self.client = client
        self.number = number
        self.alive = True
        self.steps = 0
        self.death: asyncio.Future[None] = loop.create_future()
        self.context = copy_context()
        self.context.run(_LIFE.set, self)
        self.tasks: list[asyncio.Task[Any]] = []
        self.mortals: list[Mortal] = []
        self.requests: dict[asyncio.Task[Response], None] = {}
        self._loop = loop
        self._crash_at: int | None = None

    def arm(self, steps: int) -> None:
        """Crash at the ``steps``-th resumption from now."""
        self._crash_at = self.steps + max(1, steps)

    def step(self) -> bool:
        """One resumption of one of its tasks is due; False if it will not happen, since the client is dead."""
        if self.alive:
            self.steps += 1
            if self._crash_at is not None and self.steps >= self._crash_at:
                self.die()
        return self.alive

    def die(self) -> None:
        """Crash now. Its connections break; nothing else of it is told."""
        if not self.alive:
            return
        self.alive = False
        self.death.set_result(None)
        for request in self.requests:
            request.cancel()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a part of this life."""
        return self._loop.create_task(work, context=self.context)

    def emitter(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """``emit``, as long as it lives."""

        def say(event: Event) -> None:
            if self.alive:
                emit(event)

        return say

    def left_over(self) -> list[str]:
        """What is still there after a clean end: tasks that are not done, and timers that would still fire."""
        tasks = [f"task {task.get_name()}: {task.get_coro()!r}" for task in self.tasks if not task.done()]
        timers = [
            f"timer at {timer.when():.3f}: {timer._callback!r}"
            for _, _, _, timer in self._loop._queue
            if isinstance(timer, Timer) and timer._callback is not None and timer._context.get(_LIFE) is self
        ]
        return tasks + timers


class Mortal(Coroutine[Any, Any, Any]):
    """A coroutine that stops for ever when its incarnation dies: it is neither resumed nor told."""

    def __init__(self, inner: Coroutine[Any, Any, Any], life: Incarnation, loop: SimPyEventLoop) -> None:
        self.__name__ = getattr(inner, "__name__", "mortal")
        self.__qualname__ = getattr(inner, "__qualname__", "mortal")
        self._inner = inner
        self._life = life
        self._loop = loop
        self._buried = False

    def send(self, value: Any) -> Any:
        """Resume it, unless it is dead."""
        if self._buried:
            raise asyncio.CancelledError
        return self._inner.send(value) if self._life.step() else self._never()

    def throw(self, *error: Any) -> Any:
        """Resume it with an exception, unless it is dead."""
        if self._buried:
            raise asyncio.CancelledError
        return self._inner.throw(*error) if self._life.step() else self._never()

    def close(self) -> None:
        """End it, unless it is dead."""
        if self._life.alive:
            self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("a mortal is run by its task")
        yield

    def bury(self) -> None:
        """The case is over: let go of the frame of a dead one."""
        self._buried = True
        # Its ``finally`` may want to await, which a closing coroutine must not.
        with contextlib.suppress(BaseException):
            self._inner.close()

    def _never(self) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        future._asyncio_future_blocking = True
        return future


class Graveyard:
    """The task factory of a loop with mortal clients; keeps the dead until ``bury``, so that nothing finalizes them."""

    def __init__(self, loop: SimPyEventLoop) -> None:
        self._loop = loop
        self._number = 0
        self._lives: list[Incarnation] = []
        loop.set_task_factory(self._task)

    def life(self, client: int, number: int) -> Incarnation:
        """A new incarnation."""
        life = Incarnation(self._loop, client, number)
        self._lives.append(life)
        return life

    async def bury(self) -> None:
        """End what the dead left behind, after all has been judged."""
        tasks: list[asyncio.Task[Any]] = []
        for life in self._lives:
            life.die()
            for mortal in life.mortals:
                mortal.bury()
            tasks += [task for task in life.tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _task(
        self, loop: asyncio.AbstractEventLoop, work: Any, *, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        self._number += 1
        life = _LIFE.get() if context is None else context.get(_LIFE)
        if life is None:
            return NumberedTask(work, self._number, loop=loop, context=context, **options)
        mortal = Mortal(work, life, self._loop)
        task: asyncio.Task[Any] = NumberedTask(mortal, self._number, loop=loop, context=context, **options)
        life.mortals.append(mortal)
        life.tasks.append(task)
        return task


@dataclass(slots=True)
class Request:
    """One request as its client saw it. ``outcome`` None: in flight, or its client is dead."""

    key: str
    text: str
    life: Incarnation
    began_s: float
    ended_s: float | None = None
    outcome: Outcome | None = None

    @property
    def fate_unknown(self) -> bool:
        """Whether the client can't know if it was processed."""
        if self.outcome is None:
            return not self.life.alive
        return CONSEQUENCES[self.outcome].fate_unknown

    @property
    def in_flight(self) -> bool:
        """Whether a living client waits for it."""
        return self.outcome is None and self.life.alive


class Port:
    """The backend port of one life: the server's side of a request is not a part of it, and outlives it."""

    def __init__(
        self, backend: Backend, life: Incarnation, loop: SimPyEventLoop, tell: Callable[[Request], None]
    ) -> None:
        self._backend = backend
        self._life = life
        self._loop = loop
        self._tell = tell
        self.probes: list[float] = []
        self.probing = 0
        self.most_probing = 0
        self.chats = 0

    async def health(self) -> Response:
        """See ``Backend.health``."""
        self.probes.append(self._loop.time())
        self.probing += 1
        self.most_probing = max(self.most_probing, self.probing)
        try:
            return await self._served(self._backend.health())
        finally:
            self.probing -= 1

    async def chat(self, text: str, *, key: str) -> Response:
        """See ``Backend.chat``."""
        request = Request(key, text, self._life, self._loop.time())
        self.chats += 1
        self._tell(request)
        outcome = Outcome.CANCELLED
        try:
            response = await self._served(self._backend.chat(text, key=key))
            outcome = response.outcome
        finally:
            request.outcome = outcome
            request.ended_s = self._loop.time()
        return response

    async def aclose(self) -> None:
        """Nothing to let go of."""

    async def _served(self, work: Coroutine[Any, Any, Response]) -> Response:
        server = self._loop.create_task(work, context=Context())
        requests = self._life.requests
        requests[server] = None
        server.add_done_callback(lambda done: requests.pop(done, None), context=Context())
        return await server


class Vault:
    """What survives: a store, and an account of what was put into it that no client can falsify."""

    def __init__(self, loop: SimPyEventLoop) -> None:
        self.store = MemoryStore()
        self.added: dict[str, Item] = {}
        self.added_at_s: dict[str, float] = {}
        self.ends: dict[str, Item] = {}
        self.pruned: dict[str, Item] = {}
        self._loop = loop
        self._depth = 0
        self._depths: deque[tuple[float, int, int]] = deque(maxlen=50)

    @property
    def items(self) -> dict[str, Item]:
        """All that was ever put into it, as it is, or was when it was forgotten."""
        return {**self.pruned, **self.store._items}

    def moved(self) -> None:
        """A call has been made: keep how the depth went."""
        depth = len(self.store._open)
        if depth != self._depth:
            self._depths.append((self._loop.time(), min(depth, self._depth), max(depth, self._depth)))
            self._depth = depth

    def had_depth(self, depth: int, since_s: float) -> bool:
        """Whether so many were pending at some moment since then."""
        spans = [(low, high) for when_s, low, high in self._depths if when_s >= since_s]
        return depth == self._depth or any(low <= depth <= high for low, high in spans)

    def earlier(self, conversation: str, sequence: int, before_s: float) -> list[str]:
        """What is pending of a conversation, was added before ``before_s`` and stands before ``sequence``."""
        return [
            item.id
            for item in self.store._open.values()
            if item.conversation == conversation != ""
            and item.sequence < sequence
            and self.added_at_s[item.id] < before_s
        ]

    def fault(self) -> str | None:
        """What is wrong with the store's content, if anything: conservation, and ends that are final."""
        items = self.store._items
        if len(items) + len(self.pruned) != len(self.added):
            missing = [item_id for item_id in self.added if item_id not in self.items]
            return f"the store holds {len(items)} items, but {len(self.added)} were added; missing: {missing[:3]}"
        counted = sum(self.store._counts[state] for state in ItemState)
        pending = sum(self.store._counts[state] for state in PENDING)
        if counted != len(items) or pending != len(self.store._open):
            return f"the store counts {counted} items, {pending} pending, but holds {len(items)}"
        return None

    def note(self, item_id: str) -> str | None:
        """Look at one item after a call that was about it; returns what is wrong."""
        item = self.store._items.get(item_id)
        if item is None:
            return None
        before = self.ends.get(item_id)
        if before is not None and before != item:
            return f"{item_id} had ended as {before.state}, and is now {item.state}"
        if item.state in ENDED:
            self.ends[item_id] = item
        return self.fault()


class FaultyStore:
    """The store as one life sees it: each call takes time, may fail, and is a place to crash before or after it.

    ``fails(call, about)`` gives the reason if this call is to fail, ``takes_s(call)`` how long it takes.
    """

    def __init__(
        self,
        vault: Vault,
        *,
        fails: Callable[[str, str], str | None],
        takes_s: Callable[[str], float],
        report: Callable[[str], None],
        interleave: bool,
        is_shared: bool = False,
    ) -> None:
        self._vault = vault
        self._fails = fails
        self._takes_s = takes_s
        self._report = report
        self._interleave = interleave
        self.is_shared = is_shared

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        inner = getattr(self._vault.store, name)

        async def call(*args: Any, **named: Any) -> Any:
            if self._interleave:
                await asyncio.sleep(self._takes_s(name))
            reason = self._fails(name, str(args[0]) if args else "")
            if reason is not None:
                raise StoreError(reason)
            before = dict(self._vault.store._items)
            result = await inner(*args, **named)
            self._vault.moved()
            self._audit(name, args, result, before)
            if self._interleave:
                await asyncio.sleep(0)
            return result

        setattr(self, name, call)
        return call

    def _audit(self, name: str, args: tuple[Any, ...], result: Any, before: dict[str, Item]) -> None:
        vault = self._vault
        wrong: str | None = None
        if name == "add":
            if result.answer.value in ("accepted", "displaced"):
                vault.added[args[0].id] = args[0]
                vault.added_at_s[args[0].id] = vault._loop.time()
            if result.victim is not None and result.victim.priority <= args[0].priority:
                wrong = f"{result.victim.id} had to go for {args[0].id}, which is no more urgent"
            wrong = wrong or vault.note(args[0].id) or (result.victim and vault.note(result.victim.id))
        elif name in ("settle", "release", "drop", "requeue", "cancel", "delete"):
            if name == "requeue" and result:
                vault.ends.pop(args[0], None)
            item = before.get(args[0])
            if name in ("settle", "release", "drop") and result and (item is None or item.owner != args[1]):
                wrong = f"{args[0]} is not held by {args[1]}, who may not {name} it"
            wrong = wrong or vault.note(args[0])
        elif name == "claim" and result is not None:
            held = vault.store._items[result.id]
            if held.state is not ItemState.LEASED or held.owner != result.owner:
                wrong = f"{result.id} was claimed by {result.owner}, but the store has it {held.state} by {held.owner}"
            wrong = wrong or vault.note(result.id)
        elif name == "prune":
            for item_id in [item_id for item_id in before if item_id not in vault.store._items]:
                item = vault.pruned[item_id] = before[item_id]
                if item.state in (*PENDING, ItemState.DEAD) or item.expires_at > args[0]:
                    wrong = f"{item_id} was forgotten as {item.state}, {args[0] - item.expires_at:.1f} s after its end"
            wrong = wrong or vault.fault()
        elif name == "expire":
            for item in result:
                if item.expires_at > args[0]:
                    wrong = f"{item.id} expired {item.expires_at - args[0]:.1f} s early"
                held = before[item.id]
                if held.state is ItemState.LEASED and held.leased_until > args[0]:
                    wrong = f"{item.id} expired while it was being sent"
                wrong = wrong or vault.note(item.id)
        if wrong:
            self._report(f"after {name}: {wrong}")
