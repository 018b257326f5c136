"""Copy a link to what one sees, or download it: two buttons, and what happens behind them."""

# mypy: allow-subclassing-any

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn
import param

from hustle_sim.dashboard.downloads import PAPERS, Kind, make, name_of
from hustle_sim.dashboard.jobs import workshop
from hustle_sim.inputs import InputError

if TYPE_CHECKING:
    from hustle_sim.dashboard.simulate_state import Results

logger = logging.getLogger("hustle_sim.dashboard")

_FAILED = "The file could not be made. The server's log says why; what is on the screen is not affected."

_ESM = """
const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props)
  element.append(...children)
  return element
}
async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true } catch { /* not allowed, or not a secure page */ }
  const area = make("textarea", {value: text})
  document.body.append(area)
  area.select()
  const done = document.execCommand("copy")
  area.remove()
  return done
}

export function render({model}) {
  const link = make("button", {type: "button", textContent: "Copy link"})
  const open = make("button", {type: "button"})
  open.setAttribute("aria-haspopup", "menu")
  const menu = make("div", {className: "menu", hidden: true})
  menu.setAttribute("role", "menu")
  menu.setAttribute("aria-label", "Download")
  const told = make("span", {className: "told"})
  told.setAttribute("role", "status")
  const items = model.papers.map(([kind, words]) => {
    const item = make("button", {type: "button", textContent: words})
    item.setAttribute("role", "menuitem")
    item.tabIndex = -1
    item.addEventListener("click", () => { show(false); open.focus(); model.send_msg({type: "download", kind}) })
    return item
  })
  menu.append(...items)
  const show = (on) => {
    menu.hidden = !on
    open.setAttribute("aria-expanded", String(on))
    if (on) { items[0].focus() }
  }
  const say = (text) => {
    told.textContent = text
    setTimeout(() => { if (told.textContent === text) { told.textContent = "" } }, 4000)
  }
  link.addEventListener("click", async () => {
    if (model.no_link) { model.send_msg({type: "no link"}); return }
    say(await copied(window.location.href) ? "Link copied" : "The browser did not allow it: copy the address above")
  })
  open.addEventListener("click", () => { if (open.getAttribute("aria-disabled") !== "true") { show(menu.hidden) } })
  const root = make("div", {className: "home"}, link, make("div", {className: "place"}, open, menu), told)
  menu.addEventListener("keydown", (event) => {
    const at = items.findIndex((item) => item.matches(":focus"))
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1}[event.key]
    if (to !== undefined) { event.preventDefault(); items[(to + items.length) % items.length].focus() }
    if (event.key === "Escape") { show(false); open.focus() }
  })
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) { show(false) } })
  const draw = () => {
    root.dataset.shown = model.shown
    open.textContent = model.busy ? "Making the file…" : "Download ▾"
    open.setAttribute("aria-disabled", String(Boolean(model.busy) || !model.shown))
    open.setAttribute("aria-busy", String(Boolean(model.busy)))
  }
  model.on(["busy", "shown"], draw)
  model.on("msg:custom", (event) => {
    const {name, mime, content} = event.data ?? event
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))
    const address = URL.createObjectURL(new Blob([bytes], {type: mime}))
    make("a", {href: address, download: name}).click()
    setTimeout(() => URL.revokeObjectURL(address), 60000)
    say(`${name} is downloaded`)
  })
  show(false)
  draw()
  return root
}
"""

_CSS = """
:host { display: block; font: 13.5px/1.4 var(--bokeh-base-font, sans-serif); color: var(--mui-palette-text-primary); }
.home { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
.place { position: relative; }
.home > button, .place > button { height: 36px; padding: 0 14px; border-radius: 8px; font: inherit; cursor: pointer;
  white-space: nowrap; color: var(--mui-palette-primary-main); background: var(--mui-palette-hustle-card);
  border: 1px solid var(--mui-palette-hustle-line); }
.home > button:hover, .place > button:hover { border-color: var(--mui-palette-primary-main); }
button[aria-disabled=true] { color: var(--mui-palette-hustle-quiet); cursor: default; }
.menu { position: absolute; z-index: 40; left: 0; top: calc(100% + 4px); min-width: 280px; padding: 6px;
  border-radius: 10px; background: var(--mui-palette-hustle-card); border: 1px solid var(--mui-palette-hustle-line);
  box-shadow: 0 6px 24px #0003; display: flex; flex-direction: column; }
.menu[hidden] { display: none; }
.menu button { padding: 9px 10px; border: 0; border-radius: 6px; background: none; color: inherit; font: inherit;
  text-align: left; cursor: pointer; }
.menu button:hover, .menu button:focus-visible { background: var(--mui-palette-hustle-well); }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--mui-palette-primary-main); outline-offset: 1px; }
.told { color: var(--mui-palette-hustle-quiet); }
@media (min-width: 1100px) { .menu { left: auto; right: 0; } }
"""


class TakeHome(pn.custom.JSComponent):
    """``results`` gives what is seen; ``complain`` is called with a sentence if something can't be taken home."""

    papers = param.List(default=[[kind, paper.words] for kind, paper in PAPERS.items()])
    busy = param.Boolean(default=False, doc="A file is being made.")
    shown = param.Integer(default=0, doc="How many results the visitor was shown; before the first there is nothing.")
    no_link = param.String(default="", doc="Why the address does not hold what is seen; empty if it does.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(
        self,
        results: Callable[[], Results | None] = lambda: None,
        complain: Callable[[str], None] = lambda _: None,
        **params: Any,
    ) -> None:
        super().__init__(**{"margin": (4, 0), **params})
        self._results = results
        self._complain = complain

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        kind = data.get("kind")
        if data.get("type") == "no link":
            self._complain(self.no_link)
        elif data.get("type") == "download" and kind in PAPERS and not self.busy:
            pn.state.execute(partial(self.download, kind))

    async def download(self, kind: Kind) -> None:
        """Make a file of what is seen, and send it to the browser."""
        results = self._results()
        if results is None:
            return
        self.busy = True
        try:
            made = workshop().make(make, kind, results.mine, results.other)
            content: bytes = await asyncio.wrap_future(made)
        except InputError as error:
            self._complain(str(error))
        except Exception:
            logger.exception("A file could not be made.")
            self._complain(_FAILED)
        else:
            text = base64.b64encode(content).decode()
            self._send_msg({"name": name_of(kind, results.mine), "mime": PAPERS[kind].mime, "content": text})
        finally:
            self.busy = False
