"""A table of policies: one can be chosen, and taken along to where it is simulated."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

_ESM = """
const element = (tag, name, text) => {
  const made = document.createElement(tag)
  if (name) { made.className = name }
  if (text !== undefined) { made.textContent = text }
  return made
}

export function render({model}) {
  const root = element("div", "scroller")
  root.tabIndex = 0
  root.setAttribute("role", "region")
  root.setAttribute("aria-label", model.caption)
  const table = element("table")
  root.append(table)
  const rows = new Map()

  const mark = () => {
    for (const [key, row] of rows) {
      row.classList.toggle("chosen", key === model.selected)
      row.querySelector(".pick").setAttribute("aria-pressed", String(key === model.selected))
    }
    const row = rows.get(model.selected)
    if (row && root.scrollHeight > root.clientHeight) { row.scrollIntoView({block: "nearest"}) }
  }
  const draw = () => {
    rows.clear()
    const head = element("tr")
    for (const title of model.columns) {
      const cell = element("th", "", title)
      cell.scope = "col"
      head.append(cell)
    }
    const last = element("th")
    last.append(element("span", "unseen", "Simulate"))
    head.append(last)
    const body = model.rows.map(({key, cells, mark, note}) => {
      const row = element("tr")
      cells.forEach((text, at) => {
        const cell = element(at ? "td" : "th")
        if (at) { cell.textContent = text } else {
          cell.scope = "row"
          const pick = element("button", "pick")
          pick.type = "button"
          pick.append(element("i", "mark", mark), text)
          if (note) { pick.append(element("small", "", note)) }
          pick.addEventListener("click", () => { model.selected = key })
          cell.append(pick)
        }
        row.append(cell)
      })
      const load = element("button", "load", "Simulate")
      load.type = "button"
      load.setAttribute("aria-label", `Simulate ${cells[0]}`)
      load.addEventListener("click", () => model.send_msg({type: "load", key}))
      const cell = element("td")
      cell.append(load)
      row.append(cell)
      rows.set(key, row)
      return row
    })
    const top = element("thead")
    top.append(head)
    const rest = element("tbody")
    rest.append(...body)
    const caption = element("caption", "unseen", model.caption)
    table.replaceChildren(caption, top, rest)
    mark()
  }
  model.on(["rows", "columns", "caption"], draw)
  model.on("selected", mark)
  draw()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; }
.scroller { overflow: auto; max-height: 420px; border-radius: 8px; }
.scroller:focus, button:focus { outline: none; }
.scroller:focus-visible, button:focus-visible { outline: 3px solid var(--mui-palette-primary-main);
                                                outline-offset: -2px; }
table { border-collapse: collapse; width: 100%; font-family: var(--bokeh-base-font, sans-serif); font-size: 13px;
        color: var(--mui-palette-text-primary); font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px; white-space: nowrap; font-weight: 400;
         border-bottom: 1px solid var(--mui-palette-hustle-line); }
thead th { position: sticky; top: 0; background: var(--mui-palette-hustle-card); font-weight: 600; z-index: 1;
           color: var(--mui-palette-hustle-quiet); }
tr.chosen th, tr.chosen td { background: var(--mui-palette-hustle-well); }
tr.chosen th:first-child { box-shadow: inset 4px 0 0 var(--mui-palette-primary-main); }
button { font: inherit; color: inherit; cursor: pointer; }
.pick { border: none; background: none; padding: 4px 2px; text-align: left; font-weight: 500; }
.mark { font-style: normal; display: inline-block; width: 1.5em; }
small { color: var(--mui-palette-hustle-quiet); margin-left: 8px; font-size: 12px; }
.load { padding: 4px 10px; border-radius: 7px; border: 1px solid var(--mui-palette-hustle-line);
        background: transparent; }
.load:hover, .pick:hover { color: var(--mui-palette-primary-main); border-color: var(--mui-palette-primary-main); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""


class PolicyTable(pn.custom.JSComponent):
    """Rows of policies. ``load`` is called with the key of the one that a visitor wants to simulate."""

    caption = param.String(default="Policies")
    columns = param.List(default=[], doc="Titles.")
    rows = param.List(default=[], doc="Dicts of key, cells (texts, one for each column), mark (a glyph) and note.")
    selected = param.String(default="", doc="The key of the chosen row.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, load: Callable[[str], None], **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._load = load

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("type") == "load":
            self._load(str(data.get("key")))
