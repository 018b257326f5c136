"""Keyed randomness: a pure function of seed, stream and key."""

import itertools
import os
import pickle
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hustle_sim.simulation import randomness
from hustle_sim.simulation.randomness import Draws

INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.lists(INT64, max_size=8)


@given(st.integers(), st.text(max_size=30), KEYS)
def test_a_draw_is_at_least_zero_and_below_one_and_always_the_same(seed, stream, key):
    first = Draws(seed).uniform(stream, *key)
    assert 0 <= first < 1
    assert first == Draws(seed).uniform(stream, *key) == Draws(seed).stream(stream)(*key)


@pytest.mark.parametrize(
    ("seed", "stream", "key", "expected"),
    [
        (0, "backend.latency", (0, 0, 0), "0x1.aade5b1d665b3p-1"),
        (7, "client.arrival", (3, 41), "0x1.59ec65912c320p-2"),
        (-1, "", (), "0x1.b7a8a387f96c5p-1"),
    ],
)
def test_the_bits_are_those_of_every_other_machine(seed, stream, key, expected):
    assert Draws(seed).uniform(stream, *key) == float.fromhex(expected)


@pytest.mark.real
def test_the_bits_do_not_depend_on_the_hash_seed():
    code = (
        f"import runpy; Draws = runpy.run_path({randomness.__file__!r})['Draws']\n"
        "print([Draws(5).uniform(s, n, -n).hex() for s in ('a', 'client.arrival') for n in range(50)])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert seen == {f"{[Draws(5).uniform(s, n, -n).hex() for s in ('a', 'client.arrival') for n in range(50)]}\n"}


def test_the_order_of_asking_changes_nothing():
    asked = [(stream, client, number) for stream in "abc" for client in range(5) for number in range(20)]
    expected = {key: Draws(3).uniform(*key) for key in asked}
    draws = Draws(3)
    for key in random.Random(1).sample(asked, len(asked)):
        assert draws.uniform(*key) == expected[key]


def test_seed_stream_and_each_part_of_the_key_matter():
    seen = {
        Draws(seed).uniform(stream, *key)
        for seed in (0, 1, -1, 2**64, 2**64 + 1)
        for stream in ("a", "b", "ab", "a" * 40, "a" * 41)
        for size in range(4)
        for key in itertools.product((0, 1, -1), repeat=size)
    }
    assert len(seen) == 5 * 5 * (1 + 3 + 9 + 27)


@pytest.mark.parametrize("key_of", [lambda n: (n,), lambda n: (n % 100, n // 100), lambda n: (0, 0, -n)])
def test_draws_are_uniform_and_neighbours_are_independent(key_of):
    draw = Draws(11).stream("uniformity")
    values = [draw(*key_of(n)) for n in range(20_000)]
    assert stats.kstest(values, "uniform").pvalue > 0.001
    assert abs(stats.pearsonr(values[1:], values[:-1]).statistic) < 3.3 / 20_000**0.5


def test_streams_and_seeds_are_independent_of_each_other():
    columns = [[Draws(seed).uniform(name, n) for n in range(4000)] for seed in (1, 2) for name in ("a", "b")]
    for one, other in itertools.combinations(columns, 2):
        assert abs(stats.pearsonr(one, other).statistic) < 4 / 4000**0.5


def test_draws_are_equal_by_seed_and_pickle_as_it():
    draws = Draws(9)
    draws.uniform("warm", 1)
    again = pickle.loads(pickle.dumps(draws))
    assert again == draws != Draws(10)
    assert hash(again) == hash(draws)
    assert again.uniform("warm", 1) == draws.uniform("warm", 1)
    assert repr(again) == "Draws(9)"
    assert draws != 9
