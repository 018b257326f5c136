"""What is installed is what is promised: conda and pip agree, and the wheel carries its scenarios."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_environment_yml_asks_for_what_pyproject_asks_for():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  - ([a-z][^\s:]*)$", text, flags=re.MULTILINE)) - {"conda-forge", "pip"}
    promised = {*PYPROJECT["project"]["dependencies"], f"python{PYPROJECT['project']['requires-python']}"}
    assert listed == promised


def test_the_makefile_names_the_python_that_pyproject_requires():
    major, minor = re.search(r"(\d+)\.(\d+)", PYPROJECT["project"]["requires-python"]).groups()
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.real
def test_the_wheel_carries_every_bundled_scenario(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    expected = {f"hustle_sim/_scenarios/{path.name}" for path in (ROOT / "data" / "scenarios").glob("*.toml")}
    assert expected
    assert expected <= set(names)
    assert "hustle_sim/py.typed" in names
