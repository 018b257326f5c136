"""A client of the crash suite: one person and an app that dies and starts again over a store that stays."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from hustle_sim.resilience.breaker import BreakerState
from hustle_sim.resilience.coach import Coach, Delivery, Reply
from hustle_sim.resilience.health import Status
from hustle_sim.resilience.store import ItemState
from hustle_sim.resilience.world import World
from hustle_sim.simulation.crashes import FaultyStore, Incarnation, Port, Vault
from hustle_sim.simulation.trial_calls import Retries, TrialCalls

if TYPE_CHECKING:
    from hustle_sim.simulation.trials import Trial

GRACE_S = 0.001
"""So much later than the deadline an answer may come."""

WAITING = (ItemState.READY, ItemState.LEASED)
"""What must have come to an end after the healthy stretch."""

_HEARTBEAT_S = 15.0
_CRASH_WITHIN_S = 60.0


class Client:
    """One person and the app: it lives, dies, and lives again, over a store that stays."""

    def __init__(self, trial: Trial, number: int, vault: Vault) -> None:
        self.trial = trial
        self.number = number
        self.vault = vault
        self.is_up = False
        self.trials = TrialCalls(trial.policy)
        self.retries = Retries(trial.policy, 0.0)
        self._ids = count()
        self._lives = count()
        self._life: Incarnation | None = None
        self._coach: Coach | None = None
        self._port: Port | None = None
        self._closing: asyncio.Future[None] | None = None
        self._main: asyncio.Task[None] | None = None
        self._heartbeats = False
        self._beaten = False
        self._sends: dict[asyncio.Task[None], tuple[Incarnation, float]] = {}
        self._told: set[str] = set()
        self.spoken: dict[str, tuple[str, float]] = {}
        """The conversation and the time of what the person said, by its text."""

    async def live(self) -> None:
        """Start, send, crash and start again, as the case says."""
        trial = self.trial
        trial.loop.create_task(self._speak())
        for crash in trial.case.crashes:
            if crash.client != self.number:
                continue
            self._begin()
            life = self._life
            assert life is not None
            await asyncio.sleep(crash.at_s - trial.loop.time())
            life.arm(crash.steps)
            done, _ = await asyncio.wait([life.death], timeout=_CRASH_WITHIN_S)
            if not done:
                life.die()
            trial.say(f"client {self.number}.{life.number} crashed after {life.steps} steps")
            trial.verdict.figures["crashes"] += 1
            self._check_probes()
            self._coach = None
            await asyncio.sleep(crash.pause_s)
        self._begin()
        self.is_up = True

    def _begin(self) -> None:
        trial = self.trial
        if self._life is not None and self._life.alive:
            return
        self.trials = TrialCalls(trial.policy)
        self.retries = Retries(trial.policy, trial.loop.time())
        self._told = set()
        life = self._life = trial.graveyard.life(self.number, next(self._lives))
        trial.say(f"client {self.number}.{life.number} starts")
        case = trial.case
        store = FaultyStore(
            self.vault,
            fails=trial.fails,
            takes_s=trial.takes_s,
            report=life.emitter(trial.violate),  # type: ignore[arg-type]
            interleave=bool(case.crashes or case.store_faults),
            is_shared=case.shared,
        )
        world = World(
            wall_clock=trial.wall_clock,
            uniform=trial.draws.uniform,
            new_id=lambda: f"{self.number}-{next(self._ids)}",
            emit=life.emitter(trial.record),
            client=self.number,
        )
        self._port = Port(trial.backend.connect(self.number), life, trial.loop, trial.requested)
        coach = Coach(self._port, trial.policy, world, store)  # type: ignore[arg-type]
        coach.subscribe(self._delivered)
        self._closing = trial.loop.create_future()
        self._main = life.start(self._run(coach, self._closing))

    async def _run(self, coach: Coach, closing: asyncio.Future[None]) -> None:
        async with coach:
            self._coach = coach
            await closing

    def _delivered(self, delivery: Delivery) -> None:
        if delivery.text != f"Reply to {delivery.message_id}":
            self.trial.violate(f"{delivery.message_id} was delivered with {delivery.text!r}")
        if delivery.message_id in self._told:
            self.trial.violate(f"the answer to {delivery.message_id} was published twice, now as {delivery.via}")
        self._told.add(delivery.message_id)

    async def _speak(self) -> None:
        """The person's messages, each at its time; one who finds the app closed does not wait for it."""
        trial = self.trial
        u = trial.draws.uniform
        times = sorted(u("trial.at", self.number, each) * trial.case.lasts_s for each in range(trial.case.messages))
        for number, at_s in enumerate(times):
            await asyncio.sleep(at_s - trial.loop.time())
            priority = int(3 * u("trial.priority", self.number, number))
            conversation = f"talk {int(2 * u('trial.talk', self.number, number))}" if trial.case.conversations else ""
            self._say(f"Question {self.number}.{number}", priority, conversation)
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            if self._heartbeats:
                self._say(f"Are you well at {trial.loop.time():.0f}?", 0, "")

    def decide(self) -> None:
        """The person says of each message of unknown fate whether it is sent again."""
        if self._coach is None or self._life is None or self.number >= len(self.trial.vaults):
            return
        for item in tuple(self.vault.store._open.values()):
            if item.state is ItemState.UNKNOWN and self.trial.asked[item.id] < 3:
                self.trial.asked[item.id] += 1
                again = self.trial.draws.uniform("trial.again", item.sequence, self.trial.asked[item.id]) < 0.5
                again &= self.trial.asked[item.id] < 3
                queue = self._coach.queue
                self._life.start(queue.retry(item.id) if again else queue.cancel(item.id))
                if not again:
                    self.trial.cancelled.add(item.id)

    def begin_heartbeat(self) -> None:
        """From now on a message now and then shows whether all is well."""
        self._heartbeats = True

    def end_heartbeat(self) -> None:
        """The person is convinced."""
        self._heartbeats = False

    def _say(self, text: str, priority: int, conversation: str) -> None:
        if self._coach is None or self._life is None or not self._life.alive:
            return
        self.trial.verdict.figures["messages"] += 1
        self.spoken[text] = (conversation, self.trial.loop.time())
        task = self._life.start(self._send(self._coach, text, priority, conversation))
        self._sends[task] = (self._life, self.trial.loop.time())

    async def _send(self, coach: Coach, text: str, priority: int, conversation: str) -> None:
        trial = self.trial
        began_s = trial.loop.time()
        reply: Reply = await coach.send(text, priority=priority, conversation=conversation)
        took_s = trial.loop.time() - began_s
        if took_s > trial.policy.request.deadline_s + GRACE_S:
            trial.violate(f"{reply.message_id}: send() took {took_s:.4f} s")
        if reply.source == "backend" and self._heartbeats:
            self._beaten = True

    def _faults(self) -> list[str]:
        """What is not well yet."""
        coach = self._coach
        if coach is None:
            return ["the app is not up"]
        waiting = list(self.vault.store._open)
        return [
            *([f"the monitor says {coach.monitor.status}"] if coach.monitor.status is not Status.ONLINE else []),
            *([f"the breaker is {coach.breaker.state}"] if coach.breaker.state is not BreakerState.CLOSED else []),
            *([f"{len(waiting)} messages wait: {waiting[:3]}"] if waiting else []),
            *([] if self._beaten else ["no message was answered"]),
            *(["a person waits for an answer"] if any(not task.done() for task in self._living_sends()) else []),
        ]

    def _living_sends(self) -> list[asyncio.Task[None]]:
        return [task for task, (life, _) in self._sends.items() if life.alive]

    def is_well(self) -> bool:
        """Whether everything is delivered, and all parts are as on a good day."""
        return not self._faults()

    def check_well(self) -> None:
        """After the bound it has to be well."""
        for fault in self._faults():
            self.trial.violate(f"client {self.number} is not well within the bound: {fault}")

    def _check_probes(self) -> None:
        port, probe = self._port, self.trial.policy.probe
        if port is None:
            return
        if port.most_probing > 1:
            self.trial.violate(f"client {self.number} had {port.most_probing} probes in flight at once")
        least_s = min(probe.confirm_s, probe.interval_s, probe.offline_interval_s) * (1 - probe.jitter)
        # A request is news twice at most: when it takes too long, and when it is answered after all.
        early = sum(
            later - sooner < least_s - 1e-6 for sooner, later in zip(port.probes, port.probes[1:], strict=False)
        )
        if early > 2 * port.chats:
            self.trial.violate(f"client {self.number} probed {early} times early on {port.chats} requests")

    async def close(self) -> None:
        """A clean end of the last life; nothing of it may be left."""
        trial, life = self.trial, self._life
        assert life is not None
        assert self._closing is not None
        assert self._main is not None
        self._coach = None
        self._check_probes()
        self._closing.set_result(None)
        done, _ = await asyncio.wait([self._main], timeout=300)
        if not done:
            trial.violate(f"client {self.number} did not close")
        elif self._main.exception() is not None:
            trial.violate(f"client {self.number} closed with {self._main.exception()!r}")
        await asyncio.sleep(0.01)
        for left in life.left_over():
            trial.violate(f"client {self.number} left behind {left}")
        for task, (owner, began_s) in self._sends.items():
            if owner.alive and not task.done():
                trial.violate(f"a message of {began_s:.3f} s never got an answer")
            elif task.done() and not task.cancelled() and task.exception() is not None:
                trial.violate(f"a message of {began_s:.3f} s raised {task.exception()!r}")
