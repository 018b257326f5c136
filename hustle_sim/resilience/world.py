"""What the resilience code takes from outside: wall time, chance, identity, and a place for its events.

Loop time is not here: it comes from the running loop, which in a simulation is SimPy's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hustle_sim.events import Emit


def nowhere(event: object) -> None:
    """Events that nobody asked for go here."""


@dataclass(frozen=True, slots=True)
class World:
    """The surroundings of one client.

    ``wall_clock()`` gives POSIX seconds (UTC). ``uniform(stream, *key)`` draws from [0, 1): ``stream`` says
    what for, ``key`` (integers) for which one; a live world may ignore both, a simulated one draws by them alone.
    ``new_id()`` mints a message id that is unique for ever. ``client`` is the number under which events are
    recorded.
    """

    wall_clock: Callable[[], float]
    uniform: Callable[..., float]
    new_id: Callable[[], str]
    emit: Emit = nowhere
    client: int = 0
