"""explain, lint and the code agree: every breaker and every message, and a seeded choice of whole clients and runs.

All of them: ``python tests/advice_grid.py --all``.
"""

from collections import Counter

import pytest
from advice_grid import CHECKS, FAILS_IN_S, client_cases, disagreements

from hustle_sim.tuning.closed_forms import opening


@pytest.mark.parametrize(("name", "number"), [
    ("breaker", None), ("message", None), ("client", 180), ("monitor", 20), ("evidence", 8), ("load", 50),
    ("queue", 40), ("inert", 30), ("anything", 100),
])  # fmt: skip
def test_advice_and_code_agree(name, number):
    looked_at, wrong = disagreements(name, number, seed=1)
    assert looked_at >= (number or 1000)
    assert wrong == []


def test_nothing_is_left_out():
    assert set(CHECKS) == {
        "breaker", "message", "client", "monitor", "evidence", "load", "queue", "inert", "anything",
    }  # fmt: skip


def test_the_grid_holds_breakers_that_open_and_breakers_that_do_not_and_few_are_left_to_chance():
    said = Counter(opening(case.policy, case.gap_s, FAILS_IN_S[case.mode]).verdict for case in client_cases())
    assert said["opens"] > 300
    assert said["never"] > 100
    assert said["may"] < 0.35 * said.total()
