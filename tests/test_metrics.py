"""Every metric against runs told by hand, whose numbers anyone can check."""

import math

import numpy as np
import pytest
from events_by_hand import Story, outage_story

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy

DAY_S = 86400.0


def _metric(name: str, story: Story, **about: object) -> float:
    return float(story.run(**about).metrics[name])


def _queued(message_id: str, at_s: float) -> Story:
    return Story().answered(message_id, at_s, 8, "fallback").queue("accepted", message_id, at_s + 8, 1)


def _many(answers_s: list[float]) -> Story:
    story = Story()
    for number, answer_s in enumerate(answers_s):
        story.answered(f"m{number}", number, answer_s)
    return story


def _late(delays_s: list[float]) -> Story:
    story = Story()
    for number, delay_s in enumerate(delays_s):
        story.answered(f"m{number}", 0, 8, "fallback").delivered(f"m{number}", delay_s)
    return story


def _watched() -> Story:
    """One client, online from 1 s on, and an outage from 1000 s to 2000 s."""
    return Story().outage(1000, 2000).verdict("online", 1)


CASES = [
    ("messages", _many([1, 1, 1]), 3),
    ("answered_share", Story().answered("a", 0).answered("b", 1, 0, "cache").answered("c", 2, 8, "fallback"), 2 / 3),
    ("answered_share", Story().answered("a", 0, 7.9).answered("b", 1, 8.5), 1 / 2),
    ("answer_p50_s", _many([1, 2, 3]), 2),
    ("answer_p99_s", _many(list(range(101))), 99),
    ("answer_max_s", _many([1, 2, 7]), 7),
    ("fallback_share", Story().answered("a", 0).answered("b", 1, 8, "stale").answered("c", 2, 8, "fallback"), 1 / 3),
    ("delivered_share", Story().answered("a", 0).answered("b", 0, 0, "cache"), 1),
    ("delivered_share", Story().answered("a", 0).answered("b", 0, 8, "fallback"), 1 / 2),
    ("delivered_share", _late([50]).answered("b", 0, 8, "fallback"), 1 / 2),
    ("late_p50_s", _late([10, 20, 30]).answered("x", 0), 20),
    ("late_p99_s", _late(list(range(101))), 99),
    ("lost", _queued("a", 0).queue("dropped", "a", 9), 1),
    ("rejected", Story().answered("a", 0, 8, "fallback").queue("rejected", "a", 8), 1),
    ("expired", _queued("a", 0).queue("expired", "a", 9), 1),
    ("dead", _queued("a", 0).queue("dead", "a", 9), 1),
    ("duplicates", Story().answered("a", 0).effect("a", 5).effect("a", 6).answered("b", 1), 2),
    ("spend_multiplier", Story().answered("a", 0).effect("a", 5).answered("b", 1), 1.5),
    ("amplification", Story().answered("a", 0).answered("b", 0).attempt("b", 2, number=2), 1.5),
    ("amplification", Story().answered("a", 0).attempt("a", 2, outcome="rejected", number=2), 1),
    ("amplification", _queued("a", 0).attempt("a", 0, outcome="timeout").attempt("a", 20, kind="replay", number=2), 2),
    ("wasted_share", Story().outage(10, 20).attempt("a", 9).attempt("b", 10).attempt("c", 19).attempt("d", 20), 0.5),
    ("wasted_share", Story().outage(10, 20).outage(15, 30).answered("a", 25).attempt("a", 26, outcome="rejected"), 1),
    ("wasted_share", Story().answered("a", 9), 0),
    ("detection_s", _watched().verdict("offline", 1040), 40),
    ("detection_s", _watched().verdict("degraded", 1030).verdict("offline", 1040), 30),
    ("detection_s", _watched().verdict("degraded", 900).verdict("offline", 1040), 0),
    ("detection_s", _watched().outage(1500, 2500).verdict("offline", 2100), 1100),
    ("detection_s", _watched().verdict("offline", 1040).verdict("online", 1, 1).verdict("offline", 1060, 1), 50),
    ("detection_s", _watched().verdict("offline", 1040).verdict("online", 1, 1), 40),
    ("detection_s", _watched().verdict("offline", 1000).probe(1200, client=1).verdict("offline", 1230, 1), 15),
    ("recovery_s", _watched().verdict("offline", 1040).verdict("degraded", 2010).verdict("online", 2030), 30),
    ("recovery_s", _watched().verdict("offline", 1040).verdict("online", 1500), 0),
    ("recovery_s", _watched().verdict("offline", 1040), 1600),
    ("recovery_s", _watched().verdict("offline", 1010).verdict("online", 2020).verdict("online", 1, 1), 20),
    ("missed_outages", _watched(), 1),
    ("missed_outages", _watched().verdict("offline", 2001), 1),
    ("missed_outages", _watched().outage(3000, 3100).verdict("offline", 1500).verdict("online", 2100), 1),
    ("missed_outages", _watched().verdict("offline", 1500).verdict("online", 1, 1), 0.5),
    ("missed_outages", _watched().outage(3500, 4000).verdict("offline", 1500), 0),
    ("false_offline", _watched().verdict("offline", 500), 24),
    ("false_offline", _watched().verdict("offline", 1500), 0),
    ("false_offline", _watched().verdict("offline", 2010), 24),
    ("false_offline", _watched().verdict("degraded", 1500).verdict("offline", 2010), 0),
    ("false_offline", _watched().verdict("degraded", 2100).verdict("offline", 2200), 24),
    ("false_offline", _watched().verdict("offline", 500).verdict("online", 1, 1), 12),
    ("false_offline", Story().verdict("offline", 5), 24),
    ("probe_rate_per_hour", Story().probe(0).probe(300).probe(600), 3),
    ("probe_rate_per_hour", Story().probe(0).probe(300, client=1).probe(600), 1.5),
    ("drained_s", _watched().queue("accepted", "a", 1500, 1).queue("delivered", "a", 2060, 0), 60),
    ("drained_s", _watched().queue("accepted", "a", 1500, 1), 1600),
    (
        "drained_s",
        _watched().queue("accepted", "a", 1500, 1).queue("accepted", "b", 1500, 1, 1).queue("accepted", "c", 10, 0, 2)
        .queue("delivered", "a", 2010).queue("delivered", "b", 2050, 0, 1),
        30,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "story", "expected"), CASES)
def test_a_metric_of_a_run_told_by_hand(name: str, story: Story, expected: float):
    assert _metric(name, story) == pytest.approx(expected)


def test_every_metric_has_a_case_by_hand():
    assert {name for name, _, _ in CASES} | {"recovery_peak"} == set(METRICS)


def _steady(every_s: float, until_s: float) -> Story:
    story = Story()
    for number in range(int(until_s / every_s)):
        story.attempt(f"m{number}", number * every_s)
    return story


def test_recovery_peak_is_the_busiest_ten_seconds_over_the_rate_before():
    story = _steady(10, 1000).outage(1000, 1100)
    for number in range(30):
        story.attempt("r", 1120 + number / 10, kind="replay")
    assert _metric("recovery_peak", story) == pytest.approx(30)


def test_recovery_peak_takes_the_worst_outage_and_only_the_five_minutes_after_it():
    story = _steady(10, 1000).outage(1000, 1100).outage(2000, 2100)
    for number in range(4):
        story.attempt("r", 1150 + number, kind="replay")
    for number in range(9):
        story.attempt("r", 1401 + number, kind="replay")
    assert _metric("recovery_peak", story) == pytest.approx(4)


def test_recovery_peak_does_not_look_into_the_next_outage():
    story = _steady(10, 1000).outage(1000, 1100).outage(1150, 4000)
    story.attempt("r", 1120)
    for number in range(9):
        story.attempt("r", 1160 + number)
    assert _metric("recovery_peak", story) == pytest.approx(1)


def test_recovery_peak_needs_traffic_before_an_outage():
    assert math.isnan(_metric("recovery_peak", _watched().attempt("a", 2010)))
    assert math.isnan(_metric("recovery_peak", Story().attempt("a", 10)))


def test_only_what_begins_inside_the_measured_window_counts():
    story = Story().answered("early", 5, 2).answered("in", 100, 3).answered("after", 3600, 4).probe(5).probe(100)
    story.outage(10, 20).outage(200, 260).verdict("online", 1).verdict("offline", 220).verdict("online", 270)
    metrics = story.run(warm_up_s=60.0).metrics
    assert metrics["messages"] == 1
    assert metrics["answer_max_s"] == 3
    assert metrics["detection_s"] == 20
    assert metrics["missed_outages"] == 0
    assert metrics["probe_rate_per_hour"] == pytest.approx(3600 / 3540)
    assert metrics["wasted_share"] == 0


def test_a_deadline_of_its_own_decides_what_is_in_time():
    story = Story().answered("a", 0, 5)
    assert _metric("answered_share", story, policy=Policy().replace({"request.deadline_s": 4})) == 0


def test_a_run_in_which_nothing_happened_has_no_shares_and_no_times():
    metrics = Story().run().metrics
    assert metrics[["messages", "lost", "rejected", "expired", "dead", "duplicates"]].tolist() == [0] * 6
    assert metrics.drop(["messages", "lost", "rejected", "expired", "dead", "duplicates"]).isna().all()


def test_a_live_session_knows_no_outages():
    known = outage_story().run(duration_s=7200.0).metrics
    live = outage_story().run(duration_s=7200.0, backend_truth=False).metrics
    of_the_truth = [
        "duplicates", "spend_multiplier", "wasted_share", "recovery_peak", "detection_s", "recovery_s",
        "missed_outages", "false_offline", "drained_s",
    ]  # fmt: skip
    assert known[of_the_truth].notna().all()
    assert live[of_the_truth].drop("recovery_peak").isna().all()
    assert live.drop(of_the_truth).equals(known.drop(of_the_truth))


def test_metrics_are_floats_by_name_in_the_order_of_the_table():
    metrics = outage_story().run(duration_s=7200.0).metrics
    assert metrics.dtype == np.float64
    assert list(metrics.index) == list(METRICS)


def test_every_metric_explains_itself_in_a_sentence():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.text[0].isupper() or metric.text[0].isdigit()
        assert metric.text.endswith(".")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("answered_share", 0.931, "93.1 %"),
        ("answered_share", 1.0, "100 %"),
        ("answered_share", 0.0, "0 %"),
        ("answered_share", 0.99996, "99.996 %"),
        ("answered_share", 0.0004, "0.04 %"),
        ("answered_share", 1e-9, "< 0.001 %"),
        ("answered_share", 1 - 1e-9, "> 99.999 %"),
        ("answer_p50_s", 0.35, "350 ms"),
        ("answer_p99_s", 8.0, "8 s"),
        ("late_p50_s", 5400.0, "1 h 30 min"),
        ("messages", 1440.0, "1,440"),
        ("missed_outages", 0.5, "0.5"),
        ("amplification", 1.084, "1.08×"),
        ("recovery_peak", 1234.56, "1,235×"),
        ("false_offline", 2.9, "2.9 per day"),
        ("probe_rate_per_hour", 12.0, "12 per hour"),
        ("drained_s", math.nan, "–"),
    ],
)
def test_a_metric_is_printed_for_people(name: str, value: float, text: str):
    assert format_metric(name, value) == text


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'answered_share'"):
        format_metric("answerd_share", 1.0)
