"""The handles and tasks of ``SimPyEventLoop``: callbacks that are ready, and timers that are events on SimPy's heap.

Whoever makes a handle fills its slots: that costs a third of a constructor's call, and the loop makes millions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

import simpy

if TYPE_CHECKING:
    from hustle_sim.simulation.loop import SimPyEventLoop

T = TypeVar("T")


class Handle(asyncio.Handle):
    """A callback that is ready."""

    __slots__ = ()
    __init__ = object.__init__
    _callback: Callable[..., object] | None
    _context: Context
    _loop: SimPyEventLoop
    _repr: str | None
    _source_traceback: Any


class Timer(asyncio.TimerHandle):
    """A timer that is its own event on SimPy's heap: one object instead of a handle, an event and a closure."""

    __slots__ = ()
    __init__ = object.__init__
    _callback: Callable[..., object] | None
    _context: Context
    _loop: SimPyEventLoop
    _repr: str | None
    _scheduled: bool
    _source_traceback: Any
    _when: float

    # What SimPy asks of an event, for an Environment that somebody else steps.
    _ok = True
    _defused = True
    _value = None
    triggered = True

    @property
    def env(self) -> simpy.Environment:
        """The environment of its loop."""
        return self._loop.env

    @property
    def callbacks(self) -> list[Callable[[Timer], None]] | None:
        """What SimPy calls when the time has come."""
        return [self._loop._due] if self._scheduled else None

    @callbacks.setter
    def callbacks(self, _: None) -> None:
        """SimPy takes the callbacks away before it calls them; these know by ``_scheduled``."""

    @property
    def processed(self) -> bool:
        """Whether it is off the heap."""
        return not self._scheduled

    def cancel(self) -> None:
        """Cancel the call; harmless if it was made."""
        if self._callback is not None:
            self._cancelled = True
            if self._source_traceback is not None:
                self._repr = repr(self)
            self._callback = None
            self._args = ()
            if self._scheduled:
                loop = self._loop
                loop._timers_cancelled = cancelled = loop._timers_cancelled + 1
                if cancelled > 100 and cancelled * 2 > len(loop._queue):
                    loop._compact()


class NumberedTask(asyncio.Task[T]):
    """A task that hashes by its number instead of its address.

    TaskGroup, ``asyncio.wait`` and ``asyncio.as_completed`` keep tasks in sets, whose order decides who is
    cancelled or called first: by address it would differ from process to process.
    """

    __slots__ = ("_number",)
    _source_traceback: Any

    def __init__(self, coro: Coroutine[Any, Any, T], number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)
        if self._source_traceback:
            del self._source_traceback[-2:]

    def __hash__(self) -> int:
        return self._number
