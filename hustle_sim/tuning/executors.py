"""Where simulations run: in this process, on all cores, on another machine, or on whatever executor you bring."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
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
    """Worker processes of our own, which outlive one experiment, so that the next begins at once.

    They don't import the caller's main module: a script needs no ``if __name__ == "__main__"``. When one is killed,
    ``revive`` starts them anew.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function in the next process that is free."""
        from loky import get_reusable_executor

        future: Future[Any] = get_reusable_executor(self._processes, timeout=60).submit(fn, *args, **kwargs)
        return future

    def revive(self) -> None:
        """Replace processes of which one has died; what they were at must be submitted again."""
        from loky import get_reusable_executor

        get_reusable_executor(self._processes, timeout=60, kill_workers=True)

    def abandon(self) -> None:
        """End the processes at once, with whatever they are at."""
        from loky import get_reusable_executor

        get_reusable_executor(self._processes, timeout=60).shutdown(wait=True, kill_workers=True)


@contextmanager
def workers_of(executor: Workers) -> Iterator[Executor]:
    """The executor that is meant, for the length of the block. Ours are left ready, a dask connection is closed.

    Raises InputError for a word that names none, a scheduler that does not answer, or dask that is not installed.
    """
    if executor is None:
        yield Cores(os.cpu_count() or 1)
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
