"""The harness that kills the app for real, for a few rounds: ``python -m benchmarks.kill`` plays a hundred."""

import pytest

from benchmarks import kill


@pytest.mark.real
@pytest.mark.parametrize("number", range(3))
def test_a_killed_app_loses_and_repeats_nothing(number):
    kill.prepare()
    played = kill.play(number, seed=3)
    assert played.kills >= kill.LIVES
    assert played.accepted > 0
    assert played.is_clean, played.words()
