"""How fast the Simulate place is, in a real Chromium on a real server: ``python -m benchmarks.dashboard``.

Needs Chromium and playwright. Measured from the input event to the frame on which the new figures stand: the story
has its new data, and the browser has painted twice since. Parts can be named: ``paint``, ``slider``,
``large``, ``crowd``; ``--quick`` measures a few of each.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

LARGE = """
name = "large"
duration_s = "30d"
[backend]
capacity = 60
[clients]
count = 2
messages_per_hour = 66
[[outages]]
mode = "refuse"
at_s = "10d"
lasts_s = "77m"
"""
"""About 100,000 attempts in a run."""

_WAIT_MS = 180_000
_ROOT = Path(__file__).parent.parent

# Move one slider, and wait until the figures are of a run that was asked for after the move, and painted: of its
# beginning, and of all of it.
_MOVE = """
async ([field, at]) => {
  const find = (node, selector) => {
    if (node.matches?.(selector)) { return node }
    for (const child of [...(node.shadowRoot?.children ?? []), ...(node.children ?? [])]) {
      const found = find(child, selector)
      if (found) { return found }
    }
  }
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  const slider = find(document.body, `.row[data-field="${field}"] input[type=range]`)
  const home = find(document.body, "[data-shown]")
  const headline = find(document.body, ".headline")
  const stamp = () => home.dataset.shown
  const before = stamp()
  let beginning = NaN
  const began = performance.now()
  slider.value = at
  slider.dispatchEvent(new Event("input"))
  slider.dispatchEvent(new Event("change"))
  while (stamp() === before) {
    if (performance.now() - began > 120000) { throw new Error("no new figures within two minutes") }
    if (Number.isNaN(beginning) && headline.shadowRoot.textContent.includes("So far")) {
      await painted()
      beginning = performance.now() - began
    }
    await new Promise((done) => setTimeout(done, 4))
  }
  await painted()
  return [performance.now() - began, beginning]
}
"""


@contextmanager
def served() -> Iterator[str]:
    """A dashboard in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", "from hustle_sim.cli import main; main()", "serve"],
            cwd=folder, stdout=subprocess.PIPE, text=True, env={**_environment(), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http"))
        finally:
            process.terminate()
            process.wait(30)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT)}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, url: str) -> Page:
    """A visitor's page with its first results, and the controls of the health probes open."""
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(_WAIT_MS)
    page.goto(url)
    page.locator('.card[data-metric="lost"] .value').wait_for()
    page.get_by_role("button", name="Health probes").click()
    return page


def moved(page: Page, times: int, offset: int = 0) -> list[float]:
    """Milliseconds from each of some moves of a slider to the figures; no two moves ask for the same policy."""
    return [whole for whole, _ in moved_in_parts(page, times, offset)]


def moved_in_parts(page: Page, times: int, offset: int = 0) -> list[tuple[float, float]]:
    """The same, and milliseconds to the figures of the run's beginning (NaN where the whole came first)."""
    return [tuple(page.evaluate(_MOVE, ["probe.confirm_s", 3 + offset + turn])) for turn in range(times)]


def first_paint(browser: Browser, url: str, times: int) -> tuple[list[float], list[float]]:
    """Milliseconds from an address to a finished run, and to the figures of a first screen, for new visitors."""
    results, figures = [], []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(_WAIT_MS)
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        for found, there in (
            (results, page.locator('.card[data-metric="lost"] .value')),
            (figures, page.locator(".figure-latency canvas").first),
        ):
            there.wait_for(state="attached")
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found.append(1000 * (time.perf_counter() - began))
        context.close()
    return results, figures


_TICKING = """
([field, seconds, first]) => {
  const find = (node, selector) => {
    if (node.matches?.(selector)) { return node }
    for (const child of [...(node.shadowRoot?.children ?? []), ...(node.children ?? [])]) {
      const found = find(child, selector)
      if (found) { return found }
    }
  }
  const slider = find(document.body, `.row[data-field="${field}"] input[type=range]`)
  const home = find(document.body, "[data-shown]")
  const head = () => home.dataset.shown
  window.took = []
  let moved = 0
  let seen = head()
  let turn = 0
  const watch = setInterval(() => {
    const now = head()
    if (now !== seen) { seen = now; if (moved) { window.took.push(performance.now() - moved); moved = 0 } }
  }, 10)
  const move = setInterval(() => {
    if (!moved) { moved = performance.now() }
    slider.value = 3 + (first + turn++) % 34
    slider.dispatchEvent(new Event("input"))
    slider.dispatchEvent(new Event("change"))
  }, 1000)
  setTimeout(() => { clearInterval(watch); clearInterval(move); window.over = true }, 1000 * seconds)
}
"""


def crowd(browser: Browser, url: str, visitors: int, seconds: float) -> tuple[list[float], list[str]]:
    """Updates of many visitors who move a slider every second: milliseconds of each, and what went wrong.

    An update is counted from the first move that it answers.
    """
    pages = []
    errors: list[str] = []
    for number in range(visitors):
        page = opened(browser, f"{url}/?seed={100 + number}")
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
    for number, page in enumerate(pages):
        page.evaluate(_TICKING, ["probe.confirm_s", seconds, number])
    found: list[float] = []
    for page in pages:
        page.wait_for_function("window.over")
        found += page.evaluate("window.took")
        errors += page.get_by_role("alert").all_inner_texts()
        page.context.close()
    return found, errors


def p95(values: list[float]) -> float:
    """The value that one in twenty exceeds."""
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def told(name: str, values: list[float]) -> Iterator[tuple[str, float]]:
    """Median and p95 in milliseconds."""
    yield f"{name}, median ms", statistics.median(values)
    yield f"{name}, p95 ms", p95(values)


def paint_part(browser: Browser, url: str, quick: bool) -> Iterator[tuple[str, float]]:
    """First paint of a warm server; the target is 2 s. The figures follow what is said of the run."""
    results, figures = first_paint(browser, url, 3 if quick else 10)
    yield from told("first paint of a warm server", results)
    yield from told("the figures of its first screen", figures)


def slider_part(browser: Browser, url: str, quick: bool) -> Iterator[tuple[str, float]]:
    """Slider to figures for the default scenario; the target is a median of 400 ms."""
    page = opened(browser, url)
    moved(page, 2, offset=30)
    yield from told("slider to figures, default scenario", moved(page, 5 if quick else 25))
    page.context.close()


def large_part(browser: Browser, url: str, quick: bool) -> Iterator[tuple[str, float]]:
    """Slider to figures at 100,000 attempts; the target is 700 ms.

    The simulation alone takes ten times as long: what can be there by then is the figures of its beginning.
    """
    page = opened(browser, url)
    large: dict[str, Any] = {"name": "large.toml", "mimeType": "text/plain", "buffer": LARGE.encode()}
    page.locator('input[type="file"]').set_input_files(large)
    page.locator(".headline h2", has_text="large").wait_for()
    few = 2 if quick else 5
    anew = moved_in_parts(page, few, offset=10)
    yield from told("slider to figures, 100,000 attempts, beginning", [beginning for _, beginning in anew])
    yield from told("slider to figures, 100,000 attempts, simulated anew", [whole for whole, _ in anew])
    # To and fro between the last two: these runs are known, what is left is to send and draw them.
    known = [took for turn in range(2 * few) for took in moved(page, 1, offset=8 + few + turn % 2)]
    yield from told("slider to figures, 100,000 attempts, run known", known)
    page.context.close()


def crowd_part(browser: Browser, url: str, quick: bool) -> Iterator[tuple[str, float]]:
    """Twenty visitors who each move a slider every second for a minute."""
    visitors, seconds = (3, 5.0) if quick else (20, 60.0)
    updates, errors = crowd(browser, url, visitors, seconds)
    yield from told(f"{visitors} visitors, a move a second", updates or [math.nan])
    yield f"{visitors} visitors, updates a second in all", len(updates) / seconds
    yield f"{visitors} visitors, errors", float(len(errors))
    for error in errors[:5]:
        print(error, file=sys.stderr)


PARTS = {"paint": paint_part, "slider": slider_part, "large": large_part, "crowd": crowd_part}


def measure(parts: Iterable[str] = PARTS, quick: bool = False) -> Iterator[tuple[str, float]]:
    """Each figure with its name, as soon as it is known."""
    with served() as url, chromium() as browser:
        opened(browser, url).context.close()  # warm
        for part in parts:
            yield from PARTS[part](browser, url, quick)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few of each, to see that it works")
    asked = parser.parse_args()
    for name, value in measure(asked.parts or PARTS, asked.quick):
        print(f"{name:62} {value:>10,.1f}", flush=True)


if __name__ == "__main__":
    main()
