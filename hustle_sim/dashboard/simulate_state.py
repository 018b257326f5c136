"""What one visitor asked of the simulation and what came of it, without a widget in sight."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import param

from hustle_sim.dashboard.choice import Choice, default_choice
from hustle_sim.dashboard.jobs import Job, workshop
from hustle_sim.dashboard.updates import Shop, Updates

if TYPE_CHECKING:
    from hustle_sim.analysis import Run


@dataclass(frozen=True, slots=True)
class Results:
    """What was chosen, A's run, and B's run on the same scenario and seed."""

    choice: Choice
    mine: Run
    other: Run


_first: tuple[Job, Job] | None = None


def warm_up() -> tuple[Job, Job]:
    """Begin the runs that a first visit shows, once in a server's life; later calls return the same jobs."""
    global _first
    if _first is None:
        mine, other = default_choice().requests
        _first = (workshop().submit(mine), workshop().submit(other))
    return _first


class SimulateState(param.Parameterized):
    """What a visitor sees of the simulation: whether a long one runs, how far it is, the last good results."""

    running = param.Boolean(default=False, doc="A simulation takes long enough to be told of.")
    share = param.Number(default=0.0, bounds=(0, 1), doc="How much of it is done, 0..1.")
    problem = param.String(default="", doc="One sentence about what went wrong with the last request.")
    results = param.Parameter(default=None, doc="The last good Results.")

    def __init__(
        self,
        shop: Shop | None = None,
        show: Callable[[Results], Awaitable[None]] | None = None,
        show_part: Callable[[Results | None], Awaitable[None]] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._show, self._show_part = show, show_part
        self._updates = Updates(shop or workshop(), self._shown, self._told, self._failed, self._parted)

    def at_once(self) -> bool:
        """Take the results of a first visit if they are there already; returns whether they were."""
        runs = [job.finished() for job in warm_up()]
        if runs[0] is None or runs[1] is None:
            return False
        self.results = Results(default_choice(), runs[0], runs[1])
        return True

    async def run(self, choice: Choice) -> bool:
        """Simulate A and B of ``choice`` in place of what was asked for before.

        Returns true when nothing is wanted any more, or at once with false if an earlier call waits for that.
        """
        return await self._updates.want(choice)

    def refuse(self, sentence: str) -> None:
        """Say why nothing is simulated, or nothing any more; the last good results stay."""
        self.problem = sentence

    def cancel(self) -> None:
        """End what runs; the last good results stay."""
        self._updates.cancel()

    close = cancel

    async def _shown(self, choice: Choice, runs: list[Run]) -> None:
        self.results = results = _results(choice, runs)
        if self._show is not None:
            await self._show(results)

    async def _parted(self, choice: Choice, runs: list[Run]) -> None:
        """What there is of a long simulation; once it is given up, what was there before it, or nothing (None)."""
        if self._show_part is not None:
            await self._show_part(_results(choice, runs) if runs else None)

    def _told(self, share: float | None) -> None:
        self.param.update(running=share is not None, share=share or 0.0)

    def _failed(self, sentence: str) -> None:
        self.problem = sentence


def _results(choice: Choice, runs: list[Run]) -> Results:
    mine, other = (_labelled(run, label) for run, label in zip(runs, choice.labels, strict=True))
    return Results(choice, mine, other)


def _labelled(run: Run, label: str) -> Run:
    """The run by the name that it has for this visitor: others may have asked for the same by another."""
    if run.label == label:
        return run
    named = copy(run)
    named.label = label
    return named
