"""The stability map shows what the closed form says, and the load that slows a backend down is as written."""

import asyncio
import math

import pytest

from benchmarks.collapse import policy, scenario
from hustle_sim import InputError, Policy, Scenario, simulate, simulate_client, stability
from hustle_sim.cli import main
from hustle_sim.simulation import Cancelled
from hustle_sim.simulation.load import MOST, Load
from hustle_sim.simulation.loop import run_virtual
from hustle_sim.simulation.simulate import _World
from hustle_sim.tuning.collapse import collapse_limits, retry_limits
from hustle_sim.tuning.stability import share_interval

HOW = {"executor": 1, "warm_up": False}


# The load.


@pytest.mark.parametrize("rate", [1, 20, 50, 80, 95])
def test_service_takes_1_over_1_minus_rate_times_longer(rate):
    load = Load(100, window_s=1.0)
    factors = [load.arrive(number / rate) for number in range(3 * rate)]
    # A request at the far edge of the window may be just in or just out.
    seen = {1 / (1 - count / 100) for count in (rate - 1, rate)}
    assert min(abs(factors[-1] - factor) for factor in seen) < 1e-9
    assert factors[0] == 1.0


def test_at_saturation_service_takes_very_long_and_never_for_ever():
    load = Load(10, window_s=1.0)
    assert max(load.arrive(0.0) for _ in range(1000)) == MOST


def test_without_saturation_load_changes_nothing():
    load = Load(0, window_s=1.0)
    assert {load.arrive(0.0) for _ in range(1000)} == {1.0}


def test_load_is_forgotten_after_its_window():
    load = Load(10, window_s=2.0)
    for _ in range(10):
        load.arrive(0.0)
    assert load.arrive(1.9) > 1
    assert load.arrive(3.9 + 1e-9) == 1.0


@pytest.mark.parametrize("rate", [20, 50])
def test_in_a_simulation_latency_is_the_closed_form_of_the_rate(rate):
    world = scenario().replace(
        {"duration_s": 70, "clients.count": 5, "clients.messages_per_hour": rate * 720, "warm_up_s": 30}
    )
    run = simulate(world, policy(timeout_s=60))
    taken = run.attempts.loc[(run.attempts["outcome"] == "ok") & (run.attempts["time_s"] > 30), "latency_s"]
    assert taken.mean() == pytest.approx(1 / (1 - rate / 100), rel=0.06)


def test_health_checks_that_take_no_place_are_no_load():
    async def latencies():
        world = _World(asyncio.get_running_loop(), scenario(), 0)
        port = world.backend.connect(0)
        await asyncio.gather(*(port.health() for _ in range(50)))
        began_s = asyncio.get_running_loop().time()
        await port.chat("hello", key="0-1")
        return asyncio.get_running_loop().time() - began_s

    assert run_virtual(latencies()) == pytest.approx(1.0)


# Clients that don't wait.


def test_clients_that_do_not_wait_send_each_message_at_its_time():
    tables = {
        "duration_s": 120, "backend": {"latency": 1.0, "capacity": 1000},
        "outages": [{"mode": "hang", "at_s": 0, "lasts_s": 60}],
        "clients": {"count": 1, "messages_per_hour": 3600, "waits": False},
    }  # fmt: skip
    open_loop = simulate(Scenario.from_dict(tables), Policy())
    tables["clients"]["waits"] = True
    closed_loop = simulate(Scenario.from_dict(tables), Policy())
    quiet = simulate(Scenario.from_dict(tables | {"outages": [], "clients": tables["clients"] | {"waits": False}}))
    assert list(open_loop.messages["time_s"]) == list(quiet.messages["time_s"])
    # Who waits 8 s for an answer sends the next message after it.
    assert closed_loop.messages["time_s"].diff().iloc[1] == pytest.approx(8)
    assert open_loop.messages["time_s"].diff().iloc[1] < 1
    assert open_loop.metrics["lost"] == 0


def test_think_time_belongs_to_clients_that_wait():
    with pytest.raises(InputError, match="think_time belongs to clients that wait"):
        Scenario.from_dict({"clients": {"waits": False, "think_time": 3}})


def test_a_client_of_ones_own_sends_one_message_at_a_time():
    async def client(http, text):
        return await http.post("/chat")

    with pytest.raises(InputError, match=r"clients.waits is off"):
        simulate_client(client, scenario())


def test_a_burst_can_come_once():
    one = Scenario.from_dict(
        {"duration_s": 1000, "clients": {"messages_per_hour": 3600, "profile": "burst", "burst_every_s": 100,
                                         "burst_lasts_s": 50, "bursts": 1, "burst_factor": 10}}
    )  # fmt: skip
    rates = one.clients.rates(one.start)
    assert [next(rates) for _ in range(3)] == [(50.0, 1.0), (100.0, 10.0), (math.inf, 1.0)]


# The closed form.


def test_the_closed_form_is_that_of_the_field_notes():
    about = {"latency_s": 1.0, "saturates_at_per_s": 100.0, "timeout_s": 3.0, "attempts": 3}
    plain, with_overhead = retry_limits(**about), retry_limits(**about, overhead_s=0.2)
    assert (plain.vulnerable_per_s, plain.critical_per_s) == pytest.approx((22.2222, 66.6667), abs=1e-3)
    assert (with_overhead.vulnerable_per_s, with_overhead.critical_per_s) == pytest.approx((21.4286, 64.2857), abs=1e-3)
    assert retry_limits(**about | {"timeout_s": 1.0}).critical_per_s == 0
    assert collapse_limits(scenario(), policy(3.0), overhead_s=0.2) == with_overhead


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"request.max_attempts": 1}, 1),
        ({"request.max_attempts": 5, "request.deadline_s": 6}, 3),
        ({"retry.budget_share": 0.1, "retry.budget_floor_per_min": 0}, 1.1),
    ],
)
def test_fewer_attempts_move_the_vulnerable_limit_and_not_the_critical_one(changes, factor):
    limits = collapse_limits(scenario(), policy(**changes))
    assert limits.critical_per_s == pytest.approx(64.2857, abs=1e-3)
    assert limits.vulnerable_per_s == pytest.approx(limits.critical_per_s / factor)


def test_places_with_a_long_line_have_a_closed_form_too_and_a_short_line_sheds_load():
    places = Scenario.from_dict({"backend": {"capacity": 10, "latency": 1.0, "waiting_room": 1000,
                                             "background_per_s": 1}})  # fmt: skip
    limits = collapse_limits(places, policy())
    assert (limits.critical_per_s, limits.vulnerable_per_s) == pytest.approx((9, 3))
    short = collapse_limits(places.replace({"backend.waiting_room": 5}), policy())
    assert math.isnan(short.critical_per_s)
    assert "sheds" in short.why
    assert "breaker" in collapse_limits(places, Policy()).why


# The map.


@pytest.fixture(scope="module")
def table():
    return stability(
        scenario(), policy(), [15, 30, 75], {"request.max_attempts": [1, 3]}, 2, judge_s=8, recover_s=30,
        spike_factor=5, **HOW,
    )  # fmt: skip


def test_the_map_shows_the_closed_form(table):
    regions = table.set_index(["request.max_attempts", "load"])["region"]
    assert list(regions[3]) == ["stable", "vulnerable", "collapsed"]
    # A single attempt feeds nothing back.
    assert list(regions[1]) == ["stable", "stable", "collapsed"]
    for row in table.to_dict("records"):
        limits = row["vulnerable_from"], row["critical_from"]
        assert row["region"] == ("stable", "vulnerable", "collapsed")[sum(row["load"] > limit for limit in limits)]


def test_a_cell_has_its_share_with_an_interval_that_is_never_empty(table):
    assert (table["n"] == 2).all()
    assert ((table["low"] <= table["collapsed"]) & (table["collapsed"] <= table["high"])).all()
    assert (table["high"] - table["low"] > 0.3).all()
    assert share_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert share_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_disturbed_and_undisturbed_runs_meet_the_same_seeds(table):
    seeds = table.runs.groupby(["load", "request.max_attempts", "kind"])["seed"].agg(list)
    assert len(seeds) == 12
    assert all(each == [0, 1] for each in seeds)


def test_a_plot_has_a_cell_for_each_and_the_lines_of_the_closed_form(table):
    overlay = table.plot()
    kinds = [type(element).__name__ for element in overlay]
    assert sum(len(element) for element in overlay if type(element).__name__ == "Rectangles") == len(table)
    assert kinds.count("Path") == 2


def test_it_can_be_run_again_to_the_same_numbers():
    small = stability(
        scenario(), policy(), [10], {"request.max_attempts": [1]}, 1, judge_s=6, recover_s=6, **HOW,
    )  # fmt: skip
    assert small.again(executor=1).equals(small)
    assert small.about["settle_s"] == 30


def test_jittered_backoff_saves_from_a_spike_that_immediate_retries_turn_into_a_collapse():
    # As benchmarks.collapse, with a spike that leaves no doubt.
    how = {"judge_s": 10, "recover_s": 60, "spike_factor": 1.6, **HOW}
    world = scenario(load_window_s=1.0)
    spread = policy(**{"retry.base_s": 20, "retry.cap_s": 60, "retry.jitter": "full"})
    at_once = stability(world, policy(), [40], {"request.max_attempts": [3]}, 2, **how)
    backed_off = stability(world, spread, [40], {"request.max_attempts": [3]}, 2, **how)
    assert at_once["collapsed"].tolist() == [1.0]
    assert backed_off["collapsed"].tolist() == [0.0]


def test_clients_are_added_until_the_load_is_reached():
    world = Scenario.from_dict({"name": "few", "clients": {"count": 3, "messages_per_hour": 720}})
    small = stability(world, None, [2], {"request.max_attempts": [1]}, 1, recover_s=30, **HOW)
    assert small["region"].tolist() == ["stable"]
    assert "breaker" in small.about["why_no_closed_form"]
    undisturbed = small.runs[small.runs["kind"] == "undisturbed"]
    assert undisturbed["messages"].between(40, 80).all()


def test_an_outage_may_disturb_and_background_may_be_the_load():
    world = Scenario.from_dict({"name": "few", "clients": {"count": 3, "messages_per_hour": 720}})
    small = stability(
        world, None, [2, 500], {"scenario.backend.capacity": [20]}, 1, load_from="background", disturbance="outage",
        disturbance_s=20, recover_s=60, **HOW,
    )  # fmt: skip
    assert small["region"].tolist() == ["stable", "collapsed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"load": []}, "load: there is none"),
        ({"load": [-1]}, "must be above 0"),
        ({"load": [0.01]}, "fewer than 10 messages"),
        ({"against": {}}, "one field and its values"),
        ({"against": {"request.max_attempt": [1]}}, "did you mean 'request.max_attempts'"),
        ({"against": {"request.max_attempts": 3}}, "give a list of values"),
        ({"against": {"request.max_attempts": [1, 1]}}, "stands there twice"),
        ({"against": {"request.attempt_timeout_s": [30]}}, "lease"),
        ({"disturbance": "spikes"}, "did you mean 'spike'"),
        ({"disturbance_s": 0.1}, "from 1 s to a day"),
        ({"judge_s": 10}, "too short to tell"),
        ({"judge_s": 500}, "not exceed recover_s"),
        ({"works_at": 0}, "is no share"),
        ({"spike_factor": 1}, "above 1"),
    ],
)
def test_what_can_not_be_mapped_is_refused_in_one_sentence_before_anything_is_simulated(arguments, words):
    def never(_):
        raise AssertionError

    given = {"load": [1], "against": {"request.max_attempts": [1, 2]}, "warm_up": False} | arguments
    with pytest.raises(InputError, match=words):
        stability("hang", None, **given, progress=never)


def test_it_can_be_cancelled():
    with pytest.raises(Cancelled):
        stability("hang", None, [1], {"request.max_attempts": [1]}, cancelled=lambda: True, **HOW)


def test_the_command_prints_the_map(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    scenario().save(tmp_path / "load.toml")
    policy().save(tmp_path / "bare.toml")
    with pytest.raises(SystemExit) as left:
        main(["stability", str(tmp_path / "load.toml"), "--policy", str(tmp_path / "bare.toml"), "-l", "10,90", "-a",
              "request.max_attempts=1", "-n", "1", "--judge", "6s", "--recover", "6s", "--executor", "1"])  # fmt: skip
    out = capsys.readouterr().out
    assert not left.value.code
    assert "● 0 %" in out
    assert "■ 100 %" in out
    assert "■ from 64.3/s" in out
    with pytest.raises(SystemExit) as left:
        main(["stability", "hang", "-l", "often", "-a", "request.max_attempts=1"])
    assert left.value.code == 2
    assert "'often' is no number" in capsys.readouterr().err
