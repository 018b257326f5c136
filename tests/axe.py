"""axe-core, as the package that ships it has it, run in a page of a real browser."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page


@cache
def _source() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, *, impacts: tuple[str, ...] = ("serious", "critical")) -> list[dict[str, Any]]:
    """What axe-core finds wrong with what the page shows now, of these impacts; it looks into shadow roots."""
    page.evaluate(_source())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [one for one in found["violations"] if one["impact"] in impacts]


def lasting(page: Page, patience_ms: int = 10_000) -> list[dict[str, Any]]:
    """The violations that stay: what fades in, or is being painted in another theme, is given time."""
    for _ in range(patience_ms // 1000):
        if not violations(page):
            return []
        page.wait_for_timeout(1000)
    return violations(page)


def told(found: list[dict[str, Any]]) -> str:
    """The violations as lines: the rule, and each element with what is the matter with it."""
    return "\n".join(
        f"{one['impact']} {one['id']}: {one['help']}\n"
        + "\n".join(f"    {node['html'][:300]}\n        {node['failureSummary']!r}" for node in one["nodes"])
        for one in found
    )
