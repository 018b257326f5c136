"""The command line: results on standard output, one sentence and exit code 2 for bad input."""

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib

import pytest

from hustle_sim import PRESETS, Policy, Run, Scenario
from hustle_sim.analysis import METRICS
from hustle_sim.cli import main
from hustle_sim.live import PracticeBackend


@pytest.fixture
def hustle(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HUSTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def test_run_prints_every_metric(hustle):
    code, out, _ = hustle("run", "flapping", "--seed", "7")
    assert code == 0
    for name in METRICS:
        assert name in out


def test_run_writes_a_report_and_says_beforehand_if_it_cannot(hustle, tmp_path):
    code, _, err = hustle("run", "hang", "--report", "hang.html")
    assert (code, err.splitlines()[-1]) == (0, "Wrote hang.html.")
    assert "<h1>hang, default, seed 0</h1>" in (tmp_path / "hang.html").read_text(encoding="utf-8")
    code, out, err = hustle("run", "hang", "--report", "none/hang.html")
    assert (code, out) == (2, "")
    assert "there is no folder none" in err


def test_the_example_of_the_readme_runs(hustle):
    code, out, _ = hustle(
        "run", "morning-outage", "--policy", "original", "--seed", "7", "--set", "probe.interval_s=60"
    )
    assert code == 0
    assert "lost" in out


def test_run_as_json_is_for_machines(hustle):
    code, out, _ = hustle("run", "flapping", "--json")
    metrics = json.loads(out)
    assert code == 0
    assert set(metrics) == set(METRICS)
    assert metrics["lost"] == 0


def test_run_saves_what_can_be_loaded_again(hustle, tmp_path):
    code, out, _ = hustle("run", "flapping", "--json", "--out", str(tmp_path / "mine"))
    assert code == 0
    assert Run.load(tmp_path / "mine").metrics["messages"] == json.loads(out)["messages"]


def test_wire_gives_the_same_metrics(hustle):
    assert hustle("run", "flapping", "--json", "--wire")[1] == hustle("run", "flapping", "--json")[1]


def test_a_scenario_file_may_say_durations_in_words(hustle, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'duration_s = "2h"\n[[outages]]\nmode = "refuse"\nat_s = "30m"\nlasts_s = "90s"\n', encoding="utf-8"
    )
    code, out, _ = hustle("run", "mine.toml", "--json")
    assert code == 0
    assert json.loads(out)["messages"] > 0


def test_scenarios_are_listed_with_what_they_teach(hustle):
    code, out, _ = hustle("scenarios")
    assert code == 0
    for name in Scenario.bundled():
        assert name in out


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_policy_show_is_toml(hustle, name):
    code, out, _ = hustle("policy", "show", name)
    assert code == 0
    assert set(tomllib.loads(out)) == {"probe", "request", "retry", "breaker", "queue", "cache"}


def test_policy_save_writes_a_file_that_run_takes(hustle, tmp_path):
    assert hustle("policy", "save", "mine.toml", "--set", "request.deadline_s=6")[0] == 0
    assert Policy.load(tmp_path / "mine.toml").request.deadline_s == 6
    code, out, _ = hustle("run", "hang", "--policy", "mine.toml", "--json")
    assert code == 0
    assert json.loads(out)["answer_max_s"] <= 6.001


def test_policy_save_overwrites_only_when_told(hustle, tmp_path):
    (tmp_path / "mine.toml").write_text("precious", encoding="utf-8")
    code, _, err = hustle("policy", "save", "mine.toml")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == "precious"
    assert hustle("policy", "save", "mine.toml", "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "morning-outrage"], "did you mean 'morning-outage'?"),
        (["run", "no/such.toml"], "no such file"),
        (["run", "broken.toml"], "not valid TOML"),
        (["run", "negative.toml"], "lasts_s"),
        (["run", "unknown.toml"], "is not a field that exists"),
        (["run", "hang", "--policy", "orignal"], "did you mean 'original'?"),
        (["run", "hang", "--policy", "broken.toml"], "not valid TOML"),
        (["run", "hang", "--set", "probe.interval_s"], "write a field and a value"),
        (["run", "hang", "--set", "probe.intervall_s=3"], "did you mean 'probe.interval_s'?"),
        (["run", "hang", "--set", "probe.timeout_s=-1"], "greater than or equal to"),
        (["run", "hang", "--set", "probe.timeout_s=soon"], "is no duration"),
        (["run", "hang", "--set", "probe.degraded_above_s=6"], "must not exceed"),
        (["run", "hang", "--out", "broken.toml"], "is a file"),
        (["policy", "show", "nothing"], "there is no preset"),
        (["policy", "save", "no/such/folder/mine.toml"], "can't be written"),
        (["probe"], "HUSTLE_BACKEND_URL"),
        (["probe", "gopher://x"], "no backend URL"),
        (["probe", "http://127.0.0.1:9"], "is not well"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(hustle, tmp_path, arguments, words):
    (tmp_path / "broken.toml").write_text("duration_s = = 3", encoding="utf-8")
    (tmp_path / "negative.toml").write_text(
        '[[outages]]\nmode = "hang"\nat_s = 10\nlasts_s = "-5m"\n', encoding="utf-8"
    )
    (tmp_path / "unknown.toml").write_text("durration_s = 3\n", encoding="utf-8")
    code, out, err = hustle(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("hustle-sim: ")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.real
def test_probe_tells_a_backend_that_is_well_from_one_that_is_not(hustle):
    practice = PracticeBackend.in_thread()
    try:
        code, out, _ = hustle("probe", practice.url)
        assert code == 0
        assert "is online" in out
        practice.break_it("error", status=503)
        code, _, err = hustle("probe", practice.url)
        assert code == 2
        assert "503" in err
    finally:
        practice.close()


@pytest.mark.real
def test_watching_ends_with_ctrl_c_and_without_a_traceback():
    practice = PracticeBackend.in_thread()
    watcher = subprocess.Popen(
        [sys.executable, "-c", "from hustle_sim.cli import main; main()", "probe", practice.url, "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "online" in watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=30)
    finally:
        watcher.kill()
        practice.close()
    assert watcher.returncode == 130
    assert "Traceback" not in err


@pytest.mark.real
def test_a_port_that_was_asked_for_and_is_taken_is_one_sentence(hustle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = hustle("serve", "--port", str(port))
    assert code == 2
    assert str(port) in err
    assert len(err.strip().splitlines()) == 1


def test_the_version_is_told(hustle):
    assert hustle("--version")[1].startswith("hustle-sim ")
