"""The header: skip link, name and the menu of places, and the address of the page, which it reads and writes."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import param

THEME_COOKIE = "hustle_theme"
"""Where the browser remembers the theme."""

_ESM = """
export function render({model}) {
  const header = document.createElement("div")
  header.className = "head"
  // A button, since the main part is in another shadow root, where no link of here leads.
  const skip = document.createElement("button")
  skip.type = "button"
  skip.className = "skip"
  skip.textContent = "Skip to content"
  skip.addEventListener("click", () => {
    const main = header.getRootNode().host?.getRootNode().querySelector("main")
    if (main) { main.tabIndex = -1; main.style.outline = "none"; main.focus() }
  })
  const brand = document.createElement("a")
  brand.className = "brand"
  brand.href = window.location.pathname
  brand.textContent = model.title
  const nav = document.createElement("nav")
  nav.setAttribute("aria-label", "Places")
  header.append(skip, brand, nav)
  if (model.can_leave) {
    const leave = document.createElement("a")
    leave.className = "leave"
    leave.href = "logout"
    leave.textContent = "Log out"
    header.append(leave)
  }

  const links = new Map()
  for (const [name, words] of model.places) {
    const link = document.createElement("a")
    link.textContent = words
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) { return }
      event.preventDefault()
      model.place = name
    })
    links.set(name, link)
    nav.append(link)
  }
  const draw = () => {
    for (const [name, link] of links) {
      link.href = model.addresses[name] ?? `?place=${name}`
      if (name === model.place) {
        link.setAttribute("aria-current", "page")
        document.title = `${link.textContent} · ${model.title}`
      } else {
        link.removeAttribute("aria-current")
      }
    }
  }
  const write = () => {
    const {search, step} = model.address
    if (!search || search === window.location.search) { return }
    const address = window.location.pathname + search + window.location.hash
    if (step) { window.history.pushState({}, "", address) } else { window.history.replaceState({}, "", address) }
  }
  // The server reads it when the page is loaded, so that a dark page is dark from its first moment.
  const remember = () => {
    if (model.theme) {
      const path = window.location.pathname.replace(/[^/]*$/, "")
      document.cookie = `${model.cookie}=${model.theme}; path=${path}; max-age=31536000; samesite=lax`
    }
  }
  const back = () => model.send_msg({type: "back", search: window.location.search})
  window.addEventListener("popstate", back)
  model.on("remove", () => window.removeEventListener("popstate", back))
  model.on("address", write)
  model.on(["place", "addresses"], draw)
  model.on("theme", remember)
  draw()
  write()
  return header
}
"""

_CSS = """
:host { display: block; }
.head { display: flex; align-items: center; height: 100%; gap: 18px; min-width: 0; }
a { color: #C9D2E8; text-decoration: none; font: 500 15px/1 var(--bokeh-base-font, sans-serif); }
a:focus-visible, button:focus-visible { outline: 3px solid #9DB4F5; outline-offset: 1px; }
.brand { color: #fff; font-weight: 600; font-size: 19px; letter-spacing: .01em; white-space: nowrap;
         border-radius: 8px; padding: 8px 2px; }
nav { display: flex; gap: 4px; align-items: center; min-width: 0; overflow-x: auto; padding: 4px; }
nav a { padding: 10px 14px; border-radius: 8px; white-space: nowrap; }
nav a:hover { color: #fff; background: #ffffff1a; }
nav a[aria-current=page] { color: #fff; background: #ffffff26; box-shadow: inset 0 -2px 0 #9DB4F5; }
.leave { margin-left: auto; padding: 10px 12px; border-radius: 8px; white-space: nowrap; }
.leave:hover { color: #fff; background: #ffffff1a; }
.skip { position: absolute; left: 8px; top: -60px; z-index: 10; padding: 12px 16px; border-radius: 8px;
        background: #fff; color: #18233F; border: 0; font: 500 15px/1 var(--bokeh-base-font, sans-serif); }
.skip:focus { top: 6px; }
@media (max-width: 620px) {
  .head { gap: 4px; }
  .brand { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  nav { gap: 0; padding: 4px 0; }
  nav a { padding: 10px 8px; font-size: 14px; }
}
"""


class Menu(pn.custom.JSComponent):
    """The header of the page; ``place`` is where the visitor is, and changes when they choose another."""

    title = param.String()
    place = param.String()
    places = param.List(doc="Pairs of name and title, in the order of the menu.")
    can_leave = param.Boolean(default=False, doc="Whether the visitor logged in, and can log out.")
    theme = param.String(default="", doc="The theme that the visitor chose, to be remembered in a cookie.")
    cookie = param.String(default=THEME_COOKIE)
    addresses = param.Dict(default={}, doc="The query part of each place's address, so that links hold its state.")
    address = param.Dict(default={}, doc="What the address bar should say: search, and whether that is a step.")

    _esm = _ESM
    _stylesheets = [_CSS]  # noqa: RUF012 - as Panel declares it

    def __init__(self, on_back: Callable[[str], None] | None = None, **params: Any) -> None:
        super().__init__(**{"margin": 0, "height": 48, "sizing_mode": "stretch_width", **params})
        self._on_back = on_back

    def _handle_msg(self, data: Any) -> None:
        if self._on_back is not None and isinstance(data, dict) and data.get("type") == "back":
            self._on_back(str(data.get("search", "")))
