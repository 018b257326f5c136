"""The dashboard: one page per visitor, with the places in it."""

# mypy: allow-subclassing-any

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.lifetime import free_at_end
from hustle_sim.dashboard.live_page import LivePage
from hustle_sim.dashboard.notices import Notice
from hustle_sim.dashboard.places import PLACES, Places
from hustle_sim.dashboard.queue_page import QueuePage
from hustle_sim.dashboard.simulate_page import SimulatePage

logger = logging.getLogger("hustle_sim.dashboard")

TITLE = "hustle_sim"
_OOPS = "Something in the dashboard broke: {what}. It is in the server's log; reload the page if it stays odd."
_BROKEN = "The dashboard could not be built. The server's log says why; reload the page to try again."


class App(pn.viewable.Viewer):
    """One visitor's dashboard. Places are built when they are first visited."""

    place = param.Selector(default="simulate", objects=list(PLACES), doc="Where the visitor is.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._notice = Notice()
        self._built: dict[str, Any] = {}
        self._room = pn.Column(self._notice, sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE])
        self.closers: list[Callable[[], None]] = []
        self.page = pmui.Page(
            title=TITLE,
            main=[self._room],
            header=[self._menu()],
            theme_config=styles.THEME,
            sx=styles.PAGE_SX,
            busy_indicator=None,
            meta_description="What an outage of an AI backend does to the people who use an app, and what to tune.",
            meta_viewport="width=device-width, initial-scale=1.0",
        )
        self.param.watch(lambda _: self._go(), "place")
        self._go()

    def crashed(self, error: BaseException) -> None:
        """Tell the visitor that a callback failed; the details go to the log, not to the page."""
        logger.error("A callback of the dashboard failed.", exc_info=error)
        self._notice.say(_OOPS.format(what=type(error).__name__))

    def __panel__(self) -> Any:
        return self.page

    def _menu(self) -> Places:
        menu = Places(place=self.place)
        menu.param.watch(lambda event: self.param.update(place=event.new), "place")
        self.param.watch(lambda event: menu.param.update(place=event.new), "place")
        return menu

    def _go(self) -> None:
        if self.place not in self._built:
            made = _MAKERS[self.place](self)
            self.closers.append(made.close)
            self._built[self.place] = made
            self._room.append(made)
        for name, view in self._built.items():
            view.seen(name == self.place)


_MAKERS: dict[str, Callable[[App], Any]] = {
    "simulate": lambda app: SimulatePage(app.page, _arguments()),
    "live": lambda app: LivePage(app.page),
    "queue": lambda app: QueuePage(),
}


def create_app() -> pmui.Page:
    """The page for a new visitor; a page that says so if it could not be built."""
    try:
        app = App(place=_first_place())
    except Exception:
        logger.exception("The dashboard could not be built.")
        notice = Notice()
        notice.say(_BROKEN)
        return pmui.Page(title=TITLE, main=[pn.Column(notice, margin=20)], theme_config=styles.THEME, sx=styles.PAGE_SX)
    # Panel keeps both for longer than a session: they must not hold what the session owns.
    pn.config.exception_handler = _weakly(app.crashed)
    location = pn.state.location
    if location is not None:
        location.sync(app, ["place"])
        app.closers.append(lambda: location.unsync(app))
    free_at_end(app.page, app.closers)
    return app.page


def _weakly(crashed: Callable[[BaseException], None]) -> Callable[[BaseException], None]:
    known = weakref.WeakMethod(crashed)

    def handle(error: BaseException) -> None:
        tell = known()
        if tell is not None:
            tell(error)
        else:
            logger.error("A callback failed after its visitor was gone.", exc_info=error)

    return handle


def _arguments() -> dict[str, str]:
    return {name: values[0].decode(errors="replace") for name, values in pn.state.session_args.items() if values}


def _first_place() -> str:
    place = _arguments().get("place", "")
    return place if place in PLACES else "simulate"
