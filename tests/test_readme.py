"""What the README says is so."""

import re
from pathlib import Path

import pytest

from hustle_sim import PRESETS, Scenario
from hustle_sim.analysis import METRICS
from hustle_sim.tuning.slo import Slo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_metrics_is_the_one_that_screens_show():
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", README, flags=re.MULTILINE) == [
        (metric.name, metric.text) for metric in METRICS.values()
    ]


def test_every_preset_is_named():
    for name in PRESETS:
        assert f"`{name}`" in README


def test_the_scenario_of_the_readme_loads(tmp_path):
    (toml,) = (block for block in blocks("toml") if "[backend]" in block)
    path = tmp_path / "mine.toml"
    path.write_text(toml, encoding="utf-8")
    assert Scenario.load(path).outages[0].mode == "hang"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = blocks("python")[:2]
    # The figures need a notebook's set-up and are tested elsewhere.
    names: dict[str, object] = {}
    exec("\n".join(line for line in first.splitlines() if "run.plot()" not in line), names)
    exec(second, names)
    assert (tmp_path / "runs" / "mine" / "run.json").exists()


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("word", ["cdn.", "unpkg", "googleapis"])
def test_nothing_of_ours_names_a_host_of_the_web(word):
    for path in [ROOT / "app.py", *(ROOT / "hustle_sim").rglob("*.py"), *(ROOT / "hustle_sim").rglob("*.js")]:
        assert word not in path.read_text(encoding="utf-8"), path


def test_the_limits_of_the_readme_load(tmp_path):
    (toml,) = (block for block in blocks("toml") if "[limits]" in block)
    (tmp_path / "slo.toml").write_text(toml)
    assert Slo.load(tmp_path / "slo.toml").of("morning-outage")
