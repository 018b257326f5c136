import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.policy import CachePolicy
from hustle_sim.resilience.cache import ResponseCache


def cache(**changes):
    return ResponseCache(CachePolicy(**{"fresh_s": 10, "stale_s": 100, "max_entries": 3, **changes}))


def test_an_answer_is_fresh_then_stale_then_gone():
    kept = cache()
    kept.put("How am I?", "Fine", 5.0)
    assert kept.fresh("How am I?", 5.0) == "Fine"
    assert kept.fresh("How am I?", 14.9) == "Fine"
    assert kept.fresh("How am I?", 15.0) is None
    assert kept.stale("How am I?", 15.0) == "Fine"
    assert kept.stale("How am I?", 104.9) == "Fine"
    assert kept.stale("How am I?", 105.0) is None


def test_a_newer_answer_takes_the_place_of_the_old_one():
    kept = cache()
    kept.put("q", "old", 0.0)
    kept.put("q", "new", 9.0)
    assert kept.fresh("q", 18.0) == "new"
    assert len(kept) == 1


@pytest.mark.parametrize("again", ["How am I?", "  how  am\ti? ", "HOW AM I?\n"])
def test_case_and_spaces_make_no_other_question(again):
    kept = cache()
    kept.put("How am I?", "Fine", 0.0)
    assert kept.fresh(again, 1.0) == "Fine"


def test_another_question_is_another_question():
    kept = cache()
    kept.put("How am I?", "Fine", 0.0)
    assert kept.stale("How am I", 0.0) is None


def test_the_least_recently_used_goes_first():
    kept = cache()
    for question in "abc":
        kept.put(question, question.upper(), 0.0)
    assert kept.fresh("a", 1.0) == "A"
    kept.put("d", "D", 2.0)
    assert [kept.fresh(question, 3.0) for question in "abcd"] == ["A", None, "C", "D"]


def test_off_it_keeps_and_gives_nothing():
    kept = cache(enabled=False)
    kept.put("q", "a", 0.0)
    assert (len(kept), kept.fresh("q", 0.0), kept.stale("q", 0.0)) == (0, None, None)


def test_with_no_time_to_be_fresh_an_answer_is_only_ever_stale():
    kept = cache(fresh_s=0)
    kept.put("q", "a", 0.0)
    assert (kept.fresh("q", 0.0), kept.stale("q", 0.0)) == (None, "a")


@given(st.lists(st.text(max_size=3), max_size=50), st.integers(1, 5))
def test_never_holds_more_than_it_may_and_always_the_last(questions, most):
    kept = cache(max_entries=most)
    for now_s, question in enumerate(questions):
        kept.put(question, f"{now_s}", float(now_s))
        assert len(kept) <= most
        assert kept.fresh(question, float(now_s)) == f"{now_s}"
