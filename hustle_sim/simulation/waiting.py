"""What the tasks of a loop wait for, in words: for the errors of the loop when nothing goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

import simpy

_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep
_MOST = 20
"""So many tasks are named; of the others only the number."""


def listing(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """A line for each task, indented: its name, and where it waits for what."""
    lines = [f"\n  {describe(task)}" for task in tasks]
    if len(lines) > _MOST:
        lines[_MOST:] = [f"\n  and {len(lines) - _MOST} more"]
    return "".join(lines)


def describe(task: asyncio.Task[Any]) -> str:
    """``task-1 at /app/coach.py:12 in Coach.ask, in Queue.get``: the place is the innermost that is not asyncio's."""
    frames = _frames(task.get_coro())
    if not frames:
        return task.get_name()
    places = [frame for frame in frames if not frame[0].f_code.co_filename.startswith(_ASYNCIO)]
    frame, name = (places or frames)[-1]
    words = [f"{task.get_name()} at {frame.f_code.co_filename}:{frame.f_lineno} in {name}"]
    if frames[-1][0] is not frame:
        words.append(f"in {frames[-1][1]}")
    awaited = getattr(task, "_fut_waiter", None)
    if isinstance(awaited, asyncio.Task):
        words.append(f"for {awaited.get_name()}")
    elif (event := getattr(awaited, "event", None)) is not None:
        words.append(f"for {_event_name(event)}")
    return ", ".join(words)


def busy_tasks(handles: Iterable[Any]) -> list[asyncio.Task[Any]]:
    """The tasks that are about to take a step, as the callbacks of ready handles tell."""
    owners = (getattr(handle._callback, "__self__", None) for handle in handles)
    return list(dict.fromkeys(owner for owner in owners if isinstance(owner, asyncio.Task)))


def busy_processes(events: Iterable[Any]) -> list[str]:
    """The names of the SimPy processes that are, or wait for, these events."""
    found: dict[str, None] = {}
    for event in events:
        waiting = [getattr(callback, "__self__", None) for callback in event.callbacks or ()]
        for process in (event, *waiting):
            if isinstance(process, simpy.Process):
                found[_event_name(process)] = None
    return list(found)


def _event_name(event: simpy.Event) -> str:
    return f"the SimPy process {event.name}" if isinstance(event, simpy.Process) else f"SimPy's {event._desc()}"


def _frames(awaited: Any) -> list[tuple[Any, str]]:
    """The suspended frames of a coroutine with their names, outermost first."""
    frames: list[tuple[Any, str]] = []
    while awaited is not None:
        for frame_name, next_name in (
            ("cr_frame", "cr_await"),
            ("gi_frame", "gi_yieldfrom"),
            ("ag_frame", "ag_await"),
        ):
            frame = getattr(awaited, frame_name, None)
            if frame is not None:
                frames.append((frame, awaited.__qualname__))
                awaited = getattr(awaited, next_name)
                break
        else:
            break
    return frames
