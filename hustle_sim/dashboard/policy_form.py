"""The form of the policy: a slider and a field for each number, with unit, reason, what the preset has, and reset.

One component of our own for all of it: some sixty widgets would cost a visitor a second to get.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import panel as pn
import param

from hustle_sim.dashboard import controls
from hustle_sim.dashboard.controls import FIELDS
from hustle_sim.policy import Policy

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
const same = (a, b) => a === b || (a !== "" && b !== "" && Number(a) === Number(b))

export function render({model}) {
  const rows = new Map()
  const parts = []
  let pending = null
  let timer = 0

  // A dragged slider speaks more often than anyone can look: the last word of each 40 ms is sent.
  const flush = () => {
    timer = 0
    if (pending) { const values = pending; pending = null; model.values = values }
  }
  const now = () => pending || model.values
  const set = (changes, at_once) => {
    pending = {...now(), ...changes}
    draw()
    if (at_once) { clearTimeout(timer); flush() }
    else if (!timer) { timer = setTimeout(flush, 40) }
  }
  const nearest = (stops, value) => {
    let best = 0
    for (let i = 1; i < stops.length; i++) {
      if (Math.abs(stops[i] - value) <= Math.abs(stops[best] - value)) { best = i }
    }
    return best
  }

  const number = (spec, id) => {
    const slider = make("input", {type: "range", min: 0, max: spec.stops.length - 1, step: 1, className: "slider"})
    slider.setAttribute("aria-label", `${spec.label}, slider`)
    const tick = make("i", {className: "tick"})
    tick.setAttribute("aria-hidden", "true")
    const text = make("input", {type: "text", inputMode: "decimal", id, className: "text", autocomplete: "off"})
    slider.addEventListener("input", () => {
      const value = String(spec.stops[slider.valueAsNumber])
      text.value = value
      set({[spec.name]: value}, false)
    })
    slider.addEventListener("change", () => { clearTimeout(timer); flush() })
    const commit = () => {
      const value = text.value.trim()
      if (value !== String(now()[spec.name])) { set({[spec.name]: value}, true) }
    }
    text.addEventListener("change", commit)
    text.addEventListener("keydown", (event) => { if (event.key === "Enter") { commit() } })
    const line = make("div", {className: "line"}, make("span", {className: "track"}, tick, slider), text)
    const show = (value) => {
      if (text.getRootNode().activeElement !== text || !same(text.value.trim(), String(value))) { text.value = value }
      const at = nearest(spec.stops, Number(value))
      if (!Number.isNaN(Number(value)) && slider.valueAsNumber !== at) { slider.value = at }
      slider.setAttribute("aria-valuetext",
        same(spec.stops[at], value) ? spec.words[at] : `${value} ${spec.unit}`.trim())
      const base = Number(model.base[spec.name])
      tick.style.left = `calc(8px + (100% - 16px) * ${nearest(spec.stops, base) / Math.max(1, spec.stops.length - 1)})`
    }
    return {line, input: text, show}
  }
  const choice = (spec, id) => {
    const select = make("select", {id, className: "select"},
      ...spec.choices.map((each) => make("option", {value: each, textContent: each})))
    select.addEventListener("change", () => set({[spec.name]: select.value}, true))
    return {line: make("div", {className: "line"}, select), input: select, show: (value) => { select.value = value }}
  }
  const toggle = (spec, id) => {
    const box = make("input", {type: "checkbox", id, className: "switch"})
    box.setAttribute("role", "switch")
    box.addEventListener("change", () => set({[spec.name]: box.checked}, true))
    return {line: null, input: box, show: (value) => { box.checked = Boolean(value) }}
  }

  const row = (spec) => {
    const id = `field-${spec.name}`
    const {line, input, show} = {number, choice, switch: toggle}[spec.kind](spec, id)
    const label = make("label", {htmlFor: id}, spec.label)
    if (spec.unit) { label.append(make("span", {className: "unit", textContent: ` · ${spec.unit}`})) }
    const tip = make("div", {className: "tip", id: `tip-${spec.name}`, textContent: spec.reason})
    tip.setAttribute("role", "tooltip")
    const note = make("div", {className: "note", id: `note-${spec.name}`})
    input.setAttribute("aria-describedby", `${tip.id} ${note.id}`)
    const reset = make("button", {type: "button", className: "reset", textContent: "↺"})
    reset.addEventListener("click", () => { set({[spec.name]: model.base[spec.name]}, true); input.focus() })
    const head = make("div", {className: "head"}, make("span", {className: "mark", textContent: "●"}), label, reset)
    head.querySelector(".mark").setAttribute("aria-hidden", "true")
    if (!line) { head.append(input) }
    const element = make("div", {className: `row ${spec.kind}`}, head, ...(line ? [line] : []), note, tip)
    element.dataset.field = spec.name
    rows.set(spec.name, {element, input, note, reset, show, spec})
    return element
  }

  const root = make("div", {className: "form"})
  for (const [part, title, specs] of model.parts) {
    const count = make("span", {className: "count"})
    const head = make("button", {type: "button", className: "part"}, make("i", {className: "arrow", textContent: "▸"}),
      make("span", {className: "title", textContent: title}), count)
    head.querySelector(".arrow").setAttribute("aria-hidden", "true")
    const reset = make("button", {type: "button", className: "reset-part", textContent: "Reset"})
    reset.setAttribute("aria-label", `Reset ${title} to the preset`)
    reset.addEventListener("click", () => {
      set(Object.fromEntries(specs.map((spec) => [spec.name, model.base[spec.name]])), true)
      head.focus()
    })
    const body = make("div", {className: "body", hidden: true, id: `part-${part}`})
    let filled = false
    const open = (on) => {
      if (on && !filled) { filled = true; body.append(...specs.map(row)); draw() }
      body.hidden = !on
      head.setAttribute("aria-expanded", String(on))
    }
    head.setAttribute("aria-controls", body.id)
    head.addEventListener("click", () => open(body.hidden))
    open(false)
    const section = make("section", {}, make("div", {className: "bar"}, head, reset), body)
    root.append(section)
    parts.push({count, reset, specs, open, part})
  }

  const draw = () => {
    const values = now()
    for (const {count, reset, specs} of parts) {
      const changed = specs.filter((spec) => !same(values[spec.name], model.base[spec.name])).length
      count.textContent = changed ? `● ${changed} changed` : ""
      reset.hidden = changed === 0
    }
    for (const [name, {element, input, note, reset, show, spec}] of rows) {
      const changed = !same(values[name], model.base[name])
      element.classList.toggle("changed", changed)
      reset.hidden = !changed
      reset.setAttribute("aria-label", `Reset ${spec.label} to ${model.words[name]}`)
      reset.title = `Reset to ${model.words[name]}`
      input.setAttribute("aria-invalid", String(model.wrong.includes(name)))
      note.textContent = model.notes[name] || ""
      show(values[name])
    }
  }
  // What the server sets takes the place of what was about to be sent, but not of a thumb that is held.
  model.on("values", () => { if (!timer) { pending = null } draw() })
  model.on(["base", "notes", "wrong", "words"], draw)
  draw()
  return root
}
"""

_CSS = """
:host { display: block; color: var(--mui-palette-text-primary); font: 13.5px/1.4 var(--bokeh-base-font, sans-serif); }
section { border-top: 1px solid var(--mui-palette-hustle-line); }
.bar { display: flex; align-items: center; gap: 8px; }
.part { flex: 1; display: flex; align-items: center; gap: 8px; padding: 11px 2px; border: 0; background: none;
        color: inherit; font: inherit; font-weight: 600; cursor: pointer; text-align: left; border-radius: 6px; }
.arrow { font-style: normal; color: var(--mui-palette-hustle-quiet); transition: transform .12s; }
.part[aria-expanded=true] .arrow { transform: rotate(90deg); }
.count { margin-left: auto; font-weight: 500; font-size: 12.5px; color: var(--mui-palette-primary-main); }
.body { padding: 0 2px 10px; }
.row { position: relative; padding: 6px 0; }
.head { display: flex; align-items: center; gap: 6px; min-height: 26px; }
.mark { display: none; font-size: 9px; color: var(--mui-palette-primary-main); }
.changed .mark { display: inline; }
label { flex: 1; min-width: 0; cursor: help; }
.unit { color: var(--mui-palette-hustle-quiet); }
.line { display: flex; align-items: center; gap: 10px; }
.track { position: relative; flex: 1; min-width: 0; height: 26px; }
.tick { position: absolute; top: 3px; width: 2px; height: 20px; margin-left: -1px; border-radius: 1px;
        background: var(--mui-palette-hustle-quiet); opacity: .75; pointer-events: none; }
.slider { position: absolute; inset: 0; width: 100%; height: 26px; margin: 0; background: none; appearance: none;
          -webkit-appearance: none; cursor: pointer; }
.slider::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background: var(--mui-palette-hustle-line); }
.slider::-moz-range-track { height: 4px; border-radius: 2px; background: var(--mui-palette-hustle-line); }
.slider::-webkit-slider-thumb { -webkit-appearance: none; width: 16px; height: 16px; margin-top: -6px;
          border-radius: 50%; border: 2px solid var(--mui-palette-hustle-card);
          background: var(--mui-palette-primary-main); }
.slider::-moz-range-thumb { width: 12px; height: 12px; border-radius: 50%;
          border: 2px solid var(--mui-palette-hustle-card); background: var(--mui-palette-primary-main); }
.text, .select { box-sizing: border-box; height: 30px; padding: 2px 8px; border-radius: 6px; font: inherit;
        border: 1px solid var(--mui-palette-hustle-quiet); color: inherit; background: var(--mui-palette-hustle-card); }
.text { width: 84px; text-align: right; font-variant-numeric: tabular-nums; }
.select { width: 100%; }
.text[aria-invalid=true], .select[aria-invalid=true] { border: 2px solid var(--mui-palette-hustle-worse); }
.switch { flex: none; appearance: none; -webkit-appearance: none; position: relative; width: 36px; height: 20px;
          margin: 0; border-radius: 10px; background: var(--mui-palette-hustle-quiet); cursor: pointer; }
.switch::after { content: ""; position: absolute; left: 3px; top: 3px; width: 14px; height: 14px; border-radius: 50%;
          background: var(--mui-palette-hustle-card); transition: left .12s; }
.switch:checked { background: var(--mui-palette-primary-main); }
.switch:checked::after { left: 19px; }
.reset, .reset-part { border: 1px solid var(--mui-palette-hustle-line); border-radius: 6px; background: none;
          cursor: pointer; color: var(--mui-palette-primary-main); font: inherit; font-size: 13px; padding: 1px 8px; }
.reset { padding: 0 6px; line-height: 22px; }
.reset:hover, .reset-part:hover { border-color: var(--mui-palette-primary-main); }
.note { font-size: 12.5px; color: var(--mui-palette-hustle-quiet); font-variant-numeric: tabular-nums; }
.note:empty { display: none; }
.tip { display: none; position: absolute; z-index: 30; left: 0; right: 0; top: calc(100% - 2px); padding: 8px 10px;
       border-radius: 8px; font-size: 12.5px; background: var(--mui-palette-text-primary);
       color: var(--mui-palette-hustle-card); box-shadow: 0 4px 16px #0004; pointer-events: none; }
.row:has(label:hover) .tip, .row:has(.text:focus-visible) .tip, .row:has(.select:focus-visible) .tip,
.row:has(.switch:focus-visible) .tip { display: block; }
[hidden] { display: none !important; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; border-radius: 6px; }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
"""


class PolicyForm(pn.custom.JSComponent):
    """All tunables, grouped by part. ``changed`` is called when a person changed one of them."""

    parts = param.List(default=[], doc="``controls.specs()``.")
    values = param.Dict(default={}, doc="What each control has, by the field's name: numbers as text.")
    base = param.Dict(default={}, doc="The same of the preset.")
    words = param.Dict(default={}, doc="What the preset has, in words.")
    notes = param.Dict(default={}, doc="What stands below a field.")
    wrong = param.List(default=[], doc="The names of the fields that can't be as they are.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it
    # Panel waits 50 ms for more changes of a component; this one has gathered them in the browser.
    _priority_changes = ["values"]  # noqa: RUF012 - as Panel declares it

    def __init__(self, changed: Callable[[], None] | None = None, **params: Any) -> None:
        policy = Policy()
        values = controls.values_of(policy)
        super().__init__(
            **{
                "parts": controls.specs(), "values": values, "base": values, "words": _words(policy),
                "sizing_mode": "stretch_width", "margin": 0, "css_classes": ["policy-form"], **params,
            }
        )  # fmt: skip
        self._base = policy
        self._changed = changed
        self._is_ours = False
        self._note()
        self.param.watch(self._on_values, "values")

    def policy(self) -> Policy:
        """The policy as the controls stand. Raises InputError with one sentence if it can't work."""
        return controls.policy_of(self.values)

    def show(self, base: Policy, policy: Policy) -> None:
        """Set every control to ``policy``; changes are marked against ``base``. Nobody is told."""
        self._base = base
        self._set(values=controls.values_of(policy), base=controls.values_of(base), words=_words(base), wrong=[])

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set some fields, as if a person had."""
        changed = {name: controls.shown(FIELDS[name], value) for name, value in changes.items()}
        self.values = {**self.values, **changed}

    def blame(self, sentence: str) -> None:
        """Mark the fields that a sentence names as wrong; an empty sentence clears all marks."""
        self.wrong = sorted(controls.blamed(sentence))

    def _set(self, **values: Any) -> None:
        self._is_ours = True
        try:
            self.param.update(**values)
        finally:
            self._is_ours = False
        self._note()

    def _on_values(self, _: Any) -> None:
        if self._is_ours:
            return
        # In one message: each costs the server as much as the page has models, about 5 ms.
        with pn.io.hold():
            self._note()
            if self._changed is not None:
                self._changed()

    def _note(self) -> None:
        flat = {name: controls.meant(FIELDS[name], value) for name, value in self.values.items()}
        notes = {name: controls.note(FIELDS[name], value, self._base.get(name)) for name, value in flat.items()}
        self.notes = {name: words for name, words in notes.items() if words}


def _words(policy: Policy) -> dict[str, str]:
    return {name: controls.in_words(FIELDS[name], value) for name, value in policy.flat().items()}
