"""The life of a message as a picture: a row for each step, on an axis of seconds since it was sent.

A message that waited an hour for an answer of two seconds would be a bar and slivers. So the axis is broken: stretches
in which nothing began or ended are drawn shorter when they are long, and its marks say the true times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
import pandas as pd

from hustle_sim.analysis.drawing import Figure, Part, bars, sentence
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.life import Life, Step, life
from hustle_sim.analysis.palette import STEP, Theme
from hustle_sim.analysis.shapes import bar_columns, elapsed
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

SINCE = hv.Dimension("since_s", label="time since the message was sent")
"""An axis of its own: zooming a life must not zoom the run."""

ROWS = 14
"""Steps that have a row of their own; of more, those in the middle share one."""

LONGEST_S = 15.0
"""Stretches without an event are drawn in proportion up to here, and by their logarithm beyond."""

_MARKS = 9
_THINNEST = 0.006
_ENDS = hv.Dimension("ends_s")
_LABELS = {
    "sent": "sent", "attempt": "attempt", "refused": "refused", "backoff": "wait", "no_retry": "no retry",
    "answer": "answer seen", "queued": "queue", "leased": "leased", "replay": "replay", "verdict": "verdict",
    "late_answer": "late answer", "end": "end", "wait": "unknown",
}  # fmt: skip


def waterfall_data(run: Recording, message_id: str | None) -> Data:
    """The steps of one message from the top down; None draws the invitation to choose one.

    ``bars``: since_s, step_from, ends_s, step_to, step, words; ``since_s`` and ``ends_s`` are places on the broken
    axis, ``columns`` its marks: (place, time in words). Instants are drawn a little wide, so that they can be seen.
    Raises InputError if there is no such message.
    """
    if message_id is None:
        return _data([], 1.0, "Click an attempt or a message to see its life.", "")
    told = life(run, message_id)
    return _data(_rows(told), told.end_s, "", f"message {told.message_id}")


class BrokenAxis:
    """Places for times, so that between two events there is never much more than ``LONGEST_S``.

    Within a stretch places go with time; ``is_broken`` says whether any stretch is drawn shorter than it was.
    """

    def __init__(self, times_s: list[float]) -> None:
        self._times_s = np.unique(np.array([0.0, *times_s]))
        gaps_s = np.diff(self._times_s)
        drawn = np.where(
            gaps_s > LONGEST_S, LONGEST_S * (1 + np.log10(np.maximum(gaps_s, LONGEST_S) / LONGEST_S)), gaps_s
        )
        self._places = np.concatenate([[0.0], np.cumsum(drawn)])
        self.is_broken = bool((gaps_s > LONGEST_S).any())

    def place(self, time_s: float) -> float:
        """Where a time is drawn."""
        return float(np.interp(time_s, self._times_s, self._places))

    def marks(self) -> list[tuple[float, str]]:
        """The places of a few events that are not too near to each other, and their times."""
        apart, found = float(self._places[-1]) / _MARKS, [(0.0, "0")]
        for time_s, place in zip(self._times_s[1:].tolist(), self._places[1:].tolist(), strict=True):
            if place - found[-1][0] >= apart:
                found.append((place, _time_words(time_s)))
        return found


def _time_words(time_s: float) -> str:
    return elapsed(time_s) if time_s >= 60 or time_s == round(time_s) else format_duration(time_s)


def _data(rows: list[tuple[str, str, float, float, str]], end_s: float, text: str, note: str) -> Data:
    axis = BrokenAxis([time_s for _, _, begin_s, until_s, _ in rows for time_s in (begin_s, until_s)])
    width = max(axis.place(end_s), 1.0) if rows else 1.0
    table = []
    for place, (_, look, begin_s, until_s, words) in enumerate(rows):
        height, begin = len(rows) - place - 1, axis.place(begin_s)
        shown = max(axis.place(until_s), begin + width * _THINNEST)
        table.append((begin, height + 0.12, shown, height + 0.88, STEP[look].word, words))
    columns = bar_columns("step", "step")
    columns[0], columns[2] = "since_s", "ends_s"
    bars_shown = pd.DataFrame(table, columns=columns)
    message = pd.DataFrame({"since_s": [0.5], "step_to": [0.5], "text": [text]})
    if axis.is_broken:
        note += "; long waits are drawn shorter"
    return {
        "bars": bars_shown.astype({"since_s": float, "ends_s": float, "step_from": float, "step_to": float}),
        "sentence": message if text else message.iloc[:0],
        "outages": pd.DataFrame(columns=["time_s", "until_s"], dtype=float),
        "end_s": width * (1 + _THINNEST),
        "limits": (0.0, float(max(len(rows), 1))),
        "note": note,
        "rows": [(len(rows) - place - 0.5, label) for place, (label, *_) in enumerate(rows)] or [(0.5, "")],
        "columns": axis.marks() if rows else [],
    }


def _rows(told: Life) -> list[tuple[str, str, float, float, str]]:
    """Label, look, begin, end and sentence of each row."""
    rows = []
    counted = {"attempt": 0, "replay": 0}
    for step in told.steps:
        label = _LABELS[step.kind]
        if step.kind in counted:
            counted[step.kind] += 1
            label = f"{label} {counted[step.kind]}"
        rows.append((label, _look(step), step.begin_s, step.end_s, step.words))
    if len(rows) <= ROWS:
        return rows
    kept = ROWS // 2
    middle = rows[kept : len(rows) - kept + 1]
    failed = sum(look == "failed" for _, look, *_ in middle)
    words = f"{len(middle)} more steps, {failed} of them failed requests: the table beside tells them one by one."
    folded = (f"{len(middle)} more", "wait", middle[0][2], max(end_s for *_, end_s, _ in middle), words)
    return [*rows[:kept], folded, *rows[len(rows) - kept + 1 :]]


def _look(step: Step) -> str:
    match step.kind:
        case "attempt" | "replay":
            return "answered" if step.outcome == "ok" else "failed"
        case "refused":
            return "refused"
        case "backoff" | "wait" | "leased":
            return "wait"
        case "queued":
            return "queue"
        case "answer" | "late_answer":
            return "seen"
        case "end":
            return "ended"
        case _:
            return "decided"


def _parts(theme: Theme) -> tuple[Part, ...]:
    return (bars("bars", "step", "step", STEP, (SINCE, _ENDS)), sentence("step_to", theme, SINCE))


WATERFALL = Figure("waterfall", "The life of a message", "", 300, waterfall_data, _parts)
"""``WATERFALL.make(run, message_id)``: not on the time axis of the other figures, and so in none of their sets."""
