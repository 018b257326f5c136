"""axe-core finds nothing serious in any place, in either theme, with all that unfolds unfolded."""

import os

import axe
import pytest
from browser import WAIT_MS, browsers, chromium, served, visit
from playwright.sync_api import expect
from scenes import SCENES

from hustle_sim.dashboard.app import PLACES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real,
    pytest.mark.skipif(chromium() is None and not os.environ.get("CI"), reason="no Chromium is installed"),
]

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with served(folder, HUSTLE_STORE=str(folder / "queue.sqlite3")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with browsers() as running:
        yield running


def unfold(page):
    """Open what can be unfolded, one after the other."""
    folded = page.locator("button[aria-expanded=false]:visible")
    for _ in range(folded.count()):
        folded.first.click()


def test_every_place_has_a_scene():
    assert {place.name for place in PLACES} == set(SCENES)


@pytest.mark.parametrize("place", SCENES)
def test_axe_finds_nothing_serious(browser, server, place):
    with visit(browser, server.url) as visitor:
        page = visitor.go(place=place)
        SCENES[place](page)
        unfold(page)
        assert axe.told(axe.lasting(page)) == "", "in the light theme"
        page.get_by_role("button", name="Toggle theme").click()
        expect(page.locator(".mui-dark").first).to_be_attached()
        assert axe.told(axe.lasting(page)) == "", "in the dark theme"


def test_axe_looks_into_the_page(browser, server):
    """Would it see what is wrong? A button without a name, deep inside."""
    with visit(browser, server.url) as visitor:
        page = visitor.go(place="live")
        page.get_by_role("button", name="Watch", exact=True).click()
        expect(page.locator("button.indicator")).to_be_visible()
        page.locator("button.indicator").evaluate("(one) => one.getRootNode().append(document.createElement('button'))")
        assert [one["id"] for one in axe.violations(page)] == ["button-name"]
