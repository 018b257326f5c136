"""The dashboard without a browser: what it decides, and that what a visitor owned is given back."""

import asyncio
import gc
import socket
import weakref

import panel as pn
import pytest
from panel.io.state import set_curdoc
from sessions import load

from hustle_sim.dashboard.charts import SHOWN
from hustle_sim.dashboard.notices import notice_html
from hustle_sim.inputs import InputError

# Sentences


def test_sentences_are_escaped():
    assert "<script>" not in notice_html("there is no <script>")
    assert notice_html("") == ""
    assert "It broke." in notice_html("it broke")


# The server and its sessions


@pytest.mark.real
def test_a_port_that_was_asked_for_and_is_taken_is_a_sentence_and_the_usual_one_gives_way():
    from hustle_sim.dashboard import serving
    from hustle_sim.dashboard.serving import Serving

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is taken"):
            serving.bound(Serving(port=port))
        usual, serving.PORT = serving.PORT, port
        try:
            server = serving.bound(Serving())
        finally:
            serving.PORT = usual
        assert server.port != port
        server.stop()
        server.unlisten()


def test_a_session_that_ends_gives_everything_back(monkeypatch):
    monkeypatch.setattr("hustle_sim.dashboard.story._PAUSE_S", 0)
    from holoviews.plotting.bokeh.element import OverlayPlot
    from panel.io.application import build_applications
    from panel.io.session import generate_session

    from hustle_sim.dashboard import create_app
    from hustle_sim.dashboard.simulate_state import warm_up

    made = []

    def remembered():
        page = create_app()
        made.append(weakref.ref(page))
        return page

    def plots():
        gc.collect()
        return sum(isinstance(one, OverlayPlot) for one in gc.get_objects())

    for job in warm_up():
        asyncio.run(job.result())
    (application,) = build_applications({"/": remembered}).values()
    before = plots()
    for _ in range(3):
        session = generate_session(application)
        document, context = session.document, session.document.session_context
        load(document)
        assert plots() == before + len(SHOWN)
        for callback in list(document.session_destroyed_callbacks):
            callback(context)
        document.destroy(session)
        del session, document, context, callback
        assert plots() == before
    assert [page() for page in made] == [None, None, None]


def test_what_changes_before_the_whole_page_is_drawn_reaches_the_browser():
    from panel.io.application import build_applications
    from panel.io.session import generate_session

    from hustle_sim.dashboard import app as app_module
    from hustle_sim.dashboard.simulate_state import warm_up

    for job in warm_up():
        asyncio.run(job.result())

    made = []

    class Remembered(app_module.App):
        def __init__(self, **params):
            super().__init__(**params)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_module, "App", Remembered)
        (application,) = build_applications({"/": app_module.create_app}).values()
        session = generate_session(application)

    heard = []
    session.document.on_change(heard.append)
    with set_curdoc(session.document), pn.io.hold():
        made[0]._notice.say("something was said early")
    assert any("omething was said early" in str(getattr(event, "new", "")) for event in heard)


def test_a_callback_that_crashes_tells_the_visitor_without_a_traceback():
    from hustle_sim.dashboard.app import App

    app = App()
    app.crashed(ZeroDivisionError("secret detail"))
    shown = app._notice._pane.object
    assert "ZeroDivisionError" in shown
    assert "secret detail" not in shown
    assert "Traceback" not in shown


def test_a_dashboard_that_cannot_be_built_says_so(monkeypatch):
    from hustle_sim.dashboard import app as app_module

    def broken(**_):
        raise OSError("secret detail")

    monkeypatch.setattr(app_module, "App", broken)
    page = app_module.create_app()
    (room,) = page.main
    assert "could not be built" in room[0].object
    assert "secret detail" not in room[0].object
