"""A conversation through outages, in virtual time: the coach is the real one, only its thread is left out."""

import asyncio
import itertools
from concurrent.futures import Future

import pytest
from fakes import BAD_MESSAGE, HANG, OK, REFUSED, BrokenStore, Rig, down_between, ok, run_virtual
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.dashboard.coach_state import (
    KEPT,
    LONGEST,
    MEND,
    MEND_AND_WATCH,
    MOST_SUGGESTIONS,
    QUESTIONS,
    Conversation,
    Conversations,
    checked,
    is_visitor,
    look,
    newly_said,
    row,
    suggestions,
)
from hustle_sim.dashboard.coach_talk import LOOK_EVERY_S, Talk
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.resilience import Delivery, Item, ItemState, MemoryStore, Reply

QUIET = {
    "retry.jitter": "none", "breaker.enabled": False, "cache.enabled": False, "probe.evidence": False,
    "probe.jitter": 0, "probe.fall": 1, "probe.rise": 1, "probe.interval_s": 20, "queue.flush_jitter_s": 0,
}  # fmt: skip


def policy(**changes):
    return Policy().replace({**QUIET, **{name.replace("__", "."): value for name, value in changes.items()}})


class VirtualSession:
    """What ``Talk`` asks of a live session, answered by the running (virtual) loop."""

    def __init__(self, rig):
        self.rig = rig
        self.policy, self.world = rig.coach.policy, rig.world
        self.is_running = True

    @property
    def version(self):
        return len(self.rig.recorder)

    def subscribe_deliveries(self, subscriber, *, conversation):
        return self.rig.coach.subscribe(lambda each: each.conversation == conversation and subscriber(each))

    def send(self, text, *, conversation, message_id):
        return self._submit(self.rig.coach.send(text, conversation=conversation, message_id=message_id))

    def items(self, *, conversation):
        async def of_it():
            return [item for item in await self.rig.store.items() if item.conversation == conversation]

        return self._submit(of_it())

    def find(self, *ids):
        return self._submit(self.rig.store.find(*ids))

    def retry(self, message_id):
        return self._submit(self.rig.coach.queue.retry(message_id))

    def cancel(self, message_id):
        return self._submit(self.rig.coach.queue.cancel(message_id))

    def _submit(self, work):
        if not self.is_running:
            work.close()
            raise RuntimeError("the session is not running")
        future, task = Future(), asyncio.ensure_future(work)

        def tell(done):
            if future.cancelled():
                return
            if done.exception() is not None:
                future.set_exception(done.exception())
            else:
                future.set_result(done.result())

        task.add_done_callback(lambda done: None if done.cancelled() else tell(done))
        future.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        return future


class Person:
    """Somebody at the page: what they see after some time, which the page would pull."""

    def __init__(self, rig, visitor="me", conversation=None):
        self.rig = rig
        self.conversation = conversation or Conversation()
        self.talk = Talk(VirtualSession(rig), self.conversation, visitor, rig.world.wall_clock)

    async def wait(self, seconds):
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(min(0.25, until - loop.time()))
            self.talk.look()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return self.conversation.entries()

    def key(self, text):
        return next(entry.key for entry in self.conversation.entries() if entry.question == text)

    def see(self):
        return [(entry.question, entry.source, entry.fate) for entry in self.conversation.entries()]


def story(script, *args, **more):
    async def main():
        async with Rig(*args, **more) as rig:
            await script(rig, Person(rig))
        return rig

    return run_virtual(main())


class TestAnOutage:
    def test_an_answer_while_the_coach_is_well(self):
        async def script(rig, person):
            person.talk.send("Hi")
            assert person.see() == [("Hi", "", "waiting")]
            [entry] = person.conversation.entries()
            assert row(entry, rig.world.wall_clock())["due_in_s"] == 8.0
            assert look(entry).actions == ("cancel",)
            [entry] = await person.wait(0.5)
            assert (entry.answer, entry.source, entry.fate) == ("Well done!", "backend", "done")
            assert look(entry) == ("✓", "The coach's answer, after 100 ms", "good", ())
            assert row(entry, rig.world.wall_clock())["due_in_s"] == -1

        story(script, policy())

    def test_the_real_answer_replaces_the_fallback_in_its_place(self):
        async def script(rig, person):
            person.talk.send("one")
            await person.wait(9)
            person.talk.send("two")
            entries = await person.wait(9)
            assert person.see() == [("one", "fallback", "ready"), ("two", "fallback", "ready")]
            for entry in entries:
                assert entry.answered_at - entry.sent_at <= 8.0 + 1e-9
                assert look(entry).words == "Offline answer · will be sent when the coach is back"
                assert "Your message is saved" in entry.answer
            await person.wait(120)
            assert person.see() == [("one", "late", "done"), ("two", "late", "done")]
            after = person.conversation.entries()
            assert [entry.key for entry in after] == [entry.key for entry in entries]
            assert {entry.answer for entry in after} == {"Well done!"}
            assert look(after[0]).words.startswith("The coach's answer, late: after ")

        down = down_between(1.0, 40.0)
        rig = story(script, policy(), chat=down, health=down)
        assert [text for at, text, _ in rig.backend.chats if at >= 40.0] == ["one", "two"]

    def test_an_answer_that_was_still_on_its_way(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(8.5)
            [entry] = person.conversation.entries()
            assert (entry.source, entry.fate) == ("fallback", "sending")
            assert "being sent now" in look(entry).words
            await person.wait(5)
            assert person.see() == [("Hi", "late", "done")]

        story(script, policy(request__max_attempts=1), chat=ok(after_s=11.0))

    def test_a_saved_and_an_older_answer_are_marked_as_such(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(1)
            person.talk.send("Hi")
            await person.wait(1)
            await person.wait(400)
            person.talk.send("Hi")
            entries = await person.wait(9)
            assert [(entry.source, entry.fate) for entry in entries] == [
                ("backend", "done"), ("cache", "done"), ("stale", "ready"),
            ]  # fmt: skip
            assert look(entries[1]).words.startswith("Saved answer")
            assert look(entries[2]).words == ("Older answer to the same question · will be sent when the coach is back")
            assert entries[2].answer == entries[0].answer

        down = down_between(100.0, 9999.0)
        story(script, policy(cache__enabled=True), chat=down, health=down)

    def test_two_visitors_have_nothing_of_each_other(self):
        async def script(rig, me):
            you = Person(rig, "you")
            me.talk.send("mine")
            you.talk.send("yours")
            await me.wait(60)
            await you.wait(60)
            assert me.see() == [("mine", "late", "done")]
            assert you.see() == [("yours", "late", "done")]
            again = Person(rig, "you")
            await again.wait(1)
            assert [entry.question for entry in again.conversation.entries()] == ["yours"]

        down = down_between(1.0, 30.0)
        story(script, policy(), chat=down, health=down)


class TestCancel:
    def test_before_the_answer_it_is_withdrawn_and_not_kept(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(1)
            person.talk.cancel(person.key("Hi"))
            await person.wait(20)
            [entry] = person.conversation.entries()
            assert entry.fate == "withdrawn"
            assert look(entry).actions == ("again",)
            assert await rig.store.items() == []
            person.talk.again(entry.key)
            [entry] = person.conversation.entries()
            assert entry.fate == "waiting"
            await person.wait(1)
            assert person.see() == [("Hi", "backend", "done")]

        story(script, policy(), chat=down_between(0, 15, HANG))

    def test_what_was_being_saved_just_then_is_called_off_in_the_queue(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await asyncio.sleep(8.0 - rig.coach.policy.queue.save_margin_s / 2)
            assert len(await rig.store.items()) == 1
            person.talk.cancel(person.key("Hi"))
            assert person.see() == [("Hi", "", "withdrawn")]
            await person.wait(60)
            [item] = await rig.store.items()
            assert (item.state, person.see()) == (ItemState.CANCELLED, [("Hi", "", "cancelled")])

        story(script, policy(request__max_attempts=1, request__late_answer_window_s=0), chat=HANG, health=HANG)

    @pytest.mark.parametrize("late", [False, True])
    def test_what_is_being_sent_just_then_is_not_sent_again_and_its_answer_is_shown_if_it_comes(self, late):
        async def script(rig, person):
            person.talk.send("Hi")
            for _ in range(400):
                await person.wait(0.1)
                if person.conversation.entries()[0].fate == "sending":
                    break
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).actions) == ("sending", ("cancel",))
            person.talk.cancel(entry.key)
            await person.wait(1)
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).actions) == ("sending", ())
            assert "if that fails, it is not sent again" in look(entry).words
            await person.wait(120)
            [item] = await rig.store.items()
            assert item.state is (ItemState.DELIVERED if late else ItemState.CANCELLED)
            assert person.see() == [("Hi", "late", "done") if late else ("Hi", "fallback", "cancelled")]

        then = ok(6.0) if late else HANG
        story(
            script,
            policy(),
            chat=lambda now_s: REFUSED if now_s < 20 else then if now_s < 90 else OK,
            health=down_between(1.0, 20.0),
        )

    def test_in_the_queue_it_is_not_sent_unless_one_wants_it_again(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(9)
            person.talk.cancel(person.key("Hi"))
            await person.wait(60)
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).actions) == ("cancelled", ("again",))
            assert "saved" not in row(entry, rig.world.wall_clock())["answer"]
            assert "will not be sent" in look(entry).words
            person.talk.again(entry.key)
            await person.wait(5)
            assert person.see() == [("Hi", "late", "done")]
            assert person.conversation.entries()[0].message_id == entry.message_id

        down = down_between(1.0, 30.0)
        story(script, policy(), chat=down, health=down)


class TestWhatIsGivenUp:
    def test_one_that_is_too_old_says_so_and_can_be_sent_again(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(120)
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).tone) == ("expired", "bad")
            assert "waited too long" in look(entry).words
            await person.wait(120)
            person.talk.again(entry.key)
            await person.wait(5)
            assert person.see() == [("Hi", "late", "done")]

        down = down_between(1.0, 200.0)
        story(script, policy(queue__ttl_s=30), chat=down, health=down)

    def test_one_that_the_backend_refuses_says_why(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(600)
            [entry] = person.conversation.entries()
            assert entry.fate == "dead"
            assert look(entry).words.startswith("Offline answer · could not be sent (")
            person.talk.again(entry.key)
            assert person.see()[0][2] in ("dead", "ready")
            await person.wait(600)
            assert person.see() == [("Hi", "fallback", "dead")]

        story(script, policy(), chat=BAD_MESSAGE)

    def test_one_that_could_not_be_saved_is_sent_again_in_its_place(self):
        async def script(rig, person):
            person.talk.send("one")
            person.talk.send("two")
            await person.wait(9)
            assert person.see() == [("one", "fallback", "unsaved"), ("two", "fallback", "unsaved")]
            entry = person.conversation.entries()[0]
            assert "not saved" in look(entry).words
            await person.wait(20)
            person.talk.again(entry.key)
            await person.wait(1)
            assert person.see() == [("one", "backend", "done"), ("two", "fallback", "unsaved")]

        down = down_between(1.0, 20.0)
        story(script, policy(), chat=down, health=down, store=BrokenStore("add"))

    def test_one_of_unknown_fate_is_for_the_person_to_decide(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(60)
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).actions) == ("unknown", ("again", "cancel"))
            person.talk.again(entry.key)
            await person.wait(30)
            assert person.see() == [("Hi", "late", "done")]

        changes = {"queue__unknown_fate": "ask", "request__max_attempts": 1, "request__late_answer_window_s": 0}
        story(script, policy(**changes), chat=down_between(0, 30, HANG))

    def test_a_session_that_has_ended_takes_nothing(self):
        async def script(rig, person):
            person.talk.session.is_running = False
            person.talk.send("Hi")
            [entry] = person.conversation.entries()
            assert (entry.fate, look(entry).words) == (
                "unsaved",
                "Not saved: send it again (the session is not running)",
            )
            person.talk.again(entry.key)
            assert person.see() == [("Hi", "", "unsaved")]

        story(script, policy())


class TestOtherHands:
    def test_what_another_process_delivers_is_found(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(9)
            [item] = await rig.store.items()
            await rig.store.claim(rig.world.wall_clock(), owner="other", until=rig.world.wall_clock() + 60)
            await rig.store.settle(item.id, "other", ItemState.DELIVERED, reply="From elsewhere")
            [entry] = await person.wait(LOOK_EVERY_S + 1)
            assert (entry.answer, entry.source, entry.fate) == ("From elsewhere", "late", "done")

        story(script, policy(), chat=REFUSED, health=REFUSED)

    def test_what_somebody_deletes_is_not_promised_any_longer(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(9)
            [item] = await rig.store.items()
            await rig.store.cancel(item.id, "by hand")
            await rig.store.delete(item.id)
            [entry] = await person.wait(LOOK_EVERY_S + 1)
            assert entry.fate == "dead"
            assert "no longer in the queue" in look(entry).words

        story(script, policy(), chat=REFUSED, health=REFUSED)

    def test_a_server_that_began_anew_knows_what_was_promised(self):
        store = MemoryStore()

        async def before(rig, person):
            person.talk.send("one")
            person.talk.send("two")
            await person.wait(9)

        async def after(rig, person):
            assert (await person.wait(0.5))[0].question == "one"
            stranger = Person(rig, "stranger")
            await person.wait(60)
            assert person.see() == [("one", "late", "done"), ("two", "late", "done")]
            assert stranger.see() == []

        story(before, policy(), chat=REFUSED, health=REFUSED, store=store)
        story(after, policy(), chat=OK, health=OK, store=store, prefix="n")

    def test_two_pages_of_one_visitor_show_the_same(self):
        async def script(rig, one):
            other = Person(rig, conversation=one.conversation)
            one.talk.send("Hi")
            await other.wait(1)
            other.talk.cancel(other.key("Hi"))
            await one.wait(1)
            assert one.see() == other.see() == [("Hi", "", "withdrawn")]

        story(script, policy(), chat=HANG)

    def test_a_page_that_was_left_hears_no_more_and_a_new_one_finds_it(self):
        async def script(rig, person):
            person.talk.send("Hi")
            await person.wait(9)
            person.talk.close()
            await asyncio.sleep(60)
            assert person.see() == [("Hi", "fallback", "ready")]
            await Person(rig, conversation=person.conversation).wait(1)
            assert person.see() == [("Hi", "late", "done")]

        down = down_between(1.0, 30.0)
        story(script, policy(), chat=down, health=down)


STEPS = ("backend", "queued", "rejected", "late", "withdrawn", *ItemState)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_whatever_the_order_the_real_answer_stays_once_it_is_there(steps):
    conversation = Conversation()
    conversation.ask("m", "Hi", 0.0, 8.0)
    answered = False
    for now, step in enumerate(steps, 1):
        if step == "backend":
            conversation.replied(Reply("real", "backend", False, "m"), now)
        elif step in ("queued", "rejected"):
            conversation.replied(Reply("sorry", "fallback", step == "queued", "m"), now)
        elif step == "late":
            conversation.delivered(Delivery("m", "real", "queue"), now)
        elif step == "withdrawn":
            conversation.withdrawn("m", now)
        else:
            conversation.found(["m"], [Item("m", "Hi", 1, 0.0, 9.0, state=step, reply="real")], now)
        [entry] = conversation.entries()
        assert not (answered and entry.answer != "real")
        answered = answered or entry.answer == "real"
        assert (entry.fate == "done") == (entry.answer == "real")
        assert step != "late" or answered
        assert look(entry).words
        assert row(entry, now)["key"] == "m"


class TestMemory:
    def test_what_waits_is_never_forgotten(self):
        conversation = Conversation()
        for number in range(3 * KEPT):
            conversation.ask(f"m{number}", "Hi", float(number), 8.0)
            if number % 10:
                conversation.replied(Reply("Yes", "backend", False, f"m{number}"), float(number))
        kept = conversation.entries()
        assert len(kept) == KEPT
        assert sum(entry.fate == "waiting" for entry in kept) == 3 * KEPT // 10
        assert [entry.sent_at for entry in kept] == sorted(entry.sent_at for entry in kept)
        assert kept[-1].key == f"m{3 * KEPT - 1}"
        conversation.replied(Reply("Yes", "backend", False, "m0"), 999.0)
        conversation.replied(Reply("Yes", "backend", False, "m1"), 999.0)

    def test_a_server_forgets_those_it_has_not_seen_for_longest(self):
        known = Conversations(most=2)
        one = known.of("a", "u")
        assert known.of("a", "other") is not one
        assert known.of("a", "u") is one
        known.of("b", "u")
        assert known.of("a", "u") is one
        assert known.of("a", "other") is not known.of("a", "u")

    def test_a_recalled_conversation_is_in_the_order_of_time(self):
        conversation = Conversation()
        conversation.ask("b", "second", 5.0, 8.0)
        items = [Item("a", "first", 1, 1.0, 99.0), Item("b", "second", 1, 5.0, 99.0), Item("c", "third", 1, 7.0, 99.0)]
        conversation.recall(items, 9.0)
        version = conversation.version
        assert [entry.question for entry in conversation.entries()] == ["first", "second", "third"]
        conversation.recall(items, 9.0)
        assert conversation.version == version


class TestWords:
    def test_a_message_that_can_be_sent(self):
        assert checked("  Hi\r\nthere\x00 ") == "Hi\nthere\ufffd"
        assert checked(" \n ") == ""
        with pytest.raises(InputError, match=r"4,001 characters, and 4,000 are the most"):
            checked("x" * (LONGEST + 1))

    @pytest.mark.parametrize("name", ["", "a" * 31, "A" * 32, "../" + "a" * 29, "a" * 32 + "\n"])
    def test_a_name_that_no_browser_gives_itself(self, name):
        assert not is_visitor(name)
        assert is_visitor("0123456789abcdef" * 2)

    def test_every_mark_has_words_and_a_glyph_of_its_own_kind(self):
        seen = {}
        for fate in ("ready", "sending", "unknown", "expired", "dead", "cancelled", "unsaved", "withdrawn"):
            conversation = Conversation()
            conversation.ask("m", "Hi", 0.0, 8.0)
            conversation.withdrawn("m", 1.0)
            conversation.settled("m", fate)
            [entry] = conversation.entries()
            marked = look(entry)
            assert marked.glyph.strip()
            assert marked.words[0].isupper()
            assert all(word not in marked.words for word in ("lease", "queue", "dead", "breaker", "fallback"))
            seen.setdefault(marked.words, set()).add(fate)
        assert all(len(fates) == 1 for fates in seen.values())

    def test_a_screen_reader_hears_what_is_new_once(self):
        conversation = Conversation()
        conversation.ask("m", "Hi", 0.0, 8.0)
        before = conversation.entries()
        assert newly_said(None, before) == ""
        assert newly_said((), before) == ""
        conversation.replied(Reply("Yes, **do**", "backend", False, "m"), 1.0)
        after = conversation.entries()
        assert newly_said(before, after) == "The coach's answer, after 1 s. Yes, **do**"
        assert newly_said(after, after) == ""

    def test_what_to_try_depends_on_where_one_is(self):
        conversation = Conversation()
        well = suggestions(True, "", (), "12:00:00")
        assert [each.how for each in well] == [None, "Refuse connections"]
        assert "12:00:00" in well[1].text
        assert suggestions(True, "Hang", (), "12:00:00")[0] == (MEND, "", "")
        conversation.ask("m", QUESTIONS[0], 0.0, 8.0)
        conversation.replied(Reply("sorry", "fallback", True, "m"), 1.0)
        entries = conversation.entries()
        broken = suggestions(True, "Hang", entries, "12:00:00")
        assert broken[0].words == MEND_AND_WATCH
        assert QUESTIONS[0] not in [each.text for each in broken]
        for is_practice, how in itertools.product((True, False), ("", "Hang")):
            assert len(suggestions(is_practice, how, entries, "12:00:00")) <= MOST_SUGGESTIONS
        assert all(each.how is None for each in suggestions(False, "Hang", entries, "12:00:00"))
