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
    """Send this client's messages at their times; one who still waits or thinks sends the next one after that."""
    loop = asyncio.get_running_loop()
    clients = scenario.clients
    think_draw = draws.stream("client.think")
    free_s = joins_at_s(scenario, draws, client)
    arrivals = clients.arrivals(draws, client, start=scenario.start, duration_s=scenario.duration_s)
    for number, at_s in enumerate(arrivals):
        wait_s = max(at_s, free_s) - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        text = question(clients.question(draws, client, number))
        await send(text, clients.priority(draws, client, number))
        free_s = loop.time() + clients.think_time.sample(think_draw(client, number))
