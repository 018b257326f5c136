import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError
from hustle_sim.live.background import LoopThread
from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.session import History, LiveSession
from hustle_sim.live.settings import Settings
from hustle_sim.policy import Policy
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.health import Health, Status
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.store import MemoryStore

WAIT_S = 20.0
HASTY = Policy().replace({"probe.fall": 1, "probe.rise": 1, "probe.jitter": 0})


class Scripted:
    """A backend whose health is what the test says; ``None`` hangs."""

    def __init__(self, outcome: Outcome | None = Outcome.OK) -> None:
        self.outcome = outcome
        self.closed = 0
        self.threads: set[int] = set()

    async def health(self) -> Response:
        self.threads.add(threading.get_ident())
        if self.outcome is None:
            await asyncio.Event().wait()
        return Response(self.outcome or Outcome.OK, version="1.0")

    async def chat(self, text: str, *, key: str) -> Response:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _no_threads_are_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert not LiveSession._shared
    gc.collect()


def probe(number: int) -> ProbeEnded:
    return ProbeEnded(float(number), 0, 0.1, "ok", 200, "online")


def changed(number: int, current: str) -> StatusChanged:
    return StatusChanged(float(number), 0, "checking", current, "")


class TestHistory:
    def test_versions_count_what_happened(self) -> None:
        history = History(keep=3)
        assert history.since(0) == (0, [])
        for number in range(5):
            history(probe(number))
        assert history.version == 5
        assert history.since(4) == (5, [probe(4)])
        assert history.since(5) == (5, [])
        assert history.since(0) == (5, [probe(2), probe(3), probe(4)])
        assert history.since(99) == (5, [])

    def test_the_status_is_not_forgotten_with_the_rest(self) -> None:
        history = History(keep=2)
        history(changed(0, "online"))
        history(probe(1))
        assert history.all() == ([changed(0, "online"), probe(1)], False)
        history(probe(2))
        history(probe(3))
        assert history.all() == ([changed(2, "online"), probe(2), probe(3)], True)
        history(changed(4, "offline"))
        history(probe(5))
        history(probe(6))
        assert history.all() == ([changed(5, "offline"), probe(5), probe(6)], True)

    def test_read_while_written(self) -> None:
        history = History(keep=100)
        done = threading.Event()

        def write() -> None:
            number = 0
            while not done.is_set():
                history(probe(number))
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        seen = 0
        for _ in range(300):
            version, events = history.since(seen)
            assert len(events) == min(version - seen, 100)
            numbers = [int(event.time_s) for event in events]
            assert numbers == list(range(version - len(events), version))
            seen = version
        done.set()
        writer.join()


@pytest.mark.real
class TestSession:
    def test_watches_and_stops(self) -> None:
        backend = Scripted()
        with LiveSession(backend, HASTY, label="mine") as session:
            assert session.is_running
            health = session.probe_now().result(WAIT_S)
            assert health.status is Status.ONLINE
            assert health.version == "1.0"
            assert health.last_check is not None
            assert abs((datetime.now(UTC) - health.last_check).total_seconds()) < WAIT_S  # noqa: TID251 - the real one
            assert 0 < (session.next_check_in_s or 0) <= HASTY.probe.interval_s
            backend.outcome = Outcome.REFUSED
            assert session.probe_now().result(WAIT_S).status is Status.OFFLINE
            version, events = session.events_since(0)
            assert version == session.version == len(events)
            assert [event.current for event in events if isinstance(event, StatusChanged)] == ["online", "offline"]
        assert backend.closed == 1
        assert backend.threads == backend.threads - {threading.get_ident()}
        assert not session.is_running
        assert session.next_check_in_s is None
        session.stop()
        with pytest.raises(RuntimeError, match="not running"):
            session.probe_now()
        with pytest.raises(RuntimeError, match="runs once"):
            session.start()

    def test_as_a_run(self) -> None:
        before = datetime.now(UTC)  # noqa: TID251 - the real one
        with LiveSession(Scripted(), HASTY, label="mine") as session:
            session.probe_now().result(WAIT_S)
            live = session.run()
            assert session.run() is live
            session.probe_now().result(WAIT_S)
            assert session.run() is not live
        after = session.run()
        assert after.label == "mine"
        assert not after.backend_truth
        assert after.scenario == {}
        assert len(after.probes) == session.version - 1
        assert after.probes["time_s"].between(0, after.duration_s).all()
        assert list(after.transitions["current"]) == ["online"]
        assert abs((after.start - before).total_seconds()) < WAIT_S
        assert after.duration_s == session.elapsed_s < WAIT_S

    def test_a_run_of_what_is_left(self) -> None:
        with LiveSession(Scripted(), HASTY, keep=4) as session:
            for _ in range(8):
                session.probe_now().result(WAIT_S)
        run = session.run()
        assert len(run.probes) == 4
        assert run.probes["time_s"].iloc[0] == 0.0
        assert list(run.transitions["current"]) == ["online"]
        assert run.duration_s < session.elapsed_s
        assert (run.start - session_start(session)).total_seconds() == pytest.approx(
            session.elapsed_s - run.duration_s, abs=0.01
        )

    def test_stopping_does_not_wait_for_a_backend_that_hangs(self) -> None:
        backend = Scripted(None)
        session = LiveSession(backend, Policy().replace({"probe.timeout_s": 200}))
        session.start()
        assert session.health.is_probing
        assert session.health.status is Status.CHECKING
        waiting = session.probe_now()
        session.stop()
        assert backend.closed == 1
        assert session.elapsed_s < WAIT_S
        assert session.version == 0
        assert session.run().probes.empty
        assert waiting.done() or waiting.cancelled()

    def test_never_started(self) -> None:
        session = LiveSession(Scripted())
        assert session.health.status is Status.CHECKING
        assert session.next_check_in_s is None
        assert session.elapsed_s == 0.0
        with pytest.raises(RuntimeError, match="not running"):
            session.probe_now()
        session.stop()

    def test_a_subscriber_can_stop_the_session(self) -> None:
        backend = Scripted()
        session = LiveSession(backend)
        online = threading.Event()

        def look(previous: Health, current: Health) -> None:
            if current.status is Status.ONLINE:
                session.stop()
                online.set()

        session.subscribe(look)
        session.start()
        assert online.wait(WAIT_S)
        assert session._thread is not None
        session._thread._thread.join(WAIT_S)
        assert backend.closed == 1

    def test_the_store_remembers_the_last_verdict(self) -> None:
        store = MemoryStore()
        with LiveSession(Scripted(), store=store) as session:
            session.probe_now().result(WAIT_S)
        with LiveSession(Scripted(None), store=store) as session:
            assert session.health.known_status is Status.ONLINE

    def test_a_fault_of_our_own_is_logged_and_seen(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Scripted):
            async def health(self) -> Response:
                raise asyncio.InvalidStateError  # caught by the monitor

        with LiveSession(Broken(), HASTY) as session:
            assert session.probe_now().result(WAIT_S).status is Status.OFFLINE
            assert session.is_running

    def test_a_backend_that_is_not_there_is_what_one_watches(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            with LiveSession.of_url(url, HASTY, settings=Settings()) as session:
                assert session.probe_now().result(WAIT_S).status is Status.OFFLINE
                assert session.label == url
        assert list(session.run().probes["outcome"].unique()) == ["refused"]

    def test_the_practice_backend_broken_and_mended(self) -> None:
        practice = PracticeBackend.in_thread()
        try:
            with LiveSession.of_url(practice.url, HASTY, settings=Settings()) as session:
                for breakage, status in (
                    (None, "online"),
                    ("refuse", "offline"),
                    (None, "online"),
                    ("error", "offline"),
                ):
                    if breakage is None:
                        practice.mend()
                    else:
                        practice.break_it(breakage)
                    assert session.probe_now().result(WAIT_S).status == status
            # Neither has to wait for the other to end.
            with LiveSession.of_url(practice.url, HASTY, settings=Settings()) as session:
                practice.break_it("hang")
                session.probe_now()
        finally:
            practice.close()


@pytest.mark.real
class TestShared:
    URL = "http://127.0.0.1:9"

    def test_one_session_for_all_viewers(self) -> None:
        first = LiveSession.shared(self.URL, HASTY, settings=Settings())
        second = LiveSession.shared(self.URL + "/", HASTY, settings=Settings())
        other = LiveSession.shared(self.URL, Policy(), settings=Settings())
        assert first.session is second.session
        assert first.session is not other.session
        other.leave()
        assert not other.session.is_running
        first.leave()
        first.leave()
        assert second.session.is_running
        with second as session:
            assert session is first.session
        assert not session.is_running
        with LiveSession.shared(self.URL, HASTY, settings=Settings()) as again:
            assert again is not session

    def test_another_key_is_another_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUSTLE_API_KEY", "one")
        with LiveSession.shared(self.URL, settings=Settings()) as one:
            monkeypatch.setenv("HUSTLE_API_KEY", "two")
            with LiveSession.shared(self.URL, settings=Settings()) as two:
                assert one is not two

    def test_many_at_once(self) -> None:
        seats = []

        def visit() -> None:
            seats.append(LiveSession.shared(self.URL, HASTY, settings=Settings()))

        threads = [threading.Thread(target=visit) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(seat.session) for seat in seats}) == 1
        for seat in seats:
            seat.leave()

    @pytest.mark.parametrize("url", ["localhost:8000", "", "http://", "http://h:99999", "gopher://h"])
    def test_a_malformed_url(self, url: str) -> None:
        with pytest.raises(InputError, match="no backend URL"):
            LiveSession.shared(url, settings=Settings())


@pytest.mark.real
def test_a_loop_thread_that_is_closed() -> None:
    thread = LoopThread("test")
    cleaned = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    future = thread.submit(hang())
    thread.submit(asyncio.sleep(0)).result(WAIT_S)
    thread.close()
    thread.close()
    assert cleaned.is_set()
    assert future.cancelled()
    thread.post(print, "never")
    with pytest.raises(RuntimeError):
        thread.submit(asyncio.sleep(0))


def session_start(session: LiveSession) -> datetime:
    return datetime.fromtimestamp(session._begun, UTC)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not faults
