"""A scenario as a small drawing: its outages in time, how bad they are, what they do, and when people write.

Drawn from the scenario itself, as SVG text. Colours are those of the page's theme; each mode has a pattern and a
glyph beside its colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape

from hustle_sim.analysis.palette import MODE
from hustle_sim.dashboard import styles
from hustle_sim.dashboard.scenario_edit_state import EXAMPLE_SEED, MOST, examples, kind_of
from hustle_sim.inputs import format_duration
from hustle_sim.simulation.outages import Outage
from hustle_sim.simulation.scenario import ClientsModel, Scenario

WIDTH, HEIGHT = 240, 66
_TOP, _FLOOR, _GROUND = 15.0, 48.0, 63.0
_LEAST = 2.0
_MOST_RATES = 20_000
_BINS = 120

# What lies over the colour, on a tile of 8 x 8.
_STROKES = {
    "refuse": "",
    "flap": '<path d="M0 0h4v8H0z" fill="var(--hole)"/>',
    "hang": '<circle cx="2" cy="2" r="1.3" fill="var(--hole)"/><circle cx="6" cy="6" r="1.3" fill="var(--hole)"/>',
    "error": '<path d="M-2 2l4-4M0 8l8-8M6 10l4-4" stroke="var(--hole)" stroke-width="1.6"/>',
    "bad_body": '<path d="M0 0l8 8M8 0l-8 8" stroke="var(--hole)" stroke-width="1.3"/>',
    "rate_limit": '<path d="M2 0v8M6 0v8" stroke="var(--hole)" stroke-width="1.1"/>',
    "brownout": '<path d="M-2 6l4 4M0 0l8 8M6-2l4 4" stroke="var(--hole)" stroke-width="2.4"/>',
    "slow": '<path d="M0 2h8M0 6h8" stroke="var(--hole)" stroke-width="1.3"/>',
}


def colour(mode: str) -> str:
    """The colour of a mode, as the page's theme has it."""
    return f"var(--mui-palette-hustle-{styles.MODE_KEYS[mode]})"


def patterns(prefix: str, modes: Iterable[str]) -> str:
    """SVG patterns ``{prefix}-{mode}``; ``--hole`` is the colour of what shines through."""
    return "".join(
        f'<pattern id="{prefix}-{mode}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="{colour(mode)}"/>{_STROKES[mode]}</pattern>'
        for mode in modes
    )


def facts(scenario: Scenario) -> str:
    """How long, how many, how often, in a line."""
    clients = scenario.clients
    people = "1 person" if clients.count == 1 else f"{clients.count:,} people"
    return f"{format_duration(scenario.duration_s)} · {people} · {clients.messages_per_hour:g} messages/h each"


def outages_in_words(scenario: Scenario) -> str:
    """What goes wrong, in a few words: ``"1 outage, 1 h 17 min in all: accepts, never answers"``."""
    known = [outage for index in range(len(scenario.outages)) for outage in examples(scenario, index)]
    if not known:
        return "no outage" + (", in this example" if is_example(scenario) else "")
    modes = ", ".join(dict.fromkeys(MODE[outage.mode].word for outage in known))
    whole_s = sum(min(outage.end_s, scenario.duration_s) - max(0.0, outage.start_s) for outage in known)
    many = "1 outage" if len(known) == 1 else f"{len(known):,} outages"
    more = " or more" if len(known) >= MOST else ""
    note = f" (an example: seed {EXAMPLE_SEED})" if is_example(scenario) else ""
    return f"{many}{more}, {format_duration(whole_s)} in all: {modes}{note}"


def is_example(scenario: Scenario) -> bool:
    """Whether another seed has other outages."""
    return any(kind_of(spec) == "random" for spec in scenario.outages)


def load(clients: ClientsModel, start: datetime, duration_s: float, bins: int = _BINS) -> list[float]:
    """Messages per hour of all people, as the mean of each of ``bins`` equal pieces of the time."""
    width_s = duration_s / bins
    sums = [0.0] * bins
    begin_s = 0.0
    for number, (end_s, per_s) in enumerate(clients.rates(start)):
        if number >= _MOST_RATES:
            # Bursts that no drawing could show: what they come to on average.
            sums = [sum(sums) * duration_s / max(begin_s, 1.0) / bins] * bins
            break
        until_s = min(end_s, duration_s)
        first, last = int(begin_s / width_s), min(bins - 1, int(until_s / width_s))
        for piece in range(first, last + 1):
            overlap_s = min(until_s, (piece + 1) * width_s) - max(begin_s, piece * width_s)
            sums[piece] += max(0.0, overlap_s) * per_s
        begin_s = end_s
        if begin_s >= duration_s:
            break
    return [total / width_s * 3600 * clients.count for total in sums]


def sketch(scenario: Scenario, prefix: str = "sketch") -> str:
    """The drawing as an SVG element of ``WIDTH`` by ``HEIGHT``; ``prefix`` keeps its patterns apart from others'."""
    drawn: list[str] = []
    glyphs: list[tuple[float, float, str]] = []
    modes: dict[str, None] = {}
    for index in range(len(scenario.outages)):
        edge = -1.0
        for outage in examples(scenario, index):
            modes[outage.mode] = None
            left, right = _x(scenario, outage.start_s), _x(scenario, outage.end_s)
            if right - left < _LEAST:
                left = min(max(0.0, (left + right - _LEAST) / 2), WIDTH - _LEAST)
                right = left + _LEAST
            if right <= edge:
                continue
            edge = right
            top = _FLOOR - (0.25 + 0.75 * outage.severity) * (_FLOOR - _TOP)
            drawn.append(_bar(scenario, outage, left, right, top, prefix))
            glyphs.append(((left + right) / 2, top - 4, outage.mode))
    return (
        f'<svg class="sketch" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_label(scenario))}">'
        f"<defs>{patterns(prefix, modes)}</defs>"
        f'<path class="ground" d="M0 {_FLOOR}H{WIDTH}"/>{"".join(drawn)}{_glyphs(glyphs)}{_load(scenario)}'
        f"{_note(scenario)}</svg>"
    )


def _bar(scenario: Scenario, outage: Outage, left: float, right: float, top: float, prefix: str) -> str:
    grown = min(right, left + outage.ramp_s / scenario.duration_s * WIDTH)
    return (
        f'<path d="M{left:.1f} {_FLOOR}L{grown:.1f} {top:.1f}H{right:.1f}V{_FLOOR}z" '
        f'fill="url(#{prefix}-{outage.mode})" stroke="{colour(outage.mode)}"/>'
    )


def _glyphs(found: list[tuple[float, float, str]]) -> str:
    """One above each outage, as long as there is room."""
    drawn, edge = [], -20.0
    for at, floor, mode in sorted(found):
        middle = min(max(at, 6.0), WIDTH - 6.0)
        if middle - edge >= 13:
            edge = middle
            drawn.append(f'<text x="{middle:.1f}" y="{floor:.1f}" fill="{colour(mode)}">{MODE[mode].glyph}</text>')
    return "".join(drawn)


def _load(scenario: Scenario) -> str:
    rates = load(scenario.clients, scenario.start, scenario.duration_s)
    most = max(rates)
    if not most:
        return ""
    depth = _GROUND - _FLOOR - 3
    points = [f"{place * WIDTH / _BINS:.1f} {_GROUND - rate / most * depth:.1f}" for place, rate in enumerate(rates)]
    last = _GROUND - rates[-1] / most * depth
    return f'<path class="load" d="M0 {_GROUND}L{"L".join(points)}L{WIDTH} {last:.1f}V{_GROUND}z"/>'


def _note(scenario: Scenario) -> str:
    if not is_example(scenario):
        return ""
    return f'<text class="note" x="{WIDTH - 2}" y="{_GROUND - 4}">an example: seed {EXAMPLE_SEED}</text>'


def _label(scenario: Scenario) -> str:
    return f"{outages_in_words(scenario)}; {facts(scenario)}"


def _x(scenario: Scenario, time_s: float) -> float:
    return min(max(0.0, time_s / scenario.duration_s), 1.0) * WIDTH


CSS = """
.sketch { display: block; width: 100%; height: auto; --hole: var(--mui-palette-hustle-card); overflow: visible; }
.sketch .ground { stroke: var(--mui-palette-hustle-line); stroke-width: 1; }
.sketch path { stroke-width: .8; }
.sketch text { font-size: 11px; font-weight: 700; text-anchor: middle; font-family: sans-serif; }
.sketch .load { fill: var(--mui-palette-hustle-quiet); fill-opacity: .22; stroke: var(--mui-palette-hustle-quiet);
                stroke-width: .7; }
.sketch .note { font-size: 9.5px; font-weight: 400; text-anchor: end; fill: var(--mui-palette-hustle-quiet);
                paint-order: stroke; stroke: var(--hole); stroke-width: 3px; }
"""
"""How a sketch looks inside a component of the page."""
