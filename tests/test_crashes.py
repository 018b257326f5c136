"""Clients die at any await, stores fail, clocks jump: nothing accepted is lost, nothing is done twice."""

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hustle_sim.inputs import InputError
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.simulation.cases import Case, Crash, Jump, StoreFault
from hustle_sim.simulation.crashes import Graveyard, Port
from hustle_sim.simulation.loop import run_virtual
from hustle_sim.simulation.soak import account, shrink, soak
from hustle_sim.simulation.trials import run_case

CASES = 400
PARTS = 8


def check(case):
    verdict = run_case(case)
    assert verdict.violations == [], f"{account(verdict)}\nshrunk: hustle-sim replay '{shrink(case).to_json()}'"
    return verdict


# The machinery: a crash is a real one


def crashing(body):
    """Run ``body(life, log)`` as the work of a life that crashes; the log says what still ran."""
    log = []

    async def main():
        loop = asyncio.get_running_loop()
        graveyard = Graveyard(loop)
        life = graveyard.life(0, 0)
        life.start(body(life, log))
        await asyncio.sleep(10)
        life.die()
        log.append("crash")
        await asyncio.sleep(100)
        seen = list(log)
        await graveyard.bury()
        return seen

    return run_virtual(main())


def test_no_finally_of_a_crashed_task_runs():
    async def body(life, log):
        try:
            log.append("working")
            await asyncio.sleep(20)
            log.append("done")
        finally:
            log.append("finally")

    assert crashing(body) == ["working", "crash"]


def test_what_a_crashed_client_started_dies_with_it():
    async def child(log):
        try:
            await asyncio.sleep(20)
        finally:
            log.append("child")

    async def body(life, log):
        loop = asyncio.get_running_loop()
        task = loop.create_task(child(log))
        async with asyncio.TaskGroup() as group:
            group.create_task(child(log))
            group.create_task(child(log))
        await task

    assert crashing(body) == ["crash"]


def test_a_timer_of_a_crashed_client_starts_nothing():
    async def child(log):
        log.append("child")

    async def body(life, log):
        loop = asyncio.get_running_loop()
        loop.call_later(20, lambda: loop.create_task(child(log)))
        await asyncio.sleep(5)

    assert crashing(body) == ["crash"]


def test_a_timeout_or_a_cancel_does_not_wake_the_dead():
    async def body(life, log):
        try:
            async with asyncio.timeout(20):
                await asyncio.sleep(50)
        except TimeoutError:
            log.append("timeout")

    assert crashing(body) == ["crash"]


def test_a_crash_comes_at_the_resumption_it_was_armed_for():
    log = []

    async def body():
        for number in range(10):
            log.append(number)
            await asyncio.sleep(1)

    async def main():
        graveyard = Graveyard(asyncio.get_running_loop())
        life = graveyard.life(0, 0)
        life.arm(4)
        life.start(body())
        await asyncio.sleep(50)
        await graveyard.bury()

    run_virtual(main())
    assert log == [0, 1, 2]


def test_a_request_of_a_crashed_client_breaks_off_and_the_server_runs_its_finally():
    log = []

    class Server:
        async def chat(self, text, *, key):
            try:
                await asyncio.sleep(20)
            finally:
                log.append("the server noticed")
            return Response(Outcome.OK, text)

    async def body(port):
        try:
            await port.chat("hello", key="1")
        finally:
            log.append("the client noticed")

    async def main():
        loop = asyncio.get_running_loop()
        graveyard = Graveyard(loop)
        life = graveyard.life(0, 0)
        requests = []
        life.start(body(Port(Server(), life, loop, requests.append)))
        await asyncio.sleep(5)
        life.die()
        await asyncio.sleep(50)
        assert [request.fate_unknown for request in requests] == [True]
        seen = list(log)
        await graveyard.bury()
        return seen

    assert run_virtual(main()) == ["the server noticed"]


def test_a_clean_end_leaves_nothing_over_and_a_leak_is_told():
    async def main():
        loop = asyncio.get_running_loop()
        graveyard = Graveyard(loop)
        tidy, untidy = graveyard.life(0, 0), graveyard.life(1, 0)
        tidy.start(asyncio.sleep(1))
        untidy.start(asyncio.sleep(1000))
        untidy.context.run(loop.call_later, 500, print)
        await asyncio.sleep(10)
        assert tidy.left_over() == []
        assert len(untidy.left_over()) == 3
        await graveyard.bury()

    run_virtual(main())


# Cases


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_whatever_happens(part):
    figures = Counter()
    for seed in range(part, CASES, PARTS):
        figures.update(check(Case.draw(seed)).figures)
    assert figures["crashes"] > 40
    assert figures["store errors"] > 10
    assert figures["delivered"] > 50
    assert figures["lost"] == figures["duplicated, unexplained"] == 0


outages = st.builds(
    lambda mode, at_s, lasts_s: {"mode": mode, "at_s": at_s, "lasts_s": lasts_s},
    st.sampled_from(["refuse", "hang", "error", "slow", "bad_body", "flap", "brownout"]),
    st.floats(0, 80),
    st.floats(1, 60),
)
crashes = st.builds(Crash, st.just(0), st.floats(0, 100), st.integers(1, 60), st.floats(0.1, 30))
store_faults = st.builds(
    lambda kind, start_s, lasts_s, share, takes_s: StoreFault(kind, start_s, start_s + lasts_s, share, takes_s),
    st.sampled_from(["error", "full", "slow"]),
    st.floats(0, 80),
    st.floats(1, 60),
    st.floats(0.1, 1),
    st.floats(0, 2),
)
jumps = st.builds(Jump, st.floats(0, 100), st.floats(-200, 200))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Case,
        seed=st.integers(0, 2**32),
        clients=st.integers(1, 2),
        shared=st.booleans(),
        messages=st.integers(1, 12),
        lasts_s=st.just(100.0),
        honours_keys=st.booleans(),
        abandoned_keep_place=st.booleans(),
        conversations=st.booleans(),
        policy=st.fixed_dictionaries(
            {
                "queue.unknown_fate": st.sampled_from(["replay", "ask", "drop"]),
                "request.late_answer_window_s": st.sampled_from([0.0, 30.0]),
                "queue.lease_s": st.floats(8, 30),
                "probe.interval_s": st.floats(10, 60),
            }
        ),
        outages=st.lists(outages, max_size=2).map(tuple),
        crashes=st.lists(crashes, max_size=3).map(lambda each: tuple(sorted(each, key=lambda crash: crash.at_s))),
        store_faults=st.lists(store_faults, max_size=2).map(tuple),
        jumps=st.lists(jumps, max_size=1).map(tuple),
    )
)
def test_nothing_is_lost_in_any_case_that_hypothesis_thinks_of(case):
    check(case)


def test_a_case_is_the_same_in_every_process():
    code = "from hustle_sim.simulation.trials import *; print(*run_case(Case.draw(1)).log, sep='\\n')"
    logs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert logs[0] == logs[1]
    assert "crashed" in logs[0]


def test_a_case_survives_json():
    for seed in range(50):
        case = Case.draw(seed)
        assert Case.from_json(case.to_json()) == case
    with pytest.raises(InputError, match="this is no case"):
        Case.from_json("[1]")
    with pytest.raises(InputError, match="this is no case"):
        Case.from_json(json.dumps({"seed": 1, "wings": 2}))


def test_a_failing_case_shrinks_to_what_it_needs(monkeypatch):
    monkeypatch.setattr(
        "hustle_sim.simulation.soak.violations", lambda case: ["bad"] if case.crashes and case.messages > 2 else []
    )
    seed = next(seed for seed in range(100) if len(Case.draw(seed).crashes) > 2 and Case.draw(seed).messages > 5)
    small = shrink(Case.draw(seed))
    assert len(small.crashes) == 1
    assert small.messages == 3
    assert (small.outages, small.store_faults, small.jumps, small.policy) == ((), (), (), {})


def test_a_soak_counts_what_it_did():
    result = soak(0, 10)
    lines = dict(result.lines())
    assert lines["cases"] == "10"
    assert lines["lost"] == lines["duplicated, unexplained"] == "0"
    assert lines["accepted"] != "0"


# Bugs that the suite found


def test_a_message_whose_give_back_failed_is_sent_when_its_lease_runs_out():
    hang = {"mode": "hang", "at_s": 56.633, "lasts_s": 65.799, "share": 0.658}
    broken = StoreFault("error", 125.997, 199.412)
    check(Case(352, messages=2, lasts_s=216.45, abandoned_keep_place=False, outages=(hang,), store_faults=(broken,)))
