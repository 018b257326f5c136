"""Any executor gives the same numbers to the last bit; one that dies costs time, or one sentence, and no result."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pandas as pd
import pytest

from hustle_sim import InputError, Policy, Scenario
from hustle_sim.tuning import executors
from hustle_sim.tuning.executors import Cores, Serial, workers_of
from hustle_sim.tuning.experiment import Interrupted, Replication, measure_all
from hustle_sim.tuning.results import Results

SHORT = Scenario.load("hang").replace(
    {"duration_s": "40m", "outages": [{"mode": "hang", "at_s": "10m", "lasts_s": "10m"}]}
)


def replications(count, scenario=SHORT):
    return [Replication(scenario, Policy(), seed) for seed in range(count)]


def same(first, second):
    """Equal to the last bit, NaNs included."""
    return list(first) == list(second) and first.to_numpy().tobytes() == second.to_numpy().tobytes()


@pytest.fixture(scope="module")
def serial():
    return measure_all(replications(24), executor=1)


class Counting(Serial):
    """Counts what it is given."""

    def __init__(self):
        self.given = 0

    def submit(self, fn, /, *args, **kwargs):
        self.given += 1
        return super().submit(fn, *args, **kwargs)


class Dying(Serial):
    """Works for a while, and then says that it died: when asked, or in what was asked for."""

    def __init__(self, after, at_submit, error):
        self.left, self.at_submit, self.error = after, at_submit, error

    def submit(self, fn, /, *args, **kwargs):
        self.left -= 1
        if self.left >= 0:
            return super().submit(fn, *args, **kwargs)
        if self.at_submit:
            raise self.error
        future = Future()
        if isinstance(self.error, BrokenExecutor):
            future.set_exception(self.error)
        else:
            future.cancel()
            future.set_running_or_notify_cancel()
        return future


@pytest.mark.parametrize("at_submit", [True, False])
@pytest.mark.parametrize("error", [BrokenExecutor("gone"), RuntimeError("cannot schedule new futures after shutdown")])
def test_an_executor_that_dies_is_one_sentence_and_the_next_run_goes_on(tmp_path, serial, at_submit, error):
    folder = tmp_path / "results"
    with pytest.raises(Interrupted) as stopped:
        measure_all(replications(24), executor=Dying(9, at_submit, error), results=folder)
    assert "9 of 24 simulations are kept in" in str(stopped.value)
    assert str(folder) in str(stopped.value)
    assert len(str(stopped.value).splitlines()) == 1
    second = Counting()
    assert same(measure_all(replications(24), executor=second, results=folder), serial)
    assert second.given == 15


def test_without_a_folder_the_sentence_says_how_to_keep_results():
    with pytest.raises(Interrupted, match="give a folder for results"):
        measure_all(replications(3), executor=Dying(2, True, BrokenExecutor()))


def test_work_in_this_process_is_told_and_can_be_cancelled_after_each_simulation(tmp_path):
    from hustle_sim import Cancelled

    told = []
    with pytest.raises(Cancelled, match="3 of 24"):
        measure_all(
            replications(24), executor=1, results=tmp_path, progress=told.append, cancelled=lambda: len(told) > 3
        )
    assert [each.done for each in told] == [0, 1, 2, 3]
    assert len(Results(tmp_path)) == 3


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        (0, "give 1 or more"),
        (True, "give 1 or more"),
        ("dusk://host:1", "is none"),
        ("0", "give 1 or more"),
        (3.5, "can't run anything"),
        ("dask://", "no dask scheduler answers"),
        ("dask://127.0.0.1:9", "no dask scheduler answers"),
    ],
)
def test_an_executor_that_is_none_is_one_sentence(executor, words, monkeypatch):
    monkeypatch.setattr(executors, "_CONNECT_S", 0.3)
    with pytest.raises(InputError, match=words) as refused:
        measure_all(replications(1), executor=executor)
    assert len(str(refused.value).splitlines()) == 1


def test_none_is_all_cores_and_a_word_may_be_a_number():
    with workers_of(None) as workers:
        assert isinstance(workers, Cores)
    with workers_of("1") as workers:
        assert isinstance(workers, Serial)


def kill_one_of_ours(processes):
    pool = executors._POOLS[processes]
    os.kill(next(iter(pool._processes)), signal.SIGKILL)


@pytest.mark.real
def test_our_processes_give_the_same_numbers_also_in_two_threads_at_once(serial):
    found = {}

    def work(name):
        found[name] = measure_all(replications(24), executor=2)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(found["a"], serial)
    assert same(found["b"], serial)


@pytest.mark.real
def test_one_of_our_processes_that_is_killed_costs_no_result(serial, tmp_path):
    killed = []

    def kill(now):
        if now.done >= 4 and not killed:
            killed.append(now.done)
            kill_one_of_ours(2)

    assert same(measure_all(replications(24), executor=2, results=tmp_path, progress=kill), serial)
    assert killed
    assert len(Results(tmp_path)) == 24


@pytest.mark.real
def test_a_cancelled_experiment_leaves_one_in_another_thread_its_results(serial):
    from hustle_sim import Cancelled

    found, begun, stop = {}, threading.Event(), threading.Event()

    def work():
        found["numbers"] = measure_all(replications(24), executor=2, progress=lambda now: now.done and begun.set())

    def work_in_vain():
        with pytest.raises(Cancelled):
            measure_all(
                [Replication(SHORT, Policy(), 1000 + seed) for seed in range(500)], executor=2, cancelled=stop.is_set
            )

    threads = [threading.Thread(target=work), threading.Thread(target=work_in_vain)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    stop.set()
    for thread in threads:
        thread.join()
    assert same(found["numbers"], serial)


class Deadly:
    """A seed that ends the process which unpacks it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.real
def test_a_simulation_that_kills_every_process_is_one_sentence_and_not_for_ever(tmp_path):
    work = [*replications(6), Replication(SHORT, Policy(), Deadly())]
    with pytest.raises(Interrupted, match=r"the executor died \(.*\); \d of 7 simulations are kept"):
        measure_all(work, executor=2, results=tmp_path)


@pytest.mark.real
def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import hustle_sim as hs\n"
        "scenario = hs.Scenario.load('hang').replace({'duration_s': '20m', 'outages': []})\n"
        "table = hs.sweep(scenario, None, {'probe.fall': [1, 3]}, replications=2, metrics=['messages'], executor=2)\n"
        "print(table['mean'].tolist())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    scenario = Scenario.load("hang").replace({"duration_s": "20m", "outages": []})
    mean = measure_all([Replication(scenario, Policy(), seed) for seed in (0, 1)], executor=1)["messages"].mean()
    assert done.stdout == f"[{mean}, {mean}]\n"


def test_threads_of_somebody_else_give_the_same_numbers(serial):
    with ThreadPoolExecutor(3) as threads:
        assert same(measure_all(replications(24), executor=threads), serial)


@pytest.mark.real
def test_a_foreign_pool_gives_the_same_numbers_and_if_a_process_of_it_is_killed_the_next_run_goes_on(serial, tmp_path):
    killed = []

    def kill(now):
        if now.done >= 4 and not killed:
            killed.append(next(iter(pool._processes)))
            os.kill(killed[0], signal.SIGKILL)

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool, pytest.raises(Interrupted, match="the executor died"):
        measure_all(replications(24), executor=pool, results=tmp_path, progress=kill)
    kept = len(Results(tmp_path))
    assert 4 <= kept < 24
    done = []
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        numbers = measure_all(replications(24), executor=pool, results=tmp_path, progress=done.append)
    assert same(numbers, serial)
    assert done[-1].done == 24 - kept


def test_threads_that_are_shut_down_in_the_middle_are_one_sentence_and_the_next_run_goes_on(serial, tmp_path):
    threads = ThreadPoolExecutor(1)

    def stop(now):
        if now.done >= 4:
            threads.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(Interrupted, match=r"the executor gave up its work; .* are kept in"):
        measure_all(replications(24), executor=threads, results=tmp_path, progress=stop)
    kept = len(Results(tmp_path))
    assert 4 <= kept < 24
    rest = Counting()
    assert same(measure_all(replications(24), executor=rest, results=tmp_path), serial)
    assert rest.given == 24 - kept


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as local:
        yield local


@pytest.mark.real
def test_a_dask_cluster_gives_the_same_numbers_by_address_and_by_client(cluster, serial):
    from distributed import Client

    address = cluster.scheduler_address.removeprefix("tcp://")
    assert same(measure_all(replications(24), executor=f"dask://{address}"), serial)
    with Client(cluster, set_as_default=False) as client:
        assert same(measure_all(replications(24), executor=client), serial)
        assert isinstance(client.get_executor(), Executor)


@pytest.mark.real
def test_a_dask_worker_that_is_killed_costs_no_result(cluster, tmp_path):
    killed = []

    def kill(now):
        if now.done >= 8 and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    work = replications(80)
    address = cluster.scheduler_address.removeprefix("tcp://")
    numbers = measure_all(work, executor=f"dask://{address}", results=tmp_path, progress=kill)
    assert killed
    assert same(numbers, measure_all(work, executor=1))
    assert len(pd.concat(map(pd.read_parquet, tmp_path.glob("part-*.parquet")))) == 80
