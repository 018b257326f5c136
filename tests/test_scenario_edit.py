"""Editing a scenario without a screen: every edit makes a valid scenario or a sentence, and its TOML says the same."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.dashboard import scenario_edit_state as edit
from hustle_sim.dashboard.scenario_edit_state import History, examples, step_s
from hustle_sim.dashboard.scenario_form_state import fields_of, help_of, outage_fields, text_of, with_text
from hustle_sim.inputs import InputError, parse_duration, write_duration
from hustle_sim.simulation.outages import PARAMETERS
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

settings.register_profile("edits", deadline=None)
settings.load_profile("edits")

NAMES = tuple(Scenario.bundled())
MODES = tuple(PARAMETERS)
bundled = pytest.mark.parametrize("name", NAMES)

seconds = st.one_of(
    st.integers(0, 400_000).map(float),
    st.floats(-1e6, 1e9),
    st.sampled_from([float("nan"), float("inf"), 0.0, 1e-9, 43200.0]),
)
texts = st.one_of(
    st.sampled_from(
        ["", "20m", "1h30m", "09:02", "25:00", "-5", "1e400", "nan", "0", "1", "100", "100 %", "50", "3.5", "never",
         "gamma", "lognormal", "exponential", "daily", "hang", "slow", "rate_limit", "'", '"""', "\\", "a\nb", "\x7f"]
    ),
    st.text(max_size=8),
    st.integers(0, 10**7).map(str),
)  # fmt: skip


@st.composite
def scenarios(draw):
    scenario = Scenario.load(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(0, 3))):
        at_s = draw(st.floats(0, scenario.duration_s))
        scenario = edit.add_outage(scenario, at_s, draw(st.sampled_from(MODES)))
    return scenario


def said_again(scenario):
    return Scenario.from_dict(tomllib.loads(scenario.to_toml()))


def field(scenario, name):
    every = fields_of(scenario) + [
        each for index in range(len(scenario.outages)) for each in outage_fields(scenario, index)
    ]
    return next(each for each in every if each.name == name)


def typed(scenario, name, text):
    return with_text(scenario, field(scenario, name), text)


@given(st.floats(0, 1e11, allow_subnormal=False) | st.integers(0, 10**9).map(float))
def test_a_written_duration_is_read_back_exactly(value):
    assert parse_duration(write_duration(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4620, "1h17m"),
        (0, "0s"),
        (0.35, "0.35s"),
        (2_592_000, "30d"),
        (90, "1m30s"),
        (1e-7, "1e-07"),
        (86461, "1d1m1s"),
    ],
)
def test_a_duration_is_written_as_people_write_it(value, text):
    assert write_duration(value) == text


OPERATIONS = st.one_of(
    st.tuples(st.just("move"), st.integers(0, 4), seconds),
    st.tuples(st.just("start"), st.integers(0, 4), seconds),
    st.tuples(st.just("end"), st.integers(0, 4), seconds),
    st.tuples(st.just("add"), st.sampled_from(MODES), st.none() | seconds),
    st.tuples(st.just("delete"), st.integers(0, 4), st.none()),
    st.tuples(st.just("mode"), st.integers(0, 4), st.sampled_from([*MODES, "odd"])),
    st.tuples(st.just("fix"), st.integers(0, 4), st.integers(0, 3)),
    st.tuples(st.just("type"), st.integers(0, 60), texts),
)


def done(scenario, operation):
    what, which, value = operation
    if what == "move":
        return edit.move_outage(scenario, which, value)
    if what in ("start", "end"):
        return edit.resize_outage(scenario, which, **{f"{what}_s": value})
    if what == "add":
        return edit.add_outage(scenario, value, which)
    if what == "delete":
        return edit.delete_outage(scenario, which)
    if what == "mode":
        return edit.set_mode(scenario, which, value)
    if what == "fix":
        return edit.make_scheduled(scenario, which, value)
    every = fields_of(scenario) + [
        each for index in range(len(scenario.outages)) for each in outage_fields(scenario, index)
    ]
    return with_text(scenario, every[which % len(every)], value)


@settings(max_examples=150)
@given(scenarios(), st.lists(OPERATIONS, max_size=8))
def test_whatever_is_edited_the_scenario_stays_valid_or_a_sentence_says_why_and_its_toml_says_the_same(
    scenario, operations
):
    history, sentences = History(scenario), []
    for operation in operations:
        try:
            after = done(history.present, operation)
        except InputError as error:
            sentences.append(str(error))
        else:
            history = history.edited(after)
    assert all(sentences)
    edited = history.present
    assert said_again(edited) == edited
    assert edited.replace({}) == edited
    for index in range(len(edited.outages)):
        for each in outage_fields(edited, index):
            assert with_text(edited, each, text_of(edited, each)) == edited
    while history.past:
        history = history.undone()
    assert history.present == scenario
    while history.future:
        history = history.redone()
    assert history.present == edited


@given(scenarios(), st.integers(0, 3), st.floats(-1e5, 1e7))
def test_a_dragged_outage_keeps_its_length_and_stays_inside(scenario, index, at_s):
    if index >= len(scenario.outages) or edit.kind_of(scenario.outages[index]) != "scheduled":
        return
    before = scenario.outages[index]
    after = edit.move_outage(scenario, index, at_s).outages[index]
    assert after.lasts_s == before.lasts_s
    assert after.at_s >= 0
    assert after.at_s + after.lasts_s <= scenario.duration_s * (1 + 1e-12)


@given(scenarios(), st.integers(0, 3), st.floats(-1e5, 1e7))
def test_a_resized_outage_keeps_its_other_end(scenario, index, to_s):
    if index >= len(scenario.outages) or edit.kind_of(scenario.outages[index]) != "scheduled":
        return
    before = scenario.outages[index]
    end_s = before.at_s + before.lasts_s
    grown = edit.resize_outage(scenario, index, end_s=to_s).outages[index]
    assert grown.at_s == before.at_s
    assert grown.lasts_s > 0
    assert grown.ramp_s <= grown.lasts_s
    early = edit.resize_outage(scenario, index, start_s=to_s).outages[index]
    assert early.at_s + early.lasts_s == pytest.approx(end_s)
    assert early.at_s >= 0


@bundled
def test_random_and_replayed_outages_become_the_scheduled_ones_of_the_same_seed(name):
    scenario = Scenario.load(name)
    for index in reversed(range(len(scenario.outages))):
        if edit.kind_of(scenario.outages[index]) != "scheduled":
            scenario = edit.make_scheduled(scenario, index, 7)
    before, after = (each.timeline(Draws(7)).outages for each in (Scenario.load(name), scenario))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert (one.start_s, one.mode, one.severity) == (other.start_s, other.mode, other.severity)
        assert one.end_s == pytest.approx(other.end_s)
    with pytest.raises(InputError, match="scheduled already"):
        edit.make_scheduled(scenario, 0)


def test_an_outage_without_a_time_comes_where_there_is_room():
    scenario = edit.add_outage(Scenario.load("morning-outage"))
    one, other = scenario.outages
    assert other.at_s >= one.at_s + one.lasts_s
    assert other.at_s + other.lasts_s <= scenario.duration_s
    assert other.at_s % step_s(scenario) == 0


def test_another_mode_keeps_what_both_have_and_fills_in_what_it_needs():
    hang = Scenario.load("hang")
    error = edit.set_mode(hang, 0, "error")
    assert (error.outages[0].mode, error.outages[0].share) == ("error", 0.8)
    limited = edit.set_mode(error, 0, "rate_limit")
    assert limited.outages[0].share is None
    # Half of 90 messages an hour.
    assert limited.outages[0].rate_per_s == pytest.approx(0.0125, rel=0.05)
    assert edit.set_mode(limited, 0, "hang").outages[0].rate_per_s is None
    with pytest.raises(InputError, match="there is no mode 'odd'"):
        edit.set_mode(hang, 0, "odd")


def test_what_is_typed_is_read_with_its_unit():
    scenario = Scenario.load("morning-outage")
    assert typed(scenario, "outages.0.lasts_s", "20m").outages[0].lasts_s == 1200
    assert typed(scenario, "outages.0.at_s", "09:30").outages[0].at_s == 3.5 * 3600
    assert typed(scenario, "outages.0.share", "35 %").outages[0].share == 0.35
    assert typed(scenario, "outages.0.share", "").outages[0].share is None
    assert typed(scenario, "clients.count", "40").clients.count == 40
    assert typed(scenario, "backend.error_rate", "1,5").backend.error_rate == 0.015
    assert typed(scenario, "backend.latency.median_s", "800ms").backend.latency.median_s == 0.8
    assert help_of(scenario, field(scenario, "outages.0.at_s")) == "= 09:02"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("outages.0.lasts_s", "20x", "'20x' is no duration: write seconds as a number, or text such as '90s'"),
        ("outages.0.lasts_s", "-5", "input should be greater than 0, not -5"),
        ("outages.0.lasts_s", "", "a value is needed here"),
        ("outages.0.at_s", "13h", "outages.0.at_s (46800) must be less than duration_s (43200)"),
        ("outages.0.at_s", "25:00", "there is no such time of day: write 00:00 to 23:59"),
        ("outages.0.ramp_s", "2h", "ramp_s (7200) must not exceed lasts_s (4620)"),
        ("outages.0.share", "120", "input should be less than or equal to 1"),
        ("duration_s", "1h", "outages.0.at_s (10920) must be less than duration_s (3600)"),
        ("clients.count", "1.5", "a whole number is needed, not '1.5'"),
        ("clients.count", "many", "a number is needed, not 'many'"),
        ("backend.latency.median_s", "9", "median_s (9) must not exceed p99_s (5)"),
    ],
)
def test_what_cannot_be_is_one_sentence_that_stands_at_the_field(name, text, sentence):
    with pytest.raises(InputError) as caught:
        typed(Scenario.load("morning-outage"), name, text)
    assert str(caught.value).startswith(sentence)


def test_a_duration_that_leaves_an_outage_outside_is_refused_not_the_outage():
    scenario = edit.add_outage(Scenario.load("morning-outage"), 40_000)
    with pytest.raises(InputError, match="must be less than duration_s"):
        typed(scenario, "duration_s", "10h")
    assert len(scenario.outages) == 2


@bundled
def test_every_field_of_the_form_has_a_label_and_says_why(name):
    scenario = Scenario.load(name)
    every = fields_of(scenario) + [
        each for index in range(len(scenario.outages)) for each in outage_fields(scenario, index)
    ]
    assert all(each.label and each.why for each in every)
    assert len({each.name for each in every}) == len(every)
    for each in every:
        assert with_text(scenario, each, text_of(scenario, each)) is scenario


def test_a_drag_is_undone_as_one_and_a_new_edit_forgets_what_was_taken_back():
    first = Scenario.load("morning-outage")
    history = History(first)
    for at_s in (1000, 2000, 3000):
        history = history.edited(edit.move_outage(history.present, 0, at_s), key="drag 1")
    history = history.edited(edit.move_outage(history.present, 0, 4000), key="drag 2")
    assert history.undone().present.outages[0].at_s == 3000
    assert history.undone().undone().present == first
    assert history.undone().undone().undone().present == first
    again = history.undone().edited(edit.delete_outage(first, 0))
    assert again.redone() == again


def test_a_drag_back_to_where_it_began_does_not_break_the_drag():
    first = Scenario.load("morning-outage")
    history = History(first).edited(edit.move_outage(first, 0, 1000), key=1).edited(first, key=1)
    assert history.undone().present == first


def test_more_outages_than_can_be_drawn_are_neither_drawn_nor_made_scheduled():
    busy = Scenario.load("morning-outage").replace(
        {"duration_s": "3650d", "outages": [{"mtbf_s": 10, "mttr": 1, "mode": "hang"}]}
    )
    assert len(examples(busy, 0)) == edit.MOST
    with pytest.raises(InputError, match="2000 outages or more"):
        edit.make_scheduled(busy, 0)


def test_copies_have_names_of_their_own():
    assert edit.copy_name("hang", ()) == "hang (edited)"
    assert edit.copy_name("hang", ("hang (edited)", "hang (edited 2)")) == "hang (edited 3)"
