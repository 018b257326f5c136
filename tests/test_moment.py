"""Time travel: the state at any moment is what one gets by telling all events again up to it."""

import math
from collections import Counter

import numpy as np
import pytest
from events_by_hand import Story, outage_story
from hypothesis import given, settings
from hypothesis import strategies as st

import hustle_sim as hs
from hustle_sim.analysis import Run
from hustle_sim.analysis.chat import chat_at
from hustle_sim.analysis.moment import Moment, moment
from hustle_sim.analysis.timeline import Intervals, Timeline
from hustle_sim.inputs import InputError
from hustle_sim.simulation.words import texts_of

RUNS = [("flapping", "default"), ("evening-blips", "original"), ("hang", "default"), ("rate-limited", "default")]


@pytest.fixture(scope="module", params=RUNS, ids=[f"{scenario}-{policy}" for scenario, policy in RUNS])
def run(request: pytest.FixtureRequest) -> Run:
    scenario, policy = request.param
    return hs.simulate(hs.Scenario.load(scenario), hs.Policy.preset(policy) if policy != "default" else None, seed=2)


def told_again(run: Run, now_s: float, client: int) -> dict[str, object]:
    """The same by brute force: every row of every frame up to now, in its order."""

    def until_now(name: str) -> list[dict[str, object]]:
        frame = run.frames[name]
        return frame[(frame["time_s"] <= now_s) & (frame["client"] == client)].to_dict("records")

    state = {"monitor": "checking", "breaker": "closed"}
    for name, frame in (("monitor", "transitions"), ("breaker", "breaker")):
        for row in until_now(frame):
            state[name] = row["current"]
    pending: dict[str, str] = {}
    for row in until_now("queue"):
        match row["event"]:
            case "accepted" | "released" | "requeued":
                pending[row["message_id"]] = "ready"
            case "leased":
                pending[row["message_id"]] = "being sent"
            case "delivered" | "expired" | "dead" | "cancelled" | "dropped":
                pending.pop(row["message_id"], None)
    waiting, answered, late = [], Counter(), 0
    for row in until_now("messages"):
        if not row["time_s"] + row["answer_s"] <= now_s:
            waiting.append(row["message_id"])
        else:
            answered[row["source"]] += 1
        second_best = row["source"] not in ("backend", "cache")
        late += second_best and row["time_s"] + row["delivered_s"] <= now_s
    probing = any(row["time_s"] + row["latency_s"] > now_s for row in until_now("probes"))
    samples = run.backend[run.backend["time_s"] <= now_s]
    on = run.outages[(run.outages["start_s"] <= now_s) & (run.outages["end_s"] > now_s)]
    return {
        **state, "pending": pending, "waiting": waiting, "answered": dict(answered), "late": late, "probing": probing,
        "in_service": None if samples.empty else samples["in_service"].iloc[-1], "modes": set(on["mode"]),
        "sent": len(until_now("messages")),
    }  # fmt: skip


def same_as(now: Moment) -> dict[str, object]:
    assert now.backend is not None
    assert now.monitor is not None
    return {
        "monitor": now.monitor.state, "breaker": now.breaker.state,
        "pending": {item.message_id: item.state for item in now.items}, "waiting": [w.message_id for w in now.waiting],
        "answered": {word: number for word, number in now.answered.items() if number}, "late": now.late,
        "probing": now.is_probing, "in_service": now.backend.in_service, "modes": set(now.backend.modes),
        "sent": now.sent,
    }  # fmt: skip


def test_a_moment_is_what_the_events_up_to_it_make(run: Run):
    timeline = Timeline(run)
    generator = np.random.Generator(np.random.Philox(5))
    # Most of the moments are put where something happens.
    near = generator.choice(run.queue["time_s"].to_numpy(), 25) + generator.normal(0, 2, 25)
    for now_s in [-1.0, 0.0, *near, *generator.uniform(0, run.duration_s, 25), run.duration_s, 1e9]:
        client = int(generator.choice(run.clients))
        assert same_as(moment(timeline, now_s, client)) == told_again(run, now_s, client), (now_s, client)


def test_the_number_of_items_is_the_depth_that_the_queue_told(run: Run):
    timeline = Timeline(run)
    queue = run.queue[run.queue["client"] == run.clients[0]]
    between = (queue["time_s"].to_numpy()[1:] + queue["time_s"].to_numpy()[:-1]) / 2
    apart = np.diff(queue["time_s"].to_numpy()) > 1e-9
    for now_s, depth in zip(between[apart], queue["depth"].to_numpy()[:-1][apart], strict=True):
        now = moment(timeline, now_s, run.clients[0])
        assert now.queue_depth == len(now.items) == depth
        sending = sum(item.state == "being sent" for item in now.items)
        assert (f"{sending} of them being sent" in now.words["queue"]) == (sending > 0)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50) | st.just(math.inf)), max_size=60),
    st.lists(st.floats(-5, 160), min_size=1, max_size=5),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_intervals_know_which_of_them_hold_a_moment(pairs, times, block):
    from hustle_sim.analysis import timeline

    begins, ends = [begin for begin, _ in pairs], [begin + length for begin, length in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "_BLOCK", block)
        intervals = Intervals(begins, ends)
        for now_s in [*times, *begins[:3], *ends[:3]]:
            held = {place for place, begin in enumerate(begins) if begin <= now_s < ends[place]}
            assert set(intervals.at(now_s).tolist()) == held


def test_a_queued_message_changes_in_its_place_when_its_answer_comes():
    run = outage_story().run(duration_s=7200.0)
    timeline = Timeline(run)

    def bubble(now_s: float) -> tuple[str, str, str]:
        chat = chat_at(timeline, now_s, last=500)
        (place,) = [i for i, b in enumerate(chat) if b.message_id == "0-80" and b.who == "coach"]
        assert (chat[place - 1].who, chat[place - 1].text) == ("person", "Message 81")
        return chat[place].state, chat[place].note, chat[place].text

    assert bubble(2404)[:2] == ("waiting", "waiting for 4 s")
    state, note, text = bubble(2409)
    assert (state, note) == ("offline", "offline answer · will be sent")
    assert text.startswith("I can't reach the coach right now. Your message is saved")
    assert bubble(4832) == ("late", "answered late, after 40 min 32 s", "The coach's answer to message 81.")


def test_the_chat_says_what_the_person_was_told_not_what_is_known():
    story = Story()
    for name, event in (("a", "dead"), ("b", "expired"), ("c", "dropped"), ("d", "unknown")):
        story.answered(name, 0, 8, "fallback").queue("accepted", name, 8, 1).queue(event, name, 100, 0)
    story.answered("e", 1, 2, "cache").answered("f", 1, 2, "stale").answered("g", 1, 2)
    chat = {b.message_id: (b.state, b.note) for b in chat_at(Timeline(story.run()), 200) if b.who == "coach"}
    assert chat == {
        "a": ("given up", "offline answer · could not be sent"),
        "b": ("expired", "offline answer · was too old to be sent"),
        "c": ("offline", "offline answer · will be sent"),
        "d": ("offline", "offline answer · send it again?"),
        "e": ("cached", "from a moment ago"),
        "f": ("stale", "older answer"),
        "g": ("answered", ""),
    }


def test_the_chat_has_the_last_messages_only():
    run = outage_story().run(duration_s=7200.0)
    chat = chat_at(Timeline(run), 7200, last=4)
    assert [bubble.text for bubble in chat[::2]] == ["Message 237", "Message 238", "Message 239", "Message 240"]
    assert [bubble.who for bubble in chat] == ["person", "coach"] * 4


def test_what_people_said_in_a_simulation_can_be_had_again(run: Run):
    texts = texts_of(run)
    assert set(texts) == set(run.messages["message_id"])
    assert len({text for text in texts.values() if text == "Question 0"}) <= 1
    (bubble, *_) = moment(Timeline(run, texts=texts), run.duration_s, run.clients[0]).chat
    assert bubble.text == texts[bubble.message_id]
    live = outage_story().run(backend_truth=False, seed=None, scenario={})
    assert texts_of(live) == {}


def test_the_texts_are_those_that_the_backend_was_sent():
    heard: dict[str, str] = {}

    async def client(http, text):
        response = await http.post("/chat", json={"message": text})
        heard[response.json()["reply"].removeprefix("Reply to ")] = text

    run = hs.simulate_client(client, hs.Scenario.load("flapping"), seed=3)
    texts = texts_of(run)
    assert len(heard) > 100
    assert {message_id: texts[message_id] for message_id in heard} == heard


def test_each_subject_has_a_sentence():
    run = outage_story().run(duration_s=7200.0)
    words = moment(run, 2420.5).words
    assert words["monitor"] == "The monitor says offline since 40m 20s (500 ms ago): offline by hand."
    assert words["breaker"] == "The circuit breaker is closed: requests go through."
    assert words["queue"] == "1 message waits in the queue, the oldest for 12.5 s."
    assert words["backend"] == (
        "The backend is taking requests and never answering, for 39 min 40 s more: 1 of 4 places busy, 3 waiting."
    )
    assert words["messages"] == "81 messages so far, answered 80 by the coach, 1 with the offline answer."
    before = moment(run, -1.0).words
    assert before["monitor"] == "The monitor has no verdict yet."
    assert before["messages"] == "No message was sent yet."


def test_a_live_session_has_no_backend_and_a_client_without_a_monitor_no_verdict():
    live = outage_story().run(backend_truth=False, seed=None, scenario={})
    assert moment(live, 100.0).backend is None
    assert moment(Story().answered("a", 1).run(), 100.0).monitor is None
    assert moment(Story().run(), 100.0).sent == 0


def test_a_client_that_is_not_there_is_one_clear_sentence():
    with pytest.raises(InputError, match=r"no client 7 in this run: they go from 0 to 2\."):
        moment(outage_story(clients=3).run(), 10.0, 7)


def test_a_moment_of_a_large_run_looks_at_few_rows(monkeypatch: pytest.MonkeyPatch):
    run = outage_story(hours=14, every_s=1.0).run(duration_s=14 * 3600.0)
    timeline = Timeline(run)
    moment(timeline, 0.0)
    # Once all is sorted, a moment asks no frame of the run any more.
    monkeypatch.setattr(run, "_frames", {})
    assert moment(timeline, 3600.0).sent > 3000
    intervals = timeline.of(0).messages._waiting
    assert max(len(held) for held in intervals._open) < 20


def test_a_verdict_that_was_there_at_once_is_one_since_the_start():
    run = hs.simulate(hs.Scenario.load("flapping"), seed=3)
    first = float(run.transitions["time_s"].iloc[0])
    assert first < 1
    assert " since the start (" in moment(run, first + 5).words["monitor"]
