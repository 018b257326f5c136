"""The server's side of the Idempotency-Key header: what a backend that honours keys does with a request it knows.

Source: IETF draft-ietf-httpapi-idempotency-key-header, section 2.6: the same key and payload get the first answer
again, another payload 422, and a request whose original is still running 409.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Verdict(NamedTuple):
    """What to answer at once: 200 with the first answer, 409 or 422."""

    status_code: int
    text: str = ""


@dataclass(slots=True)
class _Entry:
    payload: str
    answer: str | None = None


class Ledger:
    """The keys that a backend knows, at most ``keep`` of them; the oldest finished ones are forgotten first."""

    def __init__(self, keep: int = 100_000) -> None:
        self._entries: dict[str, _Entry] = {}
        self._keep = keep

    def begin(self, key: str, payload: str) -> Verdict | None:
        """A request came in: None means that it is new and is to be processed, and is running from now on."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(payload)
            self._forget_oldest()
            return None
        if entry.payload != payload:
            return Verdict(422)
        return Verdict(409) if entry.answer is None else Verdict(200, entry.answer)

    def finish(self, key: str, answer: str) -> None:
        """The request was processed; its answer is given again from now on."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.answer = answer

    def abort(self, key: str) -> None:
        """The request failed without an effect: the next one with its key is new."""
        entry = self._entries.get(key)
        if entry is not None and entry.answer is None:
            del self._entries[key]

    def _forget_oldest(self) -> None:
        if len(self._entries) <= self._keep:
            return
        finished = next((key for key, entry in self._entries.items() if entry.answer is not None), None)
        if finished is not None:
            del self._entries[finished]
