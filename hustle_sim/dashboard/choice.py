"""What a visitor chose to simulate: scenario, policy, seed, and the policy it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from hustle_sim.dashboard.jobs import Request
from hustle_sim.dashboard.scenario_files import FIRST, bundled
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation.scenario import Scenario

DEFAULT_SCENARIO = FIRST
DEFAULT_SEED = 7
BASELINE = "original"


@cache
def preset(name: str) -> Policy:
    """The policy of a preset. Raises InputError for an unknown name."""
    return Policy.preset(name)


def preset_of(policy: Policy) -> str:
    """The name of the preset that equals ``policy``, or nothing."""
    return next((name for name in PRESETS if preset(name) == policy), "")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two policies: ``policy``, and the name of the preset that it began as."""

    preset: str
    policy: Policy

    @classmethod
    def of(cls, name: str) -> Side:
        """A preset as it is. Raises InputError for an unknown name."""
        return cls(name, preset(name))

    @property
    def changes(self) -> dict[str, float | int | bool | str]:
        """The fields that are not as in the preset."""
        base = preset(self.preset).flat()
        return {name: value for name, value in self.policy.flat().items() if value != base[name]}


@dataclass(frozen=True, slots=True)
class Choice:
    """All that the results of the place follow from. ``mine`` is A, ``other`` is B; ``both`` shows B's figures too."""

    scenario: Scenario
    mine: Side
    seed: int
    other: Side
    both: bool = False

    @property
    def labels(self) -> tuple[str, str]:
        """What the two policies are called: presets by their names."""
        mine, other = preset_of(self.mine.policy), preset_of(self.other.policy)
        return mine or "your policy", other or "pinned policy"

    @property
    def requests(self) -> tuple[Request, Request]:
        """The two simulations, A's and B's."""
        labels = self.labels
        return (
            Request(self.scenario, self.mine.policy, self.seed, labels[0]),
            Request(self.scenario, self.other.policy, self.seed, labels[1]),
        )


@cache
def default_choice() -> Choice:
    """What a first visit shows."""
    return Choice(bundled()[DEFAULT_SCENARIO], Side.of("default"), DEFAULT_SEED, Side.of(BASELINE))


def seed_of(value: Any) -> int:
    """A seed. Raises InputError with one sentence for what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(f"seed: a whole number from 0 up is needed, not {value!r}")
    return value
