"""A backend's answer is the text of a stranger, and is shown as text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.dashboard.chat_text import LONGEST, answer_html, plain

ALLOWED = {
    "p": {"class"}, "br": set(), "strong": set(), "em": set(), "s": set(), "code": {"class"}, "pre": set(),
    "ul": set(), "ol": {"start"}, "li": set(), "blockquote": set(), "hr": set(),
    "a": {"href", "title", "target", "rel"},
    "table": set(), "thead": set(), "tbody": set(), "tr": set(), "th": {"style"}, "td": {"style"},
}  # fmt: skip


class Seen(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def assert_harmless(html):
    for tag, attributes in Seen(html).tags:
        assert tag in ALLOWED, f"<{tag}> in {html!r}"
        assert set(attributes) <= ALLOWED[tag], f"{attributes} in {html!r}"
        if tag == "a":
            assert re.match(r"(https?://|mailto:)", attributes["href"], re.IGNORECASE), html
            assert "noopener" in attributes["rel"]
        if "style" in attributes:
            assert re.fullmatch(r"text-align:(left|right|center)", attributes["style"])


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    "<javascript:alert(1)>",
    "![x](https://evil.example/seen.png)",
    "![x](x 'a\" onerror=alert(1)')",
    '[x](https://a.example "t\\" onmouseover=\\"alert(1)")',
    '[x](https://a.example/"onmouseover=alert(1))',
    "[x][y]\n\n[y]: javascript:alert(1)",
    '```"><script>alert(1)</script>\nx\n```',
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!-- x --><base href=//evil.example>",
    "# <img src=x onerror=alert(1)>",
    "|<b onclick=x>|b|\n|-|-|\n|<script>|2|",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_it_becomes_more_than_text(attack):
    html = answer_html(attack)
    assert_harmless(html)
    assert "<script" not in html.lower()


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.sampled_from("<>&\"'[]()!:`*_|#-\n javscript/onerr="), st.characters()), max_size=200))
def test_whatever_is_answered_is_harmless(text):
    assert_harmless(answer_html(text))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ATTACKS), max_size=4).map("".join))
def test_attacks_on_top_of_each_other(text):
    assert_harmless(answer_html(text))


def test_markdown_is_shown_as_what_it_means():
    html = answer_html(
        "# Plan\n\nFirst **this**,\nthen:\n\n1. `x < 1`\n2. [docs](https://docs.example)\n\n|a|b|\n|-|-|\n|1|2|"
    )
    tags = [tag for tag, _ in Seen(html).tags]
    assert {"strong", "ol", "code", "a", "table"} <= set(tags)
    assert '<p class="heading">Plan</p>' in html
    assert "x < 1" in Seen(html).text


def test_a_picture_is_a_link_and_asks_nobody_for_anything():
    html = answer_html("![a cat](https://elsewhere.example/cat.png)")
    assert "<img" not in html
    assert 'href="https://elsewhere.example/cat.png"' in html


def test_characters_that_steer_are_replaced_or_left_out():
    assert plain("a\x00b\x1b[2J\x7f\x9b") == "a\ufffdb\ufffd[2J\ufffd\ufffd"
    assert plain("abc\u202edef\u2066") == "abcdef"
    assert plain("a\r\nb\rc\td") == "a\nb\nc\td"
    assert plain("half \ud83d of a pair") == "half \ufffd of a pair"
    # What people write with stays: joined emoji, Persian, combining accents, right to left.
    for kept in ("👩\u200d💻", "می\u200cخواهم", "e\u0301", "שלום עולם", "مرحبا"):
        assert plain(kept) == kept


def test_half_a_pair_can_be_sent_to_the_page():
    answer_html("\ud800 and \udfff").encode()


def test_what_is_too_long_is_cut_and_said_so():
    html = answer_html("word " * 100_000)
    assert len(html) < LONGEST + 500
    assert "480,000 more characters are not shown" in html
    assert "more characters" not in answer_html("x" * LONGEST)


@pytest.mark.parametrize(
    "beginning", ["[", "*", "`", "> ", "- ", "[a](", "*a_ ", "<", "|", "![[", "**a ", "~~a ", "&", "[x]: y\n", "\n"]
)
def test_no_answer_keeps_the_parser_busy_for_long(beginning):
    assert_harmless(answer_html(beginning * (LONGEST // len(beginning))))
