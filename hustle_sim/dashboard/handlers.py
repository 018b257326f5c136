"""What the server answers besides the dashboard: whether it is well, that an address is unknown, that a page broke."""

# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from functools import cache
from http.client import responses
from typing import Any

import jinja2
from tornado.web import HTTPError, RequestHandler

from hustle_sim._version import __version__
from hustle_sim.dashboard.first_page import FirstPage
from hustle_sim.dashboard.icon import ICON
from hustle_sim.dashboard.lifetime import is_broken

logger = logging.getLogger("hustle_sim.dashboard")

UNKNOWN = "There is nothing at this address."
BROKEN = "The dashboard could not be built. The server's log says why; try again in a moment."


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.PackageLoader("hustle_sim.dashboard", "templates"), autoescape=True)


def bare_page(template: str, **values: Any) -> str:
    """One of our pages without Panel as HTML; every value is escaped."""
    return _templates().get_template(template).render(icon=ICON, **values)


def message_page(title: str, sentence: str, link: str, *, detail: str = "", words: str = "Open the dashboard") -> str:
    """A page that says one thing, and where to go from here."""
    return bare_page("message.html", title=title, sentence=sentence, detail=detail, link=link, words=words)


class Health(RequestHandler):
    """``GET /health``: JSON for whoever watches the server; it needs no login and tells no secret."""

    def initialize(self, began: float) -> None:
        """``began``: when the server did, on its loop's clock."""
        self._began = began

    def get(self) -> None:
        """Status, version, seconds since the start, open sessions and worker processes."""
        server: Any = self.application
        sessions = sum(len(server.get_sessions(path)) for path in server.app_paths)
        self.set_header("Cache-Control", "no-store")
        self.write({
            "status": "ok",
            "version": __version__,
            "uptime_s": round(asyncio.get_running_loop().time() - self._began, 1),
            "sessions": sessions,
            "workers": len(multiprocessing.active_children()),
        })  # fmt: skip


class NotFound(RequestHandler):
    """Every address that nothing is at."""

    def prepare(self) -> None:
        """Say so, and where the dashboard is."""
        self.set_status(404)
        server: Any = self.application
        self.finish(message_page("Not found", UNKNOWN, f"{server.prefix}/", detail=self.request.path))


class PageHandler(FirstPage):
    """The dashboard itself; one that can't be built is an HTTP error with a page that a person can read."""

    async def get_session(self) -> Any:
        """The visitor's session. Raises HTTPError if its page could not be built: Panel itself answers 200 then."""
        session = await super().get_session()
        if is_broken(session.document):
            raise HTTPError(500, "the dashboard could not be built")
        return session

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say what happened without the traceback, which is in the log."""
        title = "Something broke" if status_code >= 500 else responses.get(status_code, "That did not work")
        again = {"words": "Try again"} if status_code >= 500 else {}
        sentence = BROKEN if status_code >= 500 else "The server could not make sense of this address."
        self.finish(message_page(title, sentence, self.request.uri or "/", **again))
