"""The conversation in the page, and the name that a browser has for its visitor.

One component draws all messages, so that a message changes in its place and costs no models of its own: each chat
message of panel-material-ui took 80 ms of the server, and tells a screen reader nothing when it changes.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
const NEAR = 60

export function render({model}) {
  const root = make("div", {className: "chat"})
  const log = make("div", {className: "log", tabIndex: 0})
  log.setAttribute("role", "log")
  log.setAttribute("aria-live", "off")
  log.setAttribute("aria-label", "Conversation")
  const empty = make("p", {className: "empty"})
  const list = make("div", {className: "list"})
  log.append(empty, list)
  const down = make("button", {type: "button", className: "down", textContent: "↓ Newest", hidden: true})
  const heard = make("div", {className: "heard"})
  heard.setAttribute("role", "status")
  heard.setAttribute("aria-live", "polite")
  root.append(log, down, heard)

  const isNear = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR
  const toEnd = () => { log.scrollTop = log.scrollHeight; down.hidden = true }
  down.addEventListener("click", () => { toEnd(); log.focus({preventScroll: true}) })
  log.addEventListener("scroll", () => { if (isNear()) { down.hidden = true } })

  const known = new Map()
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"})
  const bubble = (row) => {
    const mine = make("div", {className: "mine", textContent: row.question, dir: "auto"})
    const when = make("time", {textContent: clock(row.sent_at), dateTime: new Date(row.sent_at * 1000).toISOString()})
    const theirs = make("div", {className: "theirs"})
    if (row.answer) { theirs.append(make("div", {className: "answer", innerHTML: row.answer, dir: "auto"})) }
    if (row.state === "waiting") {
      const dots = make("span", {className: "dots"}, make("i"), make("i"), make("i"))
      dots.setAttribute("aria-hidden", "true")
      theirs.append(dots)
    }
    const glyph = make("i", {className: "glyph", textContent: row.glyph})
    glyph.setAttribute("aria-hidden", "true")
    const words = make("span", {className: "words", textContent: row.words})
    const note = make("div", {className: "note"}, make("span", {className: "mark"}, glyph, words))
    if (row.due_in_s >= 0) {
      const left = make("span", {className: "left"})
      left.setAttribute("aria-hidden", "true")
      left.dataset.until = String(performance.now() / 1000 + row.due_in_s)
      note.append(left)
    }
    for (const [name, words] of row.actions) {
      const button = make("button", {type: "button", textContent: words})
      button.dataset.action = name
      button.setAttribute("aria-label", `${words}: ${row.question.slice(0, 60)}`)
      button.addEventListener("click", () => {
        // Not disabled in earnest: a button that is would lose the focus.
        if (button.getAttribute("aria-disabled") === "true") { return }
        button.setAttribute("aria-disabled", "true")
        model.send_msg({type: name, key: row.key})
      })
      note.append(button)
    }
    theirs.append(note)
    const pair = make("div", {className: "pair"}, make("div", {className: "asked"}, mine, when), theirs)
    pair.dataset.key = row.key
    pair.dataset.state = row.state
    pair.dataset.source = row.source
    pair.dataset.tone = row.tone
    return pair
  }
  const tick = () => {
    for (const left of list.querySelectorAll(".left")) {
      const seconds = Math.max(0, Math.ceil(Number(left.dataset.until) - performance.now() / 1000))
      const text = seconds > 0 ? `· some answer within ${seconds} s` : "· any moment now"
      if (left.textContent !== text) { left.textContent = text }
    }
  }
  const draw = () => {
    const near = isNear()
    const focused = list.querySelector(":focus")
    const held = focused && [focused.closest(".pair")?.dataset.key, focused.dataset.action]
    const keys = new Set(model.rows.map((row) => row.key))
    let isNew = false
    for (const [key, [, element]] of known) {
      if (!keys.has(key)) { element.remove(); known.delete(key) }
    }
    let after = null
    for (const row of model.rows) {
      const {due_in_s, ...rest} = row
      const stamp = JSON.stringify(rest)
      const before = known.get(row.key)
      let element = before?.[1]
      if (before?.[0] !== stamp) {
        element = bubble(row)
        if (before) { before[1].replaceWith(element) } else { isNew = true }
        known.set(row.key, [stamp, element])
      }
      const place = after ? after.nextSibling : list.firstChild
      if (place !== element) { list.insertBefore(element, place) }
      after = element
    }
    empty.textContent = model.empty
    empty.hidden = model.rows.length > 0
    if (held?.[0]) {
      const pair = [...list.children].find((each) => each.dataset.key === held[0])
      const again = pair?.querySelector(`button[data-action="${held[1]}"]`) ?? pair?.querySelector("button")
      ;(again ?? log).focus({preventScroll: true})
    }
    tick()
    if (near || isNew) { toEnd() } else if (!isNear()) { down.hidden = false }
  }
  model.on(["rows", "empty"], draw)
  model.on("heard", () => { heard.textContent = model.heard })
  const ticking = setInterval(tick, 500)
  // A place that was hidden while it was drawn has no size to scroll in before it is seen.
  const watcher = new ResizeObserver(() => { if (down.hidden) { toEnd() } })
  watcher.observe(log)
  model.on("remove", () => { clearInterval(ticking); watcher.disconnect() })
  draw()
  return root
}
"""

_CSS = """
:host { display: block; width: 100%; font: 15px/1.5 var(--bokeh-base-font, sans-serif);
        color: var(--mui-palette-text-primary); }
.chat { position: relative; }
.log { height: clamp(260px, calc(100vh - 430px), 760px); overflow-y: auto; overflow-x: hidden; padding: 4px 6px 10px;
       overscroll-behavior: contain; scrollbar-gutter: stable; box-sizing: border-box; }
.log:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 2px; border-radius: 8px; }
.empty { margin: 0; padding: 12vh 12px 0; text-align: center; color: var(--mui-palette-hustle-quiet); }
.pair { margin: 0 0 18px; }
.asked { display: flex; flex-direction: column; align-items: flex-end; margin-bottom: 8px; }
.mine { max-width: min(82%, 62ch); padding: 8px 14px; border-radius: 16px 16px 4px 16px; white-space: pre-wrap;
        overflow-wrap: anywhere; background: var(--mui-palette-primary-main);
        color: var(--mui-palette-primary-contrastText); }
time { font-size: 12px; line-height: 1.3; margin-top: 3px; color: var(--mui-palette-hustle-quiet);
       font-variant-numeric: tabular-nums; }
.theirs { max-width: min(92%, 72ch); }
.answer { padding: 9px 14px; border-radius: 16px 16px 16px 4px; width: fit-content; max-width: 100%;
          box-sizing: border-box; background: var(--mui-palette-hustle-well);
          border: 1px solid var(--mui-palette-hustle-line);
          overflow-wrap: anywhere; overflow: hidden; contain: paint; }
.answer > * { margin: 0 0 .55em; unicode-bidi: plaintext; }
.answer > :last-child { margin-bottom: 0; }
.answer .heading { font-weight: 600; }
.answer ul, .answer ol { padding-inline-start: 1.4em; }
.answer a { color: var(--mui-palette-primary-main); }
.answer pre { overflow-x: auto; padding: 8px 10px; border-radius: 8px; background: var(--mui-palette-hustle-card);
              border: 1px solid var(--mui-palette-hustle-line); font-size: 13px; }
.answer code { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: .92em; }
.answer blockquote { border-inline-start: 3px solid var(--mui-palette-hustle-line); padding-inline-start: 10px; }
.answer table { border-collapse: collapse; display: block; overflow-x: auto; }
.answer th, .answer td { border: 1px solid var(--mui-palette-hustle-line); padding: 3px 9px; text-align: start; }
.answer hr { border: 0; border-top: 1px solid var(--mui-palette-hustle-line); }
.answer .cut { color: var(--mui-palette-hustle-quiet); font-size: 13px; }
[data-source=fallback] .answer, [data-source=stale] .answer { border-style: dashed; }
[data-tone=good] .answer { border-inline-start: 4px solid var(--mui-palette-hustle-online); }
.note { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 6px; min-height: 30px; padding: 2px 4px 0;
        font-size: 13px; line-height: 1.4; color: var(--mui-palette-hustle-quiet); }
.mark { display: flex; gap: 6px; min-width: 0; }
.glyph { flex: none; font-style: normal; font-weight: 700; min-width: 1.1em; text-align: center; }
[data-tone=good] .glyph { color: var(--mui-palette-hustle-onlineText); }
[data-tone=warn] .glyph { color: var(--mui-palette-hustle-degradedText); }
[data-tone=bad] .glyph { color: var(--mui-palette-hustle-offlineText); }
[data-tone=warn] .words, [data-tone=bad] .words { color: var(--mui-palette-text-primary); }
.left { font-variant-numeric: tabular-nums; }
.note button, .down { font: inherit; font-weight: 600; cursor: pointer; border-radius: 6px; padding: 3px 10px;
  background: var(--mui-palette-hustle-card); color: var(--mui-palette-primary-main);
  border: 1px solid var(--mui-palette-hustle-line); }
.note button { margin-left: 4px; }
.note button:hover, .down:hover { border-color: var(--mui-palette-primary-main); }
.note button[aria-disabled=true] { opacity: .55; cursor: default; }
.note button:focus-visible, .down:focus-visible { outline: 2px solid var(--mui-palette-primary-main);
  outline-offset: 2px; }
.down { position: absolute; right: 18px; bottom: 8px; font-size: 13px; box-shadow: 0 1px 5px #0004; }
.dots { display: inline-flex; gap: 5px; padding: 13px 16px; border-radius: 16px 16px 16px 4px;
        background: var(--mui-palette-hustle-well); border: 1px solid var(--mui-palette-hustle-line); }
.dots i { width: 8px; height: 8px; border-radius: 50%; background: var(--mui-palette-hustle-quiet);
          animation: beat 1.3s ease-in-out infinite; }
.dots i:nth-child(2) { animation-delay: .18s; }
.dots i:nth-child(3) { animation-delay: .36s; }
@keyframes beat { 0%, 70%, 100% { opacity: .35; transform: none } 35% { opacity: 1; transform: translateY(-3px) } }
@media (prefers-reduced-motion: reduce) { .dots i { animation: none; opacity: .7; } }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 860px) { .log { height: clamp(240px, calc(100vh - 400px), 620px); } }
"""


class ChatLog(pn.custom.JSComponent):
    """Messages and answers, oldest first. ``on_action(name, key)`` is called when a person clicks a button of a row.

    ``rows`` are those of ``coach_state.row``; an ``answer`` in them is HTML and must be safe to show.
    """

    rows = param.List(default=[])
    empty = param.String(default="", doc="What stands there while there is no message.")
    heard = param.String(default="", doc="What a screen reader says when it changes.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, on_action: Callable[[str, str], None] | None = None, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._on_action = on_action

    def _handle_msg(self, data: Any) -> None:
        if self._on_action is None or not isinstance(data, dict):
            return
        name, key = data.get("type"), data.get("key")
        if isinstance(name, str) and isinstance(key, str):
            self._on_action(name, key)


_NAME_ESM = """
const PLACE = "hustle-sim-visitor"
const IS_NAME = /^[0-9a-f]{32}$/

export function render({model}) {
  let name = null
  try { name = window.localStorage.getItem(PLACE) } catch { /* a browser that keeps nothing */ }
  if (!IS_NAME.test(name ?? "")) {
    name = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")
    try { window.localStorage.setItem(PLACE, name) } catch { /* then it lasts as long as the page */ }
  }
  model.token = name
  return document.createElement("span")
}
"""


class VisitorName(pn.custom.JSComponent):
    """The secret name that this browser keeps for its visitor, so that a reload finds the conversation again.

    It stands in the browser's storage and not in the address: who is given a link is not given the conversation.
    """

    token = param.String(default="", doc="32 hexadecimal digits, once the page is there.")

    _esm = _NAME_ESM

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "width": 0, "height": 0, **params})
