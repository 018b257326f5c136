"""Distributions: sampled by inversion, held against scipy."""

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from hustle_sim.simulation.distributions import (
    Constant,
    Distribution,
    Empirical,
    Exponential,
    Gamma,
    Lognormal,
    Uniform,
    gamma_quantile,
)
from hustle_sim.simulation.randomness import Draws

READ = TypeAdapter(Distribution)
QUANTILES = (1e-12, 1e-6, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1 - 1e-9)
SIGMA = math.log(5.0 / 1.2) / stats.norm.ppf(0.99)

KNOWN = [
    pytest.param(Uniform(low_s=2, high_s=5), stats.uniform(2, 3), id="uniform"),
    pytest.param(Exponential(mean_s=40), stats.expon(scale=40), id="exponential"),
    pytest.param(Lognormal(median_s=1.2, p99_s=5), stats.lognorm(SIGMA, scale=1.2), id="lognormal"),
    *(
        pytest.param(Gamma(mean_s=90, cv=cv), stats.gamma(cv**-2, scale=90 * cv**2), id=f"gamma cv {cv}")
        for cv in (0.05, 0.5, 1, 2, 3.5)
    ),
    pytest.param(Gamma(mean_s=3, shape=2.5), stats.gamma(2.5, scale=3 / 2.5), id="gamma by shape"),
]
EVERY = [
    Constant(value_s=3),
    Uniform(low_s=0, high_s=4),
    Exponential(mean_s=2),
    Lognormal(median_s=1, p99_s=9),
    Gamma(mean_s=2, cv=2),
    Empirical(values_s=(3.0, 1.0, 2.0)),
]
each = pytest.mark.parametrize("distribution", EVERY, ids=lambda distribution: distribution.kind)


@pytest.mark.parametrize(("ours", "theirs"), KNOWN)
def test_quantiles_mean_and_median_are_those_of_scipy(ours, theirs):
    for u in QUANTILES:
        assert ours.sample(u) == pytest.approx(theirs.ppf(u), rel=1e-7, abs=1e-280)
    assert ours.mean_s == pytest.approx(theirs.mean())
    assert ours.median_s == pytest.approx(theirs.median())


@pytest.mark.parametrize(("ours", "theirs"), KNOWN)
def test_samples_of_keyed_draws_are_so_distributed(ours, theirs):
    draw = Draws(4).stream("sample")
    assert stats.kstest([ours.sample(draw(n)) for n in range(5000)], theirs.cdf).pvalue > 0.001


@pytest.mark.parametrize("shape", [0.01, 0.05, 0.3, 1, 7, 300, 10_000])
def test_gamma_quantiles_hold_from_the_smallest_shape_to_the_greatest(shape):
    for u in (*QUANTILES, *(n / 97 for n in range(1, 97))):
        expected = stats.gamma.ppf(u, shape)
        if expected > 1e-290:
            assert gamma_quantile(shape, u) == pytest.approx(expected, rel=2e-7)


@each
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_a_greater_draw_is_never_a_shorter_duration(distribution, a, b):
    low, high = (distribution.sample(u) for u in sorted((a, b)))
    assert 0 <= low <= high < math.inf


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_gamma_quantiles_grow_whatever_the_shape(shape, a, b):
    low, high = (gamma_quantile(shape, u) for u in sorted((a, b)))
    assert low <= high * (1 + 1e-12)


@each
def test_models_are_equal_after_pickle_and_json(distribution):
    assert pickle.loads(pickle.dumps(distribution)) == distribution
    assert READ.validate_json(READ.dump_json(distribution)) == distribution


def test_durations_are_numbers_or_text_and_a_bare_one_is_constant():
    assert READ.validate_python({"kind": "uniform", "low_s": "90s", "high_s": "5m"}) == Uniform(low_s=90, high_s=300)
    assert READ.validate_python("2s") == READ.validate_python(2) == Constant(value_s=2)


def test_empirical_values_come_from_the_named_column(tmp_path):
    (tmp_path / "latency.csv").write_text("at,latency_s\n0,1.5\n\n1, 0.5\n2,4\n")
    given = {"kind": "empirical", "csv": "latency.csv", "column": "latency_s"}
    read = READ.validate_python(given, context={"folder": tmp_path})
    assert read.values_s == (0.5, 1.5, 4.0)
    assert [read.sample(u) for u in (0, 0.3, 0.34, 0.66, 0.67, 1)] == [0.5, 0.5, 1.5, 1.5, 4.0, 4.0]
    assert (read.mean_s, read.median_s) == (2.0, 1.5)


def test_an_empirical_file_needs_no_header(tmp_path):
    (tmp_path / "plain.csv").write_text("3\n1\n")
    read = READ.validate_python({"kind": "empirical", "csv": str(tmp_path / "plain.csv")})
    assert read.values_s == (1.0, 3.0)


@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        (None, "", "no such file"),
        ("", "", "is empty"),
        ("latency_s\n", "", "has no values"),
        ("a,latency_s\n1,2\n", "latencys", "has no column 'latencys'; did you mean 'latency_s'?"),
        ("a\n1\nfast\n", "", "line 3: 'fast' is no duration in seconds"),
        ("a,b\n1,2\n1\n", "b", "line 3: '' is no duration in seconds"),
        ("a\n-1\n", "", "line 2: '-1' is no duration in seconds"),
        ("a\nnan\n", "", "line 2: 'nan' is no duration in seconds"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, text, column, sentence):
    if text is not None:
        (tmp_path / "latency.csv").write_text(text)
    given = {"kind": "empirical", "csv": "latency.csv", "column": column}
    with pytest.raises(ValidationError, match=r"latency\.csv") as refused:
        READ.validate_python(given, context={"folder": tmp_path})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kind": "lognormel", "median_s": 1}, "there is no kind 'lognormel'; did you mean 'lognormal'?"),
        ({"median_s": 1}, "a distribution needs a kind"),
        ({"kind": 3}, "there is no kind 3"),
        ({"kind": "lognormal", "median_s": 5, "p99_s": 1}, r"median_s \(5\) must not exceed p99_s \(1\)"),
        ({"kind": "uniform", "low_s": 5, "high_s": 1}, r"low_s \(5\) must not exceed high_s \(1\)"),
        ({"kind": "gamma", "mean_s": 5}, "needs either cv or shape"),
        ({"kind": "gamma", "mean_s": 5, "cv": 1, "shape": 1}, "needs either cv or shape"),
        ({"kind": "exponential", "mean_s": -1}, "greater than or equal"),
        ({"kind": "exponential", "mean_s": math.inf}, "finite"),
        ({"kind": "exponential", "mean_s": math.nan}, "finite"),
        ({"kind": "constant", "value_s": "soon"}, "'soon' is no duration"),
        ({"kind": "empirical"}, "needs csv"),
        ({"kind": "empirical", "values_s": []}, "at least 1 item"),
        ("soon", "'soon' is no duration"),
        ([1], "valid dictionary"),
    ],
)
def test_what_cannot_be_is_refused(given, sentence):
    with pytest.raises(ValidationError, match=sentence):
        READ.validate_python(given)
