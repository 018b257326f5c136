"""A run: what happened in one simulation or live session, as frames, metrics and figures; saved and loaded."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import pyarrow as pa

from hustle_sim.analysis.frames import FRAMES, typed
from hustle_sim.analysis.metrics import METRICS, format_metric, measure
from hustle_sim.analysis.recording import Recording
from hustle_sim.inputs import InputError, format_duration, read_text
from hustle_sim.policy import Policy

if TYPE_CHECKING:
    import holoviews as hv

_FORMAT = "hustle_sim run"
_ABOUT = "run.json"
_SUMMARY = ("messages", "answered_share", "answer_p99_s", "late_p50_s", "lost", "amplification", "detection_s")


class Run(Recording):
    """A recording with its metrics and figures: what ``simulate()``, live sessions and ``Run.load`` give you."""

    @cached_property
    def metrics(self) -> pd.Series[float]:
        """Every metric of ``METRICS`` by name, as floats; NaN where there is nothing to measure it by."""
        return measure(self)

    def plot(self) -> hv.Layout:
        """All figures under one time axis, as a HoloViews Layout.

        In a notebook call ``hv.extension("bokeh", inline=True)`` first; without ``inline`` it asks other hosts.
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
