"""hustle_sim: what will your users see when the AI backend fails, and which timeouts should you ship?

``import hustle_sim as hs``; then ``hs.simulate(hs.Scenario.load("morning-outage"), seed=1).metrics``.
"""

from hustle_sim._version import __version__
from hustle_sim.analysis import Run
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy, policy_fields
from hustle_sim.simulation import Cancelled, Scenario, simulate, simulate_client

__all__ = [
    "PRESETS",
    "Cancelled",
    "InputError",
    "Policy",
    "Run",
    "Scenario",
    "__version__",
    "policy_fields",
    "simulate",
    "simulate_client",
]
