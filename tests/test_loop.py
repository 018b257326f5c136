"""SimPyEventLoop: order, timers, and the bridge to SimPy."""

from __future__ import annotations

import asyncio
import math
from asyncio.futures import _set_result_unless_cancelled
from collections.abc import Generator
from typing import Any

import httpx
import pytest
import simpy

from hustle_sim.simulation.loop import SimPyEventLoop, VirtualTimeError, as_event, as_future, run_virtual

Process = Generator[simpy.Event, Any, Any]


def the_loop() -> SimPyEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimPyEventLoop)
    return loop


def timers_on_heap(loop: SimPyEventLoop) -> int:
    return len(loop.env._queue)


class AwkwardError(Exception):
    """Cannot be rebuilt from its arguments, like httpx's."""

    def __init__(self, *, request: str) -> None:
        super().__init__("it failed")
        self.request = request


# Order and timers


def test_callbacks_run_first_come_first_served_and_a_generation_at_a_time() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = the_loop()
        for name in "abc":
            loop.call_soon(seen.append, name)
        loop.call_soon(loop.call_soon, seen.append, "later")
        loop.call_later(0, seen.append, "timer")
        await asyncio.sleep(0)
        seen.append("main")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run_virtual(main())
    assert seen == ["a", "b", "c", "main", "timer", "later"]


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    seen: list[int] = []

    async def main() -> None:
        loop = the_loop()
        for number in range(500):
            if number % 2:
                loop.call_at(5.0, seen.append, number)
            else:
                loop.call_later(5, seen.append, number)
        await asyncio.sleep(5)
        assert len(seen) == 500

    run_virtual(main())
    assert seen == list(range(500))


def test_timers_in_the_past_run_at_once_and_time_does_not_go_back() -> None:
    async def main() -> list[float]:
        loop, seen = the_loop(), []
        await asyncio.sleep(10)
        loop.call_at(3.0, lambda: seen.append(loop.time()))
        loop.call_later(-1.0, lambda: seen.append(loop.time()))
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main()) == [10.0, 10.0]


@pytest.mark.parametrize("sleeper_first", [False, True])
def test_a_sleep_and_a_deadline_that_fall_due_together_end_as_in_asyncio(sleeper_first: bool) -> None:
    async def main() -> str:
        if sleeper_first:
            work = asyncio.ensure_future(asyncio.sleep(1, "completed"))
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(1):
                return await (work if sleeper_first else asyncio.sleep(1, "completed"))
        except TimeoutError:
            return "timeout"

    assert run_virtual(main()) == "timeout"


def test_nested_timeouts_that_fall_due_together() -> None:
    async def main() -> list[str]:
        seen = []
        try:
            async with asyncio.timeout(1):
                try:
                    async with asyncio.timeout(1):
                        await asyncio.sleep(1)
                        seen.append("slept")
                except TimeoutError:
                    seen.append("inner")
        except TimeoutError:
            seen.append("outer")
        return seen

    assert run_virtual(main()) == ["outer"]


def test_everything_of_simpy_at_an_instant_comes_before_the_callbacks_of_that_instant() -> None:
    seen: list[str] = []

    async def main() -> None:
        env = the_loop().env

        def cascade() -> Process:
            yield env.timeout(1)
            seen.append("event")
            yield env.timeout(0)
            seen.append("cascade")
            yield env.timeout(0)
            seen.append("cascade again")

        env.process(cascade())
        the_loop().call_later(1, seen.append, "timer")
        await asyncio.sleep(2)

    run_virtual(main())
    assert seen == ["event", "cascade", "cascade again", "timer"]


def test_cancelled_timers_do_not_pile_up_and_events_of_simpy_survive_in_order() -> None:
    async def main() -> tuple[int, list[int]]:
        loop, seen = the_loop(), []
        for number in range(50):
            loop.env.timeout(100, number).callbacks.append(lambda event: seen.append(event.value))
        most = 0
        for _ in range(10_000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)
            most = max(most, timers_on_heap(loop))
        await asyncio.sleep(200)
        return most, seen

    most, seen = run_virtual(main())
    assert most < 300
    assert seen == list(range(50))


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    env = simpy.Environment()

    async def main() -> None:
        the_loop().call_later(50, print).cancel()
        await asyncio.sleep(1)
        the_loop().call_later(3600, print).cancel()

    run_virtual(main(), env)
    assert env.now == 1.0
    env.run()
    assert env.now == 1.0


def test_a_timer_may_be_cancelled_twice_after_it_fired_and_by_another_of_its_instant() -> None:
    async def main() -> list[str]:
        loop, seen = the_loop(), []
        second: asyncio.TimerHandle
        first = loop.call_later(1, lambda: second.cancel())
        second = loop.call_later(1, seen.append, "second")
        await asyncio.sleep(2)
        for _ in range(2):
            first.cancel()
            second.cancel()
        assert second.cancelled()
        assert second.when() == 1.0
        assert loop._timers_cancelled == 0
        return seen

    assert run_virtual(main()) == []


def test_a_sleep_that_ends_with_nobody_waiting_is_not_the_end() -> None:
    async def main() -> float:
        loop = the_loop()
        unused, cancelled = loop.create_future(), loop.create_future()
        cancelled.cancel()
        loop.call_later(1, _set_result_unless_cancelled, unused, "result")
        loop.call_later(2, _set_result_unless_cancelled, cancelled, "result")
        await asyncio.sleep(3)
        assert unused.result() == "result"
        return loop.time()

    assert run_virtual(main()) == 3.0


def test_a_timer_is_an_event_that_simpy_can_step() -> None:
    loop, seen = SimPyEventLoop(), []
    timer = loop.call_later(3, seen.append, "fired")
    loop.call_later(2, seen.append, "cancelled").cancel()
    assert repr(timer).startswith("<Timer when=3.0 ")
    loop.env.run()
    assert loop.time() == 3.0
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert seen == ["fired"]


def test_time_is_a_float_whatever_numbers_are_given() -> None:
    env = simpy.Environment(5)

    async def main() -> None:
        numpy = pytest.importorskip("numpy")
        assert (the_loop().time(), type(the_loop().time())) == (5.0, float)
        for delay in (1, numpy.float64(1), numpy.int64(1)):
            await asyncio.sleep(delay)
            assert type(the_loop().time()) is float
        the_loop().call_at(10, lambda: None)
        await as_future(env.timeout(10))
        assert type(env.now) is float

    run_virtual(main(), env)


def test_no_time_is_refused_and_no_end_never_comes() -> None:
    async def main() -> float:
        with pytest.raises(ValueError, match="not a number"):
            the_loop().call_later(math.nan, print)
        with pytest.raises(ValueError, match="not a number"):
            the_loop().call_at(math.nan, print)
        async with asyncio.timeout(1):
            await asyncio.sleep(math.inf)
        return the_loop().time()

    with pytest.raises(TimeoutError):
        run_virtual(main())


def test_sleeps_below_the_step_of_a_clock_that_counts_from_1970_come_to_an_end() -> None:
    async def main() -> float:
        loop = the_loop()
        end = loop.time() + 1e-5
        turns = 0
        while loop.time() < end:
            await asyncio.sleep(1e-9)
            turns += 1
        return turns

    assert run_virtual(main(), simpy.Environment(1.7e9)) < 100


# SimPy and asyncio


def test_a_coroutine_awaits_processes_conditions_and_resources() -> None:
    async def main() -> list[Any]:
        env = the_loop().env

        def work(value: str) -> Process:
            yield env.timeout(2)
            return value

        place = simpy.Resource(env, 1)
        done = env.process(work("done"))
        first = env.timeout(5, "first")
        got: list[Any] = [await as_future(done), await as_future(done)]
        got.append((await as_future(first | env.timeout(9)))[first])
        with place.request() as request:
            await as_future(request)
            got.append(place.count)
        got.append(env.now)
        return got

    assert run_virtual(main()) == ["done", "done", "first", 1, 5.0]


def test_a_failure_reaches_the_coroutine_as_it_is() -> None:
    error = AwkwardError(request="r")

    async def main() -> None:
        env = the_loop().env

        def work() -> Process:
            yield env.timeout(1)
            raise error

        process = env.process(work())
        for _ in range(2):
            with pytest.raises(AwkwardError) as caught:
                await as_future(process)
            assert caught.value is error
        assert error.__cause__ is None
        assert not hasattr(error, "__notes__")

    run_virtual(main())


def test_a_process_waits_for_a_future_a_task_and_a_coroutine_and_gets_failures_as_they_are() -> None:
    error = httpx.ConnectError("refused", request=httpx.Request("GET", "http://backend"))

    async def main() -> list[Any]:
        env, future = the_loop().env, the_loop().create_future()
        got: list[Any] = []

        async def fail() -> None:
            await asyncio.sleep(1)
            raise error

        def process() -> Process:
            got.append((yield as_event(asyncio.sleep(1, "slept"))).result())
            done = yield as_event(fail())
            try:
                done.result()
            except httpx.ConnectError as caught:
                got.append(caught is error and caught.__cause__ is None)
            got.append((yield as_event(future)).result())
            ended = yield as_event(asyncio.ensure_future(asyncio.sleep(99))) | env.timeout(1)
            got.append((len(ended.events), env.now))

        running = env.process(process())
        the_loop().call_later(7, future.set_result, "set")
        await as_future(running)
        return got

    assert run_virtual(main()) == ["slept", True, "set", (1, 8.0)]


def test_cancelling_leaves_the_event_and_other_waiters_alone() -> None:
    async def main() -> str:
        event = the_loop().env.event()
        other = asyncio.ensure_future(asyncio.wait_for(as_future(event), 100))
        for _ in range(1000):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await as_future(event)
        assert len(event.callbacks) == 1
        event.succeed("value")
        return await other

    assert run_virtual(main()) == "value"


def test_a_failure_for_which_nobody_waits_any_more_is_not_swallowed() -> None:
    error = AwkwardError(request="r")

    async def main() -> None:
        env = the_loop().env

        def work() -> Process:
            yield env.timeout(5)
            raise error

        process = env.process(work())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await as_future(process)
        await asyncio.sleep(100)

    with pytest.raises(AwkwardError) as caught:
        run_virtual(main())
    assert caught.value is error
    assert caught.value.__notes__ == ["the SimPy process work failed at t=5.0 s, and nobody waited for it"]


def test_the_bridge_works_on_its_own_ground_only() -> None:
    env = simpy.Environment()
    with pytest.raises(VirtualTimeError, match="run_virtual"):
        as_future(env.event())

    async def other_environment() -> None:
        with pytest.raises(ValueError, match="another environment"):
            as_future(env.event())

    run_virtual(other_environment())


def test_an_environment_with_processes_and_resources_of_its_own_and_two_runs() -> None:
    env = simpy.Environment()
    counter, seen = simpy.Resource(env, 1), []

    def customer(name: str) -> Process:
        with counter.request() as turn:
            yield turn
            yield env.timeout(2)
            seen.append((name, env.now))

    async def visitor(name: str) -> None:
        with counter.request() as turn:
            await as_future(turn)
            await asyncio.sleep(2)
            seen.append((name, env.now))

    async def main(*names: str) -> None:
        await asyncio.gather(*map(visitor, names))

    env.process(customer("process"))
    run_virtual(main("a", "b"), env)
    run_virtual(main("c"), env)
    assert seen == [("process", 2.0), ("a", 4.0), ("b", 6.0), ("c", 8.0)]
    env.run()
    assert env.now == 8.0


def test_a_wait_queue_is_the_same_for_coroutines_as_for_processes() -> None:
    gaps, services = [(n * 7919 % 13) / 4 for n in range(300)], [(n * 104729 % 11) / 4 for n in range(300)]

    def in_simpy() -> list[tuple[int, float]]:
        env, seen = simpy.Environment(), []
        place = simpy.Resource(env, 2)

        def customer(number: int) -> Process:
            with place.request() as turn:
                yield turn
                yield env.timeout(services[number])
            seen.append((number, env.now))

        def source() -> Process:
            for number, gap in enumerate(gaps):
                yield env.timeout(gap)
                env.process(customer(number))

        env.process(source())
        env.run()
        return sorted(seen)

    async def main() -> list[tuple[int, float]]:
        seen, place = [], asyncio.Semaphore(2)

        async def customer(number: int) -> None:
            async with place:
                await asyncio.sleep(services[number])
            seen.append((number, the_loop().time()))

        async with asyncio.TaskGroup() as tasks:
            for number, gap in enumerate(gaps):
                await asyncio.sleep(gap)
                tasks.create_task(customer(number))
        return sorted(seen)

    assert run_virtual(main()) == in_simpy()
