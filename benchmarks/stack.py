"""The full stack, the direct port and the wire against plain SimPy, on one workload."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter

import simpy

from benchmarks import plain_simpy
from hustle_sim.policy import Policy
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.simulation.backend import SimulatedBackend
from hustle_sim.simulation.loop import SimPyEventLoop, run_virtual
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import simulate

CLIENTS, REQUESTS, LIMIT_S = 20, 500, 8.0


def workload() -> Scenario:
    """A healthy backend and ``CLIENTS`` clients that send about ``REQUESTS`` messages each."""
    return Scenario.load("morning-outage").replace(
        {
            "duration_s": REQUESTS * 60.0,
            "outages": [],
            "warm_up_s": 0,
            "backend.capacity": CLIENTS,
            "backend.error_rate": 0,
            "clients.count": CLIENTS,
            "clients.messages_per_hour": 60,
            "clients.profile": "flat",
            "clients.repeat_share": 0,
        }
    )


def plain(scenario: Scenario, seed: int) -> int:
    """The hand-written model; returns the number of requests."""
    draws = Draws(seed)
    uniform = draws.uniform
    latency = scenario.backend.latency
    gap_s = 3600 / scenario.clients.messages_per_hour

    def draw(what: str, client: int, number: int) -> float:
        u = uniform(what, client, number)
        return 2 * u * gap_s if what == "gap" else latency.sample(u)

    return len(plain_simpy.run(CLIENTS, REQUESTS, scenario.backend.capacity, LIMIT_S, draw))


def direct(scenario: Scenario, seed: int) -> int:
    """The same clients as coroutines over the direct port, with ``asyncio.timeout`` as their limit."""
    draws = Draws(seed)
    uniform = draws.uniform
    gap_s = 3600 / scenario.clients.messages_per_hour
    latencies_s: list[float] = []

    async def client(backend: SimulatedBackend, number: int) -> None:
        port = backend.connect(number)
        loop = asyncio.get_running_loop()
        for turn in range(REQUESTS):
            await asyncio.sleep(2 * uniform("gap", number, turn) * gap_s)
            began_s = loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(LIMIT_S):
                    response = await port.chat("hello", key=f"{number}-{turn}")
                    assert response.outcome is Outcome.OK
            latencies_s.append(loop.time() - began_s)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimPyEventLoop)
        backend = SimulatedBackend(
            loop, scenario.backend, scenario.timeline(draws), draws, [].append, sample_every_s=3600
        )
        await asyncio.gather(*(client(backend, number) for number in range(CLIENTS)))

    run_virtual(main(), simpy.Environment())
    return len(latencies_s)


def full(scenario: Scenario, seed: int, *, wire: bool = False) -> int:
    """The whole coach; returns the number of messages."""
    return len(simulate(scenario, Policy(), seed, wire=wire).messages)


def seconds_each(work: Callable[[], int]) -> float:
    """Seconds per unit of work, of one run."""
    gc.collect()
    began = perf_counter()
    done = work()
    return (perf_counter() - began) / done


def measure(rounds: int = 5) -> dict[str, float]:
    """The medians over ``rounds`` interleaved rounds, and their ratios taken round by round."""
    scenario = workload()
    rows = []
    for seed in range(rounds):
        rows.append(
            {
                "plain": seconds_each(partial(plain, scenario, seed)),
                "direct": seconds_each(partial(direct, scenario, seed)),
                "full": seconds_each(partial(full, scenario, seed)),
                "wire": seconds_each(partial(full, scenario, seed, wire=True)),
            }
        )

    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    return {
        "plain SimPy, us per request": median([row["plain"] * 1e6 for row in rows]),
        "direct mode, us per request": median([row["direct"] * 1e6 for row in rows]),
        "direct mode over plain SimPy": median([row["direct"] / row["plain"] for row in rows]),
        "full stack, messages per second": median([1 / row["full"] for row in rows]),
        "full stack over plain SimPy": median([row["full"] / row["plain"] for row in rows]),
        "wire mode over direct mode (full stack)": median([row["wire"] / row["full"] for row in rows]),
    }


def memory() -> dict[str, float]:
    """Peak memory of fleets of two sizes, each in a process of its own, per thousand messages between them."""
    small, large = (_peak(clients) for clients in (50, 500))
    return {
        "memory, MiB per thousand messages": (large[0] - small[0]) / (large[1] - small[1]) * 1000,
        "memory of 500 clients x 1 h, MiB": large[0],
    }


def _peak(clients: int) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stack", str(clients)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    peak, messages = done.stdout.split()
    return float(peak), int(messages)


def _one_fleet(clients: int) -> None:
    scenario = workload().replace({"duration_s": 3600, "clients.count": clients, "backend.capacity": clients})
    messages = len(simulate(scenario, Policy(), 1).messages)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, messages)


if __name__ == "__main__":
    _one_fleet(int(sys.argv[1]))
