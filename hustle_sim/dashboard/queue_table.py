"""The table of queued messages, with the counts by state above it as filters."""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import panel as pn
import param

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
const COLUMNS = [["State", "state"], ["Prio", "number"], ["Age", "number"], ["Sent", "number"], ["Reason", "reason"],
                 ["Message", "text"]]

export function render({model}) {
  const root = make("div", {className: "queue"})
  const bar = make("div", {className: "chips"})
  bar.setAttribute("role", "group")
  bar.setAttribute("aria-label", "Filter by state")
  const body = make("tbody")
  const all = make("input", {type: "checkbox"})
  all.setAttribute("aria-label", "Select all that are shown")
  const head = make("tr", {}, make("th", {className: "pick"}, all),
    ...COLUMNS.map(([words, kind]) => make("th", {textContent: words, className: kind, scope: "col"})))
  const table = make("table", {}, make("thead", {}, head), body)
  const more = make("p", {className: "more"})
  const frame = make("div", {className: "frame"}, table)
  root.append(bar, frame, more)

  const select = (id, add) => {
    const chosen = new Set(model.selected)
    if (add) { chosen.has(id) ? chosen.delete(id) : chosen.add(id) }
    else { const only = chosen.size === 1 && chosen.has(id); chosen.clear(); if (!only) { chosen.add(id) } }
    model.selected = model.rows.map((row) => row.id).filter((each) => chosen.has(each))
  }
  all.addEventListener("change", () => { model.selected = all.checked ? model.rows.map((row) => row.id) : [] })

  const drawChips = () => {
    const focused = bar.querySelector(":focus")?.dataset.state
    bar.replaceChildren(...model.chips.map(([state, glyph, words, number]) => {
      const chip = make("button", {type: "button"}, make("i", {textContent: glyph}), ` ${words} `,
        make("b", {textContent: number.toLocaleString("en")}))
      chip.dataset.state = state
      chip.setAttribute("aria-pressed", String(state === model.state))
      chip.addEventListener("click", () => { model.state = state })
      return chip
    }))
    if (focused !== undefined) { [...bar.children].find((chip) => chip.dataset.state === focused)?.focus() }
  }
  const mark = () => {
    const chosen = new Set(model.selected)
    for (const line of body.children) {
      const on = chosen.has(line.dataset.id)
      line.setAttribute("aria-selected", String(on))
      line.querySelector("input").checked = on
    }
    all.checked = chosen.size > 0 && chosen.size === model.rows.length
    all.indeterminate = chosen.size > 0 && chosen.size < model.rows.length
  }
  const drawRows = () => {
    const focused = body.querySelector(":focus")?.closest("tr")?.dataset.id
    body.replaceChildren(...model.rows.map((row) => {
      const box = make("input", {type: "checkbox"})
      box.setAttribute("aria-label", `Select: ${row.text}`)
      box.addEventListener("click", (event) => { event.stopPropagation(); select(row.id, true) })
      const state = make("td", {className: "state"}, make("i", {textContent: row.glyph}), ` ${row.word}`)
      const cell = (text, className) => make("td", {textContent: text, className})
      const line = make("tr", {}, make("td", {className: "pick"}, box), state, cell(row.priority, "number"),
        cell(row.age, "number"), cell(row.attempts, "number"), cell(row.reason, "reason"), cell(row.text, "text"))
      line.dataset.id = row.id
      line.dataset.state = row.state
      line.addEventListener("click", (event) => select(row.id, event.metaKey || event.ctrlKey))
      return line
    }))
    if (focused) { [...body.children].find((line) => line.dataset.id === focused)?.querySelector("input").focus() }
    frame.hidden = model.rows.length === 0
    more.textContent = model.more
    more.hidden = !model.more
    mark()
  }
  model.on(["chips", "state"], drawChips)
  model.on(["rows", "more"], drawRows)
  model.on("selected", mark)
  model.on("msg:custom", (event) => {
    const {name, text} = event.data ?? event
    const address = URL.createObjectURL(new Blob([text], {type: "application/json"}))
    make("a", {href: address, download: name}).click()
    setTimeout(() => URL.revokeObjectURL(address), 10000)
  })
  drawChips()
  drawRows()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; font: 13.5px/1.4 var(--bokeh-base-font, sans-serif);
        color: var(--mui-palette-text-primary); }
.chips { display: flex; flex-wrap: wrap; gap: 6px; }
.chips button { font: inherit; color: inherit; cursor: pointer; background: var(--mui-palette-hustle-well);
  border: 1px solid var(--mui-palette-hustle-line); border-radius: 999px; padding: 5px 12px; }
.chips button[aria-pressed=true] { border-color: var(--mui-palette-primary-main);
  box-shadow: inset 0 0 0 1px var(--mui-palette-primary-main); }
.chips b { font-weight: 600; font-variant-numeric: tabular-nums; margin-left: 3px; }
button:focus-visible, input:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; }
i { font-style: normal; color: var(--mui-palette-hustle-quiet); }
[data-state=dead] i, [data-state=expired] i { color: var(--mui-palette-hustle-offlineText); }
[data-state=unknown] i { color: var(--mui-palette-hustle-degradedText); font-weight: 700; }
[data-state=delivered] i { color: var(--mui-palette-hustle-onlineText); }
[data-state=leased] i, [data-state=ready] i { color: var(--mui-palette-primary-main); }
.frame { overflow: auto; max-height: 52vh; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--mui-palette-hustle-card); text-align: left; font-weight: 600;
     font-size: 12px; color: var(--mui-palette-hustle-quiet); padding: 4px 14px 6px 0; white-space: nowrap; }
td { padding: 7px 14px 7px 0; border-top: 1px solid var(--mui-palette-hustle-line); white-space: nowrap; }
tbody tr { cursor: pointer; }
tbody tr:hover { background: var(--mui-palette-hustle-well); }
tbody tr[aria-selected=true] { background: color-mix(in srgb, var(--mui-palette-primary-main) 14%, transparent); }
.pick { width: 20px; padding-left: 8px; padding-right: 12px; }
.pick input { margin: 0; width: 15px; height: 15px; vertical-align: -2px;
              accent-color: var(--mui-palette-primary-main); }
.number { text-align: right; }
.text { width: 100%; max-width: 0; min-width: 180px; overflow: hidden; text-overflow: ellipsis; padding-right: 8px; }
@media (max-width: 620px) { .reason, .number:nth-child(3), .number:nth-child(5) { display: none; } }
.more { margin: 10px 0 0; font-size: 13px; color: var(--mui-palette-hustle-quiet); }
"""


class QueueTable(pn.custom.JSComponent):
    """Rows of messages. ``selected`` are the ids that are chosen, ``state`` the one that is filtered by."""

    rows = param.List(default=[])
    chips = param.List(default=[])
    state = param.String(default="")
    selected = param.List(default=[])
    more = param.String(default="")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})

    def save(self, name: str, text: str) -> None:
        """Give the visitor a file to keep."""
        self._send_msg({"name": name, "text": text})
