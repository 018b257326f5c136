"""A check breaks a build for what is sure, and for nothing else; its reports say what it rests on."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hustle_sim as hs
from hustle_sim.cli import main
from hustle_sim.tuning.check import check, judge
from hustle_sim.tuning.check_report import junit, markdown, write_report
from hustle_sim.tuning.slo import EXAMPLE, Limit, Slo

ROOT = Path(__file__).parent.parent
QUICK = hs.Scenario.from_dict(
    {"name": "quick", "duration_s": 1800, "clients": {"messages_per_hour": 60},
     "outages": [{"mode": "hang", "at_s": 300, "lasts_s": 600}]}
)  # fmt: skip


def slo(tmp_path, text):
    path = tmp_path / "slo.toml"
    path.write_text(text)
    return path


def verdict(limit, *values):
    frame = pd.DataFrame({"seed": range(len(values)), limit.metric: values}, dtype=float)
    return judge("any", limit, frame).verdict


def test_a_limit_on_the_mean_is_broken_only_when_the_whole_interval_is_beyond_it():
    limit = Limit("answer_p99_s", at_most=5.0)
    assert verdict(limit, 6.0, 6.1, 6.2) == "broken"
    assert verdict(limit, 4.0, 4.1, 4.2) == "kept"
    assert verdict(limit, 4.0, 5.0, 7.0) == "unsure"
    assert verdict(Limit("answered_share", at_least=0.9), 0.5, 0.51, 0.52) == "broken"


def test_a_limit_of_every_simulation_is_broken_by_a_single_case():
    assert verdict(Limit("answer_max_s", at_most=8.1, of="every"), *[8.0] * 19, 8.2) == "broken"
    assert verdict(Limit("answer_max_s", at_most=8.1, of="every"), *[8.0] * 20) == "kept"


def test_a_limit_of_nothing_is_broken_by_a_single_case_that_an_interval_would_excuse():
    assert verdict(Limit("lost", at_most=0.0), *[0.0] * 19, 1.0) == "broken"


def test_what_was_never_measured_breaks_nothing_and_is_said():
    found = judge("calm", Limit("late_p50_s", at_most=60.0), pd.DataFrame({"seed": [0], "late_p50_s": [float("nan")]}))
    assert found.verdict == "not measured"
    assert "can't be measured in calm" in found.sentence


def test_the_worst_case_is_named_with_its_seed_so_that_it_can_be_run_again():
    frame = pd.DataFrame({"seed": [7, 8, 9], "answered_share": [0.9, 0.7, 0.8]})
    found = judge("any", Limit("answered_share", at_least=0.95), frame)
    assert (found.worst, found.worst_seed) == (0.7, 8)


@given(values=st.lists(st.floats(0, 100), min_size=2, max_size=30), bound=st.floats(0.1, 100))
def test_broken_and_kept_never_contradict_the_mean(values, bound):
    frame = pd.DataFrame({"seed": range(len(values)), "answer_p99_s": values})
    found = judge("any", Limit("answer_p99_s", at_most=bound), frame)
    if found.verdict == "broken":
        assert found.measured.mean > bound
    elif found.verdict == "kept":
        assert found.measured.mean <= bound * (1 + 1e-12)


def test_the_example_and_the_bundled_limits_can_be_read(tmp_path):
    read = Slo.load(slo(tmp_path, EXAMPLE))
    assert read.of("hang")["answer_max_s"] == Limit("answer_max_s", at_most=8.1, of="every")
    assert read.of("morning-outage")["detection_s"].at_most == 300.0
    assert "detection_s" not in read.of("hang")
    assert Slo.load(ROOT / "data" / "slo.toml").limits


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "has no limits"),
    ("[limit]\nlost = {at_most = 0}", "limit is no table of limits; did you mean 'limits'?"),
    ("[limits]\nlosst = {at_most = 0}", "there is no metric 'losst'; did you mean 'lost'?"),
    ("[limits]\nlost = 0", "write a limit such as { at_most = 8 } or { at_least = 0.9 }, not 0"),
    ("[limits]\nlost = {atmost = 0}", "write a limit such as"),
    ("[limits]\nlost = {at_most = 0, off = 'every'}", "off is no part of a limit; did you mean 'of'?"),
    ("[limits]\nlost = {at_most = 0, of = 'some'}", "must be 'mean' or 'every', not 'some'"),
    ("[limits]\nlost = {at_most = 'none'}", "must be a number, not 'none'"),
    ("[limits]\nanswer_p99_s = {at_most = 'soon'}", "'soon' is no duration"),
    ("[limits]\nanswered_share = {at_least = 95}", "must be a share between 0 and 1, not 95"),
    ("[limits]\nlate_p50_s = {at_most = 1, at_least = 2}", "at_least (2) must not exceed at_most (1)"),
    ("limits = 3", "limits must be a table, not 3"),
    ("[scenarios]\nhang = 3", "scenarios.hang must be a table, not 3"),
])  # fmt: skip
def test_limits_that_make_no_sense_get_one_sentence(tmp_path, text, sentence):
    with pytest.raises(hs.InputError) as refused:
        Slo.load(slo(tmp_path, text))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_limits_of_a_scenario_that_is_not_checked_are_a_mistake(tmp_path):
    path = slo(tmp_path, "[scenarios.quik]\nlost = {at_most = 0}")
    with pytest.raises(hs.InputError, match=r"a scenario 'quik' that is not checked; did you mean 'quick'\?"):
        check(hs.Policy(), QUICK, path, replications=1, executor=1)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    limits = "[limits]\nlost = {at_most = 0}\nlate_p50_s = {at_least = 0}\nanswered_share = {at_least = 0.99}"
    path = slo(tmp_path_factory.mktemp("slo"), limits)
    return check("original", QUICK, path, replications=6, executor=1, baseline="default")


def test_the_first_design_breaks_what_it_breaks(broken):
    assert {each.limit.metric for each in broken.broken} == {"answered_share"}
    assert set(broken.frame["verdict"]) <= {"kept", "broken", "unsure", "not measured"}


def test_junit_has_a_case_for_each_limit_and_a_failure_with_the_numbers(broken):
    suites = ElementTree.fromstring(junit(broken).split("\n", 1)[1])
    suite = suites.find("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("quick", "3", "1")
    (failure,) = suites.iter("failure")
    assert re.search(
        r"answered_share in quick breaks its limit, at least 99.0 %: .* interval: .* seed \d", failure.text
    )


def test_the_report_shows_what_changed_what_broke_and_how_to_see_it_again(broken, tmp_path):
    write_report(broken, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert "**1 of 3 limits broken.**" in text
    assert "| `request.max_attempts` | 3 | 1 |" in text
    assert "| quick | `detection_s` |" in text
    assert "seeds 0 to 5" in text
    for picture in re.findall(r"\]\((.*?)\)", text):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_a_policy_that_is_the_baseline_says_so(tmp_path):
    path = slo(tmp_path, "[limits]\nlost = {at_most = 0}")
    same = check("default", QUICK, path, replications=2, executor=1, baseline="default")
    assert "The policy is the baseline." in markdown(same)
    assert "No difference is sure." in markdown(same)


def test_the_command_fails_a_build_and_writes_its_reports(tmp_path, capsys):
    QUICK.save(tmp_path / "quick.toml")
    path = slo(tmp_path, "[limits]\nanswered_share = {at_least = 0.99}")
    command = ["check", "original", "--slo", str(path), "--scenarios", str(tmp_path / "quick.toml"),
               "--replications", "4", "--executor", "1", "--junit", str(tmp_path / "junit.xml"),
               "--report", str(tmp_path / "report.md")]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "answered_share in quick breaks its limit" in said.err
    assert "broken" in said.out
    assert (tmp_path / "junit.xml").is_file()
    assert (tmp_path / "report.md").is_file()


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--scenarios", "{empty}"], "holds no scenario"),
    (["--scenarios", "hangg"], "did you mean 'hang'?"),
    (["--junit", "{empty}/no/where.xml"], "there is no folder"),
])  # fmt: skip
def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys, arguments, sentence):
    (tmp_path / "empty").mkdir()
    path = slo(tmp_path, "[limits]\nlost = {at_most = 0}")
    arguments = [each.replace("{empty}", str(tmp_path / "empty")) for each in arguments]
    with pytest.raises(SystemExit) as ended:
        main(["check", "default", "--slo", str(path), *arguments])
    assert ended.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.real
def test_the_example_workflow_runs_commands_that_exist():
    text = (ROOT / "docs" / "check-policy.yml").read_text()
    (command,) = re.findall(r"hustle-sim (check .*?)\n\n", text.replace("\\\n", " ") + "\n\n", flags=re.DOTALL)
    options = re.findall(r"--[a-z]+", command)
    helped = subprocess.run(
        [sys.executable, "-c", "from hustle_sim.cli import main; main()", "check", "--help"],
        check=True, capture_output=True, text=True, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert options
    assert all(option in helped for option in options)
