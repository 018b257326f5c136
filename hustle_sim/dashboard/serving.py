"""The server: for this machine only unless told otherwise, everything from itself, a free port if 5006 is taken."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
import signal
import socket
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bokeh.server.urls
import panel as pn
from bokeh.settings import settings as bokeh_settings
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from hustle_sim.dashboard.access import Access, AccessSettings, Auth, access
from hustle_sim.dashboard.app import TITLE, create_app
from hustle_sim.dashboard.handlers import Health, NotFound, PageHandler
from hustle_sim.dashboard.jobs import workshop
from hustle_sim.dashboard.lifetime import LOOK_MS, begin_tidy
from hustle_sim.dashboard.simulate_state import warm_up
from hustle_sim.inputs import InputError

logger = logging.getLogger("hustle_sim.dashboard")

PORT = 5006
LOOPBACK = "127.0.0.1"

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_ORIGIN = re.compile(r"(\*|\[[0-9a-fA-F:]+\]|[A-Za-z0-9.*_-]+)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and to whom the dashboard is served.

    ``port``: None is 5006, or a free one if that is taken. ``prefix``: the path under which it is, such as
    ``"/hustle"``. ``origins``: hosts (``"tools.example.com"``, ``"example.com:8443"``) whose pages may connect, besides
    the address itself. ``behind_proxy``: believe the ``X-Forwarded-...`` headers of a reverse proxy. ``auth``: see
    ``access``.
    """

    port: int | None = None
    address: str = LOOPBACK
    prefix: str = ""
    origins: tuple[str, ...] = ()
    behind_proxy: bool = False
    auth: Auth = "none"

    @classmethod
    def of(cls, *, prefix: str = "", origins: Sequence[str] = (), **options: Any) -> Serving:
        """From what a person wrote. Raises InputError with one sentence for a prefix or an origin that can't be one."""
        path = prefix.rstrip("/")
        if path and not path.startswith("/"):
            path = f"/{path}"
        if not _PREFIX.fullmatch(path):
            raise InputError(
                f"--prefix {prefix}: write a path such as /hustle, of letters, digits, '-', '_', '.' and '/'"
            )
        for origin in origins:
            found = _ORIGIN.fullmatch(origin)
            if not found or not 0 < int(found["port"] or 443) < 65536:
                raise InputError(
                    f"--allow-origin {origin}: write a host without scheme and path, such as tools.example.com or "
                    "tools.example.com:8443"
                )
        return cls(prefix=path, origins=tuple(origins), **options)


def exposed(serving: Serving) -> str:
    """A sentence about a dashboard that strangers could use, or nothing."""
    if serving.auth != "none" or _is_loopback(serving.address):
        return ""
    return (
        f"Everyone who can reach {serving.address} can use this dashboard, and through it probe whatever this machine "
        "reaches: give --auth basic or --auth oauth, or serve on loopback behind a proxy that asks who they are."
    )


def serve(
    serving: Serving = Serving(),
    *,
    show: bool = False,
    on_ready: Callable[[str], None] | None = None,
    settings: AccessSettings | None = None,
) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM.

    A port that is asked for must be free, and what ``auth`` needs must be there, or InputError is raised.
    ``on_ready`` is called with the address once pages are served (default: it is printed). ``settings`` hold the
    secrets of ``auth`` (default: those of the environment and ``.env``).
    """
    server = bound(serving, settings)
    url = f"http://{_host(serving.address)}:{server.port}{serving.prefix}"

    def ready() -> None:
        if on_ready is not None:
            on_ready(url)
        else:
            print(f"hustle_sim is at {url} (Ctrl-C ends it)", flush=True)
        if show:
            webbrowser.open(url)

    def stop(*_: Any) -> None:
        server.io_loop.add_callback_from_signal(server.io_loop.stop)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    server.io_loop.asyncio_loop.set_exception_handler(_complain)
    logging.getLogger("bokeh.server.views.ws").addFilter(_is_news)
    warm_up()
    begin_tidy()
    server.start()
    server.io_loop.add_callback(ready)
    try:
        server.io_loop.start()
    finally:
        workshop().close()
        server.stop()


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody handled, but not that a tab was closed while something was written to it."""
    if not isinstance(context.get("exception"), WebSocketClosedError | StreamClosedError):
        loop.default_exception_handler(context)


def _is_news(record: logging.LogRecord) -> bool:
    return "connection was closed" not in record.getMessage()


def bound(serving: Serving, settings: AccessSettings | None = None) -> Any:
    """A server that has its port but does not run yet. Raises InputError with one sentence."""
    bokeh_settings.resources.set_value("server")
    allowed = access(serving.auth, settings or AccessSettings.load(), serving.prefix or "/")
    wanted = PORT if serving.port is None else serving.port
    try:
        return _server(serving, allowed, wanted)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and serving.port is None:
            return _server(serving, allowed, _free_port(serving.address))
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {wanted} is taken: name another, or leave it out for a free one") from None
        why = error.strerror or str(error)
        raise InputError(f"port {wanted} on {serving.address} can't be opened: {why}") from None


def _free_port(address: str) -> int:
    """A port that is free now: the origins that may connect must be told before the server has one."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _server(serving: Serving, allowed: Access, port: int) -> Any:
    hosts = dict.fromkeys(("localhost", LOOPBACK, _bracketed(serving.address)))
    _use_our_pages()
    began = IOLoop.current().asyncio_loop.time()  # type: ignore[attr-defined]
    log_in = {"auth_provider": allowed.provider()} if allowed.provider else {}
    return pn.io.server.get_server(
        {"/": create_app}, port=port, address=serving.address, title=TITLE, show=False, start=False, verbose=False,
        prefix=serving.prefix, use_xheaders=serving.behind_proxy,
        check_unused_sessions_milliseconds=LOOK_MS,
        websocket_origin=[*(f"{host}:{port}" for host in hosts), *serving.origins],
        extra_patterns=[("/health", Health, {"began": began})],
        default_handler_class=NotFound, **log_in, **allowed.options,
    )  # fmt: skip


def _use_our_pages() -> None:
    """Answer for a page that breaks in our words: Bokeh takes the handlers of each new server from this list."""
    patterns = bokeh.server.urls.per_app_patterns
    patterns[:] = [(route, PageHandler if route == "/?" else handler) for route, handler in patterns]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _host(address: str) -> str:
    return "localhost" if _is_loopback(address) else _bracketed(address)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
