import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.policy import RetryPolicy
from hustle_sim.resilience.retry import RetryBudget, backoff_s, with_hint

JITTERS = ["none", "full", "equal", "decorrelated"]


@st.composite
def retry_policies(draw):
    cap_s = draw(st.floats(0, 3600))
    return RetryPolicy(
        base_s=draw(st.floats(0, min(cap_s, 600))),
        cap_s=cap_s,
        factor=draw(st.floats(1, 100)),
        jitter=draw(st.sampled_from(JITTERS)),
        retry_after_clamp_s=draw(st.floats(0, 3600)),
        budget_share=draw(st.floats(0, 100)),
        budget_floor_per_min=draw(st.floats(0, 1000)),
    )


draws = st.floats(0, 1, exclude_max=True)


class TestBackoff:
    @given(retry_policies(), st.integers(1, 10**9), st.floats(0, 1e6), draws)
    def test_is_within_the_cap_for_every_jitter_and_any_retry(self, policy, retry, previous_s, u):
        assert 0 <= backoff_s(policy, retry, previous_s, u) <= policy.cap_s

    @pytest.mark.parametrize(
        ("jitter", "u", "waits"),
        [
            ("none", 0.3, [1, 2, 4, 8, 10, 10]),
            ("full", 0.5, [0.5, 1, 2, 4, 5, 5]),
            ("full", 0.0, [0, 0, 0, 0, 0, 0]),
            ("equal", 0.5, [0.75, 1.5, 3, 6, 7.5, 7.5]),
            ("equal", 0.0, [0.5, 1, 2, 4, 5, 5]),
        ],
    )
    def test_grows_from_the_base_to_the_cap(self, jitter, u, waits):
        policy = RetryPolicy(base_s=1, factor=2, cap_s=10, jitter=jitter)
        assert [backoff_s(policy, retry, 0, u) for retry in range(1, 7)] == waits

    def test_decorrelated_draws_from_the_base_to_three_times_the_last_wait(self):
        policy = RetryPolicy(base_s=1, cap_s=10, jitter="decorrelated")
        assert backoff_s(policy, 1, 0, 0.5) == 2
        assert backoff_s(policy, 2, 2, 0.0) == 1
        assert backoff_s(policy, 2, 2, 0.5) == 3.5
        assert backoff_s(policy, 3, 9, 0.9) == 10

    @given(retry_policies(), st.floats(0, 1e6), draws)
    def test_decorrelated_never_waits_less_than_the_base(self, policy, previous_s, u):
        policy = policy.model_copy(update={"jitter": "decorrelated"})
        assert backoff_s(policy, 2, previous_s, u) >= policy.base_s


class TestHint:
    @pytest.mark.parametrize(
        ("own_s", "hint_s", "waits_s"),
        [(1, None, 1), (1, 0, 1), (1, 3, 3), (4, 3, 4), (1, 6, 6), (1, 3600, 6), (1, -5, 1), (1, math.inf, 6)],
    )
    def test_lengthens_our_wait_by_the_clamp_at_most(self, own_s, hint_s, waits_s):
        assert with_hint(own_s, hint_s, 5) == waits_s

    @given(st.floats(0, 100), st.floats(allow_nan=True), st.floats(0, 100))
    def test_never_shortens_it_whatever_the_backend_says(self, own_s, hint_s, clamp_s):
        assert own_s <= with_hint(own_s, hint_s, clamp_s) <= own_s + clamp_s


def taken(budget, now_s, wanted=10**4):
    return sum(budget.take(now_s) for _ in range(wanted))


class TestBudget:
    def test_starts_with_a_minute_of_the_floor(self):
        budget = RetryBudget(RetryPolicy(budget_share=0, budget_floor_per_min=10), 100.0)
        assert taken(budget, 100.0) == 10

    def test_time_brings_the_floor_back_and_no_more(self):
        budget = RetryBudget(RetryPolicy(budget_share=0, budget_floor_per_min=10), 0.0)
        assert taken(budget, 0.0) == 10
        assert taken(budget, 30.0) == 5
        assert taken(budget, 86400.0) == 10

    def test_messages_bring_their_share(self):
        budget = RetryBudget(RetryPolicy(budget_share=0.1, budget_floor_per_min=0), 0.0)
        for _ in range(55):
            budget.on_message()
        assert taken(budget, 0.0) == 5

    def test_an_old_traffic_jam_is_not_a_licence(self):
        budget = RetryBudget(RetryPolicy(budget_share=0.1, budget_floor_per_min=0), 0.0)
        for _ in range(100000):
            budget.on_message()
        assert taken(budget, 0.0) == 10

    def test_offline_nothing_is_saved_up(self):
        budget = RetryBudget(RetryPolicy(budget_share=0.1, budget_floor_per_min=10), 0.0)
        assert taken(budget, 0.0) == 10
        budget.freeze(True, 0.0)
        for _ in range(100):
            budget.on_message()
        assert taken(budget, 3600.0) == 0
        budget.freeze(False, 3600.0)
        assert taken(budget, 3600.0) == 0
        assert taken(budget, 3630.0) == 5

    def test_freezing_twice_is_freezing_once(self):
        budget = RetryBudget(RetryPolicy(budget_share=0, budget_floor_per_min=60), 0.0)
        assert taken(budget, 0.0) == 60
        budget.freeze(True, 10.0)
        budget.freeze(True, 50.0)
        assert taken(budget, 50.0) == 10

    def test_a_small_budget_lets_a_retry_through_some_day(self):
        slow = RetryBudget(RetryPolicy(budget_share=0, budget_floor_per_min=0.5), 0.0)
        assert taken(slow, 59.0) == 0
        assert taken(slow, 61.0) == 1
        thrifty = RetryBudget(RetryPolicy(budget_share=0.005, budget_floor_per_min=0), 0.0)
        for _ in range(201):
            thrifty.on_message()
        assert taken(thrifty, 0.0) == 1

    def test_no_budget_is_no_retry(self):
        budget = RetryBudget(RetryPolicy(budget_share=0, budget_floor_per_min=0), 0.0)
        budget.on_message()
        assert taken(budget, 86400.0) == 0

    @given(
        retry_policies(),
        st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["message", "take", "freeze", "thaw"])), max_size=60),
    )
    def test_never_gives_more_than_share_floor_and_the_start_together(self, policy, steps):
        budget = RetryBudget(policy, 0.0)
        now_s, messages, retries = 0.0, 0, 0
        for wait_s, what in steps:
            now_s += wait_s
            if what == "message":
                budget.on_message()
                messages += 1
            elif what == "take":
                retries += budget.take(now_s)
            else:
                budget.freeze(what == "freeze", now_s)
        floor = policy.budget_floor_per_min
        assert retries <= messages * policy.budget_share + floor + now_s * floor / 60 + 1e-6
