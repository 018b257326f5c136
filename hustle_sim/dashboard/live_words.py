"""Cards and tables of the live page as HTML. Text of a backend is always escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from hustle_sim.analysis.palette import STATUS
from hustle_sim.dashboard.live_slo import Fact
from hustle_sim.dashboard.live_state import Stretch, local
from hustle_sim.inputs import format_duration
from hustle_sim.live.digest import Incident
from hustle_sim.live.session import BreakerView
from hustle_sim.policy import BreakerPolicy
from hustle_sim.resilience.breaker import BreakerState

_BREAKER = {
    BreakerState.CLOSED: ("●", "Closed", "requests go through"),
    BreakerState.OPEN: ("■", "Open", "nothing is sent"),
    BreakerState.HALF_OPEN: ("▲", "Half open", "a few are let through, to see"),
}

_SIGNS = {True: ("good", "✓ met"), False: ("bad", "✕ not met"), None: ("", "")}


def fact_card(fact: Fact) -> str:
    """A card."""
    kind, sign = _SIGNS[fact.good]
    if fact.name in ("incident", "budget"):
        # These have no goal of their own that could be met.
        sign = {True: "✓", False: "✕", None: ""}[fact.good]
    mark = f'<b class="{kind}">{sign}</b> ' if sign else ""
    return (
        f'<div class="tile {kind}" data-fact="{fact.name}" tabindex="0"><div class="label">{escape(fact.label)}</div>'
        f'<div class="value">{escape(fact.value)}</div><div class="below">{mark}{escape(fact.below)}</div>'
        f'<div class="below">{escape(fact.more)}</div><div class="tip" role="tooltip">{escape(fact.tip)}</div></div>'
    )


def breaker_fact(view: BreakerView, policy: BreakerPolicy) -> Fact:
    """The breaker of the coach that talks to a target: state, share of failures, number of calls."""
    if not policy.enabled:
        return Fact(
            "breaker", "Breaker", "Off", "requests always go through", "", None, "The policy has it switched off."
        )
    glyph, word, means = _BREAKER[view.state]
    calls, failed = view.tally.calls, view.tally.failed
    if view.state is BreakerState.OPEN and view.try_in_s:
        means = f"{means} for {format_duration(float(math.ceil(view.try_in_s)))}"
    volume = f"{failed / calls:.0%} of {calls} calls failed" if calls else "no calls"
    window = f"in {format_duration(policy.window_s)}" if policy.window == "time" else "lately"
    return Fact(
        "breaker", "Breaker", f"{glyph} {word}", means, f"{volume} {window}",
        None if view.state is BreakerState.CLOSED else False,
        f"It opens when {policy.failure_share:.0%} of at least {policy.min_calls} calls fail. Health checks are not "
        "counted: only messages that are sent to the coach.",
    )  # fmt: skip


def queue_fact(waiting: int, dead: int) -> Fact:
    """The queue of that coach."""
    return Fact(
        "queue", "Queue", f"{waiting:,} waiting", f"{dead:,} given up" if dead else "none given up",
        "", None if not dead else False,
        "Messages that could not be delivered yet are sent when the backend is back; dead ones wait for your decision.",
    )  # fmt: skip


def cards(facts: Iterable[Fact]) -> str:
    """A row of cards."""
    return f'<div class="tiles">{"".join(fact_card(fact) for fact in facts)}</div>'


def transitions(stretches: Iterable[Stretch], most: int) -> str:
    """The last changes of the verdict as an HTML table, newest first."""
    changes = [stretch for stretch in stretches if stretch.previous][-most:][::-1]
    rows = [
        (
            f"{local(change.since):%d %b %H:%M:%S}",
            f"{mark(change.previous)} → {mark(change.status)}",
            escape(change.reason),
        )
        for change in changes
    ]
    return _table(("When", "Verdict", "Why"), rows, "The verdict has not changed yet.")


def incidents(found: Sequence[Incident], wall: Callable[[float], float], now_s: float) -> str:
    """The incidents as an HTML table, newest first; ``wall`` turns loop time into POSIX seconds."""
    rows = []
    for incident in found[::-1]:
        ongoing = math.isinf(incident.end_s)
        lasts = format_duration(float(round(min(incident.end_s, now_s) - incident.start_s)))
        rows.append(
            (
                f"{local(wall(incident.start_s)):%d %b %H:%M:%S}",
                f"{lasts}, and still" if ongoing else lasts,
                mark(incident.worst),
                escape(incident.reason),
            )
        )
    return _table(("Began", "Lasted", "Worst", "Why"), rows, "No incident has been seen.")


def mark(status: str, words: str = "") -> str:
    """Glyph and word of a status, in its colour."""
    look = STATUS[status]
    return f'<i style="color:var(--mui-palette-hustle-{status}Text)">{look.glyph}</i> {escape(words or look.word)}'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not lines:
        return f"<p>{nothing}</p>"
    head = "".join(f'<th scope="col">{word}</th>' for word in heads)
    return f'<div class="frame"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


TABLE_CSS = """
.frame { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 12px; color: var(--mui-palette-hustle-quiet);
     padding: 2px 12px 6px 0; }
td { padding: 6px 12px 6px 0; border-top: 1px solid var(--mui-palette-hustle-line); vertical-align: top; }
td:not(:last-child) { white-space: nowrap; }
td:last-child { overflow-wrap: anywhere; min-width: 12em; width: 60%; }
@media (max-width: 520px) {
  td:not(:last-child) { white-space: normal; }
  td:last-child { min-width: 8em; }
  th, td { padding-right: 8px; }
}
"""

CARDS_CSS = """
:host { font-family: var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary);
        container-type: inline-size; }
.tiles { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 8px; }
.tile { position: relative; padding: 9px 12px 8px; min-height: 92px; box-sizing: border-box; outline: none;
        background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
        border-radius: 10px; }
.tile.bad { border-color: var(--mui-palette-hustle-worse); }
.tile:focus-visible { box-shadow: 0 0 0 2px var(--mui-palette-primary-main); }
.label { font-size: 12.5px; color: var(--mui-palette-hustle-quiet); line-height: 1.25; }
.value { font-size: 20px; font-weight: 600; line-height: 1.35; font-variant-numeric: tabular-nums;
         white-space: nowrap; }
.below { font-size: 12px; line-height: 1.4; color: var(--mui-palette-hustle-quiet); overflow-wrap: anywhere; }
.below b { font-weight: 600; }
.below b.good { color: var(--mui-palette-hustle-better); }
.below b.bad { color: var(--mui-palette-hustle-worse); }
.tip { display: none; position: absolute; z-index: 20; top: calc(100% + 6px); left: 0; width: max-content;
       max-width: 240px; padding: 8px 10px; border-radius: 8px; font-size: 12.5px; line-height: 1.4;
       background: var(--mui-palette-text-primary); color: var(--mui-palette-hustle-card);
       box-shadow: 0 4px 16px #0004; }
.tile:nth-child(n+4) .tip { left: auto; right: 0; }
@container (max-width: 940px) {
  .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .tile:nth-child(3n+1) .tip { left: 0; right: auto; }
  .tile:nth-child(3n) .tip { left: auto; right: 0; }
}
@container (max-width: 460px) {
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tile:nth-child(odd) .tip { left: 0; right: auto; }
  .tile:nth-child(even) .tip { left: auto; right: 0; }
}
.tile:hover .tip, .tile:focus-visible .tip { display: block; }
"""
