"""Events in, frames out: one pass over the events, one table per kind of thing that happened.

``FRAMES`` says for each frame which columns it has and of which kind; frames have these columns and types even when
they are empty, and after a trip through Parquet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from hustle_sim.events import (
    AttemptEnded,
    BackendSampled,
    BreakerChanged,
    EffectHappened,
    Event,
    MessageAnswered,
    MessageDelivered,
    MessageSent,
    OutageHappened,
    ProbeEnded,
    QueueChanged,
    StatusChanged,
)

SOURCES = ("backend", "cache", "stale", "fallback")
"""Where a first answer can come from."""

FATES = ("answered", "late", "expired", "dead", "pending", "rejected", "lost")
"""How a message can end: exactly one of these."""

KINDS = ("message", "replay", "probe")
"""What an attempt is for."""

OUTCOMES = (
    "ok", "timeout", "refused", "dns", "tls", "http_4xx", "rate_limited", "overloaded", "http_5xx", "bad_body",
    "cancelled", "rejected",
)  # fmt: skip
"""How an attempt can end."""

STATUSES = ("checking", "online", "degraded", "offline")
"""What a monitor can say."""

QUEUE_EVENTS = (
    "accepted", "duplicate", "rejected", "leased", "released", "delivered", "expired", "dead", "cancelled", "dropped",
)  # fmt: skip
"""What can happen to a message in the queue."""

_VIAS = ("direct", "late", "queue")
_BREAKER_STATES = ("closed", "open", "half_open")
_MODES = ("refuse", "hang", "error", "slow", "rate_limit", "brownout", "bad_body", "flap")


@dataclass(frozen=True, slots=True)
class Column:
    """The type of a column.

    ``word`` is a categorical that knows ``words`` first, in their order, and then any others that occur; ``code`` is
    a nullable integer; ``text`` is text of any kind.
    """

    kind: Literal["float", "int", "bool", "text", "word", "code"]
    words: tuple[str, ...] = ()


_FLOAT, _INT, _BOOL, _TEXT, _CODE = Column("float"), Column("int"), Column("bool"), Column("text"), Column("code")


def _word(*words: str) -> Column:
    return Column("word", words)


_CHANGE = {"time_s": _FLOAT, "client": _INT}

FRAMES: Mapping[str, Mapping[str, Column]] = {
    "messages": {
        "message_id": _TEXT, "client": _INT, "time_s": _FLOAT, "priority": _INT, "answer_s": _FLOAT,
        "source": _word(*SOURCES), "queued": _BOOL, "delivered_s": _FLOAT, "outcome": _word(*FATES), "attempts": _INT,
        "via": _word(*_VIAS),
    },
    "attempts": {
        "time_s": _FLOAT, "client": _INT, "message_id": _TEXT, "kind": _word(*KINDS), "number": _INT,
        "wait_s": _FLOAT, "latency_s": _FLOAT, "outcome": _word(*OUTCOMES), "status_code": _CODE,
    },
    "probes": {
        "time_s": _FLOAT, "client": _INT, "latency_s": _FLOAT, "outcome": _word(*OUTCOMES), "status": _word(*STATUSES),
        "status_code": _CODE,
    },
    "transitions": {
        "time_s": _FLOAT, "client": _INT, "previous": _word(*STATUSES), "current": _word(*STATUSES), "reason": _TEXT,
    },
    "breaker": {
        "time_s": _FLOAT, "client": _INT, "previous": _word(*_BREAKER_STATES), "current": _word(*_BREAKER_STATES),
        "reason": _TEXT,
    },
    "queue": {
        "time_s": _FLOAT, "client": _INT, "event": _word(*QUEUE_EVENTS), "message_id": _TEXT, "depth": _INT,
        "reason": _TEXT,
    },
    "backend": {
        "time_s": _FLOAT, "condition": _word("ok", *_MODES), "in_service": _INT, "waiting": _INT, "arrivals": _INT,
        "rejected": _INT, "capacity": _INT,
    },
    "effects": {"time_s": _FLOAT, "client": _INT, "message_id": _TEXT, "number": _INT},
    "outages": {"start_s": _FLOAT, "end_s": _FLOAT, "mode": _word(*_MODES), "severity": _FLOAT},
}  # fmt: skip
"""The columns of every frame, in their order."""

Columns = dict[str, Sequence[Any]]

# What the last word of the queue about a message means for it; "delivered" is a delivery and handled as one.
_FATE_OF_EVENT = {
    "accepted": "pending", "leased": "pending", "released": "pending", "expired": "expired", "dead": "dead",
    "cancelled": "rejected", "rejected": "rejected", "dropped": "lost",
}  # fmt: skip


def frames_of(events: Iterable[Event], origin_s: float = 0.0) -> dict[str, pd.DataFrame]:
    """All frames of a run, by name, sorted by time. ``origin_s`` is the event time that becomes 0."""
    by_type: dict[type, list[Any]] = {}
    for event in events:
        kept = by_type.get(type(event))
        if kept is None:
            kept = by_type[type(event)] = []
        kept.append(event)

    def of(kind: type) -> list[Any]:
        return by_type.get(kind, [])

    columns: dict[str, Columns] = {
        "messages": _messages(
            of(MessageSent), of(MessageAnswered), of(MessageDelivered), of(QueueChanged), of(AttemptEnded)
        ),
        "attempts": _attempts(of(AttemptEnded), of(ProbeEnded)),
        "probes": _fields(of(ProbeEnded), FRAMES["probes"]),
        "transitions": _fields(of(StatusChanged), FRAMES["transitions"]),
        "breaker": _fields(of(BreakerChanged), FRAMES["breaker"]),
        "queue": _fields(of(QueueChanged), FRAMES["queue"]),
        "backend": _fields(of(BackendSampled), FRAMES["backend"]),
        "effects": _fields(of(EffectHappened), FRAMES["effects"]),
        "outages": {
            "start_s": [event.time_s for event in of(OutageHappened)],
            **_fields(of(OutageHappened), ("end_s", "mode", "severity")),
        },
    }
    frames: dict[str, pd.DataFrame] = {}
    for name, table in columns.items():
        frame = typed(name, table)
        for column in ("time_s",) if name != "outages" else ("start_s", "end_s"):
            frame[column] -= origin_s
        frames[name] = frame.sort_values(_time_column(name), kind="stable", ignore_index=True)
    return frames


def typed(name: str, table: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """A frame with exactly the columns and types that ``FRAMES`` names. Raises KeyError for a missing column."""
    return pd.DataFrame({column: _typed(table[column], kind) for column, kind in FRAMES[name].items()})


def digest_of(frames: Mapping[str, pd.DataFrame]) -> str:
    """SHA-256 (hex) over every value of every frame, to the last bit, whatever the process or the pandas version."""
    total = hashlib.sha256()
    for name, kinds in FRAMES.items():
        for column, kind in kinds.items():
            total.update(f"{name}.{column} {len(frames[name])}\n".encode())
            for part in _bytes(frames[name][column], kind):
                total.update(part)
    return total.hexdigest()


def outcome_of(source: str | None, delivered: bool, fate: str) -> str:
    """How a message ended, one of ``FATES``.

    ``source`` is where its first answer came from (None: no answer yet), ``delivered`` whether the backend processed
    it to our knowledge, ``fate`` what the queue said last (empty if it was never asked).
    """
    if source in ("backend", "cache"):
        return "answered"
    if delivered:
        return "late"
    if fate:
        return fate
    return "pending" if source is None else "lost"


def _time_column(name: str) -> str:
    return "start_s" if name == "outages" else "time_s"


def _fields(events: list[Any], names: Iterable[str]) -> Columns:
    return {name: [getattr(event, name) for event in events] for name in names}


def _attempts(requests: list[AttemptEnded], probes: list[ProbeEnded]) -> Columns:
    """Requests first, then probes: the sort by time puts them in order."""
    both = _fields([*requests, *probes], ("time_s", "client", "latency_s", "outcome", "status_code"))
    n = len(probes)
    return {
        **both,
        "message_id": [event.message_id for event in requests] + [""] * n,
        "kind": [event.kind for event in requests] + ["probe"] * n,
        "number": [event.number for event in requests] + [1] * n,
        "wait_s": [event.wait_s for event in requests] + [0.0] * n,
    }


def _messages(
    sent: list[MessageSent],
    answers: list[MessageAnswered],
    deliveries: list[MessageDelivered],
    changes: list[QueueChanged],
    attempts: list[AttemptEnded],
) -> Columns:
    rows: dict[str, int] = {}
    first: list[MessageSent] = []
    for message in sent:
        # One message may be sent again under its own id: it is one message all the same.
        if message.message_id not in rows:
            rows[message.message_id] = len(first)
            first.append(message)
    n = len(first)
    answer_s, delivered_s = [np.nan] * n, [np.nan] * n
    source: list[str | None] = [None] * n
    via: list[str | None] = [None] * n
    queued, fate, tries = [False] * n, [""] * n, [0] * n

    for answer in answers:
        row = rows.get(answer.message_id, -1)
        if row >= 0 and source[row] is None:
            source[row], answer_s[row], queued[row] = answer.source, answer.answer_s, answer.queued
    for delivery in deliveries:
        row = rows.get(delivery.message_id, -1)
        if row >= 0 and via[row] is None:
            via[row], delivered_s[row] = delivery.via, delivery.time_s - first[row].time_s
    for change in changes:
        row = rows.get(change.message_id, -1)
        if row < 0:
            continue
        if change.event == "delivered":
            if via[row] is None:
                via[row], delivered_s[row] = "queue", change.time_s - first[row].time_s
        elif change.event in ("leased", "released"):
            fate[row] = fate[row] or "pending"
        elif change.event in _FATE_OF_EVENT and not (change.event == "rejected" and fate[row] == "pending"):
            fate[row] = _FATE_OF_EVENT[change.event]
    for attempt in attempts:
        row = rows.get(attempt.message_id, -1)
        if row >= 0 and attempt.outcome != "rejected":
            tries[row] += 1
    for row in range(n):
        if source[row] == "backend" and via[row] is None:
            via[row], delivered_s[row] = "direct", answer_s[row]

    return {
        **_fields(first, ("message_id", "client", "time_s", "priority")),
        "answer_s": answer_s,
        "source": source,
        "queued": queued,
        "delivered_s": delivered_s,
        "outcome": [outcome_of(source[row], via[row] is not None, fate[row]) for row in range(n)],
        "attempts": tries,
        "via": via,
    }


def _typed(values: Any, column: Column) -> Any:
    match column.kind:
        case "float":
            return np.asarray(values, dtype=np.float64)
        case "int":
            return np.asarray(values, dtype=np.int64)
        case "bool":
            return np.asarray(values, dtype=np.bool_)
        case "code":
            return pd.array(values, dtype="Int64")
        case "text":
            return pd.Series(values, dtype="str").array
        case "word":
            found = values.dropna().unique() if isinstance(values, pd.Series) else set(values)
            others = sorted({str(word) for word in found if word is not None} - set(column.words))
            plain = values.astype(object) if isinstance(values, pd.Series) else values
            return pd.Categorical(plain, categories=[*column.words, *others])


def _bytes(values: pd.Series[Any], column: Column) -> Iterable[bytes]:
    match column.kind:
        case "float":
            numbers = values.to_numpy(dtype="<f8", copy=True)
            numbers[np.isnan(numbers)] = np.nan
            return [numbers.tobytes()]
        case "int" | "bool":
            return [values.to_numpy(dtype="<i8").tobytes()]
        case "code":
            missing = values.isna().to_numpy()
            return [missing.tobytes(), values.fillna(0).to_numpy(dtype="<i8").tobytes()]
        case "text":
            return [json.dumps(values.tolist(), separators=(",", ":")).encode()]
        case "word":
            # By value, not by code: which words a version knows must not matter.
            codes = values.cat.codes.to_numpy()
            words = values.cat.categories.to_list()
            used = sorted(words[code] for code in np.unique(codes) if code >= 0)
            place = np.array([used.index(word) if word in used else -1 for word in words] + [-1], dtype="<i4")
            return [json.dumps(used).encode(), place[codes].tobytes()]
