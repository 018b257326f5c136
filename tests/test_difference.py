"""A and B: each metric with its difference, and whether that is good."""

import math

import holoviews as hv
import pytest
from bokeh.models import Plot
from events_by_hand import Story, outage_story

from hustle_sim.analysis import METRICS
from hustle_sim.analysis.difference import GLYPHS, difference, differences, on_common_axes
from hustle_sim.analysis.figure_sets import EVERY, pair
from hustle_sim.inputs import InputError


@pytest.mark.parametrize(
    ("name", "first", "second", "direction", "text"),
    [
        ("lost", 12, 0, "better", "−12"),
        ("answered_share", 0.931, 0.973, "better", "+4.2 points"),
        ("answered_share", 0.973, 0.931, "worse", "−4.2 points"),
        ("answer_p99_s", 8.0, 9.5, "worse", "+1.5 s"),
        ("answer_p99_s", 8.0, 8.0001, "same", "±0"),
        ("messages", 10, 20, "other", "+10"),
        ("detection_s", math.nan, 3, "unknown", "–"),
        ("detection_s", math.nan, math.nan, "same", "–"),
        ("amplification", 1.0, 1.5, "worse", "+0.50×"),
    ],
)
def test_a_difference_has_a_direction_and_a_text(name, first, second, direction, text):
    found = difference(name, first, second)
    assert (found.direction, found.change_text) == (direction, text)
    assert found.direction in GLYPHS


def test_every_metric_of_two_runs_stands_side_by_side():
    first, second = outage_story().run(duration_s=7200.0), Story().answered("a", 1).run()
    found = differences(first, second)
    assert list(found) == list(METRICS)
    assert found["dead"].words == "dead: 8 → 0 (−8, better)"
    assert found["messages"].words == "messages: 240 → 1 (−239)"
    assert {each.direction for each in differences(first, first).values()} == {"same"}
    for name, each in differences(second, first).items():
        back = {"better": "worse", "worse": "better"}
        assert found[name].direction == back.get(each.direction, each.direction)


def test_a_metric_that_is_not_there_is_one_clear_sentence():
    with pytest.raises(InputError, match="no metric 'losst'; did you mean 'lost'"):
        difference("losst", 1, 2)


@pytest.mark.parametrize("name", list(EVERY))
def test_two_runs_are_drawn_under_each_other_on_common_axes(name: str):
    first, second = outage_story().run(duration_s=7200.0, label="a"), Story().answered("a", 1).run(label="b")
    state = hv.renderer("bokeh").get_plot(pair(name, first, second)).state
    plots = [model for model in state.references() if isinstance(model, Plot) and model.renderers]
    assert len(plots) == 2
    assert len({id(plot.x_range) for plot in plots}) == 1
    assert len({(plot.y_range.start, plot.y_range.end) for plot in plots}) == 1
    assert plots[0].x_range.end == 7200
    assert len({plot.title.text for plot in plots}) == 2


def test_common_axes_hold_both():
    data = on_common_axes({"limits": (0, 5), "end_s": 10}, {"limits": (1, 3), "end_s": 20})
    assert [(each["limits"], each["end_s"]) for each in data] == [((0, 5), 20)] * 2
