"""Many simulations, measured: on any executor, with progress, and with nothing lost when it is interrupted."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hustle_sim._version import __version__
from hustle_sim.analysis import METRICS
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation import Cancelled, Scenario, simulate
from hustle_sim.tuning.executors import Cores, Serial, Workers, has_died, workers_of
from hustle_sim.tuning.results import Results

_IN_FLIGHT = 256
"""Simulations that are submitted at once: enough for a cluster, few enough to look after."""

_LOOK_EVERY_S = 0.2
_SAVE_EVERY_S = 5.0
_REVIVALS = 3
"""Times that our own processes are started anew before what they were at is done: it may be what kills them."""


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
        kept.check_writable()
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
        # An executor that works at once would do a whole batch before anybody is told or may cancel.
        self._in_flight = 1 if isinstance(workers, Serial) else _IN_FLIGHT
        self._suspects: set[str] = set()
        self._deaths = 0
        self._progress = progress
        self._cancelled = cancelled
        self._texts: dict[int, str] = {}
        self._done = 0
        self._began_s = self._saved_s = now_s()

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
                except _Died as death:
                    self._revive(death)
        except BaseException:
            self._abandon()
            raise
        finally:
            self._kept.flush()

    def _submit(self) -> None:
        while self._waiting and len(self._running) < self._in_flight:
            key = self._waiting[0]
            try:
                future = self._workers.submit(measure_one, self._missing[key])
            except Exception as error:
                if has_died(error):
                    raise _Died(error) from None
                raise Interrupted(f"the executor takes no more work ({_words(error)}); {self._so_far()}") from None
            self._waiting.popleft()
            self._running[future] = key

    def _collect(self) -> None:
        done, _ = wait(self._running, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        # A pool of threads that is shut down cancels what waits without a word to those who wait for it.
        done = done or {future for future in self._running if future.cancelled()}
        # What is done is kept before anything is said about what failed beside it.
        errors = [(self._running[future], error) for future in done if (error := self._taken(future)) is not None]
        if done:
            self._tell()
        if now_s() - self._saved_s > _SAVE_EVERY_S:
            self._kept.flush()
            self._saved_s = now_s()
        for key, error in errors:
            if has_died(error):
                raise _Died(error)
            if isinstance(error, CancelledError):
                raise Interrupted(f"the executor gave up its work; {self._so_far()}")
            raise self._failed(self._missing[key], error)

    def _taken(self, future: Future[Any]) -> BaseException | None:
        """Keep the result of a future that is done, or return what went wrong."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            return error
        version, metrics = future.result()
        if version != __version__:
            raise Interrupted(f"a worker has hustle_sim {version}, and this is {__version__}: install the same")
        self._keep(self._running.pop(future), metrics)
        return None

    def _keep(self, key: str, metrics: Mapping[str, float]) -> None:
        each = self._missing[key]
        about = {
            "version": __version__,
            "scenario_name": each.scenario.name,
            "scenario": self._text(each.scenario),
            "policy": self._text(each.policy),
            "seed": each.seed,
        }
        self._kept.add(key, {**about, **metrics})
        self._done += 1
        self._suspects.discard(key)
        if not self._suspects:
            self._deaths = 0

    def _text(self, model: Scenario | Policy) -> str:
        """A model as JSON; one text for one model, since a scenario may hold a year of incidents."""
        if id(model) not in self._texts:
            self._texts[id(model)] = model.model_dump_json(exclude_none=True)
        return self._texts[id(model)]

    def _revive(self, death: _Died) -> None:
        """Our own processes are started anew, and what they were at is done again; another's executor is gone."""
        self._deaths += 1
        if not isinstance(self._workers, Cores) or self._deaths > _REVIVALS:
            raise Interrupted(f"the executor died ({type(death.error).__name__}); {self._so_far()}") from None
        self._suspects.update(self._running.values())
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._workers.revive()

    def _abandon(self) -> None:
        """Keep what is done by now, and leave the rest."""
        is_ours = isinstance(self._workers, Cores)
        for future in list(self._running):
            # Loky can't end processes in peace while futures are cancelled: it gives each an exception.
            if future.done() or (not is_ours and not future.cancel() and future.done()):
                with suppress(Interrupted):
                    self._taken(future)
        if isinstance(self._workers, Cores) and self._running:
            self._workers.abandon()

    def _failed(self, each: Replication, error: BaseException) -> Interrupted:
        failure = Interrupted(
            f"{each.scenario.name} with seed {each.seed} can't be simulated ({_words(error)}); {self._so_far()}"
        )
        failure.__cause__ = error
        return failure

    def _so_far(self) -> str:
        share = f"{self._done} of {len(self._missing)} simulations"
        if self._kept.place:
            return f"{share} are kept in {self._kept.place}, and the same again goes on from there"
        return f"{share} were done, and are gone: give a folder for results to keep them"

    def _tell(self) -> None:
        if self._progress is None:
            return
        left = len(self._missing) - self._done
        left_s = (now_s() - self._began_s) / self._done * left if self._done else float("nan")
        self._progress(Progress(self._done, len(self._missing), left_s))


class _Died(Exception):  # noqa: N818 -- what happened
    """The processes of an executor are gone."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _words(error: BaseException) -> str:
    """What went wrong, in a line: the messages of other libraries have many."""
    if isinstance(error, InputError):
        return str(error)
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


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


def now_s() -> float:
    """Seconds on a clock that only goes forward: how long people wait for an experiment."""
    # Real time on purpose.
    return time.perf_counter()  # noqa: TID251
