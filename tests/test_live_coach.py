"""A live session as a coach: messages, deliveries and the queue, from any thread."""

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import TypeVar

import pytest

from hustle_sim.events import BreakerChanged, MessageAnswered, MessageDelivered, MessageSent, QueueChanged
from hustle_sim.inputs import InputError
from hustle_sim.live import LiveSession, PracticeBackend, Settings, open_target_store, target_store_path
from hustle_sim.live.store import default_store_path
from hustle_sim.policy import Policy
from hustle_sim.resilience import BreakerState, Delivery, ItemState, Outcome, Response, SQLiteStore, Status

T = TypeVar("T")
WAIT_S = 20.0
HASTY = Policy().replace(
    {
        "probe.fall": 1, "probe.rise": 1, "probe.jitter": 0, "queue.flush_jitter_s": 0, "retry.base_s": 0,
        "breaker.enabled": False, "cache.enabled": False,
    }
)  # fmt: skip


class Scripted:
    """A backend that does what the test says; ``None`` hangs."""

    def __init__(self, outcome: Outcome | None = Outcome.OK) -> None:
        self.outcome = outcome
        self.closed = 0
        self.asked = threading.Event()
        self.chats: list[str] = []

    async def health(self) -> Response:
        if self.outcome is None:
            await asyncio.Event().wait()
        return Response(self.outcome or Outcome.OK)

    async def chat(self, text: str, *, key: str) -> Response:
        self.chats.append(text)
        self.asked.set()
        if self.outcome is None:
            await asyncio.Event().wait()
        return Response(self.outcome or Outcome.OK, f"re: {text}")

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _tidy(caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HUSTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert not LiveSession._shared
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def offline(session: LiveSession) -> None:
    assert session.probe_now().result(WAIT_S).status is Status.OFFLINE


@pytest.mark.real
class TestSending:
    def test_an_answer_and_its_events(self) -> None:
        with LiveSession(Scripted(), HASTY) as session:
            reply = session.send("Hi", conversation="me", message_id="one").result(WAIT_S)
            assert (reply.text, reply.source, reply.queued, reply.message_id) == ("re: Hi", "backend", False, "one")
        kinds = [type(event) for event in session.events_since(0)[1]]
        assert [kinds.count(kind) for kind in (MessageSent, MessageAnswered, MessageDelivered)] == [1, 1, 1]
        run = session.run()
        assert list(run.messages["source"]) == ["backend"]
        assert list(run.attempts.query("kind == 'message'")["outcome"]) == ["ok"]

    def test_before_the_start_and_after_the_end_nothing_can_be_sent(self) -> None:
        session = LiveSession(Scripted(), HASTY)
        for _ in range(2):
            for ask in (lambda: session.send("Hi"), session.items, session.counts, lambda: session.retry("x")):
                with pytest.raises(RuntimeError, match="not running"):
                    ask()
            if session.elapsed_s == 0.0:
                session.start()
                session.stop()

    def test_a_message_of_an_outage_comes_back_to_its_own_conversation_only(self) -> None:
        backend = Scripted(Outcome.REFUSED)
        mine: Queue[Delivery] = Queue()
        all_of_them: Queue[Delivery] = Queue()
        theirs: list[Delivery] = []
        with LiveSession(backend, HASTY) as session:
            offline(session)
            leave = session.subscribe_deliveries(mine.put, conversation="me")
            session.subscribe_deliveries(theirs.append, conversation="they")
            session.subscribe_deliveries(all_of_them.put)
            reply = session.send("Hi", conversation="me").result(WAIT_S)
            assert (reply.source, reply.queued) == ("fallback", True)
            [item] = session.items(conversation="me").result(WAIT_S)
            assert (item.id, item.text, item.state) == (reply.message_id, "Hi", ItemState.READY)
            assert session.items(conversation="they").result(WAIT_S) == []
            assert session.counts().result(WAIT_S)[ItemState.READY] == 1
            backend.outcome = Outcome.OK
            session.probe_now().result(WAIT_S)
            delivery = mine.get(timeout=WAIT_S)
            assert delivery == Delivery(reply.message_id, "re: Hi", "queue", "me")
            assert all_of_them.get(timeout=WAIT_S) == delivery
            assert theirs == []
            [item] = session.items(ItemState.DELIVERED).result(WAIT_S)
            assert item.reply == "re: Hi"
            leave()
            leave()
        events = session.events_since(0)[1]
        assert [event.event for event in events if isinstance(event, QueueChanged)] == [
            "accepted", "leased", "delivered",
        ]  # fmt: skip

    def test_a_message_that_is_withdrawn_in_time_is_not_kept(self) -> None:
        backend = Scripted(None)
        with LiveSession(backend, HASTY) as session:
            waiting = session.send("Hi")
            assert backend.asked.wait(WAIT_S)
            waiting.cancel()
            assert session.items().result(WAIT_S) == []
        assert waiting.cancelled()

    def test_what_is_given_up_is_called_off_sent_again_or_forgotten(self) -> None:
        backend = Scripted(Outcome.REFUSED)
        with LiveSession(backend, HASTY) as session:
            offline(session)
            one, two = (session.send(text).result(WAIT_S).message_id for text in ("one", "two"))
            assert session.cancel(one).result(WAIT_S)
            assert not session.cancel(one).result(WAIT_S)
            assert not session.delete(two).result(WAIT_S)
            assert session.delete(one).result(WAIT_S)
            assert session.cancel(two).result(WAIT_S)
            assert session.retry(two).result(WAIT_S)
            assert [item.state for item in session.items().result(WAIT_S)] == [ItemState.READY]

    def test_many_threads_at_once(self) -> None:
        replies: Queue[tuple[int, str]] = Queue()
        with LiveSession(Scripted(), HASTY) as session:

            def talk(number: int) -> None:
                for turn in range(5):
                    text = f"{number}.{turn}"
                    replies.put((number, session.send(text, conversation=str(number)).result(WAIT_S).text))

            threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
        assert sorted(replies.get() for _ in range(40)) == [
            (n, f"re: {n}.{turn}") for n in range(8) for turn in range(5)
        ]

    def test_the_breaker_as_a_screen_shows_it(self) -> None:
        policy = HASTY.replace(
            {
                "breaker.enabled": True,
                "breaker.min_calls": 3,
                "breaker.failure_share": 0.3,
                "probe.evidence": False,
                "request.max_attempts": 1,
            }
        )
        backend = Scripted()
        with LiveSession(backend, policy) as session:
            assert (session.breaker.state, session.breaker.try_in_s) == (BreakerState.CLOSED, None)
            session.send("one").result(WAIT_S)
            session.send("two").result(WAIT_S)
            assert session.breaker.tally == (2, 0, 0)
            backend.outcome = Outcome.HTTP_5XX
            # It goes to the queue, which tries as well.
            session.send("three").result(WAIT_S)
            view = until(lambda: session.breaker if session.breaker.state is BreakerState.OPEN else None)
            assert view.tally.calls == 0
            assert 0 < (view.try_in_s or 0) <= 1.2 * policy.breaker.open_s
        changes = [event for event in session.events_since(0)[1] if isinstance(event, BreakerChanged)]
        assert [(change.previous, change.current) for change in changes] == [("closed", "open")]


@pytest.mark.real
class TestTheEnd:
    def test_who_still_waits_has_the_fallback_and_the_next_session_delivers(self, tmp_path: Path) -> None:
        path = tmp_path / "queue.sqlite3"
        backend = Scripted(None)
        session = LiveSession(backend, HASTY, store=SQLiteStore(path))
        session.start()
        waiting = session.send("Hi", conversation="me")
        assert backend.asked.wait(WAIT_S)
        session.stop()
        reply = waiting.result(0)
        assert (reply.source, reply.queued) == ("fallback", True)
        assert backend.closed == 1
        found: Queue[Delivery] = Queue()
        with LiveSession(Scripted(), HASTY, store=SQLiteStore(path)) as again:
            again.subscribe_deliveries(found.put, conversation="me")
            delivered = until(lambda: again.items(ItemState.DELIVERED).result(WAIT_S))
            assert [(item.id, item.reply) for item in delivered] == [(reply.message_id, "re: Hi")]

    def test_stopping_while_all_send_loses_none(self, tmp_path: Path) -> None:
        path = tmp_path / "queue.sqlite3"
        session = LiveSession(Scripted(None), HASTY, store=SQLiteStore(path))
        session.start()
        taken: Queue[str] = Queue()
        refused = threading.Event()

        def talk(number: int) -> None:
            waiting = []
            while not refused.is_set() and len(waiting) < 200:
                try:
                    waiting.append(session.send(f"{number}.{len(waiting)}"))
                except RuntimeError:
                    refused.set()
            for future in waiting:
                if not future.cancelled() and future.exception(WAIT_S) is None and future.result().queued:
                    taken.put(future.result().message_id)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        session.stop()
        refused.set()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

        async def kept() -> set[str]:
            store = SQLiteStore(path)
            try:
                return {item.id for item in await store.items()}
            finally:
                await store.aclose()

        assert {taken.get() for _ in range(taken.qsize())} <= asyncio.run(kept())

    def test_a_store_that_can_not_be_opened_costs_the_queue_and_not_the_answer(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        backend = Scripted()
        with LiveSession(backend, HASTY, store=SQLiteStore(tmp_path / "file" / "queue.sqlite3")) as session:
            assert session.send("Hi").result(WAIT_S).source == "backend"
            backend.outcome = Outcome.REFUSED
            offline(session)
            reply = session.send("Hi").result(WAIT_S)
            assert (reply.source, reply.queued) == ("fallback", False)


@pytest.mark.real
class TestTargets:
    """Messages may only ever go to the backend that they were written for."""

    def test_each_url_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        plain = Settings()
        urls = ["http://a:1", "http://a:2", "https://a:1", "http://b:1", "http://a:1/base", "http://a-1"]
        paths = {target_store_path(url, plain) for url in urls}
        assert len(paths) == len(urls)
        assert {path.parent for path in paths} == {tmp_path / "data" / "hustle_sim" / "queues"}
        assert target_store_path("http://A:1/", plain) == target_store_path("http://a:1", plain)
        with pytest.raises(InputError, match="no backend URL"):
            target_store_path("nonsense", plain)

    def test_the_file_that_is_named_is_the_configured_backends(self, tmp_path: Path) -> None:
        named = Settings(backend_url="http://mine:8000", store=tmp_path / "mine.sqlite3")
        assert target_store_path("http://mine:8000/", named) == tmp_path / "mine.sqlite3" == default_store_path(named)
        assert target_store_path("http://other:8000", named).parent.name == "queues"
        unnamed = Settings(backend_url="http://mine:8000")
        assert default_store_path(unnamed) == target_store_path("http://mine:8000", unnamed)

    def test_a_host_is_no_path(self, tmp_path: Path) -> None:
        path = target_store_path("http://[::1]:80/../../etc/passwd", Settings())
        assert path.parent == tmp_path / "data" / "hustle_sim" / "queues"

    def test_a_file_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        letter = tmp_path / "letter.txt"
        letter.write_text("Dear John, this is no database.")
        settings = Settings(backend_url="http://mine:8000", store=letter)
        with pytest.raises(InputError, match="not a queue's file"):
            LiveSession.shared("http://mine:8000", HASTY, settings=settings)
        assert letter.read_text().startswith("Dear John")

    def test_a_message_for_one_backend_never_reaches_another(self, tmp_path: Path) -> None:
        first, second = PracticeBackend.in_thread(), PracticeBackend.in_thread()
        settings = Settings()
        try:
            first.break_it("refuse")
            with LiveSession.shared(first.url, HASTY, settings=settings) as session:
                offline(session)
                reply = session.send("For the first only", conversation="me").result(WAIT_S)
                assert reply.queued
            with LiveSession.shared(second.url, HASTY, settings=settings) as session:
                session.probe_now().result(WAIT_S)
                assert session.items().result(WAIT_S) == []
                assert session.send("For the second").result(WAIT_S).source == "backend"
            first.mend()
            with LiveSession.shared(first.url, HASTY, settings=settings) as session:
                assert session.probe_now().result(WAIT_S).known_status is Status.OFFLINE
                delivered = until(lambda: session.items(ItemState.DELIVERED, conversation="me").result(WAIT_S))
                assert delivered[0].id == reply.message_id
            assert reply.message_id not in second.effects
            assert first.effects[reply.message_id] == 1
        finally:
            first.close()
            second.close()

    def test_a_store_of_ones_own(self, tmp_path: Path) -> None:
        path = tmp_path / "own.sqlite3"
        url = "http://127.0.0.1:9"
        with LiveSession.shared(url, HASTY, settings=Settings(), open_store=lambda: SQLiteStore(path)) as session:
            offline(session)
            assert session.send("Hi").result(WAIT_S).queued
            assert session.notice == ""
        assert path.exists()
        assert not target_store_path(url, Settings()).exists()
        store = open_target_store(url, Settings())
        assert store.path == target_store_path(url, Settings())


def until(look: Callable[[], T | None]) -> T:
    """What ``look()`` finds, once it is something."""
    patience = threading.Event()
    for _ in range(int(WAIT_S / 0.05)):
        found = look()
        if found:
            return found
        patience.wait(0.05)
    raise AssertionError("it never came")
