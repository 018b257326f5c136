"""What is drawn of a run, without a browser: figures, play head, chat, lists, and why."""

import asyncio
import math
from html import escape

import numpy as np
import panel as pn
import pytest
from bokeh.events import RangesUpdate
from bokeh.models import Plot
from events_by_hand import Story as Events
from panel.theme import Native

import hustle_sim
from hustle_sim import InputError, Policy, Scenario, simulate
from hustle_sim.analysis.figure_sets import WHOLE
from hustle_sim.analysis.life import life
from hustle_sim.analysis.moment import moment
from hustle_sim.analysis.picks import LISTS, counts, picked
from hustle_sim.analysis.stops import Stops
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.charts import GROUPS, SHOWN, drawn, legend
from hustle_sim.dashboard.moment_view import MESSAGES, bubbles, facts
from hustle_sim.dashboard.story import Story, opening_s, told
from hustle_sim.dashboard.why import chips, row
from hustle_sim.dashboard.why import told as told_html

SCENARIO = Scenario.load("morning-outage")


@pytest.fixture(scope="module")
def run():
    return simulate(SCENARIO, seed=7, label="default")


@pytest.fixture(scope="module")
def original():
    return simulate(SCENARIO, Policy.preset("original"), seed=7, label="original")


@pytest.fixture
def story(run):
    made = Story()
    made.show_at_once(run)
    yield made
    made.close()


# Figures


def test_every_figure_of_a_whole_run_has_its_place_in_one_group():
    assert sorted(name for group in GROUPS for name in group.figures) == sorted(WHOLE)


def test_a_legend_has_the_words_that_are_drawn_and_escapes_its_note(run):
    data = drawn([run])
    assert set(data) == set(SHOWN)
    words = legend("latency", data["latency"], "light")
    assert "answered" in words
    assert "deadline" in words
    assert "rate limited" not in words
    assert "&lt;b&gt;" in legend("latency", [{**data["latency"][0], "note": "<b>"}], "dark")


@pytest.mark.parametrize("name", WHOLE)
def test_each_figure_of_two_runs_has_common_axes(run, original, name):
    first, second = drawn([run, original], [name])[name]
    assert first["limits"] == second["limits"]
    assert first["end_s"] == second["end_s"]
    assert legend(name, [first, second], "light").startswith("<h2>")


def test_many_attempts_are_a_density_and_so_is_what_stands_beside_them(run):
    events = Events()
    for number in range(20_100):
        events.attempt("a", number * 0.1, 1.0)
    crowd = events.run(duration_s=3000.0)
    assert [data["figure"] for data in drawn([crowd], ["latency"])["latency"]] == ["density"]
    assert [data["figure"] for data in drawn([run, crowd], ["latency"])["latency"]] == ["density"] * 2
    assert [data["figure"] for data in drawn([run], ["latency"])["latency"]] == ["latency"]


def test_a_live_run_has_no_load_and_a_clock():
    live = Events().sent("a", 0).attempt("a", 0, 1.0).run(backend_truth=False)
    data = drawn([live], WHOLE)
    assert set(data) == set(WHOLE) - {"load"}
    assert all(one["clock"] == live.start for one, *_ in data.values())


def pane_of(slot, place=0):
    """The pane with the plot of a run: below the heading, and below the line that says whose it is."""
    return slot.view[1 + place][-1]


def test_a_first_page_says_what_there_is_before_it_has_the_figures(run, original, monkeypatch):
    monkeypatch.setattr("hustle_sim.dashboard.story._PAUSE_S", 0)
    story = Story()
    draw = story.announce(run)
    assert story.moments[0].facts
    for name in SHOWN:
        assert not story.charts.slots[name].is_drawn
        assert story.charts.slots[name].view.visible
        assert story.charts.slots[name].view.min_height > 90
    asyncio.run(draw())
    assert all(story.charts.slots[name].is_drawn for name in SHOWN)
    assert all(story.charts.slots[name].view.min_height is None for name in SHOWN)

    late = Story()
    draw = late.announce(run)
    asyncio.run(late.show(original))
    asyncio.run(draw())
    assert [one.run for one in late._told] == [original]
    assert "lost" in set(late.charts.slots["outcomes"].data()[0]["bars"]["fate"])
    for one in (story, late):
        one.close()


def test_another_run_is_sent_into_the_plots_that_are_there(story, original):
    plots = {name: pane_of(slot).object for name, slot in story.charts.slots.items() if slot.is_drawn}
    assert set(plots) == set(SHOWN)
    asyncio.run(story.show(original))
    for name, plot in plots.items():
        assert pane_of(story.charts.slots[name]).object is plot
    lost = story.charts.slots["outcomes"].data()[0]["bars"]["fate"]
    assert "lost" in set(lost)


def test_figures_of_a_closed_group_are_neither_made_nor_drawn_before_it_is_opened(story):
    assert not story.charts.slots["load"].is_drawn
    assert set(story.charts.names) == set(SHOWN)
    fold = next(fold for fold, group, _ in story.charts.folds if "load" in group.figures)
    fold.open = True
    asyncio.run(story._draw_missing())
    assert story.charts.slots["load"].is_drawn
    assert story.charts.missing == ()


def test_a_and_b_stand_under_each_other_and_b_goes_away_again(story, run, original):
    asyncio.run(story.show(run, original, compare=True))
    for name in SHOWN:
        slot = story.charts.slots[name]
        assert len(slot.data()) == 2
        _, first, second = slot.view
        assert "<b>A</b>" in first[0].object
        assert "original" in second[0].object
    assert [view.visible for view in story.moments] == [True, True]
    assert story.moments[1].title == "At this moment: B, original"
    asyncio.run(story.show(run, original))
    _, only = story.charts.slots["status"].view
    assert list(only) == [pane_of(story.charts.slots["status"])]
    assert [view.visible for view in story.moments] == [True, False]


def test_an_older_run_that_took_longer_never_overwrites_a_newer_one(story, run, original, monkeypatch):
    async def race():
        real, gates = asyncio.to_thread, [asyncio.Event()]

        async def slow_first(function, *arguments):
            if gates:
                gate = gates.pop()
                await gate.wait()
            return await real(function, *arguments)

        gate = gates[0]
        monkeypatch.setattr(asyncio, "to_thread", slow_first)
        older = asyncio.create_task(story.show(original))
        await asyncio.sleep(0)
        await story.show(run, original, compare=True)
        gate.set()
        await older

    asyncio.run(race())
    assert [one.run for one in story._told] == [run, original]
    assert len(story.charts.slots["status"].data()) == 2


def test_the_beginning_of_a_run_is_drawn_on_the_axis_of_the_whole_and_nothing_else_is_said_of_it(story, run):
    parts = []
    simulate(SCENARIO, Policy.preset("original"), seed=7, so_far=lambda _, made: parts or parts.append(made()))
    (part,) = parts
    before, plot = story._told, pane_of(story.charts.slots["status"]).object
    asyncio.run(story.begin([part], ["original"]))
    assert pane_of(story.charts.slots["status"]).object is plot
    shown = story.charts.slots["status"].data()[0]
    assert shown["end_s"] == run.duration_s
    assert shown["bands"]["until_s"].max() == part.duration_s < run.duration_s / 10
    assert story._told == before
    assert story.moments[0].title == "At this moment, in the run before"
    story._clicked("latency", 0, 100.0, 1.0)
    assert story.why.picker.about.startswith("The simulation is not over")
    asyncio.run(story.show(run))
    assert story.charts.slots["status"].data()[0]["bands"]["until_s"].max() == run.duration_s
    assert story.moments[0].title == "At this moment"


def test_the_beginning_of_a_long_run_is_a_density_as_the_whole_will_be():
    parts = []
    scenario = SCENARIO.replace({"duration_s": 30 * 86400})
    with pytest.raises(hustle_sim.Cancelled):
        simulate(scenario, so_far=lambda _, made: parts.append(made()), cancelled=lambda: bool(parts))
    (part,) = parts
    assert len(part.attempts) < 1000
    assert drawn([part], ["latency"])["latency"][0]["figure"] == "density"


def test_two_runs_with_one_label_are_told_apart(run):
    story = Story()
    story.show_at_once(run, run)
    assert [view.title for view in story.moments] == [f"At this moment: {side}, default" for side in "AB"]
    story.close()


# The play head


def test_it_begins_where_the_first_person_is_left_without_the_coach(story, run):
    begins_s = story.playhead.time_s
    outage = run.outages.iloc[0]
    assert outage["start_s"] < begins_s < outage["end_s"]
    assert story.moments[0].bubbles[-1][2] == "offline"
    assert begins_s == opening_s(told(run, ""))


def test_a_moved_play_head_changes_the_words_and_the_chat(story, run):
    story.playhead.time_s = 600.0
    before, chat = {row[0]: row[3] for row in story.moments[0].facts}, story.moments[0].bubbles
    assert before["Backend"].startswith("The backend is well")
    story.playhead.time_s = float(run.outages["start_s"].iloc[0]) + 1800
    after = {row[0]: row[3] for row in story.moments[0].facts}
    assert "more" in after["Backend"]
    assert after["Monitor"].startswith("The monitor says offline")
    assert story.moments[0].bubbles != chat
    assert story.playhead.shown_s == story.playhead.time_s


def test_steps_go_from_event_to_event_and_say_what_happened(story, run):
    seen = [0.0]
    story.playhead.time_s = 0.0
    while True:
        story._step(1, story.playhead.time_s)
        if story.playhead.note == "No more events.":
            break
        assert story.playhead.time_s > seen[-1]
        seen.append(story.playhead.time_s)
    assert set(run.outages["start_s"]) | set(run.outages["end_s"]) <= set(seen)
    assert set(run.transitions["time_s"]) - {0.0} <= set(seen)
    back = []
    story._step(-1, story.playhead.time_s)
    while story.playhead.note != "No earlier event.":
        back.append(story.playhead.time_s)
        story._step(-1, story.playhead.time_s)
    assert [time_s for time_s in back[::-1] if time_s > 0] == pytest.approx(seen[1:-1])


def test_stops_of_one_client_are_not_those_of_another():
    run = Events().sent("a", 0).answered("a", 0, 8, "fallback").run()
    assert [stop.words for stop in Stops(run, 0).all if "offline answer" in stop.words]
    assert not [stop.words for stop in Stops(run, 1).all if "offline answer" in stop.words]
    assert Stops(run, 1).after(1e9) is None
    assert Stops(run, 1).before(-1.0) is None


def test_another_client_has_another_chat():
    fleet = simulate(Scenario.load("morning-outage").replace({"clients.count": 3}), seed=1)
    story = Story()
    story.show_at_once(fleet)
    view = story.moments[0]
    assert len(view.clients) > 1
    before = view.bubbles
    asyncio.run(story._on_client(0, type("Event", (), {"new": view.clients[1]})))
    assert story._told[0].client == view.clients[1]
    assert view.bubbles != before
    story.close()


def test_facts_and_bubbles_have_a_sign_beside_each_colour_and_are_few(run):
    now = moment(run, run.duration_s)
    for name, status, glyph, sentence in facts(now):
        assert name
        assert glyph.strip()
        assert status in ("", "online", "degraded", "offline", "checking")
        assert sentence.endswith(".")
    assert len(bubbles(now)) == 2 * MESSAGES


# Why?


def test_a_click_on_an_attempt_tells_the_life_of_its_message(story, run):
    attempt = run.attempts[(run.attempts["kind"] == "message") & (run.attempts["outcome"] == "ok")].iloc[50]
    story._clicked("latency", 0, float(attempt["time_s"]), float(attempt["latency_s"]))
    assert story.why.picker.chosen == attempt["message_id"]
    assert story.playhead.time_s == attempt["time_s"]
    assert escape(life(run, attempt["message_id"]).words) in story.why._steps[0].object
    assert story.why._frame.visible
    story.why.picker.chosen = ""
    assert not story.why._frame.visible
    assert story.why.picker.about.startswith("Click an attempt")


def test_a_click_on_a_health_check_says_that_it_belongs_to_no_message(story, run):
    probe = run.attempts[run.attempts["kind"] == "probe"].iloc[3]
    story._clicked("latency", 0, float(probe["time_s"]), float(probe["latency_s"]))
    assert story.why.picker.chosen == ""
    assert "health check" in story.why.picker.about


def test_a_click_into_another_figure_only_moves_the_play_head(story):
    story._clicked("outcomes", 0, 1234.0, 3.0)
    assert story.playhead.time_s == 1234.0
    assert story.why.picker.chosen == ""
    story._clicked("outcomes", 0, -5.0, 3.0)
    assert story.playhead.time_s == 0.0


def test_the_message_that_is_explained_is_forgotten_with_its_run(story):
    story.why.explain("0-180")
    assert story.why.picker.chosen == "0-180"
    assert "Long waits are drawn shorter" in story.why.picker.about
    other = Events().sent("x", 0).answered("x", 0, 1).run()
    asyncio.run(story.show(other))
    assert story.why.picker.chosen == ""


def test_lists_hold_what_they_say(original):
    messages = original.messages
    for name, number in counts(original).items():
        shown = picked(original, name)
        assert len(shown) == min(number, 100)
        for one in shown:
            assert (messages["message_id"] == one.message_id).sum() == 1
            assert len(row(one)) == 5
    slowest = [one.answer_s for one in picked(original, "slowest")]
    assert slowest == sorted(slowest, reverse=True)
    assert {one.outcome for one in picked(original, "lost")} == {"lost"}
    assert [name for name, *_ in chips(original)] == [name for name in LISTS if counts(original)[name]]
    with pytest.raises(InputError, match="did you mean 'lost'"):
        picked(original, "lots")


def test_lists_of_a_run_without_messages_are_empty():
    empty = Events().run()
    assert set(counts(empty).values()) == {0}
    assert chips(empty) == []
    assert picked(empty, "slowest") == []


def test_the_sentences_of_a_life_are_escaped():
    run = Events().sent("<i>", 0).attempt("<i>", 0, 1.0).answered("<i>", 0, 1).run()
    html = told_html(life(run, "<i>"))
    assert "<i>" not in html
    assert html.count("<li>") == len(life(run, "<i>").steps)


def test_a_message_that_was_never_answered_has_words_in_its_row():
    run = Events().sent("a", 0).run()
    (one,) = picked(run, "pending")
    assert math.isnan(one.answer_s)
    assert row(one)[2] == "nothing"


# Density


def test_a_zoomed_density_is_counted_anew_and_a_stale_zoom_is_not_drawn():
    events = Events()
    for number in range(20_100):
        events.attempt("a", number * 0.1, 1.0)
    story = Story()
    story.show_at_once(events.run(duration_s=3000.0))
    story._zooms[0] = ((100.0, 200.0), (-1.0, 1.0))
    asyncio.run(story._count_anew(0, (100.0, 200.0), (-1.0, 1.0)))
    (data,) = story.charts.slots["latency"].data()
    assert data["answered"]["bounds"] == (100.0, -1.0, 200.0, 1.0)
    assert np.sum(data["answered"]["number"]) == pytest.approx(1000, abs=2)
    asyncio.run(story._count_anew(0, (0.0, 50.0), (-1.0, 1.0)))
    assert story.charts.slots["latency"].data()[0]["answered"]["bounds"][0] == 100.0
    story.close()


# In a notebook


def test_a_story_needs_no_page_and_brings_its_colours(story):
    assert isinstance(story.__panel__(), pn.Column)
    assert any("--mui-palette-hustle-card: #FFFFFF" in str(sheet) for sheet in story.__panel__().stylesheets)


def test_explore_shows_the_story_of_one_run_or_of_two(run, original):
    one = hustle_sim.explore(run)
    assert all(one.charts.slots[name].is_drawn for name in SHOWN)
    assert one.playhead.end_s == run.duration_s
    both = hustle_sim.explore(run, original, theme="dark")
    assert len(both.charts.slots["status"].data()) == 2
    assert any("--mui-palette-hustle-card: #1C222E" in str(sheet) for sheet in both.__panel__().stylesheets)
    for story in (one, both):
        story.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_a_notebook_figures_and_ground_have_the_colours_of_the_theme_whatever_the_editor_has(run, theme):
    one = hustle_sim.explore(run, theme=theme)
    colours = styles.THEME[theme]["palette"]
    one.why.explain("0-180")
    for pane in (pane_of(one.charts.slots["latency"]), one.why._picture):
        figure = pane.get_root().select_one({"type": Plot})
        assert figure.background_fill_color == figure.border_fill_color == colours["hustle"]["card"]
        assert figure.xaxis[0].axis_label_text_color == colours["text"]["primary"]
    assert one.__panel__().design is Native
    one.close()


@pytest.mark.parametrize("gone", [math.nan, None])
def test_a_zoom_without_ranges_is_no_zoom(story, gone):
    seen = []
    story.charts._zoomed = lambda *zoom: seen.append(zoom)
    story.charts._ranged(0, RangesUpdate(None, x0=gone, x1=10.0, y0=0.0, y1=1.0))
    assert seen == []
    story.charts._ranged(0, RangesUpdate(None, x0=5.0, x1=10.0, y0=0.0, y1=1.0))
    assert seen == [(0, (5.0, 10.0), (0.0, 1.0))]


def test_an_attempt_whose_message_was_sent_before_the_recording_began_is_a_sentence():
    story = Story()
    story.show_at_once(Events().sent("b", 5).attempt("a", 100, 1.0).run())
    story._clicked("latency", 0, 100.0, 1.0)
    assert story.why.picker.about.startswith("There is no message 'a' in this run")
    assert not story.why._frame.visible
    story.close()
