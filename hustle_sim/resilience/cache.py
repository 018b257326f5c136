"""Answers kept for questions that come again: fresh ones save an attempt, stale ones stand in for the backend."""

from __future__ import annotations

from collections import OrderedDict

from hustle_sim.policy import CachePolicy


class ResponseCache:
    """The answers of the last questions, least recently used out first. Times are loop times, in seconds."""

    def __init__(self, policy: CachePolicy) -> None:
        self._policy = policy
        self._answers: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def fresh(self, question: str, now_s: float) -> str | None:
        """The answer, if it is younger than ``fresh_s``."""
        return self._younger_than(self._policy.fresh_s, question, now_s)

    def stale(self, question: str, now_s: float) -> str | None:
        """The answer, if it is younger than ``stale_s``: for when the backend fails (stale-if-error, RFC 5861)."""
        return self._younger_than(self._policy.stale_s, question, now_s)

    def put(self, question: str, answer: str, now_s: float) -> None:
        """Keep an answer that the backend gave."""
        if not self._policy.enabled:
            return
        key = _key(question)
        self._answers[key] = (now_s, answer)
        self._answers.move_to_end(key)
        if len(self._answers) > self._policy.max_entries:
            self._answers.popitem(last=False)

    def _younger_than(self, limit_s: float, question: str, now_s: float) -> str | None:
        if not self._policy.enabled:
            return None
        key = _key(question)
        kept = self._answers.get(key)
        if kept is None or now_s - kept[0] >= limit_s:
            return None
        self._answers.move_to_end(key)
        return kept[1]


def _key(question: str) -> str:
    """Questions that differ only in case and spaces are the same question."""
    return " ".join(question.casefold().split())
