"""What can go wrong in virtual time, and the facilities of asyncio that it does not have."""

from __future__ import annotations

from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from typing import Never, TypeVar

L = TypeVar("L", bound=type[BaseEventLoop])


class VirtualTimeError(RuntimeError):
    """Something that cannot be done, or went wrong, in virtual time. The base of the errors below."""


class DeadlockError(VirtualTimeError):
    """Nothing is ready and nothing is scheduled, so that the tasks which wait would wait for ever."""


class NoProgressError(DeadlockError):
    """Time goes on, but the loop's ``progress`` has not changed for ``progress_limit_s``."""


class StalledClockError(VirtualTimeError):
    """Work at one instant does not end, so that virtual time stands still."""


class UnsupportedError(VirtualTimeError, NotImplementedError):
    """A facility that needs the real world: threads, sockets, names, subprocesses, signals."""


class RunInterrupted(Exception):  # noqa: N818 -- not an error: somebody asked for it
    """``SimPyEventLoop.interrupt`` ended the run."""


_REFUSED = (
    (
        "run_in_executor set_default_executor",
        "threads",
        "do the work in a coroutine, or before the run",
    ),
    (
        "create_connection create_server create_datagram_endpoint create_unix_connection create_unix_server "
        "connect_accepted_socket start_tls sendfile sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom "
        "sock_recvfrom_into sock_sendall sock_sendfile sock_sendto add_reader remove_reader add_writer remove_writer",
        "sockets",
        "give the code a simulated transport, such as an httpx transport over a SimPy process",
    ),
    (
        "getaddrinfo getnameinfo",
        "host names",
        "give the code a simulated transport, which needs no address",
    ),
    (
        "subprocess_exec subprocess_shell connect_read_pipe connect_write_pipe",
        "subprocesses and pipes",
        "model the program as a SimPy process or a coroutine",
    ),
    (
        "add_signal_handler remove_signal_handler",
        "signals",
        "end a run with SimPyEventLoop.interrupt, or Ctrl-C",
    ),
)


def refuse_the_real_world(loop_type: L) -> L:
    """A class decorator: the methods of an event loop that need the real world raise UnsupportedError."""
    for names, what, instead in _REFUSED:
        for name in names.split():
            setattr(loop_type, name, _refusal(name, what, instead))
    return loop_type


def _refusal(name: str, what: str, instead: str) -> Callable[..., Never]:
    def refused(*_: object, **__: object) -> Never:
        raise UnsupportedError(f"{name}: there are no {what} in virtual time; {instead}")

    refused.__name__ = name
    refused.__doc__ = f"Raises UnsupportedError: there are no {what} in virtual time."
    return refused
