"""Tuning: the same numbers however it is run, limits that are kept, and a proof on what the search never saw."""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from test_executors import Counting, same

import hustle_sim as hs
from hustle_sim import PRESETS, InputError, Policy
from hustle_sim.analysis import METRICS
from hustle_sim.tuning import experiment, pareto
from hustle_sim.tuning.experiment import Progress
from hustle_sim.tuning.goals import beyond, limits_of, limits_to_json, objectives_of, over_scenarios
from hustle_sim.tuning.saved import load_table
from hustle_sim.tuning.search import Measured, Task, batches, points_of
from hustle_sim.tuning.slo import Limit
from hustle_sim.tuning.space import USUAL, axes_of, policy_at

SHORT = hs.Scenario.load("hang").replace(
    {"duration_s": "15m", "outages": [{"mode": "hang", "at_s": "4m", "lasts_s": "5m", "share": 0.7}]}
)
OTHER = SHORT.replace({"name": "refuse", "outages": [{"mode": "refuse", "at_s": "4m", "lasts_s": "5m"}]})
MEASURE_ONE = experiment.measure_one
SPACE = {"request.attempt_timeout_s": (2, 8), "request.max_attempts": (1, 3), "retry.jitter": ["none", "full"]}
HOW = {"trials": 12, "replications": 4, "verify": 3, "unseen": [OTHER], "front_size": 4}


def measured_at_once(replication):
    """Metrics by a formula in place of a simulation: each field costs something, and each seed is a day of its own."""
    policy, name = replication.policy, replication.scenario.name
    day = np.random.Generator(np.random.Philox(key=[replication.seed, zlib.crc32(name.encode())])).normal(size=4)
    timeout_s, attempts = policy.request.attempt_timeout_s, policy.request.max_attempts
    spread = 0.0 if policy.retry.jitter == "none" else 1.0
    harsh = 0.0 if name == "hang" else 0.05
    metrics = dict.fromkeys(METRICS, 0.0) | {
        "answer_p99_s": min(8.0, timeout_s) + 0.3 * day[0] + 0.01 * attempts * day[1],
        "answered_share": 0.9 - harsh - 0.3 / timeout_s + 0.02 * attempts + 0.01 * day[1] + 0.001 * spread * day[2],
        "amplification": 1.0 + 0.1 * (attempts - 1) * (1.2 - 0.2 * spread) + 0.02 * day[2] + 0.002 * timeout_s * day[0],
        "spend_multiplier": 1.0 + max(0.0, 0.2 - 0.03 * timeout_s) * (1 + 0.1 * day[3]),
        "answer_max_s": min(policy.request.deadline_s, 7.5 + 0.1 * day[0] + timeout_s / 10),
        "recovery_peak": math.nan if not replication.scenario.outages else 3.0 + attempts + day[3],
        "recovery_s": policy.probe.offline_interval_s + day[3],
        "late_p99_s": math.nan,
        "lost": 3.0 if policy.queue.overflow == "drop-oldest" else 0.0,
    }  # fmt: skip
    return hs.__version__, {metric: float(value) for metric, value in metrics.items()}


@pytest.fixture(autouse=True, scope="module")
def at_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "measure_one", measured_at_once)
        yield


@pytest.fixture
def really():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "measure_one", MEASURE_ONE)
        yield


def tuned(**how):
    return hs.tune(SHORT, None, SPACE, **{**HOW, "executor": 1, **how})


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def counted():
    return Counting()


@pytest.fixture(scope="module")
def found(kept, counted):
    return tuned(results=kept, executor=counted)


# ---------------------------------------------------------------- the same numbers


def equal(first, second):
    assert first.about == second.about
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(second), check_exact=True)
    assert same(first.runs[list(METRICS)], second.runs[list(METRICS)])


@pytest.mark.usefixtures("really")
def test_two_workers_find_what_one_finds():
    how = {"trials": 4, "replications": 2, "verify": 2, "unseen": [], "front_size": 2}
    equal(tuned(**how), tuned(**how, executor=2))


class Stopping(Counting):
    def __init__(self, after):
        super().__init__()
        self.after = after

    def submit(self, fn, /, *args, **kwargs):
        if self.given == self.after:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("stages", [[5], [40, 40, 40]], ids=["early", "again and again"])
def test_an_interrupted_tuning_goes_on_where_it_was_and_ends_with_the_same_numbers(found, counted, tmp_path, stages):
    for after in stages:
        with pytest.raises(KeyboardInterrupt):
            tuned(results=tmp_path, executor=Stopping(after))
    counting = Counting()
    equal(found, tuned(results=tmp_path, executor=counting))
    assert counting.given == counted.given - sum(stages)


def test_nothing_is_simulated_twice(found, kept):
    counting = Counting()
    equal(found, tuned(results=kept, executor=counting))
    assert counting.given == 0


def test_it_can_be_saved_loaded_and_made_again(found, kept, tmp_path):
    found.save(tmp_path / "tuned")
    loaded = load_table(tmp_path / "tuned")
    equal(found, loaded)
    assert loaded.policy == found.policy
    equal(found, loaded.again(executor=1, results=kept))


def test_another_seed_is_another_search(found):
    other = tuned(seed=1000, trials=4, unseen=[])
    assert list(other.trials["retry.jitter"])[1:] != list(found.trials["retry.jitter"])[1:4]
    assert not set(other.runs["seed"]) & set(found.runs["seed"])


# ---------------------------------------------------------------- the search


def test_the_search_begins_with_the_policy_it_was_given(found):
    first = found.trials.iloc[0]
    assert {name: first[name] for name in SPACE} == {name: Policy().get(name) for name in SPACE}


def test_better_policies_meet_more_seeds_and_all_the_same_ones(found):
    runs = found.runs[found.runs["stage"] == "search"]
    seeds = {name: sorted(set(own["seed"])) for name, own in runs.groupby("policy")}
    assert all(met == list(range(len(met))) for met in seeds.values())
    trials = found.trials
    assert set(trials["seeds"]) == {2, 4}
    assert (trials.loc[trials["seeds"] == 2, "outcome"] == "dropped").all()
    # Half of ten, and half of two.
    assert (trials["outcome"] == "finished").sum() == 6


def test_impossible_combinations_cost_no_simulation_and_no_trial():
    space = {"probe.offline_interval_s": (5, 60), "probe.offline_interval_max_s": (5, 60)}
    counting = Counting()
    table = hs.tune(SHORT, None, space, ["recovery_s"], 10, counting, replications=1, verify=2, unseen=[], front_size=1)
    refused = table.trials[table.trials["outcome"] == "refused"]
    assert len(refused)
    assert refused["reason"].str.contains("must not exceed").all()
    assert len(table.trials) - len(refused) == 10
    assert counting.given <= (10 + 8) + 9 * 2 * 2
    assert set(refused["seeds"]) == {0}


def test_a_policy_that_breaks_a_limit_is_never_recommended(found, kept):
    limit = float(found.trials["amplification"].median())
    table = tuned(constraints={"amplification": {"at_most": limit}, "lost": {"at_most": 0}}, unseen=[], results=kept)
    trials = table.trials
    broken = trials[trials["outcome"] == "broken"]
    assert len(broken)
    assert (broken["reason"] == "amplification in hang").all()
    assert not set("trial-" + broken["number"].astype(str)) & set(table.front["policy"])
    runs = table.runs[(table.runs["stage"] == "search") & (table.runs["policy"] == table.winner)]
    assert runs["amplification"].mean() <= limit
    assert (runs["lost"] == 0).all()


def test_limits_that_nothing_keeps_are_one_sentence_that_names_them(kept):
    words = r"not one of 4 policies keeps all limits; .* answered_share in hang: loosen it"
    with pytest.raises(InputError, match=words):
        tuned(trials=4, constraints={"answered_share": {"at_least": 0.999}}, results=kept)


def test_fewer_seeds_are_corrected_by_what_they_did_to_the_reference():
    rng = np.random.Generator(np.random.Philox(1))
    seeds = rng.normal(0, 10, (2, 8))
    task = Task((SHORT, OTHER), Policy(), (), objectives_of({"answer_p99_s": "lower"}), limits_of(None, 8, (), ()),
                "mean", range(8))  # fmt: skip
    reference = Measured(Policy(), {"answer_p99_s": seeds})
    early, late = (Measured(Policy(), {"answer_p99_s": seeds[:, :met] - 0.5}) for met in (2, 8))
    assert points_of(early, reference, task) == pytest.approx(points_of(late, reference, task))
    assert points_of(late, reference, task)[0] == pytest.approx(seeds.mean() - 0.5)


def test_a_race_costs_what_was_planned():
    task = Task((SHORT,), Policy(), (), (), limits_of(None, 8, (), ()), "mean", range(8))
    assert task.rungs == [2, 4, 8]
    assert task.cost(10) == 10 * 2 + 5 * 2 + 3 * 4
    assert batches(23) == [10, 10, 3]


# ---------------------------------------------------------------- the choice and the proof


def test_search_choice_and_proof_have_seeds_of_their_own(found):
    seeds = {stage: set(own["seed"]) for stage, own in found.runs.groupby("stage")}
    assert seeds == {"search": set(range(4)), "choice": set(range(4, 7)), "proof": set(range(7, 10))}
    searched = found.runs[found.runs["stage"] != "proof"]
    assert set(searched["scenario"]) == {"hang"}
    assert set(found.runs.loc[found.runs["stage"] == "proof", "scenario"]) == {"hang", "refuse"}


def test_all_presets_are_beside_the_front(found):
    assert list(found.presets["policy"]) == list(PRESETS)
    assert set(found.beaten["policy"]) == set(PRESETS)
    assert {name: found.policies[name] for name in PRESETS} == {name: Policy.preset(name) for name in PRESETS}
    columns = ["policy", "knee", "recommended", "kept"]
    for metric in ("answer_p99_s", "answered_share", "amplification", "recovery_peak", "spend_multiplier"):
        columns += [metric, f"{metric}_low", f"{metric}_high"]
    assert list(found.front) == list(found.presets) == columns
    assert found.front["knee"].sum() == found.front["recommended"].sum() == 1
    assert (
        found.policies[found.winner]
        == found.policy
        == Policy().replace({name: found.policy.get(name) for name in SPACE})
    )


def test_a_policy_that_is_no_preset_is_compared_too():
    mine = Policy().replace({"request.deadline_s": 6, "request.attempt_timeout_s": 6})
    table = hs.tune(SHORT, mine, {"retry.base_s": (0.1, 2)}, trials=2, executor=1, replications=1, verify=2, unseen=[])
    assert list(table.presets["policy"]) == ["start", *PRESETS]
    assert table.policy.request.deadline_s == 6
    # Their deadline is longer than what the people of this policy were promised.
    assert not table.presets.set_index("policy").loc["default", "kept"]
    assert table.presets.set_index("policy").loc["start", "kept"]


def test_no_policy_of_the_front_dominates_another(found):
    signs = [objective.sign for objective in found.objectives]
    points = found.front[[objective.metric for objective in found.objectives]].to_numpy() * signs
    assert pareto.front(points).all()


def test_the_proof_is_what_a_comparison_on_those_seeds_says(found, kept):
    policies = {"default": Policy(), "mine": found.policy}
    table = hs.compare(policies, SHORT, 3, 7, executor=1, metrics=["answered_share", "answer_p99_s"], results=kept)
    theirs = table[table["policy"] == "mine"].set_index("metric")
    proof = found.proof
    mine = proof[(proof["scope"] == "hang") & (proof["policy"] == "default")].set_index("metric")
    for metric in ("answered_share", "answer_p99_s"):
        for name, other in (("difference", "difference"), ("low", "difference_low"), ("high", "difference_high")):
            assert mine.loc[metric, name] == theirs.loc[metric, other]
        assert mine.loc[metric, "verdict"] == theirs.loc[metric, "verdict"]


def test_beaten_means_better_in_two_and_worse_in_none(found):
    proof = found.proof
    for row in found.beaten.to_dict("records"):
        own = proof[(proof["scope"] == row["scope"]) & (proof["policy"] == row["policy"])]["verdict"]
        assert row["beaten"] == ((own == "better").sum() >= 2 and not (own == "worse").any())


def test_the_report_says_what_was_proven_and_where_it_is_worse(found):
    words, page = found.report(), found.markdown()
    for text in (words, page):
        assert found.winner in text
        assert "3 seeds (7 to 9) that neither the search nor the choice had seen" in text
        assert "scenarios that the search never saw (refuse)" in text
    for name in PRESETS:
        assert f"| {name} |" in page
    for name in found.changes:
        assert f"| `{name}` |" in page
    # The first design drops messages.
    assert "Of the others, original breaks a limit itself." in words
    proof = found.proof
    worse = proof[proof["scope"].isin(["hang", "refuse"]) & (proof["verdict"] == "worse")]
    for row in worse.to_dict("records"):
        assert f"{row['metric']} in {row['scope']}" in words


def test_one_objective_and_the_worst_of_two_scenarios():
    table = hs.tune(
        [SHORT, OTHER], None, ["retry"], "answered_share", 3, 1, robust="worst", replications=2, verify=2, unseen=[],
    )  # fmt: skip
    rows = table.runs[(table.runs["stage"] == "choice") & (table.runs["policy"] == "default")]
    means = rows.groupby("scenario")["answered_share"].mean()
    shown = table.presets.set_index("policy").loc["default", "answered_share"]
    assert shown == pytest.approx(means.min())
    assert table.front["recommended"].sum() == 1


def test_usual_objectives_that_have_no_value_are_left_out():
    calm = SHORT.replace({"outages": []})
    table = hs.tune(calm, None, SPACE, trials=2, executor=1, replications=1, verify=2, unseen=[])
    metrics = [objective.metric for objective in table.objectives]
    assert metrics == ["answer_p99_s", "answered_share", "amplification", "spend_multiplier"]


def test_it_is_drawn_with_the_presets(found):
    layout = found.plot()
    assert len(layout) == 5
    assert {"preset", "recommended"} <= {element.label for overlay in layout for element in overlay}


def test_progress_goes_up_to_the_end_and_it_can_be_cancelled():
    told = []
    hs.tune(SHORT, None, SPACE, trials=3, replications=2, verify=2, unseen=[], front_size=1, executor=1,
            progress=told.append)  # fmt: skip
    done = [each.done for each in told]
    assert done == sorted(done)
    assert len({each.total for each in told}) == 1
    assert told[-1] == Progress(told[-1].total, told[-1].total, 0.0)
    assert all(each.left_s >= 0 or math.isnan(each.left_s) for each in told)
    with pytest.raises(hs.Cancelled):
        tuned(cancelled=lambda: True)


# ---------------------------------------------------------------- what it is made of


def test_every_usual_field_exists_and_its_values_are_allowed():
    axes = axes_of(None)
    assert {axis.field for axis in axes} == set(USUAL)
    for axis in axes:
        assert axis.holds(Policy().get(axis.field)), axis


@given(st.lists(st.sampled_from(sorted(USUAL)), min_size=1, max_size=6, unique=True), st.data())
def test_a_space_is_what_json_makes_of_it_and_tidy_values_stay_inside(names, data):
    axes = axes_of(names)
    assert axes == axes_of(json.loads(json.dumps({axis.field: axis.to_json() for axis in axes})))
    for axis in axes:
        if not axis.choices:
            value = data.draw(st.floats(axis.low, axis.high))
            assert axis.holds(axis.tidy(value))


def test_durations_parts_and_ranges_are_understood():
    axes = {
        axis.field: axis for axis in axes_of({"retry": None, "probe.interval_s": ("1m", "5m"), "retry.base_s": (1, 2)})
    }
    assert (axes["probe.interval_s"].low, axes["probe.interval_s"].high) == (60.0, 300.0)
    assert (axes["retry.base_s"].low, axes["retry.base_s"].high) == (1.0, 2.0)
    assert axes["retry.jitter"].choices == ("none", "full", "equal", "decorrelated")
    assert axes_of(["cache.max_entries"])[0].whole
    assert axes_of({"probe.interval_s": [60, "5m"]})[0].choices == (60.0, 300.0)
    assert policy_at(axes_of({"probe.fall": [1, 2]}), Policy(), {"probe.fall": 2}).probe.fall == 2


points = stnp.arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 5).map(float))


@given(points)
def test_the_front_is_what_nothing_dominates_and_ranks_peel_it_off(at):
    def better(a, b):
        return (a <= b).all() and (a < b).any()

    front = [not any(better(other, one) for other in at) for one in at]
    assert list(pareto.front(at)) == front
    rank = pareto.ranks(at)
    assert [place == 0 for place in rank] == front
    for one, place in zip(at, rank, strict=True):
        if place:
            assert any(better(other, one) and its == place - 1 for other, its in zip(at, rank, strict=True))


@given(points, st.integers(1, 6))
def test_the_spread_holds_the_first_ones_and_no_place_twice(at, count):
    places = pareto.spread(at, count, [pareto.knee(at)])
    assert places[0] == pareto.knee(at)
    assert len(places) == len(set(places)) == min(count, len(at))


def test_the_knee_is_the_bend():
    x = np.linspace(0.01, 1, 50)
    at = np.column_stack([x, 0.01 / x])
    assert abs(x[pareto.knee(at)] - 0.1) < 0.02


def test_the_worst_scenario_counts_in_the_direction_that_is_bad():
    values = np.array([[1.0, 3.0], [2.0, 4.0], [np.nan, np.nan]])
    assert list(over_scenarios(values, "lower", "worst")) == [2.0, 4.0]
    assert list(over_scenarios(values, "higher", "worst")) == [1.0, 3.0]
    assert list(over_scenarios(values, "lower", "mean")) == [1.5, 3.5]


def test_a_limit_is_broken_by_every_case_or_by_the_mean():
    values = np.array([7.0, 9.0])
    assert beyond(Limit("answer_max_s", at_most=8.0), values) == 0
    assert beyond(Limit("answer_max_s", at_most=8.0, of="every"), values) == pytest.approx(1 / 8)
    assert beyond(Limit("answered_share", at_least=0.9), np.array([0.8])) == pytest.approx(0.1 / 0.9)
    assert beyond(Limit("lost", at_most=0), np.array([0.0, 1.0])) == 1
    slo = limits_of(
        {"limits": {"lost": {"at_most": 0}}, "scenarios": {"hang": {"detection_s": {"at_most": "5m"}}}}, 8, (), ["hang"]
    )
    assert limits_of(json.loads(json.dumps(limits_to_json(slo))), 8, (), ["hang"]) == slo


# ---------------------------------------------------------------- bad input

WRONG = {
    "field": ({"search": ["retry.bse_s"]}, "there is no policy field 'retry.bse_s'; did you mean 'retry.base_s'?"),
    "empty": ({"search": {}}, "there is no field to change"),
    "word": ({"search": {"retry.base_s": ["soon"]}}, "'soon' is no duration"),
    "bounds": ({"search": {"retry.base_s": (0.1, 9000)}}, "retry.base_s must be from 0 to 600, not 9000"),
    "upside down": ({"search": {"retry.base_s": (2, 1)}}, "must begin with the smaller value"),
    "half": ({"search": {"request.max_attempts": [1.5]}}, "counts something: give whole numbers, not 1.5"),
    "choice": ({"search": {"retry.jitter": ["some"]}}, "one of none, full, equal, decorrelated, not 'some'"),
    "switch": ({"search": {"breaker.enabled": [1]}}, "breaker.enabled is one of true, false, not 1"),
    "one value": ({"search": {"retry.base_s": 3}}, "give a list of values or a range"),
    "metric": ({"objectives": ["answer_p9_s"]}, "there is no metric 'answer_p9_s'; did you mean 'answer_p99_s'?"),
    "no objective": ({"objectives": []}, "objectives: there is none"),
    "no direction": ({"objectives": ["messages"]}, "messages only describes: say which direction is good"),
    "direction": ({"objectives": {"lost": "less"}}, "better 'lower' or 'higher', not 'less'"),
    "limit": ({"constraints": {"lost": 0}}, "constraints: limits.lost: write a limit such as"),
    "limit scenario": ({"constraints": {"scenarios": {"x": {"lost": {"at_most": 0}}}}}, "'x' that is not searched"),
    "trials": ({"trials": 0}, "trials: 0 is too few: give 1 or more"),
    "verify": ({"verify": 1}, "verify: 1 is too few: give 2 or more"),
    "robust": ({"robust": "best"}, "by their 'mean' or by the 'worst', not 'best'"),
    "unseen": ({"unseen": [SHORT]}, "unseen: 'hang' is searched"),
    "value": ({"objectives": ["false_offline", "late_p99_s"], "scenario": SHORT.replace({"outages": []})},
              "late_p99_s has no value on these scenarios"),
    "impossible": ({"search": {"retry.base_s": [90]}}, "not one can work; the last: policy: retry"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_tuned_is_one_sentence(given, words):
    how = {"search": SPACE, "trials": 2, "replications": 1, "verify": 2, "unseen": [], **given}
    with pytest.raises(InputError) as error:
        hs.tune(how.pop("scenario", SHORT), executor=1, **how)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- what is bundled

ROOT = Path(__file__).parent.parent
BUNDLED = ROOT / "data" / "policies" / "tuned.toml"


@pytest.mark.usefixtures("really")
def test_the_bundled_policy_is_easier_on_a_backend_that_comes_back_and_loses_nothing():
    table = hs.compare(
        {"default": "default", "tuned": str(BUNDLED)}, "hang", 3, 24, executor=1, metrics=["recovery_peak", "lost"]
    )
    rows = table[table["policy"] == "tuned"].set_index("metric")
    assert rows.loc["recovery_peak", "verdict"] == "better"
    assert rows.loc["lost", "mean"] == 0


def test_the_readme_shows_the_command_that_finds_the_bundled_policy():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = readme[readme.index("$ hustle-sim tune bad-body evening-blips") :].split("```")[0]
    space = dict(re.findall(r"--search (\S+?)=(\S+)", command))
    axes = {
        axis.field: axis
        for axis in axes_of({name: tuple(ends.split("..")) for name, ends in space.items() if "s.." in ends})
    }
    now, before = Policy.load(BUNDLED).flat(), Policy().flat()
    changed = {name for name in now if now[name] != before[name]}
    assert changed <= set(space)
    assert all(axes[name].holds(now[name]) for name in changed & set(axes))
