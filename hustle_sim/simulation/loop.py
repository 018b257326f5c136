"""An asyncio event loop whose clock and timers are a ``simpy.Environment``.

Code for asyncio runs on it unchanged, and SimPy processes live on the same clock. At each instant the loop first
processes every SimPy event that is due, zero-delay cascades too, then calls one generation of ready callbacks, and
so on until nothing is left to do at that instant; only then does time go on. Timers of one instant fire in the
order in which they were set. Nothing waits for the real clock, so what needs a thread, a socket, a subprocess or a
signal is refused with ``UnsupportedError``.

``run_virtual`` is ``asyncio.run`` on this loop. ``as_future`` lets a coroutine await a SimPy event, ``as_event``
lets a SimPy process wait for a future or a coroutine.
"""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
from asyncio.base_events import BaseEventLoop
from asyncio.events import _get_running_loop, _set_running_loop
from asyncio.futures import _set_result_unless_cancelled  # type: ignore[attr-defined]
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NoReturn, TypeVar, TypeVarTuple
from weakref import ref

import simpy

from hustle_sim.simulation import garbage
from hustle_sim.simulation.bridge import as_event, as_future
from hustle_sim.simulation.errors import (
    DeadlockError,
    NoProgressError,
    RunInterrupted,
    StalledClockError,
    UnsupportedError,
    VirtualTimeError,
    refuse_the_real_world,
)
from hustle_sim.simulation.handles import Handle, NumberedTask, Timer
from hustle_sim.simulation.waiting import busy_processes, busy_tasks, listing

__all__ = [
    "DeadlockError",
    "NoProgressError",
    "RunInterrupted",
    "SimPyEventLoop",
    "StalledClockError",
    "UnsupportedError",
    "VirtualTimeError",
    "as_event",
    "as_future",
    "run_virtual",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CHECK_EVERY = 10_000
"""Steps (callbacks and SimPy events) between two looks at interrupts, progress and a standing clock."""

_COLLECT_EVERY = 10
"""Checks between two collections of young garbage; every tenth collection takes the middle generation too."""


@refuse_the_real_world
class SimPyEventLoop(BaseEventLoop):
    """An asyncio event loop on the clock of a SimPy environment.

    ``env`` (default: a new one that starts at 0.0 s) is the attribute ``env``; ``time()`` is its ``now``, as float
    seconds. Its processes and the loop's tasks may be started in any order; do not call ``env.run()`` while the
    loop runs.

    ``instant_limit`` (default 1,000,000): so many steps, rounded up to the next check, may happen at one instant
    before ``StalledClockError``. ``progress``: called about every 10,000 steps; if its value stays the same for
    ``progress_limit_s`` virtual seconds, ``NoProgressError`` is raised. It finds the deadlock of a run in which a
    monitor or heartbeat always has a timer, which ``DeadlockError`` cannot.

    ``unhandled`` lists the contexts that asyncio would only log: failures in callbacks, and of tasks that nobody
    awaited; ``run_virtual`` fails a run for them. A handler set with ``set_exception_handler`` gets them instead.
    """

    __slots__ = (
        "_append",
        "_careful",
        "_check_every",
        "_checks",
        "_instant_limit",
        "_instant_s",
        "_instant_steps",
        "_interrupts",
        "_interrupts_heeded",
        "_main",
        "_next_id",
        "_numbers",
        "_progress",
        "_progress_limit_s",
        "_progress_seen",
        "_progress_since_s",
        "_prune_at",
        "_queue",
        "_tasks",
        "_timers_cancelled",
        "env",
        "unhandled",
    )
    _debug: bool
    _ready: deque[Any]
    _task_factory: Any
    _stopping: bool
    _thread_id: int | None

    def __init__(
        self,
        env: simpy.Environment | None = None,
        *,
        instant_limit: int = 1_000_000,
        progress: Callable[[], object] | None = None,
        progress_limit_s: float = math.inf,
    ) -> None:
        super().__init__()
        self._append = self._ready.append
        self.env = simpy.Environment(0.0) if env is None else env
        self.env._now = float(self.env._now)
        self.unhandled: list[dict[str, Any]] = []
        self._queue: list[tuple[float, int, int, Any]] = self.env._queue
        self._next_id = self.env._eid.__next__
        self._numbers = count(1)
        self._tasks: list[ref[asyncio.Task[Any]]] = []
        self._prune_at = 1000
        self._timers_cancelled = 0
        self._interrupts = 0
        self._interrupts_heeded = 0
        self._main: asyncio.Task[Any] | None = None
        self._check_every = min(_CHECK_EVERY, instant_limit)
        self._checks = 0
        self._instant_s = -math.inf
        self._instant_steps = 0
        self._instant_limit = instant_limit
        self._progress = progress
        self._progress_limit_s = progress_limit_s
        self._progress_seen: object = None
        self._progress_since_s = math.inf

    # The clock and the timers

    def time(self) -> float:
        """The time of the environment, in seconds."""
        return self.env._now  # type: ignore[no-any-return]

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call ``callback(*args)`` after ``delay`` seconds; zero or less means in the next generation.

        A delay above zero moves the clock, by its smallest step if the delay is less than that.
        """
        now = self.env._now
        when = now + delay
        if self._careful or not when > now:
            if when == now and delay > 0:
                when = math.nextafter(now, math.inf)
            return self._call_at_checked("call_later", when, callback, args, context)
        timer: Timer = Timer()
        timer._when = when
        timer._callback = callback
        timer._args = args
        timer._context = copy_context() if context is None else context
        timer._loop = self
        timer._cancelled = False
        timer._scheduled = True
        timer._repr = timer._source_traceback = None
        heappush(self._queue, (when, 1, self._next_id(), timer))
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call ``callback(*args)`` at the time ``when``, in seconds of ``time()``; the past means at once."""
        if self._careful or not when > self.env._now:
            return self._call_at_checked("call_at", when, callback, args, context)
        timer: Timer = Timer()
        timer._when = when
        timer._callback = callback
        timer._args = args
        timer._context = copy_context() if context is None else context
        timer._loop = self
        timer._cancelled = False
        timer._scheduled = True
        timer._repr = timer._source_traceback = None
        heappush(self._queue, (when, 1, self._next_id(), timer))
        return timer

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call ``callback(*args)`` in the next generation of this instant, first come first served."""
        if self._careful:
            made = super().call_soon(callback, *args, context=context)
            if made._source_traceback:  # type: ignore[attr-defined]
                del made._source_traceback[-1]  # type: ignore[attr-defined]
            return made
        handle: Handle = Handle()
        handle._callback = callback
        handle._args = args
        handle._context = copy_context() if context is None else context
        handle._loop = self
        handle._cancelled = False
        handle._repr = handle._source_traceback = None
        self._append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """``call_soon``, for code that need not know that it is in the loop's own thread.

        Raises UnsupportedError in another thread while the loop runs: when the call came would be chance.
        """
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            raise UnsupportedError(
                "another thread called into a loop of virtual time, which waits for no thread: do the work in a "
                "coroutine or before the run, and use SimPyEventLoop.interrupt to end a run"
            )
        return self.call_soon(callback, *args, context=context)

    def _call_at_checked(
        self,
        name: str,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> asyncio.TimerHandle:
        """A timer in debug mode, on a closed loop, or for a time that is no time to come."""
        if math.isnan(when):
            raise ValueError(f"{name}: the time is not a number")
        self._check_closed()  # type: ignore[attr-defined]
        if self._debug:
            self._check_thread()  # type: ignore[attr-defined]
            self._check_callback(callback, name)  # type: ignore[attr-defined]
        timer: Timer = Timer()
        asyncio.TimerHandle.__init__(timer, when, callback, args, self, context)
        if timer._source_traceback:
            del timer._source_traceback[-2:]
        timer._scheduled = True
        heappush(self._queue, (when, 1, self._next_id(), timer))
        return timer

    def _due(self, timer: Timer) -> None:
        timer._scheduled = False
        if timer._callback is None:
            self._timers_cancelled -= 1
        else:
            self._ready.append(timer)

    def _compact(self) -> None:
        """Rid the heap of cancelled timers, which have become the larger part of it."""
        queue = self._queue
        queue[:] = [entry for entry in queue if type(entry[3]) is not Timer or entry[3]._callback is not None]
        heapify(queue)
        self._timers_cancelled = 0

    # Tasks

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """A task of this loop, numbered in the order of creation; without a ``name`` it is ``task-1``, ``task-2``..."""
        number = next(self._numbers)
        if name is None:
            name = f"task-{number}"
        task: asyncio.Task[T]
        if self._task_factory is None:
            self._check_closed()  # type: ignore[attr-defined]
            task = NumberedTask(coro, number, loop=self, name=name, context=context, **options)
        else:
            task = super().create_task(coro, name=name, context=context, **options)
        tasks = self._tasks
        tasks.append(ref(task))
        if len(tasks) > self._prune_at:
            tasks[:] = map(ref, filter(_is_of_interest, self._created()))
            self._prune_at = 2 * len(tasks) + 1000
        return task

    def _created(self) -> Iterator[asyncio.Task[Any]]:
        """The tasks made here that are still in memory, in the order of creation."""
        for reference in self._tasks:
            task = reference()
            if task is not None:
                yield task

    def _pending(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done: in the order of creation, then those that ``create_task`` did not see."""
        pending = {task: None for task in self._created() if not task.done()}
        others = [task for task in asyncio.all_tasks(self) if task not in pending]
        return [*pending, *sorted(others, key=lambda task: task.get_name())]

    # Running

    def run_forever(self) -> None:
        """Run until ``stop()``; in a thread in which another loop runs, that one stands meanwhile.

        Raises DeadlockError, NoProgressError, StalledClockError, RunInterrupted, and what a SimPy process or
        event failed with if nobody waited for it. Automatic garbage collection is off meanwhile, so that
        finalizers run at the same steps in every run.
        """
        self._check_closed()  # type: ignore[attr-defined]
        self._check_running()
        outer = _get_running_loop()
        outer_task = None if outer is None else asyncio.current_task(outer)
        hooks = sys.get_asyncgen_hooks()
        if outer is not None and outer_task is not None:
            _leave_task(outer, outer_task)
        garbage.pause()
        try:
            self._set_coroutine_origin_tracking(self._debug)  # type: ignore[attr-defined]
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]
            _set_running_loop(self)
            self._run()
        finally:
            self._stopping = False
            self._thread_id = None
            self._set_coroutine_origin_tracking(False)  # type: ignore[attr-defined]
            sys.set_asyncgen_hooks(*hooks)
            _set_running_loop(outer)
            garbage.resume()
            if outer is not None and outer_task is not None:
                _enter_task(outer, outer_task)

    def _check_running(self) -> None:
        if self._thread_id is not None:
            raise RuntimeError("This event loop is already running")

    def _run(self) -> None:
        env, queue, ready = self.env, self._queue, self._ready
        append, popleft, pop = ready.append, ready.popleft, heappop
        check_every = self._check_every
        timer_type, sleep_over, infinity = Timer, _set_result_unless_cancelled, math.inf
        steps = 0
        while True:
            now = env._now
            while queue:
                if ready and queue[0][0] > now:
                    break
                entry: Any = pop(queue)
                when, _, _, event = entry
                is_timer = type(event) is timer_type
                if is_timer and event._callback is None:
                    event._scheduled = False
                    self._timers_cancelled -= 1
                    continue
                if when > now:
                    if self._stopping or when == infinity:
                        heappush(queue, entry)
                        break
                    env._now = now = when if type(when) is float else float(when)
                if is_timer:
                    event._scheduled = False
                    if event._callback is sleep_over and not ready and (not queue or queue[0][0] > now):
                        # The one thing that happens at this instant is the end of a sleep: a generation less.
                        future, result = event._args
                        if not future.done():
                            future.set_result(result)
                    else:
                        append(event)
                    continue
                callbacks, event.callbacks = event.callbacks, None
                for callback in callbacks:
                    callback(event)
                if not event._ok and not event.defused:
                    self._surface(event)
                steps += 1
                if steps >= check_every:
                    self._check(steps)
                    steps = 0

            if not ready:
                if self._stopping:
                    return
                self._deadlock()
            generation = left = len(ready)
            while left:
                left -= 1
                handle = popleft()
                callback = handle._callback
                if callback is None:
                    continue
                args = handle._args
                try:
                    if callback is sleep_over:
                        # The timer of asyncio.sleep, without the detour through its context and a frame.
                        future, result = args
                        if not future.cancelled():
                            future.set_result(result)
                    elif len(args) == 1:
                        handle._context.run(callback, args[0])
                    else:
                        handle._context.run(callback, *args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self._report(handle, error)
            # What they refer to shall not live longer than asyncio would have it.
            entry = event = handle = callbacks = callback = args = future = result = None
            if self._stopping:
                return
            steps += generation
            if steps >= check_every:
                self._check(steps)
                steps = 0

    def _check(self, steps: int) -> None:
        """Look after what need not be looked after at each step; ``steps`` were made since the last look."""
        self._checks += 1
        if self._checks % _COLLECT_EVERY == 0:
            gc.collect(self._checks % _COLLECT_EVERY**2 == 0)
        now: float = self.env._now
        if self._interrupts > self._interrupts_heeded:
            self._interrupts_heeded += 1
            main = self._main
            if main is None or main.done() or self._interrupts_heeded > 1:
                raise RunInterrupted(f"the run was interrupted at t={now!r} s")
            main.cancel()
        if now > self._instant_s:
            self._instant_s = now
            self._instant_steps = 0
        else:
            self._instant_steps += steps
            if self._instant_steps >= self._instant_limit:
                self._stalled()
        if self._progress is not None:
            seen = self._progress()
            if seen != self._progress_seen or self._progress_since_s == math.inf:
                self._progress_seen, self._progress_since_s = seen, now
            elif now - self._progress_since_s >= self._progress_limit_s:
                raise NoProgressError(
                    f"no progress since t={self._progress_since_s!r} s, and now it is t={now!r} s; these tasks wait:"
                    f"{listing(self._pending())}"
                )

    def _deadlock(self) -> NoReturn:
        waiting = self._pending()
        raise DeadlockError(
            f"virtual time ends at t={self.env._now!r} s: nothing is ready or scheduled, and {len(waiting)} "
            f"task{'s wait' if len(waiting) != 1 else ' waits'} for what can never come{':' if waiting else ''}"
            f"{listing(waiting)}"
        )

    def _stalled(self) -> NoReturn:
        now = self.env._now
        processes = busy_processes(entry[3] for entry in self._queue if entry[0] <= now)
        names = "".join(f"\n  the SimPy process {name}" for name in processes)
        raise StalledClockError(
            f"virtual time stands still at t={now!r} s: {self._instant_steps:,} steps at one instant; busy are:"
            f"{listing(busy_tasks(self._ready) or self._pending())}{names}"
        )

    def interrupt(self) -> None:
        """End the run from any thread: within some 10,000 steps its main task is cancelled, and it may clean up.

        ``run_virtual`` raises RunInterrupted when that is done. A second call does not wait for the main task.
        """
        self._interrupts += 1

    # Failures

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the context in ``unhandled``; outside ``run_virtual``, log it too as asyncio does."""
        self.unhandled.append(context)
        if self._main is None:
            super().default_exception_handler(context)

    def _report(self, handle: Any, error: BaseException) -> None:
        """A callback raised: say so as asyncio's handle does."""
        where = getattr(handle._callback, "__qualname__", repr(handle._callback))
        context = {"message": f"Exception in callback {where}", "exception": error, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _surface(self, event: simpy.Event) -> NoReturn:
        """A SimPy event failed, and nobody waited for it: end the run with the very exception."""
        error: BaseException = event._value
        what = f"the SimPy process {event.name}" if isinstance(event, simpy.Process) else repr(event)
        error.add_note(f"{what} failed at t={self.env._now!r} s, and nobody waited for it")
        raise error

    def set_debug(self, enabled: bool) -> None:
        """asyncio's debug mode: who made what, and calls from a wrong thread."""
        super().set_debug(enabled)
        self._careful = bool(enabled) or self.is_closed()

    def close(self) -> None:
        """Close the loop and take its timers off the environment, which stays usable."""
        super().close()
        self._careful = True
        queue = self._queue
        queue[:] = [entry for entry in queue if type(entry[3]) is not Timer or entry[3]._loop is not self]
        heapify(queue)


def run_virtual(
    main: Coroutine[Any, Any, T], env: simpy.Environment | None = None, *, loop: SimPyEventLoop | None = None
) -> T:
    """``asyncio.run`` on SimPy's clock: run ``main`` to its end and return its result.

    ``env`` (default: a new one that starts at 0.0 s) is the environment, which may have processes already;
    ``loop`` instead gives a loop with settings of your own, or one to interrupt. Either way the loop is closed at
    the end, after the tasks that are left were cancelled and asynchronous generators shut down; the environment
    stays where it is. Works in a thread in which another loop is running.

    Raises what ``main`` raises, and the errors of ``SimPyEventLoop.run_forever``. If ``main`` ended well but
    something failed that nobody handled, such as a task that nobody awaited, that is raised as an ExceptionGroup;
    if ``main`` failed too, it is in the notes of its exception.
    """
    if not asyncio.iscoroutine(main):
        raise TypeError(f"run_virtual needs a coroutine, not {main!r}")
    if loop is None:
        loop = SimPyEventLoop(env)
    elif env is not None and env is not loop.env:
        main.close()
        raise ValueError("give run_virtual an environment or a loop, not both")
    try:
        main_task = loop._main = loop.create_task(main)
        try:
            try:
                result: T = loop.run_until_complete(main_task)
            finally:
                _wind_up(loop)
        except asyncio.CancelledError as error:
            if not loop._interrupts_heeded:
                raise
            raise RunInterrupted(f"the run was interrupted at t={loop.time()!r} s") from error
        except BaseException as error:
            for failure in _failures(loop):
                error.add_note(f"besides, nobody handled: {failure!r}")
            raise
        if failures := _failures(loop):
            raise BaseExceptionGroup("the run ended, but nobody handled these failures", failures)
        return result
    finally:
        loop._main = None
        loop.close()


def _wind_up(loop: SimPyEventLoop) -> None:
    """Cancel what is left, in the order of creation, and see to it that no task's failure goes unseen."""
    main_task, left = loop._main, loop._pending()
    if main_task is not None and main_task.done() and not main_task.cancelled():
        main_task.exception()
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    cancelled = set(left)
    for task in loop._created():
        if task in cancelled and not task.cancelled() and task.exception() is not None:
            message = "Task failed when it was cancelled at the end of the run"
        elif task.done() and getattr(task, "_log_traceback", False):
            message = "Task exception was never retrieved"
        else:
            continue
        loop.call_exception_handler({"message": message, "exception": task.exception(), "task": task})


def _failures(loop: SimPyEventLoop) -> list[BaseException]:
    """An exception for each context in ``unhandled``, with a note of what it is about."""
    failures: dict[int, BaseException] = {}
    for context in loop.unhandled:
        message = context.get("message", "Unhandled exception in event loop")
        about = context.get("task") or context.get("future") or context.get("handle")
        error = context.get("exception")
        if error is None:
            error = VirtualTimeError(f"{message} {about!r}")
        elif id(error) not in failures:
            error.add_note(f"{message}: {about!r}")
        failures[id(error)] = error
    return list(failures.values())


def _is_of_interest(task: asyncio.Task[Any]) -> bool:
    return not task.done() or getattr(task, "_log_traceback", False)
