"""The dashboard in a real Chromium, on a real server: drawn, usable, quiet, and at home."""

import os
import re

import pytest
from browser import DRAWN, WAIT_MS, browsers, chromium, served, visit
from playwright.sync_api import expect

from hustle_sim.dashboard.charts import SHOWN

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
    """A visitor who, at the end, has heard no complaint and was sent to no stranger."""
    with visit(browser, server.url) as someone:
        yield someone
        assert someone.strangers == []
        assert someone.complaints == []


def card(page, name):
    return page.locator(f'.card[data-metric="{name}"]')


def drawn(page, selector):
    """Wait until something is drawn inside the element."""
    element = page.locator(selector)
    expect(element).to_be_visible()
    handle = element.element_handle()
    page.wait_for_function(DRAWN, arg=handle, timeout=WAIT_MS)


def bring(page, name, content):
    expect(card(page, "lost").locator(".value")).to_be_visible()
    file = {"name": name, "mimeType": "text/plain", "buffer": content}
    page.locator('input[type="file"]').set_input_files(file)
    if b"-5" not in content:
        expect(page.get_by_role("combobox", name="Scenario")).to_have_text(name.removesuffix(".toml"))


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def change_probe(page, label, value):
    field = page.get_by_role("textbox", name=re.compile(f"^{label} ·"))
    field.fill(value)
    field.press("Tab")


def open_probes(page):
    page.get_by_role("button", name="Health probes").click()
    expect(page.get_by_role("textbox", name=re.compile("^Interval ·"))).to_be_visible()


def test_a_first_visit_shows_a_finished_run_with_every_figure_drawn(visitor):
    page = visitor.go()
    expect(page).to_have_title("Simulate · hustle_sim")
    expect(card(page, "lost").locator(".value")).to_have_text("0")
    expect(card(page, "lost")).to_contain_text("better")
    expect(page.locator(".headline h2")).to_have_text("morning-outage · default · seed 7")
    for name in SHOWN:
        drawn(page, f".figure-{name}")


def test_a_changed_timeout_changes_the_cards_and_a_bad_value_is_a_sentence(visitor):
    page = visitor.go()
    before = card(page, "detection_s").locator(".value").inner_text()
    open_probes(page)
    change_probe(page, "Interval", "30")
    change_probe(page, "Confirm", "2")
    press(page, "Run")
    expect(page.locator(".headline h2")).to_have_text("morning-outage · your policy · seed 7")
    expect(card(page, "detection_s").locator(".value")).not_to_have_text(before)
    good = card(page, "detection_s").locator(".value").inner_text()

    change_probe(page, "Degraded above", "9")
    expect(page.get_by_role("alert")).to_contain_text("degraded_above_s (9) must not exceed timeout_s (5)")
    press(page, "Run")
    expect(page.get_by_role("alert")).to_contain_text("must not exceed")
    expect(card(page, "detection_s").locator(".value")).to_have_text(good)

    change_probe(page, "Degraded above", "3")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_address_that_asks_for_an_unknown_scenario_is_a_sentence_and_the_page_is_there(visitor):
    page = visitor.go(scenario="mornig-outage")
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'morning-outage'?")
    expect(card(page, "lost").locator(".value")).to_be_visible()


def test_a_scenario_file_can_be_brought_along_and_a_broken_one_is_a_sentence(visitor):
    page = visitor.go()
    expect(card(page, "lost").locator(".value")).to_be_visible()
    bring(page, "odd.toml", b"duration_s = -5")
    expect(page.get_by_role("alert")).to_contain_text("duration_s")
    bring(page, "mine.toml", b"duration_s = '2h'")
    expect(page.get_by_role("alert")).to_have_count(0)
    press(page, "Run")
    expect(page.locator(".headline h2")).to_have_text("mine · default · seed 7")


LONG = b"""
duration_s = "365d"
[clients]
count = 5
messages_per_hour = 60
"""


def test_a_second_visitor_gets_a_page_while_the_first_runs_a_long_simulation(browser, server, visitor):
    page = visitor.go()
    bring(page, "long.toml", LONG)
    press(page, "Run")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    expect(cancel).to_be_visible()
    with visit(browser, server.url) as second:
        other = second.go()
        expect(card(other, "lost").locator(".value")).to_have_text("0")
        drawn(other, ".figure-latency")
        assert second.complaints == []
    expect(cancel).to_be_visible()
    cancel.click()
    expect(cancel).to_be_hidden()
    expect(page.locator(".headline h2")).to_have_text("morning-outage · default · seed 7")


def every(page, interval):
    page.get_by_role("combobox", name="Probe every").click()
    page.get_by_role("menuitem", name=interval, exact=True).click()


def test_a_click_or_a_key_on_the_indicator_probes_now(visitor):
    page = visitor.go(place="live")
    indicator, probes = page.locator("button.indicator"), page.locator(".probes p")
    expect(indicator).to_contain_text("Not watching")
    every(page, "5 min")
    press(page, "Start")
    expect(probes).to_contain_text("1 probe ·")
    expect(indicator).to_have_attribute("aria-disabled", "false")
    indicator.click()
    expect(probes).to_contain_text("2 probes ·")
    expect(indicator).to_have_attribute("aria-busy", "false")
    expect(indicator).to_have_attribute("aria-disabled", "false")
    indicator.focus()
    page.keyboard.press("Enter")
    expect(probes).to_contain_text("3 probes ·")
    press(page, "Stop")
    expect(indicator).to_contain_text("Not watching")


def test_the_live_page_watches_the_practice_backend_through_an_outage(visitor):
    page = visitor.go(place="live")
    indicator = page.locator("button.indicator")
    press(page, "Start")
    expect(indicator).to_have_attribute("data-status", "online")
    expect(indicator.get_by_role("status")).to_have_text("Online")
    drawn(page, ".live-latency")
    drawn(page, ".live-band")

    press(page, "Answer 503")
    expect(indicator).to_have_attribute("data-status", "offline")
    expect(page.locator(".transitions")).to_contain_text("3 failed in a row")
    expect(page.get_by_role("alert")).to_contain_text("does not answer (overloaded")
    press(page, "Mend it")
    expect(indicator).to_have_attribute("data-status", "online")
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("htp:/nowhere", "htp:/nowhere"), ("http://127.0.0.1:9", "does not answer (connection refused")],
    ids=["malformed", "unreachable"],
)
def test_a_url_that_cannot_be_watched_is_a_sentence(visitor, url, sentence):
    page = visitor.go(place="live")
    field = page.get_by_label("Backend URL")
    field.fill(url)
    field.press("Tab")
    press(page, "Start")
    expect(page.get_by_role("alert")).to_contain_text(sentence)


def test_the_menu_goes_between_the_places_and_the_address_says_where_one_is(visitor):
    page = visitor.go()
    page.get_by_role("link", name="Live").click()
    expect(page.locator("button.indicator")).to_be_visible()
    expect(card(page, "lost")).to_be_hidden()
    page.wait_for_url("**/?place=live*")
    page.get_by_role("link", name="Simulate").click()
    expect(card(page, "lost")).to_be_visible()


def test_dark_on_a_phone_nothing_is_wider_than_the_screen(browser, server):
    with visit(browser, server.url, width=420, height=860, dark=True) as someone:
        page = someone.go()
        drawn(page, ".figure-latency")
        widest = page.evaluate(_WIDEST)
        assert widest <= 420
        assert someone.complaints == []
        assert someone.strangers == []


_WIDEST = """
() => {
  let widest = 0
  const look = (node) => {
    if (node.shadowRoot) { look(node.shadowRoot) }
    for (const child of node.children || []) {
      if (child.classList?.contains("card") || child.classList?.contains("controls")) {
        widest = Math.max(widest, child.getBoundingClientRect().right)
      }
      look(child)
    }
  }
  look(document.body)
  return widest
}
"""


def test_ctrl_c_ends_the_server_cleanly(tmp_path):
    with served(tmp_path) as running:
        assert running.stop() == 0
        assert not any("Traceback" in line for line in running.output)
