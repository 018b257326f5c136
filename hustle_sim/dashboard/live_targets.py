"""What is watched, without a widget in sight: the list of targets, as a visitor types it and as an address has it.

The list is the visitor's own and stands in the address (``?place=live&watch=practice@5s+https://api.example.com@1min``),
so that it survives a reload, a restart of the server and a bookmark. The watching is shared with all who watch the
same target at the same pace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hustle_sim.inputs import InputError
from hustle_sim.resilience.http import parse_url

PRACTICE = "practice"
"""The practice backend of this process, in a list of targets: its port is another one each time."""

INTERVALS_S = {"1 s": 1.0, "5 s": 5.0, "15 s": 15.0, "1 min": 60.0, "5 min": 300.0}
"""How often a backend may be probed while it is well."""

USUAL = "5 s"

MOST = 12
"""Targets on one page: more would not fit on a wall, or be looked at."""


@dataclass(frozen=True, slots=True)
class Target:
    """A backend (its URL, or ``practice``) and how often it is probed (a key of ``INTERVALS_S``)."""

    url: str
    every: str = USUAL

    @property
    def name(self) -> str:
        """What it is called on the screen."""
        return "Practice backend" if self.is_practice else self.url.partition("://")[2]

    @property
    def is_practice(self) -> bool:
        """Whether it is the practice backend of this process."""
        return self.url == PRACTICE

    @property
    def interval_s(self) -> float:
        """Seconds between its probes while it is well."""
        return INTERVALS_S[self.every]


def target_of(text: str, every: str = USUAL) -> Target:
    """The target that somebody typed; an empty text is the practice backend. Raises InputError with one sentence."""
    words = text.strip()
    if words.lower() in ("", PRACTICE):
        return Target(PRACTICE, every)
    return Target(str(parse_url(words)), every)


def with_one_more(targets: Sequence[Target], target: Target) -> tuple[Target, ...]:
    """The list with ``target`` at its end. Raises InputError if it is there already, or the list is full."""
    if any(known.url == target.url for known in targets):
        raise InputError(f"{target.name} is watched already: remove it first to watch it at another pace")
    if len(targets) >= MOST:
        raise InputError(f"{MOST} targets are watched already, and more do not fit: remove one first")
    return (*targets, target)


def without(targets: Iterable[Target], url: str) -> tuple[Target, ...]:
    """The list without the target that has this URL."""
    return tuple(target for target in targets if target.url != url)


def read_targets(text: str) -> tuple[tuple[Target, ...], str]:
    """The list that ``write_targets`` wrote, and one sentence about what in it can't be watched (empty: all can)."""
    targets: tuple[Target, ...] = ()
    problem = ""
    for word in text.split():
        try:
            targets = with_one_more(targets, _read(word))
        except InputError as error:
            problem = problem or str(error)
    return targets, problem


def write_targets(targets: Iterable[Target]) -> str:
    """The list as one argument of an address."""
    return " ".join(f"{target.url}@{_short(target.every)}" for target in targets)


def _read(word: str) -> Target:
    url, sign, pace = word.rpartition("@")
    # A URL may have an @ in its path: what follows the last one is a pace, or a part of it.
    if not sign or "/" in pace:
        return target_of(word)
    known = {_short(every): every for every in INTERVALS_S}
    if pace not in known:
        raise InputError(f"{pace!r} is no pace of probing: it is one of {', '.join(known)}")
    return target_of(url, known[pace])


def _short(every: str) -> str:
    return every.replace(" ", "")
