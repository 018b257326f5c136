"""Choosing and editing a scenario in a real Chromium: by hand, by keyboard, by file."""

import re
import tomllib

from browser import MARKS, press, unfolded, visit
from playwright.sync_api import expect

from hustle_sim.simulation.scenario import Scenario

pytestmark = MARKS


def chosen(page):
    return page.locator("button.chosen .name")


def editing(visitor, **arguments):
    page = visitor.go(**arguments)
    page.locator(".fold-controls button").wait_for(state="attached")
    unfolded(page)
    expect(chosen(page)).to_be_visible()
    press(page, "Edit")
    expect(page.locator("button.outage").first).to_be_visible()
    return page


def outage(page, number=0):
    return page.locator("button.outage").nth(number)


def when(page, words):
    """What the read-out says of the chosen outage."""
    expect(page.locator(".readout")).to_have_text(words)


def field(page, label):
    return page.locator(".scenario-editor").get_by_role("textbox", name=re.compile(f"^{label}"))


def typed(page, label, text):
    field(page, label).fill(text)
    field(page, label).press("Tab")


def toml(page):
    return page.locator(".toml pre")


def written(page):
    return Scenario.from_dict(tomllib.loads(toml(page).inner_text()))


def drag(page, node, by, grip=None):
    node.scroll_into_view_if_needed()
    box = (node.locator(f".grip.{grip}") if grip else node).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by / 2, y, steps=4)
    page.mouse.move(x + by, y, steps=4)
    page.mouse.up()
    settled(page)


def settled(page):
    """The server has answered all that was done on the timeline."""
    expect(page.locator(".timeline")).to_have_attribute("aria-busy", "false")


def test_a_scenario_is_chosen_by_keyboard_alone(visitor):
    page = visitor.go()
    expect(chosen(page)).to_have_text("morning-outage")
    page.get_by_role("button", name="Scenario: morning-outage. Choose another").press("Enter")
    gallery = page.get_by_role("listbox", name="Scenarios")
    here = gallery.get_by_role("option", selected=True)
    expect(here).to_be_focused()
    expect(here).to_contain_text("morning-outage")
    page.keyboard.press("End")
    expect(gallery.get_by_role("option").last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("f")
    expect(page.get_by_role("option", name=re.compile("flapping"))).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("option", name=re.compile("Four requests in five"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(chosen(page)).to_have_text("hang")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Scenario: hang. Choose another")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(chosen(page)).to_have_text("hang")


def test_an_outage_is_dragged_resized_changed_and_all_is_taken_back(visitor):
    page = editing(visitor)
    when(page, "Outage 1: 09:02 to 10:19, 1 h 17 min")
    drag(page, outage(page), 120)
    expect(chosen(page)).to_have_text(re.compile(r"^morning-outage \(edited\)"))
    expect(field(page, "Begins after")).not_to_have_value("3h2m")
    dragged = written(page).outages[0]
    assert dragged.at_s > 3.2 * 3600
    assert dragged.lasts_s == 4620

    drag(page, outage(page), 80, grip="end")
    expect(field(page, "Lasts")).not_to_have_value("1h17m")
    resized = written(page).outages[0]
    assert resized.at_s == dragged.at_s
    assert resized.lasts_s > 5000

    drag(page, outage(page), -60, grip="start")
    expect(toml(page)).not_to_contain_text(f"at_s = {dragged.at_s:.0f}")
    grown = written(page).outages[0]
    assert grown.at_s < dragged.at_s
    assert grown.at_s + grown.lasts_s == resized.at_s + resized.lasts_s

    for _ in range(3):
        press(page, "Undo")
        settled(page)
    expect(chosen(page)).to_have_text("morning-outage")
    when(page, "Outage 1: 09:02 to 10:19, 1 h 17 min")
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_disabled()
    press(page, "Redo")
    expect(field(page, "Begins after")).not_to_have_value("3h2m")
    assert written(page).outages[0] == dragged


def test_the_timeline_is_used_by_keyboard(visitor):
    page = editing(visitor)
    node = outage(page)
    node.focus()
    page.keyboard.press("ArrowRight")
    when(page, "Outage 1: 09:04 to 10:21, 1 h 17 min")
    page.keyboard.press("Shift+ArrowLeft")
    when(page, "Outage 1: 09:04 to 10:19, 1 h 15 min")
    expect(field(page, "Lasts")).to_have_value("1h15m")
    expect(node).to_be_focused()
    page.keyboard.press("Control+z")
    expect(field(page, "Lasts")).to_have_value("1h17m")
    page.keyboard.press("Control+Shift+Z")
    expect(field(page, "Lasts")).to_have_value("1h15m")
    node.press("Delete")
    expect(page.locator("button.outage")).to_have_count(0)
    expect(page.locator(".outage-about")).to_contain_text("There is no outage")
    expect(page.get_by_role("button", name="+ Add outage", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("button.outage")).to_have_count(1)


def test_outages_are_added_on_free_space_their_mode_is_chosen_and_each_edit_is_simulated(visitor):
    page = editing(visitor)
    track = page.get_by_role("group", name="Outages in time")
    box = track.bounding_box()
    track.dblclick(position={"x": box["width"] * 0.75, "y": 20})
    expect(page.locator("button.outage")).to_have_count(2)
    when(page, re.compile("^Outage 2: 15:00 to"))
    page.get_by_role("combobox", name="Mode").click()
    page.get_by_role("option", name=re.compile("^slow:")).click()
    expect(field(page, "Slower")).to_have_value("3")
    expect(page.locator(".timeline .legend")).to_contain_text("gets slower")
    typed(page, "Slower", "6")
    expect(toml(page)).to_contain_text("factor = 6")
    second = written(page).outages[1]
    assert (second.mode, second.factor, second.at_s) == ("slow", 6, 9 * 3600)
    expect(page.locator(".headline h2")).to_have_text(re.compile(r"^morning-outage \(edited\)"))
    press(page, "Delete")
    expect(page.locator("button.outage")).to_have_count(1)


def test_what_cannot_be_is_a_sentence_at_the_field_and_what_was_typed_stays(visitor):
    page = editing(visitor)
    typed(page, "Lasts", "twenty")
    editor = page.locator(".scenario-editor")
    expect(editor.get_by_text("'twenty' is no duration: write seconds as a number")).to_be_visible()
    expect(field(page, "Lasts")).to_have_value("twenty")
    expect(field(page, "Lasts")).to_have_attribute("aria-invalid", "true")
    assert written(page) == Scenario.load("morning-outage")
    typed(page, "Lasts", "20m")
    expect(editor.get_by_text("is no duration")).to_have_count(0)
    expect(toml(page)).to_contain_text("lasts_s = 1200")
    typed(page, "Duration", "2h")
    expect(editor.get_by_text("outages.0.at_s (10920) must be less than duration_s (7200)")).to_be_visible()
    typed(page, "Duration", "6h")
    typed(page, "People", "25")
    expect(toml(page)).to_contain_text("count = 25")
    edited = written(page)
    assert (edited.duration_s, edited.clients.count, edited.outages[0].lasts_s) == (6 * 3600, 25, 1200)


def test_a_downloaded_scenario_is_brought_back_by_hand_and_a_broken_file_is_a_sentence(visitor, tmp_path):
    page = editing(visitor)
    outage(page).press("PageUp")
    expect(chosen(page)).to_have_text(re.compile("edited"))
    expect(toml(page)).to_contain_text("edited")
    edited = written(page)
    with page.expect_download() as saved:
        press(page, "Download")
    assert saved.value.suggested_filename == "morning-outage-edited.toml"
    path = tmp_path / "mine.toml"
    saved.value.save_as(path)
    assert Scenario.load(path) == edited

    page = visitor.go(scenario="hang")
    expect(chosen(page)).to_have_text("hang")
    bring = page.locator('input[type="file"]')
    bring.set_input_files({"name": "odd.toml", "mimeType": "text/plain", "buffer": b"duration_s = -5"})
    expect(page.get_by_role("alert")).to_contain_text("odd.toml: duration_s: input should be greater than")
    expect(chosen(page)).to_have_text("hang")
    bring.set_input_files(path)
    expect(chosen(page)).to_have_text(re.compile("^morning-outage \\(edited\\)"))
    expect(page.get_by_role("alert")).to_have_count(0)


_DROP = """
async ([name, text]) => {
  const find = (node) => {
    if (node.matches?.(".picker")) { return node }
    for (const child of [...(node.shadowRoot?.children ?? []), ...(node.children ?? [])]) {
      const found = find(child)
      if (found) { return found }
    }
  }
  const data = new DataTransfer()
  data.items.add(new File([text], name))
  const picker = find(document.body)
  picker.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, bubbles: true, cancelable: true}))
  picker.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}))
}
"""


def test_the_gallery_has_a_drawing_of_each_outage_and_takes_a_file_that_is_dropped(visitor):
    page = visitor.go()
    press(page, "Choose another")
    options = page.get_by_role("listbox", name="Scenarios").get_by_role("option")
    expect(options).to_have_count(len(Scenario.bundled()))
    assert all(option.locator('svg path[fill^="url"]').count() for option in options.all())
    page.evaluate(_DROP, ["large.toml", "#" * 300_000])
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
        "large.toml is too large for a scenario: 200 kB at most"
    )
    page.evaluate(_DROP, ["dropped.toml", "duration_s = '3h'"])
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(chosen(page)).to_have_text(re.compile("^dropped"))


def test_random_outages_are_an_example_until_they_are_made_scheduled(visitor):
    page = editing(visitor, scenario="ai-provider-month")
    expect(page.locator(".timeline")).to_contain_text("those of seed 7; each seed has others")
    expect(field(page, "Time between")).to_have_value("6d5h24m")
    press(page, "Make them scheduled")
    expect(page.get_by_text("Outage 1 of 4: scheduled")).to_be_visible()
    expect(toml(page)).not_to_contain_text("mtbf_s")
    assert all(one.at_s is not None for one in written(page).outages)


def test_on_a_phone_in_the_dark_an_outage_is_dragged_by_touch(browser, server):
    with visit(browser, server.url, width=390, height=844, dark=True) as someone:
        page = editing(someone)
        before = outage(page).bounding_box()
        outage(page).evaluate(_TOUCH, 60)
        expect(chosen(page)).to_have_text(re.compile("edited"))
        assert outage(page).bounding_box()["x"] > before["x"] + 30
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert someone.complaints == []
        assert someone.strangers == []


_TOUCH = """
(node, by) => {
  const box = node.getBoundingClientRect()
  const at = (x) => ({
    pointerId: 1, pointerType: "touch", isPrimary: true, bubbles: true, composed: true, cancelable: true,
    clientX: x, clientY: box.top + box.height / 2, button: 0,
  })
  node.setPointerCapture = () => {}
  const x = box.left + box.width / 2
  node.dispatchEvent(new PointerEvent("pointerdown", at(x)))
  for (let step = 1; step <= 6; step++) { node.dispatchEvent(new PointerEvent("pointermove", at(x + by * step / 6))) }
  node.dispatchEvent(new PointerEvent("pointerup", at(x + by)))
}
"""
