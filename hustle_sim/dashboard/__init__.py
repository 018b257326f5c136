"""The dashboard: Panel pages over simulations and live sessions. ``serve()`` serves it, ``create_app()`` is a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hustle_sim.dashboard.app import create_app
    from hustle_sim.dashboard.serving import serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    # The worker processes import hustle_sim.dashboard.jobs and have no use for Panel.
    if name == "create_app":
        from hustle_sim.dashboard.app import create_app

        return create_app
    if name == "serve":
        from hustle_sim.dashboard.serving import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
