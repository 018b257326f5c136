"""Between coroutines and SimPy processes: each can wait for the other, and failures cross as they are."""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import simpy

from hustle_sim.simulation.errors import VirtualTimeError

if TYPE_CHECKING:
    from hustle_sim.simulation.loop import SimPyEventLoop


class _EventFuture(asyncio.Future[Any]):
    """A future that is its own callback on a SimPy event, and leaves it when it is cancelled."""

    event: simpy.Event

    def __call__(self, event: simpy.Event) -> None:
        if self.done():
            return
        if event._ok:
            self.set_result(event._value)
        else:
            event.defused = True
            self.set_exception(event._value)

    def cancel(self, msg: Any | None = None) -> bool:
        callbacks = self.event.callbacks
        if callbacks is not None and self in callbacks:
            callbacks.remove(self)
        return super().cancel(msg)


def as_future(event: simpy.Event) -> asyncio.Future[Any]:
    """A future for a SimPy event, so that a coroutine can wait for it: ``value = await as_future(event)``.

    It gives the event's value, or raises the very exception that the event failed with. Cancelling it leaves the
    event alone. ``event`` may be a process, a timeout, a request for a resource, or a condition of several.

    Raises VirtualTimeError outside a running SimPyEventLoop, ValueError for an event of another environment.
    """
    loop = _running_loop("as_future")
    if event.env is not loop.env:
        raise ValueError("the event belongs to another environment than the running loop's")
    future = _EventFuture(loop=loop)
    future.event = event
    if event.callbacks is None:
        future(event)
    else:
        event.callbacks.append(future)
    return future


def as_event(awaitable: Awaitable[Any]) -> simpy.Event:
    """A SimPy event for a future, task or coroutine, so that a process can wait for it.

    The event succeeds when the future is done, however it ended, and its value is the future; a coroutine becomes
    a task. ``result()`` then gives the result or raises the very exception, where SimPy would rebuild it from its
    arguments, which not every exception survives::

        done = yield as_event(client.get("/health"))
        response = done.result()

    Raises VirtualTimeError outside a running SimPyEventLoop.
    """
    loop = _running_loop("as_event")
    event = loop.env.event()
    asyncio.ensure_future(awaitable, loop=loop).add_done_callback(event.succeed)
    return event


def _running_loop(name: str) -> SimPyEventLoop:
    loop = _get_running_loop()
    if not isinstance(getattr(loop, "env", None), simpy.Environment):
        raise VirtualTimeError(f"{name} works on a running SimPyEventLoop: call it inside run_virtual")
    return cast("SimPyEventLoop", loop)
