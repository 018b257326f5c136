"""The dashboard: one page per visitor, with the places in it."""

# mypy: allow-subclassing-any

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param
from panel.io.resources import LOCAL_DIST

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.coach_page import CoachPage
from hustle_sim.dashboard.icon import ICON
from hustle_sim.dashboard.lifeline import Lifeline
from hustle_sim.dashboard.lifetime import broken, free_at_end, heard_from_the_start
from hustle_sim.dashboard.live_page import LivePage
from hustle_sim.dashboard.mending import Mending
from hustle_sim.dashboard.menu import THEME_COOKIE, Menu
from hustle_sim.dashboard.notices import Notice
from hustle_sim.dashboard.places import Arguments, Place, Receiving, View, read_address, write_address
from hustle_sim.dashboard.simulate_page import SimulatePage
from hustle_sim.dashboard.tune_page import TunePage

logger = logging.getLogger("hustle_sim.dashboard")

TITLE = "hustle_sim"

PLACES = (
    Place("simulate", "Simulate", SimulatePage),
    Place("live", "Live", LivePage),
    Place("tune", "Tune", TunePage),
    Place("coach", "Coach", CoachPage),
)
"""The places in the order of the menu; a visitor comes to the first."""

_OOPS = "Something in the dashboard broke: {what}. It is in the server's log; reload the page if it stays odd."
_BROKEN = "The dashboard could not be built. The server's log says why; reload the page to try again."
_PLACE_BROKEN = "{title} could not be shown. The server's log says why; the other places still work."

_OF_THE_PAGE = ("theme",)
"""Arguments of an address that are no place's own: they stay in it wherever the visitor goes."""


class App(pn.viewable.Viewer):
    """One visitor's dashboard, and the ``Frame`` of its places. They are built when they are first visited."""

    place = param.String(doc="Where the visitor is.")

    def __init__(self, places: Iterable[Place] = PLACES, search: str = "", **params: Any) -> None:
        super().__init__(**params)
        self._places = {place.name: place for place in places}
        self._built: dict[str, View] = {}
        self._addresses: dict[str, dict[str, str]] = {}
        self._on_the_way = False
        self._notice = Notice()
        self._heading = pn.pane.HTML("", stylesheets=[styles.UNSEEN], margin=0, sizing_mode="stretch_width")
        self._room = pn.Column(
            self._heading, self._notice, sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE]
        )
        self.closers: list[Callable[[], None]] = [self._close]
        first, arguments = read_address(search, self._places, next(iter(self._places)))
        self._kept = {name: arguments.pop(name) for name in _OF_THE_PAGE if name in arguments}
        self.menu = Menu(
            on_back=self._back, title=TITLE, place=first,
            places=[[place.name, place.title] for place in self._places.values()], can_leave=bool(pn.state.user),
        )  # fmt: skip
        self.page = pmui.Page(
            title="",
            main=[self._room],
            header=[self.menu, Lifeline(), Mending()],
            theme_config=styles.THEME,
            sx=styles.PAGE_SX,
            busy_indicator=None,
            favicon=ICON,
            meta_title=TITLE,
            meta_description="What an outage of an AI backend does to the people who use an app, and what to tune.",
            meta_viewport="width=device-width, initial-scale=1.0",
        )
        self.page.param.watch(self._on_theme, "dark_theme")
        self._visit(first, arguments, step=False)
        self.menu.param.watch(lambda event: self._visit(event.new, None, step=True), "place")

    def open(self, place: str, **arguments: Any) -> None:
        """Bring the visitor to ``place``; ``arguments`` are given to its ``arrive``, or to its maker."""
        self._visit(place, arguments or None, step=True)

    def set_address(self, place: str, arguments: Mapping[str, str], *, step: bool = False) -> None:
        """Let the address say what ``place`` shows; ``step`` makes the back button return to what it said before."""
        self._addresses[place] = dict(arguments)
        if not self._on_the_way:
            self._write(step and place == self.place)

    def crashed(self, error: BaseException) -> None:
        """Tell the visitor that a callback failed; the details go to the log, not to the page."""
        logger.error("A callback of the dashboard failed.", exc_info=error)
        self._notice.say(_OOPS.format(what=type(error).__name__))

    def __panel__(self) -> Any:
        return self.page

    def _visit(self, name: str, arguments: Arguments | None, *, step: bool) -> None:
        """Go to a place; None instead of arguments leaves it as it is."""
        if name == self.place and arguments is None:
            return
        self.place = name
        self._notice.say("")
        self._on_the_way = True
        try:
            self._enter(name, arguments)
        except Exception:
            logger.exception("The place %r could not be shown.", name)
            self._notice.say(_PLACE_BROKEN.format(title=self._places[name].title))
        finally:
            self._on_the_way = False
        self._show(name)
        self.menu.place = name
        self._heading.object = f"<h1>{escape(self._places[name].title)}</h1>"
        self._write(step)

    def _enter(self, name: str, arguments: Arguments | None) -> None:
        if arguments is not None:
            # Until the place says better, its address is what it was asked for.
            self._addresses[name] = {key: text for key, text in arguments.items() if isinstance(text, str)}
        view = self._built.get(name)
        if view is None:
            view = self._places[name].make(self, arguments or {})
            self._built[name] = view
            self._room.append(view)
        elif arguments is not None and isinstance(view, Receiving):
            view.arrive(arguments)

    def _show(self, name: str) -> None:
        """Show one place and hide the others; one that fails at that does not keep the others from it."""
        for other, view in self._built.items():
            try:
                view.seen(other == name)
            except Exception as error:
                self.crashed(error)

    def _back(self, search: str) -> None:
        """The visitor went back or forward in the browser, which has changed the address already."""
        name, arguments = read_address(search, self._places, next(iter(self._places)))
        for kept in _OF_THE_PAGE:
            arguments.pop(kept, None)
        known = arguments == self._addresses.get(name, {})
        self._visit(name, None if known else arguments, step=False)

    def _write(self, step: bool) -> None:
        addresses = {
            name: write_address(name, {**self._kept, **self._addresses.get(name, {})}) for name in self._places
        }
        self.menu.param.update(addresses=addresses, address={"search": addresses[self.place], "step": step})

    def _on_theme(self, event: Any) -> None:
        """What the visitor chose is remembered by the browser, and no longer what the address says."""
        self._kept.pop("theme", None)
        self.menu.theme = "dark" if event.new else "default"
        self._write(step=False)

    def _close(self) -> None:
        for name, view in self._built.items():
            try:
                view.close()
            except Exception:
                logger.exception("The place %r could not be closed.", name)
        self._built.clear()


def create_app() -> pmui.Page:
    """The page for a new visitor; a page that says so if it could not be built."""
    if pn.state.curdoc is not None:
        # Panel says where style sheets are when it makes a page of HTML, for which nobody waits here.
        pn.state.curdoc.template_variables["dist_url"] = LOCAL_DIST
    try:
        return make_app()
    except Exception:
        logger.exception("The dashboard could not be built.")
        broken(pn.state.curdoc)
        notice = Notice()
        notice.say(_BROKEN)
        return pmui.Page(title=TITLE, main=[pn.Column(notice, margin=20)], theme_config=styles.THEME, sx=styles.PAGE_SX)


def make_app() -> pmui.Page:
    """The page for a new visitor."""
    if pn.state.curdoc is not None:
        # What is said about a lost line, and what is done about it, is the Lifeline's.
        pn.state.curdoc.config.update(reconnect_session=False, notifications=None, notify_connection_status=False)
        if pn.state.cookies.get(THEME_COOKIE) == "dark" and "theme" not in pn.state.session_args:
            pn.config.theme = "dark"
    app = App(search=_search())
    # Panel keeps both for longer than a session: they must not hold what the session owns.
    pn.config.exception_handler = _weakly(app.crashed)
    free_at_end(app.page, app.closers)
    heard_from_the_start()
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


def _search() -> str:
    arguments = {name: values[0].decode(errors="replace") for name, values in pn.state.session_args.items() if values}
    place = arguments.pop("place", "")
    return write_address(place, arguments) if place or arguments else ""
