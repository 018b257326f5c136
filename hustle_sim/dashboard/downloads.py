"""What a visitor takes home: the files of a run, made in a process of their own, and what they are called."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hustle_sim.analysis import Run

Kind = Literal["report", "figures-svg", "figures-png", "run", "policy", "scenario"]


@dataclass(frozen=True, slots=True)
class Paper:
    """One kind of file: what it is called in the menu, the end of its name, and its media type."""

    words: str
    ending: str
    mime: str


PAPERS: dict[Kind, Paper] = {
    "report": Paper("Report (HTML, opens without a server)", "report.html", "text/html"),
    "figures-svg": Paper("Figures (SVG, zipped)", "figures-svg.zip", "application/zip"),
    "figures-png": Paper("Figures (PNG, zipped)", "figures-png.zip", "application/zip"),
    "run": Paper("Run (Parquet, zipped)", "run.zip", "application/zip"),
    "policy": Paper("Policy (TOML)", "policy.toml", "application/toml"),
    "scenario": Paper("Scenario (TOML)", "scenario.toml", "application/toml"),
}
"""In the order of the menu."""


def name_of(kind: Kind, run: Run) -> str:
    """``"morning-outage-default-seed7-report.html"``."""
    parts = [str(run.scenario.get("name", "scenario"))]
    if kind != "scenario":
        parts.append(run.label or "policy")
    if kind not in ("policy", "scenario"):
        parts.append(f"seed{run.seed}")
    stem = "-".join(_plain(part) for part in parts)
    return f"{stem}-{PAPERS[kind].ending}" if kind != "scenario" else f"{stem}.toml"


def make(kind: Kind, mine: Run, other: Run) -> bytes:
    """The bytes of a file. Takes seconds, and imports much: for a worker process.

    Raises InputError with one sentence for what can't be made.
    """
    return _MAKERS[kind](mine, other)


def _report(mine: Run, other: Run) -> bytes:
    from hustle_sim.analysis.report import report

    # What became better or worse is told of the second run.
    return (report(mine) if mine.policy == other.policy else report(other, mine)).encode()


def _figures(format: Literal["svg", "png"]) -> Callable[[Run, Run], bytes]:
    def made(mine: Run, _: Run) -> bytes:
        from hustle_sim.analysis.figure_sets import WHOLE
        from hustle_sim.analysis.pictures import picture

        return _zipped({f"{name}.{format}": picture(mine, name, format) for name in WHOLE})

    return made


def _run(mine: Run, _: Run) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        mine.save(Path(folder) / "run")
        return _zipped({path.name: path.read_bytes() for path in sorted((Path(folder) / "run").iterdir())})


def _policy(mine: Run, _: Run) -> bytes:
    return mine.policy.to_toml().encode()


def _scenario(mine: Run, _: Run) -> bytes:
    from hustle_sim.simulation.scenario import Scenario

    return Scenario.from_dict(mine.scenario).to_toml().encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _plain(text: str) -> str:
    """Text as part of a file's name on any system."""
    return re.sub(r"[^\w.]+", "-", text, flags=re.ASCII).strip("-.")[:60] or "x"


_MAKERS: dict[Kind, Callable[[Run, Run], bytes]] = {
    "report": _report,
    "figures-svg": _figures("svg"),
    "figures-png": _figures("png"),
    "run": _run,
    "policy": _policy,
    "scenario": _scenario,
}
