"""Real time: a live session over your backend, the settings that name it, and a backend to practise with."""

from hustle_sim.live.practice import PracticeBackend
from hustle_sim.live.session import BreakerView, LiveSession, Seat
from hustle_sim.live.settings import Settings, live_world
from hustle_sim.live.store import default_store_path, export_json, open_store, open_target_store, target_store_path

__all__ = [
    "BreakerView",
    "LiveSession",
    "PracticeBackend",
    "Seat",
    "Settings",
    "default_store_path",
    "export_json",
    "live_world",
    "open_store",
    "open_target_store",
    "target_store_path",
]
