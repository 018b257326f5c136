"""SimPyEventLoop: errors that end a run, what it refuses, winding up, interrupting, and running inside another loop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
import simpy

from hustle_sim.simulation.loop import (
    DeadlockError,
    NoProgressError,
    RunInterrupted,
    SimPyEventLoop,
    StalledClockError,
    UnsupportedError,
    as_future,
    run_virtual,
)

ROOT = Path(__file__).parents[1]
Process = Generator[simpy.Event, Any, Any]


def the_loop() -> SimPyEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimPyEventLoop)
    return loop


async def spin() -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def fail(after_s: float = 0, error: Exception | None = None) -> None:
    await asyncio.sleep(after_s)
    raise error or ValueError("nobody saw this")


# Runs that cannot go on


def test_a_deadlock_names_the_tasks_and_where_they_wait() -> None:
    async def take(queue: asyncio.Queue[int]) -> None:
        await queue.get()

    async def main() -> None:
        env = the_loop().env
        worker = asyncio.create_task(take(asyncio.Queue()))
        named = asyncio.create_task(as_wanted(env.event()), name="needs an event")
        await asyncio.sleep(3)
        await asyncio.gather(worker, named)

    async def as_wanted(event: simpy.Event) -> None:
        await as_future(event)

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main())
    head, *lines = str(caught.value).splitlines()
    assert head == (
        "virtual time ends at t=3.0 s: nothing is ready or scheduled, and 3 tasks wait for what can never come:"
    )
    line = take.__code__.co_firstlineno + 1
    assert lines[0].startswith(f"  task-1 at {__file__}:")
    assert lines[1] == f"  task-2 at {__file__}:{line} in {take.__qualname__}, in Queue.get"
    assert lines[2].endswith("as_wanted, for SimPy's Event()")


@pytest.mark.parametrize("never", [lambda env: asyncio.sleep(math.inf), lambda env: as_future(env.timeout(math.inf))])
def test_what_is_scheduled_for_never_does_not_hide_a_deadlock(never: Callable[[Any], Any]) -> None:
    env = simpy.Environment()

    async def main() -> None:
        await asyncio.sleep(1)
        await never(env)

    with pytest.raises(DeadlockError, match=r"t=1\.0 s"):
        run_virtual(main(), env)
    assert env.now == 1.0


def test_a_deadlocked_main_may_clean_up() -> None:
    seen = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            seen.append(the_loop().time())

    with pytest.raises(DeadlockError):
        run_virtual(main())
    assert seen == [1.0]


@pytest.mark.parametrize("in_simpy", [False, True])
def test_a_clock_that_stands_still_is_an_error_that_names_who_is_busy(in_simpy: bool) -> None:
    async def main() -> None:
        await asyncio.sleep(2)
        if in_simpy:
            the_loop().env.process(whirl())
        else:
            asyncio.create_task(spin(), name="spinner")  # noqa: RUF006
        await asyncio.sleep(1)

    def whirl() -> Process:
        env = the_loop().env
        while True:
            yield env.timeout(0)

    with pytest.raises(StalledClockError) as caught:
        run_virtual(main(), loop=SimPyEventLoop(instant_limit=5000))
    text = str(caught.value)
    assert "stands still at t=2.0 s" in text
    assert ("SimPy process whirl" if in_simpy else f"spinner at {__file__}") in text


def test_much_work_at_many_instants_is_not_a_standing_clock() -> None:
    async def main() -> None:
        for _ in range(20):
            for _ in range(900):
                await asyncio.sleep(0)
            await asyncio.sleep(1e-9)

    run_virtual(main(), loop=SimPyEventLoop(instant_limit=1000))


def test_a_heartbeat_does_not_hide_that_nothing_gets_on() -> None:
    done: list[int] = []

    async def heartbeat() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(10)

    async def main() -> None:
        asyncio.create_task(heartbeat(), name="heartbeat")  # noqa: RUF006
        for number in range(30_000):
            await asyncio.sleep(1)
            done.append(number)
        await asyncio.Event().wait()

    with pytest.raises(NoProgressError, match=r"(?s)no progress since .*in Event.wait.*heartbeat") as caught:
        run_virtual(main(), loop=SimPyEventLoop(progress=lambda: len(done), progress_limit_s=3600))
    assert len(done) == 30_000
    assert isinstance(caught.value, DeadlockError)


# What virtual time does not have


REFUSED: dict[str, tuple[Callable[[], Coroutine[Any, Any, Any]], str]] = {
    "to_thread": (lambda: asyncio.to_thread(print), "threads"),
    "open_connection": (lambda: asyncio.open_connection("localhost", 80), "sockets"),
    "start_server": (lambda: asyncio.start_server(print, "localhost", 0), "sockets"),
    "subprocess": (lambda: asyncio.create_subprocess_exec("true"), "subprocesses"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_real_world_is_refused_in_a_sentence_that_says_what_and_what_instead(name: str) -> None:
    call, what = REFUSED[name]

    async def main() -> None:
        await call()

    with pytest.raises(UnsupportedError, match=rf"there are no {what}.* in virtual time; [a-z]"):
        run_virtual(main())


@pytest.mark.parametrize("method", ["add_reader", "add_signal_handler", "getaddrinfo", "sock_recv", "sendfile"])
def test_the_methods_that_need_the_real_world_are_refused(method: str) -> None:
    loop = SimPyEventLoop()
    with pytest.raises(NotImplementedError, match=f"^{method}: there are no "):
        getattr(loop, method)(1, 2)
    loop.close()


def test_another_thread_may_not_call_in_but_the_own_may() -> None:
    errors: list[BaseException] = []
    seen: list[int] = []

    def call_in(loop: SimPyEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(seen.append, 1)
        except UnsupportedError as error:
            errors.append(error)

    async def main() -> None:
        thread = threading.Thread(target=call_in, args=(the_loop(),))
        thread.start()
        thread.join()
        the_loop().call_soon_threadsafe(seen.append, 2)
        await asyncio.sleep(0)

    run_virtual(main())
    assert seen == [2]
    assert len(errors) == 1


# Failures that nobody handles


def test_the_failure_of_a_task_that_nobody_awaits_fails_the_run() -> None:
    kept = []

    async def main() -> str:
        kept.append(asyncio.create_task(fail(1)))
        asyncio.create_task(fail(2, KeyError("lost")))  # noqa: RUF006
        the_loop().call_later(3, lambda: 1 / 0)
        await asyncio.sleep(5)
        return "ended well"

    with pytest.raises(ExceptionGroup, match="nobody handled") as caught:
        run_virtual(main())
    assert sorted(type(error).__name__ for error in caught.value.exceptions) == [
        "KeyError",
        "ValueError",
        "ZeroDivisionError",
    ]
    notes = [error.__notes__[0] for error in caught.value.exceptions]
    assert any("never retrieved" in note and "task-2" in note for note in notes)
    assert any("Exception in callback" in note for note in notes)


def test_failures_that_nobody_handled_are_notes_if_main_fails_too() -> None:
    async def main() -> None:
        kept = asyncio.create_task(fail())
        await asyncio.sleep(1)
        assert kept.done()
        raise LookupError("main")

    with pytest.raises(LookupError) as caught:
        run_virtual(main())
    assert caught.value.__notes__ == ["besides, nobody handled: ValueError('nobody saw this')"]


def test_failures_that_somebody_handles_do_not_fail_the_run() -> None:
    contexts = []

    async def main() -> str:
        with pytest.raises(ValueError, match="nobody saw"):
            await asyncio.create_task(fail())
        await asyncio.gather(fail(), return_exceptions=True)
        the_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        the_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        return "well"

    assert run_virtual(main()) == "well"
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


def test_tasks_that_are_left_are_cancelled_in_order_and_their_failures_count() -> None:
    ended: list[str | float] = []

    async def linger(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
            await asyncio.sleep(1)
            ended.append(the_loop().time())
            if name == "b":
                raise ValueError("while it was cancelled")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            ended.append("generator")

    generator = numbers()
    # Held, since the garbage collector may take a task that waits and that nobody else knows.
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.extend(asyncio.create_task(linger(name)) for name in "abc")
        await anext(generator)

    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(main())
    assert ended == ["a", "b", "c", 1.0, 1.0, 1.0, "generator"]
    assert "cancelled at the end" in caught.value.exceptions[0].__notes__[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["callback", "task"])
def test_ctrl_c_and_exit_get_through(error: type[BaseException], where: str) -> None:
    seen = []

    def leave() -> None:
        raise error

    async def other() -> None:
        try:
            await asyncio.sleep(99)
        finally:
            seen.append("cleaned up")

    async def main() -> None:
        asyncio.create_task(other())  # noqa: RUF006
        await asyncio.sleep(1)
        if where == "task":
            leave()
        the_loop().call_soon(leave)
        await asyncio.sleep(1)

    with pytest.raises(error):
        run_virtual(main())
    assert seen == ["cleaned up"]


# Interrupting


def test_another_thread_may_interrupt_a_run_which_then_cleans_up() -> None:
    loop, seen = SimPyEventLoop(), []

    async def main() -> None:
        thread = threading.Thread(target=loop.interrupt)
        thread.start()
        thread.join()
        try:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(1)
        finally:
            seen.append("cleaned up")

    with pytest.raises(RunInterrupted, match="interrupted at t="):
        run_virtual(main(), loop=loop)
    assert seen == ["cleaned up"]
    assert loop.is_closed()
    assert loop.time() < 10_000


def test_a_second_interrupt_does_not_wait_for_main() -> None:
    loop = SimPyEventLoop()

    async def main() -> None:
        loop.interrupt()
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                loop.interrupt()
                if loop._interrupts > 3:
                    raise

    with pytest.raises(RunInterrupted):
        run_virtual(main(), loop=loop)


# Inside another loop, and beside others


def test_a_run_inside_a_running_asyncio_loop() -> None:
    async def virtual() -> float:
        await asyncio.sleep(3600)
        return the_loop().time()

    async def real() -> list[Any]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        got: list[Any] = [run_virtual(virtual())]
        with pytest.raises(ValueError, match="nobody saw"):
            run_virtual(fail())
        asyncio.get_running_loop().call_soon(lambda: got.append(run_virtual(virtual())))
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        async with asyncio.TaskGroup() as tasks:
            inner = tasks.create_task(asyncio.sleep(0, "still works"))
        return [*got, inner.result()]

    assert asyncio.run(real()) == [3600.0, 3600.0, "still works"]


if sys.version_info >= (3, 12):

    def test_a_run_inside_an_eager_task_and_eager_tasks_inside_a_run() -> None:
        async def virtual() -> str:
            the_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
            task = asyncio.create_task(asyncio.sleep(5, "slept"))
            assert task.get_name() == "task-2"
            return await task

        async def real() -> list[str]:
            async def eager() -> str:
                return run_virtual(virtual())

            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
            task = asyncio.create_task(eager())
            return [task.result() if task.done() else "", await asyncio.sleep(0, "on")]

        assert asyncio.run(real()) == ["slept", "on"]


def test_a_run_inside_a_run_and_in_several_threads() -> None:
    async def inner() -> float:
        await asyncio.sleep(7)
        return the_loop().time()

    async def outer() -> tuple[float, float]:
        await asyncio.sleep(1)
        return run_virtual(inner()), the_loop().time()

    got: list[tuple[float, float]] = []
    threads = [threading.Thread(target=lambda: got.append(run_virtual(outer()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [(7.0, 1.0)] * 4
    assert gc.isenabled()


def test_garbage_collection_is_off_during_a_run_and_as_before_afterwards() -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert run_virtual(main()) is False
    assert gc.isenabled()
    gc.disable()
    try:
        run_virtual(main())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_is_collected_at_fixed_steps_of_a_long_run() -> None:
    ended: list[float] = []

    class Cyclic:
        def __init__(self, loop: SimPyEventLoop) -> None:
            self.me, self.loop = self, loop

        def __del__(self) -> None:
            ended.append(self.loop.time())

    async def main() -> None:
        Cyclic(the_loop())
        for _ in range(3000):
            await asyncio.sleep(1)

    for _ in range(2):
        gc.collect()
        run_virtual(main(), loop=SimPyEventLoop(instant_limit=100))
    assert len(ended) == 2
    assert ended[0] == ended[1] < 3000


# asyncio's other promises


def test_context_variables_tasks_names_and_debug_mode() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    async def child() -> tuple[str, str]:
        seen = variable.get()
        variable.set("child")
        await asyncio.sleep(1)
        return seen, variable.get()

    async def main() -> None:
        variable.set("main")
        task = asyncio.create_task(child())
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        given = asyncio.create_task(child(), context=context)
        assert [t.get_name() for t in (task, given)] == ["task-2", "task-3"]
        assert await task == ("main", "child")
        assert await given == ("given", "child")
        assert context[variable] == "child"
        assert variable.get() == "main"
        seen: list[str] = []
        the_loop().call_later(1, lambda: seen.append(variable.get()), context=context)
        await asyncio.sleep(2)
        assert seen == ["child"]

    for debug in (False, True):
        loop = SimPyEventLoop()
        loop.set_debug(debug)
        run_virtual(main(), loop=loop)
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_soon(print)
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_later(1, print)
    with pytest.raises(TypeError, match="coroutine"):
        run_virtual(42)  # type: ignore[arg-type]


def test_debug_mode_tells_where_a_callback_was_made_and_finds_a_wrong_thread() -> None:
    loop = SimPyEventLoop()
    loop.set_debug(True)
    errors: list[BaseException] = []

    def from_elsewhere() -> None:
        try:
            loop.call_later(1, print)
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        timer = loop.call_later(1, print)
        assert "test_loop_runs.py" in repr(timer)
        timer.cancel()
        assert "cancelled" in repr(timer)
        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        thread.join()
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.call_soon(spin)

    run_virtual(main(), loop=loop)
    assert len(errors) == 1


RUN_WITH_SETS = """
import asyncio
from hustle_sim.simulation.loop import run_virtual
seen = []
async def child(n):
    try:
        await asyncio.sleep(100 + n % 3)
    finally:
        seen.append(n)
async def main():
    junk = [object() for _ in range(len(__import__("os").environ["PYTHONHASHSEED"]) * 1000)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for n in range(50):
                tasks.create_task(child(n))
            del junk
            await asyncio.sleep(1)
            raise KeyError
    except* KeyError:
        pass
    done, pending = await asyncio.wait([asyncio.create_task(child(n)) for n in range(50)], timeout=100.5)
    for task in (*pending, *done):
        seen.append(task.get_name())
run_virtual(main())
print(seen)
"""


def test_the_sets_of_asyncio_have_the_same_order_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", RUN_WITH_SETS], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "22")
    }  # fmt: skip
    assert len(outputs) == 1
