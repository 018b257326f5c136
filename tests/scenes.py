"""Each place of the dashboard brought to where it has something to show: for pictures, and for what judges pages.

A new place is one function and one line in ``SCENES``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from browser import drawn, press
from playwright.sync_api import Page, expect


def simulate(page: Page) -> None:
    """The run of a first visit with its figures."""
    expect(page.locator('.card[data-metric="lost"]').locator(".value")).to_have_text("0")
    drawn(page, ".figure-latency")


def live(page: Page) -> None:
    """The practice backend, which was well, broke, and came back."""
    indicator = page.locator("button.indicator")
    press(page, "Watch")
    expect(indicator).to_have_attribute("data-status", "online")
    press(page, "Answer 503")
    expect(indicator).to_have_attribute("data-status", "offline")
    press(page, "Mend it")
    expect(indicator).to_have_attribute("data-status", "online")
    drawn(page, ".live-latency")


def coach(page: Page) -> None:
    """A chat with an answer, one that is called off, and one that waits for the backend, which is being mended."""
    box = page.get_by_placeholder("Write to the coach")
    expect(box).to_be_enabled()
    box.fill("How do I start?")
    box.press("Enter")
    expect(page.locator('.pair[data-state="done"]').last).to_be_visible()
    press(page, "Refuse connections")
    for number, text in enumerate(
        ("Is anybody there?", "I wanted to tell you something"), page.locator(".pair").count()
    ):
        box.fill(text)
        box.press("Enter")
        expect(page.locator(".pair").nth(number)).not_to_have_attribute("data-state", "waiting")
    page.locator(".pair").last.get_by_role("button", name="Cancel").click()
    expect(page.locator(".pair").last).to_have_attribute("data-state", "cancelled")
    press(page, "Mend it")


def tune(page: Page) -> None:
    """A small sweep over two fields, with a point chosen."""
    for number, values in enumerate(("2s, 8s", "1, 3")):
        field = page.get_by_role("textbox", name="Values", exact=True).nth(number)
        field.fill(values)
        field.press("Tab")
    seeds = page.get_by_role("textbox", name=re.compile("^Seeds"))
    seeds.fill("2")
    seeds.press("Tab")
    press(page, "Start")
    drawn(page, ".heat-map")
    page.locator("button.pick").first.click()
    expect(page.locator(".chosen-point")).to_contain_text("Chosen:")


SCENES: dict[str, Callable[[Page], None]] = {"simulate": simulate, "live": live, "tune": tune, "coach": coach}
"""How each place is brought there, by its name in the address."""
