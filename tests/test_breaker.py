import asyncio

import pytest
from fakes import START, hashed, make_world, middle, run_virtual
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.events import Recorder
from hustle_sim.policy import BreakerPolicy
from hustle_sim.resilience.breaker import BreakerState, CircuitBreaker, open_time_s
from hustle_sim.resilience.outcome import Outcome

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
FAILED, OK = Outcome.OVERLOADED, Outcome.OK


@st.composite
def breaker_policies(draw):
    open_max_s = draw(st.floats(0.1, 1000))
    window = draw(st.sampled_from(["time", "count"]))
    return BreakerPolicy(
        window=window,
        window_s=draw(st.floats(1, 500)),
        window_calls=draw(st.integers(10, 50)),
        min_calls=draw(st.integers(1, 10)),
        failure_share=draw(st.floats(0.01, 1)),
        slow_call_s=draw(st.floats(0.01, 10)),
        slow_share=draw(st.floats(0.01, 1)),
        open_s=draw(st.floats(0.1, open_max_s)),
        open_max_s=open_max_s,
        open_factor=draw(st.floats(1, 10)),
        jitter=draw(st.floats(0, 1)),
        half_open_probes=draw(st.integers(1, 5)),
    )


def breaker(uniform=middle, **changes):
    recorder = Recorder()
    policy = BreakerPolicy(**{"min_calls": 2, "open_s": 10, "jitter": 0, **changes})
    made = CircuitBreaker(policy, make_world(recorder, uniform=uniform))
    made.recorder = recorder
    return made


def call(it, outcome, now_s, took_s=0.1, retry_after_s=None):
    permit = it.admit(now_s)
    assert permit is not None
    it.end(permit, outcome, took_s, now_s, retry_after_s)


def opened(now_s=0.0, **changes):
    it = breaker(**changes)
    call(it, FAILED, now_s)
    call(it, FAILED, now_s)
    assert it.state is OPEN
    return it


class TestTripping:
    def test_opens_at_the_share_of_failures_once_there_are_enough_calls(self):
        it = breaker(min_calls=4, failure_share=0.5)
        for outcome in (FAILED, FAILED, OK):
            call(it, outcome, 0.0)
            assert it.state is CLOSED
        call(it, OK, 0.0)
        assert it.state is OPEN
        assert it.recorder.events[-1].reason == "2 of 4 calls failed"

    def test_opens_at_the_share_of_slow_calls_though_all_were_answered(self):
        it = breaker(slow_call_s=6, slow_share=0.8)
        call(it, OK, 0.0, took_s=6.0)
        call(it, OK, 0.0, took_s=7.0)
        assert it.state is OPEN
        assert it.recorder.events[-1].reason == "2 of 2 calls were slow"

    def test_old_calls_leave_the_window_of_time(self):
        it = breaker(window_s=60)
        call(it, FAILED, 0.0)
        call(it, OK, 60.5)
        call(it, OK, 61.0)
        call(it, FAILED, 120.4)
        assert it.state is CLOSED

    def test_old_calls_leave_the_window_of_calls(self):
        it = breaker(window="count", window_calls=3, min_calls=3, failure_share=0.6)
        for outcome in (FAILED, OK, OK, FAILED, OK, OK, FAILED, OK):
            call(it, outcome, 0.0)
        assert it.state is CLOSED
        call(it, FAILED, 0.0)
        assert it.state is OPEN

    @pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REJECTED])
    def test_a_call_that_we_cut_short_says_nothing(self, outcome):
        it = breaker()
        for _ in range(100):
            call(it, outcome, 0.0)
        assert it.state is CLOSED
        call(it, FAILED, 0.0)
        assert it.state is CLOSED

    def test_a_bad_message_is_an_answer(self):
        it = breaker()
        for _ in range(100):
            call(it, Outcome.HTTP_4XX, 0.0)
        assert it.state is CLOSED

    def test_off_it_admits_everything(self):
        it = breaker(enabled=False)
        for _ in range(100):
            call(it, FAILED, 0.0)
        assert it.state is CLOSED
        assert not it.recorder.events
        it.restore({"open_until": START + 100, "opened": 1}, 0.0)
        assert it.state is CLOSED


class TestOpen:
    def test_admits_nothing_until_its_time_is_over(self):
        it = opened(5.0)
        assert it.admit(5.0) is None
        assert it.admit(14.999) is None
        assert it.ready_at_s(6.0) == 15.0
        assert it.admit(15.0) is not None
        assert it.state is HALF_OPEN

    def test_what_was_sent_before_it_opened_says_nothing_any_more(self):
        it = breaker()
        early = [it.admit(0.0) for _ in range(5)]
        for permit in early[:2]:
            it.end(permit, FAILED, 0.1, 1.0)
        assert it.state is OPEN
        it.end(early[2], OK, 0.1, 2.0)
        assert it.state is OPEN
        trial = it.admit(11.0)
        it.end(early[3], FAILED, 0.1, 11.0)
        assert it.state is HALF_OPEN
        it.end(early[4], OK, 0.1, 11.0)
        assert it.state is HALF_OPEN
        it.end(trial, OK, 0.1, 11.5)
        assert it.state is CLOSED

    def test_each_failed_trial_makes_it_longer_up_to_the_longest(self):
        it = opened(open_s=10, open_factor=2, open_max_s=50)
        now_s, waits = 0.0, []
        for _ in range(5):
            ready_s = it.ready_at_s(now_s)
            waits.append(ready_s - now_s)
            now_s = ready_s
            call(it, FAILED, now_s)
            assert it.state is OPEN
        assert waits == [10, 20, 40, 50, 50]
        call(it, OK, it.ready_at_s(now_s))
        assert it.state is CLOSED
        now_s += 100
        call(it, FAILED, now_s)
        call(it, FAILED, now_s)
        assert it.ready_at_s(now_s) - now_s == 10

    def test_retry_after_raises_the_open_time(self):
        it = breaker()
        call(it, FAILED, 0.0)
        call(it, FAILED, 0.0, retry_after_s=45)
        assert it.ready_at_s(0.0) == 45
        call(it, FAILED, 45.0, retry_after_s=1)
        assert it.ready_at_s(45.0) == 65

    @given(breaker_policies(), st.integers(1, 10**6), st.none() | st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
    def test_no_open_time_exceeds_the_longest(self, policy, number, hint_s, u):
        time_s = open_time_s(policy, number, hint_s, u)
        assert 0 <= time_s <= policy.open_max_s
        assert time_s >= min(hint_s or 0, policy.open_max_s)


class TestHalfOpen:
    def test_one_trial_at_a_time_and_one_that_is_answered_closes(self):
        it = opened()
        trial = it.admit(10.0)
        assert it.admit(10.0) is None
        assert it.admit(12.0) is None
        it.end(trial, OK, 0.1, 12.0)
        assert it.state is CLOSED

    def test_a_failed_trial_opens_again(self):
        it = opened()
        call(it, FAILED, 10.0)
        assert it.state is OPEN
        assert "the trial call failed: overloaded" in it.recorder.events[-1].reason

    def test_a_cancelled_trial_frees_its_place_at_once(self):
        it = opened()
        call(it, Outcome.CANCELLED, 10.0)
        assert it.state is HALF_OPEN
        call(it, OK, 10.0)
        assert it.state is CLOSED

    def test_a_trial_that_never_returns_costs_one_open_time(self):
        it = opened()
        lost = it.admit(10.0)
        assert it.ready_at_s(15.0) == 20.0
        assert it.admit(19.9) is None
        call(it, OK, 20.0)
        assert it.state is CLOSED
        it.end(lost, FAILED, 30.0, 40.0)
        assert it.state is CLOSED

    def test_a_trial_that_returns_late_still_counts(self):
        it = opened()
        late = it.admit(10.0)
        second = it.admit(20.0)
        it.end(late, OK, 12.0, 22.0)
        assert it.state is CLOSED
        it.end(second, FAILED, 3.0, 23.0)
        assert it.state is CLOSED

    def test_several_trials_must_all_be_answered(self):
        it = opened(half_open_probes=3)
        trials = [it.admit(10.0) for _ in range(3)]
        assert it.admit(10.0) is None
        assert it.ready_at_s(11.0) == 20.0
        for trial in trials[:2]:
            it.end(trial, OK, 0.1, 11.0)
            assert it.state is HALF_OPEN
        it.end(trials[2], OK, 0.1, 11.0)
        assert it.state is CLOSED

    def test_ending_a_permit_twice_is_ending_it_once(self):
        it = opened(half_open_probes=2)
        trial = it.admit(10.0)
        it.end(trial, OK, 0.1, 11.0)
        it.end(trial, OK, 0.1, 11.0)
        assert it.state is HALF_OPEN
        closed = breaker()
        permit = closed.admit(0.0)
        closed.end(permit, FAILED, 0.1, 0.0)
        closed.end(permit, FAILED, 0.1, 0.0)
        assert closed.state is CLOSED


class TestRestart:
    @staticmethod
    def restarted(snapshot, away_s=0.0, **changes):
        # Loop time starts anew, wall time goes on.
        recorder = Recorder()
        policy = BreakerPolicy(**{"min_calls": 2, "open_s": 10, "jitter": 0, **changes})
        it = CircuitBreaker(policy, make_world(recorder, start=START + away_s))
        it.restore(snapshot, 0.0)
        return it

    def test_it_is_open_until_then_and_then_tries(self):
        async def main():
            await asyncio.sleep(100)
            it = opened(100.0)
            return it.snapshot(103.0 - 3.0)

        snapshot = run_virtual(main())
        assert snapshot == {"open_until": START + 110, "opened": 1}
        it = self.restarted(snapshot, away_s=104.0)
        assert it.state is OPEN
        assert it.admit(5.9) is None
        call(it, OK, 6.0)
        assert it.state is CLOSED

    def test_after_a_long_time_away_it_tries_at_once(self):
        it = self.restarted({"open_until": START + 110, "opened": 3}, away_s=86400)
        assert it.state is OPEN
        call(it, FAILED, 0.0)
        assert it.ready_at_s(0.0) == 80

    def test_a_clock_that_jumped_costs_one_longest_open_time(self):
        it = self.restarted({"open_until": START + 1e9, "opened": 1})
        assert it.ready_at_s(0.0) == 120

    def test_closed_leaves_nothing_to_restore(self):
        assert breaker().snapshot(0.0) == {}
        assert self.restarted({}).state is CLOSED

    def test_half_open_is_restored_as_open_until_now(self):
        it = opened()
        it.admit(10.0)
        restored = self.restarted(it.snapshot(10.0))
        assert restored.state is OPEN
        assert restored.admit(0.0) is not None


def test_the_tally_is_of_the_window_and_looking_changes_nothing():
    it = breaker(min_calls=10, window_s=60)
    assert it.tally(0.0).failed_share == 0.0
    call(it, OK, 0.0, took_s=9.0)
    call(it, FAILED, 30.0)
    assert it.tally(30.0) == (2, 1, 1)
    assert it.tally(30.0).failed_share == 0.5
    assert it.tally(61.0) == (1, 1, 0)
    assert it.tally(200.0) == (0, 0, 0)
    assert it.tally(30.0) == (2, 1, 1)


def test_subscribers_hear_of_each_change():
    it = breaker()
    heard = []
    it.subscribe(heard.append)
    call(it, FAILED, 0.0)
    call(it, FAILED, 0.0)
    call(it, OK, 10.0)
    assert heard == [OPEN, HALF_OPEN, CLOSED]
    moves = [(event.previous, event.current) for event in it.recorder]
    assert moves == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


step = st.tuples(
    st.floats(0, 100),
    st.sampled_from(["call", "call", "call", "lose", "hold", "end"]),
    st.sampled_from(list(Outcome)),
    st.floats(0, 20),
    st.none() | st.floats(0, 500),
)


@given(breaker_policies(), st.lists(step, max_size=80), st.integers(0, 99))
def test_never_wedged_a_healthy_backend_always_leads_back_to_closed(policy, steps, seed):
    it = CircuitBreaker(policy, make_world(uniform=hashed(seed)))
    now_s, held = 0.0, []
    for wait_s, what, outcome, took_s, hint_s in steps:
        now_s += wait_s
        if what == "end" and held:
            it.end(held.pop(0), outcome, took_s, now_s, hint_s)
            continue
        permit = it.admit(now_s)
        if permit is None:
            assert it.state is not CLOSED
            assert it.ready_at_s(now_s) > now_s
            continue
        if what == "call":
            it.end(permit, outcome, took_s, now_s, hint_s)
        elif what == "hold":
            held.append(permit)
    # From here on the backend is well, and somebody calls whenever the breaker says that it may be tried.
    for _ in range(policy.half_open_probes + 2):
        now_s = it.ready_at_s(now_s)
        permit = it.admit(now_s)
        assert permit is not None
        it.end(permit, OK, 0.0, now_s)
        if it.state is CLOSED:
            break
    assert it.state is CLOSED


@given(breaker_policies(), st.lists(step, max_size=80))
def test_while_half_open_no_more_than_the_allowed_trials_are_alive(policy, steps):
    it = CircuitBreaker(policy, make_world())
    now_s, live = 0.0, []
    for wait_s, what, outcome, took_s, _ in steps:
        now_s += wait_s
        permit = it.admit(now_s)
        if it.state is not HALF_OPEN:
            live = []
        if permit is not None and what == "call":
            it.end(permit, outcome, took_s, now_s)
        elif permit is not None and it.state is HALF_OPEN:
            live.append(permit)
        live = [trial for trial in live if trial.expires_s is not None and trial.expires_s > now_s]
        if it.state is HALF_OPEN:
            assert len(live) <= policy.half_open_probes
