"""A backend that plays a script in virtual time, and small helpers for the tests of the resilience room."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

from hypothesis import settings

from hustle_sim.events import QueueChanged, Recorder
from hustle_sim.policy import Policy
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.coach import Coach
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.store import MemoryStore, StoreError
from hustle_sim.resilience.world import World
from hustle_sim.simulation.loop import run_virtual

# A virtual second takes as long as it takes: a busy machine is no failure.
settings.register_profile("virtual", settings.get_profile(settings._current_profile), deadline=None)
settings.load_profile("virtual")

START = 1_700_000_000.0
"""The wall time at loop time 0 in tests."""


class Step(NamedTuple):
    """What the fake backend does with one request: after ``after_s`` seconds it answers, or raises ``error``."""

    after_s: float = 0.1
    outcome: Outcome = Outcome.OK
    text: str = "Well done!"
    retry_after_s: float | None = None
    error: Exception | None = None


OK = Step()
HANG = Step(after_s=1e9)
REFUSED = Step(0.0, Outcome.REFUSED)
OVERLOADED = Step(0.05, Outcome.OVERLOADED)
BAD_MESSAGE = Step(0.05, Outcome.HTTP_4XX)


def ok(after_s: float, text: str = "Well done!") -> Step:
    return Step(after_s, Outcome.OK, text)


Script = Step | Iterable[Step] | Callable[[float], Step]
"""One step for all requests, a step per request (the last one repeats), or a step by the time of the request."""


class Chat(NamedTuple):
    time_s: float
    text: str
    key: str


class FakeBackend:
    """Plays ``chat`` and ``health`` scripts. ``chats`` and ``probes`` are what arrived; ``processed`` what was done.

    A request that is abandoned is not processed, and ``abandoned`` counts it.
    """

    def __init__(self, chat: Script = OK, health: Script = OK) -> None:
        self.chat_script, self.health_script = _player(chat), _player(health)
        self.chats: list[Chat] = []
        self.probes: list[float] = []
        self.processed: list[str] = []
        self.abandoned = 0
        self.in_flight: dict[str, int] = {"chat": 0, "health": 0}
        self.most_in_flight: dict[str, int] = {"chat": 0, "health": 0}

    async def health(self) -> Response:
        now_s = asyncio.get_running_loop().time()
        self.probes.append(now_s)
        return await self._play(self.health_script(now_s), "health")

    async def chat(self, text: str, *, key: str) -> Response:
        now_s = asyncio.get_running_loop().time()
        self.chats.append(Chat(now_s, text, key))
        response = await self._play(self.chat_script(now_s), "chat")
        if response.outcome is Outcome.OK:
            self.processed.append(key)
        return response

    async def aclose(self) -> None:
        pass

    async def _play(self, step: Step, kind: str) -> Response:
        self.in_flight[kind] += 1
        self.most_in_flight[kind] = max(self.most_in_flight[kind], self.in_flight[kind])
        try:
            await asyncio.sleep(step.after_s)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.in_flight[kind] -= 1
        if step.error is not None:
            raise step.error
        version = "1.0" if kind == "health" else ""
        text = step.text if kind == "chat" and step.outcome is Outcome.OK else ""
        return Response(step.outcome, text, None, step.retry_after_s, version)


def _player(script: Script) -> Callable[[float], Step]:
    if isinstance(script, Step):
        return lambda now_s: script
    if callable(script):
        return script
    steps = iter(script)
    last = OK

    def play(now_s: float) -> Step:
        nonlocal last
        last = next(steps, last)
        return last

    return play


def down_between(begin_s: float, end_s: float, how: Step = REFUSED, else_: Step = OK) -> Callable[[float], Step]:
    return lambda now_s: how if begin_s <= now_s < end_s else else_


def middle(stream: str, *key: int) -> float:
    """A draw that changes nothing where jitter is symmetrical."""
    return 0.5


def hashed(seed: int) -> Callable[..., float]:
    """Draws keyed by what they are for, as in a simulation."""

    def uniform(stream: str, *key: int) -> float:
        digest = hashlib.blake2b(repr((seed, stream, key)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    return uniform


def loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def make_world(
    recorder: Callable[[Any], None] | None = None,
    *,
    uniform: Callable[..., float] = middle,
    start: float = START,
    prefix: str = "m",
) -> World:
    """Wall time is ``start`` plus loop time; ids are ``m1, m2, ...``."""
    numbers = count(1)
    return World(
        wall_clock=lambda: start + loop_time(),
        uniform=uniform,
        new_id=lambda: f"{prefix}{next(numbers)}",
        emit=recorder if recorder is not None else Recorder(),
        client=7,
    )


class Rig:
    """A coach with all that surrounds it, ready to be entered: ``async with rig(...) as it: await it.coach.send``."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        chat: Script = OK,
        health: Script = OK,
        store: Any = None,
        backend: FakeBackend | None = None,
        uniform: Callable[..., float] = middle,
        prefix: str = "m",
        **more: Any,
    ) -> None:
        self.backend = backend or FakeBackend(chat, health)
        self.recorder = Recorder()
        self.world = make_world(self.recorder, uniform=uniform, prefix=prefix)
        self.store = store if store is not None else MemoryStore()
        self.coach = Coach(self.backend, policy or Policy(), self.world, self.store, **more)
        self.deliveries: list[Any] = []
        self.coach.subscribe(self.deliveries.append)

    async def __aenter__(self) -> "Rig":
        await self.coach.__aenter__()
        # The first probe of a healthy backend takes 0.1 s: most tests begin after it.
        await asyncio.sleep(1)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.coach.aclose()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.recorder if isinstance(event, kind)]

    def queue_events(self) -> list[str]:
        return [event.event for event in self.of(QueueChanged)]


class BrokenStore(MemoryStore):
    """A store that fails while ``broken`` is set: in every call, or in those named."""

    def __init__(self, *calls: str) -> None:
        super().__init__()
        self.broken = True
        self._calls = calls

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("broken", "aclose", "is_shared") or not super().__getattribute__("broken"):
            return found
        calls = super().__getattribute__("_calls")
        if calls and name not in calls:
            return found

        async def fail(*_: object, **__: object) -> Any:
            raise StoreError("the disk is full")

        return fail


class SlowStore(MemoryStore):
    """A store whose every call takes ``takes_s`` seconds."""

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self._takes_s = takes_s

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("aclose", "is_shared"):
            return found

        async def slowly(*args: Any, **named: Any) -> Any:
            await asyncio.sleep(self._takes_s)
            return await found(*args, **named)

        return slowly


_ENDS = ("delivered", "expired", "dead", "cancelled", "dropped")


def assert_conserved(events: Iterable[Any]) -> None:
    """accepted = delivered + expired + dead + cancelled + dropped + pending, after each event; depth is pending."""
    pending: set[str] = set()
    ended: set[str] = set()
    for event in events:
        if not isinstance(event, QueueChanged):
            continue
        if event.event == "accepted":
            assert event.message_id not in pending | ended, f"accepted twice: {event}"
            pending.add(event.message_id)
        elif event.event in _ENDS:
            assert event.message_id in pending, f"ended without being pending: {event}"
            pending.remove(event.message_id)
            if event.event != "dropped":
                # What was dropped left no trace: its id may come again.
                ended.add(event.message_id)
        elif event.event == "requeued":
            assert event.message_id in pending | ended, f"never accepted: {event}"
            ended.discard(event.message_id)
            pending.add(event.message_id)
        elif event.event in ("leased", "released", "unknown"):
            assert event.message_id in pending, f"not pending: {event}"
        assert event.depth == len(pending), f"{len(pending)} are pending: {event}"


__all__ = [
    "BAD_MESSAGE", "HANG", "OK", "OVERLOADED", "REFUSED", "START", "BrokenStore", "Chat", "FakeBackend", "Rig",
    "SlowStore", "Step", "assert_conserved", "down_between", "hashed", "make_world", "middle", "ok", "run_virtual",
]  # fmt: skip
