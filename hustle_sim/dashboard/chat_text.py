"""Text from outside as HTML that is safe to show: Markdown without raw HTML, pictures or odd links.

A backend's answer is the text of a stranger. Pictures are left out since they would ask another host for something,
and tell it who reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

LONGEST = 20_000
"""Characters of an answer that are shown."""

_SCHEMES = ("http://", "https://", "mailto:")
# They turn the direction of the text around them, or can't be seen: nothing that an answer needs.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\u2028\u2029\ufeff")


class _Renderer(RendererHTML):
    """Links open elsewhere and know nothing of us; a heading is a bold line, since the page has its own headings."""

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("target", "_blank")
        tokens[idx].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, idx, options, env)

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<p class="heading">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</p>\n"


def plain(text: str) -> str:
    """Text without characters that steer or can't be stored; line breaks and tabs stay, the others become U+FFFD."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        letter
        if letter in "\n\t" or not (ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000)
        else "\N{REPLACEMENT CHARACTER}"
        for letter in text
        if letter not in _TURNING
    )


@lru_cache(maxsize=512)
def answer_html(text: str) -> str:
    """An answer as HTML: Markdown where it is, and every character of ``<`` and ``&`` as itself.

    What exceeds ``LONGEST`` characters is cut, and said so.
    """
    shown = plain(text[:LONGEST])
    cut = len(text) - LONGEST
    more = f'<p class="cut">… {cut:,} more characters are not shown.</p>' if cut > 0 else ""
    try:
        html: str = _markdown().render(shown)
    except Exception:  # a parser's fault over a stranger's text must not cost the answer
        html = f"<p>{escape(shown)}</p>"
    return html + more


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    options: dict[str, Any] = {"html": False, "breaks": True, "linkify": False, "typographer": False}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    markdown.disable(["image", "html_block", "html_inline"])
    markdown.validateLink = lambda url: url.strip().lower().startswith(_SCHEMES)  # type: ignore[method-assign]
    return markdown
