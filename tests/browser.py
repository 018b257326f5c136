"""A real Chromium on a real server, for tests that look at what a visitor sees."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect, sync_playwright

ROOT = Path(__file__).parent.parent
WAIT_MS = 120_000
"""Patience for a slow machine with two cores: a wait ends as soon as what it waits for is there."""

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_HOME = ("localhost", "127.0.0.1")
# What Chromium says about its own software renderer, and about our own looking at canvases, is not the page's.
_NOT_OURS = ("GL Driver Message", "WebGL", "swiftshader", "willReadFrequently")


def chromium() -> str | None:
    """The system's Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


MARKS = [
    pytest.mark.browser,
    pytest.mark.real,
    pytest.mark.skipif(chromium() is None and not os.environ.get("CI"), reason="no Chromium is installed"),
]
"""What every file of tests in a browser has as its ``pytestmark``."""

expect.set_options(timeout=WAIT_MS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """``hustle-sim serve`` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())

    def stop(self) -> int:
        """End it as Ctrl-C does; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(10)
        return code


@contextmanager
def served(folder: Path, *options: str, port: int | None = None, **environment: str) -> Iterator[Server]:
    """A dashboard on a free port, from ``folder``, with only these variables of ours in its environment."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("HUSTLE_")}
    port = free_port() if port is None else port
    process = subprocess.Popen(
        [sys.executable, "-c", "from hustle_sim.cli import main; main()", "serve", "--port", str(port), *options],
        cwd=folder,
        env={
            **surroundings,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(folder / "data"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    server = Server(process, f"http://localhost:{port}")
    server.output.append(first.rstrip())
    try:
        assert f":{port}" in first, first + "\n".join(server.output)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


class Visitor:
    """A page, and all that it said and asked for."""

    def __init__(self, browser: Browser, url: str, width: int, height: int, dark: bool) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)
        self.context.route("**/*", self._let_through)
        self.page.on("websocket", lambda socket: self._note(socket.url))
        self._url = url
        self._dark = dark

    def go(self, **arguments: str) -> Page:
        """Open the dashboard at an address."""
        query = {**arguments, **({"theme": "dark"} if self._dark else {})}
        self.page.goto(self._url + "/?" + "&".join(f"{name}={value}" for name, value in query.items()))
        return self.page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in _NOT_OURS):
            self.complaints.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure and "ERR_ABORTED" not in request.failure:
            self.complaints.append(f"failed: {request.url} {request.failure}")

    def _note(self, url: str) -> bool:
        parts = urlparse(url)
        at_home = parts.scheme in ("data", "blob", "about") or parts.hostname in _HOME
        if not at_home:
            self.strangers.append(url)
        return at_home

    def _let_through(self, route: Route, request: Request) -> None:
        if self._note(request.url):
            route.continue_()
        else:
            route.abort()


@contextmanager
def browsers() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser, url: str, *, width: int = 1400, height: int = 1000, dark: bool = False
) -> Iterator[Visitor]:
    visitor = Visitor(browser, url, width, height, dark)
    try:
        yield visitor
    finally:
        visitor.context.close()


DRAWN = """
(element) => {
  const found = []
  const look = (node) => {
    if (node.shadowRoot) { look(node.shadowRoot) }
    for (const child of node.children || []) {
      if (child.tagName === "CANVAS" && child.width > 50) { found.push(child) }
      look(child)
    }
  }
  look(element)
  return found.some((canvas) => {
    const pixels = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data
    if (!pixels) { return false }
    const seen = new Set()
    for (let i = 0; i < pixels.length; i += 4) {
      if (pixels[i + 3] > 0) { seen.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2]) }
      if (seen.size > 8) { return true }
    }
    return false
  })
}
"""
"""Whether there is a canvas inside an element on which more than a few colours are drawn."""


def drawn(page: Page, selector: str) -> None:
    """Wait until something is drawn inside the element."""
    element = page.locator(selector)
    expect(element).to_be_visible()
    page.wait_for_function(DRAWN, arg=element.element_handle(), timeout=WAIT_MS)


def unfolded(page: Page) -> None:
    """Have the controls shown: a narrow screen has them under a heading."""
    folded = page.locator(".fold-controls button[aria-expanded=false]:visible")
    if folded.count():
        folded.first.click()
        expect(folded).to_have_count(0)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def card(page: Page, name: str) -> Locator:
    """The card of a metric."""
    return page.locator(f'.card[data-metric="{name}"]')
