"""What one visitor asked of the simulation and what came of it, without a widget in sight."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import param

from hustle_sim.dashboard.jobs import Job, Latest, Request, Workshop, workshop
from hustle_sim.inputs import InputError, closest
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import Cancelled

if TYPE_CHECKING:
    from hustle_sim.analysis import Run

logger = logging.getLogger("hustle_sim.dashboard")

DEFAULT_SCENARIO = "morning-outage"
DEFAULT_SEED = 7
BASELINE = "original"
CRASHED = "Something in the simulation broke. It is in the server's log; the last good results stay as they are."

_POLL_S = 0.1
_LARGEST_FILE = 200_000


@dataclass(frozen=True, slots=True)
class Results:
    """A finished run, and the baseline on the same scenario and seed."""

    mine: Run
    baseline: Run


def label_of(policy: Policy) -> str:
    """The name of the preset that equals ``policy``, or ``"your policy"``."""
    return next((name for name in PRESETS if _preset(name) == policy), "your policy")


def request_of(scenario: Scenario, policy: Policy, seed: Any) -> Request:
    """What is asked for. Raises InputError with one sentence for a seed that is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed: a whole number from 0 up is needed, not {seed!r}")
    return Request(scenario, policy, seed, label_of(policy))


def baseline_of(request: Request) -> Request:
    """The run that a request is compared with: the first design of the app, same scenario, same seed."""
    return Request(request.scenario, _preset(BASELINE), request.seed, BASELINE)


def chosen(arguments: dict[str, Any]) -> tuple[str, str, int]:
    """Scenario, preset and seed that an address asks for (``?scenario=...&policy=...&seed=...``).

    Raises InputError with one sentence for a name that does not exist.
    """
    scenario = str(arguments.get("scenario", DEFAULT_SCENARIO))
    names = bundled()
    if scenario not in names:
        raise InputError(f"there is no scenario {scenario!r}{closest(scenario, names)}")
    preset = str(arguments.get("policy", "default"))
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}{closest(preset, PRESETS)}")
    seed = arguments.get("seed", DEFAULT_SEED)
    try:
        return scenario, preset, int(str(seed))
    except ValueError:
        raise InputError(f"seed: a whole number from 0 up is needed, not {seed!r}") from None


def scenario_of(filename: str, content: bytes) -> Scenario:
    """The scenario in a TOML file that a visitor hands over. Raises InputError with one sentence."""
    if len(content) > _LARGEST_FILE:
        raise InputError(f"{filename} is too large for a scenario: {_LARGEST_FILE // 1000} kB at most")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{filename} is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{filename} is not valid TOML: {error}") from None
    return Scenario.from_dict({"name": filename.removesuffix(".toml"), **tables})


@cache
def bundled() -> tuple[str, ...]:
    """The names of the bundled scenarios, the default first."""
    names = tuple(Scenario.bundled())
    first = tuple(name for name in names if name == DEFAULT_SCENARIO)
    return first + tuple(name for name in names if name != DEFAULT_SCENARIO)


@cache
def _preset(name: str) -> Policy:
    return Policy.preset(name)


_first: tuple[Job, Job] | None = None


def warm_up() -> tuple[Job, Job]:
    """Begin the run that a first visit shows, once in a server's life; later calls return the same jobs."""
    global _first
    if _first is None:
        request = request_of(Scenario.load(DEFAULT_SCENARIO), Policy(), DEFAULT_SEED)
        _first = (workshop().submit(request), workshop().submit(baseline_of(request)))
    return _first


class SimulateState(param.Parameterized):
    """What a visitor sees of the simulation: whether one runs, how far it is, the last good results, a problem."""

    running = param.Boolean(default=False)
    share = param.Number(default=0.0, bounds=(0, 1), doc="How much is done, 0..1.")
    problem = param.String(default="", doc="One sentence about what went wrong with the last request.")
    results = param.Parameter(default=None, doc="The last good Results.")

    def __init__(self, shop: Workshop | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._shop = shop or workshop()
        self._latest = Latest()
        self._jobs: list[Job] = []

    async def first(self) -> None:
        """Show the default run, which every first visit shares."""
        ticket = self._latest.take()
        mine, baseline = warm_up()
        await self._wait(ticket, (mine, baseline))

    def first_at_once(self) -> bool:
        """Show the default run if it is there already; returns whether it was."""
        mine, baseline = warm_up()
        runs = mine.finished(), baseline.finished()
        if runs[0] is None or runs[1] is None:
            return False
        self.results = Results(runs[0], runs[1])
        return True

    async def run(self, request: Request) -> None:
        """Simulate ``request`` and its baseline; an older request that is still running is dropped."""
        ticket = self._latest.take()
        self._drop()
        self.problem = ""
        wanted = [request, baseline_of(request)]
        if wanted[0].key == wanted[1].key:
            wanted.pop()
        try:
            self._jobs = [self._shop.submit(one) for one in wanted]
        except InputError as error:
            self._drop()
            self.problem = str(error)
            return
        await self._wait(ticket, (self._jobs[0], self._jobs[-1]))

    def refuse(self, sentence: str) -> None:
        """Say why nothing is simulated; the last good results stay."""
        self.problem = sentence

    def cancel(self) -> None:
        """End what runs; the last good results stay."""
        self._latest.take()
        self._drop()
        self.running = False

    close = cancel

    async def _wait(self, ticket: int, jobs: Sequence[Job]) -> None:
        self.param.update(running=True, share=0.0)
        try:
            while not all(job.done for job in jobs):
                await asyncio.sleep(_POLL_S)
                if not self._latest.is_current(ticket):
                    return
                self.share = sum(job.share for job in jobs) / len(jobs)
            runs = [await job.result() for job in jobs]
        except (Cancelled, asyncio.CancelledError):
            return
        except InputError as error:
            self._fail(ticket, str(error))
        except Exception:
            logger.exception("A simulation crashed.")
            self._fail(ticket, CRASHED)
        else:
            if self._latest.is_current(ticket):
                self.results = Results(runs[0], runs[1])
        finally:
            if self._latest.is_current(ticket):
                self.running = False

    def _fail(self, ticket: int, sentence: str) -> None:
        if self._latest.is_current(ticket):
            self.problem = sentence

    def _drop(self) -> None:
        for job in self._jobs:
            job.cancel()
        self._jobs = []
