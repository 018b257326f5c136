"""Heartbeats, people who wait, the rush after an outage, and the density of a large run."""

import math

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
from bokeh.models import Plot
from events_by_hand import Story, outage_story
from hypothesis import given, settings
from hypothesis import strategies as st
from test_figures import RUNS, _live, _one

from hustle_sim.analysis import Run, palette
from hustle_sim.analysis.density import PIXELS, binned, density_data, is_dense
from hustle_sim.analysis.figure_sets import DENSITY, EVERY, MORE, WHOLE, figure, shown
from hustle_sim.analysis.frames import FRAMES, frames_of, typed
from hustle_sim.analysis.more_data import heartbeat_data, rush_data, waiting_data
from hustle_sim.inputs import InputError


def _plot(element: object) -> Plot:
    state = hv.renderer("bokeh").get_plot(element).state
    (plot,) = (model for model in state.references() if isinstance(model, Plot) and model.renderers)
    return plot


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(MORE))
@pytest.mark.parametrize("run", list(RUNS))
def test_every_figure_draws_every_run(run: str, name: str, theme: str):
    plot = _plot(MORE[name].draw(MORE[name].make(RUNS[run]()), theme=theme))
    assert plot.title.text.startswith(MORE[name].title)
    assert plot.renderers


@pytest.mark.parametrize("name", list(MORE))
def test_a_figure_follows_a_pipe_and_its_axes_too(name: str):
    one = MORE[name]
    pipe = hv.streams.Pipe(data=one.make(RUNS["empty"]()))
    plot = hv.renderer("bokeh").get_plot(one.live(pipe))
    for run in ("one", "fleet", "empty", "live", "one"):
        data = one.make(RUNS[run]())
        pipe.send(data)
        assert plot.state.x_range.end == 7200 or run == "empty"
        assert (plot.state.y_range.start, plot.state.y_range.end) == pytest.approx(data["limits"])


@pytest.mark.parametrize("name", list(MORE))
def test_an_empty_figure_says_why_and_a_full_one_has_nothing_to_excuse(name: str):
    (text,) = MORE[name].make(RUNS["empty"]())["sentence"]["text"]
    assert text.endswith(".")
    assert MORE[name].make(_one())["sentence"].empty


def test_all_figures_share_one_time_axis_and_nothing_else():
    run = _one()
    layout = hv.Layout([one.draw(one.make(run)) for one in EVERY.values()]).cols(1)
    state = hv.renderer("bokeh").get_plot(layout).state
    plots = [model for model in state.references() if isinstance(model, Plot) and model.renderers]
    assert len(plots) == len(EVERY)
    assert len({id(plot.x_range) for plot in plots}) == 1
    assert len({id(plot.y_range) for plot in plots}) == len(plots)
    assert len({(plot.min_border_left, plot.min_border_right) for plot in plots}) == 1


def test_a_cell_of_the_heartbeat_is_as_bad_as_its_checks():
    story = Story().probe(5).probe(35, "timeout", "online").probe(40).probe(65, "refused", "offline")
    story.probe(95, status="degraded")
    data = heartbeat_data(story.run(duration_s=180.0), cells=6)
    bars = data["bars"]
    assert bars["time_s"].tolist() == [0, 30, 60, 90, 120, 150]
    assert bars["beat"].tolist() == [
        "answered", "slow, or some failed", "none answered", "slow, or some failed", "no check", "no check",
    ]  # fmt: skip
    assert bars["words"].iloc[1] == "2 health checks, 1 answered, the slowest in 100 ms, from 30s to 1m."
    assert bars["words"].iloc[5] == "No health check, from 2m 30s to 3m."
    assert len({look.height for look in palette.HEARTBEAT.values()}) == len(palette.HEARTBEAT)
    assert len({look.glyph + look.word for look in palette.HEARTBEAT.values()}) == len(palette.HEARTBEAT)


def test_who_waits_and_for_what():
    story = Story().answered("a", 10, 4).answered("b", 20, 8, "fallback").queue("accepted", "b", 28, 1)
    story.delivered("b", 100).answered("c", 30, 2, "fallback").queue("accepted", "c", 32, 2).queue("dead", "c", 50, 0)
    data = waiting_data(story.run(duration_s=600.0))
    bars = data["bars"]

    def people(now_s: float) -> dict[str, int]:
        on = bars[(bars["time_s"] <= now_s) & (bars["until_s"] > now_s)]
        return dict(zip(on["has"], (on["people_to"] - on["people_from"]).astype(int), strict=True))

    nothing, second = (palette.WAITING[word].word for word in ("nothing", "second best"))
    assert people(12.5) == {nothing: 1}
    assert people(18.5) == {}
    assert people(25.5) == {nothing: 1}
    assert people(40.5) == {second: 2}
    assert people(60.5) == {second: 1}
    assert people(110.5) == {}
    # 4 s, 80 s and 20 s.
    assert data["note"] == "1 min 44 s of waiting in all"


@pytest.mark.parametrize("clients", [1, 9])
def test_nobody_is_forgotten_among_those_who_wait(clients: int):
    run = outage_story(clients).run(duration_s=7200.0)
    bars = waiting_data(run)["bars"]
    messages = run.messages
    over_s = messages["time_s"] + messages["delivered_s"].fillna(math.inf)
    dead_s = messages["message_id"].map(run.queue[run.queue["event"] == "dead"].set_index("message_id")["time_s"])
    over_s = np.minimum(over_s, dead_s.fillna(math.inf))
    for now_s in (100.0, 2500.0, 4000.0, 4799.0, 7100.0):
        waiting = int(((messages["time_s"] <= now_s) & (over_s > now_s)).sum())
        on = bars[(bars["time_s"] <= now_s) & (bars["until_s"] > now_s)]
        assert abs(on["people_to"].max() - waiting if len(on) else -waiting) <= clients


def test_the_recovery_peak_is_the_metric():
    run = _one()
    data = rush_data(run)
    peak = data["peaks"]["text"].tolist()
    assert peak == [f"{run.metrics['recovery_peak']:.1f}×"]
    assert data["note"].startswith(f"recovery peak {peak[0]} at 1h 20m")
    assert data["rate"]["per_s"].max() == data["peaks"]["per_s"].max() == 1.1
    assert rush_data(_live())["peaks"].empty


def _large(number: int) -> Run:
    generator = np.random.Generator(np.random.Philox(1))
    frames = frames_of([])
    outcome = np.where(generator.uniform(size=number) < 0.1, "timeout", "ok")
    frames["attempts"] = typed("attempts", {
        "time_s": np.sort(generator.uniform(0, 3600, number)), "client": np.zeros(number), "kind": ["message"] * number,
        "message_id": [""] * number, "number": np.ones(number), "wait_s": np.zeros(number), "outcome": outcome,
        "latency_s": np.where(outcome == "ok", generator.lognormal(0, 0.5, number), 8.0),
        "status_code": [None] * number,
    })  # fmt: skip
    assert set(frames) == set(FRAMES)
    about = Story().run()
    return Run(frames, policy=about.policy, start=about.start, duration_s=3600.0)


def test_the_density_counts_every_attempt_and_refines_where_one_looks():
    run = _large(30_000)
    data = density_data(run)
    assert data["answered"]["number"].shape == data["failed"]["number"].shape == PIXELS[::-1]
    assert data["answered"]["number"].sum() + data["failed"]["number"].sum() == 30_000
    assert ((data["failed"]["shade"] == 0) == (data["failed"]["number"] == 0)).all()
    shade = np.concatenate([data["answered"]["shade"], data["failed"]["shade"]])
    assert 0.15 <= shade[shade > 0].min() <= shade.max() == 1
    near = density_data(run, (600, 1200), (0.0, 1.0))
    times_s, latency_s = run.attempts["time_s"], run.attempts["latency_s"]
    seen = ((times_s >= 600) & (times_s <= 1200) & (latency_s >= 1) & (latency_s <= 10)).sum()
    assert near["answered"]["number"].sum() + near["failed"]["number"].sum() == seen
    assert near["answered"]["bounds"] == (600, 0, 1200, 1)
    assert near["end_s"] == data["end_s"]
    assert near["limits"] == data["limits"]
    # The two humps: answers around a second, and the timeouts at 8 s.
    rows = data["failed"]["number"].sum(axis=1)
    low, high = data["limits"]
    assert low + (rows.argmax() + 0.5) / len(rows) * (high - low) == pytest.approx(math.log10(8), abs=0.03)


@given(
    st.lists(st.tuples(st.floats(-1, 11), st.floats(-1, 6)), max_size=50), st.integers(1, 7), st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_binning_counts_as_numpy_does(points, columns, rows):
    x, y = np.array([p[0] for p in points], dtype=float), np.array([p[1] for p in points], dtype=float)
    # Away from the edges, where rounding decides.
    clear = (np.abs(x * columns / 10 - np.round(x * columns / 10)) > 1e-6) & (
        np.abs(y * rows / 5 - np.round(y * rows / 5)) > 1e-6
    )
    counts = binned(x[clear], y[clear], (0, 0, 10, 5), (columns, rows))
    expected, _, _ = np.histogram2d(x[clear], y[clear], bins=(columns, rows), range=((0, 10), (0, 5)))
    assert counts.tolist() == expected.T.tolist()


def test_the_image_stands_upright():
    run = Story().attempt("a", 100, 0.01).attempt("b", 3000, 5.0).run()
    plot = _plot(DENSITY.draw(DENSITY.make(run)))
    (counts,) = (
        renderer.data_source.data["image"][0]
        for renderer in plot.renderers
        if "image" in renderer.data_source.data and renderer.data_source.data["image"][0].max() > 0
    )
    first, second = sorted(zip(*np.nonzero(counts), strict=True), key=lambda place: place[1])
    # Bokeh draws the first row at the bottom: the earlier and faster attempt is left of and below the other.
    assert first[0] < second[0]


def test_large_runs_are_drawn_as_a_density_and_live_sessions_without_a_backend():
    assert not is_dense(_one())
    assert "latency" in shown(_one())
    assert "density" in shown(_large(20_001))
    assert "latency" not in shown(_large(20_001))
    assert "load" in shown(_one())
    assert "load" not in shown(_live())
    assert set(WHOLE) <= set(EVERY)


def test_a_figure_that_is_not_there_is_one_clear_sentence():
    with pytest.raises(InputError, match="no figure 'waitng'; did you mean 'waiting'"):
        figure("waitng")


def test_a_point_of_the_latency_figure_knows_its_attempt():
    run = _one()
    points = EVERY["latency"].make(run)["points"]
    rows = run.attempts.iloc[points["row"]]
    assert rows["time_s"].tolist() == points["time_s"].tolist()
    assert isinstance(points, pd.DataFrame)
