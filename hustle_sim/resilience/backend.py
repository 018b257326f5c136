"""The port to an AI backend: what the resilience code asks of it, whatever stands behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from hustle_sim.resilience.outcome import Outcome

logger = logging.getLogger("hustle_sim.backend")


class Response(NamedTuple):
    """How one request ended.

    ``text`` is the reply (of a chat) and ``version`` the backend's (of a health check), both empty if there
    is none; ``retry_after_s`` is what the backend asked us to wait.
    """

    outcome: Outcome
    text: str = ""
    status_code: int | None = None
    retry_after_s: float | None = None
    version: str = ""


class Backend(Protocol):
    """A backend's fault is a ``Response``, never an exception; time limits are the caller's (asyncio.timeout).

    A request whose caller is cancelled is abandoned: nobody reads its answer any more.
    """

    async def health(self) -> Response:
        """Ask whether the backend is well."""
        ...

    async def chat(self, text: str, *, key: str) -> Response:
        """Send one message. ``key`` identifies it over all its attempts (the Idempotency-Key)."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


async def within(limit_s: float, request: Awaitable[Response]) -> Response:
    """The response, or ``TIMEOUT`` if it takes longer than ``limit_s``: what comes later is discarded.

    A backend that raises in spite of its contract has answered something unreadable: that is logged in one
    line, and the app goes on.
    """
    try:
        async with asyncio.timeout(limit_s) as limit:
            response = await request
        # A backend that swallows its cancellation must not be believed either.
        return Response(Outcome.TIMEOUT) if limit.expired() else response
    except TimeoutError:
        return Response(Outcome.TIMEOUT)
    except Exception as error:
        logger.warning("The backend's answer could not be read: %s: %s", type(error).__name__, error)
        return Response(Outcome.BAD_BODY)
