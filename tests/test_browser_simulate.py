"""The Simulate place in a real Chromium: what a visitor does there."""

import re

from browser import DRAWN, MARKS, card, press, visit
from playwright.sync_api import expect

pytestmark = MARKS


def headline(page):
    return page.locator(".headline h2")


def row(page, name):
    return page.locator(f'.row[data-field="{name}"]')


def text(page, name):
    return row(page, name).get_by_role("textbox")


def slider(page, name):
    return row(page, name).get_by_role("slider")


def write(page, name, value):
    text(page, name).fill(value)
    text(page, name).press("Enter")


def select(page, label, option):
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def arrived(visitor, **arguments):
    """The page with its first results."""
    page = visitor.go(**arguments)
    expect(card(page, "lost").locator(".value")).to_be_visible()
    return page


def bring(page, name, content):
    page.locator('input[type="file"]').set_input_files({"name": name, "mimeType": "text/plain", "buffer": content})


def test_dragging_a_slider_changes_cards_and_figures_and_reset_brings_the_preset_back(visitor):
    page = arrived(visitor)
    before = card(page, "detection_s").locator(".value").inner_text()
    press(page, "Health probes")
    box = slider(page, "probe.confirm_s").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.46, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.5, 0.6, 0.7, 0.8):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    expect(headline(page)).to_have_text("morning-outage · your policy · seed 7")
    page.mouse.up()
    expect(card(page, "detection_s").locator(".value")).not_to_have_text(before)
    expect(row(page, "probe.confirm_s")).to_contain_text("preset: 10 s")
    expect(page.get_by_text("1 changed")).to_be_visible()

    press(page, "Reset Confirm to 10 s")
    expect(headline(page)).to_have_text("morning-outage · default · seed 7")
    expect(card(page, "detection_s").locator(".value")).to_have_text(before)
    expect(text(page, "probe.confirm_s")).to_have_value("10")


def test_a_bad_value_is_a_sentence_marks_its_fields_and_keeps_the_last_results(visitor):
    page = arrived(visitor)
    press(page, "Health probes")
    write(page, "probe.interval_s", "30s")
    expect(headline(page)).to_have_text("morning-outage · your policy · seed 7")
    good = card(page, "detection_s").locator(".value").inner_text()
    write(page, "probe.degraded_above_s", "9")
    expect(page.get_by_role("alert")).to_contain_text("degraded_above_s (9) must not exceed timeout_s (5)")
    expect(text(page, "probe.degraded_above_s")).to_have_attribute("aria-invalid", "true")
    expect(card(page, "detection_s").locator(".value")).to_have_text(good)
    press(page, "Reset Health probes to the preset")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(headline(page)).to_have_text("morning-outage · default · seed 7")


def test_the_main_path_can_be_walked_by_keyboard(visitor):
    page = arrived(visitor)
    page.get_by_role("button", name="Requests", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(slider(page, "request.deadline_s")).to_be_focused()
    expect(slider(page, "request.deadline_s")).to_have_attribute("aria-valuetext", "8 s")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(headline(page)).to_have_text("morning-outage · your policy · seed 7")
    page.keyboard.press("Tab")
    expect(row(page, "request.deadline_s").get_by_role("button")).to_be_visible()
    expect(card(page, "answer_max_s").locator(".value")).not_to_have_text("8 s")


def test_a_policy_is_compared_with_a_preset_or_with_one_that_was_pinned(visitor):
    page = arrived(visitor)
    select(page, "Compared with (B)", "polly")
    expect(card(page, "lost")).to_contain_text("polly")
    press(page, "Health probes")
    write(page, "probe.confirm_s", "60")
    expect(headline(page)).to_contain_text("your policy")
    press(page, "Pin as B")
    expect(card(page, "detection_s")).to_contain_text("= same")
    write(page, "probe.confirm_s", "10")
    expect(card(page, "detection_s")).to_contain_text("▲ better")
    expect(card(page, "detection_s")).to_contain_text("pinned policy")


def test_a_link_shows_what_one_sees_and_back_and_forward_work(browser, server, visitor):
    page = arrived(visitor)
    page.wait_for_url(re.compile("scenario=morning-outage"))
    page.get_by_role("button", name="Choose another", exact=True).click()
    page.get_by_role("option", name=re.compile("^hang")).click()
    expect(headline(page)).to_have_text("hang · default · seed 7")
    page.wait_for_timeout(1600)  # a pause begins another step for the back button
    press(page, "Retries")
    select(page, "Compared with (B)", "grpc")
    write(page, "retry.base_s", "2")
    expect(headline(page)).to_have_text("hang · your policy · seed 7")
    page.wait_for_url(re.compile(r"retry\.base_s=2"))
    expect(card(page, "amplification")).to_contain_text("grpc")
    seen = page.locator(".card .value, .card .below").all_inner_texts()

    with visit(browser, server.url) as second:
        other = second.page
        other.goto(page.url)
        expect(headline(other)).to_have_text("hang · your policy · seed 7")
        expect(card(other, "amplification")).to_contain_text("grpc")
        assert other.locator(".card .value, .card .below").all_inner_texts() == seen
        assert second.complaints == []

    page.go_back()
    expect(headline(page)).to_have_text("hang · default · seed 7")
    expect(text(page, "retry.base_s")).to_have_value("0.5")
    page.go_forward()
    expect(headline(page)).to_have_text("hang · your policy · seed 7")
    expect(text(page, "retry.base_s")).to_have_value("2")


def test_a_bad_link_is_a_sentence_and_shows_the_default(visitor):
    page = arrived(visitor, scenario="mornig-outage")
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'morning-outage'?")
    expect(headline(page)).to_have_text("morning-outage · default · seed 7")


def test_a_scenario_file_can_be_brought_along_goes_into_the_link_and_a_broken_one_is_a_sentence(visitor):
    page = arrived(visitor)
    bring(page, "odd.toml", b"duration_s = -5")
    expect(page.get_by_role("alert")).to_contain_text("duration_s")
    bring(page, "mine.toml", b"duration_s = '2h'\n[[outages]]\nmode = 'refuse'\nat_s = '30m'\nlasts_s = '20m'")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(headline(page)).to_have_text("mine · default · seed 7")
    page.wait_for_url(re.compile("own="))
    page.reload()
    expect(headline(page)).to_have_text("mine · default · seed 7")


LONG = b"""
duration_s = "365d"
[clients]
count = 5
messages_per_hour = 60
"""


def test_a_second_visitor_works_while_the_first_runs_a_long_simulation(browser, server, visitor):
    page = arrived(visitor)
    bring(page, "long.toml", LONG)
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    expect(cancel).to_be_visible()
    with visit(browser, server.url) as second:
        other = arrived(second)
        press(other, "Health probes")
        write(other, "probe.interval_s", "45")
        expect(headline(other)).to_have_text("morning-outage · your policy · seed 7")
        other.wait_for_function(DRAWN, arg=other.locator(".figure-latency").element_handle())
        assert second.complaints == []
    expect(cancel).to_be_visible()
    cancel.click()
    expect(cancel).to_be_hidden()
    expect(headline(page)).to_have_text("morning-outage · default · seed 7")


def test_a_mend_is_applied_by_a_click_and_its_finding_goes(visitor):
    page = arrived(visitor, policy="original")
    finding = page.locator(".advice li", has=page.get_by_role("button", name=re.compile("^Apply the mend"))).first
    expect(finding).to_contain_text("error")
    code = finding.get_attribute("data-code")
    finding.get_by_role("button").click()
    expect(page.locator(f'.advice li[data-code="{code}"]')).to_have_count(0)
    expect(headline(page)).to_have_text("morning-outage · your policy · seed 7")
    expect(page.get_by_text(re.compile("changed"))).not_to_have_count(0)


def test_the_report_is_downloaded_and_opens_as_a_file_with_its_figures(browser, visitor, tmp_path):
    page = arrived(visitor)
    page.get_by_role("button", name="Download").focus()
    page.keyboard.press("Enter")
    with page.expect_download() as downloading:
        page.get_by_role("menuitem", name="Report").click()
    assert downloading.value.suggested_filename == "morning-outage-default-seed7-report.html"
    file = tmp_path / "report.html"
    downloading.value.save_as(file)
    reader = browser.new_context(offline=True)
    try:
        opened, said, asked = reader.new_page(), [], []
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(file.as_uri())
        expect(opened.get_by_role("heading", level=1)).to_contain_text("morning-outage")
        opened.wait_for_function(DRAWN, arg=opened.locator("#figures").element_handle())
        assert said == []
        assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []
    finally:
        reader.close()


def test_the_link_is_copied_and_says_so(visitor):
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = arrived(visitor, policy="grpc", seed="3")
    expect(headline(page)).to_have_text("morning-outage · grpc · seed 3")
    press(page, "Copy link")
    expect(page.get_by_text("Link copied")).to_be_visible()
    assert "policy=grpc&seed=3" in page.evaluate("navigator.clipboard.readText()")
