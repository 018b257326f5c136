"""The linter's rules about requests, retries and the breaker."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hustle_sim.policy import Policy
from hustle_sim.tuning import closed_forms as closed
from hustle_sim.tuning.findings import Finding, defaults_of, of_part, rounded_up, time, tuned
from hustle_sim.tuning.situation import Situation

_HARDLY = 0.1
_NOTHING = 0.01


def deadline_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """The deadline, the attempt's timeout, and the backend's latency."""
    request = policy.request
    deadline_s, timeout_s = request.deadline_s, request.attempt_timeout_s
    given_up_s = deadline_s + request.late_answer_window_s
    if timeout_s > given_up_s:
        yield Finding(
            "error", "hang-is-never-judged",
            ("request.attempt_timeout_s", "request.deadline_s", "request.late_answer_window_s"),
            f"A request that hangs is given up after {time(given_up_s)}, before its timeout of {time(timeout_s)}: "
            "neither the breaker nor the monitor learns that it failed.",
            f"Set the timeout to {time(deadline_s)}.",
            {"request.attempt_timeout_s": deadline_s},
        )  # fmt: skip
    elif timeout_s > deadline_s:
        yield Finding(
            "warning", "attempt-outlives-deadline", ("request.attempt_timeout_s", "request.deadline_s"),
            f"An attempt may take {time(timeout_s)}, but the person has an answer after {time(deadline_s)}: the "
            "timeout is never what ends the wait, and a hang is judged late.",
            f"Set the timeout to {time(deadline_s)} or less.",
            {"request.attempt_timeout_s": deadline_s},
        )  # fmt: skip
    if request.late_answer_window_s == 0:
        yield Finding(
            "warning", "late-answers-thrown-away", ("request.late_answer_window_s",),
            "A request in flight at the deadline is abandoned; the backend goes on and bills it, and the message is "
            "sent again later.",
            "Wait 30 s longer for what is in flight.",
            {"request.late_answer_window_s": 30.0},
        )  # fmt: skip
    yield from _latency_rules(policy, situation)


def _latency_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    p99_s, median_s = situation.latency_p99_s, situation.latency_median_s
    if p99_s is None or median_s is None:
        return
    deadline_s, timeout_s = policy.request.deadline_s, policy.request.attempt_timeout_s
    enough_s = rounded_up(p99_s)
    lease = {} if policy.queue.lease_s >= enough_s else {"queue.lease_s": enough_s + 10}
    # A deadline is shown to the person, a timeout is not: each has its own number to mend.
    if deadline_s < p99_s:
        hopeless = deadline_s < median_s
        share = "more than half" if hopeless else "more than one in a hundred"
        yield Finding(
            "error" if hopeless else "warning",
            "deadline-under-median" if hopeless else "deadline-under-p99", ("request.deadline_s",),
            f"On a good day {share} of the answers take longer than the deadline of {time(deadline_s)} "
            f"(median {time(median_s)}, one in a hundred above {time(p99_s)}).",
            f"Raise the deadline to {time(enough_s)}, if people will wait so long.",
            {"request.deadline_s": enough_s, **lease},
        )  # fmt: skip
    if timeout_s < min(p99_s, deadline_s):
        yield Finding(
            "warning", "timeout-under-p99", ("request.attempt_timeout_s",),
            f"On a good day more than one answer in a hundred takes longer than the timeout of {time(timeout_s)}: "
            "it is paid for and thrown away.",
            f"Raise the timeout to {time(enough_s)}.",
            {"request.attempt_timeout_s": enough_s, **lease},
        )  # fmt: skip


def retry_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """How often an attempt is repeated, and after which wait."""
    request, retry = policy.request, policy.retry
    if request.max_attempts == 1:
        idle = tuned(policy, of_part("retry"))
        if idle:
            yield Finding(
                "note", "retries-off-but-tuned", ("request.max_attempts", *idle),
                "There is one attempt for each message, so the settings of the retries have no effect.",
                "Leave them at their defaults, or allow a second attempt.",
                defaults_of(idle), idle,
            )  # fmt: skip
        return
    if not closed.budget_allows_any(retry):
        # Nothing about waits matters then.
        return
    chances = closed.attempt_chances(policy, situation.refusal_s)
    reached = sum(chance >= _NOTHING for chance in chances)
    second = chances[1] if len(chances) > 1 else 0.0
    if second < _HARDLY:
        short_s = min(retry.base_s, request.deadline_s / 20)
        yield Finding(
            "warning", "retries-never-happen", ("retry.base_s", "request.deadline_s"),
            f"{'Never' if second == 0 else 'Hardly ever'} is there a second attempt: the first wait of "
            f"{time(retry.base_s)} leaves no time before the deadline of {time(request.deadline_s)}.",
            f"Begin with a wait of {time(short_s)}.",
            {"retry.base_s": short_s},
        )  # fmt: skip
    elif reached < request.max_attempts:
        yield Finding(
            "note", "attempts-beyond-deadline", ("request.max_attempts", "request.deadline_s"),
            f"Of {request.max_attempts} attempts {reached} at most begin before the deadline of "
            f"{time(request.deadline_s)}, even on a backend that refuses at once.",
            f"Say so: allow {reached} attempts.",
            {"request.max_attempts": reached},
        )  # fmt: skip
    yield from _wait_rules(policy, situation)


def _wait_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    request, retry = policy.request, policy.retry
    retries = request.max_attempts - 1
    if retry.base_s == 0:
        yield Finding(
            "warning", "retries-without-wait", ("retry.base_s", "retry.factor", "retry.jitter", "retry.cap_s"),
            f"Up to {retries} retries follow at once: a backend that is short of breath gets them all in a moment, "
            "and neither factor nor jitter nor cap has anything to work on.",
            "Wait 0.5 s before the first retry, doubling, with full jitter.",
            {"retry.base_s": 0.5, "retry.factor": 2.0, "retry.jitter": "full", "retry.cap_s": max(retry.cap_s, 60.0)},
            # Decorrelated waits begin to grow once a Retry-After has made one that is not 0.
            ("retry.factor",) if retry.jitter == "decorrelated" else ("retry.factor", "retry.cap_s"),
        )  # fmt: skip
        return
    waits_s = [high_s for _, high_s in closed.wait_ranges_s(retry, retries)]
    free_s = max(high_s for _, high_s in closed.wait_ranges_s(retry.model_copy(update={"cap_s": 1e12}), retries))
    if waits_s[0] <= request.deadline_s < max(waits_s):
        cap_s = max(retry.base_s, request.deadline_s / 4)
        yield Finding(
            "warning", "uncapped-backoff", ("retry.cap_s", "retry.factor", "request.deadline_s"),
            f"The waits grow to {time(max(waits_s))}, past the deadline of {time(request.deadline_s)}: the cap of "
            f"{time(retry.cap_s)} holds nothing back.",
            f"Cap the waits at {time(cap_s)}.",
            {"retry.cap_s": cap_s},
        )  # fmt: skip
    elif free_s < retry.cap_s and retry.jitter != "decorrelated":
        yield Finding(
            "note", "cap-never-reached", ("retry.cap_s",),
            f"With {request.max_attempts} attempts no wait is longer than {time(free_s)}, so the cap of "
            f"{time(retry.cap_s)} has no effect.",
            "It does no harm; lower it if you meant it.",
            {"retry.cap_s": free_s}, ("retry.cap_s",),
        )  # fmt: skip
    if retry.jitter == "none":
        yield Finding(
            "warning" if situation.clients > 1 else "note", "retries-in-step", ("retry.jitter",),
            "Without jitter all clients that fail together try again together.",
            "Use full jitter.",
            {"retry.jitter": "full"},
        )  # fmt: skip


def budget_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """Whether the retry budget is to scale with the traffic."""
    retry, rate = policy.retry, situation.messages_per_hour
    retries = policy.request.max_attempts - 1
    if retries == 0 or rate <= 0:
        return
    fields = ("retry.budget_share", "retry.budget_floor_per_min")
    allowed = closed.retries_allowed(retry, rate)
    usual: dict[str, float | int | bool | str] = {"retry.budget_share": 0.1, "retry.budget_floor_per_min": 10.0}
    if not closed.budget_allows_any(retry):
        yield Finding(
            "error", "budget-allows-no-retry", fields,
            f"{retries} retries are wanted and the budget allows none, ever.",
            "Allow a share of 10 % and 10 a minute, or set the attempts to 1.", usual,
            ("retry.base_s", "retry.factor", "retry.cap_s", "retry.jitter", "retry.retry_after_clamp_s"),
        )  # fmt: skip
    elif allowed < _NOTHING:
        yield Finding(
            "warning", "budget-hardly-allows-retries", fields,
            f"At {rate:.4g} messages an hour the budget allows a retry for one message in {1 / allowed:,.0f}.",
            "Allow a share of 10 % and 10 a minute.", usual,
        )  # fmt: skip
    elif retry.budget_share >= retries:
        yield Finding(
            "warning", "no-retry-budget", fields,
            f"The budget's share pays for every retry, so it never says no: in an outage the load is "
            f"{policy.request.max_attempts} times as high.",
            "Allow a share of 10 % and 10 a minute.", usual,
        )  # fmt: skip
    elif allowed >= retries:
        crowd = situation.clients >= 10
        fits = retry.budget_share + 0.5 < retries
        yield Finding(
            "warning" if crowd else "note", "budget-never-binds", fields,
            f"At {rate:.4g} messages an hour a client never needs more than {retries * rate / 60:.3g} retries a "
            f"minute, and the floor alone allows {retry.budget_floor_per_min:g}"
            + (f", {retry.budget_floor_per_min * situation.clients:,.0f} for all clients." if crowd else "."),
            "Lower the floor to less than one client needs." if fits else "Lower the share and the floor.",
            {"retry.budget_share": min(retry.budget_share, 0.1), "retry.budget_floor_per_min": rate / 120},
        )  # fmt: skip


def sdk_rules(policy: Policy, sdk_retries: int) -> Iterator[Finding]:
    """Retries of an SDK below ours multiply with them."""
    if sdk_retries <= 0:
        return
    attempts = policy.request.max_attempts
    most = attempts * (1 + sdk_retries)
    times = f"{attempts} x {1 + sdk_retries} = {most}" if attempts > 1 else f"{most}"
    yield Finding(
        "error" if most >= 9 else "warning", "retries-stacked-on-an-sdk", ("request.max_attempts",),
        f"The SDK tries each attempt {1 + sdk_retries} times by itself: {times} requests for one message, and neither "
        "budget nor breaker sees the SDK's.",
        "Switch the SDK's retries off (max_retries=0).",
    )  # fmt: skip


def breaker_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    """Whether the breaker opens when it should, and what of it has no effect."""
    breaker = policy.breaker
    others = [name for name in of_part("breaker") if name != "breaker.enabled"]
    if not breaker.enabled:
        idle = tuned(policy, others)
        offline = "only the verdict stops them" if policy.request.fast_fail_offline else "nothing stops them"
        yield Finding(
            "note" if policy.request.fast_fail_offline else "warning", "breaker-off", ("breaker.enabled",),
            f"Without a breaker requests go on to a backend that fails: {offline}.",
            "Switch it on.",
            {"breaker.enabled": True},
        )  # fmt: skip
        if idle:
            yield Finding(
                "note", "breaker-off-but-tuned", ("breaker.enabled", *idle),
                "The breaker is off, so its other settings have no effect.",
                "Switch it on, or leave them at their defaults.",
                {"breaker.enabled": True}, idle,
            )  # fmt: skip
        return
    yield from _opening_rules(policy, situation)
    unused = "breaker.window_calls" if breaker.window == "time" else "breaker.window_s"
    if tuned(policy, [unused]):
        words = "time" if breaker.window == "time" else "calls"
        yield Finding(
            "note", "other-window-tuned", ("breaker.window", unused),
            f"The window is one of {words}, so {unused} has no effect.",
            "Leave it at its default, or choose the other window.",
            defaults_of([unused]), (unused,),
        )  # fmt: skip
    timeout_s = policy.request.attempt_timeout_s
    if breaker.slow_call_s > timeout_s:
        yield Finding(
            "note", "slow-calls-never-counted", ("breaker.slow_call_s", "request.attempt_timeout_s"),
            f"A call is slow from {time(breaker.slow_call_s)} on, but every attempt is over after {time(timeout_s)}: "
            "the breaker never counts one as slow.",
            f"Call it slow from {time(0.75 * timeout_s)} on.",
            {"breaker.slow_call_s": 0.75 * timeout_s}, ("breaker.slow_call_s", "breaker.slow_share"),
        )  # fmt: skip
    closes_s = breaker.half_open_probes * situation.gap_s
    if breaker.half_open_probes > 1 and 600 < closes_s < math.inf:
        yield Finding(
            "note", "closes-late", ("breaker.half_open_probes",),
            f"It closes after {breaker.half_open_probes} good trial calls: at {situation.messages_per_hour:.4g} "
            f"messages an hour that may take {time(closes_s)}.",
            "One trial call is enough.",
            {"breaker.half_open_probes": 1},
        )  # fmt: skip


def _opening_rules(policy: Policy, situation: Situation) -> Iterator[Finding]:
    breaker = policy.breaker
    if situation.messages_per_hour <= 0:
        return
    gap_s = situation.gap_s
    refused, hanging = closed.opening(policy, gap_s, situation.refusal_s), closed.opening(policy, gap_s, math.inf)
    fields = ("breaker.min_calls", "breaker.window_s" if breaker.window == "time" else "breaker.window_calls")
    rate = f"At {situation.messages_per_hour:.4g} messages an hour, evenly spaced,"
    mend, changes = _that_opens(policy, situation)
    if refused.verdict == "never":
        yield Finding(
            "error", "breaker-never-opens", fields,
            f"{rate} the breaker never opens on a dead backend: {refused.reason}.", mend, changes,
        )  # fmt: skip
    elif hanging.verdict == "never":
        yield Finding(
            "warning", "breaker-never-opens-on-a-hang", fields,
            f"{rate} the breaker never opens on a backend that hangs: {hanging.reason}.", mend, changes,
        )  # fmt: skip
    elif "may" in (refused.verdict, hanging.verdict):
        how = "refuses" if refused.verdict == "may" else "hangs"
        yield Finding(
            "note", "breaker-opens-by-luck", fields,
            f"{rate} the breaker may never open on a backend that {how}: {refused.reason or hanging.reason}.",
            mend, changes,
        )  # fmt: skip
    alone = closed.pursuit(policy, situation.refusal_s).attempts[1]
    if 1 < breaker.min_calls <= alone or breaker.min_calls == 1:
        calls = policy.request.max_attempts + 2
        room = {"breaker.window_calls": calls} if breaker.window == "count" and breaker.window_calls < calls else {}
        yield Finding(
            "note", "one-message-opens-the-breaker", ("breaker.min_calls", "request.max_attempts"),
            f"The failed attempts of one message ({alone} at most) can open the breaker for all, since "
            f"{breaker.min_calls} are enough.",
            f"Ask for {calls} calls.",
            {"breaker.min_calls": calls, **room},
        )  # fmt: skip


def _that_opens(policy: Policy, situation: Situation) -> tuple[str, dict[str, float | int | bool | str]]:
    """A window that holds enough calls, refused or hanging: of time if that is an hour at most, else of calls."""
    calls = policy.breaker.min_calls
    window_s = rounded_up((calls + 1) * situation.gap_s + 2 * policy.request.deadline_s)
    if policy.breaker.window == "time" and window_s <= 3600:
        changes: dict[str, float | int | bool | str] = {"breaker.window_s": window_s}
        words = f"Judge the calls of the last {time(window_s)}."
    else:
        calls = min(calls, 5)
        changes = {"breaker.window": "count", "breaker.window_calls": 20, "breaker.min_calls": calls}
        words = f"Judge the last 20 calls, whenever they were, from {calls} on."
    request = policy.request
    if request.attempt_timeout_s > request.deadline_s:
        # What the late-answer window cuts short does not count, however wide the window is.
        changes["request.attempt_timeout_s"] = request.deadline_s
        words += f" And set the timeout of an attempt to {time(request.deadline_s)}."
    return words, changes
