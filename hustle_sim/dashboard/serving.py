"""The server: loopback only, everything from this machine, a free port if the usual one is taken."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import webbrowser
from collections.abc import Callable
from typing import Any

import panel as pn
from bokeh.settings import settings as bokeh_settings

from hustle_sim.dashboard.app import TITLE, create_app
from hustle_sim.dashboard.jobs import workshop
from hustle_sim.dashboard.simulate_state import warm_up
from hustle_sim.inputs import InputError

logger = logging.getLogger("hustle_sim.dashboard")

PORT = 5006


def serve(
    port: int | None = None,
    show: bool = False,
    address: str = "127.0.0.1",
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the dashboard until Ctrl-C.

    ``port``: None is 5006, or a free one if that is taken; a port that is asked for must be free, or InputError is
    raised. ``on_ready`` is called with the address once pages are served (default: it is printed).
    """
    server = _bound(port, address)
    host = "localhost" if address in ("127.0.0.1", "::1") else address
    url = f"http://{host}:{server.port}"

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
    warm_up()
    server.start()
    server.io_loop.add_callback(ready)
    try:
        server.io_loop.start()
    finally:
        workshop().close()
        server.stop()


def _bound(port: int | None, address: str) -> Any:
    bokeh_settings.resources.set_value("server")
    wanted = PORT if port is None else port
    try:
        return _server(wanted, address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and port is None:
            return _server(_free_port(address), address)
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken: name another, or leave it out for a free one") from None
        raise InputError(f"port {wanted} on {address} can't be opened: {error.strerror}") from None


def _free_port(address: str) -> int:
    """A port that is free now: the origins that may connect must be told before the server has one."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _server(port: int, address: str) -> Any:
    return pn.io.server.get_server(
        {"/": create_app}, port=port, address=address, title=TITLE, show=False, start=False, verbose=False,
        websocket_origin=[f"{host}:{port}" for host in dict.fromkeys(("localhost", "127.0.0.1", address))],
    )  # fmt: skip
