"""The store in an SQLite file: what it accepted is there after a crash."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hustle_sim.policy import Overflow
from hustle_sim.resilience.store import PENDING, Added, Answer, Item, ItemState, StoreError, choose_victim

T = TypeVar("T")

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE items (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL,
    not_before REAL NOT NULL,
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    owner TEXT NOT NULL,
    leased_until REAL NOT NULL,
    reason TEXT NOT NULL,
    reply TEXT NOT NULL
);
CREATE INDEX items_ready ON items (priority, sequence) WHERE state = 'ready';
CREATE INDEX items_leased ON items (leased_until) WHERE state = 'leased';
CREATE INDEX items_pending_end ON items (expires_at) WHERE state IN ('ready', 'leased');
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL);
"""
_COLUMNS = (
    "id, text, priority, created_at, expires_at, sequence, state, not_before, attempts, tries, owner, "
    "leased_until, reason, reply"
)
_DUE = "((state = 'ready' AND not_before <= :now) OR (state = 'leased' AND leased_until <= :now))"


class SQLiteStore:
    """Items in one file (WAL, synchronous=FULL, mode 0600), one row each; other processes may use it too.

    All work is done on a thread of the store's own, so that a slow disk does not hold up the event loop.
    ``busy_timeout_s`` is how long a call waits for another process that writes. Raises StoreError from
    every call that can't be done, with the reason in one sentence.
    """

    def __init__(self, path: str | Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hustle-store")
        self._database: sqlite3.Connection | None = None
        self._busy_timeout_s = busy_timeout_s
        self._closed = False

    async def add(self, item: Item, *, max_size: int, overflow: Overflow) -> Added:
        """See ``Store.add``."""

        def work(database: sqlite3.Connection) -> Added:
            if database.execute("SELECT 1 FROM items WHERE id = ?", (item.id,)).fetchone():
                return Added(Answer.DUPLICATE)
            victim = None
            if _depth(database) >= max_size:
                victim = choose_victim(_select(database, "state = 'ready'"), item.priority, overflow)
                if victim is None:
                    return Added(Answer.REJECTED, reason="the queue is full")
                if overflow == "drop-oldest":
                    database.execute("DELETE FROM items WHERE id = ?", (victim.id,))
                else:
                    victim = replace(victim, state=ItemState.DEAD, reason="displaced")
                    database.execute(
                        "UPDATE items SET state = ?, reason = ? WHERE id = ?",
                        (victim.state.value, victim.reason, victim.id),
                    )
            database.execute(
                "INSERT INTO items (id, text, priority, created_at, expires_at, state, not_before, attempts, tries, "
                "owner, leased_until, reason, reply) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item.id, item.text, item.priority, item.created_at, item.expires_at, item.state.value,
                    item.not_before, item.attempts, item.tries, item.owner, item.leased_until, item.reason, item.reply,
                ),
            )  # fmt: skip
            return Added(Answer.DISPLACED if victim else Answer.ACCEPTED, victim)

        return await self._do(work)

    async def claim(self, now: float, *, owner: str, until: float) -> Item | None:
        """See ``Store.claim``."""

        def work(database: sqlite3.Connection) -> Item | None:
            rows = database.execute(
                f"UPDATE items SET state = 'leased', owner = :owner, leased_until = :until, tries = tries + 1 "
                f"WHERE sequence = (SELECT sequence FROM items WHERE {_DUE} ORDER BY priority, sequence LIMIT 1) "
                f"RETURNING {_COLUMNS}",
                {"now": now, "owner": owner, "until": until},
            ).fetchall()
            return _item(rows[0]) if rows else None

        return await self._do(work)

    async def settle(self, item_id: str, owner: str, state: ItemState, *, reason: str = "", reply: str = "") -> bool:
        """See ``Store.settle``."""
        return await self._change(
            "UPDATE items SET state = ?, reason = ?, reply = ?, owner = ''",
            (state.value, reason, reply),
            item_id,
            owner,
        )

    async def release(self, item_id: str, owner: str, *, not_before: float, attempts: int, reason: str) -> bool:
        """See ``Store.release``."""
        return await self._change(
            "UPDATE items SET state = 'ready', not_before = ?, attempts = ?, reason = ?, owner = ''",
            (not_before, attempts, reason),
            item_id,
            owner,
        )

    async def drop(self, item_id: str, owner: str) -> bool:
        """See ``Store.drop``."""
        return await self._change("DELETE FROM items", (), item_id, owner)

    async def expire(self, now: float) -> list[Item]:
        """See ``Store.expire``."""

        def work(database: sqlite3.Connection) -> list[Item]:
            rows = database.execute(
                "UPDATE items SET state = 'expired', reason = 'too old', owner = '' WHERE expires_at <= :now AND "
                f"(state = 'ready' OR (state = 'leased' AND leased_until <= :now)) RETURNING {_COLUMNS}",
                {"now": now},
            ).fetchall()
            return sorted((_item(row) for row in rows), key=lambda item: (item.expires_at, item.sequence))

        return await self._do(work)

    async def next_due(self) -> float | None:
        """See ``Store.next_due``."""
        query = (
            "SELECT min(CASE state WHEN 'leased' THEN leased_until ELSE not_before END) FROM items "
            "WHERE state IN ('ready', 'leased')"
        )
        return await self._do(lambda database: _first(database, query))

    async def depth(self) -> int:
        """See ``Store.depth``."""
        return await self._do(_depth)

    async def counts(self) -> Mapping[ItemState, int]:
        """See ``Store.counts``."""

        def work(database: sqlite3.Connection) -> dict[ItemState, int]:
            found = dict(database.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall())
            return {state: found.get(state.value, 0) for state in ItemState}

        return await self._do(work)

    async def items(self, *states: ItemState) -> list[Item]:
        """See ``Store.items``."""
        names = ", ".join(f"'{state.value}'" for state in (states or tuple(ItemState)))
        return await self._do(lambda database: _select(database, f"state IN ({names})"))

    async def note(self, name: str) -> str | None:
        """See ``Store.note``."""
        return await self._do(lambda database: _first(database, "SELECT text FROM notes WHERE name = ?", name))

    async def set_note(self, name: str, text: str) -> None:
        """See ``Store.set_note``."""

        def work(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR REPLACE INTO notes (name, text) VALUES (?, ?)", (name, text))

        await self._do(work)

    async def aclose(self) -> None:
        """Close the file; the store can't be used after that."""

        def work() -> None:
            if self._database is not None:
                self._database.close()
                self._database = None

        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
            self._thread.shutdown(wait=True)

    async def _change(self, statement: str, values: tuple[object, ...], item_id: str, owner: str) -> bool:
        def work(database: sqlite3.Connection) -> bool:
            changed = database.execute(
                f"{statement} WHERE id = ? AND owner = ? AND state = 'leased'", (*values, item_id, owner)
            )
            return changed.rowcount == 1

        return await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def transaction() -> T:
            try:
                if self._database is None:
                    self._database = self._open()
                with _immediate(self._database):
                    return work(self._database)
            except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
                # The last two: a value that no row can hold, such as half of a surrogate pair.
                raise StoreError(f"{self.path}: {_why(error)}") from error

        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the main file, so it must be right before the first write.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            with _immediate(database):
                version = _first(database, "PRAGMA user_version")
                if version == 0:
                    for statement in _SCHEMA.split(";"):
                        database.execute(statement)
                    database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
                elif version != _SCHEMA_VERSION:
                    raise StoreError(
                        f"{self.path} was written by another version of hustle_sim (schema {version}, "
                        f"this one knows {_SCHEMA_VERSION})"
                    )
        except BaseException:
            database.close()
            raise
        return database


@contextmanager
def _immediate(database: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the write lock from its start, so that what it reads stays true."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _item(row: tuple[object, ...]) -> Item:
    values = list(row)
    values[6] = ItemState(str(values[6]))
    return Item(*values)  # type: ignore[arg-type]


def _select(database: sqlite3.Connection, where: str) -> list[Item]:
    rows = database.execute(f"SELECT {_COLUMNS} FROM items WHERE {where} ORDER BY sequence").fetchall()
    return [_item(row) for row in rows]


def _first(database: sqlite3.Connection, query: str, *values: object) -> Any:
    row = database.execute(query, values).fetchone()
    return row[0] if row else None


def _depth(database: sqlite3.Connection) -> int:
    names = ", ".join(f"'{state.value}'" for state in PENDING)
    return int(database.execute(f"SELECT count(*) FROM items WHERE state IN ({names})").fetchone()[0])


def _why(error: Exception) -> str:
    text = str(error)
    known = {
        "database or disk is full": "the disk is full",
        "database is locked": "another process keeps the file locked",
        "attempt to write a readonly database": "the file can't be written",
        "unable to open database file": "the file can't be opened",
        "file is not a database": "the file is damaged",
        "database disk image is malformed": "the file is damaged",
    }
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return known.get(text, text)
