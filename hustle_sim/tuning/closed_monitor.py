"""How long the monitor's verdict is behind the truth, worked out instead of simulated. Times in seconds.

Stands for ``resilience.health``; *fails in* is as in ``closed_forms``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hustle_sim.policy import Policy, ProbePolicy
from hustle_sim.tuning.closed_forms import pursuit


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a verdict is behind the truth, on average and at worst; for an outage at a random moment."""

    mean_s: float
    worst_s: float


@dataclass(frozen=True, slots=True)
class _Spacing:
    """Time between the beginnings of two probes: uniform in [low, high], but never shorter than a probe takes."""

    low_s: float
    high_s: float
    least_s: float

    @property
    def worst_s(self) -> float:
        return max(self.high_s, self.least_s)

    @property
    def shortest_s(self) -> float:
        return max(self.low_s, self.least_s)

    def moment(self, power: int) -> float:
        """The mean of the spacing to this power: the integral of max(x, least)**power over [low, high]."""
        low_s, high_s, least_s = self.low_s, self.high_s, self.least_s
        if high_s - low_s < 1e-12 * max(1.0, high_s):
            return float(max(high_s, least_s) ** power)
        cut_s = min(max(least_s, low_s), high_s)
        above = (high_s ** (power + 1) - cut_s ** (power + 1)) / (power + 1)
        return float((above + (cut_s - low_s) * least_s**power) / (high_s - low_s))

    @property
    def mean_s(self) -> float:
        return self.moment(1)

    @property
    def residual_s(self) -> float:
        """Mean time from a random moment to the next probe: E[X**2] / 2 E[X], the mean residual life of renewal theory.

        Source: D. R. Cox, "Renewal Theory", 1962; it is the "inspection paradox".
        """
        return self.moment(2) / (2 * self.moment(1))


def _spacing(wait_s: float, jitter: float, lasts_s: float) -> _Spacing:
    return _Spacing(wait_s * (1 - jitter), wait_s * (1 + jitter), lasts_s)


def detection(probe: ProbePolicy, fails_in_s: float, health_s: float = 0.05) -> Delay:
    """From the start of an outage until the verdict is offline, by health checks alone (``health.next_wait_s``).

    The first check that fails is on average E[X**2] / 2 E[X] away; then ``fall`` - 1 more follow ``confirm_s`` apart,
    and the last one takes as long as it takes to fail (at most ``timeout_s``).
    """
    lasts_s = min(fails_in_s, probe.timeout_s)
    usual = _spacing(probe.interval_s, probe.jitter, min(health_s, probe.timeout_s))
    confirm = _spacing(min(probe.confirm_s, probe.interval_s), probe.jitter, lasts_s)
    more = probe.fall - 1
    return Delay(
        usual.residual_s + more * confirm.mean_s + lasts_s,
        usual.worst_s + more * confirm.worst_s + lasts_s,
    )


def detection_with_requests(
    policy: Policy, messages_per_hour: float, fails_in_s: float, health_s: float = 0.05
) -> Delay:
    """The same with live requests as evidence, for messages that come at random (Poisson) at this rate.

    A failed request counts as one failure and calls for a check at once, which counts as the next. What comes first,
    request or check, is min(Exp(1/rate), U(0, interval)): its mean is 1/l - (1 - exp(-l I)) / (l**2 I). Further
    requests within the confirmation only make it shorter, so the mean is an upper bound; the worst is that of the
    checks alone.
    """
    alone = detection(policy.probe, fails_in_s, health_s)
    probe = policy.probe
    failures_s = pursuit(policy, fails_in_s).failures_s
    if not probe.evidence or messages_per_hour <= 0 or not failures_s:
        return alone
    rate = messages_per_hour / 3600
    interval_s = 2 * _spacing(probe.interval_s, probe.jitter, min(health_s, probe.timeout_s)).residual_s
    request_fails_s = failures_s[0][1]
    left_s = interval_s - request_fails_s
    if left_s <= 0:
        return alone
    # P(the request has failed before the next check begins), and the mean time of whichever comes first.
    by_request = (1 + math.expm1(-rate * left_s) / (rate * left_s)) * left_s / interval_s
    first_s = _first_sign_s(rate, request_fails_s, interval_s)
    lasts_s = min(fails_in_s, probe.timeout_s)
    confirm = _spacing(min(probe.confirm_s, probe.interval_s), probe.jitter, lasts_s)
    after_check_s = lasts_s + (probe.fall - 1) * confirm.mean_s
    after_request_s = 0.0 if probe.fall == 1 else lasts_s + (probe.fall - 2) * confirm.mean_s
    mean_s = first_s + by_request * after_request_s + (1 - by_request) * after_check_s
    return Delay(min(mean_s, alone.mean_s), alone.worst_s)


def _first_sign_s(rate: float, fails_s: float, interval_s: float) -> float:
    """E[min(Exp(rate) + fails, U(0, interval))]: the integral of both survival functions' product."""
    # Up to ``fails`` only the check can come; after it both can.
    head_s = fails_s - fails_s**2 / (2 * interval_s)
    within_s = interval_s - fails_s
    tail_s = (within_s / rate + math.expm1(-rate * within_s) / rate**2) / interval_s
    return head_s + tail_s


def recovery(probe: ProbePolicy, outage_s: float, fails_in_s: float, health_s: float = 0.05) -> Delay:
    """From the end of an outage that was noticed until the verdict is online, by health checks alone.

    While offline the checks come ``offline_interval_s`` apart, doubling up to ``offline_interval_max_s``; how far it
    has grown depends on how long the outage lasted. Then ``rise`` - 1 more follow ``confirm_s`` apart.
    """
    lasts_s = min(fails_in_s, probe.timeout_s)
    well_s = min(health_s, probe.timeout_s)
    confirm = _spacing(min(probe.confirm_s, probe.interval_s), probe.jitter, well_s)
    noticed = detection(probe, fails_in_s, health_s)
    first = _spacing(min(probe.confirm_s, probe.interval_s), probe.jitter, lasts_s)
    quickest_s = (probe.fall - 1) * first.shortest_s + lasts_s
    usual = _offline_spacing(probe, outage_s - noticed.mean_s, lasts_s, slow=True)
    worst = _offline_spacing(probe, outage_s - quickest_s, lasts_s, slow=False)
    more = probe.rise - 1
    return Delay(
        usual.residual_s + more * confirm.mean_s + well_s,
        worst.worst_s + more * confirm.worst_s + well_s,
    )


def _offline_spacing(probe: ProbePolicy, offline_s: float, lasts_s: float, *, slow: bool) -> _Spacing:
    """The spacing in force after so long offline: with average spacings (``slow``) or the shortest ones."""
    at_s = 0.0
    wait_s = probe.offline_interval_s
    while True:
        spacing = _spacing(wait_s, probe.jitter, lasts_s)
        at_s += spacing.mean_s if slow else spacing.shortest_s
        if at_s >= offline_s or wait_s >= probe.offline_interval_max_s:
            return spacing
        wait_s = min(2 * wait_s, probe.offline_interval_max_s)


def false_offline_per_day(probe: ProbePolicy, failure_share: float, messages_per_hour: float = 0.0) -> float:
    """Offline verdicts a day while the backend is well and this share of the checks fails by chance.

    86400 / interval first failures times f, each confirmed by ``fall`` - 1 more: 86400 / I * f**fall. With ``fall`` 1
    and evidence each failed request makes one too.
    """
    per_day = 86400 / probe.interval_s * failure_share**probe.fall
    if probe.evidence and probe.fall == 1:
        per_day += 24 * messages_per_hour * failure_share
    return per_day


def checks_within(probe: ProbePolicy, span_s: float, fails_in_s: float) -> float:
    """Health checks of a dead backend within ``span_s``, on average: confirmations first, then ever fewer."""
    lasts_s = min(fails_in_s, probe.timeout_s)
    confirm = _spacing(min(probe.confirm_s, probe.interval_s), probe.jitter, lasts_s)
    waits_s = [confirm.mean_s] * (probe.fall - 1)
    wait_s = probe.offline_interval_s
    while wait_s < probe.offline_interval_max_s:
        waits_s.append(_spacing(wait_s, probe.jitter, lasts_s).mean_s)
        wait_s = min(2 * wait_s, probe.offline_interval_max_s)
    left_s = span_s
    for number, each_s in enumerate(waits_s):
        if each_s > left_s:
            return number + 1.0
        left_s -= each_s
    return len(waits_s) + 1 + left_s / _spacing(wait_s, probe.jitter, lasts_s).mean_s
