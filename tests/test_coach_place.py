"""The Coach place: what it knows and decides, without a browser."""

from pathlib import Path

import pytest

from hustle_sim.dashboard.live_practice import Practice, practice, take_seat
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
