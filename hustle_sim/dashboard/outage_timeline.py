"""The timeline on which outages are dragged, resized, added and deleted, by hand or by keyboard.

While a hand drags, the browser draws by itself and tells the server now and then where the outage is; it takes what
the server sends only once that is newer than all it has told.
"""

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

const button = (name, text) => {
  const made = element("button", name, text)
  made.type = "button"
  return made
}

function words(seconds) {
  let rest = Math.round(seconds)
  if (rest < 1) { return `${Number(seconds.toFixed(2))} s` }
  const parts = []
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size)
    rest -= number * size
    if (number) { parts.push(`${number} ${unit}`) }
  }
  return parts.slice(0, 2).join(" ")
}

const WAIT_MS = 120
const NUDGE = {ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10}

export function render({model}) {
  const root = element("div", "timeline")
  const tools = element("div", "tools")
  const add = button("act add", "+ Add outage")
  const remove = button("act", "Delete")
  const undo = button("act", "Undo")
  const redo = button("act", "Redo")
  tools.append(add, remove, undo, redo)
  const readout = element("p", "readout")
  readout.setAttribute("role", "status")
  readout.setAttribute("aria-live", "polite")
  const defs = element("div", "defs")
  defs.setAttribute("aria-hidden", "true")
  const track = element("div", "track")
  track.setAttribute("role", "group")
  track.setAttribute("aria-label", "Outages in time")
  const grid = element("div", "grid")
  grid.setAttribute("aria-hidden", "true")
  const load = element("div", "load")
  load.setAttribute("aria-hidden", "true")
  track.append(grid)
  const axis = element("div", "axis")
  axis.setAttribute("aria-hidden", "true")
  const legend = element("ul", "legend")
  const note = element("p", "fine")
  const help = element("p", "fine", "Drag an outage to move it, its ends to resize it; double-click on free space to "
    + "add one. Keys: arrows move, Shift+arrows resize, Page Up and Page Down move further, Delete removes, "
    + "Ctrl+Z takes back.")
  help.id = "help"
  root.append(tools, defs, track, load, axis, legend, readout, note, help)

  const nodes = new Map()
  let scene = model.scene
  let told = model.acknowledged
  let drag = null
  const local = new Map()
  let timer = null

  const tell = (message) => {
    told += 1
    root.setAttribute("aria-busy", "true")
    model.send_msg({...message, told})
  }
  const clock = (seconds) => {
    const iso = new Date((scene.start + seconds) * 1000).toISOString()
    const days = Math.floor((scene.start + seconds) / 86400) - Math.floor(scene.start / 86400)
    const at = iso.slice(17, 19) === "00" ? iso.slice(11, 16) : iso.slice(11, 19)
    return days ? `day ${days + 1} ${at}` : at
  }
  const fromTo = (bar) => `${clock(bar.start_s)} to ${clock(bar.end_s)}, ${words(bar.end_s - bar.start_s)}`
  const snap = (seconds) => Math.round(seconds / scene.step_s) * scene.step_s
  const left = (seconds) => `${100 * seconds / scene.duration_s}%`

  const place = (node, bar) => {
    node.style.left = left(bar.start_s)
    node.style.width = left(bar.end_s - bar.start_s)
    node.style.top = `${6 + bar.lane * 46}px`
    node.dataset.mode = bar.mode
    node.classList.toggle("fixed", !bar.free)
    node.classList.toggle("selected", bar.index === model.selected)
    node.setAttribute("aria-pressed", String(bar.index === model.selected))
    node.setAttribute("aria-label", `Outage ${bar.index + 1}: ${bar.words}; ${fromTo(bar)}`)
    node.tabIndex = bar.free || bar.number === 0 ? 0 : -1
    const grown = Math.min(100, 100 * bar.ramp_s / Math.max(bar.end_s - bar.start_s, 1e-9))
    const top = 100 - 100 * (0.3 + 0.7 * bar.severity)
    const shape = node.querySelector(".shape")
    shape.style.clipPath = `polygon(0% 100%, ${grown}% ${top}%, 100% ${top}%, 100% 100%)`
    shape.querySelector("rect").setAttribute("fill", `url(#line-${bar.mode})`)
    node.querySelector(".glyph").textContent = bar.glyph
  }
  const made = (key) => {
    const node = button("outage")
    node.innerHTML = '<span class="shape"><svg aria-hidden="true"><rect width="100%" height="100%"/></svg></span>'
      + '<span class="glyph" aria-hidden="true"></span><span class="grip start"></span><span class="grip end"></span>'
    node.setAttribute("aria-describedby", "help")
    node.addEventListener("pointerdown", (event) => down(event, key))
    node.addEventListener("pointermove", move)
    node.addEventListener("pointerup", (event) => up(event, false))
    node.addEventListener("pointercancel", (event) => up(event, true))
    node.addEventListener("focus", () => choose(find(key)))
    node.addEventListener("dblclick", (event) => event.stopPropagation())
    node.addEventListener("keydown", (event) => pressed(event, key))
    return node
  }
  const keyOf = (bar) => `${bar.index}:${bar.number}`
  // What a hand has done counts at once, also before the server has said so.
  const find = (key) => local.get(key) ?? scene.bars.find((bar) => keyOf(bar) === key)
  const choose = (bar) => { if (bar && model.selected !== bar.index) { model.selected = bar.index } }

  const draw = () => {
    root.setAttribute("aria-busy", String(model.acknowledged < told))
    if (model.acknowledged < told) { return }
    scene = model.scene
    local.clear()
    defs.innerHTML = `<svg width="0" height="0"><defs>${scene.patterns}</defs></svg>`
    track.style.height = `${scene.lanes * 46 + 8}px`
    const seen = new Set()
    for (const bar of scene.bars) {
      const key = keyOf(bar)
      seen.add(key)
      if (!nodes.has(key)) {
        nodes.set(key, made(key))
        track.append(nodes.get(key))
      }
      place(nodes.get(key), bar)
    }
    for (const [key, node] of [...nodes]) {
      if (!seen.has(key)) {
        const had = root.getRootNode().activeElement === node
        node.remove()
        nodes.delete(key)
        if (had) { add.focus() }
      }
    }
    grid.replaceChildren(...scene.ticks.map(([share]) => {
      const line = element("i")
      line.style.left = `${share * 100}%`
      return line
    }))
    axis.replaceChildren(...scene.ticks.map(([share, text]) => {
      const label = element("span", share > 0.94 ? "last" : share < 0.03 ? "first" : "", text)
      label.style.left = `${share * 100}%`
      return label
    }))
    const points = scene.load.map((value, at) => `${at / scene.load.length * 100} ${20 - value * 18}`)
    const final = scene.load.length ? 20 - scene.load.at(-1) * 18 : 20
    load.innerHTML = '<svg viewBox="0 0 100 20" preserveAspectRatio="none">'
      + `<path d="M0 20L${points.join("L")}L100 ${final}V20z"/></svg>`
    legend.replaceChildren(...scene.legend.map(([mode, glyph, text]) => {
      const line = element("li")
      line.innerHTML = '<svg width="22" height="14" aria-hidden="true">'
        + `<rect width="22" height="14" rx="2" fill="url(#line-${mode})"/></svg>`
      line.append(element("b", "", glyph), text)
      return line
    }))
    note.textContent = scene.note
    state()
  }
  const state = () => {
    const bar = scene.bars.find((each) => each.index === model.selected)
    remove.disabled = model.selected < 0
    undo.disabled = !model.can_undo
    redo.disabled = !model.can_redo
    for (const each of scene.bars) {
      const node = nodes.get(keyOf(each))
      node?.classList.toggle("selected", each.index === model.selected)
      node?.setAttribute("aria-pressed", String(each.index === model.selected))
    }
    if (!drag) { say(bar && bar.free ? bar : null) }
  }
  const say = (bar) => {
    const text = bar ? `Outage ${bar.index + 1}: ${fromTo(bar)}` : ""
    if (readout.textContent !== text) { readout.textContent = text }
  }

  // Where an outage is after a change, within the scenario; the server holds it to the same.
  const moved = (bar, to_s) => {
    const lasts_s = bar.end_s - bar.start_s
    const start_s = Math.max(0, Math.min(to_s, scene.duration_s - lasts_s))
    return {...bar, start_s, end_s: start_s + lasts_s}
  }
  const resized = (bar, end, to_s) => {
    const least_s = Math.min(scene.step_s, bar.end_s - bar.start_s)
    if (end === "start") { return {...bar, start_s: Math.max(0, Math.min(to_s, bar.end_s - least_s))} }
    return {...bar, end_s: Math.min(scene.duration_s, Math.max(to_s, bar.start_s + least_s))}
  }
  const preview = (bar) => {
    local.set(keyOf(bar), bar)
    place(nodes.get(keyOf(bar)), bar)
    say(bar)
  }
  const send = (bar, what, gesture) => {
    if (what === "move") { tell({type: "move", index: bar.index, at_s: bar.start_s, gesture}) }
    else if (what === "start") { tell({type: "resize", index: bar.index, start_s: bar.start_s, gesture}) }
    else { tell({type: "resize", index: bar.index, end_s: bar.end_s, gesture}) }
  }

  const down = (event, key) => {
    const bar = find(key)
    if (!bar || event.button) { return }
    choose(bar)
    const node = nodes.get(key)
    node.focus({preventScroll: true})
    if (!bar.free) { return }
    event.preventDefault()
    node.setPointerCapture(event.pointerId)
    const grip = event.target.classList
    const what = grip.contains("start") ? "start" : grip.contains("end") ? "end" : "move"
    drag = {key, bar, what, x: event.clientX, went: false, gesture: `drag-${told}-${event.timeStamp}`}
    node.classList.add("dragged")
  }
  const move = (event) => {
    if (!drag) { return }
    const by = event.clientX - drag.x
    if (!drag.went && Math.abs(by) < 3) { return }
    drag.went = true
    const by_s = by / track.clientWidth * scene.duration_s
    const {bar, what} = drag
    preview(what === "move" ? moved(bar, snap(bar.start_s + by_s))
      : resized(bar, what, snap((what === "start" ? bar.start_s : bar.end_s) + by_s)))
    timer ??= setTimeout(() => { timer = null; if (drag) { send(find(drag.key), drag.what, drag.gesture) } }, WAIT_MS)
  }
  const up = (event, lost) => {
    if (!drag) { return }
    const {key, bar, what, went, gesture} = drag
    drag = null
    clearTimeout(timer)
    timer = null
    nodes.get(key)?.classList.remove("dragged")
    if (went) {
      if (lost) { preview(bar) }
      send(find(key), what, gesture)
    }
  }
  const pressed = (event, key) => {
    const bar = find(key)
    if (!bar) { return }
    if (event.key === "Escape" && drag) { return up(event, true) }
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault()
      return tell({type: "delete", index: bar.index})
    }
    const by = NUDGE[event.key]
    if (by === undefined || !bar.free || event.ctrlKey || event.metaKey || event.altKey) { return }
    event.preventDefault()
    const what = event.shiftKey ? "end" : "move"
    const by_s = by * scene.step_s
    const to = event.shiftKey ? resized(bar, "end", bar.end_s + by_s) : moved(bar, bar.start_s + by_s)
    preview(to)
    send(to, what, `key-${what}-${bar.index}`)
  }

  track.addEventListener("dblclick", (event) => {
    const box = track.getBoundingClientRect()
    const at_s = (event.clientX - box.left) / box.width * scene.duration_s
    tell({type: "add", at_s: Math.max(0, snap(at_s))})
  })
  root.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) { return }
    const key = event.key.toLowerCase()
    if (key === "z" || key === "y") {
      event.preventDefault()
      tell({type: key === "y" || event.shiftKey ? "redo" : "undo"})
    }
  })
  add.addEventListener("click", () => tell({type: "add"}))
  remove.addEventListener("click", () => { if (model.selected >= 0) { tell({type: "delete", index: model.selected}) } })
  undo.addEventListener("click", () => tell({type: "undo"}))
  redo.addEventListener("click", () => tell({type: "redo"}))
  model.on("scene", draw)
  model.on("acknowledged", draw)
  model.on(["selected", "can_undo", "can_redo"], state)
  model.on("remove", () => clearTimeout(timer))
  draw()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; }
.timeline { font-family: var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); font-size: 13px;
            --hole: var(--mui-palette-hustle-card); }
button { font: inherit; color: inherit; cursor: pointer; }
.tools { display: flex; flex-wrap: wrap; gap: 8px; margin-bottom: 10px; }
.act { padding: 6px 12px; border-radius: 8px; border: 1px solid var(--mui-palette-hustle-line); background: transparent;
       min-height: 34px; }
.act:hover:not(:disabled) { border-color: var(--mui-palette-primary-main); }
.act:disabled { opacity: .5; cursor: default; }
.add { background: var(--mui-palette-primary-main); color: var(--mui-palette-primary-contrastText); border: none; }
button:focus { outline: none; }
button:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 2px; }
.defs { position: absolute; width: 0; height: 0; overflow: hidden; }
.track { position: relative; border: 1px solid var(--mui-palette-hustle-line); border-radius: 8px 8px 0 0;
         background: var(--mui-palette-hustle-well); overflow: hidden; touch-action: pan-y; cursor: copy; }
.grid i { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--mui-palette-hustle-line); }
.outage { position: absolute; height: 42px; padding: 0; border: none; background: none; min-width: 3px; cursor: grab;
          touch-action: none; display: block; user-select: none; -webkit-user-select: none; }
.outage::before { content: ""; position: absolute; inset: 0 -9px; }
.outage.fixed { cursor: pointer; }
.outage.dragged { cursor: grabbing; z-index: 3; }
.outage.selected { z-index: 2; }
.outage:focus-visible { outline-offset: -1px; }
.shape { position: absolute; inset: 0; }
.shape svg { display: block; width: 100%; height: 100%; }
.outage::after { content: ""; position: absolute; inset: 0; border: 1px solid var(--mui-palette-hustle-quiet);
                 border-radius: 3px; pointer-events: none; }
.outage.fixed::after { border-style: dashed; }
.outage.selected::after { border: 2px solid var(--mui-palette-primary-main); inset: -2px; }
.glyph { position: absolute; left: 50%; top: 50%; translate: -50% -50%; min-width: 18px; height: 18px;
         line-height: 18px; border-radius: 9px; background: var(--mui-palette-hustle-card);
         font-weight: 700; font-size: 12px; text-align: center; pointer-events: none; }
.outage.fixed .glyph { display: none; }
.grip { position: absolute; top: 0; bottom: 0; width: 14px; cursor: ew-resize; }
.grip.start { left: -8px; }
.grip.end { right: -8px; }
.fixed .grip { display: none; }
.outage.selected .grip::after { content: ""; position: absolute; top: 11px; left: 5px; width: 4px; height: 20px;
         border-radius: 2px; background: var(--mui-palette-primary-main); }
@media (pointer: coarse) { .grip { width: 28px; } .grip.start { left: -20px; } .grip.end { right: -20px; }
  .outage.selected .grip::after { left: 12px; } }
.load { border: 1px solid var(--mui-palette-hustle-line); border-top: none; border-radius: 0 0 8px 8px; height: 22px;
        background: var(--mui-palette-hustle-well); overflow: hidden; }
.load svg { display: block; width: 100%; height: 100%; }
.load path { fill: var(--mui-palette-hustle-quiet); fill-opacity: .35; }
.axis { position: relative; height: 20px; font-size: 12px; color: var(--mui-palette-hustle-quiet);
        font-variant-numeric: tabular-nums; container-type: inline-size; }
.axis span { position: absolute; top: 3px; translate: -50% 0; white-space: nowrap; }
.axis .first { translate: 0 0; }
.axis .last { translate: -100% 0; }
@container (max-width: 420px) { .axis span:nth-child(even) { display: none; } }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; margin: 6px 0 0; padding: 0; }
.legend li { display: flex; align-items: center; gap: 6px; }
.readout { margin: 8px 0 0; min-height: 1.4em; font-weight: 600; font-variant-numeric: tabular-nums; }
.fine { margin: 4px 0 0; line-height: 1.45; color: var(--mui-palette-hustle-quiet); font-size: 12.5px; }
"""


class OutageTimeline(pn.custom.JSComponent):
    """Outages in time. ``told`` is called with each thing that a visitor does, and decides what comes of it.

    Messages are ``{"type": "move", "index", "at_s", "gesture"}``, ``{"type": "resize", "index", "start_s" or "end_s",
    "gesture"}``, ``{"type": "add", "at_s" or nothing}``, ``{"type": "delete", "index"}``, ``{"type": "undo"}`` and
    ``{"type": "redo"}``.
    """

    scene = param.Dict(default={}, doc="What ``outage_scene.scene`` makes of a scenario.")
    selected = param.Integer(default=-1, doc="The place of the chosen specification; -1: none.")
    acknowledged = param.Integer(default=0, doc="The number of the last message that the scene contains.")
    can_undo = param.Boolean(default=False)
    can_redo = param.Boolean(default=False)

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, told: Callable[[dict[str, Any]], None], **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._told = told

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict) and isinstance(data.get("told"), int):
            self._told(data)
            self.acknowledged = data["told"]
