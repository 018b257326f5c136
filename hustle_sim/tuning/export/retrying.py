"""A policy as a retry decorator of tenacity or stamina."""

from __future__ import annotations

from decimal import Decimal

from hustle_sim.policy import Policy
from hustle_sim.tuning.export.parts import (
    RETRIED_4XX,
    Export,
    Taken,
    budget_never_binds,
    missing_app,
    plain,
)

_MAY_RETRY = f"""\
def may_retry(error: BaseException) -> bool:
    \"\"\"Timeouts, broken connections, statuses {", ".join(map(str, RETRIED_4XX))} and from 500 on; nothing else.\"\"\"
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status >= 500 or status in {RETRIED_4XX!r}
    return isinstance(error, (TimeoutError, ConnectionError, httpx.TransportError))
"""


def tenacity(policy: Policy) -> Export:
    """A decorator ``backend_retry`` made of tenacity's parts. Waits and attempts are the policy's, exactly."""
    taken = Taken(policy)
    stop = (
        f"tenacity.stop_after_attempt({taken.whole('request.max_attempts')}) | "
        f"tenacity.stop_before_delay({_time_to_wait(taken)})"
    )
    jitter = taken.word("retry.jitter")
    lines = [
        *(["import random", ""] if jitter == "decorrelated" else []),
        "import httpx",
        "import tenacity",
        "",
        *_times(taken),
        *_MAY_RETRY.splitlines(),
        "",
        "",
        *_reasons(taken),
        *_tenacity_wait(taken, jitter),
        "",
        "backend_retry = tenacity.retry(",
        f"    stop={stop},",
        "    wait=backoff,",
        "    retry=tenacity.retry_if_exception(may_retry),",
        "    reraise=True,",
        ")",
        f'"""{_USE}"""',
    ]
    taken.warn(
        "request.attempt_timeout_s, request.deadline_s",
        "tenacity never interrupts an attempt: stop_before_delay only decides whether to wait for another one. "
        "Use asyncio.timeout, as shown below",
    )
    _missing(taken, "tenacity")
    if _hints_matter(taken):
        taken.warn(
            "retry.retry_after_clamp_s",
            "tenacity does not read Retry-After: the backend's wish is ignored and the own wait is kept",
        )
    return taken.export(lines, "# ")


def stamina(policy: Policy) -> Export:
    """A decorator ``backend_retry`` made of stamina's settings, as near to the policy's waits as they come."""
    taken = Taken(policy)
    attempts = taken.whole("request.max_attempts")
    base, factor, cap = (taken.number(f"retry.{name}") for name in ("base_s", "factor", "cap_s"))
    jitter = taken.word("retry.jitter")
    first, added = {
        "none": (base, Decimal(0)),
        "full": (base / 2, base / 2),
        "equal": (base / 2, base / 2),
        "decorrelated": (base, 2 * base),
    }[jitter]
    lines = [
        "import httpx",
        "import stamina",
        "",
        *_times(taken),
        *_MAY_RETRY.splitlines(),
        "",
        "",
        *_reasons(taken),
        "backend_retry = stamina.retry(",
        "    on=may_retry,",
        f"    attempts={attempts},",
        f"    timeout={_time_to_wait(taken)},",
        f"    wait_initial={plain(first)},",
        f"    wait_max={plain(cap)},",
        f"    wait_jitter={plain(added)},",
        f"    wait_exp_base={plain(factor)},",
        ")",
        f'"""{_USE}"""',
    ]
    if jitter != "none" and base > 0 and cap > 0 and attempts > 1:
        taken.warn("retry.jitter", _stamina_jitter(jitter, base, factor, cap, first, added, attempts))
    taken.warn(
        "request.attempt_timeout_s, request.deadline_s",
        "stamina's timeout is looked at after a failed attempt only: it interrupts no attempt, and a wait that "
        "began before it is slept to its end and followed by one more attempt. Use asyncio.timeout, as shown below",
    )
    _missing(taken, "stamina")
    if _hints_matter(taken):
        taken.warn(
            "retry.retry_after_clamp_s",
            "Retry-After is not honoured: stamina takes a wait from a backoff hook only in place of its own, and "
            "the policy needs the longer of the two",
        )
    return taken.export(lines, "# ")


_USE = """For functions that send one request, the same for each:

    @backend_retry
    async def attempt(text):
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
            response = await client.post("/chat", json={"message": text}, timeout=None)
            response.raise_for_status()
            return response.json()

    async with asyncio.timeout(DEADLINE_S):
        reply = await attempt("How do I start?")

Set the retries of the SDK below it to 0, or they multiply.
"""


def _times(taken: Taken) -> list[str]:
    return [
        *taken.why("request.deadline_s", "# "),
        f"DEADLINE_S = {plain(taken.number('request.deadline_s'))}",
        *taken.why("request.attempt_timeout_s", "# "),
        f"ATTEMPT_TIMEOUT_S = {plain(taken.number('request.attempt_timeout_s'))}",
        "",
        "",
    ]


def _time_to_wait(taken: Taken) -> str:
    """No retry begins later than this after the first attempt began."""
    return plain(taken.number("request.deadline_s") - taken.number("queue.save_margin_s"))


def _reasons(taken: Taken) -> list[str]:
    names = ("request.max_attempts", "retry.base_s", "retry.factor", "retry.cap_s", "retry.jitter")
    return [line for name in names for line in taken.why(name, "# ")]


def _tenacity_wait(taken: Taken, jitter: str) -> list[str]:
    base, factor, cap = (taken.number(f"retry.{name}") for name in ("base_s", "factor", "cap_s"))
    if not base or not cap:
        return ["backoff = tenacity.wait_none()"]
    if jitter == "decorrelated":
        return [
            "def backoff(state: tenacity.RetryCallState) -> float:",
            '    """Drawn from the first wait up to three times the previous one."""',
            f"    longest = max({plain(base)}, 3 * (state.upcoming_sleep or {plain(base)}))",
            f"    return min({plain(cap)}, random.uniform({plain(base)}, longest))",
            "",
        ]

    def part(kind: str, share: int) -> str:
        return f"tenacity.{kind}(multiplier={plain(base / share)}, exp_base={plain(factor)}, max={plain(cap / share)})"

    return {
        "none": [f"backoff = {part('wait_exponential', 1)}"],
        "full": [f"backoff = {part('wait_random_exponential', 1)}"],
        "equal": [f"backoff = {part('wait_exponential', 2)} + {part('wait_random_exponential', 2)}"],
    }[jitter]


def _stamina_jitter(
    jitter: str, base: Decimal, factor: Decimal, cap: Decimal, first: Decimal, added: Decimal, attempts: int
) -> str:
    """What stamina's waits are, in figures, where the policy's are others."""

    def span(low: Decimal, high: Decimal) -> str:
        return f"{plain(min(low, cap).normalize())} to {plain(min(high, cap).normalize())} s"

    retries = range(min(attempts - 1, 3))
    ours = ", ".join(span(first * factor**n, first * factor**n + added) for n in retries)
    if jitter == "decorrelated":
        wanted = f"each drawn between {plain(base)} s and three times the one before"
    else:
        least = 0 if jitter == "full" else Decimal("0.5")
        waits = [min(cap, base * factor**n) for n in retries]
        wanted = ", ".join(span(least * wait, wait) for wait in waits)
    return (
        f"stamina adds one U(0, {plain(added)} s) to every wait and none at the cap, so that the first waits are "
        f"{ours} where the policy ({jitter} jitter) has {wanted}"
    )


def _hints_matter(taken: Taken) -> bool:
    matter = taken.number("retry.retry_after_clamp_s") > 0 and taken.whole("request.max_attempts") > 1
    if not matter:
        taken.inert("retry.retry_after_clamp_s")
    return matter


def _missing(taken: Taken, tool: str) -> None:
    """What a library of retries does not have at all."""
    policy = taken.policy
    attempts = policy.request.max_attempts
    if policy.breaker.enabled:
        taken.warn(
            "breaker.*",
            f"{tool} has no circuit breaker: in an outage every message goes on with up to {attempts} attempts",
        )
    else:
        taken.inert("breaker.*")
    if attempts > 1 and not budget_never_binds(policy):
        taken.warn(
            "retry.budget_share, retry.budget_floor_per_min",
            f"{tool} has no retry budget: when all fails, {attempts} attempts a message are {attempts} times the load, "
            f"where the policy allows {1 + policy.retry.budget_share:g} times and "
            f"{policy.retry.budget_floor_per_min:g} retries a minute",
        )
    else:
        taken.inert("retry.budget_*")
    taken.warn(
        "probe.*, request.fast_fail_offline",
        f"{tool} probes nothing: it does not know that the backend is offline before a message has failed",
    )
    missing_app(taken, tool)
