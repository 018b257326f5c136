"""What the figures beyond the layout draw: heartbeats, people who wait, and the rush after an outage.

Pure functions from a run to small tables, as in ``figure_data``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis.figure_data import Data, common, from_zero
from hustle_sim.analysis.metrics import PEAK_WINDOW_S, Measured, recovery_peaks
from hustle_sim.analysis.palette import HEARTBEAT, WAITING
from hustle_sim.analysis.shapes import Floats, bar_columns, elapsed, from_to, nice_width_s, no_bars, no_line, staircase
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

CELLS = 120
"""Cells of a heartbeat bar at most."""

STRETCHES = 600
"""Stretches into which a rate or a number of people is cut."""


def heartbeat_data(run: Recording, client: int | None = None, cells: int = CELLS) -> Data:
    """The health checks in equal stretches of time, newest right; ``client`` None takes all clients together.

    ``bars``: time_s, beat_from, until_s, beat_to, beat, words. A cell is as bad as its checks: none answered, some
    failed or slow (a verdict of degraded after one), or all well; grey where there was no check.
    """
    probes = run.probes if client is None else run.probes[(run.probes["client"] == client).to_numpy()]
    width_s = nice_width_s(run.duration_s, max(1, cells))
    number = max(1, math.ceil(run.duration_s / width_s))
    place = np.clip(probes["time_s"].to_numpy() // width_s, 0, number - 1).astype(np.int64)
    ok = (probes["outcome"] == "ok").to_numpy()
    slow = ok & (probes["status"] == "degraded").to_numpy()
    checks, answered, slowed = (np.bincount(place[chosen], minlength=number) for chosen in (ok | ~ok, ok, slow))
    slowest_s = np.zeros(number)
    np.maximum.at(slowest_s, place[ok], probes["latency_s"].to_numpy(np.float64)[ok])
    bars = []
    for cell in range(number) if len(probes) else ():
        start_s, until_s = cell * width_s, min((cell + 1) * width_s, run.duration_s)
        beat = beat_of(int(checks[cell]), int(answered[cell]), int(slowed[cell]))
        words = beat_words(int(checks[cell]), int(answered[cell]), float(slowest_s[cell]))
        # A hair of air between the cells.
        bars.append(
            (start_s, 0.0, until_s - 0.12 * width_s, HEARTBEAT[beat].height, HEARTBEAT[beat].word,
             f"{words}, {from_to(start_s, until_s)}.")
        )  # fmt: skip
    nothing = "" if len(probes) else "No health checks in this run."
    return {
        **common(run, "beat_to", (0.0, 1.1), nothing, "" if client is None else f"client {client}"),
        "bars": pd.DataFrame(bars, columns=bar_columns("beat", "beat")) if bars else no_bars("beat", "beat"),
        "rows": [(0.5, "checks")],
    }


def waiting_data(run: Recording) -> Data:
    """People who wait for the coach's answer: those who see nothing yet, and those who saw a second-best answer.

    ``bars``: time_s, people_from, until_s, people_to, has, words; the most in each stretch of time. A message waits
    from its sending to the coach's answer (or a fresh copy of one), or to its end without one. The note says how
    long all of them waited, added up.
    """
    messages, end_s = run.messages, run.duration_s
    sent_s = messages["time_s"].to_numpy(np.float64)
    seen_s = np.minimum(np.nan_to_num(sent_s + messages["answer_s"].to_numpy(np.float64), nan=np.inf), end_s)
    real = messages["source"].isin(["backend", "cache"]).to_numpy()
    delivered_s = np.nan_to_num(sent_s + messages["delivered_s"].to_numpy(np.float64), nan=np.inf)
    over_s = np.minimum(np.where(real, seen_s, np.maximum(np.minimum(delivered_s, _ended_s(run)), seen_s)), end_s)
    width_s = max(end_s, 1.0) / STRETCHES
    edges_s = np.arange(STRETCHES, dtype=np.float64) * width_s
    nothing = _most_at_once(sent_s, seen_s, edges_s, width_s)
    second = _most_at_once(seen_s[~real], over_s[~real], edges_s, width_s)
    bars = []
    changes = np.flatnonzero((np.diff(nothing, prepend=-1) != 0) | (np.diff(second, prepend=-1) != 0))
    for first, until in zip(changes, [*changes[1:], STRETCHES], strict=True):
        start_s, until_s, base = first * width_s, min(until * width_s, end_s), 0
        for word, count in (("second best", int(second[first])), ("nothing", int(nothing[first]))):
            if count:
                words = f"{count:,} {'message' if count == 1 else 'messages'}: {WAITING[word].word}"
                shown = f"{words}, {from_to(start_s, until_s)}"
                bars.append((start_s, base, until_s, base + count, WAITING[word].word, shown))
                base += count
    total_s = float((over_s - sent_s).clip(0).sum())
    return {
        **common(
            run, "people_to", from_zero(int((nothing + second).max(initial=0))),
            "No messages in this run." if messages.empty else "",
            f"{format_duration(total_s)} of waiting in all" if total_s else "",
        ),
        "bars": pd.DataFrame(bars, columns=bar_columns("people", "has")) if bars else no_bars("people", "has"),
    }  # fmt: skip


def rush_data(run: Recording) -> Data:
    """Requests for messages a second, as clients sent them, with the busiest 10 s after each outage.

    ``rate``: time_s, per_s (a staircase; each step the busiest 10 s that begins in it or, where steps are longer
    than that, their peak). ``peaks``: time_s, per_s, text.
    """
    attempts, end_s = run.attempts, run.duration_s
    chosen = ((attempts["kind"] != "probe") & (attempts["outcome"] != "rejected")).to_numpy()
    sent_s = attempts["time_s"].to_numpy(np.float64)[chosen]
    width_s = max(PEAK_WINDOW_S, nice_width_s(end_s, STRETCHES))
    number = max(1, math.ceil(end_s / width_s))
    busiest = np.zeros(number)
    if len(sent_s):
        crowd = np.searchsorted(sent_s, sent_s + PEAK_WINDOW_S) - np.arange(len(sent_s))
        place = np.clip(sent_s // width_s, 0, number - 1).astype(np.int64)
        np.maximum.at(busiest, place, crowd / PEAK_WINDOW_S)
    peaks = recovery_peaks(Measured(run)) if run.backend_truth else []
    table = pd.DataFrame(
        [(peak.begin_s, peak.rate, f"{peak.times:.1f}×") for peak in peaks if peak.rate > 0],
        columns=["time_s", "per_s", "text"],
    )
    worst = max(peaks, key=lambda peak: peak.times, default=None)
    note = ""
    if worst is not None and worst.rate > 0:
        note = f"recovery peak {worst.times:.1f}× at {elapsed(worst.begin_s)}"
    highest = max(float(busiest.max(initial=0.0)), float(table["per_s"].max()) if len(table) else 0.0)
    return {
        **common(run, "per_s", from_zero(highest * 1.1), "" if len(sent_s) else "No requests in this run.", note),
        "rate": staircase(np.arange(number, dtype=np.float64) * width_s, "per_s", busiest, end_s)
        if len(sent_s)
        else no_line("per_s"),
        "peaks": table.astype({"time_s": float, "per_s": float, "text": object}),
    }


def beat_of(checks: int, answered: int, slow: int) -> str:
    """The kind (a key of ``HEARTBEAT``) of a cell with so many checks, of which so many were answered, or slow."""
    if not checks:
        return "none"
    if not answered:
        return "failed"
    return "partly" if answered < checks or slow else "well"


def beat_words(checks: int, answered: int, slowest_s: float) -> str:
    """A cell in words, without its time."""
    if not checks:
        return "No health check"
    number = "1 health check" if checks == 1 else f"{checks:,} health checks"
    how = "all answered" if answered == checks else f"{answered:,} answered"
    if checks == 1:
        how = "answered" if answered else "failed"
    return f"{number}, {how}" + (f", the slowest in {format_duration(slowest_s)}" if answered else "")


def _ended_s(run: Recording) -> Floats:
    """When each message left the queue without an answer for the last time; infinity if it did not.

    Nobody waits for what was never saved: a message that was lost or turned away ends with its first answer.
    """
    gone = run.queue[run.queue["event"].isin(["expired", "dead", "cancelled", "dropped"])]
    last_s = gone.groupby("message_id")["time_s"].max()
    ended_s = run.messages["message_id"].map(last_s).to_numpy(np.float64)
    outcome = run.messages["outcome"]
    unsaved = outcome.isin(["lost", "rejected"]).to_numpy() & np.isnan(ended_s)
    still = outcome.isin(["pending", "late", "answered"]).to_numpy()
    return np.where(still, np.inf, np.where(unsaved, -np.inf, np.nan_to_num(ended_s, nan=np.inf)))


def _most_at_once(
    begins_s: Floats,
    ends_s: Floats,
    edges_s: Floats,
    width_s: float,
) -> npt.NDArray[np.int64]:
    """The highest number of stretches that were open at once within each piece of time."""
    lasting = begins_s < ends_s
    times_s = np.concatenate([begins_s[lasting], ends_s[lasting]])
    steps = np.concatenate([np.ones(lasting.sum(), np.int64), -np.ones(lasting.sum(), np.int64)])
    # At one instant one leaves before another comes.
    order = np.lexsort((steps, times_s))
    times_s, level = times_s[order], np.cumsum(steps[order])
    most = np.concatenate([[0], level])[np.searchsorted(times_s, edges_s, side="right")]
    place = np.clip(times_s // width_s, 0, len(edges_s) - 1).astype(np.int64)
    np.maximum.at(most, place, level)
    return most
