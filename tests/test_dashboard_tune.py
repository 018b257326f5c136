"""The Tune place without a browser: what is asked for, studies in processes of their own, and what is shown of them."""

import asyncio
import math
import os
import pickle
import signal
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd
import param
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.analysis import METRICS
from hustle_sim.dashboard import studies, tune_state
from hustle_sim.dashboard.controls import FIELDS
from hustle_sim.dashboard.scenario_files import bundled
from hustle_sim.dashboard.studies import SearchWish, Studio, Study, SweepWish
from hustle_sim.dashboard.tune_page import SEARCH, SWEEP, TunePage
from hustle_sim.dashboard.tune_results import SearchResults, SweepResults
from hustle_sim.dashboard.tune_state import (
    DEPTHS,
    TuneState,
    cell_policy,
    how_far,
    in_words,
    ranked,
    search_wish,
    suggested,
    sweep_wish,
    values_of,
    written,
)
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import Cancelled
from hustle_sim.tuning.sweep import sweep
from hustle_sim.tuning.tune import tune

SHORT = Scenario(name="short", duration_s="20m", outages=[{"at_s": "5m", "lasts_s": "5m", "mode": "hang"}])
BASE, TRIES = "retry.base_s", "request.max_attempts"


@pytest.fixture(scope="module")
def swept():
    return sweep(SHORT, Policy(), {BASE: [0.1, 2.0], TRIES: [1, 3]}, 2, executor=1)


@pytest.fixture(scope="module")
def tuned():
    return tune(SHORT, search=["retry"], trials=6, replications=2, verify=2, unseen=[], executor=1)


# What is asked for


@pytest.mark.parametrize("name", list(FIELDS))
def test_each_field_has_values_worth_trying_that_are_within_its_bounds(name):
    field = FIELDS[name]
    values = values_of(field, suggested(field))
    assert len(values) >= 2
    assert len(set(values)) == len(values)
    for value in values:
        if not isinstance(value, str):
            assert field.low is None or value >= field.low
            assert field.high is None or value <= field.high
        assert values_of(field, written(field, value)) == [value]


@given(st.sampled_from(list(FIELDS)), st.text(max_size=20))
def test_whatever_is_typed_is_values_or_a_sentence(name, text):
    try:
        values = values_of(FIELDS[name], text)
    except InputError as error:
        sentence = str(error)
    else:
        sentence, _ = name, [hash(value) for value in values]
        assert values
    assert sentence.startswith(name)


def test_values_are_read_with_their_units():
    known = FIELDS
    assert values_of(known["probe.interval_s"], "30s, 5m") == [30.0, 300.0]
    assert values_of(known["breaker.failure_share"], "25 %, 50") == [0.25, 0.5]
    assert values_of(known["request.max_attempts"], "1, 2, 2") == [1, 2]
    assert values_of(known["breaker.enabled"], "on, off") == [True, False]


@pytest.mark.parametrize(
    ("x", "y", "seeds", "sentence"),
    [
        ((BASE, "1s"), (BASE, "2s"), 5, "choose two different fields"),
        ((BASE, "soon"), (TRIES, "1"), 5, "retry.base_s: 'soon' is no value such as 0.125s"),
        ((BASE, ""), (TRIES, "1"), 5, "retry.base_s: give values to try, such as 0.125s"),
        ((BASE, "1s"), (TRIES, "1.5"), 5, "request.max_attempts: a whole number is needed, not '1.5'"),
        ((BASE, "1s"), ("retry.bse", "1"), 5, "there is no policy field 'retry.bse'"),
        (("breaker.enabled", "maybe"), (TRIES, "1"), 5, "breaker.enabled: on or off is needed, not 'maybe'"),
        (("retry.jitter", "ful"), (TRIES, "1"), 5, "retry.jitter: there is no 'ful': one of none, full"),
        ((BASE, "1s"), (TRIES, "1"), 0, "replications: a whole number from 1 to 100 is needed, not 0"),
        ((BASE, "1s"), (TRIES, "1"), None, "replications: a whole number from 1 to 100 is needed, not None"),
        ((BASE, ",".join(map(str, range(60)))), (TRIES, "1,2"), 50, "that would be 6,000 simulations, and 4,000 are"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(x, y, seeds, sentence):
    with pytest.raises(InputError) as caught:
        sweep_wish(SHORT, Policy(), x, y, seeds)
    assert str(caught.value).startswith(sentence)


def test_a_search_needs_something_to_weigh():
    with pytest.raises(InputError, match="at least two objectives"):
        search_wish(SHORT, Policy(), [], ["answered_share"], "quick")
    wish = search_wish(SHORT, Policy(), ["retry"], ["answered_share", "amplification"], "to ship")
    assert (wish.trials, wish.unseen) == (DEPTHS["to ship"]["trials"], True)


def test_how_far_a_study_is_is_told_in_words():
    study = Study(SweepWish(SHORT, Policy(), {}, 1))
    assert how_far(None, 0) == ""
    assert how_far(study, 2) == "Waiting: 2 studies come before"
    study.started = True
    assert how_far(study, 0) == "Starting…"
    study.done, study.total = 20, 125
    assert how_far(study, 0) == "20 of 125 simulations"
    study.left_s = 72.4
    assert how_far(study, 0) == "20 of 125 simulations, about 1 min 12 s left"


# Studies in processes


@dataclass(frozen=True)
class Told:
    """A wish that does what its name says, in another process."""

    what: str
    file: str = ""

    def make(self, executor, results, progress, cancelled):
        progress(SimpleNamespace(done=1, total=4, left_s=3.0))
        if self.what == "crash":
            raise ZeroDivisionError("secret detail")
        if self.what == "refuse":
            raise InputError("these can't work together")
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.what == "last":
            if cancelled():
                open(self.file, "w").close()
                raise Cancelled("cancelled")
            threading.Event().wait(0.02)
        return pd.DataFrame({"nice": [os.nice(0)], "cores": [executor], "pid": [os.getpid()]})


def until(is_so):
    """Wait for what another process does."""
    for _ in range(5000):
        if is_so():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came")


@pytest.fixture(scope="module")
def shop():
    made = Studio(running=1, cores=2)
    yield made
    made.close()


@pytest.mark.real
def test_a_study_is_made_in_another_process_that_gives_way(shop):
    found = shop.submit(Told("make")).future.result(100)
    assert found["pid"][0] != os.getpid()
    assert found["nice"][0] >= os.nice(0) + studies.NICE or found["nice"][0] == 19
    assert found["cores"][0] == 2


@pytest.mark.real
@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("refuse", "these can't work together"),
        ("crash", "something in the study broke; it is in the server's log"),
        ("die", "the study's process ended early"),
    ],
)
def test_a_study_that_fails_is_one_sentence(shop, what, sentence):
    with pytest.raises(InputError) as caught:
        shop.submit(Told(what)).future.result(100)
    assert str(caught.value).startswith(sentence)
    assert "secret" not in str(caught.value)


@pytest.mark.real
def test_one_that_waits_can_be_cancelled_and_one_that_runs_saves_what_it_has(shop, tmp_path):
    first = shop.submit(Told("last", str(tmp_path / "saved")))
    second = shop.submit(Told("make"))
    third = shop.submit(Told("make"))
    until(lambda: first.total == 4)
    assert (first.done, first.left_s) == (1, 3.0)
    assert not second.started
    assert (shop.before(second), shop.before(third)) == (0, 1)
    second.cancel()
    assert second.future.cancelled()
    first.cancel()
    with pytest.raises(Cancelled):
        first.future.result(100)
    assert (tmp_path / "saved").exists()
    assert len(third.future.result(100)) == 1


@pytest.mark.real
def test_what_was_simulated_once_is_not_simulated_again_and_the_next_study_need_not_wait_for_idle_workers(shop):
    wish = SweepWish(SHORT, Policy(), {BASE: [0.5], TRIES: [1, 2]}, 1)
    first = shop.submit(wish)
    # Idle workers end after a minute: neither the result nor the next study waits for that.
    table = first.future.result(50)
    assert first.total == 2
    wider = shop.submit(SweepWish(SHORT, Policy(), {BASE: [0.5], TRIES: [1, 2, 3]}, 1))
    assert len(wider.future.result(50)) > len(table)
    assert wider.total == 1


@pytest.mark.real
def test_a_server_that_ends_takes_its_studies_along(tmp_path):
    made = Studio(running=1, cores=1)
    running, waiting = made.submit(Told("last", str(tmp_path / "saved"))), made.submit(Told("make"))
    until(lambda: running.total == 4)
    made.close()
    assert waiting.future.cancelled()
    with pytest.raises((Cancelled, InputError)):
        running.future.result(100)


class FakeShop:
    """A studio in which the test says when a study ends."""

    def __init__(self):
        self.studies = []

    def submit(self, wish):
        study = Study(wish)
        study.started = True
        study.cancel = lambda: self.cancelled.append(study)
        self.studies.append(study)
        return study

    cancelled: list = []  # noqa: RUF012

    def before(self, study):
        return 0


async def told(state):
    for _ in range(3):
        await asyncio.sleep(tune_state._POLL_S)


def test_a_result_stays_while_another_is_made_and_a_cancelled_one_never_shows(monkeypatch):
    monkeypatch.setattr(tune_state, "_POLL_S", 0.001)
    shop = FakeShop()
    state = TuneState(shop)

    async def main():
        first = asyncio.create_task(state.run("one"))
        await told(state)
        shop.studies[0].done, shop.studies[0].total = 1, 4
        await told(state)
        assert (state.running, state.share, state.told) == (True, 0.25, "1 of 4 simulations")
        shop.studies[0].future.set_result("first")
        await first
        assert (state.running, state.result, state.told) == (False, "first", "")
        second = asyncio.create_task(state.run("two"))
        await told(state)
        state.cancel()
        assert shop.cancelled == [shop.studies[1]]
        shop.studies[1].future.set_result("second")
        await second
        assert (state.running, state.result) == (False, "first")
        third = asyncio.create_task(state.run("three"))
        await told(state)
        shop.studies[2].future.set_exception(InputError("can't be"))
        await third
        assert (state.problem, state.result) == ("can't be", "first")

    asyncio.run(main())


def test_a_newer_study_takes_the_place_of_an_older_one(monkeypatch):
    monkeypatch.setattr(tune_state, "_POLL_S", 0.001)
    shop = FakeShop()
    state = TuneState(shop)

    async def main():
        first = asyncio.create_task(state.run("one"))
        await told(state)
        second = asyncio.create_task(state.run("two"))
        await told(state)
        shop.studies[0].future.set_result("first")
        await first
        assert state.result is None
        shop.studies[1].future.set_result("second")
        await second
        assert state.result == "second"

    asyncio.run(main())


# What is shown


def test_results_come_through_a_pipe_as_they_were_made(swept, tuned):
    again = pickle.loads(pickle.dumps(swept))
    assert again.fields == swept.fields
    assert again.equals(swept)
    assert pickle.loads(pickle.dumps(tuned)).winner == tuned.winner


def test_points_are_ranked_by_what_is_better(swept):
    for metric, ascending in (("amplification", True), ("answered_share", False)):
        means = list(ranked(swept, metric)["mean"])
        assert means == sorted(means, reverse=not ascending)
    row = ranked(swept, "amplification").iloc[0]
    assert cell_policy(swept, row).get(TRIES) == row[TRIES]
    assert in_words(swept, "amplification", row).startswith(f"retry.base_s {written(FIELDS[BASE], row[BASE])}, req")


def shown(results, table):
    loaded = []
    made = results(lambda: "light", loaded.append)
    made.show(table)
    return made, loaded


def test_a_click_on_the_heat_map_chooses_the_point_and_its_button_takes_the_policy_along(swept):
    results, loaded = shown(SweepResults, swept)
    assert len(results.table.rows) == 4
    assert results.table.rows[0]["mark"] == "★"
    results._on_cell(1.2, 0.9)
    chosen = results.policy(results.table.selected)
    assert (chosen.get(BASE), chosen.get(TRIES)) == (2.0, 3)
    assert "retry.base_s 2s, request.max_attempts 3" in results._chosen.object
    results._on_cell(7, 7)
    assert results.policy(results.table.selected) == chosen
    results.table._handle_msg({"type": "load", "key": results.table.selected})
    assert loaded == [chosen]


@pytest.mark.parametrize("metric", ["amplification", "drained_s", "lost"])
def test_every_metric_of_a_sweep_can_be_drawn(swept, metric):
    results, _ = shown(SweepResults, swept)
    results.metric.value = metric
    assert len(results.table.rows) == 4
    assert results.table.columns[0] == f"{METRICS[metric].label}, mean"


def test_points_that_cannot_be_are_told_of():
    table = sweep(SHORT, Policy(), {"request.attempt_timeout_s": [4, 32], TRIES: [1]}, 1, executor=1)
    results, _ = shown(SweepResults, table)
    assert "1 point is left out" in results._about.object


def test_the_front_stands_beside_the_presets_and_a_click_chooses_the_nearest(tuned):
    results, loaded = shown(SearchResults, tuned)
    names = [row["key"] for row in results.table.rows]
    assert names[0] == tuned.winner
    assert set(PRESETS) <= set(names)
    assert results.table.selected == tuned.winner
    assert len(results._pairs.objects) == len(tuned.objectives)
    rows = tune_results_marked(tuned)
    pair = [objective.metric for objective in tuned.objectives[:2]]
    row = rows.dropna(subset=pair).iloc[-1]
    results._on_point(rows, tuple(pair), row[pair[0]], row[pair[1]])
    near = rows[rows["policy"] == results.table.selected].iloc[0]
    assert (near[pair[0]], near[pair[1]]) == pytest.approx((row[pair[0]], row[pair[1]]))
    results._on_point(rows, tuple(pair), 1e9, 1e9)
    assert results.table.selected == near["policy"]
    results.table.selected = "original"
    assert "original: what differs" in results._changes.object
    results.table._handle_msg({"type": "load", "key": "original"})
    assert loaded == [Policy.preset("original")]


def tune_results_marked(tuned):
    from hustle_sim.tuning.tune_plot import marked

    return marked(tuned)


# The page


class FakePage(param.Parameterized):
    dark_theme = param.Boolean(default=False)


class FakeFrame:
    def __init__(self):
        self.page, self.opened, self.addresses = FakePage(), [], []

    def open(self, place, **arguments):
        self.opened.append((place, arguments))

    def set_address(self, place, arguments, *, step=False):
        self.addresses.append(dict(arguments))


def test_the_page_is_as_its_address_says_and_says_it_again():
    asked = {
        "what": "sweep", "scenario": "hang", "policy": "original", "x": BASE, "xs": "1s, 2s", "y": TRIES, "ys": "1, 2",
        "seeds": "3", "metric": "lost",
    }  # fmt: skip
    page = TunePage(FakeFrame(), {})
    page._take({name: value for name, value in asked.items() if name != "y"})
    page._take({"y": TRIES, "ys": "1, 2"})
    assert page._address() == asked


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scenario": "hng"}, "there is no scenario 'hng'; did you mean 'hang'?"),
        ({"x": "retry.bse_s"}, "there is no policy field 'retry.bse_s'; did you mean 'retry.base_s'?"),
        ({"metric": "lots"}, "there is no metric 'lots'; did you mean 'lost'?"),
        ({"seeds": "many"}, "seeds: a whole number is needed, not 'many'"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_is_a_sentence(arguments, sentence):
    page = TunePage(FakeFrame(), arguments)
    assert page.states[SWEEP].problem == sentence
    assert sentence.split("'")[0][1:] in page._notice._pane.object


def test_another_place_hands_over_its_scenario_and_policy():
    page = TunePage(FakeFrame(), {"scenario": SHORT, "policy": Policy().replace({BASE: 3})})
    assert page._scenarios[page.scenario.value] == SHORT
    assert page._policies[page.policy.value].get(BASE) == 3
    page.arrive({"scenario": bundled()["hang"], "policy": Policy.preset("original")})
    assert (page.scenario.value, page.policy.value) == ("hang", "original")


def test_what_runs_goes_on_while_one_is_elsewhere_and_ends_when_one_is_gone():
    page = TunePage(FakeFrame(), {})
    shop = FakeShop()
    page.states[SWEEP]._shop = shop
    page.states[SWEEP]._study = study = shop.submit("one")
    page.seen(False)
    assert study not in shop.cancelled
    page.close()
    assert study in shop.cancelled


def test_a_search_and_a_sweep_have_controls_and_results_of_their_own():
    page = TunePage(FakeFrame(), {})
    assert page._of[SWEEP].visible
    page.kind.value = SEARCH
    assert page._of[SEARCH].visible
    assert not page._of[SWEEP].visible
    assert "Which policy should I ship" in page._empty[0].object


def test_a_policy_is_taken_to_simulate_with_its_scenario():
    frame = FakeFrame()
    page = TunePage(frame, {"scenario": SHORT})
    page._load(Policy.preset("original"))
    assert frame.opened == [("simulate", {"scenario": SHORT, "policy": Policy.preset("original")})]


def test_a_wish_can_be_sent_to_another_process():
    for wish in (
        SweepWish(SHORT, Policy(), {BASE: [0.5]}, 1),
        SearchWish(SHORT, Policy(), ("retry",), ("lost", "amplification"), 5, 2, 2, False),
    ):
        assert pickle.loads(pickle.dumps(wish)) == wish
    assert math.isnan(Study(wish).left_s)
