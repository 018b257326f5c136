"""The gallery of scenarios: the chosen one as a card, all of them in a dialog, and a file of one's own.

Choosing is by click, or by keyboard in a list box: arrows move, Enter chooses, Escape goes back.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import panel as pn
import param

from hustle_sim.dashboard.scenario_files import LARGEST
from hustle_sim.dashboard.scenario_sketch import CSS as SKETCH_CSS
from hustle_sim.dashboard.scenario_sketch import facts, outages_in_words, sketch
from hustle_sim.simulation.scenario import Scenario


def item(key: str, scenario: Scenario, own: bool) -> dict[str, Any]:
    """What the gallery shows of a scenario; ``key`` tells it from the others."""
    return {
        "key": key,
        "name": scenario.name,
        "lesson": scenario.description,
        "facts": facts(scenario),
        "what": outages_in_words(scenario),
        "svg": sketch(scenario, f"sketch-{key}"),
        "own": own,
    }


_ESM = """
const element = (tag, name, text) => {
  const made = document.createElement(tag)
  if (name) { made.className = name }
  if (text !== undefined) { made.textContent = text }
  return made
}

const button = (name, text) => {
  const made = element("button", name, text)
  made.type = "button"
  return made
}

function card(item, prefix) {
  const made = element("span", "inside")
  const drawing = element("span", "drawing")
  // Our own drawing: numbers and words of ours; its names are kept apart, as it may stand twice in the page.
  drawing.innerHTML = item.svg.replaceAll("sketch-", prefix + "sketch-")
  drawing.firstChild.setAttribute("aria-hidden", "true")
  drawing.firstChild.removeAttribute("role")
  const name = element("span", "name", item.name)
  if (item.own) { name.append(element("span", "yours", "yours")) }
  made.append(drawing, name)
  if (item.lesson) { made.append(element("span", "lesson", item.lesson)) }
  made.append(element("span", "fine", item.facts), element("span", "fine", item.what))
  return made
}

export function render({model}) {
  const root = element("div", "picker")
  const chosen = button("chosen")
  chosen.setAttribute("aria-haspopup", "dialog")
  const acts = element("div", "acts")
  const other = button("act", "Choose another")
  const edit = button("act", "Edit")
  const bring = button("act", "Open a file")
  acts.append(other, edit, bring)
  const problem = element("p", "problem")
  problem.setAttribute("role", "alert")
  const file = element("input")
  file.type = "file"
  file.accept = ".toml"
  file.hidden = true
  file.setAttribute("aria-label", "Scenario from a TOML file")

  const dialog = element("dialog", "gallery")
  dialog.setAttribute("aria-label", "Scenarios")
  const head = element("header")
  const close = button("act close", "Close")
  head.append(element("h2", "", "Which outage?"), close)
  const list = element("div", "list")
  list.setAttribute("role", "listbox")
  list.setAttribute("aria-label", "Scenarios")
  const foot = element("footer")
  const bringHere = button("act", "Open a file")
  foot.append(element("span", "", "Drop a scenario's TOML file here, or"), bringHere)
  dialog.append(head, list, foot)
  root.append(chosen, acts, problem, file, dialog)

  let options = []
  const draw = () => {
    const current = model.items.find((item) => item.key === model.chosen)
    chosen.replaceChildren(...(current ? [card(current, "a-")] : ["Choose a scenario"]))
    chosen.setAttribute("aria-label", current ? `Scenario: ${current.name}. Choose another` : "Choose a scenario")
    if (dialog.open) { fill() }
  }
  const fill = () => {
    const at = options.findIndex((option) => option.tabIndex === 0)
    options = model.items.map((item) => {
      const option = element("div", "option")
      option.setAttribute("role", "option")
      option.setAttribute("aria-selected", String(item.key === model.chosen))
      option.tabIndex = -1
      option.append(card(item, "b-"))
      option.addEventListener("click", () => choose(item.key))
      option.dataset.key = item.key
      return option
    })
    list.replaceChildren(...options)
    const on = at >= 0 && at < options.length ? at : model.items.findIndex((item) => item.key === model.chosen)
    if (options.length) { options[Math.max(0, on)].tabIndex = 0 }
  }
  const walk = (to) => {
    const next = options[Math.max(0, Math.min(options.length - 1, to))]
    options.forEach((option) => { option.tabIndex = option === next ? 0 : -1 })
    next.focus()
  }
  const show = () => {
    if (dialog.open) { return }
    options = []
    dialog.append(problem)
    dialog.showModal()
    fill()
    options.find((option) => option.tabIndex === 0)?.focus()
  }
  const choose = (key) => {
    model.send_msg({type: "choose", key})
    dialog.close()
  }
  const tell = () => {
    problem.textContent = model.problem
    problem.hidden = !model.problem
  }
  const doing = () => {
    edit.setAttribute("aria-expanded", String(model.editing))
  }
  const take = async (given) => {
    if (!given) { return }
    let data = ""
    if (given.size <= model.largest) {
      const bytes = new Uint8Array(await given.arrayBuffer())
      let text = ""
      for (let at = 0; at < bytes.length; at += 8192) {
        text += String.fromCharCode(...bytes.subarray(at, at + 8192))
      }
      data = btoa(text)
    }
    model.send_msg({type: "file", name: given.name, size: given.size, data})
  }

  chosen.addEventListener("click", show)
  other.addEventListener("click", show)
  edit.addEventListener("click", () => model.send_msg({type: "edit"}))
  bring.addEventListener("click", () => file.click())
  bringHere.addEventListener("click", () => file.click())
  file.addEventListener("change", () => { take(file.files[0]); file.value = "" })
  close.addEventListener("click", () => dialog.close())
  dialog.addEventListener("close", () => { acts.after(problem) })
  dialog.addEventListener("click", (event) => { if (event.target === dialog) { dialog.close() } })
  list.addEventListener("keydown", (event) => {
    const at = options.findIndex((option) => option.tabIndex === 0)
    const across = Math.max(1, getComputedStyle(list).gridTemplateColumns.split(" ").length)
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + across, ArrowUp: at - across,
      Home: 0, End: options.length - 1,
    }[event.key]
    if (to !== undefined) {
      event.preventDefault()
      if (to >= 0 && to < options.length) { walk(to) }
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault()
      choose(options[at].dataset.key)
    } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const names = model.items.map((item) => item.name.toLowerCase().startsWith(event.key.toLowerCase()))
      const found = names.indexOf(true, at + 1)
      if (found >= 0 || names.includes(true)) { walk(found >= 0 ? found : names.indexOf(true)) }
    }
  })
  const mark = (on) => { root.classList.toggle("dropping", on) }
  root.addEventListener("dragover", (event) => {
    if ([...event.dataTransfer.types].includes("Files")) { event.preventDefault(); mark(true) }
  })
  root.addEventListener("dragleave", (event) => { if (!root.contains(event.relatedTarget)) { mark(false) } })
  root.addEventListener("drop", (event) => {
    event.preventDefault()
    mark(false)
    take(event.dataTransfer.files[0])
  })
  model.on("taken", () => { if (dialog.open) { dialog.close() } })
  model.on(["items", "chosen"], draw)
  model.on("problem", tell)
  model.on("editing", doing)
  draw()
  tell()
  doing()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; }
.picker { font-family: var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); font-size: 14px; }
button { font: inherit; color: inherit; cursor: pointer; }
button:focus, .option:focus { outline: none; }
button:focus-visible, .option:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 2px; }
.chosen { display: block; width: 100%; text-align: left; padding: 10px 12px; border-radius: 10px;
          box-sizing: border-box; border: 1px solid var(--mui-palette-hustle-line);
          background: var(--mui-palette-hustle-card); }
.chosen:hover, .option:hover { border-color: var(--mui-palette-primary-main); }
.inside { display: flex; flex-direction: column; gap: 3px; }
.drawing { display: block; margin-bottom: 4px; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.yours { font-weight: 500; font-size: 11.5px; margin-left: 8px; padding: 1px 7px; border-radius: 9px;
         border: 1px solid var(--mui-palette-hustle-line); color: var(--mui-palette-hustle-quiet); }
.lesson { font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.fine { font-size: 12.5px; line-height: 1.4; color: var(--mui-palette-hustle-quiet); }
.acts { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 8px; }
.act { padding: 6px 12px; border-radius: 8px; border: 1px solid var(--mui-palette-hustle-line); font-size: 13px;
       background: transparent; min-height: 34px; }
.act:hover { border-color: var(--mui-palette-primary-main); }
.act[aria-expanded=true] { border-color: var(--mui-palette-primary-main); color: var(--mui-palette-primary-main); }
.problem { margin: 8px 0 0; padding: 8px 10px; border-radius: 8px; font-size: 13px; line-height: 1.45;
           border: 1px solid var(--mui-palette-hustle-line); border-left: 5px solid var(--mui-palette-hustle-offline);
           overflow-wrap: anywhere; }
.problem[hidden] { display: none; }
.dropping .chosen, .dropping .gallery { border: 2px dashed var(--mui-palette-primary-main); }
.gallery { width: min(1080px, 94vw); max-height: 90vh; padding: 0; border-radius: 14px; overflow: auto;
           border: 1px solid var(--mui-palette-hustle-line); color: var(--mui-palette-text-primary);
           background: var(--mui-palette-hustle-well); box-shadow: 0 12px 48px #0006; box-sizing: border-box; }
.gallery::backdrop { background: #0b1020a0; }
header, footer { display: flex; align-items: center; gap: 12px; padding: 12px 18px; position: sticky; z-index: 1;
                 background: var(--mui-palette-hustle-well); }
header { top: 0; justify-content: space-between; border-bottom: 1px solid var(--mui-palette-hustle-line); }
footer { bottom: 0; flex-wrap: wrap; border-top: 1px solid var(--mui-palette-hustle-line); font-size: 13px;
         color: var(--mui-palette-hustle-quiet); }
footer .act { color: var(--mui-palette-text-primary); }
.gallery .problem { margin: 0 18px 12px; background: var(--mui-palette-hustle-card); }
h2 { font-size: 17px; font-weight: 600; margin: 0; }
.list { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 12px;
        padding: 16px 18px; }
.option { padding: 12px 14px; border-radius: 10px; border: 1px solid var(--mui-palette-hustle-line); cursor: pointer;
          background: var(--mui-palette-hustle-card); }
.option[aria-selected=true] { border-color: var(--mui-palette-primary-main);
                              box-shadow: inset 0 0 0 1px var(--mui-palette-primary-main); }
.option[aria-selected=true] .name::before { content: "✓ "; color: var(--mui-palette-primary-main); }
@media (max-width: 520px) {
  .gallery { width: 100vw; max-width: 100vw; max-height: 100dvh; border-radius: 0; margin: auto 0 0; }
}
"""


class ScenarioGallery(pn.custom.JSComponent):
    """The chosen scenario, and all others a click away. It says what a visitor does, and decides nothing."""

    items = param.List(default=[], doc="What ``item`` makes of each scenario, in order.")
    chosen = param.String(default="", doc="The key of the chosen one.")
    problem = param.String(default="", doc="One sentence about a file that can't be used.")
    editing = param.Boolean(default=False, doc="Whether the editor is open.")
    taken = param.Integer(default=0, doc="Grows with each file that could be used.")
    largest = param.Integer(default=LARGEST, doc="Bytes of a file that are sent.")

    _esm = _ESM
    _stylesheets = [_CSS, SKETCH_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(
        self,
        on_choose: Callable[[str], None],
        on_file: Callable[[str, bytes, int], bool],
        on_edit: Callable[[], None],
        **params: Any,
    ) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._on_choose = on_choose
        self._on_file = on_file
        self._on_edit = on_edit

    def _handle_msg(self, data: Any) -> None:
        kind = data.get("type") if isinstance(data, dict) else None
        if kind == "choose":
            self._on_choose(str(data.get("key")))
        elif kind == "edit":
            self._on_edit()
        elif kind == "file":
            try:
                content = base64.b64decode(str(data.get("data", "")), validate=True)
            except binascii.Error:
                content = b"\xff"
            if self._on_file(str(data.get("name")) or "scenario.toml", content, int(data.get("size", 0))):
                self.taken += 1
