"""The SimPy world: an asyncio loop on SimPy's clock, outages, a backend, and people who send messages."""

from hustle_sim.simulation.loop import SimPyEventLoop, run_virtual
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import Cancelled, simulate, simulate_client

__all__ = ["Cancelled", "Scenario", "SimPyEventLoop", "run_virtual", "simulate", "simulate_client"]
