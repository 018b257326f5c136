"""The linter's rules about the monitor, the queue and the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hustle_sim.policy import Policy
from hustle_sim.tuning import closed_forms as closed
from hustle_sim.tuning import closed_monitor as monitor
from hustle_sim.tuning.findings import Finding, defaults_of, of_part, rounded_up, time, tuned
from hustle_sim.tuning.situation import Situation

_LATE_S = 120.0
_FALSE_ALARM = 0.01
_FAST_PER_S = 20.0


def monitor_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """How soon and how surely the verdict follows the truth."""
    probe = policy.probe
    rate = situation.messages_per_hour
    if probe.fall == 1:
        per_day = monitor.false_offline_per_day(probe, _FALSE_ALARM, rate)
        also = " or request" if probe.evidence else ""
        yield Finding(
            "warning", "one-failure-is-offline", ("probe.fall",),
            f"One failed check{also} makes the verdict offline: if one in a hundred fails by chance, that is "
            f"{per_day:.2g} false alarms a day.",
            "Ask for 3 failures in a row, confirmed 10 s apart.",
            {"probe.fall": 3, "probe.confirm_s": min(probe.confirm_s, 10.0)},
        )  # fmt: skip
    if probe.rise == 1:
        yield Finding(
            "note", "one-success-is-online", ("probe.rise",),
            "One good check ends an outage: a backend that comes and goes turns the verdict each time.",
            "Ask for 2 successes in a row.",
            {"probe.rise": 2},
        )  # fmt: skip
    yield from _delay_rules(policy, situation)
    if probe.jitter == 0:
        yield Finding(
            "warning" if situation.clients > 1 else "note", "checks-in-step", ("probe.jitter",),
            "Without jitter the checks of all clients that began together stay together.",
            "Move each by up to 20 %.",
            {"probe.jitter": 0.2},
        )  # fmt: skip
    if probe.degraded_above_s >= probe.timeout_s:
        yield Finding(
            "note", "never-degraded", ("probe.degraded_above_s", "probe.degraded_below_s", "probe.timeout_s"),
            f"A check is slow above {time(probe.degraded_above_s)}, and fails after {time(probe.timeout_s)}: the "
            "verdict is never degraded.",
            f"Call it slow above {time(0.6 * probe.timeout_s)}.",
            {"probe.degraded_above_s": 0.6 * probe.timeout_s, "probe.degraded_below_s": 0.48 * probe.timeout_s},
            ("probe.degraded_below_s",),
        )  # fmt: skip


def _delay_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    probe, breaker = policy.probe, policy.breaker
    notice = monitor.detection_with_requests(policy, situation.messages_per_hour, math.inf, situation.health_s)
    if notice.mean_s > _LATE_S:
        interval_s = max(min(probe.interval_s, 60.0), probe.timeout_s)
        yield Finding(
            "warning", "slow-to-notice", ("probe.interval_s", "probe.evidence", "probe.fall", "probe.confirm_s"),
            f"An outage is noticed after {time(notice.mean_s)} on average, and after {time(notice.worst_s)} at worst.",
            f"Let failed requests call for a check, and check every {time(interval_s)}.",
            {"probe.evidence": True, "probe.interval_s": interval_s, "probe.fall": min(probe.fall, 3),
             "probe.confirm_s": min(probe.confirm_s, 10.0)},
        )  # fmt: skip
    elif notice.mean_s > situation.outage_median_s:
        interval_s = max(probe.timeout_s, 1.0, situation.outage_median_s / 4)
        yield Finding(
            "warning", "outages-go-unnoticed", ("probe.interval_s", "probe.evidence"),
            f"Half of the outages are over within {time(situation.outage_median_s)}; it takes "
            f"{time(notice.mean_s)} on average to notice one.",
            f"Let failed requests call for a check, and check every {time(interval_s)}.",
            {"probe.evidence": True, "probe.interval_s": interval_s},
        )  # fmt: skip
    back = monitor.recovery(probe, situation.outage_median_s, math.inf, situation.health_s)
    if back.mean_s > _LATE_S:
        yield Finding(
            "warning", "slow-to-recover", ("probe.offline_interval_s", "probe.offline_interval_max_s", "probe.rise"),
            f"The verdict is online {time(back.mean_s)} after the backend is back, on average, and "
            f"{time(back.worst_s)} at worst.",
            "While offline, check every 10 s at first and every 60 s at least.",
            {"probe.offline_interval_s": min(probe.offline_interval_s, 10.0),
             "probe.offline_interval_max_s": min(probe.offline_interval_max_s, 60.0),
             "probe.rise": min(probe.rise, 2), "probe.confirm_s": min(probe.confirm_s, 10.0)},
        )  # fmt: skip
    waits_for_checks = policy.request.fast_fail_offline and probe.offline_interval_max_s > breaker.open_max_s
    waits_for_first = not probe.evidence and probe.interval_s > breaker.open_max_s
    if breaker.enabled and (waits_for_checks or waits_for_first):
        wait_s = probe.offline_interval_max_s if waits_for_checks else probe.interval_s
        shorter_s = min(probe.offline_interval_max_s, breaker.open_max_s)
        yield Finding(
            "note", "checks-slower-than-breaker",
            ("probe.offline_interval_max_s", "probe.interval_s", "breaker.open_max_s"),
            f"The breaker would try again after {time(breaker.open_max_s)} at most, but the next check may be "
            f"{time(wait_s)} away: the verdict decides, and the breaker's open time hardly matters.",
            f"Check every {time(shorter_s)} while offline, and let failed requests call for a check.",
            {"probe.offline_interval_max_s": shorter_s,
             "probe.offline_interval_s": min(probe.offline_interval_s, shorter_s), "probe.evidence": True},
        )  # fmt: skip


def loss_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """Ways in which a message gets lost, or is never delivered."""
    queue, rate = policy.queue, situation.messages_per_hour
    if queue.overflow == "drop-oldest":
        yield Finding(
            "error", "queue-forgets", ("queue.overflow",),
            "A full queue drops its oldest message without a trace, though its person was told that it is saved.",
            "Displace a lower priority, or tell the person that the queue is full.",
            {"queue.overflow": "displace"},
        )  # fmt: skip
    if not queue.dead_letters:
        yield Finding(
            "error", "dead-letters-off", ("queue.dead_letters",),
            "A message that is given up vanishes: nobody can look at it or send it again.",
            "Keep dead letters.",
            {"queue.dead_letters": True},
        )  # fmt: skip
    if queue.outages_count:
        yield Finding(
            "error", "outages-kill-messages", ("queue.outages_count", "queue.max_attempts"),
            f"A backend that is down uses up a message's {queue.max_attempts} attempts, though the message is fine.",
            "Count only what the backend says about the message itself.",
            {"queue.outages_count": False},
        )  # fmt: skip
    if queue.drain_per_s * 3600 <= rate:
        yield Finding(
            "error", "queue-never-drains", ("queue.drain_per_s",),
            f"It sends {queue.drain_per_s * 3600:.4g} messages an hour at most, and {rate:.4g} an hour come in an "
            "outage.",
            f"Send {max(2.0, rate / 600):.3g} a second.",
            {"queue.drain_per_s": min(1000.0, max(2.0, rate / 600))},
        )  # fmt: skip
    if queue.lease_s < policy.request.attempt_timeout_s + 1:
        lease_s = policy.request.attempt_timeout_s + 10
        yield Finding(
            "warning", "lease-without-margin", ("queue.lease_s", "request.attempt_timeout_s"),
            f"A replay may take {time(policy.request.attempt_timeout_s)} and its lease ends after "
            f"{time(queue.lease_s)}: a slow disk is enough to have it sent twice.",
            f"Lease it for {time(lease_s)}.",
            {"queue.lease_s": lease_s},
        )  # fmt: skip
    yield from _length_rules(policy, situation)


def _length_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    queue, rate = policy.queue, situation.messages_per_hour
    long_s, median_s = situation.outage_p90_s, situation.outage_median_s
    lasts_s = closed.queue_lasts_s(queue, rate)
    if lasts_s < long_s:
        size = math.ceil(1.1 * long_s * rate / 3600) + 1
        yield Finding(
            "warning" if lasts_s < median_s else "note", "queue-overflows", ("queue.max_size",),
            f"At {rate:.4g} messages an hour the queue is full after {time(lasts_s)}; "
            + (f"half of the outages last longer than {time(median_s)}." if lasts_s < median_s
               else f"one outage in ten lasts longer than {time(long_s)}."),
            f"Keep {size:,} messages.",
            {"queue.max_size": size, "queue.warn_size": max(1, math.floor(0.8 * size))},
        )  # fmt: skip
    if queue.ttl_s < long_s:
        ttl_s = max(86400.0, rounded_up(2 * long_s))
        yield Finding(
            "warning" if queue.ttl_s < median_s else "note", "messages-expire-in-an-outage", ("queue.ttl_s",),
            f"A message expires after {time(queue.ttl_s)}; "
            + (f"half of the outages last longer than {time(median_s)}." if queue.ttl_s < median_s
               else f"one outage in ten lasts longer than {time(long_s)}."),
            f"Keep it for {time(ttl_s)}.",
            {"queue.ttl_s": ttl_s},
        )  # fmt: skip


def flush_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """How the queue is sent when the backend is back."""
    queue = policy.queue
    if queue.drain_per_s > _FAST_PER_S:
        yield Finding(
            "warning", "flush-without-pace", ("queue.drain_per_s", "queue.drain_concurrency"),
            f"After a recovery each client sends up to {queue.drain_per_s:,.4g} messages a second: the backend meets "
            "them all in its weakest moment.",
            "Send 2 a second, 4 at once.",
            {"queue.drain_per_s": 2.0, "queue.drain_concurrency": min(queue.drain_concurrency, 4)},
        )  # fmt: skip
    if not queue.canary:
        yield Finding(
            "note", "no-canary", ("queue.canary",),
            f"A flush begins with {queue.drain_concurrency:,} messages at once instead of one that tries the ground.",
            "Begin with one.",
            {"queue.canary": True},
        )  # fmt: skip
    if queue.flush_on == "verdict":
        yield Finding(
            "warning", "queue-waits-for-a-verdict", ("queue.flush_on", "probe.interval_s"),
            f"Only a health check starts a flush: a message that failed by itself waits for up to "
            f"{time(policy.probe.interval_s)}.",
            "Flush on add and by timer too.",
            {"queue.flush_on": "any"},
        )  # fmt: skip
    if queue.base_s == 0 and (queue.flush_on == "any" or policy.probe.evidence):
        per_hour = closed.replays_per_hour(policy)
        yield Finding(
            "warning", "replays-without-wait", ("queue.base_s", "queue.cap_s"),
            f"While the verdict is not offline, replays to a dead backend follow without a wait, up to {per_hour:,.0f} "
            "an hour.",
            "Wait 1 s at first and 60 s at most.",
            {"queue.base_s": max(queue.base_s, 1.0), "queue.cap_s": max(queue.cap_s, 60.0)},
        )  # fmt: skip
    yield from _herd_rules(policy, situation)
    if situation.honours_keys is False and queue.unknown_fate == "replay":
        yield Finding(
            "note", "replays-are-paid-twice", ("queue.unknown_fate",),
            "This backend ignores idempotency keys: a message that was sent without an answer and is sent again may be "
            "processed, and paid for, twice.",
            "Ask a person, if a second answer does harm.",
            {"queue.unknown_fate": "ask"},
        )  # fmt: skip


def _herd_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    queue, clients = policy.queue, situation.clients
    fields = ("queue.flush_jitter_s", "queue.drain_per_s")
    if queue.flush_jitter_s == 0:
        yield Finding(
            "warning", "herd-on-recovery", fields,
            "All clients begin to flush in the moment in which they see that the backend is back.",
            "Let each wait up to 5 s at random.",
            {"queue.flush_jitter_s": 5.0},
        )  # fmt: skip
    if clients == 1 or situation.capacity is None or not situation.latency_mean_s:
        return
    served_per_s = situation.capacity / situation.latency_mean_s
    spare_per_s = served_per_s - clients * situation.messages_per_hour / 3600
    waiting = closed.waiting_after(queue, situation.messages_per_hour, situation.outage_median_s)
    if spare_per_s <= 0 or waiting == 0:
        return
    takes_s = closed.drain_s(queue, waiting, situation.latency_mean_s)
    spread_s = queue.flush_jitter_s + policy.probe.offline_interval_max_s
    # All that waits comes within the time that one client needs and that by which the clients differ.
    comes_per_s = clients * waiting / (takes_s + spread_s)
    if comes_per_s > spare_per_s:
        jitter_s = min(600.0, rounded_up(clients * waiting / spare_per_s))
        yield Finding(
            "warning", "flood-on-recovery", fields,
            f"After {time(situation.outage_median_s)} {clients:,} clients have {waiting:,} messages each: "
            f"{comes_per_s:.3g} a second come back, and the backend has {spare_per_s:.3g} a second to spare.",
            f"Let each client wait up to {time(jitter_s)} at random.",
            {"queue.flush_jitter_s": jitter_s},
        )  # fmt: skip


def cache_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """Settings of the cache that do nothing."""
    cache = policy.cache
    others = [name for name in of_part("cache") if name != "cache.enabled"]
    if not cache.enabled:
        idle = tuned(policy, others)
        if idle:
            yield Finding(
                "note", "cache-off-but-tuned", ("cache.enabled", *idle),
                "The cache is off, so its other settings have no effect.",
                "Leave them at their defaults, or switch it on.",
                defaults_of(idle), idle,
            )  # fmt: skip
    elif cache.stale_s == 0:
        yield Finding(
            "note", "cache-keeps-nothing", ("cache.fresh_s", "cache.stale_s"),
            "Answers are kept for no time at all, so the cache has no effect.",
            "Switch it off, or serve stale answers for a day while the backend fails.",
            {"cache.stale_s": 86400.0}, ("cache.max_entries",),
        )  # fmt: skip
    elif situation.repeat_share == 0:
        yield Finding(
            "note", "cache-never-hits", ("cache.enabled",),
            "In this scenario no question comes twice, so the cache has no effect.",
            "It does no harm.",
            {"cache.enabled": False}, tuple(others),
        )  # fmt: skip
