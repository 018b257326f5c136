"""The coach's place in a real Chromium: a chat through an outage and out of it again."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import MARKS, served, visit
from playwright.sync_api import expect

pytestmark = MARKS


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    hasty = {"REQUEST__LATE_ANSWER_WINDOW_S": "1", "QUEUE__FLUSH_JITTER_S": "0.2", "BREAKER__OPEN_S": "1"}
    with served(tmp_path_factory.mktemp("coach"), **{f"HUSTLE_{name}": hasty[name] for name in hasty}) as running:
        yield running
        # That a page was left in the middle of a message is the web server's complaint, not ours.
        assert not [line for line in running.output if "/hustle_sim/" in line], running.output


class Replies(BaseHTTPRequestHandler):
    """A backend that answers what the test wants."""

    text = ""

    def do_GET(self):
        self.answer({"status": "ok", "version": "1"})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"reply": self.text})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def stranger():
    """The URL of a backend that answers with ``Replies.text``."""
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    thread = threading.Thread(target=backend.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{backend.server_address[1]}"
    backend.shutdown()
    backend.server_close()
    thread.join()


def at_the_coach(visitor, **arguments):
    page = visitor.go(place="coach", **arguments)
    expect(box(page)).to_be_enabled()
    return page


def box(page):
    return page.get_by_placeholder("Write to the coach")


def say(page, text):
    box(page).fill(text)
    box(page).press("Enter")
    expect(page.locator(".pair", has_text=text)).to_have_count(1)
    # The field empties itself when the server has the message, and with it what is typed before that.
    expect(box(page)).to_have_value("")
    return page.locator(".pair", has_text=text)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def mend(page):
    button(page, "Mend it").click()
    expect(page.locator(".practice")).to_contain_text("It is well.")
    expect(page.locator(".indicator")).to_have_attribute("data-status", "online")


def test_a_chat_through_an_outage_and_out_of_it_again(visitor):
    page = at_the_coach(visitor)
    expect(page.locator(".log")).to_contain_text("Write to the coach, or try one")
    first = say(page, "Is anybody there?")
    expect(first).to_have_attribute("data-source", "backend")
    expect(first.locator(".words")).to_have_text(re.compile("The coach's answer, after .*s"))
    expect(page.locator(".indicator .word")).to_have_text("Online")

    page.get_by_role("button", name="Break the backend and send a message").click()
    waiting = page.locator(".pair").nth(1)
    expect(waiting).to_have_attribute("data-source", "fallback")
    expect(waiting.locator(".words")).to_have_text("Offline answer · will be sent when the coach is back")
    expect(waiting.locator(".answer")).to_contain_text("Your message is saved")
    expect(page.locator(".indicator .word")).to_have_text("Offline")
    key = waiting.get_attribute("data-key")
    second = say(page, "And another one while it is down")
    expect(second).to_have_attribute("data-state", "ready")

    page.reload()
    expect(page.locator(".pair")).to_have_count(3)
    expect(page.locator(".pair").nth(1).locator(".words")).to_contain_text("will be sent")

    page.get_by_role("button", name="Mend the backend and watch the answer come").click()
    for number in (1, 2):
        pair = page.locator(".pair").nth(number)
        expect(pair).to_have_attribute("data-source", "late")
        expect(pair.locator(".words")).to_have_text(re.compile("The coach's answer, late: after"))
        expect(pair.locator(".answer")).not_to_contain_text("saved")
    assert page.locator(".pair").nth(1).get_attribute("data-key") == key
    expect(page.locator(".heard")).to_contain_text("The coach's answer, late")
    expect(page.locator(".pair")).to_have_count(3)
    expect(page.locator(".indicator .word")).to_have_text("Online")


def test_waiting_shows_the_time_left_and_can_be_called_off(visitor):
    page = at_the_coach(visitor)
    button(page, "Hang").click()
    expect(page.locator(".practice")).to_contain_text("It is broken: Hang")
    box(page).fill("first line")
    box(page).press("Shift+Enter")
    box(page).press_sequentially("second line")
    box(page).press("Enter")
    expect(page.locator(".mine")).to_have_text("first line\nsecond line")
    expect(box(page)).to_have_value("")
    expect(box(page)).to_be_focused()
    waits = page.locator('.pair[data-state="waiting"]')
    expect(waits.locator(".dots")).to_be_visible()
    expect(waits.locator(".left")).to_have_text(re.compile(r"· some answer within [1-8] s"))
    button(page, "Cancel: first line second line").click()
    withdrawn = page.locator('.pair[data-state="withdrawn"]')
    expect(withdrawn.locator(".words")).to_have_text("You called it off before it was answered")

    # Several in a row: each has its own answer, within the deadline.
    for text in ("one of three", "two of three", "three of three"):
        say(page, text)
    expect(page.locator('.pair[data-source="fallback"]')).to_have_count(3)
    called_off = page.locator(".pair", has_text="two of three")
    called_off.get_by_role("button", name="Cancel").click()
    expect(called_off).to_have_attribute("data-state", "cancelled")
    mend(page)
    for text in ("one of three", "three of three"):
        expect(page.locator(".pair", has_text=text)).to_have_attribute("data-source", "late")
    expect(called_off).to_have_attribute("data-state", "cancelled")
    called_off.get_by_role("button", name="Send again").click()
    expect(called_off).to_have_attribute("data-source", "late")
    withdrawn.get_by_role("button", name="Send again").click()
    expect(page.locator(".pair").first).to_have_attribute("data-source", "backend")
    assert page.locator(".pair").count() == 4


EVIL = """
<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"><svg onload="window.hacked = 3"></svg>
[press me](javascript:window.hacked=4) <a href="javascript:window.hacked=5">here</a> ![seen](https://elsewhere.example/x.png)
<style>* { display: none !important }</style><iframe src="https://elsewhere.example"></iframe>

**bold** and `code < 1` and [a link](https://elsewhere.example) \u202eturned\u202c \x00\x1b[2J

שלום עולם
"""


def test_what_a_stranger_answers_is_only_text(server, browser, stranger):
    with visit(browser, server.url) as visitor:
        page = visitor.page
        page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog: {dialog.message}"))
        Replies.text = EVIL
        at_the_coach(visitor, url=stranger)
        expect(page.get_by_label("Backend URL")).to_have_value(stranger)
        expect(page.locator(".practice")).to_be_hidden()
        pair = say(page, "<img src=x onerror='window.hacked = 6'>")
        expect(pair).to_have_attribute("data-source", "backend")
        answer = pair.locator(".answer")
        expect(answer).to_contain_text("<script>window.hacked = 1</script>")
        expect(answer.locator("strong")).to_have_text("bold")
        expect(answer.locator("code")).to_have_text("code < 1")
        assert pair.locator("script, img, svg, iframe, style").count() == 0
        links = answer.locator("a")
        assert {links.nth(at).get_attribute("href") for at in range(links.count())} == {
            "https://elsewhere.example", "https://elsewhere.example/x.png",
        }  # fmt: skip
        assert "\u202e" not in answer.inner_text()

        Replies.text = "wide" * 30_000
        pair = say(page, "more")
        expect(pair.locator(".answer")).to_contain_text("100,000 more characters are not shown")
        log = page.locator(".log")
        assert log.evaluate("log => log.scrollWidth <= log.clientWidth")
        Replies.text = "plain"
        expect(say(page, "enough").locator(".answer")).to_have_text("plain")
        assert page.evaluate("window.hacked === undefined")
        assert visitor.complaints == []
        assert visitor.strangers == []


def test_two_visitors_see_nothing_of_each_other(server, browser):
    with visit(browser, server.url) as one, visit(browser, server.url) as two:
        mine, yours = at_the_coach(one), at_the_coach(two)
        button(mine, "Refuse connections").click()
        expect(yours.locator(".practice")).to_contain_text("It is broken: Refuse connections")
        say(mine, "a secret of the first")
        say(yours, "a secret of the second")
        for page in (mine, yours):
            expect(page.locator('.pair[data-state="ready"]')).to_have_count(1)
        mend(yours)
        for page, other in ((mine, "second"), (yours, "first")):
            expect(page.locator('.pair[data-source="late"]')).to_have_count(1)
            assert f"of the {other}" not in page.locator(".log").inner_text()
        # A second page of the same browser is the same person.
        again = one.context.new_page()
        again.goto(mine.url)
        expect(again.locator('.pair[data-source="late"]')).to_contain_text("a secret of the first")
        assert one.complaints == two.complaints == []


def test_by_keyboard_alone_and_on_a_phone(server, browser):
    with visit(browser, server.url, width=390, height=844, dark=True) as visitor:
        page = at_the_coach(visitor)
        box(page).focus()
        page.keyboard.type("Hello from a phone")
        page.keyboard.press("Enter")
        expect(page.locator('.pair[data-source="backend"]')).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator('.pair[data-source="fallback"]')).to_have_count(1)
        page.locator(".log").focus()
        page.keyboard.press("Tab")
        focused = (
            "document.activeElement && (function deepest(e) { return e.shadowRoot && e.shadowRoot.activeElement ? "
        )
        focused += "deepest(e.shadowRoot.activeElement) : e })(document.activeElement).textContent"
        assert page.evaluate(focused) == "Cancel"
        page.keyboard.press("Enter")
        expect(page.locator('.pair[data-state="cancelled"]')).to_have_count(1)
        assert page.evaluate(focused) == "Send again"
        button(page, "Mend it").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".practice")).to_contain_text("It is well.")
        assert visitor.complaints == []


def test_a_backend_that_can_not_be_named_is_one_sentence(visitor, stranger):
    page = at_the_coach(visitor)
    say(page, "Before the change").is_visible()
    page.get_by_label("Backend URL").fill("nonsense")
    button(page, "Talk to it").click()
    expect(page.get_by_role("alert")).to_contain_text("is no backend URL")
    expect(page.locator(".pair")).to_have_count(1)
    Replies.text = "Another one"
    page.get_by_label("Backend URL").fill(stranger)
    page.get_by_label("Backend URL").press("Enter")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".pair")).to_have_count(0)
    expect(page).to_have_url(re.compile("place=coach&url=http"))
    expect(say(page, "Who is it?").locator(".answer")).to_have_text("Another one")
    page.get_by_label("Backend URL").fill("")
    button(page, "Talk to it").click()
    expect(page.locator(".pair", has_text="Before the change")).to_have_count(1)
