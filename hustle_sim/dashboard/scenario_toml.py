"""The TOML of a scenario, live: to read, to copy, to download. What the last edit changed is marked."""

# mypy: allow-subclassing-any

from __future__ import annotations

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
  const root = element("section", "toml")
  const head = element("div", "head")
  const copy = element("button", "act", "Copy")
  const save = element("button", "act", "Download")
  copy.type = save.type = "button"
  const told = element("span", "told")
  told.setAttribute("role", "status")
  head.append(element("h3", "", "The scenario as TOML"), told, copy, save)
  const page = element("pre")
  page.tabIndex = 0
  page.setAttribute("role", "region")
  page.setAttribute("aria-label", "The scenario as TOML")
  root.append(head, page)
  let before = null
  let clearing = null

  const tell = (words) => {
    told.textContent = words
    clearTimeout(clearing)
    clearing = setTimeout(() => { told.textContent = "" }, 3000)
  }
  const draw = () => {
    const lines = model.text.replace(/\\n$/, "").split("\\n")
    const old = before && new Set(before)
    let last = null
    page.replaceChildren(...lines.map((text) => {
      const line = element("span", text.startsWith("#") ? "line said" : "line", text + "\\n")
      if (old && !old.has(text)) {
        line.classList.add("changed")
        last = line
      }
      return line
    }))
    before = lines
    if (last) { page.scrollTop = last.offsetTop - page.clientHeight * 2 / 3 }
  }
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(model.text)
      tell("Copied")
    } catch {
      const range = document.createRange()
      range.selectNodeContents(page)
      const selection = window.getSelection()
      selection.removeAllRanges()
      selection.addRange(range)
      tell("Selected: copy it with Ctrl+C")
    }
  })
  save.addEventListener("click", () => {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(new Blob([model.text], {type: "application/toml"}))
    link.download = model.filename
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
    tell("Saved")
  })
  model.on("text", draw)
  model.on("remove", () => clearTimeout(clearing))
  draw()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; }
.toml { font-family: var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); font-size: 13px; }
.head { display: flex; align-items: center; gap: 8px; margin-bottom: 8px; flex-wrap: wrap; }
h3 { font-size: 12px; font-weight: 600; margin: 0 auto 0 0; color: var(--mui-palette-hustle-quiet);
     text-transform: uppercase; letter-spacing: .06em; }
.told { color: var(--mui-palette-hustle-quiet); }
.act { font: inherit; color: inherit; cursor: pointer; padding: 5px 12px; border-radius: 8px; background: transparent;
       border: 1px solid var(--mui-palette-hustle-line); min-height: 32px; }
.act:hover { border-color: var(--mui-palette-primary-main); }
.act:focus, pre:focus { outline: none; }
.act:focus-visible, pre:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 2px; }
pre { margin: 0; padding: 10px 12px; height: 300px; overflow: auto; border-radius: 8px; position: relative;
      border: 1px solid var(--mui-palette-hustle-line); background: var(--mui-palette-hustle-well);
      font: 12px/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
.line { display: block; padding-left: 8px; border-left: 3px solid transparent; width: max-content; min-width: 100%;
        box-sizing: border-box; }
.said { color: var(--mui-palette-hustle-quiet); }
.changed { border-left-color: var(--mui-palette-primary-main); background: var(--mui-palette-hustle-card); }
"""


class TomlPanel(pn.custom.JSComponent):
    """Text that can be copied and downloaded, and not changed."""

    text = param.String(default="")
    filename = param.String(default="scenario.toml", doc="What the download is called.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
