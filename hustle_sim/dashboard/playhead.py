"""The play head: one moment of a run, moved by play, by hand, by keys, or to the next event.

It runs in the browser. The line in the figures is moved there, without the server; the server is told the moment ten
times a second at most, and not before it has shown the last one.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

SPEEDS = (60, 300, 600, 3600)
"""How many seconds of the run go by in one second."""

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
const pad = (number) => String(number).padStart(2, "0")
const words = (seconds) => {
  const whole = Math.max(0, Math.round(seconds))
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24
  const rest = `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`
  return `${days ? days + "d " : ""}${days || hours ? pad(hours) + ":" : ""}${rest}`
}
const TICK_MS = 100
const PATIENCE_MS = 1500

export function render({model}) {
  const button = (className, text, label) => {
    const made = make("button", {type: "button", className, textContent: text, title: label})
    made.setAttribute("aria-label", label)
    return made
  }
  const back = button("step", "|◀", "To the event before (Shift + ←)")
  const play = button("play", "▶", "Play (space)")
  const forth = button("step", "▶|", "To the next event (Shift + →)")
  const slider = make("input", {type: "range", min: 0, step: "any"})
  slider.setAttribute("aria-label", "Moment of the run")
  const clock = make("output", {className: "clock"})
  const speed = make("select", {className: "speed", title: "Seconds of the run in one second"})
  speed.setAttribute("aria-label", "Speed")
  const note = make("span", {className: "note"})
  note.setAttribute("role", "status")
  const root = make("div", {className: "playhead"}, make("div", {className: "keys"}, back, play, forth), slider, clock,
                    speed, note)
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", "Play head")

  let at = model.time_s, timer = null, before = 0, told = at, told_ms = 0, mine = false

  const drawLines = () => {
    for (const doc of window.Bokeh?.documents ?? []) {
      for (const one of doc._all_models?.values() ?? []) {
        if (one.name === model.line && one.location !== at) { one.setv({location: at}, {sync: false}) }
      }
    }
  }
  const draw = () => {
    slider.value = at
    clock.textContent = words(at)
    slider.setAttribute("aria-valuetext", words(at))
    drawLines()
  }
  const tell = (force) => {
    const now = performance.now()
    if (at === told) { return }
    const waits = model.shown_s !== told && now - told_ms < PATIENCE_MS
    if (!force && (waits || now - told_ms < TICK_MS - 10)) { later(); return }
    told = at
    told_ms = now
    mine = true
    model.time_s = at
    mine = false
  }
  let pending = null
  const later = () => {
    if (pending === null) { pending = setTimeout(() => { pending = null; tell(false) }, TICK_MS) }
  }
  const go = (time_s) => {
    // It is of the event that was stepped to, and no longer true of where the person goes now.
    if (model.note) { model.note = "" }
    at = Math.min(Math.max(0, time_s), model.end_s)
    draw()
    tell(false)
  }
  const isSeen = () => !document.hidden && root.isConnected && root.getClientRects().length > 0
  const stop = () => {
    if (timer !== null) { clearInterval(timer) }
    timer = null
    play.textContent = "▶"
    play.title = "Play (space)"
    play.setAttribute("aria-label", play.title)
    root.dataset.playing = "false"
  }
  const start = () => {
    if (at >= model.end_s) { at = 0 }
    before = performance.now()
    timer = setInterval(() => {
      const now = performance.now()
      if (!isSeen()) { stop(); return }
      go(at + (now - before) / 1000 * Number(speed.value))
      before = now
      if (at >= model.end_s) { stop() }
    }, TICK_MS)
    play.textContent = "❚❚"
    play.title = "Pause (space)"
    play.setAttribute("aria-label", play.title)
    root.dataset.playing = "true"
  }
  const stride = () => Math.max(1, Math.round(model.end_s / 1000))
  const toggle = () => { timer === null ? start() : stop() }
  const step = (way) => { stop(); model.send_msg({way, time_s: at}) }

  play.addEventListener("click", toggle)
  back.addEventListener("click", () => step(-1))
  forth.addEventListener("click", () => step(1))
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)) })
  root.addEventListener("keydown", (event) => {
    const arrow = {ArrowLeft: -1, ArrowRight: 1}[event.key]
    if (event.key === " " && event.target === slider) { event.preventDefault(); toggle() }
    if (arrow && event.shiftKey && event.target !== speed) { event.preventDefault(); step(arrow) }
    else if (arrow && event.target !== speed) { event.preventDefault(); stop(); go(at + arrow * stride()) }
  })
  model.on("time_s", () => {
    if (mine || model.time_s === told) { return }
    at = told = model.time_s
    draw()
  })
  const measure = () => {
    slider.max = model.end_s
    root.classList.toggle("empty", !(model.end_s > 0))
    draw()
  }
  const drawSpeeds = () => {
    speed.replaceChildren(...model.speeds.map((each) => make("option", {value: each, textContent: `× ${each}`})))
    speed.value = model.speed
  }
  speed.addEventListener("change", () => { model.speed = Number(speed.value) })
  model.on("end_s", measure)
  model.on("drawn", drawLines)
  model.on("speed", drawSpeeds)
  model.on("note", () => { note.textContent = model.note })
  note.textContent = model.note
  drawSpeeds()
  measure()
  stop()
  return root
}
"""

_CSS = """
:host { display: block; position: sticky; top: 0; z-index: 9; width: 100%;
        font: 13.5px/1.3 var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); }
.playhead { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; padding: 8px 14px; border-radius: 10px;
  background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
  box-shadow: 0 2px 8px #0000001c, 0 -9px 0 var(--mui-palette-hustle-well); }
.empty { opacity: .5; pointer-events: none; }
.keys { display: flex; gap: 4px; }
button { font: inherit; font-size: 12px; letter-spacing: -1px; line-height: 1;
   width: 36px; height: 32px; cursor: pointer; color: inherit;
  border-radius: 8px; border: 1px solid var(--mui-palette-hustle-line); background: var(--mui-palette-hustle-well);
  padding: 0; font-variant-emoji: text; }
button.play { background: var(--mui-palette-primary-main); color: var(--mui-palette-primary-contrastText);
  border-color: var(--mui-palette-primary-main); }
button:focus-visible, input:focus-visible, select:focus-visible {
  outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; }
input { flex: 1 1 160px; min-width: 120px; margin: 0; accent-color: var(--mui-palette-primary-main); }
.clock { font-variant-numeric: tabular-nums; font-weight: 600; min-width: 4.6em; text-align: right; }
select { font: inherit; color: inherit; background: var(--mui-palette-hustle-well); height: 32px; border-radius: 8px;
  border: 1px solid var(--mui-palette-hustle-line); padding: 0 4px; }
.note { flex: 0 1 auto; font-size: 12.5px; color: var(--mui-palette-hustle-quiet); }
.note:empty { display: none; }
"""


class PlayHead(pn.custom.JSComponent):
    """A bar with play, steps, slider and speed; ``time_s`` is the moment, 0..``end_s``.

    ``line`` is the name of the Bokeh spans that it moves. Set ``shown_s`` to the moment that was shown last, and
    raise ``drawn`` when there are new figures. ``step`` is called with -1 or 1 and the moment in the browser.
    """

    time_s = param.Number(default=0.0)
    end_s = param.Number(default=0.0)
    shown_s = param.Number(default=0.0)
    speed = param.Integer(default=600)
    speeds = param.List(default=list(SPEEDS))
    line = param.String(default="")
    note = param.String(default="", doc="What happened at the event that was stepped to.")
    drawn = param.Integer(default=0)

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, step: Callable[[int, float], None], **params: Any) -> None:
        super().__init__(**{"margin": (0, 0, 12, 0), "sizing_mode": "stretch_width", **params})
        self._step = step

    def _handle_msg(self, data: Any) -> None:
        self._step(1 if data.get("way", 1) > 0 else -1, float(data.get("time_s", self.time_s)))
