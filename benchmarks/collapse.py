"""Retries that keep a backend down: the stability map, and how likely a short spike of load is to do it.

The model: latency 1/(1 - 0.01 rate) s, three attempts of 3 s, of which 0.2 s are spent on the way there and back, open
loop, no breaker, no budget. ``python -m benchmarks.collapse [folder]`` prints it all and leaves a picture of the map.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hustle_sim import Policy, Scenario, stability
from hustle_sim.tuning.experiment import Replication, measure_all
from hustle_sim.tuning.stability import Stability, share_interval

TIMEOUT_S, ON_THE_WAY_S = 3.0, 0.2
BACKOFF = {"retry.base_s": 20, "retry.factor": 2, "retry.cap_s": 60, "retry.jitter": "full"}


def scenario(load_window_s: float = 10.0) -> Scenario:
    """A backend that knows no limit but its load, and clients that write whatever became of their last message."""
    return Scenario.from_dict(
        {
            "name": "latency-by-load", "duration_s": "10m", "warm_up_s": "30s",
            "backend": {
                "capacity": 1_000_000, "latency": 1.0, "saturates_at_per_s": 100, "load_window_s": load_window_s,
                "health_takes_place": False, "honours_keys": False,
            },
            "clients": {"count": 4, "messages_per_hour": 36_000, "waits": False},
        }
    )  # fmt: skip


def policy(timeout_s: float = TIMEOUT_S - ON_THE_WAY_S, **changes: object) -> Policy:
    """Three attempts, and nothing that holds them back: no wait, no budget, no breaker, no cache, and no queue."""
    return Policy().replace(
        {
            "request.max_attempts": 3, "request.attempt_timeout_s": timeout_s, "request.deadline_s": 600,
            "request.late_answer_window_s": 0, "request.fast_fail_offline": False, "probe.evidence": False,
            "retry.base_s": 0, "retry.cap_s": 0, "retry.jitter": "none",
            "retry.budget_share": 100, "retry.budget_floor_per_min": 100_000,
            "breaker.enabled": False, "cache.enabled": False, "queue.lease_s": 600,
            "queue.max_size": 1, "queue.warn_size": 1, "queue.overflow": "reject", "queue.flush_on": "verdict",
            **changes,
        }
    )  # fmt: skip


def collapse_map(replications: int = 5) -> Stability:
    """Load against the timeout of an attempt."""
    return stability(
        scenario(), policy(), [10, 15, 20, 25, 30, 40, 50, 60, 70], {"request.attempt_timeout_s": [2.0, 2.8, 4.0]},
        replications, judge_s=20, recover_s=90,
    )  # fmt: skip


def after_a_spike(
    factor: float, load_window_s: float = 1.0, replications: int = 40, **changes: object
) -> tuple[float, float, float]:
    """Share of runs at 40/s that don't come back within 2 min of a spike of 5 s, with its interval."""
    per_client = 40 * 3600 / 4
    world = scenario(load_window_s).replace(
        {
            "duration_s": 185, "warm_up_s": 155, "clients.messages_per_hour": per_client, "clients.profile": "burst",
            "clients.bursts": 1, "clients.burst_every_s": 65, "clients.burst_lasts_s": 5,
            "clients.burst_factor": factor,
        }
    )  # fmt: skip
    chosen = policy(**changes)
    answered = measure_all([Replication(world, chosen, seed) for seed in range(replications)])["answered_share"]
    down = int((answered < 0.5).sum())
    return (down / replications, *share_interval(down, replications))


def main(folder: str = ".") -> None:
    """Measure and print."""
    for factor in (1.40, 1.45, 1.50):
        for name, changes in (("no backoff", {}), ("jittered backoff over 20 s and 40 s", BACKOFF)):
            share, low, high = after_a_spike(factor, **changes)
            print(
                f"40/s, {factor:.2f} times for 5 s, {name}: P(collapse) {share:.3f} ({low:.3f} to {high:.3f})",
                flush=True,
            )
    table = collapse_map()
    print(table.drop(columns=["undisturbed_low", "undisturbed_high"]).to_string(index=False))
    import holoviews as hv

    hv.extension("matplotlib")
    hv.save(table.plot(), Path(folder) / "stability.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
