"""The Live place without a browser: what it decides, what it says, and that weeks do not let it grow."""

import math
import random
import zipfile
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.analysis import Run
from hustle_sim.analysis.palette import HEARTBEAT
from hustle_sim.dashboard.indicator import IDLE, seen
from hustle_sim.dashboard.live_charts import LiveCharts, band_columns, point_columns
from hustle_sim.dashboard.live_details import zipped
from hustle_sim.dashboard.live_history import HistoryChart, minute_columns
from hustle_sim.dashboard.live_practice import BREAKAGES, EXPLAINED, Practice
from hustle_sim.dashboard.live_slo import (
    PERIOD_S,
    Goals,
    budget_left,
    facts,
    goals_of,
    percent,
    read_goals,
    write_goals,
)
from hustle_sim.dashboard.live_state import (
    CELLS,
    KEPT,
    STRETCHES,
    Feed,
    Point,
    Stretch,
    beats,
    beats_in_words,
    cell_s,
    summary,
    trouble,
    watch_policy,
)
from hustle_sim.dashboard.live_targets import (
    INTERVALS_S,
    MOST,
    PRACTICE,
    Target,
    read_targets,
    target_of,
    with_one_more,
    without,
    write_targets,
)
from hustle_sim.dashboard.live_watch import Watch
from hustle_sim.dashboard.live_words import breaker_fact, cards, incidents, queue_fact, transitions
from hustle_sim.events import ProbeEnded, StatusChanged
from hustle_sim.inputs import InputError
from hustle_sim.live.digest import MINUTES, Bucket, Digest, Incident
from hustle_sim.live.session import KEEP_EVENTS, BreakerView, Seat
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.resilience.breaker import BreakerState, Tally
from hustle_sim.resilience.health import Health, Status

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
START = 1_000_000.0
"""POSIX seconds at the start of the fake sessions."""


class FakeSession:
    """A session in a world whose clock the test moves: its loop time began at 100."""

    origin_s = 100.0
    label = "http://fake"
    health = Health(status=Status.ONLINE, latency_s=0.1, last_check=datetime.fromtimestamp(START, UTC))
    policy = Policy()
    breaker = BreakerView(BreakerState.CLOSED, Tally(0, 0, 0), None)

    class World:
        def __init__(self, session):
            self.wall_clock = lambda: START + session.now_s - session.origin_s

    def __init__(self):
        self.digest = Digest()
        self.version = 0
        self.now_s = self.origin_s
        self.world = self.World(self)

    def happen(self, *events):
        for event in events:
            self.digest(event)
            self.version += 1

    def probe(self, after_s, latency_s=0.1, outcome="ok", status="online"):
        self.now_s += after_s
        self.happen(ProbeEnded(self.now_s - latency_s, 0, latency_s, outcome, None, status))

    def change(self, current, previous="checking", reason=""):
        self.happen(StatusChanged(self.now_s, 0, previous, current, reason))


# The indicator


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


# What is watched


@pytest.mark.parametrize("interval_s", INTERVALS_S.values())
@pytest.mark.parametrize("preset", PRESETS)
def test_every_interval_gives_a_policy_that_works(interval_s, preset):
    policy = watch_policy(interval_s, Policy.preset(preset))
    assert policy.probe.interval_s == interval_s


urls = st.sampled_from(
    [PRACTICE, "http://localhost:8000", "https://api.example.com/v1", "http://10.0.0.1:9", "https://x.org/a@b"]
)


@given(st.lists(st.builds(Target, urls, st.sampled_from(list(INTERVALS_S))), unique_by=lambda target: target.url))
def test_a_list_of_targets_survives_its_address(targets):
    assert read_targets(write_targets(targets)) == (tuple(targets), "")


def test_what_somebody_types_is_a_target_or_a_sentence():
    assert target_of(" ").is_practice
    assert target_of("Practice").is_practice
    assert target_of("https://api.example.com/", "1 min") == Target("https://api.example.com", "1 min")
    assert target_of("http://h:8000").name == "h:8000"
    with pytest.raises(InputError, match="no backend URL"):
        target_of("localhost:8000")


def test_a_target_is_watched_once_and_there_is_an_end():
    targets = with_one_more((), Target(PRACTICE))
    with pytest.raises(InputError, match="watched already"):
        with_one_more(targets, Target(PRACTICE, "1 min"))
    for number in range(MOST - 1):
        targets = with_one_more(targets, Target(f"http://h:{number + 1}"))
    with pytest.raises(InputError, match="remove one first"):
        with_one_more(targets, Target("http://one-more"))
    assert len(without(targets, PRACTICE)) == MOST - 1


def test_an_address_with_a_bad_target_keeps_the_good_ones_and_says_one_sentence():
    targets, problem = read_targets("practice@5s http://h@2s gopher://x http://good")
    assert targets == (Target(PRACTICE, "5 s"), Target("http://good"))
    assert problem == "'2s' is no pace of probing: it is one of 1s, 5s, 15s, 1min, 5min"


# What is new, and what is kept


def test_a_feed_brings_what_is_new_once_and_in_wall_time():
    session, feed = FakeSession(), Feed()
    news = feed.pull(session)
    assert not news.points
    assert [(one.since, one.status) for one in news.stretches] == [(START, "checking")]
    session.probe(1.2, 0.2)
    session.change("online", reason="answered in 0.2 s")
    news = feed.pull(session)
    assert [(one.at, one.outcome, one.p50_s) for one in news.points] == [(pytest.approx(START + 1), "ok", 0.2)]
    assert news.stretches[0].since == pytest.approx(START + 1.2)
    assert not feed.pull(session)


def test_the_moving_percentiles_are_those_of_the_answers_before():
    session, feed = FakeSession(), Feed()
    for latency_s in (0.1, 0.2, 0.3, 0.4, 9.0):
        session.probe(1.0, latency_s)
    session.probe(1.0, 5.0, "timeout")
    points = feed.pull(session).points
    assert (points[0].p50_s, points[4].p50_s, points[4].p95_s) == (0.1, 0.3, 9.0)
    assert points[5].p50_s == points[4].p50_s


def test_a_minute_is_told_when_it_is_over_and_once():
    session, feed = FakeSession(), Feed()
    session.change("online")
    told = []
    for _ in range(50):
        session.probe(5.0)
        told += feed.pull(session).minutes
    assert [minute.checks for minute in told[1:]] == [12] * (len(told) - 1)
    assert [later.start_s - minute.start_s for minute, later in pairwise(told)] == [60.0] * (len(told) - 1)
    assert len(told) == 4


def test_a_page_that_comes_back_after_a_while_finds_what_it_missed():
    session, feed = FakeSession(), Feed()
    session.probe(1.0)
    feed.pull(session)
    for _ in range(KEPT + 500):
        session.probe(5.0)
    news = feed.pull(session)
    assert len(news.points) == KEPT
    assert len(news.minutes) == session.now_s // 60 - session.origin_s // 60


def test_a_week_of_watching_does_not_let_the_page_or_its_plots_grow():
    chance = random.Random(1)
    session, feed = FakeSession(), Feed()
    charts, history = LiveCharts("light", START), HistoryChart("light")
    charts.reset(feed, session.policy.probe, START)
    sent, sizes, status = 0, [], "checking"
    session.change("online")
    while session.now_s < session.origin_s + 7 * 86400:
        ok = chance.random() < 0.97
        session.probe(30.0, math.exp(chance.gauss(-2, 0.7)), "ok" if ok else "timeout")
        if chance.random() < 0.03:
            previous, status = status, chance.choice(["online", "degraded", "offline"])
            session.change(status, previous)
        if chance.random() < 0.2:
            news = feed.pull(session)
            charts.add(news, session.world.wall_clock())
            history.add(news.minutes)
            sent += len(news.points)
            sizes.append(
                (
                    len(feed.points),
                    len(feed.stretches),
                    len(charts.points.data["time"]),
                    len(charts.band.data["left"]),
                    len(history.minutes.data["left"]),
                )
            )
    assert sent > 19_000
    assert max(sizes[-1]) <= KEPT
    assert sizes[-1] == (KEPT, STRETCHES, KEPT, STRETCHES, MINUTES)
    assert [max(size) for size in zip(*sizes, strict=True)] == list(sizes[-1])
    columns = charts.points.data
    assert len({len(column) for column in columns.values()}) == 1
    assert list(columns["time"]) == sorted(columns["time"])
    band = charts.band.data
    assert list(band["right"])[:-1] == pytest.approx(list(band["left"])[1:])
    middle = list(history.minutes.data["middle"])
    assert all(later - earlier == pytest.approx(60_000, abs=1) for earlier, later in pairwise(middle))


# The heartbeat bar


def test_the_heartbeat_bar_has_the_newest_right_and_grey_where_there_was_no_check():
    points = [
        Point(1000.0, 0.1, "ok", "online"),
        Point(1011.0, 0.1, "ok", "online"),
        Point(1012.0, 5.0, "timeout", "online"),
        Point(1035.0, 5.0, "timeout", "offline"),
        Point(1041.0, 0.2, "ok", "degraded"),
    ]
    cells = beats(points, 1045.0, 10.0)
    assert len(cells) == CELLS
    assert [kind for kind, _ in cells[-5:]] == ["well", "partly", "none", "failed", "partly"]
    assert {kind for kind, _ in cells[:-5]} == {"none"}
    assert "2 health checks, 1 answered" in cells[-4][1]
    # A cell that has just begun is not shown before its first check.
    assert [kind for kind, _ in beats(points, 1050.5, 10.0)[-2:]] == ["failed", "partly"]
    assert beats([], 1000.0, 10.0)[-1][0] == "none"
    assert beats_in_words(cells) == (
        "Health checks in the last 60 stretches of time: 1 answered, 2 slow, or some failed, 1 none answered, "
        "56 no check."
    )


@pytest.mark.parametrize("interval_s", INTERVALS_S.values())
def test_a_cell_is_long_enough_for_two_probes_also_while_offline(interval_s):
    probe = watch_policy(interval_s, Policy()).probe
    assert cell_s(probe) >= 1.5 * max(probe.interval_s, probe.offline_interval_max_s) * (1 + probe.jitter)


# Words and colours


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
    assert "&lt;failed&gt;" in transitions(stretches, 5)
    assert "has not changed" in transitions(stretches[:1], 5)


def test_each_kind_of_minute_has_a_colour_and_a_hatch_of_its_own():
    minutes = [Bucket(60.0 * number) for number in range(4)]
    for minute, (checks, answered, slow) in zip(minutes, [(2, 2, 0), (2, 1, 0), (2, 0, 0), (0, 0, 0)], strict=True):
        minute.checks, minute.answered, minute.slow = checks, answered, slow
    columns = minute_columns(minutes, "light")
    assert len(set(columns["colour"])) == len(set(columns["hatch"])) == len(HEARTBEAT)


def test_the_probes_are_summed_up_in_a_line_and_a_backend_that_is_down_in_a_sentence():
    points = deque([Point(1.0, 0.2, "ok", "online"), Point(2.0, 5.0, "timeout", "offline")])
    assert summary(points) == "2 probes · 1 failed · median 200 ms, p95 200 ms"
    assert "http://x does not answer (timed out after 5 s)" in trouble("http://x", points, "offline")
    assert trouble("http://x", points, "online") == ""
    assert summary(deque()) == "No probe has ended yet."


def test_a_page_says_when_its_history_is_cut():
    points = deque([Point(float(number), 0.1, "ok", "online") for number in range(KEPT)])
    assert "older ones" in summary(points)


def test_the_breaker_is_told_with_its_share_of_failures_and_the_number_of_calls():
    policy = Policy().breaker
    shut = breaker_fact(BreakerView(BreakerState.CLOSED, Tally(8, 2, 0), None), policy)
    assert (shut.value, shut.more, shut.good) == ("● Closed", "25% of 8 calls failed in 1 min", None)
    opened = breaker_fact(BreakerView(BreakerState.OPEN, Tally(5, 5, 0), 7.2), policy)
    assert (opened.value, opened.below, opened.good) == ("■ Open", "nothing is sent for 8 s", False)
    assert "no calls" in breaker_fact(BreakerView(BreakerState.HALF_OPEN, Tally(0, 0, 0), None), policy).more
    off = Policy().replace({"breaker.enabled": False}).breaker
    assert breaker_fact(BreakerView(BreakerState.CLOSED, Tally(0, 0, 0), None), off).value == "Off"
    assert queue_fact(3, 1).below == "1 given up"


def test_incidents_are_told_newest_first_with_start_length_worst_and_reason():
    found = [Incident(10.0, 40.0, "degraded", "slow <b>"), Incident(100.0, math.inf, "offline", "3 failed in a row")]
    html = incidents(found, lambda time_s: START + time_s, 160.0)
    assert html.index("1 min, and still") < html.index("30 s")
    assert "slow &lt;b&gt;" in html
    assert "No incident" in incidents([], lambda time_s: time_s, 0.0)


# What was promised


def bucket(online_s=0.0, offline_s=0.0):
    return Bucket(0.0, checks=1, online_s=online_s, offline_s=offline_s)


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.0, "100 %"), (0.995, "99.5 %"), (0.99987, "99.98 %"), (0.999999, "99.999 %"), (0.0, "0.0 %"), (math.nan, "–")],
)
def test_a_share_of_the_time_is_never_rounded_to_all_of_it(share, words):
    assert percent(share) == words


def test_the_error_budget_is_what_the_goal_allows_in_30_days():
    goals = Goals(0.999, 1.0)
    assert budget_left(goals, bucket(1000.0)) == 1.0
    assert budget_left(goals, bucket(1000.0, 0.001 * PERIOD_S / 4)) == pytest.approx(0.75)
    assert budget_left(goals, bucket(1000.0, PERIOD_S / 500)) == pytest.approx(-1.0)


def test_the_cards_tell_what_is_met_and_what_is_not():
    day = Bucket(0.0)
    for number in range(100):
        day.count(ProbePoint(0.1 if number < 90 else 4.0))
    lasting = [Incident(10.0, math.inf, "offline", "3 failed in a row")]
    by_name = {fact.name: fact for fact in facts(Goals(), bucket(900, 100), day, lasting, 70.0)}
    assert (by_name["availability"].value, by_name["availability"].good) == ("90.0 %", False)
    assert by_name["latency"].good is False
    assert (by_name["incident"].value, by_name["incident"].below) == ("now", "offline for 1 min")
    assert by_name["budget"].good
    html = cards(by_name.values())
    assert html.count("not met") == 2
    unknown = {fact.name: fact for fact in facts(Goals(), Bucket(0.0), Bucket(0.0), [], 0.0)}
    assert [fact.value for fact in unknown.values()] == ["–", "–", "–", "100 %"]
    over = facts(Goals(), bucket(900), day, [Incident(10.0, 40.0, "degraded", "")], 100.0)
    assert over[2].value == "1 min"


class ProbePoint:
    outcome, status = "ok", "online"

    def __init__(self, latency_s):
        self.latency_s = latency_s


@given(st.floats(0.001, 99.999), st.floats(0.001, 1000))
def test_goals_survive_their_address(share, latency_s):
    goals = goals_of(share, latency_s)
    again = read_goals(write_goals(goals)) if write_goals(goals) else Goals()
    assert again.available_share == pytest.approx(goals.available_share, rel=1e-4)
    assert again.latency_s == pytest.approx(latency_s, rel=1e-4)


@pytest.mark.parametrize("words", ["", "99", "101 3", "99.5 -1", "nan 3", "99 nan", "a b", "0 1"])
def test_goals_that_cannot_be_are_a_sentence(words):
    with pytest.raises(InputError):
        read_goals(words)


# A target, the practice backend, what one takes home


def test_a_target_shows_the_same_in_its_line_and_on_the_wall():
    session = FakeSession()
    session.change("online")
    for _ in range(30):
        session.probe(5.0)
    watch = Watch(Target("http://api.example.com:8000"), Seat(session, lambda: None))
    now = session.world.wall_clock()
    watch.pull(now)
    line, tile = watch.line(), watch.tile(now)
    assert line["label"] == tile["label"] == "api.example.com:8000"
    assert line["cells"] == tile["cells"]
    assert dict(line["figures"])["up"] == "100 %"
    assert tile["foot"] == "up 100 % · p50 100 ms · p95 100 ms"
    assert tile["word"] == "Online"
    html = watch.cards(Goals(), 2, 0)
    assert "2 waiting" in html
    assert "Error budget left" in html
    assert "forgotten" not in watch.summary()
    session.version = KEEP_EVENTS + 1234
    assert "the oldest 1,234 events are forgotten" in watch.summary()
    cells = watch.cells
    watch.pull(now + 0.5)
    assert watch.cells is cells


def test_the_history_is_a_run_that_can_be_loaded(tmp_path):
    events = [ProbeEnded(1.0, 0, 0.2, "ok", 200, "online"), StatusChanged(1.2, 0, "checking", "online", "")]
    run = Run.from_events(events, policy=Policy(), start=NOW, duration_s=5.0, backend_truth=False)
    with zipfile.ZipFile(zipped(run)) as archive:
        archive.extractall(tmp_path / "run")
    assert Run.load(tmp_path / "run").digest == run.digest


@pytest.mark.real
def test_the_practice_backend_breaks_in_every_way_that_has_a_button_and_is_mended():
    practice = Practice()
    try:
        assert not practice.is_running
        assert practice.is_at(practice.url)
        assert list(BREAKAGES) == list(EXPLAINED)
        for how in BREAKAGES:
            practice.break_it(how)
            assert practice.broken == how
        practice.mend()
        assert practice.broken == ""
        with pytest.raises(InputError):
            practice.break_it("magic")
    finally:
        practice.close()
