"""The queue's place in a real Chromium."""

import asyncio
import json
import os
import threading
from pathlib import Path

from browser import MARKS, browsers, served, visit
from playwright.sync_api import expect

from hustle_sim.live.settings import wall_time
from hustle_sim.resilience import Item, ItemState, SQLiteStore

pytestmark = MARKS

TEXTS = {
    ItemState.READY: "How do I centre a div?",
    ItemState.LEASED: "What is a monad?",
    ItemState.UNKNOWN: "Delete my account <b>now</b>",
    ItemState.DELIVERED: "What is a closure, and why would anybody want one? " * 6,
    ItemState.DEAD: "Explain pagination",
    ItemState.EXPIRED: "Is it Friday yet?",
}


async def fill(path):
    store = SQLiteStore(path)
    now = wall_time()
    for number, (state, text) in enumerate(TEXTS.items()):
        item = Item(
            f"{number}f3a{state.value:a<28}", text, number % 3, now - 4000 / (number + 1), now + 9000, state=state,
            tries=number, reason="overloaded" if state is ItemState.DEAD else "", leased_until=now + 999,
            reply="A function with its surroundings." if state is ItemState.DELIVERED else "",
        )  # fmt: skip
        await store.add(item, max_size=50, overflow="reject")
    await store.aclose()


def test_the_queue_is_shown_and_put_in_order(tmp_path):
    path = tmp_path / "queue.sqlite3"
    shots = os.environ.get("SHOTS")
    with (
        served(tmp_path, HUSTLE_STORE=str(path)) as server,
        browsers() as browser,
        visit(browser, server.url) as visitor,
    ):
        page = visitor.go(place="queue")
        empty = page.get_by_role("note").filter(has_text="The queue is empty")
        expect(empty).to_be_visible()
        if shots:
            page.screenshot(path=f"{shots}/empty.png")
        # Playwright has a loop of its own running in this thread.
        filling = threading.Thread(target=asyncio.run, args=(fill(path),))
        filling.start()
        filling.join()
        lines = page.locator(".queue tbody tr")
        expect(lines).to_have_count(6)
        expect(empty).to_have_count(0)
        retry, delete = (page.get_by_role("button", name=name, exact=True) for name in ("Retry", "Delete"))
        expect(retry).to_be_disabled()

        page.get_by_text("Delete my account").click()
        expect(page.locator(".details pre")).to_have_text("Delete my account <b>now</b>")
        expect(delete).to_be_disabled()
        page.get_by_text("Explain pagination").click()
        expect(delete).to_be_enabled()
        if shots:
            page.wait_for_timeout(500)
            page.screenshot(path=f"{shots}/light.png")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export JSON").click()
        exported = json.loads(Path(download.value.path()).read_text())
        assert [each["text"] for each in exported] == ["Explain pagination"]

        retry.click()
        expect(page.locator('tr[data-state="ready"]')).to_have_count(2)
        page.get_by_text("Is it Friday yet?").click()
        delete.click()
        page.get_by_role("button", name="Really delete 1?").click()
        expect(lines).to_have_count(5)
        page.locator(".chips button", has_text="delivered").click()
        expect(lines).to_have_count(1)
        assert visitor.complaints == []
        assert visitor.strangers == []
        if shots:
            for name, width in (("dark", 1400), ("phone", 420)):
                with visit(browser, server.url, dark=True, width=width) as other:
                    there = other.go(place="queue")
                    there.locator(".queue tbody tr").nth(1).click()
                    expect(there.locator(".details pre").first).to_be_visible()
                    there.wait_for_timeout(500)
                    there.screenshot(path=f"{shots}/{name}.png")
