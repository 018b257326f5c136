"""Pictures of every place, in both themes and at three widths: ``python tests/pictures.py``, or ``make pictures``.

``--docs`` makes the ones that the README shows, and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from browser import ROOT, WAIT_MS, browsers, served, visit
from playwright.sync_api import Browser, Page, expect
from scenes import SCENES

WIDTHS = {1920: 1200, 1100: 1000, 390: 844}
"""The widths, and the height of the window at each."""

DOCS = ("simulate", "live")
"""The places of which the README has a picture."""


def taken(browser: Browser, url: str, folder: Path, places: list[str]) -> list[Path]:
    """Visit each place once in each theme; the widths are those of one visit."""
    made = []
    for place in places:
        for dark in (False, True):
            with visit(browser, url, width=1920, height=WIDTHS[1920], dark=dark) as visitor:
                page = visitor.go(place=place)
                SCENES[place](page)
                for width, height in WIDTHS.items():
                    made.append(folder / f"{place}-{'dark' if dark else 'light'}-{width}.png")
                    picture(page, made[-1], width, height)
                for complaint in visitor.complaints:
                    print(f"{place}: {complaint}")
    return made


def picture(page: Page, path: Path, width: int, height: int) -> None:
    """All of the page at a width: it scrolls inside, so the window is made as high as what it holds."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(1200)
    whole = page.evaluate(_HEIGHT)
    page.set_viewport_size({"width": width, "height": min(max(height, whole), 6000)})
    page.wait_for_timeout(1200)
    page.screenshot(path=path)
    page.set_viewport_size({"width": width, "height": height})


_HEIGHT = """
() => {
  const find = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.classList.contains("main-content")) { return element }
      const inside = element.shadowRoot && find(element.shadowRoot)
      if (inside) { return inside }
    }
    return null
  }
  const main = find(document)
  return main ? main.scrollHeight + 80 : document.documentElement.scrollHeight
}
"""


def for_the_readme(browser: Browser, url: str) -> list[Path]:
    """The pictures in docs/: what a first look shows, light, at a width that a README has."""
    made = []
    for place in DOCS:
        with visit(browser, url, width=1400, height=1250) as visitor:
            page = visitor.go(place=place)
            SCENES[place](page)
            page.wait_for_timeout(1500 if place != "live" else 60_000)  # a watched target needs time to have a story
            made.append(ROOT / "docs" / f"{place}.png")
            page.screenshot(path=made[-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of every place.")
    parser.add_argument("--docs", action="store_true", help="the pictures of the README, into docs/")
    parser.add_argument("--into", type=Path, default=Path("pictures"), help="a folder (default: pictures)")
    parser.add_argument("places", nargs="*", help=f"of {', '.join(SCENES)} (default: all)")
    options = parser.parse_args()
    unknown = set(options.places) - set(SCENES)
    if unknown:
        parser.error(f"there is no place {', '.join(sorted(unknown))}: choose from {', '.join(SCENES)}")
    expect.set_options(timeout=WAIT_MS)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "queue.sqlite3")
        with served(Path(folder), HUSTLE_STORE=store) as server, browsers() as browser:
            if options.docs:
                made = for_the_readme(browser, server.url)
            else:
                options.into.mkdir(parents=True, exist_ok=True)
                made = taken(browser, server.url, options.into, options.places or list(SCENES))
    for path in made:
        print(path)


if __name__ == "__main__":
    main()
