"""Many cases of the crash suite, a failing one made small, and what to print of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hustle_sim.inputs import InputError
from hustle_sim.simulation.cases import Case
from hustle_sim.simulation.trials import Verdict, run_case

_SHRINK_RUNS = 300


@dataclass(slots=True)
class Soak:
    """The figures of many cases."""

    cases: int = 0
    crash_cases: int = 0
    simulated_s: float = 0.0
    figures: Counter[str] = field(default_factory=Counter)
    failed: list[Verdict] = field(default_factory=list)

    def count(self, verdict: Verdict) -> None:
        """Take in one more case."""
        self.cases += 1
        self.crash_cases += bool(verdict.figures["crashes"])
        self.simulated_s += verdict.simulated_s
        self.figures.update(verdict.figures)
        if verdict.violations:
            self.failed.append(verdict)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and values, in the order in which they are printed."""
        yield "cases", f"{self.cases:,}"
        yield "cases with crashes", f"{self.crash_cases:,}"
        yield "simulated", f"{self.simulated_s / 3600:,.1f} h"
        for name in ("crashes", "outages", "store errors", "full disk", "slow store calls", "clock jumps"):
            yield f"faults: {name}", f"{self.figures[name]:,}"
        for name in ("messages", "accepted", "delivered"):
            yield name, f"{self.figures[name]:,}"
        for name in sorted(name for name in self.figures if name.startswith("ended ") and name != "ended delivered"):
            yield name, f"{self.figures[name]:,}"
        yield "lost", f"{self.figures['lost']:,}"
        for name in ("duplicated, explained", "duplicated, unexplained"):
            yield name, f"{self.figures[name]:,}"
        yield "cases that failed", f"{len(self.failed):,}"


def soak(
    first: int = 0, cases: int | None = None, *, tell: Callable[[Soak], None] | None = None, give_up_after: int = 10
) -> Soak:
    """Run ``cases`` seeds from ``first`` on (None: until interrupted, or ``give_up_after`` failures)."""
    result = Soak()
    seed = first
    try:
        while (cases is None or seed < first + cases) and len(result.failed) < give_up_after:
            result.count(run_case(Case.draw(seed)))
            seed += 1
            if tell is not None:
                tell(result)
    except KeyboardInterrupt:
        if cases is not None:
            raise
    return result


def violations(case: Case) -> list[str]:
    """What the case violates; nothing if it makes no sense."""
    try:
        return run_case(case).violations
    except InputError:
        return []


def shrink(case: Case, *, runs: int = _SHRINK_RUNS) -> Case:
    """The smallest case that is found to fail still, taking away one piece after another; itself if it is well."""
    if not violations(case):
        return case
    left = runs
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in case.smaller():
            left -= 1
            if left < 0:
                return case
            if violations(smaller):
                case, is_smaller = smaller, True
                break
    return case


def account(verdict: Verdict) -> str:
    """A failing case in words: what it violates, and how to see it again."""
    lines = [f"seed {verdict.case.seed}: {violation}" for violation in verdict.violations[:5]]
    return "\n".join([*lines, f"replay it: hustle-sim replay {verdict.case.seed}"])
