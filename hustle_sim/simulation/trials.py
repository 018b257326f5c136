"""One case of the crash suite, run and judged: the real coach through outages, crashes and a store that fails.

``run_case(case)`` gives a ``Verdict``: the violated invariants (none, it is hoped), figures, and the log of it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import simpy

from hustle_sim.events import (
    AttemptEnded,
    BackendSampled,
    BreakerChanged,
    EffectHappened,
    Event,
    MessageAnswered,
    MessageDelivered,
    MessageSent,
    QueueChanged,
)
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.store import ItemState
from hustle_sim.simulation.backend import SimulatedBackend
from hustle_sim.simulation.cases import Case, Jump
from hustle_sim.simulation.crashes import Graveyard, Request, Vault
from hustle_sim.simulation.distributions import Lognormal
from hustle_sim.simulation.lives import GRACE_S, WAITING, Client
from hustle_sim.simulation.loop import SimPyEventLoop, VirtualTimeError, run_virtual
from hustle_sim.simulation.outages import OutageSpec, resolve
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import BackendModel

_START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(slots=True)
class Verdict:
    """How a case went. ``violations`` is empty if every invariant held; ``log`` says what happened, in order."""

    case: Case
    violations: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    simulated_s: float = 0.0


def run_case(case: Case) -> Verdict:
    """Run a case to its end and judge it."""
    verdict = Verdict(case)
    loop = SimPyEventLoop(simpy.Environment(0.0))
    trial = Trial(case, loop, verdict)
    watch = _Watch(trial)
    logger = logging.getLogger("hustle_sim")
    kept = logger.propagate, logger.level
    logger.addHandler(watch)
    logger.propagate = False
    try:
        run_virtual(trial.run(), loop=loop)
    except VirtualTimeError as error:
        trial.violate(f"the loop: {type(error).__name__}: {str(error).splitlines()[0]}")
    except BaseExceptionGroup as errors:
        for each in errors.exceptions:
            trial.violate(f"unhandled in the loop: {each!r}")
    finally:
        logger.removeHandler(watch)
        logger.propagate, _ = kept
    return verdict


class _Watch(logging.Handler):
    """What the resilience code logs as an error is a violation; a warning goes to the log."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(logging.WARNING)
        self._trial = trial

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            self._trial.violate(f"logged as an error: {text} {error!r}")
        else:
            self._trial.say(text)


class Trial:
    """What the clients of one case share: the backend, the clock, the stores and the account of what happened."""

    def __init__(self, case: Case, loop: SimPyEventLoop, verdict: Verdict) -> None:
        self.case = case
        self.loop = loop
        self.verdict = verdict
        self.policy = case.made_policy()
        self.draws = Draws(case.seed)
        self.graveyard = Graveyard(loop)
        self.requests: dict[str, list[Request]] = {}
        self.effects: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.promised: set[str] = set()
        self.answers: dict[str, MessageAnswered] = {}
        self.rejected: set[str] = set()
        self.ended: set[str] = set()
        self.unsettled: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.calls = count()
        self._jumps = [jump for jump in case.jumps if not jump.replaying]
        self._jumps_to_come = [jump for jump in case.jumps if jump.replaying]
        self._errors = [fault for fault in case.store_faults if fault.kind == "error"]
        slow = [fault for fault in case.store_faults if fault.kind == "slow"]
        self._slowest_call_s = max((fault.takes_s for fault in slow), default=0.0)
        vaults = [Vault(loop) for _ in range(1 if case.shared else case.clients)]
        self.vaults = vaults
        model = BackendModel(
            latency=Lognormal(median_s=0.2, p99_s=0.7),
            honours_keys=case.honours_keys,
            abandoned_keep_place=case.abandoned_keep_place,
        )
        specs = tuple(OutageSpec.model_validate(outage) for outage in case.outages)
        timeline = resolve(specs, duration_s=case.faults_end_s + 1, start=_START, draws=self.draws)
        self.backend = SimulatedBackend(loop, model, timeline, self.draws, self.record, sample_every_s=3600.0)
        self.clients = [Client(self, number, vaults[number % len(vaults)]) for number in range(case.clients)]

    def violate(self, what: str) -> None:
        """An invariant does not hold."""
        self.verdict.violations.append(f"{self.loop.time():.3f} s: {what}")
        self.say(f"VIOLATED: {what}")

    def say(self, what: str) -> None:
        """Put a line into the log."""
        self.verdict.log.append(f"{self.loop.time():10.3f}  {what}")

    def wall_clock(self) -> float:
        """The wall clock, with its jumps."""
        now_s = self.loop.time()
        return _START.timestamp() + now_s + sum(jump.by_s for jump in self._jumps if jump.at_s <= now_s)

    def _jump_in_replay(self) -> None:
        """A replay has begun: what is to jump in one jumps a moment later."""
        now_s = self.loop.time()
        due = [jump for jump in self._jumps_to_come if jump.at_s <= now_s]
        self._jumps_to_come = [jump for jump in self._jumps_to_come if jump not in due]
        self._jumps += [Jump(now_s + 0.05, jump.by_s) for jump in due]

    def fails(self, call: str, about: str) -> str | None:
        """Whether a call to the store, about an item, is to fail now."""
        now_s = self.loop.time()
        for fault in self.case.store_faults:
            if fault.start_s <= now_s < fault.end_s:
                if fault.kind == "full" and call == "add":
                    self.verdict.figures["full disk"] += 1
                    return "the disk is full"
                if fault.kind == "error" and self.draws.uniform("store.fails", next(self.calls)) < fault.share:
                    self.verdict.figures["store errors"] += 1
                    if call == "settle":
                        self.unsettled[about] += 1
                    return "the store is broken"
        return None

    def takes_s(self, call: str) -> float:
        """How long a call to the store takes now."""
        now_s = self.loop.time()
        slow = [
            each.takes_s
            for each in self.case.store_faults
            if each.kind == "slow" and each.start_s <= now_s < each.end_s
        ]
        if not slow:
            return 0.0
        self.verdict.figures["slow store calls"] += 1
        return max(slow) * self.draws.uniform("store.takes", next(self.calls))

    def record(self, event: Event) -> None:
        """Take an event into account, and check what can be checked at once."""
        if isinstance(event, BackendSampled):
            return
        self.say(f"{event}")
        if isinstance(event, EffectHappened):
            self.effects[event.message_id] += 1
            if self.case.honours_keys and self.effects[event.message_id] > 1:
                self.violate(
                    f"{event.message_id} had {self.effects[event.message_id]} effects, though keys are honoured"
                )
        elif isinstance(event, QueueChanged):
            self._check_queue(event)
        elif isinstance(event, BreakerChanged):
            wrong = self.clients[event.client].trials.moved(event)
            if wrong:
                self.violate(wrong)
        elif isinstance(event, MessageSent):
            self.clients[event.client].retries.sent()
        elif isinstance(event, AttemptEnded):
            wrong = self.clients[event.client].retries.attempted(event)
            if wrong:
                self.violate(wrong)
        elif isinstance(event, MessageAnswered):
            self.answers[event.message_id] = event
            if event.queued:
                self.promised.add(event.message_id)
            if event.source == "backend" and not self.effects[event.message_id]:
                self.violate(f"{event.message_id} was answered without an effect")
            if event.source == "fallback" and not event.queued and not self._may_go_unsaved(event):
                self.violate(f"{event.message_id} was not saved at its deadline, and nothing kept it")
            if event.answer_s > self.policy.request.deadline_s + GRACE_S:
                self.violate(f"{event.message_id} was answered after {event.answer_s:.4f} s")
        elif isinstance(event, MessageDelivered) and not self.effects[event.message_id]:
            self.violate(f"{event.message_id} was told as delivered without an effect")

    def _may_go_unsaved(self, event: MessageAnswered) -> bool:
        sent_s = event.time_s - event.answer_s
        faults = self.case.store_faults
        is_store_well = not any(fault.start_s <= event.time_s and sent_s <= fault.end_s for fault in faults)
        return event.message_id in self.rejected or not is_store_well or self.policy.queue.unknown_fate == "drop"

    def requested(self, request: Request) -> None:
        """A client sends a request: is it allowed to, after those before it?"""
        known = self.requests.setdefault(request.key, [])
        self.say(f"request {request.key} by client {request.life.client}.{request.life.number}")
        jumped = any(jump.at_s <= request.began_s for jump in self._jumps)
        slow = any(fault.kind == "slow" for fault in self.case.store_faults)
        for before in known:
            if before.in_flight and (not jumped or before.life is request.life):
                self.violate(f"{request.key} was sent while it was being sent (since {before.began_s:.3f} s)")
            other_life = before.life is not request.life
            excused = (jumped or slow or self.unsettled[request.key]) and other_life
            if before.outcome is Outcome.OK and before.life.alive and not excused:
                self.violate(f"{request.key} was sent again after it was answered at {before.ended_s:.3f} s")
        client = self.clients[request.life.client]
        item = client.vault.items.get(request.key)
        if item is not None:
            if item.state not in WAITING:
                self.violate(f"{request.key} was sent again after it ended as {item.state}")
            earlier = client.vault.earlier(item.conversation, item.sequence, request.began_s)
            self._jump_in_replay()
        elif not known and request.text in client.spoken:
            conversation, said_s = client.spoken[request.text]
            earlier = [] if self._errors else client.vault.earlier(conversation, sys.maxsize, said_s)
        else:
            earlier = []
        if earlier:
            self.violate(f"{request.key} was sent while earlier messages of its conversation wait: {earlier[:3]}")
        known.append(request)
        wrong = self.clients[request.life.client].trials.begun(request)
        if wrong:
            self.violate(wrong)

    def _check_queue(self, event: QueueChanged) -> None:
        if event.event == "accepted":
            if event.message_id in self.accepted:
                self.violate(f"{event.message_id} was accepted twice")
            self.accepted.add(event.message_id)
        elif event.event in ("delivered", "expired", "dead", "cancelled"):
            if event.message_id in self.ended:
                self.violate(f"{event.message_id} ended twice")
            self.ended.add(event.message_id)
        elif event.event == "rejected":
            self.rejected.add(event.message_id)
        elif event.event == "requeued":
            self.ended.discard(event.message_id)
        elif event.event == "dropped":
            self.violate(f"{event.message_id} was dropped")
        elif event.event == "unknown" and self.policy.queue.unknown_fate != "ask":
            self.violate(f"{event.message_id} waits for a person who is not to be asked")
        self._check_depth(event)

    def _check_depth(self, event: QueueChanged) -> None:
        if any(fault.start_s <= event.time_s < fault.end_s for fault in self._errors):
            # The last depth that was known has to do.
            return
        truths = [event.depth]
        if event.reason == "displaced":
            # Told as if one left before the other came, which the store does at once.
            truths = [event.depth + 1]
        elif event.event == "accepted" and self.policy.queue.unknown_fate == "drop":
            # Likewise, for one that ends as it is added.
            truths.append(event.depth - 1)
        vault = self.clients[event.client].vault
        since_s = event.time_s - 2 * self._slowest_call_s
        if event.event != "rejected" and not any(vault.had_depth(depth, since_s) for depth in truths):
            self.violate(f"{event.event} of {event.message_id} tells a depth of {event.depth}, which never was")

    async def run(self) -> None:
        """All of it: faults, the healthy stretch, the clean end, and the judgement."""
        case = self.case
        for client in self.clients:
            self.loop.create_task(client.live())
        self.verdict.figures["outages"] += len(case.outages)
        self.verdict.figures["clock jumps"] += len(case.jumps)
        healthy_at_s = case.faults_end_s
        await asyncio.sleep(healthy_at_s)
        while any(not client.is_up for client in self.clients):  # noqa: ASYNC110 -- to poll costs nothing here
            await asyncio.sleep(1)
        self.say("the last fault is over")
        for client in self.clients:
            client.begin_heartbeat()
        ends_s = self.loop.time() + case.bound_s()
        while self.loop.time() < ends_s and not all(client.is_well() for client in self.clients):
            await asyncio.sleep(1)
            for client in self.clients:
                client.decide()
        for client in self.clients:
            client.end_heartbeat()
            client.check_well()
        self.verdict.figures["recovery_s"] += int(self.loop.time() - healthy_at_s)
        for client in self.clients:
            await client.close()
        self._check_end()
        self.verdict.simulated_s = self.loop.time()
        await self.graveyard.bury()

    def _check_end(self) -> None:
        figures = self.verdict.figures
        items = {item_id: item for vault in self.vaults for item_id, item in vault.items.items()}
        for item_id in sorted(self.accepted | self.promised):
            item = items.get(item_id)
            if item is None:
                figures["lost"] += 1
                self.violate(f"{item_id} was accepted and is lost")
                continue
            figures["accepted"] += 1
            figures["delivered"] += item.state is ItemState.DELIVERED
            figures[f"ended {item.state}"] += 1
            if item.state in WAITING:
                figures["lost"] += 1
                self.violate(f"{item_id} is still {item.state}")
        for item_id, item in items.items():
            if item.state is ItemState.DELIVERED:
                if not self.effects[item_id]:
                    self.violate(f"{item_id} is delivered, but had no effect")
                if item.reply != f"Reply to {item_id}":
                    self.violate(f"{item_id} is delivered with the reply {item.reply!r}")
            elif item.state is ItemState.DEAD and not self._may_be_dead(item.reason):
                self.violate(f"{item_id} is dead for no good reason: {item.reason!r}")
            elif item.state is ItemState.CANCELLED and item_id not in self.cancelled:
                self.violate(f"{item_id} was cancelled by nobody")
        for vault in self.vaults:
            wrong = vault.fault()
            if wrong:
                self.violate(f"at the end: {wrong}")
        for message_id, effects in self.effects.items():
            if effects > 1:
                explained = self._is_explained(message_id, effects)
                figures["duplicated, explained" if explained else "duplicated, unexplained"] += effects - 1
                if not explained:
                    self.violate(f"{message_id} had {effects} effects, and nothing explains it")

    def _may_be_dead(self, reason: str) -> bool:
        if reason == "displaced":
            return self.policy.queue.overflow == "displace"
        if reason == Outcome.HTTP_4XX.value:
            return any(outage.get("status") == 422 for outage in self.case.outages)
        return self.policy.queue.unknown_fate == "drop"

    def _is_explained(self, message_id: str, effects: int) -> bool:
        """Each further effect follows a request that was not seen answered, or whose answer could not be stored."""
        requests = self.requests.get(message_id, [])
        doubtful = sum(
            request.fate_unknown or (request.outcome is Outcome.OK and not request.life.alive) for request in requests
        )
        return not self.case.honours_keys and doubtful + self.unsettled[message_id] >= effects - 1
