"""lint: findings with the mend, the worst first."""

import itertools
import json
import re

import pytest

import hustle_sim as hs
from hustle_sim import PRESETS, Policy, Scenario, lint
from hustle_sim.policy import policy_fields


def codes(policy, *severities, **given):
    return {each.code for each in lint(policy, **given) if not severities or each.severity in severities}


def made(**changes):
    return Policy().replace({name.replace("__", "."): value for name, value in changes.items()})


def test_the_default_has_no_errors_and_no_warnings():
    assert codes(Policy(), "error", "warning") == set()


def test_the_first_design_shows_its_five_classic_problems():
    assert codes(Policy.preset("original")) >= {
        "one-failure-is-offline", "slow-to-notice", "queue-forgets", "outages-kill-messages", "flush-without-pace",
    }  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scenario", [None, *Scenario.bundled()])
def test_findings_are_well_formed_and_sorted(name, scenario):
    known = {field.name for field in policy_fields()}
    findings = hs.lint(Policy.preset(name), None if scenario is None else Scenario.load(scenario), sdk_retries=2)
    order = [("error", "warning", "note").index(each.severity) for each in findings]
    assert order == sorted(order)
    for each in findings:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each.code)
        assert set(each.fields) | set(each.changes) | set(each.inert) <= known
        assert each.sentence.endswith("."), each
        assert each.mend.endswith("."), each
        assert not {"inf", "nan", "None"} & set(re.findall(r"\w+", each.sentence + each.mend)), each
        json.dumps(each.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("code", "changes"), [
    ("hang-is-never-judged", {"request__attempt_timeout_s": 50, "queue__lease_s": 90}),
    ("attempt-outlives-deadline", {"request__attempt_timeout_s": 20, "queue__lease_s": 90}),
    ("late-answers-thrown-away", {"request__late_answer_window_s": 0}),
    ("retries-off-but-tuned", {"request__max_attempts": 1, "retry__base_s": 3}),
    ("retries-never-happen", {"retry__base_s": 10, "retry__jitter": "none"}),
    ("attempts-beyond-deadline", {"request__max_attempts": 10, "retry__jitter": "equal", "retry__base_s": 1}),
    ("uncapped-backoff", {"request__max_attempts": 8, "retry__base_s": 0.5}),
    ("cap-never-reached", {}),
    ("retries-without-wait", {"retry__base_s": 0}),
    ("retries-in-step", {"retry__jitter": "none"}),
    ("budget-allows-no-retry", {"retry__budget_share": 0, "retry__budget_floor_per_min": 0}),
    ("budget-hardly-allows-retries", {"retry__budget_share": 0.001, "retry__budget_floor_per_min": 0}),
    ("no-retry-budget", {"retry__budget_share": 5}),
    ("budget-never-binds", {}),
    ("breaker-off", {"breaker__enabled": False}),
    ("breaker-off-but-tuned", {"breaker__enabled": False, "breaker__min_calls": 9}),
    ("other-window-tuned", {"breaker__window_calls": 9}),
    ("slow-calls-never-counted", {"breaker__slow_call_s": 9}),
    ("closes-late", {"breaker__half_open_probes": 20}),
    ("breaker-never-opens", {"breaker__min_calls": 100}),
    ("breaker-never-opens-on-a-hang", {"breaker__window_s": 2, "breaker__min_calls": 10, "queue__flush_on": "verdict",
                                       "request__max_attempts": 12, "request__late_answer_window_s": 1}),
    ("breaker-opens-by-luck", {}),
    ("one-message-opens-the-breaker", {"breaker__min_calls": 2}),
    ("one-failure-is-offline", {"probe__fall": 1}),
    ("one-success-is-online", {"probe__rise": 1}),
    ("slow-to-notice", {"probe__evidence": False}),
    ("slow-to-recover", {"probe__offline_interval_max_s": 600}),
    ("checks-slower-than-breaker", {"breaker__open_max_s": 20}),
    ("checks-in-step", {"probe__jitter": 0}),
    ("never-degraded", {"probe__degraded_above_s": 5}),
    ("queue-forgets", {"queue__overflow": "drop-oldest"}),
    ("dead-letters-off", {"queue__dead_letters": False}),
    ("outages-kill-messages", {"queue__outages_count": True}),
    ("queue-never-drains", {"queue__drain_per_s": 0.01}),
    ("lease-without-margin", {"queue__lease_s": 8}),
    ("queue-overflows", {"queue__max_size": 50, "queue__warn_size": 40}),
    ("messages-expire-in-an-outage", {"queue__ttl_s": 3600}),
    ("flush-without-pace", {"queue__drain_per_s": 100}),
    ("no-canary", {"queue__canary": False}),
    ("queue-waits-for-a-verdict", {"queue__flush_on": "verdict"}),
    ("replays-without-wait", {"queue__base_s": 0}),
    ("herd-on-recovery", {"queue__flush_jitter_s": 0}),
    ("cache-off-but-tuned", {"cache__enabled": False, "cache__fresh_s": 3}),
    ("cache-keeps-nothing", {"cache__fresh_s": 0, "cache__stale_s": 0}),
])  # fmt: skip
def test_each_rule_finds_its_case_and_its_mend_ends_it(code, changes):
    policy = made(**changes)
    (finding,) = (each for each in lint(policy) if each.code == code)
    assert finding.changes, finding
    assert code not in codes(policy.replace(finding.changes))


class TestWithAScenario:
    def test_the_deadline_is_held_against_the_backend(self):
        slow = Scenario.load("hang").replace({"backend.latency": {"kind": "lognormal", "median_s": 6, "p99_s": 20}})
        assert "deadline-under-p99" in codes(Policy(), "warning", scenario=slow)
        slower = slow.replace({"backend.latency": {"kind": "lognormal", "median_s": 12, "p99_s": 30}})
        (finding,) = (each for each in lint(Policy(), slower) if each.severity == "error")
        assert finding.code == "deadline-under-median"
        assert "deadline-under-p99" not in codes(Policy().replace(finding.changes), scenario=slower)

    def test_a_timeout_below_the_slowest_good_answers(self):
        policy = made(request__attempt_timeout_s=2)
        assert "timeout-under-p99" in codes(policy, scenario=Scenario.load("morning-outage"))
        assert "timeout-under-p99" not in codes(policy)

    def test_the_queue_is_held_against_the_scenarios_own_outages(self):
        policy = made(queue__max_size=50, queue__warn_size=40)
        assert "queue-overflows" in codes(policy, "warning", scenario=Scenario.load("morning-outage"))
        assert "queue-overflows" not in codes(policy, scenario=Scenario.load("hang"))

    def test_a_fleet_that_comes_back_at_once(self):
        assert "flood-on-recovery" in codes(Policy(), scenario=Scenario.load("retry-storm"))

    def test_a_cache_without_a_question_that_comes_twice(self):
        scenario = Scenario.load("hang").replace({"clients.repeat_share": 0})
        assert "cache-never-hits" in codes(Policy(), scenario=scenario)

    def test_outages_that_are_over_before_they_are_seen(self):
        policy = made(probe__evidence=False, probe__interval_s=150)
        scenario = Scenario.load("hang").replace({"outages.0.lasts_s": 60})
        assert "outages-go-unnoticed" in codes(policy, scenario=scenario)

    def test_a_backend_that_ignores_keys(self):
        assert "replays-are-paid-twice" in codes(Policy(), scenario=Scenario.load("hang"))


def test_retries_of_an_sdk_multiply():
    (stacked,) = (each for each in lint(Policy(), sdk_retries=2) if each.code == "retries-stacked-on-an-sdk")
    assert "3 x 3 = 9 requests" in stacked.sentence
    assert stacked.severity == "error"
    assert stacked.changes == {}
    with pytest.raises(hs.InputError, match="sdk_retries"):
        lint(Policy(), sdk_retries=-1)


def test_a_failed_request_flushes_the_queue_through_a_check_even_where_only_verdicts_do():
    waits = made(queue__flush_on="verdict", queue__base_s=0)
    assert "replays-without-wait" in codes(waits)
    assert "replays-without-wait" not in codes(waits.replace({"probe.evidence": False}))


@pytest.mark.parametrize("name", PRESETS)
def test_obeying_all_errors_and_warnings_comes_to_an_end(name):
    policy = Policy.preset(name)
    for _ in range(40):
        bad = [each for each in lint(policy) if each.severity != "note"]
        if not bad:
            break
        policy = policy.replace(bad[0].changes)
    assert codes(policy, "error", "warning") == set()


def test_changes_are_changes():
    for name, scenario in itertools.product(PRESETS, [None, "retry-storm"]):
        policy = Policy.preset(name)
        for each in lint(policy, None if scenario is None else Scenario.load(scenario)):
            assert all(policy.get(field) != value for field, value in each.changes.items())
