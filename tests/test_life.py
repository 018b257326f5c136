"""The life of a message: steps in order, without a hole, and as the frames say."""

import holoviews as hv
import numpy as np
import pytest
from events_by_hand import Story, outage_story
from hypothesis import given
from hypothesis import strategies as st

import hustle_sim as hs
from hustle_sim.analysis import Run
from hustle_sim.analysis.life import Life, attempt_near, life, message_of
from hustle_sim.analysis.palette import STEP
from hustle_sim.analysis.waterfall import ROWS, WATERFALL, BrokenAxis
from hustle_sim.inputs import InputError

RUNS = [("flapping", "default"), ("evening-blips", "original"), ("hang", "default"), ("rate-limited", "default")]


@pytest.fixture(scope="module", params=RUNS, ids=[f"{scenario}-{policy}" for scenario, policy in RUNS])
def run(request: pytest.FixtureRequest) -> Run:
    scenario, policy = request.param
    return hs.simulate(hs.Scenario.load(scenario), hs.Policy.preset(policy) if policy != "default" else None, seed=1)


def chosen(run: Run) -> list[str]:
    """Every message that was not simply answered, and some of those."""
    answered = (run.messages["outcome"] == "answered") & (run.messages["attempts"] == 1)
    ids = run.messages["message_id"]
    return [*ids[~answered].head(120), *ids[answered].iloc[::40]]


def words(told: Life) -> str:
    return "\n".join(f"{step.kind}: {step.words}" for step in told.steps)


def test_the_steps_are_in_order_and_cover_the_life_without_a_hole(run: Run):
    for message_id in chosen(run):
        told = life(run, message_id)
        begins = [step.begin_s for step in told.steps]
        assert begins == sorted(begins), message_id
        assert told.steps[0].kind == "sent"
        assert begins[0] == 0
        covered_s = 0.0
        for step in told.steps:
            assert step.begin_s <= covered_s + 1e-5, words(told)
            assert step.begin_s <= step.end_s <= told.end_s
            covered_s = max(covered_s, step.end_s)
        assert covered_s == told.end_s
        assert all(step.words.endswith(".") and step.words[0].isupper() for step in told.steps)
        assert "{" not in words(told)


def test_the_steps_agree_with_the_frames(run: Run):
    messages = run.messages.set_index("message_id")
    for message_id in chosen(run):
        told, row = life(run, message_id), messages.loc[message_id]
        sent = [step for step in told.steps if step.kind in ("attempt", "replay")]
        rows = run.attempts[run.attempts["message_id"] == message_id]
        assert len(sent) == row["attempts"]
        assert sorted(step.outcome for step in sent) == sorted(rows.loc[rows["outcome"] != "rejected", "outcome"])
        assert sum(step.kind == "refused" for step in told.steps) == (rows["outcome"] == "rejected").sum()
        answers = [step for step in told.steps if step.kind == "answer"]
        assert [step.end_s for step in answers] == ([] if np.isnan(row["answer_s"]) else [row["answer_s"]])
        late = [step.end_s for step in told.steps if step.kind == "late_answer"]
        assert late == ([row["delivered_s"]] if row["outcome"] == "late" else [])
        assert any(step.kind == "end" for step in told.steps) == (row["outcome"] not in ("answered", "late"))
        for step in told.steps:
            # What lasts inside the life of a message that the simulation told in full is never unknown.
            assert step.kind != "wait" or row["outcome"] == "pending", words(told)


def test_each_step_has_a_plain_sentence():
    story = Story().outage(100, 400, "refuse").sent("a", 100)
    story.attempt("a", 100, 0.012, "refused").attempt("a", 100.5, 0.012, "refused", number=2)
    story.attempt("a", 101.5, 0, "rejected", number=3)
    told = life(story.run(), "a")
    assert [step.kind for step in told.steps] == [
        "sent", "attempt", "backoff", "attempt", "backoff", "refused", "wait", "end",
    ]  # fmt: skip
    assert told.steps[3].words == "Attempt 2 was refused after 12 ms: the backend was down."
    assert told.steps[4].words == "Waited 988 ms before attempt 3."
    assert told.steps[5].words == "The circuit breaker was open: nothing was sent."


def test_a_life_through_the_queue_is_summed_up_in_one_sentence():
    run = outage_story().run(duration_s=7200.0)
    told = life(run, "0-80")
    assert told.words == (
        "2 requests were sent, 1 failed; the person had the offline answer after 8 s, and the coach's answer after "
        "40 min 32 s."
    )
    kinds = [step.kind for step in told.steps]
    assert kinds == ["sent", "attempt", "no_retry", "queued", "answer", "verdict", "replay", "late_answer"]
    dead = life(run, "0-88")
    assert dead.steps[-1].words == "It was given up, and is kept as a dead letter."
    assert dead.outcome == "dead"


def test_a_live_session_does_not_pretend_to_know_the_backend():
    story = Story().outage(0, 100).sent("a", 10).attempt("a", 10, 8, "timeout")
    assert life(story.run(), "a").steps[1].words.endswith(": the backend was down.")
    assert life(story.run(backend_truth=False), "a").steps[1].words == "Attempt 1 got no answer within 8 s."


def test_why_there_was_no_further_attempt():
    def reason(outcome: str, after_s: float, number: int = 1, **changes: object) -> str:
        policy = hs.Policy().replace(changes)
        story = Story().sent("a", 0).attempt("a", 0, after_s, outcome, number=number).answered("a", 0, 8, "fallback")
        return next(s.outcome for s in life(story.run(policy=policy), "a").steps if s.kind == "no_retry")

    assert reason("refused", 1, number=3) == "enough"
    assert reason("tls", 1) == "final"
    assert reason("refused", 7.96) == "no time"
    assert reason("refused", 1) == "budget"
    assert reason("refused", 7.6) == "no time or budget"
    assert reason("overloaded", 3) == "no time or budget"
    assert reason("rejected", 0) == "rejected"


def test_a_message_that_is_not_there_is_one_clear_sentence():
    run = outage_story(clients=2).run()
    with pytest.raises(InputError, match=r"no message '0-9999' in this run; did you mean '0-99'"):
        life(run, "0-9999")
    with pytest.raises(InputError, match=r"one of client 1, not of client 0\."):
        life(run, "1-5", client=0)


def test_an_attempt_leads_to_its_message_and_a_health_check_to_none():
    run = outage_story().run(duration_s=7200.0)
    for row in range(0, len(run.attempts), 50):
        attempt = run.attempts.iloc[row]
        assert message_of(run, row) == (attempt["message_id"] or None)
    with pytest.raises(InputError, match="the rows go from 0"):
        message_of(run, len(run.attempts))


def test_a_click_near_an_attempt_finds_it_and_one_in_the_void_finds_none():
    story = Story().attempt("a", 100, 1.0).attempt("b", 104, 8.0).attempt("c", 2000, 1.0)
    run = story.run()
    assert message_of(run, attempt_near(run, 101, 1.1, 3600) or 0) == "a"
    assert message_of(run, attempt_near(run, 101, 7.5, 3600) or 0) == "b"
    assert attempt_near(run, 1000, 1.0, 3600) is None
    assert attempt_near(run, 101, 0.05, 3600) is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_waterfall_draws_a_row_for_each_step(theme: str):
    run = outage_story().run(duration_s=7200.0)
    data = WATERFALL.make(run, "0-80")
    assert len(data["bars"]) == len(data["rows"]) == len(life(run, "0-80").steps)
    assert set(data["bars"]["step"]) <= {look.word for look in STEP.values()}
    plot = hv.renderer("bokeh").get_plot(WATERFALL.draw(data, theme=theme)).state
    assert plot.title.text == "The life of a message (message 0-80; long waits are drawn shorter)"
    assert next(iter(plot.yaxis[0].major_label_overrides.values())) == "sent"


def test_the_waterfall_follows_a_pipe_from_life_to_life_with_its_rows():
    run = outage_story().run(duration_s=7200.0)
    pipe = hv.streams.Pipe(data=WATERFALL.make(run, None))
    assert pipe.data["sentence"]["text"].tolist() == ["Click an attempt or a message to see its life."]
    plot = hv.renderer("bokeh").get_plot(WATERFALL.live(pipe))
    for message_id in ("0-80", "0-3", "0-88", None, "0-80"):
        data = WATERFALL.make(run, message_id)
        pipe.send(data)
        assert plot.state.y_range.end == data["limits"][1]
        assert plot.state.x_range.end == data["end_s"]
        assert plot.state.yaxis[0].ticker.ticks == [place for place, _ in data["rows"]]
        assert list(plot.state.yaxis[0].major_label_overrides.values()) == [label for _, label in data["rows"]]


def test_a_long_life_is_folded_in_the_middle():
    story = Story().sent("a", 0)
    for number in range(40):
        story.attempt("a", number * 10.0, 8, "timeout", number=number + 1)
    data = WATERFALL.make(story.run(), "a")
    assert len(data["bars"]) == ROWS
    (words,) = [words for words in data["bars"]["words"] if "more steps" in words]
    assert words.startswith("69 more steps, 35 of them failed")


def test_requests_of_a_message_that_waited_for_an_hour_are_wide_enough_to_be_seen():
    story = Story().sent("a", 0).attempt("a", 0, 8, "timeout").attempt("a", 3600, 2, kind="replay")
    data = WATERFALL.make(story.run(duration_s=7200.0), "a")
    bars = data["bars"]
    wide = (bars["ends_s"] - bars["since_s"]) / data["end_s"]
    assert wide[bars["step"] == STEP["failed"].word].item() > 0.05
    assert wide[bars["step"] == STEP["answered"].word].item() > 0.015
    assert any(name.startswith("1h") for _, name in data["columns"])
    assert "long waits are drawn shorter" in data["note"]


def test_a_short_life_is_drawn_to_scale():
    story = Story().sent("a", 0).attempt("a", 0, 3, "http_5xx").attempt("a", 4, 2, number=2).answered("a", 0, 6)
    data = WATERFALL.make(story.run(), "a")
    answered = data["bars"][data["bars"]["step"] == STEP["answered"].word].iloc[-1]
    assert (answered["since_s"], answered["ends_s"]) == pytest.approx((4, 6))
    assert "shorter" not in data["note"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_a_broken_axis_keeps_the_order_of_times_and_never_draws_more_than_there_was(times_s):
    axis = BrokenAxis(times_s)
    places = [axis.place(time_s) for time_s in sorted(times_s)]
    assert places == sorted(places)
    assert all(place <= time_s + 1e-6 for place, time_s in zip(places, sorted(times_s), strict=True))
    marks = [place for place, _ in axis.marks()]
    assert marks == sorted(set(marks))
