"""The digest of a live session: right about weeks, and no larger after them."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.events import BreakerChanged, ProbeEnded, QueueChanged, StatusChanged
from hustle_sim.live.digest import CHANGES, CHECKS, INCIDENTS, Digest, Tail

DAY_S = 86400.0


def probe(time_s, latency_s=0.1, outcome="ok", status="online"):
    return ProbeEnded(time_s, 0, latency_s, outcome, 200, status)


def changed(time_s, previous, current, reason=""):
    return StatusChanged(time_s, 0, previous, current, reason)


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(0, 60))
def test_a_tail_gives_what_came_after_a_number_as_far_as_it_is_kept(things, keep, number):
    tail = Tail(keep)
    for thing in things:
        tail.append(thing)
    assert tail.number == len(things)
    assert tail.since(number) == things[number:][-keep:]


def test_the_time_of_each_verdict_is_shared_out_among_minutes_and_hours():
    digest = Digest()
    digest(changed(30.0, "checking", "online"))
    digest(changed(90.0, "online", "offline"))
    digest(changed(210.0, "offline", "degraded"))
    total = digest.summary(240.0)
    assert (total.online_s, total.offline_s, total.degraded_s) == (60.0, 120.0, 30.0)
    assert total.available_share == pytest.approx(90 / 210)
    first, second, third = digest.minutes(200.0)[:3]
    assert (first.start_s, first.online_s, first.offline_s) == (0.0, 30.0, 0.0)
    assert (second.online_s, second.offline_s) == (30.0, 30.0)
    assert third.offline_s == 60.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 20_000), st.sampled_from(["online", "degraded", "offline"])), min_size=1, max_size=30
    )
)
def test_no_second_is_lost_or_counted_twice(steps):
    digest, now_s, truth, status = Digest(), 0.0, dict.fromkeys(("checking", "online", "degraded", "offline"), 0.0), ""
    for lasts_s, current in steps:
        digest(changed(now_s, status or "checking", current))
        truth[current] += lasts_s
        status, now_s = current, now_s + lasts_s
    for last_s in (math.inf, 7 * DAY_S):
        total = digest.summary(now_s, last_s)
        for name in ("online", "degraded", "offline"):
            assert getattr(total, f"{name}_s") == pytest.approx(truth[name], abs=1e-3)


def test_percentiles_are_right_within_half_a_percent():
    chance = random.Random(3)
    digest, latencies = Digest(), []
    for number in range(3000):
        latencies.append(math.exp(chance.gauss(-1, 0.8)))
        digest(probe(float(number), latencies[-1]))
    total = digest.summary(3010.0)
    for share in (0.5, 0.95, 0.99):
        assert total.latency_s(share) == pytest.approx(np.quantile(latencies, share, method="inverted_cdf"), rel=0.0051)
    assert math.isnan(Digest().summary(1.0).latency_s(0.5))


def test_failed_and_slow_checks_are_counted_apart():
    digest = Digest()
    for event in (probe(1), probe(2, status="degraded"), probe(3, 5.0, "timeout")):
        digest(event)
    total = digest.summary(10.0)
    assert (total.checks, total.answered, total.slow) == (3, 2, 1)


def test_an_incident_lasts_from_the_first_worry_to_the_all_clear_and_keeps_its_worst():
    digest = Digest()
    digest(changed(0, "checking", "online"))
    digest(changed(10, "online", "degraded", "slow"))
    digest(changed(20, "degraded", "offline", "3 failed in a row"))
    digest(changed(30, "offline", "degraded", "answers again"))
    (ongoing,) = digest.incidents()
    assert (ongoing.start_s, ongoing.worst, ongoing.reason) == (10, "offline", "3 failed in a row")
    assert math.isinf(ongoing.end_s)
    digest(changed(40, "degraded", "online"))
    assert digest.incidents()[0].end_s == 40
    digest(changed(50, "online", "offline", "again"))
    assert [incident.start_s for incident in digest.incidents()] == [10, 50]


def test_only_the_minutes_that_are_over_are_given_and_each_once():
    digest = Digest()
    digest(changed(0, "checking", "online"))
    first = digest.minutes(185.0)
    assert [minute.start_s for minute in first] == [0.0, 60.0, 120.0]
    assert digest.minutes(186.0, first[-1].start_s) == []
    assert [minute.start_s for minute in digest.minutes(241.0, first[-1].start_s)] == [180.0]


def test_the_depth_of_the_queue_and_the_breaker_are_those_of_the_last_event():
    digest = Digest()
    digest(QueueChanged(1.0, 0, "accepted", "a", 3, ""))
    digest(BreakerChanged(2.0, 0, "closed", "open", "5 of 5 calls failed"))
    assert digest.depth == 3
    number, (change,) = digest.breaker_since(0)
    assert (number, change.current) == (1, "open")
    assert digest.breaker_since(1) == (1, [])


def test_a_week_of_a_restless_backend_does_not_let_it_grow():
    chance = random.Random(5)
    digest, now_s, status, sizes = Digest(), 0.0, "checking", []
    for day in range(7):
        while now_s < (day + 1) * DAY_S:
            now_s += 5.0
            ok = chance.random() < 0.9
            digest(probe(now_s, math.exp(chance.gauss(-2, 1)), "ok" if ok else "timeout", status))
            if chance.random() < 0.02:
                current = chance.choice(["online", "degraded", "offline"])
                digest(changed(now_s, status, current))
                status = current
        sizes.append(digest.size)
    # A day fills the minutes; from then on only an hour in 24 is added.
    assert sizes[-1] - sizes[1] <= 5 * 24 * 600
    assert sizes[-1] < 80_000
    number, checks = digest.checks_since(0)
    assert number > 100_000
    assert len(checks) == CHECKS
    assert len(digest.changes_since(0)[1]) == CHANGES
    assert len(digest.incidents()) == INCIDENTS
    assert len(digest.minutes(now_s)) == 24 * 60 - 1
    assert digest.summary(now_s).watched_s == pytest.approx(7 * DAY_S, rel=0.01)
    assert digest.summary(now_s, DAY_S).watched_s == pytest.approx(DAY_S, rel=0.01)


def test_a_month_is_kept_by_the_hour_and_no_more():
    digest = Digest()
    digest(changed(0, "checking", "online"))
    digest(probe(40 * DAY_S))
    assert digest.summary(40 * DAY_S).watched_s <= 30 * DAY_S
    assert digest.size < 3000
