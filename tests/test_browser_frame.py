"""The frame of the dashboard in a real Chromium: addresses, back and forward, the keyboard."""

import os
import re
import signal
import subprocess
import sys

from browser import MARKS, ROOT, free_port, served, visit
from playwright.sync_api import expect
from proxy import proxied

pytestmark = MARKS


def here(page, place):
    expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text(place)
    expect(page).to_have_title(f"{place} · hustle_sim")
    expect(page).to_have_url(re.compile(rf"\?place={place.lower()}"))


def test_back_and_forward_go_between_the_places(visitor):
    page = visitor.go(place="live")
    here(page, "Live")
    expect(page.get_by_label("Backend URL")).to_be_visible()
    page.get_by_role("link", name="Simulate").click()
    here(page, "Simulate")
    expect(page.locator('.card[data-metric="lost"]')).to_be_visible()
    page.go_back()
    here(page, "Live")
    expect(page.get_by_label("Backend URL")).to_be_visible()
    page.go_forward()
    here(page, "Simulate")
    expect(page.get_by_label("Backend URL")).to_be_hidden()


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
    skip = page.get_by_role("button", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Backend URL")).to_be_focused()


def test_the_theme_is_remembered_and_a_dark_page_is_dark_from_the_start(browser, server):
    with visit(browser, server.url) as someone:
        page = someone.go(place="live")
        here(page, "Live")
        page.get_by_role("button", name="Toggle theme").click()
        expect(page.locator(".mui-dark").first).to_be_attached()
        page.wait_for_function("document.cookie.includes('hustle_theme=dark')")
        page.goto(server.url)
        here(page, "Simulate")
        expect(page.locator(".mui-dark").first).to_be_attached()
        page.get_by_role("button", name="Toggle theme").click()
        page.wait_for_function("document.cookie.includes('hustle_theme=default')")
        page.goto(server.url + "/?place=live&theme=dark")
        expect(page.locator(".mui-dark").first).to_be_attached()
        assert someone.complaints == []


def test_behind_a_proxy_under_a_path_with_a_password_everything_stays_under_the_path(browser, tmp_path):
    with (
        proxied("/hustle/") as proxy,
        served(
            tmp_path, "--prefix", "/hustle", "--behind-proxy", "--auth", "basic", "--allow-origin",
            f"localhost:{proxy.port}", HUSTLE_PASSWORD="open sesame",
        ) as behind,
        visit(browser, f"http://localhost:{proxy.port}/hustle") as someone,
    ):  # fmt: skip
        proxy.target = int(behind.url.rsplit(":", 1)[1])
        page = someone.go(place="live")
        expect(page).to_have_title("Log in · hustle_sim")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the password.")
        page.get_by_label("Password").fill("open sesame")
        page.get_by_role("button", name="Log in").click()
        here(page, "Live")
        page.get_by_role("button", name="Watch", exact=True).click()
        expect(page.locator("button.indicator")).to_have_attribute("data-status", "online")
        page.get_by_role("link", name="Simulate").click()
        here(page, "Simulate")
        expect(page.locator('.card[data-metric="lost"]')).to_be_visible()
        page.go_back()
        here(page, "Live")
        page.get_by_role("link", name="Log out").click()
        expect(page.get_by_role("heading")).to_have_text("Logged out")
        page.get_by_role("link", name="Log in again").click()
        expect(page.get_by_label("Password")).to_be_visible()
        assert someone.strangers == []
        # A wrong password is a 403, which Chromium mentions.
        assert [one for one in someone.complaints if "403" not in one] == []
        assert proxy.strays == []


def test_a_page_whose_server_is_gone_says_so_and_comes_back_with_it(browser, tmp_path):
    with served(tmp_path) as first, visit(browser, first.url) as someone:
        page = someone.go(place="live")
        here(page, "Live")
        first.stop()
        banner = page.locator("#hustle-lifeline")
        expect(banner).to_contain_text("The server is gone.")
        expect(page.locator(".bk-notifications")).to_have_count(0)
        with served(tmp_path, port=int(first.url.rsplit(":", 1)[1])):
            expect(banner).to_have_count(0)
            here(page, "Live")
            page.get_by_role("link", name="Simulate").click()
            here(page, "Simulate")


def test_panel_serve_serves_the_same_dashboard(browser, tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "panel", "serve", str(ROOT / "app.py"), "--port", str(port)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "running at" in line:
                break
        with visit(browser, f"http://localhost:{port}/app") as someone:
            someone.page.goto(f"http://localhost:{port}/app?place=live")
            here(someone.page, "Live")
            someone.page.get_by_role("link", name="Simulate").click()
            here(someone.page, "Simulate")
            assert someone.strangers == []
            assert someone.complaints == []
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
