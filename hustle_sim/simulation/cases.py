"""A case of the crash suite: what is drawn for it from a seed, as plain values that JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation.outages import OutageSpec
from hustle_sim.simulation.randomness import Draws

_MODES = ("refuse", "hang", "error", "slow", "rate_limit", "brownout", "bad_body", "flap")


@dataclass(frozen=True, slots=True)
class Crash:
    """``client`` dies at its ``steps``-th resumption after ``at_s``, and starts again ``pause_s`` later."""

    client: int
    at_s: float
    steps: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class StoreFault:
    """From ``start_s`` to ``end_s`` the store misbehaves.

    ``error``: a ``share`` of its calls fails; ``full``: every add does; ``slow``: calls take up to ``takes_s``.
    """

    kind: str
    start_s: float
    end_s: float
    share: float = 1.0
    takes_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock is set forward, or back, at ``at_s``; ``replaying``: in the middle of the next replay then."""

    at_s: float
    by_s: float
    replaying: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """All that decides a run. ``seed`` keys the draws inside it; the rest can be taken away piece by piece."""

    seed: int
    clients: int = 1
    shared: bool = False
    messages: int = 8
    lasts_s: float = 120.0
    honours_keys: bool = True
    abandoned_keep_place: bool = True
    conversations: bool = False
    policy: dict[str, Any] = field(default_factory=dict)
    outages: tuple[dict[str, Any], ...] = ()
    crashes: tuple[Crash, ...] = ()
    store_faults: tuple[StoreFault, ...] = ()
    jumps: tuple[Jump, ...] = ()

    @classmethod
    def draw(cls, seed: int) -> Case:
        """The case of a seed."""
        return draw(seed)

    @classmethod
    def from_json(cls, text: str) -> Case:
        """The case that ``to_json`` wrote. Raises InputError."""
        try:
            values = json.loads(text)
            values["outages"] = tuple(values.get("outages", ()))
            for name, kind in (("crashes", Crash), ("store_faults", StoreFault), ("jumps", Jump)):
                values[name] = tuple(kind(**each) for each in values.get(name, ()))
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"this is no case: {error}") from None

    def to_json(self) -> str:
        """The case in one line; what has its default is left out."""
        standard = {each.name: each.default for each in fields(self)}
        plain = {name: value for name, value in asdict(self).items() if value != standard[name]}
        return json.dumps({name: value for name, value in plain.items() if name == "seed" or value not in ({}, [])})

    @property
    def faults_end_s(self) -> float:
        """When the last fault is over and the last message sent; a crash may come somewhat later."""
        ends = [self.lasts_s]
        ends += [outage["at_s"] + outage["lasts_s"] for outage in self.outages]
        ends += [fault.end_s for fault in self.store_faults] + [jump.at_s for jump in self.jumps]
        ends += [crash.at_s + crash.pause_s for crash in self.crashes]
        return max(ends)

    def made_policy(self) -> Policy:
        """The policy of the case."""
        return Policy().replace(self.policy)

    def bound_s(self) -> float:
        """So long after the last fault everything must be delivered and the parts well: from the policy's waits."""
        policy = self.made_policy()
        probe, breaker, queue, request = policy.probe, policy.breaker, policy.queue, policy.request
        probing_s = (probe.rise + probe.fall + probe.window) * max(probe.offline_interval_max_s, probe.confirm_s)
        breaking_s = 4 * breaker.open_max_s
        holding_s = queue.lease_s + request.late_answer_window_s + request.deadline_s + queue.flush_jitter_s
        sending_s = self.messages * self.clients * (1 / queue.drain_per_s + 6.0)
        jumps_s = math.fsum(abs(jump.by_s) for jump in self.jumps)
        return (
            120
            + 2 * probe.interval_s
            + 2 * probing_s
            + breaking_s
            + 2 * holding_s
            + sending_s
            + 4 * queue.cap_s
            + jumps_s
        )

    def without(self, **changes: Any) -> Case:
        """This case with fields changed."""
        return replace(self, **changes)

    def smaller(self) -> Iterator[Case]:
        """Cases with one piece taken away, the largest pieces first."""
        for name in ("crashes", "outages", "store_faults", "jumps"):
            pieces = getattr(self, name)
            if len(pieces) > 1:
                yield self.without(**{name: ()})
            for index in range(len(pieces)):
                yield self.without(**{name: pieces[:index] + pieces[index + 1 :]})
        if self.messages > 1:
            yield replace(self, messages=self.messages // 2)
            yield replace(self, messages=self.messages - 1)
        if self.clients > 1:
            yield replace(self, clients=1, shared=False)
        if self.conversations:
            yield replace(self, conversations=False)
        if self.policy:
            yield replace(self, policy={})
            for name in self.policy:
                yield replace(self, policy={each: value for each, value in self.policy.items() if each != name})


class _Dice:
    """Draws by name, in any order."""

    def __init__(self, seed: int) -> None:
        self._draws = Draws(seed)

    def u(self, name: str, *key: int) -> float:
        return self._draws.uniform(f"case.{name}", *key)

    def chance(self, name: str, share: float, *key: int) -> bool:
        return self.u(name, *key) < share

    def between(self, name: str, low: float, high: float, *key: int) -> float:
        return round(low + self.u(name, *key) * (high - low), 3)

    def log(self, name: str, low: float, high: float, *key: int) -> float:
        """Spread evenly over the orders of magnitude."""
        return round(low * math.exp(self.u(name, *key) * math.log(high / low)), 3)

    def whole(self, name: str, low: int, high: int, *key: int) -> int:
        return low + int(self.u(name, *key) * (high - low + 1))

    def pick(self, name: str, choices: tuple[Any, ...], *key: int) -> Any:
        return choices[int(self.u(name, *key) * len(choices))]


def draw(seed: int) -> Case:
    """The case of a seed."""
    dice = _Dice(seed)
    lasts_s = dice.between("lasts", 40, 400)
    clients = dice.pick("clients", (1, 1, 1, 2, 3))
    crashes = tuple(
        Crash(
            client=dice.whole("crash.client", 0, clients - 1, number),
            at_s=dice.between("crash.at", 0, lasts_s, number),
            steps=int(dice.log("crash.steps", 1, 200, number)),
            pause_s=dice.log("crash.pause", 0.1, 60, number),
        )
        for number in range(dice.pick("crashes", (0, 1, 1, 2, 3, 5)))
    )
    return Case(
        seed=seed,
        clients=clients,
        shared=clients > 1 and dice.chance("shared", 0.6),
        messages=dice.whole("messages", 2, 24),
        lasts_s=lasts_s,
        honours_keys=dice.chance("honours", 0.65),
        abandoned_keep_place=dice.chance("keep_place", 0.7),
        conversations=dice.chance("conversations", 0.25),
        policy=_policy(dice),
        outages=tuple(_outage(dice, number, lasts_s) for number in range(dice.pick("outages", (0, 1, 1, 2, 3)))),
        crashes=tuple(sorted(crashes, key=lambda crash: crash.at_s)),
        store_faults=tuple(
            _store_fault(dice, number, lasts_s) for number in range(dice.pick("store_faults", (0, 0, 1, 2)))
        ),
        jumps=tuple(_jump(dice, number, lasts_s) for number in range(dice.pick("jumps", (0, 0, 0, 1, 2, 6)))),
    )


def _outage(dice: _Dice, number: int, lasts_s: float) -> dict[str, Any]:
    mode = dice.pick("outage.mode", _MODES, number)
    at_s = dice.between("outage.at", 0, 0.9 * lasts_s, number)
    outage: dict[str, Any] = {
        "mode": mode,
        "at_s": at_s,
        "lasts_s": dice.between("outage.lasts", 1, lasts_s - at_s, number),
    }
    if mode in ("refuse", "hang", "error", "bad_body") and dice.chance("outage.partly", 0.4, number):
        outage["share"] = dice.between("outage.share", 0.1, 0.9, number)
    if mode == "error":
        outage["status"] = dice.pick("outage.status", (500, 503, 503, 529, 502, 429, 422), number)
    elif mode == "slow":
        outage["factor"] = dice.log("outage.factor", 2, 60, number)
    elif mode == "rate_limit":
        outage["rate_per_s"] = dice.log("outage.rate", 0.05, 2, number)
        if dice.chance("outage.hinted", 0.6, number):
            outage["retry_after_s"] = dice.log("outage.hint", 0.5, 60, number)
    elif mode == "brownout":
        outage["capacity_factor"] = dice.between("outage.capacity", 0, 0.5, number)
    elif mode == "flap":
        outage["period_s"] = dice.between("outage.period", 2, 40, number)
    OutageSpec.model_validate(outage)
    return outage


def _jump(dice: _Dice, number: int, lasts_s: float) -> Jump:
    at_s, by_s = dice.between("jump.at", 0, lasts_s, number), dice.between("jump.by", -120, 120, number)
    if dice.chance("jump.replaying", 0.5, number):
        # Forward over the longest lease: who sends has lost it, and does not know.
        return Jump(at_s, round(60 + abs(by_s) / 2, 3), replaying=True)
    return Jump(at_s, by_s)


def _store_fault(dice: _Dice, number: int, lasts_s: float) -> StoreFault:
    kind = dice.pick("store.kind", ("error", "full", "slow"), number)
    start_s = dice.between("store.at", 0, 0.9 * lasts_s, number)
    end_s = round(start_s + dice.between("store.lasts", 1, lasts_s - start_s, number), 3)
    share = dice.pick("store.share", (1.0, 1.0, 0.5, 0.1), number) if kind == "error" else 1.0
    takes_s = dice.log("store.takes", 0.001, 2, number) if kind == "slow" else 0.0
    return StoreFault(kind, start_s, end_s, share, takes_s)


def _policy(dice: _Dice) -> dict[str, Any]:
    deadline_s = dice.between("deadline", 1, 10)
    attempt_s = dice.pick(
        "attempt", (deadline_s, deadline_s, max(1.0, round(deadline_s / 3, 3)), round(deadline_s * 1.5, 3))
    )
    size = int(dice.log("size", 1, 200))
    offline_s = dice.between("offline", 1, 20)
    fresh = dice.chance("cache", 0.5)
    return {
        "probe.interval_s": dice.between("interval", 20, 300),
        "probe.confirm_s": dice.between("confirm", 1, 15),
        "probe.offline_interval_s": offline_s,
        "probe.offline_interval_max_s": dice.between("offline_max", offline_s, 60),
        "probe.fall": dice.whole("fall", 1, 4),
        "probe.rise": dice.whole("rise", 1, 3),
        "probe.window": dice.whole("window", 1, 5),
        "request.deadline_s": deadline_s,
        "request.attempt_timeout_s": attempt_s,
        "request.max_attempts": dice.whole("attempts", 1, 4),
        "request.late_answer_window_s": dice.pick("late", (0.0, 5.0, 30.0)),
        "request.fast_fail_offline": dice.chance("fast_fail", 0.6),
        "retry.budget_share": dice.pick("budget_share", (0.1, 0.1, 0.0, 1.0)),
        "retry.budget_floor_per_min": dice.pick("budget_floor", (10.0, 10.0, 3.0, 1.0, 0.0)),
        "retry.retry_after_clamp_s": dice.pick("clamp", (0.0, 5.0, 30.0)),
        "breaker.enabled": dice.chance("breaker", 0.75),
        "breaker.min_calls": dice.whole("min_calls", 1, 6),
        "breaker.open_s": dice.between("open", 1, 15),
        "breaker.open_max_s": dice.between("open_max", 15, 120),
        "breaker.half_open_probes": dice.whole("half_open", 1, 3),
        "queue.max_size": size,
        "queue.warn_size": size,
        "queue.overflow": dice.pick("overflow", ("displace", "reject")),
        "queue.max_attempts": dice.whole("queue_attempts", 1, 4),
        "queue.ttl_s": dice.pick("ttl", (86400.0, 86400.0, 86400.0, 120.0, 15.0)),
        "queue.cap_s": dice.between("cap", 2, 60),
        "queue.poll_s": dice.log("poll", 0.5, 30),
        "queue.keep_ended_s": dice.pick("keep_ended", (604800.0, 30.0, 0.0)),
        "queue.flush_jitter_s": dice.pick("flush_jitter", (0.0, 5.0)),
        "queue.ageing_s": dice.pick("ageing", (0.0, 30.0, 600.0)),
        "queue.unknown_fate": dice.pick("unknown", ("replay", "replay", "ask", "drop")),
        "queue.canary": dice.chance("canary", 0.7),
        "queue.drain_per_s": dice.log("drain", 0.5, 50),
        "queue.drain_concurrency": dice.whole("concurrency", 1, 8),
        "queue.lease_s": round(max(deadline_s, attempt_s) + dice.between("lease", 0.5, 20), 3),
        "cache.enabled": fresh,
    }  # fmt: skip
