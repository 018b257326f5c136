"""The store in an SQLite file: what it accepted is there after a crash.

One row per item, WAL with synchronous=FULL, JSON for what has structure, mode 0600. All work is done on a thread of the
store's own, which puts the calls that wait at the same time into one transaction (group commit).
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hustle_sim.policy import Overflow
from hustle_sim.resilience.sqlite_schema import migrate
from hustle_sim.resilience.store import PENDING, Added, Answer, Item, ItemState, StoreError

logger = logging.getLogger("hustle_sim.store")

T = TypeVar("T")

_COLUMNS = (
    "id, text, priority, created_at, expires_at, rank, conversation, sequence, state, not_before, attempts, tries, "
    "uncertain, owner, leased_until, reason, reply"
)
_STATE, _UNCERTAIN = (_COLUMNS.split(", ").index(name) for name in ("state", "uncertain"))
_DUE_AT = "CASE state WHEN 'leased' THEN leased_until ELSE not_before END"
_IS_FIRST = (
    "(item.conversation = '' OR NOT EXISTS (SELECT 1 FROM items AS earlier "
    "WHERE earlier.conversation = item.conversation AND earlier.sequence < item.sequence "
    "AND earlier.conversation <> '' AND earlier.state IN ('ready', 'leased', 'unknown')))"
)
_DEPTH = "(SELECT total(number) FROM tally WHERE state IN ('ready', 'leased', 'unknown'))"
_INSERT = (
    "INSERT INTO items (id, text, priority, created_at, expires_at, rank, conversation, state, not_before, due, "
    "attempts, tries, uncertain, owner, leased_until, reason, reply) "
    f"SELECT {', '.join('?' * 17)} "
    # Not left to the UNIQUE of the id: a row that is refused there uses up a sequence number, which is a write.
    f"WHERE {_DEPTH} < ? AND NOT EXISTS (SELECT 1 FROM items WHERE id = ?)"
)
_MOST_AT_ONCE = 256
_NOT_DONE = object()


class _Job(NamedTuple):
    """One call: what to do with the database, and who waits for it. ``writes`` False takes no write lock.

    ``alone`` does it in one statement, which is a transaction of its own, or gives ``_NOT_DONE``.
    """

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    writes: bool
    alone: Callable[[sqlite3.Connection], Any] | None = None


class SQLiteStore:
    """Items in one file; other processes may use it at the same time, and wait for each other.

    The file is opened at the first call, and its folder made. ``busy_timeout_s`` (default 5 s) is how long a call
    waits for another process that writes. A damaged file is set aside under a name that says when and why, what can
    be read of it is taken over, and ``notice`` tells of it in one sentence. Every call that can't be done raises
    StoreError with the reason.
    """

    is_shared = True

    def __init__(self, path: str | Path, *, busy_timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self.notice = ""
        """What a person should know of the file, in one sentence; empty if all is well."""
        self._busy_timeout_s = busy_timeout_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._database: sqlite3.Connection | None = None
        self._closed = False

    async def add(self, item: Item, *, max_size: int, overflow: Overflow) -> Added:
        """See ``Store.add``."""

        due = item.state is ItemState.READY and item.not_before <= item.created_at
        values = (
            item.id, item.text, item.priority, item.created_at, item.expires_at, item.rank, item.conversation,
            item.state.value, item.not_before, due, item.attempts, item.tries, item.uncertain, item.owner,
            item.leased_until, item.reason, item.reply,
        )  # fmt: skip
        room = max_size if item.state in PENDING else sys.maxsize

        def insert(database: sqlite3.Connection) -> Any:
            """The usual case, with room and an id that is new, is one statement."""
            cursor = database.execute(_INSERT, (*values, room, item.id))
            if cursor.rowcount != 1:
                return _NOT_DONE
            return Added(Answer.ACCEPTED, item=replace(item, sequence=cursor.lastrowid or 0))

        def work(database: sqlite3.Connection) -> Added:
            added = insert(database)
            if isinstance(added, Added):
                return added
            known = _select(database, "id = ?", item.id)
            if known:
                return Added(Answer.DUPLICATE, item=known[0])
            victim = _victim(database, item.priority, overflow)
            if victim is None:
                return Added(Answer.REJECTED, reason="the queue is full")
            cursor = database.execute(_INSERT, (*values, sys.maxsize, item.id))
            return Added(Answer.DISPLACED, victim, item=replace(item, sequence=cursor.lastrowid or 0))

        return await self._do(work, alone=insert)

    async def claim(self, now: float, *, owner: str, until: float) -> Item | None:
        """See ``Store.claim``."""

        def work(database: sqlite3.Connection) -> Item | None:
            # What has become due is marked once, so that a claim need not look past all that has not.
            database.execute("UPDATE items SET due = 1 WHERE state = 'ready' AND due = 0 AND not_before <= ?", (now,))
            database.execute(
                "UPDATE items SET due = 1 WHERE state = 'leased' AND due = 0 AND leased_until <= ?", (now,)
            )
            rows = database.execute(
                "UPDATE items SET uncertain = uncertain OR state = 'leased', state = 'leased', due = 0, owner = ?, "
                "leased_until = ?, tries = tries + 1 WHERE sequence = (SELECT sequence FROM items AS item "
                # The time is looked at again for a wall clock that was set back.
                f"WHERE due = 1 AND {_DUE_AT} <= ? AND {_IS_FIRST} "
                f"ORDER BY rank, sequence LIMIT 1) RETURNING {_COLUMNS}",
                (owner, until, now),
            ).fetchall()
            return _item(rows[0]) if rows else None

        return await self._do(work)

    async def settle(self, item_id: str, owner: str, state: ItemState, *, reason: str = "", reply: str = "") -> bool:
        """See ``Store.settle``."""
        values = (state.value, reason, reply)
        statement = "UPDATE items SET state = ?, due = 0, reason = ?, reply = ?, owner = ''"
        return await self._change(statement, values, item_id, owner)

    async def release(
        self, item_id: str, owner: str, *, not_before: float, attempts: int, reason: str, uncertain: bool = False
    ) -> bool:
        """See ``Store.release``."""
        values = (not_before, attempts, reason, uncertain)
        statement = (
            "UPDATE items SET state = 'ready', due = 0, not_before = ?, attempts = ?, reason = ?, "
            "uncertain = uncertain OR ?, owner = ''"
        )
        return await self._change(statement, values, item_id, owner)

    async def drop(self, item_id: str, owner: str) -> bool:
        """See ``Store.drop``."""
        return await self._change("DELETE FROM items", (), item_id, owner)

    async def requeue(self, item_id: str, now: float, expires_at: float) -> bool:
        """See ``Store.requeue``."""
        return await self._update(
            "UPDATE items SET state = 'ready', due = 0, not_before = ?, expires_at = ?, attempts = 0, "
            "uncertain = 0, reason = 'requeued' WHERE id = ? AND state IN ('dead', 'expired', 'cancelled', 'unknown')",
            (now, expires_at, item_id),
        )

    async def cancel(self, item_id: str, reason: str) -> bool:
        """See ``Store.cancel``."""
        return await self._update(
            "UPDATE items SET state = 'cancelled', due = 0, reason = ? WHERE id = ? AND state IN ('ready', 'unknown')",
            (reason, item_id),
        )

    async def delete(self, item_id: str) -> bool:
        """See ``Store.delete``."""
        return await self._update(
            "DELETE FROM items WHERE id = ? AND state NOT IN ('ready', 'leased', 'unknown')", (item_id,)
        )

    async def prune(self, before: float, limit: int) -> int:
        """See ``Store.prune``."""
        statement = (
            "DELETE FROM items WHERE sequence IN (SELECT sequence FROM items "
            "WHERE state IN ('delivered', 'expired', 'cancelled') AND expires_at <= ? "
            "ORDER BY expires_at, sequence LIMIT ?)"
        )
        return await self._do_alone(lambda database: database.execute(statement, (before, limit)).rowcount)

    async def has_pending(self, conversation: str) -> bool:
        """See ``Store.has_pending``."""
        query = (
            "SELECT 1 FROM items WHERE conversation = ? AND conversation <> '' "
            "AND state IN ('ready', 'leased', 'unknown') LIMIT 1"
        )
        return await self._do_alone(lambda database: _first(database, query, conversation) is not None, writes=False)

    async def expire(self, now: float) -> list[Item]:
        """See ``Store.expire``."""

        def work(database: sqlite3.Connection) -> list[Item]:
            rows = database.execute(
                "UPDATE items SET state = 'expired', due = 0, reason = 'too old', owner = '' "
                # Said twice over, so that SQLite sees that its index of ends will do.
                "WHERE expires_at <= :now AND state IN ('ready', 'leased', 'unknown') AND "
                f"(state IN ('ready', 'unknown') OR (state = 'leased' AND leased_until <= :now)) RETURNING {_COLUMNS}",
                {"now": now},
            ).fetchall()
            return sorted((_item(row) for row in rows), key=lambda item: (item.expires_at, item.sequence))

        return await self._do(work)

    async def next_due(self) -> float | None:
        """See ``Store.next_due``."""

        def work(database: sqlite3.Connection) -> float | None:
            # One query for each index, since the least of a CASE would look at every row; what is due is in no order.
            queries = (
                "not_before FROM items AS item WHERE state = 'ready' AND due = 0 AND {first} ORDER BY not_before",
                "leased_until FROM items AS item WHERE state = 'leased' AND due = 0 AND {first} ORDER BY leased_until",
                "{when} FROM items AS item WHERE due = 1 AND {first} ORDER BY rank, sequence",
            )
            times = [
                _first(database, f"SELECT {query.format(first=_IS_FIRST, when=_DUE_AT)} LIMIT 1") for query in queries
            ]
            return min((when for when in times if when is not None), default=None)

        return await self._do(work, writes=False)

    async def depth(self) -> int:
        """See ``Store.depth``."""
        return await self._do_alone(_depth, writes=False)

    async def counts(self) -> Mapping[ItemState, int]:
        """See ``Store.counts``."""

        def work(database: sqlite3.Connection) -> dict[ItemState, int]:
            found = dict(database.execute("SELECT state, number FROM tally").fetchall())
            return {state: found.get(state.value, 0) for state in ItemState}

        return await self._do(work, writes=False)

    async def items(self, *states: ItemState) -> list[Item]:
        """See ``Store.items``."""
        names = ", ".join(f"'{state.value}'" for state in (states or tuple(ItemState)))
        query = f"state IN ({names}) ORDER BY sequence"
        return await self._do_alone(lambda database: _select(database, query), writes=False)

    async def find(self, *item_ids: str) -> list[Item]:
        """See ``Store.find``."""

        def work(database: sqlite3.Connection) -> list[Item]:
            found = [item for item_id in dict.fromkeys(item_ids) for item in _select(database, "id = ?", item_id)]
            return sorted(found, key=lambda item: item.sequence)

        return await self._do(work, writes=False)

    async def note(self, name: str) -> str | None:
        """See ``Store.note``."""
        query = "SELECT text FROM notes WHERE name = ?"
        return await self._do_alone(lambda database: _first(database, query, name), writes=False)

    async def set_note(self, name: str, text: str) -> None:
        """See ``Store.set_note``."""

        def work(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR REPLACE INTO notes (name, text) VALUES (?, ?)", (name, text))

        await self._do_alone(work)

    async def aclose(self) -> None:
        """Finish what was asked, then close the file; the store can't be used after that."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    async def _change(self, statement: str, values: tuple[object, ...], item_id: str, owner: str) -> bool:
        return await self._update(
            f"{statement} WHERE id = ? AND owner = ? AND state = 'leased'", (*values, item_id, owner)
        )

    async def _update(self, statement: str, values: tuple[object, ...]) -> bool:
        """Do a statement that is about one item; whether it was."""
        return await self._do_alone(lambda database: database.execute(statement, values).rowcount == 1)

    async def _do_alone(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> T:
        """``_do`` for work of one statement."""
        return await self._do(work, writes=writes, alone=work)

    async def _do(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        writes: bool = True,
        alone: Callable[[sqlite3.Connection], Any] | None = None,
    ) -> T:
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="hustle-store", daemon=True)
            self._thread.start()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, done, writes, alone))
        return await done

    # On the store's thread

    def _serve(self) -> None:
        """Do what is asked until told to stop: all that waits at the same time in one transaction."""
        stop = False
        while not stop:
            jobs = [self._jobs.get()]
            while jobs[-1] is not None and len(jobs) < _MOST_AT_ONCE and not self._jobs.empty():
                jobs.append(self._jobs.get())
            stop = jobs[-1] is None
            batch = [job for job in jobs if job is not None]
            _tell(batch, self._results(batch))
        if self._database is not None:
            self._database.close()

    def _results(self, batch: list[_Job]) -> list[Any]:
        """The result of each job, or the StoreError that it ended with."""
        if not batch:
            return []
        try:
            if self._database is None:
                self._database = self._open()
            return _together(self._database, batch)
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            # The last two: a value that no row can hold, such as half of a surrogate pair.
            if _is_damage(error):
                self._set_aside(error)
            return [StoreError(f"{self.path}: {_why(error)}")] * len(batch)
        except StoreError as error:
            return [error] * len(batch)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the main file, so it must be right before the first write.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return self._set_aside(error)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            found = _first(database, "PRAGMA quick_check(1)")
            if found != "ok":
                raise _Damaged(str(found))
            migrate(database, self.path)
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self, error: Exception) -> sqlite3.Connection:
        """Move a damaged file (with -wal and -shm) out of the way, and take over what can be read of it."""
        if self._database is not None:
            self._database.close()
            self._database = None
        with sqlite3.connect(":memory:") as clock:
            when = _first(clock, "SELECT strftime('%Y-%m-%dT%H-%M-%SZ', 'now')")
        aside = self.path.with_name(f"{self.path.name}.damaged-{when}-{_slug(_why(error))}")
        for end in ("", "-wal", "-shm"):
            old = self.path.with_name(self.path.name + end)
            if old.exists():
                old.rename(aside.with_name(aside.name + end))
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        database = self._database = self._connect()
        rows, lost = _salvage(aside)
        for values in rows:
            marks = ", ".join("?" * len(values))
            database.execute(f"INSERT OR IGNORE INTO items ({_COLUMNS}, due) VALUES ({marks}, 0)", values)
        kept = f"{len(rows)} messages were saved from it" if rows else "no message could be read from it"
        self.notice = (
            f"The queue's file was damaged and has been set aside as {aside.name}; {kept}"
            f"{', and some may be missing' if lost else ''}."
        )
        logger.warning("%s", self.notice)
        return database


class _Damaged(sqlite3.DatabaseError):
    """SQLite's own check found the file inconsistent."""


def _together(database: sqlite3.Connection, batch: list[_Job]) -> list[Any]:
    """Do all jobs in one transaction; one that fails leaves nothing behind and does not harm the others."""
    if len(batch) == 1 and batch[0].alone is not None:
        result = batch[0].alone(database)
        if result is not _NOT_DONE:
            return [result]
    # The lock is taken before anything is read, so that what was read stays true.
    database.execute("BEGIN IMMEDIATE" if any(job.writes for job in batch) else "BEGIN")
    results: list[Any] = []
    try:
        for job in batch:
            if len(batch) == 1:
                results.append(job.work(database))
                continue
            database.execute("SAVEPOINT job")
            try:
                results.append(job.work(database))
            except (sqlite3.Error, ValueError, OverflowError) as error:
                # A full disk ends the whole transaction, not only the statement.
                if not database.in_transaction or _is_damage(error):
                    raise
                database.execute("ROLLBACK TO job")
                results.append(StoreError(_why(error)))
            database.execute("RELEASE job")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    return results


def _tell(batch: list[_Job], results: list[Any]) -> None:
    """Hand the results to those who wait, each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, result in zip(batch, results, strict=True):
        loops.setdefault(job.done.get_loop(), []).append((job.done, result))
    for loop, pairs in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, pairs)
        except RuntimeError:
            # The loop was closed: nobody waits any more, and what was asked is done all the same.
            continue


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, StoreError):
            future.set_exception(result)
        else:
            future.set_result(result)


def _salvage(path: Path) -> tuple[list[tuple[Any, ...]], bool]:
    """The pending items and dead letters that can still be read from a damaged file, and whether any may be missing."""
    rows: list[tuple[Any, ...]] = []
    lost = False
    try:
        database = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    except sqlite3.Error:
        return [], True
    try:
        # Row by row through the sequence numbers: a broken page then costs the rows on it, and not all after it.
        last = _first(database, "SELECT max(seq) FROM sqlite_sequence WHERE name = 'items'") or 0
        for sequence in range(1, int(last) + 1):
            try:
                row = database.execute(f"SELECT {_COLUMNS} FROM items WHERE sequence = ?", (sequence,)).fetchone()
            except sqlite3.DatabaseError:
                lost = True
                continue
            if row is not None and _is_sound(row):
                rows.append(row)
            elif row is not None:
                lost = True
    except sqlite3.DatabaseError:
        lost = True
    finally:
        database.close()
    return rows, lost


def _is_sound(row: tuple[Any, ...]) -> bool:
    """Whether each value of a row still has the type of its column."""
    types = (str, str, int, float, float, float, str, int, str, float, int, int, int, str, float, str, str)
    whole = all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))
    return whole and row[_STATE] in set(ItemState)


def _victim(database: sqlite3.Connection, priority: int, overflow: Overflow) -> Item | None:
    """Make room for an item of ``priority``, by the rule of ``store.choose_victim``; the item that went, or None."""
    if overflow == "displace":
        found = _ready(database, "priority > ? ORDER BY priority DESC, sequence DESC LIMIT 1", priority)
        if found:
            database.execute(
                "UPDATE items SET state = 'dead', due = 0, reason = 'displaced' WHERE id = ?", (found[0].id,)
            )
            return _select(database, "id = ?", found[0].id)[0]
    elif overflow == "drop-oldest":
        found = _ready(database, "priority >= 2 ORDER BY sequence LIMIT 1") or _ready(
            database, "TRUE ORDER BY sequence LIMIT 1"
        )
        if found:
            database.execute("DELETE FROM items WHERE id = ?", (found[0].id,))
            return found[0]
    return None


def _item(row: tuple[Any, ...]) -> Item:
    values: list[Any] = list(row)
    values[_STATE] = ItemState(values[_STATE])
    values[_UNCERTAIN] = bool(values[_UNCERTAIN])
    return Item(*values)


def _select(database: sqlite3.Connection, where: str, *values: object) -> list[Item]:
    return [_item(row) for row in database.execute(f"SELECT {_COLUMNS} FROM items WHERE {where}", values)]


def _ready(database: sqlite3.Connection, where: str, *values: object) -> list[Item]:
    """Ready items, looked up among the pending ones: an index of their own would cost every add a page to write."""
    query = (
        f"SELECT {_COLUMNS} FROM items INDEXED BY items_end "
        f"WHERE state IN ('ready', 'leased', 'unknown') AND state = 'ready' AND {where}"
    )
    return [_item(row) for row in database.execute(query, values)]


def _first(database: sqlite3.Connection, query: str, *values: object) -> Any:
    row = database.execute(query, values).fetchone()
    return row[0] if row else None


def _depth(database: sqlite3.Connection) -> int:
    return int(_first(database, f"SELECT {_DEPTH}"))


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _Damaged) or (
        code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    )


_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process keeps the file locked",
    sqlite3.SQLITE_LOCKED: "another process keeps the file locked",
    sqlite3.SQLITE_READONLY: "the file can't be written",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
}


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, _Damaged):
        return "the file is damaged"
    return _REASONS.get(code & 0xFF, str(error)) if code is not None else str(error)


def _slug(words: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in words).split())
