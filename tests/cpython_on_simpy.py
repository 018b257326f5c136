"""Run a module of CPython's own tests of asyncio with SimPyEventLoop in the place of the event loop.

``python -m tests.cpython_on_simpy test_tasks`` prints one JSON object: ``ran``, ``skipped`` (name to reason),
``failed`` (name to traceback), ``excluded`` (names that were found and left out).

Not only the tests that ask for a new event loop get ours, but also those on CPython's ``TestLoop``, whose time is
led by a generator: they check what time it is afterwards, and in virtual time it is just that.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import json
import signal
import sys
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from hustle_sim.simulation.loop import SimPyEventLoop

MODULES = (
    "test_context",
    "test_eager_task_factory",
    "test_futures",
    "test_futures2",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_staggered",
    "test_taskgroups",
    "test_tasks",
    "test_timeouts",
    "test_waitfor",
)

_THREADS = ("test_tasks", "calls into the loop from another thread, which virtual time refuses")

EXCLUDED = {
    "test_interrupt_call_soon": (
        "test_runners",
        "spins at one instant until real time has passed and Ctrl-C comes",
    ),
    "test_run_coroutine_threadsafe": _THREADS,
    "test_run_coroutine_threadsafe_task_cancelled": _THREADS,
    "test_run_coroutine_threadsafe_task_factory_exception": _THREADS,
    "test_run_coroutine_threadsafe_with_exception": _THREADS,
    "test_run_coroutine_threadsafe_with_timeout": _THREADS,
    "test_stop_while_run_in_complete": (
        "test_tasks",
        "expects 0.3 s of TestLoop's clock, which goes on by one more timer after stop(); a real loop has 0.2 s",
    ),
}
"""Test method: its module, and why it cannot hold in virtual time."""


class TestLoop(SimPyEventLoop):
    """Our loop with what the tests use of CPython's TestLoop; the generator of its times is not needed."""

    def advance_time(self, seconds: float) -> None:
        self.env._now += seconds

    def _run_once(self) -> None:
        self.stop()
        self.run_forever()


def patch(module: Any) -> None:
    """Put our loop in the place of all loops that the tests of ``module`` make."""
    from test.test_asyncio import utils

    def new_test_loop(case: Any, gen: Callable[[], Iterator[float]] | None = None) -> TestLoop:
        loop = TestLoop()
        case.set_event_loop(loop)
        return loop

    def new_loop(case: Any) -> TestLoop:
        loop: Any = TestLoop()
        loop.shutdown_ag_run = False

        async def shutdown_asyncgens() -> None:
            loop.shutdown_ag_run = True

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    utils.TestCase.new_test_loop = new_test_loop
    if module.__name__.endswith("test_runners"):
        # These bring a policy or factory of their own, which calls ``new_loop``.
        module.BaseTest.new_loop = new_loop
    else:
        asyncio.new_event_loop = asyncio.events.new_event_loop = TestLoop


def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


def run(name: str) -> dict[str, Any]:
    module = importlib.import_module(f"test.test_asyncio.{name}")
    patch(module)
    gc.freeze()  # the tests collect garbage a thousand times: spare them all that was imported
    loaded = list(cases(unittest.defaultTestLoader.loadTestsFromModule(module)))
    excluded = {test.id(): test for test in loaded if getattr(test, "_testMethodName", "") in EXCLUDED}
    suite = unittest.TestSuite(test for test in loaded if test.id() not in excluded)
    result = unittest.TextTestRunner(io.StringIO(), verbosity=0).run(suite)
    return {
        "ran": result.testsRun,
        "skipped": {test.id(): reason for test, reason in result.skipped},
        "failed": {test.id(): text for test, text in [*result.errors, *result.failures]},
        "excluded": sorted({test._testMethodName for test in excluded.values()}),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has it ignored
    print(json.dumps(run(sys.argv[1])))
