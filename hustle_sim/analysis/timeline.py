"""A run made ready for being asked by time: what was the case at this moment, in far less than a frame of a film.

Everything is sorted once; a question is then a few binary searches. ``Timeline(run)`` takes a moment itself for a
large run, so keep it beside the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from hustle_sim.analysis.recording import Recording

Floats = npt.NDArray[np.float64]

_BLOCK = 2048

ENDS = ("delivered", "expired", "dead", "cancelled", "dropped")
"""The events that end a stay in the queue."""

_STATES = {"leased": "being sent", "unknown": "waits for a person"}


class Intervals:
    """Stretches of time [begin, end), asked which of them hold a moment. Ends may be infinite."""

    def __init__(self, begins_s: Sequence[float] | Floats, ends_s: Sequence[float] | Floats) -> None:
        begins, ends = np.asarray(begins_s, dtype=np.float64), np.asarray(ends_s, dtype=np.float64)
        self._order = np.argsort(begins, kind="stable")
        self._begins, self._ends = begins[self._order], ends[self._order]
        self._open: list[npt.NDArray[np.int64]] = []
        still = np.empty(0, dtype=np.int64)
        for first in range(0, len(begins), _BLOCK):
            still = still[self._ends[still] > self._begins[first]]
            self._open.append(still)
            still = np.concatenate([still, np.arange(first, min(first + _BLOCK, len(begins)))])

    def at(self, time_s: float) -> npt.NDArray[np.int64]:
        """The places (in the order in which they were given) of those that hold this moment, by their begin."""
        until = int(np.searchsorted(self._begins, time_s, side="right"))
        if not until:
            return np.empty(0, dtype=np.int64)
        block = (until - 1) // _BLOCK
        begun = np.concatenate([self._open[block], np.arange(block * _BLOCK, until)])
        held: npt.NDArray[np.int64] = self._order[begun[self._ends[begun] > time_s]]
        return held


class Standing(NamedTuple):
    """A state, since when (0: from the start), and why; the reason is empty where none was given."""

    state: str
    since_s: float
    reason: str


class Changes:
    """The changes of one state over time."""

    def __init__(self, frame: pd.DataFrame, first: str) -> None:
        self._times_s = frame["time_s"].to_numpy(np.float64)
        self._states = frame["current"].astype(object).tolist()
        self._reasons = frame["reason"].tolist()
        self._first = first

    def at(self, time_s: float) -> Standing:
        """The state at a time; a change counts from its very instant."""
        place = int(np.searchsorted(self._times_s, time_s, side="right")) - 1
        if place < 0:
            return Standing(self._first, 0.0, "")
        # A state may be told again without a change: it holds since the first time.
        first = place
        while first > 0 and self._states[first - 1] == self._states[place]:
            first -= 1
        return Standing(str(self._states[place]), float(self._times_s[first]), str(self._reasons[first]))

    def __len__(self) -> int:
        return len(self._times_s)


class Item(NamedTuple):
    """A message in the queue at some moment: ``state`` is ``ready | being sent | waits for a person``.

    ``tries`` counts how often it was taken out to be sent, so far.
    """

    message_id: str
    age_s: float
    state: str
    tries: int


class QueueIndex:
    """One client's queue, asked by time."""

    def __init__(self, queue: pd.DataFrame) -> None:
        self._of: dict[str, list[tuple[float, str]]] = {}
        begins: list[float] = []
        ends: list[float] = []
        self._ids: list[str] = []
        staying: dict[str, int] = {}
        ended: dict[str, list[float]] = {word: [] for word in ENDS}
        busy: dict[str, tuple[list[float], list[float]]] = {word: ([], []) for word in _STATES.values()}
        state_of: dict[str, tuple[str, int]] = {}
        columns = (queue[name].astype(object).tolist() for name in ("time_s", "event", "message_id"))
        for at_s, event, message_id in zip(*columns, strict=True):
            self._of.setdefault(message_id, []).append((at_s, event))
            if event != "duplicate" and message_id in state_of:
                state, place_in_state = state_of.pop(message_id)
                busy[state][1][place_in_state] = at_s
            if event in _STATES:
                state_begins, state_ends = busy[_STATES[event]]
                state_of[message_id] = (_STATES[event], len(state_begins))
                state_begins.append(at_s)
                state_ends.append(math.inf)
            if event in ended:
                ended[event].append(at_s)
                place = staying.pop(message_id, None)
                if place is not None:
                    ends[place] = at_s
            elif event not in ("rejected", "duplicate") and message_id not in staying:
                staying[message_id] = len(begins)
                begins.append(at_s)
                ends.append(math.inf)
                self._ids.append(message_id)
        self._begins = begins
        self._stays = Intervals(begins, ends)
        self._busy = {state: Intervals(*stretches) for state, stretches in busy.items()}
        self._ended = {word: np.array(times_s) for word, times_s in ended.items()}

    def depth(self, time_s: float) -> int:
        """How many were in the queue at a time."""
        return len(self._stays.at(time_s))

    def items(self, time_s: float, most: int) -> tuple[Item, ...]:
        """What was in the queue at a time, oldest first, ``most`` of them at most."""
        return tuple(self._item(int(place), time_s) for place in self._stays.at(time_s)[:most])

    def busy(self, state: str, time_s: float) -> int:
        """How many were in a state other than ``ready`` at a time."""
        return len(self._busy[state].at(time_s))

    def fate(self, message_id: str, time_s: float) -> str:
        """The last event of a message by then; empty if there was none."""
        last = ""
        for at_s, event in self._of.get(message_id, ()):
            if at_s > time_s:
                break
            if event != "duplicate":
                last = event
        return last

    def ended(self, word: str, time_s: float) -> int:
        """How many stays had ended so by then."""
        return int(np.searchsorted(self._ended[word], time_s, side="right"))

    def _item(self, place: int, time_s: float) -> Item:
        message_id = self._ids[place]
        tries = sum(event == "leased" and at_s <= time_s for at_s, event in self._of[message_id])
        state = _STATES.get(self.fate(message_id, time_s), "ready")
        return Item(message_id, time_s - self._begins[place], state, tries)


class MessageIndex:
    """One client's messages, asked by time. Rows are in the order of sending."""

    def __init__(self, messages: pd.DataFrame) -> None:
        self.ids: list[str] = messages["message_id"].tolist()
        self.sent_s = messages["time_s"].to_numpy(np.float64)
        self.answer_s = messages["answer_s"].to_numpy(np.float64)
        self.answered_at_s = np.nan_to_num(self.sent_s + self.answer_s, nan=math.inf)
        self.delivered_at_s = np.nan_to_num(self.sent_s + messages["delivered_s"].to_numpy(np.float64), nan=math.inf)
        self.sources = [str(source) if isinstance(source, str) else "" for source in messages["source"].astype(object)]
        self.queued = messages["queued"].to_numpy()
        self.row_of = {message_id: row for row, message_id in enumerate(self.ids)}
        self._waiting = Intervals(self.sent_s, self.answered_at_s)
        source = np.array(self.sources, dtype=object)
        self._by_source = {
            word: np.sort(self.answered_at_s[source == word]) for word in sorted(set(self.sources) - {""})
        }
        later = (source != "backend") & (source != "cache") & np.isfinite(self.delivered_at_s)
        self._late = np.sort(self.delivered_at_s[later])

    def sent(self, time_s: float) -> int:
        """How many had been sent by then."""
        return int(np.searchsorted(self.sent_s, time_s, side="right"))

    def waiting(self, time_s: float) -> npt.NDArray[np.int64]:
        """The rows of those whose person saw no answer of any kind yet."""
        return self._waiting.at(time_s)

    def answered(self, time_s: float) -> dict[str, int]:
        """How many first answers had come by then, by where they came from."""
        return {word: int(np.searchsorted(times_s, time_s, "right")) for word, times_s in self._by_source.items()}

    def late(self, time_s: float) -> int:
        """How many had their answer after a second-best one by then."""
        return int(np.searchsorted(self._late, time_s, side="right"))


class ClientIndex:
    """All that is known of one client, asked by time; each part is made when it is first asked for."""

    def __init__(self, run: Recording, client: int) -> None:
        self._run = run
        self._client = client

    def _of(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["client"] == self._client).to_numpy()]

    @cached_property
    def monitor(self) -> Changes:
        """The verdicts."""
        return Changes(self._of(self._run.transitions), "checking")

    @cached_property
    def breaker(self) -> Changes:
        """The states of the circuit breaker."""
        return Changes(self._of(self._run.breaker), "closed")

    @cached_property
    def probes(self) -> Intervals:
        """The health checks in flight."""
        probes = self._of(self._run.probes)
        begins_s = probes["time_s"].to_numpy(np.float64)
        return Intervals(begins_s, begins_s + probes["latency_s"].to_numpy(np.float64))

    @cached_property
    def is_watched(self) -> bool:
        """Whether this client has a monitor at all."""
        return len(self.monitor) > 0 or bool((self._run.probes["client"] == self._client).any())

    @cached_property
    def queue(self) -> QueueIndex:
        """The queue."""
        return QueueIndex(self._of(self._run.queue))

    @cached_property
    def messages(self) -> MessageIndex:
        """The messages."""
        return MessageIndex(self._of(self._run.messages))


class BackendNow(NamedTuple):
    """The backend as it truly was. ``modes`` are those of the outages in force, ``ends_s`` when all of them are over.

    ``in_service``, ``waiting`` and ``capacity`` are of the last sample, ``sampled_s`` its time; None before the first.
    """

    condition: str
    modes: tuple[str, ...]
    ends_s: float
    in_service: int | None
    waiting: int | None
    capacity: int | None
    sampled_s: float | None


class BackendIndex:
    """The backend, asked by time."""

    def __init__(self, run: Recording) -> None:
        outages, samples = run.outages, run.backend
        self._starts_s, self._ends_s = outages["start_s"].to_numpy(np.float64), outages["end_s"].to_numpy(np.float64)
        self._modes = outages["mode"].astype(object).tolist()
        self._times_s = samples["time_s"].to_numpy(np.float64)
        self._numbers = samples[["in_service", "waiting", "capacity"]].to_numpy()

    def at(self, time_s: float) -> BackendNow:
        """The backend at a time. An outage counts from its first instant to before its last."""
        on = np.flatnonzero((self._starts_s <= time_s) & (time_s < self._ends_s))
        modes = tuple(dict.fromkeys(str(self._modes[place]) for place in on))
        ends_s = float(self._ends_s[on].max()) if len(on) else math.nan
        place = int(np.searchsorted(self._times_s, time_s, side="right")) - 1
        condition = modes[0] if modes else "ok"
        if place < 0:
            return BackendNow(condition, modes, ends_s, None, None, None, None)
        serving, waiting, capacity = (int(number) for number in self._numbers[place])
        return BackendNow(condition, modes, ends_s, serving, waiting, capacity, float(self._times_s[place]))


class Timeline:
    """A run by time. ``texts`` are the messages' words by message id, ``replies`` those of the coach's answers.

    Frames keep no words: without these, messages and answers have neutral ones. (What the people of a simulation
    said is in ``hustle_sim.simulation.words``.)
    """

    def __init__(
        self, run: Recording, *, texts: Mapping[str, str] | None = None, replies: Mapping[str, str] | None = None
    ) -> None:
        self.run = run
        self._texts = texts or {}
        self._replies = replies or {}
        self._clients: dict[int, ClientIndex] = {}

    def of(self, client: int) -> ClientIndex:
        """One client's part. Raises InputError for a client that the run does not have."""
        if client not in self._clients:
            known = self.run.clients
            if known and client not in known:
                raise InputError(f"there is no client {client} in this run: they go from {known[0]} to {known[-1]}.")
            self._clients[client] = ClientIndex(self.run, client)
        return self._clients[client]

    @cached_property
    def backend(self) -> BackendIndex | None:
        """The backend; None where its truth is not known."""
        return BackendIndex(self.run) if self.run.backend_truth else None

    def text(self, message_id: str, row: int) -> str:
        """What the person said."""
        return self._texts.get(message_id, f"Message {row + 1}")

    def reply(self, message_id: str, row: int) -> str:
        """What the coach answered."""
        return self._replies.get(message_id, f"The coach's answer to message {row + 1}.")
