import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from hustle_sim.inputs import InputError
from hustle_sim.resilience.backend import Response, within
from hustle_sim.resilience.http import MAX_BODY_BYTES, HttpBackend, HttpDialogue
from hustle_sim.resilience.outcome import Outcome

T = TypeVar("T")
SECRET = "sk-very-secret-1234567890"


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def backend(handler: Callable[[httpx.Request], Any], dialogue: HttpDialogue | None = None, **more: Any) -> HttpBackend:
    return HttpBackend("http://coach.test", dialogue, transport=httpx.MockTransport(handler), **more)


def chat(handler: Callable[[httpx.Request], Any], dialogue: HttpDialogue | None = None, **more: Any) -> Response:
    return run(backend(handler, dialogue, **more).chat("Hi", key="k-1"))


def health(handler: Callable[[httpx.Request], Any], dialogue: HttpDialogue | None = None) -> Response:
    return run(backend(handler, dialogue).health())


def answer(status: int = 200, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, **more)


def failing(error: Exception, cause: BaseException | None = None) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error from cause

    return handler


class TestWhatIsSent:
    def test_a_message_with_its_key(self) -> None:
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"reply": "Hello!"})

        response = run(backend(handler, api_key=SecretStr(SECRET)).chat('Say "hi" \n ü {message} \ud800', key="m-1"))
        assert response == Response(Outcome.OK, "Hello!", 200)
        request = seen[0]
        assert (request.method, str(request.url)) == ("POST", "http://coach.test/chat")
        assert json.loads(request.content) == {"message": 'Say "hi" \n ü {message} \ud800'}
        assert request.headers["content-length"] == str(len(request.content))
        assert request.headers["content-type"] == "application/json"
        assert request.headers["host"] == "coach.test"
        assert request.headers["idempotency-key"] == '"m-1"'
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        assert request.headers["user-agent"].startswith("hustle-sim/")

    def test_a_health_check_has_no_body_and_no_key(self) -> None:
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"status": "ok", "version": "1.2.3"})

        assert health(handler) == Response(Outcome.OK, status_code=200, version="1.2.3")
        assert (seen[0].method, seen[0].url.path, seen[0].content) == ("GET", "/health", b"")
        assert "authorization" not in seen[0].headers
        assert "idempotency-key" not in seen[0].headers

    @pytest.mark.parametrize("key", ['a"b', "a\\b", "ü", "line\r\nbreak", "\ud800", ""])
    def test_no_key_can_break_the_header(self, key: str) -> None:
        seen: list[str] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request.headers["idempotency-key"])
            return httpx.Response(200, json={"reply": "ok"})

        assert run(backend(handler).chat("Hi", key=key)).outcome is Outcome.OK
        inside = seen[0][1:-1]
        assert seen[0] == f'"{inside}"'
        assert not set(inside) & set('"\\\r\n')

    def test_the_openai_dialogue(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v1/models":
                return httpx.Response(200, json={"object": "list", "data": []})
            assert request.url.path == "/v1/chat/completions"
            assert json.loads(request.content) == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
            return httpx.Response(200, json={"choices": [{"message": {"content": "Hello!"}}]})

        dialogue = HttpDialogue.openai("m")
        assert chat(handler, dialogue).text == "Hello!"
        assert health(handler, dialogue).outcome is Outcome.OK

    @pytest.mark.parametrize(
        ("url", "wanted"),
        [
            ("http://coach.test", "http://coach.test/v1/models"),
            ("http://coach.test/", "http://coach.test/v1/models"),
            ("http://coach.test:8080/v1", "http://coach.test:8080/v1/models"),
            ("https://coach.test/api/v1/", "https://coach.test/api/v1/models"),
            ("https://coach.test/api", "https://coach.test/api/v1/models"),
            ("http://[::1]:9/x%20y", "http://[::1]:9/x%20y/v1/models"),
        ],
    )
    def test_paths_are_added_to_the_base(self, url: str, wanted: str) -> None:
        seen: list[str] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(str(request.url))
            return httpx.Response(200, json={})

        run(HttpBackend(url, HttpDialogue.openai("m"), transport=httpx.MockTransport(handler)).health())
        assert seen == [wanted]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (400, Outcome.HTTP_4XX),
            (404, Outcome.HTTP_4XX),
            (429, Outcome.RATE_LIMITED),
            (500, Outcome.HTTP_5XX),
            (503, Outcome.OVERLOADED),
            (529, Outcome.OVERLOADED),
            (599, Outcome.HTTP_5XX),
            (204, Outcome.BAD_BODY),
            (302, Outcome.BAD_BODY),
        ],
    )
    def test_statuses(self, status: int, outcome: Outcome) -> None:
        handler = answer(status, json={"reply": "no", "status": "ok"}, headers={"location": "http://elsewhere.test"})
        assert chat(handler) == Response(outcome, status_code=status)
        assert health(handler) == Response(outcome, status_code=status)

    @pytest.mark.parametrize(
        ("error", "cause", "outcome"),
        [
            (httpx.ConnectError("no"), ConnectionRefusedError(), Outcome.REFUSED),
            (httpx.ConnectError("no"), socket.gaierror(-2, "Name or service not known"), Outcome.DNS),
            (httpx.ConnectError("no"), ssl.SSLError(1, "wrong version number"), Outcome.TLS),
            (httpx.ConnectError("no"), ssl.SSLCertVerificationError(1, "self-signed"), Outcome.TLS),
            (httpx.ProxyError("407"), None, Outcome.REFUSED),
            (OSError("network unreachable"), None, Outcome.REFUSED),
            (UnicodeError("label too long"), None, Outcome.DNS),
            (httpx.ConnectTimeout("slow"), None, Outcome.TIMEOUT),
            (httpx.ReadTimeout("slow"), None, Outcome.TIMEOUT),
            (httpx.PoolTimeout("slow"), None, Outcome.TIMEOUT),
            (httpx.ReadError("reset"), ConnectionResetError(), Outcome.BAD_BODY),
            (httpx.WriteError("reset"), None, Outcome.BAD_BODY),
            (httpx.RemoteProtocolError("Server disconnected without sending a response."), None, Outcome.BAD_BODY),
            (httpx.DecodingError("gzip"), None, Outcome.BAD_BODY),
            (httpx.TooManyRedirects("loop"), None, Outcome.BAD_BODY),
            (httpx.InvalidURL("odd"), None, Outcome.BAD_BODY),
        ],
    )
    def test_exceptions(self, error: Exception, cause: BaseException | None, outcome: Outcome) -> None:
        assert chat(failing(error, cause)) == Response(outcome)
        assert health(failing(error, cause)) == Response(outcome)

    def test_a_cause_further_down_the_chain_is_found(self) -> None:
        middle = OSError("All connection attempts failed")
        middle.__context__ = socket.gaierror(-3, "Temporary failure in name resolution")
        assert chat(failing(httpx.ConnectError("no"), middle)).outcome is Outcome.DNS

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"not json", b'{"reply": "cut', b"[]", b"null", b'{"reply": null}', b'{"reply": 3}',
            b'{"answer": "x"}', b'"\xff\xfe"', b"[" * 100_000, b'{"reply": ' + b"9" * 5000 + b"}",
        ],
    )  # fmt: skip
    def test_bodies_that_are_no_answer(self, body: bytes) -> None:
        assert chat(answer(content=body)) == Response(Outcome.BAD_BODY, status_code=200)

    def test_half_a_surrogate_pair_becomes_text_that_can_be_stored(self) -> None:
        response = chat(answer(content=b'{"reply": "ok \\ud800"}'))
        assert response.text.encode() == b"ok ?"

    @pytest.mark.parametrize(
        ("pointer", "document", "text"),
        [
            ("", "bare", "bare"),
            ("/a~1b/~0c", {"a/b": {"~c": "deep"}}, "deep"),
            ("/0/1", [["no", "yes"]], "yes"),
            ("/", {"": "empty name"}, "empty name"),
        ],
    )
    def test_pointers(self, pointer: str, document: object, text: str) -> None:
        assert chat(answer(json=document), HttpDialogue(reply_at=pointer)).text == text

    @pytest.mark.parametrize("pointer", ["/2", "/-1", "/x", "/0/0/0", "/٣", "/99999999999999"])
    def test_pointers_to_nowhere(self, pointer: str) -> None:
        assert chat(answer(json=["a", "b"]), HttpDialogue(reply_at=pointer)).outcome is Outcome.BAD_BODY

    def test_an_answer_without_end_is_not_read_to_its_end(self) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b" " * 65536

        assert chat(answer(content=endless())).outcome is Outcome.BAD_BODY
        assert sent == MAX_BODY_BYTES // 65536 + 1

    def test_a_body_cut_off(self) -> None:
        async def cut() -> AsyncIterator[bytes]:
            yield b'{"reply": '
            raise httpx.ReadError("reset")

        assert chat(answer(content=cut())) == Response(Outcome.BAD_BODY, status_code=200)
        assert chat(answer(503, content=cut())) == Response(Outcome.OVERLOADED, status_code=503)

    def test_cancelled_is_cancelled(self) -> None:
        async def hang(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(3600)
            raise AssertionError

        async def main() -> Response:
            request = asyncio.create_task(backend(hang).chat("Hi", key="k"))
            await asyncio.sleep(0)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            return await within(0.01, backend(hang).health())

        assert run(main()) == Response(Outcome.TIMEOUT)


class TestHealth:
    @pytest.mark.parametrize("body", [b"", b"OK", b'{"status": "degraded"}', b"{}", b'["ok"]'])
    def test_a_backend_that_does_not_say_that_it_is_well(self, body: bytes) -> None:
        assert health(answer(content=body)) == Response(Outcome.BAD_BODY, status_code=200)

    @pytest.mark.parametrize("body", [b"", b"OK", b"{}"])
    def test_the_status_alone_decides_if_nothing_else_is_asked(self, body: bytes) -> None:
        assert health(answer(content=body), HttpDialogue(healthy_at=None)) == Response(Outcome.OK, status_code=200)

    def test_another_status_another_place(self) -> None:
        dialogue = HttpDialogue(health_status=204, healthy_at=None)
        assert health(answer(204), dialogue).outcome is Outcome.OK
        dialogue = HttpDialogue(healthy_at="/checks/0/up", healthy_value=True, version_at="/build/number")
        document = {"checks": [{"up": True}], "build": {"number": 17}}
        assert health(answer(json=document), dialogue).version == "17"


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("2", 2.0), (" 0 ", 0.0), ("1.5", 1.5), ("86400", 86400.0),
            ("-1", None), ("nan", None), ("inf", None), ("1e9", None), ("soon", None), ("", None),
            ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0), ("Thu, 01 Jan 1970 00:16:50 -0000", 10.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None), ("Thu, 01 Jan 2099 00:00:00 GMT", None),
            ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        ],
    )  # fmt: skip
    def test_values(self, text: str, seconds: float | None) -> None:
        handler = answer(429, headers={"retry-after": text})
        assert chat(handler, wall_clock=lambda: 1000.0).retry_after_s == seconds

    def test_a_date_is_held_against_the_clock_of_the_backend(self) -> None:
        headers = {"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT", "date": "Thu, 01 Jan 1970 00:00:30 GMT"}
        assert chat(answer(503, headers=headers), wall_clock=lambda: 5e9).retry_after_s == 30.0

    def test_a_date_without_any_clock_is_ignored(self) -> None:
        assert chat(answer(503, headers={"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT"})).retry_after_s is None

    def test_not_taken_from_an_answer_that_was_fine(self) -> None:
        assert chat(answer(content=b"broken", headers={"retry-after": "5"})).retry_after_s is None


class TestBadInput:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("localhost:8000", "begins with http:// or https://"),
            ("ftp://coach.test", "begins with http:// or https://"),
            ("", "begins with http:// or https://"),
            ("http://", "names no host"),
            ("http://coach.test:99999", "99999"),
            ("http://coach.test:port", "port"),
            ("http://coach.test/?key=1", "'?'"),
            ("http://coach.test/#x", "'#'"),
            ("http://a\x00b", "no backend URL"),
        ],
    )
    def test_urls(self, url: str, says: str) -> None:
        with pytest.raises(InputError, match="backend URL") as caught:
            HttpBackend(url)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "gopher://x"), ("SSL_CERT_FILE", "/nowhere.pem")])
    def test_an_environment_that_can_not_be_used(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match="of the environment can't be used"):
            HttpBackend("https://coach.test")
        HttpBackend("http://localhost:1")

    def test_a_password_in_the_url_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(InputError) as caught:
            HttpBackend(f"https://me:{SECRET}@coach.test")
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("key", [f"{SECRET}\n", f"{SECRET} x", f"{SECRET}é"])
    def test_a_key_that_would_break_the_header_is_refused_and_not_repeated(self, key: str) -> None:
        with pytest.raises(InputError) as caught:
            HttpBackend("http://coach.test", api_key=SecretStr(key))
        assert SECRET not in str(caught.value)

    def test_dialogues(self) -> None:
        with pytest.raises(InputError, match="name the model"):
            HttpDialogue.openai(" ")
        with pytest.raises(InputError, match="chat_path"):
            HttpDialogue.openai("m", chat_path="chat")
        with pytest.raises(InputError, match="did you mean 'chat_path'"):
            HttpDialogue.openai("m", chat_pth="/chat")
        with pytest.raises(ValidationError, match="no message would be sent"):
            HttpDialogue(chat_body={"message": "hello"})
        with pytest.raises(ValidationError, match="JSON pointer"):
            HttpDialogue(reply_at="reply")


def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for handler in (answer(json={"reply": "x"}), answer(500), failing(httpx.ConnectError("no")), answer()):
            one = backend(handler, api_key=SecretStr(SECRET))
            await one.chat("Hi", key="k")
            await one.health()
            assert SECRET not in f"{one!r} {one}"
            await one.aclose()

    with caplog.at_level(logging.DEBUG):
        run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "hustle_sim.backend"]
    assert "POST /chat: HTTP 500, http_5xx." in lines
    assert "POST /chat: refused (no)." in lines
    assert SECRET not in caplog.text
    assert not any(record.exc_info for record in caplog.records)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def against(serve: Serve, scheme: str = "http", limit_s: float = 10.0, requests: int = 1) -> list[Response]:
    """What a backend that is served by hand on a real socket comes to."""
    served: list[asyncio.Task[None]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    one = HttpBackend(f"{scheme}://{host}:{port}")
    try:
        return [await within(limit_s, one.chat("Hi", key="k")) for _ in range(requests)]
    finally:
        await one.aclose()
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))


@pytest.mark.real
class TestRealSockets:
    def test_well(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for text in (b"one", b"two"):
                await _request(reader)
                body = b'{"reply": "%s"}' % text
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        # Two answers on one connection: it was kept.
        assert [response.text for response in run(against(serve, requests=2))] == ["one", "two"]

    def test_a_refusal_keeps_the_connection_too(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for seconds in (b"1", b"2"):
                await _request(reader)
                writer.write(b"HTTP/1.1 429 Busy\r\nRetry-After: " + seconds + b"\r\nContent-Length: 4\r\n\r\nbusy")

        assert [response.retry_after_s for response in run(against(serve, requests=2))] == [1.0, 2.0]

    def test_port_that_nobody_listens_on(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            assert run(HttpBackend(url).chat("Hi", key="k")) == Response(Outcome.REFUSED)

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"", None),
            (b"SSH-2.0-OpenSSH_9.6\r\n", None),
            (b"\x00\xff" * 500 + b"\r\n\r\n", None),
            (b"HTTP/1.1 200 OK\r\nContent-Le", None),
            (b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"reply": "cu', 200),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200),
        ],
    )
    def test_broken_answers(self, sent: bytes, status: int | None) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _request(reader)
            writer.write(sent)
            await writer.drain()

        assert run(against(serve)) == [Response(Outcome.BAD_BODY, status_code=status)]

    def test_no_answer_at_all(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(60)

        assert run(against(serve, limit_s=0.2)) == [Response(Outcome.TIMEOUT)]

    def test_tls_to_a_plain_port(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        assert run(against(serve, scheme="https")) == [Response(Outcome.TLS)]

    def test_a_name_that_does_not_exist(self) -> None:
        assert run(within(10, HttpBackend("http://nonexistent.invalid").health())) == Response(Outcome.DNS)

    def test_a_name_that_can_not_exist(self) -> None:
        assert run(within(10, HttpBackend(f"http://{'x' * 80}.invalid").health())) == Response(Outcome.DNS)

    def test_proxies_of_the_environment_are_not_for_loopback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _request(reader)
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"reply": "ok"}')

        assert run(against(serve))[0].text == "ok"
