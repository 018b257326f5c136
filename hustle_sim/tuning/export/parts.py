"""What the exports share: the result, a policy that remembers what was taken from it, exact milliseconds, comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from hustle_sim._version import __version__
from hustle_sim.policy import Policy, PolicyField, policy_fields
from hustle_sim.resilience.outcome import CONSEQUENCES, outcome_of_status

TITLE = f"Made by hustle-sim {__version__} from a policy: change the policy, not this file."

RETRIED_4XX = tuple(code for code in range(400, 500) if CONSEQUENCES[outcome_of_status(code)].may_retry)
"""The statuses below 500 that the resilience code retries; from 500 on it retries all."""


_FIELDS = {field.name: field for field in policy_fields()}


@dataclass(frozen=True, slots=True)
class Export:
    """A policy in another form: ``text`` is the file, ``warnings`` are sentences on what it could not express.

    The warnings stand in the file too, as comments, if there are any.
    """

    text: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


class Taken:
    """A policy that remembers which fields were taken from it, and what was said about the others.

    ``left()`` is what an export has forgotten: neither taken, nor named in a warning, nor switched off.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.warnings: list[str] = []
        self._seen: set[str] = set()

    def number(self, name: str) -> Decimal:
        """A number, exactly as it is written."""
        return exact(float(self._take(name)))

    def whole(self, name: str) -> int:
        """A count."""
        return int(self._take(name))

    def on(self, name: str) -> bool:
        """A switch."""
        return bool(self._take(name))

    def word(self, name: str) -> str:
        """One of some words."""
        return str(self._take(name))

    def why(self, name: str, prefix: str) -> list[str]:
        """The field's unit, reason and name as comment lines."""
        return comment(described(_FIELDS[name]), prefix)

    def warn(self, names: str, text: str) -> None:
        """Say what can't be expressed of the fields ``names``: dotted, with commas between them; ``part.*`` is all."""
        self.warnings.append(f"{names}: {text}")
        self.inert(*names.split(", "))

    def inert(self, *patterns: str) -> None:
        """These fields change nothing in this policy."""
        self._seen |= {
            field.name for field in policy_fields() for pattern in patterns if fnmatchcase(field.name, pattern)
        }

    def left(self) -> list[str]:
        """The fields that were not accounted for."""
        return [field.name for field in policy_fields() if field.name not in self._seen]

    def export(self, lines: Iterable[str], prefix: str) -> Export:
        """The finished file: a title, the warnings as comments, and the lines."""
        head = comment(TITLE, prefix)
        if self.warnings:
            head += ["", *comment("Mind:", prefix)]
            for warning in self.warnings:
                head += comment(warning, f"{prefix}- ", f"{prefix}  ")
        return Export("\n".join([*head, "", *lines]) + "\n", tuple(self.warnings))

    def _take(self, name: str) -> float | int | bool | str:
        self._seen.add(name)
        return self.policy.get(name)


def described(field: PolicyField, unit: str | None = None) -> str:
    """``"[s] Reason. (probe.timeout_s)"``: what stands above a constant."""
    unit = field.unit if unit is None else unit
    return f"{f'[{unit}] ' if unit else ''}{field.reason} ({field.name})"


def comment(text: str, prefix: str, following: str | None = None) -> list[str]:
    """Lines of at most 110 columns, each behind a prefix; ``following`` is the prefix of all but the first."""
    return textwrap.wrap(
        text, 110, initial_indent=prefix, subsequent_indent=prefix if following is None else following,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def exact(value: float) -> Decimal:
    """The number that a person wrote, without the noise of binary fractions: 0.1 is 0.1."""
    return Decimal(repr(value))


def plain(value: Decimal) -> str:
    """A decimal number without exponent and without idle zeros: ``"0.5"``, ``"300"``."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(seconds: Decimal) -> str:
    """Exact milliseconds, whole where they are whole."""
    return plain(seconds * 1000)


def budget_never_binds(policy: Policy) -> bool:
    """Whether each message brings as many retries into the budget as it can use."""
    return policy.retry.budget_share >= policy.request.max_attempts - 1


def missing_app(taken: Taken, tool: str) -> None:
    """What belongs to an app, and no library or proxy has."""
    policy = taken.policy
    if policy.request.late_answer_window_s > 0:
        taken.warn(
            "request.late_answer_window_s",
            f"{tool} gives up a call at its deadline: the answer that is under way is lost, and paid for",
        )
    else:
        taken.inert("request.late_answer_window_s")
    taken.warn(
        "queue.*",
        f"{tool} has no durable queue: a message that fails is the app's to save and to send again "
        f"(the policy keeps up to {policy.queue.max_size})",
    )
    if policy.cache.enabled:
        taken.warn("cache.*", f"{tool} keeps no answers: there is nothing to show when the backend fails")
    else:
        taken.inert("cache.*")
