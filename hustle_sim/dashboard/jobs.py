"""Simulations in worker processes, so that the server's thread stays free for every visitor.

One pool for the whole server. Progress and cancellation go through two small arrays in shared memory: a job
has a slot, its worker writes the share done there and looks there whether it is still wanted.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.simulation.scenario import Scenario

SLOTS = 64
"""Simulations that may wait or run at once in one server."""

_KEPT = 8
"""Results kept for visitors who ask for the same again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a visitor asks for: a run is a pure function of it."""

    scenario: Scenario
    policy: Policy
    seed: int
    label: str = ""

    @property
    def key(self) -> str:
        """Equal for requests with equal results."""
        return f"{self.scenario.model_dump_json()}|{self.policy.model_dump_json()}|{self.seed}"


class Job:
    """One simulation, waiting or running in a worker process, or known already."""

    def __init__(self, future: Future[Run], share: Callable[[], float], unwant: Callable[[], None]) -> None:
        self._future = future
        self._share = share
        self._unwant = unwant

    @property
    def share(self) -> float:
        """How much of its virtual time is done, 0..1."""
        return 1.0 if self._future.done() else self._share()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def finished(self) -> Run | None:
        """The run if it is there already, else None."""
        if not self._future.done() or self._future.cancelled() or self._future.exception() is not None:
            return None
        return self._future.result()

    def cancel(self) -> None:
        """Not wanted any more: a waiting job never starts, a running one ends at its next step."""
        if not self._future.cancel():
            self._unwant()

    async def result(self) -> Run:
        """The run. Raises ``Cancelled`` or ``asyncio.CancelledError`` after cancel, InputError for a bad input."""
        try:
            return await asyncio.wrap_future(self._future)
        except BrokenProcessPool:
            raise InputError(
                "the simulation's process ended early (out of memory?): try a shorter scenario or fewer clients"
            ) from None


class Workshop:
    """The worker processes of one server. They start with the first job and end with ``close``."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or max(2, (os.cpu_count() or 2) - 1)
        self._context = multiprocessing.get_context("spawn")
        self._share = self._context.Array("d", SLOTS, lock=False)
        self._wanted = self._context.Array("q", SLOTS, lock=False)
        self._free = list(range(SLOTS))
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Run] = OrderedDict()

    def known(self, request: Request) -> Run | None:
        """The result of an equal request, if it is still kept."""
        with self._lock:
            run = self._kept.get(request.key)
            if run is not None:
                self._kept.move_to_end(request.key)
            return run

    def submit(self, request: Request) -> Job:
        """Start a simulation as soon as a worker is free; one that was done lately is not done again.

        Raises InputError when too many wait already.
        """
        known = self.known(request)
        if known is not None:
            done: Future[Run] = Future()
            done.set_result(known)
            return Job(done, lambda: 1.0, lambda: None)
        with self._lock:
            if not self._free:
                raise InputError(f"{SLOTS} simulations are running or waiting already: try again in a moment")
            slot, number = self._free.pop(), next(_numbers)
            self._share[slot], self._wanted[slot] = 0.0, number
            try:
                future = self._submitted(slot, number, request)
            except BaseException:
                self._free.append(slot)
                raise
        future.add_done_callback(lambda done: self._ended(request, slot, done))
        return Job(future, lambda: float(self._share[slot]), lambda: self._unwant(slot, number))

    def close(self) -> None:
        """End the workers at once: a simulation looks only now and then whether it is still wanted."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._wanted[:] = [0] * SLOTS
        if pool is not None:
            workers = list((getattr(pool, "_processes", None) or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()

    def _unwant(self, slot: int, number: int) -> None:
        with self._lock:
            if self._wanted[slot] == number:
                self._wanted[slot] = 0

    def _submitted(self, slot: int, number: int, request: Request) -> Future[Run]:
        for _ in range(2):
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._workers, self._context, initializer=_begin, initargs=(self._share, self._wanted)
                )
            try:
                return self._pool.submit(_work, slot, number, request)
            except BrokenProcessPool:
                self._pool = None
        raise InputError("no process could be started for the simulation")

    def _ended(self, request: Request, slot: int, future: Future[Run]) -> None:
        with self._lock:
            self._free.append(slot)
            if not future.cancelled() and future.exception() is None:
                self._kept[request.key] = future.result()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)


_workshop: Workshop | None = None
_numbers = count(1)


def workshop() -> Workshop:
    """The one workshop of this server's process."""
    global _workshop
    if _workshop is None:
        _workshop = Workshop()
        _at_exit(_workshop.close)
    return _workshop


def _at_exit(close: Callable[[], None]) -> None:
    """Before the interpreter waits for the pool's thread, which it does ahead of ``atexit``."""
    register = getattr(threading, "_register_atexit", atexit.register)
    register(close)


class Latest:
    """Tells the newest request from older ones: an older one must not write its result."""

    def __init__(self) -> None:
        self._ticket = 0

    def take(self) -> int:
        """A new ticket; all earlier ones are stale from now on."""
        self._ticket = next(_numbers)
        return self._ticket

    def is_current(self, ticket: int) -> bool:
        """Whether no newer ticket was taken."""
        return ticket == self._ticket


_shares: Any = None
_wants: Any = None


def _begin(shares: Any, wants: Any) -> None:
    """Set up a worker: it ignores Ctrl-C (the server ends it), gives way to the server, and dies with it."""
    global _shares, _wants
    _shares, _wants = shares, wants
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _work(slot: int, number: int, request: Request) -> Run:
    from hustle_sim.simulation.simulate import simulate

    def progress(share: float) -> None:
        _shares[slot] = share

    run = simulate(
        request.scenario,
        request.policy,
        request.seed,
        label=request.label,
        progress=progress,
        cancelled=lambda: _wants[slot] != number,
    )
    _ = run.metrics  # measured here, not on the server's thread
    return run
