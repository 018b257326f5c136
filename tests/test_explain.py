"""explain: a card in plain words, with the numbers of closed forms."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hustle_sim as hs
from hustle_sim import PRESETS, Policy, Scenario, explain
from hustle_sim.tuning import closed_forms as closed


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scenario", [None, *Scenario.bundled()])
def test_every_preset_has_a_card_in_every_scenario(name, scenario):
    card = hs.explain(Policy.preset(name), None if scenario is None else Scenario.load(scenario))
    assert len({row.name for row in card.rows}) == len(card.rows)
    for row in card.rows:
        assert row.sentence.endswith("."), row
        assert row.sentence[0].isupper(), row
        assert not math.isnan(row.value), row
        assert row.word or math.isfinite(row.value), row
        assert not {"inf", "nan", "None"} & set(row.shown.split() + row.sentence.split()), row


def test_the_card_says_the_same_to_people_machines_and_notebooks():
    card = explain(Policy.preset("polly"))
    said = json.loads(json.dumps(card.to_dict(), allow_nan=False))
    assert [row["name"] for row in said["rows"]] == [row.name for row in card.rows]
    assert card["breaker_calls"].shown == "never"
    assert said["rows"][[row.name for row in card.rows].index("breaker_calls")]["value"] is None
    words = " ".join(str(card).split())
    for row in card.rows:
        assert row.shown in words
        assert row.title in card._repr_html_()
    assert max(map(len, str(card).splitlines())) <= 110


def test_what_a_policy_is_called_is_escaped_in_html():
    scenario = Scenario.load("hang").replace({"name": "<script>"})
    assert "<script>" not in explain(Policy(), scenario)._repr_html_()


def test_the_numbers_of_the_first_design():
    card = explain(Policy.preset("original"))
    assert card["attempts_refused"].value == 1
    assert card["notice_mean_s"].value == pytest.approx(155)
    assert card["notice_worst_s"].value == pytest.approx(305)
    assert card["queue_lasts_s"].value == 3000
    assert card["false_offline_per_day"].value == pytest.approx(2.88)


def test_a_scenario_brings_its_rate_clients_and_outages():
    card = explain(Policy(), Scenario.load("retry-storm"))
    assert "200 clients" in card.assumes
    assert "3 min" in card.assumes
    assert card["burst_per_s"].value == pytest.approx(200 * 3 / 10)


def test_the_rate_is_stated_where_there_is_no_scenario():
    assert "12 messages an hour" in explain(Policy(), messages_per_hour=12).assumes
    assert explain(Policy(), messages_per_hour=30)["queue_lasts_s"].value == 500 * 120


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(hs.InputError, match="messages_per_hour"):
        explain(Policy(), messages_per_hour=rate)


def test_a_scenario_in_which_nobody_writes_has_a_card():
    card = explain(Policy(), Scenario.load("hang").replace({"clients.messages_per_hour": 0}))
    assert card["queue_lasts_s"].shown == "no limit"
    assert card["burst_per_s"].value == 0


@given(share=st.floats(0, 1), attempts=st.integers(1, 100))
def test_the_load_is_the_sum_of_a_geometric_series(share, attempts):
    said = closed.geometric_load(share, attempts)
    assert said == pytest.approx(math.fsum(share**index for index in range(attempts)), rel=1e-6)
    assert 1 <= said <= attempts + 1e-9


def test_the_chance_that_full_jitter_leaves_time_is_that_of_a_sum_of_uniforms():
    # Two waits from U(0, 6) and U(0, 12) within 8 s: the area 6 * 12 holds 6 * 8 - 18 = 30 of them below the line.
    policy = Policy().replace(
        {"retry.base_s": 6, "request.deadline_s": 8.05, "queue.save_margin_s": 0.05, "request.attempt_timeout_s": 8}
    )
    assert closed.attempt_chances(policy, 0.0) == pytest.approx([1, 1, 30 / 72], abs=1e-3)


def test_decorrelated_waits_grow_by_threes_up_to_the_cap():
    retry = Policy().replace({"retry.jitter": "decorrelated", "retry.base_s": 1, "retry.cap_s": 20}).retry
    assert closed.wait_ranges_s(retry, 4) == [(1, 3), (1, 9), (1, 20), (1, 20)]


def test_an_outage_is_noticed_sooner_when_requests_are_evidence():
    checks = explain(Policy())["notice_mean_s"].value
    assert explain(Policy())["notice_live_s"].value < checks / 2
    assert explain(Policy().replace({"probe.evidence": False}))["notice_live_s"].value == checks
