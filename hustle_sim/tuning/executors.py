"""Where simulations run: in this process, on all cores, on another machine, or on whatever executor you bring."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from distributed import Client

Workers: TypeAlias = Union[Executor, "Client", str, int, None]
"""Any ``concurrent.futures.Executor``, a ``distributed.Client``, ``"dask://host:8786"``, a number of processes
(1: this process), or None: a process for each core."""

_DASK = "dask://"
_CONNECT_S = 10.0
_IDLE_S = 60.0
"""After so long without work our processes end; the next experiment starts them again."""

_POOLS: dict[int, Executor] = {}
_LOCK = threading.Lock()


class Serial(Executor):
    """An executor that works at once, in this process and thread: for small jobs and for debugging."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function now; what it returns or raises is in the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Cores(Executor):
    """Worker processes of our own, which outlive one experiment, so that the next begins at once, in any thread.

    They don't import the caller's main module: a script needs no ``if __name__ == "__main__"``. When one is killed,
    ``revive`` starts them anew. Loky's own reusable executor is one for each thread, and would start them each time.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: Executor | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function in the next process that is free."""
        from loky import ProcessPoolExecutor

        with _LOCK:
            if self._processes not in _POOLS:
                _POOLS[self._processes] = ProcessPoolExecutor(self._processes, timeout=_IDLE_S, initializer=_begin_work)
            self._pool = _POOLS[self._processes]
        return self._pool.submit(fn, *args, **kwargs)

    def revive(self) -> None:
        """Begin with new processes, since one has died; what the old ones were at must be submitted again."""
        with _LOCK:
            # Another thread may have been here before.
            if _POOLS.get(self._processes) is self._pool:
                del _POOLS[self._processes]

    def abandon(self) -> None:
        """End the processes at once, with whatever they are at. Another experiment that uses them must revive."""
        pool: Any = self._pool
        self.revive()
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)


def end_cores() -> None:
    """End the processes that wait for another experiment: a process that has some would end only after them."""
    with _LOCK:
        pools: list[Any] = list(_POOLS.values())
        _POOLS.clear()
    for pool in pools:
        pool.shutdown(wait=True, kill_workers=True)


def _begin_work() -> None:
    # Ctrl-C in a terminal reaches all processes; the one that was started says what is kept, and ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def has_died(error: BaseException) -> bool:
    """Whether an error of a future or of ``submit`` means that the processes are gone, and not that work failed."""
    # Loky's word for processes that were ended while they worked is no BrokenExecutor.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "ShutdownExecutorError"


@contextmanager
def workers_of(executor: Workers) -> Iterator[Executor]:
    """The executor that is meant, for the length of the block. Ours are left ready, a dask connection is closed.

    Raises InputError for a word that names none, a scheduler that does not answer, or dask that is not installed.
    """
    if executor is None:
        yield Cores(_cores())
    elif isinstance(executor, bool) or (isinstance(executor, int) and executor < 1):
        raise InputError(f"executor: {executor!r} processes can't work: give 1 or more")
    elif isinstance(executor, int):
        yield Serial() if executor == 1 else Cores(executor)
    elif isinstance(executor, str):
        if executor.isdecimal():
            with workers_of(int(executor)) as workers:
                yield workers
        elif executor.startswith(_DASK):
            with _dask(executor.removeprefix(_DASK)) as workers:
                yield workers
        else:
            raise InputError(
                f"executor: {executor!r} is none: write a number of processes, or the address of a dask scheduler "
                "such as dask://host:8786"
            )
    elif isinstance(executor, Executor):
        yield executor
    elif hasattr(executor, "get_executor"):
        yield executor.get_executor(pure=False)
    else:
        raise InputError(
            f"executor: a {type(executor).__name__} can't run anything: give a concurrent.futures.Executor, a "
            "distributed.Client, a number of processes or 'dask://host:8786'"
        )


def _cores() -> int:
    """The cores that this process may use: a container or a scheduler may have given it fewer than there are."""
    from loky import cpu_count

    return int(cpu_count())


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise InputError("executor: dask is not installed here: pip install 'hustle-sim[dask]'") from None
    try:
        client = Client(f"tcp://{address}", timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"executor: no dask scheduler answers at {address}: {error or 'timed out'}") from None
    try:
        yield client.get_executor(pure=False)
    finally:
        client.close()
