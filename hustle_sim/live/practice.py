"""A backend to practise with: a real HTTP server on loopback that plays a scenario, and that can be broken by hand."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import socket
import struct
import sys
from collections import Counter, deque
from http.client import responses
from types import TracebackType
from typing import Any, Self, cast

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets

from hustle_sim.inputs import InputError
from hustle_sim.live.background import LoopThread
from hustle_sim.live.breakage import ByHand, by_hand
from hustle_sim.live.wire import Answer, read_question, refusal
from hustle_sim.simulation.idempotency import Ledger
from hustle_sim.simulation.load import Load
from hustle_sim.simulation.outages import Condition, RateLimit
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

logger = logging.getLogger("hustle_sim.practice")

HOST = "127.0.0.1"
MAX_BODY_BYTES = 1024 * 1024
_KEYS_REMEMBERED = 10_000
_RETRY_LISTENING_S = 0.25


class Places:
    """The places for concurrent requests; whoever finds none free waits in line."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.in_service = 0
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return len(self._line)

    def resize(self, capacity: int) -> None:
        """From now on there are this many places; whoever has one keeps it."""
        self.capacity = capacity
        self._admit()

    async def enter(self) -> None:
        """Take a place, or wait for one."""
        if self.in_service < self.capacity and not self._line:
            self.in_service += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._line.remove(turn)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        self.in_service -= 1
        self._admit()

    def _admit(self) -> None:
        while self._line and self.in_service < self.capacity:
            turn = self._line.popleft()
            if not turn.cancelled():
                self.in_service += 1
                turn.set_result(None)


class _Server(HTTPServer):
    """Tornado's server, with a way to close the connections that wait for a next request."""

    streams: frozenset[IOStream] = frozenset()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """See ``TCPServer.handle_stream``."""
        self.streams = frozenset(known for known in self.streams if not known.closed()) | {stream}
        super().handle_stream(stream, address)

    def is_used(self) -> bool:
        """Whether there are connections left."""
        return any(not stream.closed() for stream in self.streams)


class PracticeBackend:
    """A backend on loopback, for as long as its ``async with`` block lasts (or until ``close()``).

    It speaks both dialogues: ``GET /health`` and ``POST /chat``, ``GET /v1/models`` and
    ``POST /v1/chat/completions``. ``scenario`` (default: ``Scenario()``, which is always well) says how it behaves;
    at its end it begins again. Its clients and its background load are not played. ``seed`` decides its chances.
    ``speed`` makes the scenario's clock run faster; what one request takes stays as it is, so that timeouts keep
    their meaning. ``port`` 0 is any free one.

    How the modes look on the wire: ``refuse`` (and ``flap`` while it is down) closes the port, so that connecting is
    refused; where only a share of the requests is refused, their connections are reset. ``hang`` takes the request
    and never answers. ``bad_body`` answers 200 with JSON that is cut off. ``error``, ``rate_limit`` and a full
    waiting room answer with their status.
    """

    def __init__(self, scenario: Scenario | None = None, *, seed: int = 0, port: int = 0, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise InputError(f"the speed of a practice backend is a number above 0, not {speed!r}")
        if not 0 <= port < 65536:
            raise InputError(f"a port is a number from 0 to 65535, not {port!r}")
        self.requests = 0
        """Requests that arrived."""
        self.effects: Counter[str] = Counter()
        """How often each message was processed, by Idempotency-Key (the last 10,000 keys)."""
        self.url = ""
        """Where it is; empty until it has begun."""
        scenario = scenario or Scenario()
        draws = Draws(seed)
        self._ledger = Ledger(_KEYS_REMEMBERED)
        self._model = scenario.backend
        self._timeline = scenario.timeline(draws)
        self._duration_s = scenario.duration_s
        self._uniform = draws.uniform
        self._speed = speed
        self._port = port
        self._by_hand: ByHand | None = None
        self._places = Places(self._model.capacity)
        self._limit = RateLimit(0.0)
        self._load = Load(self._model.saturates_at_per_s, self._model.load_window_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun_s = 0.0
        self._changed = asyncio.Event()
        self._clockwork: asyncio.Task[None] | None = None
        self._visits: set[_Visit] = set()
        self._server: _Server | None = None
        self._servers: list[_Server] = []
        self._reserved: socket.socket | None = None
        self._thread: LoopThread | None = None

    @classmethod
    def in_thread(cls, scenario: Scenario | None = None, *, seed: int = 0, port: int = 0, speed: float = 1.0) -> Self:
        """A practice backend that runs in a thread of its own until ``close()``. Raises InputError as ``open`` does."""
        practice = cls(scenario, seed=seed, port=port, speed=speed)
        thread = LoopThread("hustle-sim-practice")
        try:
            thread.submit(practice.open()).result()
        except BaseException:
            thread.close()
            raise
        practice._thread = thread
        return practice

    def close(self) -> None:
        """End a practice backend that was made by ``in_thread``. Closing twice is harmless."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self.aclose()).result()
            thread.close()

    async def open(self) -> None:
        """Begin to listen. Raises InputError with one sentence if the port is taken."""
        self._loop = asyncio.get_running_loop()
        try:
            self._reserve()
            self._listen()
        except OSError as error:
            self._let_go()
            why = "is taken" if error.errno == errno.EADDRINUSE else f"can't be opened: {error.strerror}"
            raise InputError(f"port {self._port} {why}") from None
        self.url = f"http://{HOST}:{self._port}"
        self._begun_s = self._loop.time()
        self._limit = RateLimit(self._begun_s)
        self._clockwork = self._loop.create_task(self._keep_time())
        self._apply()

    async def aclose(self) -> None:
        """Drop every connection and give the port back. Closing twice is harmless."""
        if self._clockwork is None:
            return
        tasks = [self._clockwork, *(visit.task for visit in self._visits)]
        self._clockwork = None
        self._stop_listening()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.close_all_connections()
        self._servers.clear()
        self._let_go()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"PracticeBackend({self.url!r})"

    @property
    def condition(self) -> Condition:
        """What is in force now: by hand, or of the scenario. ``mode`` is ``ok`` while all is well."""
        return self._now()[0]

    @property
    def in_service(self) -> int:
        """Requests that have a place."""
        return self._places.in_service

    @property
    def waiting(self) -> int:
        """Requests in the waiting room."""
        return self._places.waiting

    def break_it(self, mode: str, **parameters: float) -> None:
        """Break it by hand, whatever the scenario says, until ``mend()``; it has happened when this returns.

        ``mode`` and its parameters are those of an outage in a scenario: ``refuse``, ``hang`` and ``bad_body``
        (``share`` of the requests, 1), ``error`` (``status`` 500, ``share``), ``slow`` (``factor`` 3, or ``delay_s`` to
        add), ``rate_limit`` (``rate_per_s`` 0.2, ``retry_after_s`` 5), ``brownout`` (``capacity_factor`` 0.5), ``flap``
        (``period_s`` 60, ``duty`` 0.5). For any thread. Raises InputError with one sentence.
        """
        self._by_hand = by_hand(mode, parameters, self._loop.time() if self._loop is not None else 0.0)
        self._take_effect()

    def mend(self) -> None:
        """Give it back to the scenario; it has happened when this returns. For any thread."""
        self._by_hand = None
        self._take_effect()

    def _take_effect(self) -> None:
        if self._loop is None or self._clockwork is None:
            return
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._apply()
            self._changed.set()
        else:
            asyncio.run_coroutine_threadsafe(self._take_effect_here(), self._loop).result()

    async def _take_effect_here(self) -> None:
        self._take_effect()

    def _now(self) -> tuple[Condition, float]:
        """The condition in force, and the seconds (real ones) for which it stays."""
        now_s = self._loop.time() if self._loop is not None else 0.0
        by_hand = self._by_hand
        if by_hand is not None:
            time_s = max(0.0, now_s - by_hand.since_s)
            condition = by_hand.timeline.condition_at(time_s)
            return condition, condition.until_s - time_s
        time_s = (now_s - self._begun_s) * self._speed % self._duration_s
        condition = self._timeline.condition_at(time_s)
        return condition, (min(condition.until_s, self._duration_s) - time_s) / self._speed

    async def _keep_time(self) -> None:
        """Put each condition in force when it begins."""
        while True:
            self._changed.clear()
            self._apply()
            _, left_s = self._now()
            if self._server is None and not _refuses_all(self.condition):
                left_s = min(left_s, _RETRY_LISTENING_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if math.isinf(left_s) else max(left_s, 0.001)):
                    await self._changed.wait()

    def _apply(self) -> None:
        condition = self.condition
        self._places.resize(max(0, round(self._model.capacity * condition.capacity_factor)))
        if _refuses_all(condition):
            self._stop_listening()
        elif self._server is None:
            try:
                self._listen()
            except OSError as error:
                logger.warning("Port %d can't be opened again, trying on: %s", self._port, error.strerror)

    def _reserve(self) -> None:
        if sys.platform != "linux":
            return
        # A port that nobody listens on may become the near end of any connection, even of one to itself, which then
        # succeeds. A socket that is bound to it and does not listen keeps it from that while we refuse.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind((HOST, self._port))
        self._port = self._reserved.getsockname()[1]

    def _let_go(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _listen(self) -> None:
        sockets = bind_sockets(self._port, HOST)
        self._port = sockets[0].getsockname()[1]
        self._server = _Server(self._received, max_body_size=MAX_BODY_BYTES, max_buffer_size=2 * MAX_BODY_BYTES)
        self._server.add_sockets(sockets)
        self._servers = [server for server in self._servers if server.is_used()] + [self._server]

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.stop()
        # A connection that is kept for later would still be answered: only requests under way are let finish.
        busy = {visit.stream for visit in self._visits}
        for stream in server.streams - busy:
            stream.close()

    def _received(self, request: HTTPServerRequest) -> None:
        self.requests += 1
        visit = _Visit(request, self.requests)
        visit.task = asyncio.get_running_loop().create_task(self._serve(visit))
        visit.task.add_done_callback(lambda _: self._visits.discard(visit))
        self._visits.add(visit)
        visit.connection.set_close_callback(lambda: self._abandoned(visit))

    def _abandoned(self, visit: _Visit) -> None:
        if not (visit.in_place and self._model.abandoned_keep_place):
            visit.task.cancel()

    async def _serve(self, visit: _Visit) -> None:
        answer = await self._answer(visit)
        stream, connection = visit.stream, visit.connection
        if stream.closed():
            return
        if answer.status_code == 0:
            # With a linger time of 0 the connection is reset, as if nobody had ever been there.
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            return
        headers = HTTPHeaders({"Content-Type": "application/json", "Content-Length": str(len(answer.body))})
        if answer.retry_after_s is not None:
            headers["Retry-After"] = str(math.ceil(answer.retry_after_s))
        start = ResponseStartLine("HTTP/1.1", answer.status_code, responses.get(answer.status_code, "Unknown"))
        with contextlib.suppress(StreamClosedError):
            await connection.write_headers(start, headers, answer.body)
            connection.finish()
        if self._server is None:
            stream.close()

    async def _answer(self, visit: _Visit) -> Answer:
        model, number, condition = self._model, visit.number, self.condition
        question = read_question(visit.request)
        if isinstance(question, Answer):
            return question
        fault = condition.fault
        if fault is not None and self._uniform("practice.fault", number) >= condition.fault_share:
            fault = None
        if fault is not None and fault.mode == "hang":
            await asyncio.get_running_loop().create_future()
        if fault is not None and fault.mode == "error":
            return await self._turned_away(refusal(fault.status_code))
        if fault is not None and fault.mode != "bad_body":
            return await self._turned_away(Answer(0))
        if condition.rate_per_s is not None and not self._limit.admits(
            condition.rate_per_s, asyncio.get_running_loop().time()
        ):
            return await self._turned_away(refusal(429, condition.retry_after_s))

        latency = model.health_latency if question.text is None else model.latency
        service_s = latency.sample(self._uniform("practice.latency", number)) * condition.slow_factor
        if self._by_hand is not None:
            service_s += self._by_hand.delay_s
        if question.text is None and not model.health_takes_place:
            await asyncio.sleep(service_s)
            return Answer(200, question.answer(model.version))
        if self._places.in_service >= self._places.capacity and self._places.waiting >= model.waiting_room:
            return await self._turned_away(refusal(503))
        key = question.key if question.text is not None and model.honours_keys else ""
        known = self._ledger.begin(key, question.text or "") if key else None
        if known is not None and known.status_code != 200:
            return await self._turned_away(refusal(known.status_code))
        if known is None:
            service_s *= self._load.arrive(asyncio.get_running_loop().time())
            try:
                served = await self._process(visit, service_s, number)
            except BaseException:
                self._ledger.abort(key)
                raise
            if not served:
                self._ledger.abort(key)
                return refusal(500)
            if question.text is not None:
                self._ledger.finish(key, "")
                self._count_effect(question.key)
        # The reply follows from the message alone, so the first answer can be made again.
        body = question.answer(model.version)
        return Answer(200, body[: len(body) // 2] if fault is not None else body)

    async def _process(self, visit: _Visit, service_s: float, number: int) -> bool:
        """Hold a place for the service time; False if it failed, as some do on a good day."""
        visit.in_place = True
        await self._places.enter()
        try:
            await asyncio.sleep(service_s)
        finally:
            self._places.leave()
        return not (self._model.error_rate > 0 and self._uniform("practice.error", number) < self._model.error_rate)

    async def _turned_away(self, answer: Answer) -> Answer:
        await asyncio.sleep(self._model.refusal_s)
        return answer

    def _count_effect(self, key: str) -> None:
        self.effects[key] += 1
        while len(self.effects) > _KEYS_REMEMBERED:
            del self.effects[next(iter(self.effects))]


class _Visit:
    """One request on its way through."""

    task: asyncio.Task[None]

    def __init__(self, request: HTTPServerRequest, number: int) -> None:
        self.request = request
        self.number = number
        self.connection = cast(HTTP1Connection, request.connection)
        self.stream = self.connection.stream
        self.in_place = False


def _refuses_all(condition: Condition) -> bool:
    fault = condition.fault
    return fault is not None and condition.fault_share >= 1 and fault.mode not in ("hang", "error", "bad_body")
