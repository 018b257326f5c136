"""How it looks, once: theme, spacing, and the style sheets of our own components.

Colours that differ between light and dark are entries of the Material theme, which the page turns into CSS
variables (``--mui-palette-hustle-online``) and swaps in the browser when the theme is toggled.
"""

from __future__ import annotations

from typing import Any

from hustle_sim.analysis.palette import MODE, STATUS

_FONT = '"Roboto", "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'

MODE_KEYS = {mode: "mode" + "".join(part.capitalize() for part in mode.split("_")) for mode in MODE}
"""The names of the outages' colours in the theme, by mode: ``modeRateLimit``."""

_LIGHT = {
    **{status: look.light for status, look in STATUS.items()},
    **{f"{status}Text": look.text for status, look in STATUS.items()},
    **{MODE_KEYS[mode]: look.light for mode, look in MODE.items()},
    "degradedText": "#935A07",  # the palette's own is for white grounds only
    "better": "#127B5B", "worse": "#790B18", "line": "#DFE3EA",
    "text": "#1B2130", "quiet": "#5A6172", "faint": "#6A7183",
    "card": "#FFFFFF", "well": "#F4F6F9",
}  # fmt: skip
_DARK = {
    **{status: look.dark for status, look in STATUS.items()},
    **{MODE_KEYS[mode]: look.dark for mode, look in MODE.items()},
    "onlineText": "#5FD3BE", "degradedText": "#F1C426", "offlineText": "#FF8A93", "checkingText": "#AEB6F2",
    "better": "#5FD3BE", "worse": "#FF8A93", "line": "#333B4A",
    "text": "#F2F4F5", "quiet": "#A5ADBD", "faint": "#959DAE",
    "card": "#1C222E", "well": "#141922",
}  # fmt: skip


def _theme(mode: str, primary: str, contrast: str, own: dict[str, str]) -> dict[str, Any]:
    return {
        "palette": {
            "mode": mode,
            "primary": {"main": primary, "contrastText": contrast},
            "background": {"default": own["well"], "paper": own["card"]},
            "hustle": own,
            # Material's own grey for what can't be used now can't be read either.
            "text": {"primary": own["text"], "secondary": own["quiet"], "disabled": own["faint"]},
            # What Material draws the - and + of a number field with: its own grey is unreadable on dark.
            "default": {"dark": own["quiet"]},
        },
        "typography": {"fontFamily": _FONT},
        "shape": {"borderRadius": 8},
    }


THEME = {
    "light": _theme("light", "#2F4B9E", "#FFFFFF", _LIGHT),
    "dark": _theme("dark", "#9DB4F5", "#10151F", _DARK),
}
"""The Material theme, light and dark."""

PAGE_SX = {
    "& .MuiAppBar-root": {
        "backgroundColor": "#18233F",
        "backgroundImage": "none",
        "boxShadow": "none",
        "color": "#FFFFFF",
    },
    "& .MuiAppBar-root .title": {"fontSize": "1.2rem", "fontWeight": 600, "letterSpacing": ".01em"},
    "& main.main": {"backgroundColor": "var(--mui-palette-hustle-well)"},
    # It is drawn whether it is wanted or not.
    "& .MuiAppBar-root > .MuiLinearProgress-root": {"display": "none"},
}
"""Overrides for the page's own parts."""

NARROW = "max-width: 860px"
"""The media condition below which controls and results stand one above the other."""

PANEL = """
:host {
  background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
  border-radius: 10px; padding: 14px 16px; box-sizing: border-box; width: 100%; max-height: none !important;
}
"""
"""A quiet box around things that belong together."""

UNSEEN = ":host { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }"
"""For screen readers only."""

# Bokeh's own limit, all of the height that is there, cuts off boxes whose content grows in the browser.
BARE = ":host { width: 100%; box-sizing: border-box; max-height: none !important; }"

TEXT = """
:host { color: var(--mui-palette-text-primary); font-family: var(--bokeh-base-font, sans-serif); font-size: 14px; }
h2 { font-size: 15px; font-weight: 600; margin: 0; letter-spacing: .01em; }
h3 { font-size: 12px; font-weight: 600; margin: 0 0 6px; color: var(--mui-palette-hustle-quiet);
     text-transform: uppercase; letter-spacing: .06em; }
p { margin: 4px 0 0; line-height: 1.45; color: var(--mui-palette-hustle-quiet); font-size: 13px; }
i { font-style: normal; }
code { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: .92em; }
"""
"""Headings and sentences."""
