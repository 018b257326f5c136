"""The backend of a simulation: SimPy resources and processes behind the same port as a real one.

A request takes one of ``capacity`` places for its service time, or waits in the waiting room, or is shed with a
503. Outages change what happens to it. ``connect(client)`` gives the backend port directly; ``transport(client)``
gives an httpx transport over the same exchange, so that the very ``HttpBackend`` can be simulated to the wire.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import simpy
from simpy.resources.resource import Request

from hustle_sim.events import BackendSampled, EffectHappened, Emit
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.outcome import Outcome, outcome_of_status
from hustle_sim.simulation.idempotency import Ledger
from hustle_sim.simulation.load import Load
from hustle_sim.simulation.loop import SimPyEventLoop
from hustle_sim.simulation.outages import Condition, RateLimit, Timeline
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import BackendModel


class Exchange(NamedTuple):
    """How the backend ended one request. ``status_code`` 0: no connection was made. ``broken``: the body is cut."""

    status_code: int
    text: str = ""
    retry_after_s: float | None = None
    broken: bool = False


class Places(simpy.Resource):  # type: ignore[misc]
    """The places for concurrent requests. A brownout takes some away: whoever has one keeps it."""

    def resize(self, capacity: int) -> None:
        """From now on there are this many places."""
        self._capacity = capacity
        self._trigger_put(None)

    def leave(self, request: Request) -> None:
        """Free a place at once; ``release`` would make an event of it, for which nobody waits."""
        self.users.remove(request)
        self._trigger_put(None)


@dataclass(slots=True)
class _Seen:
    """What the backend knows of one message: its number for the draws, its arrivals and its effects."""

    client: int
    number: int
    arrivals: int = 0
    effects: int = 0


class SimulatedBackend:
    """One backend that all clients of a simulation share. Times are SimPy's, in seconds.

    ``emit`` gets the truth: samples every ``sample_every_s`` and each effect (a message that was processed).
    """

    def __init__(
        self,
        loop: SimPyEventLoop,
        model: BackendModel,
        timeline: Timeline,
        draws: Draws,
        emit: Emit,
        *,
        sample_every_s: float,
    ) -> None:
        self._loop = loop
        self.env = loop.env
        self._model = model
        self._timeline = timeline
        self._emit = emit
        self._fault_draw = draws.stream("backend.fault")
        self._error_draw = draws.stream("backend.error")
        self._latency_draw = draws.stream("backend.latency")
        self._background_draw = draws.stream("backend.background")
        self.places = Places(self.env, model.capacity)
        self._seen: dict[str, _Seen] = {}
        self._ledger = Ledger()
        self._condition: Condition = timeline.condition_at(self.env.now)
        self._limit = RateLimit(self.env.now)
        self._load = Load(model.saturates_at_per_s, model.load_window_s)
        self._arrivals = 0
        self._rejected = 0
        self.env.process(self._change_with_the_times())
        self.env.process(self._sample(sample_every_s))
        if model.background_per_s > 0:
            self.env.process(self._background())

    def connect(self, client: int) -> DirectPort:
        """The backend port as one client sees it."""
        return DirectPort(self, client)

    def transport(self, client: int) -> SimulatedTransport:
        """The same as an httpx transport, speaking the default dialogue."""
        return SimulatedTransport(self, client)

    async def exchange_health(self, client: int, number: int) -> Exchange:
        """One health check, the ``number``-th of this client."""
        # Probes have draws of their own: client numbers below zero belong to no message.
        return await self._exchange(-1 - client, number, 1, None)

    async def exchange_chat(self, client: int, key: str, payload: str) -> Exchange:
        """One request for the message that ``key`` identifies; ``payload`` is what the request asks."""
        seen = self._seen.get(key)
        if seen is None:
            number = key.rpartition("-")[2]
            seen = self._seen[key] = _Seen(client, int(number) if number.isdecimal() else len(self._seen))
        seen.arrivals += 1
        return await self._exchange(client, seen.number, seen.arrivals, key, payload)

    async def _exchange(self, client: int, number: int, arrival: int, key: str | None, payload: str = "") -> Exchange:
        env = self.env
        now_s = env.now
        condition = self._condition
        self._arrivals += 1
        fault = condition.fault
        if fault is not None and (
            condition.fault_share >= 1 or self._fault_draw(client, number, arrival) < condition.fault_share
        ):
            if fault.mode == "hang":
                await self._loop.create_future()
            if fault.mode == "error":
                return await self._refuse(fault.status_code)
            if fault.mode != "bad_body":
                return await self._refuse(0)
        else:
            fault = None
        if condition.rate_per_s is not None and not self._limit.admits(condition.rate_per_s, now_s):
            return await self._refuse(429, condition.retry_after_s)
        if key is None and not self._model.health_takes_place:
            health_s = self._model.health_latency.sample(self._latency_draw(client, number, arrival))
            return await self._after(health_s * condition.slow_factor, Exchange(200, self._model.version))
        if key is not None and self._model.honours_keys:
            known = self._ledger.begin(key, payload)
            if known is not None:
                return await self._after(self._model.refusal_s, Exchange(known.status_code, known.text))
        places = self.places
        if len(places.users) >= places.capacity and len(places.queue) >= self._model.waiting_room:
            self._ledger.abort(key or "")
            return await self._refuse(503)

        latency = self._model.health_latency if key is None else self._model.latency
        slower = condition.slow_factor * self._load.arrive(now_s)
        service_s = latency.sample(self._latency_draw(client, number, arrival)) * slower
        errs = self._model.error_rate > 0 and self._error_draw(client, number, arrival) < self._model.error_rate
        served = self._loop.create_future()
        service = _Service(self, service_s, None if errs else key, served)
        try:
            await served
        except BaseException:
            if not self._model.abandoned_keep_place:
                service.abandon()
                self._ledger.abort(key or "")
            raise
        finally:
            if errs:
                self._ledger.abort(key or "")
        if errs:
            return Exchange(500)
        text = self._model.version if key is None else _reply(key)
        return Exchange(200, text, broken=fault is not None)

    def processed(self, key: str) -> None:
        """The message had its effect, whether or not anybody waits for the answer."""
        seen = self._seen[key]
        seen.effects += 1
        self._ledger.finish(key, _reply(key))
        self._emit(EffectHappened(self.env.now, seen.client, key, seen.effects))

    async def _refuse(self, status_code: int, retry_after_s: float | None = None) -> Exchange:
        """Turn a request away: quick, but not in no time."""
        self._rejected += 1
        return await self._after(self._model.refusal_s, Exchange(status_code, retry_after_s=retry_after_s))

    async def _after(self, delay_s: float, exchange: Exchange) -> Exchange:
        done = self._loop.create_future()
        timer = self._loop.call_later(delay_s, _resolve, done)
        try:
            await done
        finally:
            timer.cancel()
        return exchange

    def _change_with_the_times(self) -> Generator[simpy.Event, Any, None]:
        """Put each condition in force when it begins."""
        while True:
            condition = self._timeline.condition_at(self.env.now)
            self._condition = condition
            capacity = max(0, round(self._model.capacity * condition.capacity_factor))
            if capacity != self.places.capacity:
                self.places.resize(capacity)
            if math.isinf(condition.until_s):
                return
            yield self.env.timeout(condition.until_s - self.env.now)

    def _sample(self, every_s: float) -> Generator[simpy.Event, Any, None]:
        while True:
            places = self.places
            self._emit(
                BackendSampled(
                    self.env.now, self._condition.mode, places.capacity, len(places.users), len(places.queue),
                    self._arrivals, self._rejected,
                )
            )  # fmt: skip
            self._arrivals = self._rejected = 0
            yield self.env.timeout(every_s)

    def _background(self) -> Generator[simpy.Event, Any, None]:
        """Load from elsewhere: it takes places like any request, and nobody here waits for it."""
        number = 0
        mean_gap_s = 1 / self._model.background_per_s
        while True:
            number += 1
            yield self.env.timeout(-math.log1p(-self._background_draw(number, 0)) * mean_gap_s)
            condition, places = self._condition, self.places
            self._arrivals += 1
            fault = condition.fault
            turned_away = (
                fault is not None
                and fault.mode != "bad_body"
                and (self._background_draw(number, 1) < condition.fault_share)
            )
            if turned_away or (len(places.users) >= places.capacity and len(places.queue) >= self._model.waiting_room):
                self._rejected += 1
                continue
            slower = condition.slow_factor * self._load.arrive(self.env.now)
            service_s = self._model.latency.sample(self._background_draw(number, 2)) * slower
            _Service(self, service_s, None, None)


class _Service:
    """One request in the backend: it waits for a place, holds it for its service time, and has its effect.

    Callbacks on the events of SimPy, since a process for each request costs as much as all the rest of it.
    """

    __slots__ = ("_backend", "_gone", "_key", "_request", "_served", "_service_s")

    def __init__(
        self, backend: SimulatedBackend, service_s: float, key: str | None, served: asyncio.Future[None] | None
    ) -> None:
        self._backend = backend
        self._service_s = service_s
        self._key = key
        self._served = served
        self._gone = False
        self._request = backend.places.request()
        if self._request.triggered:
            self._begin(None)
        else:
            self._request.callbacks.append(self._begin)

    def abandon(self) -> None:
        """Nobody waits any more: give up the place, or the wait for one."""
        self._gone = True
        if self._request.triggered:
            self._backend.places.leave(self._request)
        else:
            self._request.cancel()

    def _begin(self, _: simpy.Event | None) -> None:
        if not self._gone:
            simpy.Timeout(self._backend.env, self._service_s).callbacks.append(self._end)

    def _end(self, _: simpy.Event) -> None:
        if self._gone:
            return
        self._backend.places.leave(self._request)
        if self._key is not None:
            self._backend.processed(self._key)
        if self._served is not None and not self._served.done():
            self._served.set_result(None)


class DirectPort:
    """The backend port without a wire in between."""

    __slots__ = ("_backend", "_client", "_probes")

    def __init__(self, backend: SimulatedBackend, client: int) -> None:
        self._backend = backend
        self._client = client
        self._probes = 0

    async def health(self) -> Response:
        """See ``Backend.health``."""
        self._probes += 1
        exchange = await self._backend.exchange_health(self._client, self._probes)
        response = _response(exchange)
        return response._replace(text="", version=exchange.text) if response.outcome is Outcome.OK else response

    async def chat(self, text: str, *, key: str) -> Response:
        """See ``Backend.chat``."""
        return _response(await self._backend.exchange_chat(self._client, key, text))

    async def aclose(self) -> None:
        """Nothing to let go of."""


class SimulatedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that ends at the simulated backend: ``GET`` is a health check, ``POST`` a message.

    A request without an Idempotency-Key belongs to the message numbered ``message``, which the driver of a
    foreign client sets.
    """

    def __init__(self, backend: SimulatedBackend, client: int) -> None:
        self.message = 0
        self._backend = backend
        self._client = client
        self._probes = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request to the backend, and its end back as httpx knows it."""
        if request.method == "GET":
            self._probes += 1
            exchange = await self._backend.exchange_health(self._client, self._probes)
            body: dict[str, str] = {"status": "ok", "version": exchange.text}
        else:
            key = request.headers.get("idempotency-key", f"{self._client}-{self.message}").strip('"')
            payload = (await request.aread()).decode()
            exchange = await self._backend.exchange_chat(self._client, key, payload)
            body = {"reply": exchange.text}
        if exchange.status_code == 0:
            raise httpx.ConnectError("connection refused", request=request)
        headers = {"content-type": "application/json"}
        if exchange.retry_after_s is not None:
            headers["retry-after"] = f"{exchange.retry_after_s!r}"
        content = json.dumps(body).encode() if exchange.status_code == 200 else b"{}"
        if exchange.broken:
            content = content[: len(content) // 2]
        return httpx.Response(exchange.status_code, headers=headers, content=content, request=request)


def _response(exchange: Exchange) -> Response:
    code = exchange.status_code
    if code == 0:
        return Response(Outcome.REFUSED)
    outcome = Outcome.BAD_BODY if exchange.broken else outcome_of_status(code)
    if outcome is Outcome.OK:
        return Response(outcome, exchange.text, code)
    return Response(outcome, "", code, exchange.retry_after_s)


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def _reply(key: str) -> str:
    return f"Reply to {key}"
