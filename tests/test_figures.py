"""The figures: every one draws every run, on one time axis, and says what it leaves out."""

import re
from collections.abc import Iterator

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import CustomJSTicker, CustomJSTickFormatter, Plot
from bokeh.resources import INLINE
from events_by_hand import START, Story, outage_story

from hustle_sim.analysis import Run, figure_data, figures, palette, shapes
from hustle_sim.analysis.frames import FATES, OUTCOMES, STATUSES


def _empty() -> Run:
    return Story().run()


def _one() -> Run:
    return outage_story().run(duration_s=7200.0)


def _fleet() -> Run:
    return outage_story(clients=9).run(duration_s=7200.0)


def _live() -> Run:
    return outage_story().run(duration_s=7200.0, backend_truth=False, seed=None, scenario={})


def _strange() -> Run:
    """Nothing lasts, words are unknown, and an outage never ends."""
    story = Story().outage(5, float("inf"), "new").verdict("puzzled", 3).attempt("a", 1, 0.0, "odd")
    return story.queue("unheard of", "a", 2, 1).sample(0.0).run(duration_s=0.0)


RUNS = {"empty": _empty, "one": _one, "fleet": _fleet, "live": _live, "strange": _strange}


def _plots(element: object) -> Iterator[Plot]:
    state = hv.renderer("bokeh").get_plot(element).state
    return (model for model in state.references() if isinstance(model, Plot) and model.renderers)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(figures.FIGURES))
@pytest.mark.parametrize("run", list(RUNS))
def test_every_figure_draws_every_run(run: str, name: str, theme: str):
    figure = figures.FIGURES[name]
    (plot,) = _plots(figure.draw(figure.make(RUNS[run]()), theme=theme))
    assert plot.title.text.startswith(figure.title)
    assert plot.renderers


@pytest.mark.parametrize("run", list(RUNS))
def test_all_figures_of_a_run_share_one_time_axis_and_nothing_else(run: str):
    made = RUNS[run]()
    plots = list(_plots(made.plot()))
    assert len(plots) == (6 if made.backend_truth else 5)
    assert len({id(plot.x_range) for plot in plots}) == 1
    assert len({id(plot.y_range) for plot in plots}) == len(plots)
    assert len({(plot.min_border_left, plot.min_border_right) for plot in plots}) == 1
    assert (plots[0].x_range.start, plots[0].x_range.end) == (0, max(made.duration_s, 1))


def test_the_functions_by_name_draw_the_same_figures():
    run = _one()
    for draw in (
        figures.latency, figures.status_band, figures.queue_depth, figures.retry_outcomes, figures.backend_load,
        figures.arrivals,
    ):  # fmt: skip
        assert list(_plots(draw(run)))


def test_a_figure_can_be_drawn_into_two_documents():
    overlay = figures.latency(_one())
    for title in ("first", "second"):
        plot = hv.renderer("bokeh").get_plot(overlay).state
        assert title in file_html(plot, INLINE, title)


def test_the_time_axis_prints_elapsed_time_and_a_live_session_the_clock():
    (simulated,), (live,) = _plots(figures.latency(_one())), _plots(figures.latency(_live()))
    for plot in (simulated, live):
        assert isinstance(plot.xaxis[0].ticker, CustomJSTicker)
        assert isinstance(plot.xaxis[0].formatter, CustomJSTickFormatter)
        assert plot.xgrid[0].ticker is plot.xaxis[0].ticker
    assert simulated.xaxis[0].formatter.args == {}
    assert live.xaxis[0].formatter.args == {"start": START.timestamp()}


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_an_empty_figure_says_why(name: str):
    data = figures.FIGURES[name].make(_empty())
    low, high = data["limits"]
    (row,) = data["sentence"].to_dict("records")
    assert row.pop("text").endswith(".")
    assert row.pop("time_s") == 1800
    (height,) = row.values()
    assert low < height < high


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_a_full_figure_has_nothing_to_excuse(name: str):
    data = figures.FIGURES[name].make(_one())
    assert data["sentence"].empty
    assert data["outages"].to_numpy().tolist() == [[2400.0, 4800.0]]


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_a_figure_follows_a_pipe_and_its_axes_too(name: str):
    figure = figures.FIGURES[name]
    pipe = hv.streams.Pipe(data=figure.make(_empty()))
    plot = hv.renderer("bokeh").get_plot(figure.live(pipe))
    for run in (_one(), _fleet(), _empty(), _one()):
        data = figure.make(run)
        pipe.send(data)
        assert plot.state.x_range.end == run.duration_s
        assert (plot.state.y_range.start, plot.state.y_range.end) == pytest.approx(data["limits"])
        assert plot.state.title.text.endswith(f"({data['note']})" if data["note"] else figure.title)


def test_a_reader_who_zoomed_in_stays_there():
    pipe = hv.streams.Pipe(data=figures.LATENCY.make(_one()))
    axis = hv.renderer("bokeh").get_plot(figures.LATENCY.live(pipe)).state.x_range
    axis.update(start=100, end=200)
    pipe.send(figures.LATENCY.make(outage_story().run(duration_s=7201.0)))
    assert (axis.start, axis.end, axis.reset_end) == (100, 200, 7201)
    pipe.send(figures.LATENCY.make(outage_story().run(duration_s=150.0)))
    assert (axis.start, axis.end) == (0, 150)


def test_too_many_ok_attempts_are_thinned_the_rest_is_kept_and_the_title_says_so():
    story = Story()
    for number in range(700):
        story.attempt(f"m{number}", number, outcome="timeout" if number % 10 == 0 else "ok")
    run = story.run()
    data = figure_data.latency_data(run, limit=100)
    drawn = data["points"]["outcome"].value_counts()
    assert drawn.to_dict() == {"answered": 90, "timed out": 70}
    assert data["note"] == "1 of 7 ok attempts drawn"
    assert data["points"].equals(figure_data.latency_data(run, limit=100)["points"])
    (plot,) = _plots(figures.latency(run, limit=100))
    assert plot.title.text == "Latency of every attempt (1 of 7 ok attempts drawn)"
    assert figure_data.latency_data(run, limit=50)["note"] == "1 of 13 ok attempts drawn, 1 of 2 others drawn"
    assert figure_data.latency_data(run)["note"] == ""


def test_attempts_that_took_no_time_have_a_place_on_the_logarithmic_axis():
    points = figure_data.latency_data(Story().attempt("a", 5, 0.0, "rejected").run())["points"]
    assert points["shown_s"].tolist() == [figure_data.FLOOR_S]
    assert points["latency_s"].tolist() == [0.0]


def test_percentiles_are_of_requests_that_were_waited_for():
    story = Story()
    for number in range(10):
        story.attempt(f"m{number}", number, 2.0).attempt("x", number, 0.001, "refused").probe(number)
    data = figure_data.latency_data(story.run())
    assert data["p50"]["latency_s"].dropna().unique().tolist() == [2.0]


def test_the_verdict_is_drawn_under_the_truth():
    story = Story().outage(100, 200, "hang").outage(300, 400, "slow", 0.4)
    bands = figure_data.status_data(story.verdict("online", 10).verdict("offline", 130).run())["bands"]
    rows = bands[["time_s", "until_s", "status"]].to_numpy().tolist()
    verdict, truth = rows[:3], rows[3:]
    assert verdict == [[0, 10, "checking"], [10, 130, "online"], [130, 3600, "offline"]]
    well = [[0, 100, "online"], [200, 300, "online"], [400, 3600, "online"]]
    assert truth == [*well, [300, 400, "degraded"], [100, 200, "offline"]]
    assert (bands["band_from"] >= 1.2).tolist() == [False] * 3 + [True] * 5
    assert bands["words"].iloc[2] == "The verdict was offline from 2m 10s to 1h (57 min 50 s): offline by hand"


def test_a_fleet_is_drawn_as_shares_that_add_up_or_as_one_client():
    run = _fleet()
    bands = figure_data.status_data(run)["bands"]
    shares = bands[bands["band_from"] < 1.2]
    height = (shares["band_to"] - shares["band_from"]) * (shares["until_s"] - shares["time_s"])
    assert height.sum() == pytest.approx(run.duration_s)
    offline = shares[shares["status"] == "offline"]
    assert offline["band_to"].max() == pytest.approx(1)
    one = figure_data.status_data(run, client=3)
    assert one["note"] == "client 3"
    assert one["bands"]["words"].str.contains("by hand").any()


def test_a_live_session_has_no_truth_to_draw():
    data = figure_data.status_data(_live())
    assert [name for _, name in data["rows"]] == ["verdict"]
    assert data["outages"].empty
    assert (data["bands"]["band_to"] <= 1).all()


@pytest.mark.parametrize("clients", [1, 9, 40])
def test_the_depth_of_all_queues_is_their_sum(clients: int):
    run = outage_story(clients).run(duration_s=7200.0)
    depth = figure_data.queue_data(run)["depth"]["depth"]
    last = run.queue.groupby("client")["depth"].last().sum()
    assert depth.iloc[-1] == last
    most = run.queue.groupby("client")["depth"].max()
    assert most.max() <= depth.max() <= most.sum()
    assert depth.max() == pytest.approx(most.sum(), rel=0.02)


@pytest.mark.parametrize("clients", [1, 40])
def test_marks_stand_for_every_event_of_the_queue(clients: int):
    run = outage_story(clients).run(duration_s=7200.0)
    marks = figure_data.queue_data(run)["marks"]
    assert len(marks) < 2 * figure_data.BINS
    numbers = marks["words"].str.replace(",", "").str.extract(r"^(\d+) message")[0].astype(int)
    assert numbers.groupby(marks["event"]).sum().to_dict() == {
        palette.QUEUE[str(event)].word: number for event, number in run.queue["event"].value_counts().items() if number
    }


def test_the_stack_of_outcomes_counts_every_message():
    run = _fleet()
    bars = figure_data.outcomes_data(run)["bars"]
    hours = (bars["until_s"] - bars["time_s"]) / 3600
    counted = ((bars["messages_to"] - bars["messages_from"]) * hours).groupby(bars["fate"]).sum().round(6)
    outcomes = run.messages["outcome"].value_counts()
    assert counted["first try"] == outcomes["answered"]
    assert counted["late from the queue"] == outcomes["late"]
    assert counted["given up"] == outcomes["dead"]
    assert counted.sum() == len(run.messages)


def test_a_message_that_needed_retries_is_not_a_first_try():
    story = Story().answered("a", 0).attempt("a", 0.2, outcome="refused").answered("b", 0, 0, "cache")
    fates = figure_data.outcomes_data(story.run())["bars"]["fate"].tolist()
    assert fates == ["after retries", "from the cache"]


def test_load_and_arrivals_show_what_the_backend_saw():
    run = _one()
    load = figure_data.load_data(run)["bars"]
    waiting = load[load["part"] == "waiting"]
    assert (waiting["time_s"].min(), waiting["until_s"].max()) == (2400, 4800)
    arrivals = figure_data.arrivals_data(run)
    assert set(arrivals["bars"]["traffic"]) == {"first tries", "replays from the queue", "health checks"}
    assert np.median(arrivals["arrivals"]["per_min"]) == pytest.approx(6, abs=0.7)


def test_hover_explains_in_words_with_units():
    words = figure_data.outcomes_data(_one())["bars"]["words"]
    assert words.iloc[0].endswith("were answered at the first try, from 0s to 2m")
    (plot,) = _plots(figures.latency(_one()))
    (hover,) = plot.hover
    asked = set(re.findall(r"@\{?\w+\}?(?=\{custom\})", hover.tooltips))
    assert {name.strip("@{}") for name in asked} == {"time_s", "latency_s"}
    assert asked <= set(hover.formatters)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (45, "45s"), (7200, "2h"), (5400, "1h 30m"), (97200, "1d 3h"), (86460, "1d"), (-60, "-1m")],
)
def test_elapsed_time_is_short(seconds: float, words: str):
    assert shapes.elapsed(seconds) == words


@pytest.mark.parametrize(
    ("duration_s", "bins", "width_s"), [(0, 10, 1), (3600, 60, 60), (3601, 60, 120), (1e9, 3, 3.3696e8)]
)
def test_pieces_of_time_are_round(duration_s: float, bins: int, width_s: float):
    assert shapes.nice_width_s(duration_s, bins) == pytest.approx(width_s, rel=0.02)
    assert shapes.nice_width_s(duration_s, bins) * bins >= duration_s


def test_the_palette_knows_every_word_and_tells_nothing_by_colour_alone():
    assert tuple(palette.STATUS) == STATUSES
    assert set(palette.OUTCOME) == set(OUTCOMES)
    assert len({look.marker for look in palette.OUTCOME.values()}) == len(OUTCOMES)
    assert len({look.glyph for look in palette.STATUS.values()}) == len(STATUSES)
    assert len({look.height for look in palette.STATUS.values()}) == len(STATUSES)
    for looks in (palette.STATUS, palette.OUTCOME, palette.FATE, palette.QUEUE, palette.LOAD, palette.TRAFFIC):
        assert len({look.word for look in looks.values()}) == len(looks)
    assert {"expired", "dead", "lost", "late"} <= set(FATES) & set(palette.FATE)


def test_figures_ask_nothing_of_any_other_host():
    document = Document()
    document.add_root(hv.renderer("bokeh").get_plot(_one().plot()).state)
    assert "http" not in str(document.to_json())
