"""Sentences in the page: what went wrong, what to try. Text of ours or of a backend is always escaped."""

# mypy: allow-subclassing-any

from __future__ import annotations

from html import escape
from typing import Any, Literal

import panel as pn

from hustle_sim.dashboard import styles

_GLYPHS = {"error": "✕", "info": "i", "success": "✓"}

_CSS = """
:host { width: 100%; font-family: var(--bokeh-base-font, sans-serif); }
.notice { margin-bottom: 12px; }
.notice { display: flex; gap: 12px; align-items: flex-start; padding: 11px 14px; border-radius: 10px; font-size: 14px;
          line-height: 1.45; border: 1px solid var(--mui-palette-hustle-line); border-left-width: 5px;
          background: var(--mui-palette-hustle-card); color: var(--mui-palette-text-primary); overflow-wrap: anywhere; }
.notice.error { border-left-color: var(--mui-palette-hustle-offline); }
.notice.info { border-left-color: var(--mui-palette-primary-main); }
.notice .glyph { flex: none; width: 20px; height: 20px; border-radius: 50%; display: grid; place-items: center;
                 margin-top: 1px; font-size: 12px; font-weight: 700; color: #fff;
                 background: var(--mui-palette-hustle-quiet); }
.notice.error .glyph { background: var(--mui-palette-hustle-offline); }
"""


def notice_html(sentence: str, kind: Literal["error", "info"] = "error") -> str:
    """A sentence as HTML; nothing for an empty one."""
    if not sentence:
        return ""
    text = sentence[:1].upper() + sentence[1:]
    if text[-1:] not in ".!?:)":
        text += "."
    role = "alert" if kind == "error" else "note"
    return (
        f'<div class="notice {kind}" role="{role}"><span class="glyph" aria-hidden="true">{_GLYPHS[kind]}</span>'
        f"<span>{escape(text)}</span></div>"
    )


class Notice(pn.viewable.Viewer):
    """One sentence, or nothing."""

    def __init__(self, kind: Literal["error", "info"] = "error", **params: Any) -> None:
        super().__init__(**params)
        self._kind: Literal["error", "info"] = kind
        # It is never hidden, only empty: a pane whose visibility changes before the browser has drawn it throws there,
        # and the rest of that message is lost (measured with panel 1.9).
        self._pane = pn.pane.HTML(
            "", sizing_mode="stretch_width", margin=0, stylesheets=[_CSS], css_classes=["notice-pane"]
        )

    def say(self, sentence: str) -> None:
        """Show ``sentence``; an empty one takes the notice away."""
        html = notice_html(sentence, self._kind)
        if self._pane.object != html:
            self._pane.object = html

    def __panel__(self) -> Any:
        return self._pane


def prose(html: str, **params: Any) -> pn.pane.HTML:
    """A piece of our own HTML in the page's type."""
    return pn.pane.HTML(html, sizing_mode="stretch_width", margin=0, stylesheets=[styles.TEXT], **params)
