"""The components of the live page that run in the browser: a target's heartbeat line, the wall, and whether one looks.

A list of cells or tiles is sent when it changes; ages are counted in the browser.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import panel as pn
import param

from hustle_sim.analysis.palette import HEARTBEAT
from hustle_sim.dashboard.indicator import AGE_JS, SHAPES_JS

_HEIGHTS = "".join(
    f'.beat[data-kind="{kind}"] {{ height: {round(100 * look.height)}% }}\n' for kind, look in HEARTBEAT.items()
)

_BEATS_JS = """
function drawBeats(bar, cells) {
  while (bar.children.length < cells.length) { bar.append(document.createElement("span")) }
  while (bar.children.length > cells.length) { bar.lastChild.remove() }
  cells.forEach(([kind, words], index) => {
    const cell = bar.children[index]
    if (cell.dataset.kind !== kind) { cell.className = "beat"; cell.dataset.kind = kind }
    if (cell.title !== words) { cell.title = words }
  })
}
"""

_BEATS_CSS = f"""
.beats {{ display: flex; align-items: flex-end; gap: 2px; height: 26px; min-width: 0; }}
.beat {{ flex: 1 1 0; min-width: 1px; border-radius: 2px; background: var(--mui-palette-hustle-line); }}
.beat[data-kind=well] {{ background: var(--mui-palette-hustle-online); }}
.beat[data-kind=partly] {{ background: var(--mui-palette-hustle-degraded); }}
.beat[data-kind=failed] {{ background: var(--mui-palette-hustle-offline); }}
{_HEIGHTS}
"""

_LINE_ESM = (
    _BEATS_JS
    + """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}

export function render({model}) {
  const name = make("span", {className: "name"})
  const pace = make("span", {className: "pace"})
  const bar = make("div", {className: "beats"})
  bar.setAttribute("role", "img")
  const span = make("span", {className: "span"})
  const figures = make("div", {className: "figures"})
  const choose = make("button", {type: "button", className: "choose"})
  const remove = make("button", {type: "button", className: "remove", textContent: "Remove"})
  choose.addEventListener("click", () => model.send_msg({type: "choose"}))
  remove.addEventListener("click", () => model.send_msg({type: "remove"}))
  const root = make("div", {className: "line"},
    make("div", {className: "head"}, name, pace),
    make("div", {className: "strip"}, bar, span), figures, make("div", {className: "acts"}, choose, remove))
  const draw = () => {
    name.textContent = model.label
    name.title = model.label
    pace.textContent = model.pace
    span.textContent = model.span
    choose.textContent = model.chosen ? "Shown below" : "Details"
    choose.setAttribute("aria-pressed", String(model.chosen))
    choose.setAttribute("aria-label", `Details of ${model.label}`)
    remove.setAttribute("aria-label", `Remove ${model.label}`)
    root.classList.toggle("chosen", model.chosen)
    figures.replaceChildren(...model.figures.map(([label, value]) =>
      make("span", {className: "figure"}, make("small", {textContent: label}), make("b", {textContent: value}))))
  }
  const beat = () => { drawBeats(bar, model.cells); bar.setAttribute("aria-label", model.words) }
  model.on(["label", "pace", "span", "chosen", "figures"], draw)
  model.on(["cells", "words"], beat)
  draw()
  beat()
  return root
}
"""
)

_LINE_CSS = (
    """
:host { display: block; min-width: 0; font-family: var(--bokeh-base-font, sans-serif);
        color: var(--mui-palette-text-primary); container-type: inline-size; }
.line { display: grid; grid-template-columns: minmax(0, 1fr) auto auto; gap: 6px 20px; align-items: center; }
.head { grid-area: 1 / 1; }
.figures { grid-area: 1 / 2; }
.acts { grid-area: 1 / 3; }
.strip { grid-area: 2 / 1 / 3 / -1; }
.head { display: flex; flex-direction: column; min-width: 0; }
.name { font-weight: 600; font-size: 15px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.pace, .span { font-size: 12px; color: var(--mui-palette-hustle-quiet); }
.strip { min-width: 0; }
.span { display: block; margin-top: 3px; }
.figures { display: flex; gap: 14px; font-variant-numeric: tabular-nums; }
.figure { display: flex; flex-direction: column; white-space: nowrap; min-width: 56px; }
.figure small { font-size: 12px; color: var(--mui-palette-hustle-quiet); }
.figure b { font-size: 15px; font-weight: 600; }
.acts { display: flex; gap: 6px; }
button { font: 500 13px var(--bokeh-base-font, sans-serif); padding: 6px 10px; border-radius: 6px; cursor: pointer;
         border: 1px solid var(--mui-palette-hustle-line); background: transparent; white-space: nowrap;
         color: var(--mui-palette-text-primary); }
button:hover { border-color: var(--mui-palette-primary-main); }
button:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 1px; }
.chosen .choose { border-color: var(--mui-palette-primary-main); color: var(--mui-palette-primary-main); }
@container (max-width: 560px) {
  .line { grid-template-columns: minmax(0, 1fr) auto; padding-bottom: 6px; }
  .acts { grid-area: 1 / 2; }
  .figures { grid-area: 3 / 1 / 4 / -1; flex-wrap: wrap; gap: 4px 12px; }
}
"""
    + _BEATS_CSS
)


class TargetLine(pn.custom.JSComponent):
    """A target's name, heartbeat bar and figures; ``on_act("choose" | "remove")`` is called when a person clicks."""

    label = param.String(default="")
    pace = param.String(default="", doc="How often it is probed, as text.")
    cells = param.List(default=[], doc="The heartbeat bar: kind and words of each cell, newest last.")
    words = param.String(default="", doc="The heartbeat bar in words.")
    span = param.String(default="", doc="What time the bar covers, as text.")
    figures = param.List(default=[], doc="Label and value of each figure.")
    chosen = param.Boolean(default=False)

    _esm = _LINE_ESM
    _stylesheets = [_LINE_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, on_act: Callable[[str], Awaitable[None]] | None = None, **params: Any) -> None:
        super().__init__(**{"margin": 0, "sizing_mode": "stretch_width", **params})
        self._on_act = on_act

    def _handle_msg(self, data: Any) -> None:
        act, what = self._on_act, data.get("type") if isinstance(data, dict) else None
        if act is None or what not in ("choose", "remove"):
            return

        async def call() -> None:
            await act(what)

        pn.state.execute(call)


_WALL_ESM = (
    "const SHAPES = "
    + SHAPES_JS
    + AGE_JS
    + _BEATS_JS
    + """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}

export function render({model}) {
  const grid = make("div", {className: "grid"})
  const leave = make("button", {type: "button", className: "leave", textContent: "Leave the wall (Esc)"})
  const root = make("div", {className: "board"}, grid, leave)
  root.setAttribute("role", "region")
  root.setAttribute("aria-label", "Status of all targets")
  let since = performance.now()
  const go = () => model.send_msg({type: "leave"})
  leave.addEventListener("click", go)
  const key = (event) => { if (event.key === "Escape" && model.on_wall) { go() } }
  window.addEventListener("keydown", key)
  let fading
  const stir = () => {
    root.classList.add("stirred")
    clearTimeout(fading)
    fading = setTimeout(() => root.classList.remove("stirred"), 3000)
  }
  root.addEventListener("mousemove", stir)

  const tile = () => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "svg")
    shape.setAttribute("viewBox", "0 0 24 24")
    shape.setAttribute("aria-hidden", "true")
    const word = make("span", {className: "word"})
    word.setAttribute("role", "status")
    const bar = make("div", {className: "beats"})
    bar.setAttribute("role", "img")
    return make("section", {className: "tile"}, make("h2"),
      make("div", {className: "state"}, shape, make("div", {}, word, make("div", {className: "fine"}))), bar,
      make("div", {className: "foot"}))
  }
  const tell = () => {
    const passed = (performance.now() - since) / 1000
    model.tiles.forEach((one, index) => {
      const fine = grid.children[index]?.querySelector(".fine")
      const parts = [one.latency, one.age_s >= 0 ? age(one.age_s + passed) : ""].filter(Boolean)
      const text = parts.join(" · ") || one.note
      if (fine && fine.textContent !== text) { fine.textContent = text }
    })
  }
  const draw = () => {
    since = performance.now()
    root.hidden = !model.on_wall
    const number = model.tiles.length
    grid.dataset.number = number > 6 ? "many" : number > 2 ? "some" : number === 2 ? "two" : "one"
    while (grid.children.length < number) { grid.append(tile()) }
    while (grid.children.length > number) { grid.lastChild.remove() }
    model.tiles.forEach((one, index) => {
      const card = grid.children[index]
      const [name, shape, word, bar, foot] =
        ["h2", "svg", ".word", ".beats", ".foot"].map((part) => card.querySelector(part))
      if (name.textContent !== one.label) { name.textContent = one.label }
      if (card.dataset.status !== one.status) {
        card.dataset.status = one.status
        shape.innerHTML = SHAPES[one.status] || SHAPES.idle
      }
      if (word.textContent !== one.word) { word.textContent = one.word }
      if (foot.textContent !== one.foot) { foot.textContent = one.foot }
      card.classList.toggle("probing", one.probing)
      drawBeats(bar, one.cells)
      bar.setAttribute("aria-label", one.words)
    })
    root.classList.toggle("empty", number === 0)
    tell()
  }
  model.on(["tiles", "on_wall"], draw)
  const ticking = setInterval(tell, 1000)
  model.on("remove", () => { clearInterval(ticking); clearTimeout(fading); window.removeEventListener("keydown", key) })
  draw()
  return root
}
"""
)

_WALL_CSS = (
    """
:host { display: block; font-family: var(--bokeh-base-font, sans-serif); }
.board { position: fixed; inset: 0; z-index: 2000; overflow: auto; padding: 2.2vmin; box-sizing: border-box;
        background: var(--mui-palette-hustle-well); color: var(--mui-palette-text-primary); }
.board[hidden] { display: none; }
.board.empty::before { content: "Nothing is watched."; font-size: 5vmin; }
.grid { display: grid; gap: 2.2vmin; min-height: 100%; grid-auto-rows: 1fr; }
.grid[data-number=some] { grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); }
.grid[data-number=many] { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.tile { --hue: var(--mui-palette-hustle-quiet); --ink: var(--mui-palette-hustle-quiet); --size: 1;
        display: flex; flex-direction: column; justify-content: center; gap: 2vmin; padding: 2.5vmin 3vmin;
        min-width: 0; border: 0.7vmin solid var(--hue); border-radius: 2vmin;
        background: var(--mui-palette-hustle-card); }
.grid[data-number=two] .tile { --size: .66; }
.grid[data-number=some] .tile { --size: .52; }
.grid[data-number=many] .tile { --size: .38; }
.tile[data-status=online] { --hue: var(--mui-palette-hustle-online); --ink: var(--mui-palette-hustle-onlineText); }
.tile[data-status=degraded] { --hue: var(--mui-palette-hustle-degraded);
  --ink: var(--mui-palette-hustle-degradedText); }
.tile[data-status=offline] { --hue: var(--mui-palette-hustle-offline); --ink: var(--mui-palette-hustle-offlineText); }
.tile[data-status=checking] { --hue: var(--mui-palette-hustle-checking);
  --ink: var(--mui-palette-hustle-checkingText); }
h2 { margin: 0; font-weight: 500; font-size: max(18px, calc(var(--size) * 5vmin)); overflow: hidden;
     text-overflow: ellipsis; white-space: nowrap; }
.state { display: flex; align-items: center; gap: 3vmin; }
svg { width: max(46px, calc(var(--size) * 24vmin)); height: max(46px, calc(var(--size) * 24vmin)); flex: none;
      fill: var(--hue); overflow: visible; }
svg .ink, svg .hand { fill: none; stroke: #fff; stroke-width: 2.2; stroke-linecap: round; stroke-linejoin: round; }
svg .ring { fill: none; stroke: var(--hue); stroke-width: 2.2; }
svg .hand { stroke: var(--hue); }
.word { font-weight: 700; color: var(--ink); font-size: max(30px, calc(var(--size) * 15vmin)); line-height: 1.05; }
.fine, .foot { font-variant-numeric: tabular-nums; color: var(--mui-palette-hustle-quiet); line-height: 1.4;
               font-size: max(16px, calc(var(--size) * 4.6vmin)); }
.tile .beats { height: max(30px, calc(var(--size) * 12vmin)); }
.probing svg { animation: pulse 1s ease-in-out infinite; transform-origin: center; }
@keyframes pulse { 0%, 100% { transform: scale(1); opacity: 1 } 50% { transform: scale(1.08); opacity: .7 } }
@media (prefers-reduced-motion: reduce) { .probing svg { animation: none; opacity: .6; } }
.leave { position: fixed; right: 2vmin; bottom: 2vmin; opacity: 0; transition: opacity .2s; padding: 10px 16px;
         font: 500 15px var(--bokeh-base-font, sans-serif); border-radius: 8px; cursor: pointer;
         border: 1px solid var(--mui-palette-hustle-line); color: var(--mui-palette-text-primary);
         background: var(--mui-palette-hustle-card); }
.stirred .leave, .leave:focus-visible { opacity: 1; }
.leave:focus-visible { outline: 3px solid var(--mui-palette-primary-main); outline-offset: 2px; }
"""
    + _BEATS_CSS
)


class Wall(pn.custom.JSComponent):
    """All targets over the whole window, readable from across the room; ``on_leave`` is called at Escape."""

    on_wall = param.Boolean(default=False)
    tiles = param.List(default=[], doc="What the indicator and the heartbeat bar of each target show.")

    _esm = _WALL_ESM
    _stylesheets = [_WALL_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, on_leave: Callable[[], Any] | None = None, **params: Any) -> None:
        super().__init__(**{"margin": 0, **params})
        self._on_leave = on_leave

    def _handle_msg(self, data: Any) -> None:
        if self._on_leave is not None and isinstance(data, dict) and data.get("type") == "leave":
            self._on_leave()


_LOOKING_ESM = """
export function render({model}) {
  const look = () => { model.looking = document.visibilityState !== "hidden" }
  document.addEventListener("visibilitychange", look)
  model.on("remove", () => document.removeEventListener("visibilitychange", look))
  look()
  return document.createElement("span")
}
"""


class Looking(pn.custom.JSComponent):
    """Whether the tab that the page is in is seen: a page in the background is sent nothing.

    It becomes true when the browser has drawn it.
    """

    looking = param.Boolean(default=False)

    _esm = _LOOKING_ESM

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"width": 0, "height": 0, "margin": 0, **params})
