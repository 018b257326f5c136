"""The Tune place in a real Chromium: a heat map and a front to click, and the policy that is taken along."""

import re

from browser import MARKS, drawn, press, visit
from playwright.sync_api import expect

from hustle_sim.tuning.goals import OBJECTIVES

pytestmark = MARKS

SHORT = """
name = "short"
duration_s = "10m"
[[outages]]
at_s = "2m"
lasts_s = "3m"
mode = "hang"
"""


def told(page):
    return page.locator(".study-told")


def test_a_link_makes_its_map_a_cell_is_chosen_and_its_policy_is_simulated(visitor):
    asked = {"x": "retry.base_s", "xs": "0.1s, 2s", "y": "request.max_attempts", "ys": "1, 3", "seeds": "2"}
    page = visitor.go(place="tune", scenario="hang", metric="amplification", **asked)
    drawn(page, ".heat-map")
    expect(page.locator("tbody tr")).to_have_count(4)
    map_ = page.locator(".heat-map")
    map_.scroll_into_view_if_needed()
    box = map_.bounding_box()
    # The upper right cell; at the right are the colours.
    page.mouse.click(box["x"] + box["width"] * 0.65, box["y"] + box["height"] * 0.25)
    expect(page.locator(".chosen-point")).to_contain_text("retry.base_s 2s, request.max_attempts 3: amplification")
    # Elsewhere and back: what was found is still there.
    page.get_by_role("link", name="Coach").click()
    expect(map_).to_be_hidden()
    page.get_by_role("link", name="Tune").click()
    drawn(page, ".heat-map")
    expect(page.locator(".chosen-point")).to_contain_text("retry.base_s 2s")
    press(page, "Simulate the chosen policy")
    expect(page.locator(".headline h2")).to_have_text(re.compile("^hang ·"))
    page.wait_for_url(re.compile(r"retry\.base_s=2"))


def test_a_study_tells_how_far_it_is_and_is_cancelled_while_others_are_served(browser, server, visitor):
    page = visitor.go(place="tune", scenario="ai-provider-month")
    press(page, "Start")
    expect(told(page)).to_contain_text(re.compile(r"of \d+ simulations"))
    with visit(browser, server.url) as second:
        other = second.go()
        expect(other.locator('.card[data-metric="lost"] .value')).to_have_text("0")
        assert second.complaints == []
    press(page, "Cancel")
    expect(told(page)).to_be_empty()
    expect(page.get_by_text("What does each value do?")).to_be_visible()


def test_what_cannot_be_swept_is_a_sentence(visitor):
    page = visitor.go(place="tune")
    values = page.get_by_role("textbox", name="Values", exact=True).first
    values.fill("soon")
    press(page, "Start")
    expect(page.get_by_role("alert")).to_contain_text("'soon' is no value such as")
    expect(values).to_have_value("soon")


def test_a_search_draws_its_front_beside_the_presets_and_one_is_taken_along(visitor):
    page = visitor.go()
    page.locator('input[type="file"]').set_input_files(
        {"name": "short.toml", "mimeType": "text/plain", "buffer": SHORT.encode()}
    )
    expect(page.locator(".headline h2")).to_have_text(re.compile("^short ·"))
    press(page, "Tune this policy")
    press(page, "Search")
    page.get_by_role("combobox", name="How far").click()
    page.get_by_role("option", name="first look", exact=True).click()
    press(page, "Start")
    expect(told(page)).to_contain_text(re.compile(r"of \d+ simulations"))
    drawn(page, ".parallel")
    expect(page.locator(".pareto")).to_have_count(len(OBJECTIVES) - 1)
    expect(page.locator(".findings h2")).to_contain_text("that neither the search nor the choice had seen")
    expect(page.locator("tbody tr.chosen")).to_contain_text("recommended")
    page.get_by_role("button", name="Simulate polly", exact=True).click()
    expect(page.locator(".headline h2")).to_have_text(re.compile("^short · polly ·"))
