"""The simulated backend is a queue that theory knows, and each outage does what its name says."""

import asyncio
import math

import pytest

from hustle_sim.events import BackendSampled, EffectHappened, Recorder
from hustle_sim.resilience.http import HttpBackend
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.simulation.backend import SimulatedBackend
from hustle_sim.simulation.loop import run_virtual
from hustle_sim.simulation.outages import Outage, Timeline
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import BackendModel

EXPONENTIAL = {"kind": "exponential", "mean_s": 1.0}


def backend_of(recorder, outages=(), seed=1, **model):
    fields = {"capacity": 1, "waiting_room": 10**6, "latency": {"kind": "constant", "value_s": 1.0}, "error_rate": 0}
    timeline = Timeline(tuple(outages), end_s=1e9)
    return SimulatedBackend(
        asyncio.get_running_loop(), BackendModel(**(fields | model)), timeline, Draws(seed), recorder,
        sample_every_s=3600.0,
    )  # fmt: skip


def outage(mode, start_s=0.0, end_s=1000.0, **more):
    fields = {
        "ramp_s": 0.0, "share": 1.0, "status_code": 500, "factor": 1.0, "rate_per_s": 1.0, "retry_after_s": None,
        "capacity_factor": 1.0, "period_s": 60.0, "duty": 0.5,
    }  # fmt: skip
    return Outage(start_s=start_s, end_s=end_s, mode=mode, **(fields | more))


def drive(rate_per_s, requests, seed=1, **model):
    """Poisson arrivals; returns (mean time in the system, share shed) over all requests."""

    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, seed=seed, **model)
        port = backend.connect(0)
        gaps = Draws(seed).stream("gaps")
        loop = asyncio.get_running_loop()
        took_s, shed = [], 0

        async def one(number):
            nonlocal shed
            began_s = loop.time()
            response = await port.chat("hello", key=f"0-{number}")
            if response.outcome is Outcome.OK:
                took_s.append(loop.time() - began_s)
            else:
                assert response.outcome is Outcome.OVERLOADED
                shed += 1

        tasks = []
        for number in range(requests):
            await asyncio.sleep(-math.log1p(-gaps(number)) / rate_per_s)
            tasks.append(asyncio.create_task(one(number)))
        await asyncio.gather(*tasks)
        return sum(took_s) / len(took_s), shed / requests

    return run_virtual(main())


def erlang_b(load, servers):
    blocking = 1.0
    for n in range(1, servers + 1):
        blocking = load * blocking / (n + load * blocking)
    return blocking


def erlang_c(load, servers):
    blocking = erlang_b(load, servers)
    return blocking / (1 - load / servers * (1 - blocking))


def test_one_place_and_exponential_service_is_m_m_1():
    took_s, _ = drive(0.6, 40_000, latency=EXPONENTIAL)
    assert took_s == pytest.approx(1 / (1 - 0.6), rel=0.08)


def test_several_places_wait_as_erlang_c_says():
    took_s, _ = drive(3.0, 40_000, latency=EXPONENTIAL, capacity=4)
    assert took_s == pytest.approx(1 + erlang_c(3.0, 4) / (4 - 3.0), rel=0.06)


def test_no_waiting_room_sheds_as_erlang_b_says():
    _, shed = drive(3.0, 40_000, latency=EXPONENTIAL, capacity=4, waiting_room=0)
    assert shed == pytest.approx(erlang_b(3.0, 4), rel=0.06)


def test_constant_service_waits_as_pollaczek_khinchine_says():
    took_s, _ = drive(0.6, 40_000)
    assert took_s == pytest.approx(1 + 0.6 / (2 * (1 - 0.6)), rel=0.05)


def chat_during(*outages, at_s=10.0, limit_s=100.0, wire=False, **model):
    """One message sent ``at_s`` into these outages: (response or None, seconds it took, recorder)."""

    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, outages, **model)
        port = HttpBackend("http://x", transport=backend.transport(0)) if wire else backend.connect(0)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at_s)
        began_s = loop.time()
        response = None
        try:
            async with asyncio.timeout(limit_s):
                response = await port.chat("hello", key="0-1")
        except TimeoutError:
            pass
        took_s = loop.time() - began_s
        await asyncio.sleep(100)
        return response, took_s, recorder

    return run_virtual(main())


both_ways = pytest.mark.parametrize("wire", [False, True], ids=["direct", "wire"])


@both_ways
@pytest.mark.parametrize(
    ("mode", "more", "outcome", "status_code"),
    [
        ("refuse", {}, Outcome.REFUSED, None),
        ("error", {"status_code": 500}, Outcome.HTTP_5XX, 500),
        ("error", {"status_code": 529}, Outcome.OVERLOADED, 529),
        ("error", {"status_code": 401}, Outcome.HTTP_4XX, 401),
        ("bad_body", {}, Outcome.BAD_BODY, 200),
    ],
)
def test_an_outage_ends_requests_in_its_own_way(mode, more, outcome, status_code, wire):
    response, _, _ = chat_during(outage(mode, **more), wire=wire)
    assert response is not None
    assert (response.outcome, response.status_code) == (outcome, status_code)


@both_ways
def test_a_hanging_backend_never_answers_and_does_nothing(wire):
    response, took_s, recorder = chat_during(outage("hang"), limit_s=50, wire=wire)
    assert response is None
    assert took_s == 50
    assert not [event for event in recorder if isinstance(event, EffectHappened)]


@both_ways
def test_a_slow_backend_takes_its_factor_longer(wire):
    response, took_s, _ = chat_during(outage("slow", factor=7.0), wire=wire)
    assert response is not None
    assert response.outcome is Outcome.OK
    assert took_s == pytest.approx(7.0)


@both_ways
def test_a_rate_limit_says_when_to_come_back(wire):
    async def main():
        backend = backend_of(Recorder(), [outage("rate_limit", rate_per_s=0.1, retry_after_s=2.5)])
        port = HttpBackend("http://x", transport=backend.transport(0)) if wire else backend.connect(0)
        await asyncio.sleep(10)
        first = await port.chat("hello", key="0-1")
        second = await port.chat("hello", key="0-2")
        return first, second

    first, second = run_virtual(main())
    assert first.outcome is Outcome.OK
    assert second.outcome is Outcome.RATE_LIMITED
    assert second.retry_after_s == 2.5


def test_a_brownout_takes_places_away_and_gives_them_back():
    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, [outage("brownout", 10, 1000, capacity_factor=0.25)], capacity=4)
        port = backend.connect(0)
        await asyncio.sleep(10)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.gather(*(port.chat("hello", key=f"0-{n}") for n in range(4)))
        browned_s = loop.time() - began_s
        await asyncio.sleep(1000)
        began_s = loop.time()
        await asyncio.gather(*(port.chat("hello", key=f"0-{n + 10}") for n in range(4)))
        return browned_s, loop.time() - began_s

    assert run_virtual(main()) == (pytest.approx(4.0), pytest.approx(1.0))


def test_flapping_is_down_for_its_duty_and_up_for_the_rest():
    flap = outage("flap", 0, 1000, period_s=60, duty=0.5)
    results = {chat_during(flap, at_s=at_s)[0].outcome for at_s in (5.0, 65.0)}
    results_up = {chat_during(flap, at_s=at_s)[0].outcome for at_s in (45.0, 105.0)}
    assert {*results, *results_up} == {Outcome.REFUSED, Outcome.OK}
    assert len(results) == len(results_up) == 1


def test_a_partial_outage_touches_its_share_of_the_requests():
    async def main():
        backend = backend_of(Recorder(), [outage("refuse", share=0.3)], capacity=10_000)
        port = backend.connect(0)
        await asyncio.sleep(1)
        responses = await asyncio.gather(*(port.chat("hello", key=f"0-{n}") for n in range(4000)))
        return sum(response.outcome is Outcome.REFUSED for response in responses) / 4000

    assert run_virtual(main()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("keeps", [True, False])
def test_an_abandoned_request_keeps_its_place_unless_the_scenario_says_otherwise(keeps):
    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, abandoned_keep_place=keeps, latency={"kind": "constant", "value_s": 50.0})
        port = backend.connect(0)
        loop = asyncio.get_running_loop()
        for number in range(2):  # one in service, one that waits
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await port.chat("abandoned", key=f"0-{number}")
        began_s = loop.time()
        await port.chat("hello", key="0-9")
        return loop.time() - began_s, [event for event in recorder if isinstance(event, EffectHappened)]

    took_s, effects = run_virtual(main())
    assert took_s == pytest.approx(148 if keeps else 50)
    assert len(effects) == (3 if keeps else 1)


def test_effects_of_one_message_are_counted():
    async def main():
        recorder = Recorder()
        port = backend_of(recorder, capacity=5, honours_keys=False).connect(3)
        await asyncio.gather(*(port.chat("again", key="3-1") for _ in range(3)))
        return [event.number for event in recorder if isinstance(event, EffectHappened)]

    assert run_virtual(main()) == [1, 2, 3]


def test_samples_tell_capacity_and_load():
    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, capacity=2, latency={"kind": "constant", "value_s": 5000.0})
        port = backend.connect(0)
        tasks = [asyncio.create_task(port.chat("x", key=f"0-{n}")) for n in range(3)]
        await asyncio.sleep(3601)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [event for event in recorder if isinstance(event, BackendSampled)]

    first, second = run_virtual(main())
    assert (first.in_service, first.waiting, first.arrivals) == (0, 0, 0)
    assert (second.capacity, second.in_service, second.waiting, second.arrivals) == (2, 2, 1, 3)


def test_background_load_takes_places():
    took_s, _ = drive(0.01, 2000, latency=EXPONENTIAL, background_per_s=0.6)
    assert took_s == pytest.approx(1 / (1 - 0.61), rel=0.2)


def test_draws_belong_to_the_message_and_not_to_the_order_of_asking():
    def latencies(order):
        async def main():
            port = backend_of(Recorder(), latency=EXPONENTIAL, capacity=10).connect(0)
            loop = asyncio.get_running_loop()
            took_s = {}
            for number in order:
                began_s = loop.time()
                await port.chat("x", key=f"0-{number}")
                took_s[number] = round(loop.time() - began_s, 9)
            return took_s

        return run_virtual(main())

    assert latencies([1, 2, 3]) == latencies([3, 1, 2])


@both_ways
def test_a_backend_that_honours_keys_has_one_effect_and_answers_as_the_draft_says(wire):
    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, capacity=5)
        port = HttpBackend("http://x", transport=backend.transport(0)) if wire else backend.connect(0)
        first = asyncio.create_task(port.chat("hello", key="0-1"))
        await asyncio.sleep(0.5)
        running = await port.chat("hello", key="0-1")
        answer = await first
        again = await port.chat("hello", key="0-1")
        other = await port.chat("something else", key="0-1")
        effects = [event for event in recorder if isinstance(event, EffectHappened)]
        return running.status_code, again.text == answer.text, other.status_code, len(effects)

    assert run_virtual(main()) == (409, True, 422, 1)


def test_a_request_that_failed_without_an_effect_may_come_again_with_its_key():
    async def main():
        recorder = Recorder()
        backend = backend_of(recorder, error_rate=1.0)
        port = backend.connect(0)
        return [(await port.chat("hello", key="0-1")).status_code for _ in range(3)]

    assert run_virtual(main()) == [500, 500, 500]


def test_an_abandoned_request_goes_on_and_its_replay_gets_its_answer():
    async def main():
        recorder = Recorder()
        port = backend_of(recorder, latency={"kind": "constant", "value_s": 20.0}).connect(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await port.chat("hello", key="0-1")
        meanwhile = await port.chat("hello", key="0-1")
        await asyncio.sleep(20)
        after = await port.chat("hello", key="0-1")
        effects = [event for event in recorder if isinstance(event, EffectHappened)]
        return meanwhile.outcome, after.outcome, len(effects)

    assert run_virtual(main()) == (Outcome.OVERLOADED, Outcome.OK, 1)
