"""The oracle and the yardstick: the same workload as a SimPy user would write it by hand.

A process per client and per request; the reply is raced against a timeout. No coach, no asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy


def run(
    clients: int, requests: int, capacity: int, limit_s: float, draw: Callable[[str, int, int], float]
) -> list[float]:
    """Latencies (s) of all requests, in the order in which they ended; ``draw(what, client, number)`` gives seconds."""
    env = simpy.Environment()
    places = simpy.Resource(env, capacity)
    latencies_s: list[float] = []

    def request(service_s: float) -> Generator[simpy.Event, Any, str]:
        with places.request() as place:
            yield place
            yield env.timeout(service_s)
        return "reply"

    def client(number: int) -> Generator[simpy.Event, Any, None]:
        for turn in range(requests):
            yield env.timeout(draw("gap", number, turn))
            began_s = env.now
            reply = env.process(request(draw("service", number, turn)))
            yield reply | env.timeout(limit_s)
            latencies_s.append(env.now - began_s)

    for number in range(clients):
        env.process(client(number))
    env.run()
    return latencies_s
