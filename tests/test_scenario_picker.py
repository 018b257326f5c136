"""The gallery, the sketches and the editor of scenarios, without a browser."""

import re
from xml.etree import ElementTree

import pytest

from hustle_sim.analysis.palette import MODE
from hustle_sim.dashboard import scenario_edit_state as edit
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.outage_scene import LANES, bars, scene, ticks
from hustle_sim.dashboard.scenario_editor import filename
from hustle_sim.dashboard.scenario_files import LARGEST, bundled, scenario_of
from hustle_sim.dashboard.scenario_form_state import fields_of, outage_fields, text_of
from hustle_sim.dashboard.scenario_picker import ScenarioPicker
from hustle_sim.dashboard.scenario_sketch import WIDTH, facts, load, outages_in_words, sketch
from hustle_sim.inputs import InputError
from hustle_sim.simulation.outages import PARAMETERS
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

SVG = "{http://www.w3.org/2000/svg}"
each_bundled = pytest.mark.parametrize("name", list(Scenario.bundled()))


def drawn(scenario):
    root = ElementTree.fromstring(sketch(scenario).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    return [path for path in root.iter(f"{SVG}path") if "url(" in path.get("fill", "")], root


# Sketches


def test_every_mode_has_a_colour_in_both_themes_a_pattern_and_a_glyph():
    assert set(MODE) == set(PARAMETERS)
    assert len({look.glyph for look in MODE.values()}) == len(MODE)
    for theme in ("light", "dark"):
        own = styles.THEME[theme]["palette"]["hustle"]
        colours = {own[styles.MODE_KEYS[mode]] for mode in MODE}
        assert len(colours) == len(MODE)
        assert all(contrast(colour, own["card"]) >= 4.5 for colour in colours)
    plain = Scenario.load("hang")
    tiles = set()
    for mode in MODE:
        (pattern,) = drawn(edit.set_mode(plain, 0, mode))[1].iter(f"{SVG}pattern")
        strokes = [ElementTree.tostring(child) for child in pattern][1:]
        tiles.add(b"".join(strokes))
    assert len(tiles) == len(MODE)


def contrast(one, other):
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@each_bundled
def test_a_sketch_shows_each_outage_where_it_is(name):
    scenario = Scenario.load(name)
    shapes, _ = drawn(scenario)
    known = scenario.timeline(Draws(7)).outages
    assert len(shapes) == len(known)
    for shape, outage in zip(shapes, known, strict=True):
        left, right = (float(re.search(pattern, shape.get("d")).group(1)) for pattern in (r"^M([\d.]+)", r"H([\d.]+)"))
        middle_s = (outage.start_s + outage.end_s) / 2
        assert (left + right) / 2 == pytest.approx(middle_s / scenario.duration_s * WIDTH, abs=0.2)


def test_a_worse_outage_is_higher_and_one_that_grows_is_slanted():
    hang = Scenario.load("hang").replace({"outages.0.share": 0.2})
    low, high = (
        float(re.search(r"L[\d.]+ ([\d.]+)", drawn(one)[0][0].get("d")).group(1))
        for one in (hang, hang.replace({"outages.0.share": 1.0}))
    )
    assert high < low
    (slanted,), _ = drawn(Scenario.load("slow-burn"))
    start, top = re.search(r"^M([\d.]+) [\d.]+L([\d.]+)", slanted.get("d")).groups()
    assert float(top) - float(start) == pytest.approx(WIDTH / 8, abs=0.2)


def test_random_outages_are_marked_as_an_example_and_scheduled_ones_are_not():
    assert "an example: seed 7" in sketch(Scenario.load("ai-provider-month"))
    assert "an example: seed 7" in outages_in_words(Scenario.load("ai-provider-month"))
    assert "example" not in sketch(Scenario.load("morning-outage"))
    assert outages_in_words(Scenario.load("morning-outage")) == "1 outage, 1 h 17 min in all: accepts, never answers"
    assert facts(Scenario.load("retry-storm")) == "1 h · 200 people · 60 messages/h each"


@each_bundled
def test_the_load_of_a_sketch_is_what_the_people_send(name):
    scenario = Scenario.load(name)
    clients = scenario.clients
    sent = sum(load(clients, scenario.start, scenario.duration_s)) / 120 * scenario.duration_s / 3600
    arrived = sum(
        1
        for seed in range(20)
        for client in range(min(5, clients.count))
        for _ in clients.arrivals(Draws(seed), client, start=scenario.start, duration_s=scenario.duration_s)
    )
    assert sent == pytest.approx(arrived / 20 / min(5, clients.count) * clients.count, rel=0.05)


def test_a_name_with_markup_in_it_stays_text():
    odd = Scenario.load("hang").replace({"name": "<script>", "description": '"><b>'})
    assert "<script>" not in sketch(odd)
    assert "<b>" not in sketch(odd)


# The timeline


def test_outages_at_the_same_time_stand_in_lanes():
    scenario = Scenario.load("morning-outage")
    for at_s in (11_000, 11_100, 30_000):
        scenario = edit.add_outage(scenario, at_s)
    assert [bar.lane for bar in bars(scenario)] == [0, 1, 2, 0]
    for _ in range(5):
        scenario = edit.add_outage(scenario, 11_200)
    assert max(bar.lane for bar in bars(scenario)) == LANES - 1


@each_bundled
def test_a_timeline_has_a_few_round_times_and_says_what_is_random(name):
    scenario = Scenario.load(name)
    marks = ticks(scenario)
    assert 2 <= len(marks) <= 9
    assert all(0 <= share < 1 and words for share, words in marks)
    shown = scene(scenario)
    assert {bar["index"] for bar in shown["bars"]} == set(range(len(scenario.outages)))
    assert all(bar["free"] == (scenario.outages[bar["index"]].at_s is not None) for bar in shown["bars"])
    assert ("example" in shown["note"]) == (name == "ai-provider-month")


def test_ticks_stand_at_round_times_of_the_clock():
    assert ticks(Scenario(duration_s="3h", start="2026-01-05T09:20:00Z"))[0] == (pytest.approx(10 / 180), "09:30")
    assert ticks(Scenario(duration_s="30d"))[1][1] == "day 6"


# Files


def test_a_file_without_a_name_in_it_is_called_like_the_file():
    assert scenario_of("mine.toml", b"duration_s = '1h'").name == "mine"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"duration_s = -5", "odd.toml: duration_s: input should be greater than or equal to 1, not -5"),
        (b"duration_s = ", "odd.toml is not valid TOML: Invalid value"),
        (b"\xff\xfe", "odd.toml is not text in UTF-8"),
        (b"#" * (LARGEST + 1), "odd.toml is too large for a scenario: 200 kB at most"),
        (b"outges = []", "odd.toml: outges is not a field that exists; did you mean 'outages'?"),
        (b'[[outages]]\nreplay = "/etc/passwd"', "odd.toml names the file '/etc/passwd', which is not here"),
        (
            b'[[outages]]\nmtbf_s = "1h"\nmode = "hang"\nmttr = { kind = "empirical", csv = "x.csv" }',
            "odd.toml names the file 'x.csv', which is not here",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(content, sentence):
    with pytest.raises(InputError) as caught:
        scenario_of("odd.toml", content)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@each_bundled
def test_the_toml_of_a_scenario_can_be_brought_back(name):
    scenario = Scenario.load(name)
    assert scenario_of("x.toml", scenario.to_toml().encode()) == scenario


def test_a_download_has_a_name_that_a_file_can_have():
    assert filename(Scenario(name="morning-outage (edited)")) == "morning-outage-edited.toml"
    assert filename(Scenario(name="../..")) == "scenario.toml"


# The picker


def moved(picker, at_s, gesture=None):
    picker._editor.timeline._handle_msg({"type": "move", "index": 0, "at_s": at_s, "gesture": gesture, "told": 1})


def typed(picker, name, text):
    editor = picker._editor
    row = editor._outage if name in editor._outage._fields else editor._whole
    row._widgets[name].value = text
    return row._widgets[name]


@pytest.fixture
def picker():
    made = ScenarioPicker()
    made.editing = True
    return made


def names(picker):
    return [each["name"] for each in picker.gallery.items]


def test_editing_a_bundled_scenario_makes_a_copy_and_undoing_it_all_takes_it_back(picker):
    seen = []
    picker.param.watch(lambda event: seen.append(event.new), "value")
    moved(picker, 3600)
    assert picker.value.name == "morning-outage (edited)"
    assert picker.value.outages[0].at_s == 3600
    assert picker.value.description == bundled()["morning-outage"].description
    assert names(picker)[-1] == "morning-outage (edited)"
    assert seen == [picker.value]
    picker._editor.timeline._handle_msg({"type": "undo", "told": 2})
    assert picker.value == bundled()["morning-outage"]
    assert "morning-outage (edited)" not in names(picker)
    picker._editor.timeline._handle_msg({"type": "redo", "told": 3})
    assert picker.value.outages[0].at_s == 3600
    assert Scenario.load("morning-outage") == bundled()["morning-outage"]


def test_what_was_edited_is_still_there_after_another_was_chosen(picker):
    moved(picker, 3600)
    first = picker.value
    picker.choose("hang")
    assert picker.value == bundled()["hang"]
    picker.choose("morning-outage")
    moved(picker, 7200)
    assert names(picker)[-2:] == ["morning-outage (edited)", "morning-outage (edited 2)"]
    picker.choose(next(each["key"] for each in picker.gallery.items if each["name"] == first.name))
    assert picker.value == first


def test_a_drag_is_one_step_back(picker):
    for at_s in (1000, 2000, 3000):
        moved(picker, at_s, "drag")
    picker._editor.timeline._handle_msg({"type": "undo", "told": 9})
    assert picker.value == bundled()["morning-outage"]


def test_what_was_typed_and_cannot_be_stays_with_its_reason_and_the_scenario_is_unharmed(picker):
    field = typed(picker, "lasts_s", "twenty")
    assert field.error_state
    assert "is no duration" in field.helper_text
    assert picker.value == bundled()["morning-outage"]
    moved(picker, 3600)
    assert (field.value, field.error_state) == ("twenty", True)
    typed(picker, "lasts_s", "20m")
    assert not field.error_state
    assert field.helper_text == ""
    assert picker.value.outages[0].lasts_s == 1200
    assert picker.value.outages[0].at_s == 3600


def test_the_form_has_the_parameters_of_the_mode(picker):
    typed(picker, "mode", "slow")
    assert picker.value.outages[0].mode == "slow"
    assert "factor" in picker._editor._outage._fields
    assert "share" not in picker._editor._outage._fields
    assert len(picker._editor._outage.view.objects) == len(outage_fields(picker.value, 0))
    typed(picker, "factor", "5")
    assert picker.value.outages[0].factor == 5


def test_an_outage_is_added_and_chosen_and_deleted(picker):
    timeline = picker._editor.timeline
    timeline._handle_msg({"type": "add", "at_s": 30_000, "told": 1})
    assert timeline.selected == 1
    assert picker._editor._outage._widgets["at_s"].value == "8h20m"
    timeline._handle_msg({"type": "delete", "index": 0, "told": 2})
    assert [outage.at_s for outage in picker.value.outages] == [30_000]
    timeline._handle_msg({"type": "delete", "index": 0, "told": 3})
    assert timeline.selected == -1
    assert "There is no outage" in picker._editor._about.object
    timeline._handle_msg({"type": "delete", "index": 0, "told": 4})
    assert timeline.acknowledged == 4


def test_recorded_outages_are_made_scheduled_by_a_button(picker):
    picker.choose("evening-blips")
    assert picker._editor._fix.visible
    assert picker._editor._outage._fields == {}
    picker._editor._fix.param.trigger("clicks")
    assert len(picker.value.outages) == 17
    assert not picker._editor._fix.visible


def test_the_toml_beside_the_form_is_that_of_the_scenario(picker):
    typed(picker, "clients.count", "12")
    assert scenario_of("x.toml", picker._editor.toml.text.encode()) == picker.value
    assert picker._editor.toml.filename == "morning-outage-edited.toml"


def test_every_field_of_the_form_shows_its_value(picker):
    row = picker._editor._whole
    assert {name: widget.value for name, widget in row._widgets.items()} == {
        field.name: text_of(picker.value, field) for field in fields_of(picker.value)
    }


def test_a_file_is_chosen_at_once_and_a_broken_one_changes_nothing(picker):
    assert not picker.take("odd.toml", b"duration_s = -5")
    assert "duration_s" in picker.problem == picker.gallery.problem
    assert picker.value == bundled()["morning-outage"]
    assert picker.take("mine.toml", b"duration_s = '2h'")
    assert picker.problem == ""
    assert picker.value.name == "mine"
    assert picker.gallery.items[-1]["own"]
    assert picker.take("mine.toml", b"duration_s = '3h'")
    assert names(picker).count("mine") == 1


def test_a_scenario_that_is_shown_is_the_chosen_one(picker):
    picker.show(bundled()["hang"])
    assert picker.gallery.chosen == "hang"
    own = bundled()["hang"].replace({"name": "ours"})
    picker.show(own)
    assert picker.value == own
    assert picker.gallery.items[-1]["name"] == "ours"
    assert picker._editor.toml.text == own.to_toml()


def test_the_editor_is_made_when_it_is_first_wanted():
    made = ScenarioPicker()
    assert made.editor.objects == []
    made.gallery._handle_msg({"type": "edit"})
    assert made.editor.visible
    made.gallery._handle_msg({"type": "edit"})
    assert not made.editor.visible
