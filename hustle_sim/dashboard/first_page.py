"""The page that a visitor's browser gets first: the same for all, so that it need not wait for what is in it.

Everything that a visitor sees comes through the web socket. What comes before, the scripts and an address for the
socket, is the same but for a token, and is sent at once; the visitor's dashboard is built while their browser reads
the scripts.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

import asyncio
import json
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

from bokeh.util.token import generate_jwt_token, generate_session_id
from panel.io.server import DocHandler
from tornado.web import authenticated

from hustle_sim.dashboard.menu import THEME_COOKIE

HEAD_START_S = 0.1
"""Scripts are asked for and sent before the server is busy with building for so long."""

_THEMES = ("default", "dark")
_pages: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
"""The pages of each application by theme, with a mark where the token goes."""

_TOKEN = "{{ the visitor's token }}"


class FirstPage(DocHandler):
    """The dashboard's page; once it was made for one visitor, others don't wait for theirs."""

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        """Send the page."""
        theme = self._theme()
        page = _pages.get(self.application_context, {}).get(theme)
        if page is None:
            await super().get(*args, **kwargs)
        elif sent := self._send(page):
            await sent

    async def get_session(self) -> Any:
        """The visitor's session, built now."""
        self._session = await super().get_session()
        return self._session

    def write(self, chunk: Any) -> None:
        """Send, and keep a page that was made for a session."""
        session, theme = getattr(self, "_session", None), self._theme()
        if session is not None and theme and isinstance(chunk, str) and self.get_status() == 200:
            pages = _pages.setdefault(self.application_context, {})
            pages[theme] = _reading_ahead(chunk.replace(session.token, _TOKEN), session)
        super().write(chunk)

    def _theme(self) -> str:
        """The theme of the page, or an empty string if it is not one like all others."""
        asked = self.get_query_argument("theme", self.get_cookie(THEME_COOKIE) or _THEMES[0])
        special = self.get_query_argument("bokeh-token", "") or self.get_query_argument("bokeh-session-id", "")
        special = (
            special or self.request.headers.get("Bokeh-Session-Id", "") or self.request.path == self.application.prefix
        )
        return asked if asked in _THEMES and not special else ""

    @authenticated
    async def _send(self, page: str) -> None:
        server = self.application
        session_id = generate_session_id(secret_key=server.secret_key, signed=server.sign_sessions)
        token = generate_jwt_token(
            session_id, secret_key=server.secret_key, signed=server.sign_sessions,
            expiration=server.session_token_expiration, extra_payload=self._generate_token_payload(),
        )  # fmt: skip
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "text/html")
        self.write(page.replace(_TOKEN, token))
        await self.finish()
        await asyncio.sleep(HEAD_START_S)
        # The web socket waits for this, or begins it if it comes first.
        await self.application_context.create_session_if_needed(session_id, self.request, token)


def _reading_ahead(page: str, session: Any) -> str:
    """Have the browser read the components while it waits: it would ask for them when it sees the first one."""
    modules = sorted({model.esm for model in session.document.models if getattr(model, "bundle", None) == "url"})
    links = "".join(f'<link rel="preload" as="fetch" crossorigin href="{escape(module)}">' for module in modules)
    calls = "".join(f"importShim({json.dumps(module)}).catch(() => {{}});" for module in modules)
    page = page.replace("<head>", f"<head>{links}", 1)
    return page.replace("</body>", f'<script>addEventListener("load", () => {{ {calls} }})</script></body>', 1)
