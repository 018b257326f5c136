"""What was seen going wrong, as a scenario: a recorded day can be simulated again, under another policy."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.analysis.recording import Recording
from hustle_sim.inputs import InputError
from hustle_sim.simulation.scenario import Scenario

_MODES: dict[str, dict[str, Any]] = {
    "timeout": {"mode": "hang"},
    "refused": {"mode": "refuse"},
    "dns": {"mode": "refuse"},
    "tls": {"mode": "refuse"},
    "rate_limited": {"mode": "error", "status": 429},
    "overloaded": {"mode": "error", "status": 503},
    "http_5xx": {"mode": "error", "status": 500},
    "http_4xx": {"mode": "error", "status": 400},
    "bad_body": {"mode": "bad_body"},
}
_SHORTEST_S = 1.0
_CLIENTS = 10
_MOST_FACTOR = 1000.0


def scenario_of(run: Recording) -> Scenario:
    """The outages that a live session saw, at their times, as a scenario of the same length.

    An outage lasts from the first failed (or slow) health check of an incident to the first good one after it: the
    verdict is later than the truth. What the failed checks met says how it goes wrong; a share of failures below
    90 % is kept. The backend on a good day is a scenario's usual one, but for its health check; ten clients send some
    200 messages in all, or one a minute each if that is more. Raises InputError if no incident was seen.
    """
    probes = run.probes
    good = ((probes["outcome"] == "ok") & (probes["status"] != "degraded")).to_numpy()
    spans = [_outage(run, probes, good, *incident) for incident in _incidents(run)]
    outages = [span for span in spans if span is not None]
    if not outages:
        raise InputError("no incident was seen yet: there is nothing to replay")
    healthy = probes.loc[good, "latency_s"]
    backend = {"health_latency": float(max(healthy.median(), 0.001))} if len(healthy) else {}
    return Scenario.from_dict(
        {
            "name": "recorded",
            "description": f"What a live session saw of {run.label or 'a backend'}.",
            "duration_s": max(run.duration_s, _SHORTEST_S),
            "start": run.start.isoformat(),
            "backend": backend,
            "clients": {"count": _CLIENTS, "messages_per_hour": _pace(run.duration_s)},
            "outages": outages,
        }
    )


def _pace(duration_s: float) -> float:
    """Messages an hour of each client: enough of them in a short recording to see what an outage does."""
    return min(max(60.0, 20 * 3600 / max(duration_s, _SHORTEST_S)), 36_000.0)


def _incidents(run: Recording) -> list[tuple[float, float]]:
    """From each change to the worse to the next change to ``online``."""
    found: list[tuple[float, float]] = []
    begin: float | None = None
    for time_s, current in run.transitions[["time_s", "current"]].itertuples(index=False):
        if current in ("degraded", "offline"):
            begin = float(time_s) if begin is None else begin
        elif begin is not None:
            found.append((begin, float(time_s)))
            begin = None
    if begin is not None:
        found.append((begin, run.duration_s))
    return found


def _outage(
    run: Recording, probes: pd.DataFrame, good: npt.NDArray[np.bool_], begin_s: float, end_s: float
) -> dict[str, Any] | None:
    """One incident as an ``[[outages]]`` table, or None if no check of it is known any more."""
    times_s = probes["time_s"].to_numpy(np.float64)
    ok = (probes["outcome"] == "ok").to_numpy()
    first = int(np.searchsorted(times_s, begin_s, side="right"))
    # The checks that led to the verdict came before it.
    while first > 0 and not good[first - 1]:
        first -= 1
    last = int(np.searchsorted(times_s, end_s, side="right"))
    bad = [index for index in range(first, last) if not good[index]]
    if not bad:
        return None
    until_s = next((float(times_s[index]) for index in range(bad[-1] + 1, len(times_s))), run.duration_s)
    start_s = float(times_s[bad[0]])
    span = {"at_s": round(start_s, 3), "lasts_s": round(max(until_s - start_s, 0.001), 3)}
    inside = probes.iloc[first : bad[-1] + 1]
    failed = inside[~ok[first : bad[-1] + 1]]
    if failed.empty:
        usual_s = statistics.median(probes.loc[good, "latency_s"]) if good.any() else 0.0
        factor = float(inside["latency_s"].median()) / max(usual_s, 0.001)
        return {**span, "mode": "slow", "factor": round(min(max(factor, 1.0), _MOST_FACTOR), 2)}
    (outcome, _), *_ = Counter(failed["outcome"]).most_common(1)
    how = dict(_MODES.get(outcome, _MODES["http_5xx"]))
    codes = failed.loc[(failed["outcome"] == outcome) & failed["status_code"].notna(), "status_code"]
    if how["mode"] == "error" and len(codes):
        how["status"] = int(codes.mode().iloc[0])
    share = len(failed) / (bad[-1] + 1 - first)
    return {**span, **how, **({"share": round(share, 3)} if share < 0.9 else {})}
