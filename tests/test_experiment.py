"""Statistics that keep their word, results that outlive an interruption, and one sentence when it can't go on."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_executors import SHORT, Counting, Deadly, replications, same

import hustle_sim as hs
from hustle_sim import InputError, Policy
from hustle_sim.analysis import METRICS
from hustle_sim.tuning import experiment, results
from hustle_sim.tuning.experiment import Interrupted, Replication, measure_all
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.statistics import independent_difference, mean_interval, metric_interval, paired_difference


def generator(seed):
    return np.random.Generator(np.random.Philox(seed))


def honest(hits, trials, level=0.95):
    """Whether so many hits are likely, with 99.9 %, if each comes with the probability ``level``."""
    return stats.binom.ppf(0.0005, trials, level) <= hits <= stats.binom.ppf(0.9995, trials, level)


DRAWS = {
    "normal": (lambda rng, n: rng.normal(3.0, 2.0, n), 3.0),
    "uniform": (lambda rng, n: rng.uniform(0.0, 1.0, n), 0.5),
    "t": (lambda rng, n: rng.standard_t(6, n), 0.0),
}


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("name", list(DRAWS))
def test_the_interval_of_a_mean_holds_it_as_often_as_it_says(name, n, level):
    draw, truth = DRAWS[name]
    # Student's interval is exact for normal values; a little too wide or narrow for others with n = 5.
    if name != "normal" and n == 5:
        n = 40
    rng = generator(7)
    intervals = [mean_interval(draw(rng, n), level) for _ in range(2000)]
    assert honest(sum(each.low <= truth <= each.high for each in intervals), 2000, level)


def test_the_interval_of_a_paired_difference_holds_it_and_is_narrower_where_pairs_have_much_in_common():
    rng = generator(8)
    hits, narrower = 0, 0
    for _ in range(2000):
        common = rng.normal(0.0, 5.0, 20)
        mine, theirs = common + rng.normal(1.0, 1.0, 20), common + rng.normal(0.0, 1.0, 20)
        paired, welch = paired_difference(mine, theirs), independent_difference(mine, theirs)
        hits += paired.low <= 1.0 <= paired.high
        narrower += paired.half_width < welch.half_width
    assert honest(hits, 2000)
    assert narrower == 2000


@pytest.mark.parametrize(("left", "right", "spread"), [(20, 20, 1.0), (10, 30, 4.0), (30, 10, 4.0)])
def test_welchs_interval_holds_the_difference_of_unequal_samples(left, right, spread):
    rng = generator(9)
    hits = 0
    for _ in range(2000):
        each = independent_difference(rng.normal(2.0, spread, left), rng.normal(0.0, 1.0, right))
        hits += each.low <= 2.0 <= each.high
    assert honest(hits, 2000)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(0.5, 0.999))
def test_an_interval_is_that_of_scipy(values, level):
    own = mean_interval(values, level)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error:
        low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=error)
        assert (own.low, own.high) == pytest.approx((low, high), rel=1e-9, abs=1e-6)
    else:
        assert own.low == own.mean == own.high


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=20, unique=True),
    st.lists(st.floats(-100, 100), min_size=2, max_size=20, unique=True),
)
def test_welchs_interval_is_that_of_scipy(mine, theirs):
    scale = np.std(mine) + np.std(theirs)
    if scale > 1e-6:
        own = independent_difference(mine, theirs)
        expected = stats.ttest_ind(mine, theirs, equal_var=False).confidence_interval(0.95)
        assert (own.low, own.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


def test_values_that_are_not_known_are_left_out_and_too_few_say_so():
    assert mean_interval([1.0, math.nan, 3.0]).n == 2
    assert math.isnan(mean_interval([]).mean)
    one = mean_interval([math.nan, 4.0])
    assert (one.mean, one.n) == (4.0, 1)
    assert math.isnan(one.low)
    assert not one.excludes_zero
    pairs = paired_difference([1.0, math.nan, 3.0, 4.0], [1.0, 2.0, math.nan, 5.0])
    assert (pairs.mean, pairs.n) == (-0.5, 2)
    assert math.isnan(independent_difference([], [1.0]).mean)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_interval_of_a_share_stays_where_a_share_can_be_and_is_else_as_it_was(values):
    free, bound = mean_interval(values), metric_interval("answered_share", values)
    assert bound.mean == free.mean
    assert (bound.low, bound.high) == (max(0.0, free.low), min(1.0, free.high))
    waits = metric_interval("late_p50_s", [100 * value for value in values])
    assert 0 <= waits.low <= waits.high


def test_an_interval_that_is_not_known_stays_unknown():
    assert math.isnan(metric_interval("answered_share", [0.5]).low)


def test_results_go_through_a_folder_to_the_last_bit(tmp_path):
    numbers = measure_all(replications(5), executor=1, results=tmp_path)
    second = Counting()
    assert same(measure_all(replications(5), executor=second, results=tmp_path), numbers)
    assert second.given == 0
    (part,) = tmp_path.glob("part-*.parquet")
    rows = pd.read_parquet(part)
    assert rows["seed"].tolist() == [0, 1, 2, 3, 4]
    assert set(rows["version"]) == {hs.__version__}
    assert hs.Scenario.from_dict(json.loads(rows["scenario"][0])) == SHORT


def test_equal_replications_are_simulated_once():
    counting = Counting()
    numbers = measure_all([*replications(2), *replications(2)], executor=counting)
    assert counting.given == 2
    assert same(numbers[:2].reset_index(drop=True), numbers[2:].reset_index(drop=True))


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_damaged_part_is_one_sentence(tmp_path, damage):
    measure_all(replications(3), executor=1, results=tmp_path)
    (part,) = tmp_path.glob("part-*.parquet")
    if damage == "other":
        pd.DataFrame({"a": [1]}).to_parquet(part)
    else:
        part.write_bytes(part.read_bytes()[:3000] if damage == "cut" else b"hello")
    with pytest.raises(InputError, match="delete it, and what was in it is simulated again") as refused:
        measure_all(replications(3), executor=1, results=tmp_path)
    assert str(part) in str(refused.value)
    part.unlink()
    assert len(measure_all(replications(3), executor=1, results=tmp_path)) == 3


def test_a_bit_that_flipped_on_the_disk_is_never_a_wrong_number(tmp_path):
    results = Results(tmp_path)
    for number in range(20):
        results.add(f"{number:032d}", dict.fromkeys(METRICS, number + 0.1234567))
    results.flush()
    (part,) = tmp_path.glob("part-*.parquet")
    whole = part.read_bytes()
    assert Results(tmp_path)._rows == results._rows
    for at in range(0, len(whole), 97):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(InputError, match="delete it"):
            Results(tmp_path)


@pytest.mark.parametrize("place", ["file", "under a file", "something else"])
def test_a_folder_that_can_not_hold_results_is_one_sentence_before_the_work(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    folder = {"file": tmp_path / "file", "under a file": tmp_path / "file" / "x", "something else": tmp_path}[place]
    counting = Counting()
    with pytest.raises(InputError) as refused:
        measure_all(replications(1), executor=counting, results=folder)
    assert counting.given == 0
    assert len(str(refused.value).splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_can_not_be_written_is_one_sentence_before_the_work(tmp_path, monkeypatch):
    kept = Results(tmp_path)
    measure_all(replications(1), executor=1, results=kept)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    # Root may write everywhere: the file system is asked to refuse.
    monkeypatch.setattr("pathlib.Path.touch", refused)
    counting = Counting()
    with pytest.raises(InputError, match="results can't be written there: Permission denied"):
        measure_all(replications(2), executor=counting, results=tmp_path)
    assert counting.given == 0
    # What is there already can be read all the same.
    assert len(measure_all(replications(1), executor=counting, results=tmp_path)) == 1


def test_two_runs_of_one_experiment_may_write_to_one_folder_at_once(tmp_path):
    rows = {f"{number}": {"x": number} for number in range(50)}
    failures = []

    def write():
        try:
            results = Results(tmp_path)
            for key, row in rows.items():
                results.add(key, row)
                results.flush()
        except InputError as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(Results(tmp_path)) == 50
    assert not list(tmp_path.glob(".*"))


def test_another_run_may_write_its_first_result_at_any_moment_while_a_folder_is_opened(tmp_path):
    """The other run writes before each line that opening a folder goes through, in turn."""
    for moment in itertools.count():
        folder = tmp_path / str(moment)
        folder.mkdir()
        passed = 0

        def write(folder=folder):
            other = Results(folder)
            other.add("theirs", {"x": 1})
            other.flush()

        def trace(frame, event, _, moment=moment, write=write):
            nonlocal passed
            if frame.f_code.co_filename != results.__file__:
                return None
            if event == "line":
                if passed == moment:
                    write()
                passed += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            opened = Results(folder)
        finally:
            sys.settrace(before)
        assert len(opened) <= 1
        if passed <= moment:
            break
        assert len(Results(folder)) == 1
    assert moment > 10


def test_a_simulation_that_fails_is_one_sentence_and_the_others_are_kept(tmp_path, monkeypatch):
    def fail(scenario, policy, seed):
        if seed == 3:
            raise ZeroDivisionError("division\nby zero")
        return hs.simulate(scenario, policy, seed)

    monkeypatch.setattr(experiment, "simulate", fail)
    with pytest.raises(Interrupted) as stopped:
        measure_all(replications(6), executor=1, results=tmp_path)
    assert str(stopped.value) == (
        f"hang with seed 3 can't be simulated (ZeroDivisionError: division); 3 of 6 simulations are kept in "
        f"{tmp_path}, and the same again goes on from there"
    )
    assert isinstance(stopped.value.__cause__, ZeroDivisionError)
    monkeypatch.undo()
    rest = Counting()
    measure_all(replications(6), executor=rest, results=tmp_path)
    assert rest.given == 3


def test_what_is_done_beside_a_failure_is_kept(tmp_path):
    """Many are in flight, and one that fails must not take those with it that were done in the same moment."""
    from concurrent.futures import Executor, Future

    class AllAtOnce(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    broken = SHORT.model_copy(update={"backend": None})
    work = [Replication(broken, Policy(), 0), *replications(5)]
    with pytest.raises(Interrupted, match="5 of 6 simulations are kept"):
        measure_all(work, executor=AllAtOnce(), results=tmp_path)
    assert len(Results(tmp_path)) == 5


@pytest.mark.real
def test_a_broken_scenario_in_worker_processes_is_one_sentence(tmp_path):
    broken = SHORT.model_copy(update={"name": "broken", "backend": None})
    with pytest.raises(Interrupted, match="broken with seed 0 can't be simulated") as stopped:
        measure_all([*replications(4), Replication(broken, Policy(), 0)], executor=2, results=tmp_path)
    assert len(str(stopped.value).splitlines()) == 1


def test_the_name_of_a_result_depends_on_all_that_the_numbers_depend_on():
    base = Replication(SHORT, Policy(), 0)
    others = [
        Replication(SHORT, Policy(), 1),
        Replication(SHORT, Policy().replace({"probe.fall": 1}), 0),
        Replication(SHORT.replace({"backend.capacity": 3}), Policy(), 0),
    ]
    keys = experiment._keys([base, *others, Replication(SHORT.replace({}), Policy().replace({}), 0)])
    assert len(set(keys[:4])) == 4
    assert keys[0] == keys[4]
    assert experiment._keys([Replication(SHORT, Policy(), Deadly)])[0] != keys[0]
    assert set(measure_all([base], executor=1)) == set(METRICS)


@pytest.mark.real
@pytest.mark.parametrize("group", [True, False], ids=["terminal", "kill"])
def test_ctrl_c_is_one_sentence_and_the_same_again_goes_on_to_the_same_numbers(tmp_path, group):
    """In a terminal all processes get it; a supervisor sends it to the first one."""
    SHORT.save(tmp_path / "short.toml")
    # Only the time between two files is shorter than people have it.
    code = "import hustle_sim.tuning.experiment as e; e._SAVE_EVERY_S = 0.1; from hustle_sim.cli import main; main()"
    arguments = ["sweep", "short.toml", "--field", "probe.fall=1,3", "-n", "40", "--results", "kept", "--executor", "2"]
    command = [sys.executable, "-c", code, *arguments, "--json"]
    child = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        for _ in range(1200):
            if list(tmp_path.glob("kept/part-*")) or child.poll() is not None:
                break
            time.sleep(0.05)  # noqa: TID251
        (os.killpg if group else os.kill)(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert out == ""
    kept = len(Results(tmp_path / "kept"))
    assert 0 < kept < 80
    assert err.strip() == (
        f"hustle-sim: stopped; {kept} simulations are kept in kept, and the same again goes on from there."
    )
    counting = Counting()
    fields = {"probe.fall": [1, 3]}
    scenario = hs.Scenario.load(tmp_path / "short.toml")
    resumed = hs.sweep(scenario, None, fields, 40, executor=counting, results=tmp_path / "kept")
    assert counting.given == 80 - kept
    if group:  # once is enough for the long way
        assert same(resumed.runs[list(METRICS)], hs.sweep(scenario, None, fields, 40, executor=1).runs[list(METRICS)])
