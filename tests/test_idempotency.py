"""The server's side of the Idempotency-Key draft."""

from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.simulation.idempotency import Ledger, Verdict


def test_a_new_key_is_processed_and_its_answer_given_again():
    ledger = Ledger()
    assert ledger.begin("k", "payload") is None
    ledger.finish("k", "answer")
    assert ledger.begin("k", "payload") == Verdict(200, "answer")


def test_a_key_that_is_still_running_is_409():
    ledger = Ledger()
    ledger.begin("k", "payload")
    assert ledger.begin("k", "payload") == Verdict(409)


def test_another_payload_is_422_whether_or_not_the_first_is_done():
    ledger = Ledger()
    ledger.begin("k", "payload")
    assert ledger.begin("k", "other") == Verdict(422)
    ledger.finish("k", "answer")
    assert ledger.begin("k", "other") == Verdict(422)


def test_what_failed_without_an_effect_may_come_again():
    ledger = Ledger()
    ledger.begin("k", "payload")
    ledger.abort("k")
    assert ledger.begin("k", "payload") is None
    ledger.finish("k", "answer")
    ledger.abort("k")
    assert ledger.begin("k", "payload") == Verdict(200, "answer")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["begin", "finish", "abort"]))))
def test_a_key_is_processed_anew_only_if_it_neither_runs_nor_is_done(steps):
    ledger = Ledger()
    state: dict[str, str] = {}
    for key, step in steps:
        if step == "begin":
            assert (ledger.begin(key, "payload") is None) == (key not in state)
            state.setdefault(key, "running")
        elif step == "finish" and key in state:
            ledger.finish(key, "answer")
            state[key] = "done"
        elif step == "abort" and state.get(key) == "running":
            ledger.abort(key)
            del state[key]


def test_it_forgets_the_oldest_finished_key_and_never_a_running_one():
    ledger = Ledger(keep=2)
    ledger.begin("running", "")
    for key in ("one", "two", "three"):
        ledger.begin(key, "")
        ledger.finish(key, "answer")
    assert ledger.begin("running", "") == Verdict(409)
    assert ledger.begin("three", "") == Verdict(200, "answer")
    assert ledger.begin("one", "") is None
