"""The frame of the dashboard in a real Chromium: addresses, back and forward, the keyboard."""

import os
import re

import pytest
from browser import WAIT_MS, browsers, chromium, served, visit
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real,
    pytest.mark.skipif(chromium() is None and not os.environ.get("CI"), reason="no Chromium is installed"),
]

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with browsers() as running:
        yield running


@pytest.fixture
def visitor(browser, server):
    with visit(browser, server.url) as someone:
        yield someone
        assert someone.strangers == []
        assert someone.complaints == []


def here(page, place):
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text(place)
    expect(page).to_have_title(f"{place} · hustle_sim")
    expect(page).to_have_url(re.compile(rf"\?place={place.lower()}"))


def test_back_and_forward_go_between_the_places(visitor):
    page = visitor.go(place="live")
    here(page, "Live")
    expect(page.locator("button.indicator")).to_be_visible()
    page.get_by_role("link", name="Simulate").click()
    here(page, "Simulate")
    expect(page.locator('.card[data-metric="lost"]')).to_be_visible()
    page.go_back()
    here(page, "Live")
    expect(page.locator("button.indicator")).to_be_visible()
    page.go_forward()
    here(page, "Simulate")
    expect(page.locator("button.indicator")).to_be_hidden()


def test_a_link_of_the_menu_opens_its_place_in_a_tab_of_its_own(visitor):
    page = visitor.go()
    here(page, "Simulate")
    with visitor.context.expect_page() as opened:
        page.get_by_role("link", name="Live").click(modifiers=["ControlOrMeta"])
    here(opened.value, "Live")
    here(page, "Simulate")
    opened.value.close()


def test_the_first_key_offers_to_skip_the_menu(visitor):
    page = visitor.go(place="live")
    here(page, "Live")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Backend URL")).to_be_focused()
