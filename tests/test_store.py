"""One contract, two stores: whatever holds for the store in memory holds for the one in a file."""

import asyncio
import inspect
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hustle_sim.resilience import sqlite_schema
from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.resilience.store import Answer, Item, ItemState, MemoryStore, StoreError

READY, LEASED, DELIVERED = ItemState.READY, ItemState.LEASED, ItemState.DELIVERED
DEAD, EXPIRED, CANCELLED, UNKNOWN = ItemState.DEAD, ItemState.EXPIRED, ItemState.CANCELLED, ItemState.UNKNOWN


def item(name, priority=1, *, now=0.0, ttl_s=1000.0, **more):
    return Item(name, f"text of {name}", priority, now, now + ttl_s, rank=float(priority), not_before=now, **more)


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.real)])
def in_store(request, tmp_path):
    """Runs ``main(store)`` on a new store, which is closed after it."""

    def run(main):
        async def with_store():
            store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "queue.db")
            try:
                return await main(store)
            finally:
                await store.aclose()

        return asyncio.run(with_store())

    return run


async def add(store, *items, max_size=100, overflow="displace"):
    return [(await store.add(each, max_size=max_size, overflow=overflow)).answer.value for each in items]


async def claim(store, now, owner="me", lease_s=10.0):
    claimed = await store.claim(now, owner=owner, until=now + lease_s)
    return claimed.id if claimed else None


class TestAdd:
    def test_keeps_all_that_it_is_given_and_numbers_it(self, in_store):
        async def main(store):
            given_item = replace(item("a", 2, now=5.0), text='Zoë\n"\x00', tries=1, owner="me", state=LEASED)
            given_item = replace(given_item, leased_until=30.0)
            assert await add(store, given_item, item("b")) == ["accepted", "accepted"]
            assert await store.items() == [replace(given_item, sequence=1), replace(item("b"), sequence=2)]
            assert await store.depth() == 2

        in_store(main)

    def test_knows_an_id_again_even_after_its_end(self, in_store):
        async def main(store):
            await add(store, item("a"))
            assert await add(store, item("a", 0)) == ["duplicate"]
            await claim(store, 0)
            assert await add(store, item("a")) == ["duplicate"]
            await store.settle("a", "me", DELIVERED)
            assert await add(store, item("a")) == ["duplicate"]
            assert await store.depth() == 0

        in_store(main)

    def test_answers_with_the_item_as_it_stands(self, in_store):
        async def main(store):
            added = await store.add(item("a"), max_size=9, overflow="reject")
            assert added == (Answer.ACCEPTED, None, "", replace(item("a"), sequence=1))
            await claim(store, 0)
            await store.settle("a", "me", DELIVERED, reply="hello")
            again = await store.add(item("a"), max_size=9, overflow="reject")
            assert (again.item.state, again.item.reply) == (DELIVERED, "hello")

        in_store(main)

    def test_what_has_ended_already_needs_no_room(self, in_store):
        async def main(store):
            await add(store, item("a", 2))
            assert await add(store, replace(item("b"), state=DEAD), max_size=1) == ["accepted"]
            assert await store.depth() == 1

        in_store(main)

    def test_what_waits_for_a_person_takes_room_and_is_not_displaced(self, in_store):
        async def main(store):
            for overflow in ("displace", "drop-oldest"):
                await add(store, replace(item(overflow, 2), state=UNKNOWN))
            assert await store.depth() == 2
            for overflow in ("displace", "drop-oldest"):
                assert await add(store, item("b", 0), max_size=2, overflow=overflow) == ["rejected"]

        in_store(main)

    def test_a_duplicate_displaces_nothing_when_full(self, in_store):
        async def main(store):
            await add(store, item("a", 2), item("b", 2))
            assert await add(store, item("a", 0), max_size=2) == ["duplicate"]
            assert await store.depth() == 2

        in_store(main)

    def test_displaces_the_newest_of_the_lowest_priority_and_keeps_it_as_dead(self, in_store):
        async def main(store):
            await add(store, item("a", 2), item("b", 1), item("c", 2))
            added = await store.add(item("new", 1), max_size=3, overflow="displace")
            assert added.answer is Answer.DISPLACED
            assert added.victim == replace(item("c", 2), sequence=3, state=DEAD, reason="displaced")
            assert [each.id for each in await store.items(READY)] == ["a", "b", "new"]
            assert await store.items(DEAD) == [added.victim]

        in_store(main)

    def test_displaces_only_a_strictly_lower_priority(self, in_store):
        async def main(store):
            await add(store, item("a", 1), item("b", 1))
            assert await add(store, item("c", 1), item("d", 2), max_size=2) == ["rejected", "rejected"]
            assert await store.counts() == {state: 2 if state is READY else 0 for state in ItemState}

        in_store(main)

    def test_what_is_being_sent_is_never_displaced(self, in_store):
        async def main(store):
            await add(store, item("a", 2), item("b", 2))
            await claim(store, 0)
            assert await add(store, item("c", 0), item("d", 0), max_size=2) == ["displaced", "rejected"]
            assert [each.id for each in await store.items(LEASED)] == ["a"]

        in_store(main)

    def test_reject_says_why(self, in_store):
        async def main(store):
            await add(store, item("a", 2))
            added = await store.add(item("b", 0), max_size=1, overflow="reject")
            assert added == (Answer.REJECTED, None, "the queue is full", None)

        in_store(main)

    def test_drop_oldest_drops_the_oldest_low_one_else_the_oldest_without_a_trace(self, in_store):
        async def main(store):
            await add(store, item("a", 1), item("b", 2), item("c", 2))
            victims = []
            for name in ("d", "e", "f"):
                added = await store.add(item(name, 1), max_size=3, overflow="drop-oldest")
                assert added.answer is Answer.DISPLACED
                assert added.victim.state is not DEAD
                victims.append(added.victim.id)
            assert victims == ["b", "c", "a"]
            assert [each.id for each in await store.items()] == ["d", "e", "f"]
            assert await add(store, item("b")) == ["accepted"]

        in_store(main)


class TestClaim:
    def test_the_most_urgent_first_then_first_in(self, in_store):
        async def main(store):
            await add(store, item("a", 1), item("b", 2), item("c", 0), item("d", 1), item("e", 0))
            assert [await claim(store, 0) for _ in range(6)] == ["c", "e", "a", "d", "b", None]

        in_store(main)

    def test_leases_to_one_owner_and_counts_the_try(self, in_store):
        async def main(store):
            await add(store, item("a"))
            claimed = await store.claim(5.0, owner="me", until=20.0)
            expected = replace(item("a"), sequence=1, state=LEASED, owner="me", leased_until=20.0, tries=1)
            assert claimed == expected
            assert await store.items(LEASED) == [expected]
            assert await store.depth() == 1
            assert await claim(store, 19.9, "you") is None
            assert await claim(store, 20.0, "you") == "a"

        in_store(main)

    def test_not_before_its_time(self, in_store):
        async def main(store):
            await add(store, replace(item("a", 0), not_before=50.0), item("b", 2))
            assert [await claim(store, 49.9), await claim(store, 49.9), await claim(store, 50.0)] == ["b", None, "a"]

        in_store(main)

    def test_a_lease_that_ran_out_is_not_forgotten_when_something_more_urgent_comes_first(self, in_store):
        async def main(store):
            await add(store, item("slow", 2))
            await claim(store, 0.0)
            await add(store, item("urgent", 0))
            assert await claim(store, 15.0, "you") == "urgent"
            assert await store.next_due() == 10.0
            assert await claim(store, 15.0, "you") == "slow"

        in_store(main)

    def test_an_item_survives_a_clock_that_is_set_back(self, in_store):
        async def main(store):
            await add(store, item("a", 0, now=100.0), item("b", 1, now=100.0))
            assert await claim(store, 100.0) == "a"
            assert await claim(store, 50.0) is None
            assert await claim(store, 100.0) == "b"

        in_store(main)


class TestRank:
    def test_decides_whatever_the_priority_says_then_first_in(self, in_store):
        async def main(store):
            ranks = {"a": 5.0, "b": 1.5, "c": 5.0, "d": -2.0}
            await add(store, *(replace(item(name, 0), rank=rank) for name, rank in ranks.items()))
            assert [await claim(store, 0) for _ in ranks] == ["d", "b", "a", "c"]

        in_store(main)

    def test_stays_with_an_item_that_is_released(self, in_store):
        async def main(store):
            await add(store, replace(item("a"), rank=1.0), replace(item("b"), rank=2.0))
            await claim(store, 0)
            await store.release("a", "me", not_before=0, attempts=0, reason="")
            assert [await claim(store, 0), await claim(store, 0)] == ["a", "b"]

        in_store(main)


class TestConversations:
    @staticmethod
    async def say(store, *names, **more):
        await add(store, *(item(name, conversation=name[0], **more) for name in names))

    def test_one_at_a_time_in_the_order_of_adding(self, in_store):
        async def main(store):
            await self.say(store, "x1", "x2", "y1")
            await add(store, replace(item("x3", 0), conversation="x"))
            assert [await claim(store, 0) for _ in range(3)] == ["x1", "y1", None]
            await store.settle("x1", "me", DELIVERED)
            assert await claim(store, 0) == "x2"
            await store.settle("x2", "me", DEAD)
            assert await claim(store, 0) == "x3"

        in_store(main)

    def test_keep_their_order_under_releases_and_lease_ends(self, in_store):
        async def main(store):
            await self.say(store, "x1", "x2")
            await claim(store, 0)
            await store.release("x1", "me", not_before=50, attempts=0, reason="")
            assert await claim(store, 49) is None
            assert await claim(store, 50, "dead") == "x1"
            assert await claim(store, 59) is None
            assert await claim(store, 60) == "x1"
            await store.settle("x1", "me", DELIVERED)
            assert await claim(store, 60) == "x2"

        in_store(main)

    def test_wait_for_one_whose_fate_is_unknown_and_go_on_when_it_has_ended(self, in_store):
        async def main(store):
            await self.say(store, "x1", "x2", "x3", ttl_s=100)
            await claim(store, 0)
            await store.settle("x1", "me", UNKNOWN)
            assert await claim(store, 0) is None
            assert await store.cancel("x1", "why")
            assert await claim(store, 0) == "x2"
            await store.settle("x2", "me", UNKNOWN)
            assert await claim(store, 99) is None
            assert [each.id for each in await store.expire(100)] == ["x2", "x3"]

        in_store(main)

    def test_a_requeued_one_takes_its_old_place(self, in_store):
        async def main(store):
            await self.say(store, "x1", "x2")
            await claim(store, 0)
            await store.settle("x1", "me", DEAD)
            assert await store.requeue("x1", 1.0, 500.0)
            assert [await claim(store, 1), await claim(store, 1)] == ["x1", None]

        in_store(main)

    def test_what_waits_for_its_turn_is_not_due(self, in_store):
        async def main(store):
            await self.say(store, "x1", "x2")
            await claim(store, 0, lease_s=70)
            assert await claim(store, 5) is None
            assert await store.next_due() == 70
            await store.settle("x1", "me", UNKNOWN)
            assert await store.next_due() is None
            await store.cancel("x1", "")
            assert await store.next_due() == 0

        in_store(main)

    def test_know_whether_something_of_them_waits(self, in_store):
        async def main(store):
            await add(store, item("a"))
            assert not await store.has_pending("")
            await self.say(store, "x1")
            assert (await store.has_pending("x"), await store.has_pending("y")) == (True, False)
            for state in (UNKNOWN, LEASED):
                await add(store, item(state.value, conversation=state.value, state=state))
                assert await store.has_pending(state.value)
            await claim(store, 0)
            await claim(store, 0)
            await store.settle("x1", "me", DELIVERED)
            assert not await store.has_pending("x")

        in_store(main)


class TestDoubt:
    def test_a_lease_that_ran_out_leaves_it(self, in_store):
        async def main(store):
            await add(store, item("a"))
            assert not (await store.claim(0, owner="dead", until=10)).uncertain
            assert (await store.claim(10, owner="me", until=20)).uncertain
            await store.release("a", "me", not_before=10, attempts=0, reason="", uncertain=False)
            assert (await store.claim(10, owner="me", until=20)).uncertain

        in_store(main)

    def test_a_release_may_leave_it(self, in_store):
        async def main(store):
            await add(store, item("a"), item("b"))
            for name in ("a", "b"):
                await claim(store, 0)
                await store.release(name, "me", not_before=50, attempts=0, reason="", uncertain=name == "a")
            assert [each.uncertain for each in await store.items()] == [True, False]

        in_store(main)

    def test_what_is_unknown_is_pending_and_never_claimed(self, in_store):
        async def main(store):
            await add(store, item("a"), replace(item("b"), state=UNKNOWN))
            await claim(store, 0)
            assert await store.settle("a", "me", UNKNOWN, reason="timeout")
            assert (await store.depth(), await store.next_due()) == (2, None)
            assert await claim(store, 500) is None
            assert (await store.items(UNKNOWN))[0].reason == "timeout"
            assert [each.id for each in await store.expire(1000)] == ["a", "b"]
            assert await store.depth() == 0

        in_store(main)


async def ended(store, name, state):
    """Bring a new item to a state."""
    await add(store, item(name))
    if state is EXPIRED:
        await store.expire(1000)
    elif state is CANCELLED:
        await store.cancel(name, "")
    elif state is not READY:
        await store.claim(0, owner="me", until=1e9)
        if state is not LEASED:
            await store.settle(name, "me", state)


class TestByHand:
    @pytest.mark.parametrize("state", list(ItemState))
    def test_what_may_be_requeued_cancelled_and_deleted(self, in_store, state):
        async def main(store):
            for what in ("requeue", "cancel", "delete"):
                await ended(store, what, state)
            assert await store.requeue("requeue", 5, 2000) == (state in (DEAD, EXPIRED, CANCELLED, UNKNOWN))
            assert await store.cancel("cancel", "why") == (state in (READY, UNKNOWN))
            assert await store.delete("delete") == (state in (DEAD, EXPIRED, CANCELLED, DELIVERED))
            assert not await store.requeue("none", 5, 2000)
            assert not await store.cancel("none", "")
            assert not await store.delete("none")
            counts = await store.counts()
            found = await store.items()
            assert counts == {each: sum(one.state is each for one in found) for each in ItemState}

        in_store(main)

    def test_requeued_it_does_not_expire_at_its_old_end(self, in_store):
        async def main(store):
            await add(store, item("a", ttl_s=10.0))
            assert await claim(store, 0.0) == "a"
            await store.settle("a", "me", DEAD)
            assert await store.requeue("a", 5.0, 100.0)
            assert await store.expire(50.0) == []
            assert [gone.id for gone in await store.expire(100.0)] == ["a"]

        in_store(main)

    def test_requeued_it_begins_anew_in_its_old_place(self, in_store):
        async def main(store):
            await add(store, item("a"), item("b"))
            await claim(store, 0, "dead")
            await claim(store, 0)
            await claim(store, 10)
            await store.settle("a", "me", UNKNOWN, reason="timeout")
            await store.settle("b", "me", DEAD)
            for name in ("b", "a"):
                assert await store.requeue(name, 20.0, 99.0)
            a, b = await store.items(READY)
            assert (a.attempts, a.uncertain, a.not_before, a.expires_at, a.reason) == (0, False, 20, 99, "requeued")
            assert (await store.depth(), await store.next_due()) == (2, 20)
            assert await claim(store, 19) is None
            assert [await claim(store, 20), await claim(store, 20)] == ["a", "b"]
            assert [each.id for each in await store.expire(99)] == [b.id, a.id] or await store.depth() == 0

        in_store(main)

    def test_cancelled_it_keeps_the_reason(self, in_store):
        async def main(store):
            await add(store, item("a"))
            assert await store.cancel("a", "by hand")
            [gone] = await store.items(CANCELLED)
            assert gone.reason == "by hand"
            assert await claim(store, 0) is None
            assert await store.depth() == 0

        in_store(main)

    def test_deleted_its_id_may_come_again(self, in_store):
        async def main(store):
            await ended(store, "a", DEAD)
            assert await store.delete("a")
            assert await store.items() == []
            assert await add(store, item("a")) == ["accepted"]
            assert await claim(store, 0) == "a"

        in_store(main)


class TestEnds:
    def test_only_the_owner_of_a_lease_may_end_or_release_or_drop_it(self, in_store):
        async def main(store):
            await add(store, item("a"))
            assert not await store.settle("a", "me", DELIVERED)
            await claim(store, 0, "me")
            assert not await store.settle("a", "you", DELIVERED)
            assert not await store.release("a", "you", not_before=0, attempts=1, reason="")
            assert not await store.drop("a", "you")
            assert not await store.settle("none", "me", DELIVERED)
            assert await store.settle("a", "me", DELIVERED, reason="why", reply="hello")
            assert not await store.settle("a", "me", DEAD)
            assert not await store.release("a", "me", not_before=0, attempts=1, reason="")
            assert not await store.drop("a", "me")
            [ended] = await store.items(DELIVERED)
            assert (ended.reason, ended.reply, ended.owner) == ("why", "hello", "")

        in_store(main)

    def test_a_lease_taken_over_by_another_is_lost_to_the_first(self, in_store):
        async def main(store):
            await add(store, item("a"))
            await claim(store, 0, "me")
            assert await claim(store, 10, "you") == "a"
            assert not await store.settle("a", "me", DELIVERED)
            assert await store.settle("a", "you", DELIVERED)

        in_store(main)

    def test_released_it_keeps_its_place_and_comes_back_in_time(self, in_store):
        async def main(store):
            await add(store, item("a"), item("b"))
            await claim(store, 0)
            assert await store.release("a", "me", not_before=5.0, attempts=2, reason="http_4xx")
            [released, _] = await store.items()
            assert (released.state, released.attempts, released.tries) == (READY, 2, 1)
            assert (released.not_before, released.reason, released.owner) == (5.0, "http_4xx", "")
            assert await claim(store, 5.0) == "a"

        in_store(main)

    def test_dropped_it_never_was(self, in_store):
        async def main(store):
            await add(store, item("a"))
            await claim(store, 0)
            assert await store.drop("a", "me")
            assert await store.items() == []
            assert await store.depth() == 0
            assert await store.next_due() is None
            assert await claim(store, 100) is None
            assert await store.expire(1e9) == []

        in_store(main)

    def test_counts_name_every_state(self, in_store):
        async def main(store):
            assert await store.counts() == dict.fromkeys(ItemState, 0)
            await add(store, item("a"), item("b"), item("c"))
            await claim(store, 0)
            await claim(store, 0)
            await store.settle("a", "me", DELIVERED)
            assert await store.counts() == {**dict.fromkeys(ItemState, 0), DELIVERED: 1, LEASED: 1, READY: 1}

        in_store(main)


class TestExpire:
    def test_ends_what_is_past_its_time_the_oldest_end_first(self, in_store):
        async def main(store):
            await add(store, item("a", ttl_s=30), item("b", ttl_s=10), item("c", ttl_s=99))
            assert await store.expire(9.9) == []
            expired = await store.expire(30)
            assert [each.id for each in expired] == ["b", "a"]
            assert {(each.state, each.reason) for each in expired} == {(EXPIRED, "too old")}
            assert await store.expire(30) == []
            assert await claim(store, 30) == "c"

        in_store(main)

    def test_what_ends_together_ends_in_the_order_of_adding(self, in_store):
        async def main(store):
            names = [f"0-{number}" for number in range(12)]
            await add(store, *(item(name) for name in names))
            assert [each.id for each in await store.expire(1000)] == names

        in_store(main)

    def test_what_is_being_sent_has_time_until_its_lease_runs_out(self, in_store):
        async def main(store):
            await add(store, item("a", ttl_s=5))
            await claim(store, 0)
            assert await store.expire(9.9) == []
            [expired] = await store.expire(10)
            assert (expired.id, expired.owner) == ("a", "")

        in_store(main)


class TestNextDue:
    def test_is_the_earliest_time_at_which_something_can_be_claimed(self, in_store):
        async def main(store):
            assert await store.next_due() is None
            await add(store, replace(item("a"), not_before=50.0), replace(item("b"), not_before=20.0))
            assert await store.next_due() == 20
            assert await claim(store, 20, lease_s=100) == "b"
            assert await store.next_due() == 50
            assert await claim(store, 50, lease_s=5) == "a"
            assert await store.next_due() == 55
            await store.settle("a", "me", DELIVERED)
            assert await store.next_due() == 120

        in_store(main)

    def test_may_be_past(self, in_store):
        async def main(store):
            await add(store, item("a", now=3.0), item("b", now=1.0))
            assert await store.next_due() in (1, 3)
            assert await claim(store, 10) == "a"
            assert await store.next_due() == 1

        in_store(main)


class TestPrune:
    async def ended(self, store):
        """One item in each state, of which each would have expired at 10."""
        ends = {"a": DELIVERED, "b": EXPIRED, "c": DEAD, "d": CANCELLED, "e": UNKNOWN}
        await add(store, *(item(name, ttl_s=10, state=state) for name, state in ends.items()), item("f", ttl_s=10))

    def test_forgets_what_ended_but_no_dead_letter_and_nothing_that_waits(self, in_store):
        async def main(store):
            await self.ended(store)
            assert await store.prune(9.9, 100) == 0
            assert await store.prune(10.0, 100) == 3
            assert [each.id for each in await store.items()] == ["c", "e", "f"]
            assert await store.depth() == 2
            assert (await store.counts())[DELIVERED] == 0

        in_store(main)

    def test_takes_no_more_than_it_is_told_and_the_oldest_first(self, in_store):
        async def main(store):
            await add(store, *(item(str(number), ttl_s=10 - number, state=DELIVERED) for number in range(5)))
            assert await store.prune(20, 2) == 2
            assert [each.id for each in await store.items()] == ["0", "1", "2"]
            assert [await store.prune(20, 2), await store.prune(20, 2)] == [2, 1]

        in_store(main)

    def test_what_was_made_ready_again_has_a_new_end(self, in_store):
        async def main(store):
            await add(store, item("a", ttl_s=10, state=CANCELLED))
            assert await store.requeue("a", 20, 50)
            assert await store.prune(40, 9) == 0
            assert await store.cancel("a", "")
            assert await store.prune(40, 9) == 0
            assert await store.prune(50, 9) == 1

        in_store(main)


def test_a_duplicate_uses_up_no_number(in_store):
    async def main(store):
        assert await add(store, item("a"), item("a"), item("b")) == ["accepted", "duplicate", "accepted"]
        assert [each.sequence for each in await store.items()] == [1, 2]

    in_store(main)


def test_notes_are_kept_under_their_names(in_store):
    async def main(store):
        assert await store.note("health") is None
        await store.set_note("health", "online")
        await store.set_note("breaker", "{}")
        await store.set_note("health", "offline Zoë")
        assert (await store.note("health"), await store.note("breaker")) == ("offline Zoë", "{}")

    in_store(main)


def test_both_have_the_calls_of_the_port():
    from hustle_sim.resilience.store import Store

    for name in [name for name in vars(Store) if not name.startswith("_")]:
        port = inspect.signature(getattr(Store, name))
        for kind in (MemoryStore, SQLiteStore):
            assert inspect.signature(getattr(kind, name)) == port, (kind, name)


# Both stores go through the same random life and must agree at every step.
names = st.sampled_from(["9", "10", "11", "12"])
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), names, st.integers(0, 2), st.integers(1, 60), st.integers(0, 9), st.sampled_from("  xy")
        ),
        st.tuples(st.just("add leased"), names, st.integers(0, 2), st.integers(1, 30)),
        st.tuples(st.just("claim"), st.sampled_from(["me", "you"]), st.integers(1, 20)),
        st.tuples(
            st.just("settle"), names, st.sampled_from(["me", "you"]), st.sampled_from([DELIVERED, DEAD, UNKNOWN])
        ),
        st.tuples(st.sampled_from(["requeue", "cancel", "delete"]), names),
        st.tuples(st.just("release"), names, st.sampled_from(["me", "you"]), st.integers(0, 20), st.integers(0, 3)),
        st.tuples(st.just("drop"), names, st.sampled_from(["me", "you"])),
        st.tuples(st.just("wait"), st.integers(-5, 15)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("prune"), st.integers(1, 3)),
    ),
    max_size=30,
)


@pytest.mark.real
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, max_size=st.integers(1, 4), overflow=st.sampled_from(["displace", "reject", "drop-oldest"]))
def test_both_stores_live_the_same_life(tmp_path_factory, steps, max_size, overflow):
    async def main():
        sqlite = SQLiteStore(tmp_path_factory.mktemp("life") / "queue.db")
        # Thousands of commits that nobody needs after a power cut.
        await sqlite._do(lambda database: None)
        sqlite._database.execute("PRAGMA synchronous = OFF")
        stores = (MemoryStore(), sqlite)
        now, was_set_back = 100.0, False
        for what, *args in steps:
            results = []
            if what == "wait":
                now += args[0]
                was_set_back |= args[0] < 0
            for store in stores:
                match what, *args:
                    case "add", name, priority, ttl_s, delay_s, talk:
                        new = item(name, priority, now=now, ttl_s=ttl_s, conversation=talk.strip())
                        new = replace(new, not_before=now + delay_s, rank=float((priority * 7 + delay_s) % 5))
                        results.append(await store.add(new, max_size=max_size, overflow=overflow))
                    case "add leased", name, priority, lease_s:
                        new = item(name, priority, now=now, state=LEASED, owner="me", leased_until=now + lease_s)
                        results.append(await store.add(new, max_size=max_size, overflow=overflow))
                    case "claim", owner, lease_s:
                        results.append(await store.claim(now, owner=owner, until=now + lease_s))
                    case "settle", name, owner, state:
                        results.append(await store.settle(name, owner, state, reason="r", reply="y"))
                    case "release", name, owner, delay_s, attempts:
                        results.append(
                            await store.release(
                                name, owner, not_before=now + delay_s, attempts=attempts, reason="r",
                                uncertain=attempts == 3,
                            )
                        )  # fmt: skip
                    case "requeue", name:
                        results.append(await store.requeue(name, now, now + 40))
                    case "cancel", name:
                        results.append(await store.cancel(name, "r"))
                    case "delete", name:
                        results.append(await store.delete(name))
                    case "drop", name, owner:
                        results.append(await store.drop(name, owner))
                    case "prune", limit:
                        results.append(await store.prune(now, limit))
                    case "expire", *_:
                        results.append(await store.expire(now))
            assert results[:1] == results[1:]
            both = [
                (
                    await store.items(), await store.depth(), await store.counts(),
                    await store.has_pending("x"), await store.next_due(),
                )
                for store in stores
            ]  # fmt: skip
            assert both[0][:4] == both[1][:4]
            due = [each[4] for each in both]
            # What is due already is due, and a clock that is set back makes either answer right.
            assert due[0] == due[1] or (None not in due and (max(due) <= now or was_set_back)), due
        await sqlite.aclose()

    asyncio.run(main())


@pytest.mark.real
class TestTheFile:
    def test_what_was_accepted_is_there_for_the_next_session(self, tmp_path):
        path = tmp_path / "deep" / "queue.db"

        async def first():
            store = SQLiteStore(path)
            await add(store, item("a"), item("b", 0))
            await claim(store, 0, "crashed")
            await store.set_note("breaker", "{}")
            await store.aclose()

        async def second():
            store = SQLiteStore(path)
            assert await store.depth() == 2
            assert [await claim(store, 1), await claim(store, 1), await claim(store, 10)] == ["a", None, "b"]
            assert await store.note("breaker") == "{}"
            assert await add(store, item("c")) == ["accepted"]
            assert (await store.items(READY))[0].sequence == 3
            await store.aclose()

        asyncio.run(first())
        asyncio.run(second())

    def test_what_was_accepted_survives_a_process_that_is_killed(self, tmp_path):
        code = """if True:
            import asyncio, os, signal, sys
            from hustle_sim.resilience.sqlite_store import SQLiteStore
            from hustle_sim.resilience.store import Item
            async def main():
                store = SQLiteStore(sys.argv[1])
                for n in range(5):
                    await store.add(Item(str(n), "t", 1, 0.0, 1e9), max_size=9, overflow="reject")
                os.kill(os.getpid(), signal.SIGKILL)
            asyncio.run(main())
        """
        path = tmp_path / "queue.db"
        ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True)
        assert ended.returncode == -9

        async def main():
            store = SQLiteStore(path)
            assert [each.id for each in await store.items()] == ["0", "1", "2", "3", "4"]
            await store.aclose()

        asyncio.run(main())

    def test_only_its_owner_may_read_it(self, tmp_path):
        path = tmp_path / "queue.db"

        async def main():
            store = SQLiteStore(path)
            await add(store, item("a"))
            assert {stat.S_IMODE(os.stat(each).st_mode) for each in tmp_path.iterdir()} == {0o600}
            assert len(list(tmp_path.iterdir())) == 3
            await store.aclose()

        asyncio.run(main())

    def test_lasts_through_a_power_cut(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            assert await store._do(lambda database: database.execute("PRAGMA synchronous").fetchone()) == (2,)
            assert await store._do(lambda database: database.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
            await store.aclose()

        asyncio.run(main())

    def test_two_that_share_a_file_never_claim_the_same_item(self, tmp_path):
        async def main():
            one, two = SQLiteStore(tmp_path / "queue.db"), SQLiteStore(tmp_path / "queue.db")
            await add(one, *(item(str(number)) for number in range(20)))
            claimed = await asyncio.gather(*(claim(store, 0) for _ in range(15) for store in (one, two)))
            assert sorted(filter(None, claimed), key=int) == [str(number) for number in range(20)]
            await one.aclose()
            await two.aclose()

        asyncio.run(main())

    @staticmethod
    def refused(path, work=None, **more):
        async def main():
            store = SQLiteStore(path, **more)
            try:
                with pytest.raises(StoreError) as caught:
                    await (work(store) if work else store.depth())
            finally:
                await store.aclose()
            return str(caught.value)

        return asyncio.run(main())

    def test_a_damaged_file_is_one_sentence(self, tmp_path):
        path = tmp_path / "queue.db"
        path.write_text("this is no database, and long enough to look like one " * 40)

        async def main():
            store = SQLiteStore(path)
            await add(store, item("a"))
            depth, notice = await store.depth(), store.notice
            await store.aclose()
            return depth, notice

        depth, notice = asyncio.run(main())
        assert depth == 1
        (aside,) = tmp_path.glob("queue.db.damaged-*-the-file-is-not-a-database")
        assert aside.read_text().startswith("this is no database")
        assert aside.name in notice
        assert "no message could be read" in notice

    def test_what_can_be_read_of_a_damaged_file_is_taken_over(self, tmp_path):
        path = tmp_path / "queue.db"

        async def fill():
            store = SQLiteStore(path)
            await asyncio.gather(*(add(store, item(str(number))) for number in range(3000)))
            await store.aclose()

        async def look():
            store = SQLiteStore(path)
            kept = [item.id for item in await store.items(ItemState.READY)]
            notice = store.notice
            await store.aclose()
            return kept, notice

        asyncio.run(fill())
        pages = path.stat().st_size // 4096
        with path.open("r+b") as file:
            # A stretch of the pages in the middle, whatever they hold.
            file.seek(4096 * (pages // 2))
            file.write(b"\xa5" * 4096 * 3)
        kept, notice = asyncio.run(look())
        assert 0 < len(kept) <= 3000
        assert set(kept) <= {str(number) for number in range(3000)}
        assert f"{len(kept)} messages were saved from it" in notice
        assert len(list(tmp_path.glob("queue.db.damaged-*"))) >= 1
        assert asyncio.run(look()) == (kept, "")

    def test_a_full_disk_is_one_sentence_and_harms_no_other_message(self, tmp_path):
        path = tmp_path / "queue.db"

        async def main():
            store = SQLiteStore(path)
            await add(store, item("before"))

            def limit(database):
                database.execute("PRAGMA max_page_count = 30")

            await store._do(limit, writes=False)
            with pytest.raises(StoreError, match="the disk is full"):
                await add(store, replace(item("large"), text="x" * 1_000_000))
            await add(store, item("after"))
            kept = [item.id for item in await store.items()]
            await store.aclose()
            return kept

        assert asyncio.run(main()) == ["before", "after"]

    def test_calls_that_wait_together_are_committed_together(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            await store.depth()
            commits = []

            def count(database):
                database.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)

            await store._do(count, writes=False)
            await asyncio.gather(*(add(store, item(str(number))) for number in range(200)))
            await store.aclose()
            return len(commits)

        assert asyncio.run(main()) < 20

    def test_one_call_that_fails_does_not_harm_those_committed_with_it(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            results = await asyncio.gather(
                add(store, item("a")),
                add(store, replace(item("b"), text="\ud800")),
                add(store, item("c")),
                return_exceptions=True,
            )
            kept = [item.id for item in await store.items()]
            await store.aclose()
            return [isinstance(result, StoreError) for result in results], kept

        assert asyncio.run(main()) == ([False, True, False], ["a", "c"])

    def test_a_folder_in_its_place_is_one_sentence(self, tmp_path):
        assert self.refused(tmp_path) == f"{tmp_path}: Is a directory"

    def test_a_file_of_an_older_version_is_brought_to_this_one_in_one_go(self, tmp_path, monkeypatch):
        path = tmp_path / "queue.db"

        def opened(work):
            async def main():
                store = SQLiteStore(path)
                try:
                    return await work(store)
                finally:
                    await store.aclose()

            return asyncio.run(main())

        opened(lambda store: add(store, item("a")))
        first = sqlite_schema.MIGRATIONS
        monkeypatch.setattr(
            sqlite_schema,
            "MIGRATIONS",
            (*first, "CREATE TABLE extra (a);\nINSERT INTO extra VALUES (1);\n", "ALTER TABLE missing ADD b;\n"),
        )
        with pytest.raises(StoreError, match="no such table"):
            opened(lambda store: store.depth())
        with sqlite3.connect(path) as database:
            # Half a migration is none.
            assert database.execute("PRAGMA user_version").fetchone() == (len(first),)
            assert database.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchone() is None
        database.close()
        monkeypatch.setattr(
            sqlite_schema,
            "MIGRATIONS",
            (*sqlite_schema.MIGRATIONS[:-1], "UPDATE extra SET a = (SELECT count(*) FROM items);\n"),
        )
        assert [each.id for each in opened(lambda store: store.items())] == ["a"]
        assert opened(lambda store: store.depth()) == 1
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (len(first) + 2,)
            assert database.execute("SELECT a FROM extra").fetchall() == [(1,)]
        database.close()

    def test_a_file_of_the_first_schema_keeps_its_items(self, tmp_path, monkeypatch):
        path = tmp_path / "queue.db"

        async def main(work):
            store = SQLiteStore(path)
            try:
                return await work(store)
            finally:
                await store.aclose()

        with monkeypatch.context() as patched:
            patched.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:1])
            asyncio.run(main(lambda store: add(store, item("a"), item("b"))))
        assert [each.id for each in asyncio.run(main(lambda store: store.items()))] == ["a", "b"]
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (2,)
            assert database.execute("SELECT 1 FROM sqlite_master WHERE name = 'items_old'").fetchone() == (1,)
        database.close()

    def test_every_query_of_the_daily_work_uses_an_index(self, tmp_path):
        seen = []

        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            await store.depth()
            await store._do(lambda database: database.set_trace_callback(seen.append))
            await add(store, item("a", conversation="x"), item("b"))
            await claim(store, 5)
            await store.release("a", "me", not_before=0, attempts=0, reason="")
            await store.expire(1)
            await store.next_due()
            await store.has_pending("x")
            await store.cancel("b", "")
            await store.requeue("b", 0, 9)
            await store.prune(9, 9)
            await store._do(lambda database: database.set_trace_callback(None))
            await store.aclose()

        asyncio.run(main())
        database = sqlite3.connect(tmp_path / "queue.db")
        for statement in {said for said in seen if said.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT")}:
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}")]
            harmless = ("SCAN CONSTANT ROW", "tally", "USING")
            scans = [step for step in plan if "SCAN" in step and not any(each in step for each in harmless)]
            assert not scans, (statement, plan)
        database.close()

    def test_a_file_of_another_version_is_left_alone(self, tmp_path):
        path = tmp_path / "queue.db"
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        assert "was written by a newer hustle_sim (schema 99" in self.refused(path)

    def test_a_file_that_another_process_keeps_locked_is_one_sentence(self, tmp_path):
        path = tmp_path / "queue.db"

        async def make():
            store = SQLiteStore(path)
            await store.depth()
            await store.aclose()

        asyncio.run(make())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert self.refused(path, busy_timeout_s=0.05) == f"{path}: another process keeps the file locked"
        finally:
            other.close()

    def test_text_that_no_file_can_hold_is_refused_not_raised(self, tmp_path):
        path = tmp_path / "queue.db"
        said = self.refused(path, lambda store: add(store, replace(item("a"), text="\ud800")))
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        assert self.refused(path, lambda store: add(store, item("a", 2**70))).startswith(f"{path}: ")

    def test_after_a_failed_change_the_next_one_works(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            with pytest.raises(StoreError):
                await add(store, replace(item("a"), text="\ud800"))
            assert await add(store, item("a")) == ["accepted"]
            await store.aclose()

        asyncio.run(main())

    def test_closed_it_refuses_and_closing_twice_is_no_error(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db")
            await store.depth()
            await store.aclose()
            await store.aclose()
            with pytest.raises(StoreError, match="closed"):
                await store.depth()

        asyncio.run(main())

    def test_the_loop_goes_on_while_the_disk_is_slow(self, tmp_path):
        async def main():
            store = SQLiteStore(tmp_path / "queue.db", busy_timeout_s=5)
            await store.depth()
            other = sqlite3.connect(store.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            adding = asyncio.create_task(add(store, item("a")))
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert not adding.done()
            other.close()
            assert await adding == ["accepted"]
            await store.aclose()

        asyncio.run(main())
