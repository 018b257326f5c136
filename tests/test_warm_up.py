"""The warm-up that is suggested is the one that is there."""

import numpy as np
import pytest

from hustle_sim import InputError, Policy, Scenario, warm_up
from hustle_sim.simulation import Cancelled
from hustle_sim.tuning.warm_up import mser, with_warm_up

CUT = "warm up to here (MSER-5)"


def noise(n, seed):
    return np.random.Generator(np.random.Philox(seed)).normal(size=n)


def busy(**changes):
    """Twenty clients who join within a minute, before a backend that takes its time."""
    tables = {
        "name": "busy", "duration_s": "10m",
        "backend": {"capacity": 1000, "latency": {"kind": "exponential", "mean_s": 5.0}},
        "clients": {"count": 20, "messages_per_hour": 240, "waits": False},
    }  # fmt: skip
    return Scenario.from_dict(tables | changes)


@pytest.mark.parametrize("seed", range(5))
def test_mser_cuts_a_known_transient(seed):
    n, transient = 1000, 150
    decay = 20 * np.exp(-np.arange(n) / (transient / 5))
    assert 0.3 * transient <= mser(noise(n, seed) + decay) <= 1.5 * transient


@pytest.mark.parametrize("seed", range(5))
def test_mser_cuts_a_step_where_it_is(seed):
    values = noise(1000, seed)
    values[:200] += 10
    assert 200 <= mser(values) <= 230


def test_mser_is_the_rule_written_out():
    values = np.cumsum(noise(200, 3)) / 10
    means = values.reshape(40, 5).mean(axis=1)
    errors = [((means[d:] - means[d:].mean()) ** 2).sum() / (40 - d) ** 2 for d in range(35)]
    assert mser(values) == 5 * int(np.argmin(errors))


def test_what_never_varies_needs_no_warm_up():
    assert mser(np.full(100, 3.0)) == 0


def test_rounding_is_no_transient():
    values = np.full(100, 0.1)
    values[:50] += 1e-16
    values[50:] -= 2e-17
    assert mser(values) == 0


@pytest.fixture(scope="module")
def found():
    return warm_up(busy(), replications=3)


def test_clients_who_join_within_a_minute_are_the_warm_up(found):
    assert 30 <= found.seconds <= 120
    assert float(found) == found.seconds == max(found.cuts.values())
    assert "set warm_up_s" in found.note


def test_a_scenario_whose_warm_up_is_long_enough_has_nothing_to_do(found):
    enough = warm_up(busy(warm_up_s=300), replications=3)
    assert enough.seconds == found.seconds
    assert "nothing to do" in enough.note


def test_a_backend_that_is_full_at_once_needs_none():
    at_once = busy(clients={"count": 1, "messages_per_hour": 3600, "waits": False}, backend={"latency": 0.1})
    assert warm_up(at_once, Policy(), 3).seconds == 0


def test_the_outages_of_a_scenario_are_no_warm_up_and_the_same_seed_finds_the_same(found):
    early = [{"mode": "refuse", "at_s": 0, "lasts_s": "5m"}]
    assert warm_up(busy(outages=early), replications=3).series.equals(found.series)
    assert not warm_up(busy(), replications=3, seed=1).series.equals(found.series)


def test_a_scenario_that_has_a_warm_up_keeps_it_and_one_without_gets_it():
    policy = Policy()
    assert with_warm_up(busy(warm_up_s=7), policy, True).warm_up_s == 7
    assert with_warm_up(busy(), policy, False).warm_up_s == 0
    assert with_warm_up(busy(), policy, True).warm_up_s > 0
    silent = busy(clients={"count": 1, "messages_per_hour": 0})
    assert with_warm_up(silent, policy, True) == silent


def test_nothing_to_measure_is_one_sentence():
    with pytest.raises(InputError, match="send no messages"):
        warm_up(busy(clients={"count": 1, "messages_per_hour": 0}))
    with pytest.raises(InputError, match="too few messages"):
        warm_up(busy(clients={"count": 1, "messages_per_hour": 10}))


def test_it_tells_how_far_it_is():
    told = []
    warm_up(busy(), replications=2, progress=lambda now: told.append((now.done, now.total)))
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_it_can_be_cancelled():
    with pytest.raises(Cancelled):
        warm_up(busy(), cancelled=lambda: True)


def test_a_plot_shows_both_series_and_where_they_are_cut(found):
    first, second = found.plot()
    assert {element.label for element in first} == {"mean of the replications", "moving average", CUT}
    cuts = {
        float(element.data["time_s"].iloc[0]) for panel in (first, second) for element in panel if element.label == CUT
    }
    assert cuts == set(found.cuts.values())
