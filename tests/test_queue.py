import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import START, BrokenStore, assert_conserved, hashed, make_world, middle, run_virtual
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.events import QueueChanged, Recorder
from hustle_sim.policy import QueuePolicy
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.queue import RequestQueue, Ruling, after_attempt
from hustle_sim.resilience.store import Answer, Item, ItemState, MemoryStore

OK, DOWN, BAD = Outcome.OK, Outcome.OVERLOADED, Outcome.HTTP_4XX


class Desk:
    """A queue at work whose ``send`` plays outcomes; ``sent`` is (time, id) of each sending."""

    def __init__(self, outcomes=(), *, takes_s=0.1, until_s=0.0, store=None, uniform=middle, ready=True, **policy):
        self.recorder = Recorder()
        self.store = store if store is not None else MemoryStore()
        self.policy = QueuePolicy(**{"flush_jitter_s": 0, **policy})
        self.outcomes, self.takes_s = iter(outcomes), takes_s
        self.until_s = until_s
        self.is_ready = ready
        self.sent, self.delivered, self.most = [], [], 0
        self.in_flight = 0
        self.queue = RequestQueue(
            self.store, self.policy, make_world(self.recorder, uniform=uniform), send=self.send,
            ready_at_s=lambda: asyncio.get_running_loop().time() if self.is_ready else None,
            on_delivered=lambda item, reply: self.delivered.append(item.id),
        )  # fmt: skip

    async def send(self, item):
        self.sent.append((asyncio.get_running_loop().time(), item.id))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(max(self.takes_s, self.until_s - asyncio.get_running_loop().time()))
        finally:
            self.in_flight -= 1
        return Response(next(self.outcomes, OK), "reply")

    async def __aenter__(self):
        self.task = asyncio.create_task(self.queue.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if not self.store.is_shared:
            # Of what another process does nothing is told here.
            assert_conserved(self.recorder)

    async def add(self, *names, priority=1):
        return [(await self.queue.add(name, f"text {name}", priority)).answer.value for name in names]

    def recover(self):
        self.is_ready = True
        self.queue.wake(fresh_start=True)

    @property
    def events(self):
        return [(event.event, event.message_id) for event in self.recorder if isinstance(event, QueueChanged)]

    @property
    def names(self):
        return [name for _, name in self.sent]


def at_desk(script, *args, **more):
    async def main():
        async with Desk(*args, **more) as desk:
            await script(desk)
        return desk

    return run_virtual(main())


class TestRuling:
    @staticmethod
    def rule(outcome, *, attempts=0, tries=1, u=0.5, **policy):
        item = Item("a", "t", 1, 0.0, 1e9, attempts=attempts, tries=tries)
        return after_attempt(item, outcome, QueuePolicy(**policy), u)

    def test_delivered(self):
        assert self.rule(OK) == Ruling(ItemState.DELIVERED, 0, 0.0, trouble=False)

    def test_only_a_verdict_on_the_message_uses_up_its_attempts(self):
        for outcome in Outcome:
            ruling = self.rule(outcome)
            assert ruling.attempts == (1 if outcome is BAD else 0)
            assert ruling.trouble == (outcome not in (OK, BAD))

    def test_out_of_attempts_it_is_dead(self):
        assert self.rule(BAD, attempts=1).state is None
        assert self.rule(BAD, attempts=2) == Ruling(ItemState.DEAD, 3, 0.0, trouble=False)

    def test_in_the_first_design_an_outage_uses_them_up_too(self):
        assert self.rule(DOWN, attempts=2, outages_count=True) == Ruling(ItemState.DEAD, 3, 0.0, trouble=True)
        assert self.rule(Outcome.REJECTED, attempts=2, outages_count=True).state is None

    def test_the_wait_grows_with_the_tries_up_to_the_cap(self):
        waits = [self.rule(DOWN, tries=tries, base_s=1, cap_s=10).wait_s for tries in range(0, 7)]
        assert waits == [0.5, 0.5, 1, 2, 4, 5, 5]
        assert self.rule(DOWN, tries=10**6).wait_s == 30

    @pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.CANCELLED])
    def test_what_the_backend_did_not_judge_need_not_wait(self, outcome):
        uncertain = outcome is Outcome.CANCELLED
        assert self.rule(outcome, tries=5) == Ruling(None, 0, 0.0, trouble=True, uncertain=uncertain)

    def test_what_may_have_been_processed_ends_as_the_policy_says(self):
        for outcome in Outcome:
            may_be_done = outcome in (Outcome.TIMEOUT, Outcome.HTTP_5XX, Outcome.BAD_BODY, Outcome.CANCELLED)
            for fate, end in (("replay", None), ("ask", ItemState.UNKNOWN), ("drop", ItemState.DEAD)):
                ruling = self.rule(outcome, unknown_fate=fate)
                assert ruling.uncertain == may_be_done
                if outcome is not OK:
                    assert ruling.state is (end if may_be_done else None)


class TestAdd:
    def test_answers_what_became_of_it_and_tells_it(self):
        async def script(desk):
            assert await desk.add("a", "a") == ["accepted", "duplicate"]
            assert await desk.add("b", priority=2) == ["accepted"]
            assert await desk.add("c", priority=2) == ["rejected"]
            assert await desk.add("d", priority=0) == ["displaced"]

        desk = at_desk(script, ready=False, max_size=2, warn_size=1)
        assert desk.events == [
            ("accepted", "a"), ("duplicate", "a"), ("accepted", "b"), ("rejected", "c"), ("dead", "b"),
            ("accepted", "d"),
        ]  # fmt: skip
        assert [event.depth for event in desk.recorder] == [1, 1, 2, 2, 1, 2]
        assert [event.reason for event in desk.recorder] == ["", "", "", "the queue is full", "displaced", ""]

    def test_in_the_first_design_the_oldest_is_dropped(self):
        async def script(desk):
            await desk.add("a", "b", "c")
            assert [item.id for item in await desk.store.items()] == ["b", "c"]

        desk = at_desk(script, ready=False, max_size=2, warn_size=1, overflow="drop-oldest", flush_on="verdict")
        assert ("dropped", "a") in desk.events

    def test_an_item_has_its_time_to_live_and_its_lease(self):
        async def script(desk):
            await asyncio.sleep(5)
            await desk.add("a")
            await desk.queue.add("b", "t", 0, in_flight_s=60)
            await desk.queue.add("c", "t", 0, in_flight_s=1)
            a, b, c = await desk.store.items()
            assert (a.created_at, a.expires_at, a.state) == (START + 5, START + 105, ItemState.READY)
            assert (b.leased_until, b.state, b.tries) == (START + 65, ItemState.LEASED, 1)
            assert c.leased_until == START + 23

        at_desk(script, ready=False, ttl_s=100)

    def test_a_store_that_fails_answers_rejected_with_the_reason(self):
        async def script(desk):
            added = await desk.queue.add("a", "t", 1)
            assert added == (Answer.REJECTED, None, "the disk is full", None)

        desk = at_desk(script, store=BrokenStore())
        assert desk.events == [("rejected", "a")]


class TestFlush:
    def test_on_add(self):
        async def script(desk):
            await asyncio.sleep(100)
            await desk.add("a")
            await asyncio.sleep(1)

        desk = at_desk(script)
        assert desk.sent == [(100, "a")]
        assert desk.delivered == ["a"]
        assert desk.events == [("accepted", "a"), ("leased", "a"), ("delivered", "a")]

    def test_at_start_up(self):
        store = MemoryStore()

        async def first(desk):
            await desk.add("a")

        async def second(desk):
            await asyncio.sleep(1)

        at_desk(first, ready=False, store=store)

        async def main():
            # assert_conserved does not hold for a session that begins with a full queue.
            desk = Desk(store=store)
            task = asyncio.create_task(desk.queue.run())
            await asyncio.sleep(1)
            task.cancel()
            assert desk.delivered == ["a"]

        run_virtual(main())

    def test_on_recovery(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(1000)
            assert desk.sent == []
            desk.recover()
            await asyncio.sleep(1)

        assert at_desk(script, ready=False).sent == [(1000, "a")]

    def test_by_timer_when_the_item_is_due_again(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(100)

        desk = at_desk(script, [DOWN, DOWN, DOWN])
        assert desk.delivered == ["a"]
        assert len(desk.sent) == 4

    def test_only_on_a_verdict_in_the_first_design(self):
        async def script(desk):
            await asyncio.sleep(1)
            await desk.add("a", "b", "c")
            await asyncio.sleep(1000)
            assert desk.sent == []
            desk.recover()
            await asyncio.sleep(10)

        policy = {"flush_on": "verdict", "canary": False, "drain_per_s": 1000, "drain_concurrency": 1000}
        desk = at_desk(script, **policy)
        assert desk.names == ["a", "b", "c"]
        assert desk.sent[-1][0] - desk.sent[0][0] == pytest.approx(0.002)
        assert desk.most == 3

    def test_the_most_urgent_goes_first(self):
        async def script(desk):
            await desk.add("a", priority=2)
            await desk.add("b", "c", priority=1)
            await desk.add("d", priority=0)
            desk.recover()
            await asyncio.sleep(10)

        assert at_desk(script, ready=False).names == ["d", "b", "c", "a"]

    def test_begins_with_one_canary_then_grows(self):
        async def script(desk):
            await desk.add(*(str(number) for number in range(12)))
            desk.recover()
            await asyncio.sleep(100)

        desk = at_desk(script, takes_s=10, ready=False, drain_per_s=1000)
        times = [round(time_s) for time_s, _ in desk.sent]
        assert times == [0, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30, 40]
        assert desk.most == 4

    def test_without_a_canary_it_begins_with_all_it_may(self):
        async def script(desk):
            await desk.add(*"abcdefgh")
            desk.recover()
            await asyncio.sleep(100)

        desk = at_desk(script, takes_s=10, ready=False, drain_per_s=1000, canary=False)
        assert [round(time_s) for time_s, _ in desk.sent] == [0, 0, 0, 0, 10, 10, 10, 10]

    def test_is_paced(self):
        async def script(desk):
            await desk.add(*"abcdef")
            desk.recover()
            await asyncio.sleep(10)

        desk = at_desk(script, ready=False, takes_s=0.01)
        assert [time_s for time_s, _ in desk.sent] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])

    def test_is_paced_from_one_flush_to_the_next_too(self):
        async def script(desk):
            for number in range(20):
                await desk.add(str(number))
                await asyncio.sleep(0.05)
            await asyncio.sleep(20)

        desk = at_desk(script, takes_s=0.01)
        times = [time_s for time_s, _ in desk.sent]
        gaps = [after - before for before, after in pairwise(times)]
        assert len(times) == 20
        assert min(gaps) >= 0.5 - 1e-9

    def test_stops_at_the_first_sign_of_trouble(self):
        async def script(desk):
            await desk.add(*"abcdef")
            desk.recover()
            await asyncio.sleep(1.0)

        # The canary works, then the second of two in flight meets trouble: nothing more is sent.
        desk = at_desk(script, [OK, DOWN, OK], ready=False, takes_s=0.2, drain_per_s=1000, base_s=10)
        assert desk.names == ["a", "b", "c"]

    def test_trouble_met_while_it_paces_stops_it_as_well(self):
        async def script(desk):
            await desk.add(*"abcdef")
            desk.recover()
            await asyncio.sleep(60)

        desk = at_desk(script, [OK, DOWN], ready=False, takes_s=0.2, drain_per_s=0.1, base_s=60)
        assert desk.names[:2] == ["a", "b"]
        assert all(time_s > 10 + 30 for time_s, _ in desk.sent[2:])

    def test_trouble_that_comes_together_with_a_success_is_not_overlooked(self):
        async def script(desk):
            await desk.add(*"abcdefgh")
            desk.recover()
            await asyncio.sleep(5)

        desk = at_desk(script, [OK, DOWN], ready=False, until_s=1, drain_per_s=1000, base_s=60, canary=False)
        assert len(desk.sent) == 4

    def test_after_trouble_the_timer_comes_later_each_time(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(400)

        desk = at_desk(script, [DOWN] * 100, takes_s=0.0, base_s=1, cap_s=60, uniform=lambda *key: 1 - 1e-9)
        times = [time_s for time_s, _ in desk.sent]
        gaps = [round(after - before) for before, after in pairwise(times)]
        assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]

    def test_adding_does_not_break_a_halt(self):
        async def script(desk):
            await desk.add("a")
            for number in range(10):
                await asyncio.sleep(0.3)
                await desk.add(str(number))

        desk = at_desk(script, [DOWN] * 100, takes_s=0.0, base_s=60, cap_s=60)
        assert desk.names == ["a"]

    def test_recovery_breaks_a_halt(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(1)
            desk.recover()
            await asyncio.sleep(60)

        desk = at_desk(script, [DOWN], takes_s=0.0, base_s=1, cap_s=60, uniform=lambda *key: 0.0)
        assert desk.delivered == ["a"]

    def test_nothing_is_sent_while_nothing_is_ready(self):
        async def script(desk):
            await desk.add("a", "b")
            desk.queue.wake()
            await asyncio.sleep(1e5 - 1)

        desk = at_desk(script, ready=False, ttl_s=1e6)
        assert desk.sent == []

    def test_a_queue_with_nothing_to_do_sets_no_timer(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(5)
            scheduled = asyncio.get_running_loop().env._queue
            await asyncio.sleep(1e6)
            assert len(scheduled) <= 2

        at_desk(script)


@pytest.mark.real
def test_a_clock_that_never_stands_still_is_no_reason_to_wait():
    async def main():
        async with Desk(takes_s=0.0, drain_per_s=1000, base_s=0.01) as desk:
            await desk.add("a", "b")
            for _ in range(100):
                await asyncio.sleep(0.01)
                if len(desk.delivered) == 2:
                    break
        assert desk.delivered == ["a", "b"]

    asyncio.run(main())


class TestEnds:
    def test_a_message_that_the_backend_refuses_is_dead_after_its_attempts_and_kept(self):
        async def script(desk):
            await desk.add("bad", "good")
            await asyncio.sleep(60)
            assert [item.reason for item in await desk.store.items(ItemState.DEAD)] == ["http_4xx"]

        desk = at_desk(script, [BAD, OK, BAD, BAD])
        assert [name for event, name in desk.events if event == "dead"] == ["bad"]
        assert desk.names.count("bad") == 3
        assert desk.delivered == ["good"]

    def test_an_outage_however_long_uses_up_nothing(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(3000)

        desk = at_desk(script, [DOWN] * 30)
        assert len(desk.sent) == 31
        assert desk.delivered == ["a"]

    def test_without_dead_letters_it_is_dropped_without_a_trace(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(60)
            assert await desk.store.items() == []

        desk = at_desk(script, [BAD] * 3, dead_letters=False)
        assert desk.events[-1] == ("dropped", "a")

    def test_what_is_too_old_is_expired_not_sent(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(200)
            desk.recover()
            await asyncio.sleep(5)
            assert [item.reason for item in await desk.store.items(ItemState.EXPIRED)] == ["too old"]

        desk = at_desk(script, ready=False, ttl_s=100)
        assert desk.sent == []
        assert desk.events == [("accepted", "a"), ("expired", "a")]

    def test_what_expires_together_leaves_one_by_one(self):
        async def script(desk):
            await desk.add("a", "b", "c")
            await asyncio.sleep(200)

        desk = at_desk(script, ready=False, ttl_s=100)
        assert [event.depth for event in desk.recorder if event.event == "expired"] == [2, 1, 0]

    def test_offline_the_old_expire_too_within_a_minute(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(161)

        assert at_desk(script, ready=False, ttl_s=100).events[-1] == ("expired", "a")

    def test_each_item_keeps_its_own_time_to_wait(self):
        async def script(desk):
            await desk.add("bad")
            await asyncio.sleep(0.2)
            await desk.add("good")
            await asyncio.sleep(5)

        desk = at_desk(script, [BAD], base_s=60, cap_s=60)
        assert desk.delivered == ["good"]
        assert desk.names == ["bad", "good"]


class TestInFlight:
    def test_what_is_being_sent_elsewhere_is_not_sent_from_the_queue(self):
        async def script(desk):
            await desk.queue.add("a", "t", 1, in_flight_s=38)
            desk.queue.wake()
            await asyncio.sleep(30)
            assert desk.sent == []
            await desk.queue.delivered("a", "late")
            await asyncio.sleep(100)
            [item] = await desk.store.items(ItemState.DELIVERED)
            assert item.reply == "late"

        desk = at_desk(script)
        assert desk.sent == []
        assert desk.events == [("accepted", "a"), ("delivered", "a")]
        assert desk.delivered == []

    def test_given_back_it_is_sent_from_the_queue(self):
        async def script(desk):
            await desk.queue.add("a", "t", 1, in_flight_s=38)
            await asyncio.sleep(30)
            await desk.queue.give_back("a", uncertain=False)
            await asyncio.sleep(1)

        assert at_desk(script).sent == [(30, "a")]

    def test_a_lease_that_nobody_ends_runs_out(self):
        async def script(desk):
            await desk.queue.add("a", "t", 1, in_flight_s=38)
            await asyncio.sleep(100)

        desk = at_desk(script)
        assert desk.sent == [(38, "a")]

    def test_one_who_lost_the_lease_can_end_nothing(self):
        async def script(desk):
            await desk.store.add(
                Item("a", "t", 1, START, START + 100, state=ItemState.LEASED, owner="other", leased_until=START + 50),
                max_size=9,
                overflow="reject",
            )
            await desk.queue.delivered("a", "x")
            await desk.queue.give_back("a", uncertain=False)
            await desk.queue.give_back("a", uncertain=True)
            await desk.queue.give_back("unknown", uncertain=False)

        assert at_desk(script).events == []

    def test_withdrawn_before_it_came_it_was_never_accepted(self):
        async def script(desk):
            await desk.add("a")
            desk.queue.withdrawn("b")

        desk = at_desk(script, ready=False)
        assert desk.events == [("accepted", "a"), ("rejected", "b")]
        assert [event.depth for event in desk.recorder] == [1, 1]


class TestTrouble:
    def test_a_store_that_fails_for_a_while_costs_nothing(self, caplog):
        store = BrokenStore("claim", "expire", "settle", "next_due")
        store.broken = False

        async def script(desk):
            await desk.add("a")
            store.broken = True
            await asyncio.sleep(300)
            assert not desk.task.done()
            store.broken = False
            await asyncio.sleep(120)

        desk = at_desk(script, store=store)
        assert desk.delivered == ["a"]
        assert "The queue can't be read; trying again later: the disk is full" in caplog.text

    def test_a_store_that_fails_is_not_asked_without_a_pause(self, caplog):
        store = BrokenStore("expire", "next_due")

        async def script(desk):
            await asyncio.sleep(100)

        at_desk(script, store=store, base_s=0, cap_s=0)
        assert len(caplog.records) <= 101

    @pytest.mark.parametrize("fate", ["replay", "ask", "drop"])
    def test_an_answer_that_cannot_be_stored_is_stored_later_and_neither_sent_nor_told_again(self, fate):
        store = BrokenStore("settle")

        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(25)
            store.broken = False
            await asyncio.sleep(30)
            [item] = await desk.store.items(ItemState.DELIVERED)
            assert item.reply == "reply"

        desk = at_desk(script, store=store, unknown_fate=fate)
        assert desk.names == desk.delivered == ["a"]
        assert desk.events[-1] == ("delivered", "a")

    def test_a_late_answer_that_cannot_be_stored_is_stored_later_and_not_sent_again(self):
        store = BrokenStore("settle")

        async def script(desk):
            await desk.queue.add("a", "t", 1, in_flight_s=38)
            await desk.queue.delivered("a", "late")
            await asyncio.sleep(30)
            store.broken = False
            await asyncio.sleep(30)
            [item] = await desk.store.items(ItemState.DELIVERED)
            assert item.reply == "late"

        desk = at_desk(script, store=store)
        assert desk.sent == []
        assert desk.delivered == []

    def test_an_end_that_cannot_be_stored_is_tried_again_after_the_lease(self):
        store = BrokenStore("settle")

        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(5)
            store.broken = False
            await asyncio.sleep(30)
            assert [item.reason for item in await desk.store.items(ItemState.DEAD)] == ["http_4xx"]

        desk = at_desk(script, [BAD, BAD], store=store, max_attempts=1)
        assert [round(time_s) for time_s, _ in desk.sent] == [0, 18]

    def test_a_sender_or_listener_that_raises_does_not_stop_the_queue(self, caplog):
        async def script(desk):
            def broken(item, reply):
                raise ValueError("a broken widget")

            desk.queue._on_delivered = broken
            await desk.add("a", "b")
            await asyncio.sleep(60)
            assert not desk.task.done()
            assert await desk.store.depth() == 0

        at_desk(script)
        assert "a broken widget" in caplog.text

    def test_stopping_it_leaves_no_sending_behind(self):
        async def script(desk):
            await desk.add(*"abc")
            await asyncio.sleep(2)

        async def main():
            async with Desk(takes_s=1e6, canary=False) as desk:
                await script(desk)
                assert desk.in_flight > 1
            assert desk.in_flight == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert await desk.store.depth() == 3

        run_virtual(main())


class TestConversations:
    @staticmethod
    async def say(desk, *names, talk="talk", **more):
        for name in names:
            await desk.queue.add(name, f"text {name}", 1, conversation=talk, **more)

    def test_keep_their_order_whatever_happens_to_the_first(self):
        async def script(desk):
            await self.say(desk, "a", "b", "c")
            await desk.queue.add("urgent", "t", 0, conversation="talk")
            await asyncio.sleep(100)

        desk = at_desk(script, [BAD, DOWN, BAD, BAD], drain_per_s=1000)
        assert desk.delivered == ["b", "c", "urgent"]
        assert desk.names == ["a"] * 4 + ["b", "c", "urgent"]

    def test_do_not_hold_up_each_other(self):
        async def script(desk):
            await self.say(desk, "a")
            await asyncio.sleep(0.5)
            await self.say(desk, "b")
            await self.say(desk, "x", talk="other")
            await asyncio.sleep(2)

        desk = at_desk(script, [BAD], base_s=60)
        assert desk.delivered == ["x"]

    def test_wait_for_one_that_is_still_in_flight_and_go_on_at_once_after_it(self):
        async def script(desk):
            await self.say(desk, "a", in_flight_s=38)
            await self.say(desk, "b")
            await asyncio.sleep(10)
            assert desk.sent == []
            await desk.queue.delivered("a", "late")
            await asyncio.sleep(1)

        assert at_desk(script).sent == [(10, "b")]

    @pytest.mark.parametrize("end", ["cancel", "answer"])
    def test_wait_for_one_that_a_person_is_asked_about(self, end):
        async def script(desk):
            await self.say(desk, "a", uncertain=True)
            await self.say(desk, "b")
            await asyncio.sleep(10)
            assert desk.sent == []
            assert await (desk.queue.cancel("a") if end == "cancel" else desk.queue.retry("a"))
            await asyncio.sleep(2)

        desk = at_desk(script, unknown_fate="ask")
        assert desk.names == (["b"] if end == "cancel" else ["a", "b"])

    def test_waiting_costs_nothing(self):
        calls = 0

        class Counted(MemoryStore):
            async def claim(self, *args, **more):
                nonlocal calls
                calls += 1
                return await super().claim(*args, **more)

        async def script(desk):
            await self.say(desk, "a", in_flight_s=1000)
            await self.say(desk, "b")
            await asyncio.sleep(900)

        at_desk(script, store=Counted())
        assert calls < 10


class Shared(MemoryStore):
    """A store that another process, the test, works with as well; ``looks`` counts what waiting costs."""

    is_shared = True

    def __init__(self):
        super().__init__()
        self.looks = self.claims = 0

    async def next_due(self):
        self.looks += 1
        return await super().next_due()

    async def claim(self, *args, **more):
        self.claims += 1
        return await super().claim(*args, **more)


class TestAnotherProcess:
    @pytest.mark.parametrize("what", ["add", "requeue", "sooner"])
    def test_what_it_brings_is_noticed_within_the_poll(self, what):
        async def script(desk):
            if what == "requeue":
                await desk.store.add(
                    Item("x", "text", 1, START, START + 9000, state=ItemState.DEAD), max_size=9, overflow="reject"
                )
            elif what == "sooner":
                await desk.store.add(
                    Item("y", "text", 1, START, START + 9000, not_before=START + 5000), max_size=9, overflow="reject"
                )
            await asyncio.sleep(103)
            if what == "requeue":
                assert await desk.store.requeue("x", START + 103, START + 9000)
            else:
                new = Item("x", "text", 1, START, START + 9000, not_before=START + 103)
                await desk.store.add(new, max_size=9, overflow="reject")
            await asyncio.sleep(20)

        ((sent_s, name),) = at_desk(script, store=Shared(), poll_s=10).sent
        assert name == "x"
        assert 103 < sent_s <= 113.1

    def test_one_cancelled_by_it_is_not_sent(self):
        async def script(desk):
            await desk.add("a")
            assert await desk.store.cancel("a", "")
            desk.recover()
            await asyncio.sleep(30)

        assert at_desk(script, store=Shared(), ready=False).sent == []

    def test_to_look_is_all_that_waiting_costs(self):
        async def script(desk):
            await asyncio.sleep(1000)

        store = at_desk(script, store=Shared(), poll_s=10).store
        assert 95 <= store.looks <= 105
        assert store.claims <= 2

    def test_a_store_of_one_process_is_not_asked(self):
        class Own(Shared):
            is_shared = False

        async def script(desk):
            await asyncio.sleep(1000)

        assert at_desk(script, store=Own(), poll_s=10).store.looks <= 2


class TestForgetting:
    @staticmethod
    async def fill(desk, number, state, *, expires_at):
        for each in range(number):
            old = Item(f"{state}{each}", "text", 1, START - 9000, expires_at, state=state)
            await desk.store.add(old, max_size=9, overflow="reject")

    def test_what_ended_long_ago_is_forgotten_in_batches_and_dead_letters_are_not(self):
        async def script(desk):
            await self.fill(desk, 250, ItemState.DELIVERED, expires_at=START - 101)
            await self.fill(desk, 3, ItemState.DEAD, expires_at=START - 101)
            await self.fill(desk, 2, ItemState.EXPIRED, expires_at=START - 50)
            left = []
            for _ in range(4):
                desk.queue.wake()
                await asyncio.sleep(1)
                left.append((await desk.store.counts())[ItemState.DELIVERED])
            assert left == [150, 50, 0, 0]
            assert [item.state for item in await desk.store.items()] == [ItemState.DEAD] * 3 + [ItemState.EXPIRED] * 2

        at_desk(script, keep_ended_s=100)

    def test_an_id_is_known_until_its_time_and_the_time_after_it_are_over(self):
        async def script(desk):
            answers = []
            for wait_s in (0, 5, 3590, 10):
                await asyncio.sleep(wait_s)
                answers += await desk.add("a")
                await asyncio.sleep(1)
            assert answers == ["accepted", "duplicate", "duplicate", "duplicate"]
            await asyncio.sleep(3600)
            assert await desk.add("b") == ["accepted"]
            await asyncio.sleep(1)
            assert [item.id for item in await desk.store.items()] == ["b"]

        at_desk(script, ttl_s=60, keep_ended_s=3600)


class TestRetryAfter:
    @staticmethod
    def rule(retry_after_s, clamp_s, u=0.5):
        item = Item("a", "t", 1, 0.0, 1e9, tries=1)
        policy = QueuePolicy(base_s=2)
        return after_attempt(item, DOWN, policy, u, retry_after_s=retry_after_s, clamp_s=clamp_s).wait_s

    def test_lengthens_the_wait_of_a_replay_by_the_clamp_at_most(self):
        assert [self.rule(hint, 5) for hint in (None, 0.5, 3, 6, 60)] == [1, 1, 3, 6, 6]
        assert self.rule(60, 0) == 1

    @pytest.mark.parametrize(("clamp_s", "earliest_s"), [(0, 1), (30, 20), (10, 10)])
    def test_stops_the_flush_as_long_as_it_asks(self, clamp_s, earliest_s):
        async def script(desk):
            async def send(item):
                desk.sent.append((asyncio.get_running_loop().time(), item.id))
                return Response(DOWN, retry_after_s=20) if len(desk.sent) == 1 else Response(OK, "reply")

            desk.queue._send = send
            desk.queue._clamp_s = clamp_s
            await desk.add("a", "b")
            await asyncio.sleep(60)

        desk = at_desk(script, base_s=1)
        first, second = (sent_s for sent_s, _ in desk.sent[:2])
        assert earliest_s - 0.5 <= second - first <= earliest_s + 1


class TestAWallClockThatJumps:
    @staticmethod
    def jumping(desk):
        """Set the desk's wall clock by calling what this returns with seconds."""
        moved = 0.0
        clock = desk.queue._world.wall_clock

        def jump(by_s):
            nonlocal moved
            moved += by_s

        desk.queue._world = replace(desk.queue._world, wall_clock=lambda: clock() + moved)
        return jump

    @pytest.mark.parametrize("fate", ["replay", "ask", "drop"])
    def test_over_a_lease_does_not_send_again_what_is_being_sent(self, fate):
        async def script(desk):
            jump = self.jumping(desk)
            await desk.add("a", "b")
            await asyncio.sleep(1)
            jump(500)
            await asyncio.sleep(60)

        desk = at_desk(script, takes_s=5, unknown_fate=fate, canary=False, drain_per_s=0.5)
        assert sorted(desk.names) == ["a", "b"]
        assert sorted(desk.delivered) == ["a", "b"]

    def test_over_the_lease_of_a_request_still_under_way_does_not_send_it_a_second_time(self):
        async def script(desk):
            jump = self.jumping(desk)
            await desk.queue.add("a", "text", 1, in_flight_s=30)
            await asyncio.sleep(1)
            jump(500)
            await desk.add("b")
            await asyncio.sleep(10)
            await desk.queue.delivered("a", "late")
            await asyncio.sleep(60)

        desk = at_desk(script)
        assert (desk.names, desk.delivered) == (["b"], ["b"])

    def test_a_lease_that_is_over_by_the_loops_clock_too_returns_its_message(self):
        async def script(desk):
            await desk.queue.add("a", "text", 1, in_flight_s=30)
            await asyncio.sleep(60)

        ((sent_s, name),) = at_desk(script).sent
        assert (name, 30 <= sent_s <= 31) == ("a", True)

    def test_an_answer_to_what_another_process_took_over_and_gave_back_is_not_asked_for_again(self):
        async def script(desk):
            jump = self.jumping(desk)
            await desk.add("a")
            await asyncio.sleep(1)
            jump(500)
            now = desk.queue._world.wall_clock()
            assert (await desk.store.claim(now, owner="you", until=now + 20)).id == "a"
            await desk.store.release("a", "you", not_before=now + 9, attempts=0, reason="refused")
            await asyncio.sleep(60)

        desk = at_desk(script, takes_s=5, store=Shared())
        assert (desk.names, desk.delivered) == (["a"], ["a"])

    def test_nor_is_a_late_answer_to_what_another_process_took_over_meanwhile_nor_told_again(self):
        async def script(desk):
            jump = self.jumping(desk)
            await desk.queue.add("a", "text", 1, in_flight_s=30)
            jump(500)
            now = desk.queue._world.wall_clock()
            assert (await desk.store.claim(now, owner="you", until=now + 20)).id == "a"
            await desk.queue.delivered("a", "late")
            await desk.store.release("a", "you", not_before=now + 9, attempts=0, reason="refused")
            await asyncio.sleep(60)
            [item] = await desk.store.items(ItemState.DELIVERED)
            assert item.reply == "late"

        desk = at_desk(script, store=Shared())
        assert (desk.names, desk.delivered) == ([], [])
        assert desk.events[-1] == ("delivered", "a")


class TestAgeing:
    def test_a_low_priority_that_has_waited_long_goes_before_an_urgent_one_that_has_not(self):
        async def script(desk):
            await desk.add("low", priority=2)
            await asyncio.sleep(1100)
            await desk.add("middle", priority=0)
            await asyncio.sleep(200)
            await desk.add("late", priority=0)
            desk.recover()
            await asyncio.sleep(10)

        assert at_desk(script, ready=False, ageing_s=600).names == ["middle", "low", "late"]

    def test_off_it_is_first_in_first_out(self):
        async def script(desk):
            await desk.add("a", priority=2)
            await asyncio.sleep(1)
            await desk.add("b", priority=0)
            desk.recover()
            await asyncio.sleep(10)

        assert at_desk(script, ready=False, ageing_s=0).names == ["a", "b"]

    @given(st.floats(1, 600), st.integers(0, 2), st.lists(st.tuples(st.floats(0.1, 2), st.integers(0, 2)), max_size=60))
    def test_nobody_starves(self, ageing_s, priority, others):
        # One is sent each second and more keep coming: what came after two steps of ageing can't go before it.
        async def script(desk):
            await desk.add("it", priority=priority)
            for number, (wait_s, other) in enumerate(others):
                await asyncio.sleep(wait_s)
                await desk.add(str(number), priority=other)
            await asyncio.sleep(100)
            assert await desk.store.depth() == 0

        desk = at_desk(script, takes_s=0.01, drain_per_s=1, ageing_s=ageing_s)
        sent = desk.names[: desk.names.index("it")]
        created = {event.message_id: event.time_s for event in desk.recorder if event.event == "accepted"}
        assert all(created[name] <= priority * ageing_s + 1e-6 for name in sent)


class TestFlushJitter:
    def test_clients_do_not_come_back_all_at_once(self):
        async def script(desk):
            await desk.add("a")
            desk.recover()
            await asyncio.sleep(60)

        starts = [
            at_desk(script, ready=False, flush_jitter_s=20, uniform=lambda *key, u=u: u).sent[0][0]
            for u in (0.0, 0.25, 0.75)
        ]
        assert starts == pytest.approx([0, 5, 15], abs=0.02)

    def test_in_the_first_designs_way_too_and_no_message_is_forgotten(self):
        async def script(desk):
            await asyncio.sleep(10)
            await desk.add("a", "b")
            desk.recover()
            await asyncio.sleep(60)

        desk = at_desk(script, ready=False, flush_jitter_s=20, flush_on="verdict")
        assert [time_s for time_s, _ in desk.sent] == pytest.approx([20, 20.5])

    def test_each_recovery_draws_anew_and_other_wakes_do_not_cut_it_short(self):
        async def script(desk):
            await desk.add("a")
            desk.recover()
            await asyncio.sleep(1)
            await desk.add("b")
            desk.queue.wake()
            await asyncio.sleep(3)
            assert desk.sent == []
            await asyncio.sleep(60)
            desk.is_ready = False
            await desk.add("c")
            await asyncio.sleep(100 - asyncio.get_running_loop().time())
            desk.recover()
            await asyncio.sleep(60)

        draws = {1: 0.5, 2: 0.25}
        desk = at_desk(script, ready=False, flush_jitter_s=10, uniform=lambda stream, *key: draws.get(key[-1], 0.5))
        assert [time_s for time_s, _ in desk.sent] == pytest.approx([5, 5.5, 102.5], abs=0.02)


class TestUnknownFate:
    LOST = Outcome.TIMEOUT

    def test_replay_sends_it_again(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(60)
            [item] = await desk.store.items()
            assert item.uncertain

        desk = at_desk(script, [self.LOST])
        assert (desk.names, desk.delivered) == (["a", "a"], ["a"])

    def test_ask_keeps_it_until_a_person_says(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(1000)
            [item] = await desk.store.items(ItemState.UNKNOWN)
            assert (item.reason, await desk.store.depth()) == ("timeout", 1)
            assert await desk.queue.retry("a")
            await asyncio.sleep(10)

        desk = at_desk(script, [self.LOST], unknown_fate="ask")
        assert (len(desk.sent), desk.delivered) == (2, ["a"])
        assert [event for event, _ in desk.events] == [
            "accepted", "leased", "unknown", "requeued", "leased", "delivered",
        ]  # fmt: skip

    def test_once_told_to_send_it_a_refusal_is_no_reason_to_ask_again(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(10)
            await desk.queue.retry("a")
            await asyncio.sleep(60)

        desk = at_desk(script, [self.LOST, Outcome.REFUSED, Outcome.REFUSED], unknown_fate="ask")
        assert desk.delivered == ["a"]

    def test_asked_for_too_long_it_expires_by_itself(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(200)

        desk = at_desk(script, [self.LOST], unknown_fate="ask", ttl_s=100)
        assert desk.events[-1] == ("expired", "a")

    def test_drop_gives_it_up_visibly(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(60)
            [item] = await desk.store.items(ItemState.DEAD)
            assert (item.reason, item.uncertain) == ("timeout", False)

        assert len(at_desk(script, [self.LOST], unknown_fate="drop").sent) == 1

    @pytest.mark.parametrize(
        ("fate", "state"), [("replay", "delivered"), ("ask", "unknown"), ("drop", "dead")], ids=lambda each: each
    )
    def test_after_a_crash_it_may_have_been_processed(self, fate, state):
        async def script(desk):
            # The other process died while it was sending this.
            await desk.queue.add("a", "t", 1)
            await desk.store.claim(START, owner="dead process", until=START + 18)
            desk.is_ready = True
            await asyncio.sleep(100)
            [item] = await desk.store.items()
            assert (item.state, item.uncertain) == (state, True)

        desk = at_desk(script, ready=False, unknown_fate=fate)
        assert desk.names == (["a"] if fate == "replay" else [])

    @pytest.mark.parametrize(
        ("fate", "state"), [("replay", "delivered"), ("ask", "unknown"), ("drop", "dead")], ids=lambda each: each
    )
    def test_given_back_it_may_have_been_processed(self, fate, state):
        async def script(desk):
            for name in ("a", "b"):
                await desk.queue.add(name, "t", 1, in_flight_s=38)
                assert await desk.queue.give_back(name, uncertain=name == "a") == (state != "dead" or name == "b")
            await asyncio.sleep(10)
            a, b = await desk.store.items()
            assert (a.state, b.state) == (state, "delivered")

        at_desk(script, unknown_fate=fate)

    @pytest.mark.parametrize(
        ("fate", "state"), [("replay", "ready"), ("ask", "unknown"), ("drop", "dead")], ids=lambda each: each
    )
    def test_added_after_an_attempt_without_an_answer(self, fate, state):
        async def script(desk):
            await desk.add("full")
            added = await desk.queue.add("a", "t", 1, uncertain=True)
            assert (added.item is None) == (state != "dead")
            assert [item.state for item in await desk.store.items()] == ["ready", "dead"][: 1 + (state == "dead")]

        at_desk(script, ready=False, unknown_fate=fate, max_size=1, warn_size=1)

        async def with_room(desk):
            added = await desk.queue.add("a", "t", 1, uncertain=True)
            assert (added.item.state, await desk.store.depth()) == (state, int(state != "dead"))

        desk = at_desk(with_room, ready=False, unknown_fate=fate)
        assert desk.events[1:] == ([] if fate == "replay" else [(state, "a")])


class TestByHand:
    def test_a_dead_message_is_sent_again_with_all_its_attempts_and_a_new_life(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(60)
            assert await desk.queue.retry("a")
            [item] = await desk.store.items()
            assert (item.attempts, item.expires_at) == (0, START + 60 + 100)
            await asyncio.sleep(60)

        desk = at_desk(script, [BAD] * 5, ttl_s=100)
        assert (len(desk.sent), desk.delivered) == (6, ["a"])
        assert ("requeued", "a") in desk.events

    def test_a_displaced_message_is_visible_and_can_be_sent_after_all(self):
        async def script(desk):
            await desk.add("low", priority=2)
            await desk.add("high", priority=0)
            [dead] = await desk.store.items(ItemState.DEAD)
            assert (dead.id, dead.text, dead.reason) == ("low", "text low", "displaced")
            assert await desk.queue.retry("low")
            desk.recover()
            await asyncio.sleep(10)

        assert at_desk(script, ready=False, max_size=1, warn_size=1).delivered == ["high", "low"]

    def test_only_what_has_ended_without_an_answer_is_retried(self):
        async def script(desk):
            await desk.add("a")
            assert [await desk.queue.retry(name) for name in ("a", "none")] == [False, False]
            desk.recover()
            await asyncio.sleep(1)
            assert not await desk.queue.retry("a")

        assert at_desk(script, ready=False).delivered == ["a"]

    def test_cancelled_it_is_not_sent(self):
        async def script(desk):
            await desk.add("a", "b")
            assert [await desk.queue.cancel(name) for name in ("a", "a", "none")] == [True, False, False]
            desk.recover()
            await asyncio.sleep(10)
            [item] = await desk.store.items(ItemState.CANCELLED)
            assert (item.id, item.reason) == ("a", "by hand")

        desk = at_desk(script, ready=False)
        assert desk.delivered == ["b"]
        assert ("cancelled", "a") in desk.events

    def test_what_is_being_sent_cannot_be_cancelled(self):
        async def script(desk):
            await desk.add("a")
            await asyncio.sleep(1)
            assert not await desk.queue.cancel("a")

        at_desk(script, takes_s=10)


def test_an_id_that_comes_again_says_how_the_first_one_stands():
    async def script(desk):
        await desk.add("a")
        assert (await desk.queue.add("a", "text a", 1)).item.state is ItemState.READY
        desk.recover()
        await asyncio.sleep(1)
        again = await desk.queue.add("a", "text a", 1)
        assert (again.answer, again.item.state, again.item.reply) == (Answer.DUPLICATE, ItemState.DELIVERED, "reply")
        other = await desk.queue.add("a", "quite another text", 1)
        assert other == (Answer.REJECTED, None, "another message has this id", None)

    at_desk(script, ready=False)


policies = st.fixed_dictionaries(
    {
        "overflow": st.sampled_from(["displace", "reject", "drop-oldest"]),
        "max_attempts": st.integers(1, 3),
        "outages_count": st.booleans(),
        "dead_letters": st.booleans(),
        "flush_on": st.sampled_from(["any", "verdict"]),
        "canary": st.booleans(),
        "ttl_s": st.sampled_from([20, 100, 86400]),
        "base_s": st.sampled_from([0, 1, 5]),
        "cap_s": st.sampled_from([5, 60]),
        "drain_per_s": st.sampled_from([0.5, 2, 1000]),
        "drain_concurrency": st.integers(1, 5),
        "lease_s": st.sampled_from([10, 18]),
        "max_size": st.integers(1, 6),
        "flush_jitter_s": st.sampled_from([0, 5, 30]),
        "ageing_s": st.sampled_from([0, 10, 600]),
        "unknown_fate": st.sampled_from(["replay", "ask", "drop"]),
    }
)
doings = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "add", "fly", "land", "back", "recover", "lose", "wake", "retry", "cancel"],
        ),
        st.integers(0, 12),
        st.integers(0, 2),
        st.floats(0, 30),
    ),
    max_size=40,
)


@given(policies, doings, st.lists(st.sampled_from(list(Outcome)), max_size=60), st.floats(0, 9), st.integers(0, 99))
def test_nothing_leaves_silently_whatever_happens(policy, doings, outcomes, takes_s, seed):
    async def script(desk):
        for what, number, priority, wait_s in doings:
            name = str(number)
            if what == "add":
                talk = ("", "", "x", "y")[number % 4]
                await desk.queue.add(name, "t", priority, conversation=talk, uncertain=number % 5 == 0)
            elif what == "fly":
                await desk.queue.add(name, "t", priority, in_flight_s=20)
            elif what == "land":
                await desk.queue.delivered(name, "late")
            elif what == "back":
                await desk.queue.give_back(name, uncertain=number % 2 == 0)
            elif what == "retry":
                await desk.queue.retry(name)
            elif what == "cancel":
                await desk.queue.cancel(name)
            elif what == "recover":
                desk.recover()
            elif what == "lose":
                desk.is_ready = False
            else:
                desk.queue.wake()
            await asyncio.sleep(wait_s)
        counts = await desk.store.counts()
        accepted = sum(event == "accepted" for event, _ in desk.events)
        dropped = sum(event == "dropped" for event, _ in desk.events)
        assert accepted == sum(counts.values()) + dropped
        assert desk.most <= policy["drain_concurrency"]
        times = [time_s for time_s, _ in desk.sent]
        gaps = [after - before for before, after in pairwise(times)]
        assert all(gap >= 1 / policy["drain_per_s"] - 1e-6 for gap in gaps)

    at_desk(script, outcomes, takes_s=takes_s, uniform=hashed(seed), **{**policy, "warn_size": 1})
