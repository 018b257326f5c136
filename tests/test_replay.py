"""What a live session saw going wrong, as a scenario that goes wrong in the same way at the same time."""

from datetime import UTC, datetime

import pytest

from hustle_sim.analysis import Run
from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError
from hustle_sim.live.replay import scenario_of
from hustle_sim.policy import Policy
from hustle_sim.simulation import Scenario, simulate

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def seen(*probes, duration_s=600.0, fall=3, rise=2):
    """A run of probes (time, outcome, status code, latency), with the verdicts that follow from them."""
    events, status, failed, passed = [], "online", 0, 0
    for time_s, outcome, code, latency_s in probes:
        failed, passed = (0, passed + 1) if outcome == "ok" else (failed + 1, 0)
        now = "offline" if failed >= fall else "online" if passed >= rise else status
        if outcome == "ok" and latency_s > 3:
            now = "degraded"
        if now != status:
            events.append(StatusChanged(time_s + latency_s, 0, status, now, "because"))
            status = now
        events.append(ProbeEnded(time_s, 0, latency_s, outcome, code, status))
    return Run.from_events(
        events, policy=Policy(), start=START, duration_s=duration_s, label="http://api", backend_truth=False
    )


def well(*times_s):
    return [(float(time_s), "ok", 200, 0.1) for time_s in times_s]


def broken(outcome, code, *times_s):
    return [(float(time_s), outcome, code, 0.2) for time_s in times_s]


@pytest.mark.parametrize(
    ("outcome", "code", "mode", "status"),
    [
        ("timeout", None, "hang", None),
        ("refused", None, "refuse", None),
        ("dns", None, "refuse", None),
        ("overloaded", 529, "error", 529),
        ("http_5xx", 502, "error", 502),
        ("rate_limited", 429, "error", 429),
        ("bad_body", 200, "bad_body", None),
    ],
)
def test_an_outage_lasts_from_the_first_failed_check_to_the_first_good_one_and_fails_in_its_way(
    outcome, code, mode, status
):
    run = seen(*well(0, 60), *broken(outcome, code, 100, 110, 120, 130), *well(200, 210, 300))
    scenario = scenario_of(run)
    (outage,) = scenario.outages
    assert (outage.at_s, outage.lasts_s, outage.mode, outage.status) == (100.0, 100.0, mode, status)
    assert (scenario.duration_s, scenario.start) == (600.0, START)
    assert scenario.backend.health_latency.mean_s == pytest.approx(0.1)


def test_a_slow_time_is_slower_by_as_much_as_was_seen():
    run = seen(*well(0, 60), (100.0, "ok", 200, 4.0), (110.0, "ok", 200, 4.0), *well(200, 210))
    (outage,) = scenario_of(run).outages
    assert (outage.mode, outage.factor) == ("slow", 40.0)
    assert outage.at_s == 100.0


def test_failures_among_good_answers_keep_their_share():
    mixed = [step for time_s in range(130, 170, 20) for step in (*broken("http_5xx", 500, time_s), *well(time_s + 10))]
    run = seen(*well(0), *broken("http_5xx", 500, 100, 110, 120), *mixed, *well(200, 210))
    (outage,) = scenario_of(run).outages
    assert outage.share is not None
    assert 0.5 < outage.share < 0.9


def test_what_goes_on_lasts_to_the_end_and_several_are_kept_apart():
    run = seen(
        *well(0), *broken("refused", None, 100, 110, 120), *well(150, 160), *broken("timeout", None, 400, 410, 420)
    )
    first, last = scenario_of(run).outages
    assert (first.at_s, first.lasts_s) == (100.0, 50.0)
    assert (last.at_s, last.lasts_s) == (400.0, 200.0)


def test_it_can_be_written_read_and_simulated(tmp_path):
    run = seen(*well(0), *broken("refused", None, 100, 110, 120), *well(300, 310))
    scenario = scenario_of(run)
    scenario.save(tmp_path / "recorded.toml")
    assert Scenario.load(tmp_path / "recorded.toml") == scenario
    again = simulate(scenario, seed=1)
    assert list(again.outages["mode"]) == ["refuse"]
    assert again.metrics["messages"] > 50
    assert again.metrics["answered_share"] < 1


def test_without_an_incident_there_is_nothing_to_replay():
    with pytest.raises(InputError, match="no incident was seen"):
        scenario_of(seen(*well(0, 60)))
