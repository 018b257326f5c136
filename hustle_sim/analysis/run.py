"""A run: what happened in one simulation or live session, as frames, metrics and figures; saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import pyarrow as pa

from hustle_sim._version import __version__
from hustle_sim.analysis.frames import FRAMES, digest_of, frames_of, typed
from hustle_sim.analysis.metrics import METRICS, format_metric, measure
from hustle_sim.events import Event
from hustle_sim.inputs import InputError, format_duration, read_text
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    import holoviews as hv

_FORMAT = "hustle_sim run"
_ABOUT = "run.json"
_SUMMARY = ("messages", "answered_share", "answer_p99_s", "late_p50_s", "lost", "amplification", "detection_s")


class Run:
    """One run. Make it with ``Run.from_events`` or ``Run.load``; ``simulate()`` and live sessions give you one.

    ``start`` is the UTC time at 0 of the time axis, ``duration_s`` its length; metrics are measured from
    ``warm_up_s`` on. ``scenario`` is the scenario as plain JSON-able values (empty for a live session), ``seed`` is
    None where nothing was drawn. ``backend_truth`` says whether outages, backend and effects are known: a live
    session knows only what it saw. ``version`` is the version of hustle_sim that made the run.

    Times in the frames (``time_s``) are seconds since ``start``; frames are sorted by it and have the same columns
    and types even when empty. They are yours to read, not to change.
    """

    def __init__(
        self,
        frames: Mapping[str, pd.DataFrame],
        *,
        policy: Policy,
        start: datetime,
        duration_s: float,
        warm_up_s: float = 0.0,
        seed: int | None = None,
        scenario: Mapping[str, Any] | None = None,
        label: str = "",
        backend_truth: bool = True,
        version: str = __version__,
    ) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a run needs a time zone: datetime(..., tzinfo=UTC)")
        self.policy = policy
        self.start = start.astimezone(UTC)
        self.duration_s = float(duration_s)
        self.warm_up_s = float(warm_up_s)
        self.seed = seed
        self.scenario: dict[str, Any] = dict(scenario or {})
        self.label = label
        self.backend_truth = backend_truth
        self.version = version
        self._frames = dict(frames)

    @classmethod
    def from_events(
        cls,
        events: Iterable[Event],
        *,
        policy: Policy,
        start: datetime,
        duration_s: float,
        origin_s: float = 0.0,
        warm_up_s: float = 0.0,
        seed: int | None = None,
        scenario: Mapping[str, Any] | None = None,
        label: str = "",
        backend_truth: bool = True,
    ) -> Self:
        """A run from its events, which are read once and not kept.

        ``origin_s`` is the loop time that is 0 on the run's axis (a live session's loop did not start at 0). Raises
        ValueError if ``start`` has no time zone.
        """
        return cls(
            frames_of(events, origin_s),
            policy=policy,
            start=start,
            duration_s=duration_s,
            warm_up_s=warm_up_s,
            seed=seed,
            scenario=scenario,
            label=label,
            backend_truth=backend_truth,
        )

    @property
    def messages(self) -> pd.DataFrame:
        """One row per message: message_id, client, time_s, priority, answer_s (from sending to the first answer),
        source (``backend | cache | stale | fallback``), queued, delivered_s (from sending to delivery; NaN if never),
        outcome (``answered | late | expired | dead | pending | rejected | lost``), attempts (requests sent for it),
        via (``direct | late | queue``: how it was delivered).
        """
        return self._frames["messages"]

    @property
    def attempts(self) -> pd.DataFrame:
        """One row per request: time_s (when it began), client, message_id (empty for a probe), kind
        (``message | replay | probe``), number, wait_s, latency_s, outcome, status_code (missing if there was none).
        """
        return self._frames["attempts"]

    @property
    def probes(self) -> pd.DataFrame:
        """One row per health check: time_s, client, latency_s, outcome, status (the verdict after it), status_code."""
        return self._frames["probes"]

    @property
    def transitions(self) -> pd.DataFrame:
        """One row per change of a verdict: time_s, client, previous, current, reason."""
        return self._frames["transitions"]

    @property
    def breaker(self) -> pd.DataFrame:
        """One row per change of a circuit breaker: time_s, client, previous, current, reason."""
        return self._frames["breaker"]

    @property
    def queue(self) -> pd.DataFrame:
        """One row per event of a queue: time_s, client, event, message_id, depth (after it), reason."""
        return self._frames["queue"]

    @property
    def backend(self) -> pd.DataFrame:
        """The backend as it truly was, sampled: time_s, condition, in_service, waiting, arrivals and rejected (since
        the sample before), capacity. Empty without backend truth.
        """
        return self._frames["backend"]

    @property
    def effects(self) -> pd.DataFrame:
        """One row per message that the backend processed, each time: time_s, client, message_id, number (from 1)."""
        return self._frames["effects"]

    @property
    def outages(self) -> pd.DataFrame:
        """One row per outage: start_s, end_s, mode, severity (0..1). They may overlap."""
        return self._frames["outages"]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All frames by name."""
        return dict(self._frames)

    @cached_property
    def clients(self) -> tuple[int, ...]:
        """The numbers of the clients that did anything, in order."""
        seen = pd.concat([self._frames[name]["client"] for name in ("messages", "attempts", "transitions")])
        return tuple(sorted(int(client) for client in seen.unique()))

    @cached_property
    def metrics(self) -> pd.Series[float]:
        """Every metric of ``METRICS`` by name, as floats; NaN where there is nothing to measure it by."""
        return measure(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over all values of all frames: equal if and only if everything happened the same."""
        return digest_of(self._frames)

    @property
    def name(self) -> str:
        """What the run is called on screens: scenario, label and seed, as far as there are any."""
        scenario = str(self.scenario.get("name", "")) or ("live session" if not self.backend_truth else "")
        seed = f"seed {self.seed}" if self.seed is not None else ""
        return ", ".join(part for part in (scenario, self.label, seed) if part) or "run"

    def plot(self) -> hv.Layout:
        """All figures under one time axis, as a HoloViews Layout. Call ``hv.extension("bokeh")`` first in a notebook.

        More, and single figures, in ``hustle_sim.analysis.figures``.
        """
        from hustle_sim.analysis import figures

        return figures.layout(self)

    def save(self, folder: str | Path) -> None:
        """Write the run into a folder: a Parquet file per frame, and ``run.json`` with all the rest.

        An earlier run in that folder is replaced. Raises InputError if the folder holds something else, or can't be
        written.
        """
        target = Path(folder)
        about = {
            "format": _FORMAT,
            "version": self.version,
            "label": self.label,
            "start": self.start.isoformat(),
            "duration_s": self.duration_s,
            "warm_up_s": self.warm_up_s,
            "seed": self.seed,
            "backend_truth": self.backend_truth,
            "digest": self.digest,
            "policy": self.policy.flat(),
            "scenario": self.scenario,
        }
        text = json.dumps(about, indent=2, ensure_ascii=False)
        try:
            _make_room(target)
            for name, frame in self._frames.items():
                frame.to_parquet(target / f"{name}.parquet", engine="pyarrow", index=False)
            # Last, so that a save that was cut short is not taken for a run.
            (target / _ABOUT).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{target}: the run can't be saved there: {error.strerror or error}") from None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The run that ``save`` wrote, with equal frames and metrics. Raises InputError with one sentence."""
        source = Path(folder)
        about = _read_about(source)
        if about is None:
            raise InputError(f"{source} holds no run: there is no {_ABOUT} of hustle_sim in it")
        missing = [name for name in FRAMES if not (source / f"{name}.parquet").is_file()]
        if missing:
            raise InputError(f"{source} is not a whole run: {missing[0]}.parquet is missing")
        try:
            frames = {
                name: typed(name, pd.read_parquet(source / f"{name}.parquet", engine="pyarrow")) for name in FRAMES
            }
            run = cls(
                frames,
                policy=Policy().replace(about["policy"]),
                start=datetime.fromisoformat(about["start"]),
                duration_s=about["duration_s"],
                warm_up_s=about["warm_up_s"],
                seed=about["seed"],
                scenario=about["scenario"],
                label=about["label"],
                backend_truth=about["backend_truth"],
                version=about["version"],
            )
        except InputError as error:
            raise InputError(f"{source} can't be loaded: {error}") from None
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{source} holds a run that can't be read: {first_line}") from None
        if run.digest != about.get("digest"):
            raise InputError(f"{source} was changed after it was saved: its digest is not the one in {_ABOUT}")
        return run

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {format_metric(name, self.metrics[name])}" for name in _SUMMARY)
        return f"<Run {self.name}: {format_duration(self.duration_s)}; {shown}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr title="{escape(metric.text)}"><td>{name}</td><td>{format_metric(name, self.metrics[name])}</td></tr>'
            for name, metric in METRICS.items()
        )
        about = f"<b>{escape(self.name)}</b>, {format_duration(self.duration_s)} from {self.start:%Y-%m-%d %H:%M} UTC"
        return f"<div>{about}<details><summary>metrics</summary><table>{rows}</table></details></div>"


def check_folder(folder: str | Path) -> None:
    """Raise InputError with one sentence if ``Run.save`` would refuse this folder: before a long run, not after it."""
    target = Path(folder)
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: name a folder for the run")
    # A save that was cut short left only files of ours.
    ours = {_ABOUT, *(f"{name}.parquet" for name in FRAMES)}
    if not {path.name for path in target.iterdir()} <= ours and _read_about(target) is None:
        raise InputError(f"{target} holds something that is not a run: name an empty or new folder")


def _make_room(folder: Path) -> None:
    """Make the folder, or make an earlier run in it invalid; refuse anything else that is there."""
    check_folder(folder)
    (folder / _ABOUT).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _read_about(folder: Path) -> dict[str, Any] | None:
    """What ``run.json`` says, or None if there is none of ours. Raises InputError if the folder is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    try:
        about = json.loads(read_text(folder / _ABOUT))
    except (InputError, ValueError):
        return None
    return about if isinstance(about, dict) and about.get("format") == _FORMAT else None
