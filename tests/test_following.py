"""A plot that follows a pipe shows what a new plot of the same data would show."""

import gc
import weakref

import holoviews as hv
import numpy as np
import pytest
from bokeh.core.property.vectorization import Field
from events_by_hand import outage_story
from test_figures import RUNS

from hustle_sim.analysis.figure_sets import EVERY
from hustle_sim.analysis.waterfall import WATERFALL

ORDER = ("empty", "one", "fleet", "live", "empty", "one")


def _plot(figure, pipe, **options):
    return hv.renderer("bokeh").get_plot(figure.live(pipe, **options))


def _sources(plot):
    return [
        {name: [np.asarray(cell).tolist() for cell in column] for name, column in layer.handles["source"].data.items()}
        for layer in plot.subplots.values()
    ]


def _drawn_by_holoviews(figure, data):
    """The sources as HoloViews fills them, but for what it leaves out because it is equal everywhere."""
    return _sources(hv.renderer("bokeh").get_plot(figure.draw(data, legend=False, backend="bokeh")))


def _alike(mine, other):
    if np.asarray(other).dtype.kind in "if":
        return np.allclose(mine, other, equal_nan=True)
    return mine == other


@pytest.mark.parametrize("name", list(EVERY))
def test_a_plot_that_was_sent_data_shows_what_a_new_one_would(name):
    figure = EVERY[name]
    pipe = hv.streams.Pipe(data=figure.make(RUNS["fleet"]()))
    plot = _plot(figure, pipe)
    for run in ORDER:
        data = figure.make(RUNS[run]())
        pipe.send(data)
        assert repr(_sources(plot)) == repr(_sources(_plot(figure, hv.streams.Pipe(data=data)))), run


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("run", list(RUNS))
def test_the_columns_of_a_live_plot_are_those_of_holoviews(name, run):
    figure = EVERY[name]
    data = figure.make(RUNS[run]())
    ours = _sources(_plot(figure, hv.streams.Pipe(data=data)))
    theirs = _drawn_by_holoviews(figure, data)
    # HoloViews leaves lines out that hold nothing.
    ours = [one for one in ours if any(one.values()) or one.keys() & {"text", "until_s", "color"}]
    theirs = [one for one in theirs if any(one.values()) or one.keys() & {"text", "until_s", "color"}]
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert set(other) - set(mine) == set()
        assert set(mine) - set(other) <= {"marker", "color"}
        for column, values in other.items():
            assert _alike(mine[column], values), column


def test_the_waterfall_too_from_life_to_life():
    run = outage_story().run(duration_s=7200.0)
    pipe = hv.streams.Pipe(data=WATERFALL.make(run, None))
    plot = _plot(WATERFALL, pipe)
    for message_id in ("0-80", "0-3", None, "0-80"):
        data = WATERFALL.make(run, message_id)
        pipe.send(data)
        assert repr(_sources(plot)) == repr(_sources(_plot(WATERFALL, hv.streams.Pipe(data=data))))


def test_colours_and_shapes_of_words_that_come_later_are_known_from_the_start():
    figure = EVERY["latency"]
    pipe = hv.streams.Pipe(data=figure.make(RUNS["empty"]()))
    points = _plot(figure, pipe).subplots["Points", "I"]
    pipe.send(figure.make(RUNS["one"]()))
    assert set(points.handles["source"].data["color"]) <= set(points.handles["color_color_mapper"].factors)
    assert len(set(points.handles["source"].data["marker"])) > 1
    for glyph in (points.handles["glyph_renderer"].glyph, points.handles["glyph_renderer"].nonselection_glyph):
        assert (glyph.marker, glyph.size) == (Field("marker"), Field("size"))


def test_what_did_not_change_is_not_sent_again():
    figure = EVERY["latency"]
    pipe = hv.streams.Pipe(data=figure.make(RUNS["one"]()))
    plot = _plot(figure, pipe)
    sent = []
    for layer in plot.subplots.values():
        layer.handles["source"].on_change("data", lambda attr, old, new: sent.append(attr))
    pipe.send(figure.make(RUNS["one"]()))
    assert sent == []
    pipe.send(figure.make(RUNS["fleet"]()))
    assert sent != []


def test_a_pipe_keeps_no_plot_alive():
    figure = EVERY["status"]
    pipe = hv.streams.Pipe(data=figure.make(RUNS["one"]()))
    plot = _plot(figure, pipe)
    known = weakref.ref(plot)
    plot.cleanup()
    del plot
    gc.collect()
    assert known() is None
    pipe.send(figure.make(RUNS["fleet"]()))
