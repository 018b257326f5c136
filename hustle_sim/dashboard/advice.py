"""Advice beside the policy: what is the matter with it and what mends it, and what it does, in plain words."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import panel as pn
import param

from hustle_sim.dashboard.controls import FIELDS, PARTS, in_words, label_of
from hustle_sim.policy import Policy
from hustle_sim.tuning.explain import explain
from hustle_sim.tuning.findings import SEVERITIES, Finding
from hustle_sim.tuning.lint import lint

if TYPE_CHECKING:
    from hustle_sim.simulation.scenario import Scenario

GLYPHS = {"error": "✕", "warning": "▲", "note": "i"}
"""A sign for each severity, so that colour is never the only one."""

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}

export function render({model}) {
  const sum = make("p", {className: "sum"})
  sum.setAttribute("role", "status")
  const list = make("ul")
  const more = make("button", {type: "button", className: "more"})
  const words = make("details", {}, make("summary", {textContent: "What this policy does, in plain words"}))
  const plain = make("div", {className: "plain"})
  words.append(plain)
  const root = make("section", {className: "advice"}, make("h3", {textContent: "Advice"}), sum, list, more, words)
  let all = false
  more.addEventListener("click", () => { all = !all; draw() })

  const item = (each, at) => {
    const mark = make("span", {className: "mark", textContent: each.glyph})
    mark.setAttribute("aria-hidden", "true")
    const head = make("div", {className: "head"}, mark, make("b", {textContent: each.severity}))
    const entry = make("li", {className: `is-${each.severity}`}, head, make("p", {textContent: each.sentence}),
      make("p", {className: "mend", textContent: each.mend}))
    entry.dataset.code = each.code
    if (each.changes) {
      const button = make("button", {type: "button", className: "apply", textContent: "Apply the mend"})
      button.setAttribute("aria-label", `Apply the mend: ${each.changes}`)
      button.addEventListener("click", () => model.send_msg({type: "mend", code: each.code, at}))
      entry.append(make("p", {className: "changes", textContent: each.changes}), button)
    }
    return entry
  }
  const draw = () => {
    const findings = model.findings
    sum.textContent = model.sum
    const shown = all ? findings : findings.slice(0, model.first)
    list.replaceChildren(...shown.map(item))
    list.hidden = shown.length === 0
    more.hidden = findings.length <= model.first
    more.textContent = all ? "Show less" : `Show all ${findings.length}`
    more.setAttribute("aria-expanded", String(all))
  }
  const tell = () => {
    const line = ([title, value, sentence]) => [
      make("dt", {}, make("span", {textContent: title}), make("b", {textContent: value})),
      make("dd", {textContent: sentence}),
    ]
    plain.replaceChildren(make("p", {textContent: model.assumes}), make("dl", {}, ...model.rows.flatMap(line)))
  }
  model.on("findings", draw)
  model.on("rows", tell)
  draw()
  tell()
  return root
}
"""

_CSS = """
:host { display: block; font: 13px/1.45 var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); }
h3 { font-size: 12px; font-weight: 600; margin: 10px 0 2px; color: var(--mui-palette-hustle-quiet);
     text-transform: uppercase; letter-spacing: .06em; }
p { margin: 2px 0; overflow-wrap: anywhere; }
.sum { color: var(--mui-palette-hustle-quiet); }
ul { list-style: none; margin: 6px 0; padding: 0; display: grid; gap: 8px; }
li { --hue: var(--mui-palette-hustle-checkingText); padding: 8px 10px; border-radius: 8px;
     border: 1px solid var(--mui-palette-hustle-line); border-left: 4px solid var(--hue); }
li.is-error { --hue: var(--mui-palette-hustle-offlineText); }
li.is-warning { --hue: var(--mui-palette-hustle-degradedText); }
.head { display: flex; align-items: center; gap: 6px; color: var(--hue); text-transform: capitalize; }
.mark { display: inline-grid; place-items: center; width: 17px; height: 17px; border-radius: 50%; font-size: 10px;
        font-weight: 700; border: 1.5px solid var(--hue); }
.mend, .changes { color: var(--mui-palette-hustle-quiet); }
.changes { font-variant-numeric: tabular-nums; }
.apply, .more { margin-top: 4px; padding: 4px 12px; border-radius: 6px; font: inherit; cursor: pointer;
        background: none; border: 1px solid var(--mui-palette-hustle-line); color: var(--mui-palette-primary-main); }
.apply:hover, .more:hover { border-color: var(--mui-palette-primary-main); }
details { margin: 8px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; border-radius: 6px; }
dl { margin: 6px 0; }
dt { display: flex; justify-content: space-between; gap: 12px; margin-top: 8px; }
dt b { white-space: nowrap; }
dd { margin: 0; color: var(--mui-palette-hustle-quiet); }
[hidden] { display: none !important; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; }
"""


def summary(findings: list[Finding]) -> str:
    """``"✕ 1 error, ▲ 2 warnings"``."""
    counts = {each: sum(finding.severity == each for finding in findings) for each in SEVERITIES}
    told = [f"{GLYPHS[each]} {number} {each}{'' if number == 1 else 's'}" for each, number in counts.items() if number]
    return ", ".join(told) or "✓ Nothing to say against this policy here."


def changes_in_words(changes: Mapping[str, Any]) -> str:
    """``"Retries: Base → 2 s; Cap → 1 min"``; nothing for none."""
    parts: dict[str, list[str]] = {}
    for name, value in changes.items():
        field = FIELDS[name]
        parts.setdefault(PARTS[field.part], []).append(f"{label_of(field)} → {in_words(field, value)}")
    return "; ".join(f"{part}: {', '.join(told)}" for part, told in parts.items())


class Advice(pn.custom.JSComponent):
    """What ``lint`` and ``explain`` say of a policy in a scenario. ``mend`` is called with what a visitor applies."""

    findings = param.List(default=[], doc="The worst first.")
    sum = param.String(default="")
    first = param.Integer(default=2, doc="Findings that are shown until a visitor asks for all.")
    rows = param.List(default=[], doc="Title, value and sentence of each number of ``explain``.")
    assumes = param.String(default="")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, mend: Callable[[Mapping[str, Any]], None] = lambda _: None, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._mend = mend
        self._known: list[Finding] = []

    def show(self, policy: Policy, scenario: Scenario) -> None:
        """Say what is to be said: about two milliseconds' work."""
        self._known = lint(policy, scenario)
        card = explain(policy, scenario)
        self.param.update(
            findings=[
                {
                    "severity": each.severity, "glyph": GLYPHS[each.severity], "code": each.code,
                    "sentence": each.sentence, "mend": each.mend, "changes": changes_in_words(each.changes),
                }
                for each in self._known
            ],
            sum=summary(self._known),
            assumes=card.assumes,
            rows=[[row.title, row.shown, row.sentence] for row in card.rows],
        )  # fmt: skip

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict) or data.get("type") != "mend":
            return
        # By place and name: the findings may have changed since the click.
        at, code = data.get("at"), data.get("code")
        if isinstance(at, int) and 0 <= at < len(self._known) and self._known[at].code == code:
            self._mend(self._known[at].changes)
