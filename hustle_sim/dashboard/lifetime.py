"""What a session owns is given back when it ends.

Measured with panel 1.9 and panel-material-ui 0.16: ``Page`` refers to the global ``pn.state.busy`` and is kept
alive by that watcher for ever, and HoloViews panes pin their plots (about 5 MB a session). Both are undone here. The
watcher goes at once: each callback of anyone toggles ``busy``, and each time every page there is would go through all
of its models (about 20 ms, ten times in an update of the figures), for a busy indicator that ours do not have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

import panel as pn
import panel_material_ui as pmui

logger = logging.getLogger("hustle_sim.dashboard")


_broken: WeakSet[Any] = WeakSet()


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
    """Run ``closers`` and release ``page`` when the session of the current document is destroyed."""
    _unwatch(page)
    if pn.state.curdoc is not None:
        pn.state.on_session_destroyed(partial(_end, page, closers))


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


def _unwatch(page: pmui.Page) -> None:
    private = page._param__private
    for _, watcher in private.ref_watchers:
        owner = watcher.cls if watcher.inst is None else watcher.inst
        owner.param.unwatch(watcher)
    private.ref_watchers = []
    private.refs = {}
