"""How an attempt can end, and the one place that says what follows from each end."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """The end of an attempt: exactly one of these. ``REJECTED`` means that nothing was sent."""

    OK = "ok"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    DNS = "dns"
    TLS = "tls"
    HTTP_4XX = "http_4xx"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    HTTP_5XX = "http_5xx"
    BAD_BODY = "bad_body"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Consequence(NamedTuple):
    """What an outcome means for each part.

    ``against_backend``: the breaker counts a failure and the monitor takes it as evidence.
    ``may_retry``: another attempt may end differently.
    ``against_item``: the backend judged the message itself; a queued item loses one of its attempts.
    ``fate_unknown``: it was sent and may have been processed.
    ``words``: what a person is told.
    """

    against_backend: bool
    may_retry: bool
    against_item: bool
    fate_unknown: bool
    words: str


_BUSY = "The coach is very busy right now."
_AWAY = "The coach can't be reached right now."

CONSEQUENCES: dict[Outcome, Consequence] = {
    Outcome.OK: Consequence(False, False, False, False, "Answered by the coach."),
    Outcome.TIMEOUT: Consequence(True, True, False, True, "The coach is taking longer than usual."),
    Outcome.REFUSED: Consequence(True, True, False, False, _AWAY),
    Outcome.DNS: Consequence(True, True, False, False, _AWAY),
    Outcome.TLS: Consequence(True, False, False, False, "No safe connection to the coach could be made."),
    Outcome.HTTP_4XX: Consequence(False, False, True, False, "The coach could not accept this message."),
    Outcome.RATE_LIMITED: Consequence(True, True, False, False, _BUSY),
    Outcome.OVERLOADED: Consequence(True, True, False, False, _BUSY),
    Outcome.HTTP_5XX: Consequence(True, True, False, True, "The coach had a problem with its server."),
    Outcome.BAD_BODY: Consequence(True, True, False, True, "The coach's answer could not be read."),
    Outcome.CANCELLED: Consequence(False, False, False, True, "The request was cancelled."),
    Outcome.REJECTED: Consequence(False, False, False, False, "The coach is taking a short break."),
}


def outcome_of_status(status_code: int, expected: int = 200) -> Outcome:
    """The outcome that an HTTP status stands for, before the body is looked at."""
    if status_code == expected:
        return Outcome.OK
    if status_code == 429:
        return Outcome.RATE_LIMITED
    if status_code in (409, 503, 529):
        # 409: the original of a request with this Idempotency-Key is still running. It is slow, not wrong.
        return Outcome.OVERLOADED
    if status_code >= 500:
        return Outcome.HTTP_5XX
    if status_code >= 400:
        return Outcome.HTTP_4XX
    return Outcome.BAD_BODY
