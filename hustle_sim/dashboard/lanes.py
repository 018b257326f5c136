"""Worker processes with a row of what waits for them: who has waited for longest is next."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import count
from typing import Any

from hustle_sim.inputs import InputError
from hustle_sim.simulation.simulate import Cancelled

_numbers = count(1)


class Lane:
    """Some worker processes with a row of their own. They start with the first task.

    ``context`` is a context of multiprocessing; each process begins with ``begin(*arguments)``.
    """

    def __init__(self, workers: int, context: Any, begin: Callable[..., None], *arguments: Any) -> None:
        self._workers, self._context, self._begin, self._arguments = workers, context, begin, arguments
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._busy = 0
        self._waiting: list[tuple[float, int, Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, since_s: float, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have ``work`` done by the next worker that is free; who has waited for longest is first.

        What is cancelled while it waits costs nothing. The result is InputError if no process can be started.
        """
        future: Future[Any] = Future()
        with self._lock:
            heapq.heappush(self._waiting, (since_s, next(_numbers), future, work, arguments))
        self._begin_next()
        return future

    def close(self) -> None:
        """End the workers at once: a simulation looks only now and then whether it is still wanted."""
        with self._lock:
            pool, self._pool = self._pool, None
            waiting, self._waiting = self._waiting, []
        for _, _, future, _, _ in waiting:
            future.cancel()
        if pool is not None:
            workers = list((getattr(pool, "_processes", None) or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()

    def _begin_next(self) -> None:
        """Give the free workers something to do. No lock is held while futures tell what became of them."""
        while True:
            with self._lock:
                if self._busy >= self._workers or not self._waiting:
                    return
                _, _, future, work, arguments = heapq.heappop(self._waiting)
                self._busy += 1
            if future.set_running_or_notify_cancel():
                try:
                    self._in_process(work, arguments).add_done_callback(partial(self._ended, future))
                    continue
                except InputError as error:
                    future.set_exception(error)
            with self._lock:
                self._busy -= 1

    def _in_process(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            for _ in range(2):
                if self._pool is None:
                    self._pool = ProcessPoolExecutor(
                        self._workers, self._context, initializer=self._begin, initargs=self._arguments
                    )
                try:
                    return self._pool.submit(work, *arguments)
                except (BrokenProcessPool, RuntimeError):
                    self._pool = None
        raise InputError("no process could be started for the simulation")

    def _ended(self, future: Future[Any], inner: Future[Any]) -> None:
        with self._lock:
            self._busy -= 1
        if inner.cancelled():
            future.set_exception(Cancelled("the server ends"))
        elif (error := inner.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(inner.result())
        self._begin_next()
