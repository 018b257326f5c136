"""The dashboard without a browser: what it decides, and that what a visitor owned is given back."""

import asyncio
import gc
import math
import socket
import weakref
from collections import deque
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest

from hustle_sim.analysis import METRICS
from hustle_sim.dashboard import controls
from hustle_sim.dashboard.cards import GROUPS, cards, compare
from hustle_sim.dashboard.charts import SHOWN, drawn, legend, shape_of
from hustle_sim.dashboard.indicator import IDLE, seen
from hustle_sim.dashboard.jobs import Job, Latest, Request, Workshop
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
from hustle_sim.dashboard.simulate_state import (
    CRASHED,
    SimulateState,
    baseline_of,
    bundled,
    chosen,
    label_of,
    request_of,
    scenario_of,
)
from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy, policy_fields
from hustle_sim.resilience.health import Health, Status
from hustle_sim.simulation import Cancelled, Scenario, simulate

FIELDS = {field.name: field for field in policy_fields()}
SHORT = Scenario.load("morning-outage")


# Controls


@pytest.mark.parametrize("name", FIELDS)
def test_every_tunable_has_a_widget_with_its_reason_unit_and_bounds(name):
    field = FIELDS[name]
    widget = controls.widget_of(field, field.default)
    assert widget.description == field.reason
    unit = "%" if field.unit == "share" else field.unit
    assert not unit or widget.label.endswith(f"· {unit}")
    if field.low is not None:
        assert widget.start == pytest.approx(controls.shown(field, field.low))
        assert widget.end == pytest.approx(controls.shown(field, field.high))
        assert widget.step > 0
    if field.choices:
        assert tuple(widget.options) == field.choices


@pytest.mark.parametrize("preset", PRESETS)
def test_a_policy_goes_through_the_widgets_and_comes_back_the_same(preset):
    form = controls.PolicyControls(changed=lambda: None)
    form.show(Policy.preset(preset))
    assert form.policy() == Policy.preset(preset)


def test_setting_the_widgets_to_a_preset_does_not_count_as_a_change_by_a_person():
    changes = []
    form = controls.PolicyControls(changed=lambda: changes.append(1))
    form.show(Policy.preset("original"))
    assert not changes
    form._widgets["probe.interval_s"].value = 60.0
    assert changes == [1]


def test_a_value_that_differs_from_the_preset_says_so_and_long_times_are_put_into_words():
    field = FIELDS["probe.interval_s"]
    assert controls.hint(field, 300, 300) == "= 5 min"
    assert controls.hint(field, 30, 300) == "preset: 5 min"
    assert controls.hint(FIELDS["probe.jitter"], 0.5, 0.2) == "preset: 20 %"
    assert controls.hint(FIELDS["breaker.enabled"], False, True) == "preset: on"


def test_an_empty_field_means_the_default():
    assert controls.meant(FIELDS["probe.fall"], None) == 3


def test_values_that_cannot_work_together_are_a_sentence_and_the_fields_in_it_are_marked():
    form = controls.PolicyControls(changed=lambda: None)
    form._widgets["probe.degraded_above_s"].value = 6.0
    with pytest.raises(InputError, match=r"degraded_above_s \(6\) must not exceed timeout_s \(5\)") as caught:
        form.policy()
    form.blame(str(caught.value))
    marked = {name for name, widget in form._widgets.items() if getattr(widget, "error_state", False)}
    assert marked == {"probe.degraded_above_s", "probe.timeout_s"}
    form.blame("")
    assert not any(getattr(widget, "error_state", False) for widget in form._widgets.values())


# Cards


@pytest.mark.parametrize(
    ("name", "mine", "other", "arrow", "word"),
    [
        ("answered_share", 0.9, 0.8, "▲", "better"),
        ("answered_share", 0.8, 0.9, "▼", "worse"),
        ("lost", 0.0, 25.0, "▼", "better"),
        ("detection_s", 60.0, 30.0, "▲", "worse"),
        ("probe_rate_per_hour", 60.0, 30.0, "▲", "higher"),
        ("answered_share", 0.900001, 0.900002, "=", "same"),
        ("drained_s", math.nan, 3, "", ""),
    ],
)
def test_a_comparison_has_an_arrow_and_a_word(name, mine, other, arrow, word):
    found = compare(name, mine, other)
    assert (found.arrow, found.word) == (arrow, word)


def test_cards_show_value_unit_baseline_and_the_sentence_of_each_metric():
    mine, original = simulate(SHORT, seed=3), simulate(SHORT, Policy.preset("original"), seed=3)
    html = cards(mine, original)
    for names in GROUPS.values():
        for name in names:
            assert f'data-metric="{name}"' in html
            assert METRICS[name].text.split("'")[0] in html
    assert html.count("original ") == sum(map(len, GROUPS.values()))
    assert 'class="card empty"' in cards(None, None)


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


# What is asked for, and what is shown


class FakeShop:
    """Jobs that end when the test says so."""

    def __init__(self):
        self.futures: list[Future] = []
        self.dropped: list[int] = []
        self.full = False

    def submit(self, request):
        if self.full:
            raise InputError("too many are waiting")
        number = len(self.futures)
        self.futures.append(Future())
        self.futures[-1].set_running_or_notify_cancel()
        return Job(self.futures[-1], lambda: 0.25, lambda: self.dropped.append(number))


@pytest.fixture(scope="module")
def runs():
    return {seed: simulate(SHORT, seed=seed) for seed in (1, 2)}


def asked(seed):
    return request_of(SHORT, Policy(), seed)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for is no event
            await asyncio.sleep(0.01)


def test_results_of_an_older_request_never_overwrite_newer_ones(runs):
    async def main():
        shop = FakeShop()
        state = SimulateState(shop)
        older = asyncio.create_task(state.run(asked(1)))
        await until(lambda: len(shop.futures) == 2)
        newer = asyncio.create_task(state.run(asked(2)))
        await until(lambda: len(shop.futures) == 4)
        assert shop.dropped == [0, 1]
        for future in shop.futures[2:]:
            future.set_result(runs[2])
        await newer
        for future in shop.futures[:2]:
            future.set_result(runs[1])
        await older
        assert state.results.mine is runs[2]
        assert not state.running

    asyncio.run(main())


def test_progress_is_shown_while_it_runs_and_cancel_keeps_the_last_good_results(runs):
    async def main():
        shop = FakeShop()
        state = SimulateState(shop)
        state.results = good = object()
        task = asyncio.create_task(state.run(asked(1)))
        await until(lambda: state.share == 0.25)
        assert state.running
        state.cancel()
        await task
        assert not state.running
        assert shop.dropped == [0, 1]
        assert state.results is good

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(InputError("the file is odd"), "the file is odd"), (ZeroDivisionError("x"), CRASHED), (Cancelled("x"), "")],
)
def test_a_failed_run_is_one_sentence_and_keeps_the_last_good_results(error, sentence):
    async def main():
        shop = FakeShop()
        state = SimulateState(shop)
        state.results = good = object()
        task = asyncio.create_task(state.run(asked(1)))
        await until(lambda: len(shop.futures) == 2)
        for future in shop.futures:
            future.set_exception(error)
        await task
        assert state.problem == sentence
        assert state.results is good
        assert not state.running

    asyncio.run(main())


def test_a_full_workshop_is_a_sentence():
    async def main():
        shop = FakeShop()
        shop.full = True
        state = SimulateState(shop)
        await state.run(asked(1))
        assert state.problem == "too many are waiting"

    asyncio.run(main())


def test_the_baseline_is_the_original_on_the_same_scenario_and_seed():
    baseline = baseline_of(asked(5))
    assert baseline.policy == Policy.preset("original")
    assert (baseline.scenario, baseline.seed) == (SHORT, 5)
    assert baseline.key == request_of(SHORT, Policy.preset("original"), 5).key != asked(5).key


def test_a_policy_is_called_by_its_preset_as_long_as_it_is_that():
    assert label_of(Policy()) == "default"
    assert label_of(Policy.preset("grpc")) == "grpc"
    assert label_of(Policy().replace({"probe.fall": 5})) == "your policy"


def test_an_address_can_ask_for_scenario_preset_and_seed():
    assert chosen({}) == ("morning-outage", "default", 7)
    assert chosen({"scenario": "hang", "policy": "polly", "seed": "3", "place": "simulate"}) == ("hang", "polly", 3)
    assert bundled()[0] == "morning-outage"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scenario": "mornig-outage"}, "there is no scenario 'mornig-outage'; did you mean 'morning-outage'?"),
        ({"policy": "orginal"}, "there is no preset 'orginal'; did you mean 'original'?"),
        ({"seed": "seven"}, "seed: a whole number from 0 up is needed, not 'seven'"),
    ],
)
def test_an_address_that_asks_for_what_does_not_exist_is_a_sentence(arguments, sentence):
    with pytest.raises(InputError) as caught:
        chosen(arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("seed", [-1, None, 1.5, True, "7"])
def test_a_seed_that_is_none_is_a_sentence(seed):
    with pytest.raises(InputError, match="whole number from 0 up"):
        request_of(SHORT, Policy(), seed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"duration_s = ", "mine.toml is not valid TOML"),
        (b"\xff\xfe", "mine.toml is not text in UTF-8"),
        (b"duration_s = -5", "duration_s"),
        (b"durationn_s = 5", "durationn_s is not a field that exists"),
        (b"#" * 300_000, "too large"),
    ],
)
def test_a_broken_scenario_file_is_a_sentence(content, words):
    with pytest.raises(InputError) as caught:
        scenario_of("mine.toml", content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value).rstrip("\n")


def test_a_scenario_file_without_a_name_is_called_like_the_file():
    assert scenario_of("mine.toml", b"duration_s = '1h'").name == "mine"


def test_only_the_last_ticket_is_current():
    latest = Latest()
    first = latest.take()
    assert latest.is_current(first)
    assert latest.take() != first
    assert not latest.is_current(first)


def test_sentences_are_escaped():
    assert "<script>" not in notice_html("there is no <script>")
    assert notice_html("") == ""
    assert "It broke." in notice_html("it broke")


# Worker processes


@pytest.mark.real
def test_a_worker_process_gives_the_same_run_and_knows_it_the_next_time():
    shop = Workshop(workers=1)
    try:
        request = request_of(SHORT, Policy(), 4)
        job = shop.submit(request)
        run = asyncio.run(job.result())
        assert run.digest == simulate(SHORT, seed=4).digest
        assert job.share == 1.0
        assert shop.submit(request).finished() is run
    finally:
        shop.close()


@pytest.mark.real
def test_a_running_simulation_reports_its_progress_and_can_be_cancelled():
    async def main(shop):
        job = shop.submit(Request(Scenario.load("retry-storm").replace({"duration_s": 864000}), Policy(), 1))
        async with asyncio.timeout(60):
            while not 0 < job.share < 1:
                assert not job.done
                await asyncio.sleep(0.01)
        job.cancel()
        with pytest.raises(Cancelled):
            async with asyncio.timeout(60):
                await job.result()

    shop = Workshop(workers=1)
    try:
        asyncio.run(main(shop))
    finally:
        shop.close()


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
