"""The Live place in a real Chromium: targets watched, broken, walked away from and come back to."""

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from browser import MARKS, drawn, press, served, visit
from playwright.sync_api import expect

from hustle_sim.analysis import Run
from hustle_sim.dashboard.charts import SHOWN
from hustle_sim.simulation import Scenario

pytestmark = MARKS

NOWHERE = "http://127.0.0.1:9"
LONG_MS = 120_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served"), XDG_DATA_HOME=str(tmp_path_factory.mktemp("data"))) as running:
        yield running


@pytest.fixture(scope="module")
def long_visitor(browser, server):
    """Somebody who watches a stream all the while that the other tests take: see the last test of this file."""
    with visit(browser, server.url) as someone:
        page = someone.go(place="live", watch=f"practice@1s+{NOWHERE}@1s")
        expect(page.locator("button.indicator").first).to_have_attribute("data-status", re.compile("online|offline"))
        yield someone


@pytest.fixture
def visitor(browser, server, long_visitor):
    """A visitor who, at the end, has heard no complaint and was sent to no stranger."""
    with visit(browser, server.url) as someone:
        yield someone
        assert someone.strangers == []
        assert someone.complaints == []


def watch(page, url, every):
    field = page.get_by_label("Backend URL")
    field.fill(url)
    field.press("Tab")
    page.get_by_role("combobox", name="Probe every").click()
    page.get_by_role("option", name=every, exact=True).click()
    press(page, "Watch")


def target(page, name):
    return page.locator(".target").filter(has=page.locator(".name", has_text=name))


def indicator(page, name):
    return target(page, name).locator("button.indicator")


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def test_at_first_nothing_is_watched_and_a_click_or_a_key_on_the_indicator_probes_now(visitor):
    page = visitor.go(place="live")
    expect(page.get_by_role("note").first).to_contain_text("Nothing is watched yet.")
    watch(page, "", "5 min")
    probes, button = page.locator(".probes p"), indicator(page, "Practice backend")
    expect(probes).to_contain_text("1 probe ·")
    expect(button).to_have_attribute("aria-disabled", "false")
    button.click()
    expect(probes).to_contain_text("2 probes ·")
    expect(button).to_have_attribute("aria-busy", "false")
    expect(button).to_have_attribute("aria-disabled", "false")
    button.focus()
    page.keyboard.press("Enter")
    expect(probes).to_contain_text("3 probes ·")
    press(page, "Remove Practice backend")
    expect(page.locator(".target")).to_have_count(0)
    expect(page.get_by_role("note").first).to_contain_text("Nothing is watched yet.")


CHANGES = """
(element) => {
  window.heard = []
  new MutationObserver(() => window.heard.push(element.textContent))
    .observe(element, {childList: true, characterData: true, subtree: true})
}
"""


def test_an_outage_of_the_practice_backend_is_seen_told_once_and_kept_for_later(visitor, tmp_path):
    page = visitor.go(place="live", watch="practice@5s")
    button = indicator(page, "Practice backend")
    expect(button).to_have_attribute("data-status", "online")
    status = button.get_by_role("status")
    expect(status).to_have_text("Practice backend: Online")
    drawn(page, ".live-latency")
    drawn(page, ".live-band")
    status.evaluate(CHANGES)
    expect(page.get_by_role("button", name="Incidents as a scenario")).to_be_disabled()

    press(page, "Answer 503")
    expect(page.locator(".practice")).to_contain_text("It is broken: Answer 503; every request gets a 503.")
    expect(button).to_have_attribute("data-status", "offline")
    expect(page.get_by_role("alert")).to_contain_text("does not answer (overloaded")
    expect(page.locator('.tile[data-fact="incident"]')).to_contain_text("offline for")
    press(page, "Mend it")
    expect(button).to_have_attribute("data-status", "online")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert page.evaluate("window.heard") == ["Practice backend: Offline", "Practice backend: Online"]

    tab(page, "Incidents")
    expect(page.locator(".incidents tbody tr")).to_have_count(1)
    expect(page.locator(".incidents tbody tr")).to_contain_text("3 failed in a row")
    expect(page.locator(".transitions tbody tr")).to_have_count(3)

    with page.expect_download() as download:
        press(page, "Download history (Parquet)")
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path / "run")
    run = Run.load(tmp_path / "run")
    assert list(run.transitions["current"]) == ["online", "offline", "online"]
    with page.expect_download() as download:
        press(page, "Incidents as a scenario")
    tables = tomllib.loads(Path(download.value.path()).read_text())
    (outage,) = Scenario.from_dict(tables).outages
    assert (outage.mode, outage.status) == ("error", 503)
    press(page, "Replay this in Simulate")
    expect(page.locator(".headline h2")).to_contain_text("recorded")
    expect(page).to_have_url(re.compile("place=simulate"))


@pytest.mark.parametrize("how", ["Refuse connections", "Hang", "Half an answer", "1 request a minute"])
def test_the_practice_backend_is_broken_in_this_way_and_mended(visitor, how):
    page = visitor.go(place="live", watch="practice@5s")
    button = indicator(page, "Practice backend")
    expect(button).to_have_attribute("data-status", "online")
    press(page, how)
    expect(button).to_have_attribute("data-status", "offline")
    press(page, "Mend it")
    expect(button).to_have_attribute("data-status", "online")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("htp:/nowhere", "htp:/nowhere"),
        (NOWHERE, "does not answer (connection refused"),
        ("http://me:secret@h", "HUSTLE_API_KEY"),
    ],
    ids=["malformed", "unreachable", "with a password"],
)
def test_a_url_that_cannot_be_watched_is_a_sentence(visitor, url, sentence):
    page = visitor.go(place="live")
    watch(page, url, "5 s")
    expect(page.get_by_role("alert")).to_contain_text(sentence)


def test_several_targets_survive_a_reload_with_what_was_seen_of_them(visitor):
    page = visitor.go(place="live")
    watch(page, "", "5 s")
    expect(indicator(page, "Practice backend")).to_have_attribute("data-status", "online")
    watch(page, NOWHERE, "1 s")
    expect(indicator(page, "127.0.0.1:9")).to_have_attribute("data-status", "offline")
    expect(page.locator(".live-details h2").first).to_have_text("127.0.0.1:9")
    expect(page).to_have_url(re.compile("watch=practice%405s"))
    watch(page, NOWHERE, "5 s")
    expect(page.get_by_role("alert").first).to_contain_text("is watched already")

    page.get_by_role("button", name="Details of Practice backend").click()
    expect(page.locator(".live-details h2").first).to_have_text("Practice backend")
    # The other one never answered.
    expect(page.locator(".probes p")).to_contain_text("median")
    page.get_by_role("textbox", name="Availability goal").fill("99.9")
    page.keyboard.press("Tab")
    expect(page.locator('.tile[data-fact="availability"]')).to_contain_text("goal 99.9 %")
    page.get_by_role("textbox", name="Availability goal").fill("100")
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert").first).to_contain_text("below 100")

    tab(page, "Incidents")
    expect(page).to_have_url(re.compile("tab=incidents"))
    changes = page.locator(".transitions tbody tr")
    expect(changes).not_to_have_count(0)
    page.reload()
    expect(page.locator(".target")).to_have_count(2)
    expect(page.locator(".live-details h2").first).to_have_text("Practice backend")
    expect(page.locator('.tile[data-fact="availability"]')).to_contain_text("goal 99.9 %")
    # The session went on: what was seen before is there at once, and "watching began" is not now.
    expect(changes.last).to_contain_text("checking")
    press(page, "Remove 127.0.0.1:9")
    expect(page.locator(".target")).to_have_count(1)
    expect(page).not_to_have_url(re.compile("127.0.0.1%3A9"))


def test_on_a_wall_there_is_nothing_but_the_state_of_things(browser, server, visitor):
    page = visitor.go(place="live", watch=f"practice@5s+{NOWHERE}@5s", wall="1")
    tiles = page.locator(".board .tile")
    expect(tiles).to_have_count(2)
    expect(tiles.nth(0).get_by_role("status")).to_have_text("Online")
    expect(tiles.nth(1).get_by_role("status")).to_have_text("Offline")
    width, height = 1400, 1000
    for x, y in ((5, 5), (width // 2, 20), (width - 30, height - 400)):
        assert page.evaluate(_COVERED, [x, y])
    assert tiles.nth(0).locator(".word").bounding_box()["height"] > 60
    page.keyboard.press("Escape")
    expect(page.locator(".board")).to_be_hidden()
    expect(indicator(page, "Practice backend")).to_be_visible()
    expect(page).not_to_have_url(re.compile("wall"))
    press(page, "Show on a wall")
    expect(tiles).to_have_count(2)
    expect(page).to_have_url(re.compile("wall=1"))
    # A bare address for the wall watches what is configured, or the practice backend.
    with visit(browser, server.url, width=390, height=844) as someone:
        phone = someone.go(place="live", wall="1")
        expect(phone.locator(".board .tile")).to_have_count(1)
        expect(phone.locator(".board").get_by_role("status")).to_have_text("Online")
        assert someone.complaints == []


_COVERED = """
([x, y]) => {
  let found = document.elementFromPoint(x, y)
  while (found?.shadowRoot) {
    const inner = found.shadowRoot.elementFromPoint(x, y)
    if (!inner || inner === found) { break }
    found = inner
  }
  return found?.closest(".board") !== null
}
"""


def test_the_whole_path_by_keyboard(visitor):
    page = visitor.go(place="live")
    expect(page.get_by_label("Backend URL")).to_be_visible()
    page.get_by_label("Backend URL").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Watch", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    button = indicator(page, "Practice backend")
    expect(button).to_have_attribute("data-status", "online")
    button.focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Details of Practice backend")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove Practice backend")).to_be_focused()
    page.get_by_role("tab", name="Latency").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".transitions")).to_be_visible()


def test_nothing_is_sent_to_a_place_that_nobody_sees(visitor):
    frames = []
    visitor.page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(len(data))))
    page = visitor.go(place="live", watch="practice@1s")
    expect(page.locator(".probes p")).to_contain_text("3 probes ·")
    assert frames
    page.get_by_role("link", name="Simulate").click()
    drawn(page, f".figure-{SHOWN[-1]}")
    settled(page, frames)
    seen = len(frames)
    page.wait_for_timeout(6000)
    assert len(frames) - seen <= 2
    page.get_by_role("link", name="Live").click()
    expect(page.locator(".probes p")).to_contain_text(re.compile(r"\d\d probes"))
    # So it is with a tab in the background.
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    settled(page, frames)
    seen = len(frames)
    page.wait_for_timeout(5000)
    assert len(frames) - seen <= 2


def settled(page, frames):
    """Wait until what was on its way has come: nothing for three seconds, within half a minute."""
    for _ in range(10):
        seen = len(frames)
        page.wait_for_timeout(3000)
        if len(frames) == seen:
            return
    raise AssertionError(f"the page hears more and more: {len(frames)} frames")


SIZES = """
() => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const sources = models.filter((model) => model.type === "ColumnDataSource")
  const longest = Math.max(...sources.map((one) => one.get_length() ?? 0))
  const count = (node) => {
    let number = 0
    if (node.shadowRoot) { number += count(node.shadowRoot) }
    for (const child of node.children || []) { number += 1 + count(child) }
    return number
  }
  return {models: models.length, elements: count(document.body), longest}
}
"""


def heap(page):
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    used = devtools.send("Runtime.getHeapUsage")["usedSize"]
    devtools.detach()
    return used


def test_a_stream_of_two_minutes_goes_on_without_growing_but_by_its_points(long_visitor):
    page = long_visitor.page
    # The last part of the page comes with the end of the first minute.
    expect(page.locator(".live-history")).to_be_visible()
    middle = page.evaluate(SIZES)
    used = heap(page)
    page.wait_for_timeout(max(10_000, LONG_MS - page.evaluate("performance.now()")))
    end = page.evaluate(SIZES)
    assert end["longest"] > middle["longest"]
    assert end["longest"] >= 60
    assert end["models"] == middle["models"]
    assert end["elements"] <= middle["elements"] + 30
    assert heap(page) < used + 8_000_000
    expect(page.locator(".live-history")).to_be_visible()
    drawn(page, ".live-history")
    assert long_visitor.complaints == []
    assert long_visitor.strangers == []
