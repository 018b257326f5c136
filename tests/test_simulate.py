"""simulate(): the real code in a simulated world, the same for the same inputs, wherever it runs."""

import asyncio
import os
import subprocess
import sys
import threading

import httpx
import pytest

import hustle_sim as hs
from hustle_sim.simulation.scenario import Scenario

SHORT = {"duration_s": "2h", "warm_up_s": 0}


def short(name="morning-outage", **changes):
    scenario = Scenario.load(name)
    outages = [{"mode": "hang", "at_s": "31m", "lasts_s": "35m"}]
    return scenario.replace({**SHORT, "outages": outages, **changes})


@pytest.fixture(scope="module")
def morning():
    scenario = Scenario.load("morning-outage")
    return {name: hs.simulate(scenario, hs.Policy.preset(name), seed=1) for name in ("default", "original")}


def test_the_default_policy_keeps_its_promises_on_a_morning_outage(morning):
    metrics = morning["default"].metrics
    assert metrics["answer_max_s"] <= 8.001
    assert metrics["lost"] == 0
    assert metrics["duplicates"] == 0
    assert metrics["rejected"] == metrics["expired"] == metrics["dead"] == 0
    assert metrics["delivered_share"] == 1
    assert metrics["late_p50_s"] > 0


def test_the_first_design_loses_messages_and_notices_late(morning):
    first, hardened = morning["original"].metrics, morning["default"].metrics
    assert first["lost"] > 0
    assert first["detection_s"] > hardened["detection_s"]
    assert first["recovery_s"] > hardened["recovery_s"]
    assert first["answer_max_s"] <= 8.001


def test_every_message_ends_in_exactly_one_way(morning):
    for run in morning.values():
        assert run.messages["message_id"].is_unique
        assert run.messages["outcome"].notna().all()


def test_two_policies_meet_the_same_arrivals_and_outages(morning):
    first, second = morning["default"], morning["original"]
    assert first.outages.equals(second.outages)
    assert len(first.messages) == len(second.messages)


@pytest.mark.real
def test_the_same_seed_is_the_same_run_in_another_process_and_under_another_hash_seed():
    code = "import hustle_sim as hs; print(hs.simulate(hs.Scenario.load('flapping'), seed=5).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_another_seed_is_another_run():
    assert hs.simulate(short(), seed=1).digest != hs.simulate(short(), seed=2).digest


@pytest.mark.parametrize("name", sorted(Scenario.bundled()))
def test_wire_and_direct_give_the_same_run_on_every_bundled_scenario(name):
    scenario = Scenario.load(name)
    # A whole month or fleet over the wire would take a minute: the same rules hold in a part of it.
    if scenario.duration_s > 2 * 86400:
        scenario = scenario.replace({"duration_s": 2 * 86400})
    if scenario.clients.count > 40:
        share = 40 / scenario.clients.count
        scenario = scenario.replace(
            {"clients.count": 40, "backend.capacity": max(1, round(scenario.backend.capacity * share)),
             "backend.background_per_s": scenario.backend.background_per_s * share}
        )  # fmt: skip
    direct = hs.simulate(scenario, seed=3)
    wire = hs.simulate(scenario, seed=3, wire=True)
    assert len(direct.messages) > 0
    for frame in ("messages", "attempts", "probes", "transitions", "queue", "effects"):
        left, right = getattr(direct, frame), getattr(wire, frame)
        assert left.equals(right), frame
    assert direct.digest == wire.digest


def test_it_works_in_a_running_loop_as_in_a_notebook_cell():
    async def cell():
        return hs.simulate(short(), seed=1).digest

    assert asyncio.run(cell()) == hs.simulate(short(), seed=1).digest


def test_it_works_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(hs.simulate(short(), seed=1).digest))
    thread.start()
    thread.join()
    assert found == [hs.simulate(short(), seed=1).digest]


def test_progress_is_told_from_start_to_end():
    shares = []
    hs.simulate(short(), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 50


def test_a_run_can_be_cancelled_on_the_way():
    asked = []

    def cancelled():
        asked.append(None)
        return len(asked) > 10

    with pytest.raises(hs.Cancelled):
        hs.simulate(short(), cancelled=cancelled)
    assert len(asked) == 11


def test_watching_a_run_does_not_change_it():
    assert hs.simulate(short(), progress=lambda share: None).digest == hs.simulate(short()).digest
    assert hs.simulate(short(), so_far=lambda events, made: made()).digest == hs.simulate(short()).digest


def test_what_is_made_on_the_way_is_the_beginning_of_the_run():
    parts, counts = [], []

    def so_far(events, made):
        counts.append(events)
        if len(counts) % 40 == 0:
            parts.append(made())

    whole = hs.simulate(short(), seed=3, so_far=so_far)
    assert counts == sorted(counts)
    assert [part.duration_s for part in parts] == sorted({part.duration_s for part in parts})
    for part in parts:
        until_s = part.duration_s
        assert part.planned_s == whole.duration_s > until_s
        sent, all_sent = part.messages, whole.messages[whole.messages["time_s"] <= until_s]
        assert list(sent["message_id"]) == list(all_sent["message_id"])
        answered = all_sent["time_s"] + all_sent["answer_s"] < until_s
        assert list(sent["answer_s"][answered.to_numpy()]) == list(all_sent["answer_s"][answered])
        assert (part.outages["start_s"] <= until_s).all()
        assert part.metrics.notna().any()
    assert whole.planned_s == whole.duration_s


def test_a_fleet_shares_one_backend():
    run = hs.simulate(short(**{"clients.count": 30, "backend.capacity": 2, "backend.waiting_room": 3}), seed=1)
    assert run.messages["client"].nunique() == 30
    assert (run.attempts["outcome"] == "overloaded").any()
    assert run.metrics["lost"] == 0


def test_a_foreign_client_can_be_put_to_the_same_test():
    async def naive(http: httpx.AsyncClient, text: str):
        response = await http.post("/chat", json={"message": text}, timeout=5)
        response.raise_for_status()
        return response.json()["reply"]

    async def stubborn(http: httpx.AsyncClient, text: str):
        for _ in range(3):
            try:
                return await naive(http, text)
            except httpx.HTTPError:
                await asyncio.sleep(1)
        return await naive(http, text)

    scenario = short()
    one = hs.simulate_client(naive, scenario, seed=1)
    four = hs.simulate_client(stubborn, scenario, seed=1)
    assert one.metrics["amplification"] == 1.0
    assert four.metrics["amplification"] > 1.3
    assert one.metrics["answer_max_s"] <= 5.001
    assert (one.messages["source"] == "fallback").sum() > 10


def test_a_foreign_client_that_never_returns_is_stopped_at_the_deadline():
    async def patient(http: httpx.AsyncClient, text: str):
        return (await http.post("/chat", json={"message": text})).json()["reply"]

    run = hs.simulate_client(patient, short(), seed=1, deadline_s=8.0)
    assert run.metrics["answer_max_s"] == pytest.approx(8.0)


def test_a_year_of_probes_and_messages_leaves_nothing_behind_in_the_event_heap():
    shares = []
    scenario = short(duration_s=7 * 86400, outages=[])
    hs.simulate(scenario.replace({"clients.messages_per_hour": 6}), progress=shares.append)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("preset", sorted(hs.PRESETS))
def test_every_preset_survives_a_hanging_backend(preset):
    run = hs.simulate(short(), hs.Policy.preset(preset), seed=2)
    assert run.metrics["answer_max_s"] <= 8.001
    if preset != "original":
        assert run.metrics["lost"] == 0
