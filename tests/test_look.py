"""The palette can be read: contrast in both themes, computed from the colours that the pages use."""

import pytest

from hustle_sim.analysis.palette import HEARTBEAT, STATUS
from hustle_sim.dashboard import styles

THEMES = {name: styles.THEME[name]["palette"] for name in ("light", "dark")}
GROUNDS = ("card", "well")


def luminance(colour):
    """Relative luminance (WCAG 2.2) of "#RRGGBB"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_is_that_of_wcag():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_colour_of_text_can_be_read_on_every_ground(theme, ground):
    own = THEMES[theme]["hustle"]
    words = [name for name in own if name.endswith("Text")] + ["better", "worse", "text", "quiet", "faint"]
    assert {"onlineText", "degradedText", "offlineText", "checkingText"} <= set(words)
    pale = {
        name: round(contrast(own[name], own[ground]), 2) for name in words if contrast(own[name], own[ground]) < 4.5
    }
    assert pale == {}


@pytest.mark.parametrize(("theme", "pale"), [("light", set()), ("dark", {"checking"})])
def test_status_colours_stand_out_from_the_cards_that_they_are_drawn_on(theme, pale):
    own = THEMES[theme]["hustle"]
    # On dark ground four colours can't be apart for all kinds of colour vision and from the ground as well: the words
    # and glyphs beside this one are in a colour that is (above).
    assert {status for status in STATUS if contrast(own[status], own["card"]) < 3} == pale


@pytest.mark.parametrize("theme", THEMES)
def test_buttons_can_be_read(theme):
    primary = THEMES[theme]["primary"]
    assert contrast(primary["main"], primary["contrastText"]) >= 4.5
    assert contrast(primary["main"], THEMES[theme]["hustle"]["card"]) >= 4.5


@pytest.mark.parametrize("looks", [STATUS, HEARTBEAT], ids=["status", "heartbeat"])
def test_no_colour_stands_alone(looks):
    assert len({look.glyph for look in looks.values()}) == len(looks)
    assert len({look.word for look in looks.values()}) == len(looks)
    assert len({look.height for look in looks.values()}) == len(looks)
