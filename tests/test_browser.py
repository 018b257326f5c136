"""The dashboard in a real Chromium, on a real server: drawn, usable, quiet, and at home."""

from browser import MARKS, card, drawn, press, served, visit
from playwright.sync_api import expect

from hustle_sim.dashboard.charts import SHOWN

pytestmark = MARKS


def test_a_first_visit_shows_a_finished_run_with_every_figure_drawn(visitor):
    page = visitor.go()
    expect(page).to_have_title("Simulate · hustle_sim")
    expect(card(page, "lost").locator(".value")).to_have_text("0")
    expect(card(page, "lost")).to_contain_text("better")
    expect(page.locator(".headline h2")).to_have_text("morning-outage · default · seed 7")
    for name in SHOWN:
        drawn(page, f".figure-{name}")


def test_the_menu_goes_between_the_places_and_the_address_says_where_one_is(visitor):
    page = visitor.go()
    page.get_by_role("link", name="Live").click()
    expect(page.get_by_label("Backend URL")).to_be_visible()
    expect(card(page, "lost")).to_be_hidden()
    page.wait_for_url("**/?place=live*")
    page.get_by_role("link", name="Simulate").click()
    expect(card(page, "lost")).to_be_visible()


def test_dark_on_a_phone_results_come_first_and_nothing_is_wider_than_the_screen(browser, server):
    with visit(browser, server.url, width=420, height=860, dark=True) as someone:
        page = someone.go()
        drawn(page, ".figure-latency")
        expect(card(page, "answered_share")).to_be_in_viewport()
        expect(page.locator(".controls")).to_be_hidden()
        press(page, "Scenario and policy")
        expect(page.get_by_role("combobox", name="Policy preset")).to_be_visible()
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
