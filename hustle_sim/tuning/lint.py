"""``lint``: what is the matter with a policy, and what would mend it; the rules are in the files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation.scenario import Scenario
from hustle_sim.tuning import lint_calls, lint_state
from hustle_sim.tuning.findings import SEVERITIES, Finding
from hustle_sim.tuning.situation import Situation, situation_of

Rule = Callable[[Policy, Situation], Iterator[Finding]]

_RULES: tuple[Rule, ...] = (
    lint_state.loss_rules,
    lint_calls.deadline_rules,
    lint_calls.retry_rules,
    lint_calls.budget_rules,
    lint_calls.breaker_rules,
    lint_state.monitor_rules,
    lint_state.flush_rules,
    lint_state.cache_rules,
)


def lint(
    policy: Policy,
    scenario: Scenario | None = None,
    *,
    messages_per_hour: float = 60.0,
    sdk_retries: int = 0,
) -> list[Finding]:
    """What is the matter with a policy, the worst first.

    Rates, latencies and outages are the scenario's, or else assumed: each client sends ``messages_per_hour``, and
    outages last as long as those of a big AI provider. ``sdk_retries``: how often the SDK below repeats a request by
    itself. Each finding's ``changes`` are a policy's that does not have it. Raises InputError for bad numbers.
    """
    if sdk_retries < 0:
        raise InputError(f"sdk_retries is {sdk_retries}: give 0 or more")
    situation = situation_of(scenario, messages_per_hour)

    def sdk_rules(policy: Policy, _: Situation) -> Iterator[Finding]:
        return lint_calls.sdk_rules(policy, sdk_retries)

    found = [
        _with_what_mends(policy, finding, rule, situation)
        for rule in (*_RULES, sdk_rules)
        for finding in rule(policy, situation)
    ]
    # Sorting keeps the order of equals: that of the rules.
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _with_what_mends(policy: Policy, finding: Finding, rule: Rule, situation: Situation) -> Finding:
    """The finding with the changes that are any; with none if the policy would still have it, or not be allowed."""
    changes = {name: value for name, value in finding.changes.items() if policy.get(name) != value}
    try:
        mended = policy.replace(changes)
    except InputError:
        return replace(finding, changes={})
    still = any(left.code == finding.code for left in rule(mended, situation))
    return replace(finding, changes={} if still else changes)
