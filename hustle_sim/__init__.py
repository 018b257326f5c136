"""hustle_sim: what will your users see when the AI backend fails, and which timeouts should you ship?

``import hustle_sim as hs``; then ``hs.simulate(hs.Scenario.load("morning-outage"), seed=1).metrics``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hustle_sim._version import __version__
from hustle_sim.analysis import Run
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy, policy_fields
from hustle_sim.simulation import Cancelled, Scenario, simulate, simulate_client

if TYPE_CHECKING:
    from hustle_sim.dashboard.story import explore
    from hustle_sim.tuning.check import check
    from hustle_sim.tuning.compare import compare
    from hustle_sim.tuning.explain import explain
    from hustle_sim.tuning.export import export
    from hustle_sim.tuning.lint import lint
    from hustle_sim.tuning.saved import load_table
    from hustle_sim.tuning.sensitivity import sensitivity
    from hustle_sim.tuning.stability import stability
    from hustle_sim.tuning.sweep import sweep
    from hustle_sim.tuning.tune import tune
    from hustle_sim.tuning.warm_up import warm_up

# What needs SciPy and more is imported when it is asked for: worker processes and the command line start faster.
_LATER = {
    "check": "hustle_sim.tuning.check",
    "compare": "hustle_sim.tuning.compare",
    "export": "hustle_sim.tuning.export",
    "explain": "hustle_sim.tuning.explain",
    "explore": "hustle_sim.dashboard.story",
    "lint": "hustle_sim.tuning.lint",
    "sensitivity": "hustle_sim.tuning.sensitivity",
    "stability": "hustle_sim.tuning.stability",
    "load_table": "hustle_sim.tuning.saved",
    "sweep": "hustle_sim.tuning.sweep",
    "tune": "hustle_sim.tuning.tune",
    "warm_up": "hustle_sim.tuning.warm_up",
}

__all__ = [
    "PRESETS",
    "Cancelled",
    "InputError",
    "Policy",
    "Run",
    "Scenario",
    "__version__",
    "check",
    "compare",
    "explain",
    "explore",
    "export",
    "lint",
    "load_table",
    "policy_fields",
    "sensitivity",
    "simulate",
    "simulate_client",
    "stability",
    "sweep",
    "tune",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'hustle_sim' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
