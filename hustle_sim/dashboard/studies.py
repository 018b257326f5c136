"""Studies of many simulations: sweeps and searches, each in a process of its own that gives way to all else.

The server's thread only looks on. So many studies run at once (``RUNNING``) as leave the cores shared; others wait in
the order in which they came. What was simulated once is not simulated again while the server lives.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.simulation.simulate import Cancelled

if TYPE_CHECKING:
    from hustle_sim.tuning.experiment import Progress
    from hustle_sim.tuning.table import Table

logger = logging.getLogger("hustle_sim.dashboard")

RUNNING = 2
"""Studies that run at once in one server; each has its share of the cores."""

WAITING = 20
"""Studies that may wait."""

NICE = 15
"""How much the processes of a study give way: more than the simulations that somebody watches."""

_CRASHED = "something in the study broke; it is in the server's log"


class Wish(Protocol):
    """What is to be studied: pickled, and made in another process."""

    def make(self, **how: Any) -> Table:
        """The study; ``how`` are ``executor``, ``results``, ``progress`` and ``cancelled``."""
        ...


@dataclass(frozen=True, slots=True)
class SweepWish:
    """Every combination of the values of some fields."""

    scenario: Scenario
    policy: Policy
    fields: dict[str, list[Any]]
    replications: int

    def make(self, **how: Any) -> Table:
        """The sweep."""
        from hustle_sim.tuning.sweep import sweep

        return sweep(self.scenario, self.policy, self.fields, self.replications, **how)


@dataclass(frozen=True, slots=True)
class SearchWish:
    """The best policies for some objectives."""

    scenario: Scenario
    policy: Policy
    parts: tuple[str, ...]
    objectives: tuple[str, ...]
    trials: int
    replications: int
    verify: int
    unseen: bool

    def make(self, **how: Any) -> Table:
        """The tuning."""
        from hustle_sim.tuning.tune import tune

        return tune(
            self.scenario, self.policy, list(self.parts) or None, list(self.objectives) or None, self.trials,
            replications=self.replications, verify=self.verify, unseen=None if self.unseen else [], **how,
        )  # fmt: skip


@dataclass(eq=False)
class Study:
    """One study, waiting, running or ended. ``done``, ``total`` and ``left_s`` are as in ``Progress``."""

    wish: Wish
    future: Future[Any] = field(default_factory=Future)
    done: int = 0
    total: int = 0
    left_s: float = math.nan
    started: bool = False
    cancel: Callable[[], None] = lambda: None


class Studio:
    """The studies of one server."""

    def __init__(self, running: int = RUNNING, cores: int | None = None) -> None:
        self._most = running
        self._cores = max(1, (cores or os.cpu_count() or 1) // running)
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._waiting: deque[Study] = deque()
        self._running: dict[Study, Any] = {}
        self._folder: str | None = None

    def submit(self, wish: Wish) -> Study:
        """Begin a study as soon as there is room. Raises InputError when too many wait already."""
        study = Study(wish)
        study.cancel = lambda: self._cancel(study)
        with self._lock:
            if len(self._waiting) >= WAITING:
                raise InputError(f"{WAITING} studies are waiting already: try again in a while")
            self._waiting.append(study)
            self._begin()
        return study

    def before(self, study: Study) -> int:
        """How many studies come before one that waits."""
        with self._lock:
            return self._waiting.index(study) if study in self._waiting else 0

    def close(self) -> None:
        """End all studies at once."""
        with self._lock:
            waiting, self._waiting = list(self._waiting), deque()
            processes, self._running = list(self._running.values()), {}
            folder, self._folder = self._folder, None
        for study in waiting:
            study.future.cancel()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(3)
            if process.is_alive():
                process.kill()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _begin(self) -> None:
        """Start what there is room for; the lock is held."""
        while self._waiting and len(self._running) < self._most:
            study = self._waiting.popleft()
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="hustle-sim-studies-")
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_study, args=(theirs, study.wish, self._cores, os.path.join(self._folder, "results"))
            )
            process.start()
            theirs.close()
            study.started = True
            self._running[study] = process
            threading.Thread(target=self._follow, args=(study, process, ours), daemon=True).start()

    def _cancel(self, study: Study) -> None:
        with self._lock:
            if study in self._waiting:
                self._waiting.remove(study)
                study.future.cancel()
                return
            process = self._running.get(study)
        if process is not None:
            # The process saves what it has, and ends.
            process.terminate()

    def _follow(self, study: Study, process: Any, ours: Connection) -> None:
        """Hear what a study tells until it ends; in a thread of its own."""
        ending: tuple[str, Any] = ("ended", None)
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, told = ours.recv()
                if kind == "progress":
                    study.done, study.total, study.left_s = told
                else:
                    ending = (kind, told)
        ours.close()
        _settle(study.future, *ending)
        process.join()
        with self._lock:
            self._running.pop(study, None)
            if self._folder is not None:
                self._begin()


def _settle(future: Future[Any], kind: str, told: Any) -> None:
    if kind == "made":
        future.set_result(told)
    elif kind == "refused":
        future.set_exception(InputError(told))
    elif kind == "crashed":
        logger.error("A study crashed.\n%s", told)
        future.set_exception(InputError(_CRASHED))
    elif kind == "cancelled":
        future.set_exception(Cancelled("the study was cancelled"))
    else:
        future.set_exception(InputError("the study's process ended early (out of memory?): try a smaller one"))


_studio: Studio | None = None


def studio() -> Studio:
    """The one studio of this server's process."""
    global _studio
    if _studio is None:
        _studio = Studio()
        # Before the interpreter waits for processes of ours that still run.
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            register(_studio.close)
    return _studio


def _study(theirs: Connection, wish: Wish, cores: int, results: str) -> None:
    """What the process of a study does: it gives way, ends with the server, and tells how far it is."""
    from hustle_sim.tuning.executors import end_cores

    wanted = threading.Event()
    wanted.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: wanted.clear())
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICE)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            wanted.clear()
            # Time to end processes of its own and to save.
            threading.Timer(10.0, lambda: os._exit(0)).start()

    threading.Thread(target=watch, daemon=True).start()

    def progress(now: Progress) -> None:
        with contextlib.suppress(OSError):
            theirs.send(("progress", (now.done, now.total, now.left_s)))

    theirs.send(_made(wish, cores, results, progress, lambda: not wanted.is_set()))
    theirs.close()
    end_cores()


def _made(
    wish: Wish, cores: int, results: str, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> tuple[str, Any]:
    import traceback

    try:
        return "made", wish.make(executor=cores, results=results, progress=progress, cancelled=cancelled)
    except Cancelled:
        return "cancelled", None
    except InputError as error:
        return "refused", str(error)
    except Exception:
        return "crashed", traceback.format_exc()
