"""Scenario and policy and seed in, a run out: the resilience code in SimPy's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import httpx
import simpy

from hustle_sim.analysis import Run
from hustle_sim.events import (
    AttemptEnded,
    Event,
    MessageAnswered,
    MessageDelivered,
    MessageSent,
    OutageHappened,
    Recorder,
)
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.resilience.backend import Backend
from hustle_sim.resilience.coach import Coach
from hustle_sim.resilience.http import HttpBackend
from hustle_sim.resilience.outcome import Outcome, outcome_of_status
from hustle_sim.resilience.store import MemoryStore
from hustle_sim.resilience.world import World
from hustle_sim.simulation.backend import SimulatedBackend, SimulatedTransport
from hustle_sim.simulation.clients import joins_at_s, person
from hustle_sim.simulation.loop import SimPyEventLoop, run_virtual
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

Progress = Callable[[float], None]
"""Called with the share of virtual time that is done, 0..1, about 200 times in a run."""

SoFar = Callable[[int, Callable[[], Run]], object]
"""Called as often as ``Progress`` with the number of events until now, and with what makes a run of them: its
``duration_s`` is the time that is simulated by then."""

Client = Callable[[httpx.AsyncClient, str], Awaitable[object]]
"""A foreign client: ``await client(http, text)`` sends one message its own way; raising is a failure."""

_STEPS = 200
_SAMPLES = 2000


class Cancelled(Exception):  # noqa: N818 -- asyncio and trio name it so
    """The simulation was cancelled before its end."""


def simulate(
    scenario: Scenario,
    policy: Policy | None = None,
    seed: int = 0,
    *,
    wire: bool = False,
    label: str = "",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    so_far: SoFar | None = None,
) -> Run:
    """Run the resilience code through a scenario in virtual time.

    The run is a pure function of scenario, policy (default ``Policy()``) and seed. With ``wire`` every request
    goes through ``HttpBackend`` and httpx down to a simulated transport; the events are the same. ``progress``,
    ``cancelled`` and ``so_far`` are called from this thread; when ``cancelled()`` is true, ``Cancelled`` is raised.
    Works in a script, a notebook cell, a callback, a thread or a worker process.
    """
    policy = policy or Policy()

    async def visit(world: _World, client: int, stack: AsyncExitStack) -> None:
        backend: Backend = world.backend.connect(client)
        if wire:
            backend = HttpBackend("http://backend.simulated", transport=world.backend.transport(client))
            stack.push_async_callback(backend.aclose)
        coach = Coach(backend, policy, world.of(client), MemoryStore())
        await asyncio.sleep(joins_at_s(scenario, world.draws, client))
        await stack.enter_async_context(coach)
        await person(scenario, world.draws, client, lambda text, priority: coach.send(text, priority=priority))

    return _run(scenario, policy, seed, visit, label, progress, cancelled, so_far)


def simulate_client(
    client: Client,
    scenario: Scenario,
    seed: int = 0,
    *,
    deadline_s: float | None = None,
    label: str = "",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Run:
    """Run a client of your own through a scenario: ``async def client(http, text)``, with any retry library.

    ``http`` is an ``httpx.AsyncClient`` whose base URL is the simulated backend (``POST /chat``). What the
    client returns is the answer; if it raises, or takes longer than ``deadline_s`` (default: as long as it
    likes), the person sees an error, which the run shows as a fallback. Each request is an attempt; there is
    no monitor, breaker or queue unless the client brings one. It must take its time from asyncio. Raises InputError
    where the scenario's clients don't wait for their answers.
    """
    limit_s = deadline_s
    if not scenario.clients.waits:
        raise InputError("clients.waits is off: a client of your own sends one message at a time, so set it to true")

    async def visit(world: _World, number: int, stack: AsyncExitStack) -> None:
        transport = _Watched(world, number)
        http = httpx.AsyncClient(
            transport=transport, base_url="http://backend.simulated", timeout=None, trust_env=False
        )
        await stack.enter_async_context(http)
        loop = asyncio.get_running_loop()

        async def send(text: str, priority: int) -> None:
            message_id = transport.next_message()
            sent_s = loop.time()
            world.record(MessageSent(sent_s, number, message_id, priority))
            try:
                async with asyncio.timeout(limit_s):
                    await client(http, text)
                source = "backend"
            except Exception:
                source = "fallback"
            now_s = loop.time()
            world.record(MessageAnswered(now_s, number, message_id, source, False, now_s - sent_s))
            if source == "backend":
                world.record(MessageDelivered(now_s, number, message_id, "direct"))

        await asyncio.sleep(joins_at_s(scenario, world.draws, number))
        await person(scenario, world.draws, number, send)

    policy = Policy() if limit_s is None else Policy().replace({"request.deadline_s": limit_s})
    return _run(scenario, policy, seed, visit, label or "your client", progress, cancelled)


class _World:
    """What the clients of one simulation share."""

    def __init__(self, loop: SimPyEventLoop, scenario: Scenario, seed: int) -> None:
        self.recorder = Recorder()
        self.draws = Draws(seed)
        self.open = True
        self._loop = loop
        self._start = scenario.start.timestamp()
        self._uniform = self.draws.uniform
        self.timeline = scenario.timeline(self.draws)
        self.backend = SimulatedBackend(
            loop,
            scenario.backend,
            self.timeline,
            self.draws,
            self.recorder,
            sample_every_s=max(1.0, scenario.duration_s / _SAMPLES),
        )

    def record(self, event: Event) -> None:
        """Keep an event, unless the run is over: what is torn down then has no place in it."""
        if self.open:
            self.recorder(event)

    def until(self, time_s: float) -> Iterator[Event]:
        """What was recorded by then: outages are known from the start, but have not all begun."""
        return (event for event in self.recorder if not (isinstance(event, OutageHappened) and event.time_s > time_s))

    def of(self, client: int) -> World:
        """The surroundings of one client."""
        return World(
            wall_clock=self._wall_clock,
            uniform=self._uniform,
            new_id=_ids(client).__next__,
            emit=self.record,
            client=client,
        )

    def _wall_clock(self) -> float:
        return self._start + self._loop.time()


class _Watched(SimulatedTransport):
    """The transport of a foreign client: each request is recorded as an attempt."""

    def __init__(self, world: _World, client: int) -> None:
        super().__init__(world.backend, client)
        self._world = world
        self._number = client
        self._attempt = 0
        self._ended_s = 0.0

    def next_message(self) -> str:
        """Number the next message; returns its id."""
        self.message += 1
        self._attempt = 0
        self._ended_s = asyncio.get_running_loop().time()
        return f"{self._number}-{self.message}"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request, and record how it ended."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._attempt += 1
        message_id, number, wait_s = f"{self._number}-{self.message}", self._attempt, began_s - self._ended_s
        outcome, code = Outcome.CANCELLED, None
        limit_s = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(limit_s):
                response = await super().handle_async_request(request)
            outcome, code = outcome_of_status(response.status_code), response.status_code
        except httpx.ConnectError:
            outcome = Outcome.REFUSED
            raise
        except TimeoutError:
            outcome = Outcome.TIMEOUT
            raise httpx.ReadTimeout("the backend did not answer in time", request=request) from None
        finally:
            self._ended_s = loop.time()
            self._world.record(
                AttemptEnded(
                    began_s, self._number, message_id, "message", number, wait_s, self._ended_s - began_s,
                    outcome.value, code,
                )
            )  # fmt: skip
        return response


Visit = Callable[[_World, int, AsyncExitStack], Coroutine[Any, Any, None]]


def _run(
    scenario: Scenario,
    policy: Policy,
    seed: int,
    visit: Visit,
    label: str,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
    so_far: SoFar | None = None,
) -> Run:
    def made(world: _World, until_s: float) -> Run:
        return Run.from_events(
            world.until(until_s),
            policy=policy,
            start=scenario.start,
            duration_s=until_s,
            warm_up_s=scenario.warm_up_s,
            seed=seed,
            scenario=scenario.to_dict(),
            label=label,
            backend_truth=True,
        )

    def step(world: _World, share: float) -> None:
        if cancelled is not None and share < 1 and cancelled():
            raise Cancelled("the simulation was cancelled")
        if progress is not None and share > 0:
            progress(share)
        if so_far is not None and 0 < share < 1:
            so_far(len(world.recorder), lambda: made(world, scenario.duration_s * share))

    world = run_virtual(_main(scenario, seed, visit, step), simpy.Environment())
    return made(world, scenario.duration_s)


async def _main(scenario: Scenario, seed: int, visit: Visit, step: Callable[[_World, float], None]) -> _World:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimPyEventLoop)
    world = _World(loop, scenario, seed)
    for outage in world.timeline.outages:
        world.record(OutageHappened(outage.start_s, outage.end_s, outage.mode, outage.severity))
    async with AsyncExitStack() as stack:
        visits = [loop.create_task(visit(world, client, stack)) for client in range(scenario.clients.count)]
        try:
            step(world, 0.0)
            for number in range(1, _STEPS + 1):
                await asyncio.sleep(scenario.duration_s * number / _STEPS - loop.time())
                for task in visits:
                    if task.done() and task.exception() is not None:
                        task.result()
                step(world, number / _STEPS)
        finally:
            world.open = False
            for task in visits:
                task.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
    return world


def _ids(client: int) -> Iterator[str]:
    """Message ids that are the same in every run: client and number."""
    return (f"{client}-{number}" for number in count())
