"""Simulations in worker processes, so that the server's thread stays free for every visitor.

One pool for the whole server. Progress and cancellation go through small arrays in shared memory: a job has a slot,
its worker writes the share done there and looks there whether it is still wanted. What a long one has simulated so
far goes through a file: a worker that dies while it writes holds nobody up.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustle_sim.dashboard.lanes import Lane
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    from hustle_sim.analysis import Run
    from hustle_sim.simulation.scenario import Scenario

SLOTS = 64
"""Simulations that may wait or run at once in one server."""

_KEPT = 400_000
_SMALLEST = 3_000
"""Results are kept for visitors who ask for the same again: as long as their attempts are not more than ``_KEPT``
together, where a run counts for ``_SMALLEST`` at least (about 100 MB)."""

_BEGUN = 1e-9
"""The share that says no more than that a worker is at it."""

_LONG = 4_000
"""Messages, and a quarter of the health checks, from which on a simulation is a long one."""

_FIRST_PART = 10_000
_NEXT_PART = 4
_LAST_PART = 0.4
"""A long simulation is looked into when so many events have happened (after about 0.2 s), and whenever they are so many
times more, until this share of it is done: to look costs a quarter of what it took to get there."""


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
    """One visitor's part in a simulation, waiting or running in a worker process, or known already."""

    def __init__(
        self,
        future: Future[Run],
        share: Callable[[], float],
        leave: Callable[[], None],
        parts: _Parts | None = None,
    ) -> None:
        self._future = future
        self._share = share
        self._leave = leave
        self._parts = parts
        self._left = False

    @property
    def share(self) -> float:
        """How much of its virtual time is done, 0..1."""
        return 1.0 if self._future.done() else self._share()

    @property
    def started(self) -> bool:
        """Whether a worker is at it, or was."""
        return self.share > 0

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def finished(self) -> Run | None:
        """The run if it is there already, else None."""
        if not self._future.done() or self._future.cancelled() or self._future.exception() is not None:
            return None
        return self._future.result()

    @property
    def parts(self) -> int:
        """How often there was something new to see of it."""
        return self._parts.number if self._parts is not None else 0

    async def so_far(self) -> Run | None:
        """The run if it has ended well, else its beginning as far as it was looked into, or None before that."""
        done = self.finished()
        if done is not None or self._parts is None:
            return done
        return await asyncio.to_thread(self._parts.read)

    def cancel(self) -> None:
        """Not wanted any more. If nobody else wants it, a waiting one never starts, a running one ends soon."""
        if not self._left and not self._future.done():
            self._left = True
            self._leave()

    async def result(self) -> Run:
        """The run. Raises ``Cancelled`` or ``asyncio.CancelledError`` after cancel, InputError for a bad input."""
        wrapped = asyncio.wrap_future(self._future)
        wrapped.add_done_callback(_looked_at)
        try:
            # Others may wait for the same one: who stops waiting does not end it.
            return await asyncio.shield(wrapped)
        except BrokenProcessPool:
            raise InputError(
                "the simulation's process ended early (out of memory?): try a shorter scenario or fewer clients"
            ) from None


def _looked_at(future: asyncio.Future[Run]) -> None:
    """Look at how it ended, so that nobody complains that no one did when all who waited have gone."""
    if not future.cancelled():
        future.exception()


class _Parts:
    """The beginnings of one simulation, each longer than the one before, as its worker leaves them."""

    def __init__(self, path: Path, slot: int, numbers: Any) -> None:
        self._path, self._slot, self._numbers = path, slot, numbers
        self._over = False

    @property
    def number(self) -> int:
        return 0 if self._over else int(self._numbers[self._slot])

    def read(self) -> Run | None:
        """The newest one, or None."""
        if not self.number:
            return None
        try:
            run: Run = pickle.loads(self._path.read_bytes())
        except OSError:
            return None  # it ended just now
        return run

    def end(self) -> None:
        """There is nothing more to come, and what there is can go."""
        self._over = True
        self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Running:
    """A simulation that waits or runs, and how many visitors want it."""

    future: Future[Run]
    slot: int
    number: int
    parts: _Parts
    users: int = 1


class Workshop:
    """The worker processes of one server, which start when they are needed and end with ``close``.

    Three lanes: long simulations have workers of their own, so that a visitor with a short one need not wait for
    them; so have files that people take home. What is asked for twice at the same time is made once.
    """

    def __init__(self, workers: int | None = None) -> None:
        number = workers or max(2, (os.cpu_count() or 2) - 1)
        context = multiprocessing.get_context("spawn")
        self._share = context.Array("d", SLOTS, lock=False)
        self._wanted = context.Array("q", SLOTS, lock=False)
        self._parts = context.Array("q", SLOTS, lock=False)
        self._folder = tempfile.TemporaryDirectory(prefix="hustle-sim-", ignore_cleanup_errors=True)
        shared = (self._share, self._wanted, self._parts)
        self._quick = Lane(number, context, _begin, *shared, 5)
        self._long = Lane(number, context, _begin, *shared, 10)
        self._papers = Lane(1, context, _begin, *shared, 10)
        self._free = list(range(SLOTS))
        # A lane that ends a future calls back at once, on this thread.
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._kept: OrderedDict[str, Run] = OrderedDict()

    def submit(self, request: Request, since_s: float = math.inf) -> Job:
        """Start a simulation as soon as a worker is free; one that was done lately is not done again.

        ``since_s`` is when its visitor began to wait, on a clock that all share: who has waited for longest is first.
        Raises InputError when too many wait already.
        """
        key = request.key
        with self._lock:
            known = self._known(key)
            if known is not None:
                done: Future[Run] = Future()
                done.set_result(known)
                return Job(done, lambda: 1.0, lambda: None)
            running = self._running.get(key)
            if running is None:
                running = self._started(key, request, since_s)
            else:
                running.users += 1
        running.future.add_done_callback(lambda future: self._ended(key, running, future))
        return Job(
            running.future,
            lambda: float(self._share[running.slot]),
            lambda: self._leave(key, running),
            running.parts,
        )

    def make(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a file made in a process of its own: ``work`` is a function of a module, arguments are pickled."""
        return self._papers.submit(0.0, work, *arguments)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._wanted[:] = [0] * SLOTS
            for lane in (self._quick, self._long, self._papers):
                lane.close()
            self._folder.cleanup()

    def _known(self, key: str) -> Run | None:
        run = self._kept.get(key)
        if run is not None:
            self._kept.move_to_end(key)
        return run

    def _started(self, key: str, request: Request, since_s: float) -> _Running:
        if not self._free:
            raise InputError(f"{SLOTS} simulations are running or waiting already: try again in a moment")
        slot, number = self._free.pop(), next(_numbers)
        self._share[slot], self._wanted[slot], self._parts[slot] = 0.0, number, 0
        path = Path(self._folder.name) / str(number)
        lane, path_of_parts = (self._long, path) if is_long(request) else (self._quick, None)
        try:
            future = lane.submit(since_s, _work, slot, number, request, path_of_parts)
        except BaseException:
            self._free.append(slot)
            raise
        self._running[key] = running = _Running(future, slot, number, _Parts(path, slot, self._parts))
        return running

    def _leave(self, key: str, running: _Running) -> None:
        """One visitor does not want it any more; once nobody does, it never starts, or ends at its next step."""
        with self._lock:
            running.users -= 1
            if running.users or self._running.get(key) is not running:
                return
            # Whoever asks from now on gets a new one.
            del self._running[key]
            self._wanted[running.slot] = 0
        running.future.cancel()

    def _ended(self, key: str, running: _Running, future: Future[Run]) -> None:
        with self._lock:
            if running.number < 0:
                return
            running.number = -1
            running.parts.end()
            self._free.append(running.slot)
            if self._running.get(key) is running:
                del self._running[key]
            if not future.cancelled() and future.exception() is None:
                self._keep(key, future.result())

    def _keep(self, key: str, run: Run) -> None:
        self._kept[key] = run
        while len(self._kept) > 1 and sum(_weight(one) for one in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)


def is_long(request: Request) -> bool:
    """Whether a simulation will take more than about half a second, by what happens in it."""
    scenario, probe = request.scenario, request.policy.probe
    messages = scenario.clients.count * scenario.clients.messages_per_hour / 3600 + scenario.backend.background_per_s
    probes = scenario.clients.count / min(probe.interval_s, probe.offline_interval_s)
    return (messages + probes / 4) * scenario.duration_s > _LONG


def _weight(run: Run) -> int:
    return _SMALLEST + len(run.attempts)


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


_shares: Any = None
_wants: Any = None
_numbers_of_parts: Any = None


def _begin(shares: Any, wants: Any, numbers_of_parts: Any, niceness: int) -> None:
    """Set up a worker: it ignores Ctrl-C (the server ends it), gives way to the server, and dies with it."""
    global _shares, _wants, _numbers_of_parts
    _shares, _wants, _numbers_of_parts = shares, wants, numbers_of_parts
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(niceness)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _work(slot: int, number: int, request: Request, path: Path | None) -> Run:
    """``path`` is where the beginnings of a long simulation are left, None for one that is there soon enough."""
    from hustle_sim.simulation.simulate import simulate

    due = _FIRST_PART
    done = 0.0

    def progress(share: float) -> None:
        nonlocal done
        _shares[slot] = done = share

    def so_far(events: int, made: Callable[[], Run]) -> None:
        nonlocal due
        if path is not None and events >= due and done <= _LAST_PART:
            due = events * _NEXT_PART
            _leave_part(made(), path)
            _numbers_of_parts[slot] += 1

    progress(_BEGUN)
    run = simulate(
        request.scenario,
        request.policy,
        request.seed,
        label=request.label,
        progress=progress,
        cancelled=lambda: _wants[slot] != number,
        so_far=so_far,
    )
    _ = run.metrics  # measured here, not on the server's thread
    return run


def _leave_part(run: Run, path: Path) -> None:
    """Leave a run in a file, whole at every moment."""
    _ = run.metrics
    unfinished = path.with_suffix(".new")
    with contextlib.suppress(OSError):  # a full disk costs the sight of it, not the simulation
        unfinished.write_bytes(pickle.dumps(run))
        unfinished.replace(path)
