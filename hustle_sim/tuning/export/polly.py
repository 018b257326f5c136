"""A policy as a resilience pipeline of Polly 8 (C#).

Source of the names and bounds: pollydocs.org, the pages of RetryStrategyOptions,
CircuitBreakerStrategyOptions and TimeoutStrategyOptions.
"""

from __future__ import annotations

from decimal import Decimal

from hustle_sim.policy import Policy
from hustle_sim.tuning.export.parts import (
    RETRIED_4XX,
    Export,
    Taken,
    budget_never_binds,
    milliseconds,
    missing_app,
    plain,
)

_SHORTEST_BREAK_S = Decimal("0.5")
_FEWEST_CALLS = 2


def polly(policy: Policy) -> Export:
    """``BackendResilience.Create()``: from outside to inside: deadline, retries, breaker, attempt timeout."""
    taken = Taken(policy)
    retries = taken.whole("request.max_attempts") - 1
    lines = [
        "using System;",
        "using System.Net.Http;",
        "using System.Threading.Tasks;",
        "using Polly;",
        "using Polly.CircuitBreaker;",
        "using Polly.Retry;",
        "using Polly.Timeout;",
        "",
        "public static class BackendResilience",
        "{",
        "    // A call is cancelled through its token: give it to HttpClient, and set HttpClient.Timeout to infinite.",
        "    public static ResiliencePipeline<HttpResponseMessage> Create() =>",
        "        new ResiliencePipelineBuilder<HttpResponseMessage>()",
        *taken.why("request.deadline_s", "            // "),
        f"            .AddTimeout({_span(taken.number('request.deadline_s'))})",
        *(_retry(taken, retries) if retries else []),
        *_breaker(taken),
        *taken.why("request.attempt_timeout_s", "            // "),
        f"            .AddTimeout({_span(taken.number('request.attempt_timeout_s'))})",
        "            .Build();",
        "",
        "    private static readonly PredicateBuilder<HttpResponseMessage> Failures =",
        "        new PredicateBuilder<HttpResponseMessage>()",
        "            .Handle<HttpRequestException>()",
        "            .Handle<TimeoutRejectedException>()",
        f"            .HandleResult(response => (int)response.StatusCode is {' or '.join(map(str, RETRIED_4XX))} "
        "or >= 500);",
        *(_wait(taken) if retries else []),
        "}",
    ]
    if not retries:
        taken.inert("retry.*")
    elif budget_never_binds(policy):
        taken.inert("retry.budget_*")
    else:
        taken.warn(
            "retry.budget_share, retry.budget_floor_per_min",
            f"Polly has no retry budget: when all fails and the breaker is closed, {retries + 1} attempts a message "
            f"are {retries + 1} times the load",
        )
    if retries:
        taken.warn(
            "request.deadline_s",
            "Polly begins a wait that can't end before the deadline: the person gets no answer until then, where the "
            "policy gives up at once",
        )
    taken.warn(
        "probe.*, request.fast_fail_offline",
        "Polly probes nothing: it does not know that the backend is offline before messages have failed",
    )
    missing_app(taken, "Polly")
    return taken.export(lines, "// ")


def _retry(taken: Taken, retries: int) -> list[str]:
    return [
        "            .AddRetry(new RetryStrategyOptions<HttpResponseMessage>",
        "            {",
        "                ShouldHandle = Failures,",
        *taken.why("request.max_attempts", "                // "),
        "                // Polly counts the retries only, the first attempt not.",
        f"                MaxRetryAttempts = {retries},",
        "                DelayGenerator = args => new ValueTask<TimeSpan?>(Wait(args)),",
        "            })",
    ]


def _wait(taken: Taken) -> list[str]:
    """The wait before a retry; a generator, since Polly's own backoff knows neither this jitter nor other factors."""
    base, factor, cap = (taken.number(f"retry.{name}") for name in ("base_s", "factor", "cap_s"))
    clamp = taken.number("retry.retry_after_clamp_s")
    jitter = taken.word("retry.jitter")
    lines = [""]
    if jitter == "decorrelated":
        lines += [
            '    private static readonly ResiliencePropertyKey<double> PreviousSeconds = new("previous-seconds");',
            "",
        ]
    lines += [
        "    private static TimeSpan Wait(RetryDelayGeneratorArguments<HttpResponseMessage> args)",
        "    {",
    ]
    if jitter == "decorrelated":
        lines += [
            "        // Drawn from the first wait up to three times the previous one. "
            "(retry.base_s, retry.cap_s, retry.jitter)",
            f"        double previous = args.Context.Properties.GetValue(PreviousSeconds, {_double(base)});",
            f"        double upper = Math.Max({_double(base)}, 3 * previous);",
            f"        double own = Math.Min({_double(cap)}, {_double(base)} + Random.Shared.NextDouble() * "
            f"(upper - {_double(base)}));",
            "        args.Context.Properties.Set(PreviousSeconds, own);",
        ]
    else:
        lines += [
            *taken.why("retry.base_s", "        // "),
            *taken.why("retry.factor", "        // "),
            *taken.why("retry.cap_s", "        // "),
            f"        double own = Math.Min({_double(cap)}, "
            f"{_double(base)} * Math.Pow({_double(factor)}, Math.Min(args.AttemptNumber, 64)));",
        ]
        lines += {
            "none": [],
            "full": ["        own *= Random.Shared.NextDouble(); // full jitter (retry.jitter)"],
            "equal": ["        own *= 0.5 + 0.5 * Random.Shared.NextDouble(); // equal jitter (retry.jitter)"],
        }[jitter]
    if clamp > 0:
        lines += [
            *taken.why("retry.retry_after_clamp_s", "        // "),
            "        if (args.Outcome.Result?.Headers.RetryAfter?.Delta is TimeSpan hint)",
            "        {",
            f"            own = Math.Max(own, Math.Min(hint.TotalSeconds, own + {_double(clamp)}));",
            "        }",
        ]
        taken.warn(
            "retry.retry_after_clamp_s", "only a Retry-After in seconds is honoured here; one with a date is ignored"
        )
    return [*lines, "        return TimeSpan.FromSeconds(own);", "    }"]


def _breaker(taken: Taken) -> list[str]:
    if not taken.on("breaker.enabled"):
        taken.inert("breaker.*")
        return []
    least = taken.whole("breaker.min_calls")
    open_s = taken.number("breaker.open_s")
    factor, longest = taken.number("breaker.open_factor"), taken.number("breaker.open_max_s")
    jitter = taken.number("breaker.jitter")
    lines = [
        "            .AddCircuitBreaker(new CircuitBreakerStrategyOptions<HttpResponseMessage>",
        "            {",
        "                ShouldHandle = Failures,",
        *taken.why("breaker.window_s", "                // "),
        f"                SamplingDuration = {_span(taken.number('breaker.window_s'))},",
        *taken.why("breaker.min_calls", "                // "),
        f"                MinimumThroughput = {max(least, _FEWEST_CALLS)},",
        *taken.why("breaker.failure_share", "                // "),
        f"                FailureRatio = {_double(taken.number('breaker.failure_share'))},",
        *taken.why("breaker.open_s", "                // "),
        f"                BreakDuration = {_span(max(open_s, _SHORTEST_BREAK_S))},",
    ]
    if factor != 1 or jitter:
        lines += [
            "                // Each failed trial makes the open time longer. "
            "(breaker.open_factor, breaker.open_max_s, breaker.jitter)",
            "                BreakDurationGenerator = args => new ValueTask<TimeSpan>(TimeSpan.FromSeconds(Math.Min(",
            f"                    {_double(longest)},",
            f"                    {_double(open_s)} * Math.Pow({_double(factor)}, Math.Min(args.HalfOpenAttempts, 64))",
            f"                        * (1 + {_double(jitter)} * (2 * Random.Shared.NextDouble() - 1))))),",
        ]
    if least < _FEWEST_CALLS:
        taken.warn("breaker.min_calls", f"Polly judges no fewer than {_FEWEST_CALLS} calls")
    if open_s < _SHORTEST_BREAK_S:
        taken.warn("breaker.open_s", "Polly's BreakDuration is 0.5 s at least")
    _not_in_polly(taken)
    return [*lines, "            })"]


def _not_in_polly(taken: Taken) -> None:
    policy = taken.policy.breaker
    if taken.word("breaker.window") == "count":
        taken.warn(
            "breaker.window, breaker.window_calls",
            f"Polly judges calls of a time only: the last {policy.window_calls} calls became those of "
            f"the last {policy.window_s:g} s",
        )
    else:
        taken.inert("breaker.window_calls")
    if policy.slow_call_s < taken.policy.request.attempt_timeout_s:
        taken.warn(
            "breaker.slow_call_s, breaker.slow_share",
            "Polly counts failures only: slow answers don't open it",
        )
    else:
        taken.inert("breaker.slow_*")
    if taken.whole("breaker.half_open_probes") > 1:
        taken.warn("breaker.half_open_probes", "Polly lets one trial call through at a time")
    taken.warn("breaker.open_s", "Polly's open time is not raised by a Retry-After, and a restart forgets it")


def _span(seconds: Decimal) -> str:
    return f"TimeSpan.FromMilliseconds({milliseconds(seconds)})"


def _double(value: Decimal) -> str:
    text = plain(value)
    return text if "." in text else f"{text}.0"
