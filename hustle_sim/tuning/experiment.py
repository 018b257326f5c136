"""Many simulations, measured: on any executor, with progress, and with nothing lost when it is interrupted."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hustle_sim._version import __version__
from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation import Cancelled, Scenario, simulate
from hustle_sim.tuning.executors import Cores, Workers, workers_of
from hustle_sim.tuning.results import Results

_IN_FLIGHT = 64
"""Simulations that are submitted at once: enough for any machine, few enough to cancel soon."""

_LOOK_EVERY_S = 0.2
_SAVE_EVERY_S = 5.0
_REVIVALS = 3
"""Times in a row that our own processes are started anew without a single result between."""


@dataclass(frozen=True, slots=True)
class Replication:
    """One simulation: its metrics are a pure function of scenario, policy and seed."""

    scenario: Scenario
    policy: Policy
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an experiment is. ``left_s`` is an estimate in seconds, NaN before there is any."""

    done: int
    total: int
    left_s: float


class Interrupted(InputError):  # noqa: N818 -- as Cancelled: it says what happened
    """An experiment that could not go on: one sentence, with where the results so far are kept."""


def measure_all(
    replications: Sequence[Replication],
    *,
    executor: Workers = None,
    results: Results | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> pd.DataFrame:
    """Simulate each replication, and return its metrics: a row for each, in order, a column for each of ``METRICS``.

    Equal replications, and those that ``results`` knows already (a folder, see ``Results``), are simulated once. The
    numbers are the same on any executor, to the last bit. Raises ``Cancelled`` when ``cancelled()`` is true, and
    ``Interrupted`` with one sentence when a simulation fails or the executor dies; what was measured by then is kept
    in ``results``, and so it is on Ctrl-C.
    """
    kept = results if isinstance(results, Results) else Results(results)
    keys = _keys(replications)
    missing = {key: each for key, each in zip(keys, replications, strict=True) if key not in kept}
    if missing:
        with workers_of(executor) as workers:
            _Work(workers, kept, missing, progress, cancelled).run()
    elif progress is not None:
        progress(Progress(len(keys), len(keys), 0.0))
    names = list(METRICS)
    rows = [[kept[key][name] for name in names] for key in keys]
    return pd.DataFrame(rows, columns=pd.Index(names), dtype=float)


def measure_one(replication: Replication) -> tuple[str, dict[str, float]]:
    """The version that simulated, and the metrics by name: what a worker does."""
    run = simulate(replication.scenario, replication.policy, replication.seed)
    return __version__, {str(name): float(value) for name, value in run.metrics.items()}


class _Work:
    """The replications of one experiment on their way through an executor."""

    def __init__(
        self,
        workers: Executor,
        kept: Results,
        missing: Mapping[str, Replication],
        progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._workers = workers
        self._kept = kept
        self._missing = missing
        self._waiting = deque(missing)
        self._running: dict[Future[Any], str] = {}
        self._progress = progress
        self._cancelled = cancelled
        self._done = 0
        self._fruitless = 0
        self._began_s = self._saved_s = _now_s()

    def run(self) -> None:
        """Work until every replication is measured."""
        try:
            self._tell()
            while self._waiting or self._running:
                if self._cancelled is not None and self._cancelled():
                    raise Cancelled(f"the experiment was cancelled; {self._so_far()}")
                try:
                    self._submit()
                    self._collect()
                except BrokenExecutor as error:
                    self._revive(error)
        except BaseException:
            self._abandon()
            raise
        finally:
            self._kept.flush()

    def _submit(self) -> None:
        while self._waiting and len(self._running) < _IN_FLIGHT:
            key = self._waiting[0]
            try:
                future = self._workers.submit(measure_one, self._missing[key])
            except BrokenExecutor:
                raise
            except RuntimeError as error:
                raise Interrupted(f"the executor takes no more work ({error}); {self._so_far()}") from None
            self._waiting.popleft()
            self._running[future] = key

    def _collect(self) -> None:
        done, _ = wait(self._running, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        for future in done:
            key = self._running[future]
            try:
                version, metrics = future.result()
            except BrokenExecutor:
                raise
            except CancelledError:
                raise Interrupted(f"the executor gave up its work; {self._so_far()}") from None
            except Exception as error:
                raise self._failed(self._missing[key], error) from error
            if version != __version__:
                raise Interrupted(f"a worker has hustle_sim {version}, and this is {__version__}: install the same")
            del self._running[future]
            self._keep(key, version, metrics)
        if _now_s() - self._saved_s > _SAVE_EVERY_S:
            self._kept.flush()
            self._saved_s = _now_s()

    def _keep(self, key: str, version: str, metrics: Mapping[str, float]) -> None:
        each = self._missing[key]
        about = {
            "version": version,
            "scenario_name": each.scenario.name,
            "scenario": each.scenario.model_dump_json(exclude_none=True),
            "policy": each.policy.model_dump_json(),
            "seed": each.seed,
        }
        self._kept.add(key, {**about, **metrics})
        self._done += 1
        self._fruitless = 0
        self._tell()

    def _revive(self, error: BrokenExecutor) -> None:
        """Our own processes are started anew, and what they were at is done again; another's executor is gone."""
        self._fruitless += 1
        if not isinstance(self._workers, Cores) or self._fruitless > _REVIVALS:
            raise Interrupted(f"the executor died ({type(error).__name__}); {self._so_far()}") from None
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._workers.revive()

    def _abandon(self) -> None:
        for future in self._running:
            future.cancel()
        if isinstance(self._workers, Cores) and self._running:
            self._workers.abandon()

    def _failed(self, each: Replication, error: Exception) -> Interrupted:
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return Interrupted(f"{each.scenario.name} with seed {each.seed} can't be simulated ({what}); {self._so_far()}")

    def _so_far(self) -> str:
        share = f"{self._done} of {len(self._missing)} simulations"
        if self._kept.place:
            return f"{share} are kept in {self._kept.place}, and the same again goes on from there"
        return f"{share} were done, and are gone: give a folder for results to keep them"

    def _tell(self) -> None:
        if self._progress is None:
            return
        left = len(self._missing) - self._done
        left_s = (_now_s() - self._began_s) / self._done * left if self._done else float("nan")
        self._progress(Progress(self._done, len(self._missing), left_s))


def _keys(replications: Sequence[Replication]) -> list[str]:
    """A name for each that equal ones share, in any process; another version's results are others."""
    texts: dict[int, str] = {}

    def text(model: Scenario | Policy) -> str:
        if id(model) not in texts:
            texts[id(model)] = hashlib.sha256(model.model_dump_json().encode()).hexdigest()
        return texts[id(model)]

    return [
        hashlib.sha256(f"{__version__}|{text(each.scenario)}|{text(each.policy)}|{each.seed}".encode()).hexdigest()[:32]
        for each in replications
    ]


def _now_s() -> float:
    # Real time on purpose: how long people wait for an experiment.
    return time.perf_counter()  # noqa: TID251
