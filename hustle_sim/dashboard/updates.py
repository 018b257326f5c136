"""Results follow what is asked: the last request wins, and a row of quick ones neither starves nor thrashes.

While a control is dragged, requests come faster than simulations end. One that is overtaken may go on for a moment:
if it ends in time it is shown, so that the figures move with the control; else it is cancelled. Where simulations
take longer than that, the next one waits until the control has come to rest, and its beginning is shown meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from hustle_sim.dashboard.choice import Choice
from hustle_sim.dashboard.jobs import Job, Request
from hustle_sim.inputs import InputError
from hustle_sim.simulation.simulate import Cancelled

if TYPE_CHECKING:
    from hustle_sim.analysis import Run

logger = logging.getLogger("hustle_sim.dashboard")

PATIENCE_S = 0.35
"""A simulation that was overtaken may still end within this time of its start; it is quick if it does."""

REST_S = 0.15
"""Where simulations are not quick, the next one starts when no newer request has come for this long."""

TICK_S = 0.15
"""How often a simulation is looked at."""

STEP = 0.05
"""How much more of it must be done until that is told, once it is not quick."""

CRASHED = "Something in the simulation broke. It is in the server's log; the last good results stay as they are."


class Shop(Protocol):
    """Where simulations are made: a ``Workshop``."""

    def submit(self, request: Request, since_s: float) -> Job:
        """Start a simulation for someone who waits since then. Raises InputError with one sentence."""
        ...


class Updates:
    """One visitor's simulations, those of one choice at a time.

    ``show`` gets a choice and its runs, A's first, and is awaited before the next ones begin; ``tell`` is called with
    the share that is done while they take long, and with None once nothing runs; ``fail`` with a sentence.
    ``show_part`` gets runs of which at least one is only the beginning of what is simulated; with an empty list it
    shall show what was there before, since the rest does not come.
    """

    def __init__(
        self,
        shop: Shop,
        show: Callable[[Choice, list[Run]], Awaitable[None]],
        tell: Callable[[float | None], None],
        fail: Callable[[str], None],
        show_part: Callable[[Choice, list[Run]], Awaitable[None]],
    ) -> None:
        self._shop = shop
        self._show, self._tell, self._fail, self._show_part = show, tell, fail, show_part
        self._parted: Choice | None = None
        self._since_s: float | None = None
        self._wanted: Choice | None = None
        self._news = asyncio.Event()
        self._following = False
        self._quick = True

    async def want(self, choice: Choice) -> bool:
        """Ask for the runs of a choice in place of all that was asked before.

        The first caller stays until nothing is wanted any more; others return at once, with false.
        """
        self._wanted = choice
        self._news.set()
        if self._following:
            return False
        self._following = True
        try:
            while self._wanted is not None:
                await self._next()
                if self._parted is not None and self._wanted is None:
                    await self._show_part(self._parted, [])
                    self._parted = None
        finally:
            self._following = False
            self._tell(None)
        return True

    def cancel(self) -> None:
        """Nothing is wanted any more: what runs is ended, and nothing of it is shown."""
        self._wanted = self._since_s = None
        self._news.set()

    async def _next(self) -> None:
        if not self._quick:
            await self._rest()
        choice, self._wanted = self._wanted, None
        self._news.clear()
        if choice is None:
            return
        since_s = self._since_s if self._since_s is not None else asyncio.get_running_loop().time()
        self._since_s = None
        jobs: list[Job] = []
        try:
            for request in choice.requests:
                jobs.append(self._shop.submit(request, since_s))
            runs = await self._made(choice, jobs)
            if runs is None and not all(job.started for job in jobs):
                # The next one takes the place of the one that it has overtaken: if all who drag something went to the
                # end of the row for each newer request, nobody would get anything from a busy server.
                self._since_s = since_s
            if runs is not None:
                self._parted = None
                await self._show(choice, runs)
        except Cancelled:
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except InputError as error:
            self._fail(str(error))
        except Exception:
            logger.exception("A simulation crashed.")
            self._fail(CRASHED)
        finally:
            for job in jobs:
                job.cancel()

    async def _rest(self) -> None:
        """Wait until the control is at rest."""
        while self._wanted is not None:
            self._news.clear()
            try:
                async with asyncio.timeout(REST_S):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _made(self, choice: Choice, jobs: list[Job]) -> list[Run] | None:
        """The runs, or None if they were overtaken or cancelled first."""
        loop = asyncio.get_running_loop()
        asked_s = began_s = loop.time()
        runs = asyncio.ensure_future(_all(jobs))
        news = asyncio.ensure_future(self._news.wait())
        parts, told, waits = 0, -math.inf, True
        try:
            while not runs.done():
                waits_for = (runs,) if news.done() else (runs, news)
                await asyncio.wait(waits_for, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
                now_s = loop.time()
                waits = not all(job.started for job in jobs)
                if waits:
                    began_s = now_s
                if news.done() and (waits or self._wanted is None or now_s - began_s > PATIENCE_S):
                    break
                share = sum(job.share for job in jobs) / len(jobs)
                if not runs.done() and now_s - asked_s > PATIENCE_S and share >= told + STEP:
                    told = share
                    self._tell(share)
                there = sum(job.parts for job in jobs)
                if not runs.done() and not news.done() and there > parts:
                    parts = there
                    await self._part(choice, jobs)
            if runs.done():
                self._quick = loop.time() - began_s <= PATIENCE_S
            elif self._wanted is not None and not waits:
                self._quick = False
            if not runs.done() or (news.done() and self._wanted is None):
                return None
            return await runs
        finally:
            news.cancel()
            if not runs.cancel() and not runs.cancelled():
                runs.exception()  # looked at, so that nobody complains that it was not

    async def _part(self, choice: Choice, jobs: list[Job]) -> None:
        """Show what there is, if there is something of all of them."""
        found = [await job.so_far() for job in jobs]
        begun = [run for run in found if run is not None]
        if len(begun) == len(jobs) and not self._news.is_set():
            self._parted = choice
            await self._show_part(choice, begun)


async def _all(jobs: list[Job]) -> list[Run]:
    return [await job.result() for job in jobs]
