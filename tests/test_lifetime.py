"""A session that ends gives back all of its places, their callbacks and their plots."""

import asyncio
import gc
import weakref

import pytest
from sessions import load

from hustle_sim.dashboard import app as app_module
from hustle_sim.dashboard.app import PLACES


def sessions(count, monkeypatch):
    """Open and end sessions that visit every place, one after the other; weak references to what was theirs."""
    from panel.io.application import build_applications
    from panel.io.session import generate_session
    from panel.io.state import set_curdoc

    theirs = {"app": [], "page": [], "place": []}

    class Remembered(app_module.App):
        def __init__(self, **params):
            super().__init__(**params)
            theirs["app"].append(weakref.ref(self))
            theirs["page"].append(weakref.ref(self.page))

        def _close(self):
            theirs["place"].extend(weakref.ref(view) for view in self._built.values())
            super()._close()

    monkeypatch.setattr(app_module, "App", Remembered)
    (application,) = build_applications({"/": app_module.create_app}).values()
    for _ in range(count):
        session = generate_session(application)
        document, context = session.document, session.document.session_context
        load(document)
        with set_curdoc(document):
            for place in PLACES:
                theirs["app"][-1]().menu.place = place.name
        for callback in list(document.session_destroyed_callbacks):
            callback(context)
        document.destroy(session)
        del session, document, context, callback
    return theirs


def left(references):
    gc.collect()
    return [type(there()).__name__ for there in references if there() is not None]


def plots():
    from holoviews.plotting.bokeh.element import OverlayPlot

    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, OverlayPlot)]


@pytest.mark.real
def test_sessions_that_visited_every_place_leave_nothing(monkeypatch, tmp_path):
    from hustle_sim.dashboard.simulate_state import warm_up

    monkeypatch.setattr("hustle_sim.dashboard.story._PAUSE_S", 0)
    monkeypatch.setenv("HUSTLE_STORE", str(tmp_path / "queue.sqlite3"))
    for job in warm_up():
        asyncio.run(job.result())
    others = weakref.WeakSet(plots())
    theirs = sessions(3, monkeypatch)
    assert len(theirs["place"]) == 3 * len(PLACES)
    assert {name: left(them) for name, them in theirs.items()} == {"app": [], "page": [], "place": []}
    assert [one for one in plots() if one not in others] == []
