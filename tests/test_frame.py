"""The frame of the dashboard: places are visited, sent to and addressed, and one that breaks breaks no other."""

import panel as pn
import pytest

from hustle_sim.dashboard.app import App
from hustle_sim.dashboard.places import Place, read_address, write_address


class View(pn.viewable.Viewer):
    """A place that remembers what the frame told it."""

    def __init__(self, frame, arguments, name):
        super().__init__()
        self.frame, self.came_with, self.place = frame, dict(arguments), name
        self.told, self.visible, self.closed = [], None, False

    def seen(self, visible):
        self.visible = visible

    def arrive(self, arguments):
        self.told.append(dict(arguments))

    def close(self):
        self.closed = True

    def __panel__(self):
        return pn.pane.HTML(self.place)


def house(search="", **changed):
    built = {}

    def maker(name):
        def make(frame, arguments):
            built.setdefault(name, []).append(View(frame, arguments, name))
            return built[name][-1]

        return changed.get(name, make)

    places = [Place(name, name.capitalize(), maker(name)) for name in ("simulate", "live", "tune")]
    return App(places, search), built


def address(app):
    return app.menu.address["search"]


def test_places_are_built_when_they_are_first_visited_and_only_once():
    app, built = house()
    assert app.place == "simulate"
    assert list(built) == ["simulate"]
    app.menu.place = "live"
    app.menu.place = "simulate"
    app.menu.place = "live"
    assert {name: len(views) for name, views in built.items()} == {"simulate": 1, "live": 1}
    assert [built[name][0].visible for name in ("simulate", "live")] == [False, True]


def test_a_deep_link_gives_a_place_its_arguments_and_an_unknown_place_is_the_first():
    app, built = house("?place=live&url=http%3A%2F%2Fx%2F&theme=dark")
    assert built["live"][0].came_with == {"url": "http://x/"}
    assert "simulate" not in built
    assert address(app) == "?place=live&theme=dark&url=http%3A%2F%2Fx%2F"
    assert house("?place=nowhere")[0].place == "simulate"


def test_one_place_sends_the_visitor_to_another_with_whatever_it_hands_over():
    app, built = house()
    policy = object()
    built["simulate"][0].frame.open("tune", policy=policy, scenario="hang")
    assert app.place == app.menu.place == "tune"
    assert built["tune"][0].came_with == {"policy": policy, "scenario": "hang"}
    built["tune"][0].frame.open("simulate", policy=policy)
    assert built["simulate"][0].told == [{"policy": policy}]
    built["simulate"][0].frame.open("tune")
    assert built["tune"][0].told == []
    assert address(app) == "?place=tune&scenario=hang"


def test_a_place_writes_its_own_part_of_the_address_and_links_to_it_hold_it():
    app, built = house()
    frame = built["simulate"][0].frame
    frame.set_address("simulate", {"seed": "7"})
    assert app.menu.address == {"search": "?place=simulate&seed=7", "step": False}
    frame.set_address("simulate", {"seed": "8"}, step=True)
    assert app.menu.address == {"search": "?place=simulate&seed=8", "step": True}
    app.menu.place = "live"
    assert app.menu.address == {"search": "?place=live", "step": True}
    frame.set_address("simulate", {"seed": "9"})
    assert address(app) == "?place=live"
    assert app.menu.addresses["simulate"] == "?place=simulate&seed=9"


def test_back_and_forward_bring_the_place_and_what_it_showed():
    app, built = house("?seed=1")
    app.set_address("simulate", {"seed": "2"}, step=True)
    app.menu.place = "live"
    app._back("?place=simulate&seed=2")
    assert app.place == "simulate"
    assert built["simulate"][0].told == []
    app._back("?place=simulate&seed=1")
    assert built["simulate"][0].told == [{"seed": "1"}]
    app._back("")
    assert built["simulate"][0].told == [{"seed": "1"}, {}]
    assert not app.menu.address["step"]


def test_a_place_that_cannot_be_built_is_a_sentence_and_the_others_go_on():
    def broken(frame, arguments):
        raise OSError("secret detail")

    app, built = house(live=broken)
    app.menu.place = "live"
    shown = app._notice._pane.object
    assert "Live could not be shown" in shown
    assert "secret detail" not in shown
    assert built["simulate"][0].visible is False
    app.menu.place = "simulate"
    assert built["simulate"][0].visible is True
    assert app._notice._pane.object == ""
    app, _ = house("?place=live", live=broken)
    assert "Live could not be shown" in app._notice._pane.object


def test_a_place_that_fails_when_it_is_hidden_or_closed_does_not_keep_the_others_from_it():
    class Clumsy(View):
        def seen(self, visible):
            if not visible:
                raise ZeroDivisionError

        def close(self):
            raise ZeroDivisionError

    app, built = house(simulate=lambda frame, arguments: Clumsy(frame, arguments, "clumsy"))
    app.menu.place = "live"
    assert built["live"][0].visible
    for close in app.closers:
        close()
    assert built["live"][0].closed


@pytest.mark.parametrize("arguments", [{}, {"a": "1 & 2", "b": "ü=?", "c": ""}])
def test_an_address_reads_as_it_was_written(arguments):
    places = {"live": Place("live", "Live", View)}
    assert read_address(write_address("live", arguments), places, "live") == ("live", arguments)


def test_what_a_place_says_while_it_is_entered_is_part_of_that_one_step():
    def talkative(frame, arguments):
        frame.set_address("live", {"url": "x"})
        return View(frame, arguments, "live")

    app, _ = house(live=talkative)
    said = []
    app.menu.param.watch(lambda event: said.append(event.new), "address")
    app.menu.place = "live"
    assert said == [{"search": "?place=live&url=x", "step": True}]
