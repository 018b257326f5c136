"""A run's story in a real Chromium: every figure, play head, chat, why, A and B, and many attempts as an image."""

import re

import pytest
from browser import MARKS, drawn, visit
from playwright.sync_api import TimeoutError as TooLong
from playwright.sync_api import expect

from hustle_sim.dashboard.charts import GROUPS, SHOWN

pytestmark = MARKS

LINES = """
() => Bokeh.documents.flatMap((doc) => [...doc._all_models.values()])
  .filter((model) => model.name?.startsWith?.("playhead-")).map((model) => model.location)
"""
"""Where the vertical lines stand."""

SPANS = """
() => Bokeh.documents.flatMap((doc) => [...doc._all_models.values()])
  .filter((model) => model.type === "ColumnDataSource")
  .map((model) => model.data instanceof Map ? model.data.get("dw") : model.data.dw)
  .filter((spans) => spans?.length).map((spans) => Number(spans[0]))
"""
"""How much time each image shows."""


def ready(visitor, **arguments):
    """The page with the last figure drawn, and the play head at home."""
    page = visitor.go(**arguments)
    drawn(page, f".figure-{SHOWN[-1]}")
    expect(page.locator("[data-part=backend] dd").first).to_have_text(re.compile("^The backend is "))
    return page


def button(page, name):
    return page.get_by_role("button", name=name)


def test_closed_groups_are_drawn_when_they_are_opened_and_have_the_play_head_too(visitor):
    page = ready(visitor)
    assert len(page.evaluate(LINES)) == len(SHOWN)
    for group in GROUPS:
        if not group.is_open:
            expect(page.locator(f".figure-{group.figures[0]}")).to_be_hidden()
            heading = button(page, group.title)
            expect(heading).to_have_attribute("aria-expanded", "false")
            heading.press("Enter")
            expect(heading).to_have_attribute("aria-expanded", "true")
        for name in group.figures:
            drawn(page, f".figure-{name}")
    lines = page.evaluate(LINES)
    assert len(lines) == sum(len(group.figures) for group in GROUPS)
    assert len(set(lines)) == 1


def test_play_pause_and_keys_move_every_line_and_change_words_and_chat(visitor):
    page = ready(visitor)
    clock, backend = page.locator("output.clock"), page.locator("[data-part=backend] dd")
    expect(backend).to_contain_text("never answering")
    expect(page.locator(".bubble.coach").last).to_contain_text("I can't reach the coach right now")
    slider = page.get_by_role("slider", name="Moment of the run")
    slider.press("Home")
    expect(clock).to_have_text("00:00")
    expect(backend).to_contain_text("The backend is well")
    expect(page.locator(".moment .nothing").first).to_have_text("Nothing was said yet.")

    slider.press(" ")
    expect(page.locator(".bubble").first).to_be_visible()
    expect(button(page, "Pause (space)")).to_be_visible()
    slider.press(" ")
    expect(button(page, "Play (space)")).to_be_visible()
    stopped = clock.inner_text()
    assert stopped != "00:00"
    lines = page.evaluate(LINES)
    assert len(set(lines)) == 1
    assert lines[0] > 0

    slider.press("Shift+ArrowRight")
    expect(page.locator(".playhead .note")).not_to_have_text("")
    expect(clock).not_to_have_text(stopped)
    slider.press("End")
    expect(clock).to_have_text("12:00:00")
    expect(page.locator("[data-part=messages] dd")).to_contain_text("701 messages so far")


def test_a_play_head_that_nobody_sees_stands_still(visitor):
    page = ready(visitor)
    slider = page.get_by_role("slider", name="Moment of the run")
    slider.press(" ")
    expect(button(page, "Pause (space)")).to_be_visible()
    page.get_by_role("link", name="Live").click()
    expect(page.locator(".playhead")).to_be_hidden()
    page.get_by_role("link", name="Simulate").click()
    expect(page.locator(".playhead")).to_be_visible()
    expect(button(page, "Play (space)")).to_be_visible()


def test_a_click_on_an_attempt_tells_its_life_and_close_takes_it_away(visitor):
    page = ready(visitor)
    figure, title = page.locator(".figure-latency"), page.locator(".why h2")
    expect(page.locator(".figure-waterfall")).to_be_hidden()
    expect(page.locator(".why p").first).to_contain_text("Click an attempt")
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    # Among some hundred attempts of about a second, one is near to one of these places.
    for share in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75):
        page.mouse.click(box["x"] + 84 + (box["width"] - 104) * share, box["y"] + box["height"] * 0.47)
        try:
            expect(title).to_contain_text("Message", timeout=10_000)
            break
        except AssertionError:
            continue
    expect(title).to_have_text(re.compile("^Why\\? Message 0-"))
    drawn(page, ".figure-waterfall")
    expect(page.locator(".steps li").first).to_contain_text("The person sent the message")
    button(page, "Close").click()
    expect(page.locator(".figure-waterfall")).to_be_hidden()
    expect(title).to_have_text("Why?")


def test_a_message_is_found_by_keys_alone(visitor):
    page = ready(visitor)
    button(page, re.compile("^offline or older answer")).press("Enter")
    rows = page.locator(".why tbody button")
    expect(rows).to_have_count(75)
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(rows.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".why h2")).to_have_text(f"Why? Message {rows.nth(2).inner_text()}")
    drawn(page, ".figure-waterfall")
    page.keyboard.press("Escape")
    expect(page.locator(".figure-waterfall")).to_be_hidden()
    expect(rows).to_have_count(0)


def test_a_and_b_stand_under_each_other_with_a_chat_each(visitor):
    page = ready(visitor, view="both")
    for name in SHOWN:
        drawn(page, f".figure-{name}")
        drawn(page, f".figure-{name}-b")
    titles = page.locator(".moment h2")
    expect(titles.nth(0)).to_have_text("At this moment: A, default")
    expect(titles.nth(1)).to_have_text("At this moment: B, original")
    lines = page.evaluate(LINES)
    assert len(lines) == 2 * len(SHOWN)
    assert len(set(lines)) == 1


CROWD = b"""
duration_s = "30m"
[clients]
count = 200
messages_per_hour = 230
repeat_share = 0.0
[backend]
capacity = 400
[[outages]]
at_s = "10m"
lasts_s = "2m"
mode = "refuse"
"""


def test_many_attempts_are_an_image_that_is_counted_anew_when_it_is_zoomed(visitor):
    page = ready(visitor)
    assert page.evaluate(SPANS) == []
    file = {"name": "crowd.toml", "mimeType": "text/plain", "buffer": CROWD}
    page.locator('input[type="file"]').first.set_input_files(file)
    expect(page.get_by_text("Latency of all attempts")).to_be_visible()
    # Its beginning is there first.
    expect(page.locator(".headline")).to_contain_text("compared with")
    drawn(page, ".figure-latency")
    page.wait_for_function(f"() => String(({SPANS})()) === '1800,1800'")
    figure = page.locator(".figure-latency")
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(3):
        page.mouse.wheel(0, -300)
        try:
            page.wait_for_function(f"() => Math.max(...({SPANS})()) < 1700", timeout=15_000)
            break
        except TooLong:
            continue
    assert max(page.evaluate(SPANS)) < 1700
    drawn(page, ".figure-latency")


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1920, False)])
def test_nothing_is_wider_than_the_screen(browser, server, width, dark):
    with visit(browser, server.url, width=width, height=860, dark=dark) as someone:
        page = ready(someone)
        for part in (".playhead", ".moment", ".why", ".figure-latency"):
            box = page.locator(part).first.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        assert someone.complaints == []
        assert someone.strangers == []
