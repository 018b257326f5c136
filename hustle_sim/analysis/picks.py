"""Which messages are worth a look: the slowest, the late, the lost, and those that had a second-best answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hustle_sim.inputs import InputError, closest

if TYPE_CHECKING:
    import pandas as pd

    from hustle_sim.analysis.recording import Recording

MOST = 100
"""Messages of a list at most: more than anybody reads through."""


class Picked(NamedTuple):
    """One message of a list. ``answer_s`` and ``delivered_s`` are from its sending; NaN for never."""

    message_id: str
    client: int
    time_s: float
    answer_s: float
    source: str
    delivered_s: float
    outcome: str
    attempts: int


LISTS = {
    "slowest": "slowest first answers",
    "fallback": "offline or older answer",
    "late": "real answer came later",
    "lost": "lost",
    "ended": "expired, given up or turned away",
    "pending": "still waiting at the end",
}
"""The lists by name, in the words for people."""


def counts(run: Recording) -> dict[str, int]:
    """How many messages each list has in all."""
    return {name: int(_chosen(run.messages, name).sum()) for name in LISTS}


def picked(run: Recording, name: str, most: int = MOST) -> list[Picked]:
    """The messages of a list: the worst first where there is a worst, else in the order of sending.

    Raises InputError for a list that there isn't.
    """
    if name not in LISTS:
        raise InputError(f"there is no list {name!r}{closest(name, LISTS)}")
    messages = run.messages
    rows = np.flatnonzero(_chosen(messages, name))
    by = {"slowest": "answer_s", "late": "delivered_s"}.get(name)
    if by is not None:
        rows = rows[np.argsort(-messages[by].to_numpy(np.float64)[rows], kind="stable")]
    shown = messages.iloc[rows[:most]]
    columns = (shown[field].astype(object).tolist() for field in Picked._fields)
    return [
        Picked(
            str(message_id), int(client), float(time_s), _number(answer_s), source if isinstance(source, str) else "",
            _number(delivered_s), str(outcome), int(attempts),
        )
        for message_id, client, time_s, answer_s, source, delivered_s, outcome, attempts in zip(*columns, strict=True)
    ]  # fmt: skip


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _chosen(messages: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    outcome, source = messages["outcome"], messages["source"]
    chosen: pd.Series[bool]
    match name:
        case "slowest":
            chosen = messages["answer_s"].notna()
        case "fallback":
            chosen = source.isin(["fallback", "stale"])
        case "ended":
            chosen = outcome.isin(["expired", "dead", "rejected"])
        case _:
            chosen = outcome == name
    return chosen.to_numpy(np.bool_)
