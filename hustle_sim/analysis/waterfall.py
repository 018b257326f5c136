"""The life of a message as a picture: a row for each step, on an axis of seconds since it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv
import pandas as pd

from hustle_sim.analysis.drawing import Figure, Part, bars, sentence
from hustle_sim.analysis.figure_data import Data
from hustle_sim.analysis.life import Life, Step, life
from hustle_sim.analysis.palette import STEP, Theme
from hustle_sim.analysis.shapes import bar_columns

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

SINCE = hv.Dimension("since_s", label="time since the message was sent")
"""An axis of its own: zooming a life must not zoom the run."""

ROWS = 14
"""Steps that have a row of their own; of more, those in the middle share one."""

_THINNEST = 0.006
_ENDS = hv.Dimension("ends_s")
_LABELS = {
    "sent": "sent", "attempt": "attempt", "refused": "refused", "backoff": "wait", "no_retry": "no retry",
    "answer": "answer seen", "queued": "queue", "leased": "leased", "replay": "replay", "verdict": "verdict",
    "late_answer": "late answer", "end": "end", "wait": "unknown",
}  # fmt: skip


def waterfall_data(run: Recording, message_id: str | None) -> Data:
    """The steps of one message from the top down; None draws the invitation to choose one.

    ``bars``: since_s, step_from, ends_s, step_to, step, words. Instants are drawn a little wide, so that they can be
    seen. Raises InputError if there is no such message.
    """
    if message_id is None:
        return _data([], 1.0, "Click an attempt or a message to see its life.", "")
    told = life(run, message_id)
    return _data(_rows(told), told.end_s, "", f"message {told.message_id}")


def _data(rows: list[tuple[str, str, float, float, str]], end_s: float, text: str, note: str) -> Data:
    thinnest_s = max(end_s, 1.0) * _THINNEST
    table = []
    for place, (_, look, begin_s, until_s, words) in enumerate(rows):
        height = len(rows) - place - 1
        shown_s = max(until_s, begin_s + thinnest_s)
        table.append((begin_s, height + 0.12, shown_s, height + 0.88, STEP[look].word, words))
    columns = bar_columns("step", "step")
    columns[0], columns[2] = "since_s", "ends_s"
    shown = pd.DataFrame(table, columns=columns)
    limits = (0.0, float(max(len(rows), 1)))
    message = pd.DataFrame({"since_s": [0.5], "step_to": [0.5], "text": [text]})
    return {
        "bars": shown.astype({"since_s": float, "ends_s": float, "step_from": float, "step_to": float}),
        "sentence": message if text else message.iloc[:0],
        "outages": pd.DataFrame(columns=["time_s", "until_s"], dtype=float),
        "end_s": max(end_s, 1.0) * (1 + _THINNEST),
        "limits": limits,
        "note": note,
        "rows": [(len(rows) - place - 0.5, label) for place, (label, *_) in enumerate(rows)] or [(0.5, "")],
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
