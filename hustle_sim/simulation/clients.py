"""The people of a simulation: each sends messages to a coach of their own, and waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.words import question

Send = Callable[[str, int], Awaitable[object]]
"""``send(text, priority)``: returns when the person has an answer."""

JOIN_WITHIN_S = 60.0
"""The clients of a fleet open their apps within this time, not all at one instant."""


def joins_at_s(scenario: Scenario, draws: Draws, client: int) -> float:
    """When a client opens the app, in seconds from the start; a single client is there from the beginning."""
    if scenario.clients.count == 1:
        return 0.0
    return draws.uniform("client.joins", client) * min(JOIN_WITHIN_S, scenario.duration_s / 10)


async def person(scenario: Scenario, draws: Draws, client: int, send: Send) -> None:
    """Send this client's messages at their times; one who still waits or thinks sends the next one after that.

    Where clients don't wait (``clients.waits`` is off) each message is sent at its time, whatever became of the others
    (an open loop: Schroeder, Wierman, Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006).
    """
    loop = asyncio.get_running_loop()
    clients = scenario.clients
    think_draw = draws.stream("client.think")
    joined_s = free_s = joins_at_s(scenario, draws, client)
    arrivals = clients.arrivals(draws, client, start=scenario.start, duration_s=scenario.duration_s)
    async with _Together() as together:
        for number, at_s in enumerate(arrivals):
            if not clients.waits and at_s < joined_s:
                # Nobody waited to send it: or all of them would be sent at once now.
                continue
            wait_s = max(at_s, free_s) - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            text = question(clients.question(draws, client, number))
            sent = send(text, clients.priority(draws, client, number))
            if clients.waits:
                await sent
                free_s = loop.time() + clients.think_time.sample(think_draw(client, number))
            else:
                together.start(sent)


class _Together:
    """Messages under way at the same time, in their order; leaving the block waits for all of them.

    As asyncio's TaskGroup, which keeps a set, whose order is not the same in every run.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._failed: list[BaseException] = []

    def start(self, sent: Awaitable[object]) -> None:
        """Let one more message go its way; raises what an earlier one raised."""
        self._raise()
        task = asyncio.get_running_loop().create_task(_done(sent))
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    async def __aenter__(self) -> _Together:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            self._raise()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._failed.append(failure)

    def _raise(self) -> None:
        if self._failed:
            raise self._failed[0]


async def _done(sent: Awaitable[object]) -> None:
    await sent
