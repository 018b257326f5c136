"""``python -m benchmarks.kill [rounds]``: the real coach and store are killed at random moments, and nothing is lost.

A child process runs the real ``Coach`` with ``SQLiteStore`` and ``HttpBackend`` against a practice backend in this
process, and reports each message that it has accepted before it goes on. It is ended with SIGKILL at random moments
and started again on the same file, two at once in every second round. In the end one runs until the queue is empty,
and then every accepted message must have had exactly one effect. Exit code 1 if one has not.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.settings import live_world
from hustle_sim.policy import Policy
from hustle_sim.resilience.coach import Coach
from hustle_sim.resilience.http import HttpBackend
from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.simulation.scenario import Scenario

POLICY = Policy().replace(
    {
        "probe.timeout_s": 0.3, "probe.interval_s": 1, "probe.confirm_s": 0.1, "probe.offline_interval_s": 0.1,
        "probe.offline_interval_max_s": 0.2, "probe.degraded_above_s": 0.3, "probe.degraded_below_s": 0.2,
        "probe.rise": 1, "request.deadline_s": 0.3, "request.attempt_timeout_s": 0.25, "request.max_attempts": 2,
        "request.late_answer_window_s": 0.2, "retry.base_s": 0.01, "retry.cap_s": 0.05, "breaker.open_s": 0.1,
        "breaker.open_max_s": 0.2, "breaker.min_calls": 20, "queue.max_size": 100_000, "queue.base_s": 0.02,
        "queue.cap_s": 0.1, "queue.flush_jitter_s": 0.02, "queue.drain_per_s": 500, "queue.drain_concurrency": 16,
        "queue.lease_s": 0.5, "cache.enabled": False,
    }
)  # fmt: skip
"""The default with short times, so that a round takes seconds."""

PEOPLE = 4
OUTAGES: tuple[tuple[str, dict[str, float]], ...] = (
    ("refuse", {}),
    ("refuse", {"share": 0.5}),
    ("hang", {}),
    ("hang", {"share": 0.3}),
    ("error", {"status": 500}),
    ("error", {"status": 503, "share": 0.5}),
    ("bad_body", {}),
    ("slow", {"delay_s": 0.4}),
)
LIVES = 4
"""How often a round kills what is running."""

_PATIENCE_S = 20.0
"""A round that has not come to its end by then is a failure of its own: something is stuck."""
_IMPORTED = [
    f"hustle_sim.{name}" for name in ("live.practice", "live.settings", "resilience.coach", "resilience.sqlite_store")
]


@dataclass(frozen=True, slots=True)
class Round:
    """One round: how often a process was killed, and what became of the messages that were accepted."""

    kills: int
    accepted: int
    queued: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    stuck: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether every accepted message had exactly one effect, and no other had two."""
        return not (self.lost or self.duplicated or self.stuck)

    def words(self) -> str:
        """What went wrong, with the first few names."""
        stuck = ", and the queue was not emptied" if self.stuck else ""
        return (
            f"{len(self.lost)} lost {list(self.lost[:3])}, "
            f"{len(self.duplicated)} duplicated {list(self.duplicated[:3])}{stuck}"
        )


def live(url: str, file: str, name: str, told: Connection, *, send: bool) -> None:
    """The life of a child process: people who send until they are killed, or an app that empties its queue."""
    asyncio.run(_talk(url, file, name, told) if send else _empty(url, file))


async def _talk(url: str, file: str, name: str, told: Connection) -> None:
    async with _coach(url, file) as coach:

        async def person(number: int) -> None:
            count = 0
            while True:
                count += 1
                message_id = f"{name}-{number}-{count}"
                conversation = f"{name}-{count // 5}" if number == 0 else ""
                reply = await coach.send(
                    f"text of {message_id}", priority=number % 3, conversation=conversation, message_id=message_id
                )
                if reply.queued or reply.source == "backend":
                    # One write of less than a pipe's atomic size: it is reported wholly or not at all.
                    told.send_bytes(f"{'queued' if reply.queued else 'answered'} {message_id}".encode())
                await asyncio.sleep(0.015)

        async with asyncio.TaskGroup() as people:
            for number in range(PEOPLE):
                people.create_task(person(number))


async def _empty(url: str, file: str) -> None:
    async with _coach(url, file) as coach:
        while await coach.queue_depth() > 0:  # noqa: ASYNC110 - another process may empty it
            await asyncio.sleep(0.02)


class _AppCoach(Coach):
    async def queue_depth(self) -> int:
        return await self._store.depth()


@contextlib.asynccontextmanager
async def _coach(url: str, file: str) -> AsyncIterator[_AppCoach]:
    backend, store = HttpBackend(url), SQLiteStore(file)
    try:
        async with _AppCoach(backend, POLICY, live_world(), store) as coach:
            yield coach
    finally:
        await store.aclose()
        await backend.aclose()


class _Child:
    """A process that can be killed, and what it reported before that."""

    def __init__(self, url: str, file: Path, name: str, *, send: bool = True) -> None:
        context = multiprocessing.get_context("forkserver")
        self.told, far_end = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=live, args=(url, str(file), name, far_end), kwargs={"send": send}, daemon=True
        )
        self.process.start()
        far_end.close()
        self.reports: list[str] = []
        self.has_ended = False

    def listen(self) -> None:
        """Take in what has been reported."""
        with contextlib.suppress(EOFError, OSError):
            while not self.has_ended and self.told.poll():
                self.reports.append(self.told.recv_bytes().decode())
            return
        self.has_ended = True

    def kill(self) -> None:
        """End it as a power cut would, and take in its last reports."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.listen()
        self.told.close()


def _listen_until(children: list[_Child], until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        waiting = [child.told for child in children if not child.has_ended]
        if not waiting:
            return
        if wait(waiting, left):
            for child in children:
                child.listen()


def play(number: int, seed: int = 0) -> Round:
    """One round: kills at moments that ``seed`` and ``number`` decide, an audit at the end."""
    chance = random.Random(f"{seed}/{number}")
    scenario = Scenario().replace({"backend.latency": 0.01, "backend.health_latency": 0.002, "backend.capacity": 50})
    practice = PracticeBackend.in_thread(scenario, seed=number)
    at_once = 2 if number % 2 else 1
    kills, reports, stuck = 0, Counter[str](), False
    with tempfile.TemporaryDirectory(prefix="hustle-kill-") as folder:
        file = Path(folder) / "queue.db"
        children: list[_Child] = []
        try:
            for life in range(LIVES):
                while len(children) < at_once:
                    children.append(_Child(practice.url, file, f"r{number}-{life}-{len(children)}"))
                # Weather: an outage most of the time, that begins and ends while people write.
                for _ in range(chance.randint(1, 3)):
                    mode, parameters = chance.choice(OUTAGES)
                    if chance.random() < 0.7:
                        practice.break_it(mode, **parameters)
                    else:
                        practice.mend()
                    _listen_until(children, time.monotonic() + chance.uniform(0.02, 0.4))
                victim = children.pop(chance.randrange(len(children)))
                victim.kill()
                kills += 1
                reports.update(victim.reports)
            for child in children:
                child.kill()
                kills += 1
                reports.update(child.reports)
            children.clear()
            practice.mend()
            last = _Child(practice.url, file, f"r{number}-end", send=False)
            last.process.join(_PATIENCE_S)
            stuck = last.process.exitcode != 0
            if last.process.exitcode is None:
                last.kill()
            effects = Counter(practice.effects)
        finally:
            for child in children:
                child.kill()
            practice.close()
    queued = [report.partition(" ")[2] for report in reports if report.startswith("queued ")]
    accepted = [report.partition(" ")[2] for report in reports]
    return Round(
        kills=kills,
        accepted=len(accepted),
        queued=len(queued),
        lost=tuple(each for each in accepted if effects[each] == 0),
        duplicated=tuple(each for each, times in effects.items() if times > 1),
        stuck=stuck,
    )


def prepare() -> None:
    """Let the children start from a process that has imported everything already."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_IMPORTED)


def main(rounds: int = 100, seed: int = 0) -> int:
    """Play the rounds and print their figures; 1 if anything was lost, duplicated or stuck."""
    prepare()
    began = time.monotonic()
    played: list[Round] = []
    for number in range(rounds):
        played.append(play(number, seed))
        if not played[-1].is_clean:
            print(f"round {number} of seed {seed}: {played[-1].words()}", flush=True)
    took_s = time.monotonic() - began
    print(
        f"{len(played)} rounds in {took_s:.0f} s, {sum(each.kills for each in played)} kills, "
        f"{sum(each.accepted for each in played):,} messages accepted "
        f"({sum(each.queued for each in played):,} of them by the queue), "
        f"{sum(len(each.lost) for each in played)} lost, "
        f"{sum(len(each.duplicated) for each in played)} duplicated, "
        f"{sum(each.stuck for each in played)} stuck"
    )
    return 0 if all(each.is_clean for each in played) else 1


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:3])))
