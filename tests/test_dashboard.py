"""The dashboard without a browser: what it decides, and that what a visitor owned is given back."""

import asyncio
import gc
import socket
import weakref
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from hustle_sim.dashboard.charts import SHOWN, drawn, legend, shape_of
from hustle_sim.dashboard.indicator import IDLE, seen
from hustle_sim.dashboard.live_charts import band_columns, point_columns, table
from hustle_sim.dashboard.live_state import (
    BREAKAGES,
    INTERVALS_S,
    Feed,
    Point,
    Practice,
    Stretch,
    summary,
    trouble,
    watch_policy,
)
from hustle_sim.dashboard.notices import notice_html
from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.resilience.health import Health, Status
from hustle_sim.simulation import Scenario, simulate

SHORT = Scenario.load("morning-outage")


# Figures


def test_a_legend_has_the_words_that_are_drawn_and_escapes_its_note():
    data = drawn(simulate(SHORT, seed=3))
    assert set(data) == set(SHOWN)
    words = legend("latency", data["latency"], "light")
    assert "answered" in words
    assert "deadline" in words
    assert "rate limited" not in words
    assert "&lt;b&gt;" in legend("latency", {**data["latency"], "note": "<b>"}, "dark")


def test_plots_are_built_anew_only_when_pipes_cannot_change_them():
    one = drawn(simulate(SHORT, seed=3))
    assert shape_of(one) == shape_of(drawn(simulate(SHORT, seed=4)))
    assert shape_of(one) != shape_of({**one, "status": {**one["status"], "rows": [(0.5, "verdict")]}})


# Live


NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_the_indicator_shows_status_latency_and_age():
    health = Health(
        status=Status.DEGRADED, last_check=NOW, latency_s=3.2, message="The coach answers slowly.", verdicts=4
    )
    shown = seen(health, NOW.timestamp() + 12)
    assert (shown["status"], shown["word"], shown["latency"], shown["age_s"]) == ("degraded", "Degraded", "3.2 s", 12.0)
    assert shown["watching"]
    assert not shown["probing"]
    assert seen(Health(is_probing=True), 0.0)["probing"]


def test_the_indicator_shows_the_last_known_verdict_with_its_age_until_there_is_a_new_one():
    shown = seen(Health(known_status=Status.OFFLINE, known_at=NOW - timedelta(hours=1)), NOW.timestamp())
    assert (shown["status"], shown["age_s"]) == ("offline", 3600.0)
    assert "Last known" in shown["note"]


def test_the_indicator_says_so_when_nothing_is_watched():
    assert seen(None, 0.0)["word"] == IDLE
    assert not seen(None, 0.0)["watching"]


@pytest.mark.parametrize("interval_s", INTERVALS_S.values())
@pytest.mark.parametrize("preset", PRESETS)
def test_every_interval_gives_a_policy_that_works(interval_s, preset):
    policy = watch_policy(interval_s, Policy.preset(preset))
    assert policy.probe.interval_s == interval_s


class FakeSession:
    """A session of which the test tells what happened."""

    origin_s = 100.0
    elapsed_s = 20.0

    class world:  # noqa: N801
        wall_clock = staticmethod(lambda: 1_000_020.0)

    def __init__(self):
        self.events = []

    @property
    def version(self):
        return len(self.events)

    def events_since(self, version):
        return len(self.events), self.events[version:]


def test_a_feed_brings_what_is_new_once_and_in_wall_time():
    session, feed = FakeSession(), Feed()
    points, stretches = feed.pull(session)
    assert not points
    assert [(one.since, one.status) for one in stretches] == [(1_000_000.0, "checking")]
    session.events += [
        ProbeEnded(101.0, 0, 0.2, "ok", 200, "online"),
        StatusChanged(101.2, 0, "checking", "online", "answered in 0.2 s"),
    ]
    points, stretches = feed.pull(session)
    assert [(one.at, one.outcome) for one in points] == [(1_000_001.0, "ok")]
    assert stretches[0].since == pytest.approx(1_000_001.2)
    assert feed.pull(session) == ([], [])


def test_probes_and_verdicts_have_a_shape_a_colour_and_words_in_both_themes():
    points = [Point(1.0, 0.2, "ok", "online"), Point(2.0, 5.0, "timeout", "offline")]
    stretches = [Stretch(0.0, "", "checking", ""), Stretch(2.0, "checking", "offline", "3 <failed>")]
    for theme in ("light", "dark"):
        columns = point_columns(points, theme)
        assert len(set(columns["marker"])) == 2
        assert "timed out" in columns["words"][1]
        band = band_columns(stretches, 10.0, theme)
        assert band["left"][1] == band["right"][0]
        assert band["top"][0] < band["top"][1]
        assert band["hatch"][0] != band["hatch"][1]
    assert "&lt;failed&gt;" in table(stretches, 5)
    assert "has not changed" in table(stretches[:1], 5)


def test_the_probes_are_summed_up_in_a_line_and_a_backend_that_is_down_in_a_sentence():
    points = deque([Point(1.0, 0.2, "ok", "online"), Point(2.0, 5.0, "timeout", "offline")])
    assert summary(points) == "2 probes · 1 failed · median 200 ms, p95 200 ms"
    assert "http://x does not answer (timed out after 5 s)" in trouble("http://x", points, "offline")
    assert trouble("http://x", points, "online") == ""
    assert summary(deque()) == "No probe has ended yet."


@pytest.mark.real
def test_the_practice_backend_breaks_in_every_way_that_has_a_button_and_is_mended():
    practice = Practice()
    try:
        assert not practice.is_running
        assert practice.is_at(practice.url)
        for how in BREAKAGES:
            practice.break_it(how)
            assert practice.broken == how
        practice.mend()
        assert practice.broken == ""
        with pytest.raises(InputError):
            practice.break_it("magic")
    finally:
        practice.close()


# Sentences


def test_sentences_are_escaped():
    assert "<script>" not in notice_html("there is no <script>")
    assert notice_html("") == ""
    assert "It broke." in notice_html("it broke")


# The server and its sessions


@pytest.mark.real
def test_a_port_that_was_asked_for_and_is_taken_is_a_sentence_and_the_usual_one_gives_way():
    from hustle_sim.dashboard import serving
    from hustle_sim.dashboard.serving import Serving

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is taken"):
            serving.bound(Serving(port=port))
        usual, serving.PORT = serving.PORT, port
        try:
            server = serving.bound(Serving())
        finally:
            serving.PORT = usual
        assert server.port != port
        server.stop()
        server.unlisten()


def test_a_session_that_ends_gives_everything_back():
    from holoviews.plotting.bokeh.element import OverlayPlot
    from panel.io.application import build_applications
    from panel.io.session import generate_session

    from hustle_sim.dashboard import create_app
    from hustle_sim.dashboard.simulate_state import warm_up

    made = []

    def remembered():
        page = create_app()
        made.append(weakref.ref(page))
        return page

    def plots():
        gc.collect()
        return sum(isinstance(one, OverlayPlot) for one in gc.get_objects())

    for job in warm_up():
        asyncio.run(job.result())
    (application,) = build_applications({"/": remembered}).values()
    before = plots()
    for _ in range(3):
        session = generate_session(application)
        document, context = session.document, session.document.session_context
        assert plots() == before + len(SHOWN)
        for callback in list(document.session_destroyed_callbacks):
            callback(context)
        document.destroy(session)
        del session, document, context, callback
        assert plots() == before
    assert [page() for page in made] == [None, None, None]


def test_a_callback_that_crashes_tells_the_visitor_without_a_traceback():
    from hustle_sim.dashboard.app import App

    app = App()
    app.crashed(ZeroDivisionError("secret detail"))
    shown = app._notice._pane.object
    assert "ZeroDivisionError" in shown
    assert "secret detail" not in shown
    assert "Traceback" not in shown


def test_a_dashboard_that_cannot_be_built_says_so(monkeypatch):
    from hustle_sim.dashboard import app as app_module

    def broken(**_):
        raise OSError("secret detail")

    monkeypatch.setattr(app_module, "App", broken)
    page = app_module.create_app()
    (room,) = page.main
    assert "could not be built" in room[0].object
    assert "secret detail" not in room[0].object
