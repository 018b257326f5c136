"""Advice beside the policy, and what a visitor takes home."""

import io
import zipfile

import pytest

from hustle_sim.analysis import Run
from hustle_sim.dashboard.advice import GLYPHS, Advice, changes_in_words, summary
from hustle_sim.dashboard.downloads import PAPERS, make, name_of
from hustle_sim.dashboard.scenario_files import bundled, scenario_of
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation import simulate
from hustle_sim.tuning.findings import SEVERITIES
from hustle_sim.tuning.lint import lint

HANG = bundled()["hang"]


@pytest.mark.parametrize("preset", PRESETS)
def test_findings_stand_worst_first_each_with_sign_word_sentence_and_mend(preset):
    advice = Advice()
    advice.show(Policy.preset(preset), HANG)
    severities = [each["severity"] for each in advice.findings]
    assert severities == sorted(severities, key=SEVERITIES.index)
    for each in advice.findings:
        assert each["glyph"] == GLYPHS[each["severity"]]
        assert each["sentence"]
        assert each["mend"]
    assert len(advice.rows) > 5
    assert "hang" in advice.assumes


def test_applying_a_mend_ends_its_finding():
    policy = Policy.preset("original")
    ended = 0
    for at, finding in enumerate(lint(policy, HANG)):
        applied = []
        advice = Advice(mend=applied.append)
        advice.show(policy, HANG)
        advice._handle_msg({"type": "mend", "at": at, "code": finding.code})
        assert applied == [finding.changes]
        if finding.changes:
            ended += 1
            assert finding.code not in {each.code for each in lint(policy.replace(applied[0]), HANG)}
    assert ended > 3


@pytest.mark.parametrize("message", [None, {"type": "mend"}, {"type": "mend", "at": 99, "code": "x"},
                                     {"type": "mend", "at": 0, "code": "of before"}])  # fmt: skip
def test_a_click_on_advice_that_has_changed_meanwhile_does_nothing(message):
    applied = []
    advice = Advice(mend=applied.append)
    advice.show(Policy.preset("original"), HANG)
    advice._handle_msg(message)
    assert applied == []


def test_advice_is_summed_up_and_changes_are_told_in_words():
    assert summary([]) == "✓ Nothing to say against this policy here."
    told = summary(lint(Policy.preset("original"), HANG))
    assert "error" in told
    assert changes_in_words({"retry.base_s": 2.0, "probe.fall": 1, "retry.cap_s": 60.0}) == (
        "Retries: Base → 2 s, Cap → 1 min; Health probes: Fall → 1 probe"
    )
    assert changes_in_words({}) == ""


@pytest.fixture(scope="module")
def runs():
    return (
        simulate(HANG, Policy(), 7, label="your policy"),
        simulate(HANG, Policy.preset("original"), 7, label="original"),
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("report", "hang-your-policy-seed7-report.html"), ("run", "hang-your-policy-seed7-run.zip"),
        ("figures-svg", "hang-your-policy-seed7-figures-svg.zip"), ("policy", "hang-your-policy-policy.toml"),
        ("scenario", "hang.toml"),
    ],
)  # fmt: skip
def test_a_file_is_called_by_what_is_in_it(runs, kind, name):
    assert name_of(kind, runs[0]) == name


def test_a_scenario_with_an_odd_name_makes_a_file_that_any_system_can_hold(runs):
    odd = simulate(HANG.replace({"name": "../a b/ü?.toml"}), seed=1)
    assert name_of("run", odd) == "a-b-.toml-policy-seed1-run.zip"


def test_what_is_downloaded_loads_to_what_was_seen(runs, tmp_path):
    mine, other = runs
    (tmp_path / "p.toml").write_bytes(make("policy", mine, other))
    assert Policy.load(tmp_path / "p.toml") == mine.policy
    assert scenario_of("x.toml", make("scenario", mine, other)) == HANG
    with zipfile.ZipFile(io.BytesIO(make("run", mine, other))) as packed:
        packed.extractall(tmp_path / "run")
    assert Run.load(tmp_path / "run").digest == mine.digest


def test_the_report_tells_of_both_runs_and_of_one_where_they_are_the_same_policy(runs):
    mine, other = runs
    both = make("report", mine, other).decode()
    assert "original" in both
    assert "your policy" in both
    assert "<th>Difference</th>" in both
    assert "<th>Difference</th>" not in make("report", mine, mine).decode()


def test_figures_are_pictures_in_an_archive(runs):
    with zipfile.ZipFile(io.BytesIO(make("figures-svg", *runs))) as packed:
        assert "latency.svg" in packed.namelist()
        assert all(packed.read(name).lstrip().startswith(b"<?xml") for name in packed.namelist())


def test_every_kind_of_file_has_words_an_ending_and_a_media_type():
    assert len({paper.ending for paper in PAPERS.values()}) == len(PAPERS)
    assert all("/" in paper.mime and paper.words for paper in PAPERS.values())
