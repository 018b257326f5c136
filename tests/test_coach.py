import asyncio
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import (
    BAD_MESSAGE,
    HANG,
    OK,
    OVERLOADED,
    REFUSED,
    BrokenStore,
    Rig,
    SlowStore,
    Step,
    assert_conserved,
    down_between,
    hashed,
    loop_time,
    ok,
    run_virtual,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.events import AttemptEnded, BreakerChanged, MessageAnswered, MessageDelivered, MessageSent
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy, policy_fields
from hustle_sim.resilience.breaker import BreakerState
from hustle_sim.resilience.coach import Delivery
from hustle_sim.resilience.health import Status
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.store import ItemState, MemoryStore

QUIET = {"retry.jitter": "none", "breaker.enabled": False, "cache.enabled": False, "probe.evidence": False}


def policy(**changes):
    """The default, quiet (no chance, no breaker, no cache, no evidence), with ``part__field=value`` changes."""
    return Policy().replace({**QUIET, **{name.replace("__", "."): value for name, value in changes.items()}})


def with_rig(script, *args, **more):
    async def main():
        async with Rig(*args, **more) as rig:
            await script(rig)
        return rig

    return run_virtual(main())


def now():
    return asyncio.get_running_loop().time()


async def timed(awaitable):
    began_s = now()
    return await awaitable, now() - began_s


class TestAnswers:
    def test_from_the_backend(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.text, reply.source, reply.queued) == ("Well done!", "backend", False)
            assert took_s == pytest.approx(0.1)
            assert rig.backend.chats == [(1.0, "Hi", reply.message_id)]

        rig = with_rig(script)
        [sent], [answered] = rig.of(MessageSent), rig.of(MessageAnswered)
        assert (sent.priority, sent.client, answered.source) == (1, 7, "backend")
        assert [event.via for event in rig.of(MessageDelivered)] == ["direct"]
        assert rig.queue_events() == []
        assert rig.deliveries == []

    def test_at_the_deadline_a_person_has_the_fallback_and_the_message_is_safe(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert took_s == pytest.approx(8.0, abs=1e-9)
            assert (reply.source, reply.queued) == ("fallback", True)
            assert "Your message is saved" in reply.text
            assert await rig.store.depth() == 1

        with_rig(script, policy(), chat=HANG)

    def test_when_all_attempts_have_failed_it_does_not_wait_for_the_deadline(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, reply.queued) == ("fallback", True)
            # 0.05 s each, and waits of 0.5 and 1 s.
            assert took_s == pytest.approx(1.65)

        rig = with_rig(script, policy(), chat=OVERLOADED)
        attempts = [event for event in rig.of(AttemptEnded) if event.kind == "message"]
        assert [(event.number, event.wait_s, event.outcome) for event in attempts] == [
            (1, 0, "overloaded"),
            (2, 0.5, "overloaded"),
            (3, 1, "overloaded"),
        ]

    def test_a_message_that_the_backend_refuses_is_not_tried_again_at_once(self):
        async def script(rig):
            reply = await rig.coach.send("Hi")
            assert (reply.source, len(rig.of(AttemptEnded))) == ("fallback", 1)

        with_rig(script, policy(), chat=BAD_MESSAGE)

    def test_a_retry_that_works_is_an_answer(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert reply.source == "backend"
            assert took_s == pytest.approx(0.6)
            assert {chat.key for chat in rig.backend.chats} == {reply.message_id}

        with_rig(script, policy(), chat=[REFUSED, OK])

    def test_an_exception_in_the_backend_is_not_the_persons_problem(self):
        async def script(rig):
            reply = await rig.coach.send("Hi")
            assert (reply.source, reply.queued) == ("fallback", True)

        with_rig(script, policy(), chat=Step(error=RuntimeError("boom")))

    def test_a_fallback_that_raises_is_replaced_by_ours(self, caplog):
        def broken(text, queued):
            raise ValueError("a broken template")

        async def script(rig):
            for wait_s in (8.0, 8.0):
                reply, took_s = await timed(rig.coach.send("Hi"))
                assert took_s == pytest.approx(wait_s, abs=1e-9)
                assert "Your message is saved" in reply.text

        with_rig(script, policy(), chat=HANG, fallback=broken)
        assert "a broken template" in caplog.text

    def test_an_app_may_have_its_own_fallback(self):
        async def script(rig):
            assert (await rig.coach.send("Hi")).text == "Hi True"

        with_rig(script, policy(), chat=REFUSED, fallback=lambda text, queued: f"{text} {queued}")

    def test_an_id_of_the_apps_own_is_kept(self):
        async def script(rig):
            assert (await rig.coach.send("Hi", message_id="mine")).message_id == "mine"
            assert rig.backend.chats[0].key == "mine"

        with_rig(script)


class TestTime:
    def test_an_attempt_or_a_wait_that_cannot_end_in_time_is_not_begun(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert reply.source == "fallback"
            # 3 s, 2 s wait, and the second one would leave nothing.
            assert took_s == pytest.approx(3.0)
            assert [chat.time_s for chat in rig.backend.chats][:1] == [1.0]

        rig = with_rig(
            script,
            policy(request__deadline_s=5, request__attempt_timeout_s=3, retry__base_s=2, queue__drain_per_s=0.01),
            chat=HANG,
        )
        assert [event.kind for event in rig.of(AttemptEnded)].count("message") == 1

    def test_our_own_short_deadline_does_not_count_against_the_backend(self):
        changes = {"request__deadline_s": 2, "request__late_answer_window_s": 0, "probe__evidence": True}

        async def script(rig):
            for _ in range(20):
                await rig.coach.send("Hi")
            assert rig.coach.breaker.state is BreakerState.CLOSED
            assert len(rig.backend.probes) == 1

        rig = with_rig(script, policy(breaker__enabled=True, queue__flush_on="verdict", **changes), chat=ok(5.0))
        assert {event.outcome for event in rig.of(AttemptEnded)} == {"cancelled"}
        assert not rig.of(BreakerChanged)

    def test_a_request_that_goes_on_past_the_deadline_is_judged_at_its_attempt_timeout(self):
        async def script(rig):
            sending = [asyncio.create_task(rig.coach.send("Hi")) for _ in range(5)]
            await asyncio.sleep(7.9)
            assert rig.coach.breaker.state is BreakerState.CLOSED
            await asyncio.sleep(0.2)
            assert rig.coach.breaker.state is BreakerState.OPEN
            assert rig.backend.in_flight["chat"] == len(sending)

        with_rig(script, policy(breaker__enabled=True), chat=HANG)

    def test_one_request_is_one_piece_of_evidence_however_long_it_goes_on(self):
        async def script(rig):
            await rig.coach.send("Hi")
            await asyncio.sleep(10)
            assert len(rig.backend.probes) == 2
            # The window ends at 39 s; the backend has long been seen well.
            await asyncio.sleep(40)
            assert len(rig.backend.probes) == 2
            assert rig.coach.monitor.status is Status.ONLINE

        with_rig(script, policy(probe__evidence=True, queue__flush_on="verdict"), chat=HANG)

    def test_the_message_is_safe_just_before_the_deadline_and_not_earlier(self):
        async def script(rig):
            sending = asyncio.create_task(rig.coach.send("Hi"))
            await asyncio.sleep(7.94)
            assert await rig.store.depth() == 0
            await asyncio.sleep(0.02)
            assert await rig.store.depth() == 1
            assert not sending.done()
            await sending

        with_rig(script, policy(), chat=HANG)


class TestLateAnswers:
    def test_replaces_the_fallback_and_is_told_once(self):
        async def script(rig):
            reply = await rig.coach.send("Hi")
            assert (reply.source, reply.queued) == ("fallback", True)
            await asyncio.sleep(100)
            assert rig.deliveries == [Delivery(reply.message_id, "At last", "late")]
            assert rig.backend.processed == [reply.message_id]
            assert await rig.store.depth() == 0
            [item] = await rig.store.items(ItemState.DELIVERED)
            assert item.reply == "At last"

        rig = with_rig(script, policy(), chat=ok(20.0, "At last"))
        assert [event.via for event in rig.of(MessageDelivered)] == ["late"]
        assert rig.queue_events() == ["accepted", "delivered"]

    def test_is_published_once_though_the_wall_clock_jumps_over_its_lease(self):
        async def script(rig):
            clock = rig.world.wall_clock
            rig.coach.queue._world = replace(rig.world, wall_clock=lambda: clock() + 600 * (loop_time() > 12))
            await rig.coach.send("Hi")
            await asyncio.sleep(5)
            rig.coach.queue.wake()
            await asyncio.sleep(100)

        rig = with_rig(script, policy(), chat=[ok(20.0, "At last"), OK])
        assert [delivery.via for delivery in rig.deliveries] == ["late"]
        assert [event.via for event in rig.of(MessageDelivered)] == ["late"]
        assert len(rig.backend.chats) == 1

    def test_no_second_request_while_one_is_in_flight(self):
        async def script(rig):
            await rig.coach.send("Hi")
            for _ in range(29):
                rig.coach.queue.wake(fresh_start=True)
                await rig.coach.monitor.probe_now()
                await asyncio.sleep(0.9)
            assert len(rig.backend.chats) == 1

        with_rig(script, policy(), chat=HANG)

    def test_after_the_window_it_goes_back_to_the_queue(self):
        async def script(rig):
            await rig.coach.send("Hi")
            await asyncio.sleep(35)
            assert [round(chat.time_s, 3) for chat in rig.backend.chats] == [1.0, 39.0]
            assert [delivery.via for delivery in rig.deliveries] == ["queue"]

        rig = with_rig(script, policy(), chat=[HANG, OK])
        assert rig.queue_events() == ["accepted", "released", "leased", "delivered"]
        assert rig.backend.abandoned == 1

    def test_a_request_that_fails_late_goes_back_to_the_queue_at_once(self):
        async def script(rig):
            await rig.coach.send("Hi")
            await asyncio.sleep(20)
            assert [chat.time_s for chat in rig.backend.chats] == [1.0, 11.0]

        with_rig(script, policy(), chat=[Step(10.0, Outcome.OVERLOADED), OK])

    def test_without_a_window_the_request_ends_at_the_deadline(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert took_s == pytest.approx(8.0, abs=1e-9)
            assert reply.queued
            assert rig.backend.abandoned == 1

        with_rig(script, policy(request__late_answer_window_s=0, queue__flush_on="verdict"), chat=HANG)

    def test_a_late_answer_reaches_a_person_whose_message_found_no_room(self):
        async def script(rig):
            await rig.coach.queue.add("other", "t", 0, in_flight_s=1000)
            reply = await rig.coach.send("Hi")
            assert not reply.queued
            assert "could not be saved" in reply.text
            await asyncio.sleep(30)
            assert [delivery.via for delivery in rig.deliveries] == ["late"]

        with_rig(script, policy(queue__max_size=1, queue__warn_size=1), chat=ok(20.0))

    def test_an_answer_between_saving_and_the_deadline_is_the_answer(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, took_s) == ("backend", pytest.approx(7.97))
            await asyncio.sleep(1)
            assert await rig.store.depth() == 0

        rig = with_rig(script, policy(), chat=ok(7.97))
        assert rig.queue_events() == ["accepted", "delivered"]
        assert rig.deliveries == []

    def test_a_listener_that_raises_does_not_stop_the_others_and_one_can_leave(self, caplog):
        async def script(rig):
            def broken(delivery):
                raise ValueError("a broken widget")

            heard = []
            rig.coach.subscribe(broken)
            leave = rig.coach.subscribe(heard.append)
            await rig.coach.send("Hi")
            await asyncio.sleep(20)
            assert len(heard) == 1
            leave()
            leave()
            await rig.coach.send("Hi")
            await asyncio.sleep(20)
            assert (len(heard), len(rig.deliveries)) == (1, 2)

        with_rig(script, policy(), chat=ok(20.0))
        assert "A subscriber of the coach failed" in caplog.text


class TestRetryAfter:
    @pytest.mark.parametrize(("hint_s", "at_s"), [(None, 0.55), (0.1, 0.55), (3, 3.05), (5, 5.05), (3600, 5.55)])
    def test_is_honoured_within_the_clamp(self, hint_s, at_s):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert reply.source == "backend"
            assert took_s == pytest.approx(at_s + 0.1)

        with_rig(script, policy(), chat=[Step(0.05, Outcome.RATE_LIMITED, retry_after_s=hint_s), OK])

    def test_that_ends_after_the_deadline_ends_the_attempts(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, took_s) == ("fallback", pytest.approx(0.05))

        rig = with_rig(
            script,
            policy(retry__retry_after_clamp_s=60),
            chat=Step(0.05, Outcome.RATE_LIMITED, retry_after_s=9),
        )
        assert [event.kind for event in rig.of(AttemptEnded)].count("message") == 1


class TestWhatIsNotSent:
    def test_an_open_breaker_sends_nothing_and_answers_at_once(self):
        async def script(rig):
            for _ in range(3):
                await rig.coach.send("Hi")
            assert rig.coach.breaker.state is BreakerState.OPEN
            before = len(rig.backend.chats)
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, reply.queued, took_s) == ("fallback", True, 0)
            assert len(rig.backend.chats) == before

        rig = with_rig(script, policy(breaker__enabled=True), chat=OVERLOADED)
        assert rig.of(AttemptEnded)[-1].outcome == "rejected"
        assert rig.of(AttemptEnded)[-1].latency_s == 0

    def test_without_budget_there_is_no_retry(self):
        async def script(rig):
            for _ in range(4):
                await rig.coach.send("Hi")

        rig = with_rig(
            script,
            policy(
                retry__budget_share=0,
                retry__budget_floor_per_min=3,
                queue__flush_on="verdict",
                queue__flush_jitter_s=0,
            ),
            chat=REFUSED,
        )
        assert len(rig.backend.chats) == 4 + 3

    def test_offline_the_answer_comes_at_once_and_nothing_is_sent(self):
        async def script(rig):
            await asyncio.sleep(60)
            assert rig.coach.health.status is Status.OFFLINE
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, reply.queued, took_s) == ("fallback", True, 0)
            await asyncio.sleep(100)
            assert rig.backend.chats == []

        with_rig(script, policy(), health=REFUSED)

    def test_a_policy_may_try_offline_too(self):
        async def script(rig):
            await asyncio.sleep(60)
            assert (await rig.coach.send("Hi")).source == "backend"

        with_rig(script, policy(request__fast_fail_offline=False), health=REFUSED)

    def test_while_checking_a_message_is_tried(self):
        async def script(rig):
            assert rig.coach.health.status is Status.CHECKING
            assert (await rig.coach.send("Hi")).source == "backend"

        with_rig(script, policy(), health=HANG)


class TestCache:
    def test_a_fresh_answer_is_served_at_once(self):
        async def script(rig):
            await rig.coach.send("How am I?")
            reply, took_s = await timed(rig.coach.send(" how am i? "))
            assert (reply.text, reply.source, reply.queued, took_s) == ("Well done!", "cache", False, 0)
            assert len(rig.backend.chats) == 1

        with_rig(script, policy(cache__enabled=True))

    def test_a_stale_answer_stands_in_when_the_backend_fails_and_the_message_is_queued(self):
        async def script(rig):
            await rig.coach.send("How am I?")
            await asyncio.sleep(400)
            reply = await rig.coach.send("How am I?")
            assert (reply.text, reply.source, reply.queued) == ("Well done!", "stale", True)
            assert await rig.store.depth() == 1

        with_rig(script, policy(cache__enabled=True), chat=[OK, REFUSED, REFUSED, REFUSED, REFUSED])

    def test_a_stale_answer_stands_in_at_the_deadline_too(self):
        async def script(rig):
            await rig.coach.send("How am I?")
            await asyncio.sleep(400)
            reply, took_s = await timed(rig.coach.send("How am I?"))
            assert (reply.source, took_s) == ("stale", pytest.approx(8.0, abs=1e-9))

        with_rig(script, policy(cache__enabled=True), chat=[OK, HANG])

    def test_late_and_queued_answers_are_kept_as_well(self):
        async def script(rig):
            await rig.coach.send("late")
            await asyncio.sleep(15)
            assert (await rig.coach.send("late")).source == "cache"
            await rig.coach.send("queued")
            await asyncio.sleep(30)
            assert (await rig.coach.send("queued")).source == "cache"

        with_rig(script, policy(cache__enabled=True), chat=[ok(15), REFUSED, REFUSED, REFUSED, OK])


class TestOutage:
    def test_recovery_flushes_the_queue_without_anyone_touching_it(self):
        async def script(rig):
            for number in range(20):
                await rig.coach.send(f"Question {number}", priority=number % 3)
                await asyncio.sleep(30)
            assert await rig.store.depth() > 0
            await asyncio.sleep(400)
            assert await rig.store.depth() == 0
            assert sorted(set(rig.backend.processed)) == sorted(rig.backend.processed)
            assert len(rig.backend.processed) == 20

        down = down_between(100, 700)
        rig = with_rig(script, policy(probe__evidence=True, breaker__enabled=True), chat=down, health=down)
        assert_conserved(rig.recorder)
        replays = [event for event in rig.of(AttemptEnded) if event.kind == "replay" and event.outcome == "ok"]
        times = [event.time_s for event in replays]
        # One canary alone, then paced.
        assert times[1] - times[0] >= 0.5 - 1e-9
        assert min(b - a for a, b in pairwise(times)) >= 0.5 - 1e-9

    def test_the_original_loses_messages_and_the_hardened_does_not(self):
        def lost(preset):
            async def script(rig):
                for number in range(40):
                    await rig.coach.send(f"Question {number}")
                    await asyncio.sleep(30)
                await asyncio.sleep(3000)
                return rig

            down = down_between(100, 1000)
            rig = with_rig(script, Policy.preset(preset).replace({"queue.max_size": 10, "queue.warn_size": 5}),
                           chat=down, health=down, uniform=hashed(1))  # fmt: skip
            assert_conserved(rig.recorder)
            return rig.queue_events().count("dropped")

        assert lost("original") > 0
        assert lost("default") == 0

    def test_the_original_gives_a_message_up_after_three_attempts_whatever_the_reason(self):
        health = [OK] * 100

        async def script(rig):
            await rig.coach.send("Hi")
            await asyncio.sleep(3000)

        rig = with_rig(script, Policy.preset("original"), chat=REFUSED, health=health)
        assert rig.queue_events()[-1] == "dropped"
        assert len(rig.backend.chats) == 4

    def test_a_message_that_the_backend_refuses_becomes_a_dead_letter(self):
        async def script(rig):
            await rig.coach.send("Hi")
            await asyncio.sleep(100)
            assert len(await rig.store.items(ItemState.DEAD)) == 1

        rig = with_rig(script, policy(), chat=BAD_MESSAGE)
        assert len(rig.backend.chats) == 4

    def test_what_is_too_old_is_not_sent_after_the_outage(self):
        async def script(rig):
            await asyncio.sleep(60)
            await rig.coach.send("Hi")
            await asyncio.sleep(1000)
            assert rig.queue_events() == ["accepted", "expired"]
            assert rig.backend.chats == []

        with_rig(script, policy(queue__ttl_s=100), health=down_between(0, 500))

    def test_the_more_urgent_displaces_the_less_urgent(self):
        async def script(rig):
            await asyncio.sleep(60)
            low = await rig.coach.send("low", priority=2)
            high = await rig.coach.send("high", priority=0)
            other = await rig.coach.send("other", priority=0)
            assert (low.queued, high.queued, other.queued) == (True, True, False)
            assert [item.text for item in await rig.store.items(ItemState.DEAD)] == ["low"]

        with_rig(script, policy(queue__max_size=1, queue__warn_size=1), health=REFUSED)

    def test_the_budget_is_frozen_while_offline(self):
        async def script(rig):
            for _ in range(3):
                await rig.coach.send("Hi")
            spent = len(rig.backend.chats)
            assert spent == 3 + 2
            await asyncio.sleep(3600)
            assert rig.coach.health.status is Status.OFFLINE
            rig.backend.health_script = lambda now_s: OK
            await asyncio.sleep(100)
            assert rig.coach.health.status is Status.ONLINE
            assert rig.coach._budget._tokens < 5

        changes = {"retry__budget_share": 0, "retry__budget_floor_per_min": 2, "queue__flush_on": "verdict"}
        with_rig(script, policy(**changes), chat=REFUSED, health=down_between(1.5, 1e9))


class TestRestart:
    def test_the_breaker_is_open_until_then_and_then_tries(self):
        store = MemoryStore()

        async def first(rig):
            await rig.coach.send("Hi")
            await rig.coach.send("Hi")
            assert rig.coach.breaker.state is BreakerState.OPEN

        async def second(rig):
            assert rig.coach.breaker.state is BreakerState.OPEN
            assert (await rig.coach.send("Hi")).source == "fallback"
            await asyncio.sleep(12)
            assert rig.backend.chats[0].time_s > 5
            assert (await rig.coach.send("Hi")).source == "backend"
            assert rig.coach.breaker.state is BreakerState.CLOSED

        rules = policy(breaker__enabled=True, breaker__jitter=0, queue__flush_on="any")
        with_rig(first, rules, chat=REFUSED, store=store)
        with_rig(second, rules, store=store, prefix="n")

    @pytest.mark.parametrize(
        "note", ["", "[", "5", '"x"', "[1]", "{}", '{"opened": 1}', '{"open_until": "x", "opened": 1}',
                 '{"open_until": NaN, "opened": 1}', '{"open_until": Infinity, "opened": Infinity}', "null"]
    )  # fmt: skip
    def test_a_note_of_the_breaker_that_cannot_be_read_is_left_out(self, note):
        async def main():
            store = MemoryStore()
            await store.set_note("breaker", note)
            async with Rig(Policy(), store=store) as rig:
                await asyncio.sleep(130)
                assert (await rig.coach.send("Hi")).source == "backend"

        run_virtual(main())

    def test_closed_it_leaves_an_empty_note(self):
        async def script(rig):
            for _ in range(2):
                await rig.coach.send("Hi")
            await asyncio.sleep(30)
            assert rig.coach.breaker.state is BreakerState.CLOSED
            assert json.loads(await rig.store.note("breaker")) == {}

        rules = policy(breaker__enabled=True, breaker__min_calls=2, queue__flush_on="any")
        with_rig(script, rules, chat=[REFUSED, REFUSED, REFUSED, OK])

    def test_what_was_being_sent_when_the_app_ended_is_sent_when_its_lease_is_over(self):
        store = MemoryStore()

        async def first(rig):
            await rig.coach.send("Hi")
            assert rig.backend.in_flight["chat"] == 1

        async def second(rig):
            # The clock of the tests begins anew: the lease was taken at 8.95 s for 31 s and the margin.
            await asyncio.sleep(38.5)
            assert rig.backend.chats == []
            await asyncio.sleep(2)
            assert len(rig.backend.chats) == 1
            assert await store.depth() == 0

        with_rig(first, policy(), chat=HANG, store=store)
        with_rig(second, policy(), store=store, prefix="n")

    def test_what_waited_in_the_queue_is_sent_in_the_next_session(self):
        store = MemoryStore()

        async def first(rig):
            await asyncio.sleep(60)
            assert (await rig.coach.send("Hi")).queued

        async def second(rig):
            await asyncio.sleep(61)
            assert [delivery.via for delivery in rig.deliveries] == ["queue"]

        with_rig(first, policy(), health=REFUSED, store=store)
        with_rig(second, policy(), store=store, prefix="n")


class TestLeaving:
    def test_a_cancelled_message_is_withdrawn(self):
        async def script(rig):
            sending = asyncio.create_task(rig.coach.send("Hi"))
            await asyncio.sleep(2)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.sleep(100)
            assert await rig.store.items() == []
            assert len(rig.backend.chats) == rig.backend.abandoned == 1
            assert rig.deliveries == []

        rig = with_rig(script, policy(), chat=HANG)
        assert [(event.outcome, event.kind) for event in rig.of(AttemptEnded)] == [("cancelled", "message")]
        assert_conserved(rig.recorder)

    def test_a_message_that_is_safe_already_is_delivered_all_the_same(self):
        async def script(rig):
            sending = asyncio.create_task(rig.coach.send("Hi"))
            await asyncio.sleep(7.97)
            sending.cancel()
            await asyncio.sleep(100)
            assert rig.backend.processed == ["m2"]
            assert [delivery.via for delivery in rig.deliveries] == ["late"]
            assert await rig.store.depth() == 0

        rig = with_rig(script, policy(), chat=ok(20.0))
        assert_conserved(rig.recorder)

    def test_cancelling_while_waiting_for_a_retry_sends_nothing_more(self):
        async def script(rig):
            sending = asyncio.create_task(rig.coach.send("Hi"))
            await asyncio.sleep(0.2)
            sending.cancel()
            await asyncio.sleep(50)
            assert len(rig.backend.chats) == 1

        with_rig(script, policy(), chat=REFUSED)

    @pytest.mark.parametrize("chat", [OK, HANG, REFUSED, OVERLOADED], ids=["ok", "hang", "refused", "overloaded"])
    def test_closing_leaves_no_task_and_no_timer(self, chat):
        async def main():
            loop = asyncio.get_running_loop()
            async with Rig(Policy(), chat=chat, uniform=hashed(2)) as rig:
                for number in range(5):
                    await rig.coach.send(f"Question {number}")
                await asyncio.sleep(3)
                sending = asyncio.create_task(rig.coach.send("One more"))
                await asyncio.sleep(0.02)
            recorded = len(rig.recorder)
            assert asyncio.all_tasks() - {sending} == {asyncio.current_task()}
            assert rig.backend.in_flight == {"chat": 0, "health": 0}
            requests = len(rig.backend.chats) + len(rig.backend.probes)
            await sending
            await asyncio.sleep(1e5)
            assert len(rig.recorder) == recorded
            assert len(rig.backend.chats) + len(rig.backend.probes) == requests
            live = [timer for *_, timer in loop.env._queue if not getattr(timer, "_cancelled", False)]
            assert len(live) == 0

        run_virtual(main())

    def test_a_person_who_still_waits_when_the_app_closes_is_answered_and_the_message_kept(self):
        async def main():
            async with Rig(policy(), chat=HANG) as rig:
                sending = asyncio.create_task(rig.coach.send("Hi"))
                await asyncio.sleep(3)
            reply, took_s = await timed(sending)
            assert (reply.source, reply.queued, took_s) == ("fallback", True, 0)
            assert [item.text for item in await rig.store.items(ItemState.READY)] == ["Hi"]
            assert_conserved(rig.recorder)

        run_virtual(main())

    def test_closing_between_saving_and_the_deadline_keeps_it_once(self):
        async def main():
            async with Rig(policy(), chat=HANG) as rig:
                sending = asyncio.create_task(rig.coach.send("Hi"))
                await asyncio.sleep(7.97)
            assert (await sending).queued
            assert await rig.store.depth() == 1
            assert_conserved(rig.recorder)

        run_virtual(main())

    def test_closing_twice_is_no_error(self):
        async def script(rig):
            await rig.coach.aclose()

        with_rig(script)


class TestConversations:
    def test_while_an_earlier_one_waits_the_next_joins_it_and_they_arrive_in_order(self):
        async def script(rig):
            replies = [await rig.coach.send(text, conversation="talk") for text in ("one", "two", "three")]
            assert [(reply.source, reply.queued) for reply in replies] == [("fallback", True)] * 3
            await asyncio.sleep(100)
            reply = await rig.coach.send("four", conversation="talk")
            assert reply.source == "backend"

        # The first fails, the backend is well again for the second, which must not overtake it.
        rules = policy(request__max_attempts=1, queue__base_s=5, queue__flush_jitter_s=0)
        rig = with_rig(script, rules, chat=[REFUSED, REFUSED, OK])
        assert [chat.text for chat in rig.backend.chats] == ["one", "one", "one", "two", "three", "four"]
        assert [delivery.via for delivery in rig.deliveries] == ["queue"] * 3

    def test_others_are_not_held_up(self):
        async def script(rig):
            await rig.coach.send("one", conversation="talk")
            await asyncio.sleep(1)
            assert (await rig.coach.send("two", conversation="other")).source == "backend"
            assert (await rig.coach.send("three")).source == "backend"

        with_rig(
            script,
            policy(request__max_attempts=1, queue__base_s=60, queue__flush_jitter_s=0),
            chat=[REFUSED, REFUSED, OK],
        )

    def test_wait_for_a_late_answer_of_the_first(self):
        async def script(rig):
            await rig.coach.send("one", conversation="talk")
            reply = await rig.coach.send("two", conversation="talk")
            assert (reply.source, reply.queued) == ("fallback", True)
            await asyncio.sleep(60)

        rig = with_rig(script, policy(), chat=[ok(20), OK])
        assert [(round(chat.time_s), chat.text) for chat in rig.backend.chats] == [(1, "one"), (21, "two")]
        assert [delivery.via for delivery in rig.deliveries] == ["late", "queue"]

    def test_a_store_that_cannot_say_holds_up_nobody(self):
        async def script(rig):
            assert (await rig.coach.send("one", conversation="talk")).source == "backend"

        with_rig(script, policy(), store=BrokenStore())


class TestUnknownFate:
    """The backend may have processed what it did not answer: what then is the policy's."""

    @staticmethod
    def after(fate, chat, wait_s=120, **changes):
        seen = []

        async def script(rig):
            seen.append(await rig.coach.send("Hi"))
            await asyncio.sleep(wait_s)
            [item] = await rig.store.items()
            seen.append(item)

        changes = {"request__max_attempts": 1, "queue__flush_jitter_s": 0, "queue__unknown_fate": fate, **changes}
        return with_rig(script, policy(**changes), chat=chat), *seen

    LOST = Step(0.05, Outcome.HTTP_5XX)

    def test_replay(self):
        rig, reply, item = self.after("replay", [self.LOST, OK])
        assert (reply.queued, item.state, item.uncertain) == (True, "delivered", True)
        assert len(rig.backend.chats) == 2

    def test_ask(self):
        rig, reply, item = self.after("ask", [self.LOST, OK])
        assert (reply.queued, item.state) == (True, "unknown")
        assert len(rig.backend.chats) == 1

    def test_drop_and_the_person_is_not_told_that_it_will_be_answered(self):
        rig, reply, item = self.after("drop", [self.LOST, OK])
        assert (reply.queued, item.state) == (False, "dead")
        assert "could not be saved" in reply.text
        assert len(rig.backend.chats) == 1

    @pytest.mark.parametrize(("fate", "state"), [("replay", "delivered"), ("ask", "unknown"), ("drop", "dead")])
    def test_a_request_that_stays_without_an_answer_past_its_window(self, fate, state):
        _, reply, item = self.after(fate, [HANG, OK])
        # At the deadline the request was still under way.
        assert (reply.queued, item.state) == (True, state)

    def test_a_doubt_of_an_earlier_attempt_is_kept(self):
        _, _, item = self.after("ask", [self.LOST, REFUSED, OK], request__max_attempts=2)
        assert item.state == "unknown"

    @pytest.mark.parametrize("fate", ["replay", "ask", "drop"])
    def test_what_was_surely_not_processed_is_sent_again_in_any_case(self, fate):
        _, reply, item = self.after(fate, [REFUSED, OK])
        assert (reply.queued, item.state, item.uncertain) == (True, "delivered", False)


class TestAnIdThatComesAgain:
    @staticmethod
    def sent_twice(first, wait_s, chat, **changes):
        replies = []

        async def script(rig):
            for text in (first, "Hi"):
                replies.append(await rig.coach.send(text, message_id="mine"))
                await asyncio.sleep(wait_s)

        rules = policy(request__max_attempts=1, queue__flush_jitter_s=0, **changes)
        rig = with_rig(script, rules, chat=chat)
        assert_conserved(rig.recorder)
        return replies[1]

    def test_while_it_waits_it_is_saved(self):
        reply = self.sent_twice("Hi", 1, REFUSED)
        assert (reply.source, reply.queued) == ("fallback", True)

    def test_after_its_delivery_it_has_the_answer_that_was_given(self):
        reply = self.sent_twice("Hi", 30, [REFUSED, ok(0.1, "Bravo!"), REFUSED])
        assert (reply.text, reply.source, reply.queued) == ("Bravo!", "cache", False)

    def test_after_its_death_nobody_says_that_it_is_saved(self):
        reply = self.sent_twice("Hi", 60, BAD_MESSAGE, queue__max_attempts=1)
        assert (reply.source, reply.queued) == ("fallback", False)

    def test_another_text_under_it_is_not_saved(self):
        reply = self.sent_twice("Quite another", 1, REFUSED)
        assert (reply.source, reply.queued) == ("fallback", False)


class TestStore:
    def test_an_answer_that_cannot_be_stored_is_told_once_and_the_message_sent_once(self):
        store = BrokenStore("settle")

        async def script(rig):
            for text, chat in (("late", ok(20)), ("queue", down_between(0, 40))):
                rig.backend.chat_script = chat if callable(chat) else lambda now_s, chat=chat: chat
                assert (await rig.coach.send(text)).queued
            await asyncio.sleep(100)
            store.broken = False
            await asyncio.sleep(100)
            assert {item.reply for item in await store.items(ItemState.DELIVERED)} == {"Well done!"}
            assert await store.depth() == 0

        rig = with_rig(script, policy(), store=store)
        assert sorted(delivery.via for delivery in rig.deliveries) == ["late", "queue"]
        assert sorted(rig.backend.processed) == sorted({chat.key for chat in rig.backend.chats})

    def test_a_store_that_fails_says_that_nothing_was_saved_and_never_raises(self, caplog):
        async def script(rig):
            reply = await rig.coach.send("Hi")
            assert (reply.source, reply.queued) == ("fallback", False)
            assert "could not be saved" in reply.text
            rig.backend.chat_script = lambda now_s: OK
            assert (await rig.coach.send("Hi")).source == "backend"
            await asyncio.sleep(1000)
            assert len(rig.backend.probes) >= 4

        rig = with_rig(script, policy(breaker__enabled=True), chat=REFUSED, store=BrokenStore())
        assert rig.queue_events() == ["rejected"]
        assert all(record.exc_info is None for record in caplog.records)

    def test_a_store_slower_than_the_deadline_does_not_make_a_person_wait(self):
        async def script(rig):
            await asyncio.sleep(100)
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.source, reply.queued) == ("fallback", False)
            assert took_s == pytest.approx(8.0, abs=1e-9)

        with_rig(script, policy(), health=REFUSED, store=SlowStore(20))

    def test_a_slow_store_is_within_the_margin(self):
        async def script(rig):
            reply, took_s = await timed(rig.coach.send("Hi"))
            assert (reply.queued, took_s) == (True, pytest.approx(8.0, abs=1e-9))

        with_rig(script, policy(), chat=HANG, store=SlowStore(0.02))

    def test_answers_do_not_wait_for_a_slow_store_when_all_is_well(self):
        async def script(rig):
            await asyncio.sleep(100)
            _, took_s = await timed(rig.coach.send("Hi"))
            assert took_s == pytest.approx(0.1)

        with_rig(script, policy(breaker__enabled=True), store=SlowStore(20))


@st.composite
def any_policies(draw):
    """Policies within the bounds of every field; what can't work together is left at its default."""
    made = Policy.preset(draw(st.sampled_from(["default", "original", "stamina", "polly"])))
    fields = {field.name: field for field in policy_fields()}
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=12, unique=True)):
        field = fields[name]
        if isinstance(field.default, bool):
            value = draw(st.booleans())
        elif field.choices:
            value = draw(st.sampled_from(field.choices))
        else:
            # Most of the interest is near the lower bound, and a run must not take millions of probes.
            low, high = field.low, min(field.high, max(20 * abs(field.default), field.low + 1))
            value = draw(st.integers(int(low), int(high)) if isinstance(field.default, int) else st.floats(low, high))
        try:
            made = made.replace({name: value})
        except InputError:
            continue
    return made


steps = st.builds(
    Step,
    after_s=st.one_of(st.floats(0, 12), st.sampled_from([0.0, 7.95, 8.0, 8.05, 1e9])),
    outcome=st.sampled_from([outcome for outcome in Outcome if outcome not in (Outcome.CANCELLED, Outcome.REJECTED)]),
    retry_after_s=st.none() | st.floats(0, 100),
    error=st.none() | st.just(ValueError("boom")),
)


@settings(max_examples=150)
@given(
    any_policies(),
    st.lists(steps, max_size=30),
    st.lists(steps, max_size=8),
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(0, 99),
)
def test_always_an_answer_within_the_deadline_whatever_happens(rules, chats, healths, messages, seed):
    async def script(rig):
        async def person(text, priority):
            reply, took_s = await timed(rig.coach.send(text, priority=priority))
            assert took_s <= rules.request.deadline_s + 1e-6
            assert reply.source in ("backend", "cache", "stale", "fallback")
            return reply

        sending = []
        for wait_s, priority, question in messages:
            await asyncio.sleep(wait_s)
            sending.append(asyncio.create_task(person(f"Question {question}", priority)))
        replies = await asyncio.gather(*sending)
        await asyncio.sleep(300)
        # No delivery is told twice, and nobody hears of a message that the backend had answered at once.
        told = [delivery.message_id for delivery in rig.deliveries]
        assert len(told) == len(set(told))
        at_once = {reply.message_id for reply in replies if reply.source in ("backend", "cache")}
        assert not at_once & set(told)
        counts = await rig.store.counts()
        events = rig.queue_events()
        assert events.count("accepted") == sum(counts.values()) + events.count("dropped")

    rig = with_rig(script, rules, chat=chats, health=healths, uniform=hashed(seed))
    assert_conserved(rig.recorder)
    assert rig.backend.most_in_flight["health"] <= 1
    in_flight = {}
    for attempt in rig.of(AttemptEnded):
        if attempt.outcome != "rejected":
            in_flight.setdefault(attempt.message_id, []).append((attempt.time_s, attempt.time_s + attempt.latency_s))
    for spans in in_flight.values():
        spans.sort()
        assert all(after[0] >= before[1] for before, after in pairwise(spans)), spans


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 200)), max_size=4), st.integers(0, 99), st.booleans())
def test_the_default_policy_delivers_everything_once_the_backend_is_back(outages, seed, hangs):
    spans, at_s = [], 5.0
    for gap_s, lasts_s in outages:
        spans.append((at_s + gap_s, at_s + gap_s + lasts_s))
        at_s = spans[-1][1]

    def play(now_s):
        return (HANG if hangs else REFUSED) if any(a <= now_s < b for a, b in spans) else OK

    async def script(rig):
        for number in range(25):
            await rig.coach.send(f"Question {number}")
            await asyncio.sleep(20)
        await asyncio.sleep(1500)
        assert await rig.store.depth() == 0

    rig = with_rig(script, Policy(), chat=play, health=play, uniform=hashed(seed))
    ids = [event.message_id for event in rig.of(MessageDelivered)]
    assert len(ids) == len(set(ids)) == 25
    assert len(rig.backend.processed) == 25
    assert_conserved(rig.recorder)


def test_the_same_draws_give_the_same_events():
    def events():
        async def script(rig):
            for number in range(20):
                await rig.coach.send(f"Question {number}")
                await asyncio.sleep(11)
            await asyncio.sleep(400)

        down = down_between(50, 130, OVERLOADED)
        return with_rig(script, Policy(), chat=down, health=down, uniform=hashed(5)).recorder.events

    assert events() == events()
