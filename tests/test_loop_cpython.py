"""CPython's own tests of asyncio hold on SimPyEventLoop, but for the few that need threads or real time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cpython_on_simpy import EXCLUDED, MODULES

ROOT = Path(__file__).parents[1]
NEW_IN = {"test_eager_task_factory": (3, 12), "test_staggered": (3, 13)}
AT_LEAST = {"test_tasks": 900, "test_futures": 150, "test_locks": 70, "test_queues": 40, "test_taskgroups": 35}


def have_test_package() -> bool:
    return importlib.util.find_spec("test") is not None and importlib.util.find_spec("test.test_asyncio") is not None


def run(module: str) -> dict[str, Any]:
    if not have_test_package():
        if os.environ.get("CI"):
            pytest.fail("this Python comes without its `test` package: CI needs one that has it")
        pytest.skip("this Python comes without its `test` package")
    done = subprocess.run(
        [sys.executable, "-m", "tests.cpython_on_simpy", module],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


HERE = [module for module in MODULES if sys.version_info >= NEW_IN.get(module, (3, 11))]


@pytest.mark.parametrize("module", HERE)
def test_cpythons_tests_hold(module: str) -> None:
    result = run(module)
    assert not result["failed"], "\n".join(f"{name}\n{text}" for name, text in result["failed"].items())[-10_000:]
    assert result["ran"] >= AT_LEAST.get(module, 1)
    assert result["excluded"] == sorted(name for name, (where, _) in EXCLUDED.items() if where == module)


def test_every_exclusion_says_why() -> None:
    assert all(module in MODULES and reason for module, reason in EXCLUDED.values())
