"""A session ends when its visitor leaves, and what it owns is given back.

Measured with panel 1.9 and panel-material-ui 0.16: ``Page`` refers to the global ``pn.state.busy`` and is kept
alive by that watcher for ever, and HoloViews panes pin their plots (about 5 MB a session). Both are undone here. The
watcher goes at once: each callback of anyone toggles ``busy``, and each time every page there is would go through all
of its models (about 20 ms, ten times in an update of the figures), for a busy indicator that ours do not have.

A page that lost its line never comes back to its session (see ``lifeline``), so nothing is kept for it: Bokeh would
for half a minute, and a server that many look at for a moment would hold, and for ever after occupy, the memory of all
who came in that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

import panel as pn
import panel_material_ui as pmui
from bokeh.events import ConnectionLost

logger = logging.getLogger("hustle_sim.dashboard")


LOOK_MS = 1_000
"""How often the server looks for sessions to end."""

_broken: WeakSet[Any] = WeakSet()
_open: WeakSet[pmui.Page] = WeakSet()


def broken(document: Any) -> None:
    """Remember that the page in ``document`` could not be built: the server answers with an error."""
    if document is not None:
        _broken.add(document)


def is_broken(document: Any) -> bool:
    """Whether the page in ``document`` could not be built."""
    return document in _broken


def heard_from_the_start() -> None:
    """Let the browser hear of every change to the current document from the moment that it has it.

    Panel drops what changes before the page says that all of it is drawn, since the document is sent in full "once
    the session connects"; but it was sent before that, and a control that was moved in between did nothing that
    anyone saw.
    """
    if pn.state.curdoc is not None:
        pn.state._connected[pn.state.curdoc] = pn.state._loaded[pn.state.curdoc] = True


def free_at_end(page: pmui.Page, closers: list[Callable[[], None]]) -> None:
    """End the session of the current document when its line is cut; run ``closers`` and release ``page`` then."""
    _unwatch(page)
    if pn.state.curdoc is not None:
        _open.add(page)
        pn.state.curdoc.on_event(ConnectionLost, partial(_over, pn.state.curdoc.session_context))
        pn.state.on_session_destroyed(partial(_end, page, closers))


def begin_tidy() -> None:
    """Leave what was loaded by now out of the search for garbage, which holds up every visitor while it lasts."""
    gc.collect()
    gc.freeze()


def _over(context: Any, _event: ConnectionLost) -> None:
    if context.session is not None:
        context.session.request_expiration()


def _end(page: pmui.Page, closers: list[Callable[[], None]], _context: Any) -> None:
    for close in closers:
        try:
            close()
        except Exception:
            logger.exception("Something of a session could not be closed; the rest is closed all the same.")
    closers.clear()
    for pane in page.select(pn.pane.HoloViews):
        for plot, _ in pane._plots.values():
            plot.cleanup()
        pane._plots.clear()
    _open.discard(page)
    if not _open:
        # Nobody is there who would have to wait for it; without a loop, nothing is served either.
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(gc.collect)


def _unwatch(page: pmui.Page) -> None:
    private = page._param__private
    for _, watcher in private.ref_watchers:
        owner = watcher.cls if watcher.inst is None else watcher.inst
        owner.param.unwatch(watcher)
    private.ref_watchers = []
    private.refs = {}
