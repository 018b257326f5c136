"""How a server bears many visitors: ``python -m benchmarks.crowd``

Each visitor is a session of their own over a web socket, speaks as a browser does (the page, the document, "it is
drawn", a slider's new value every second) and hears all that a browser would hear, figures included; but nobody
paints. So the two cores are the server's, as they are where visitors bring their own machines. ``python -m
benchmarks.dashboard crowd`` is the same with all of the browsers on this machine as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from benchmarks.dashboard import p95, served

_MOST_BYTES = 200_000_000
_VALUES = range(3, 37)


class Visitor:
    """One session, and what its visitor waits for."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        self._numbers = 0
        self.heard_bytes = 0
        self.moved_at = 0.0
        self.took_ms: list[float] = []
        self.errors: list[str] = []
        self._form, self._home = "", ""
        self._values: dict[str, Any] = {}

    @classmethod
    async def come(cls, url: str, seed: int) -> Visitor:
        """Open the page, take the document, and say that it is drawn."""
        async with httpx.AsyncClient(timeout=300) as client:
            page = (await client.get(f"{url}/", params={"seed": seed})).text
        found = re.search(r'"token":"([^"]+)"', page)
        if found is None:
            raise RuntimeError("the page has no token")
        request = HTTPRequest(
            f"{url.replace('http', 'ws', 1)}/ws", headers={"Origin": url}, connect_timeout=300, request_timeout=300
        )
        socket = await websocket_connect(request, subprotocols=["bokeh", found[1]], max_message_size=_MOST_BYTES)
        visitor = cls(socket)
        await visitor._until("ACK")
        await visitor._send("PULL-DOC-REQ", {})
        document = await visitor._until("PULL-DOC-REPLY")
        visitor._know(document)
        await visitor._send("PATCH-DOC", {"events": [_DRAWN]})
        return visitor

    async def hear(self) -> None:
        """Hear what the server says, until it or the visitor ends."""
        async for kind, content in self._messages():
            if kind == "ERROR":
                self.errors.append(str(content)[:200])
            elif kind == "PATCH-DOC" and self._is_news(content) and self.moved_at:
                self.took_ms.append(1000 * (time.perf_counter() - self.moved_at))
                self.moved_at = 0.0

    async def first_results(self) -> None:
        """Hear until the first results are shown."""
        async for kind, content in self._messages():
            if kind == "PATCH-DOC" and self._is_news(content):
                return

    async def move(self, value: int) -> None:
        """Move the slider of the confirming probes; an update is counted from the first move that it answers."""
        self.moved_at = self.moved_at or time.perf_counter()
        self._values = {**self._values, "probe.confirm_s": str(value)}
        change = {"kind": "ModelChanged", "model": {"id": self._form}, "attr": "values", "new": self._values}
        await self._send("PATCH-DOC", {"events": [change]})

    def leave(self) -> None:
        """Close the tab."""
        self._socket.close()

    def _know(self, document: Any) -> None:
        """Find the controls and the mark of new results in the document."""
        for one in _objects(document):
            named = one.get("attributes", {})
            data = named.get("data")
            if not isinstance(data, dict):
                continue
            if named.get("class_name") == "PolicyForm":
                self._form = data["id"]
                self._values = dict(data["attributes"]["values"]["entries"])
            elif named.get("class_name") == "TakeHome":
                self._home = data["id"]

    def _is_news(self, content: Any) -> bool:
        return any(
            event.get("attr") == "shown" and event.get("model", {}).get("id") == self._home
            for event in content.get("events", ())
        )

    async def _send(self, kind: str, content: Any) -> None:
        self._numbers += 1
        for frame in ({"msgid": str(self._numbers), "msgtype": kind}, {}, content):
            await self._socket.write_message(json.dumps(frame))

    async def _until(self, kind: str) -> Any:
        async for each, content in self._messages():
            if each == kind:
                return content
        raise RuntimeError(f"the server went away before {kind}")

    async def _messages(self) -> AsyncIterator[tuple[str, Any]]:
        """Messages: header, metadata, content, and after them a header and a payload for each buffer."""
        while True:
            header = await self._frame()
            if header is None:
                return
            told = json.loads(header)
            await self._frame()
            content = await self._frame()
            for _ in range(2 * told.get("num_buffers", 0)):
                await self._frame()
            if content is None:
                return
            yield told["msgtype"], json.loads(content)

    async def _frame(self) -> Any:
        frame = await self._socket.read_message()
        self.heard_bytes += len(frame or "")
        return frame


_DRAWN = {
    "kind": "MessageSent", "msg_type": "bokeh_event",
    "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map", "entries": []}},
}  # fmt: skip


def _objects(value: Any) -> Any:
    """All models that a document holds, however deep."""
    if isinstance(value, dict):
        if value.get("type") == "object":
            yield value
        for part in value.values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)


async def crowd(url: str, visitors: int, seconds: float) -> list[Visitor]:
    """Many visitors who each move a slider every second; the first second is shared out among them."""
    there = []
    for number in range(visitors):
        there.append(await Visitor.come(url, 100 + number))
        await there[-1].first_results()
    print(f"{visitors} visitors are there", file=sys.stderr, flush=True)
    for one in there:
        one.heard_bytes = 0
    hearing = [asyncio.create_task(one.hear()) for one in there]

    async def moves(number: int, one: Visitor) -> None:
        await asyncio.sleep(number / visitors)
        for turn in range(round(seconds)):
            await one.move(_VALUES[(number + turn) % len(_VALUES)])
            await asyncio.sleep(1)

    await asyncio.gather(*(moves(number, one) for number, one in enumerate(there)))
    await asyncio.sleep(3)
    for one in there:
        one.leave()
    await asyncio.gather(*hearing)
    return there


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Visitors who each move a slider every second.")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with served() as url:
        there = asyncio.run(crowd(url, options.visitors, options.seconds))
    updates = [took for one in there for took in one.took_ms]
    errors = [error for one in there for error in one.errors]
    told = {
        "updates, median ms": statistics.median(updates),
        "updates, p95 ms": p95(updates),
        "updates a second in all": len(updates) / options.seconds,
        "fewest updates of a visitor": min(len(one.took_ms) for one in there),
        "kB heard for an update": sum(one.heard_bytes for one in there) / len(updates) / 1000,
        "errors": len(errors),
    }
    for name, value in told.items():
        print(f"{options.visitors} visitors, {name:40} {value:>10,.1f}")
    for error in errors[:5]:
        print(error)


if __name__ == "__main__":
    main()
