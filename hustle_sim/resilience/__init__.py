"""The real code: it keeps an app usable while its AI backend is slow, down or flapping.

It imports nothing of a simulation, a screen or a data frame, and could be lifted into an app as it stands.
"""

from hustle_sim.resilience.backend import Backend, Response
from hustle_sim.resilience.breaker import BreakerState, CircuitBreaker, Tally
from hustle_sim.resilience.cache import ResponseCache
from hustle_sim.resilience.coach import Coach, Delivery, Reply
from hustle_sim.resilience.health import Health, HealthMonitor, Status
from hustle_sim.resilience.http import HttpBackend, HttpDialogue
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.resilience.queue import RequestQueue
from hustle_sim.resilience.retry import RetryBudget
from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.resilience.store import Item, ItemState, MemoryStore, Store, StoreError
from hustle_sim.resilience.world import World

__all__ = [
    "Backend",
    "BreakerState",
    "CircuitBreaker",
    "Coach",
    "Delivery",
    "Health",
    "HealthMonitor",
    "HttpBackend",
    "HttpDialogue",
    "Item",
    "ItemState",
    "MemoryStore",
    "Outcome",
    "Reply",
    "RequestQueue",
    "Response",
    "ResponseCache",
    "RetryBudget",
    "SQLiteStore",
    "Status",
    "Store",
    "StoreError",
    "Tally",
    "World",
]
