"""The Coach place: what it knows and decides, without a browser."""

import asyncio
import gc
import os
import weakref
from pathlib import Path

import pytest

from hustle_sim.dashboard.coach_page import CoachPage
from hustle_sim.dashboard.live_practice import Practice, practice, take_seat
from hustle_sim.live.session import LiveSession
from hustle_sim.live.settings import Settings
from hustle_sim.live.store import target_store_path
from hustle_sim.policy import Policy

WAIT_S = 20.0


@pytest.mark.real
class TestThePracticeBackendsQueue:
    @pytest.fixture(autouse=True)
    def _closed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        yield
        practice.close()

    def test_it_outlives_a_session_and_is_gone_with_the_backend(self, tmp_path: Path) -> None:
        path = practice.store_path
        for expected in (0, 1):
            with take_seat("", Policy(), Settings()) as session:
                assert len(session.items().result(WAIT_S)) == expected
                practice.break_it("Refuse connections")
                reply = session.send("Hi", message_id=f"message-{expected}").result(WAIT_S)
                assert reply.queued
        # Whoever names the practice backend by its address means the same.
        with take_seat(practice.url, Policy(), Settings()) as session:
            assert len(session.items().result(WAIT_S)) == 2
        assert path.exists()
        url = practice.url
        practice.close()
        assert not path.parent.exists()
        assert not target_store_path(url, Settings()).exists()

    def test_each_has_its_own(self) -> None:
        one, two = Practice(), Practice()
        try:
            assert one.store_path == one.store_path != two.store_path
        finally:
            one.close()
            two.close()


class Bench:
    """A frame for a place that stands alone."""

    page = None

    def __init__(self) -> None:
        self.address: dict[str, str] | None = None
        self.opened: list[tuple[str, dict[str, object]]] = []

    def open(self, place: str, **arguments: object) -> None:
        self.opened.append((place, arguments))

    def set_address(self, place: str, arguments: dict[str, str], *, step: bool = False) -> None:
        self.address = dict(arguments)


@pytest.mark.real
class TestThePage:
    @pytest.fixture(autouse=True)
    def _surroundings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        for name in [name for name in os.environ if name.startswith("HUSTLE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.chdir(tmp_path)
        yield
        practice.close()
        assert not LiveSession._shared

    def connected(self, page: CoachPage, url: str = "") -> None:
        page.url.value = url
        asyncio.run(page._connect())

    def test_it_gives_back_its_seat_and_itself(self) -> None:
        frame = Bench()
        page = CoachPage(frame, {})
        page.visitor.token = "0" * 32
        self.connected(page)
        assert page.input.disabled is False
        assert frame.address == {}
        page.input.value = "Hi"
        page.input.param.trigger("enter_pressed")
        assert [each["question"] for each in page.log.rows] == ["Hi"]
        assert page._seat is not None
        session = page._seat.session
        page.close()
        page.close()
        assert not session.is_running
        known = weakref.ref(page)
        del page
        gc.collect()
        assert known() is None

    def test_another_backend_gives_up_the_first_seat(self) -> None:
        frame = Bench()
        page = CoachPage(frame, {"url": "http://127.0.0.1:9"})
        page.visitor.token = "0" * 32
        asyncio.run(page._connect())
        assert page._seat is not None
        first = page._seat.session
        assert frame.address == {"url": "http://127.0.0.1:9"}
        assert not page.practice.visible
        self.connected(page)
        assert page.practice.visible
        assert not first.is_running
        self.connected(page, "nonsense")
        assert "no backend URL" in page._notice._pane.object
        page._on_watch(None)
        assert frame.opened == [("live", {"watch": "practice@5s", "target": "practice"})]
        page.close()

    def test_a_seat_that_comes_after_the_visitor_has_gone_is_given_up(self) -> None:
        page = CoachPage(Bench(), {})

        async def leave_meanwhile() -> None:
            connecting = asyncio.create_task(page._connect())
            await asyncio.sleep(0)
            page.close()
            await connecting

        asyncio.run(leave_meanwhile())
        assert page._seat is None

    @pytest.mark.parametrize("token", ["", "nonsense", "G" * 32])
    def test_a_name_that_is_none_opens_no_conversation(self, token: str) -> None:
        page = CoachPage(Bench(), {})
        page.visitor.token = token
        self.connected(page)
        assert page._talk is None
        assert page.input.disabled
        page.close()

    def test_too_many_at_once_and_too_long_are_one_sentence(self) -> None:
        page = CoachPage(Bench(), {})
        page.visitor.token = "1" * 32
        self.connected(page)
        practice.break_it("Hang")
        for number in range(25):
            page._send(f"message {number}")
        assert "20 messages wait" in page._notice._pane.object
        assert len(page.log.rows) == 20
        page._send("x" * 5000)
        assert "5,000 characters" in page._notice._pane.object
        page._send("  ")
        assert len(page.log.rows) == 20
        page.close()

    def test_actions_of_a_page_that_knows_other_messages_change_nothing(self) -> None:
        page = CoachPage(Bench(), {})
        page.log._handle_msg({"type": "cancel", "key": "x"})
        page.visitor.token = "2" * 32
        self.connected(page)
        for message in ({"type": "cancel", "key": "x"}, {"type": "again", "key": "x"}, {"type": "other", "key": "x"},
                        {"type": ["cancel"], "key": "x"}, "cancel", None):  # fmt: skip
            page.log._handle_msg(message)
        assert page.log.rows == []
        page.close()
