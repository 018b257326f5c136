"""Every place with something to show: axe-core finds nothing serious in either theme, and it fits a phone."""

import axe
import pytest
from browser import MARKS, served, unfolded, visit
from playwright.sync_api import expect
from scenes import SCENES

from hustle_sim.dashboard.app import PLACES

pytestmark = MARKS

WIDTHS = (390, 768, 1100, 1920)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with served(folder, HUSTLE_STORE=str(folder / "queue.sqlite3")) as running:
        yield running


@pytest.fixture(scope="module", params=list(SCENES))
def visitor(browser, server, request):
    """Someone in a place, with all that unfolds unfolded."""
    with visit(browser, server.url) as someone:
        page = someone.go(place=request.param)
        SCENES[request.param](page)
        folded = page.locator("button[aria-expanded=false]:visible")
        for _ in range(folded.count()):
            folded.first.click()
        yield someone


def test_every_place_has_a_scene():
    assert {place.name for place in PLACES} == set(SCENES)


def test_axe_finds_nothing_serious_in_the_light_theme(visitor):
    assert axe.told(axe.lasting(visitor.page)) == ""


def test_axe_finds_nothing_serious_in_the_dark_theme(visitor):
    visitor.page.get_by_role("button", name="Toggle theme").click()
    expect(visitor.page.locator(".mui-dark").first).to_be_attached()
    assert axe.told(axe.lasting(visitor.page)) == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_reaches_beyond_the_screen(visitor, width):
    visitor.page.set_viewport_size({"width": width, "height": 900})
    unfolded(visitor.page)
    for _ in range(10):
        beyond = visitor.page.evaluate(_BEYOND)
        if not beyond:
            break
        visitor.page.wait_for_timeout(500)
    assert beyond == []


def test_nothing_was_complained_of_and_nobody_else_was_asked(visitor):
    assert visitor.complaints == []
    assert visitor.strangers == []


def test_axe_looks_into_the_page(browser, server):
    """Would it see what is wrong? A button without a name, deep inside."""
    with visit(browser, server.url) as visitor:
        page = visitor.go(place="live")
        page.get_by_role("button", name="Watch", exact=True).click()
        expect(page.locator("button.indicator")).to_be_visible()
        page.locator("button.indicator").evaluate("(one) => one.getRootNode().append(document.createElement('button'))")
        assert [one["id"] for one in axe.violations(page)] == ["button-name"]


def test_an_open_select_is_a_list_box_of_options(browser, server):
    with visit(browser, server.url) as visitor:
        page = visitor.go(place="live")
        page.get_by_role("combobox", name="Probe every").click()
        options = page.get_by_role("listbox").get_by_role("option")
        expect(options.first).to_be_visible()
        expect(page.get_by_role("option", selected=True)).to_have_count(1)
        assert axe.told(axe.lasting(page)) == ""


_BEYOND = """
() => {
  const beyond = []
  const look = (node) => {
    for (const child of node.children || []) {
      const style = getComputedStyle(child)
      const box = child.getBoundingClientRect()
      if (style.display === "none" || style.visibility === "hidden") { continue }
      // What scrolls or is cut off by itself may hold what is wider than it.
      const scrolls = style.overflowX !== "visible" || style.clipPath !== "none"
      if (box.width > 0 && box.height > 0 && box.right > window.innerWidth + 1 && style.position !== "fixed") {
        beyond.push(`${child.tagName}.${child.className} ends at ${Math.round(box.right)}`)
      }
      if (!scrolls || child.classList.contains("main-content") || child.tagName === "MAIN") {
        look(child)
        if (child.shadowRoot) { look(child.shadowRoot) }
      }
    }
  }
  const main = (node) => {
    for (const child of node.querySelectorAll("*")) {
      if (child.classList.contains("main-content")) { look(child) }
      if (child.shadowRoot) { main(child.shadowRoot) }
    }
  }
  main(document)
  return beyond.slice(0, 5)
}
"""
