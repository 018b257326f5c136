"""The metrics that matter, as cards: value, unit, and what became better or worse than in the run beside it."""

# mypy: allow-subclassing-any

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn

from hustle_sim.analysis import METRICS, format_metric
from hustle_sim.analysis.difference import GLYPHS, difference

if TYPE_CHECKING:
    from hustle_sim.analysis import Run

GROUPS: dict[str, tuple[str, ...]] = {
    "What people saw": ("answered_share", "answer_p99_s", "answer_max_s", "fallback_share"),
    "What became of their messages": ("delivered_share", "late_p50_s", "lost", "duplicates"),
    "What the monitor noticed": ("detection_s", "recovery_s", "missed_outages", "false_offline"),
    "What the backend bore": ("amplification", "wasted_share", "recovery_peak", "drained_s"),
}
"""The metrics on cards."""

BASELINE = "original"

_WORDS = {"better": "better", "worse": "worse", "same": "same", "other": "", "unknown": "can't be compared"}


def card(name: str, mine: float, other: float | None, beside: str = BASELINE) -> str:
    """One card as HTML; ``beside`` is what the other run is called."""
    metric, value = METRICS[name], format_metric(name, mine)
    below = ""
    if other is not None:
        found = difference(name, other, mine)
        word = _WORDS[found.direction]
        told = f"{word}, {found.change_text}" if found.direction in ("better", "worse") else word or found.change_text
        sign = f'<b class="{found.direction}">{GLYPHS[found.direction]} {escape(told)}</b>'
        below = f'{sign}<span class="than">{escape(beside)} {escape(found.first_text)}</span>'
    return (
        f'<div class="card" data-metric="{name}" tabindex="0">'
        f'<div class="label">{escape(metric.label)}</div><div class="value">{escape(value)}</div>'
        f'<div class="below">{below}</div><div class="tip" role="tooltip">{escape(metric.text)}</div></div>'
    )


def cards(mine: Run | None, other: Run | None) -> str:
    """All cards as HTML; without a run an empty frame of the same size."""
    groups = []
    beside = BASELINE if other is None else other.label
    for title, names in GROUPS.items():
        inner = '<div class="card empty"></div>' * len(names)
        if mine is not None:
            theirs = {name: None if other is None else float(other.metrics[name]) for name in names}
            inner = "".join(card(name, float(mine.metrics[name]), theirs[name], beside) for name in names)
        groups.append(f'<section><h3>{escape(title)}</h3><div class="row">{inner}</div></section>')
    return f'<div class="cards">{"".join(groups)}</div>'


class MetricCards(pn.viewable.Viewer):
    """The cards of one run beside another."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._pane = pn.pane.HTML(
            cards(None, None), sizing_mode="stretch_width", margin=0, stylesheets=[_CSS], css_classes=["metric-cards"]
        )

    def show(self, mine: Run | None, other: Run | None) -> None:
        """Show the metrics of ``mine``, compared with ``other`` if there is one; None shows none."""
        self._pane.object = cards(mine, other)

    def __panel__(self) -> Any:
        return self._pane


_CSS = """
:host { font-family: var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); gap: 14px 20px; }
section { min-width: 0; }
h3 { font-size: 12px; font-weight: 600; margin: 0 0 6px; color: var(--mui-palette-hustle-quiet);
     text-transform: uppercase; letter-spacing: .06em; }
.row { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
@container (max-width: 460px) { .row { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
section { container-type: inline-size; }
.card {
  position: relative; background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
  border-radius: 10px; padding: 9px 12px 8px; min-height: 92px; box-sizing: border-box; outline: none;
}
.card:hover, .card:focus-visible { border-color: var(--mui-palette-primary-main); }
.card:focus-visible { box-shadow: 0 0 0 2px var(--mui-palette-primary-main); }
.card.empty { opacity: .5; }
.label { font-size: 12.5px; color: var(--mui-palette-hustle-quiet); line-height: 1.25; }
.value { font-size: 21px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; white-space: nowrap; }
.below { display: flex; flex-direction: column; font-size: 12px; line-height: 1.35; }
.below b { font-weight: 600; white-space: nowrap; color: var(--mui-palette-hustle-quiet); }
.below b.better { color: var(--mui-palette-hustle-better); }
.below b.worse { color: var(--mui-palette-hustle-worse); }
.than { color: var(--mui-palette-hustle-quiet); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tip {
  display: none; position: absolute; z-index: 20; top: calc(100% + 6px); left: 0; width: max-content; max-width: 260px;
  padding: 8px 10px; border-radius: 8px; font-size: 12.5px; line-height: 1.4;
  background: var(--mui-palette-text-primary); color: var(--mui-palette-hustle-card); box-shadow: 0 4px 16px #0004;
}
.card:nth-child(4) .tip, .card:nth-child(3) .tip { left: auto; right: 0; }
.card:hover .tip, .card:focus-visible .tip { display: block; }
"""
