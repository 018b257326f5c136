"""``python -m benchmarks.durable``: what a durable add costs, against a bare sqlite3 loop and other queues in SQLite.

The others are in the extra ``bench`` (persist-queue, litequeue), and are left out with a sentence if not installed.
Everything runs in turns on the same disk, and the ratios are medians over the rounds: above 1 we are slower.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from hustle_sim.resilience.sqlite_store import SQLiteStore
from hustle_sim.resilience.store import Item

TEXT = "How do I stay motivated when nothing moves? " * 3
ADDS, AT_ONCE = 300, 64
SIZES = (100, 10_000, 100_000)

_numbers = count()


def item() -> Item:
    """A new item, ready since the epoch."""
    name = f"message-{next(_numbers):08}"
    return Item(name, TEXT, 1, 0.0, 1e12, rank=600.0)


class Ours:
    """``SQLiteStore``: one add after the other, or ``AT_ONCE`` of them waiting at the same time."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._store = SQLiteStore(folder / "ours.db")
        self._runner.run(self._store.depth())

    def single(self, number: int) -> None:
        """Add one after the other."""

        async def main() -> None:
            for _ in range(number):
                await self._store.add(item(), max_size=1_000_000, overflow="reject")

        self._runner.run(main())

    def concurrent(self, number: int) -> None:
        """Add ``AT_ONCE`` at a time."""

        async def person(turns: int) -> None:
            for _ in range(turns):
                await self._store.add(item(), max_size=1_000_000, overflow="reject")

        async def main() -> None:
            await asyncio.gather(*(person(number // AT_ONCE) for _ in range(AT_ONCE)))

        self._runner.run(main())

    def close(self) -> None:
        """Close the file."""
        self._runner.run(self._store.aclose())
        self._runner.close()


class Bare:
    """sqlite3 in a loop, with the same pragmas and a transaction for each add."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "bare.db", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE items (id TEXT PRIMARY KEY, text TEXT, priority INTEGER, created_at REAL)")

    def single(self, number: int) -> None:
        """Add one after the other."""
        for _ in range(number):
            new = item()
            self._database.execute(
                "INSERT INTO items VALUES (?, ?, ?, ?)", (new.id, new.text, new.priority, new.created_at)
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class BareItems(Bare):
    """The same loop into the store's own table, with its indexes."""

    def __init__(self, folder: Path) -> None:
        path = folder / "bare-items.db"

        async def make() -> None:
            store = SQLiteStore(path)
            await store.depth()
            await store.aclose()

        asyncio.run(make())
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")

    def single(self, number: int) -> None:
        """Add one after the other."""
        for _ in range(number):
            new = item()
            self._database.execute(
                "INSERT INTO items (id, text, priority, created_at, expires_at, rank, conversation, state, not_before, "
                "due, attempts, tries, uncertain, owner, leased_until, reason, reply) "
                "VALUES (?, ?, ?, ?, ?, ?, '', 'ready', 0, 1, 0, 0, 0, '', 0, '', '')",
                (new.id, new.text, new.priority, new.created_at, new.expires_at, new.rank),
            )


class OnAThread:
    """The same loop on a thread of its own, asked from asyncio: the least that a loop which does not block can do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "on-a-thread"
        self._folder.mkdir()
        self._runner = asyncio.Runner()
        self._asked: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        bare = BareItems(self._folder)
        while (future := self._asked.get()) is not None:
            bare.single(1)
            future.get_loop().call_soon_threadsafe(future.set_result, None)
        bare.close()

    def single(self, number: int) -> None:
        """Add one after the other."""

        async def main() -> None:
            for _ in range(number):
                future = asyncio.get_running_loop().create_future()
                self._asked.put(future)
                await future

        self._runner.run(main())

    def close(self) -> None:
        """End the thread."""
        self._asked.put(None)
        self._thread.join()
        self._runner.close()


class PersistQueue:
    """persist-queue: ``SQLiteAckQueue``, which commits each put."""

    def __init__(self, folder: Path) -> None:
        made: Any = importlib.import_module("persistqueue")
        self._queue = made.SQLiteAckQueue(str(folder / "ack"), auto_commit=True, multithreading=True)

    def single(self, number: int) -> None:
        """Add one after the other."""
        for _ in range(number):
            new = item()
            self._queue.put({"id": new.id, "text": new.text, "priority": 1})

    def close(self) -> None:
        """Close the file."""
        self._queue.close()


class PersistPlain(PersistQueue):
    """persist-queue: ``SQLiteQueue`` with ``auto_commit``."""

    def __init__(self, folder: Path) -> None:
        made: Any = importlib.import_module("persistqueue")
        self._queue = made.SQLiteQueue(str(folder / "plain"), auto_commit=True, multithreading=True)


class LiteQueue:
    """litequeue as it comes: synchronous = NORMAL, so that a power cut may cost the last adds."""

    def __init__(self, folder: Path, synchronous: str = "NORMAL") -> None:
        made: Any = importlib.import_module("litequeue")
        self._queue = made.LiteQueue(str(folder / f"lite-{synchronous}.db"))
        self._queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def single(self, number: int) -> None:
        """Add one after the other."""
        for _ in range(number):
            self._queue.put(item().text)

    def close(self) -> None:
        """Close the file."""
        self._queue.close()


class LiteQueueFull(LiteQueue):
    """litequeue made as durable as the others: synchronous = FULL."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "FULL")


class InAThread:
    """Another queue as an asyncio app has to use it, if its loop is not to stand still for the disk."""

    def __init__(self, other: Bare | PersistQueue | LiteQueue) -> None:
        self._other = other
        self._runner = asyncio.Runner()

    def single(self, number: int) -> None:
        """Add one after the other."""

        async def main() -> None:
            for _ in range(number):
                await asyncio.to_thread(self._other.single, 1)

        self._runner.run(main())

    def close(self) -> None:
        """End the threads; the queue itself belongs to another."""
        self._runner.close()


OTHERS = {
    "persist-queue SQLiteAckQueue": PersistQueue,
    "persist-queue SQLiteQueue": PersistPlain,
    "litequeue (synchronous=FULL)": LiteQueueFull,
    "litequeue (as it comes: NORMAL, not durable)": LiteQueue,
}


def seconds_each(work: Callable[[int], None], number: int) -> float:
    """Seconds for each of ``number`` adds."""
    began = time.perf_counter()
    work(number)
    return (time.perf_counter() - began) / number


def adds(rounds: int = 7) -> dict[str, float]:
    """Adds per second and ratios of the time of one add, as medians over the rounds."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hustle-durable-") as folder:
        ours, bare, same = Ours(Path(folder)), Bare(Path(folder)), BareItems(Path(folder))
        works = {"single": ours.single, "concurrent": ours.concurrent, "bare": bare.single, "same": same.single}
        threaded = InAThread(bare)
        works["bare sqlite3 loop (id and text), from asyncio"] = threaded.single
        least = OnAThread(Path(folder))
        works["bare sqlite3 loop (our table) on a thread, from asyncio"] = least.single
        closing: list[Any] = [threaded, least, ours, bare, same]
        for name, kind in OTHERS.items():
            try:
                other = kind(Path(folder))
            except ImportError as error:
                print(f"  {name} is left out: {error.name} is not installed (pip install hustle-sim[bench]).")
                continue
            works[name] = other.single
            threaded = InAThread(other)
            works[f"{name}, from asyncio"] = threaded.single
            closing = [threaded, *closing, other]
        for work in works.values():
            work(AT_ONCE)
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(rounds):
            # In turns, and each round in another order, so that a disk that gets slower is fair to all.
            names = list(works)
            names = names[turn % len(names) :] + names[: turn % len(names)]
            for name in names:
                times[name].append(
                    seconds_each(works[name], ADDS // AT_ONCE * AT_ONCE if name == "concurrent" else ADDS)
                )
        for each in closing:
            each.close()
    labels = {
        "single": "single",
        "concurrent": f"{AT_ONCE} at a time",
        "bare": "bare sqlite3 loop (id and text)",
        "same": "bare sqlite3 loop (our table)",
    }
    for name, taken in times.items():
        figures[f"{labels.get(name, name)}, adds/s"] = 1 / statistics.median(taken)
    for mine in ("single", "concurrent"):
        for name in list(works)[2:]:
            ratios = [a / b for a, b in zip(times[mine], times[name], strict=True)]
            figures[f"{labels[mine]} / {labels.get(name, name)}"] = statistics.median(ratios)
    return figures


def sizes() -> dict[str, float]:
    """How long opening and claiming take with many items in the file, in milliseconds."""
    figures: dict[str, float] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="hustle-durable-") as folder:
            path = Path(folder) / "queue.db"

            async def fill(path: Path = path, size: int = size) -> None:
                store = SQLiteStore(path)
                for begin in range(0, size, 1000):
                    new = (item() for _ in range(min(1000, size - begin)))
                    await asyncio.gather(*(store.add(each, max_size=1_000_000, overflow="reject") for each in new))
                await store.aclose()

            async def work(path: Path = path) -> tuple[float, float, float]:
                began = time.perf_counter()
                store = SQLiteStore(path)
                await store.depth()
                opened = time.perf_counter() - began
                claims, looks = [], []
                for now in range(50):
                    began = time.perf_counter()
                    await store.expire(1000.0 + now)
                    claimed = await store.claim(1000.0 + now, owner="me", until=2000.0 + now)
                    claims.append(time.perf_counter() - began)
                    assert claimed is not None
                    began = time.perf_counter()
                    await store.next_due()
                    looks.append(time.perf_counter() - began)
                await store.aclose()
                return opened, statistics.median(claims), statistics.median(looks)

            asyncio.run(fill())
            opened, claim, look = asyncio.run(work())
            figures[f"open with {size:,} items, ms"] = 1000 * opened
            figures[f"expire and claim at {size:,} items, ms"] = 1000 * claim
            figures[f"next_due at {size:,} items, ms"] = 1000 * look
    return figures


def measure() -> dict[str, float]:
    """All figures."""
    return adds() | sizes()


def main() -> None:
    """Measure and print."""
    for name, value in measure().items():
        print(f"  {name:75} {value:>12,.2f}")


if __name__ == "__main__":
    main()
