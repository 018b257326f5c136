"""The queue's file on this machine: where it is, and how people look into it and put it in order.

From Python: ``store = open_store()``, then ``await store.items(ItemState.DEAD)``,
``store.requeue(id, now, expires_at)``, ``store.cancel(id, reason)``, ``store.delete(id)``, and ``export_json(items)``.
An app that has a ``RequestQueue`` running calls its ``retry(id)`` and ``cancel(id)`` instead, which also wake it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from hustle_sim.inputs import InputError, closest
from hustle_sim.live.settings import Settings
from hustle_sim.resilience.http import parse_url
from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.resilience.store import ENDED, Item, ItemState

RETRYABLE = (ItemState.UNKNOWN, ItemState.DEAD, ItemState.EXPIRED, ItemState.CANCELLED)
"""The states from which a message can be sent again."""

CANCELLABLE = (ItemState.READY, ItemState.UNKNOWN)
"""The states in which a message can be called off."""

DELETABLE = ENDED
"""The states in which a message can be forgotten."""

SHORT = 60
"""Characters of a message in a list."""

_HEADER = b"SQLite format 3\x00"
_FEWEST = 4
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def default_store_path(settings: Settings | None = None) -> Path:
    """The queue's file: ``HUSTLE_STORE`` (environment or ``.env``), else one in the user's data directory.

    The latter is the file of the configured backend, if there is one. Raises InputError if the settings can't be read.
    """
    settings = Settings.load() if settings is None else settings
    if settings.store is not None:
        return settings.store.expanduser()
    if settings.backend_url is not None:
        return target_store_path(settings.backend_url, settings)
    return _data_path() / "queue.sqlite3"


def target_store_path(url: str, settings: Settings | None = None) -> Path:
    """The queue's file of one backend: a message goes to the backend that it was written for, and to no other.

    ``HUSTLE_STORE`` names the file of the configured backend; every other URL has a file in the user's data directory
    that is named after it. Raises InputError if the URL or the settings can't be used.
    """
    settings = Settings.load() if settings is None else settings
    target = parse_url(url)
    if settings.store is not None and settings.backend_url is not None and target == parse_url(settings.backend_url):
        return settings.store.expanduser()
    host = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in target.netloc.decode())
    digest = hashlib.sha256(str(target).encode()).hexdigest()[:12]
    return _data_path() / "queues" / f"{host[:60]}-{digest}.sqlite3"


def open_target_store(url: str, settings: Settings | None = None) -> SQLiteStore:
    """The store of ``target_store_path``. Raises InputError as it does, and if the file is something else."""
    path = target_store_path(url, settings)
    if path.exists():
        check_store_file(path)
    return SQLiteStore(path)


def _data_path() -> Path:
    return platformdirs.user_data_path("hustle_sim", appauthor=False)


def open_store(path: str | Path | None = None) -> SQLiteStore:
    """The store in ``path`` (default: ``default_store_path()``); the file is made at the first call, if need be."""
    return SQLiteStore(default_store_path() if path is None else Path(path).expanduser())


def check_store_file(path: Path) -> None:
    """Make sure that a file is a queue's, or a damaged one, and nothing else: a store would write into it.

    Raises InputError with one sentence.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the queue's file")
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the queue's usual one is {default_store_path()}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None
    is_ours = path.absolute() == default_store_path().absolute() or path.parent == _data_path() / "queues"
    if header and header != _HEADER and not is_ours:
        raise InputError(f"{path} is not a queue's file (those are SQLite databases); it was left as it is")
    if header == _HEADER and _is_foreign(path):
        raise InputError(f"{path} is a database of something else, and not a queue's file; it was left as it is")


def _is_foreign(path: Path) -> bool:
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            database.close()
    except sqlite3.Error:
        # Damaged or locked: the store itself has the words for that.
        return False
    return bool(tables) and "items" not in tables


def record(item: Item) -> dict[str, Any]:
    """An item as JSON has it: all that the store knows, times as ISO 8601 in UTC, null for a time that is none."""
    return {
        "id": item.id,
        "state": item.state.value,
        "text": item.text,
        "reply": item.reply,
        "reason": item.reason,
        "priority": item.priority,
        "conversation": item.conversation,
        "created_at": iso(item.created_at),
        "expires_at": iso(item.expires_at),
        "not_before": iso(item.not_before),
        "leased_until": iso(item.leased_until),
        "attempts": item.attempts,
        "tries": item.tries,
        "uncertain": item.uncertain,
        "owner": item.owner,
        "sequence": item.sequence,
        "rank": item.rank,
    }


def export_json(items: Iterable[Item]) -> str:
    """Items as a JSON array, for people and machines."""
    return json.dumps([record(item) for item in items], indent=2, ensure_ascii=False) + "\n"


def iso(at: float) -> str | None:
    """POSIX seconds as ISO 8601 in UTC; None for never."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") if 0 < at < _LATEST else None


def clean(text: str) -> str:
    """A message as it may be printed: characters that steer a terminal are replaced."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def shorten(text: str, length: int = SHORT) -> str:
    """A message in one line of at most ``length`` characters."""
    line = clean(" ".join(text[: 20 * length].split()))
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def short_ids(items: Sequence[Item], least: int = 8) -> dict[str, str]:
    """For each id the shortest beginning that is enough to name it, with at least ``least`` characters."""
    ids = sorted(item.id for item in items)
    found = {}
    for index, item_id in enumerate(ids):
        neighbours = ids[max(index - 1, 0) : index] + ids[index + 1 : index + 2]
        length = max((_common(item_id, other) + 1 for other in neighbours), default=0)
        found[item_id] = item_id[: max(least, length)]
    return found


def find(items: Sequence[Item], name: str) -> Item:
    """The item with this id, or with one that begins like this (4 characters or more).

    Raises InputError with one sentence.
    """
    exact = [item for item in items if item.id == name]
    near = exact or [item for item in items if len(name) >= _FEWEST and item.id.startswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        raise InputError(f"{name}: the ids of {len(near)} messages begin like this; write more of it")
    ids = [item.id for item in items]
    # A beginning is held against beginnings, so that a slip in it still finds its message.
    begun = {item_id[: len(name)]: item_id for item_id in reversed(ids)}
    guess = closest(name, begun)
    for start, item_id in begun.items():
        guess = guess.replace(f"{start!r}", f"{item_id!r}")
    raise InputError(f"{name}: no message in the queue has this id{guess}")


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
