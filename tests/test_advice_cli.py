"""hustle-sim explain and lint: words for people, JSON for machines, exit codes for builds."""

import json

import pytest

from hustle_sim import Policy, explain, lint
from hustle_sim.cli import main


@pytest.fixture
def hustle(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def test_explain_prints_every_row(hustle):
    code, out, _ = hustle("explain")
    assert code == 0
    words = " ".join(out.split())
    for row in explain(Policy()).rows:
        assert row.title in words
        assert row.shown in words


def test_explain_takes_a_file_settings_and_a_scenario(hustle):
    Policy().save("mine.toml")
    code, out, _ = hustle("explain", "mine.toml", "--set", "queue.max_size=1000", "--scenario", "retry-storm", "--json")
    assert code == 0
    card = json.loads(out)
    assert "retry-storm" in card["assumes"]
    (lasts,) = (row for row in card["rows"] if row["name"] == "queue_lasts_s")
    assert lasts["value"] == 60_000


def test_explain_has_no_infinity_in_its_json(hustle):
    code, out, _ = hustle("explain", "--policy", "polly", "--json")
    assert code == 0
    json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(("policy", "exit_code"), [("default", 0), ("grpc", 0), ("original", 1), ("polly", 1)])
def test_lint_fails_a_build_on_errors_only(hustle, policy, exit_code):
    code, out, _ = hustle("lint", policy)
    assert code == exit_code
    for finding in lint(Policy.preset(policy)):
        assert f"{finding.severity}: {finding.code}" in out


def test_lint_prints_what_can_be_typed(hustle):
    _, out, _ = hustle("lint", "original")
    typed = [word for line in out.splitlines() if line.startswith("  --set") for word in line.split()]
    code, _, _ = hustle("lint", "original", *typed)
    assert code == 0


def test_lint_as_json_and_with_an_sdk_that_retries(hustle):
    code, out, _ = hustle("lint", "--sdk-retries", "2", "--rate", "30", "--json")
    assert code == 1
    assert json.loads(out)[0]["code"] == "retries-stacked-on-an-sdk"


@pytest.mark.parametrize("arguments", [
    ("explain", "polli"), ("lint", "grpc", "--policy", "polly"), ("explain", "--rate", "0"),
    ("lint", "--scenario", "hangg"), ("lint", "--set", "retry.bas_s=1"), ("lint", "--sdk-retries", "-1"),
])  # fmt: skip
def test_bad_input_is_one_sentence(hustle, arguments):
    code, out, err = hustle(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("hustle-sim: ")
    assert len(err.splitlines()) == 1
