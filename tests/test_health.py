import asyncio
import json
from datetime import UTC, datetime

import pytest
from fakes import (
    HANG,
    OK,
    REFUSED,
    START,
    BrokenStore,
    FakeBackend,
    SlowStore,
    Step,
    down_between,
    hashed,
    make_world,
    ok,
    run_virtual,
)
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.events import ProbeEnded, Recorder, StatusChanged
from hustle_sim.policy import ProbePolicy
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.health import HealthMonitor, Judgement, Status, judge, next_wait_s
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.store import MemoryStore

CHECKING, ONLINE, DEGRADED, OFFLINE = Status.CHECKING, Status.ONLINE, Status.DEGRADED, Status.OFFLINE
FAIL = None


def judged(samples, policy=None, start=None):
    """The statuses after each sample: a latency, or FAIL."""
    now, statuses = start or Judgement(), []
    for sample in samples:
        now = judge(now, sample, policy or ProbePolicy())
        statuses.append(now.status)
    return statuses


class TestVerdict:
    def test_the_first_success_is_a_verdict(self):
        assert judged([0.1]) == [ONLINE]
        assert judged([3.5]) == [DEGRADED]

    def test_it_takes_fall_failures_in_a_row(self):
        assert judged([0.1, FAIL, FAIL, 0.1, FAIL, FAIL, FAIL]) == [ONLINE] * 6 + [OFFLINE]
        assert judged([FAIL, FAIL, FAIL]) == [CHECKING, CHECKING, OFFLINE]
        assert judged([0.1, FAIL], ProbePolicy(fall=1)) == [ONLINE, OFFLINE]

    def test_it_takes_rise_successes_in_a_row_to_come_back(self):
        down = [FAIL] * 3
        assert judged([*down, 0.1, FAIL, 0.1, 0.1])[3:] == [OFFLINE, OFFLINE, OFFLINE, ONLINE]
        assert judged([*down, 0.1], ProbePolicy(rise=1))[-1] is ONLINE

    def test_it_comes_back_as_degraded_if_it_is_slow(self):
        assert judged([FAIL, FAIL, FAIL, 4.0, 4.0])[-1] is DEGRADED

    def test_latencies_from_before_an_outage_are_forgotten(self):
        assert judged([0.1, 0.1, 0.1, FAIL, FAIL, FAIL, 4.0, 4.0])[-1] is DEGRADED

    def test_slow_is_judged_on_the_median_not_on_one_probe(self):
        assert judged([0.1, 0.1, 4.0, 4.0, 4.0]) == [ONLINE, ONLINE, ONLINE, ONLINE, DEGRADED]

    def test_there_is_a_band_between_degraded_and_well_again(self):
        policy = ProbePolicy(window=1)
        samples = [3.0, 3.1, 2.5, 2.9, 2.41, 2.3, 2.9]
        assert judged(samples, policy) == [ONLINE, DEGRADED, DEGRADED, DEGRADED, DEGRADED, ONLINE, ONLINE]

    @given(
        st.lists(st.none() | st.floats(0, 5), max_size=60),
        st.integers(1, 5),
        st.integers(1, 5),
        st.integers(1, 7),
    )
    def test_never_changes_its_mind_without_the_evidence_for_it(self, samples, fall, rise, window):
        policy = ProbePolicy(fall=fall, rise=rise, window=window)
        before = CHECKING
        for number, after in enumerate(judged(samples, policy), start=1):
            seen = samples[:number]
            if after is OFFLINE and before is not OFFLINE:
                assert seen[-fall:] == [FAIL] * fall
            if before is OFFLINE and after is not OFFLINE:
                assert len(seen) >= rise
                assert FAIL not in seen[-rise:]
            if seen[-fall:] == [FAIL] * fall:
                assert after is OFFLINE
            if after is CHECKING:
                assert set(seen) == {FAIL}
            before = after


class TestWhenToAskNext:
    @staticmethod
    def waits(samples, policy=None, u=0.5):
        now, waits = Judgement(), []
        for sample in samples:
            now = judge(now, sample, policy or ProbePolicy())
            waits.append(next_wait_s(now, policy or ProbePolicy(), u))
        return waits

    def test_well_it_waits_out_the_interval_and_confirms_a_failure_quickly(self):
        assert self.waits([0.1, FAIL, FAIL, FAIL]) == [300, 10, 10, 10]
        assert self.waits([0.1, FAIL, 0.1]) == [300, 10, 300]

    def test_offline_it_asks_more_often_and_backs_off(self):
        assert self.waits([FAIL] * 8)[2:] == [10, 20, 40, 60, 60, 60]

    def test_a_first_success_is_confirmed_quickly(self):
        policy = ProbePolicy(rise=3, confirm_s=2)
        assert self.waits([FAIL] * 6 + [0.1, 0.1, 0.1], policy)[6:] == [2, 2, 300]

    def test_a_backend_at_the_edge_is_not_probed_at_that_pace_for_ever(self):
        waits = self.waits([0.1, 0.1, 0.1] + [0.1, FAIL] * 50)
        assert sum(wait == 10 for wait in waits) <= 50
        slow_and_fast = self.waits([0.1, 0.1, 0.1] + [3.5, 3.5, 0.1, 0.1, 0.1] * 20)
        assert slow_and_fast.count(300) > 50

    def test_jitter_moves_each_wait_by_its_share_at_most(self):
        assert self.waits([0.1], u=0.0) == [240]
        assert self.waits([0.1], u=1.0) == [360]
        assert self.waits([0.1], ProbePolicy(jitter=0), u=0.0) == [300]

    @given(st.lists(st.none() | st.floats(0, 5), min_size=1, max_size=60), st.floats(0, 1, exclude_max=True))
    def test_no_wait_exceeds_the_interval_and_its_jitter(self, samples, u):
        assert all(0 < wait <= 300 * 1.2 for wait in self.waits(samples, u=u))


class Watch:
    """A monitor at work: ``async with Watch(health=...) as it: await asyncio.sleep(...)``."""

    def __init__(self, health=OK, policy=None, store=None, backend=None, uniform=None, start=START):
        self.backend = backend or FakeBackend(health=health)
        self.recorder = Recorder()
        world = make_world(self.recorder, start=start, **({"uniform": uniform} if uniform else {}))
        self.monitor = HealthMonitor(self.backend, policy or ProbePolicy(jitter=0), world, store)
        self.seen = []
        self.monitor.subscribe(lambda previous, current: self.seen.append((previous, current)))

    async def __aenter__(self):
        self.task = asyncio.create_task(self.monitor.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def transitions(self):
        events = [event for event in self.recorder if isinstance(event, StatusChanged)]
        return [(event.time_s, event.current) for event in events]


def watching(seconds, **more):
    async def main():
        async with Watch(**more) as it:
            await asyncio.sleep(seconds)
        return it

    return run_virtual(main())


class TestProbing:
    def test_asks_at_once_and_then_at_the_interval(self):
        it = watching(1000, health=ok(0.2))
        assert it.backend.probes == [0, 300, 600, 900]
        assert it.transitions == [(0.2, "online")]

    def test_shows_what_it_learned(self):
        async def main():
            async with Watch(health=ok(0.2)) as it:
                assert it.monitor.health.status is CHECKING
                await asyncio.sleep(0.1)
                assert (it.monitor.health.status, it.monitor.health.is_probing) == (CHECKING, True)
                assert it.monitor.next_check_s is None
                await asyncio.sleep(0.2)
                health = it.monitor.health
                assert (health.status, health.is_probing, health.verdicts) == (ONLINE, False, 1)
                assert health.latency_s == pytest.approx(0.2)
                assert health.last_check == datetime.fromtimestamp(START + 0.2, UTC)
                assert health.version == "1.0"
                assert health.message == "The coach is online."
                assert it.monitor.next_check_s == 300
            assert it.monitor.next_check_s is None

        run_virtual(main())

    def test_a_probe_in_flight_is_no_transition(self):
        it = watching(700)
        assert len(it.transitions) == 1
        assert len(it.seen) == 6
        assert [current.is_probing for _, current in it.seen] == [True, False] * 3

    def test_a_probe_without_an_answer_is_cancelled_at_its_timeout(self):
        it = watching(17.5, health=[OK, HANG], policy=ProbePolicy(jitter=0, interval_s=6, confirm_s=6))
        assert it.backend.probes == [0, 6, 12]
        assert it.backend.abandoned == 2
        ended = [event for event in it.recorder if isinstance(event, ProbeEnded)]
        assert [(event.time_s, event.latency_s, event.outcome) for event in ended[1:]] == [
            (6, 5, "timeout"),
            (12, 5, "timeout"),
        ]

    def test_the_late_answer_of_an_abandoned_probe_is_discarded(self):
        class Stubborn(FakeBackend):
            async def health(self):
                self.probes.append(asyncio.get_running_loop().time())
                try:
                    await asyncio.sleep(1e9)
                except asyncio.CancelledError:
                    await asyncio.sleep(2)
                return Response(Outcome.OK, version="9.9")

        it = watching(8, backend=Stubborn())
        assert it.monitor.health.status is CHECKING
        assert it.monitor.health.version == ""
        assert [event.outcome for event in it.recorder if isinstance(event, ProbeEnded)] == ["timeout"]

    def test_an_outage_is_found_confirmed_and_left_again(self):
        it = watching(1500, health=down_between(250, 700))
        # Fails at 300, 310 and 320; then after 10, 20, 40 and each 60 s; two successes 10 s apart.
        assert it.transitions == [(0.1, "online"), (320, "offline"), (760.1, "online")]
        assert it.backend.probes[1:8] == [300, 310, 320, 330, 350, 390, 450]

    def test_a_backend_that_raises_is_a_failed_probe_and_the_monitor_lives_on(self):
        it = watching(100, health=[Step(error=ValueError("broken"))] * 2 + [OK])
        assert it.transitions == [(20.1, "online")]

    def test_one_probe_is_in_flight_at_a_time_and_no_more_than_allowed(self):
        async def main():
            policy = ProbePolicy(jitter=0.2, interval_s=30, fall=2)
            it = Watch(health=down_between(100, 400, HANG), policy=policy, uniform=hashed(3))
            async with it:
                for number in range(300):
                    await asyncio.sleep(2)
                    if number % 3 == 0:
                        it.monitor.note_failure(Outcome.TIMEOUT)
                    if number % 7 == 0:
                        it.monitor.note_success()
                    if number == 50:
                        await asyncio.gather(*(it.monitor.probe_now() for _ in range(10)))
            assert it.backend.most_in_flight["health"] == 1
            return it

        it = run_virtual(main())
        assert len(it.backend.probes) < 150

    @given(st.lists(st.sampled_from([OK, ok(3.5), HANG, REFUSED]), max_size=40), st.integers(0, 9))
    def test_never_more_than_one_probe_per_shortest_wait(self, steps, seed):
        it = watching(1000, health=[*steps, OK], policy=ProbePolicy(interval_s=60), uniform=hashed(seed))
        gaps = [after - before for before, after in zip(it.backend.probes, it.backend.probes[1:], strict=False)]
        assert all(gap >= 10 * 0.8 - 1e-6 for gap in gaps)
        assert it.backend.most_in_flight["health"] <= 1


class TestEvidence:
    def test_a_failed_request_calls_for_a_probe_at_once_and_counts_as_a_failure(self):
        async def main():
            async with Watch(health=[OK, REFUSED]) as it:
                await asyncio.sleep(100)
                it.monitor.note_failure(Outcome.REFUSED)
                await asyncio.sleep(50)
            assert it.backend.probes[:3] == [0, 100, 110]
            # The request and two probes are three failures in a row.
            assert it.transitions == [(0.1, "online"), (110, "offline")]

        run_virtual(main())

    def test_many_failed_requests_are_one_piece_of_evidence_per_probe(self):
        async def main():
            async with Watch(policy=ProbePolicy(jitter=0, fall=5)) as it:
                await asyncio.sleep(100)
                for _ in range(20):
                    it.monitor.note_failure(Outcome.OVERLOADED)
                await asyncio.sleep(50)
                assert it.monitor.status is ONLINE
            assert it.backend.probes == [0, 100]

        run_virtual(main())

    @pytest.mark.parametrize("outcome", [Outcome.HTTP_4XX, Outcome.CANCELLED, Outcome.REJECTED, Outcome.OK])
    def test_what_is_not_the_backends_fault_is_no_evidence(self, outcome):
        async def main():
            async with Watch() as it:
                await asyncio.sleep(100)
                it.monitor.note_failure(outcome)
                await asyncio.sleep(50)
            assert it.backend.probes == [0]

        run_virtual(main())

    def test_a_policy_may_refuse_evidence(self):
        async def main():
            async with Watch(policy=ProbePolicy(evidence=False, fall=1)) as it:
                await asyncio.sleep(100)
                it.monitor.note_failure(Outcome.REFUSED)
                it.monitor.note_success()
                await asyncio.sleep(50)
                assert it.monitor.status is ONLINE
            assert it.backend.probes == [0]

        run_virtual(main())

    def test_an_answered_request_has_an_offline_verdict_checked_at_once(self):
        async def main():
            async with Watch(health=[REFUSED] * 6 + [OK]) as it:
                await asyncio.sleep(160)
                assert it.monitor.status is OFFLINE
                before = len(it.backend.probes)
                it.monitor.note_success()
                it.monitor.note_success()
                await asyncio.sleep(1)
                assert len(it.backend.probes) == before + 1
                await asyncio.sleep(10)
                assert it.monitor.status is ONLINE

        run_virtual(main())

    def test_evidence_that_comes_while_the_verdict_is_being_stored_is_not_lost(self):
        async def main():
            async with Watch(store=SlowStore(2.0)) as it:
                await asyncio.sleep(3)
                assert it.monitor.health.verdicts == 1
                it.monitor.note_failure(Outcome.REFUSED)
                await asyncio.sleep(5)
            assert it.backend.probes == [2.0, pytest.approx(4.1)]

        run_virtual(main())


class TestProbeNow:
    def test_does_not_wait_for_its_turn(self):
        async def main():
            async with Watch(health=[OK, ok(4.0)]) as it:
                await asyncio.sleep(100)
                health = await it.monitor.probe_now()
                assert (health.verdicts, health.latency_s) == (2, pytest.approx(4.0))
                await asyncio.sleep(1)
            assert it.backend.probes == [0, 100]

        run_virtual(main())

    def test_joins_the_probe_in_flight(self):
        async def main():
            async with Watch(health=ok(2.0)) as it:
                await asyncio.sleep(1)
                first, second = await asyncio.gather(it.monitor.probe_now(), it.monitor.probe_now())
                assert first.verdicts == second.verdicts == 1
                await asyncio.sleep(50)
            assert it.backend.probes == [0]

        run_virtual(main())

    def test_without_a_running_monitor_says_so(self):
        async def main():
            it = Watch()
            with pytest.raises(RuntimeError, match="not running"):
                await it.monitor.probe_now()
            async with it:
                await asyncio.sleep(1)
            with pytest.raises(RuntimeError, match="not running"):
                await it.monitor.probe_now()

        run_virtual(main())

    @pytest.mark.parametrize("at_s", [0.5, 3.0])
    def test_works_while_the_store_is_being_read_or_written(self, at_s):
        async def main():
            async with Watch(store=SlowStore(2.0)) as it:
                await asyncio.sleep(at_s)
                health = await it.monitor.probe_now()
                assert health.verdicts == (1 if at_s < 2 else 2)

        run_virtual(main())

    def test_does_not_hang_when_the_monitor_stops_meanwhile(self):
        async def main():
            async with Watch(health=HANG) as it:
                await asyncio.sleep(1)
                asked = asyncio.create_task(it.monitor.probe_now())
                await asyncio.sleep(1)
            with pytest.raises(RuntimeError, match="was stopped"):
                await asked

        run_virtual(main())

    def test_one_who_stops_waiting_does_not_stop_the_probe(self):
        async def main():
            async with Watch(health=ok(2.0)) as it:
                await asyncio.sleep(1)
                asked = asyncio.create_task(it.monitor.probe_now())
                await asyncio.sleep(0.5)
                asked.cancel()
                await asyncio.sleep(2)
                assert it.monitor.health.verdicts == 1

        run_virtual(main())


class TestSubscribers:
    def test_are_told_after_the_state_is_stored(self):
        async def main():
            it = Watch()
            told = []
            it.monitor.subscribe(lambda previous, current: told.append(it.monitor.health is current))
            async with it:
                await asyncio.sleep(1)
            assert told
            assert all(told)
            assert all(
                previous is before for (previous, _), (_, before) in zip(it.seen[1:], it.seen, strict=False)
            )  # fmt: skip

        run_virtual(main())

    def test_one_that_raises_does_not_stop_the_others(self, caplog):
        async def main():
            it = Watch()
            heard = []

            def broken(previous, current):
                raise ValueError("a broken widget")

            it.monitor.subscribe(broken)
            it.monitor.subscribe(lambda previous, current: heard.append(current.status))
            async with it:
                await asyncio.sleep(400)
            assert heard == [CHECKING, ONLINE, ONLINE, ONLINE]

        run_virtual(main())
        assert "the others are told all the same" in caplog.text

    def test_can_leave_even_while_being_told_and_leaving_twice_is_no_error(self):
        async def main():
            it = Watch()
            heard = []

            def once(previous, current):
                heard.append("once")
                leave()

            leave = it.monitor.subscribe(once)
            it.monitor.subscribe(lambda previous, current: heard.append("always"))
            async with it:
                await asyncio.sleep(1)
                leave()
            assert heard == ["once", "always", "always"]

        run_virtual(main())

    def test_leaving_twice_takes_nobody_else_along(self):
        async def main():
            it = Watch()
            heard = []

            def widget(previous, current):
                heard.append(current)

            leave = it.monitor.subscribe(widget)
            it.monitor.subscribe(widget)
            leave()
            leave()
            async with it:
                await asyncio.sleep(1)
            assert len(heard) == 2

        run_virtual(main())


class TestMemory:
    def test_the_last_verdict_is_recalled_with_its_age(self):
        store = MemoryStore()
        watching(100, store=store, health=[REFUSED])

        async def main():
            async with Watch(store=store, health=ok(2.0), start=START + 3600) as it:
                await asyncio.sleep(1)
                health = it.monitor.health
                assert (health.status, health.known_status) == (CHECKING, OFFLINE)
                # Probes at 0, 10, 20, 30, 50 and 90 s.
                assert health.known_at == datetime.fromtimestamp(START + 90, UTC)
                await asyncio.sleep(2)
                assert it.monitor.status is ONLINE
            assert it.transitions == [(2.0, "online")]

        run_virtual(main())

    def test_a_first_failure_does_not_wipe_out_the_last_verdict(self):
        store = MemoryStore()
        watching(100, store=store)
        it = watching(5, store=store, health=[REFUSED])
        assert it.monitor.health.known_status is ONLINE
        it = watching(0.05, store=store)
        assert it.monitor.health.known_status is ONLINE

    @pytest.mark.parametrize(
        "note", ["", "{", "[]", "3", "{}", '{"status": "fine", "at": "x"}', '{"status": "online", "at": 5}']
    )
    def test_a_note_that_cannot_be_read_is_left_out(self, note):
        async def main():
            store = MemoryStore()
            await store.set_note("health", note)
            async with Watch(store=store) as it:
                await asyncio.sleep(1)
            assert it.monitor.health.known_status is None
            assert it.monitor.status is ONLINE

        run_virtual(main())

    def test_a_store_that_fails_never_stops_the_monitor(self, caplog):
        it = watching(1000, store=BrokenStore(), health=down_between(250, 700))
        assert [status for _, status in it.transitions] == ["online", "offline", "online"]
        assert "The verdict can't be kept for the next session: the disk is full" in caplog.text
        assert all(record.exc_info is None for record in caplog.records)

    def test_what_is_kept_is_small_and_readable(self):
        async def main():
            store = MemoryStore()
            async with Watch(store=store):
                await asyncio.sleep(1)
            assert json.loads(await store.note("health")) == {
                "status": "online",
                "at": datetime.fromtimestamp(START + 0.1, UTC).isoformat(),
            }

        run_virtual(main())


def test_stopping_it_in_a_probe_leaves_no_probe_behind():
    async def main():
        async with Watch(health=HANG) as it:
            await asyncio.sleep(1)
            assert it.monitor.health.is_probing
        assert not it.monitor.health.is_probing
        assert it.backend.in_flight["health"] == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())
