"""Sensitivity: SALib's indices for functions whose indices are known, and for a policy whose answer is known."""

import math

import numpy as np
import pytest

from hustle_sim import InputError, Policy, Scenario, policy_fields, sensitivity
from hustle_sim.cli import main
from hustle_sim.simulation import Cancelled
from hustle_sim.tuning.sensitivity import Sensitivity, analyse, sample

NAMES = ["x1", "x2", "x3"]

HANG = Scenario.from_dict(
    {
        "name": "hung", "duration_s": "10m",
        "backend": {"latency": 0.5},
        "clients": {"count": 1, "messages_per_hour": 360},
        "outages": [{"mode": "hang", "at_s": "2m", "lasts_s": "4m"}],
    }
)  # fmt: skip


def indices(method, values_of, **size):
    size = {"trajectories": 20, "points": 1024} | size
    unit = sample(method, NAMES, seed=0, **size)
    rows = analyse(method, "answer_max_s", NAMES, unit, values_of(unit), seed=0)
    return {(row["field"], row["index"]): row for row in rows}


def ishigami(unit):
    x = math.pi * (2 * unit - 1)
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_sobol_finds_the_indices_of_ishigamis_function():
    # Ishigami and Homma 1990, with a = 7 and b = 0.1.
    a, b = 7, 0.1
    total = a**2 / 8 + b * math.pi**4 / 5 + b**2 * math.pi**8 / 18 + 0.5
    one, two = 0.5 * (1 + b * math.pi**4 / 5) ** 2 / total, a**2 / 8 / total
    both = 8 * b**2 * math.pi**8 / 225 / total
    found = indices("sobol", ishigami)
    for field, first, whole in (("x1", one, one + both), ("x2", two, two), ("x3", 0.0, both)):
        for index, truth in (("S1", first), ("ST", whole)):
            row = found[field, index]
            assert row["value"] == pytest.approx(truth, abs=0.03)
            assert row["low"] <= truth <= row["high"]


def test_morris_finds_the_slopes_of_a_plane():
    found = indices("morris", lambda unit: 3 * unit[:, 0] - 2 * unit[:, 1] + 5)
    for field, slope in (("x1", 3), ("x2", -2), ("x3", 0)):
        assert found[field, "mu"]["value"] == pytest.approx(slope)
        assert found[field, "mu_star"]["value"] == pytest.approx(abs(slope))
        assert found[field, "sigma"]["value"] == pytest.approx(0, abs=1e-9)
        assert math.isnan(found[field, "sigma"]["low"])


def test_morris_sees_interplay_in_sigma():
    found = indices("morris", lambda unit: unit[:, 0] * unit[:, 1] + unit[:, 2])
    assert found["x1", "sigma"]["value"] > 0.2
    assert found["x3", "sigma"]["value"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_what_never_varies_is_moved_by_nothing(method):
    found = indices(method, lambda unit: np.full(len(unit), 8.0), points=8)
    assert {row["value"] for row in found.values()} == {0.0}


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_a_metric_without_a_value_somewhere_has_no_indices(method):
    def with_a_gap(unit):
        values = unit[:, 0].copy()
        values[3] = math.nan
        return values

    assert all(math.isnan(row["value"]) for row in indices(method, with_a_gap, points=8).values())


def test_the_seed_0_is_as_repeatable_as_any():
    # SALib's Sobol analysis takes the global generator where the seed is 0.
    first, second = indices("sobol", ishigami, points=64), indices("sobol", ishigami, points=64)
    assert first == second


ONE_LONG_ATTEMPT = Policy.preset("original").replace({"request.attempt_timeout_s": 12, "queue.max_size": 500})

RANGES = {"request.deadline_s": (4, 12), "queue.warn_size": (100, 400), "cache.max_entries": (100, 200)}


@pytest.fixture(scope="module")
def screened():
    return sensitivity(
        HANG, ONE_LONG_ATTEMPT, RANGES, "morris", ["answer_max_s", "lost"],
        trajectories=3, replications=2, executor=1, warm_up=False,
    )  # fmt: skip


def test_before_a_hung_backend_people_wait_for_the_deadline_and_nothing_else_matters(screened):
    rows = screened[screened["metric"] == "answer_max_s"].set_index(["field", "index"])["value"]
    # From 4 s to 12 s: the whole range moves the longest wait by just that.
    assert rows["request.deadline_s", "mu_star"] == pytest.approx(8)
    assert rows["request.deadline_s", "mu"] == pytest.approx(8)
    assert rows["request.deadline_s", "sigma"] == pytest.approx(0, abs=1e-9)
    assert rows["queue.warn_size", "mu_star"] == rows["cache.max_entries", "mu_star"] == 0


def test_sobol_gives_the_whole_variance_to_the_deadline():
    table = sensitivity(
        HANG, ONE_LONG_ATTEMPT, {"request.deadline_s": (4, 12), "cache.max_entries": (100, 200)}, "sobol",
        ["answer_max_s"], points=8, replications=1, executor=1, warm_up=False,
    )  # fmt: skip
    rows = table.set_index(["field", "index"])["value"]
    assert rows["request.deadline_s", "ST"] == pytest.approx(1, abs=0.25)
    assert rows["cache.max_entries", "ST"] == 0


def test_every_point_meets_the_same_seeds(screened):
    assert len(screened.runs) == 3 * (3 + 1) * 2
    assert all(list(each["seed"]) == [0, 1] for _, each in screened.runs.groupby("point"))


def test_it_can_be_run_again_to_the_same_numbers(screened):
    assert screened.again(executor=1).equals(screened)


def test_without_fields_every_number_is_varied_and_all_of_it_works_together():
    table = sensitivity(
        HANG.replace({"duration_s": 60, "outages": []}), metrics=["answered_share"], trajectories=2, replications=1,
        executor=1, warm_up=False,
    )  # fmt: skip
    numbers = [field.name for field in policy_fields() if type(field.default) in (int, float)]
    assert list(table.ranges) == numbers
    for name, (low, high) in table.ranges.items():
        assert low <= Policy().get(name) <= high


def test_a_field_that_counts_is_whole_and_a_duration_is_not():
    table = sensitivity(
        HANG.replace({"duration_s": 60, "outages": []}), None, {"probe.timeout_s": (4, 6), "probe.fall": (1, 6)},
        "sobol", ["answered_share"], points=4, replications=1, executor=1, warm_up=False,
    )  # fmt: skip
    assert all(value == int(value) for value in table.runs["probe.fall"])
    assert any(value != int(value) for value in table.runs["probe.timeout_s"])


def test_a_missing_warm_up_is_found_and_said():
    joining = HANG.replace(
        {
            "outages": [], "clients.count": 20, "clients.messages_per_hour": 240, "clients.waits": False,
            "backend.capacity": 1000, "backend.latency": {"kind": "exponential", "mean_s": 5.0},
        }
    )  # fmt: skip
    how = {"trajectories": 2, "replications": 1, "executor": 1, "metrics": ["answered_share"]}
    assert sensitivity(joining, None, {"retry.base_s": (0.1, 1)}, **how).about["warm_up_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fields": {"retry.bas_s": (1, 2)}}, "did you mean 'retry.base_s'"),
        ({"fields": {"retry.jitter": (1, 2)}}, "is no number"),
        ({"fields": {"retry.base_s": (2, 1)}}, "must begin with the smaller value"),
        ({"fields": {"retry.base_s": 3}}, "give a range of two numbers"),
        ({"fields": {}}, "no fields"),
        ({"fields": ["queue.base"]}, "there is no policy field"),
        ({"fields": {"retry.factor": (0.1, 3)}}, "can't be combined: policy: retry.factor"),
        ({"fields": {"probe.timeout_s": (2, 10), "probe.degraded_above_s": (1, 6)}}, "degraded_above_s .* timeout_s"),
        ({"fields": {"scenario.backend.capacit": (1, 5)}}, "did you mean 'backend.capacity'"),
        ({"method": "moris"}, "did you mean 'morris'"),
        ({"method": "sobol", "points": 12}, "power of two"),
        ({"trajectories": 1}, "give 2 or more"),
        ({"replications": 0}, "give 1 or more"),
        ({"metrics": ["answer_p98_s"]}, "there is no metric"),
    ],
)
def test_what_can_not_be_analysed_is_refused_in_one_sentence_before_anything_is_simulated(arguments, words):
    def never(_):
        raise AssertionError

    with pytest.raises(InputError, match=words):
        sensitivity(HANG, **({"fields": {"retry.base_s": (0.1, 2)}} | arguments), progress=never)


def test_it_can_be_cancelled():
    with pytest.raises(Cancelled):
        sensitivity(HANG, None, {"retry.base_s": (0.1, 1)}, executor=1, warm_up=False, cancelled=lambda: True)


def test_the_command_prints_the_fields_in_their_order(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    HANG.save(tmp_path / "hung.toml")
    arguments = ["sensitivity", str(tmp_path / "hung.toml"), "-f", "retry.base_s=0.1..1", "-f",
                 "request.deadline_s=4s..12s", "-m", "answer_max_s", "--trajectories", "2", "-n", "1",
                 "--executor", "1", "--no-warm-up", "--out", str(tmp_path / "out")]  # fmt: skip
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out = capsys.readouterr().out
    assert not left.value.code
    assert out.index("request.deadline_s") < out.index("retry.base_s")
    assert (tmp_path / "out" / "about.json").exists()
    with pytest.raises(SystemExit) as left:
        main(["sensitivity", "hang", "-f", "retry.base_s"])
    assert left.value.code == 2
    assert "request.deadline_s=4s..12s" in capsys.readouterr().err


def test_a_plot_shows_the_most_important_field_on_top(screened):
    overlay = screened.plot("answer_max_s")
    ticks = overlay.opts.get("plot", backend="bokeh").kwargs["yticks"]
    assert [name for _, name in ticks][-1] == "request.deadline_s"
    with pytest.raises(InputError, match="was not analysed"):
        screened.plot("duplicates")
    assert isinstance(screened, Sensitivity)
