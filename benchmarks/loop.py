"""Sleeps per second on SimPyEventLoop, beside plain SimPy and the real asyncio: ``python benchmarks/loop.py``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Generator
from functools import partial
from time import perf_counter
from typing import Any

import simpy

from hustle_sim.simulation.loop import run_virtual

TASKS = 100
ROUNDS = 5


def delay_s(task: int, turn: int) -> float:
    """Delays that keep the timers of the tasks out of step."""
    return 1.0 + (task * 37 + turn * 101) % 997 / 1000


def plain_simpy(sleeps: int) -> None:
    """Processes that ``yield env.timeout(...)``."""
    env = simpy.Environment()

    def sleeper(number: int) -> Generator[simpy.Event, Any, None]:
        for turn in range(sleeps // TASKS):
            yield env.timeout(delay_s(number, turn))

    for number in range(TASKS):
        env.process(sleeper(number))
    env.run()


async def tasks_that_sleep(sleeps: int, scale: float = 1.0) -> None:
    """Tasks that ``await asyncio.sleep(...)``."""

    async def sleeper(number: int) -> None:
        for turn in range(sleeps // TASKS):
            await asyncio.sleep(delay_s(number, turn) * scale)

    await asyncio.gather(*(sleeper(number) for number in range(TASKS)))


async def tasks_with_timeouts(sleeps: int) -> None:
    """Tasks that sleep inside ``asyncio.timeout(...)``: a second timer each time, which is cancelled."""

    async def sleeper(number: int) -> None:
        for turn in range(sleeps // TASKS):
            async with asyncio.timeout(8.0):
                await asyncio.sleep(delay_s(number, turn))

    await asyncio.gather(*(sleeper(number) for number in range(TASKS)))


async def tasks_that_yield(sleeps: int) -> None:
    """Tasks that ``await asyncio.sleep(0)``, without any timer."""

    async def sleeper() -> None:
        for _ in range(sleeps // TASKS):
            await asyncio.sleep(0)

    await asyncio.gather(*(sleeper() for _ in range(TASKS)))


def seconds(work: Callable[[], None]) -> float:
    """How long ``work`` takes, with no garbage of others to collect."""
    gc.collect()
    began = perf_counter()
    work()
    return perf_counter() - began


def measure(sleeps: int = 100_000) -> dict[str, float]:
    """Medians over interleaved rounds; the ratios are taken round by round. The real asyncio has delays of 1-2 ns."""
    works: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain_simpy(sleeps),
        "virtual": lambda: run_virtual(tasks_that_sleep(sleeps)),
        "timeouts": lambda: run_virtual(tasks_with_timeouts(sleeps)),
        "yields": lambda: run_virtual(tasks_that_yield(sleeps)),
        "real": lambda: asyncio.run(tasks_that_sleep(sleeps, 1e-9)),
        "real yields": lambda: asyncio.run(tasks_that_yield(sleeps)),
    }
    rows = [{name: seconds(partial(work)) for name, work in works.items()} for _ in range(ROUNDS)]

    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    def ratio(over: str, under: str) -> float:
        return median([row[over] / row[under] for row in rows])

    return {
        "plain SimPy, sleeps per second": median([sleeps / row["plain"] for row in rows]),
        "SimPyEventLoop, sleeps per second": median([sleeps / row["virtual"] for row in rows]),
        "the same, each under a timeout": median([sleeps / row["timeouts"] for row in rows]),
        "SimPyEventLoop, sleep(0) per second": median([sleeps / row["yields"] for row in rows]),
        "real asyncio, sleeps per second": median([sleeps / row["real"] for row in rows]),
        "real asyncio, sleep(0) per second": median([sleeps / row["real yields"] for row in rows]),
        "time of SimPyEventLoop over plain SimPy": ratio("virtual", "plain"),
        "time of SimPyEventLoop over real asyncio": ratio("virtual", "real"),
        "sleep(0): SimPyEventLoop over real asyncio": ratio("yields", "real yields"),
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:45} {value:>12,.2f}")
