"""``hustle-sim tune``: what it prints and writes, one sentence for bad input, and Ctrl-C that costs nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import typer
from test_cli import hustle  # noqa: F401
from test_tune import SHORT, at_once  # noqa: F401

from hustle_sim import PRESETS, Policy
from hustle_sim.cli.experiments import worked
from hustle_sim.tuning.results import Results
from hustle_sim.tuning.saved import load_table

QUICK = ("--trials", "6", "-n", "2", "--verify", "3", "--front", "3", "--executor", "1")
SPACE = (
    "--search",
    "request.attempt_timeout_s=2s..8s",
    "--search",
    "request.max_attempts=1,2,3",
    "--search",
    "retry.jitter",
)


@pytest.fixture
def tune(hustle, tmp_path):  # noqa: F811
    SHORT.save(tmp_path / "short.toml")
    none = ("--unseen", "none")
    return lambda *arguments: hustle(
        "tune", "short.toml", *QUICK, *(() if "--unseen" in arguments else none), *arguments
    )


def test_it_prints_the_front_the_presets_the_proof_and_what_to_change(tune, tmp_path):
    code, out, err = tune(*SPACE, "--out", "tuned", "--save", "mine.toml", "--report", "report.md")
    assert code == 0
    found = load_table(tmp_path / "tuned")
    assert set(found.about["search"]) == {"request.attempt_timeout_s", "request.max_attempts", "retry.jitter"}
    assert found.about["search"]["request.max_attempts"] == [1, 2, 3]
    assert f"{found.winner} (recommended" in out
    for name in PRESETS:
        assert out.count(name) >= 2
    assert f"{found.winner} against each" in out
    assert "that neither the search nor the choice had seen." in out
    for name in found.changes:
        assert name in out
    for name in ("tuned", "mine.toml", "report.md"):
        assert f"Saved in {name}." in err
    assert Policy.load(tmp_path / "mine.toml") == found.policy
    assert (tmp_path / "mine.toml").read_text().startswith(f"# {found.winner} ")
    assert (tmp_path / "report.md").read_text() == found.markdown()


def test_json_holds_all_of_it(tune):
    code, out, _ = tune(*SPACE, "--json", "--objective", "answered_share", "--objective", "messages=lower")
    assert code == 0
    read = json.loads(out)
    assert read["about"]["arguments"]["objectives"] == {"answered_share": "higher", "messages": "lower"}
    assert [row["policy"] for row in read["presets"]] == list(PRESETS)
    assert sum(row["recommended"] for row in read["front"]) == 1
    assert {row["scope"] for row in read["proof"]} == {"searched scenarios", "hang"}


def test_a_saved_tuning_is_made_again_to_the_same_numbers(tune, hustle, tmp_path):  # noqa: F811
    tune(*SPACE, "--out", "tuned", "--results", "kept")
    code, out, err = hustle("again", "tuned", "--results", "kept", "--executor", "1")
    assert code == 0
    assert "The numbers are the same, to the last bit." in err
    assert load_table(tmp_path / "tuned").report() in out


def test_limits_come_from_a_file_and_the_start_from_a_policy(tune, tmp_path):
    (tmp_path / "slo.toml").write_text("[limits]\namplification = { at_most = 1.15 }\n")
    code, _, _ = tune(*SPACE, "--slo", "slo.toml", "--policy", "polly", "--set", "queue.max_size=600", "--out", "tuned")
    assert code == 0
    found = load_table(tmp_path / "tuned")
    assert found.about["constraints"]["limits"] == {"amplification": {"at_most": 1.15, "of": "mean"}}
    assert found.policy.queue.max_size == 600
    assert found.presets["policy"].iloc[0] == "start"
    assert "broken" in set(pd.Series(found.trials["outcome"]))


@pytest.mark.parametrize(("arguments", "words"), [
    (("--search", "retry.bse_s"), "there is no policy field 'retry.bse_s'; did you mean"),
    (("--search", "retry.jitter=full..none"), "--search retry.jitter=full..none: a range goes from a number"),
    (("--search", "retry.base_s", "--search", "retry.base_s=1..2"), "named twice"),
    (("--objective", "lost=less"), "better 'lower' or 'higher'"),
    (("--robust", "best"), "not 'best'"),
    (("--slo", "no.toml"), "no.toml: no such file"),
    (("--save", "nowhere/mine.toml"), "there is no folder"),
    (("--unseen", "nowhere"), "nowhere"),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_nothing_is_simulated(tune, arguments, words):
    code, out, err = tune(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.real
def test_ctrl_c_is_one_sentence_with_what_is_kept(tmp_path):
    SHORT.save(tmp_path / "short.toml")
    # Only the time between two files is shorter than people have it.
    code = "import hustle_sim.tuning.experiment as e; e._SAVE_EVERY_S = 0.1; from hustle_sim.cli import main; main()"
    command = [sys.executable, "-c", code, "tune", "short.toml", "--results", "kept", "--executor", "1", "--json"]
    child = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        for _ in range(1200):
            if list(tmp_path.glob("kept/part-*")) or child.poll() is not None:
                break
            time.sleep(0.05)  # noqa: TID251
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, out) == (130, ""), err
    kept = len(Results(tmp_path / "kept"))
    assert kept > 0
    assert err.strip() == (
        f"hustle-sim: stopped; {kept} simulations are kept in kept, and the same again goes on from there."
    )


def test_a_ctrl_c_that_was_lost_is_heard_at_the_next_step(capsys):
    def work(_results, told):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        told(None)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(typer.Exit) as ended:
        worked(work, None, None)
    assert ended.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopped; nothing is kept" in capsys.readouterr().err
