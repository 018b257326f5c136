"""An AI backend behind a URL: how to talk to it, and what each of its answers, and each lack of one, means."""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Annotated, Any, Self
from urllib.parse import quote

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, SecretStr, ValidationError

from hustle_sim._version import __version__
from hustle_sim.inputs import InputError, sentence
from hustle_sim.resilience.backend import Response
from hustle_sim.resilience.outcome import Outcome, outcome_of_status

logger = logging.getLogger("hustle_sim.backend")

MAX_BODY_BYTES = 4 * 1024 * 1024
"""An answer longer than this is not read to its end; it counts as unreadable."""

MAX_RETRY_AFTER_S = 7 * 86400.0
"""A Retry-After beyond this is taken for a mistake of the backend, and ignored."""

_PLACEHOLDER = "{message}"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9 !#$&'()*+,./:;<=>?@\[\]^_`{|}~-]*")


def _checked_path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"{path!r} is no path: it begins with '/' and has no spaces")
    return path


def _checked_pointer(pointer: str) -> str:
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON pointer: write it like '/reply' or '/choices/0/message/content'")
    return pointer


def _checked_body(body: JsonValue) -> JsonValue:
    if _PLACEHOLDER not in json.dumps(body):
        raise ValueError(f"the request body has no {_PLACEHOLDER!r} in it, so that no message would be sent")
    return body


_Path = Annotated[str, AfterValidator(_checked_path)]
_Pointer = Annotated[str, AfterValidator(_checked_pointer)]
_HttpStatus = Annotated[int, Field(ge=200, le=299)]


class HttpDialogue(BaseModel):
    """How to ask a backend whether it is well, how to send it a message, and where its answers are.

    ``chat_body`` is any JSON in which ``{message}`` stands, inside a string, for the message. ``*_at`` are JSON
    pointers (RFC 6901) into the answer. A health check is a success if the status is ``health_status`` and the
    value at ``healthy_at`` is ``healthy_value``; with ``healthy_at=None`` the status alone decides. Raises
    pydantic's ValidationError (a ValueError) for values that can't be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    health_path: _Path = "/health"
    health_status: _HttpStatus = 200
    healthy_at: _Pointer | None = "/status"
    healthy_value: JsonValue = "ok"
    version_at: _Pointer | None = "/version"
    chat_path: _Path = "/chat"
    chat_status: _HttpStatus = 200
    chat_body: Annotated[JsonValue, AfterValidator(_checked_body)] = {"message": _PLACEHOLDER}
    reply_at: _Pointer = "/reply"

    @classmethod
    def openai(cls, model: str, **changes: Any) -> Self:
        """The chat completions API that OpenAI and most other servers of language models speak.

        ``changes`` are other fields of the dialogue. Raises InputError with one sentence.
        """
        if not model.strip():
            raise InputError("name the model: an OpenAI-compatible endpoint needs one in every request")
        fields: dict[str, Any] = {
            "health_path": "/v1/models",
            "healthy_at": None,
            "version_at": None,
            "chat_path": "/v1/chat/completions",
            "chat_body": {"model": model, "messages": [{"role": "user", "content": _PLACEHOLDER}]},
            "reply_at": "/choices/0/message/content",
        }
        try:
            return cls(**(fields | changes))
        except ValidationError as error:
            raise InputError(sentence(error, "dialogue", cls.model_fields)) from None


class HttpBackend:
    """The backend at ``url`` (a base to which the dialogue's paths are added), as the resilience code sees it.

    Every end of a request is an outcome. ``refused``, ``dns`` and ``tls`` mean that no connection was made, so
    that nothing was sent. A connection that is lost later, with part of an answer or without, is ``bad_body``: the
    message may have been processed. There are no time limits of its own and no redirects are followed. Proxies of
    the environment (``HTTPS_PROXY``) are used, but never for loopback.

    ``api_key`` is sent as a bearer token and shown nowhere. ``transport`` replaces the network. ``wall_clock``
    (POSIX seconds) lets a Retry-After that is a date be understood when the answer itself is not dated. Raises
    InputError with one sentence if the URL or the key can't be used.
    """

    def __init__(
        self,
        url: str,
        dialogue: HttpDialogue | None = None,
        *,
        api_key: SecretStr | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        base = parse_url(url)
        self.url = str(base)
        self.dialogue = dialogue or HttpDialogue()
        self._wall_clock = wall_clock
        headers = [
            (b"host", base.netloc),
            (b"user-agent", f"hustle-sim/{__version__}".encode()),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if api_key is not None and api_key.get_secret_value():
            headers.append((b"authorization", b"Bearer " + _header_safe(api_key)))
        self._health_url = _joined(base, self.dialogue.health_path)
        self._health_headers = httpx.Headers(headers)
        self._chat_url = _joined(base, self.dialogue.chat_path)
        self._chat_headers = [*headers, (b"content-type", b"application/json")]
        self._chat_body = json.dumps(self.dialogue.chat_body).split(_PLACEHOLDER)
        self._reply_at = _tokens(self.dialogue.reply_at)
        self._send: Callable[[httpx.Request], Awaitable[httpx.Response]]
        if transport is None:
            client = _client(base)
            self._send = partial(client.send, stream=True)
            self._close = client.aclose
        else:
            # Cookies, redirects and authentication schemes are not wanted, and cost half the time of a request.
            self._send = transport.handle_async_request
            self._close = transport.aclose

    def __repr__(self) -> str:
        return f"HttpBackend({self.url!r})"

    async def health(self) -> Response:
        """See ``Backend.health``."""
        dialogue = self.dialogue
        request = httpx.Request("GET", self._health_url, headers=self._health_headers, stream=httpx.ByteStream(b""))
        response, body = await self._exchange(request, dialogue.health_status)
        if response.outcome is not Outcome.OK:
            return response
        document = _parsed(body)
        if dialogue.healthy_at is not None:
            found = _at(document, _tokens(dialogue.healthy_at))
            if found != dialogue.healthy_value:
                logger.debug("The health check was answered, but %s is %.80r.", dialogue.healthy_at, found)
                return response._replace(outcome=Outcome.BAD_BODY)
        version = None if dialogue.version_at is None else _at(document, _tokens(dialogue.version_at))
        return response if version is None else response._replace(version=_clean(str(version))[:100])

    async def chat(self, text: str, *, key: str) -> Response:
        """See ``Backend.chat``."""
        # Only the message and what depends on it is made anew: building a request costs more than sending it.
        body = json.dumps(text)[1:-1].join(self._chat_body).encode()
        headers = [
            *self._chat_headers,
            (b"content-length", b"%d" % len(body)),
            (b"idempotency-key", _quoted(key)),
        ]
        request = httpx.Request("POST", self._chat_url, headers=headers, stream=httpx.ByteStream(body))
        response, content = await self._exchange(request, self.dialogue.chat_status)
        if response.outcome is not Outcome.OK:
            return response
        reply = _at(_parsed(content), self._reply_at)
        if not isinstance(reply, str):
            logger.debug("The answer has no text at %r.", self.dialogue.reply_at)
            return response._replace(outcome=Outcome.BAD_BODY)
        return response._replace(text=_clean(reply))

    async def aclose(self) -> None:
        """See ``Backend.aclose``."""
        await self._close()

    async def _exchange(self, request: httpx.Request, expected: int) -> tuple[Response, bytes]:
        """One request and its end; the body is empty unless all is well so far."""
        try:
            answer = await self._send(request)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            outcome = outcome_of_error(error)
            logger.debug("%s %s: %s (%s).", request.method, request.url.path, outcome, _said(error))
            return Response(outcome), b""

        code = answer.status_code
        outcome = outcome_of_status(code, expected)
        body = b""
        try:
            # Also what nobody needs is read, so that the connection can be used again.
            body = await _read(answer)
        except (httpx.HTTPError, OSError) as error:
            logger.debug("%s %s: HTTP %d, body lost (%s).", request.method, request.url.path, code, _said(error))
            outcome = Outcome.BAD_BODY if outcome is Outcome.OK else outcome
        if outcome is Outcome.OK:
            return Response(outcome, status_code=code), body
        logger.debug("%s %s: HTTP %d, %s.", request.method, request.url.path, code, outcome)
        retry_after_s = None if code == expected else self._retry_after_s(answer.headers)
        return Response(outcome, status_code=code, retry_after_s=retry_after_s), b""

    def _retry_after_s(self, headers: httpx.Headers) -> float | None:
        """The seconds to wait that the answer asks for, or None if it asks for none, or for nonsense."""
        text = headers.get("retry-after")
        if text is None:
            return None
        try:
            seconds = float(text)
        except ValueError:
            until = _timestamp(text)
            # Held against the backend's own clock, a date means the same however wrong ours is.
            now = _timestamp(headers.get("date", ""))
            if now is None and self._wall_clock is not None:
                now = self._wall_clock()
            seconds = math.nan if until is None or now is None else until - now
        return seconds if 0 <= seconds <= MAX_RETRY_AFTER_S else None


def _client(base: httpx.URL) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            # A plain-text backend needs no certificates, and reading them all takes 30 ms.
            verify=True if base.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=not _is_loopback(base.host),
            timeout=None,
            follow_redirects=False,
        )
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        raise InputError(f"the proxy or the certificates of the environment can't be used: {error}") from None


def parse_url(url: str) -> httpx.URL:
    """The base URL of a backend; raises InputError with one sentence for one that can't be used."""
    text = url.strip()
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise InputError("the backend URL has a user or password in it: give the key as HUSTLE_API_KEY instead")
    try:
        parsed = httpx.URL(text.rstrip("/"))
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InputError(f"{text!r} is no backend URL: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise InputError(f"{text!r} is no backend URL: it begins with http:// or https://")
    if not parsed.host:
        raise InputError(f"{text!r} is no backend URL: it names no host")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise InputError(f"{text!r} is no backend URL: a port is a number from 1 to 65535")
    if "?" in text or "#" in text:
        raise InputError(f"{text!r} is no backend URL: paths are added to it, so it can't have a '?' or '#'")
    return parsed


def outcome_of_error(error: Exception) -> Outcome:
    """The outcome that an exception of httpx stands for."""
    if isinstance(error, httpx.TimeoutException):
        return Outcome.TIMEOUT
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | OSError | UnicodeError):
        causes = list(_causes(error))
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return Outcome.TLS
        if any(isinstance(cause, socket.gaierror | UnicodeError) for cause in causes):
            return Outcome.DNS
        return Outcome.REFUSED
    return Outcome.BAD_BODY


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


async def _read(answer: httpx.Response) -> bytes:
    """The body, up to the limit; raises httpx.HTTPError if it breaks off or is too long."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise httpx.RemoteProtocolError(f"more than {MAX_BODY_BYTES} bytes")
            chunks.append(chunk)
    finally:
        await answer.aclose()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _parsed(body: bytes) -> Any:
    """The JSON document, or None (which has nothing at any place) if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _tokens(pointer: str) -> tuple[str, ...]:
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def _at(document: Any, tokens: tuple[str, ...]) -> Any:
    """The value at a JSON pointer, or None."""
    for token in tokens:
        if isinstance(document, dict):
            document = document.get(token)
        elif isinstance(document, list) and token.isdecimal() and len(token) < 10 and int(token) < len(document):
            document = document[int(token)]
        else:
            return None
    return document


def _clean(text: str) -> str:
    """Text that can be stored: half a surrogate pair, which JSON allows, can't be."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _joined(base: httpx.URL, path: str) -> httpx.URL:
    """The base with a path added; a base that already ends in the API version ("/v1") is as good as one without."""
    root = base.raw_path.decode("ascii").rstrip("/")
    first = "/" + path.split("/")[1]
    if root.endswith(first) and path.startswith(first + "/"):
        root = root.removesuffix(first)
    return base.copy_with(raw_path=(root + path).encode("ascii"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _header_safe(api_key: SecretStr) -> bytes:
    value = api_key.get_secret_value()
    if not value.isascii() or not value.isprintable() or " " in value:
        # Found out later, it would be shown: the message of a broken header quotes the header.
        raise InputError("the API key has characters that no key has (a space, a line break or an accent)")
    return value.encode("ascii")


def _quoted(key: str) -> bytes:
    """A key as a structured string, as the IETF draft of the Idempotency-Key header asks."""
    return b'"%s"' % (key if _PLAIN_KEY.fullmatch(key) else quote(key, safe="", errors="replace")).encode("ascii")


def _timestamp(http_date: str) -> float | None:
    try:
        parsed = parsedate_to_datetime(http_date)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
