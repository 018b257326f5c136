"""What the figures draw: pure functions from a run to small tables, without a line of drawing.

Each returns a dict of DataFrames and plain values, ready for a HoloViews Pipe. Always among them: ``outages``
(time_s, until_s), ``sentence`` (time_s, a height, text: one row when there is nothing to draw, and why), ``end_s``,
``limits`` (of the upright axis) and ``note`` (what the reader must know about the picture, or an empty string).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis.metrics import format_share, merged
from hustle_sim.analysis.palette import FATE, OUTCOME, QUEUE, STATUS, TRAFFIC, Look
from hustle_sim.analysis.shapes import (
    bar_columns,
    count_by,
    elapsed,
    from_to,
    nice_width_s,
    no_bars,
    no_line,
    stacked,
    staircase,
)
from hustle_sim.inputs import format_duration

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

Data = dict[str, Any]

POINTS = 20_000
"""Points of one kind that are drawn; beyond that they are thinned, and the note says so."""

BINS = 300
"""Stretches of time into which long runs are cut: about one for each few pixels."""

FLOOR_S = 0.001
"""Attempts that took less are drawn here: a logarithmic axis has no place for nothing."""

_HARD = ("refuse", "hang", "error", "bad_body", "flap")


def latency_data(run: Recording, limit: int = POINTS) -> Data:
    """Every attempt with its latency, thinned beyond ``limit``, and the p50 and p95 of those that were waited for.

    ``points``: time_s, shown_s (never below ``FLOOR_S``), outcome (in words), size, latency_s, kind, client, number,
    row (in ``run.attempts``: for clicks, and not drawn).
    ``p50`` and ``p95``: time_s, latency_s, over attempts for messages that were answered or timed out.
    """
    attempts = run.attempts
    ok = (attempts["outcome"] == "ok").to_numpy()
    every_ok, every_other = _every(int(ok.sum()), limit), _every(int((~ok).sum()), limit)
    kept = np.concatenate([np.flatnonzero(ok)[::every_ok], np.flatnonzero(~ok)[::every_other]])
    kept.sort()
    drawn = attempts.iloc[kept]
    shown_s = np.maximum(drawn["latency_s"].to_numpy(np.float64), FLOOR_S)
    deadline_s = run.policy.request.deadline_s
    smaller = 2 if len(drawn) > limit / 4 else 0
    outcome = drawn["outcome"].astype(object)
    points = pd.DataFrame(
        {
            "time_s": drawn["time_s"].to_numpy(),
            "shown_s": shown_s,
            "outcome": outcome.map(_words(OUTCOME)).fillna(outcome).to_numpy(),
            "size": np.where(drawn["kind"] == "probe", 4, np.where(outcome == "ok", 5, 8)) - smaller,
            "latency_s": drawn["latency_s"].to_numpy(),
            "kind": drawn["kind"]
            .map({"probe": "health check", "message": "message", "replay": "replay"})
            .astype(object),
            "client": drawn["client"].to_numpy(),
            "number": drawn["number"].to_numpy(),
            "row": kept,
        }
    )
    waited = attempts[(attempts["kind"] != "probe") & attempts["outcome"].isin(["ok", "timeout"])]
    p50, p95 = _percentiles(waited, run.duration_s)
    notes = [f"1 of {every_ok} ok attempts drawn"] if every_ok > 1 else []
    notes += [f"1 of {every_other} others drawn"] if every_other > 1 else []
    return {
        **common(
            run, "latency_s", (shown_s.min(initial=0.1) / 2, max(shown_s.max(initial=0.0), deadline_s) * 2),
            "No attempts in this run." if attempts.empty else "", ", ".join(notes),
        ),
        "points": points,
        "p50": p50,
        "p95": p95,
        "deadline": level(run, "latency_s", deadline_s),
    }  # fmt: skip


def status_data(run: Recording, client: int | None = None) -> Data:
    """The verdict of one client under the truth; ``client`` None takes the only one, or the shares of a fleet.

    ``bands``: time_s, band_from, until_s, band_to, status, words. The verdict is drawn from 0 to
    1, the truth from 1.2 to 2.2.
    """
    transitions, end_s = run.transitions, run.duration_s
    watched = np.unique(np.concatenate([run.probes["client"], transitions["client"]])).astype(np.int64)
    fleet = client is None and len(watched) > 1
    if client is None and not fleet:
        client = int(watched[0]) if len(watched) else 0
    if fleet:
        bands = _fleet_bands(transitions, len(watched), end_s)
    else:
        bands = _client_bands(transitions[transitions["client"] == client], end_s) if client in watched else []
    if run.backend_truth:
        bands += _truth_bands(run)
    note = ""
    if fleet:
        note = f"share of {len(watched):,} clients"
    elif len(watched) > 1:
        note = f"client {client}"
    return {
        **common(
            run, "band_to", (0.0, 2.3 if run.backend_truth else 1.1),
            "" if len(watched) else "No monitor gave a verdict in this run.", note,
        ),
        "bands": pd.DataFrame(bands, columns=bar_columns("band", "status")),
        "rows": [(0.5, "verdict")] + ([(1.7, "truth")] if run.backend_truth else []),
    }  # fmt: skip


def queue_data(run: Recording) -> Data:
    """Messages waiting in all queues together, and what happened to them.

    ``depth``: time_s, depth (a staircase). ``marks``: time_s, depth, event, size, words; in long runs one mark
    stands for all alike within a short time. ``most``: time_s, depth of the limit of a single client's queue.
    """
    queue, end_s = run.queue, run.duration_s
    time_s = queue["time_s"].to_numpy()
    depth = queue["depth"].to_numpy()
    total = np.cumsum(depth - queue.groupby("client")["depth"].shift(fill_value=0).to_numpy())
    if len(queue) > 10 * BINS:
        edges = np.linspace(0.0, end_s, 2 * BINS + 1)
        place = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, 2 * BINS - 1)
        carried = np.concatenate([[0], total])[np.searchsorted(time_s, edges[:-1])]
        np.maximum.at(carried, place, total)
        steps = staircase(edges[:-1], "depth", carried, end_s)
    else:
        steps = staircase(np.concatenate([[0.0], time_s]), "depth", np.concatenate([[0], total]), end_s)
    crowd = run.policy.queue.max_size if len(run.clients) <= 1 else 0
    near = crowd if 2 * total.max(initial=0) >= crowd else 0
    return {
        **common(
            run, "depth", from_zero(max(total.max(initial=0), near)),
            "Nothing was ever queued in this run." if queue.empty else "",
        ),
        "depth": steps,
        "marks": _queue_marks(queue, total, end_s),
        "most": level(run, "depth", near) if near else no_line("depth"),
    }  # fmt: skip


def outcomes_data(run: Recording) -> Data:
    """What became of the messages sent in each stretch of time, stacked, as messages an hour.

    ``bars``: time_s, messages_from, until_s, messages_to, fate, words.
    """
    messages = run.messages
    width_s = nice_width_s(run.duration_s, 96)
    fate = messages["outcome"].astype(object)
    answered = fate == "answered"
    fate = fate.mask(answered & (messages["attempts"] > 1), "after retries")
    fate = fate.mask(answered & (messages["attempts"] <= 1), "first try")
    fate = fate.mask(answered & (messages["source"] == "cache"), "cache")
    fate = fate.replace({"pending": "fallback", "rejected": "fallback"})
    counts = count_by(messages["time_s"].to_numpy(), fate.to_numpy(), FATE, width_s, run.duration_s)
    total = counts.sum(axis=1)
    return {
        **common(
            run, "messages_to", from_zero(total.max(initial=0) * 3600 / width_s),
            "No messages in this run." if messages.empty else "",
        ),
        "bars": stacked(
            counts, width_s, run.duration_s, FATE, ("messages", "fate"), 3600 / width_s,
            lambda row, word, number: f"{_of(number, total[row], 'message')} {_BECAME[word]}",
        ),
    }  # fmt: skip


def load_data(run: Recording) -> Data:
    """Requests inside the backend against its capacity: the most in each stretch of time.

    ``bars``: time_s, requests_from, until_s, requests_to, part, words. ``capacity``: time_s, requests (a staircase).
    """
    backend, end_s = run.backend, run.duration_s
    if backend.empty:
        reason = "The backend was not sampled." if run.backend_truth else "A live session sees only its own requests."
        return {
            **common(run, "requests_to", from_zero(0), reason),
            "bars": no_bars("requests", "part"),
            "capacity": no_line("requests"),
        }
    step = max(1, math.ceil(len(backend) / (2 * BINS)))
    groups = backend.groupby(np.arange(len(backend)) // step, sort=True)
    begins_s = groups["time_s"].first().to_numpy()
    # A sample holds until the next one.
    until_s = np.append(begins_s[1:], max(end_s, begins_s[-1]))
    most = groups[["in_service", "waiting"]].max()
    capacity = groups["capacity"].min().to_numpy()
    bars = []
    for row, (serving, waiting) in enumerate(most.itertuples(index=False)):
        words = f"{serving} in service, {waiting} waiting; room for {capacity[row]}"
        words = f"{words} {from_to(begins_s[row], until_s[row])}"
        if serving:
            bars.append((begins_s[row], 0, until_s[row], serving, "in service", words))
        if waiting:
            bars.append((begins_s[row], serving, until_s[row], serving + waiting, "waiting", words))
    shown = pd.DataFrame(bars, columns=bar_columns("requests", "part"))
    highest = max(most.sum(axis=1).max(), capacity.max())
    return {
        **common(run, "requests_to", from_zero(highest)),
        "bars": shown if bars else no_bars("requests", "part"),
        "capacity": staircase(begins_s, "requests", capacity, end_s),
    }


def arrivals_data(run: Recording) -> Data:
    """Requests a minute that clients sent, by what for, and all that reached the backend, load from elsewhere too.

    ``bars``: time_s, rate_from, until_s, rate_to, traffic, words. ``arrivals``: time_s, per_min (a staircase).
    """
    attempts, backend = run.attempts, run.backend
    sent = attempts[attempts["outcome"] != "rejected"]
    width_s = nice_width_s(run.duration_s, BINS)
    kind = sent["kind"].astype(object)
    kind = kind.mask(kind == "message", np.where(sent["number"] > 1, "retry", "first"))
    counts = count_by(sent["time_s"].to_numpy(), kind.to_numpy(), TRAFFIC, width_s, run.duration_s)
    total = counts.sum(axis=1)
    line = no_line("per_min")
    if len(backend) > 1:
        # What a sample counts arrived since the one before it.
        middle_s = backend["time_s"].to_numpy() - np.diff(backend["time_s"].to_numpy(), prepend=0.0) / 2
        arrived = np.bincount(
            np.clip(middle_s // width_s, 0, len(counts) - 1).astype(np.int64),
            weights=backend["arrivals"].to_numpy(),
            minlength=len(counts),
        )
        line = staircase(
            np.arange(len(counts), dtype=np.float64) * width_s, "per_min", arrived * 60 / width_s, run.duration_s
        )
    return {
        **common(
            run, "rate_to", from_zero(max(total.max(initial=0) * 60 / width_s, line["per_min"].max())),
            "No requests in this run." if sent.empty and line.empty else "",
        ),
        "bars": stacked(
            counts, width_s, run.duration_s, TRAFFIC, ("rate", "traffic"), 60 / width_s,
            lambda row, word, number: f"{_of(number, total[row], 'request')} were {TRAFFIC[word].word}",
        ),
        "arrivals": line,
    }  # fmt: skip


_BECAME = {
    "first try": "were answered at the first try", "after retries": "were answered after retries",
    "cache": "were answered from the cache", "late": "got the fallback, and their answer later",
    "fallback": "got the fallback and nothing more so far", "expired": "expired in the queue",
    "dead": "were given up and kept as dead letters", "lost": "were lost",
}  # fmt: skip


def from_zero(highest: float) -> tuple[float, float]:
    """The limits of an axis that begins at nothing."""
    return 0.0, float(highest) * 1.08 if highest > 0 else 1.0


def common(run: Recording, height: str, limits: tuple[float, float], sentence: str = "", note: str = "") -> Data:
    """What every figure has; ``height`` names the axis on which a sentence is put in the middle of ``limits``."""
    stretches = merged(run.outages) if run.backend_truth else np.empty((0, 2))
    shown = np.clip(stretches, 0.0, run.duration_s)
    # The latency axis is logarithmic, and the verdict is the lower of two rows.
    middle = sum(limits) / 2 if height != "band_to" else 0.5
    if height == "latency_s":
        middle = math.sqrt(limits[0] * limits[1])
    text = pd.DataFrame({"time_s": [run.duration_s / 2], height: [middle], "text": [sentence]})
    return {
        "outages": pd.DataFrame(shown[shown[:, 0] < shown[:, 1]], columns=["time_s", "until_s"]),
        "sentence": text if sentence else text.iloc[:0],
        "end_s": run.duration_s,
        "limits": limits,
        "note": note,
    }


def _every(number: int, limit: int) -> int:
    return max(1, math.ceil(number / max(1, limit)))


def _words(looks: Mapping[str, Look]) -> dict[str, str]:
    return {name: look.word for name, look in looks.items()}


def _of(number: float, total: float, noun: str) -> str:
    return f"{number:,.0f} of {total:,.0f} {noun}{'' if total == 1 else 's'}"


def level(run: Recording, name: str, value: float) -> pd.DataFrame:
    """A line at one height through the whole run."""
    return pd.DataFrame({"time_s": [0.0, run.duration_s], name: [float(value)] * 2})


def _percentiles(waited: pd.DataFrame, duration_s: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """p50 and p95 over time, in pieces that hold about a dozen attempts or more; a gap where there were none."""
    if waited.empty:
        return no_line("latency_s"), no_line("latency_s")
    pieces = int(np.clip(len(waited) // 12, 1, BINS))
    width_s = nice_width_s(duration_s, pieces)
    groups = waited["latency_s"].groupby((waited["time_s"] // width_s).astype(np.int64))
    grid = pd.RangeIndex(0, max(1, math.ceil(duration_s / width_s)))
    lines = []
    for share in (0.5, 0.95):
        values = groups.quantile(share).reindex(grid)
        middle_s = np.minimum((grid.to_numpy() + 0.5) * width_s, duration_s)
        lines.append(pd.DataFrame({"time_s": middle_s, "latency_s": np.maximum(values.to_numpy(np.float64), FLOOR_S)}))
    return lines[0], lines[1]


Band = tuple[float, float, float, float, str, str]


def _client_bands(transitions: pd.DataFrame, end_s: float) -> list[Band]:
    starts_s = [0.0, *transitions["time_s"]]
    ends_s = [*transitions["time_s"], end_s]
    statuses = ["checking", *transitions["current"]]
    reasons = ["", *transitions["reason"]]
    bands: list[Band] = []
    for start_s, until_s, status, reason in zip(starts_s, ends_s, statuses, reasons, strict=True):
        if start_s < until_s:
            words = f"The verdict was {status} {from_to(start_s, until_s)} ({format_duration(until_s - start_s)})"
            words += f": {reason}" if reason else ""
            height = STATUS[status].height if status in STATUS else 1.0
            bands.append((start_s, 0.0, until_s, height, status, words))
    return bands


def _fleet_bands(transitions: pd.DataFrame, watched: int, end_s: float) -> list[Band]:
    """Shares of clients by verdict, seen in the middle of each stretch of time; stretches that are alike are one."""
    width_s = max(end_s, 1.0) / BINS
    seen = np.searchsorted(transitions["time_s"].to_numpy(), (np.arange(BINS) + 0.5) * width_s, side="right")
    rows: list[npt.NDArray[np.int64]] = []
    for status in ("online", "degraded", "offline"):
        came, went = (transitions[side].eq(status).to_numpy(np.int64) for side in ("current", "previous"))
        rows.append(np.concatenate([[0], np.cumsum(came - went)])[seen])
    table = np.stack([watched - np.sum(rows, axis=0), *rows])
    edges = [0, *(np.flatnonzero((np.diff(table, axis=1) != 0).any(axis=0)) + 1), BINS]
    bands: list[Band] = []
    for begin, end in pairwise(edges):
        start_s, until_s, base = begin * width_s, end * width_s, 0.0
        for status, number in zip(STATUS, table[:, begin].tolist(), strict=True):
            if number > 0:
                share = number / watched
                words = f"The verdict was {status} for {number:,} clients ({format_share(share)})"
                bands.append((start_s, base, until_s, base + share, status, f"{words} {from_to(start_s, until_s)}"))
                base += share
    return bands


def _truth_bands(run: Recording) -> list[Band]:
    """The backend as it was: well between the outages, and each outage with what it was."""
    end_s, bands = run.duration_s, []
    stretches = np.clip(merged(run.outages), 0.0, end_s)
    begin_s = 0.0
    for start_s, until_s in [*stretches, (end_s, end_s)]:
        if begin_s < start_s:
            words = f"The backend was well {from_to(begin_s, start_s)} ({format_duration(start_s - begin_s)})"
            bands.append((begin_s, 1.2, start_s, 1.2 + STATUS["online"].height, "online", words))
        begin_s = max(begin_s, until_s)
    outages = run.outages.sort_values("severity", kind="stable")
    columns = (outages[name].tolist() for name in ("start_s", "end_s", "mode", "severity"))
    for begins_s, ends_s, mode, severity in zip(*columns, strict=True):
        start_s, until_s = max(0.0, begins_s), min(ends_s, end_s)
        if start_s < until_s:
            status = "offline" if mode in _HARD and severity >= 0.5 else "degraded"
            words = (
                f"Outage: {mode.replace('_', ' ')}, severity {format_share(severity)}, "
                f"{from_to(start_s, until_s)} ({format_duration(until_s - start_s)})"
            )
            bands.append((start_s, 1.2, until_s, 1.2 + STATUS[status].height, status, words))
    return bands


def _queue_marks(queue: pd.DataFrame, total: npt.NDArray[np.int64], end_s: float) -> pd.DataFrame:
    shown = queue["event"].isin(list(QUEUE)).to_numpy()
    marks = pd.DataFrame(
        {
            "time_s": queue["time_s"].to_numpy()[shown],
            "depth": total[shown],
            "event": queue["event"].astype(object).to_numpy()[shown],
        }
    )
    crowded = len(marks) > 2 * BINS
    piece = (
        (marks["time_s"] // (max(end_s, 1.0) / (BINS / 2))) if crowded else pd.Series(marks.index, index=marks.index)
    )
    groups = marks.groupby([piece.rename("piece"), "event"], sort=False)
    grouped = groups.agg(
        time_s=("time_s", "median"), depth=("depth", "max"), first_s=("time_s", "min"), last_s=("time_s", "max")
    )
    grouped["number"] = groups.size()
    grouped = grouped.reset_index().sort_values("time_s", kind="stable", ignore_index=True)
    columns = (grouped[name].tolist() for name in ("number", "event", "first_s", "last_s", "depth"))
    words = [
        f"{number:,} message{'' if number == 1 else 's'} {QUEUE[event].word} "
        + (f"at {elapsed(first_s)}" if number == 1 else from_to(first_s, last_s))
        + f"; {depth:,} waiting then"
        for number, event, first_s, last_s, depth in zip(*columns, strict=True)
    ]
    trouble = ~grouped["event"].isin(["accepted", "delivered"]).to_numpy()
    sizes = 5 + 2 * np.log10(grouped["number"].to_numpy(dtype=np.float64)) + 3 * trouble
    return pd.DataFrame(
        {
            "time_s": grouped["time_s"].to_numpy(dtype=np.float64),
            "depth": grouped["depth"].to_numpy(dtype=np.float64),
            "event": grouped["event"].map(_words(QUEUE)).to_numpy(dtype=object),
            "size": sizes,
            "words": np.array(words, dtype=object),
        }
    )
