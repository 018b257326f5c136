"""Any program of sleeps, timeouts, tasks and events goes on SimPyEventLoop as it goes on asyncio's own loop.

The reference is CPython's ``BaseEventLoop`` with a selector that turns waiting into arithmetic. What asyncio leaves
open is decided as ours does: timers of one instant go in the order in which they were set, and sets of tasks are
ordered by number and not by address.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.simulation.handles import NumberedTask
from hustle_sim.simulation.loop import SimPyEventLoop


class OrderedTimer(asyncio.TimerHandle):
    __slots__ = ("number",)

    def __lt__(self, other: Any) -> bool:
        return bool((self._when, self.number) < (other._when, other.number))


class Reference(BaseEventLoop):
    """asyncio's loop, whose time is that of its next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._numbers = count()
        self._task_numbers = count(1)
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "deadlock"
        self._now += timeout
        return []

    def _process_events(self, _: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = OrderedTimer(when, callback, args, self, context)
        timer.number = next(self._numbers)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return NumberedTask(coro, next(self._task_numbers), loop=self, **options)


Step = tuple[Any, ...]
delays = st.sampled_from([0, 0.25, 0.25, 0.5, 0.75, 1.0])
names = st.integers(0, 2)
leaves = st.one_of(
    st.tuples(st.just("sleep"), delays),
    st.tuples(st.just("timer"), delays),
    st.tuples(st.just("soon")),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("set"), names),
    st.tuples(st.just("wait"), names, delays),
    st.tuples(st.just("put"), names),
    st.tuples(st.just("get"), names, delays),
    st.tuples(st.just("fail")),
)
programs = st.recursive(
    st.lists(leaves, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            leaves,
            st.tuples(st.just("timeout"), delays, inner),
            st.tuples(st.just("spawn"), inner),
            st.tuples(st.just("gather"), st.lists(inner, max_size=3)),
            st.tuples(st.just("group"), st.lists(inner, max_size=3)),
            st.tuples(st.just("shield"), inner),
            st.tuples(st.just("lock"), inner),
        ),
        max_size=5,
    ),
    max_leaves=25,
)


async def perform(program: list[Step], seen: list[tuple[float, str, Any]]) -> None:
    """Do what the program says, and note in ``seen`` when what happened."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    events = [asyncio.Event() for _ in range(3)]
    queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(3)]
    lock = asyncio.Lock()
    labels = count()

    def note(label: str, what: Any) -> None:
        seen.append((loop.time(), label, what))

    def spawn(steps: list[Step]) -> asyncio.Task[None]:
        task = loop.create_task(guarded(f"{next(labels)}", steps))
        tasks.append(task)
        return task

    async def guarded(label: str, steps: list[Step]) -> None:
        try:
            await walk(label, steps)
            note(label, "ended")
        except BaseException as error:
            note(label, type(error).__name__)
            raise

    async def walk(label: str, steps: list[Step]) -> None:
        for what, *details in steps:
            note(label, what)
            match what, details:
                case "sleep", [delay]:
                    await asyncio.sleep(delay)
                case "timer", [delay]:
                    loop.call_later(delay, note, label, "timer fired")
                case "soon", []:
                    loop.call_soon(note, label, "soon")
                case "cancel", [name] if name < len(tasks):
                    tasks[name].cancel()
                case "set", [name]:
                    events[name].set()
                case "put", [name]:
                    queues[name].put_nowait(0)
                case (("wait" | "get"), [name, delay]):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(delay):
                            await (events[name].wait() if what == "wait" else queues[name].get())
                            note(label, f"{what} done")
                case "timeout", [delay, inner]:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(delay):
                            await walk(label, inner)
                case "spawn", [inner]:
                    spawn(inner)
                case "gather", [inners]:
                    await asyncio.gather(*map(spawn, inners), return_exceptions=True)
                case "group", [inners]:
                    with suppress(BaseExceptionGroup):
                        async with asyncio.TaskGroup() as group:
                            for inner in inners:
                                tasks.append(group.create_task(guarded(f"{next(labels)}", inner)))
                case "shield", [inner]:
                    await asyncio.shield(spawn(inner))
                case "lock", [inner]:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1), lock:
                            await walk(label, inner)
                case "fail", []:
                    raise LookupError
            note(label, f"{what} over")

    with suppress(LookupError, asyncio.CancelledError):
        await walk("main", program)
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            with suppress(LookupError, asyncio.CancelledError, TimeoutError):
                await task
    await asyncio.sleep(2)


def trace(loop: Any, program: list[Step]) -> list[tuple[float, str, Any]]:
    seen: list[tuple[float, str, Any]] = []
    loop.set_exception_handler(lambda loop, context: None)
    work: Callable[[], Coroutine[Any, Any, None]] = lambda: perform(program, seen)  # noqa: E731
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
    return seen


@settings(max_examples=400, deadline=None)
@given(programs)
def test_any_program_happens_in_the_order_of_asyncios_own_loop(program: list[Step]) -> None:
    assert trace(SimPyEventLoop(), program) == trace(Reference(), program)


@settings(max_examples=50, deadline=None)
@given(programs)
def test_debug_mode_changes_nothing(program: list[Step]) -> None:
    loop = SimPyEventLoop()
    loop.set_debug(True)
    assert trace(loop, program) == trace(SimPyEventLoop(), program)


def test_the_programs_are_not_trivial() -> None:
    program: list[Step] = [
        ("spawn", [("timeout", 0.5, [("sleep", 0.25), ("sleep", 0.25)]), ("set", 0)]),
        ("group", [[("wait", 0, 1.0)], [("sleep", 0.5), ("fail",)]]),
    ]
    happened = trace(SimPyEventLoop(), program)
    assert happened == trace(Reference(), program)
    assert len(happened) > 12
    assert happened[-1][0] == 0.5
