"""A run: one row for each thing that happened, exactly one outcome for each message, and files that load again."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from events_by_hand import START, Story, outage_story
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.analysis import METRICS, Run
from hustle_sim.analysis.frames import FATES, FRAMES, QUEUE_EVENTS, SOURCES
from hustle_sim.events import MessageAnswered, MessageDelivered, MessageSent, QueueChanged
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy


def _outcome(story: Story) -> str:
    messages = story.run().messages
    assert len(messages) == 1
    return str(messages["outcome"].iloc[0])


def _fallback() -> Story:
    return Story().answered("a", 10, 8, "fallback")


@pytest.mark.parametrize(
    ("story", "outcome"),
    [
        (Story().answered("a", 10), "answered"),
        (Story().answered("a", 10, 0, "cache"), "answered"),
        (Story().queue("accepted", "a", 17.9, 1).answered("a", 10, 7.99).queue("delivered", "a", 18), "answered"),
        (Story().queue("accepted", "a", 17, 1).queue("dead", "a", 17.5).answered("a", 10, 7.9), "answered"),
        (_fallback().queue("accepted", "a", 18, 1).delivered("a", 20, "late"), "late"),
        (_fallback().queue("accepted", "a", 18, 1).delivered("a", 60).queue("delivered", "a", 60), "late"),
        (_fallback().queue("accepted", "a", 18, 1).queue("delivered", "a", 60), "late"),
        (_fallback().queue("rejected", "a", 18).delivered("a", 19, "late"), "late"),
        (Story().answered("a", 10, 8, "stale").queue("accepted", "a", 18, 1).delivered("a", 60), "late"),
        (_fallback().queue("accepted", "a", 18, 1), "pending"),
        (_fallback().queue("accepted", "a", 18, 1).queue("leased", "a", 20, 1), "pending"),
        (_fallback().queue("accepted", "a", 18, 1).queue("released", "a", 25, 1), "pending"),
        (_fallback().queue("accepted", "a", 18, 1).queue("duplicate", "a", 19, 1), "pending"),
        (_fallback().queue("accepted", "a", 18, 1).queue("rejected", "a", 19, 1), "pending"),
        (Story().sent("a", 10), "pending"),
        (_fallback().queue("accepted", "a", 18, 1).queue("expired", "a", 90), "expired"),
        (_fallback().queue("accepted", "a", 18, 1).queue("dead", "a", 90), "dead"),
        (_fallback().queue("rejected", "a", 18), "rejected"),
        (Story().answered("a", 10, 8, "stale").queue("rejected", "a", 18), "rejected"),
        (Story().sent("a", 10).queue("cancelled", "a", 12), "rejected"),
        (_fallback().queue("accepted", "a", 18, 1).queue("dropped", "a", 90), "lost"),
        (_fallback(), "lost"),
    ],
)  # fmt: skip
def test_each_message_ends_as_its_events_say(story: Story, outcome: str):
    assert _outcome(story) == outcome


def test_a_message_keeps_its_first_answer_and_its_first_delivery():
    story = Story().answered("a", 10, 8, "fallback").delivered("a", 30, "late").delivered("a", 50, "queue")
    story.events.append(MessageAnswered(60, 0, "a", "backend", False, 50.0))
    message = story.run().messages.iloc[0]
    assert (message["source"], message["answer_s"]) == ("fallback", 8.0)
    assert (message["via"], message["delivered_s"]) == ("late", 20.0)
    assert message["queued"]


def test_a_message_counts_the_requests_that_were_sent_for_it():
    story = Story().sent("a", 0).attempt("a", 0, outcome="timeout").attempt("a", 9, outcome="rejected", number=2)
    assert story.attempt("a", 20, kind="replay", number=3).run().messages["attempts"].tolist() == [2]


def test_an_answer_of_the_backend_is_a_delivery():
    story = Story().sent("a", 10)
    story.events.append(MessageAnswered(12, 0, "a", "backend", False, 2.0))
    assert story.run().messages["delivered_s"].tolist() == [2.0]


def test_a_message_sent_twice_is_one_message():
    assert len(Story().answered("a", 10).answered("a", 20).run().messages) == 1


def test_times_are_seconds_since_the_start_and_frames_are_sorted():
    story = Story().answered("b", 130).answered("a", 110).outage(150, 160).probe(140)
    run = story.run(origin_s=100.0)
    assert run.messages["message_id"].tolist() == ["a", "b"]
    assert run.messages["time_s"].tolist() == [10.0, 30.0]
    assert run.messages["delivered_s"].tolist() == [1.0, 1.0]
    assert run.outages[["start_s", "end_s"]].to_numpy().tolist() == [[50.0, 60.0]]
    assert run.attempts["kind"].tolist() == ["message", "message", "probe"]
    for name, frame in run.frames.items():
        assert frame["start_s" if name == "outages" else "time_s"].is_monotonic_increasing


def test_missing_codes_are_missing_and_present_ones_whole_numbers():
    codes = Story().attempt("a", 1).attempt("b", 2, outcome="refused").run().attempts["status_code"]
    assert codes[0] == 200
    assert codes[1] is pd.NA


def test_a_start_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        Story().run(start=datetime(2026, 1, 1))


def _same(one: Run, other: Run) -> None:
    for name in FRAMES:
        pd.testing.assert_frame_equal(one.frames[name], other.frames[name], check_exact=True)
    pd.testing.assert_series_equal(one.metrics, other.metrics, check_exact=True)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("story", "about"),
    [
        (Story(), {}),
        (outage_story(clients=2), {"label": "mine", "warm_up_s": 60.0, "policy": Policy.preset("original")}),
        (outage_story(), {"backend_truth": False, "seed": None, "scenario": {}}),
        (Story().verdict("häßlich", 5).queue("unheard of", "é\u2028", 6).outage(7, float("inf"), "new"), {}),
    ],
)
def test_a_run_loads_as_it_was_saved(tmp_path: Path, story: Story, about: dict):
    run = story.run(duration_s=7200.0, **about)
    run.save(tmp_path / "deep" / "folder")
    loaded = Run.load(tmp_path / "deep" / "folder")
    _same(run, loaded)
    for name in ("policy", "start", "duration_s", "warm_up_s", "seed", "scenario", "label", "backend_truth", "version"):
        assert getattr(loaded, name) == getattr(run, name), name


def test_the_frames_of_an_empty_run_have_the_types_of_a_full_one():
    empty, full = Story().run(), outage_story().run()
    for name in FRAMES:
        assert list(empty.frames[name].columns) == list(FRAMES[name])
        assert empty.frames[name].dtypes.to_dict() == full.frames[name].dtypes.to_dict(), name


def test_saving_again_replaces_the_run(tmp_path: Path):
    outage_story().run().save(tmp_path)
    run = Story().answered("a", 1).run()
    run.save(tmp_path)
    _same(Run.load(tmp_path), run)


def test_a_save_that_was_cut_short_is_no_run_and_can_be_repeated(tmp_path: Path):
    run = outage_story().run()
    run.save(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match="holds no run"):
        Run.load(tmp_path)
    run.save(tmp_path)
    assert Run.load(tmp_path).digest == run.digest


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run"):
        Story().run().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="is a file"):
        Story().run().save(tmp_path / "thesis.txt")


def _break(folder: Path, how: str) -> None:
    about = folder / "run.json"
    values = json.loads(about.read_text())
    match how:
        case "no such folder":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        case "holds no run":
            about.write_text("{}")
        case "messages.parquet is missing":
            (folder / "messages.parquet").unlink()
        case "can't be read":
            (folder / "queue.parquet").write_bytes(b"PAR1 not really")
        case "was changed":
            pd.read_parquet(folder / "messages.parquet").assign(priority=0).to_parquet(folder / "messages.parquet")
        case "there is no policy field 'probe.sometimes'":
            about.write_text(json.dumps({**values, "policy": {"probe.sometimes": 1}}))
        case "holds a run that can't be read: 'start'":
            del values["start"]
            about.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "how",
    [
        "no such folder", "holds no run", "messages.parquet is missing", "can't be read", "was changed",
        "there is no policy field 'probe.sometimes'", "holds a run that can't be read: 'start'",
    ],
)  # fmt: skip
def test_what_is_no_run_is_refused_with_one_sentence(tmp_path: Path, how: str):
    folder = tmp_path / "run"
    outage_story().run().save(folder)
    _break(folder, how)
    with pytest.raises(InputError) as caught:
        Run.load(folder)
    assert how in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_the_digest_sees_the_last_bit_and_nothing_else():
    def digest(at_s: float, **about: object) -> str:
        return Story().answered("a", at_s).run(**about).digest

    assert digest(0.1) == digest(0.1, label="other", seed=3)
    assert digest(0.1) != digest(np.nextafter(0.1, 1))
    assert digest(0.1) != Story().answered("b", 0.1).run().digest


@pytest.mark.real
def test_the_digest_is_the_same_in_another_process(tmp_path: Path):
    script = "from events_by_hand import outage_story; print(outage_story(3).run().digest)"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {outage_story(3).run().digest}


def test_a_run_says_what_it_is():
    run = outage_story().run(duration_s=7200.0, label="mine <b>")
    assert repr(run).startswith("<Run by hand, mine <b>, seed 7: 2 h; messages 240, answered_share")
    html = run._repr_html_()
    assert "mine &lt;b&gt;" in html
    assert all(name in html for name in METRICS)


_IDS = st.sampled_from(["a", "b", "c"])
_TIMES = st.floats(0, 100)
_EVENTS = st.one_of(
    st.builds(MessageSent, _TIMES, st.integers(0, 1), _IDS, st.integers(0, 2)),
    st.builds(MessageAnswered, _TIMES, st.integers(0, 1), _IDS, st.sampled_from(SOURCES), st.booleans(), _TIMES),
    st.builds(MessageDelivered, _TIMES, st.integers(0, 1), _IDS, st.sampled_from(["direct", "late", "queue"])),
    st.builds(
        QueueChanged, _TIMES, st.integers(0, 1), st.sampled_from(QUEUE_EVENTS), _IDS, st.integers(0, 3), st.just("")
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_EVENTS, max_size=25))
def test_whatever_happens_every_message_has_exactly_one_outcome(events):
    run = Run.from_events(events, policy=Policy(), start=START, duration_s=200.0)
    sent = {event.message_id for event in events if isinstance(event, MessageSent)}
    assert set(run.messages["message_id"]) == sent
    assert not run.messages["message_id"].duplicated().any()
    assert run.messages["outcome"].isin(FATES).all()
    ends = ["lost", "rejected", "expired", "dead"]
    shares = run.metrics[ends].sum() + (run.messages["outcome"] == "pending").sum()
    delivered = run.messages["outcome"].isin(["answered", "late"]).sum()
    assert shares + delivered == run.metrics["messages"] == len(sent)
    assert run.digest == Run.from_events(events, policy=Policy(), start=START, duration_s=200.0).digest
