"""A small reverse proxy on loopback that offers a server under a path, as nginx does: requests and websockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Hands on to the port ``target`` what is asked for below ``prefix``; what else was asked for is in ``strays``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.port = self.target = 0
        self.strays: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            if not path.startswith(self.prefix):
                self.strays.append(path)
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            await self._hand_on(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _hand_on(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.rstrip("\r\n").split("\r\n")
        if not any(line.lower().startswith("upgrade:") for line in lines):
            # One request a connection: nothing of a second one is read here.
            lines = [line for line in lines if not line.lower().startswith("connection:")] + ["Connection: close"]
        lines += ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http"]
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        back_writer.write("\r\n".join([first, *lines, "", ""]).encode("latin-1"))
        there = asyncio.create_task(_pour(reader, back_writer))
        await _pour(back_reader, writer)
        there.cancel()
        back_writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@contextmanager
def proxied(prefix: str) -> Iterator[Proxy]:
    """A proxy on a free port, in a thread of its own; its target is told later."""
    proxy, ready, loop = Proxy(prefix), threading.Event(), asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()

    def work() -> None:
        loop.run_until_complete(run())
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
