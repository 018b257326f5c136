"""The health monitor: is the backend online, degraded or offline, and when to ask next.

``judge`` and ``next_wait_s`` decide and touch nothing; ``HealthMonitor`` asks, keeps the verdict and tells.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.policy import ProbePolicy
from hustle_sim.resilience.backend import Backend, within
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome
from hustle_sim.resilience.store import Store, StoreError
from hustle_sim.resilience.world import World

logger = logging.getLogger("hustle_sim.health")

_NOTE = "health"


class Status(StrEnum):
    """What the monitor says. ``CHECKING`` is the status before the first verdict of a session."""

    CHECKING = "checking"
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of the backend: the status, and the run of samples that leads to the next one.

    ``failures`` and ``successes`` are in a row; ``latencies_s`` are the last successful ones, newest last;
    ``unsettled`` counts the samples in a row that disagree with the status.
    """

    status: Status = Status.CHECKING
    failures: int = 0
    successes: int = 0
    latencies_s: tuple[float, ...] = ()
    unsettled: int = 0


def judge(before: Judgement, latency_s: float | None, policy: ProbePolicy) -> Judgement:
    """The judgement after one more sample: a success that took ``latency_s``, or a failure (None)."""
    if latency_s is None:
        failures = before.failures + 1
        if before.status is Status.OFFLINE or failures >= policy.fall:
            return Judgement(Status.OFFLINE, failures)
        return replace(before, failures=failures, successes=0, unsettled=before.unsettled + 1)

    successes = before.successes + 1
    if before.status is Status.OFFLINE and successes < policy.rise:
        return replace(
            before, failures=0, successes=successes, latencies_s=(*before.latencies_s, latency_s), unsettled=successes
        )
    latencies_s = (*before.latencies_s, latency_s)[-policy.window :]
    median_s = statistics.median(latencies_s)
    limit_s = policy.degraded_below_s if before.status is Status.DEGRADED else policy.degraded_above_s
    status = Status.DEGRADED if median_s > limit_s else Status.ONLINE
    agrees = (latency_s > limit_s) == (status is Status.DEGRADED)
    return Judgement(status, 0, successes, latencies_s, 0 if agrees else before.unsettled + 1)


def next_wait_s(after: Judgement, policy: ProbePolicy, u: float) -> float:
    """Seconds from the start of the last probe to the next one; ``u`` in [0, 1) moves it by the jitter.

    Samples that disagree with the status are confirmed quickly, but only as often as a change of mind takes:
    a backend at the edge must not be probed at that pace for ever.
    """
    if 0 < after.unsettled <= max(policy.fall, policy.rise, policy.window):
        wait_s = min(policy.confirm_s, policy.interval_s)
    elif after.status is Status.OFFLINE:
        doublings = min(max(after.failures - policy.fall, 0), 30)
        wait_s = min(policy.offline_interval_s * 2**doublings, policy.offline_interval_max_s)
    else:
        wait_s = policy.interval_s
    return wait_s * (1 + policy.jitter * (2 * u - 1))


@dataclass(frozen=True, slots=True)
class Health:
    """What the indicator shows.

    ``last_check`` (UTC) and ``latency_s`` are of the last probe that ended, None before; ``verdicts`` counts
    the probes that ended. ``known_status`` and ``known_at`` are the last verdict of an earlier session, shown
    with its age until the first new one.
    """

    status: Status = Status.CHECKING
    last_check: datetime | None = None
    latency_s: float | None = None
    version: str = ""
    message: str = "Checking the coach."
    is_probing: bool = False
    verdicts: int = 0
    known_status: Status | None = None
    known_at: datetime | None = None


Subscriber = Callable[[Health, Health], None]


class HealthMonitor:
    """Probes a backend while ``run()`` is running, and keeps the verdict in ``health``.

    ``store`` (optional) keeps the last verdict for the next session. One probe is in flight at a time.
    """

    def __init__(self, backend: Backend, policy: ProbePolicy, world: World, store: Store | None = None) -> None:
        self.health = Health()
        self.next_check_s: float | None = None
        """Loop time of the next probe; None while one is in flight or nothing runs."""
        self._backend = backend
        self._policy = policy
        self._world = world
        self._store = store
        self._judgement = Judgement()
        self._subscribers: dict[object, Subscriber] = {}
        self._is_running = False
        self._asked = False
        self._sleeping: asyncio.Future[None] | None = None
        self._verdict: asyncio.Future[None] | None = None
        self._evidence_taken = False

    @property
    def status(self) -> Status:
        """The verdict now."""
        return self.health.status

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(previous, current)`` after each change of ``health``; returns the unsubscribe."""
        key = object()
        self._subscribers[key] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    async def run(self) -> None:
        """Probe at once, then for ever, until cancelled."""
        loop = asyncio.get_running_loop()
        self._is_running = True
        try:
            await self._recall()
            while True:
                began_s = loop.time()
                self._asked = False
                await self._probe()
                u = self._world.uniform("probe.jitter", self._world.client, self.health.verdicts)
                wait_s = next_wait_s(self._judgement, self._policy, u)
                await self._sleep_until(max(began_s + wait_s, loop.time()))
        finally:
            self._is_running = False
            self.next_check_s = None
            if self._verdict is not None:
                self._verdict.set_exception(RuntimeError("the monitor was stopped"))
                self._verdict = None

    async def probe_now(self) -> Health:
        """Probe without waiting for the next turn (or join the probe in flight); returns the new health.

        Works only while ``run()`` is running; raises RuntimeError otherwise, and if it stops meanwhile.
        """
        if not self._is_running:
            raise RuntimeError("the monitor is not running: start run() first")
        if self._verdict is None:
            self._verdict = asyncio.get_running_loop().create_future()
        if not self.health.is_probing:
            self._wake()
        await asyncio.shield(self._verdict)
        return self.health

    def note_failure(self, outcome: Outcome) -> None:
        """A live request failed: that is one piece of evidence per probe, and it calls for a probe at once."""
        if not self._policy.evidence or not CONSEQUENCES[outcome].against_backend:
            return
        if self._evidence_taken or self.health.is_probing or self.status is Status.OFFLINE:
            return
        self._evidence_taken = True
        self._conclude(judge(self._judgement, None, self._policy), f"a request failed: {outcome}", {})
        self._wake()

    def note_success(self) -> None:
        """A live request was answered: an offline verdict is checked at once."""
        if not self._policy.evidence or self._evidence_taken or self.health.is_probing:
            return
        if self.status is Status.OFFLINE:
            self._evidence_taken = True
            self._wake()

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self.next_check_s = None
        self._change(replace(self.health, is_probing=True))
        try:
            response = await within(self._policy.timeout_s, self._backend.health())
        except asyncio.CancelledError:
            self._change(replace(self.health, is_probing=False))
            raise
        latency_s = loop.time() - began_s
        ok = response.outcome is Outcome.OK
        self._evidence_taken = False
        after = judge(self._judgement, latency_s if ok else None, self._policy)
        reason = _reason(after, response.outcome, response.status_code, latency_s)
        self._world.emit(
            ProbeEnded(
                began_s, self._world.client, latency_s, response.outcome.value, response.status_code, after.status.value
            )
        )
        self._conclude(
            after,
            reason,
            {
                "is_probing": False,
                "verdicts": self.health.verdicts + 1,
                "last_check": datetime.fromtimestamp(self._world.wall_clock(), UTC),
                "latency_s": latency_s,
                "version": response.version or self.health.version,
            },
        )
        if self._verdict is not None:
            self._verdict.set_result(None)
            self._verdict = None
        await self._remember()

    def _conclude(self, after: Judgement, reason: str, changes: dict[str, object]) -> None:
        previous = self._judgement.status
        self._judgement = after
        if after.status is not previous:
            now_s = asyncio.get_running_loop().time()
            client = self._world.client
            self._world.emit(StatusChanged(now_s, client, previous.value, after.status.value, reason))
            logger.info("The backend is %s: %s.", after.status.value, reason)
        message = _MESSAGES[after.status]
        self._change(replace(self.health, status=after.status, message=message, **changes))  # type: ignore[arg-type]

    def _change(self, current: Health) -> None:
        previous, self.health = self.health, current
        for subscriber in tuple(self._subscribers.values()):
            try:
                subscriber(previous, current)
            except Exception:
                logger.exception("A subscriber of the health monitor failed; the others are told all the same.")

    def _wake(self) -> None:
        self._asked = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    async def _sleep_until(self, when_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._asked:
            # While the verdict was being stored.
            return
        self.next_check_s = when_s
        self._sleeping = loop.create_future()
        timer = loop.call_at(when_s, self._wake)
        try:
            await self._sleeping
        finally:
            timer.cancel()
            self._sleeping = None

    async def _recall(self) -> None:
        if self._store is None:
            return
        try:
            note = await self._store.note(_NOTE)
            if note is None:
                return
            known = json.loads(note)
            status = Status(known["status"])
            at = datetime.fromisoformat(known["at"])
        except (StoreError, ValueError, KeyError, TypeError) as error:
            logger.warning("The last verdict can't be read and is left out: %s", error)
            return
        if status is not Status.CHECKING:
            self._change(replace(self.health, known_status=status, known_at=at))

    async def _remember(self) -> None:
        # A first failure that is not confirmed yet is no verdict, and must not wipe out the last one.
        if self._store is None or self.health.last_check is None or self.status is Status.CHECKING:
            return
        note = json.dumps({"status": self.status.value, "at": self.health.last_check.isoformat()})
        try:
            await self._store.set_note(_NOTE, note)
        except StoreError as error:
            logger.warning("The verdict can't be kept for the next session: %s", error)


_MESSAGES = {
    Status.CHECKING: "Checking the coach.",
    Status.ONLINE: "The coach is online.",
    Status.DEGRADED: "The coach answers slowly.",
    Status.OFFLINE: "The coach is offline. Messages are saved and sent when it is back.",
}


def _reason(after: Judgement, outcome: Outcome, status_code: int | None, latency_s: float) -> str:
    if outcome is not Outcome.OK:
        code = f" (HTTP {status_code})" if status_code is not None else ""
        return f"{after.failures} failed in a row, last: {outcome}{code}"
    if after.status is Status.DEGRADED:
        return f"median latency {statistics.median(after.latencies_s):.2f} s"
    return f"answered in {latency_s:.2f} s"
