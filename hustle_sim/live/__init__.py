"""Real time: a live session over your backend, the settings that name it, and a backend to practise with."""

from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.session import LiveSession, Seat
from hustle_sim.live.settings import Settings, live_world

__all__ = ["LiveSession", "PracticeBackend", "Seat", "Settings", "live_world"]
