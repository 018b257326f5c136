"""An event loop in a thread of its own, so that nobody's page or cell waits for a backend."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A running event loop in a daemon thread, from the moment it is made until ``close()``."""

    def __init__(self, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def is_here(self) -> bool:
        """Whether the caller is in this very thread."""
        return threading.current_thread() is self._thread

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop; the future is for any thread but this one to wait on.

        Raises RuntimeError if the loop is closed.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop soon; nothing happens if the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Cancel what runs in the loop, end it and its thread. Closing twice is harmless."""
        self.post(self._closed.set)
        if not self.is_here:
            self._thread.join()

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            self._closed = asyncio.Event()
            self._ready.set()
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closed.wait()
