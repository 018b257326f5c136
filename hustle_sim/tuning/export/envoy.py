"""A policy as the settings of an Envoy route and cluster (YAML).

Source of the fields and of what they do: envoyproxy.io, v3 API: RouteAction, RetryPolicy, CircuitBreakers,
OutlierDetection, HealthCheck.
"""

from __future__ import annotations

import math
from decimal import Decimal

from hustle_sim.policy import Policy
from hustle_sim.tuning.export.parts import (
    RETRIED_4XX,
    Export,
    Taken,
    budget_never_binds,
    missing_app,
    plain,
)

_SHORTEST_S = Decimal("0.001")


def envoy(policy: Policy) -> Export:
    """Two tables: ``route`` belongs into the route's action, ``cluster`` into the backend's cluster."""
    taken = Taken(policy)
    lines = [
        "# Into the action of the route (config.route.v3.RouteAction):",
        "route:",
        *taken.why("request.deadline_s", "  # "),
        f"  timeout: {_duration(taken.number('request.deadline_s'))}",
        *_retry(taken),
        "",
        "# Into the cluster of the backend (config.cluster.v3.Cluster):",
        "cluster:",
        *_budget(taken),
        *_breaker(taken),
        *_probes(taken),
    ]
    if lines[-1] == "cluster:":
        lines[-1] = "cluster: {}"
    missing_app(taken, "Envoy")
    return taken.export(lines, "# ")


def _retry(taken: Taken) -> list[str]:
    retries = taken.whole("request.max_attempts") - 1
    deadline, attempt = taken.number("request.deadline_s"), taken.number("request.attempt_timeout_s")
    lines = [
        "  retry_policy:",
        f'    retry_on: "5xx,reset,connect-failure,refused-stream{",retriable-status-codes" if RETRIED_4XX else ""}"',
        f"    retriable_status_codes: [{', '.join(map(str, RETRIED_4XX))}]",
        *taken.why("request.max_attempts", "    # "),
        "    # Envoy counts the retries only, the first attempt not.",
        f"    num_retries: {retries}",
    ]
    if attempt < deadline:
        lines += [
            *taken.why("request.attempt_timeout_s", "    # "),
            f"    per_try_timeout: {_duration(attempt)}",
        ]
    else:
        # Envoy wants it to be shorter than the route's timeout; without it, that one holds for each attempt too.
        taken.inert("request.attempt_timeout_s")
    if not retries:
        taken.inert("retry.*")
        return lines
    return lines + _backoff(taken)


def _backoff(taken: Taken) -> list[str]:
    base, factor, cap = (taken.number(f"retry.{name}") for name in ("base_s", "factor", "cap_s"))
    clamp, jitter = taken.number("retry.retry_after_clamp_s"), taken.word("retry.jitter")
    lines = [
        *taken.why("retry.base_s", "    # "),
        *taken.why("retry.cap_s", "    # "),
        "    retry_back_off:",
        f"      base_interval: {_duration(max(base, _SHORTEST_S))}",
        f"      max_interval: {_duration(max(cap, base, _SHORTEST_S))}",
    ]
    if base < _SHORTEST_S or cap < _SHORTEST_S:
        taken.warn("retry.base_s, retry.cap_s", "Envoy waits up to 1 ms at least")
    if factor != 2:
        taken.warn("retry.factor", f"Envoy doubles the wait, where the policy makes it {plain(factor)} times as long")
    if jitter != "full":
        taken.warn("retry.jitter", f"Envoy's jitter is always full (0 to the wait), not {jitter}")
    if clamp > 0:
        lines += [
            *taken.why("retry.retry_after_clamp_s", "    # "),
            "    rate_limited_retry_back_off:",
            "      reset_headers:",
            "        - name: Retry-After",
            "          format: SECONDS",
            f"      max_interval: {_duration(clamp)}",
        ]
        taken.warn(
            "retry.retry_after_clamp_s",
            f"Envoy follows a Retry-After of up to {plain(clamp)} s in place of its own wait and ignores a longer one, "
            "where the policy lengthens the own wait by at most this",
        )
    return lines


def _budget(taken: Taken) -> list[str]:
    """The retry budget: concurrent retries, where the policy counts retries against messages and minutes."""
    share, floor = taken.number("retry.budget_share"), taken.number("retry.budget_floor_per_min")
    attempt = taken.number("request.attempt_timeout_s")
    if taken.whole("request.max_attempts") == 1:
        taken.inert("retry.budget_*")
        return []
    # Little's law: so many retries are in flight when each takes a whole attempt timeout.
    concurrent = max(1, math.ceil(floor / 60 * min(attempt, taken.number("request.deadline_s"))))
    if not budget_never_binds(taken.policy):
        taken.warn(
            "retry.budget_share, retry.budget_floor_per_min",
            f"Envoy's budget counts retries in flight, as a share of the requests in flight, and never allows fewer "
            f"than {concurrent} ({plain(floor)} a minute, each as long as an attempt may take)"
            + ("; a share above 1 is 100 %" if share > 1 else ""),
        )
    return [
        "  circuit_breakers:",
        "    thresholds:",
        "      - priority: DEFAULT",
        *taken.why("retry.budget_share", "        # "),
        *taken.why("retry.budget_floor_per_min", "        # "),
        "        retry_budget:",
        "          budget_percent:",
        f"            value: {plain(min(share, Decimal(1)) * 100)}",
        f"          min_retry_concurrency: {concurrent}",
    ]


def _breaker(taken: Taken) -> list[str]:
    if not taken.on("breaker.enabled"):
        taken.inert("breaker.*")
        return []
    policy = taken.policy.breaker
    least, share = taken.whole("breaker.min_calls"), taken.number("breaker.failure_share")
    open_s, factor = taken.number("breaker.open_s"), taken.number("breaker.open_factor")
    longest = open_s if factor == 1 else taken.number("breaker.open_max_s")
    taken.inert("breaker.open_max_s")
    percent = math.ceil(share * 100)
    # Envoy ends an ejection only when it judges again: a longer interval would be a longer time open.
    interval = min(taken.number("breaker.window_s"), open_s)
    lines = [
        "  # Without this, Envoy sends to a backend that it has ejected when no other is left.",
        "  common_lb_config:",
        "    healthy_panic_threshold:",
        "      value: 0",
        "  outlier_detection:",
        *taken.why("breaker.window_s", "    # "),
        "    # Ejections end at such a judgement only, so that it is no longer than the time open.",
        f"    interval: {_duration(interval)}",
        *taken.why("breaker.failure_share", "    # "),
        *taken.why("breaker.min_calls", "    # "),
        f"    failure_percentage_threshold: {percent}",
        f"    failure_percentage_request_volume: {least}",
        "    failure_percentage_minimum_hosts: 1",
        "    enforcing_failure_percentage: 100",
        *taken.why("breaker.min_calls", "    # "),
        f"    consecutive_5xx: {least}",
        "    enforcing_consecutive_5xx: 100",
        "    enforcing_success_rate: 0",
        *taken.why("breaker.open_s", "    # "),
        *taken.why("breaker.open_factor", "    # "),
        *taken.why("breaker.open_max_s", "    # "),
        f"    base_ejection_time: {_duration(open_s)}",
        f"    max_ejection_time: {_duration(longest)}",
    ]
    jitter = taken.number("breaker.jitter") * open_s
    if jitter:
        lines += [*taken.why("breaker.jitter", "    # "), f"    max_ejection_time_jitter: {_duration(jitter)}"]
        taken.warn("breaker.jitter", "Envoy's jitter only lengthens the time open, by up to a share of the first one")
    lines += ["    max_ejection_percent: 100"]
    if taken.policy.request.fast_fail_offline:
        lines += ["    successful_active_health_check_uneject_host: false"]
    taken.warn(
        "breaker.window_s, breaker.failure_share, breaker.min_calls",
        f"Envoy judges the share once every {plain(interval)} s, over the calls of that time, and forgets them; in "
        f"between, {least} failures in a row eject at once, even after many successes; 5xx and broken connections "
        "count, 429 does not" + (f"; the share became {percent} %" if percent != share * 100 else ""),
    )
    taken.warn("breaker.open_s", f"an ejection ends when Envoy judges next, up to {plain(interval)} s late")
    if factor != 1:
        taken.warn(
            "breaker.open_factor",
            f"Envoy's time open grows by {policy.open_s:g} s with each ejection, "
            f"not by a factor of {policy.open_factor:g}",
        )
    taken.warn(
        "breaker.half_open_probes", "Envoy has no half-open state: after the ejection all traffic returns at once"
    )
    if taken.word("breaker.window") == "count":
        taken.warn("breaker.window, breaker.window_calls", f"Envoy judges calls of {policy.window_s:g} s, not a number")
    else:
        taken.inert("breaker.window_calls")
    if policy.slow_call_s < taken.policy.request.attempt_timeout_s:
        taken.warn("breaker.slow_call_s, breaker.slow_share", "slow answers don't eject a host")
    else:
        taken.inert("breaker.slow_*")
    return lines


def _probes(taken: Taken) -> list[str]:
    """Active health checks: an unhealthy host gets no traffic, which is what failing fast while offline is."""
    if not taken.on("request.fast_fail_offline"):
        taken.warn(
            "probe.*",
            "left out: Envoy sends nothing to a host whose health checks fail, the policy goes on",
        )
        return []
    interval, jitter = taken.number("probe.interval_s"), taken.number("probe.jitter")
    lines = [
        "  health_checks:",
        "    - http_health_check:",
        "        path: /health # yours",
        "        # Without this, one wrong status is enough, whatever the threshold.",
        "        retriable_statuses:",
        "          - start: 201",
        "            end: 600",
        *taken.why("probe.timeout_s", "      # "),
        f"      timeout: {_duration(taken.number('probe.timeout_s'))}",
        *taken.why("probe.interval_s", "      # "),
        f"      interval: {_duration(interval)}",
        f"      no_traffic_interval: {_duration(interval)}",
        *taken.why("probe.jitter", "      # "),
        f"      interval_jitter_percent: {math.ceil(jitter * 100)}",
        *taken.why("probe.offline_interval_s", "      # "),
        f"      unhealthy_interval: {_duration(taken.number('probe.offline_interval_s'))}",
        *taken.why("probe.fall", "      # "),
        f"      unhealthy_threshold: {taken.whole('probe.fall')}",
        *taken.why("probe.rise", "      # "),
        f"      healthy_threshold: {taken.whole('probe.rise')}",
    ]
    if jitter:
        taken.warn("probe.jitter", "Envoy's jitter only lengthens the interval")
    if taken.policy.probe.fall > 1 or taken.policy.probe.rise > 1:
        taken.warn(
            "probe.confirm_s",
            f"Envoy does not hurry to confirm: {taken.policy.probe.fall} failed probes are "
            f"{plain(interval * (taken.policy.probe.fall - 1))} s and more",
        )
    else:
        taken.inert("probe.confirm_s")
    if taken.number("probe.offline_interval_max_s") > taken.number("probe.offline_interval_s"):
        taken.warn("probe.offline_interval_max_s", "Envoy's interval while unhealthy is constant")
    taken.warn(
        "probe.degraded_above_s, probe.degraded_below_s, probe.window", "Envoy does not judge how long a probe takes"
    )
    if taken.on("probe.evidence"):
        taken.warn("probe.evidence", "a failed request calls for no probe")
    return lines


def _duration(seconds: Decimal) -> str:
    """A protobuf Duration in JSON's form: ``8s``, ``0.5s``."""
    return f"{plain(seconds)}s"
